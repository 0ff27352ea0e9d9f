use super::*;
use crate::addr::Locator;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::net::Ipv6Addr;
use std::time::Duration;

fn ms(n: u64) -> Time {
    Time::from_millis(n)
}

fn pair(n: u16) -> LocatorPair {
    let locator = |n| Locator(Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1));
    LocatorPair { local: locator(n), peer: locator(100 + n) }
}

fn step(t: &mut Tester, now: u64) -> Option<Step> {
    let config = ReapConfig { probe_jitter: 0.0, ..ReapConfig::default() };
    t.step(ms(now), &config, &mut StdRng::seed_from_u64(1))
}

#[test]
fn four_probes_at_the_gaps_of_an_exploration_and_then_the_next_test() {
    let mut t = Tester::default();
    assert!(t.add(ms(1000), pair(1)));
    assert!(t.add(ms(1000), pair(2)) && t.add(ms(1000), pair(1)) && t.add(ms(1000), pair(2)));
    assert_eq!((t.pair(), t.next(), t.waiting.len()), (Some(pair(1)), Some(ms(1000)), 1));
    assert_eq!(step(&mut t, 999), None);
    for (now, next) in [(1000, 1500), (1500, 2000), (2000, 2500), (2500, 3500)] {
        assert_eq!(step(&mut t, now), Some(Step::Probe(pair(1))), "at {now}");
        assert_eq!((t.next(), step(&mut t, next - 1)), (Some(ms(next)), None));
    }
    assert_eq!(step(&mut t, 3500), Some(Step::Failed(pair(1))));
    assert_eq!((t.pair(), step(&mut t, 3500)), (Some(pair(2)), Some(Step::Probe(pair(2)))));
    // An answer ends the test whose pair it names; the next one keeps the distance.
    assert!(t.add(ms(3500), pair(3)));
    assert!(!t.answered(pair(3)) && !t.answered(pair(1)));
    assert!(t.answered(pair(2)));
    assert_eq!((t.pair(), t.next()), (Some(pair(3)), Some(ms(4000))));
    t.cancel();
    assert_eq!((t.pair(), t.next(), step(&mut t, 9000)), (None, None, None));
}

#[test]
fn one_probe_at_least_and_a_bounded_number_of_tests() {
    let mut t = Tester::default();
    let taken = (0..40).filter(|n| t.add(ms(1000), pair(*n))).count();
    assert_eq!(taken, 1 + MAX_WAITING);
    assert!(t.add(ms(1000), pair(3)), "one that waits already");
    let config = ReapConfig { initial_probes: 0, ..ReapConfig::default() };
    let mut rng = StdRng::seed_from_u64(1);
    assert_eq!(t.step(ms(1000), &config, &mut rng), Some(Step::Probe(pair(0))));
    let later = ms(1000) + Duration::from_secs(60);
    assert_eq!(t.step(later, &config, &mut rng), Some(Step::Failed(pair(0))));
}
