//! The published map: what workers look up for each packet.
//!
//! Readers never wait and never hold up the writer: each of a fixed number of shards is an immutable hash table behind an
//! atomic pointer. Inserting or removing a context copies one shard (some hundred pointers at a million contexts);
//! changing the treatment of a known context, the frequent case, swaps one pointer inside its entry and copies nothing.
//! Hash keys are random, since the peers choose the addresses.

use super::cells::Cells;
use super::counters::Counters;
use super::flows::Flows;
use super::sharded::Sharded;
use crate::addr::{ContextTag, Fii, Flow, LocatorPair, UlidPair};
use crate::proto::{Activity, ContextId, Forward, ForwardChange, Outbound, Time};
use arc_swap::{ArcSwap, Guard};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    by_ulids: Sharded<(UlidPair, Fii), Arc<Entry>>,
    by_tag: Sharded<ContextTag, Arc<Entry>>,
    by_peer: Sharded<(ContextTag, LocatorPair), Arc<Entry>>,
    /// Single flows that are not treated as their ULID pair is.
    pub flows: Flows,
    by_id: Mutex<HashMap<ContextId, Arc<Entry>>>,
}

impl Default for Map {
    fn default() -> Self {
        Map {
            by_ulids: Sharded::default(),
            by_tag: Sharded::default(),
            by_peer: Sharded::default(),
            flows: Flows::default(),
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
                    self.flows.forget_context(*id);
                    let keys = Keys::of(&entry.forward());
                    remove(&self.by_ulids, &keys.ulids, &entry);
                    remove(&self.by_tag, &keys.tag, &entry);
                    if let Some(peer) = keys.peer {
                        remove(&self.by_peer, &peer, &entry);
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
            self.by_ulids.insert(new.ulids, Arc::clone(&entry));
            self.by_tag.insert(new.tag, Arc::clone(&entry));
            if let Some(peer) = new.peer {
                self.by_peer.insert(peer, Arc::clone(&entry));
            }
            by_id.insert(forward.id, entry);
            return None;
        };
        let old = Keys::of(&entry.forward());
        entry.forward.store(Arc::new(forward.clone()));
        // New keys first: a reader finds the context by one or the other at any moment.
        if old.ulids != new.ulids {
            self.by_ulids.insert(new.ulids, Arc::clone(entry));
            remove(&self.by_ulids, &old.ulids, entry);
        }
        if old.tag != new.tag {
            self.by_tag.insert(new.tag, Arc::clone(entry));
            remove(&self.by_tag, &old.tag, entry);
        }
        if old.peer != new.peer {
            if let Some(peer) = new.peer {
                self.by_peer.insert(peer, Arc::clone(entry));
            }
            if let Some(peer) = old.peer {
                remove(&self.by_peer, &peer, entry);
            }
        }
        entry.cells.arm(forward.wake).then(|| entry.cells.look())
    }

    /// The entry of a context.
    pub fn entry(&self, id: ContextId) -> Option<Arc<Entry>> {
        self.lock().get(&id).cloned()
    }

    /// Has a flow served by a context. False if there is no such context.
    pub fn bind_flow(&self, flow: Flow, id: ContextId) -> bool {
        // The lock is held, so that the context cannot go between the two.
        let by_id = self.lock();
        let Some(entry) = by_id.get(&id) else { return false };
        self.flows.bind(flow, id, entry);
        true
    }

    /// Learns from the peer's packets by which context a flow goes.
    pub fn learn_flow(&self, flow: Flow, id: ContextId, counters: &Counters) {
        let by_id = self.lock();
        if let Some(entry) = by_id.get(&id) {
            self.flows.learn(flow, id, entry, counters);
        }
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

/// Removes the key if it still names this entry.
fn remove<K: Hash + Eq + Copy>(table: &Sharded<K, Arc<Entry>>, key: &K, entry: &Arc<Entry>) {
    table.remove_if(key, |present| Arc::ptr_eq(present, entry));
}

#[cfg(test)]
mod tests;
