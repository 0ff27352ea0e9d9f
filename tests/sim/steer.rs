//! Pairs and settings that somebody asks for.

use crate::world::{Traffic, World, present};
use shim6::addr::{Fii, Locator, LocatorPair};
use shim6::cga::Method;
use shim6::proto::engine::State;
use shim6::proto::engine::journal::SavedContext;
use shim6::proto::input::{AddressEvent, Keep, LocalAddress};
use shim6::proto::reap::ReapState;
use shim6::proto::settings::{Ends, Preference, Settings};
use shim6::proto::{Command, CommandError, ContextId, Event};
use std::time::Duration;

fn established(seed: u64) -> (World, ContextId, usize) {
    let mut w = World::new(seed, &[2, 2]);
    let id = w.establish(0, 1);
    w.secs(1);
    let f = w.flow(0, 1, Traffic::Echo(Duration::from_millis(200)));
    w.secs(3);
    (w, id, f)
}

fn pair(w: &World, i: usize, j: usize) -> LocatorPair {
    LocatorPair { local: Locator(w.hosts[0].addrs[i]), peer: Locator(w.hosts[1].addrs[j]) }
}

fn ask(w: &mut World, command: Command) -> Result<ContextId, CommandError> {
    w.on(0, |e, cx| e.handle_command(cx, command))
}

fn current(w: &World, id: ContextId) -> LocatorPair {
    w.hosts[0].engine.context(id).unwrap().pair
}

fn events(w: &World, is_it: impl Fn(&Event) -> bool) -> usize {
    w.hosts[0].events.iter().filter(|(_, e)| is_it(e)).count()
}

/// Cuts or repairs a pair of the first host in both directions.
fn cut(w: &mut World, p: LocatorPair, cut: bool) {
    w.cut(p.local.0, p.peer.0, cut);
    w.cut(p.peer.0, p.local.0, cut);
}

// req-test: S6-7.2-04, S6-16-02, RP-3.3-04
#[test]
fn a_pair_is_tested_before_it_is_used_and_the_peer_keeps_its_own() {
    for seed in 0..5 {
        let (mut w, id, f) = established(seed);
        let (before, other) = (current(&w, id), pair(&w, 1, 1));
        let since = w.now;
        ask(&mut w, Command::Switch(id, other, Keep::No)).unwrap();
        assert_eq!(current(&w, id), before, "not before the answer");
        w.millis(100);
        assert_eq!(current(&w, id), other);
        assert_eq!(events(&w, |e| matches!(e, Event::Tested { rtt: Some(_), .. })), 1);
        assert_eq!(events(&w, |e| matches!(e, Event::Switched { to, .. } if *to == other)), 1);
        let back = w.hosts[1].only();
        assert_eq!(back.pair, back.ulids.locators(), "the peer chooses for itself");
        w.secs(60);
        assert_eq!(current(&w, id), other);
        assert!(w.longest_gap(1, f, since) < Duration::from_millis(400));
        w.assert_operational(&[0, 1]);
        // It answered lately, so the way back takes no test. To itself there is none either.
        ask(&mut w, Command::Test(id, before)).unwrap();
        w.secs(1);
        ask(&mut w, Command::Switch(id, before, Keep::No)).unwrap();
        assert_eq!(current(&w, id), before);
        ask(&mut w, Command::Switch(id, before, Keep::Prefer)).unwrap();
        assert_eq!(w.hosts[0].only().settings.prefer, Some(before));
    }
}

// req-test: S6-7.2-03
#[test]
fn a_pair_that_does_not_answer_is_not_used() {
    let (mut w, id, _) = established(1);
    let (before, other) = (current(&w, id), pair(&w, 1, 1));
    cut(&mut w, other, true);
    ask(&mut w, Command::Switch(id, other, Keep::Pin)).unwrap();
    w.secs(10);
    assert_eq!(current(&w, id), before);
    assert_eq!(events(&w, |e| matches!(e, Event::Tested { rtt: None, .. })), 1);
    assert!(w.hosts[0].only().settings.is_default(), "nor is it pinned");
    w.assert_operational(&[0, 1]);
    let stranger = LocatorPair { local: other.local, peer: other.local };
    let refused = ask(&mut w, Command::Switch(id, stranger, Keep::No));
    assert_eq!(refused, Err(CommandError::BadPair));
    let gone = ask(&mut w, Command::Switch(ContextId(99), other, Keep::No));
    assert_eq!(gone, Err(CommandError::NoSuchContext));
}

#[test]
fn a_pinned_pair_is_left_when_it_fails_and_returned_to_when_it_works() {
    for seed in 0..5 {
        let (mut w, id, _) = established(seed);
        let pinned = pair(&w, 1, 0);
        ask(&mut w, Command::Switch(id, pinned, Keep::Pin)).unwrap();
        w.secs(1);
        assert_eq!(current(&w, id), pinned);
        assert_eq!(w.hosts[0].only().settings.pin, Ends::of(pinned));
        assert_eq!(ask(&mut w, Command::Explore(id)), Err(CommandError::Pinned));
        let elsewhere = pair(&w, 0, 0);
        let moved = ask(&mut w, Command::Switch(id, elsewhere, Keep::No));
        assert_eq!(moved, Err(CommandError::Pinned));
        cut(&mut w, pinned, true);
        w.secs(40);
        assert_ne!(current(&w, id), pinned, "the flow is worth more");
        w.assert_operational(&[0, 1]);
        cut(&mut w, pinned, false);
        w.secs(40);
        assert_eq!(current(&w, id), pinned, "seed {seed}");
        ask(&mut w, Command::Release(id)).unwrap();
        cut(&mut w, pinned, true);
        w.secs(40);
        cut(&mut w, pinned, false);
        w.secs(80);
        assert_ne!(current(&w, id), pinned, "nobody wants it any more");
    }
}

/// The test of the pinned pair finds out that the peer has lost the context, and ends with it.
#[test]
fn a_pin_outlives_a_context_that_the_peer_has_lost() {
    for seed in 0..5 {
        let (mut w, id, _) = established(seed);
        w.restart(1);
        let pin = Ends { local: Some(Locator(w.hosts[0].addrs[1])), peer: None };
        let settings = Settings { pin, ..Settings::default() };
        ask(&mut w, Command::Configure(id, Box::new(settings))).unwrap();
        w.secs(40);
        assert_eq!(w.hosts[0].engine.context(id).unwrap().state, State::Established);
        assert_eq!(current(&w, id).local, Locator(w.hosts[0].addrs[1]), "seed {seed}");
    }
}

#[test]
fn one_end_can_be_pinned() {
    let (mut w, id, _) = established(3);
    let pin = Ends { local: Some(Locator(w.hosts[0].addrs[1])), peer: None };
    let settings = Settings { pin, ..Settings::default() };
    ask(&mut w, Command::Configure(id, Box::new(settings))).unwrap();
    w.secs(1);
    assert_eq!(current(&w, id), pair(&w, 1, 0));
    ask(&mut w, Command::Explore(id)).unwrap();
    w.secs(5);
    assert_eq!(current(&w, id).local, Locator(w.hosts[0].addrs[1]), "the other end is free");
    let strange = Ends { peer: Some(Locator(w.hosts[0].addrs[0])), ..pin };
    let wrong = Settings { pin: strange, ..Settings::default() };
    let refused = ask(&mut w, Command::Configure(id, Box::new(wrong)));
    assert_eq!(refused, Err(CommandError::BadPair));
}

/// The peer offers the preferred locator only later.
#[test]
fn a_preferred_locator_of_the_peer_is_used_when_it_is_offered() {
    for (seed, pins) in [(15, true), (15, false)] {
        let (mut w, id, _) = established(seed);
        let wanted = pair(&w, 0, 1);
        let AddressEvent::Present(offered) = present(wanted.peer.0) else { panic!() };
        let hidden = LocalAddress { temporary: true, ..offered };
        let offer = |w: &mut World, a| w.address(1, AddressEvent::Present(a));
        if pins {
            let pin = Ends { local: None, peer: Some(wanted.peer) };
            let settings = Settings { pin, ..Settings::default() };
            ask(&mut w, Command::Configure(id, Box::new(settings))).unwrap();
            w.secs(2);
            assert_eq!(current(&w, id).peer, wanted.peer);
            offer(&mut w, hidden);
        } else {
            offer(&mut w, hidden);
            w.secs(1);
            let peer = [(wanted.peer, 1), (pair(&w, 0, 0).peer, 2)];
            let peer = peer.map(|(locator, priority)| Preference { locator, priority, weight: 10 });
            let settings = Settings { peer: peer.to_vec(), ..Settings::default() };
            ask(&mut w, Command::Configure(id, Box::new(settings))).unwrap();
        }
        w.secs(120);
        assert_ne!(current(&w, id).peer, wanted.peer);
        offer(&mut w, offered);
        w.secs(40);
        assert_eq!(current(&w, id).peer, wanted.peer, "pinned: {pins}");
    }
}

// req-test: AP-11.1-03, AP-11.1-04, AP-6.5-01, AP-6.4-01
#[test]
fn preferences_choose_the_pair_and_a_pin_supersedes_them() {
    let (mut w, id, _) = established(4);
    let prefer = |w: &World, host: usize, i: usize| {
        let locator = Locator(w.hosts[host].addrs[i]);
        vec![Preference { locator, priority: 1, weight: 10 }]
    };
    let peer = prefer(&w, 1, 1);
    let mut settings = Settings { peer, ..Settings::default() };
    ask(&mut w, Command::Configure(id, Box::new(settings.clone()))).unwrap();
    w.secs(1);
    assert_eq!(current(&w, id).peer, Locator(w.hosts[1].addrs[1]));
    settings.local = prefer(&w, 0, 1);
    settings.pin.peer = Some(Locator(w.hosts[1].addrs[0]));
    settings.pin.local = Some(Locator(w.hosts[0].addrs[0]));
    ask(&mut w, Command::Configure(id, Box::new(settings.clone()))).unwrap();
    w.secs(1);
    assert_eq!(current(&w, id), pair(&w, 0, 0));
    settings.pin = Ends::default();
    ask(&mut w, Command::Configure(id, Box::new(settings))).unwrap();
    w.secs(1);
    assert_eq!(current(&w, id), pair(&w, 1, 1));
}

// req-test: AP-6.12-01, RP-5.3-01, RP-5.3-03
#[test]
fn a_send_timeout_of_its_own_is_told_and_kept() {
    let (mut w, id, f) = established(5);
    let settings = Settings { send_timeout_secs: Some(4), ..Settings::default() };
    ask(&mut w, Command::Configure(id, Box::new(settings.clone()))).unwrap();
    w.secs(1);
    let there = w.hosts[1].only();
    assert_eq!(there.keepalive_timeout, Duration::from_secs(4));
    let here = w.hosts[0].engine.context(id).unwrap();
    assert_eq!((here.config.send_timeout_secs, here.updating), (4, false));
    let failed = w.now;
    let now = current(&w, id);
    cut(&mut w, now, true);
    w.secs(8);
    assert!(w.longest_gap(1, f, failed) < Duration::from_millis(6500), "not 15 s");
    // A restarted daemon knows it, too.
    let saved = w.hosts[0].engine.saved_context(id).unwrap();
    assert_eq!(saved.settings, settings);
    assert_eq!(SavedContext::from_bytes(&saved.to_bytes()).unwrap(), saved);
}

#[test]
fn settings_survive_the_journal_and_older_journals_are_read() {
    let (w, id, _) = established(6);
    let mut saved = w.hosts[0].engine.saved_context(id).unwrap();
    let plain = saved.to_bytes();
    let other = pair(&w, 1, 1);
    let preference = Preference { locator: other.peer, priority: 3, weight: 7 };
    saved.settings = Settings {
        send_timeout_secs: Some(9),
        keepalive_interval: Some(Duration::from_secs(3)),
        initial_probes: Some(6),
        initial_probe_timeout: Some(Duration::from_millis(200)),
        pin: Ends { local: Some(other.local), peer: None },
        prefer: Some(other),
        hot_standby: Some(true),
        local: vec![],
        extra: vec![other.local],
        peer: vec![preference],
    };
    let octets = saved.to_bytes();
    assert_eq!(SavedContext::from_bytes(&octets).unwrap(), saved);
    // The form before that has no settings, and 1 as its first octet; the one before this, 2, knows neither hot standby nor
    // further locators.
    saved.settings = Settings::default();
    const SHORT: usize = 3 + 5 + 3 + 5 + 4 * 17 + 2;
    const NEW: usize = 2 + 1;
    let end = plain.len() - saved.peer_pds.as_ref().map_or(0, Vec::len);
    let mut old = plain.clone();
    old.drain(end - NEW..end);
    old[0] = 2;
    assert_eq!(SavedContext::from_bytes(&old).unwrap(), saved);
    let mut old = plain;
    old.drain(end - NEW - SHORT..end);
    old[0] = 1;
    assert_eq!(SavedContext::from_bytes(&old).unwrap(), saved);
}

// req-test: S6-4.2-02, S6-12.4-07, S6-4.2-01
#[test]
fn a_forked_context_is_steered_alone() {
    let (mut w, id, f) = established(7);
    let ulids = w.ulids(0, 1);
    let fork = ask(&mut w, Command::Fork(ulids)).unwrap();
    let pinned = pair(&w, 1, 1);
    // Asked for before it is established: done as soon as it is.
    let settings = Settings { pin: Ends::of(pinned), ..Settings::default() };
    ask(&mut w, Command::Configure(fork, Box::new(settings))).unwrap();
    ask(&mut w, Command::InUse(fork, true)).unwrap();
    let since = w.now;
    w.secs(2);
    let view = w.hosts[0].engine.context(fork).unwrap();
    assert_eq!((view.state, view.pair, view.tagged), (State::Established, pinned, true));
    assert_ne!(view.fii, Fii::DEFAULT);
    assert_eq!(current(&w, id), pair(&w, 0, 0), "the default one stays");
    assert_eq!(w.hosts[1].engine.find(w.ulids(1, 0), view.fii).map(|_| ()), Some(()));
    w.secs(700);
    assert!(w.hosts[0].engine.context(fork).is_some(), "as long as somebody uses it");
    assert!(w.longest_gap(1, f, since) < Duration::from_millis(400));
    ask(&mut w, Command::Discard(fork)).unwrap();
    assert_eq!(w.hosts[0].only().fii, Fii::DEFAULT);
}

#[test]
fn that_no_pair_works_is_told_once() {
    let (mut w, _, _) = established(8);
    for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let p = pair(&w, i, j);
        cut(&mut w, p, true);
    }
    w.secs(120);
    assert_eq!(w.hosts[0].only().reap, Some(ReapState::Exploring));
    assert_eq!(events(&w, |e| matches!(e, Event::Lost { .. })), 1);
}

/// A context of which hot standby was asked for keeps a second pair tested, and the next one does not.
// req-test: AP-6.3-01
#[test]
fn hot_standby_is_a_setting_of_one_context() {
    let (mut w, id, f) = established(9);
    let ulids = w.ulids(0, 1);
    let fork = ask(&mut w, Command::Fork(ulids)).unwrap();
    ask(&mut w, Command::InUse(fork, true)).unwrap();
    w.secs(2);
    let on = Settings { hot_standby: Some(true), ..Settings::default() };
    ask(&mut w, Command::Configure(id, Box::new(on))).unwrap();
    w.secs(25);
    let standby = |w: &World, id| w.hosts[0].engine.context(id).unwrap().standby;
    assert_eq!(standby(&w, id), Some(pair(&w, 1, 1)), "it shares no locator with the current one");
    assert_eq!(standby(&w, fork), None);
    // One round trip after the exploration has begun payload is there.
    let failed = w.now;
    let now = current(&w, id);
    cut(&mut w, now, true);
    w.secs(17);
    assert_eq!(current(&w, id), pair(&w, 1, 1));
    let probes = |e: &Event| matches!(e, Event::Switched { after, .. } if *after < Duration::from_millis(300));
    assert_eq!(events(&w, probes), 1, "after so long it was found");
    assert!(w.longest_gap(1, f, failed) < Duration::from_secs(16));
    ask(&mut w, Command::Configure(id, Box::default())).unwrap();
    w.secs(40);
    assert!(!w.hosts[0].engine.context(id).unwrap().config.hot_standby);
}

/// Whoever tests pairs more often than the Send Timeout of either side keeps neither side from noticing a failure: no
/// answer to a test says that the pair in use works, and what ends it starts no Keepalives.
#[test]
fn tests_of_other_pairs_hide_no_failure() {
    let every = Duration::from_millis(200);
    for (standby, from) in
        [(&[0][..], 0), (&[0], 1), (&[1], 0), (&[1], 1), (&[0, 1], 0), (&[0, 1], 1)]
    {
        for (traffic, most) in [(Traffic::Echo(every), 17), (Traffic::OneWay(every), 32)] {
            for one_way in [false, true] {
                let mut w = World::with(31, &[(2, Method::Hba), (2, Method::Hba)], |c| {
                    c.reap.standby_interval = Duration::from_secs(4);
                });
                let id = w.establish(0, 1);
                w.secs(1);
                let f = w.flow(from, 1 - from, traffic.clone());
                for &host in standby {
                    let on = Settings { hot_standby: Some(true), ..Settings::default() };
                    let id = w.hosts[host].only().id;
                    w.on(host, |e, cx| e.handle_command(cx, Command::Configure(id, Box::new(on))))
                        .unwrap();
                }
                w.secs(20);
                let (failed, p) = (w.now, current(&w, id));
                let (src, dst) =
                    if from == 0 { (p.local.0, p.peer.0) } else { (p.peer.0, p.local.0) };
                w.cut(src, dst, true);
                if !one_way {
                    w.cut(dst, src, true);
                }
                w.secs(60);
                let gap = w.longest_gap(1 - from, f, failed);
                let what =
                    format!("standby {standby:?}, from {from}, {traffic:?}, one way {one_way}");
                // Tests of both sides that meet begin the Send Timer anew.
                let most = if standby.len() == 2 { most + 5 } else { most };
                assert!(gap < Duration::from_secs(most), "{what}: {gap:?}");
            }
        }
    }
}

/// The event tells how long the way to the pair was: since exploration began, or since somebody asked.
#[test]
fn a_switch_tells_how_long_it_took() {
    let (mut w, id, _) = established(10);
    let other = pair(&w, 1, 1);
    let asked = w.now;
    ask(&mut w, Command::Switch(id, other, Keep::No)).unwrap();
    w.secs(1);
    let told = |w: &World, to: LocatorPair| {
        w.hosts[0].events.iter().rev().find_map(|(at, e)| match e {
            Event::Switched { to: t, after, .. } if *t == to => Some((*at, *after)),
            _ => None,
        })
    };
    let (at, after) = told(&w, other).unwrap();
    assert_eq!(after, at.since(asked));
    assert!(after > Duration::ZERO);
    cut(&mut w, other, true);
    w.secs(30);
    let now = current(&w, id);
    let began = w.hosts[0].events.iter().rev().find_map(|(at, e)| match e {
        Event::Reap { from: "Operational", .. } => Some(*at),
        _ => None,
    });
    let (at, after) = told(&w, now).unwrap();
    assert_eq!(Some(after), began.map(|began| at.since(began)));
    assert!(after >= Duration::from_millis(10), "{after:?}");
}

/// Where both sides want to leave the pair in use, and test what they want at the same moments, each test draws the other
/// side into it and ends its own.
#[test]
fn both_sides_come_to_the_pairs_that_they_want() {
    for seed in 0..10 {
        let (mut w, id, _) = established(seed);
        let (ours, theirs) = (pair(&w, 1, 0), pair(&w, 0, 1));
        let theirs = LocatorPair { local: theirs.peer, peer: theirs.local };
        let other = w.hosts[1].only().id;
        for (i, id, p) in [(0, id, ours), (1, other, theirs)] {
            let settings = Settings { pin: Ends::of(p), ..Settings::default() };
            let command = Command::Configure(id, Box::new(settings));
            w.on(i, |e, cx| e.handle_command(cx, command)).unwrap();
        }
        w.secs(120);
        let pairs = [w.hosts[0].only().pair, w.hosts[1].only().pair];
        assert_eq!(pairs, [ours, theirs], "seed {seed}");
    }
}
