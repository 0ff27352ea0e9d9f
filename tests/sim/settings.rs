//! Settings of one context and pairs that somebody asks for: where exactly the rules begin and end.

use crate::craft::{Craft, PEER_TAG};
use crate::world::World;
use shim6::addr::{ContextTag, Locator, LocatorPair};
use shim6::cga::Method;
use shim6::proto::engine::State;
use shim6::proto::input::{AddressEvent, Keep};
use shim6::proto::reap::ReapState;
use shim6::proto::settings::{Ends, Preference, Settings};
use shim6::proto::{Command, CommandError, ContextId, Event, Time};
use shim6::wire::Message;
use shim6::wire::option::Options;
use std::time::Duration;

fn established(seed: u64) -> (World, ContextId) {
    let mut w = World::new(seed, &[2, 2]);
    let id = w.establish(0, 1);
    w.secs(1);
    (w, id)
}

fn pair(w: &World, l: usize, p: usize) -> LocatorPair {
    LocatorPair { local: Locator(w.hosts[0].addrs[l]), peer: Locator(w.hosts[1].addrs[p]) }
}

fn ask(w: &mut World, command: Command) -> Result<ContextId, CommandError> {
    w.on(0, |e, cx| e.handle_command(cx, command))
}

fn configure(w: &mut World, id: ContextId, settings: &Settings) {
    ask(w, Command::Configure(id, Box::new(settings.clone()))).unwrap();
}

fn current(w: &World) -> LocatorPair {
    w.hosts[0].only().pair
}

/// Tests a pair; when it answered.
fn answered(w: &mut World, id: ContextId, p: LocatorPair) -> Time {
    ask(w, Command::Test(id, p)).unwrap();
    w.secs(1);
    let status = w.hosts[0].only().pairs.into_iter().find(|s| s.pair == p).unwrap();
    assert_eq!(status.unanswered, 0);
    status.answered.unwrap()
}

fn wait_until(w: &mut World, at: Time) {
    let left = at.since(w.now).as_millis() as u64;
    w.millis(left);
    assert_eq!(w.now, at);
}

// req-test: S6-7.2-04
#[test]
fn a_pair_that_has_answered_within_ten_seconds_needs_no_test() {
    for (after, at_once) in [(10_000, true), (10_001, false)] {
        let (mut w, id) = established(1);
        let other = pair(&w, 1, 1);
        let at = answered(&mut w, id, other) + Duration::from_millis(after);
        wait_until(&mut w, at);
        ask(&mut w, Command::Switch(id, other, Keep::No)).unwrap();
        assert_eq!(current(&w) == other, at_once, "{after} ms later");
        w.millis(100);
        assert_eq!(current(&w), other);
    }
    // That another pair has answered says nothing.
    let (mut w, id) = established(2);
    let (one, other) = (pair(&w, 1, 0), pair(&w, 1, 1));
    answered(&mut w, id, one);
    ask(&mut w, Command::Switch(id, other, Keep::No)).unwrap();
    assert_ne!(current(&w), other);
    // Nor that it did before a Probe that is still out.
    let (mut w, id) = established(3);
    let other = pair(&w, 1, 1);
    answered(&mut w, id, other);
    w.lose = Some(Box::new(|_, _| true));
    ask(&mut w, Command::Test(id, other)).unwrap();
    w.millis(600);
    ask(&mut w, Command::Switch(id, other, Keep::No)).unwrap();
    assert_ne!(current(&w), other);
    w.lose = None;
    w.secs(1);
    assert_eq!(current(&w), other);
}

#[test]
fn a_switch_that_is_taken_back_or_overtaken_happens_no_more() {
    let kept = |w: &World| w.hosts[0].only().settings.clone();
    for take_back in 0..5 {
        let (mut w, id) = established(4);
        let (before, other) = (current(&w), pair(&w, 1, 1));
        ask(&mut w, Command::Switch(id, other, Keep::Pin)).unwrap();
        match take_back {
            0 => drop(ask(&mut w, Command::Release(id)).unwrap()),
            1 => configure(&mut w, id, &Settings::default()),
            2 => drop(ask(&mut w, Command::Switch(id, before, Keep::Prefer)).unwrap()),
            3 => drop(ask(&mut w, Command::GiveUpSwitch(id, other)).unwrap()),
            _ => drop(ask(&mut w, Command::GiveUpSwitch(id, before)).unwrap()),
        }
        // Who waits for the pair is told, unless it is he who has given it up.
        let told = |e: &Event| matches!(e, Event::Overtaken { pair, .. } if *pair == other);
        let overtaken = w.hosts[0].events.iter().filter(|(_, e)| told(e)).count();
        assert_eq!(overtaken, usize::from(take_back < 3), "case {take_back}");
        w.secs(1);
        assert_eq!(current(&w) == other, take_back == 4, "case {take_back}");
        let pinned = if take_back == 4 { Ends::of(other) } else { Ends::default() };
        assert_eq!(kept(&w).pin, pinned);
        assert_eq!(kept(&w).prefer, (take_back == 2).then_some(before));
    }
    // An exploration ends what is under way, which is told.
    let (mut w, id) = established(5);
    let other = pair(&w, 1, 1);
    w.lose = Some(Box::new(|_, _| true));
    ask(&mut w, Command::Switch(id, other, Keep::Pin)).unwrap();
    ask(&mut w, Command::Explore(id)).unwrap();
    let told = |e: &Event| matches!(e, Event::Tested { rtt: None, pair, .. } if *pair == other);
    assert_eq!(w.hosts[0].events.iter().filter(|(_, e)| told(e)).count(), 1);
    let refused = ask(&mut w, Command::Switch(id, other, Keep::No));
    assert_eq!(refused, Err(CommandError::Exploring));
    assert!(kept(&w).is_default());
}

#[test]
fn switches_are_refused_before_the_context_is_established_and_to_what_is_not_its() {
    let mut c = Craft::new(6);
    c.reach_i2_sent();
    let (id, other) = (c.context().unwrap().id, c.pair(1, 1));
    let refused = ask(&mut c.w, Command::Switch(id, other, Keep::No));
    assert_eq!(refused, Err(CommandError::State(State::I2Sent)));
    let (mut w, id) = established(6);
    let other = pair(&w, 1, 1);
    for wrong in
        [LocatorPair { local: other.peer, ..other }, LocatorPair { peer: other.local, ..other }]
    {
        for command in [
            Command::Switch(id, wrong, Keep::No),
            Command::Configure(
                id,
                Box::new(Settings { pin: Ends::of(wrong), ..Settings::default() }),
            ),
        ] {
            assert_eq!(ask(&mut w, command), Err(CommandError::BadPair));
        }
    }
    assert!(w.hosts[0].only().settings.is_default());
    // One that is ours but out of order cannot be tested, and there is nothing to wait for.
    let lost = w.hosts[0].addrs[1];
    w.address(0, AddressEvent::Unreachable(lost));
    let refused = ask(&mut w, Command::Switch(id, other, Keep::No));
    assert_eq!(refused, Err(CommandError::BadPair));
    assert_eq!(ask(&mut w, Command::Test(id, other)), Err(CommandError::NotTestable));
}

fn preference(locator: Locator, priority: u8) -> Preference {
    Preference { locator, priority, weight: 0 }
}

// req-test: AP-11.1-04
#[test]
fn the_pair_of_the_best_priorities_on_both_sides_is_looked_for() {
    let (w, _) = established(7);
    let (ours, theirs) =
        ([pair(&w, 0, 0).local, pair(&w, 1, 0).local], [pair(&w, 0, 0).peer, pair(&w, 0, 1).peer]);
    for (local, peer, expected) in [
        ([2, 1], [1, 1], (1, 0)),
        ([1, 1], [2, 1], (0, 1)),
        ([2, 1], [2, 1], (1, 1)),
        ([1, 1], [1, 1], (0, 0)),
    ] {
        let (mut w, id) = established(7);
        let settings = Settings {
            local: vec![preference(ours[0], local[0]), preference(ours[1], local[1])],
            peer: vec![preference(theirs[0], peer[0]), preference(theirs[1], peer[1])],
            ..Settings::default()
        };
        configure(&mut w, id, &settings);
        w.secs(1);
        assert_eq!(current(&w), pair(&w, expected.0, expected.1), "{local:?} {peer:?}");
        // A pin is more than that.
        let pin = Ends { local: Some(ours[0]), peer: None };
        configure(&mut w, id, &Settings { pin, ..settings });
        w.secs(1);
        assert_eq!(current(&w).local, ours[0]);
    }
    // What is marked as broken is not worth it, nor is what cannot be used.
    let (mut w, id) = established(7);
    let best = w.hosts[0].addrs[1];
    let deprecated =
        shim6::proto::input::LocalAddress { addr: best, deprecated: true, temporary: false };
    w.address(0, AddressEvent::Present(deprecated));
    w.secs(1);
    let settings = Settings {
        local: vec![preference(ours[0], 9), preference(ours[1], 1)],
        ..Settings::default()
    };
    configure(&mut w, id, &settings);
    w.secs(1);
    assert_eq!(current(&w), pair(&w, 0, 0));
    w.address(0, AddressEvent::Unreachable(best));
    let prefer = Some(pair(&w, 0, 1));
    configure(&mut w, id, &Settings { prefer, ..settings });
    w.secs(1);
    assert_eq!(current(&w), pair(&w, 0, 0));
}

fn updates(w: &mut World) -> Vec<Options> {
    let sent = std::mem::take(&mut w.hosts[0].sent);
    let all = sent.into_iter().filter_map(|(_, _, m)| match m {
        Message::UpdateRequest(m) => Some(m.options),
        _ => None,
    });
    all.collect()
}

// req-test: RP-5.3-03, AP-6.10-01
#[test]
fn the_peer_is_told_what_concerns_it_and_nothing_else() {
    let (mut w, id) = established(8);
    let (ours, theirs) = (pair(&w, 1, 1).local, pair(&w, 1, 1).peer);
    updates(&mut w);
    let mut settings = Settings { send_timeout_secs: Some(9), ..Settings::default() };
    configure(&mut w, id, &settings);
    let told = updates(&mut w);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].keepalive_timeout, &told[0].preferences), (Some(9), &None));
    w.secs(1);
    settings.initial_probes = Some(7);
    settings.peer = vec![preference(theirs, 1)];
    configure(&mut w, id, &settings);
    assert_eq!(updates(&mut w), [], "that is our own concern");
    w.secs(1);
    settings.local = vec![preference(ours, 3)];
    configure(&mut w, id, &settings);
    let told = updates(&mut w);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].keepalive_timeout, &told[0].locator_list), (None, &None));
    let priorities: Vec<u8> =
        told[0].preferences.as_ref().unwrap().elements.iter().map(|e| e.priority).collect();
    assert_eq!(priorities, [255, 3]);
    w.secs(1);
    configure(&mut w, id, &settings);
    assert_eq!(updates(&mut w), []);
    settings.local = vec![];
    configure(&mut w, id, &settings);
    let told = updates(&mut w);
    assert!(told[0].preferences.is_some(), "what was told before is taken back");
    // Before it is established there is nobody to tell; the exchange itself tells.
    let mut c = Craft::new(8);
    c.reach_i1_sent();
    let id = c.context().unwrap().id;
    configure(&mut c.w, id, &Settings { send_timeout_secs: Some(9), ..Settings::default() });
    assert!(!c.context().unwrap().updating);
    assert_eq!(c.sent(), []);
}

#[test]
fn a_wanted_pair_that_does_not_answer_is_tried_again_after_half_a_minute() {
    let (mut w, id) = established(10);
    let (before, other) = (current(&w), pair(&w, 1, 1));
    w.cut(other.local.0, other.peer.0, true);
    let settings = Settings { pin: Ends::of(other), ..Settings::default() };
    configure(&mut w, id, &settings);
    let failed = |w: &World| {
        let tested = |e: &Event| matches!(e, Event::Tested { rtt: None, .. });
        w.hosts[0].events.iter().filter(|(_, e)| tested(e)).map(|(t, _)| *t).collect::<Vec<_>>()
    };
    while failed(&w).is_empty() {
        w.millis(1);
    }
    let first = failed(&w)[0];
    w.cut(other.local.0, other.peer.0, false);
    while current(&w) == before {
        w.millis(1);
    }
    let after = w.now.since(first);
    assert!((Duration::from_secs(30)..Duration::from_millis(36_100)).contains(&after), "{after:?}");
    // A test that somebody else asked for ends nothing of this.
    assert_eq!(w.hosts[0].only().reap, Some(ReapState::Operational));
    // A switch without any wish is not repeated.
    let (mut w, id) = established(11);
    let (before, other) = (current(&w), pair(&w, 1, 1));
    w.cut(other.local.0, other.peer.0, true);
    ask(&mut w, Command::Switch(id, other, Keep::No)).unwrap();
    w.secs(10);
    w.cut(other.local.0, other.peer.0, false);
    w.secs(60);
    assert_eq!(current(&w), before);
}

/// While a wanted pair is tested, the answer to another test moves nothing.
#[test]
fn only_the_test_of_the_wanted_pair_decides() {
    let (mut w, id) = established(12);
    let (before, other, third) = (current(&w), pair(&w, 1, 1), pair(&w, 1, 0));
    w.cut(other.local.0, other.peer.0, true);
    ask(&mut w, Command::Test(id, third)).unwrap();
    ask(&mut w, Command::Switch(id, other, Keep::No)).unwrap();
    w.secs(1);
    let tested =
        |e: &Event| matches!(e, Event::Tested { rtt: Some(_), pair, .. } if *pair == third);
    assert!(w.hosts[0].events.iter().any(|(_, e)| tested(e)));
    assert_eq!(current(&w), before);
}

/// The peer never answers on the locator that is preferred.
fn preferring(seed: u64) -> (Craft, ContextId) {
    let mut c = Craft::with(seed, 2, Method::Hba, 3, |_| {});
    c.reach_established();
    let id = c.context().unwrap().id;
    let peer = vec![Preference { locator: Locator(c.them(1)), priority: 1, weight: 1 }];
    configure(&mut c.w, id, &Settings { peer, ..Settings::default() });
    c.w.secs(20);
    c.sent();
    (c, id)
}

/// Whether what was sent just now tests the preferred locator.
fn tested(c: &mut Craft) -> bool {
    let preferred = Locator(c.them(1));
    c.sent().iter().any(|(p, m)| p.peer == preferred && matches!(m, Message::Probe(_)))
}

#[test]
fn a_preferred_locator_is_tested_at_once_when_the_peer_establishes_the_context_anew() {
    let (mut c, _) = preferring(13);
    let i2 = c.i2(ContextTag::from_masked(PEER_TAG + 1), 6);
    c.hear(&Message::I2(i2));
    c.w.millis(1);
    assert!(tested(&mut c));
}

#[test]
fn updates_of_the_peer_do_not_put_off_the_next_test_of_a_preferred_locator() {
    let (mut c, _) = preferring(14);
    let mut again = false;
    for n in 0..8 {
        let m = c.update_request(n, Options::default());
        c.hear(&Message::UpdateRequest(m));
        c.w.secs(5);
        again |= tested(&mut c);
    }
    assert!(again);
}

#[test]
fn a_test_that_somebody_waits_for_is_not_given_up_for_a_preferred_locator() {
    let (mut c, _) = preferring(15);
    while !tested(&mut c) {
        c.w.millis(10);
    }
    let due = c.w.now;
    let (mut c, id) = preferring(15);
    let left = due.since(c.w.now).as_millis() as u64;
    c.w.millis(left - 100);
    let other = c.pair(0, 2);
    ask(&mut c.w, Command::Switch(id, other, Keep::No)).unwrap();
    c.w.millis(200);
    let overtaken = |e: &Event| matches!(e, Event::Overtaken { .. });
    assert!(!c.w.hosts[0].events.iter().any(|(_, e)| overtaken(e)));
    assert!(!tested(&mut c));
}

#[test]
fn new_settings_move_nothing_while_an_exploration_runs() {
    let (mut w, id) = established(16);
    let (before, others) = (current(&w), [pair(&w, 1, 0), pair(&w, 1, 1)]);
    for p in others {
        answered(&mut w, id, p);
    }
    w.lose = Some(Box::new(|_, _| true));
    ask(&mut w, Command::Explore(id)).unwrap();
    // One of them has not been probed again yet: were it not for the exploration it would need no test.
    let known = w.hosts[0].only().pairs;
    let fresh = known.iter().find(|s| others.contains(&s.pair) && s.unanswered == 0);
    let fresh = fresh.unwrap().pair;
    configure(&mut w, id, &Settings { pin: Ends::of(fresh), ..Settings::default() });
    assert_eq!(current(&w), before);
    w.lose = None;
    w.secs(60);
    assert_eq!(current(&w), fresh);
}

#[test]
fn preferences_are_among_locators_that_work() {
    let mut w = World::new(17, &[3, 2]);
    let id = w.establish(0, 1);
    w.secs(1);
    let (lost, broken) = (w.hosts[0].addrs[2], w.hosts[1].addrs[1]);
    w.address(0, AddressEvent::Unreachable(lost));
    w.address(1, AddressEvent::Unreachable(broken));
    w.secs(1);
    let ours = w.hosts[0].addrs.iter().rev().zip(1..);
    let local = ours.map(|(a, priority)| Preference { locator: Locator(*a), priority, weight: 1 });
    let peer = vec![Preference { locator: Locator(broken), priority: 1, weight: 1 }];
    let settings = Settings { local: local.collect(), peer, ..Settings::default() };
    configure(&mut w, id, &settings);
    w.secs(2);
    assert_eq!(current(&w), pair(&w, 1, 0));
}
