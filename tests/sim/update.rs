//! Locators and preferences change while a context lives; our own addresses come and go.

use crate::craft::Craft;
use crate::world::{Traffic, World, identity, present};
use shim6::addr::{Generation, Locator, LocatorPair};
use shim6::cga::Method;
use shim6::proto::input::{AddressEvent, Keep, LocalAddress};
use shim6::proto::reap::ReapState;
use shim6::proto::{Command, Event};
use shim6::wire::Message;
use shim6::wire::control::{ErrorCode, ErrorMessage, UpdateRequest};
use shim6::wire::option::{
    LocatorPreference, LocatorPreferences, Options, PreferenceFlags, VerificationMethod,
};
use std::net::Ipv6Addr;
use std::time::Duration;

fn kinds(out: &[(LocatorPair, Message)]) -> Vec<String> {
    out.iter().map(|(_, m)| m.kind().to_string()).collect()
}

fn preferences(generation: u32, flags: &[u8]) -> Options {
    let elements = flags
        .iter()
        .map(|f| LocatorPreference { flags: PreferenceFlags(*f), priority: 5, weight: 6 })
        .collect();
    let generation = Generation(generation);
    Options {
        preferences: Some(LocatorPreferences { generation, element_len: 3, elements }),
        ..Options::default()
    }
}

// req-test: S6-10.4-12, S6-10.4-13, S6-5.15.3-03, S6-5.15.3-04, S6-5.10-03, RP-5.3-04
#[test]
fn an_update_request_is_applied_and_acknowledged() {
    let mut c = Craft::new(1);
    c.reach_established();
    let mut options = preferences(1, &[0, 1]);
    options.keepalive_timeout = Some(40);
    let m = Message::UpdateRequest(c.update_request(77, options));
    let out = c.hear(&m);
    let [(pair, Message::UpdateAck(ack))] = &out[..] else { panic!("{out:?}") };
    assert_eq!((*pair, ack.receiver_tag, ack.request_nonce.0), (c.pair(0, 0), c.tag, 77));
    let now = c.context().unwrap();
    assert!(now.peer_locators[1].flags.contains(PreferenceFlags::BROKEN));
    assert_eq!((now.peer_locators[0].priority, now.peer_locators[0].weight), (5, 6));
    assert_eq!(now.keepalive_timeout, Duration::from_secs(40));
    assert_eq!(now.pair, c.pair(0, 0));
    // Its retransmission is acknowledged again.
    assert_eq!(kinds(&c.hear(&m)), ["Update Acknowledgement"]);
    // 0 says nothing.
    let options = Options { keepalive_timeout: Some(0), ..Options::default() };
    let m = Message::UpdateRequest(c.update_request(78, options));
    c.hear(&m);
    assert_eq!(c.context().unwrap().keepalive_timeout, Duration::from_secs(40));
}

/// The way back of a request is not the way of our payload, perhaps: nobody answers an acknowledgement that was lost there.
// req-test: S6-10.4-13
#[test]
fn an_acknowledgement_elsewhere_says_nothing_of_the_pair_in_use() {
    for (pair, explores) in [((0, 0), true), ((1, 1), false)] {
        let mut c = Craft::new(1);
        c.reach_established();
        let m = Message::UpdateRequest(c.update_request(77, Options::default()));
        assert_eq!(kinds(&c.hear_on(pair.0, pair.1, &m)), ["Update Acknowledgement"]);
        c.w.secs(20);
        let probes = kinds(&c.sent()).iter().any(|k| k == "Probe");
        assert_eq!(probes, explores, "{pair:?}");
    }
}

// req-test: S6-10.4-09, S6-10.4-10, S6-10.4-11, S6-10.4-08, S6-6.1-02
#[test]
fn preferences_for_another_list_are_refused_with_an_error() {
    let mut c = Craft::new(2);
    c.reach_established();
    let before = c.context();
    for (options, code, at) in [
        (preferences(9, &[0, 1]), ErrorCode::GenerationOutOfSync, 40 + 16 + 4),
        (preferences(1, &[0]), ErrorCode::PreferencesCount, 40 + 16 + 2),
        (preferences(1, &[0, 0, 0]), ErrorCode::PreferencesCount, 40 + 16 + 2),
    ] {
        let m = Message::UpdateRequest(c.update_request(77, options));
        let out = c.hear(&m);
        let [(_, Message::Error(e))] = &out[..] else { panic!("{out:?}") };
        assert_eq!((e.code, e.pointer), (code, at));
        assert_eq!(c.context(), before);
    }
}

// req-test: S6-10.4-05, S6-10.4-07, S6-10.4-08, S6-5.10-03, S6-5.10-04, S6-10-01
#[test]
fn a_new_list_is_verified_replaces_the_old_one_and_voids_preferences() {
    let mut c = Craft::new(3);
    c.reach_established();
    let m = Message::UpdateRequest(c.update_request(1, preferences(1, &[0, 2])));
    c.hear(&m);
    // Only the second locator, without PDS: it is known.
    let mut options = c.locators();
    options.pds = None;
    options.keepalive_timeout = None;
    let list = options.locator_list.as_mut().unwrap();
    list.generation = Generation(2);
    list.entries.remove(0);
    let m = Message::UpdateRequest(c.update_request(2, options.clone()));
    let out = c.hear(&m);
    assert_eq!(kinds(&out)[0], "Update Acknowledgement");
    let now = c.context().unwrap();
    assert_eq!(now.peer_generation, Some(Generation(2)));
    assert_eq!(now.peer_locators.len(), 1);
    assert_eq!(now.peer_locators[0].locator, Locator(c.them(1)));
    assert!(!now.peer_preferences && now.peer_locators[0].priority == 0);
    // The pair in use is no longer offered: explored at once, left only for a confirmed one.
    assert_eq!(now.reap, Some(ReapState::Exploring));
    assert_eq!(now.pair, c.pair(0, 0));
    assert!(out.iter().any(|(p, m)| matches!(m, Message::Probe(_)) && p.peer.0 == c.them(1)));
    // A bad one changes nothing and is not acknowledged.
    let before = c.context();
    let list = options.locator_list.as_mut().unwrap();
    list.generation = Generation(3);
    list.entries[0].locator = Locator("2001:db8:66::1".parse().unwrap());
    let m = Message::UpdateRequest(c.update_request(3, options.clone()));
    let out = c.hear_on(0, 1, &m);
    let [(_, Message::Error(e))] = &out[..] else { panic!("{out:?}") };
    assert_eq!(e.code, ErrorCode::VerificationFailed);
    let now = c.context().unwrap();
    assert_eq!(now.peer_locators, before.as_ref().unwrap().peer_locators);
    assert_eq!(now.peer_generation, Some(Generation(2)));
    // Neither does a foreign PDS, which is not even answered.
    let stranger = identity(99, 2, 2, Method::Hba);
    let m = Message::UpdateRequest(c.update_request(4, c.locators_of(&stranger, Generation(4))));
    assert!(c.hear_on(0, 1, &m).is_empty());
}

// req-test: S6-10.4-14, S6-4-04
#[test]
fn a_current_locator_marked_broken_is_left_after_a_probe() {
    let mut w = World::new(4, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    let f = w.flow(0, 1, Traffic::Echo(Duration::from_millis(100)));
    w.secs(2);
    let addr = w.hosts[1].addrs[0];
    let since = w.now;
    w.cut_address(1, addr, true);
    w.address(1, AddressEvent::Unusable(addr));
    w.secs(3);
    w.assert_operational(&[0, 1]);
    let gap = w.longest_gap(0, f, since);
    assert!(gap < Duration::from_millis(1500), "{gap:?}");
    for i in 0..2 {
        let c = w.hosts[i].only();
        assert!(c.pair.local.0 != addr && c.pair.peer.0 != addr);
    }
    // By now the peer has been told.
    let peer = &w.hosts[0].only().peer_locators;
    let broken: Vec<bool> =
        peer.iter().map(|l| l.flags.contains(PreferenceFlags::BROKEN)).collect();
    assert_eq!(broken, [true, false]);
    // It comes back, and the flag goes.
    w.cut_address(1, addr, false);
    w.address(1, present(addr));
    w.secs(3);
    let peer = &w.hosts[0].only().peer_locators;
    assert!(peer.iter().all(|l| !l.flags.contains(PreferenceFlags::BROKEN)));
    w.assert_operational(&[0, 1]);
}

/// Lets every pending Update Request of a crafted context be answered; yields it.
fn update_of(c: &mut Craft) -> Option<(LocatorPair, UpdateRequest)> {
    c.sent().into_iter().find_map(|(p, m)| match m {
        Message::UpdateRequest(u) => Some((p, u)),
        _ => None,
    })
}

// req-test: S6-10.1-01, S6-10.1-02, S6-10.1-03, S6-10.1-04, S6-10.2-01, S6-10.2-02, S6-10.3-01, S6-10.3-02
// req-test: S6-10.3-03, S6-10.5-05, S6-5.11-03, S6-7.2-02, S6-5.15.2-04, S6-14-08
#[test]
fn a_new_locator_is_announced_until_acknowledged_and_used_only_then() {
    let mut w = World::with(5, &[(2, Method::HbaCga), (2, Method::Hba)], |_| {});
    w.establish(0, 1);
    w.secs(1);
    w.flow(0, 1, Traffic::Echo(Duration::from_secs(1)));
    let generation = w.hosts[0].only().local_generation.unwrap();
    w.lose = Some(Box::new(|_, m| matches!(m, Message::UpdateAck(_))));
    let new: Ipv6Addr = "2001:db8:1:99::1".parse().unwrap();
    w.hosts[0].addrs.push(new);
    w.address(0, present(new));
    w.secs(1);
    let entry = |w: &World| {
        let c = w.hosts[0].only();
        *c.local_locators.iter().find(|l| l.locator.0 == new).unwrap()
    };
    assert!(!entry(&w).acknowledged);
    // The peer has it already, so it is told again and again, with the same nonce.
    assert_eq!(w.hosts[1].only().peer_locators.len(), 3);
    w.secs(1500);
    let urs: Vec<_> = w.hosts[0].sent_of("Update Request").into_iter().cloned().collect();
    assert!(urs.len() >= 10, "{}", urs.len());
    let Message::UpdateRequest(first) = &urs[0].2 else { panic!() };
    assert!(urs.iter().all(|(_, _, m)| *m == urs[0].2));
    assert!(first.options.pds.is_some() && first.options.signature.is_some());
    assert_eq!(
        first.options.locator_list.as_ref().unwrap().generation,
        Generation(generation.0.wrapping_add(1))
    );
    for (n, pair) in urs.windows(2).enumerate() {
        let nominal = Duration::from_secs((4u64 << n.min(10)).min(120));
        let gap = pair[1].0.since(pair[0].0);
        assert!(gap >= nominal / 2 && gap <= nominal * 3 / 2, "{n}: {gap:?}");
    }
    assert!(w.hosts[0].sent.iter().all(|(_, p, _)| p.local.0 != new), "not used as source before");
    // A second change while the first is out: a new nonce, with everything in it.
    let newer: Ipv6Addr = "2001:db8:1:9a::1".parse().unwrap();
    w.hosts[0].addrs.push(newer);
    w.address(0, present(newer));
    let Message::UpdateRequest(second) =
        w.hosts[0].sent_of("Update Request").last().unwrap().2.clone()
    else {
        panic!()
    };
    assert_ne!(second.request_nonce, first.request_nonce);
    assert_eq!(second.options.locator_list.unwrap().entries.len(), 4);
    w.lose = None;
    w.secs(10);
    assert!(entry(&w).acknowledged);
    assert!(!w.hosts[0].only().updating);
    let quiet = w.hosts[0].sent_of("Update Request").len();
    w.secs(300);
    assert_eq!(w.hosts[0].sent_of("Update Request").len(), quiet);
    // Now it may be used.
    let id = w.hosts[0].only().id;
    let addrs = w.hosts[0].addrs.clone();
    for addr in &addrs[..2] {
        w.cut_address(0, *addr, true);
    }
    w.on(0, |e, cx| e.handle_command(cx, Command::Explore(id))).unwrap();
    w.secs(20);
    let used = w.hosts[0].only().pair.local.0;
    assert!(used == new || used == newer, "{used}");
    w.assert_operational(&[0, 1]);
}

// req-test: S6-10-01, S6-5.15.2-04, S6-10.3-03, S6-10.5-05
#[test]
fn a_lost_locator_is_withdrawn_and_its_acknowledgement_ends_it() {
    let mut w = World::new(6, &[3, 2]);
    w.establish(0, 1);
    w.secs(1);
    let lost = w.hosts[0].addrs[2];
    w.address(0, AddressEvent::Gone(lost));
    w.hosts[0].addrs.pop();
    assert!(w.hosts[0].only().updating);
    w.secs(1);
    assert!(!w.hosts[0].only().updating);
    assert_eq!(w.hosts[1].only().peer_locators.len(), 2);
    let n = w.hosts[0].sent_of("Update Request").len();
    assert_eq!(n, 1);
    w.secs(200);
    assert_eq!(w.hosts[0].sent_of("Update Request").len(), n);
    let told = |e: &Event| matches!(e, Event::Locators { .. });
    assert!(w.hosts[1].events.iter().any(|(_, e)| told(e)));
}

/// An address that is offered no more is no longer used either, though it is still there.
// req-test: S6-10-01, S6-10.4-14
#[test]
fn a_locator_that_was_withdrawn_while_in_use_is_left() {
    let mut w = World::new(6, &[3, 2]);
    w.establish(0, 1);
    w.secs(1);
    let used = w.hosts[0].addrs[1];
    let to = LocatorPair { local: Locator(used), peer: w.hosts[0].only().pair.peer };
    let id = w.hosts[0].only().id;
    w.on(0, |e, cx| e.handle_command(cx, Command::Switch(id, to, Keep::Prefer))).unwrap();
    w.secs(2);
    assert_eq!(w.hosts[0].only().pair, to);
    let AddressEvent::Present(addr) = present(used) else { panic!() };
    w.address(0, AddressEvent::Present(LocalAddress { temporary: true, ..addr }));
    w.secs(5);
    assert_ne!(w.hosts[0].only().pair.local, Locator(used));
    w.assert_operational(&[0, 1]);
}

// req-test: S6-1.5-01, S6-1.5-02
#[test]
fn a_ulid_that_is_gone_ends_its_context_and_the_peer_learns_it() {
    let mut w = World::new(7, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    let f = w.flow(1, 0, Traffic::Echo(Duration::from_millis(500)));
    w.secs(1);
    let gone = w.hosts[0].addrs.remove(0);
    w.address(0, AddressEvent::Gone(gone));
    assert_eq!(w.hosts[0].engine.context_count(), 0);
    assert!(w.hosts[0].plane.entries.is_empty());
    // Its traffic is unanswered, so it probes, gets R1bis, and in the end gives up.
    w.secs(400);
    assert!(w.hosts[0].counter("tx_r1bis") > 0);
    w.stop(f);
    assert_eq!(w.hosts[1].engine.context_count(), 0);
}

// req-test: S6-4-04, RP-3.2-01, RP-4.1-01
#[test]
fn a_lost_link_is_left_at_once() {
    for unreachable in [false, true] {
        let mut w = World::new(8, &[2, 2]);
        w.establish(0, 1);
        w.secs(1);
        let f = w.flow(0, 1, Traffic::Tcp { rto: Duration::from_millis(300) });
        w.secs(5);
        let addr = w.hosts[0].addrs[0];
        let since = w.now;
        w.cut_address(0, addr, true);
        let event = if unreachable {
            AddressEvent::Unreachable(addr)
        } else {
            AddressEvent::Unusable(addr)
        };
        w.address(0, event);
        w.secs(5);
        w.assert_operational(&[0, 1]);
        let gap = w.longest_gap(1, f, since);
        assert!(gap < Duration::from_millis(500), "{gap:?}");
        // The ULID is still the ULID.
        assert_eq!(w.hosts[0].only().ulids.local.0, addr);
        assert!(w.hosts[0].only().tagged);
        // All is well again after the repair, on whatever pair.
        w.cut_address(0, addr, false);
        w.address(0, present(addr));
        w.secs(30);
        w.assert_operational(&[0, 1]);
        let since = w.now;
        w.secs(5);
        assert!(w.longest_gap(1, f, since) < Duration::from_millis(500));
    }
}

// req-test: S6-4-03, RP-3.5-01, RP-4.3-03, RP-4.3-09
#[test]
fn repair_after_everything_was_dead_and_back_to_a_path_that_had_failed() {
    let mut w = World::new(9, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    let f = w.flow(0, 1, Traffic::Echo(Duration::from_millis(500)));
    w.secs(5);
    let pairs: Vec<(Ipv6Addr, Ipv6Addr)> = w.hosts[0]
        .addrs
        .iter()
        .flat_map(|a| w.hosts[1].addrs.iter().map(|b| (*a, *b)).collect::<Vec<_>>())
        .collect();
    for (a, b) in &pairs {
        w.cut(*a, *b, true);
    }
    w.secs(300);
    assert_eq!(w.hosts[0].only().reap, Some(ReapState::Exploring));
    // Slow mode: about one probe a minute.
    let before = w.hosts[0].counter("tx_probe");
    w.secs(300);
    let slow = w.hosts[0].counter("tx_probe") - before;
    assert!((3..=9).contains(&slow), "{slow}");
    w.cut(pairs[0].0, pairs[0].1, false);
    w.secs(300);
    w.assert_operational(&[0, 1]);
    let since = w.now;
    w.secs(5);
    assert!(w.longest_gap(1, f, since) < Duration::from_secs(1));
    for h in &w.hosts {
        assert!(!h.only().tagged, "on the ULIDs again, so the header is gone");
    }
}

// req-test: S6-1.5-01
#[test]
fn losing_the_last_locator_ends_contexts() {
    let mut w = World::new(10, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    for addr in w.hosts[0].addrs.clone().into_iter().rev() {
        w.address(0, AddressEvent::Gone(addr));
    }
    assert_eq!(w.hosts[0].engine.context_count(), 0);
}

// req-test: AL-8.1-01, S6-2.2-01
#[test]
fn temporary_addresses_are_not_given_away() {
    let mut w = World::with(11, &[(2, Method::HbaCga), (2, Method::Hba)], |_| {});
    let temporary: Ipv6Addr = "2001:db8:1:1::7e39".parse().unwrap();
    let plain: Ipv6Addr = "2001:db8:1:77::1".parse().unwrap();
    let deprecated = false;
    w.address(
        0,
        AddressEvent::Present(LocalAddress { addr: temporary, deprecated, temporary: true }),
    );
    w.address(0, present("fe80::1".parse().unwrap()));
    w.hosts[0].addrs.extend([temporary, plain]);
    w.address(0, present(plain));
    w.establish(0, 1);
    w.secs(1);
    let seen: Vec<_> = w.hosts[1].only().peer_locators.iter().map(|l| l.locator.0).collect();
    assert_eq!(seen.len(), 3);
    assert!(seen.contains(&plain) && !seen.contains(&temporary));
    assert_eq!(seen[0], w.hosts[0].addrs[0], "the ULID stands first");
}

// req-test: S6-5.6-12, S6-5.7-06, S6-5.15.3-03
#[test]
fn deprecated_and_broken_addresses_say_so_in_i2() {
    let mut w = World::new(12, &[3, 2]);
    let (old, dead) = (w.hosts[0].addrs[1], w.hosts[0].addrs[2]);
    let temporary = false;
    w.address(0, AddressEvent::Present(LocalAddress { addr: old, deprecated: true, temporary }));
    w.address(0, AddressEvent::Unusable(dead));
    w.establish(0, 1);
    w.secs(1);
    let peer = w.hosts[1].only().peer_locators;
    let of = |a: Ipv6Addr| *peer.iter().find(|l| l.locator.0 == a).unwrap();
    assert_eq!(of(old).priority, 1);
    assert!(of(dead).flags.contains(PreferenceFlags::BROKEN));
    assert_eq!(of(w.hosts[0].addrs[0]).priority, 0);
}

// req-test: S6-12.4-06
#[test]
fn errors_about_an_update_are_put_right_or_end_it() {
    let setup = || {
        let mut c = Craft::with(13, 3, Method::Hba, 2, |_| {});
        c.reach_established();
        let lost = c.us(2);
        c.w.address(0, AddressEvent::Gone(lost));
        let (pair, u) = update_of(&mut c).expect("an Update Request");
        (c, pair, u)
    };
    let error = |c: &Craft, pair: LocatorPair, u: &UpdateRequest, code: u8| {
        let octets = Message::UpdateRequest(u.clone()).emit();
        let packet = crate::world::control_packet(pair.local.0, pair.peer.0, &octets);
        let _ = c;
        let m = ErrorMessage::about(&packet.packet, 40, (code.into(), 16));
        Message::Error(m)
    };
    for (code, again) in [(0u8, false), (1, true), (2, true), (3, true), (4, true), (119, false)] {
        let (mut c, pair, u) = setup();
        // One that quotes something else first.
        let mut other = u.clone();
        other.request_nonce.0 ^= 1;
        let m = error(&c, pair, &other, code);
        assert!(c.hear(&m).is_empty());
        let m = error(&c, pair, &u, code);
        let out = c.hear(&m);
        assert_eq!(kinds(&out), if again { vec!["Update Request"] } else { vec![] }, "code {code}");
        if let Some((pair, Message::UpdateRequest(next))) = out.into_iter().next() {
            assert_ne!(next.request_nonce, u.request_nonce);
            assert!(next.options.pds.is_some() && next.options.locator_list.is_some());
            // Not for ever.
            let m = error(&c, pair, &next, code);
            let third = c.hear(&m);
            if let Some((pair, Message::UpdateRequest(next))) = third.into_iter().next() {
                let m = error(&c, pair, &next, code);
                assert!(c.hear(&m).is_empty(), "code {code}");
            }
        }
        c.w.secs(600);
    }
}

// req-test: RP-5.3-01, RP-5.3-02, RP-5.3-03, RP-5.3-04
#[test]
fn the_send_timeout_is_told_at_first_and_when_it_changes() {
    let mut w = World::with(14, &[(2, Method::Hba), (2, Method::Hba)], |c| {
        c.reap.send_timeout_secs = 20;
    });
    w.establish(0, 1);
    w.secs(1);
    for h in &w.hosts {
        assert_eq!(h.only().keepalive_timeout, Duration::from_secs(20));
    }
    let mut config = w.hosts[0].engine.config().clone();
    config.reap.send_timeout_secs = 30;
    w.on(0, |e, cx| e.set_config(cx, config));
    w.secs(1);
    assert_eq!(w.hosts[1].only().keepalive_timeout, Duration::from_secs(30));
    assert_eq!(w.hosts[0].only().keepalive_timeout, Duration::from_secs(20));
    assert_eq!(w.hosts[0].sent_of("Update Request").len(), 1);
}

// req-test: S6-5.15.2-06
#[test]
fn lists_name_hba_for_members_and_cga_for_others() {
    let mut w = World::with(15, &[(2, Method::HbaCga), (1, Method::Hba)], |_| {});
    let plain: Ipv6Addr = "2001:db8:1:77::1".parse().unwrap();
    w.hosts[0].addrs.push(plain);
    w.address(0, present(plain));
    w.establish(0, 1);
    w.secs(1);
    let Message::I2(i2) = w.hosts[0].sent_of("I2")[0].2.clone() else { panic!() };
    let methods: Vec<_> =
        i2.options.locator_list.unwrap().entries.iter().map(|e| e.method).collect();
    use VerificationMethod::{Cga, Hba};
    assert_eq!(methods, [Hba, Hba, Cga]);
    assert!(i2.options.signature.is_some());
    w.assert_established(0, 1);
}

// req-test: S6-10.3-01, S6-10.3-02, S6-10.3-03
#[test]
fn requests_that_overtake_each_other_do_not_leave_the_older_list_behind() {
    let mut w = World::new(31, &[4, 2]);
    w.establish(0, 1);
    w.secs(1);
    let (ours, b) = (w.hosts[0].addrs.clone(), w.hosts[1].addrs[0]);
    w.link(ours[0], b).delay = Duration::from_millis(300);
    w.address(0, AddressEvent::Gone(ours[3]));
    w.link(ours[0], b).delay = Duration::from_millis(10);
    w.address(0, AddressEvent::Gone(ours[2]));
    w.millis(200);
    assert!(!w.hosts[0].only().updating);
    w.secs(2);
    assert_eq!(w.hosts[1].only().peer_locators.len(), 2);
    assert!(!w.hosts[0].only().updating);
    assert_eq!(w.hosts[0].sent_of("Update Request").len(), 3);
}

// req-test: S6-10.1-01, S6-7.16-07
#[test]
fn what_changes_while_an_exchange_runs_is_told_when_it_ends() {
    // R2 in answer to the peer's I1 has told that a locator is out of order; by the time of our R2 it is not.
    let mut c = Craft::new(43);
    let nonce = c.reach_i1_sent();
    let spare = c.us(1);
    c.w.address(0, AddressEvent::Unreachable(spare));
    let i1 = c.i1(c.tag, 42);
    assert_eq!(kinds(&c.hear(&Message::I1(i1))), ["R2"]);
    c.w.address(0, present(spare));
    let r2 = c.r2(nonce);
    assert_eq!(kinds(&c.hear(&Message::R2(r2))), ["Update Request"]);
    // The peer may have taken the first I2; all others are repetitions to it, even if they tell something newer.
    for again in [false, true] {
        let mut c = Craft::new(45);
        let spare = c.us(1);
        if again {
            c.w.address(0, AddressEvent::Unreachable(spare));
        }
        let nonce = c.reach_i2_sent();
        if again {
            c.w.address(0, present(spare));
        }
        c.w.hosts[0].sent.clear();
        c.w.secs(5);
        assert_eq!(kinds(&c.sent()), ["I2"]);
        let r2 = c.r2(nonce);
        let wanted: &[&str] = if again { &["Update Request"] } else { &[] };
        assert_eq!(kinds(&c.hear(&Message::R2(r2))), wanted);
    }
    // The list of an I2 has lost a locator by the time of its R2.
    let mut c = Craft::new(44);
    let nonce = c.reach_i2_sent();
    let spare = c.us(1);
    c.w.address(0, AddressEvent::Gone(spare));
    let r2 = c.r2(nonce);
    assert_eq!(kinds(&c.hear(&Message::R2(r2))), ["Update Request"]);
}

// req-test: S6-10.1-01
#[test]
fn a_list_is_told_after_r2_only_if_the_peer_cannot_have_it() {
    // R2 in answer to an I1: it follows an R2 of ours, or one is yet to come.
    let mut c = Craft::new(46);
    let nonce = c.reach_i1_sent();
    let r2 = c.r2(nonce);
    assert_eq!(kinds(&c.hear(&Message::R2(r2))), Vec::<&str>::new());
    assert_eq!(c.context().unwrap().local_locators.len(), 2);
    // The I2 of a host with one address brings none, and meanwhile there is another.
    let mut c = Craft::new(47);
    let spare = c.us(1);
    c.w.address(0, AddressEvent::Gone(spare));
    let nonce = c.reach_i2_sent();
    c.w.address(0, present(spare));
    let r2 = c.r2(nonce);
    assert_eq!(kinds(&c.hear(&Message::R2(r2))), ["Update Request"]);
}
