//! Token buckets: what strangers can make us send is bounded in all and per /64.

use crate::addr::{Locator, Prefix};
use crate::proto::Time;
use crate::proto::config::Limits;
use std::collections::HashMap;
use std::time::Duration;

/// Prefixes remembered at most; beyond that the global bucket alone limits.
const PREFIXES: usize = 4096;
/// The same for all limits together.
pub const MOST_PREFIXES: usize = 4 * PREFIXES;

/// A bucket that fills with `rate` tokens per second up to `burst`.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens: f64,
    filled: Time,
}

impl Bucket {
    /// A full bucket.
    pub fn full(now: Time, burst: u32) -> Bucket {
        Bucket { tokens: f64::from(burst), filled: now }
    }

    /// Takes one token if there is one.
    pub fn take(&mut self, now: Time, rate: u32, burst: u32) -> bool {
        let taken = self.has(now, rate, burst);
        if taken {
            self.tokens -= 1.0;
        }
        taken
    }

    /// Whether there is a token to take.
    pub fn has(&mut self, now: Time, rate: u32, burst: u32) -> bool {
        let gained = now.since(self.filled).as_secs_f64() * f64::from(rate);
        self.tokens = (self.tokens + gained).min(f64::from(burst));
        self.filled = now;
        self.tokens >= 1.0
    }
}

/// A limit in all and per /64. The global bucket is asked first, so that a flood costs no work on the table and cannot
/// fill it.
#[derive(Debug)]
struct Twofold {
    all: Bucket,
    per_prefix: HashMap<Prefix, Bucket>,
}

impl Twofold {
    fn full(now: Time, burst: u32) -> Twofold {
        Twofold { all: Bucket::full(now, burst), per_prefix: HashMap::new() }
    }

    /// Whether something may go to this address now, with `(rate, burst)` in all and `per_prefix` per second to a /64.
    fn take(&mut self, now: Time, (rate, burst): (u32, u32), per_prefix: u32, to: Locator) -> bool {
        self.all.has(now, rate, burst)
            && self.take_prefix(now, per_prefix, to)
            && self.all.take(now, rate, burst)
    }

    fn take_prefix(&mut self, now: Time, rate: u32, to: Locator) -> bool {
        let prefix = Prefix::of(to.0);
        if self.per_prefix.len() >= PREFIXES && !self.per_prefix.contains_key(&prefix) {
            // A bucket that had a second to fill up says nothing any more.
            self.per_prefix.retain(|_, b| now.since(b.filled) < Duration::from_secs(1));
            if self.per_prefix.len() >= PREFIXES {
                return false;
            }
        }
        let bucket = self.per_prefix.entry(prefix).or_insert_with(|| Bucket::full(now, rate));
        bucket.take(now, rate, rate)
    }
}

/// All limits on messages to peers without a context.
#[derive(Debug)]
pub struct RateLimits {
    r1bis: Twofold,
    r1: Twofold,
    /// R1s to prefixes with which there are contexts: a flood from elsewhere takes nothing from them.
    r1_known: Twofold,
    r2: Twofold,
    errors: Bucket,
    probes: Bucket,
}

impl RateLimits {
    /// Full buckets.
    pub fn new(now: Time, limits: &Limits) -> RateLimits {
        RateLimits {
            r1bis: Twofold::full(now, limits.r1bis_burst),
            r1: Twofold::full(now, limits.r1_per_second),
            r1_known: Twofold::full(now, limits.r1_per_second),
            r2: Twofold::full(now, limits.r2_per_second),
            errors: Bucket::full(now, limits.errors_per_second),
            probes: Bucket::full(now, limits.probes_per_second),
        }
    }

    /// Whether an R1bis may go to this address now.
    pub fn r1bis(&mut self, now: Time, limits: &Limits, to: Locator) -> bool {
        let all = (limits.r1bis_per_second, limits.r1bis_burst);
        self.r1bis.take(now, all, limits.r1bis_per_prefix, to)
    }

    /// Whether an R1 may go to this address now. `known`: there is a context with a peer of its /64. Anybody can send
    /// I1s in anybody's name, and an R1 is larger than an I1.
    pub fn r1(&mut self, now: Time, limits: &Limits, to: Locator, known: bool) -> bool {
        let all = (limits.r1_per_second, limits.r1_per_second);
        let buckets = if known { &mut self.r1_known } else { &mut self.r1 };
        buckets.take(now, all, limits.r1_per_prefix, to)
    }

    /// Whether an R2 may answer an I1 now: it may carry a signed list, ten times the size of the I1.
    pub fn r2(&mut self, now: Time, limits: &Limits, to: Locator) -> bool {
        let all = (limits.r2_per_second, limits.r2_per_second);
        self.r2.take(now, all, limits.r2_per_prefix, to)
    }

    /// Whether an Error message may be sent now.
    pub fn error(&mut self, now: Time, limits: &Limits) -> bool {
        self.errors.take(now, limits.errors_per_second, limits.errors_per_second)
    }

    /// Prefixes remembered.
    pub fn prefixes(&self) -> usize {
        [&self.r1bis, &self.r1, &self.r1_known, &self.r2].map(|t| t.per_prefix.len()).iter().sum()
    }

    /// Whether a Probe may be sent now: when a provider dies, all contexts explore at once.
    pub fn probe(&mut self, now: Time, limits: &Limits) -> bool {
        self.probes.take(now, limits.probes_per_second, limits.probes_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r1bis_is_bounded_per_prefix_and_in_all() {
        let limits = Limits::default();
        let now = Time::from_secs(10);
        let mut r = RateLimits::new(now, &limits);
        let at = |net: u16| Locator(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, 1));
        let one = (0..20).filter(|_| r.r1bis(now, &limits, at(1))).count();
        assert_eq!(one, 5);
        let many = (2..2000).filter(|&n| r.r1bis(now, &limits, at(n))).count();
        assert_eq!(many, 45, "the burst of 50 minus what the first prefix took");
        let later = now + Duration::from_secs(1);
        let refilled = (2000..4000).filter(|&n| r.r1bis(later, &limits, at(n))).count();
        assert_eq!(refilled, 50);
    }

    #[test]
    fn prefix_table_is_bounded() {
        let limits =
            Limits { r1bis_per_second: 1_000_000, r1bis_burst: 1_000_000, ..Limits::default() };
        let now = Time::from_secs(10);
        let mut r = RateLimits::new(now, &limits);
        for net in 0..u16::try_from(PREFIXES).unwrap() + 200 {
            let to = Locator(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, 1));
            r.r1bis(now, &limits, to);
        }
        assert!(r.r1bis.per_prefix.len() <= PREFIXES);
    }

    #[test]
    fn a_flood_leaves_no_more_traces_than_answers() {
        let limits = Limits::default();
        let now = Time::from_secs(10);
        let mut r = RateLimits::new(now, &limits);
        for net in 0..u16::MAX {
            let to = Locator(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, 1));
            r.r1bis(now, &limits, to);
        }
        assert_eq!(r.r1bis.per_prefix.len(), 50);
    }

    #[test]
    fn r1_is_bounded_per_prefix_and_in_all_and_known_peers_have_their_own() {
        let limits = Limits::default();
        let now = Time::from_secs(10);
        let mut r = RateLimits::new(now, &limits);
        let at = |net: u16| Locator(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, 1));
        assert_eq!((0..200).filter(|_| r.r1(now, &limits, at(1), false)).count(), 50);
        let flood = (2..5000).filter(|&n| r.r1(now, &limits, at(n), false)).count();
        assert_eq!(flood, 950);
        assert!(!r.r1(now, &limits, at(6000), false));
        assert_eq!((0..200).filter(|_| r.r1(now, &limits, at(6000), true)).count(), 50);
        assert!(r.r1(now + Duration::from_millis(20), &limits, at(6001), false), "refilled");
    }

    #[test]
    fn r2_is_bounded_per_prefix_and_in_all() {
        let limits = Limits::default();
        let now = Time::from_secs(10);
        let mut r = RateLimits::new(now, &limits);
        let at = |net: u16| Locator(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, 1));
        assert_eq!((0..900).filter(|_| r.r2(now, &limits, at(1))).count(), 100);
        assert_eq!((2..3000).filter(|&n| r.r2(now, &limits, at(n))).count(), 400);
    }

    #[test]
    fn errors_are_bounded() {
        let limits = Limits::default();
        let now = Time::from_secs(10);
        let mut r = RateLimits::new(now, &limits);
        assert_eq!((0..100).filter(|_| r.error(now, &limits)).count(), 10);
    }

    #[test]
    fn probes_are_bounded() {
        let limits = Limits { probes_per_second: 30, ..Limits::default() };
        let now = Time::from_secs(10);
        let mut r = RateLimits::new(now, &limits);
        assert_eq!((0..100).filter(|_| r.probe(now, &limits)).count(), 30);
    }

    #[test]
    fn a_bucket_fills_at_its_rate_up_to_its_size() {
        let at = |ms: u64| Time::from_secs(10) + Duration::from_millis(ms);
        let mut b = Bucket::full(at(0), 3);
        assert!(b.has(at(0), 2, 3) && b.has(at(0), 2, 3), "looking takes nothing");
        assert_eq!((0..9).filter(|_| b.take(at(0), 2, 3)).count(), 3);
        assert!(!b.has(at(499), 2, 3) && !b.take(at(499), 2, 3));
        assert!(b.take(at(500), 2, 3) && !b.take(at(500), 2, 3));
        assert_eq!((0..9).filter(|_| b.take(at(1500), 2, 3)).count(), 2);
        assert_eq!((0..9).filter(|_| b.take(at(60_000), 2, 3)).count(), 3);
    }

    #[test]
    fn a_full_table_of_prefixes_makes_room_after_a_second() {
        let at = |ms: u64| Time::from_secs(10) + Duration::from_millis(ms);
        let to = |n: u16| Locator(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, n, 0, 0, 0, 1));
        let mut t = Twofold::full(at(0), 1_000_000);
        for n in 0..PREFIXES as u16 {
            assert!(t.take_prefix(at(u64::from(n) / 8), 2, to(n)), "{n}");
        }
        assert!(!t.take_prefix(at(999), 2, to(9999)));
        assert!(t.take_prefix(at(999), 2, to(7)), "one that is known");
        // Sixteen are a second old by then, one of which was used since.
        assert!(t.take_prefix(at(1001), 2, to(9999)));
        assert_eq!(t.per_prefix.len(), PREFIXES - 16 + 1 + 1);
    }
}
