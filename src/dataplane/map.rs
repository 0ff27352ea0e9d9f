//! The published map: what workers look up for each packet.
//!
//! Readers never wait and never hold up the writer. Entries lie in a [`Slab`] and never move; an [`Index`] for each kind
//! of key tells where. Inserting or removing a context changes a word in each index; changing the treatment of a known
//! context, the frequent case, changes nothing but its entry. A look-up touches two places in memory that may be in no
//! cache: a line of the index, and the entry.

use super::cells::Cells;
use super::counters::Counters;
use super::entry::Entry;
use super::flows::Flows;
use super::index::Index;
use super::slab::{Ref, Slab};
use crate::addr::{ContextTag, Fii, Flow, LocatorPair, UlidPair};
use crate::proto::{Activity, ContextId, Forward, ForwardChange, Outbound, Time};
use std::net::Ipv6Addr;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A context that somebody holds. When it is removed meanwhile, the entry goes to no other one before it is let go.
pub type EntryRef = Ref<Entry>;

/// Octets of a key of two addresses and a number, for its hash.
fn key(local: Ipv6Addr, peer: Ipv6Addr, number: u64) -> [u8; 40] {
    let mut key = [0; 40];
    let (first, rest) = key.split_at_mut(16);
    let (second, last) = rest.split_at_mut(16);
    first.copy_from_slice(&local.octets());
    second.copy_from_slice(&peer.octets());
    last.copy_from_slice(&number.to_ne_bytes());
    key
}

fn ulids_key(ulids: UlidPair, fii: Fii) -> [u8; 40] {
    key(ulids.local.0, ulids.peer.0, fii.0.into())
}

fn peer_key(pair: LocatorPair, tag: ContextTag) -> [u8; 40] {
    key(pair.local.0, pair.peer.0, tag.value())
}

/// The map. One writer at a time (others wait for it), any number of readers (which never wait).
#[derive(Debug, Default)]
pub struct Map {
    /// Single flows that are not treated as their ULID pair is.
    pub flows: Flows,
    by_ulids: Index,
    by_tag: Index,
    by_peer: Index,
    by_id: Index,
    entries: Slab<Entry>,
    contexts: AtomicUsize,
    writer: Mutex<()>,
}

impl Map {
    /// The entry under a hash of which `is_it` says so.
    fn find(&self, index: &Index, hash: u32, is_it: impl Fn(&Entry) -> bool) -> Option<EntryRef> {
        index.find(hash, |place| {
            // The first look asks for all of the entry at once, the reference then makes sure that it stays.
            let entry = self.entries.peek(place).filter(|entry| is_it(entry));
            entry.and_then(|_| self.entries.acquire(place)).filter(|entry| is_it(entry))
        })
    }

    /// The context of an outbound packet, or of an inbound one without a payload header.
    // req: S6-12.4-07, S6-1.6-03
    pub fn by_ulids(&self, ulids: UlidPair, fii: Fii) -> Option<EntryRef> {
        let hash = self.by_ulids.hash(&ulids_key(ulids, fii));
        self.find(&self.by_ulids, hash, |e| e.ulids() == ulids && e.fii() == fii)
    }

    /// The context of an inbound payload header: found by the tag alone, whatever the addresses are.
    // req: S6-12.2-01, S6-12.4-04, S6-4.1-01
    pub fn by_local_tag(&self, tag: ContextTag) -> Option<EntryRef> {
        let hash = self.tag_hash(tag);
        self.find(&self.by_tag, hash, |e| e.local_tag() == tag)
    }

    /// The context of a packet of our own that somebody quotes: found by the peer's tag and the pair in use.
    // req: S6-8-08, S6-12.4-06
    pub fn by_peer_tag(&self, tag: ContextTag, pair: LocatorPair) -> Option<EntryRef> {
        let hash = self.by_peer.hash(&peer_key(pair, tag));
        self.find(&self.by_peer, hash, |e| e.outbound() == Outbound::Tagged(pair, tag))
    }

    fn id_hash(&self, id: ContextId) -> u32 {
        self.by_id.hash(&id.0.to_ne_bytes())
    }

    fn tag_hash(&self, tag: ContextTag) -> u32 {
        self.by_tag.hash(&tag.value().to_ne_bytes())
    }

    fn place(&self, id: ContextId) -> Option<u32> {
        let hash = self.id_hash(id);
        let is_it = |place: &u32| self.entries.peek(*place).is_some_and(|e| e.id() == id);
        self.by_id.find(hash, |place| Some(place).filter(is_it))
    }

    /// Carries out a change. [`ForwardChange::ResendHeld`] changes nothing here.
    ///
    /// The activity to tell the engine, if the change arms a wake-up and its packet has come already.
    pub fn apply(&self, change: &ForwardChange) -> Option<Activity> {
        let _writer = self.lock();
        match change {
            ForwardChange::Set(forward) => return self.set(forward),
            ForwardChange::Wake(id, wake) => {
                let entry = self.entry(*id)?;
                return entry.cells.arm(*wake).then(|| entry.cells.look());
            }
            ForwardChange::ResendHeld(_) => {}
            ForwardChange::Remove(id) => self.remove(*id),
        }
        None
    }

    fn set(&self, forward: &Forward) -> Option<Activity> {
        let same_names = |e: &Entry| (e.ulids(), e.fii()) == (forward.ulids, forward.fii);
        let known =
            self.place(forward.id).and_then(|place| Some((place, self.entries.peek(place)?)));
        let Some((place, entry)) = known.filter(|(_, entry)| same_names(entry)) else {
            // A context keeps its names as long as it lives; one with others is another one.
            self.remove(forward.id);
            self.insert(forward);
            return None;
        };
        let old = entry.forward();
        entry.publish(forward);
        // New keys first: a reader finds the context by one or the other at any moment.
        if old.local_tag != forward.local_tag {
            self.insert_tag(forward.local_tag, place);
            self.remove_tag(old.local_tag, place);
        }
        let (old_peer, new_peer) = (old.outbound.tagged(), forward.outbound.tagged());
        if old_peer != new_peer {
            self.insert_peer(new_peer, place);
            self.remove_peer(old_peer, place);
        }
        entry.cells.arm(forward.wake).then(|| entry.cells.look())
    }

    fn insert(&self, forward: &Forward) {
        let (place, entry) = self.entries.take();
        entry.begin(forward);
        self.entries.publish(place);
        let hash = self.by_ulids.hash(&ulids_key(forward.ulids, forward.fii));
        self.by_ulids.insert(hash, place, |other| {
            let other = self.entries.peek(other);
            other.is_some_and(|e| (e.ulids(), e.fii()) == (forward.ulids, forward.fii))
        });
        self.insert_tag(forward.local_tag, place);
        self.insert_peer(forward.outbound.tagged(), place);
        self.by_id.insert(self.id_hash(forward.id), place, |_| false);
        self.contexts.fetch_add(1, Relaxed);
    }

    fn remove(&self, id: ContextId) {
        let Some(place) = self.place(id) else { return };
        let Some(entry) = self.entries.peek(place) else { return };
        self.flows.forget_context(id);
        let forward = entry.forward();
        let hash = self.by_ulids.hash(&ulids_key(forward.ulids, forward.fii));
        self.by_ulids.remove(hash, place);
        self.remove_tag(forward.local_tag, place);
        self.remove_peer(forward.outbound.tagged(), place);
        self.by_id.remove(self.id_hash(id), place);
        self.entries.retire(place);
        self.contexts.fetch_sub(1, Relaxed);
    }

    fn insert_tag(&self, tag: ContextTag, place: u32) {
        let hash = self.tag_hash(tag);
        let same = |other| self.entries.peek(other).is_some_and(|e| e.local_tag() == tag);
        self.by_tag.insert(hash, place, same);
    }

    fn remove_tag(&self, tag: ContextTag, place: u32) {
        self.by_tag.remove(self.tag_hash(tag), place);
    }

    fn insert_peer(&self, peer: Option<(LocatorPair, ContextTag)>, place: u32) {
        let Some((pair, tag)) = peer else { return };
        let outbound = Outbound::Tagged(pair, tag);
        let same = |other| self.entries.peek(other).is_some_and(|e| e.outbound() == outbound);
        self.by_peer.insert(self.by_peer.hash(&peer_key(pair, tag)), place, same);
    }

    fn remove_peer(&self, peer: Option<(LocatorPair, ContextTag)>, place: u32) {
        let Some((pair, tag)) = peer else { return };
        self.by_peer.remove(self.by_peer.hash(&peer_key(pair, tag)), place);
    }

    /// The entry of a context.
    pub fn entry(&self, id: ContextId) -> Option<EntryRef> {
        let hash = self.id_hash(id);
        self.find(&self.by_id, hash, |e| e.id() == id)
    }

    /// Has a flow served by a context. False if there is no such context.
    pub fn bind_flow(&self, flow: Flow, id: ContextId) -> bool {
        // The lock is held, so that the context cannot go between the two.
        let _writer = self.lock();
        let Some(entry) = self.entry(id) else { return false };
        self.flows.bind(flow, id, &entry);
        true
    }

    /// Learns from the peer's packets by which context a flow goes.
    pub fn learn_flow(&self, flow: Flow, id: ContextId, counters: &Counters) {
        let _writer = self.lock();
        if let Some(entry) = self.entry(id) {
            self.flows.learn(flow, id, &entry, counters);
        }
    }

    /// What has been counted for a context.
    pub fn activity(&self, id: ContextId) -> Option<Activity> {
        self.entry(id).map(|e| e.cells.activity())
    }

    /// The same, for the engine: see [`Cells::look`].
    pub fn look(&self, id: ContextId) -> Option<Activity> {
        self.entry(id).map(|e| e.cells.look())
    }

    /// How many contexts there are.
    pub fn len(&self) -> usize {
        self.contexts.load(Relaxed)
    }

    /// Whether there is no context.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every context with the time of its last packet in either direction.
    pub fn contexts(&self) -> Vec<(ContextId, Option<Time>)> {
        // No context comes, goes or is replaced meanwhile.
        let _writer = self.lock();
        let last = |cells: &Cells| {
            let a = cells.activity();
            a.last_in.max(a.last_out)
        };
        self.entries.live().map(|e| (e.id(), last(&e.cells))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
