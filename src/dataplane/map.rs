//! The published map: what workers look up for each packet.
//!
//! Readers never wait and never hold up the writer: each of a fixed number of shards is an immutable hash table behind an
//! atomic pointer. Inserting or removing a context copies one shard (some hundred pointers at a million contexts);
//! changing the treatment of a known context, the frequent case, swaps one pointer inside its entry and copies nothing.
//! Hash keys are random, since the peers choose the addresses.

use super::cells::Cells;
use crate::addr::{ContextTag, Fii, LocatorPair, UlidPair};
use crate::proto::{Activity, ContextId, Forward, ForwardChange, Outbound, Time};
use arc_swap::{ArcSwap, Guard};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shards per table; a power of two.
const SHARDS: usize = 4096;

/// One context as workers see it.
#[derive(Debug)]
pub struct Entry {
    /// Activity; survives every change of the treatment.
    pub cells: Cells,
    forward: ArcSwap<Forward>,
}

impl Entry {
    fn new(forward: Forward) -> Entry {
        Entry { cells: Cells::new(forward.wake), forward: ArcSwap::from_pointee(forward) }
    }

    /// The present treatment.
    pub fn forward(&self) -> Guard<Arc<Forward>> {
        self.forward.load()
    }
}

/// One immutable part of a table, and the pointer that publishes it.
type Shard<K> = ArcSwap<HashMap<K, Arc<Entry>, RandomState>>;

/// A hash table of entries whose readers never wait.
#[derive(Debug)]
struct Sharded<K> {
    hasher: RandomState,
    shards: Box<[Shard<K>]>,
}

impl<K: Hash + Eq + Copy> Sharded<K> {
    fn new() -> Self {
        let hasher = RandomState::new();
        // All empty shards are one and the same table.
        let empty = Arc::new(HashMap::with_hasher(hasher.clone()));
        let shards = (0..SHARDS).map(|_| ArcSwap::new(Arc::clone(&empty))).collect();
        Sharded { hasher, shards }
    }

    fn shard(&self, key: &K) -> &Shard<K> {
        // Bits from the middle: the tables inside use the lowest and the highest of the same hash.
        let index = (self.hasher.hash_one(key) >> 32) as usize % SHARDS;
        &self.shards[index]
    }

    fn get(&self, key: &K) -> Option<Arc<Entry>> {
        self.shard(key).load().get(key).cloned()
    }

    fn insert(&self, key: K, entry: &Arc<Entry>) {
        let shard = self.shard(&key);
        let mut table = HashMap::clone(&shard.load());
        table.insert(key, Arc::clone(entry));
        shard.store(Arc::new(table));
    }

    /// Removes the key if it still names this entry.
    fn remove(&self, key: &K, entry: &Arc<Entry>) {
        let shard = self.shard(key);
        let present = shard.load();
        if present.get(key).is_some_and(|e| Arc::ptr_eq(e, entry)) {
            let mut table = HashMap::clone(&present);
            table.remove(key);
            shard.store(Arc::new(table));
        }
    }
}

/// Under what a context is found.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Keys {
    ulids: (UlidPair, Fii),
    tag: ContextTag,
    peer: Option<(ContextTag, LocatorPair)>,
}

impl Keys {
    fn of(forward: &Forward) -> Keys {
        let peer = match forward.outbound {
            Outbound::Plain => None,
            Outbound::Tagged(pair, tag) => Some((tag, pair)),
        };
        Keys { ulids: (forward.ulids, forward.fii), tag: forward.local_tag, peer }
    }
}

/// The map. One writer at a time (others wait for it), any number of readers (which never wait).
#[derive(Debug)]
pub struct Map {
    by_ulids: Sharded<(UlidPair, Fii)>,
    by_tag: Sharded<ContextTag>,
    by_peer: Sharded<(ContextTag, LocatorPair)>,
    by_id: Mutex<HashMap<ContextId, Arc<Entry>>>,
}

impl Default for Map {
    fn default() -> Self {
        Map {
            by_ulids: Sharded::new(),
            by_tag: Sharded::new(),
            by_peer: Sharded::new(),
            by_id: Mutex::new(HashMap::new()),
        }
    }
}

impl Map {
    /// The context of an outbound packet, or of an inbound one without a payload header.
    // req: S6-12.4-07, S6-1.6-03
    pub fn by_ulids(&self, ulids: UlidPair, fii: Fii) -> Option<Arc<Entry>> {
        self.by_ulids.get(&(ulids, fii))
    }

    /// The context of an inbound payload header: found by the tag alone, whatever the addresses are.
    // req: S6-12.2-01, S6-12.4-04, S6-4.1-01
    pub fn by_local_tag(&self, tag: ContextTag) -> Option<Arc<Entry>> {
        self.by_tag.get(&tag)
    }

    /// The context of a packet of our own that somebody quotes: found by the peer's tag and the pair in use.
    // req: S6-8-08, S6-12.4-06
    pub fn by_peer_tag(&self, tag: ContextTag, pair: LocatorPair) -> Option<Arc<Entry>> {
        self.by_peer.get(&(tag, pair))
    }

    /// Carries out a change. [`ForwardChange::ResendHeld`] changes nothing here.
    ///
    /// The activity to tell the engine, if the change arms a wake-up and its packet has come already.
    pub fn apply(&self, change: &ForwardChange) -> Option<Activity> {
        let mut by_id = self.lock();
        match change {
            ForwardChange::Set(forward) => return self.set(&mut by_id, forward),
            ForwardChange::Wake(id, wake) => {
                let cells = &by_id.get(id)?.cells;
                return cells.arm(*wake).then(|| cells.look());
            }
            ForwardChange::ResendHeld(_) => {}
            ForwardChange::Remove(id) => {
                if let Some(entry) = by_id.remove(id) {
                    let keys = Keys::of(&entry.forward());
                    self.by_ulids.remove(&keys.ulids, &entry);
                    self.by_tag.remove(&keys.tag, &entry);
                    if let Some(peer) = keys.peer {
                        self.by_peer.remove(&peer, &entry);
                    }
                }
            }
        }
        None
    }

    fn set(
        &self,
        by_id: &mut HashMap<ContextId, Arc<Entry>>,
        forward: &Forward,
    ) -> Option<Activity> {
        let new = Keys::of(forward);
        let Some(entry) = by_id.get(&forward.id) else {
            let entry = Arc::new(Entry::new(forward.clone()));
            self.by_ulids.insert(new.ulids, &entry);
            self.by_tag.insert(new.tag, &entry);
            if let Some(peer) = new.peer {
                self.by_peer.insert(peer, &entry);
            }
            by_id.insert(forward.id, entry);
            return None;
        };
        let old = Keys::of(&entry.forward());
        entry.forward.store(Arc::new(forward.clone()));
        // New keys first: a reader finds the context by one or the other at any moment.
        if old.ulids != new.ulids {
            self.by_ulids.insert(new.ulids, entry);
            self.by_ulids.remove(&old.ulids, entry);
        }
        if old.tag != new.tag {
            self.by_tag.insert(new.tag, entry);
            self.by_tag.remove(&old.tag, entry);
        }
        if old.peer != new.peer {
            if let Some(peer) = new.peer {
                self.by_peer.insert(peer, entry);
            }
            if let Some(peer) = old.peer {
                self.by_peer.remove(&peer, entry);
            }
        }
        entry.cells.arm(forward.wake).then(|| entry.cells.look())
    }

    /// The entry of a context.
    pub fn entry(&self, id: ContextId) -> Option<Arc<Entry>> {
        self.lock().get(&id).cloned()
    }

    /// What has been counted for a context.
    pub fn activity(&self, id: ContextId) -> Option<Activity> {
        self.lock().get(&id).map(|e| e.cells.activity())
    }

    /// The same, for the engine: see [`Cells::look`].
    pub fn look(&self, id: ContextId) -> Option<Activity> {
        self.lock().get(&id).map(|e| e.cells.look())
    }

    /// How many contexts there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is no context.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every context with the time of its last packet in either direction.
    pub fn contexts(&self) -> Vec<(ContextId, Option<Time>)> {
        let last = |a: Activity| a.last_in.max(a.last_out);
        self.lock().iter().map(|(id, e)| (*id, last(e.cells.activity()))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContextId, Arc<Entry>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
