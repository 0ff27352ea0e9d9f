//! Faults that another implementation ran into, and what is left of the RFCs' fine print.

use crate::craft::{Craft, PEER_TAG};
use crate::world::{Traffic, World, present};
use shim6::addr::{ContextTag, Fii, InitNonce, Locator, LocatorPair, Ulid, UlidPair};
use shim6::cga::Method;
use shim6::proto::engine::State;
use shim6::proto::input::AddressEvent;
use shim6::proto::reap::ReapState;
use shim6::proto::{Command, Event, Notice, Outbound};
use shim6::wire::Message;
use shim6::wire::control::I1;
use shim6::wire::option::{Options, UnknownOption};
use std::collections::BTreeSet;
use std::time::Duration;

// req-test: S6-1.4-01
#[test]
fn the_heuristic_is_deaf_to_addresses_that_cannot_be_ulids() {
    let mut w = World::new(1, &[2, 2]);
    let (us, them) = (w.hosts[0].addrs[0], w.hosts[1].addrs[0]);
    let all = ["::1", "::", "ff02::1", "fe80::1", "::ffff:192.0.2.1"].map(|a| a.parse().unwrap());
    for a in all {
        for (local, peer) in [(us, a), (a, them), (a, a)] {
            w.notice(0, Notice::Heuristic(UlidPair { local: Ulid(local), peer: Ulid(peer) }));
        }
    }
    let own = w.hosts[0].addrs[1];
    w.notice(0, Notice::Heuristic(UlidPair { local: Ulid(us), peer: Ulid(own) }));
    w.notice(0, Notice::Heuristic(UlidPair { local: Ulid(them), peer: Ulid(us) }));
    assert_eq!(w.hosts[0].engine.context_count(), 0);
    assert!(w.hosts[0].sent.is_empty());
}

// req-test: RP-4.1-12, RP-6.1-07, RP-6.3-01, S6-5.12-01
#[test]
fn keepalives_serve_burst_after_burst_of_one_way_traffic() {
    let mut w = World::new(2, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    for round in 0..8 {
        let f = w.flow(0, 1, Traffic::OneWay(Duration::from_millis(200)));
        w.secs(25);
        w.stop(f);
        w.secs(40 + round);
    }
    assert_eq!(w.hosts.iter().map(|h| h.sent_of("Probe").len()).sum::<usize>(), 0);
    assert!(w.hosts[1].sent_of("Keepalive").len() >= 8 * 4);
    w.assert_operational(&[0, 1]);
}

// req-test: S6-7.13-11, S6-12.2-03
#[test]
fn the_data_plane_follows_a_new_tag_of_the_peer() {
    let mut c = Craft::new(3);
    c.reach_established();
    // Away from the ULIDs, so that packets are tagged.
    let m = c.i2_on(1, 1, ContextTag::from_masked(PEER_TAG + 1), 5);
    c.hear_on(1, 1, &Message::I2(m));
    let entry = |c: &Craft| c.w.hosts[0].plane.entries.values().next().unwrap().forward.clone();
    let pair = c.pair(1, 1);
    let tagged = |n| Outbound::Tagged(pair, ContextTag::from_masked(PEER_TAG + n));
    assert_eq!(entry(&c).outbound, tagged(1));
    let m = c.i2_on(1, 1, ContextTag::from_masked(PEER_TAG + 2), 6);
    c.hear_on(1, 1, &Message::I2(m));
    assert_eq!(entry(&c).outbound, tagged(2));
    assert_eq!(c.state(), State::Established);
    // Back on the ULIDs nothing is tagged.
    // req-test: S6-4-03, S6-1.6-02, S6-11-02, RP-3.4-01
    let m = c.i2_on(0, 0, ContextTag::from_masked(PEER_TAG + 3), 7);
    c.hear_on(0, 0, &Message::I2(m));
    assert_eq!(entry(&c).outbound, Outbound::Plain);
}

// req-test: RP-4.3-01, RP-4.3-03, S6-5.13-01
#[test]
fn more_than_32_pairs_are_explored_to_the_last() {
    let mut w = World::new(4, &[7, 7]);
    w.establish(0, 1);
    w.secs(1);
    assert_eq!(w.hosts[0].only().peer_locators.len(), 7);
    let f = w.flow(0, 1, Traffic::Echo(Duration::from_secs(1)));
    w.secs(3);
    let (us, them) = (w.hosts[0].addrs.clone(), w.hosts[1].addrs.clone());
    for a in &us {
        for b in &them {
            w.cut(*a, *b, true);
        }
    }
    let id = w.hosts[0].only().id;
    w.on(0, |e, cx| e.handle_command(cx, Command::Explore(id))).unwrap();
    w.secs(600);
    let early: BTreeSet<LocatorPair> =
        w.hosts[0].sent_of("Probe").iter().map(|(_, p, _)| *p).collect();
    w.secs(3600);
    let probed: BTreeSet<LocatorPair> =
        w.hosts[0].sent_of("Probe").iter().map(|(_, p, _)| *p).collect();
    assert_eq!(probed.len(), 49);
    assert!(early.len() >= 12, "no pair twice before all had their turn");
    w.stop(f);
}

#[test]
fn failing_sends_neither_stop_the_probes_nor_flood_anybody() {
    let mut w = World::new(5, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    w.flow(0, 1, Traffic::Echo(Duration::from_millis(100)));
    w.secs(1);
    let (us, them) = (w.hosts[0].addrs.clone(), w.hosts[1].addrs.clone());
    for a in &us {
        for b in &them {
            w.cut(*a, *b, true);
        }
    }
    let pair = w.hosts[0].only().pair;
    for _ in 0..600 {
        w.notice(0, Notice::SendFailed { src: pair.local, dst: pair.peer });
        w.millis(500);
    }
    assert_eq!(w.hosts[0].only().reap, Some(ReapState::Exploring));
    let probes = w.hosts[0].sent_of("Probe").len();
    assert!((10..=30).contains(&probes), "four at once, then slower and slower: {probes}");
    for a in &us {
        for b in &them {
            w.cut(*a, *b, false);
        }
    }
    w.secs(80);
    w.assert_operational(&[0, 1]);
}

// req-test: S6-12.1-01, S6-9-05
#[test]
fn a_host_whose_notices_are_lost_notices_failures_all_the_same() {
    let mut w = World::new(6, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    w.hosts[0].deaf = true;
    w.hosts[1].deaf = true;
    let f = w.flow(0, 1, Traffic::Echo(Duration::from_millis(500)));
    w.secs(200);
    let (a, b) = (w.hosts[0].addrs[0], w.hosts[1].addrs[0]);
    w.cut(a, b, true);
    let since = w.now;
    w.secs(120);
    assert!(w.longest_gap(1, f, since) < Duration::from_secs(80));
    w.assert_operational(&[0, 1]);
    // And idle time is measured right.
    w.secs(900);
    assert_eq!(w.hosts[0].engine.context_count(), 1);
}

// req-test: S6-9-02
#[test]
fn contexts_in_use_are_not_torn_down() {
    let mut w = World::new(7, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    let id = w.hosts[0].only().id;
    w.on(0, |e, cx| e.handle_command(cx, Command::InUse(id, true))).unwrap();
    w.secs(3000);
    assert_eq!(w.hosts[0].engine.context_count(), 1);
    assert_eq!(w.hosts[1].engine.context_count(), 0);
    w.on(0, |e, cx| e.handle_command(cx, Command::InUse(id, false))).unwrap();
    w.secs(700);
    assert_eq!(w.hosts[0].engine.context_count(), 0);
}

// req-test: RP-4.2-02, RP-9-01, RP-9-02, S6-15.1-01
#[test]
fn a_failure_and_its_end_are_told_to_whoever_listens() {
    let mut w = World::new(8, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    w.flow(0, 1, Traffic::Echo(Duration::from_millis(500)));
    w.secs(2);
    let (a, b) = (w.hosts[0].addrs[0], w.hosts[1].addrs[0]);
    w.cut(a, b, true);
    w.secs(30);
    let kinds: Vec<&str> = w.hosts[0]
        .events
        .iter()
        .map(|(_, e)| match e {
            Event::Established { .. } => "established",
            Event::Discarded { .. } => "discarded",
            Event::EstablishFailed { .. } => "failed",
            Event::State { .. } => "state",
            Event::Reap { .. } => "reap",
            Event::ProbeSent { .. } => "probe",
            Event::ProbeAnswered { .. } => "answer",
            Event::Tested { .. } => "tested",
            Event::Overtaken { .. } => "overtaken",
            Event::Lost { .. } => "lost",
            Event::Switched { .. } => "switched",
            Event::Recovered { .. } => "recovered",
            Event::Locators { .. } => "locators",
        })
        .collect();
    let place = |k: &str| kinds.iter().position(|x| *x == k).unwrap_or_else(|| panic!("{k}"));
    let order = ["established", "reap", "probe", "answer", "switched"].map(place);
    assert!(order.is_sorted(), "{kinds:?}");
    assert!(place("recovered") > place("answer"));
}

// req-test: RP-4.2-03, RP-8-04
#[test]
fn nothing_is_explored_before_a_context_is_established() {
    let mut c = Craft::new(9);
    c.reach_i1_sent();
    let id = c.context().unwrap().id;
    assert_eq!(c.context().unwrap().reap, None);
    let asked = c.w.on(0, |e, cx| e.handle_command(cx, Command::Explore(id)));
    assert!(asked.is_err());
    let us = c.us(0);
    c.w.address(0, AddressEvent::Unusable(us));
    c.w.address(0, present(us));
    c.w.secs(300);
    assert!(c.w.hosts[0].sent_of("Probe").is_empty());
}

// req-test: S6-5.4-05, S6-5.4-06, S6-5.5-05, S6-5.6-09, S6-5.7-05, S6-5.15.2-05, S6-5.15.6-01, S6-7.7-02, S6-7.11-05
// req-test: S6-7.11-07, S6-7.11-08, S6-7.14-03, S6-5.15.5-01
#[test]
fn messages_carry_what_they_have_to() {
    let hosts = [(2, Method::HbaCga), (2, Method::Cga)];
    let mut w = World::with(10, &hosts, |_| {});
    w.establish(0, 1);
    w.secs(1);
    w.assert_established(0, 1);
    let Message::I1(i1) = &w.hosts[0].sent_of("I1")[0].2 else { panic!() };
    let Message::R1(r1) = &w.hosts[1].sent_of("R1")[0].2 else { panic!() };
    let Message::I2(i2) = &w.hosts[0].sent_of("I2")[0].2 else { panic!() };
    let Message::R2(r2) = &w.hosts[1].sent_of("R2")[0].2 else { panic!() };
    assert_eq!(r1.init_nonce, i1.init_nonce);
    assert_eq!(r2.init_nonce, i2.init_nonce);
    assert_eq!(i2.responder_nonce, r1.responder_nonce);
    // On the ULID pair itself no option names it.
    assert!(i1.options.ulid_pair.is_none() && i2.options.ulid_pair.is_none());
    assert!(i1.options.fii.is_none() && i2.options.fii.is_none());
    for (o, signed) in [(&i2.options, false), (&r2.options, true)] {
        assert_eq!(o.locator_list.as_ref().unwrap().entries.len(), 2);
        assert!(o.pds.is_some());
        assert_eq!(o.signature.is_some(), signed, "members of a set need none");
    }
    // Nonces are not repeated from one attempt to the next.
    let mut nonces = BTreeSet::new();
    for n in 0..50 {
        let ulids = UlidPair {
            local: w.hosts[0].ulid(0),
            peer: Ulid(std::net::Ipv6Addr::new(0x2001, 0xdb8, 77, n, 0, 0, 0, 1)),
        };
        w.on(0, |e, cx| e.handle_command(cx, Command::Establish(ulids))).unwrap();
        let Message::I1(m) = &w.hosts[0].sent.last().unwrap().2 else { panic!() };
        nonces.insert(m.init_nonce.0);
    }
    assert_eq!(nonces.len(), 50);
    // An I1 after a failed recovery leaves on a pair that is not the ULIDs.
    let mut c = Craft::new(11);
    c.reach_established();
    c.tag = ContextTag::from_masked(PEER_TAG + 1);
    let m = c.i2_on(1, 1, c.tag, 5);
    c.hear_on(1, 1, &Message::I2(m));
    let r1bis = c.r1bis();
    let out = c.hear_on(1, 1, &Message::R1bis(r1bis));
    assert!(matches!(&out[..], [(_, Message::I2bis(_))]));
    while c.state() == State::I2bisSent {
        c.w.secs(1);
    }
    let out = c.sent();
    let (pair, Message::I1(i1)) = out.last().unwrap() else { panic!() };
    assert_eq!(*pair, c.pair(1, 1));
    let o = i1.options.ulid_pair.unwrap();
    assert_eq!((o.sender.0, o.receiver.0), (c.us(0), c.them(0)));
    // The I2 that follows has it too.
    let r1 = c.r1(i1.init_nonce);
    let out = c.hear_on(1, 1, &Message::R1(r1));
    let (pair, Message::I2(i2)) = &out[0] else { panic!() };
    assert_eq!((*pair, i2.options.ulid_pair), (c.pair(1, 1), Some(o)));
}

// req-test: S6-6.1-01, S6-6.2-01, S6-6.2-02
#[test]
fn each_state_keeps_what_the_rfc_says() {
    let mut c = Craft::new(12);
    assert_eq!(c.state(), State::Idle);
    let nonce = c.reach_i2_sent();
    assert_eq!(c.context().unwrap().peer_tag, None);
    let r2 = c.r2(nonce);
    c.hear(&Message::R2(r2));
    let v = c.context().unwrap();
    assert_eq!(v.peer_tag, Some(c.tag));
    assert_eq!(v.ulids, c.ulids());
    assert!(v.local_generation.is_some() && v.peer_generation.is_some());
    assert!(v.peer_locators[0].probed && !v.peer_locators[1].probed);
    let names: Vec<&str> = [
        State::Idle,
        State::I1Sent,
        State::I2Sent,
        State::Established,
        State::I2bisSent,
        State::EFailed,
        State::NoSupport,
    ]
    .map(State::name)
    .to_vec();
    let rfc = ["IDLE", "I1-SENT", "I2-SENT", "ESTABLISHED", "I2BIS-SENT", "E-FAILED", "NO-SUPPORT"];
    assert_eq!(names, rfc);
    // A failed attempt keeps nothing but the ULIDs.
    let mut c = Craft::new(13);
    c.reach_e_failed();
    assert_eq!(c.w.hosts[0].engine.context_count(), 0);
    assert_eq!(c.w.hosts[0].engine.holddown_count(), 1);
}

// req-test: S6-7.2-03, S6-7.2-04, S6-16-02, HB-11-01, RP-8-02
#[test]
fn payload_never_goes_where_the_peer_was_not_shown_to_be() {
    // The peer claims a prefix that is not its own; nobody there answers.
    let mut w = World::new(14, &[2, 3]);
    let claimed = w.hosts[1].addrs[2];
    w.cut_address(1, claimed, true);
    w.establish(0, 1);
    w.secs(1);
    assert_eq!(w.hosts[0].only().peer_locators.len(), 3);
    w.flow(0, 1, Traffic::Echo(Duration::from_millis(100)));
    w.secs(2);
    let addr = w.hosts[1].addrs[0];
    w.cut_address(1, addr, true);
    for _ in 0..600 {
        w.millis(100);
        let pair = w.hosts[0].only().pair;
        assert_ne!(pair.peer.0, claimed);
    }
    w.assert_operational(&[0, 1]);
    let probed = |w: &World, i: usize| w.hosts[0].only().peer_locators[i].probed;
    assert!(probed(&w, 1) && !probed(&w, 2));
}

// req-test: RP-4.1-02, S6-10.1-02
#[test]
fn the_peer_is_told_of_a_dead_address_once_a_pair_works() {
    let mut w = World::new(15, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    w.flow(0, 1, Traffic::Echo(Duration::from_millis(100)));
    w.secs(1);
    let addr = w.hosts[0].addrs[0];
    w.cut_address(0, addr, true);
    w.address(0, AddressEvent::Unusable(addr));
    w.secs(2);
    let urs = w.hosts[0].sent_of("Update Request");
    assert!(!urs.is_empty());
    assert!(urs.iter().all(|(_, p, _)| p.local.0 != addr));
    let Message::UpdateRequest(m) = &urs[0].2 else { panic!() };
    assert!(m.options.locator_list.is_none(), "the list is as it was");
    let generation = m.options.preferences.as_ref().map(|p| p.generation);
    assert_eq!(generation, w.hosts[0].only().local_generation, "and so is its number");
    assert!(!w.hosts[0].only().updating);
}

#[test]
fn limits_on_contexts_hold_for_either_side() {
    let mut w = World::with(16, &[(2, Method::Hba), (2, Method::Hba)], |c| {
        c.limits.contexts = 3;
        c.limits.contexts_per_prefix = 2;
    });
    let local = w.hosts[0].ulid(0);
    for n in 0..6u16 {
        let peer = Ulid(std::net::Ipv6Addr::new(0x2001, 0xdb8, 5, n / 3, 0, 0, 0, n + 1));
        w.on(0, |e, cx| e.handle_command(cx, Command::Establish(UlidPair { local, peer }))).ok();
    }
    assert_eq!(w.hosts[0].engine.context_count(), 3);
    // A peer finds no place either; it is not answered, and nothing is left behind.
    w.establish(1, 0);
    w.secs(1);
    assert_eq!(w.hosts[0].engine.find(w.ulids(0, 1), Fii(0)), None);
    assert!(w.hosts[0].engine.is_consistent());
    assert!(w.hosts[0].counter("contexts_full") > 0);
}

/// Whatever timer is queued for a context goes with it.
#[test]
fn contexts_that_end_leave_no_timer_behind() {
    let mut w = World::new(17, &[2, 2]);
    for n in 0..40 {
        w.establish(0, 1);
        w.millis(7 * n);
        let id = w.hosts[0].only().id;
        if n % 2 == 0 {
            let ulids = w.ulids(0, 1);
            w.payload(0, ulids);
        }
        if n % 3 == 0 {
            w.on(0, |e, cx| e.handle_command(cx, Command::Explore(id))).ok();
        }
        w.on(0, |e, cx| e.handle_command(cx, Command::Discard(id))).unwrap();
        let engine = &mut w.hosts[0].engine;
        assert_eq!((engine.context_count(), engine.poll_timeout()), (0, None));
        assert_eq!(engine.due_activity(w.now + Duration::from_secs(1000)), None);
        assert!(engine.is_consistent());
        w.restart(1);
    }
}

#[test]
fn what_is_announced_is_what_is_explored() {
    let mut w = World::new(18, &[3, 3]);
    w.establish(0, 1);
    w.secs(1);
    w.flow(0, 1, Traffic::Echo(Duration::from_secs(1)));
    w.secs(3);
    for n in 0..9 {
        let (a, b) = (w.hosts[0].addrs[n / 3], w.hosts[1].addrs[n % 3]);
        w.cut(a, b, true);
    }
    w.secs(600);
    let explored = |i: usize, of: fn(&LocatorPair) -> Locator| -> BTreeSet<Locator> {
        w.hosts[i].sent_of("Probe").iter().map(|(_, pair, _)| of(pair)).collect()
    };
    let known = |i: usize| -> BTreeSet<Locator> {
        w.hosts[i].only().peer_locators.iter().map(|l| l.locator).collect()
    };
    for (us, them) in [(0, 1), (1, 0)] {
        assert_eq!(explored(us, |p| p.local), known(them), "what the peer was told");
        assert_eq!(explored(us, |p| p.peer), known(us));
    }
}

/// Whoever has lost everything needs all there is to verify our locators.
#[test]
fn r2_to_a_rebooted_peer_has_the_parameters() {
    let mut w = World::with(19, &[(2, Method::HbaCga), (2, Method::Hba)], |_| {});
    w.establish(0, 1);
    w.secs(1);
    w.restart(1);
    w.hosts[0].sent.clear();
    w.establish(1, 0);
    w.secs(1);
    let Message::R2(r2) = &w.hosts[0].sent_of("R2")[0].2 else { panic!() };
    assert!(r2.options.pds.is_some());
    assert_eq!(r2.options.locator_list.as_ref().map(|l| l.entries.len()), Some(2));
    w.assert_established(0, 1);
}

#[test]
fn an_r1_with_an_extra_option_is_taken() {
    let mut c = Craft::new(20);
    let nonce = c.reach_i1_sent();
    let mut r1 = c.r1(nonce);
    r1.options.unknown = vec![UnknownOption { option_type: 77, contents: vec![1, 2, 3] }];
    let out = c.hear(&Message::R1(r1));
    assert!(matches!(&out[..], [(_, Message::I2(_))]), "{out:?}");
    assert_eq!(c.state(), State::I2Sent);
}

/// I1s in others' names: what they are sent is bounded per /64 and in all, and peers with which there is a context go on
/// being answered.
// req-test: S6-16-03
#[test]
fn a_flood_of_i1s_makes_no_reflector_and_starves_no_peer() {
    let mut w = World::new(33, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    w.hosts[0].sent.clear();
    let us = w.hosts[0].addrs[0];
    let flood = |w: &mut World, src: std::net::Ipv6Addr, n: u32| {
        let i1 = I1 {
            initiator_tag: ContextTag::from_masked(u64::from(n) + 1),
            init_nonce: InitNonce(n),
            options: Options::default(),
        };
        w.inject(0, src, us, &Message::I1(i1));
    };
    for n in 0..500u16 {
        let victim = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 1, n + 1);
        flood(&mut w, victim, n.into());
    }
    assert_eq!(w.hosts[0].sent_of("R1").len(), 50, "to one /64 in a second");
    for n in 0..5000u16 {
        let victim = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0xfffe, n, 0, 0, 0, 1);
        flood(&mut w, victim, u32::from(n) + 1000);
    }
    assert_eq!(w.hosts[0].sent_of("R1").len(), 1000, "in all in a second");
    assert_eq!(w.hosts[0].drops.get("r1_rate"), Some(&4500));
    assert_eq!(w.hosts[0].engine.context_count(), 1, "and nothing is kept");
    // A peer that has rebooted asks in the middle of it.
    w.restart(1);
    w.establish(1, 0);
    w.millis(100);
    w.assert_established(0, 1);
    // I1s that name a context in the making are answered by R2, which is larger: the same.
    let mut c = Craft::new(34);
    c.reach_i2_sent();
    let answers = (0..500)
        .map(|n| {
            let i1 = c.i1(c.tag, n);
            c.hear(&Message::I1(i1)).len()
        })
        .sum::<usize>();
    assert_eq!(answers, 100);
}
