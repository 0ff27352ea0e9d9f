//! One side has lost the context, or uses one tag twice.

use crate::craft::{Craft, PEER_TAG};
use crate::world::{Body, Traffic, World};
use shim6::addr::{ContextTag, Fii, Generation, Locator, LocatorPair, Ulid, UlidPair};
use shim6::cga::Method;
use shim6::proto::engine::State;
use shim6::proto::input::AddressEvent;
use shim6::proto::{Command, Event, Notice, Outbound};
use shim6::wire::Message;
use shim6::wire::control::ProbeState;
use shim6::wire::option::{Options, UlidPairOption};
use std::time::Duration;

/// Two hosts with traffic that has moved away from the ULIDs.
fn switched(seed: u64) -> (World, usize) {
    let mut w = World::new(seed, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    let f = w.flow(0, 1, Traffic::Echo(Duration::from_millis(200)));
    w.secs(5);
    let (a, b) = (w.hosts[0].addrs[0], w.hosts[1].addrs[0]);
    w.cut(a, b, true);
    w.secs(30);
    w.assert_operational(&[0, 1]);
    assert!(w.hosts.iter().all(|h| h.only().tagged));
    (w, f)
}

// req-test: S6-7.5-01, S6-7.17-01, S6-7.18-04, S6-7.18-05, S6-7.18-06, S6-7.20-05, S6-7.20-06, S6-12.2-02, S6-12.4-03
// req-test: S6-5.8-03, S6-7.17-03, S6-5.9-03, S6-5.9-04, S6-5.9-06, S6-7.18-08, S6-12.4-04
#[test]
fn a_host_that_has_forgotten_everything_is_told_again_while_traffic_goes_on() {
    for seed in 0..10 {
        let (mut w, f) = switched(seed);
        let lost_tag = w.hosts[1].only().local_tag;
        w.restart(1);
        let since = w.now;
        w.secs(2);
        w.assert_established(0, 1);
        let gap = w.longest_gap(1, f, since);
        assert!(gap < Duration::from_millis(600), "{gap:?}");
        let c = w.hosts[1].only();
        assert!(c.tagged && c.pair.peer == w.hosts[0].only().pair.local);
        assert_ne!(c.local_tag, lost_tag, "a new random tag");
        assert_eq!(c.peer_locators.len(), 2);
        assert_eq!(w.hosts[0].only().counters.recoveries, 1);
        let (_, pair, Message::I2bis(m)) = w.hosts[0].sent_of("I2bis")[0].clone() else { panic!() };
        assert_eq!(m.packet_tag, lost_tag);
        assert_eq!(m.initiator_tag, w.hosts[0].only().local_tag);
        let ulids = w.ulids(0, 1);
        let o = UlidPairOption { sender: ulids.local, receiver: ulids.peer };
        assert_eq!(m.options.ulid_pair, (pair != ulids.locators()).then_some(o));
        assert!(m.options.pds.is_some() && m.options.locator_list.is_some());
        assert_eq!(m.options.keepalive_timeout, Some(15));
    }
}

// req-test: S6-7.5-01, S6-7.4-01
#[test]
fn both_hosts_restarting_go_on_by_plain_packets_and_negotiate_anew() {
    let (mut w, _) = switched(3);
    w.restart(0);
    w.restart(1);
    w.establish(0, 1);
    w.establish(1, 0);
    // The path of the ULIDs is still cut; it comes back.
    w.secs(3);
    let (a, b) = (w.hosts[0].addrs[0], w.hosts[1].addrs[0]);
    w.cut(a, b, false);
    w.secs(10);
    w.assert_established(0, 1);
}

// req-test: S6-7.18-04, S6-B-04
#[test]
fn payload_goes_on_with_the_old_tag_until_the_new_one_is_known() {
    let (mut w, _) = switched(4);
    let old = w.hosts[0].only().peer_tag.unwrap();
    w.restart(1);
    w.lose = Some(Box::new(|_, m| matches!(m, Message::I2bis(_))));
    w.secs(2);
    let c = w.hosts[0].only();
    assert_eq!((c.state, c.peer_tag), (State::I2bisSent, Some(old)));
    let entry = w.hosts[0].plane.entries.values().next().unwrap();
    assert_eq!(entry.forward.outbound, Outbound::Tagged(c.pair, old));
    w.lose = None;
    w.secs(8);
    w.assert_established(0, 1);
}

// req-test: S6-7.18-02, S6-12.4-03
#[test]
fn r1bis_needs_the_tag_and_a_pair_on_which_it_went_out() {
    let mut c = Craft::new(5);
    c.reach_established();
    c.w.secs(10);
    let m = Message::R1bis(c.r1bis());
    let mut other = c.r1bis();
    other.packet_tag = ContextTag::from_masked(PEER_TAG + 1);
    assert!(c.hear(&Message::R1bis(other)).is_empty());
    let mut bare = c.r1bis();
    bare.options.validator = None;
    assert!(c.hear(&Message::R1bis(bare)).is_empty());
    // No packet with the tag has gone out on these.
    assert!(c.hear_on(1, 1, &m).is_empty());
    let (stranger, us) = ("2001:db8:66::1".parse().unwrap(), c.us(0));
    assert!(c.hear_from(stranger, us, &m).is_empty());
    assert_eq!(c.state(), State::Established);
    // A Probe has: its answer may be an R1bis.
    let probe = c.probe(1, 1, ProbeState::Exploring);
    let out = c.hear_on(1, 1, &Message::Probe(probe));
    assert!(matches!(&out[..], [(p, Message::Probe(_))] if *p == c.pair(1, 1)), "{out:?}");
    let out = c.hear_on(1, 1, &m);
    assert!(matches!(&out[..], [(p, Message::I2bis(_))] if *p == c.pair(1, 1)), "{out:?}");
    let Message::I2bis(i2bis) = &out[0].1 else { panic!() };
    assert_eq!(i2bis.options.ulid_pair.map(|o| o.sender), Some(Ulid(c.us(0))));
    assert_eq!(i2bis.options.validator, Some(vec![8; 24]));
    assert_eq!(i2bis.responder_nonce.0, 98);
    // The peer forgets again at once: one recovery in five seconds.
    let mut r2 = c.r2(i2bis.init_nonce);
    r2.responder_tag = c.tag;
    assert!(c.hear_on(1, 1, &Message::R2(r2)).is_empty());
    assert_eq!(c.state(), State::Established);
    assert!(c.hear_on(1, 1, &m).is_empty());
    c.w.secs(5);
    assert_eq!(c.hear_on(1, 1, &m).len(), 1);
}

// req-test: S6-7.17-02, S6-5.3-08, S6-12.4-05, S6-10.4-03, S6-10.4-04, S6-10.5-03, S6-1.5-02
#[test]
fn tagged_messages_from_elsewhere_get_r1bis_and_no_other_effect() {
    let mut c = Craft::new(6);
    c.reach_established();
    let before = c.context();
    let stranger: std::net::Ipv6Addr = "2001:db8:66::1".parse().unwrap();
    for n in 0..4u16 {
        let mut probe = c.probe(0, 0, ProbeState::Exploring);
        probe.sent[0].src = Locator(stranger);
        let m = match n {
            0 => Message::UpdateRequest(c.update_request(1, c.locators())),
            1 => Message::UpdateAck(c.update_ack(1)),
            2 => Message::Keepalive(c.keepalive()),
            _ => Message::Probe(probe),
        };
        let us = c.us(0);
        let out = c.hear_from(stranger, us, &m);
        let [(pair, Message::R1bis(r))] = &out[..] else { panic!("{out:?}") };
        assert_eq!(pair.peer, Locator(stranger));
        assert_eq!(r.packet_tag, before.as_ref().unwrap().local_tag);
        assert_eq!(c.context(), before);
    }
    // Neither for establishment messages nor for Errors.
    c.w.on(0, |e, cx| e.handle_command(cx, Command::Discard(before.unwrap().id))).unwrap();
    let nonce = shim6::addr::InitNonce(1);
    for m in [Message::R1(c.r1(nonce)), Message::R2(c.r2(nonce)), Message::R1bis(c.r1bis())] {
        assert!(c.hear(&m).is_empty());
    }
}

// req-test: S6-7.17.1-01, S6-7.17-01
#[test]
fn r1bis_is_stateless_and_limited() {
    let mut c = Craft::new(7);
    for n in 0..1000u64 {
        let (src, dst) = (Locator(c.them(0)), Locator(c.us(0)));
        let tag = ContextTag::from_masked(n + 1);
        c.w.notice(0, Notice::UnknownTag { src, dst, tag });
    }
    assert_eq!(c.sent().len(), 5, "per /64 and second");
    assert_eq!(c.w.hosts[0].engine.context_count(), 0);
    for n in 0..1000u16 {
        let src = Locator(std::net::Ipv6Addr::new(0x2001, 0xdb8, 7, n, 0, 0, 0, 1));
        let (dst, tag) = (Locator(c.us(0)), ContextTag::from_masked(9));
        c.w.notice(0, Notice::UnknownTag { src, dst, tag });
    }
    assert_eq!(c.sent().len(), 45, "burst of 50 in all");
    // Addresses that cannot answer, or are not ours.
    c.w.secs(10);
    for (src, dst) in
        [("ff02::1", c.us(0)), ("::", c.us(0)), ("2001:db8:9::1", "2001:db8:8::1".parse().unwrap())]
    {
        let src = Locator(src.parse().unwrap());
        c.w.notice(
            0,
            Notice::UnknownTag { src, dst: Locator(dst), tag: ContextTag::from_masked(9) },
        );
    }
    assert!(c.sent().is_empty());
}

/// The peer uses its tag for another ULID pair: it must have lost the first context.
// req-test: S6-7.6-02, S6-7.6-03, S6-7.14-01, S6-7.15-01, S6-7.15-02, S6-7.15-03, S6-7.15-04, S6-7.15-05, S6-7.15-06
#[test]
fn a_tag_used_for_another_ulid_pair_ends_the_older_context() {
    for active in [false, true] {
        let mut c = Craft::new(8);
        c.reach_established();
        let old = c.context().unwrap();
        if active {
            // Traffic on it.
            c.w.secs(100);
            let ulids = c.ulids();
            c.w.flows.push(crate::world::Flow::idle(ulids));
            c.w.payload(0, ulids);
            c.w.secs(2);
        } else {
            c.w.secs(100);
        }
        // From and for the peer's second address.
        let i2 = c.i2_that_confuses();
        assert_eq!(c.context().map(|c| c.id), Some(old.id), "an I1 removes nothing");
        let out = c.hear_on(0, 1, &Message::I2(i2));
        assert!(out.iter().any(|(_, m)| matches!(m, Message::R2(_))));
        let with_tag: Vec<_> =
            c.w.hosts[0].engine.contexts().filter(|x| x.peer_tag == Some(c.tag)).collect();
        assert_eq!(with_tag.len(), 1);
        assert_eq!(with_tag[0].ulids.peer, Ulid(c.them(1)));
        assert_eq!(c.w.hosts[0].counter("context_confusion"), 1);
        assert!(!c.w.hosts[0].plane.entries.contains_key(&old.id));
        match c.context() {
            Some(anew) => {
                assert!(active);
                assert_eq!(anew.state, State::I1Sent);
                assert_ne!(anew.local_tag, old.local_tag);
            }
            None => assert!(!active),
        }
    }
}

// req-test: S6-7.16-07, S6-7.15-03, S6-7.15-01
#[test]
fn r2_looks_for_confusion_too_but_the_same_pair_or_foreign_locators_are_none() {
    let mut c = Craft::new(9);
    c.reach_established();
    let first = c.context().unwrap().id;
    // Another peer may pick the same tag.
    let other = crate::world::identity(1234, 2, 2, Method::Hba);
    let ulids = UlidPair { local: Ulid(c.us(0)), peer: Ulid(other.members()[0]) };
    let id = c.w.on(0, |e, cx| e.handle_command(cx, Command::Establish(ulids))).unwrap();
    let out = c.sent();
    let Message::I1(i1) = &out.last().unwrap().1 else { panic!() };
    let mut r2 = c.r2(i1.init_nonce);
    r2.options = c.locators_of(&other, Generation(4));
    let us = c.us(0);
    c.hear_from(other.members()[0], us, &Message::R2(r2));
    for id in [first, id] {
        assert_eq!(c.w.hosts[0].engine.context(id).unwrap().peer_tag, Some(c.tag));
    }
    // A forked context with the tag of the default one: confusion, now by R2.
    let ulids = c.ulids();
    let fork = c.w.on(0, |e, cx| e.fork(cx, ulids)).unwrap();
    let out = c.sent();
    let Message::I1(i1) = &out.last().unwrap().1 else { panic!() };
    // req-test: S6-5.4-07, S6-7.7-03, S6-4.2-01
    assert!(i1.options.fii.is_some_and(|f| f != Fii(0)));
    let r2 = c.r2(i1.init_nonce);
    c.hear(&Message::R2(r2));
    assert!(c.w.hosts[0].engine.context(first).is_none());
    assert_eq!(c.w.hosts[0].engine.context(fork).unwrap().state, State::Established);
    assert!(c.w.hosts[0].engine.context(id).is_some());
}

// req-test: S6-5.6-10, S6-7.11-06, S6-7.18-07, S6-5.9-05, S6-4.2-01, S6-4.2-02, S6-12.4-01
#[test]
fn forked_contexts_are_named_in_every_message_and_always_tagged() {
    let mut w = World::new(10, &[2, 2]);
    w.establish(0, 1);
    let ulids = w.ulids(0, 1);
    let fork = w.on(0, |e, cx| e.fork(cx, ulids)).unwrap();
    w.secs(1);
    let view = w.hosts[0].engine.context(fork).unwrap();
    assert_eq!(view.state, State::Established);
    assert_eq!(view.pair, ulids.locators());
    assert!(view.tagged, "or it would count for the default context");
    assert_eq!(w.hosts[1].engine.context_count(), 2);
    let fiis: Vec<_> = w.hosts[1].engine.contexts().map(|c| c.fii).collect();
    assert!(fiis.contains(&Fii(0)) && fiis.contains(&view.fii));
    let with = |m: &Message| m.options().and_then(|o| o.fii) == Some(view.fii);
    assert_eq!(w.hosts[0].sent_of("I1").iter().filter(|(_, _, m)| with(m)).count(), 1);
    assert_eq!(w.hosts[0].sent_of("I2").iter().filter(|(_, _, m)| with(m)).count(), 1);
    // The peer loses both.
    w.secs(10);
    w.restart(1);
    for id in [fork, w.hosts[0].engine.find(ulids, Fii(0)).unwrap()] {
        w.on(0, |e, cx| e.handle_command(cx, Command::Explore(id))).unwrap();
    }
    w.secs(10);
    assert_eq!(w.hosts[1].engine.context_count(), 2);
    assert_eq!(w.hosts[0].sent_of("I2bis").iter().filter(|(_, _, m)| with(m)).count(), 1);
}

// req-test: S6-C.4-01, S6-C.3-01, S6-7.5-01, S6-7.6-02
#[test]
fn tiny_tag_spaces_and_restarts_heal_by_themselves() {
    for seed in 0..6 {
        let hosts = [(2, Method::Hba), (2, Method::Hba), (2, Method::Hba)];
        let mut w = World::with(seed, &hosts, |c| c.establish.tag_bits = 2);
        w.tags_collide = true;
        let mut flows = Vec::new();
        for (a, b) in [(0, 1), (0, 2)] {
            w.establish(a, b);
            w.secs(1);
            w.assert_established(a, b);
            flows.push((a, b, w.flow(a, b, Traffic::Echo(Duration::from_millis(300)))));
        }
        for round in 0..4 {
            let victim = (seed as usize + round) % 3;
            w.restart(victim);
            w.secs(5);
            // Whatever is left of the old contexts is used on other locators, so it is missed.
            for i in 0..3 {
                let ids: Vec<_> = w.hosts[i].engine.contexts().map(|c| c.id).collect();
                for id in ids {
                    w.on(i, |e, cx| e.handle_command(cx, Command::Explore(id))).ok();
                }
            }
            w.secs(20);
            for (a, b, _) in &flows {
                let pair = w.ulids(*a, *b);
                if w.hosts[*a].engine.find(pair, Fii(0)).is_none() {
                    w.establish(*a, *b);
                }
            }
            w.secs(60);
        }
        for (a, b, f) in flows {
            w.assert_established(a, b);
            let since = w.now;
            w.secs(2);
            assert!(w.longest_gap(b, f, since) < Duration::from_secs(1));
        }
    }
}

// req-test: S6-9-02
#[test]
fn a_peer_without_shim6_any_more_is_tested_and_given_half_a_minute() {
    let mut w = World::new(11, &[2, 2]);
    w.establish(0, 1);
    w.secs(5);
    let context = w.hosts[0].only().id;
    let refused = Notice::PayloadRefused { context, icmp_type: 4, icmp_code: 1 };
    // The peer answers the test, so it is still there.
    w.notice(0, refused.clone());
    w.secs(60);
    w.assert_established(0, 1);
    assert!(w.hosts[0].counter("tx_probe") > 0);
    assert_eq!(w.hosts[0].only().counters.switches, 0, "a hint switches nothing");
    // Now it is not.
    w.lose = Some(Box::new(|p, _| matches!(p.body, Body::Control(_))));
    w.notice(0, refused);
    w.secs(29);
    assert_eq!(w.hosts[0].engine.context_count(), 1);
    w.secs(2);
    assert_eq!(w.hosts[0].engine.context_count(), 0);
    let gone = |e: &Event| matches!(e, Event::Discarded { reason: "peer lost Shim6", .. });
    assert!(w.hosts[0].events.iter().any(|(_, e)| gone(e)));
}

// req-test: S6-7.5-01, RP-8-01
#[test]
fn a_test_that_finds_the_context_lost_does_not_move_payload() {
    let mut w = World::new(41, &[2, 2]);
    let id = w.establish(0, 1);
    w.secs(1);
    let before = w.hosts[0].only().pair;
    w.restart(1);
    let spare =
        LocatorPair { local: Locator(w.hosts[0].addrs[1]), peer: Locator(w.hosts[1].addrs[1]) };
    w.on(0, |e, cx| e.handle_command(cx, Command::Test(id, spare))).unwrap();
    w.secs(1);
    w.assert_established(0, 1);
    assert_eq!(w.hosts[0].only().counters.recoveries, 1);
    assert_eq!(w.hosts[0].only().pair, before);
}

#[test]
fn repeated_probes_about_a_dead_pair_do_not_cause_a_probe_each() {
    let mut c = Craft::new(42);
    c.reach_established();
    let dead = c.us(0);
    c.w.address(0, AddressEvent::Unreachable(dead));
    let mut sent = 0;
    for _ in 0..100 {
        let m = Message::Probe(c.probe(1, 0, ProbeState::Operational));
        sent += c.hear_on(1, 0, &m).len();
    }
    assert!((1..=11).contains(&sent), "{sent}");
}

// req-test: RP-5.3-04
#[test]
fn an_i2_that_somebody_repeats_takes_back_nothing_the_peer_has_told_since() {
    let mut c = Craft::new(43);
    let i2 = Message::I2(c.i2(ContextTag::from_masked(PEER_TAG), 5));
    c.hear(&i2);
    assert_eq!(c.state(), State::Established);
    let options = Options { keepalive_timeout: Some(2), ..Options::default() };
    let request = c.update_request(9, options);
    c.hear(&Message::UpdateRequest(request));
    let told = Duration::from_secs(2);
    assert_eq!(c.context().unwrap().keepalive_timeout, told);
    let before = c.context();
    let out = c.hear(&i2);
    assert!(matches!(&out[..], [(_, Message::R2(_))]), "{out:?}");
    assert_eq!(c.context(), before);
}

// req-test: S6-10.2-01
#[test]
fn an_i2_that_somebody_repeats_does_not_end_an_update_request() {
    let mut c = Craft::new(44);
    let i2 = Message::I2(c.i2(ContextTag::from_masked(PEER_TAG), 5));
    c.hear(&i2);
    let lost = c.us(1);
    c.w.address(0, AddressEvent::Gone(lost));
    assert!(c.context().unwrap().updating);
    c.hear(&i2);
    assert!(c.context().unwrap().updating);
    c.w.secs(20);
    let again = c.sent();
    let request = again.iter().rev().find_map(|(_, m)| match m {
        Message::UpdateRequest(m) => Some(m.request_nonce),
        _ => None,
    });
    let ack = c.update_ack(request.unwrap().0);
    c.hear(&Message::UpdateAck(ack));
    assert!(!c.context().unwrap().updating);
}

#[test]
fn an_i2_of_an_exchange_that_a_newer_one_has_followed_is_dropped() {
    let mut c = Craft::new(45);
    let old = Message::I2(c.i2(ContextTag::from_masked(PEER_TAG), 5));
    c.hear(&old);
    // The peer loses the context and makes it again, well within the life of the first validator.
    c.w.secs(11);
    let new = c.i2(ContextTag::from_masked(PEER_TAG + 1), 6);
    c.hear(&Message::I2(new));
    let before = c.context();
    assert_eq!(before.as_ref().unwrap().peer_tag, Some(ContextTag::from_masked(PEER_TAG + 1)));
    assert!(c.hear(&old).is_empty());
    assert_eq!(c.context(), before);
    assert_eq!(c.w.hosts[0].drops["i2_of_old_exchange"], 1);
}

#[test]
fn a_context_whose_exchange_still_runs_is_not_confused_with_another() {
    let mut c = Craft::new(46);
    c.reach_i2_sent();
    let i2 = c.i2_on(1, 1, c.tag, 5);
    c.hear_on(1, 1, &Message::I2(i2));
    assert_eq!(c.context().map(|c| (c.state, c.peer_tag)), Some((State::I2Sent, Some(c.tag))));
    let i2 = c.i2_that_confuses();
    c.hear_on(0, 1, &Message::I2(i2));
    assert_eq!(c.w.hosts[0].counter("context_confusion"), 0);
    assert_eq!(c.state(), State::I2Sent);
}

/// The R1bis came on the pair of the ULIDs, where a test was under way.
#[test]
fn a_recovery_moves_payload_only_if_its_pair_is_not_in_order() {
    type Change = fn(&mut Craft);
    let nothing: Change = |_| {};
    let explore: Change = |c| {
        let id = c.context().unwrap().id;
        c.w.on(0, |e, cx| e.handle_command(cx, Command::Explore(id))).unwrap();
    };
    let unreachable: Change = |c| {
        let used = c.us(1);
        c.w.address(0, AddressEvent::Unreachable(used));
    };
    let withdraw: Change = |c| {
        let mut options = c.locators_of(&c.peer, Generation(2));
        options.locator_list.as_mut().unwrap().entries.pop();
        let m = c.update_request(7, options);
        c.hear(&Message::UpdateRequest(m));
    };
    for (what, before, meanwhile, stays) in [
        ("in order", nothing, nothing, true),
        ("explored", explore, nothing, false),
        ("ours is lost", nothing, unreachable, false),
        ("the peer's is new", nothing, withdraw, false),
    ] {
        let mut c = Craft::new(47);
        c.reach_established();
        c.tag = ContextTag::from_masked(PEER_TAG + 1);
        let i2 = c.i2_on(1, 1, c.tag, 5);
        c.hear_on(1, 1, &Message::I2(i2));
        let (used, ulids) = (c.pair(1, 1), c.pair(0, 0));
        let context = c.context().unwrap();
        assert_eq!((context.pair, context.counters.recoveries), (used, 0));
        c.w.on(0, |e, cx| e.handle_command(cx, Command::Test(context.id, ulids))).unwrap();
        before(&mut c);
        let m = c.r1bis();
        let out = c.hear(&Message::R1bis(m));
        let [(_, Message::I2bis(i2bis))] = &out[..] else { panic!("{out:?}") };
        meanwhile(&mut c);
        let r2 = c.r2(i2bis.init_nonce);
        c.hear(&Message::R2(r2));
        let context = c.context().unwrap();
        assert_eq!((context.state, context.counters.recoveries), (State::Established, 1));
        assert_eq!(context.pair, if stays { used } else { ulids }, "{what}");
    }
}

// req-test: S6-7.18-02
#[test]
fn an_r1bis_from_a_locator_that_the_peer_has_withdrawn_is_not_taken() {
    let mut c = Craft::new(48);
    c.reach_established();
    let (id, other) = (c.context().unwrap().id, c.pair(0, 1));
    c.w.on(0, |e, cx| e.handle_command(cx, Command::Test(id, other))).unwrap();
    let mut options = c.locators_of(&c.peer, Generation(2));
    options.locator_list.as_mut().unwrap().entries.pop();
    let m = c.update_request(7, options);
    c.hear(&Message::UpdateRequest(m));
    assert_eq!(c.context().unwrap().peer_locators.len(), 1);
    let m = c.r1bis();
    assert!(c.hear_on(0, 1, &Message::R1bis(m)).is_empty());
    assert_eq!(c.w.hosts[0].drops["r1bis_unmatched"], 1);
    assert_eq!(c.state(), State::Established);
}

// req-test: S6-7.13-11
#[test]
fn an_i2_of_a_new_exchange_counts_whatever_the_peer_has_told_since_the_last_one() {
    let mut c = Craft::new(49);
    let i2 = c.i2(ContextTag::from_masked(PEER_TAG), 5);
    c.hear(&Message::I2(i2));
    let options = Options { keepalive_timeout: Some(2), ..Options::default() };
    let request = c.update_request(9, options);
    c.hear(&Message::UpdateRequest(request));
    let new = ContextTag::from_masked(PEER_TAG + 1);
    let i2 = c.i2(new, 6);
    c.hear(&Message::I2(i2));
    assert_eq!(c.context().unwrap().peer_tag, Some(new));
}
