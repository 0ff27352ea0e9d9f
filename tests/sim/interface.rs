//! What a driver sees of the engine beside its packets: questions, refusals, counters, new settings.

use crate::craft::Craft;
use crate::world::World;
use shim6::addr::{Fii, UlidPair};
use shim6::proto::config::Detection;
use shim6::proto::engine::journal::RestoreError;
use shim6::proto::engine::{CommandError, State};
use shim6::proto::input::{AddressEvent, LocalAddress, LocatorRule};
use shim6::proto::{Command, ContextId, Input, Time};
use shim6::wire::Message;
use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Duration;

fn established(seed: u64, hosts: &[usize]) -> World {
    let mut w = World::new(seed, hosts);
    w.establish(0, 1);
    w.secs(1);
    w
}

fn set_config(w: &mut World, i: usize, change: impl Fn(&mut shim6::proto::Config)) {
    let mut config = w.hosts[i].engine.config().clone();
    change(&mut config);
    w.on(i, |e, cx| e.set_config(cx, config.clone()));
    assert_eq!(*w.hosts[i].engine.config(), config);
}

#[test]
fn a_new_bound_on_locators_reaches_the_peer() {
    let mut w = established(1, &[3, 2]);
    assert_eq!(w.hosts[1].only().peer_locators.len(), 3);
    set_config(&mut w, 0, |c| c.limits.locators = 2);
    w.secs(1);
    assert_eq!(w.hosts[1].only().peer_locators.len(), 2);
    set_config(&mut w, 0, |c| c.limits.locators = 3);
    w.secs(1);
    assert_eq!(w.hosts[1].only().peer_locators.len(), 3);
}

#[test]
fn contexts_that_exist_are_watched_once_detection_is_fast() {
    let mut w = established(2, &[2, 2]);
    let watched = |w: &World| w.hosts[0].plane.entries.values().all(|e| e.forward.watch);
    assert!(!watched(&w));
    set_config(&mut w, 0, |c| c.reap.detection = Detection::Fast);
    assert!(watched(&w));
    set_config(&mut w, 0, |c| c.reap.detection = Detection::Rfc);
    assert!(!watched(&w));
    assert_eq!([Detection::Rfc.name(), Detection::Fast.name()], ["rfc", "fast"]);
}

/// A list with the contents of just now keeps its generation, one with others gets the next.
#[test]
fn what_comes_back_unchanged_is_no_news() {
    let mut w = established(3, &[2, 2]);
    let before = w.hosts[0].only().local_generation;
    let identities = w.hosts[0].engine.locals().identities().to_vec();
    w.on(0, |e, cx| e.set_identities(cx, identities));
    w.secs(1);
    assert_eq!(w.hosts[0].sent_of("Update Request").len(), 0);
    w.hosts[0].sent.clear();
    let now = w.hosts[0].only().local_generation;
    assert_eq!(now, before);
}

#[test]
fn activity_that_is_not_handed_in_is_asked_for_again_a_second_later() {
    let mut w = established(4, &[2, 2]);
    w.secs(1);
    let look = w.hosts[0].engine.poll_timeout().unwrap();
    let e = &mut w.hosts[0].engine;
    let mut now = look;
    while e.due_activity(now).is_none() {
        now = now + Duration::from_millis(100);
    }
    assert_eq!(e.due_activity(now), None);
    assert_eq!(e.due_activity(now + Duration::from_millis(999)), None);
    assert!(e.due_activity(now + Duration::from_secs(1)).is_some());
}

#[test]
fn inputs_are_handled_whatever_their_form() {
    let mut c = Craft::new(5);
    let ulids = c.ulids();
    c.w.on(0, |e, cx| e.handle(cx, Input::Command(Command::Establish(ulids))));
    assert_eq!(c.state(), State::I1Sent);
    c.w.on(0, |e, cx| e.handle(cx, Input::Command(Command::Explore(ContextId(99)))));
    assert_eq!(c.w.hosts[0].engine.counters().get("command_refused"), Some(&1));
    assert_eq!(c.w.hosts[0].engine.context_count(), 1);
    assert_eq!(c.w.hosts[0].engine.contexts().count(), 1);
    let pairs: Vec<_> = c.w.hosts[0].engine.pairs().collect();
    assert_eq!(pairs, [(ulids, ulids.locators())]);
}

#[test]
fn drops_are_counted_by_reason() {
    let mut c = Craft::new(6);
    c.reach_established();
    assert!(c.w.hosts[0].engine.drops().is_empty());
    for n in 1..=3 {
        let r2 = c.r2(shim6::addr::InitNonce(1));
        c.hear(&Message::R2(r2));
        let drops = c.w.hosts[0].engine.drops();
        assert_eq!(drops.values().copied().collect::<Vec<u64>>(), [n], "{drops:?}");
    }
}

#[test]
fn hold_downs_are_counted() {
    let mut c = Craft::new(7);
    assert_eq!(c.w.hosts[0].engine.holddown_count(), 0);
    c.reach_e_failed();
    assert_eq!(c.w.hosts[0].engine.holddown_count(), 1);
}

#[test]
fn refusals_differ_in_words() {
    let all = [
        CommandError::NoSuchContext,
        CommandError::NotOurs,
        CommandError::BadUlid,
        CommandError::Policy,
        CommandError::HeldDown(State::EFailed),
        CommandError::HeldDown(State::NoSupport),
        CommandError::Full,
        CommandError::State(State::I1Sent),
        CommandError::BadPair,
        CommandError::Exploring,
        CommandError::Pinned,
    ];
    let words: BTreeSet<String> = all.iter().map(|e| e.to_string()).collect();
    assert_eq!(words.len(), all.len());
    assert!(words.iter().all(|w| w.len() > 10), "{words:?}");
    assert_eq!(ContextId(17).to_string(), "17");
}

#[test]
fn saved_contexts_with_too_many_locators_are_malformed() {
    let mut w = established(8, &[3, 3]);
    let saved = w.hosts[0].engine.export_contexts().remove(0).1;
    assert_eq!((saved.local.len(), saved.peer.len()), (3, 3));
    for (locators, local, peer, fits) in
        [(3, 3, 3, true), (2, 3, 2, false), (2, 2, 3, false), (2, 2, 2, true), (1, 3, 1, false)]
    {
        w.restart(0);
        set_config(&mut w, 0, |c| c.limits.locators = locators);
        let mut s = saved.clone();
        s.local.truncate(local);
        s.peer.truncate(peer);
        let restored = w.on(0, |e, cx| e.restore_context(cx, s));
        let expected = if fits { Ok(()) } else { Err(RestoreError::Malformed) };
        assert_eq!(restored.map(|_| ()), expected, "{locators}: {local}, {peer}");
        set_config(&mut w, 0, |c| c.limits.locators = 3);
    }
}

#[test]
fn another_context_with_the_tag_is_in_the_way_of_a_saved_one() {
    let mut w = World::new(9, &[2, 2, 2]);
    w.establish(0, 1);
    w.establish(0, 2);
    w.secs(1);
    let saved: Vec<_> = w.hosts[0].engine.export_contexts().into_iter().map(|(_, s)| s).collect();
    w.restart(0);
    let mut second = saved[1].clone();
    w.on(0, |e, cx| e.restore_context(cx, saved[0].clone())).unwrap();
    second.local_tag = saved[0].local_tag;
    let refused = w.on(0, |e, cx| e.restore_context(cx, second));
    assert_eq!(refused, Err(RestoreError::Exists));
    let mut same = saved[0].clone();
    same.local_tag = saved[1].local_tag;
    assert_eq!(w.on(0, |e, cx| e.restore_context(cx, same)), Err(RestoreError::Exists));
    w.on(0, |e, cx| e.restore_context(cx, saved[1].clone())).unwrap();
}

/// An Update Request that was under way says all it could have said.
#[test]
fn a_restored_update_tells_list_preferences_and_send_timeout() {
    let mut w = established(10, &[2, 2]);
    let spare = w.hosts[0].addrs[1];
    w.address(0, AddressEvent::Unreachable(spare));
    w.secs(1);
    let mut saved = w.hosts[0].engine.export_contexts().remove(0).1;
    assert!(saved.local[1].broken && !saved.updating);
    saved.updating = true;
    w.restart(0);
    w.address(0, AddressEvent::Unreachable(spare));
    w.hosts[0].sent.clear();
    w.on(0, |e, cx| e.restore_context(cx, saved)).unwrap();
    w.millis(500);
    let options = w.hosts[0].sent.iter().find_map(|(_, _, m)| match m {
        Message::UpdateRequest(u) => Some(u.options.clone()),
        _ => None,
    });
    let options = options.expect("an Update Request");
    assert!(options.locator_list.is_some_and(|l| l.entries.len() == 2));
    assert!(options.preferences.is_some_and(|p| p.elements.len() == 2));
    assert_eq!(options.keepalive_timeout, Some(15));
}

#[test]
fn ulids_have_to_be_unicast_and_of_two_hosts() {
    let mut c = Craft::new(11);
    let good = c.ulids();
    let ulid = |a: &str| shim6::addr::Ulid(a.parse().unwrap());
    for (ulids, expected) in [
        (UlidPair { local: ulid("ff02::1"), ..good }, CommandError::BadUlid),
        (UlidPair { peer: ulid("ff02::1"), ..good }, CommandError::BadUlid),
        (UlidPair { peer: ulid("fe80::1"), ..good }, CommandError::BadUlid),
        (UlidPair { peer: ulid("fec0::1"), ..good }, CommandError::BadUlid),
        (UlidPair { peer: ulid("::"), ..good }, CommandError::BadUlid),
        (UlidPair { peer: ulid("::1"), ..good }, CommandError::BadUlid),
        (UlidPair { peer: ulid("::ffff:192.0.2.1"), ..good }, CommandError::BadUlid),
        (UlidPair { peer: good.local, ..good }, CommandError::BadUlid),
        (UlidPair { local: ulid("2001:db8:77::1"), ..good }, CommandError::NotOurs),
    ] {
        let refused = c.w.on(0, |e, cx| e.handle_command(cx, Command::Establish(ulids)));
        assert_eq!(refused, Err(expected), "{ulids:?}");
        assert_eq!(c.w.hosts[0].engine.find(ulids, Fii(0)), None);
    }
}

#[test]
fn a_list_in_another_order_is_another_list() {
    let mut w = established(12, &[3, 2]);
    let addrs = w.hosts[0].addrs.clone();
    let order = |w: &World| -> Vec<_> {
        w.hosts[1].only().peer_locators.iter().map(|e| e.locator.0).collect()
    };
    assert_eq!(order(&w), addrs);
    let before = w.hosts[1].only().peer_generation;
    let status = LocalAddress { addr: addrs[1], deprecated: true, temporary: false };
    w.address(0, AddressEvent::Present(status));
    w.secs(1);
    assert_eq!(order(&w), [addrs[0], addrs[2], addrs[1]]);
    assert_ne!(w.hosts[1].only().peer_generation, before);
}

#[test]
fn preferences_that_say_nothing_are_left_out() {
    let w = established(13, &[2, 2]);
    let told = |i: usize| -> Vec<bool> {
        let sent = w.hosts[i].sent.iter();
        sent.filter_map(|(_, _, m)| match m {
            Message::I2(m) => Some(m.options.preferences.is_some()),
            Message::R2(m) => Some(m.options.preferences.is_some()),
            _ => None,
        })
        .collect()
    };
    assert_eq!((told(0), told(1)), (vec![false], vec![false]));
}

/// The ULID needs no proof of reachability, on whatever pair the exchange went; other locators do.
#[test]
fn packets_may_go_to_the_ulid_at_any_time() {
    let mut c = Craft::with(14, 3, shim6::cga::Method::Hba, 3, |_| {});
    let i2 = c.i2_on(1, 1, c.tag, 42);
    c.hear_on(1, 1, &Message::I2(i2));
    assert_eq!(c.state(), State::Established);
    let probed: Vec<bool> = c.context().unwrap().peer_locators.iter().map(|l| l.probed).collect();
    assert_eq!(probed, [true, true, false]);
}

#[test]
fn copies_are_held_while_an_exploration_runs_and_not_before() {
    let mut c = Craft::new(15);
    c.reach_established();
    let held = |c: &Craft| c.w.hosts[0].plane.entries.values().all(|e| e.forward.hold);
    assert!(!held(&c));
    let id = c.context().unwrap().id;
    c.w.on(0, |e, cx| e.handle_command(cx, Command::Explore(id))).unwrap();
    assert!(held(&c));
}

// req-test: S6-9-02
#[test]
fn default_contexts_that_nobody_uses_are_named() {
    let mut w = World::new(9, &[2, 2]);
    let unused = |w: &World, since: Time| -> Vec<_> { w.hosts[0].engine.unused(since).collect() };
    let began = w.now;
    let id = w.establish(0, 1);
    assert_eq!(unused(&w, began), [], "not established");
    w.secs(1);
    let ulids = w.ulids(0, 1);
    w.on(0, |e, cx| e.handle_command(cx, Command::Fork(ulids))).unwrap();
    w.secs(1);
    assert_eq!(w.hosts[0].engine.context_count(), 2);
    let before = Time::from_nanos(began.nanos() - 1);
    assert_eq!(unused(&w, before), [], "made since");
    assert_eq!(unused(&w, began), [(id, ulids, false)], "the fork has a socket of its own");
    w.on(0, |e, cx| e.handle_command(cx, Command::InUse(id, true))).unwrap();
    assert_eq!(unused(&w, before), [(id, ulids, true)]);
}

#[test]
fn what_an_administrator_decided_is_told_again() {
    let mut w = World::new(10, &[2, 2]);
    let addr = w.hosts[0].addrs[1];
    let rule = LocatorRule { broken: true, ..LocatorRule::default() };
    let rules = |w: &World| w.hosts[0].engine.locals().rules().collect::<Vec<_>>();
    assert_eq!(rules(&w), []);
    w.on(0, |e, cx| e.handle_command(cx, Command::Locator(addr, rule))).unwrap();
    assert_eq!(rules(&w), [(addr, rule)]);
    w.on(0, |e, cx| e.handle_command(cx, Command::Locator(addr, LocatorRule::default()))).unwrap();
    assert_eq!(rules(&w), []);
}

#[test]
fn what_the_tables_hold_is_told_with_their_bounds() {
    let held = |w: &World| -> Vec<(&'static str, usize)> {
        w.hosts[0].engine.tables().iter().map(|t| (t.name, t.entries)).collect()
    };
    let mut c = Craft::new(11);
    assert!(held(&c.w).iter().all(|(_, n)| *n == 0));
    // R1s go to hosts in three networks.
    for n in 1..=3 {
        let from = Ipv6Addr::new(0x2001, 0xdb8, 0x77, n, 0, 0, 0, 1);
        let i1 = c.i1(c.tag, n.into());
        c.hear_from(from, c.us(0), &Message::I1(i1));
    }
    c.reach_established();
    let expect = |contexts, resting| {
        [("contexts", contexts), ("E-FAILED", 0), ("NO-SUPPORT", 0), ("resting tags", resting)]
    };
    assert_eq!(held(&c.w)[..4], expect(1, 0));
    assert_eq!(held(&c.w)[4], ("prefixes", 3));
    for _ in 0..2 {
        let id = c.context().unwrap().id;
        c.w.on(0, |e, cx| e.handle_command(cx, Command::Discard(id))).unwrap();
        c.reach_established();
    }
    assert_eq!(held(&c.w)[..4], expect(1, 2));
    assert!(c.w.hosts[0].engine.tables().iter().all(|t| t.entries <= t.bound));
}
