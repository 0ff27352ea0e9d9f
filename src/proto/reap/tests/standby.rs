//! Hot standby, and the return to the preferred pair.

use super::side::*;
use crate::addr::LocatorPair;
use crate::proto::Time;
use crate::proto::config::ReapConfig;
use crate::proto::reap::{Action, ReapState};
use crate::wire::control::ProbeState;

/// Lets answered payload pass for so many seconds; tests for which `answers` holds are answered by the same way. What was
/// tested, once per test, and when.
fn run(
    s: &mut Side,
    seconds: u64,
    answers: impl Fn(LocatorPair) -> bool,
) -> Vec<(u64, LocatorPair)> {
    let mut tests = Vec::new();
    let end = s.now + for_secs(seconds as f64);
    while s.now < end {
        let now = s.now;
        s.payload_out();
        s.payload_in();
        s.run_to(now + for_secs(0.25));
        for (at, on, state) in s.take_probes() {
            if state != ProbeState::Exploring || s.reap.state() != ReapState::Operational {
                continue;
            }
            if answers(on) {
                let mine = s.last_probe().sent[0];
                let by = (0..4).map(|n| (n / 2, n % 2)).find(|&(l, p)| pair(0, l, p) == on);
                let probe =
                    probe_of_peer(ProbeState::InboundOk, by.unwrap(), mine.nonce.0, vec![mine]);
                s.probe_in(&probe);
                s.take_probes();
            }
            tests.push((at.millis(), on));
        }
    }
    tests
}

fn switches(s: &Side) -> Vec<(Time, LocatorPair)> {
    let switch = |(t, a): &(Time, Action)| match a {
        Action::Switch(pair) => Some((*t, *pair)),
        _ => None,
    };
    s.log.iter().filter_map(switch).collect()
}

fn begin(config: ReapConfig) -> Side {
    let mut s = Side::new(0, 2, 2, config, 1);
    s.run_to(secs(100.0));
    s
}

#[test]
fn a_standby_that_shares_nothing_is_tested_at_a_low_rate() {
    let mut s = begin(ReapConfig { hot_standby: true, ..exact() });
    let tests = run(&mut s, 60, |_| true);
    assert!((6..=7).contains(&tests.len()), "{tests:?}");
    assert!(tests.iter().all(|(_, p)| *p == pair(0, 1, 1)), "{tests:?}");
    assert!(tests.windows(2).all(|w| (9_900..=10_600).contains(&(w[1].0 - w[0].0))), "{tests:?}");
    assert_eq!(s.reap.standby(), Some(pair(0, 1, 1)));
    assert_eq!((s.current, s.reap.state()), (pair(0, 0, 0), ReapState::Operational));
    assert!(switches(&s).is_empty());
    // Without payload there is nothing to stand by for.
    s.run_to(s.now + for_secs(5.0));
    // The peer answers the end of the last test, as it would payload.
    s.call(|r, rcx| r.on_keepalive(rcx));
    s.run_to(s.now + for_secs(40.0));
    s.take();
    s.run_to(s.now + for_secs(1000.0));
    assert!(s.take_probes().is_empty());
}

#[test]
fn an_exploration_begins_with_the_pair_that_passed() {
    let mut s = begin(ReapConfig { hot_standby: true, ..exact() });
    // What would be tried first does not work.
    let tests = run(&mut s, 30, |p| p == pair(0, 0, 1));
    assert_eq!((tests[0].1, tests[4].1), (pair(0, 1, 1), pair(0, 0, 1)), "{tests:?}");
    assert_eq!(s.reap.standby(), Some(pair(0, 0, 1)));
    s.take();
    s.call(|r, rcx| r.explore_now(rcx));
    assert_eq!(s.take_probes()[0].1, pair(0, 0, 1));
    // One that was not tested lately is no standby.
    let mut s = begin(ReapConfig { hot_standby: true, ..exact() });
    run(&mut s, 30, |p| p == pair(0, 0, 1));
    s.run_to(s.now + for_secs(100.0));
    s.take();
    s.call(|r, rcx| r.explore_now(rcx));
    assert_eq!(s.take_probes()[0].1, pair(0, 1, 1));
}

#[test]
fn nothing_is_tested_unless_asked_for() {
    let mut s = begin(exact());
    s.current = pair(0, 1, 1);
    assert_eq!(run(&mut s, 60, |_| true), []);
    assert_eq!((s.current, s.reap.standby()), (pair(0, 1, 1), None));
}

fn returning() -> Side {
    let mut s = begin(ReapConfig { return_to_preferred: Some(for_secs(20.0)), ..exact() });
    s.current = pair(0, 1, 1);
    s
}

// req-test: RP-4.3-02
#[test]
fn payload_returns_to_the_preferred_pair_after_it_has_passed_tests() {
    let mut s = returning();
    let tests = run(&mut s, 60, |_| true);
    assert_eq!(tests.len(), 4, "{tests:?}");
    assert!(tests.iter().all(|(_, p)| *p == pair(0, 0, 0)));
    let back = switches(&s);
    assert_eq!((back.len(), back[0].1, s.current), (1, pair(0, 0, 0), pair(0, 0, 0)));
    let after = back[0].0.since(secs(100.0));
    assert!(after >= for_secs(20.0) && after < for_secs(23.0), "{after:?}");
    assert_eq!(s.reap.state(), ReapState::Operational, "no exploration was needed");
    // Preferences come before the ULIDs.
    let mut s = returning();
    s.current = pair(0, 0, 0);
    s.peer[0].priority = 2;
    s.peer[1].priority = 1;
    run(&mut s, 60, |_| true);
    assert_eq!(s.current, pair(0, 0, 1));
}

#[test]
fn a_preferred_pair_that_fails_a_test_has_to_begin_anew() {
    let mut s = returning();
    let tests = run(&mut s, 18, |_| true);
    assert_eq!((tests.len(), switches(&s).len()), (3, 0));
    run(&mut s, 9, |_| false);
    assert!(switches(&s).is_empty());
    run(&mut s, 14, |_| true);
    assert!(switches(&s).is_empty(), "three of the four before do not count");
    run(&mut s, 20, |_| true);
    assert_eq!(s.current, pair(0, 0, 0));
}

#[test]
fn a_return_that_does_not_last_makes_the_next_one_wait_longer() {
    let mut s = returning();
    assert_eq!(run(&mut s, 30, |_| true).len(), 4);
    assert_eq!(s.current, pair(0, 0, 0));
    s.call(|r, rcx| r.explore_now(rcx));
    let mine = s.last_probe().sent[0];
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (1, 1), 77, vec![mine]));
    assert_eq!((s.current, s.reap.state()), (pair(0, 1, 1), ReapState::Operational));
    s.take();
    let tests = run(&mut s, 100, |_| true);
    assert_eq!((tests.len(), s.current), (8, pair(0, 0, 0)), "{tests:?}");
}

/// The preferred pair is the best standby, too. It has to work for the configured time all the same.
#[test]
fn tests_as_standby_do_not_hasten_the_return() {
    let wait = for_secs(40.0);
    let both = ReapConfig { hot_standby: true, return_to_preferred: Some(wait), ..exact() };
    let mut s = begin(both);
    s.current = pair(0, 1, 1);
    let tests = run(&mut s, 60, |_| true);
    assert!(tests.iter().filter(|(_, p)| *p == pair(0, 0, 0)).count() > 4, "{tests:?}");
    let back = switches(&s);
    assert_eq!((back.len(), s.current), (1, pair(0, 0, 0)));
    let after = back[0].0.since(secs(100.0));
    assert!(after >= wait && after < for_secs(46.0), "{after:?}");
}

/// Where the ULIDs cannot be used all pairs are equal. What the peer tests, and what failed before, must not make another
/// one the preferred pair each time.
#[test]
fn among_equals_the_preferred_pair_is_always_the_same() {
    let mut s = returning();
    s.ulids = pair(0, 7, 7);
    run(&mut s, 30, |_| true);
    assert_eq!((switches(&s).len(), s.current), (1, pair(0, 0, 0)));
    for n in 0..8 {
        let heard = (n as usize % 2, 1);
        s.probe_in(&probe_of_peer(ProbeState::Exploring, heard, 100 + 2 * n, vec![]));
        s.probe_in(&probe_of_peer(ProbeState::Operational, heard, 101 + 2 * n, vec![]));
        assert_eq!(s.reap.state(), ReapState::Operational);
        s.take();
        run(&mut s, 30, |_| true);
        assert_eq!((switches(&s).len(), s.current), (1, pair(0, 0, 0)));
    }
}

/// The fourth test, which is under way, would lead back to the preferred pair.
#[test]
fn a_test_leads_back_only_in_operational_and_while_that_is_asked_for() {
    let end = |between: fn(&mut Side)| {
        let mut s = returning();
        run(&mut s, 18, |_| true);
        run(&mut s, 3, |_| false);
        let mine = s.last_probe().sent[0];
        between(&mut s);
        s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 0), 9, vec![mine]));
        assert_eq!(s.reap.state(), ReapState::Operational);
        s.current
    };
    assert_eq!(end(|_| {}), pair(0, 0, 0));
    let asks = |s: &mut Side| s.probe_in(&probe_of_peer(ProbeState::Exploring, (0, 1), 8, vec![]));
    assert_eq!(end(asks), pair(0, 1, 1));
    assert_eq!(end(|s| s.config.return_to_preferred = None), pair(0, 1, 1));
}

/// The times of tests since the last look at the log.
fn tests(s: &mut Side) -> Vec<Time> {
    let probes = s.take_probes();
    probes.into_iter().filter(|p| p.2 == ProbeState::Exploring).map(|p| p.0).collect()
}

#[test]
fn a_test_that_falls_due_in_an_exploration_follows_its_end() {
    let mut s = begin(ReapConfig { hot_standby: true, ..exact() });
    assert_eq!(run(&mut s, 5, |_| true).len(), 1);
    s.run_to(secs(109.0));
    s.call(|r, rcx| r.explore_now(rcx));
    s.run_to(secs(112.0));
    let mine = s.last_probe().sent[0];
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (1, 1), 9, vec![mine]));
    assert_eq!(s.reap.poll_timeout(), Some(secs(110.0)));
    s.take();
    s.now = secs(112.5);
    s.call(|r, rcx| r.on_timer(rcx));
    assert_eq!(tests(&mut s), [secs(112.5)]);
}

#[test]
fn the_wait_for_a_return_does_not_begin_in_an_exploration() {
    let mut s = returning();
    s.probe_in(&probe_of_peer(ProbeState::Exploring, (1, 1), 8, vec![]));
    s.payload_in();
    s.run_to(secs(109.0));
    assert_eq!(s.reap.state(), ReapState::InboundOk);
    s.probe_in(&probe_of_peer(ProbeState::Operational, (1, 1), 9, vec![]));
    s.payload_in();
    s.take();
    s.run_to(secs(113.9));
    assert_eq!(tests(&mut s), []);
    s.run_to(secs(120.0));
    assert!(!tests(&mut s).is_empty());
}

#[test]
fn payload_counts_even_if_no_standby_was_wanted_when_it_passed() {
    let mut s = begin(ReapConfig { hot_standby: true, ..exact() });
    s.payload_out();
    s.payload_in();
    s.run_to(secs(101.0));
    let mine = s.last_probe().sent[0];
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (1, 1), 9, vec![mine]));
    s.config.hot_standby = false;
    s.payload_out();
    s.payload_in();
    s.read();
    s.config.hot_standby = true;
    s.take();
    s.now = secs(110.0);
    s.call(|r, rcx| r.on_timer(rcx));
    assert_eq!(tests(&mut s), [secs(110.0)]);
}
