//! Tests of single pairs.

use super::side::*;
use crate::proto::Time;
use crate::proto::reap::{Action, ReapState};
use crate::wire::control::ProbeState;

// req-test: RP-3.3-04, RP-8-01
#[test]
fn an_answered_test_changes_nothing() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    assert!(s.call(|r, rcx| r.test_pair(rcx, pair(0, 1, 1))));
    assert_eq!(s.take_probes(), [(secs(10.0), pair(0, 1, 1), ProbeState::Exploring)]);
    assert_eq!(s.reap.state(), ReapState::Operational);
    assert!(!s.reap.hold());
    let nonce = s.last_probe().sent[0];
    s.now = secs(10.1);
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (1, 1), 9, vec![nonce]));
    let actions: Vec<_> = s.take().into_iter().map(|a| a.1).collect();
    assert_eq!(actions[0], Action::Answered { pair: pair(0, 1, 1), rtt: for_secs(0.1) });
    assert_eq!(actions[1], Action::Tested { pair: pair(0, 1, 1), rtt: for_secs(0.1) });
    // The closing Probe reports nothing, so that the peer keeps its pair too.
    let Action::SendProbe { pair: way, state, received, .. } = &actions[2] else {
        panic!("{actions:?}")
    };
    assert_eq!((*state, received.len()), (ProbeState::Operational, 0));
    assert_eq!(*way, pair(0, 1, 1), "shown to work just now, unlike the pair in use");
    assert_eq!(actions.len(), 3);
    assert_eq!(s.current, pair(0, 0, 0));
    s.run_to(secs(20.0));
    assert_eq!(s.take(), [], "the test has ended");
    assert_eq!(s.reap.last_rtt(), Some(for_secs(0.1)));
}

/// The timers of a side that the peer probes: before, while it answers, and after the peer's last word, a second later.
fn probed(
    before: impl FnOnce(&mut Side),
    between: impl FnOnce(&mut Side),
    report: bool,
) -> [Running; 3] {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    before(&mut s);
    let running = |s: &Side| s.reap.timers();
    let first = running(&s);
    s.run_to(secs(12.0));
    s.probe_in(&probe_of_peer(ProbeState::Exploring, (1, 1), 8, vec![]));
    let (second, sent) = (running(&s), s.last_probe().sent[0]);
    between(&mut s);
    s.run_to(secs(13.0));
    let received = if report { vec![sent] } else { vec![] };
    s.probe_in(&probe_of_peer(ProbeState::Operational, (1, 1), 9, received));
    assert_eq!(s.reap.state(), ReapState::Operational);
    [first, second, running(&s)]
}

type Running = (Option<Time>, Option<Time>);

#[test]
fn tests_of_the_peer_leave_the_timers_as_they_were() {
    let (ten, twelve, thirteen) = (Some(secs(10.0)), Some(secs(12.0)), Some(secs(13.0)));
    let said = |s: &mut Side| s.call(|r, rcx| r.on_control_out(rcx));
    let heard = |s: &mut Side| s.call(|r, rcx| r.on_control_in(rcx));
    let none = |_: &mut Side| {};
    assert_eq!(probed(none, none, false), [(None, None), (twelve, None), (None, None)]);
    assert_eq!(probed(said, none, false), [(ten, None), (twelve, None), (ten, None)]);
    assert_eq!(probed(heard, none, false), [(None, ten), (twelve, None), (None, ten)]);
    // What happened meanwhile counts, from the moment at which it happened.
    assert_eq!(probed(said, heard, false)[2], (None, twelve));
    assert_eq!(probed(said, said, false)[2], (ten, None));
    assert_eq!(probed(heard, said, false)[2], (twelve, None));
    // The end of an exploration is another thing.
    assert_eq!(probed(none, none, true)[2], (None, thirteen));
    assert_eq!(probed(said, none, true)[2], (None, thirteen));
    assert_eq!(probed(heard, none, true)[2], (None, thirteen));
}

/// A test by the peer, and payload that no reading of the cells has shown when it begins.
fn unread(first: impl FnOnce(&mut Side), second: impl FnOnce(&mut Side)) -> Running {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    s.call(|r, rcx| r.on_control_in(rcx));
    s.run_to(secs(11.0));
    first(&mut s);
    s.run_to(secs(12.0));
    s.probe_in(&probe_of_peer(ProbeState::Exploring, (1, 1), 8, vec![]));
    s.run_to(secs(12.1));
    second(&mut s);
    s.run_to(secs(12.2));
    s.probe_in(&probe_of_peer(ProbeState::Operational, (0, 0), 9, vec![]));
    assert_eq!(s.reap.state(), ReapState::Operational);
    // It is read before the next Keepalive would be due, wake-up or not.
    s.run_to(secs(12.2) + s.config.default_keepalive_timeout / 3);
    s.reap.timers()
}

#[test]
fn a_test_forgets_no_payload_that_has_not_been_read_yet() {
    let both = |s: &mut Side| {
        s.payload_out();
        s.now = secs(11.5);
        s.payload_in();
    };
    let none = |_: &mut Side| {};
    assert_eq!(unread(Side::payload_out, none), (Some(secs(11.0)), None));
    assert_eq!(unread(both, none), (None, Some(secs(11.5))), "the peer waits for Keepalives");
    assert_eq!(unread(Side::payload_out, Side::payload_in), (None, Some(secs(12.1))));
    assert_eq!(unread(none, Side::payload_out), (Some(secs(12.1)), None));

    // An idle side is woken by no packet while it is InboundOk.
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(100.0));
    s.probe_in(&probe_of_peer(ProbeState::Exploring, (1, 1), 8, vec![]));
    s.run_to(secs(100.1));
    s.payload_in();
    s.run_to(secs(100.2));
    s.probe_in(&probe_of_peer(ProbeState::Operational, (0, 0), 9, vec![]));
    s.run_to(secs(106.0));
    let keepalives = s.take().iter().filter(|(_, a)| *a == Action::SendKeepalive).count();
    assert_eq!(keepalives, 1);
}

/// Several Probes of one test are answered, and each answer has a closing Probe. When tests cross, the answer to ours ends
/// the peer's for us.
#[test]
fn the_rest_of_a_test_is_part_of_it() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    s.call(|r, rcx| r.on_control_out(rcx));
    s.run_to(secs(12.0));
    for nonce in [8, 9] {
        s.probe_in(&probe_of_peer(ProbeState::Exploring, (1, 1), nonce, vec![]));
    }
    for nonce in [10, 11, 12] {
        s.probe_in(&probe_of_peer(ProbeState::Operational, (0, 0), nonce, vec![]));
        assert_eq!(s.reap.timers(), (Some(secs(10.0)), None));
    }
    // Long after that it is something else.
    s.run_to(secs(22.5));
    s.probe_in(&probe_of_peer(ProbeState::Operational, (0, 0), 13, vec![]));
    assert_eq!(s.reap.timers(), (None, Some(secs(22.5))));

    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    s.call(|r, rcx| r.on_control_out(rcx));
    assert!(s.call(|r, rcx| r.test_pair(rcx, pair(0, 1, 1))));
    let nonce = s.last_probe().sent[0];
    s.run_to(secs(10.1));
    s.probe_in(&probe_of_peer(ProbeState::Exploring, (1, 1), 8, vec![]));
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (1, 1), 9, vec![nonce]));
    s.probe_in(&probe_of_peer(ProbeState::Operational, (0, 0), 10, vec![]));
    assert_eq!(s.reap.state(), ReapState::Operational);
    assert_eq!(s.reap.timers(), (Some(secs(10.0)), None));
}

/// The answer to a test comes back by the way of its Probe, the peer's payload and Keepalives by another one, which may be
/// dead: the Send Timer goes on, for a round trip more. The exploration that follows begins here, so that it moves the peer alone.
#[test]
fn an_answered_test_of_the_pair_in_use_is_no_life_sign() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    s.payload_out();
    for t in [12.0, 20.0] {
        s.run_to(secs(t));
        assert!(s.call(|r, rcx| r.test_pair(rcx, pair(0, 0, 0))));
        let nonce = s.last_probe().sent[0];
        s.now = secs(t + 0.1);
        s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 0), 9 + t as u32, vec![nonce]));
        assert_eq!(s.reap.timers().0, Some(secs(10.0)));
    }
    s.take();
    s.run_to(secs(25.1));
    assert_eq!(s.take_probes(), [(secs(25.1), pair(0, 0, 0), ProbeState::Exploring)]);
    let nonce = s.last_probe().sent[0];
    s.run_to(secs(25.2));
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 0), 90, vec![nonce]));
    assert_eq!((s.reap.state(), s.current), (ReapState::Operational, pair(0, 0, 0)));

    // Without such an answer since then it begins elsewhere.
    s.run_to(secs(30.0));
    s.payload_in();
    s.run_to(secs(30.5));
    s.payload_out();
    s.take();
    s.run_to(secs(45.5));
    assert_eq!(s.take_probes(), [(secs(45.5), pair(0, 1, 1), ProbeState::Exploring)]);
}

/// As long as the peer's Keepalives take the way of such an answer, it is as good as one of them.
#[test]
fn an_answered_test_of_the_pair_in_use_is_a_life_sign_on_the_way_of_the_peers_keepalives() {
    let sending = |way: (usize, usize), heard: f64, tested: (usize, usize)| {
        let mut s = Side::new(0, 2, 2, exact(), 1);
        s.now = secs(heard);
        s.call(|r, rcx| r.on_keepalive_by(rcx, pair(0, way.0, way.1)));
        s.now = secs(60.0);
        s.call(|r, rcx| r.on_control_out(rcx));
        assert!(s.call(|r, rcx| r.test_pair(rcx, pair(0, tested.0, tested.1))));
        let mine = s.last_probe().sent[0];
        s.now = secs(60.5);
        s.probe_in(&probe_of_peer(ProbeState::InboundOk, tested, 9, vec![mine]));
        s.reap.timers().0.is_some()
    };
    assert!(!sending((0, 0), 50.0, (0, 0)));
    assert!(!sending((0, 0), 30.5, (0, 0)), "two Send Timeouts ago");
    assert!(sending((0, 0), 30.4, (0, 0)));
    assert!(sending((1, 1), 50.0, (0, 0)));
    assert!(sending((0, 0), 50.0, (1, 1)), "another pair says nothing of this one");
}

#[test]
fn a_word_that_reports_something_is_no_rest_of_a_test() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    s.call(|r, rcx| r.on_control_out(rcx));
    s.run_to(secs(12.0));
    s.probe_in(&probe_of_peer(ProbeState::Exploring, (1, 1), 8, vec![]));
    s.probe_in(&probe_of_peer(ProbeState::Operational, (1, 1), 9, vec![]));
    assert_eq!(s.reap.timers(), (Some(secs(10.0)), None));
    let mine = s.last_probe().sent;
    s.probe_in(&probe_of_peer(ProbeState::Operational, (1, 1), 10, mine));
    assert_eq!(s.reap.timers(), (None, Some(secs(12.0))));
}

// req-test: RP-4.3-04
#[test]
fn a_test_rests_while_the_peer_makes_one_and_goes_on_at_a_distance() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    assert!(s.call(|r, rcx| r.test_pair(rcx, pair(0, 1, 1))));
    s.run_to(secs(10.25));
    s.probe_in(&probe_of_peer(ProbeState::Exploring, (0, 1), 8, vec![]));
    s.run_to(secs(11.0));
    s.probe_in(&probe_of_peer(ProbeState::Operational, (0, 1), 9, vec![]));
    let first: Vec<_> = s.take_probes().iter().map(|p| (p.0, p.2)).collect();
    let (test, answer) = (ProbeState::Exploring, ProbeState::InboundOk);
    assert_eq!(first, [(10.0, test), (10.25, answer), (10.75, answer)].map(|(t, p)| (secs(t), p)));
    s.run_to(secs(12.0));
    assert_eq!(s.take_probes(), [11.5, 12.0].map(|t| (secs(t), pair(0, 1, 1), test)));
}

// req-test: RP-8-01
#[test]
fn a_failed_test_is_told_and_changes_nothing() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    assert!(s.call(|r, rcx| r.test_pair(rcx, pair(0, 0, 0))));
    assert!(s.reap.hold(), "the current pair is in doubt");
    s.run_to(secs(20.0));
    let log = s.take();
    let times: Vec<_> = log.iter().map(|a| a.0).collect();
    assert_eq!(times, [10.0, 10.5, 11.0, 11.5, 12.5].map(secs));
    assert_eq!(log[4].1, Action::TestFailed { pair: pair(0, 0, 0) });
    assert_eq!((s.current, s.reap.state()), (pair(0, 0, 0), ReapState::Operational));
    assert!(!s.reap.hold());
    // Late: no switch either.
    let late = s.last_probe().sent[0];
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 0), 9, vec![late]));
    assert_eq!(s.current, pair(0, 0, 0));
}

// req-test: RP-4.3-04
#[test]
fn tests_run_one_after_the_other() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    for p in [pair(0, 0, 1), pair(0, 1, 0), pair(0, 0, 1)] {
        assert!(s.call(|r, rcx| r.test_pair(rcx, p)));
    }
    s.run_to(secs(30.0));
    let log = s.take();
    let failed: Vec<_> = log
        .iter()
        .filter_map(|(_, a)| match a {
            Action::TestFailed { pair } => Some(*pair),
            _ => None,
        })
        .collect();
    assert_eq!(failed, [pair(0, 0, 1), pair(0, 1, 0)]);
    let probes: Vec<_> =
        log.iter().filter(|(_, a)| matches!(a, Action::SendProbe { .. })).map(|a| a.0).collect();
    assert_eq!(probes.len(), 8);
    assert!(probes.windows(2).all(|w| w[1].since(w[0]) >= for_secs(0.5)));

    // An answer lets the next one begin.
    assert!(s.call(|r, rcx| r.test_pair(rcx, pair(0, 0, 1))));
    assert!(s.call(|r, rcx| r.test_pair(rcx, pair(0, 1, 0))));
    let nonce = s.last_probe().sent[0];
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 1), 9, vec![nonce]));
    s.take();
    s.run_to(secs(30.5));
    assert_eq!(s.take_probes(), [(secs(30.5), pair(0, 1, 0), ProbeState::Exploring)]);
}

#[test]
fn tests_are_refused_or_dropped_where_they_make_no_sense() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.local[1].usable = false;
    assert!(!s.call(|r, rcx| r.test_pair(rcx, pair(0, 1, 0))));
    assert!(!s.call(|r, rcx| r.test_pair(rcx, pair(0, 7, 0))));
    assert!(s.call(|r, rcx| r.test_pair(rcx, pair(0, 0, 0))));
    s.call(|r, rcx| r.explore_now(rcx));
    assert!(!s.call(|r, rcx| r.test_pair(rcx, pair(0, 0, 1))));
    s.run_to(secs(20.0));
    assert!(!s.take().iter().any(|(_, a)| matches!(a, Action::TestFailed { .. })));

    // A bounded number waits.
    let mut s = Side::new(0, 5, 5, exact(), 1);
    let taken =
        (0..25).filter(|i| s.call(|r, rcx| r.test_pair(rcx, pair(0, i / 5, i % 5)))).count();
    assert_eq!(taken, 17);
}

// req-test: RP-8-01
#[test]
fn tests_that_cross_move_nobody() {
    // Both hosts test another pair at the same moment, and each is drawn into InboundOk by the other's Probe.
    let (mut a, mut b) = (Side::new(0, 2, 2, exact(), 1), Side::new(1, 2, 2, exact(), 2));
    a.run_to(secs(10.0));
    b.run_to(secs(10.0));
    assert!(a.call(|r, rcx| r.test_pair(rcx, pair(0, 1, 1))));
    assert!(b.call(|r, rcx| r.test_pair(rcx, pair(1, 0, 1))));
    for _ in 0..20 {
        let (from_a, from_b) = (probes_out(&mut a), probes_out(&mut b));
        if from_a.is_empty() && from_b.is_empty() {
            break;
        }
        from_a.iter().for_each(|p| b.probe_in(p));
        from_b.iter().for_each(|p| a.probe_in(p));
    }
    for (s, side) in [(&a, 0), (&b, 1)] {
        assert_eq!((s.reap.state(), s.current), (ReapState::Operational, pair(side, 0, 0)));
    }
}

#[test]
fn a_peer_that_goes_on_asking_is_answered_on_other_pairs_whatever_it_sends_beside() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    let mut ways = Vec::new();
    for n in 0..8 {
        s.run_to(secs(10.0 + f64::from(n)));
        s.payload_in();
        s.read();
        s.take();
        s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 1), 20 + n, vec![]));
        ways.push(s.take_probes()[0].1);
    }
    let all = [pair(0, 0, 0), pair(0, 0, 1), pair(0, 1, 0), pair(0, 1, 1)];
    assert!(all.iter().all(|p| ways.contains(p)), "{ways:?}");
    // Long afterwards it asks for another reason.
    s.run_to(secs(100.0));
    s.take();
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 1), 90, vec![]));
    assert_eq!(s.take_probes()[0].1, pair(0, 0, 0));
}

/// Our exploration begins while the answer to a test is under way. The peer has to learn on which pair it is heard, or stays
/// on one that is dead.
#[test]
fn whoever_explores_tells_what_it_hears_even_if_only_tests_are_named() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    assert!(s.call(|r, rcx| r.test_pair(rcx, pair(0, 0, 0))));
    let nonce = s.last_probe().sent[0];
    s.call(|r, rcx| r.explore_now(rcx));
    s.take();
    s.run_to(secs(10.2));
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 1), 9, vec![nonce]));
    let last = s.last_probe();
    assert_eq!(last.state, ProbeState::Operational);
    assert_eq!(last.received.len(), 1);
    assert_eq!((s.reap.state(), s.current), (ReapState::Operational, pair(0, 0, 0)));
}

/// The Probes sent since the last call.
fn probes_out(s: &mut Side) -> Vec<crate::wire::control::Probe> {
    s.take()
        .into_iter()
        .filter_map(|(_, a)| match a {
            Action::SendProbe { state, sent, received, .. } => Some(message(state, sent, received)),
            _ => None,
        })
        .collect()
}
