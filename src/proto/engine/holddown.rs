//! Negative cache: whom not to ask again for a while (RFC 5533, 7.8). States E-FAILED and NO-SUPPORT live here,
//! because nothing but the ULIDs is kept in them.

use super::state::State;
use crate::addr::{Ulid, UlidPair};
use crate::proto::Time;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// A table of keys with expiry, bounded; the oldest entry goes first.
#[derive(Debug)]
struct Expiring<K> {
    until: HashMap<K, Time>,
    /// In order of insertion; an entry whose time differs from the table's is stale.
    order: VecDeque<(K, Time)>,
}

impl<K> Default for Expiring<K> {
    fn default() -> Self {
        Expiring { until: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Copy + Eq + std::hash::Hash> Expiring<K> {
    /// Returns whether an entry still running had to go for lack of room.
    fn insert(&mut self, key: K, now: Time, until: Time, bound: usize) -> bool {
        while let Some(&(k, t)) = self.order.front() {
            let stale = self.until.get(&k) != Some(&t);
            if !stale && t > now {
                break;
            }
            if !stale {
                self.until.remove(&k);
            }
            self.order.pop_front();
        }
        let mut shed = false;
        while self.order.len() >= bound.max(1) {
            let Some((k, t)) = self.order.pop_front() else { break };
            if self.until.get(&k) == Some(&t) {
                self.until.remove(&k);
                shed |= k != key;
            }
        }
        self.until.insert(key, until);
        self.order.push_back((key, until));
        shed
    }

    fn holds(&self, key: &K, now: Time) -> bool {
        self.until.get(key).is_some_and(|&t| t > now)
    }
}

/// The two hold-down tables.
#[derive(Debug, Default)]
pub struct Holddowns {
    no_answer: Expiring<UlidPair>,
    no_support: Expiring<Ulid>,
}

impl Holddowns {
    /// The pair goes to E-FAILED: no new attempt for `hold`. Returns whether another entry was shed.
    // req: S6-7.8-04, S6-B-06
    pub fn no_answer(&mut self, ulids: UlidPair, now: Time, hold: Duration, bound: usize) -> bool {
        self.no_answer.insert(ulids, now, now + hold, bound)
    }

    /// The peer goes to NO-SUPPORT: no new attempt for `hold`. Returns whether another entry was shed.
    // req: S6-7.8-06, S6-B-06
    pub fn no_support(&mut self, peer: Ulid, now: Time, hold: Duration, bound: usize) -> bool {
        self.no_support.insert(peer, now, now + hold, bound)
    }

    /// A valid message came from this peer: it speaks Shim6, whatever we thought.
    pub fn clear(&mut self, ulids: UlidPair) {
        self.no_answer.until.remove(&ulids);
        self.no_support.until.remove(&ulids.peer);
    }

    /// State of a ULID pair without context: IDLE, E-FAILED or NO-SUPPORT.
    pub fn state(&self, ulids: UlidPair, now: Time) -> State {
        if self.no_support.holds(&ulids.peer, now) {
            State::NoSupport
        } else if self.no_answer.holds(&ulids, now) {
            State::EFailed
        } else {
            State::Idle
        }
    }

    /// Entries kept, for the bound's test and the counters.
    pub fn count(&self) -> usize {
        self.counts().into_iter().sum()
    }

    /// Of E-FAILED and of NO-SUPPORT.
    pub fn counts(&self) -> [usize; 2] {
        [self.no_answer.order.len(), self.no_support.order.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(n: u16) -> UlidPair {
        UlidPair {
            local: Ulid("2001:db8:1::1".parse().unwrap()),
            peer: Ulid(std::net::Ipv6Addr::new(0x2001, 0xdb8, 2, n, 0, 0, 0, 1)),
        }
    }

    // req-test: S6-7.8-04, S6-7.8-06, S6-B-06, S6-6.2-02
    #[test]
    fn entries_run_out_by_themselves() {
        let mut h = Holddowns::default();
        let t = Time::from_secs;
        h.no_answer(pair(1), t(100), Duration::from_secs(60), 10);
        h.no_support(pair(2).peer, t(100), Duration::from_secs(600), 10);
        assert_eq!(h.state(pair(1), t(159)), State::EFailed);
        assert_eq!(h.state(pair(1), t(160)), State::Idle);
        assert_eq!(h.state(pair(2), t(699)), State::NoSupport);
        assert_eq!(h.state(pair(2), t(700)), State::Idle);
        assert_eq!(h.state(pair(3), t(100)), State::Idle);
        h.clear(pair(2));
        assert_eq!(h.state(pair(2), t(101)), State::Idle);
    }

    #[test]
    fn tables_are_bounded_and_shed_the_oldest() {
        let mut h = Holddowns::default();
        let t = Time::from_secs(1);
        let shed =
            (0..1000).filter(|&n| h.no_answer(pair(n), t, Duration::from_secs(60), 16)).count();
        assert_eq!(shed, 984);
        assert_eq!(h.count(), 16);
        assert_eq!(h.state(pair(0), t), State::Idle);
        assert_eq!(h.state(pair(999), t), State::EFailed);
        // Renewing one entry for ever does not grow the table either.
        for n in 0..1000 {
            h.no_answer(pair(7), Time::from_secs(n), Duration::from_secs(60), 16);
        }
        assert!(h.count() <= 16);
    }

    #[test]
    fn what_has_run_out_or_was_renewed_makes_room() {
        let mut h = Holddowns::default();
        let t = Time::from_secs;
        h.no_answer(pair(1), t(10), Duration::from_secs(60), 10);
        h.no_answer(pair(1), t(15), Duration::from_secs(60), 10);
        h.no_answer(pair(2), t(20), Duration::from_secs(50), 10);
        assert_eq!(h.count(), 2, "the entry that was renewed is there once");
        assert_eq!(h.state(pair(1), t(74)), State::EFailed);
        h.no_support(pair(3).peer, t(20), Duration::from_secs(60), 10);
        assert_eq!(h.count(), 3);
        h.no_answer(pair(4), t(75), Duration::from_secs(60), 10);
        assert_eq!(h.count(), 2, "none whose time is just over stays");
        // Renewing the oldest of a full table sheds nothing that others would miss.
        assert!(!h.no_answer(pair(4), t(76), Duration::from_secs(60), 1));
        assert!(h.no_answer(pair(5), t(76), Duration::from_secs(60), 1));
    }
}
