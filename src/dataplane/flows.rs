//! Single flows that are not treated as their ULID pair is: those of sockets with a forked context, those whose peer
//! sends by a forked context, and those of sockets that have left the shim.
//!
//! Readers look up without waiting, and do not even do that as long as there is no such flow. Changes are rare: they take
//! a lock among each other and copy one shard of the published table. Everything that packets teach is bounded, with
//! random eviction: what is evicted is learned again from the next packet.

use super::counters::{Counter, Counters};
use super::decide::Way;
use super::map::EntryRef;
use super::sharded::Sharded;
use crate::addr::{Flow, Ulid, UlidPair};
use crate::proto::ContextId;
use crate::wire::ipv6::{Walk, protocol};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Flows learned from one peer.
pub const LEARNED_PER_PEER: usize = 256;
/// Flows learned in all.
pub const LEARNED: usize = 65_536;
/// Flows left alone.
pub const LEFT_ALONE: usize = 16_384;

const UDP_LITE: u8 = 136;
const DCCP: u8 = 33;

/// How packets of a flow are treated.
#[derive(Clone, Debug)]
pub enum Treatment {
    /// By this context, because a socket of ours asked for it.
    Bound(EntryRef),
    /// By this context, because the peer's packets come by it.
    Learned(EntryRef),
    /// Not at all.
    LeaveAlone,
}

/// Why a flow is in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Bound(ContextId),
    Learned(ContextId),
    LeaveAlone,
}

/// A list from which any element can be taken, and a random one picked.
#[derive(Debug, Default)]
struct Bag {
    list: Vec<Flow>,
    places: HashMap<Flow, usize>,
}

impl Bag {
    fn add(&mut self, flow: Flow) {
        self.places.insert(flow, self.list.len());
        self.list.push(flow);
    }

    fn remove(&mut self, flow: &Flow) {
        let Some(place) = self.places.remove(flow) else { return };
        self.list.swap_remove(place);
        if let Some(moved) = self.list.get(place) {
            self.places.insert(*moved, place);
        }
    }

    fn pick(&self, number: usize) -> Option<Flow> {
        self.list.get(number.checked_rem(self.list.len())?).copied()
    }
}

/// What writers need to know.
#[derive(Debug, Default)]
struct Books {
    kinds: HashMap<Flow, Kind>,
    of_context: HashMap<ContextId, HashSet<Flow>>,
    of_peer: HashMap<Ulid, Bag>,
    /// How many there are between two ULIDs.
    of_pair: HashMap<UlidPair, usize>,
    learned: Bag,
    alone: Bag,
    evictions: u64,
}

/// The table.
#[derive(Debug)]
pub struct Flows {
    table: Sharded<Flow, Treatment>,
    /// Flows in the table.
    count: AtomicUsize,
    chance: RandomState,
    books: Mutex<Books>,
}

impl Default for Flows {
    fn default() -> Flows {
        Flows {
            table: Sharded::default(),
            count: AtomicUsize::new(0),
            chance: RandomState::new(),
            books: Mutex::default(),
        }
    }
}

impl Flows {
    /// Whether no flow is treated in a special way.
    pub fn is_empty(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    /// Whether any flow between these ULIDs is treated in a special way.
    pub fn concern(&self, ulids: UlidPair) -> bool {
        !self.is_empty() && self.lock().of_pair.contains_key(&ulids)
    }

    /// The treatment of a flow, if it has one of its own.
    pub fn get(&self, flow: &Flow) -> Option<Treatment> {
        self.table.get(flow)
    }

    /// How many flows are bound, learned, left alone.
    pub fn count(&self) -> (usize, usize, usize) {
        let books = self.lock();
        let (learned, alone) = (books.learned.list.len(), books.alone.list.len());
        (books.kinds.len() - learned - alone, learned, alone)
    }

    /// Has a flow served by a context from now on. The caller keeps the context from going meanwhile.
    pub fn bind(&self, flow: Flow, id: ContextId, entry: &EntryRef) {
        let mut books = self.lock();
        self.put(&mut books, flow, Kind::Bound(id), Treatment::Bound(entry.clone()));
    }

    /// Notes that packets of the flow come in by this forked context.
    // req: AP-A-01
    pub fn learn(&self, flow: Flow, id: ContextId, entry: &EntryRef, counters: &Counters) {
        let mut books = self.lock();
        if matches!(books.kinds.get(&flow), Some(Kind::Bound(_) | Kind::LeaveAlone)) {
            return;
        }
        let known = books.kinds.contains_key(&flow);
        let number = self.draw(&mut books);
        let of_peer = books.of_peer.get(&flow.ulids.peer);
        let full = of_peer.filter(|bag| bag.list.len() >= LEARNED_PER_PEER);
        let victim = match full {
            _ if known => None,
            Some(bag) => bag.pick(number),
            None if books.learned.list.len() >= LEARNED => books.learned.pick(number),
            None => None,
        };
        if let Some(victim) = victim {
            self.remove(&mut books, &victim);
            counters.count(Counter::FlowShed);
        }
        self.put(&mut books, flow, Kind::Learned(id), Treatment::Learned(entry.clone()));
    }

    /// Leaves a flow alone, unless a context was chosen for it.
    pub fn leave_alone(&self, flow: Flow, counters: &Counters) {
        if matches!(self.get(&flow), Some(Treatment::LeaveAlone | Treatment::Bound(_))) {
            return;
        }
        let mut books = self.lock();
        let number = self.draw(&mut books);
        if books.alone.list.len() >= LEFT_ALONE
            && let Some(victim) = books.alone.pick(number)
        {
            self.remove(&mut books, &victim);
            counters.count(Counter::FlowShed);
        }
        self.put(&mut books, flow, Kind::LeaveAlone, Treatment::LeaveAlone);
    }

    /// Treats a flow as its ULID pair again.
    pub fn release(&self, flow: &Flow) {
        self.remove(&mut self.lock(), flow);
    }

    /// Releases all flows of a context.
    pub fn forget_context(&self, id: ContextId) {
        let mut books = self.lock();
        for flow in books.of_context.get(&id).cloned().unwrap_or_default() {
            self.remove(&mut books, &flow);
        }
    }

    fn put(&self, books: &mut Books, flow: Flow, kind: Kind, treatment: Treatment) {
        self.remove(books, &flow);
        books.kinds.insert(flow, kind);
        *books.of_pair.entry(flow.ulids).or_default() += 1;
        match kind {
            Kind::Bound(id) | Kind::Learned(id) => {
                books.of_context.entry(id).or_default().insert(flow);
            }
            Kind::LeaveAlone => books.alone.add(flow),
        }
        if let Kind::Learned(_) = kind {
            books.learned.add(flow);
            books.of_peer.entry(flow.ulids.peer).or_default().add(flow);
        }
        self.table.insert(flow, treatment);
        self.count.store(books.kinds.len(), Relaxed);
    }

    fn remove(&self, books: &mut Books, flow: &Flow) {
        let Some(kind) = books.kinds.remove(flow) else { return };
        if let Some(n) = books.of_pair.get_mut(&flow.ulids) {
            *n -= 1;
            if *n == 0 {
                books.of_pair.remove(&flow.ulids);
            }
        }
        match kind {
            Kind::Bound(id) | Kind::Learned(id) => {
                if let Some(flows) = books.of_context.get_mut(&id) {
                    flows.remove(flow);
                    if flows.is_empty() {
                        books.of_context.remove(&id);
                    }
                }
            }
            Kind::LeaveAlone => books.alone.remove(flow),
        }
        if let Kind::Learned(_) = kind {
            books.learned.remove(flow);
            if let Some(bag) = books.of_peer.get_mut(&flow.ulids.peer) {
                bag.remove(flow);
                if bag.list.is_empty() {
                    books.of_peer.remove(&flow.ulids.peer);
                }
            }
        }
        self.table.remove_if(flow, |_| true);
        self.count.store(books.kinds.len(), Relaxed);
    }

    fn draw(&self, books: &mut Books) -> usize {
        books.evictions = books.evictions.wrapping_add(1);
        self.chance.hash_one(books.evictions) as usize
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The flow of a packet with ULIDs that goes out, or comes in; `None` if it has no ports, or does not show them.
pub fn flow_of(packet: &[u8], walk: &Walk, way: Way) -> Option<Flow> {
    let upper = walk.upper?;
    if !matches!(upper.protocol, protocol::TCP | protocol::UDP | UDP_LITE | DCCP)
        || walk.fragment.is_some_and(|(_, f)| !f.is_whole())
    {
        return None;
    }
    let &[a, b, c, d] = packet.get(upper.offset..)?.first_chunk::<4>()?;
    let (from, to) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let (src, dst) = (Ulid(walk.header.src), Ulid(walk.header.dst));
    let (ulids, local_port, peer_port) = match way {
        Way::Out => (UlidPair { local: src, peer: dst }, from, to),
        Way::In | Way::Shim6 => (UlidPair { local: dst, peer: src }, to, from),
    };
    Some(Flow { protocol: upper.protocol, ulids, local_port, peer_port })
}

#[cfg(test)]
mod tests;
