//! Putting the fragments of tagged packets together.
//!
//! The kernel cannot do it: while header 140 stands before the Fragment header it sees no fragments, and when we have
//! taken that header away its defragmentation is over; conntrack would call the pieces invalid. So one whole packet is
//! given back. Bounded in datagrams, octets and time; a datagram with overlapping fragments is dropped as a whole
//! (RFC 5722).

use super::config::ReassemblyConfig;
use super::counters::{Counter, Counters};
use crate::proto::Time;
use crate::wire::ipv6::{Fragment, HEADER_LEN, PAYLOAD_LENGTH, Walk};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::Ipv6Addr;

/// What each kept fragment costs beside its octets.
const OVERHEAD: usize = 64;
/// The largest payload that an IPv6 header can announce.
const MAX_PAYLOAD: usize = 65_535;
/// Traffic Class bits that mean "congestion experienced" (RFC 3168), in the second octet of the header.
const CE: u8 = 0x30;

type Key = (Ipv6Addr, Ipv6Addr, u32);

#[derive(Debug)]
struct Partial {
    started: Time,
    /// Data by offset; no two overlap.
    pieces: BTreeMap<usize, Vec<u8>>,
    octets: usize,
    /// Headers before the Fragment header of the first fragment, with the type of what follows filled in.
    headers: Option<Vec<u8>>,
    /// Length of the fragmented part, known from the last fragment.
    total: Option<usize>,
    congested: bool,
    /// Overlapping: all that is still to come is dropped.
    poisoned: bool,
}

impl Partial {
    fn new(started: Time) -> Partial {
        Partial {
            started,
            pieces: BTreeMap::new(),
            octets: 0,
            headers: None,
            total: None,
            congested: false,
            poisoned: false,
        }
    }

    /// What this datagram counts against the bound.
    fn cost(&self) -> usize {
        self.octets + (self.pieces.len() + 1) * OVERHEAD
    }

    /// Whether the octets from `at` to `end` are free, taken by this very data, or in conflict.
    fn fit(&self, at: usize, data: &[u8]) -> Fit {
        let end = at + data.len();
        if self.pieces.get(&at).is_some_and(|p| p == data) {
            return Fit::Duplicate;
        }
        let beyond = self.total.is_some_and(|t| end > t);
        let overlap = self
            .pieces
            .range(..end)
            .next_back()
            .is_some_and(|(start, piece)| start + piece.len() > at);
        if beyond || overlap { Fit::Conflict } else { Fit::Free }
    }

    fn complete(&self) -> bool {
        self.headers.is_some() && self.total == Some(self.octets)
    }

    fn join(self) -> Option<Vec<u8>> {
        let mut packet = self.headers?;
        packet.reserve(self.octets);
        for piece in self.pieces.values() {
            packet.extend_from_slice(piece);
        }
        let length = u16::try_from(packet.len().checked_sub(HEADER_LEN)?).ok()?;
        packet.get_mut(PAYLOAD_LENGTH)?.copy_from_slice(&length.to_be_bytes());
        if self.congested {
            *packet.get_mut(1)? |= CE;
        }
        Some(packet)
    }
}

enum Fit {
    Free,
    Duplicate,
    Conflict,
}

/// Datagrams under reassembly.
#[derive(Debug)]
pub struct Reassembler {
    config: ReassemblyConfig,
    partials: HashMap<Key, Partial>,
    /// Keys in the order in which their datagrams began; those done meanwhile are skipped.
    order: VecDeque<(Key, Time)>,
    cost: usize,
}

impl Reassembler {
    /// Nothing under reassembly.
    pub fn new(config: ReassemblyConfig) -> Reassembler {
        Reassembler { config, partials: HashMap::new(), order: VecDeque::new(), cost: 0 }
    }

    /// Adds a fragment; `walk` is of this packet and names its Fragment header. The whole packet, once all is there.
    pub fn add(
        &mut self,
        packet: &[u8],
        walk: &Walk,
        now: Time,
        counters: &Counters,
    ) -> Option<Vec<u8>> {
        self.expire(now, counters);
        let Some((place, fragment)) = walk.fragment else {
            counters.count(Counter::DropFragment);
            return None;
        };
        let data = packet.get(place.offset + Fragment::LEN..walk.end).unwrap_or_default();
        let at = usize::from(fragment.offset);
        let end = at + data.len();
        let unfragmented = place.offset - HEADER_LEN;
        if data.is_empty()
            || fragment.more && !data.len().is_multiple_of(8)
            || unfragmented + end > MAX_PAYLOAD
        {
            counters.count(Counter::DropFragment);
            return None;
        }
        let key = (walk.header.src, walk.header.dst, fragment.id);
        self.make_room(key, data.len() + OVERHEAD, now, counters);
        let partial = self.partials.entry(key).or_insert_with(|| {
            self.order.push_back((key, now));
            self.cost += OVERHEAD;
            Partial::new(now)
        });
        if partial.poisoned {
            counters.count(Counter::DropFragmentOverlap);
            return None;
        }
        let ends_elsewhere = !fragment.more
            && (partial.total.is_some_and(|t| t != end)
                || partial.pieces.last_key_value().is_some_and(|(o, p)| o + p.len() > end));
        match partial.fit(at, data) {
            Fit::Duplicate if !ends_elsewhere => {
                counters.count(Counter::HeldFragment);
                return None;
            }
            Fit::Free if !ends_elsewhere => {}
            Fit::Free | Fit::Duplicate | Fit::Conflict => {
                // Everything goes, and the entry stays to catch what is still to come.
                self.cost -= partial.cost() - OVERHEAD;
                counters.add(Counter::DropFragmentOverlap, partial.pieces.len() as u64 + 1);
                *partial = Partial { poisoned: true, ..Partial::new(partial.started) };
                return None;
            }
        }
        if at == 0 {
            let mut headers = packet.get(..place.offset).unwrap_or_default().to_vec();
            if let Some(next) = headers.get_mut(place.next_header_at) {
                *next = fragment.next_header;
            }
            partial.headers = Some(headers);
        }
        if !fragment.more {
            partial.total = Some(end);
        }
        partial.congested |= packet.get(1).is_some_and(|o| o & CE == CE);
        partial.pieces.insert(at, data.to_vec());
        partial.octets += data.len();
        self.cost += data.len() + OVERHEAD;
        if !partial.complete() {
            counters.count(Counter::HeldFragment);
            return None;
        }
        let whole = self.remove(key)?.join();
        let counter = if whole.is_some() { Counter::Reassembled } else { Counter::DropFragment };
        counters.count(counter);
        whole
    }

    fn remove(&mut self, key: Key) -> Option<Partial> {
        let partial = self.partials.remove(&key)?;
        self.cost -= partial.cost();
        Some(partial)
    }

    /// Forgets what has waited too long.
    fn expire(&mut self, now: Time, counters: &Counters) {
        while let Some((key, started)) = self.order.front().copied() {
            let live = self.partials.get(&key).is_some_and(|p| p.started == started);
            if live && now.since(started) < self.config.timeout {
                break;
            }
            self.order.pop_front();
            if live && let Some(partial) = self.remove(key) {
                counters.add(Counter::DropFragmentTimeout, partial.pieces.len() as u64);
            }
        }
    }

    /// Sheds the oldest datagrams until one more fragment of `key` fits.
    fn make_room(&mut self, key: Key, octets: usize, now: Time, counters: &Counters) {
        while self.cost + octets + OVERHEAD > self.config.octets
            || self.partials.len() >= self.config.datagrams && !self.partials.contains_key(&key)
        {
            let Some((oldest, started)) = self.order.pop_front() else { break };
            if self.partials.get(&oldest).is_some_and(|p| p.started == started)
                && let Some(partial) = self.remove(oldest)
            {
                counters.add(Counter::DropFragmentShed, partial.pieces.len() as u64);
            }
        }
        // Datagrams that are done leave their place in the order behind.
        if self.order.len() > self.config.datagrams.saturating_mul(4).max(64) {
            let partials = &self.partials;
            self.order
                .retain(|(k, t)| partials.get(k).is_some_and(|p| p.started == *t) && now >= *t);
        }
    }
}

#[cfg(test)]
mod tests;
