use super::*;

// req-test: RP-4.1-05, RP-4.1-07, RP-4.1-08
#[test]
fn pending_holds_the_first_unanswered_packet_only() {
    let cells = Cells::default();
    assert_eq!(cells.activity(), Activity::NONE);
    cells.touch_out(Time::from_secs(1), 100);
    cells.touch_out(Time::from_secs(2), 100);
    let a = cells.activity();
    assert_eq!(a.pending_out, Some(Time::from_secs(1)));
    assert_eq!((a.last_out, a.pending_in), (Some(Time::from_secs(2)), None));
    assert!(cells.unanswered(Time::from_millis(1500), Duration::from_millis(500)));
    assert!(!cells.unanswered(Time::from_millis(1499), Duration::from_millis(500)));
    cells.touch_in(Time::from_secs(3), 40);
    cells.touch_in(Time::from_secs(4), 40);
    let a = cells.activity();
    assert_eq!((a.pending_out, a.pending_in), (None, Some(Time::from_secs(3))));
    cells.touch_out(Time::from_secs(5), 1);
    let a = cells.activity();
    assert_eq!((a.pending_out, a.pending_in), (Some(Time::from_secs(5)), None));
    assert_eq!((a.packets_out, a.packets_in, a.octets_out, a.octets_in), (3, 2, 201, 80));
}

#[test]
fn time_zero_is_a_time() {
    let cells = Cells::default();
    cells.touch_out(Time::ZERO, 1);
    assert_eq!(cells.activity().pending_out, Some(Time::ZERO));
}

#[test]
fn one_wake_up_per_arming() {
    let cells = Cells::new(WakeOn::Any);
    assert_eq!(cells.touch_out(Time::ZERO, 1), Some(WakeOn::Any));
    assert_eq!(cells.touch_out(Time::ZERO, 1), None);
    assert_eq!(cells.touch_in(Time::ZERO, 1), None);
    cells.look();
    assert!(!cells.arm(WakeOn::Inbound));
    assert_eq!(cells.touch_out(Time::ZERO, 1), None);
    assert_eq!(cells.touch_in(Time::ZERO, 1), Some(WakeOn::Inbound));
    assert_eq!(cells.touch_in(Time::ZERO, 1), None);
    cells.look();
    assert!(!cells.arm(WakeOn::Any));
    assert!(!cells.arm(WakeOn::Nothing));
    assert_eq!(cells.touch_in(Time::ZERO, 1), None);
    // A notice that was lost: the next packet tries again, unless the engine has armed otherwise meanwhile.
    cells.rearm(WakeOn::Any);
    assert_eq!(cells.touch_out(Time::ZERO, 1), Some(WakeOn::Any));
    cells.look();
    assert!(!cells.arm(WakeOn::Inbound));
    cells.rearm(WakeOn::Any);
    assert_eq!(cells.touch_out(Time::ZERO, 1), None);
}

#[test]
fn a_packet_between_the_last_look_and_the_arming_is_told_at_once() {
    let cells = Cells::default();
    cells.look();
    cells.touch_out(Time::ZERO, 1);
    assert!(!cells.arm(WakeOn::Inbound), "of the other direction");
    assert!(cells.arm(WakeOn::Any));
    assert_eq!(cells.touch_out(Time::ZERO, 1), None, "told once");
    cells.look();
    assert!(!cells.arm(WakeOn::Any));
    cells.touch_in(Time::ZERO, 1);
    assert!(cells.arm(WakeOn::Inbound));
}

#[test]
fn no_packet_slips_by_while_the_wake_up_is_armed() {
    const ROUNDS: u64 = 20_000;
    let cells = Cells::default();
    let told = AtomicU64::new(0);
    std::thread::scope(|s| {
        s.spawn(|| {
            for n in 0..ROUNDS {
                if cells.touch_in(Time::from_nanos(n), 1).is_some() {
                    told.fetch_add(1, SeqCst);
                }
            }
        });
        // Looks, arms, waits to be woken: as the engine does. Without an end in sight if one wake-up is missed.
        while cells.look().packets_in < ROUNDS {
            let before = told.load(SeqCst);
            if !cells.arm(WakeOn::Any) && cells.activity().packets_in < ROUNDS {
                while told.load(SeqCst) == before {
                    std::hint::spin_loop();
                }
            }
        }
    });
    assert!(told.load(SeqCst) <= ROUNDS);
}

#[test]
fn reports_are_limited_in_rate() {
    let cells = Cells::default();
    assert!(cells.may_make_too_big(Time::from_millis(10)));
    assert!(!cells.may_make_too_big(Time::from_millis(1009)));
    assert!(cells.may_make_too_big(Time::from_millis(1010)));
    assert!(cells.may_tell_setup(Time::ZERO) && !cells.may_tell_setup(Time::ZERO));
    assert!(cells.may_tell_refused(Time::ZERO) && !cells.may_tell_refused(Time::ZERO));
    assert!(cells.may_tell_failed(Time::ZERO) && !cells.may_tell_failed(Time::ZERO));
}

// req-test: RP-4.1-05, RP-4.1-07
#[test]
fn what_passed_and_what_workers_saw_count_together() {
    let at = Time::from_millis;
    let passed = |last| Some(Passed { packets: 9, octets: 900, last: at(last) });
    let pending = |cells: &Cells| (cells.activity().pending_out, cells.activity().pending_in);
    // Tagged or queued packets came in while ours passed: they are answered.
    let cells = Cells::default();
    cells.touch_in(at(1020), 1);
    cells.passed(at(1000), passed(1050), None);
    assert_eq!(pending(&cells), (None, Some(at(1050))));
    // What came in before does not count, be it seen by workers or at the reading itself.
    for before in [999, 1000] {
        let cells = Cells::default();
        cells.touch_in(at(before), 1);
        cells.passed(at(1000), passed(1050), None);
        assert_eq!(pending(&cells), (Some(at(1000)), None));
    }
    // A question through the queue is not answered by what passed in at some time before or after it.
    let cells = Cells::default();
    cells.touch_out(at(1020), 1);
    cells.passed(at(1000), None, passed(1050));
    assert_eq!(pending(&cells), (Some(at(1020)), Some(at(1020))));
    cells.passed(at(1050), None, passed(1100));
    assert_eq!(pending(&cells), (None, Some(at(1020))));
    // An older one is.
    let cells = Cells::default();
    cells.touch_out(at(900), 1);
    cells.passed(at(1000), None, passed(1050));
    assert_eq!(pending(&cells), (None, Some(at(1000))));
}
