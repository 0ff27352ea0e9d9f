//! What is read from the cells, and what starts and stops the timers; times in milliseconds.

use super::*;

fn ms(n: u64) -> Time {
    Time::from_millis(n)
}

/// Send Timeout and Keepalive Timeout 15 s, Keepalives every 5 s, all exactly.
fn exact() -> ReapConfig {
    ReapConfig { send_jitter: 0.0, ..ReapConfig::default() }
}

fn cells(out: [Option<u64>; 2], inward: [Option<u64>; 2]) -> Activity {
    Activity {
        pending_out: out[0].map(ms),
        last_out: out[1].map(ms),
        pending_in: inward[0].map(ms),
        last_in: inward[1].map(ms),
        ..Activity::default()
    }
}

/// Direction, first and last of each burst, and what is pending the other way.
type Seen = (&'static str, Option<u64>, u64, Option<u64>);

fn observe(t: &mut Timers, now: u64, a: Activity) -> Vec<Seen> {
    let seen = |name, m: Moment| {
        let millis = |t: Option<Time>| t.map(Time::millis);
        (name, millis(m.first), m.last.millis(), millis(m.pending))
    };
    let bursts = t.observe(ms(now), &a);
    let all = bursts.iter().flatten().map(|b| match *b {
        Burst::In(m) => seen("in", m),
        Burst::Out(m) => seen("out", m),
    });
    all.collect()
}

fn moment(first: u64, last: u64) -> Moment {
    Moment { first: Some(ms(first)), last: ms(last), pending: None }
}

fn started(t: &Timers) -> (Option<u64>, Option<u64>) {
    let (send, keepalive) = t.started();
    (send.map(Time::millis), keepalive.map(Time::millis))
}

/// Timers, a configuration without chance, and numbers for it.
fn begin() -> (Timers, ReapConfig, Fixed) {
    (Timers::new(ms(1000)), exact(), Fixed(0))
}

#[test]
fn payload_out_counts_from_the_first_packet_that_nothing_has_answered() {
    let out = |pending, last| {
        let (mut t, ..) = begin();
        observe(&mut t, 2000, cells([pending, last], [None, None]))
    };
    assert_eq!(out(Some(1100), Some(1200)), [("out", Some(1100), 1200, None)]);
    assert_eq!(out(Some(1200), Some(1200)), [("out", Some(1200), 1200, None)]);
    // One from before all was answered: the last one surely came after.
    assert_eq!(out(Some(1000), Some(1200)), [("out", Some(1200), 1200, None)]);
    assert_eq!(out(Some(900), Some(1000)), [("out", None, 1000, None)]);
    assert_eq!(out(Some(1300), Some(1200)), [("out", Some(1200), 1200, None)], "torn apart");
    assert_eq!(out(None, None), []);
    let (mut t, ..) = begin();
    observe(&mut t, 2000, cells([Some(1200), Some(1200)], [None, None]));
    assert_eq!(observe(&mut t, 2100, cells([Some(1200), Some(1200)], [None, None])), []);
    let more = observe(&mut t, 2200, cells([Some(1200), Some(2150)], [None, None]));
    assert_eq!(more, [("out", Some(2150), 2150, None)], "the first one was seen before");
}

#[test]
fn payload_in_counts_from_the_first_packet_that_was_not_answered_or_earlier() {
    let inward = |pending, last| {
        let (mut t, ..) = begin();
        assert_eq!(observe(&mut t, 1000, cells([None, None], [None, None])), []);
        observe(&mut t, 2000, cells([None, None], [pending, last]))
    };
    assert_eq!(inward(Some(1100), Some(1200)), [("in", Some(1100), 1200, None)]);
    assert_eq!(inward(Some(1200), Some(1200)), [("in", Some(1200), 1200, None)]);
    assert_eq!(inward(Some(1000), Some(1200)), [("in", Some(1200), 1200, None)]);
    // Nor before the wake-up was surely armed: this may be the second packet.
    let (mut t, ..) = begin();
    let second = observe(&mut t, 2000, cells([None, None], [Some(1000), Some(1200)]));
    assert_eq!(second, [("in", Some(1000), 1200, None)]);
    assert_eq!(inward(Some(900), Some(1000)), [("in", None, 1000, None)]);
    assert_eq!(inward(Some(1300), Some(1200)), [("in", Some(1200), 1200, None)], "torn apart");
    let (mut t, ..) = begin();
    observe(&mut t, 2000, cells([None, None], [Some(1200), Some(1200)]));
    assert_eq!(observe(&mut t, 2100, cells([None, None], [Some(1200), Some(1200)])), []);
    let more = observe(&mut t, 2200, cells([None, None], [Some(1200), Some(2150)]));
    assert_eq!(more, [("in", Some(2150), 2150, None)], "the first one was seen before");
    // While a timer runs no packet has told of itself: the earliest possible moment counts.
    for (keepalive, answered, read, expected) in [
        (false, 1000, 1000, 1000),
        (true, 1000, 1000, 1000),
        (false, 1050, 1000, 1050),
        (false, 1000, 1080, 1080),
        (false, 1000, 1190, 1150),
    ] {
        let (mut t, c, mut rng) = begin();
        t.answered_in = Some(ms(answered));
        t.read = ms(read);
        match keepalive {
            true => t.start_keepalive(moment(1000, 1000), &c, &mut rng),
            false => t.start_send(moment(1000, 1000), &c, &mut rng),
        }
        let seen = observe(&mut t, 2000, cells([None, None], [Some(1000), Some(1150)]));
        assert_eq!(seen, [("in", Some(expected), 1150, None)]);
    }
}

#[test]
fn bursts_come_in_the_order_in_which_they_ended() {
    let order = |out: [Option<u64>; 2], inward: [Option<u64>; 2]| {
        let (mut t, ..) = begin();
        observe(&mut t, 2000, cells(out, inward)).iter().map(|s| s.0).collect::<Vec<_>>()
    };
    let (one, two) = (Some(1100), Some(1200));
    assert_eq!(order([one, one], [None, one]), ["in", "out"]);
    assert_eq!(order([None, one], [one, one]), ["out", "in"]);
    assert_eq!(order([one, one], [one, one]), ["out", "in"]);
    assert_eq!(order([two, two], [one, one]), ["in", "out"]);
    assert_eq!(order([None, two], [None, one]), ["in", "out"]);
    assert_eq!(order([None, one], [None, two]), ["out", "in"]);
    let (mut t, ..) = begin();
    let seen = observe(&mut t, 2000, cells([one, two], [two, two]));
    assert_eq!(seen, [("out", one, 1200, two), ("in", two, 1200, one)], "with what is pending");
}

// req-test: RP-4.1-05, RP-4.1-14
#[test]
fn the_send_timer_starts_once_and_is_stopped_by_what_came_after_its_start() {
    let (mut t, c, mut rng) = begin();
    t.start_send(Moment { first: None, last: ms(1100), pending: None }, &c, &mut rng);
    assert!(!t.send_runs());
    t.start_send(moment(1100, 1200), &c, &mut rng);
    t.start_send(moment(1150, 1200), &c, &mut rng);
    assert_eq!(started(&t), (Some(1100), None));
    t.restart_send(ms(1300), &c, &mut rng);
    assert_eq!(started(&t), (Some(1300), None));
    t.stop_send(moment(1290, 1299), &c, &mut rng);
    assert!(t.send_runs(), "older than its start");
    t.stop_send(Moment { pending: Some(ms(1300)), ..moment(1300, 1400) }, &c, &mut rng);
    assert!(t.send_runs(), "the packet that started it is younger whatever its stamp");
    t.stop_send(Moment { pending: Some(ms(1290)), ..moment(1300, 1300) }, &c, &mut rng);
    assert!(!t.send_runs());
    assert_eq!(t.answered_out, Some(ms(1400)), "what is answered stays answered");
    // What we said after the cause starts it anew.
    for (said, expected) in [(1500, None), (1501, Some(1501))] {
        let (mut t, c, mut rng) = begin();
        t.start_send(moment(1100, 1100), &c, &mut rng);
        t.note_control_out(ms(said));
        t.stop_send(moment(1500, 1500), &c, &mut rng);
        assert_eq!(started(&t), (expected, None));
    }
}

// req-test: RP-4.1-12, RP-4.1-13
#[test]
fn the_keepalive_timer_starts_once_and_is_stopped_by_what_came_after_its_start() {
    let (mut t, c, mut rng) = begin();
    t.start_keepalive(Moment { first: None, last: ms(1100), pending: None }, &c, &mut rng);
    assert!(!t.keepalive_runs());
    t.start_keepalive(moment(1300, 1300), &c, &mut rng);
    t.start_keepalive(moment(1350, 1350), &c, &mut rng);
    assert_eq!(started(&t), (None, Some(1300)));
    t.stop_keepalive(moment(1290, 1299), &c, &mut rng);
    assert!(t.keepalive_runs());
    t.stop_keepalive(Moment { pending: Some(ms(1300)), ..moment(1300, 1400) }, &c, &mut rng);
    assert!(t.keepalive_runs());
    t.stop_keepalive(Moment { pending: Some(ms(1290)), ..moment(1300, 1300) }, &c, &mut rng);
    assert!(!t.keepalive_runs());
    assert_eq!(t.answered_in, Some(ms(1400)));
    for (heard, expected) in [(1500, None), (1501, Some(1501))] {
        let (mut t, c, mut rng) = begin();
        t.start_keepalive(moment(1100, 1100), &c, &mut rng);
        t.note_control_in(ms(heard));
        t.stop_keepalive(moment(1500, 1500), &c, &mut rng);
        assert_eq!(started(&t), (None, expected));
    }
}

// req-test: RP-4.1-14, RP-6.4-01
#[test]
fn the_send_timer_has_run_out_when_the_cells_say_so_too() {
    let (mut t, c, mut rng) = begin();
    t.start_send(moment(1000, 1000), &c, &mut rng);
    for (read, now, expected) in [
        (16_000, 15_999, false),
        (15_999, 16_000, false),
        (16_000, 16_000, true),
        (17_000, 17_000, true),
    ] {
        t.read = ms(read);
        assert_eq!(t.send_due(ms(now)), expected, "read at {read}, now {now}");
    }
    t.clear(ms(17_000));
    assert!(!t.send_due(ms(17_000)));
    assert_eq!((t.answered_in, t.answered_out), (Some(ms(17_000)), Some(ms(17_000))));
}

/// A test keeps the peer from sending Keepalives for a round trip.
// req-test: RP-4.1-05
#[test]
fn an_answered_test_puts_the_send_timer_off_once() {
    let rtt = Duration::from_millis(400);
    for (tests, ends) in [(0, 16_000), (1, 16_400), (2, 16_400)] {
        let (mut t, c, mut rng) = begin();
        t.put_off_send(rtt, &c);
        t.start_send(moment(1000, 1000), &c, &mut rng);
        (0..tests).for_each(|_| t.put_off_send(rtt, &c));
        t.read = ms(60_000);
        assert!(!t.send_due(ms(ends - 1)) && t.send_due(ms(ends)), "{tests}");
        // The next run is as long as any.
        t.restart_send(ms(20_000), &c, &mut rng);
        assert!(!t.send_due(ms(34_999)) && t.send_due(ms(35_000)));
    }
    let (mut t, c, mut rng) = begin();
    t.start_send(moment(1000, 1000), &c, &mut rng);
    t.put_off_send(Duration::from_secs(60), &c);
    t.read = ms(60_000);
    assert!(!t.send_due(ms(23_499)) && t.send_due(ms(23_500)), "half a Send Timeout at most");
}

// req-test: RP-4.1-10, RP-4.1-11
#[test]
fn keepalives_are_due_at_the_interval_after_a_reading_and_never_within_a_second() {
    let (mut t, c, mut rng) = begin();
    t.start_keepalive(moment(1000, 1000), &c, &mut rng);
    let due = |t: &mut Timers, read: u64, now: u64| {
        t.read = ms(read);
        t.keepalive_due(ms(now))
    };
    assert_eq!(due(&mut t, 6000, 5999), None);
    assert_eq!(due(&mut t, 5999, 6000), None);
    assert_eq!(due(&mut t, 6000, 6000), Some(KeepaliveDue::Interval));
    assert_eq!(due(&mut t, 6000, 6000), None);
    assert_eq!(due(&mut t, 11_000, 11_000), Some(KeepaliveDue::Interval));
    assert_eq!(due(&mut t, 15_999, 15_999), None);
    assert_eq!(due(&mut t, 16_000, 16_000), Some(KeepaliveDue::Timeout));
    // Another run, which is noticed late, keeps the distance to the last Keepalive.
    t.clear(ms(16_000));
    t.start_keepalive(moment(11_500, 11_500), &c, &mut rng);
    assert_eq!(due(&mut t, 16_999, 16_999), None);
    assert_eq!(due(&mut t, 17_000, 17_000), Some(KeepaliveDue::Interval));
}

#[test]
fn cells_are_read_when_a_timer_can_run_out() {
    let c = ReapConfig { send_jitter: 0.5, ..exact() };
    let (mut t, _, mut rng) = begin();
    assert_eq!(t.read_due(&c, false), ms(3500), "half of 5 s: the shortest there is");
    t.set_peer_send_timeout(Some(3000), &exact());
    assert_eq!(t.read_due(&c, false), ms(8500), "half of 15 s");
    t.send = Some(SendRun { start: ms(1000), due: ms(3000), put_off: false });
    assert_eq!(t.read_due(&c, false), ms(3000));
    t.start_keepalive(moment(1000, 1000), &exact(), &mut rng);
    t.keepalive.as_mut().unwrap().next = ms(2000);
    assert_eq!(t.read_due(&c, false), ms(2000));
    t.keepalive.as_mut().unwrap().next = ms(4000);
    assert_eq!(t.read_due(&c, false), ms(3000));
    // Idle, but something has passed lately.
    observe(&mut t, 1000, cells([Some(900), Some(900)], [None, None]));
    assert_eq!(t.read_due(&c, true), ms(3000));
    observe(&mut t, 1000, cells([Some(900), Some(900)], [None, Some(950)]));
    assert_eq!(t.read_due(&c, true), ms(3000));
    observe(&mut t, 1000, cells([Some(900), Some(900)], [None, Some(950)]));
    assert_eq!(t.read_due(&c, true), ms(61_000));
}

#[test]
fn the_end_of_a_test_gives_the_timers_back_that_were_kept_aside() {
    for first in [0, 1, 2] {
        let (mut t, c, mut rng) = begin();
        let moment = moment(1100, 1100);
        match first {
            0 => t.start_send(moment, &c, &mut rng),
            1 => t.start_keepalive(moment, &c, &mut rng),
            _ => {}
        }
        let before = started(&t);
        t.interrupt();
        t.restart_send(ms(2000), &c, &mut rng);
        t.stop_keepalive(Moment::now(ms(2000)), &c, &mut rng);
        assert_eq!(started(&t), (Some(2000), None));
        t.quiet = true;
        assert!(t.resume());
        assert_eq!((started(&t), t.quiet), (before, false));
        assert!(!t.resume(), "once");
    }
    let (mut t, _, _) = begin();
    t.interrupt();
    assert!(t.aside().is_some());
    t.forget_interruption();
    assert!(t.aside().is_none() && !t.resume());
}

#[test]
fn what_happens_during_a_test_happens_to_both() {
    let (mut t, c, mut rng) = begin();
    t.start_send(moment(1100, 1100), &c, &mut rng);
    assert_eq!(t.send_since(), Some(ms(1100)));
    t.interrupt();
    t.restart_send(ms(2000), &c, &mut rng);
    let aside = t.aside().unwrap();
    aside.stop_send(Moment::now(ms(2500)), &c, &mut rng);
    aside.start_keepalive(Moment::now(ms(2500)), &c, &mut rng);
    t.set_peer_send_timeout(Some(7), &exact());
    assert_eq!((started(&t), t.send_since()), ((Some(2000), None), Some(ms(2000))));
    assert!(t.resume());
    assert_eq!(started(&t), (None, Some(2500)));
    assert_eq!(t.keepalive_timeout(&c), Duration::from_secs(7));
}

#[test]
fn durations_that_are_too_long_are_the_longest() {
    let max = Duration::from_nanos(u64::MAX);
    assert_eq!(scaled(Duration::from_secs(10), 1.5), Duration::from_secs(15));
    assert_eq!(scaled(max, 1.0), Duration::MAX);
    assert_eq!(scaled(Duration::MAX, 0.5), Duration::MAX);
    assert!(scaled(max, 0.9) < max);
    assert_eq!(
        send_timeout(&ReapConfig { send_timeout_secs: 0, ..exact() }),
        Duration::from_secs(1)
    );
}
