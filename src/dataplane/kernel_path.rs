//! Contexts on their ULIDs whose packets the kernel passes by itself, and what it has counted of them.
//!
//! A flow that is fast, answered and left as it is needs nobody to look at its packets. Its ULID pair goes into a set
//! that the kernel looks up before it queues anything, and the activity cells are fed from the counters in that set:
//! every `TICK`, and whenever the engine asks. Everything slow stays in the queues, where it costs nothing worth
//! saving: first packets, trickles, retransmissions on a path that has died. So the engine's timers keep the precision
//! of the queue for slow flows, and that of one tick for fast ones.
//!
//! ```text
//! worker: 32 packets in 200 ms, queue empty ──► enter ─┐
//!                                                      ├──► set in the kernel
//! change of the map, a flow of its own,         leave ─┘         │ counters
//! no answer for 400 ms, too few packets                          ▼
//!                              cells ◄── refresh: every tick, and before the engine reads
//! ```
//!
//! One lock for all of it. Who publishes a change takes it afterwards, and a worker checks the published state while
//! it holds it, so that no pair stays in the set that has no business there; each tick looks again at all of them. What
//! a reading finds that is no member's, or half of a flow, is taken out; readings go on until one has found nothing.

use super::cells::Passed;
use super::counters::Counter;
use super::entry::Entry;
use super::map::{EntryRef, Map};
use super::shared::Shared;
use crate::addr::{Fii, UlidPair};
use crate::proto::{ContextId, Inbound, Outbound, Time};
use crate::wire::ipv6::protocol;
use std::collections::HashMap;
use std::fmt::Debug;
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

/// The counters are read so often while there are any.
const TICK: Duration = Duration::from_millis(50);
/// A longer time without a reading is one in which we did not run: the machine slept, or somebody had stopped us.
const PAUSE: Duration = Duration::from_millis(100);
/// An empty set that cannot be read is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);
/// What was read so lately is still good.
const FRESH: Duration = Duration::from_millis(5);
/// TCP that gets no answer for so long is looked at again: soon its segments have to be held.
const UNANSWERED: Duration = Duration::from_millis(400);
/// And stays so for a while: its round trip may simply be that long.
const STAY_OUT: Duration = Duration::from_secs(5);
/// A flow with fewer packets than this in that time is looked at again.
const SLOW: (u64, Duration) = (10, Duration::from_millis(500));
/// Flows at a time: each has two elements, and those that have left are swept up within seconds.
const FLOWS: usize = 1024;
/// Failures to read in a row after which nothing passes any more.
const FAILURES: u32 = 20;

/// An element of the set: packets of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PairKey {
    /// Source.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
    /// The last header's protocol.
    pub protocol: u8,
}

/// What has been counted for an element since it is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PairCount {
    /// Packets.
    pub packets: u64,
    /// Their octets.
    pub octets: u64,
}

/// Why the set cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SetError {
    /// There is no such set now: somebody took the rules away.
    Missing,
    /// Anything else, in words.
    Failed(String),
}

/// The set, as far as this module needs it.
pub trait PairSet: Send + Debug {
    /// Lets packets with this key pass; the count with which it begins.
    ///
    /// # Errors
    /// [`SetError`]; then they do not.
    fn enter(&mut self, key: PairKey) -> Result<PairCount, SetError>;

    /// Has them queued.
    ///
    /// # Errors
    /// [`SetError`]; with [`SetError::Missing`] they are.
    fn leave(&mut self, key: PairKey) -> Result<(), SetError>;

    /// What has been counted.
    ///
    /// # Errors
    /// [`SetError`].
    fn read(&mut self, each: &mut dyn FnMut(PairKey, PairCount)) -> Result<(), SetError>;
}

/// Packets of one protocol between two ULIDs.
type Flow = (UlidPair, u8);

/// A flow in the set.
#[derive(Debug)]
struct Member {
    entry: EntryRef,
    /// Counted so far: out, in.
    counts: [PairCount; 2],
    /// When it came in.
    since: Time,
    /// When the present window began, and the packets in it.
    window: (Time, u64),
    /// Since when there have been packets out only.
    waits: Option<Time>,
}

#[derive(Debug)]
struct Books {
    set: Box<dyn PairSet>,
    members: HashMap<Flow, Member>,
    /// Since when nobody knows what has passed: the last reading, or later.
    read: Time,
    /// When the counters were last to be read.
    tried: Time,
    failures: u32,
    /// A change failed, so there may be elements that are no member's. Nothing comes in until a reading has found none.
    strays: bool,
    /// Nothing came in since a reading has found nothing.
    empty: bool,
    stop: bool,
}

/// The set and what is in it.
#[derive(Debug)]
pub struct KernelPath {
    books: Mutex<Books>,
    changed: Condvar,
    passed: AtomicU64,
}

fn keys((ulids, protocol): Flow) -> [PairKey; 2] {
    let (local, peer) = (ulids.local.0, ulids.peer.0);
    [PairKey { src: local, dst: peer, protocol }, PairKey { src: peer, dst: local, protocol }]
}

/// Whether packets of this context may pass unseen: established, on its ULIDs, not in doubt, not watched, with nobody
/// waiting for its next packet, and no flow between its ULIDs that is treated in another way.
fn may_pass(map: &Map, entry: &EntryRef, protocol: u8) -> bool {
    let (id, ulids, calm): (ContextId, UlidPair, bool) = {
        let f = entry.forward();
        let plain = f.outbound == Outbound::Plain && f.inbound == Inbound::Unmap;
        (f.id, f.ulids, plain && f.fii == Fii::DEFAULT && !f.hold && !f.watch)
    };
    let same = |found: Option<EntryRef>| found.is_some_and(|e| e.same(entry));
    calm && !entry.cells.is_armed()
        && (protocol != protocol::TCP || entry.cells.held() == 0)
        && !map.flows.concern(ulids)
        && same(map.by_ulids(ulids, Fii::DEFAULT))
        && same(map.entry(id))
}

impl KernelPath {
    /// An empty set.
    pub fn new(set: Box<dyn PairSet>) -> KernelPath {
        let members = HashMap::new();
        let (read, tried) = (Time::ZERO, Time::ZERO);
        let (failures, strays, empty, stop) = (0, false, true, false);
        let books = Books { set, members, read, tried, failures, strays, empty, stop };
        KernelPath { books: Mutex::new(books), changed: Condvar::new(), passed: AtomicU64::new(0) }
    }

    /// Flows in the set, and packets that have passed.
    pub fn figures(&self) -> (usize, u64) {
        (self.lock().members.len(), self.passed.load(Relaxed))
    }

    /// Lets a flow pass, if it may. Never waits: the caller's queue was empty a moment ago, and a fast flow soon comes
    /// here again.
    pub fn enter(&self, shared: &Shared, (entry, protocol): (EntryRef, u8)) {
        let mut books = match self.books.try_lock() {
            Ok(books) => books,
            Err(TryLockError::Poisoned(e)) => e.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let flow = (entry.ulids(), protocol);
        if books.members.len() >= FLOWS {
            shared.counters.count(Counter::PassingFull);
            return;
        }
        if books.strays
            || books.members.contains_key(&flow)
            || !may_pass(&shared.map, &entry, protocol)
        {
            return;
        }
        books.empty = false;
        match books.fill(flow) {
            Ok(counts) => {
                let since = (shared.config.clock)();
                let window = (since, 0);
                let member = Member { entry, counts, since, window, waits: None };
                books.members.insert(flow, member);
            }
            // One direction alone must not pass.
            Err(_) => books.leave(flow),
        }
        drop(books);
        self.changed.notify_all();
    }

    /// Has flows between two ULIDs looked at again, unless they may still pass. With `whatever` also then.
    pub fn review(&self, shared: &Shared, ulids: UlidPair, whatever: bool) {
        let mut books = self.lock();
        for protocol in [protocol::TCP, protocol::UDP] {
            let flow = (ulids, protocol);
            match books.members.get(&flow) {
                Some(member) if whatever || !may_pass(&shared.map, &member.entry, protocol) => {
                    // The counters go with the elements.
                    self.refresh_now(&mut books, shared);
                    books.leave(flow);
                }
                None if books.strays => books.leave(flow),
                _ => {}
            }
        }
    }

    /// Brings the cells of a context up to date, if it has packets that pass.
    pub fn refresh(&self, shared: &Shared, entry: &Entry) {
        let ulids = entry.ulids();
        let mut books = self.lock();
        let passes = |protocol| books.members.contains_key(&(ulids, protocol));
        if passes(protocol::TCP) || passes(protocol::UDP) {
            self.refresh_at(&mut books, shared, (shared.config.clock)());
        }
    }

    /// Reads the counters while there may be any, until [`KernelPath::stop`].
    pub fn run(&self, shared: &Shared) {
        let mut books = self.lock();
        while !books.stop {
            if books.is_idle() {
                books = self.changed.wait(books).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let hopeless = books.members.is_empty() && books.failures > 0;
            let waited = self.changed.wait_timeout(books, if hopeless { RETRY } else { TICK });
            books = waited.unwrap_or_else(PoisonError::into_inner).0;
            let now = (shared.config.clock)();
            // A change may have woken us up early.
            if now.since(books.read) >= TICK / 2 {
                self.tick(&mut books, shared);
            }
        }
    }

    /// Ends [`KernelPath::run`].
    pub fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    /// One look at everything.
    fn tick(&self, books: &mut Books, shared: &Shared) {
        self.refresh_now(books, shared);
        let now = books.read;
        let mut leaving = Vec::new();
        for (&(ulids, protocol), member) in &mut books.members {
            let (began, packets) = member.window;
            let over = now.since(began) >= SLOW.1;
            let slow = over && packets < SLOW.0;
            if over {
                member.window = (now, 0);
            }
            let silent = protocol == protocol::TCP
                && member.waits.is_some_and(|since| now.since(since) >= UNANSWERED);
            if silent {
                member.entry.cells.pace(protocol).pause(now + STAY_OUT);
            }
            if slow || silent || !may_pass(&shared.map, &member.entry, protocol) {
                leaving.push((ulids, protocol));
            }
        }
        for flow in leaving {
            books.leave(flow);
        }
    }

    fn refresh_at(&self, books: &mut Books, shared: &Shared, now: Time) {
        if now.since(books.read) >= FRESH {
            self.refresh_now(books, shared);
        }
    }

    fn refresh_now(&self, books: &mut Books, shared: &Shared) {
        let now = (shared.config.clock)();
        if now.since(books.tried) > PAUSE {
            books.read = books.read.max(now - PAUSE);
        }
        books.tried = now;
        let since = books.read;
        let mut found = HashMap::with_capacity(2 * books.members.len());
        match books.set.read(&mut |key, count| {
            found.insert(key, count);
        }) {
            Ok(()) => books.failures = 0,
            // The rules are gone, or not there yet: nothing passes.
            Err(SetError::Missing) => found.clear(),
            Err(e) => {
                // Above all EINTR, while somebody loads rules. The time has not been read, either.
                books.failures += 1;
                shared.counters.count(Counter::PassingError);
                if books.failures >= FAILURES && !books.members.is_empty() {
                    log::warn!("pairs that pass cannot be read, so none does for now: {e:?}");
                    let all: Vec<Flow> = books.members.keys().copied().collect();
                    all.into_iter().for_each(|flow| books.leave(flow));
                    books.failures = 0;
                }
                return;
            }
        }
        books.read = now;
        books.empty = found.is_empty();
        books.members.retain(|flow, member| {
            let both = keys(*flow);
            let [Some(out), Some(inward)] = both.map(|key| found.get(&key).copied()) else {
                return false;
            };
            for key in &both {
                found.remove(key);
            }
            let [before_out, before_in] = std::mem::replace(&mut member.counts, [out, inward]);
            let since = since.max(member.since);
            let out = passed(before_out, out, now);
            let inward = passed(before_in, inward, now);
            let packets = [out, inward].iter().flatten().map(|p| p.packets).sum::<u64>();
            member.window.1 += packets;
            self.passed.fetch_add(packets, Relaxed);
            if inward.is_some() {
                member.entry.cells.received_plain();
                member.waits = None;
            } else if out.is_some() {
                member.waits.get_or_insert(since);
            }
            let wake = member.entry.cells.passed(since, out, inward);
            shared.active(&member.entry, wake);
            true
        });
        // What nobody answers for, and halves of flows whose other half is gone.
        books.strays = false;
        found.into_keys().for_each(|key| books.take_out(key));
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// Puts both directions into the set; with what they begin.
    fn fill(&mut self, flow: Flow) -> Result<[PairCount; 2], SetError> {
        let [out, inward] = keys(flow);
        Ok([self.set.enter(out)?, self.set.enter(inward)?])
    }

    fn leave(&mut self, flow: Flow) {
        self.members.remove(&flow);
        keys(flow).into_iter().for_each(|key| self.take_out(key));
    }

    fn take_out(&mut self, key: PairKey) {
        match self.set.leave(key) {
            // If the rules are missing nothing passes.
            Ok(()) | Err(SetError::Missing) => {}
            // It is found at the next reading.
            Err(SetError::Failed(_)) => self.strays = true,
        }
    }

    /// Whether there is nothing to be read, for certain.
    fn is_idle(&self) -> bool {
        self.members.is_empty() && self.empty
    }
}

/// What has come since the last reading.
fn passed(before: PairCount, count: PairCount, now: Time) -> Option<Passed> {
    let packets = count.packets.checked_sub(before.packets).filter(|n| *n > 0)?;
    let octets = count.octets.saturating_sub(before.octets);
    Some(Passed { packets, octets, last: now })
}

#[cfg(test)]
mod tests;
