//! Token buckets: what strangers can make us send is bounded in all and per /64.

use crate::addr::{Locator, Prefix};
use crate::proto::Time;
use crate::proto::config::Limits;
use std::collections::HashMap;
use std::time::Duration;

/// Prefixes remembered at most; beyond that the global bucket alone limits.
const PREFIXES: usize = 4096;

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

/// All limits on messages to peers without a context.
#[derive(Debug)]
pub struct RateLimits {
    r1bis: Bucket,
    per_prefix: HashMap<Prefix, Bucket>,
    errors: Bucket,
    r2: Bucket,
    probes: Bucket,
}

/// R2 messages per second in answer to I1s, and the burst: each may carry a signed list.
const R2_PER_SECOND: u32 = 500;

impl RateLimits {
    /// Full buckets.
    pub fn new(now: Time, limits: &Limits) -> RateLimits {
        RateLimits {
            r1bis: Bucket::full(now, limits.r1bis_burst),
            per_prefix: HashMap::new(),
            errors: Bucket::full(now, limits.errors_per_second),
            r2: Bucket::full(now, R2_PER_SECOND),
            probes: Bucket::full(now, limits.probes_per_second),
        }
    }

    /// Whether an R1bis may go to this address now.
    pub fn r1bis(&mut self, now: Time, limits: &Limits, to: Locator) -> bool {
        // First of all: so a flood costs no work on the table, and cannot fill it.
        if !self.r1bis.has(now, limits.r1bis_per_second, limits.r1bis_burst) {
            return false;
        }
        let rate = limits.r1bis_per_prefix;
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
            && self.r1bis.take(now, limits.r1bis_per_second, limits.r1bis_burst)
    }

    /// Whether an Error message may be sent now.
    pub fn error(&mut self, now: Time, limits: &Limits) -> bool {
        self.errors.take(now, limits.errors_per_second, limits.errors_per_second)
    }

    /// Whether a Probe may be sent now: when a provider dies, all contexts explore at once.
    pub fn probe(&mut self, now: Time, limits: &Limits) -> bool {
        self.probes.take(now, limits.probes_per_second, limits.probes_per_second)
    }

    /// Whether an R2 may answer an I1 now.
    pub fn r2(&mut self, now: Time) -> bool {
        self.r2.take(now, R2_PER_SECOND, R2_PER_SECOND)
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
        for net in 0..u16::MAX {
            let to = Locator(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, 1));
            r.r1bis(now, &limits, to);
        }
        assert!(r.per_prefix.len() <= PREFIXES);
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
        assert_eq!(r.per_prefix.len(), 50);
    }

    #[test]
    fn errors_are_bounded() {
        let limits = Limits::default();
        let now = Time::from_secs(10);
        let mut r = RateLimits::new(now, &limits);
        assert_eq!((0..100).filter(|_| r.error(now, &limits)).count(), 10);
    }
}
