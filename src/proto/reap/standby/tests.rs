use super::*;
use crate::addr::Locator;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::net::Ipv6Addr;

fn at(secs: u64) -> Time {
    Time::from_secs(secs)
}

fn pair(l: u16, p: u16) -> LocatorPair {
    let locator = |n| Locator(Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1));
    LocatorPair { local: locator(l), peer: locator(p) }
}

/// Tests every 10 s, a return after 20 s, and no chance in it.
fn config(hot_standby: bool, back: bool) -> ReapConfig {
    ReapConfig {
        hot_standby,
        standby_interval: Duration::from_secs(10),
        return_to_preferred: back.then_some(Duration::from_secs(20)),
        probe_jitter: 0.0,
        ..ReapConfig::default()
    }
}

/// What is due at these seconds.
fn due(s: &mut Standby, config: &ReapConfig, secs: &[u64]) -> Vec<Option<Wish>> {
    let mut rng = StdRng::seed_from_u64(1);
    secs.iter().map(|t| s.due(at(*t), config, &mut rng)).collect()
}

#[test]
fn payload_starts_the_tests_that_are_asked_for() {
    for (hot, back, expected) in [
        (false, false, None),
        (true, false, Some(100)),
        (false, true, Some(105)),
        (true, true, Some(100)),
    ] {
        let mut s = Standby::default();
        s.see(at(90), 0, &config(hot, back));
        assert_eq!(s.next(), None, "nothing has passed");
        s.see(at(100), 1, &config(hot, back));
        assert_eq!(s.next(), expected.map(at));
        s.see(at(101), 2, &config(hot, back));
        assert_eq!(s.next(), expected.map(at), "later packets put nothing off");
    }
    // Tests of the preferred pair: four in the time it has to work, but no more than one a second.
    assert_eq!(return_gap(Duration::from_secs(20)), Duration::from_secs(5));
    assert_eq!(return_gap(Duration::from_secs(2)), Duration::from_secs(1));
}

#[test]
fn a_standby_is_tested_at_intervals_while_payload_passes() {
    let c = config(true, false);
    let mut s = Standby::default();
    s.see(at(100), 1, &c);
    assert_eq!(due(&mut s, &c, &[99, 100, 100]), [None, Some(Wish::Standby), None]);
    assert_eq!(s.next(), Some(at(110)));
    s.see(at(105), 2, &c);
    assert_eq!(due(&mut s, &c, &[109, 110]), [None, Some(Wish::Standby)]);
    // No packet since: the next one begins anew.
    assert_eq!(due(&mut s, &c, &[120]), [None]);
    assert_eq!(s.next(), None);
    s.see(at(130), 3, &c);
    assert_eq!(due(&mut s, &c, &[130]), [Some(Wish::Standby)]);
    // Switched off meanwhile.
    s.see(at(135), 4, &c);
    assert_eq!(due(&mut s, &config(false, false), &[140, 150]), [None, None]);
    assert_eq!(s.next(), None);
}

#[test]
fn the_preferred_pair_is_tested_at_intervals_while_payload_passes() {
    let c = config(false, true);
    let mut s = Standby::default();
    s.see(at(100), 1, &c);
    assert_eq!(due(&mut s, &c, &[104, 105, 105]), [None, Some(Wish::Preferred), None]);
    assert_eq!(s.next(), Some(at(110)));
    assert_eq!(due(&mut s, &c, &[110]), [None], "no packet since, and none passed before");
    assert_eq!(s.next(), None);
    // Who has passed a test goes on to the end without payload.
    s.see(at(120), 2, &c);
    assert_eq!(due(&mut s, &c, &[125]), [Some(Wish::Preferred)]);
    assert!(!s.preferred(at(125), true, &c));
    assert_eq!(due(&mut s, &c, &[130]), [Some(Wish::Preferred)]);
    // Switched off meanwhile.
    assert_eq!(due(&mut s, &config(false, false), &[135, 140]), [None, None]);
    assert_eq!(s.next(), None);
}

#[test]
fn the_standby_that_was_good_is_tested_again_before_another() {
    let c = config(true, false);
    let (current, one, other) = (pair(1, 1), pair(2, 2), pair(3, 3));
    let mut s = Standby::default();
    assert_eq!(s.candidate(current, Some(one)), Some(one));
    s.answered(at(100), other);
    assert_eq!(s.pair(), None, "the answer to another test");
    s.answered(at(100), one);
    assert_eq!(s.pair(), Some(one));
    s.answered(at(101), one);
    assert_eq!(s.ready(at(130), &c), Some(one), "three intervals after its test");
    assert_eq!(s.ready(at(131), &c), None);
    assert_eq!(s.candidate(current, Some(other)), Some(one));
    // One that is in use is no standby.
    assert_eq!(s.candidate(one, Some(other)), Some(other));
    assert_eq!(s.pair(), None);
    s.answered(at(140), other);
    s.moved();
    assert_eq!(s.pair(), None);
}

#[test]
fn one_test_that_fails_is_followed_by_that_of_another_pair() {
    let c = config(true, false);
    let (current, one, other) = (pair(1, 1), pair(2, 2), pair(3, 3));
    let mut s = Standby::default();
    s.see(at(100), 1, &c);
    assert_eq!(due(&mut s, &c, &[100]), [Some(Wish::Standby)]);
    s.candidate(current, Some(one));
    s.answered(at(100), one);
    s.candidate(current, Some(other));
    s.unanswered(at(101), other);
    assert_eq!((s.pair(), s.failed(), s.next()), (Some(one), &[][..], Some(at(110))), "not ours");
    s.unanswered(at(102), one);
    assert_eq!((s.pair(), s.failed(), s.next()), (None, &[one][..], Some(at(102))));
    assert_eq!(due(&mut s, &c, &[102]), [Some(Wish::Standby)], "even without payload since");
    // Once it is over, it cannot fail again.
    s.unanswered(at(103), one);
    assert_eq!((s.failed(), s.next()), (&[one][..], Some(at(112))));
    // What answers ends the list, as does the end of all pairs.
    s.candidate(current, Some(other));
    s.answered(at(104), other);
    assert_eq!(s.failed(), []);
    s.candidate(current, None);
    s.unanswered(at(105), other);
    s.moved();
    assert_eq!(s.candidate(current, None), None);
    assert_eq!(s.failed(), []);
    // No more of them than a bound.
    for n in 0..70 {
        s.candidate(current, Some(pair(9, n)));
        s.unanswered(at(200), pair(9, n));
    }
    assert_eq!(s.failed().len(), MAX_FAILED);
}

#[test]
fn the_preferred_pair_has_to_pass_four_tests_in_a_row() {
    let c = config(false, true);
    let mut s = Standby::default();
    let mut pass = |n: usize| (0..n).map(|_| s.preferred(at(100), true, &c)).collect::<Vec<_>>();
    assert_eq!(pass(5), [false, false, false, true, false]);
    pass(2);
    assert!(!s.preferred(at(100), false, &c));
    let mut pass = |n: usize| (0..n).filter(|_| s.preferred(at(100), true, &c)).count();
    assert_eq!((pass(3), pass(1)), (0, 1));
}

#[test]
fn an_answer_that_came_late_puts_the_next_test_of_the_preferred_pair_off() {
    let c = config(false, true);
    let mut s = Standby::default();
    s.see(at(100), 1, &c);
    due(&mut s, &c, &[105]);
    s.preferred(at(108), false, &c);
    assert_eq!(s.next(), Some(at(110)), "it works not at all yet");
    s.see(at(110), 2, &c);
    due(&mut s, &c, &[110]);
    s.preferred(at(113), true, &c);
    assert_eq!(s.next(), Some(at(118)), "five seconds after the answer");
    // An answer at once puts nothing off, nor does one when the option has gone.
    due(&mut s, &c, &[118]);
    s.preferred(at(118), true, &c);
    assert_eq!(s.next(), Some(at(123)));
    s.preferred(at(119), true, &config(true, false));
    assert_eq!(s.next(), Some(at(123)));
}

#[test]
fn returns_that_do_not_last_double_the_tests_up_to_a_bound() {
    // It lasts if the pair works for four times 20 s.
    let c = config(false, true);
    let mut s = Standby::default();
    let tests = |s: &mut Standby, now| {
        let before = (1..200).find(|_| s.preferred(at(now), true, &c));
        before.unwrap()
    };
    let mut now = 1000;
    for expected in [4, 8, 16, 32, 64, 64] {
        assert_eq!(tests(&mut s, now), expected);
        s.left(at(now + 79), &c);
        now += 1000;
    }
    assert_eq!(tests(&mut s, now), 64);
    s.left(at(now + 80), &c);
    assert_eq!(tests(&mut s, now), 4);
    // Only the return itself counts, once.
    s.left(at(now + 1), &c);
    s.left(at(now + 2), &c);
    assert_eq!(tests(&mut s, now), 8);
}

#[test]
fn a_failure_of_the_current_pair_ends_what_runs() {
    let c = config(true, true);
    let mut s = Standby::default();
    let (current, one, other) = (pair(1, 1), pair(2, 2), pair(3, 3));
    s.candidate(current, Some(one));
    s.unanswered(at(100), one);
    s.candidate(current, Some(other));
    s.preferred(at(100), true, &c);
    s.left(at(101), &c);
    assert_eq!(s.failed(), []);
    s.answered(at(102), other);
    assert_eq!(s.pair(), None);
    assert_eq!((0..4).filter(|_| s.preferred(at(103), true, &c)).count(), 1);
}
