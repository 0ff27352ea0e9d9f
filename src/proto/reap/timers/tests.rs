use super::*;

/// Not random at all.
struct Fixed(u64);

impl RngCore for Fixed {
    fn next_u32(&mut self) -> u32 {
        self.0 as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        dest.fill(self.0 as u8);
    }
}

#[test]
fn a_varied_duration_is_uniform_between_its_bounds() {
    let d = Duration::from_secs(100);
    let secs = |random, down, up| vary(d, &mut Fixed(random), down, up).as_secs_f64();
    for (random, down, up, expected) in [
        (0, 0.2, 0.3, 80.0),
        (1 << 63, 0.2, 0.3, 105.0),
        (1 << 62, 0.2, 0.3, 92.5),
        (u64::MAX, 0.2, 0.3, 130.0),
        (0, 0.0, 0.5, 100.0),
        (u64::MAX, 0.5, 0.0, 100.0),
        // No less than a tenth, no more than twice.
        (0, 1.5, 0.0, 10.0),
        (u64::MAX, 0.0, 7.0, 200.0),
    ] {
        let is = secs(random, down, up);
        assert!((is - expected).abs() < 1e-6, "{is} instead of {expected}");
    }
}

#[test]
fn a_keepalive_just_before_the_last_is_left_out() {
    let secs = Time::from_secs;
    let mut run = KeepaliveRun {
        start: secs(0),
        next: secs(0),
        end: secs(20),
        interval: Duration::from_secs(9),
    };
    let mut planned = Vec::new();
    while run.next < run.end {
        run.advance(run.next);
        planned.push(run.next);
    }
    assert_eq!(planned, [secs(9), secs(18), secs(20)]);
    run.advance(secs(10));
    assert_eq!(run.next, secs(19), "a whole second before the end is enough");
    run.advance(secs(10) + Duration::from_nanos(1));
    assert_eq!(run.next, secs(20));
}

#[test]
fn a_peer_that_tells_nothing_has_the_default_and_zero_is_not_told() {
    let config = ReapConfig::default();
    let mut t = Timers::new(Time::ZERO);
    assert_eq!(t.keepalive_timeout(&config), config.default_keepalive_timeout);
    t.set_peer_send_timeout(Some(7), &config);
    t.set_peer_send_timeout(Some(0), &config);
    assert_eq!(t.keepalive_timeout(&config), Duration::from_secs(7));
    t.set_peer_send_timeout(None, &config);
    assert_eq!(t.keepalive_timeout(&config), config.default_keepalive_timeout);
    t.set_peer_send_timeout(Some(1), &config);
    assert_eq!(t.keepalive_interval(&config), MIN_KEEPALIVE_GAP);
}

#[test]
fn idle_contexts_are_read_after_four_timeouts_busy_ones_within_one() {
    let config = ReapConfig { send_jitter: 0.2, ..ReapConfig::default() };
    let mut t = Timers::new(Time::from_secs(100));
    let timeout = send_timeout(&config);
    let look = |t: &Timers, idle| t.read_due(&config, idle).since(Time::from_secs(100));
    let part = t.keepalive_interval(&config).min(timeout).as_secs_f64() * 0.8;
    assert!((look(&t, true).as_secs_f64() - part).abs() < 1e-6, "nothing read yet");
    t.observe(Time::from_secs(100), &Activity::default());
    assert_eq!(look(&t, true), timeout * 4);
    assert!((look(&t, false).as_secs_f64() - part).abs() < 1e-6);
}

mod cells;
