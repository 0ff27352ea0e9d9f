//! By which locators the newest payload packet of a context came in: written for each packet, read when a program asks.

use crate::addr::{Locator, LocatorPair};
use std::net::Ipv6Addr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

/// Attempts of a reader while writers keep coming.
const ATTEMPTS: u32 = 64;
/// The pair is being written.
const WRITING: u64 = 1;
/// There is a pair.
const TAGGED: u64 = 2;
/// What a change adds.
const STEP: u64 = 4;

/// A pair of locators under a sequence lock; empty while packets carry the ULIDs, which is the common case and costs one
/// load. A writer that meets another one gives way: the other's packet is as new as its own.
#[derive(Debug, Default)]
pub struct Received {
    /// Grows with every change. Its low bits: [`WRITING`], [`TAGGED`]; neither is empty.
    sequence: AtomicU64,
    halves: [AtomicU64; 4],
}

fn split(a: Ipv6Addr) -> [u64; 2] {
    let bits = a.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

fn join(high: u64, low: u64) -> Locator {
    Locator(Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)))
}

impl Received {
    /// A packet came in on its ULIDs.
    pub fn plain(&self) {
        // A plain load first: the line stays shared when there is nothing to change.
        let sequence = self.sequence.load(Relaxed);
        if sequence % STEP == TAGGED {
            let empty = sequence - TAGGED + STEP;
            let _other_writer = self.sequence.compare_exchange(sequence, empty, Relaxed, Relaxed);
        }
    }

    /// A packet came in by a pair: to our locator `pair.local`, from `pair.peer`.
    pub fn tagged(&self, pair: LocatorPair) {
        let ([a, b], [c, d]) = (split(pair.local.0), split(pair.peer.0));
        let new = [a, b, c, d];
        let sequence = self.sequence.load(Relaxed);
        let same = || self.halves.iter().zip(new).all(|(half, value)| half.load(Relaxed) == value);
        if sequence % STEP == WRITING || sequence % STEP == TAGGED && same() {
            return;
        }
        let base = sequence - sequence % STEP;
        if self.sequence.compare_exchange(sequence, base + WRITING, Acquire, Relaxed).is_err() {
            return;
        }
        fence(Release);
        for (half, value) in self.halves.iter().zip(new) {
            half.store(value, Relaxed);
        }
        self.sequence.store(base + STEP + TAGGED, Release);
    }

    /// The pair, `None` for the ULIDs.
    pub fn pair(&self) -> Option<LocatorPair> {
        for _ in 0..ATTEMPTS {
            let before = self.sequence.load(Acquire);
            if before.is_multiple_of(STEP) {
                return None;
            }
            let [a, b, c, d] = self.halves.each_ref().map(|half| half.load(Relaxed));
            fence(Acquire);
            if before % STEP == TAGGED && self.sequence.load(Relaxed) == before {
                return Some(LocatorPair { local: join(a, b), peer: join(c, d) });
            }
            std::hint::spin_loop();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(n: u16) -> LocatorPair {
        let at = |last| Locator([0x2001, 0xdb8, n, n, n, n, n, last].into());
        LocatorPair { local: at(n), peer: at(n + 1) }
    }

    #[test]
    fn the_newest_packet_counts() {
        let cell = Received::default();
        assert_eq!(cell.pair(), None);
        cell.tagged(pair(1));
        cell.tagged(pair(1));
        assert_eq!(cell.pair(), Some(pair(1)));
        cell.tagged(pair(2));
        assert_eq!(cell.pair(), Some(pair(2)));
        cell.plain();
        assert_eq!(cell.pair(), None);
        cell.tagged(pair(2));
        assert_eq!(cell.pair(), Some(pair(2)));
    }

    #[test]
    fn readers_never_see_half_of_a_pair() {
        let cell = Received::default();
        let end = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for n in 1..3 {
                let (cell, end) = (&cell, &end);
                scope.spawn(move || {
                    while !end.load(Relaxed) {
                        cell.tagged(pair(n));
                        cell.tagged(pair(n + 10));
                    }
                });
            }
            for _ in 0..20_000 {
                if let Some(seen) = cell.pair() {
                    assert!([1, 2, 11, 12].map(pair).contains(&seen), "{seen:?}");
                }
            }
            end.store(true, Relaxed);
        });
    }
}
