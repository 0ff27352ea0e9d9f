//! When traffic without a context deserves one: so many octets, or so old, on one pair of addresses.
//!
//! A table of fixed size that all workers share without locks. It remembers fingerprints of address pairs, not the
//! pairs: whoever asks has the pair at hand. A full set of slots evicts one at random, so that a flood of new addresses
//! pushes out established ones only by chance. Counting is approximate where two workers race for one slot, which a
//! heuristic can bear.

use super::counters::{Counter, Counters};
use crate::addr::UlidPair;
use crate::proto::Time;
use crate::proto::config::{HeuristicConfig, PolicyAction};
use arc_swap::ArcSwap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Slots in which one pair may be.
const WAYS: usize = 8;
/// A pair that still carries packets is reported again after this time; the engine may have forgotten it.
const TELL_AGAIN: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct Slot {
    /// Keyed hash of the pair, never 0; 0 is a free slot.
    fingerprint: AtomicU64,
    octets: AtomicU64,
    /// Times in nanoseconds.
    first: AtomicU64,
    last: AtomicU64,
    /// Nanoseconds + 1; 0 is never.
    told: AtomicU64,
    /// How this pair is treated, as a [`PolicyAction`]'s number, and the number of the configuration it came from.
    action: AtomicU64,
}

/// The table.
#[derive(Debug)]
pub struct Heuristic {
    hasher: RandomState,
    sets: Box<[[Slot; WAYS]]>,
    config: ArcSwap<HeuristicConfig>,
    /// Changes with the configuration, so that slots ask for their policy anew.
    generation: AtomicU64,
    evictions: AtomicU64,
}

impl Heuristic {
    /// A table for about `pairs` address pairs.
    pub fn new(config: HeuristicConfig, pairs: usize) -> Heuristic {
        let sets = (pairs / WAYS).max(1).next_power_of_two();
        Heuristic {
            hasher: RandomState::new(),
            sets: (0..sets).map(|_| Default::default()).collect(),
            config: ArcSwap::from_pointee(config),
            generation: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
        }
    }

    /// Uses other thresholds and policies from now on.
    pub fn configure(&self, config: HeuristicConfig) {
        self.config.store(Arc::new(config));
        self.generation.fetch_add(1, Relaxed);
    }

    /// Counts a packet on a pair without a context. True if the pair deserves one and this was not said lately.
    // req: S6-4-01
    pub fn observe(&self, pair: UlidPair, octets: usize, now: Time, counters: &Counters) -> bool {
        let fingerprint = self.hasher.hash_one(pair) | 1;
        let index = (fingerprint >> 1) as usize & (self.sets.len() - 1);
        let Some(set) = self.sets.get(index) else { return false };
        let config = self.config.load();
        let generation = self.generation.load(Relaxed);
        let (slot, known) = match set.iter().find(|s| s.fingerprint.load(Relaxed) == fingerprint) {
            Some(slot) => (slot, true),
            None => (self.claim(set, now, &config, counters), false),
        };
        let idle = now.since(Time::from_nanos(slot.last.load(Relaxed)));
        // A pair that was silent for longer than the threshold's age begins anew.
        if !known || idle > config.age {
            slot.fingerprint.store(fingerprint, Relaxed);
            slot.octets.store(0, Relaxed);
            slot.first.store(now.nanos(), Relaxed);
            slot.told.store(0, Relaxed);
        }
        let stored = slot.action.load(Relaxed);
        let action = match (known && stored >> 8 == generation).then_some(stored & 0xff) {
            Some(0) => PolicyAction::Shim,
            Some(1) => PolicyAction::Immediate,
            Some(2) => PolicyAction::Never,
            _ => {
                let action = config.action(pair.peer.0);
                slot.action.store(generation << 8 | action as u64, Relaxed);
                action
            }
        };
        slot.last.store(now.nanos(), Relaxed);
        let octets = slot.octets.fetch_add(octets as u64, Relaxed) + octets as u64;
        let age = now.since(Time::from_nanos(slot.first.load(Relaxed)));
        let crossed = match action {
            PolicyAction::Never => false,
            PolicyAction::Immediate => true,
            PolicyAction::Shim => octets >= config.octets || age >= config.age,
        };
        if !crossed {
            return false;
        }
        let told = slot.told.load(Relaxed);
        if told != 0 && now.since(Time::from_nanos(told - 1)) < TELL_AGAIN {
            return false;
        }
        slot.told.compare_exchange(told, now.nanos().saturating_add(1), Relaxed, Relaxed).is_ok()
    }

    /// A slot for a new pair: a free one, else one long silent, else any.
    fn claim<'a>(
        &self,
        set: &'a [Slot; WAYS],
        now: Time,
        config: &HeuristicConfig,
        counters: &Counters,
    ) -> &'a Slot {
        let silent = |s: &&Slot| {
            s.fingerprint.load(Relaxed) == 0
                || now.since(Time::from_nanos(s.last.load(Relaxed))) > config.age
        };
        if let Some(slot) = set.iter().find(silent) {
            return slot;
        }
        counters.count(Counter::HeuristicEvicted);
        let n = self.hasher.hash_one(self.evictions.fetch_add(1, Relaxed)) as usize % WAYS;
        &set[n]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Prefix, Ulid};
    use crate::proto::config::PolicyRule;

    fn pair(n: u32) -> UlidPair {
        let [a, b] = [(n >> 16) as u16, n as u16];
        UlidPair {
            local: Ulid("2001:db8:1::1".parse().unwrap()),
            peer: Ulid(std::net::Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, a, b)),
        }
    }

    fn at(secs: u64) -> Time {
        Time::from_secs(1000 + secs)
    }

    // req-test: S6-4-01
    #[test]
    fn octets_of_both_directions_cross_the_threshold_once_per_while() {
        let h = Heuristic::new(HeuristicConfig::default(), 1024);
        let c = Counters::default();
        assert!(!h.observe(pair(1), 1000, at(0), &c));
        assert!(!h.observe(pair(2), 1500, at(0), &c));
        assert!(!h.observe(pair(1), 1000, at(0), &c));
        assert!(h.observe(pair(1), 48, at(0), &c));
        assert!(!h.observe(pair(1), 9000, at(4), &c));
        assert!(h.observe(pair(1), 1, at(5), &c));
    }

    #[test]
    fn age_crosses_the_threshold_unless_the_pair_was_silent_between() {
        let h = Heuristic::new(HeuristicConfig::default(), 1024);
        let c = Counters::default();
        assert!(!h.observe(pair(1), 10, at(0), &c));
        assert!(!h.observe(pair(1), 10, at(59), &c));
        assert!(h.observe(pair(1), 10, at(60), &c));
        assert!(!h.observe(pair(2), 10, at(0), &c));
        assert!(!h.observe(pair(2), 10, at(61), &c), "begins anew");
        assert!(h.observe(pair(2), 10, at(121), &c));
    }

    // req-test: S6-13-01
    #[test]
    fn a_first_contact_that_fails_is_left_to_the_applications() {
        let h = Heuristic::new(HeuristicConfig::default(), 1024);
        let c = Counters::default();
        // SYNs without an answer to one address after the other.
        for n in 0..4 {
            for secs in [0, 1, 3, 7, 15, 31] {
                assert!(!h.observe(pair(n), 80, at(40 * u64::from(n) + secs), &c));
            }
        }
    }

    #[test]
    fn policies_decide_by_the_peers_prefix_and_can_change() {
        let never =
            PolicyRule { peers: Prefix::of(pair(0).peer.0).into(), action: PolicyAction::Never };
        let now = PolicyRule { action: PolicyAction::Immediate, ..never.clone() };
        let h = Heuristic::new(HeuristicConfig { policy: vec![never], ..Default::default() }, 8);
        let c = Counters::default();
        assert!(!h.observe(pair(1), 100_000, at(0), &c));
        h.configure(HeuristicConfig { policy: vec![now], ..Default::default() });
        assert!(h.observe(pair(1), 1, at(1), &c));
        assert!(h.observe(pair(2), 1, at(1), &c));
    }

    #[test]
    fn a_flood_of_pairs_is_bounded_and_counted() {
        let h = Heuristic::new(HeuristicConfig::default(), 64);
        let c = Counters::default();
        for n in 0..10_000 {
            assert!(!h.observe(pair(n), 100, at(1), &c));
        }
        assert_eq!(h.sets.len() * WAYS, 64);
        assert!(c.get(Counter::HeuristicEvicted) >= 10_000 - 64);
        // Silent ones make room without being evicted.
        let before = c.get(Counter::HeuristicEvicted);
        assert!(!h.observe(pair(77_777), 100, at(100), &c));
        assert_eq!(c.get(Counter::HeuristicEvicted), before);
    }
}
