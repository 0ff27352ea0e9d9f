use super::*;
use crate::addr::Locator;
use std::net::Ipv6Addr;

fn at(secs: u64) -> Time {
    Time::from_secs(secs)
}

fn pair(l: u16, p: u16) -> LocatorPair {
    let locator = |n| Locator(Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1));
    LocatorPair { local: locator(l), peer: locator(100 + p) }
}

#[test]
fn each_pair_has_one_entry_with_what_happened_last() {
    let mut b = Book::default();
    b.probed(at(1), pair(1, 1));
    b.probed(at(2), pair(1, 1));
    b.heard(at(3), pair(2, 1));
    assert_eq!(b.pairs().len(), 2);
    let one = b.pairs()[0];
    assert_eq!((one.pair, one.probed, one.unanswered), (pair(1, 1), Some(at(2)), 2));
    assert_eq!((one.answered, one.rtt, one.heard), (None, None, None));
    let rtt = Duration::from_millis(20);
    b.answered(at(4), pair(1, 1), rtt);
    let one = b.pairs()[0];
    assert_eq!((one.answered, one.rtt, one.unanswered), (Some(at(4)), Some(rtt), 0));
    let two = b.pairs()[1];
    assert_eq!((two.pair, two.heard, two.probed), (pair(2, 1), Some(at(3)), None));
}

#[test]
fn as_many_pairs_are_kept_as_locators_can_make() {
    let mut b = Book::default();
    for n in 0..300 {
        b.heard(at(1), pair(n, 1));
    }
    assert_eq!(b.pairs().len(), MAX_PAIRS);
    b.heard(at(2), pair(0, 1));
    b.heard(at(2), pair(299, 1));
    assert_eq!(b.pairs()[0].heard, Some(at(2)));
    assert!(b.pairs().iter().all(|s| s.pair != pair(299, 1)));
}
