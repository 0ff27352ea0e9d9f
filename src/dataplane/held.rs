//! Held copies: per TCP flow the segment with the lowest sequence number that nobody has acknowledged.
//!
//! When a path dies TCP doubles its retransmission time-out again and again, and by the time a new pair works the next
//! retransmission may be ten seconds away. So once a context is in doubt its segments are copied here, and the copies go
//! out when a new pair is confirmed: the acknowledgement ends TCP's back-off. UDP is never copied, since nobody asked
//! for it twice.
//!
//! In doubt is a context that has waited for half a second for any packet (under fast detection much shorter, since
//! the last packet in), or that the engine says to be; beside that
//! every segment that TCP sends again: when only our direction has failed, the peer's own retransmissions keep coming
//! in and the context as a whole never waits long.
//!
//! While the engine explores, the newest pure acknowledgement of each flow is kept, too: the peer's copies may come in by
//! the new pair just before we switch to it, and our answer to them, gone out by the dead one, would be missed for as
//! long as the peer's back-off lasts.
//!
//! A copy lives for some two minutes. Without that a connection to a filtered port, or what a program left behind when it was
//! killed, would keep its context from passing in the kernel, and take room, for as long as the context lasts.
//!
//! Behind a lock, but only contexts in doubt come here: [`Cells::held`](super::cells::Cells::held) tells the others
//! that there is nothing to look for.

use super::config::HeldConfig;
use super::counters::{Counter, Counters};
use super::entry::Entry;
use super::map::Map;
use super::segment::{Tcp, flag};
use crate::proto::{ContextId, Time};
use crate::wire::ipv6::{Walk, protocol};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The ports of a flow: local, peer.
type Ports = (u16, u16);

/// A copy of a packet that was not sent again for so long has nobody who waits for it: TCP's longest time-out is 120 s.
const LIFE: Duration = Duration::from_secs(130);

#[derive(Debug)]
struct Copy {
    seq: u32,
    /// The sequence number behind it.
    end: u32,
    packet: Vec<u8>,
    /// When it went out.
    at: Time,
}

impl Copy {
    fn is_old(&self, now: Time) -> bool {
        now.since(self.at) >= LIFE
    }
}

#[derive(Debug, Default)]
struct Store {
    contexts: HashMap<ContextId, HashMap<Ports, Copy>>,
    /// The newest pure acknowledgement of each flow; counted in the same bounds.
    acks: HashMap<ContextId, HashMap<Ports, Copy>>,
    flows: usize,
    octets: usize,
}

/// Flows whose progress is remembered, in each worker; a power of two.
const PROGRESS: usize = 1024;

/// How far each flow has got: one worker's memory, of fixed size, in which flows may push out each other. It serves to
/// recognise a segment that was sent before.
#[derive(Debug)]
pub struct Progress {
    hasher: RandomState,
    /// Keyed hash of a flow and the sequence number behind its newest segment.
    slots: Box<[Option<(u64, u32)>]>,
}

impl Default for Progress {
    fn default() -> Self {
        Progress { hasher: RandomState::new(), slots: vec![None; PROGRESS].into_boxed_slice() }
    }
}

impl Progress {
    /// Notes an outbound packet with its ULIDs. True if its data was sent before.
    pub fn repeats(&mut self, id: ContextId, packet: &[u8], walk: &Walk) -> bool {
        let Some(tcp) = tcp_of(packet, walk).filter(|t| t.space() > 0) else { return false };
        let flow = self.hasher.hash_one((id, tcp.src_port, tcp.dst_port));
        let end = tcp.seq.wrapping_add(tcp.space());
        let Some(slot) = self.slots.get_mut(flow as usize % PROGRESS) else { return false };
        match slot {
            Some((known, newest)) if *known == flow && !before(*newest, end) => {
                // A connection that begins anew may begin anywhere.
                if tcp.flags & flag::SYN != 0 && *newest != end {
                    *newest = end;
                    return false;
                }
                true
            }
            _ => {
                *slot = Some((flow, end));
                false
            }
        }
    }
}

/// All held copies.
#[derive(Debug)]
pub struct Held {
    config: HeldConfig,
    store: Mutex<Store>,
}

/// Whether `a` comes before `b` in sequence space.
fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// The TCP header of a packet that is no fragment.
pub(super) fn tcp_of(packet: &[u8], walk: &Walk) -> Option<Tcp> {
    let upper = walk.upper.filter(|u| u.protocol == protocol::TCP)?;
    if walk.fragment.is_some_and(|(_, f)| !f.is_whole()) {
        return None;
    }
    // Of a packet that did not come whole the headers are there.
    let start = packet.get(upper.offset..walk.end.min(packet.len()))?;
    Tcp::parse_start(start, walk.end.checked_sub(upper.offset)?)
}

impl Store {
    fn remove(&mut self, id: ContextId, ports: Ports) -> bool {
        let Some(flows) = self.contexts.get_mut(&id) else { return false };
        let Some(copy) = flows.remove(&ports) else { return false };
        if flows.is_empty() {
            self.contexts.remove(&id);
        }
        self.flows -= 1;
        self.octets -= copy.packet.len();
        true
    }

    /// Frees what is old.
    fn expire(&mut self, now: Time, map: &Map, counters: &Counters) {
        let (mut flows, mut octets) = (0, 0);
        let mut young = |copy: &Copy| {
            let old = copy.is_old(now);
            flows += usize::from(old);
            octets += if old { copy.packet.len() } else { 0 };
            !old
        };
        self.acks.retain(|_, flows| {
            flows.retain(|_, copy| young(copy));
            !flows.is_empty()
        });
        self.contexts.retain(|id, flows| {
            let before = flows.len();
            flows.retain(|_, copy| young(copy));
            if flows.len() < before
                && let Some(entry) = map.entry(*id)
            {
                entry.cells.set_held(u32::try_from(flows.len()).unwrap_or(u32::MAX));
            }
            !flows.is_empty()
        });
        self.flows -= flows;
        self.octets -= octets;
        counters.add(Counter::HeldExpired, flows as u64);
    }

    fn count(&self, id: ContextId) -> u32 {
        let flows = self.contexts.get(&id).map_or(0, HashMap::len);
        u32::try_from(flows).unwrap_or(u32::MAX)
    }
}

impl Held {
    /// Nothing held.
    pub fn new(config: HeldConfig) -> Held {
        Held { config, store: Mutex::default() }
    }

    /// Whether packets of this context have to come here.
    pub fn wanted(&self, entry: &Entry, now: Time) -> bool {
        let (hold, watch) = {
            let forward = entry.forward();
            (forward.hold, forward.watch)
        };
        hold || entry.cells.unanswered(now, self.config.after)
            || watch && entry.cells.silent(now, self.config.after_watched)
    }

    /// Looks at an outbound packet with its ULIDs, and keeps a copy if it is the first one unacknowledged.
    pub fn keep(&self, entry: &Entry, packet: &[u8], walk: &Walk, counters: &Counters, now: Time) {
        let Some(tcp) = tcp_of(packet, walk) else { return };
        let Some(packet) = packet.get(..walk.end) else { return };
        let id = entry.id();
        let ports = (tcp.src_port, tcp.dst_port);
        let mut store = self.lock();
        if tcp.flags & flag::RST != 0 {
            store.remove(id, ports);
            entry.cells.set_held(store.count(id));
            return;
        }
        if tcp.space() == 0 {
            if entry.forward().hold && tcp.flags & flag::ACK != 0 {
                let copy = Copy { seq: tcp.seq, end: tcp.seq, packet: packet.to_vec(), at: now };
                self.keep_ack(&mut store, id, ports, copy, counters);
            }
            return;
        }
        let present = store.contexts.get(&id).and_then(|flows| flows.get(&ports));
        // Of two that begin alike the later one is the better: it may hold more.
        if present.is_some_and(|c| before(c.seq, tcp.seq) && !c.is_old(now)) {
            return;
        }
        let (old_flows, old_octets) = present.map_or((0, 0), |c| (1, c.packet.len()));
        if store.flows - old_flows >= self.config.flows
            || store.octets - old_octets + packet.len() > self.config.octets
            || old_flows == 0 && store.count(id) as usize >= self.config.flows_per_context
        {
            counters.count(Counter::HeldShed);
            return;
        }
        let end = tcp.seq.wrapping_add(tcp.space());
        let copy = Copy { seq: tcp.seq, end, packet: packet.to_vec(), at: now };
        store.contexts.entry(id).or_default().insert(ports, copy);
        store.flows = store.flows - old_flows + 1;
        store.octets = store.octets - old_octets + packet.len();
        entry.cells.set_held(store.count(id));
        counters.count(Counter::HeldKept);
    }

    /// Keeps the newest acknowledgement of a flow in place of the one before.
    fn keep_ack(
        &self,
        store: &mut Store,
        id: ContextId,
        ports: Ports,
        copy: Copy,
        counters: &Counters,
    ) {
        let flows = store.acks.entry(id).or_default();
        let (old_flows, old_octets) = flows.get(&ports).map_or((0, 0), |c| (1, c.packet.len()));
        let octets = copy.packet.len();
        if store.flows - old_flows >= self.config.flows
            || store.octets - old_octets + octets > self.config.octets
            || old_flows == 0 && flows.len() >= self.config.flows_per_context
        {
            counters.count(Counter::HeldShed);
            return;
        }
        flows.insert(ports, copy);
        store.flows = store.flows - old_flows + 1;
        store.octets = store.octets - old_octets + octets;
    }

    /// Looks at an inbound packet with its ULIDs: an acknowledgement or a reset frees the copy.
    pub fn acknowledge(
        &self,
        entry: &Entry,
        packet: &[u8],
        walk: &Walk,
        counters: &Counters,
        now: Time,
    ) {
        let Some(tcp) = tcp_of(packet, walk) else { return };
        let id = entry.id();
        let ports = (tcp.dst_port, tcp.src_port);
        let mut store = self.lock();
        let Some(copy) = store.contexts.get(&id).and_then(|flows| flows.get(&ports)) else {
            return;
        };
        let old = copy.is_old(now);
        let acked = tcp.flags & flag::ACK != 0 && !before(tcp.ack, copy.end);
        if (acked || tcp.flags & flag::RST != 0) && store.remove(id, ports) {
            counters.count(Counter::HeldAcked);
        } else if old && store.remove(id, ports) {
            counters.count(Counter::HeldExpired);
        }
        entry.cells.set_held(store.count(id));
    }

    /// Takes the copies of a context out: segments first, then acknowledgements.
    pub fn take(&self, id: ContextId) -> Vec<Vec<u8>> {
        let mut store = self.lock();
        let segments = store.contexts.remove(&id).unwrap_or_default();
        let acks = store.acks.remove(&id).unwrap_or_default();
        let copies: Vec<Vec<u8>> =
            segments.into_values().chain(acks.into_values()).map(|c| c.packet).collect();
        store.flows -= copies.len();
        store.octets -= copies.iter().map(Vec::len).sum::<usize>();
        copies
    }

    /// Frees what is so old that nobody waits for it: of connections that were given up, of programs that have ended.
    pub fn sweep(&self, now: Time, map: &Map, counters: &Counters) {
        self.lock().expire(now, map, counters);
    }

    /// Copies and octets held now.
    pub fn size(&self) -> (usize, usize) {
        let store = self.lock();
        (store.flows, store.octets)
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
