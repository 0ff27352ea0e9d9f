//! Contexts that outlive their daemon.

use crate::world::{Traffic, World, identity};
use shim6::addr::{Fii, Locator};
use shim6::cga::Method;
use shim6::proto::engine::State;
use shim6::proto::engine::journal::{RestoreError, SavedContext};
use shim6::proto::input::AddressEvent;
use shim6::proto::reap::ReapState;
use shim6::wire::Message;
use std::time::Duration;

fn switched(seed: u64) -> (World, usize) {
    let mut w = World::new(seed, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    let f = w.flow(0, 1, Traffic::Echo(Duration::from_millis(200)));
    w.secs(5);
    let (a, b) = (w.hosts[0].addrs[0], w.hosts[1].addrs[0]);
    w.cut(a, b, true);
    w.secs(30);
    assert!(w.hosts[1].only().tagged);
    (w, f)
}

fn restart_with_journal(w: &mut World, i: usize) {
    let saved = w.hosts[i].engine.export_contexts();
    let octets: Vec<Vec<u8>> = saved.iter().map(|(_, s)| s.to_bytes()).collect();
    w.restart(i);
    for (o, (_, original)) in octets.iter().zip(&saved) {
        let s = SavedContext::from_bytes(o).unwrap();
        assert_eq!(s, *original);
        w.on(i, |e, cx| e.restore_context(cx, s)).unwrap();
    }
}

#[test]
fn a_restored_context_goes_on_at_once_and_tests_its_pair() {
    for seed in 0..5 {
        let (mut w, f) = switched(seed);
        let before = w.hosts[1].only();
        restart_with_journal(&mut w, 1);
        let since = w.now;
        let now = w.hosts[1].only();
        assert_eq!(now.state, State::Established);
        assert_eq!(
            (now.local_tag, now.peer_tag, now.pair, now.ulids),
            (before.local_tag, before.peer_tag, before.pair, before.ulids)
        );
        assert_eq!(now.peer_locators, before.peer_locators);
        assert!(now.restored);
        w.secs(3);
        assert!(w.longest_gap(1, f, since) < Duration::from_millis(400));
        assert!(w.hosts[1].counter("tx_probe") > 0, "tested");
        assert_eq!(w.hosts[0].sent_of("I2bis").len(), 0, "nobody noticed");
        w.assert_established(0, 1);
        w.assert_operational(&[0, 1]);
        let pair = w.hosts[1].only().pairs.iter().find(|p| p.pair == before.pair).copied();
        assert!(pair.is_some_and(|p| p.answered.is_some()));
    }
}

#[test]
fn a_restored_pair_that_is_dead_by_now_is_left() {
    let (mut w, f) = switched(9);
    let pair = w.hosts[1].only().pair;
    w.cut(pair.local.0, pair.peer.0, true);
    restart_with_journal(&mut w, 1);
    w.secs(12);
    w.assert_operational(&[0, 1]);
    assert_ne!(w.hosts[1].only().pair, pair);
    let since = w.now;
    w.secs(2);
    assert!(w.longest_gap(1, f, since) < Duration::from_secs(1));
}

#[test]
fn a_restored_context_that_the_peer_has_lost_too_is_negotiated_anew() {
    let (mut w, _) = switched(10);
    w.restart(0);
    restart_with_journal(&mut w, 1);
    w.secs(5);
    w.assert_established(0, 1);
}

#[test]
fn octets_of_any_kind_are_refused_not_trusted() {
    let (w, _) = switched(11);
    let saved = w.hosts[1].engine.export_contexts().remove(0).1;
    let octets = saved.to_bytes();
    for n in 0..octets.len() {
        // Cut inside the PDS it can still be read here, and fails when its PDS is.
        let _ = SavedContext::from_bytes(&octets[..n]);
        let mut flipped = octets.clone();
        flipped[n] ^= 0x5a;
        let _ = SavedContext::from_bytes(&flipped);
    }
    assert_eq!(SavedContext::from_bytes(&[]), Err(RestoreError::Malformed));
    assert_eq!(SavedContext::from_bytes(&octets[..100]), Err(RestoreError::Malformed));
}

#[test]
fn contexts_that_no_longer_fit_are_refused() {
    let (mut w, _) = switched(12);
    let saved = w.hosts[1].engine.export_contexts().remove(0).1;
    let again = w.on(1, |e, cx| e.restore_context(cx, saved.clone()));
    assert_eq!(again, Err(RestoreError::Exists));
    w.restart(1);
    let mut foreign = saved.clone();
    foreign.ulids.local.0 = "2001:db8:66::1".parse().unwrap();
    assert_eq!(w.on(1, |e, cx| e.restore_context(cx, foreign)), Err(RestoreError::Ulids));
    let mut bad = saved.clone();
    bad.peer_pds = Some(vec![1, 2, 3]);
    assert_eq!(w.on(1, |e, cx| e.restore_context(cx, bad)), Err(RestoreError::Malformed));
    let mut bad = saved.clone();
    bad.peer.clear();
    assert_eq!(w.on(1, |e, cx| e.restore_context(cx, bad)), Err(RestoreError::Malformed));
    assert_eq!(w.hosts[1].engine.context_count(), 0);
    let id = w.on(1, |e, cx| e.restore_context(cx, saved.clone())).unwrap();
    assert_eq!(w.hosts[1].engine.saved_context(id), Some(saved));
}

#[test]
fn locators_that_went_while_the_daemon_was_away_are_withdrawn() {
    let mut w = World::new(13, &[3, 2]);
    w.establish(0, 1);
    w.secs(1);
    let saved = w.hosts[0].engine.export_contexts().remove(0).1;
    let gone = w.hosts[0].addrs.pop().unwrap();
    w.restart(0);
    let id = w.on(0, |e, cx| e.restore_context(cx, saved)).unwrap();
    w.secs(1);
    let c = w.hosts[0].engine.context(id).unwrap();
    assert_eq!(c.reap, Some(ReapState::Operational));
    assert!(c.local_locators.iter().all(|l| l.locator != Locator(gone)));
    let peer = w.hosts[1].engine.find(w.ulids(1, 0), Fii(0)).unwrap();
    assert_eq!(w.hosts[1].engine.context(peer).unwrap().peer_locators.len(), 2);
    let _ = identity(0, 0, 1, Method::Hba);
}

// req-test: RP-5.3-01, RP-5.3-03, S6-10.1-01
#[test]
fn what_changed_while_the_daemon_was_away_is_told() {
    let mut w = World::new(14, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    let spare = w.hosts[0].addrs[1];
    w.address(0, AddressEvent::Unreachable(spare));
    w.secs(1);
    let flags = |w: &World| w.hosts[1].only().peer_locators[1].flags.0;
    assert_eq!(flags(&w), 1);
    let saved = w.hosts[0].engine.export_contexts().remove(0).1;
    let saved = SavedContext::from_bytes(&saved.to_bytes()).unwrap();
    // The address works again, and the configuration says something else.
    let mut config = w.hosts[0].engine.config().clone();
    config.reap.send_timeout_secs = 2;
    w.restart(0);
    w.on(0, |e, cx| e.set_config(cx, config));
    w.on(0, |e, cx| e.restore_context(cx, saved)).unwrap();
    w.secs(1);
    assert_eq!(flags(&w), 0);
    assert_eq!(w.hosts[1].only().keepalive_timeout, Duration::from_secs(2));
    assert!(!w.hosts[0].only().updating);
}

// req-test: S6-10.2-02
#[test]
fn an_update_that_was_not_acknowledged_before_the_end_of_the_daemon_is_sent_again() {
    let mut w = World::new(15, &[3, 2]);
    w.establish(0, 1);
    w.secs(1);
    w.lose = Some(Box::new(|_, m| matches!(m, Message::UpdateRequest(_))));
    let gone = w.hosts[0].addrs[2];
    w.address(0, AddressEvent::Gone(gone));
    w.hosts[0].addrs.pop();
    w.secs(1);
    let saved = w.hosts[0].engine.export_contexts().remove(0).1;
    assert!(saved.updating);
    w.lose = None;
    w.restart(0);
    w.on(0, |e, cx| e.restore_context(cx, saved)).unwrap();
    w.secs(1);
    assert_eq!(w.hosts[1].only().peer_locators.len(), 2);
    assert!(!w.hosts[0].only().updating);
}

/// What is left of an earlier run when a new one begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stale {
    /// One host has a journal, the other begins anew.
    One(usize),
    /// Both have one, of the same time.
    Both,
    /// Both have one, of different times: the tags do not fit.
    Apart,
}

/// Two hosts that begin anew with journals of an earlier run, on their ULIDs or `moved` to another pair by then.
/// Traffic that meets no context asks for one, as the heuristic does.
fn begin_with(stale: Stale, moved: bool, traffic: Traffic) -> (World, usize) {
    let (mut w, f) = if moved { switched(3) } else { (World::new(3, &[2, 2]), 0) };
    if moved {
        w.stop(f);
        let (a, b) = (w.hosts[0].addrs[0], w.hosts[1].addrs[0]);
        w.cut(a, b, false);
    } else {
        w.establish(0, 1);
    }
    w.secs(2);
    let of = |w: &World, i: usize| w.hosts[i].engine.export_contexts().remove(0).1;
    let mut saved = [of(&w, 0), of(&w, 1)];
    if stale == Stale::Apart {
        w.restart(0);
        w.establish(0, 1);
        w.secs(2);
        saved[1] = of(&w, 1);
        assert_ne!(Some(saved[0].local_tag), Some(saved[1].peer_tag));
    }
    w.restart(0);
    w.restart(1);
    for (i, s) in saved.into_iter().enumerate() {
        if !matches!(stale, Stale::One(only) if only != i) {
            w.on(i, |e, cx| e.restore_context(cx, s)).unwrap();
        }
    }
    let f = w.flow(0, 1, traffic);
    for (i, j) in [(0, 1), (1, 0)] {
        let ulids = w.ulids(i, j);
        w.at(Duration::from_millis(60 + 7 * i as u64), move |w| {
            if w.hosts[i].engine.find(ulids, Fii(0)).is_none() {
                w.establish(i, j);
            }
        });
    }
    (w, f)
}

/// What an earlier run has left delays nothing: neither contexts that only one side has, nor such whose tags do not
/// fit, make a failure in one direction last longer than Send Timeout and the first Probes.
#[test]
fn stale_journals_do_not_delay_the_detection_of_a_one_way_failure() {
    let gap = Duration::from_millis(50);
    for moved in [false, true] {
        for stale in [Stale::One(0), Stale::One(1), Stale::Both, Stale::Apart] {
            for outward in [false, true] {
                for wait in [100, 3_000, 17_000] {
                    let (mut w, f) = begin_with(stale, moved, Traffic::Echo(gap));
                    w.millis(wait);
                    let (a, b) = (w.hosts[0].addrs[0], w.hosts[1].addrs.clone());
                    for b in b {
                        let (src, dst) = if outward { (a, b) } else { (b, a) };
                        w.link(src, dst).cut = true;
                    }
                    let cut = w.now;
                    w.secs(20);
                    let silence = w.longest_gap(0, f, cut).max(w.longest_gap(1, f, cut));
                    let what = format!("{stale:?}, moved {moved}, outward {outward}, {wait} ms");
                    assert!(silence < Duration::from_secs(16), "{silence:?}: {what}");
                }
            }
        }
    }
}

/// By chance the new daemon's list may have the generation of the old one's.
#[test]
fn a_list_that_was_not_acknowledged_is_told_again_under_whatever_generation() {
    let mut w = World::new(41, &[2, 2, 2]);
    w.establish(0, 1);
    w.secs(1);
    let mut saved = w.hosts[0].engine.export_contexts().remove(0).1;
    w.restart(0);
    w.establish(0, 2);
    w.secs(1);
    saved.updating = true;
    saved.local_generation = w.hosts[0].only().local_generation;
    w.hosts[0].sent.clear();
    w.on(0, |e, cx| e.restore_context(cx, saved)).unwrap();
    w.millis(500);
    let told = w.hosts[0].sent.iter().find_map(|(_, _, m)| match m {
        Message::UpdateRequest(u) => Some(u.options.locator_list.is_some()),
        _ => None,
    });
    assert_eq!(told, Some(true));
}
