//! Whole runs of two hosts: the examples of RFC 5534, appendix A, and failures of every kind.

use super::side::*;
use super::sim::{Packet, Sim};
use crate::proto::config::ReapConfig;
use crate::proto::reap::{Action, ReapState};
use crate::wire::control::ProbeState;

fn both_ways(n: usize, m: usize, seed: u64) -> Sim {
    let mut sim = Sim::new(n, m, ReapConfig::default(), seed);
    sim.traffic = [Some(for_secs(0.3)), Some(for_secs(0.4))];
    sim
}

// req-test: RP-A-01, RP-3.5-01
#[test]
fn example_1_and_2_no_reap_packets() {
    let mut idle = Sim::new(2, 2, ReapConfig::default(), 1);
    idle.run_to(secs(600.0));
    let mut busy = both_ways(2, 2, 1);
    busy.run_to(secs(600.0));
    for sim in [idle, busy] {
        assert_eq!((sim.probes, sim.keepalives), (0, 0));
    }
}

// req-test: RP-A-02, RP-4.1-03, RP-4.1-12
#[test]
fn example_3_one_way_traffic_gives_keepalives_and_no_probe() {
    for seed in 0..50 {
        for gap in [0.01, 0.7, 4.0, 14.0, 40.0] {
            let mut sim = Sim::new(2, 2, ReapConfig::default(), seed);
            sim.delay = for_secs(0.2);
            sim.traffic[(seed % 2) as usize] = Some(for_secs(gap));
            sim.run_to(secs(if gap < 0.1 { 100.0 } else { 600.0 }));
            assert_eq!(sim.probes, 0, "seed {seed} gap {gap}");
            assert!(sim.keepalives > 0);
            assert_eq!(sim.sides[(seed % 2) as usize].log.len(), 0, "only the receiver sends them");
            // The stream ends: so do they.
            sim.traffic = [None, None];
            let (now, before) = (sim.now, sim.keepalives);
            sim.run_to(now + for_secs(100.0));
            assert!(sim.keepalives - before <= 4);
            assert_eq!(sim.probes, 0);
        }
    }
}

/// The same with the shortest Send Timeout there is.
// req-test: RP-A-02
#[test]
fn one_way_traffic_with_a_send_timeout_of_two_seconds() {
    for seed in 0..50 {
        let config = ReapConfig { send_timeout_secs: 2, ..ReapConfig::default() };
        let mut sim = Sim::new(2, 2, config, seed);
        sim.delay = for_secs(0.1);
        sim.traffic[0] = Some(for_secs(0.05));
        sim.run_to(secs(120.0));
        assert_eq!(sim.probes, 0, "seed {seed}");
    }
}

// req-test: RP-A-03, RP-3.3-01, RP-6.9-04
#[test]
fn example_4_loss_of_b1() {
    let mut sim = Sim::new(1, 2, exact(), 4);
    sim.trace = true;
    // B sends more often, so it is first to see the failure.
    sim.traffic = [Some(for_secs(0.3)), Some(for_secs(0.1))];
    sim.run_to(secs(30.0));
    for from in 0..2 {
        sim.set(from, 0, 0, false);
    }
    let end = sim.run_until(secs(60.0), |s| s.fine()).unwrap();
    assert!(end.since(secs(30.0)) < for_secs(15.0 + 1.5), "{end:?}");
    assert_eq!(sim.sides[0].current, pair(0, 0, 1));
    assert_eq!(sim.sides[1].current, pair(1, 1, 0));
    // Payload stayed on the old pair until then.
    let cut = secs(30.0);
    let moved =
        |s: &super::sim::Seen| matches!(s.packet, Packet::Payload) && s.pair.peer == addr(1, 1);
    assert!(
        sim.seen
            .iter()
            .filter(|s| s.from == 0 && moved(s))
            .all(|s| s.at.since(cut) > for_secs(14.0))
    );
}

/// Whoever sees it first: B complains on B1 (lost), then on B2; A answers there, B confirms.
// req-test: RP-A-03, RP-4.2-01
#[test]
fn example_4_message_by_message() {
    let mut sim = Sim::new(1, 2, exact(), 4);
    sim.trace = true;
    for from in 0..2 {
        sim.set(from, 0, 0, false);
    }
    sim.sides[1].call(|r, rcx| r.explore_now(rcx));
    sim.flush();
    sim.run_to(secs(1.0));
    let story: Vec<_> = sim
        .seen
        .iter()
        .map(|s| match &s.packet {
            Packet::Probe(p) => (s.from, s.pair, p.state, p.received.len(), s.arrived),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        story,
        [
            (1, pair(1, 1, 0), ProbeState::Exploring, 0, true),
            (0, pair(0, 0, 1), ProbeState::InboundOk, 1, true),
            (1, pair(1, 1, 0), ProbeState::Operational, 1, true),
        ]
    );
    assert!(sim.fine());
}

// req-test: RP-A-04, RP-3.3-02
#[test]
fn example_5_one_way_failure() {
    let mut sim = Sim::new(2, 2, exact(), 5);
    sim.traffic = [Some(for_secs(0.3)), Some(for_secs(0.3))];
    sim.run_to(secs(30.0));
    // Only A1 to B1; and the mixed pairs are of no use, as in the RFC's figure.
    for (l, p) in [(0, 0), (0, 1), (1, 0)] {
        sim.set(0, l, p, false);
    }
    for (l, p) in [(0, 1), (1, 0)] {
        sim.set(1, l, p, false);
    }
    let end = sim.run_until(secs(60.0), |s| s.fine()).unwrap();
    assert!(end.since(secs(30.0)) < for_secs(15.0 + 1.5), "{end:?}");
    assert_eq!(sim.sides[0].current, pair(0, 1, 1));
    sim.run_to(secs(200.0));
    assert!(sim.fine());
    assert_eq!(sim.sides[0].current, pair(0, 1, 1));
}

/// Its messages as printed: B complains on its old pair, which still works towards A; the reply is lost.
// req-test: RP-A-04, RP-5.2-10
#[test]
fn example_5_message_by_message() {
    let mut sim = Sim::new(2, 2, exact(), 5);
    sim.trace = true;
    for (l, p) in [(0, 0), (0, 1), (1, 0)] {
        sim.set(0, l, p, false);
        if (l, p) != (0, 0) {
            sim.set(1, l, p, false);
        }
    }
    // B tries its current pair first, as if it were the most preferred.
    sim.sides[1].current = pair(1, 0, 0);
    sim.sides[1].local[1].priority = 1;
    sim.sides[1].call(|r, rcx| r.explore_now(rcx));
    sim.flush();
    let end = sim.run_until(secs(20.0), |s| {
        s.probes > 2 && s.sides.iter().all(|x| x.reap.state() == ReapState::Operational)
    });
    assert!(end.is_some());
    assert_eq!(sim.sides[0].current, pair(0, 1, 1));
    assert!(sim.works(1, sim.sides[1].current));
}

// req-test: RP-3.3-01, RP-3.3-02
#[test]
fn a_failure_in_either_direction_or_both_is_repaired_in_time() {
    for seed in 0..60 {
        for dead in 0..3 {
            for traffic in 0..3 {
                let mut sim = both_ways(2, 2, seed);
                if traffic < 2 {
                    sim.traffic[traffic] = None;
                }
                sim.run_to(secs(40.0));
                for from in 0..2 {
                    if dead == 2 || dead == from {
                        sim.set(from, 0, 0, false);
                    }
                }
                let end = sim.run_until(secs(200.0), |s| s.fine());
                let took = end.map(|t| t.since(secs(40.0)));
                // One-way traffic: the last Keepalive may have come just before.
                let most = if traffic == 2 { 15.0 + 1.5 } else { 15.0 + 5.0 + 1.5 };
                assert!(
                    took.is_some_and(|t| t < for_secs(most)),
                    "seed {seed} dead {dead} traffic {traffic}: {took:?}"
                );
            }
        }
    }
}

// req-test: RP-4.3-03, RP-4.3-09
#[test]
fn everything_down_then_one_asymmetric_way_up() {
    for seed in 0..40u64 {
        let mut sim = both_ways(3, 3, seed);
        sim.run_to(secs(40.0));
        for from in 0..2 {
            for i in 0..9 {
                sim.set(from, i / 3, i % 3, false);
            }
        }
        sim.run_to(secs(1000.0));
        let slow = sim.probes_of(0).iter().filter(|t| **t > secs(400.0)).count();
        assert!((9..=14).contains(&slow), "seed {seed}: {slow} Probes in 600 s");
        // One pair in each direction, without a common locator.
        let (a, b) = ((seed % 9) as usize, (seed / 4 % 9) as usize);
        sim.set(0, a / 3, a % 3, true);
        sim.set(1, b / 3, b % 3, true);
        let end = sim.run_until(secs(6000.0), |s| s.fine());
        assert!(end.is_some(), "seed {seed}");
    }
}

// req-test: RP-3.3-02
#[test]
fn both_sides_explore_at_the_same_time() {
    for seed in 0..60 {
        let mut sim = both_ways(2, 2, seed);
        sim.run_to(secs(10.0));
        for from in 0..2 {
            sim.set(from, 0, 0, false);
            sim.sides[from].now = sim.now;
            sim.sides[from].call(|r, rcx| r.explore_now(rcx));
        }
        // What they asked for is sent with the next step.
        sim.flush();
        let end = sim.run_until(secs(60.0), |s| s.fine()).unwrap();
        assert!(end.since(secs(10.0)) < for_secs(1.0), "seed {seed}: {end:?}");
        sim.run_to(secs(100.0));
        assert!(sim.probes <= 12, "seed {seed}: {} Probes", sim.probes);
    }
}

/// After a failure the conversation comes to an end, and no Probe is sent any more.
// req-test: RP-6.9-03
#[test]
fn probes_end_with_the_exploration() {
    for seed in 0..40 {
        let mut sim = both_ways(2, 2, seed);
        sim.loss = 100;
        sim.run_to(secs(20.0));
        for from in 0..2 {
            sim.set(from, 0, 0, false);
        }
        sim.run_until(secs(100.0), |s| s.fine()).unwrap();
        sim.loss = 0;
        let now = sim.now;
        sim.run_to(now + for_secs(60.0));
        let before = sim.probes;
        assert!(before <= 30, "seed {seed}: {before} Probes");
        let now = sim.now;
        sim.run_to(now + for_secs(300.0));
        assert_eq!(sim.probes, before, "seed {seed}");
        assert!(sim.fine());
    }
}

/// A test of a pair between two machines moves neither of them.
// req-test: RP-3.3-04, RP-8-01
#[test]
fn a_test_moves_neither_side() {
    for seed in 0..40 {
        for (p, works) in [(pair(0, 1, 1), true), (pair(0, 0, 0), true), (pair(0, 1, 0), false)] {
            let mut sim = both_ways(2, 2, seed);
            sim.set(0, 1, 0, false);
            sim.run_to(secs(20.0));
            sim.sides[0].now = sim.now;
            assert!(sim.sides[0].call(|r, rcx| r.test_pair(rcx, p)));
            sim.flush();
            sim.run_to(secs(60.0));
            assert!(sim.fine());
            assert_eq!(sim.sides[0].current, pair(0, 0, 0));
            assert_eq!(sim.sides[1].current, pair(1, 0, 0));
            let log: Vec<_> = sim.sides[0].log.iter().map(|a| &a.1).collect();
            let answered =
                log.iter().any(|a| matches!(a, Action::Answered { pair, .. } if *pair == p));
            let failed = log.iter().any(|a| matches!(a, Action::TestFailed { pair } if *pair == p));
            assert_eq!((answered, failed), (works, !works), "seed {seed}");
        }
    }
}

/// The pair is judged by what the peer really receives: a path that is dead towards it is never chosen.
// req-test: RP-3.3-02, RP-6.8-03
#[test]
fn asymmetric_paths_are_found_independently() {
    for seed in 0..60u64 {
        let mut sim = both_ways(3, 3, seed);
        sim.run_to(secs(20.0));
        let (a, b) = (1 + (seed % 8) as usize, 1 + (seed / 7 % 8) as usize);
        for i in 0..9 {
            sim.set(0, i / 3, i % 3, i == a);
            sim.set(1, i / 3, i % 3, i == b);
        }
        let end = sim.run_until(secs(900.0), |s| s.fine());
        assert!(end.is_some(), "seed {seed}");
        assert_eq!(sim.sides[0].current, pair(0, a / 3, a % 3));
        assert_eq!(sim.sides[1].current, pair(1, b / 3, b % 3));
    }
}

/// Only one side has the failure told: link down at A, B is told by nobody.
// req-test: RP-3.2-03
#[test]
fn local_failure_is_repaired_within_a_round_trip_or_two() {
    for seed in 0..40 {
        let mut sim = both_ways(2, 2, seed);
        sim.run_to(secs(20.0));
        for p in 0..2 {
            sim.set(0, 0, p, false);
            sim.set(1, p, 0, false);
        }
        sim.sides[0].now = sim.now;
        sim.sides[0].local[0].usable = false;
        sim.sides[0].call(|r, rcx| r.on_local_failure(rcx, addr(0, 0)));
        sim.flush();
        let a = sim.run_until(secs(21.0), |s| s.works(0, s.sides[0].current)).unwrap();
        assert!(a.since(secs(20.0)) < for_secs(0.3), "seed {seed}: {a:?}");
        let both = sim.run_until(secs(60.0), |s| s.fine()).unwrap();
        assert!(both.since(secs(20.0)) < for_secs(0.5), "seed {seed}: {both:?}");
    }
}
