//! What Probes carry, and what is believed of it.

use super::side::*;
use crate::addr::ProbeNonce;
use crate::proto::reap::{Action, ReapState};
use crate::wire::control::{ProbeReport, ProbeState};
use std::collections::HashSet;

/// The report of the last Probe that went out.
fn last_report(s: &Side) -> ProbeReport {
    s.last_probe().sent[0]
}

fn reports_of(s: &Side) -> Vec<ProbeReport> {
    s.log
        .iter()
        .filter_map(|(_, a)| match a {
            Action::SendProbe { sent, .. } => Some(sent[0]),
            _ => None,
        })
        .collect()
}

// req-test: RP-5.2-07, RP-5.2-12, RP-5.2-14, RP-6.1-05
#[test]
fn sent_reports_accumulate_newest_first_until_the_peer_has_reported_them() {
    let mut s = in_state(ReapState::Exploring, exact());
    s.run_to(secs(1000.0));
    let all = reports_of(&s);
    assert!(all.len() > 20);
    let nonces: HashSet<_> = all.iter().map(|r| r.nonce).collect();
    assert_eq!(nonces.len(), all.len());
    let newest: Vec<_> = all.iter().rev().take(15).copied().collect();
    assert_eq!(s.last_probe().sent, newest);

    // Two of them are reported: they are told no more.
    let told = vec![newest[1], newest[4]];
    s.probe_in(&probe_of_peer(ProbeState::Exploring, (0, 0), 9, told.clone()));
    let sent = s.last_probe().sent;
    assert!(told.iter().all(|r| !sent.contains(r)));
    assert!(sent.contains(&newest[0]) && sent.contains(&newest[2]));
}

// req-test: RP-5.2-08, RP-5.2-09, RP-5.2-10, RP-5.2-13
#[test]
fn received_probes_are_reported_as_they_came() {
    let mut s = in_state(ReapState::Exploring, exact());
    for i in 0..20 {
        let mut p = probe_of_peer(ProbeState::Exploring, (0, i % 2), i as u32, Vec::new());
        p.sent[0].data = 0xdead_beef;
        s.now = s.now + for_secs(0.2);
        s.probe_in(&p);
        let told = s.last_probe().received;
        assert_eq!(told.len(), (i + 1).min(15));
        assert_eq!(told[0], p.sent[0]);
    }
}

// req-test: RP-8-02, RP-6.8-03
#[test]
fn only_reports_of_our_own_probes_steer() {
    for state in [ProbeState::InboundOk, ProbeState::Operational] {
        let forged = |real: ProbeReport| {
            [
                ProbeReport { nonce: ProbeNonce(real.nonce.0 ^ 1), ..real },
                ProbeReport { src: addr(0, 0), ..real },
                ProbeReport { dst: addr(1, 0), ..real },
            ]
        };
        for i in 0..3 {
            let mut s = in_state(ReapState::Exploring, exact());
            let before = s.current;
            let report = forged(last_report(&s))[i];
            s.take();
            s.probe_in(&probe_of_peer(state, (0, 0), 9, vec![report]));
            let actions: Vec<_> = s.take().into_iter().map(|a| a.1).collect();
            assert!(actions.contains(&Action::Ignored("report_unknown")));
            assert!(!actions.iter().any(|a| matches!(a, Action::Switch(_))));
            assert_eq!((s.current, s.reap.state()), (before, ReapState::Operational));
        }
        // The true one does, whatever its data.
        let mut s = in_state(ReapState::Exploring, exact());
        let real = last_report(&s);
        s.probe_in(&probe_of_peer(state, (0, 0), 9, vec![real]));
        assert_eq!(s.current, pair(0, 1, 1));
        assert!(s.reap.last_rtt().is_some());
    }
}

// req-test: RP-5.2-06
#[test]
fn a_probe_that_does_not_describe_itself_is_dropped() {
    let mut s = in_state(ReapState::Exploring, exact());
    s.take();
    let good = probe_of_peer(ProbeState::Operational, (0, 0), 9, Vec::new());
    let mut none = good.clone();
    none.sent.clear();
    for (src, dst, p, reason) in [
        (addr(1, 1), addr(0, 0), &good, "probe_addresses"),
        (addr(1, 0), addr(0, 1), &good, "probe_addresses"),
        (addr(1, 0), addr(0, 0), &none, "probe_without_self"),
    ] {
        s.call(|r, rcx| r.on_probe(rcx, src, dst, p));
        assert_eq!(s.take(), [(s.now, Action::Dropped(reason))]);
    }
    assert_eq!(s.reap.state(), ReapState::Exploring);
}

// req-test: RP-6.8-03
#[test]
fn current_pair_stays_if_it_is_among_the_reported() {
    let mut s = in_state(ReapState::Exploring, exact());
    s.run_to(secs(101.6));
    let all = reports_of(&s);
    assert_eq!(all.len(), 4);
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 0), 9, all.clone()));
    assert_eq!(s.current, pair(0, 0, 0));

    // Unless it is marked as broken.
    let mut s = in_state(ReapState::Exploring, exact());
    s.run_to(secs(101.6));
    s.peer[0].broken = true;
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 0), 9, reports_of(&s)));
    assert_eq!(s.current, pair(0, 1, 1));

    // Without it: the best of those reported, and only usable locators.
    let mut s = in_state(ReapState::Exploring, exact());
    s.run_to(secs(101.6));
    let others: Vec<_> =
        reports_of(&s).into_iter().filter(|r| r.src != addr(0, 0) || r.dst != addr(1, 0)).collect();
    assert_eq!(others.len(), 3);
    s.peer[1].priority = 9;
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 0), 9, others.clone()));
    assert_eq!(s.current, pair(0, 1, 0));
    let mut s = in_state(ReapState::Exploring, exact());
    s.run_to(secs(101.6));
    s.local[1].usable = false;
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 0), 9, reports_of(&s)[..1].to_vec()));
    assert_eq!(s.current, pair(0, 0, 0));
}

// req-test: RP-6.8-03, RP-6.9-04
#[test]
fn without_reports_the_pair_stays() {
    for state in [ProbeState::InboundOk, ProbeState::Operational] {
        let mut s = in_state(ReapState::Exploring, exact());
        s.probe_in(&probe_of_peer(state, (1, 1), 9, Vec::new()));
        assert_eq!((s.current, s.reap.state()), (pair(0, 0, 0), ReapState::Operational));
    }
}

// req-test: RP-5.2-08
#[test]
fn a_new_failure_empties_both_lists() {
    let mut s = in_state(ReapState::Exploring, exact());
    let old = last_report(&s);
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 0), 9, vec![old]));
    assert_eq!(s.current, pair(0, 1, 1));
    s.now = s.now + for_secs(1.0);
    s.call(|r, rcx| r.explore_now(rcx));
    assert_eq!(s.last_probe().sent.len(), 1);
    assert_eq!(s.last_probe().received, []);
    // The pair that the old report praises may be the one that has died.
    s.take();
    s.current = pair(0, 0, 0);
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 0), 10, vec![old]));
    assert_eq!(s.current, pair(0, 0, 0));

    // From InboundOk to Exploring what was heard is forgotten, what was sent is not.
    let mut s = in_state(ReapState::InboundOk, exact());
    assert_eq!(s.last_probe().received.len(), 1);
    s.run_to(secs(115.0));
    assert_eq!(s.reap.state(), ReapState::Exploring);
    assert_eq!(s.last_probe().received, []);
    assert!(s.last_probe().sent.len() > 1);
}

#[test]
fn lists_outlive_the_end_by_ten_seconds() {
    for (later, counts) in [(9.0, true), (11.0, false)] {
        let mut s = in_state(ReapState::Exploring, exact());
        let late = last_report(&s);
        s.probe_in(&probe_of_peer(ProbeState::Operational, (0, 0), 9, Vec::new()));
        assert_eq!(s.current, pair(0, 0, 0));
        s.now = s.now + for_secs(later);
        s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 0), 10, vec![late]));
        assert_eq!(s.current == pair(0, 1, 1), counts);
        assert_eq!(s.last_probe().received.len(), if counts { 2 } else { 1 });
    }
}

#[test]
fn answers_are_limited_to_ten_a_second() {
    let mut s = in_state(ReapState::InboundOk, exact());
    s.now = secs(200.0);
    s.take();
    let mut sent = 0;
    for i in 0..3000u32 {
        s.now = s.now + for_secs(0.001);
        let state = [ProbeState::Exploring, ProbeState::InboundOk][i as usize % 2];
        s.probe_in(&probe_of_peer(state, (0, 0), i, Vec::new()));
        sent += s.take_probes().len();
    }
    assert!((30..=41).contains(&sent), "{sent}");
}

// req-test: RP-6.9-03
#[test]
fn operational_is_never_answered() {
    for state in [ReapState::Operational, ReapState::Exploring, ReapState::InboundOk] {
        let mut s = in_state(state, exact());
        s.take();
        s.probe_in(&probe_of_peer(ProbeState::Operational, (0, 0), 9, Vec::new()));
        assert_eq!(s.take_probes(), []);
        assert_eq!(s.reap.poll_timeout(), None);
    }
}

/// An Operational that names no other pair does not end a search that began because the pair cannot be used.
#[test]
fn a_late_operational_does_not_revive_a_lost_pair() {
    let mut s = Side::new(0, 2, 2, exact(), 3);
    s.local[0].usable = false;
    s.call(|r, rcx| r.on_local_failure(rcx, addr(0, 0)));
    s.now = secs(0.2);
    s.probe_in(&probe_of_peer(ProbeState::Operational, (1, 0), 9, Vec::new()));
    assert_eq!(s.reap.state(), ReapState::Exploring);
}

/// A long search on many pairs: an answer that took some Probes' time is still understood.
#[test]
fn more_probes_are_remembered_than_one_message_carries() {
    let mut s = Side::new(0, 4, 4, exact(), 3);
    s.call(|r, rcx| r.explore_now(rcx));
    let first = last_report(&s);
    s.run_to(secs(900.0));
    assert!(reports_of(&s).len() > 16);
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 0), 9, vec![first]));
    assert_ne!(s.current, pair(0, 0, 0));
}

// req-test: RP-8-02
#[test]
fn who_is_heard_but_is_told_of_no_probe_tests_the_pair() {
    let mut s = Side::new(0, 2, 2, exact(), 3);
    s.now = secs(100.0);
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 0), 9, Vec::new()));
    assert_eq!((s.reap.state(), s.reap.hold()), (ReapState::Operational, true));
    s.take();
    s.run_to(secs(100.6));
    let (at, probed, state) = s.take_probes()[0];
    assert_eq!((at, probed, state), (secs(100.5), pair(0, 0, 0), ProbeState::Exploring));
    // The answer removes the doubt, and silence confirms it.
    let mut answered = s.last_probe().sent;
    answered.truncate(1);
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 0), 10, answered));
    assert_eq!((s.reap.state(), s.reap.hold()), (ReapState::Operational, false));
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 0), 11, Vec::new()));
    assert!(s.reap.hold());
    s.run_to(secs(104.0));
    assert!(s.log.iter().any(|(_, a)| matches!(a, Action::TestFailed { .. })));
}
