//! The rules of fast detection one by one; times in milliseconds.

use super::*;

fn ms(n: u64) -> Time {
    Time::from_millis(n)
}

fn for_ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn rtt(smoothed: u64, variation: u64) -> Option<Rtt> {
    Some(Rtt { smoothed: for_ms(smoothed), variation: for_ms(variation) })
}

fn fast() -> ReapConfig {
    ReapConfig { detection: Detection::Fast, ..ReapConfig::default() }
}

/// A watch that has read these cells at one second.
fn watch(activity: Activity) -> Watch {
    let mut w = Watch::default();
    w.see(ms(1000), &activity);
    w
}

fn signs(signs: Signs) -> Watch {
    watch(Activity { signs, ..Activity::default() })
}

#[test]
fn a_silence_is_a_round_trip_and_a_quarter_and_what_it_varies_by() {
    let silence = |rtt| signs(Signs { rtt, ..Signs::default() }).silence();
    assert_eq!(silence(None), Duration::ZERO, "the first packet measures a round trip");
    assert_eq!(silence(rtt(80, 10)), for_ms(140));
    assert_eq!(silence(rtt(40, 1)), LEAST_SILENCE, "54 ms");
    let gap = |rtt| signs(Signs { rtt, ..Signs::default() }).gap();
    assert_eq!((gap(None), gap(rtt(80, 9)), gap(rtt(20, 9))), (None, rtt_gap(160), rtt_gap(50)));
}

fn rtt_gap(n: u64) -> Option<Duration> {
    Some(for_ms(n))
}

#[test]
fn round_trips_of_tcp_come_before_those_of_probes() {
    let mut w = signs(Signs::default());
    assert_eq!(w.rtt(), None);
    w.measured(for_ms(100));
    assert_eq!(w.rtt(), Some(Rtt::first(for_ms(100))));
    w.measured(for_ms(20));
    assert_eq!(w.rtt(), Some(Rtt::first(for_ms(100)).after(for_ms(20))));
    w.activity.signs.rtt = rtt(7, 1);
    assert_eq!(w.rtt(), rtt(7, 1));
    w.activity.signs.rtt = None;
    w.switched(Some(for_ms(30)));
    assert_eq!(w.rtt(), Some(Rtt::first(for_ms(30))), "another pair has another round trip");
    w.switched(None);
    assert_eq!(w.rtt(), None);
}

#[test]
fn a_pause_is_eight_gaps_in_a_dense_row_of_packets() {
    for (in_flight, recent_in, rtt, expected) in [
        (12_000, 400, rtt(80, 10), Some(40)),
        (11_999, 400, rtt(80, 10), None),
        (12_000, 2000, rtt(80, 10), Some(25)),
        (12_000, 0, rtt(80, 10), None),
        // No sooner than silence itself would tell.
        (12_000, 100, rtt(96, 10), None),
        (12_000, 101, rtt(96, 10), Some(158)),
    ] {
        let w = signs(Signs { in_flight, recent_in, rtt, ..Signs::default() });
        let pause = w.pause().map(|d| d.as_millis());
        assert_eq!(pause, expected, "{in_flight} octets under way, {recent_in} packets in");
    }
}

#[test]
fn who_sends_one_packet_at_once_has_only_answered() {
    let answer = Activity {
        last_in: Some(ms(500)),
        pending_out: Some(ms(502)),
        signs: Signs { unanswered: 1, segment: Some(ms(499)), ..Signs::default() },
        ..Activity::default()
    };
    assert!(watch(answer).has_only_answered());
    let with = |change: fn(&mut Activity)| {
        let mut a = answer;
        change(&mut a);
        watch(a).has_only_answered()
    };
    assert!(with(|a| a.signs.segment = None));
    assert!(!with(|a| a.signs.unanswered = 2));
    assert!(!with(|a| a.signs.segment = a.last_in), "TCP wants an acknowledgement");
    assert!(!with(|a| a.pending_out = Some(ms(502) + Duration::from_nanos(1))));
    assert!(!with(|a| a.pending_out = None));
    assert!(!with(|a| a.last_in = None));
}

/// Two packets out without an answer, the second at one second; the round trip makes a silence of 140 ms.
fn unanswered() -> Activity {
    Activity {
        last_out: Some(ms(1000)),
        pending_out: Some(ms(960)),
        last_in: Some(ms(900)),
        packets_out: 2,
        signs: Signs { rtt: rtt(80, 10), unanswered: 2, ..Signs::default() },
        ..Activity::default()
    }
}

#[test]
fn a_test_is_due_a_silence_after_the_first_unanswered_packet() {
    let w = watch(unanswered());
    assert_eq!(w.hint(), Some(ms(1100)));
    assert_eq!(watch(Activity { last_out: None, ..unanswered() }).hint(), None);
    assert_eq!(watch(Activity { pending_out: None, ..unanswered() }).hint(), None);
    // Without a round trip the last packet is a reason by itself.
    let mut unknown = unanswered();
    unknown.signs.rtt = None;
    assert_eq!(watch(unknown).hint(), Some(ms(1000)));
    // Who has only answered waits twice as long.
    let mut answer = unanswered();
    (answer.last_in, answer.signs.unanswered) = (Some(ms(959)), 1);
    assert_eq!(watch(answer).hint(), Some(ms(960 + 280)));
    // What was answered in another way counts no more.
    for (answered, expected) in [(990, Some(1130)), (1000, None), (1001, None)] {
        let mut w = watch(unanswered());
        w.answered = Some(ms(answered));
        assert_eq!(w.hint(), expected.map(ms), "answered at {answered}");
    }
}

#[test]
fn a_break_in_a_dense_row_makes_a_test_due_earlier() {
    let mut a = unanswered();
    (a.signs.in_flight, a.signs.recent_in) = (30_000, 400);
    assert_eq!(watch(a).hint(), Some(ms(940)), "40 ms after the last packet in");
    assert_eq!(watch(Activity { pending_out: None, ..a }).hint(), Some(ms(940)));
    let mut w = watch(a);
    w.answered = Some(ms(950));
    assert_eq!(w.hint(), Some(ms(990)));
    a.last_in = None;
    assert_eq!(watch(a).hint(), Some(ms(1100)));
    a.last_in = Some(ms(1065));
    assert_eq!(watch(a).hint(), Some(ms(1100)), "whichever comes first");
}

#[test]
fn the_budget_is_four_tests_at_once_and_one_a_second() {
    let mut w = Watch::default();
    let at = |w: &mut Watch, now: u64| (0..9).filter(|_| w.spend(ms(now))).count();
    assert_eq!(at(&mut w, 1000), 4);
    assert_eq!(at(&mut w, 1999), 0);
    assert_eq!(at(&mut w, 2000), 1);
    assert_eq!(at(&mut w, 4999), 2);
    assert_eq!(at(&mut w, 90_000), 4);
    // A test that there is no budget for is put off until there is.
    let mut w = watch(unanswered());
    assert_eq!(at(&mut w, 1000), 4);
    assert_eq!(w.hint(), Some(ms(2000)));
    let mut w = watch(unanswered());
    assert!(w.spend(ms(1000)));
    assert_eq!(w.hint(), Some(ms(1100)));
}

#[test]
fn cells_are_read_at_the_next_step_or_a_silence_later() {
    assert_eq!(Watch::default().look(), None);
    assert_eq!(watch(Activity::default()).look(), None, "nothing has passed");
    let heard = |rtt| {
        let signs = Signs { rtt, ..Signs::default() };
        Activity { packets_in: 1, last_in: Some(ms(990)), signs, ..Activity::default() }
    };
    assert_eq!(watch(heard(rtt(80, 10))).look(), Some(ms(1140)));
    assert_eq!(watch(heard(None)).look(), Some(ms(1060)));
    let mut w = watch(heard(None));
    w.see(ms(1070), &heard(None));
    assert_eq!(w.look(), None, "the next packet tells");
    w.see(ms(1080), &Activity { packets_out: 1, ..heard(None) });
    assert_eq!(w.look(), Some(ms(1140)));
    let mut w = watch(unanswered());
    assert_eq!(w.look(), Some(ms(1100)));
    w.suspect(ms(1050));
    assert_eq!(w.look(), Some(ms(1050)));
    for (verdict, next, expected) in [(None, 1200, 1200), (Some(1150), 1200, 1150)] {
        let run = w.run.as_mut().unwrap();
        (run.verdict, run.next) = (verdict.map(ms), ms(next));
        assert_eq!(w.look(), Some(ms(expected)));
    }
}

#[test]
fn only_what_comes_in_after_its_beginning_ends_a_test() {
    let mut w = watch(unanswered());
    assert!(!w.doubts());
    w.suspect(ms(1050));
    assert!(w.doubts());
    w.see(ms(1060), &Activity { last_in: Some(ms(1050)), ..unanswered() });
    assert!(w.doubts());
    w.see(ms(1070), &Activity { last_in: Some(ms(1051)), ..unanswered() });
    assert!(!w.doubts());
    w.suspect(ms(1080));
    w.answered(ms(1090));
    assert!(!w.doubts());
    assert_eq!((w.answered, w.packets_then), (Some(ms(1090)), 2));
    w.suspect(ms(1100));
    w.reset(ms(1110));
    assert!(!w.doubts() && w.answered == Some(ms(1110)));
}

/// What a test does, with times, until it has failed or two seconds are over.
fn run(w: &mut Watch, config: &ReapConfig) -> Vec<(u64, Step)> {
    let mut steps = Vec::new();
    while let Some(now) = w.look().filter(|t| *t <= ms(4000)) {
        if let Some(step) = w.step(now, config) {
            steps.push((now.millis(), step));
        }
        if !w.doubts() || steps.len() > 40 {
            break;
        }
    }
    steps
}

fn probes(at: &[u64], failed: u64) -> Vec<(u64, Step)> {
    at.iter().map(|t| (*t, Step::Probe)).chain([(failed, Step::Failed)]).collect()
}

// req-test: RP-8-01
#[test]
fn a_test_gathers_evidence_and_then_waits_for_the_last_answer() {
    let mut a = unanswered();
    (a.signs.segment, a.signs.repeated) = (Some(ms(960)), 1);
    let mut w = watch(a);
    // Five questions: three within a round trip, the others one after another.
    assert_eq!(run(&mut w, &fast()), probes(&[1100, 1120, 1140, 1220, 1300, 1380], 1400));
    // A second of the budget, and a quarter for each of the last three.
    assert_eq!(w.budget, Some(ms(1100 + 1750)));
    // A short round trip: no faster than the peer may answer.
    a.signs.rtt = rtt(20, 1);
    assert_eq!(run(&mut watch(a), &fast()), probes(&[1020, 1030, 1040, 1090, 1140, 1190], 1200));
    // Three are the least, whatever payload says.
    (a.signs.recent_in, a.signs.recent_out) = (100, 100);
    (a.signs.unanswered, a.packets_out, a.signs.repeated) = (50, 50, 0);
    assert_eq!(run(&mut watch(a), &fast()), probes(&[1020, 1030, 1040, 1090], 1100));
    // Nothing is known of the path: the gaps are those of an exploration, and much has to stay unanswered.
    a.signs = Signs::default();
    let steps = run(&mut watch(a), &fast());
    assert_eq!(
        steps.iter().map(|s| s.0).collect::<Vec<_>>(),
        [1000, 1500, 2000, 2500, 3000, 3500, 4000]
    );
    assert!(steps.iter().all(|s| s.1 == Step::Probe));
}

#[test]
fn there_is_no_test_before_its_time_nor_with_the_timers_of_the_rfc_alone() {
    let mut w = watch(unanswered());
    assert_eq!(w.step(ms(1099), &fast()), None);
    assert!(!w.doubts());
    assert_eq!(w.step(ms(1100), &fast()), Some(Step::Probe));
    assert_eq!(w.step(ms(1119), &fast()), None);
    assert!(w.doubts());
    assert_eq!(w.step(ms(1120), &ReapConfig::default()), None);
    assert!(!w.doubts());
}

#[test]
fn payload_counts_by_the_share_of_it_that_was_answered() {
    let traffic = |since: u64, unanswered, recent: (u32, u32), in_flight| {
        let (recent_in, recent_out) = recent;
        let signs = Signs { unanswered, recent_in, recent_out, in_flight, ..Signs::default() };
        let mut w = watch(Activity { packets_out: 100 + since, signs, ..Activity::default() });
        w.packets_then = 100;
        w.traffic()
    };
    assert_eq!(traffic(6, 9, (50, 50), 0), 6);
    assert_eq!(traffic(9, 6, (50, 50), 0), 6, "what was answered since is not missing");
    assert_eq!(traffic(6, 6, (25, 50), 0), 3);
    assert_eq!(traffic(6, 6, (80, 50), 0), 6, "no packet counts more than once");
    assert_eq!(traffic(6, 6, (5, 0), 0), 0);
    assert_eq!(traffic(0, 0, (50, 50), 1400 * 3 + 1399), 3);
    assert_eq!(traffic(4, 4, (50, 50), 1400 * 3), 4);
    assert_eq!(traffic(0, 0, (25, 50), 1400 * 6), 3);
    assert_eq!(traffic(0, 0, (50, 50), 1400 * 60), 8);
}

#[test]
fn a_path_that_loses_little_needs_less_evidence() {
    let wanted = |segment: Option<u64>, repeated| {
        wanted(&Signs { segment: segment.map(ms), repeated, ..Signs::default() }, ms(3000))
    };
    assert_eq!(wanted(Some(2990), 0), 3);
    assert_eq!(wanted(Some(2990), 2), 7);
    assert_eq!(wanted(Some(2990), 40), 18);
    assert_eq!(wanted(Some(2001), 0), 3);
    assert_eq!(wanted(Some(2000), 0), 18, "a second ago: it may be another path by now");
    assert_eq!(wanted(None, 0), 18);
}
