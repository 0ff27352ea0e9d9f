//! Timers in virtual time.

use super::side::*;
use crate::proto::Time;
use crate::proto::config::{Detection, ReapConfig};
use crate::proto::reap::{Action, ReapState};
use crate::wire::control::ProbeState;
use std::time::Duration;

fn probe_times(s: &mut Side) -> Vec<f64> {
    s.take_probes().iter().map(|p| p.0.millis() as f64 / 1000.0).collect()
}

fn keepalive_times(s: &mut Side) -> Vec<f64> {
    s.take()
        .iter()
        .filter(|(_, a)| *a == Action::SendKeepalive)
        .map(|(t, _)| t.millis() as f64 / 1000.0)
        .collect()
}

// req-test: RP-4.3-04, RP-4.3-05, RP-4.3-06, RP-4.3-07, RP-4.3-08, RP-7-01, RP-7-02
#[test]
fn probes_follow_the_schedule() {
    let mut s = in_state(ReapState::Exploring, exact());
    s.run_to(secs(100.0 + 250.0));
    let times: Vec<_> = probe_times(&mut s).iter().map(|t| t - 100.0).collect();
    assert_eq!(times, [0.0, 0.5, 1.0, 1.5, 2.5, 4.5, 8.5, 16.5, 32.5, 64.5, 124.5, 184.5, 244.5]);
}

// req-test: RP-4.3-05, RP-4.3-08, RP-4.1-15
#[test]
fn probe_gaps_vary_within_their_bounds() {
    let nominal = [0.5, 0.5, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0];
    let mut second = Vec::new();
    for seed in 0..200 {
        let mut s = Side::new(0, 2, 2, ReapConfig::default(), seed);
        s.call(|r, rcx| r.explore_now(rcx));
        s.run_to(secs(400.0));
        let t = probe_times(&mut s);
        second.push(t[1]);
        for (n, w) in nominal.iter().zip(t.windows(2)) {
            let gap = w[1] - w[0];
            let most = if *n == 60.0 { 60.0 } else { n * 1.2 };
            assert!(gap > n * 0.8 - 0.002 && gap < most + 0.002, "seed {seed}: {gap} for {n}");
        }
    }
    second.sort_by(f64::total_cmp);
    assert!(second[0] < 0.42 && second[199] > 0.58, "{second:?}");
}

// req-test: RP-4.1-14, RP-6.2-01, RP-6.4-01, RP-7-03
#[test]
fn send_timer_counts_from_the_first_unanswered_packet() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    for t in 10..40 {
        s.run_to(secs(t as f64));
        s.payload_out();
    }
    assert_eq!(probe_times(&mut s)[..2], [25.0, 25.5]);

    // An answer stops it, the next packet starts it again.
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    s.payload_out();
    s.run_to(secs(20.0));
    s.payload_in();
    s.run_to(secs(21.0));
    s.payload_out();
    s.run_to(secs(35.9));
    assert!(probe_times(&mut s).is_empty());
    s.run_to(secs(36.1));
    assert_eq!(probe_times(&mut s), [36.0]);
}

// req-test: RP-4.1-15
#[test]
fn contexts_that_fail_together_do_not_probe_together() {
    let mut first = Vec::new();
    for seed in 0..100 {
        let mut s = Side::new(0, 2, 2, ReapConfig::default(), seed);
        s.run_to(secs(10.0));
        s.payload_out();
        s.run_to(secs(30.0));
        first.push(probe_times(&mut s)[0]);
    }
    first.sort_by(f64::total_cmp);
    assert!(first[0] >= 24.25 && first[99] <= 25.0, "{first:?}");
    assert!(first[99] - first[0] > 0.6, "{first:?}");
}

// req-test: RP-4.1-10, RP-4.1-12, RP-6.1-07, RP-6.3-01
#[test]
fn one_packet_in_gives_keepalives_until_the_timeout() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    s.payload_in();
    s.run_to(secs(100.0));
    assert_eq!(keepalive_times(&mut s), [15.0, 20.0, 25.0]);
    assert_eq!(s.reap.timers(), (None, None));
    // The next packet starts them again.
    s.payload_in();
    s.run_to(secs(108.0));
    assert_eq!(keepalive_times(&mut s), [105.0]);
}

// req-test: RP-4.1-03, RP-4.1-04, RP-4.1-11, RP-A-02
#[test]
fn a_stream_in_gives_keepalives_at_the_interval() {
    for seed in 0..20 {
        let mut s = Side::new(0, 2, 2, ReapConfig::default(), seed);
        for t in 100..3000 {
            s.run_to(secs(t as f64 * 0.1));
            s.payload_in();
        }
        let times = keepalive_times(&mut s);
        assert!(times.len() >= 57, "{times:?}");
        for w in times.windows(2) {
            let gap = w[1] - w[0];
            assert!((1.0..=7.5).contains(&gap), "seed {seed}: {gap}");
        }
    }
}

// req-test: RP-4.1-12, RP-4.1-13, RP-6.2-01
#[test]
fn sending_ends_keepalives() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    s.payload_in();
    s.run_to(secs(16.0));
    s.payload_out();
    s.run_to(secs(30.0));
    assert_eq!(keepalive_times(&mut s), [15.0]);
}

// req-test: RP-A-01, RP-4.1-13, RP-3.5-01
#[test]
fn idle_and_bidirectional_contexts_send_nothing() {
    let mut idle = Side::new(0, 2, 2, ReapConfig::default(), 1);
    idle.run_to(secs(600.0));
    assert_eq!(idle.take(), []);
    assert!(idle.readings <= 12, "{}", idle.readings);

    let mut busy = Side::new(0, 2, 2, ReapConfig::default(), 1);
    for t in 0..12000 {
        busy.run_to(secs(t as f64 * 0.05));
        if t % 3 == 0 { busy.payload_in() } else { busy.payload_out() }
    }
    assert_eq!(busy.take(), []);
    assert!(busy.readings <= 600 / 4, "{}", busy.readings);
}

// req-test: RP-5.3-04, RP-7-04, RP-7-05
#[test]
fn keepalives_follow_the_peers_send_timeout() {
    let after = |told: &[Option<u16>]| {
        let mut s = Side::new(0, 2, 2, exact(), 1);
        told.iter().for_each(|t| s.reap.set_peer_send_timeout(*t, &exact()));
        s.run_to(secs(1000.0));
        s.payload_in();
        s.run_to(secs(2000.0));
        let times = keepalive_times(&mut s);
        times.iter().map(|t| (t - 1000.0).round() as u32).collect::<Vec<_>>()
    };
    assert_eq!(after(&[]), [5, 10, 15]);
    assert_eq!(after(&[Some(30)]), [10, 20, 30]);
    assert_eq!(after(&[Some(10)]), [3, 7, 10]);
    assert_eq!(after(&[Some(100)]), [33, 67, 100]);
    assert_eq!(after(&[Some(2)]), [1, 2]);
    assert_eq!(after(&[Some(30), Some(0)]), [10, 20, 30], "0 is ignored");
    assert_eq!(after(&[Some(30), None]), [5, 10, 15]);
}

/// The peer's next packet starts a Send Timer of the new length, and may find our Keepalive Timer running.
// req-test: RP-5.3-04
#[test]
fn a_shorter_send_timeout_of_the_peer_shortens_a_keepalive_timer_that_runs() {
    let after = |before: u16, at: f64, told: Option<u16>| {
        let mut s = Side::new(0, 2, 2, exact(), 1);
        s.reap.set_peer_send_timeout(Some(before), &exact());
        s.run_to(secs(1000.0));
        s.payload_in();
        s.run_to(secs(1000.0 + at));
        s.reap.set_peer_send_timeout(told, &exact());
        s.run_to(secs(2000.0));
        let times = keepalive_times(&mut s);
        times.iter().map(|t| (t - 1000.0).round() as u32).collect::<Vec<_>>()
    };
    assert_eq!(after(99, 2.0, Some(12)), [4, 8, 12]);
    assert_eq!(after(99, 6.0, Some(12)), [6, 10, 12], "the first is late");
    assert_eq!(after(99, 35.0, Some(12)), [33, 35], "all of it is over");
    assert_eq!(after(30, 11.0, None), [10, 15], "the default");
    assert_eq!(after(12, 5.0, Some(99)), [4, 8, 12], "a longer one lets it run on");
}

// req-test: RP-7-05, RP-4.1-04
#[test]
fn interval_can_be_half_the_timeout() {
    let config = ReapConfig { keepalive_fraction: 0.5, ..exact() };
    let mut s = Side::new(0, 2, 2, config, 1);
    s.run_to(secs(10.0));
    s.payload_in();
    s.run_to(secs(100.0));
    assert_eq!(keepalive_times(&mut s), [17.5, 25.0]);
}

/// A Keepalive that answers is not in the cells: the packet they call unanswered is.
// req-test: RP-6.6-01, RP-4.1-09
#[test]
fn keepalive_answers_what_the_cells_still_hold() {
    for lost_wakes in [0, 1000] {
        let mut s = Side::new(0, 2, 2, exact(), 1);
        s.run_to(secs(10.0));
        s.payload_out();
        s.run_to(secs(11.0));
        s.read();
        s.lost_wakes = lost_wakes;
        s.run_to(secs(15.0));
        s.call(|r, rcx| r.on_keepalive(rcx));
        assert_eq!(s.reap.timers(), (None, None));
        s.run_to(secs(40.0));
        assert_eq!(s.take(), []);
        for t in 40..110 {
            s.run_to(secs(t as f64));
            s.payload_out();
        }
        let first = probe_times(&mut s)[0];
        if lost_wakes == 0 {
            assert_eq!(first, 55.0);
        } else {
            // Nothing depends on one notice: found at the next look, never early.
            assert!((55.0..=100.0).contains(&first), "{first}");
        }
    }
}

/// The same before the cells were read at all.
// req-test: RP-6.6-01
#[test]
fn keepalive_answers_what_was_not_read_yet() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.lost_wakes = 1000;
    s.run_to(secs(10.0));
    s.payload_out();
    s.now = secs(10.1);
    s.call(|r, rcx| r.on_keepalive(rcx));
    s.run_to(secs(60.0));
    assert_eq!(s.take(), []);
}

/// Payload in that is read after a control message went out does not stop the timer of that message.
// req-test: RP-6.2-04, RP-6.1-06
#[test]
fn order_of_payload_and_control_is_kept() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    s.payload_out();
    s.now = secs(10.5);
    s.payload_in();
    s.now = secs(11.0);
    s.call(|r, rcx| r.on_control_out(rcx));
    s.run_to(secs(25.9));
    assert_eq!(s.take(), []);
    s.run_to(secs(26.1));
    assert_eq!(probe_times(&mut s), [26.0]);

    // The other way round: the Keepalive Timer of a control message survives older payload out.
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    s.payload_in();
    s.now = secs(10.5);
    s.payload_out();
    s.now = secs(11.0);
    s.call(|r, rcx| r.on_control_in(rcx));
    s.run_to(secs(30.0));
    assert_eq!(keepalive_times(&mut s), [16.0, 21.0, 26.0]);
}

#[test]
fn send_timeout_needs_a_reading_of_the_cells() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    s.payload_out();
    s.run_to(secs(20.0));
    s.now = secs(24.0);
    s.payload_in();
    s.now = secs(26.0);
    s.call(|r, rcx| r.on_timer(rcx));
    assert_eq!(s.take(), []);
    assert!(s.reap.activity_due().unwrap() <= s.now);
    s.tick();
    assert_eq!(s.take(), []);
}

// req-test: RP-3.2-03, RP-4.1-01
#[test]
fn local_failure_explores_at_once_without_the_lost_locator() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    s.call(|r, rcx| r.on_local_failure(rcx, addr(0, 1)));
    assert_eq!(s.take(), [], "not the current pair");
    s.call(|r, rcx| r.on_local_failure(rcx, addr(0, 0)));
    s.run_to(secs(10.6));
    let probes = s.take_probes();
    assert_eq!(probes[0].0, secs(10.0));
    let pairs: Vec<_> = probes.iter().map(|p| p.1).collect();
    assert_eq!(pairs, [pair(0, 1, 1), pair(0, 1, 0)]);
    // As long as it is shown as unusable, it stays so; if not, its return may just not have been told.
    s.local[0].usable = false;
    s.run_to(secs(40.0));
    let probes = s.take_probes();
    assert!(probes.len() > 4 && probes.iter().all(|p| p.1.local == addr(0, 1)), "{probes:?}");
    s.local[0].usable = true;
    s.run_to(secs(400.0));
    assert!(s.take_probes().iter().any(|p| p.1.local == addr(0, 0)));
}

// req-test: RP-4.3-03
#[test]
fn without_any_usable_pair_it_waits_and_goes_on_when_one_comes() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    s.local.iter_mut().for_each(|c| c.usable = false);
    s.call(|r, rcx| r.on_local_failure(rcx, addr(0, 0)));
    s.run_to(secs(2000.0));
    assert_eq!(s.take_probes(), []);
    assert!(s.log.len() < 60, "{}", s.log.len());
    s.local[1].usable = true;
    s.call(|r, rcx| r.on_locator_usable(rcx, addr(0, 1)));
    s.run_to(secs(2004.0));
    let probes = s.take_probes();
    assert_eq!(probes[0].0, secs(2000.0));
    assert_eq!(probes.len(), 5);
    assert!(probes.iter().all(|p| p.1.local == addr(0, 1)));
}

// req-test: RP-4.3-04
#[test]
fn a_locator_that_comes_back_is_tried_next_but_not_faster_than_allowed() {
    let mut s = Side::new(0, 3, 2, exact(), 1);
    s.now = secs(10.0);
    s.call(|r, rcx| r.on_local_failure(rcx, addr(0, 0)));
    s.run_to(secs(300.0));
    s.take();
    for i in 0..20 {
        s.run_to(secs(300.0 + i as f64 * 0.1));
        s.call(|r, rcx| r.on_local_failure(rcx, addr(0, 2)));
        s.call(|r, rcx| r.on_locator_usable(rcx, addr(0, 2)));
    }
    let probes = s.take_probes();
    assert!(!probes.is_empty() && probes.iter().all(|p| p.1.local == addr(0, 2)), "{probes:?}");
    for w in probes.windows(2) {
        assert!(w[1].0.since(w[0].0) >= for_secs(0.5));
    }
}

#[test]
fn peers_withdrawal_explores_at_once() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    s.peer[0].broken = true;
    s.call(|r, rcx| r.on_peer_withdrew(rcx));
    let probes = s.take_probes();
    assert_eq!(probes.len(), 1);
    assert_eq!(probes[0].1.peer, addr(1, 1));
}

#[test]
fn getters_tell_the_state() {
    let mut s = in_state(ReapState::Exploring, exact());
    assert_eq!(s.reap.exploring_since(), Some(secs(100.0)));
    assert_eq!(s.reap.since(), secs(100.0));
    assert!(s.reap.hold());
    assert_eq!(s.reap.wake(), crate::proto::WakeOn::Inbound);
    s.run_to(secs(103.0));
    s.call(|r, rcx| r.reset_operational(rcx));
    assert_eq!(s.reap.exploring_since(), None);
    assert!(!s.reap.hold());
    assert_eq!(s.reap.poll_timeout(), None);
    assert_eq!(s.reap.wake(), crate::proto::WakeOn::Any);
    let probed: u32 = s.reap.pairs().iter().map(|p| p.unanswered).sum();
    assert_eq!(probed, 5);
}

/// What happens before the state Exploring does not end it.
#[test]
fn payload_from_before_the_failure_is_no_life_sign() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.lost_wakes = 1000;
    s.run_to(secs(10.0));
    s.payload_in();
    s.now = secs(11.0);
    s.call(|r, rcx| r.explore_now(rcx));
    s.run_to(secs(14.0));
    assert_eq!(s.reap.state(), ReapState::Exploring);
    s.payload_in();
    s.run_to(secs(20.0));
    assert_eq!(s.reap.state(), ReapState::InboundOk);
}

#[test]
fn extreme_settings_do_not_break_the_arithmetic() {
    for (a, b) in [(Duration::ZERO, Duration::ZERO), (Duration::MAX, Duration::MAX)] {
        let config = ReapConfig {
            detection: Detection::Rfc,
            send_timeout_secs: 0,
            default_keepalive_timeout: Duration::ZERO,
            keepalive_fraction: f64::NAN,
            initial_probe_timeout: a,
            initial_probes: 0,
            max_probe_timeout: b,
            probe_jitter: 5.0,
            send_jitter: -1.0,
            replies_per_second: 0,
            report_lifetime: a,
            hot_standby: false,
            standby_interval: b,
            return_to_preferred: None,
        };
        let mut s = Side::new(0, 2, 2, config, 1);
        s.now = Time::from_nanos(u64::MAX - 5);
        s.payload_in();
        s.read();
        s.call(|r, rcx| r.explore_now(rcx));
        s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 0), 1, Vec::new()));
        s.tick();
    }
}

// req-test: RP-3.3-03
#[test]
fn progress_seen_by_upper_layers_postpones_the_send_timeout() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    s.payload_out();
    s.run_to(secs(20.0));
    s.call(|r, rcx| r.on_progress(rcx));
    s.run_to(secs(22.0));
    s.payload_out();
    s.run_to(secs(36.9));
    assert_eq!(s.take(), []);
    s.run_to(secs(37.1));
    assert_eq!(probe_times(&mut s), [37.0]);
    s.call(|r, rcx| r.on_progress(rcx));
    assert_eq!(s.reap.state(), ReapState::Exploring);
    // A complaint starts the exploration at once.
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.call(|r, rcx| r.explore_now(rcx));
    assert_eq!(s.reap.state(), ReapState::Exploring);
}

#[test]
fn packets_from_before_the_context_start_no_timer() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.now = secs(10.0);
    s.payload_out();
    s.now = secs(40.0);
    s.reap = crate::proto::reap::Reap::new(s.now);
    s.tick();
    assert_eq!(s.reap.timers(), (None, None));
    s.run_to(secs(80.0));
    assert_eq!(s.take(), []);
    s.payload_out();
    s.run_to(secs(95.1));
    assert_eq!(probe_times(&mut s), [95.0]);
}

/// Between the last reading and the Keepalive no wake-up was armed, so nobody has told of a packet that came in then.
// req-test: RP-4.1-03
#[test]
fn a_keepalive_that_ends_the_wait_leaves_no_packet_unread_for_long() {
    let mut s = Side::new(0, 2, 2, exact(), 1);
    s.run_to(secs(10.0));
    s.payload_out();
    s.run_to(secs(20.5));
    s.payload_in();
    s.now = secs(20.6);
    s.call(|r, rcx| r.on_keepalive(rcx));
    s.run_to(secs(60.0));
    assert_eq!(keepalive_times(&mut s), [25.5, 30.5, 35.5]);
}

#[test]
fn what_has_come_to_rest_takes_no_room() {
    let mut s = in_state(ReapState::Exploring, exact());
    assert_eq!(s.reap.room(), ["schedule", "reports", "book"]);
    let mine = s.last_probe().sent[0];
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (1, 1), 1, vec![mine]));
    s.call(|r, rcx| r.on_keepalive(rcx));
    assert_eq!(s.reap.room(), ["reports", "book"]);
    s.run_to(secs(200.0));
    assert_eq!(s.reap.room(), ["book"]);
    assert!(s.call(|r, rcx| r.test_pair(rcx, pair(0, 0, 0))));
    assert_eq!(s.reap.room(), ["reports", "tester", "book"]);
    s.local.clear();
    s.call(|r, rcx| r.explore_now(rcx));
    assert_eq!(s.reap.room(), ["schedule", "reports"]);
}
