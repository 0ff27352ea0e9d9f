//! Fast detection: silence leads to a test, a failed test to an exploration, and nothing else does.

use super::side::*;
use crate::proto::config::{Detection, ReapConfig};
use crate::proto::reap::{Action, ReapState, Reason};
use crate::proto::{Rtt, Time, WakeOn};
use crate::wire::control::ProbeState;
use std::time::Duration;

const RTT: Duration = Duration::from_millis(20);

fn fast() -> ReapConfig {
    ReapConfig { detection: Detection::Fast, ..exact() }
}

/// A host whose TCP has measured the round trip.
fn side(config: ReapConfig) -> Side {
    let mut s = Side::new(0, 2, 2, config, 1);
    s.cells.signs.rtt = Some(Rtt { smoothed: RTT, variation: Duration::from_millis(1) });
    s
}

fn ms(ms: u64) -> Time {
    Time::from_millis(ms)
}

/// Sends a packet every `gap` milliseconds from `from` to `to`, which come back at once if `answered`.
fn flow(s: &mut Side, from: u64, to: u64, gap: u64, answered: bool) {
    for t in (from..to).step_by(gap as usize) {
        s.run_to(ms(t));
        s.payload_out();
        if answered {
            s.now = ms(t) + Duration::from_micros(500);
            s.payload_in();
        }
    }
    s.run_to(ms(to));
}

/// The answer of the peer to our last Probe, by its pair or by another one.
fn answer(s: &mut Side, by: (usize, usize), nonce: u32) {
    let mine = s.last_probe().sent[0];
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, by, nonce, vec![mine]));
}

fn times(probes: &[(Time, crate::addr::LocatorPair, ProbeState)]) -> Vec<u64> {
    probes.iter().map(|p| p.0.millis()).collect()
}

/// What payload would have shown already is not to be suspected after a Send Timeout: answers, or Keepalives, got lost.
#[test]
fn a_send_timeout_beside_fast_detection_begins_with_the_pair_in_use() {
    for (config, first) in [(fast(), pair(0, 0, 0)), (exact(), pair(0, 1, 1))] {
        let mut s = side(config);
        s.run_to(secs(10.0));
        s.call(|r, rcx| r.on_control_out(rcx));
        s.run_to(secs(25.0));
        assert_eq!(s.take_probes(), [(secs(25.0), first, ProbeState::Exploring)]);
        let by = if first == s.current { (0, 0) } else { (1, 1) };
        answer(&mut s, by, 9);
        assert_eq!((s.reap.state(), s.current), (ReapState::Operational, first));
    }
}

// req-test: RP-8-01, RP-3.3-01
#[test]
fn silence_of_a_flow_leads_to_a_test_and_its_failure_to_an_exploration() {
    let mut s = side(fast());
    flow(&mut s, 1000, 10_000, 5, true);
    assert_eq!(s.take_probes(), [], "while packets come back there is nothing to test");
    flow(&mut s, 10_000, 10_059, 5, false);
    assert!(!s.reap.hold(), "so far there is no doubt");
    flow(&mut s, 10_060, 10_065, 5, false);
    assert!(s.reap.hold(), "what is sent from now on may have to be sent again");
    flow(&mut s, 10_065, 10_255, 5, false);
    let probes = s.take_probes();
    assert_eq!(times(&probes), [10_060, 10_070, 10_080, 10_130, 10_140, 10_190, 10_240]);
    assert!(
        probes[..4].iter().all(|p| p.1 == pair(0, 0, 0)),
        "the test is one of the current pair"
    );
    // The first Probe goes where nothing is in common with the failure, the next ones soon.
    assert_eq!(probes[4].1, pair(0, 1, 1));
    assert_eq!(s.reap.state(), ReapState::Exploring);
    let change = s.log.iter().find(|(_, a)| matches!(a, Action::State { .. })).unwrap();
    assert_eq!(change.0, ms(10_140));
    assert!(matches!(change.1, Action::State { reason: Reason::TestFailed, .. }));
    assert_eq!(s.current, pair(0, 0, 0), "payload stays until a pair is confirmed");
    answer(&mut s, (1, 1), 9);
    assert_eq!((s.reap.state(), s.current), (ReapState::Operational, probes[6].1));
}

#[test]
fn the_first_gaps_of_an_exploration_are_short_then_come_those_of_the_rfc() {
    let mut s = side(fast());
    flow(&mut s, 1000, 2000, 5, true);
    flow(&mut s, 2000, 6000, 5, false);
    let probes = times(&s.take_probes());
    assert_eq!(probes[5..], [2190, 2240, 2290, 2340, 2390, 2890, 3390, 3890, 4890]);
}

// req-test: RP-3.3-04, RP-8-01
#[test]
fn whatever_comes_back_ends_the_test() {
    let mut s = side(fast());
    flow(&mut s, 1000, 2000, 5, true);
    flow(&mut s, 2000, 2120, 5, false);
    assert!(s.reap.hold(), "Probes without an answer are a doubt");
    s.payload_in();
    flow(&mut s, 2120, 2179, 5, false);
    assert!(!s.reap.hold());
    assert_eq!(times(&s.take_probes()), [2060, 2070, 2080]);
    flow(&mut s, 2179, 4000, 5, true);
    // The answer to a Probe, by the way it went.
    flow(&mut s, 4000, 4110, 5, false);
    answer(&mut s, (0, 0), 9);
    flow(&mut s, 4110, 4200, 5, false);
    assert_eq!(s.reap.state(), ReapState::Operational);
    // A Keepalive.
    flow(&mut s, 4200, 6000, 5, true);
    flow(&mut s, 6000, 6110, 5, false);
    s.call(|r, rcx| r.on_keepalive(rcx));
    flow(&mut s, 6110, 6200, 5, false);
    assert_eq!((s.reap.state(), s.current), (ReapState::Operational, pair(0, 0, 0)));
}

#[test]
fn an_answer_by_another_way_does_not_say_that_packets_come_back() {
    let mut s = side(fast());
    flow(&mut s, 1000, 2000, 5, true);
    flow(&mut s, 2000, 2090, 5, false);
    answer(&mut s, (1, 1), 9);
    assert_eq!(s.current, pair(0, 0, 0), "a test changes nothing");
    flow(&mut s, 2090, 2200, 5, false);
    assert_eq!(s.reap.state(), ReapState::Exploring);
}

#[test]
fn a_flow_that_nobody_answers_is_tested_once_a_second() {
    let mut s = side(fast());
    let mut tests = Vec::new();
    for t in (1000..61_000).step_by(20) {
        s.run_to(ms(t));
        s.payload_out();
        for (at, probed, state) in s.take_probes() {
            if state == ProbeState::Exploring {
                assert_eq!(probed, pair(0, 0, 0));
                tests.push(at.millis());
                answer(&mut s, (0, 0), t as u32);
            }
        }
    }
    assert_eq!(s.reap.state(), ReapState::Operational);
    assert!((55..=68).contains(&tests.len()), "{} tests in a minute", tests.len());
    // Its failure is found in time all the same.
    flow(&mut s, 61_000, 64_000, 20, false);
    assert_ne!(s.reap.state(), ReapState::Operational);
}

#[test]
fn the_less_is_known_of_a_path_the_more_has_to_stay_unanswered() {
    // How many Probes test the pair until it is left: few packets of unknown kind; TCP with so many losses of 64.
    let probes = |repeated: Option<u32>| {
        let mut s = side(fast());
        flow(&mut s, 1000, 10_000, 1000, true);
        if let Some(repeated) = repeated {
            s.cells.signs.repeated = repeated;
            s.cells.signs.segment = Some(ms(12_000));
        }
        s.run_to(ms(10_000));
        s.payload_out();
        s.run_to(ms(11_800));
        let left = s.log.iter().position(|(_, a)| matches!(a, Action::State { .. })).unwrap();
        s.log[..left].iter().filter(|(_, a)| matches!(a, Action::SendProbe { .. })).count()
    };
    // One more goes out while the answers are awaited.
    assert_eq!(probes(None), 18 + 1);
    assert_eq!(probes(Some(0)), 3 + 1);
    assert_eq!(probes(Some(2)), 7 + 1);
    assert_eq!(probes(Some(20)), 18 + 1);
}

#[test]
fn without_a_round_trip_the_first_packets_measure_one() {
    let mut s = Side::new(0, 2, 2, fast(), 1);
    flow(&mut s, 1000, 1010, 5, true);
    assert_eq!(times(&s.take_probes()), [1000]);
    s.now = ms(1030);
    answer(&mut s, (0, 0), 3);
    s.take();
    flow(&mut s, 1030, 3000, 5, true);
    assert_eq!(s.take_probes(), []);
    // Five quarters of the round trip of 29.5 ms, and four times half of it.
    flow(&mut s, 3000, 3100, 5, false);
    assert_eq!(times(&s.take_probes()), [3095]);
}

#[test]
fn an_idle_context_costs_nothing() {
    let mut s = side(fast());
    flow(&mut s, 1000, 2000, 5, true);
    let before = s.readings;
    s.run_to(ms(2500));
    assert!(s.readings <= before + 3, "{} looks", s.readings - before);
    assert_eq!(s.reap.wake(), WakeOn::Any, "the next packet tells");
    let before = s.readings;
    s.run_to(ms(1_000_000));
    assert!(s.readings <= before + 30, "{} looks", s.readings - before);
    assert!(s.take_probes().is_empty());
}

#[test]
fn a_last_packet_without_an_answer_is_tested_once() {
    let mut s = side(fast());
    flow(&mut s, 1000, 2000, 5, true);
    s.payload_out();
    s.run_to(ms(2105));
    answer(&mut s, (0, 0), 3);
    s.take();
    s.run_to(ms(10_000));
    assert_eq!(s.take_probes(), []);
}

#[test]
fn with_the_rfc_timers_alone_nothing_is_tested() {
    let mut s = side(exact());
    flow(&mut s, 1000, 10_000, 5, true);
    flow(&mut s, 10_000, 24_000, 5, false);
    assert_eq!(s.take_probes(), []);
    assert_eq!(s.reap.state(), ReapState::Operational);
}

// req-test: RP-3.3-04, RP-8-01
#[test]
fn a_hint_starts_a_test_in_either_mode() {
    for config in [exact(), fast()] {
        let gap = if config.detection == Detection::Fast { 10 } else { 500 };
        let mut s = side(config);
        flow(&mut s, 1000, 2000, 5, true);
        s.call(|r, rcx| r.on_hint(rcx));
        s.run_to(ms(2000 + gap));
        let probes = s.take_probes();
        assert_eq!(times(&probes), [2000, 2000 + gap]);
        assert!(probes.iter().all(|p| p.1 == pair(0, 0, 0)));
        assert_eq!(s.reap.state(), ReapState::Operational);
    }
}

#[test]
fn who_has_only_answered_waits_longer() {
    let mut s = side(fast());
    flow(&mut s, 1000, 2000, 100, true);
    s.now = ms(2000);
    s.payload_in();
    s.payload_out();
    s.run_to(ms(2119));
    assert_eq!(s.take_probes(), [], "the peer need not say more");
    s.run_to(ms(2125));
    assert_eq!(times(&s.take_probes()), [2120]);
    answer(&mut s, (0, 0), 3);
    // Who sends data of its own wants to hear of it.
    s.now = ms(3000);
    s.payload_in();
    s.cells.signs.segment = Some(ms(3000));
    s.payload_out();
    s.take();
    s.run_to(ms(3065));
    assert_eq!(times(&s.take_probes()), [3060]);
}

#[test]
fn a_break_in_a_dense_row_of_acknowledgements_is_tested_soon() {
    let mut s = side(fast());
    // Nothing may be sent, but much is under way.
    s.cells.signs.in_flight = 30_000;
    s.cells.signs.segment = Some(ms(1998));
    s.cells.signs.repeated = 2;
    flow(&mut s, 1000, 2000, 2, true);
    s.run_to(ms(2111));
    let probes = s.take_probes();
    // Eight gaps of 4 ms.
    assert_eq!(times(&probes), [2030, 2040, 2050, 2100, 2110]);
    assert_eq!(s.reap.state(), ReapState::Exploring, "what was under way is evidence as well");
}

// req-test: RP-8-01
#[test]
fn a_late_answer_keeps_the_pair() {
    let mut s = side(fast());
    flow(&mut s, 1000, 10_000, 5, true);
    flow(&mut s, 10_000, 10_175, 5, false);
    assert_eq!(s.reap.state(), ReapState::Exploring);
    let probes: Vec<_> = s
        .take()
        .into_iter()
        .filter_map(|(_, a)| match a {
            Action::SendProbe { sent, .. } => Some(sent[0]),
            _ => None,
        })
        .collect();
    let tests = probes[..3].to_vec();
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (0, 0), 7, tests));
    assert_eq!((s.reap.state(), s.current), (ReapState::Operational, pair(0, 0, 0)));
    s.take();
    // The answer to the exploration itself comes later still.
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (1, 1), 8, probes));
    assert_eq!((s.reap.state(), s.current), (ReapState::Operational, pair(0, 0, 0)));
    assert_eq!(s.last_probe().received, [], "the peer keeps its pair as well");
}

#[test]
fn a_pair_that_must_not_be_probed_asks_for_no_look() {
    let mut s = side(fast());
    flow(&mut s, 1000, 2000, 5, true);
    s.local.iter_mut().for_each(|c| c.usable = false);
    flow(&mut s, 2000, 3000, 5, false);
    assert!(
        s.reap.activity_due() > Some(s.now),
        "a look that is due and does nothing comes again at once"
    );
}

#[test]
fn an_answer_by_the_way_of_the_peers_keepalives_is_one_wherever_that_is() {
    for (way, doubt) in [((1, 0), false), ((0, 0), true)] {
        let mut s = side(fast());
        flow(&mut s, 1000, 2000, 5, true);
        s.call(|r, rcx| r.on_keepalive_by(rcx, pair(0, way.0, way.1)));
        flow(&mut s, 2000, 2090, 5, false);
        assert!(s.reap.hold());
        answer(&mut s, (1, 1), 9);
        assert_eq!(s.reap.hold(), doubt, "Keepalives on {way:?}");
    }
}

#[test]
fn a_peers_test_of_another_pair_does_not_put_off_that_of_ours() {
    let mut s = side(fast());
    flow(&mut s, 1000, 2000, 5, true);
    flow(&mut s, 2000, 2020, 5, false);
    s.probe_in(&probe_of_peer(ProbeState::Exploring, (1, 1), 8, vec![]));
    s.probe_in(&probe_of_peer(ProbeState::Operational, (1, 1), 9, vec![]));
    assert_eq!(s.reap.state(), ReapState::Operational);
    s.take();
    flow(&mut s, 2020, 2065, 5, false);
    assert_eq!(times(&s.take_probes()), [2060]);
}

#[test]
fn what_passed_just_before_fast_detection_may_begin_a_silence() {
    let probes = |heard: bool| {
        let mut s = side(exact());
        flow(&mut s, 1000, 2000, 5, true);
        flow(&mut s, 2000, 2020, 5, false);
        if heard {
            s.call(|r, rcx| r.on_keepalive(rcx));
        }
        s.config.detection = Detection::Fast;
        let (now, cells) = (s.now, s.cells);
        s.call(|r, rcx| r.on_watched(rcx, now, &cells));
        s.run_to(ms(2075));
        times(&s.take_probes())
    };
    assert_eq!(probes(false), [2060, 2070]);
    assert!(probes(true).is_empty(), "a Keepalive has answered");
}
