//! All contexts and every way to find one. The indexes are changed here alone, so they cannot disagree with the
//! contexts: a context is taken out, changed, and put back, and putting back brings the indexes into step.

use super::context::Context;
use crate::addr::{ContextTag, Fii, InitNonce, Prefix, UlidPair};
use crate::proto::{ContextId, Time};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How long a tag rests after its context has gone.
const QUARANTINE: Duration = Duration::from_secs(600);
/// Tags resting at most.
const QUARANTINE_TAGS: usize = 65_536;
/// Empty places that are kept in any case, lest few contexts that come and go move all the others.
const SPARE_SLOTS: usize = 32;

/// What a context is found by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Keys {
    ulids: UlidPair,
    fii: Fii,
    local_tag: ContextTag,
    peer_tag: Option<ContextTag>,
    nonce: Option<InitNonce>,
    timer: Option<Time>,
    look: Option<Time>,
}

impl Keys {
    fn of(c: &Context) -> Keys {
        Keys {
            ulids: c.ulids,
            fii: c.fii,
            local_tag: c.local_tag,
            peer_tag: c.peer_tag,
            nonce: c.setup.as_ref().map(|s| s.nonce),
            timer: c.timer,
            look: c.look,
        }
    }
}

/// Tags that may rest at a time. In a small tag space (tests) only a quarter may, or none would be left.
pub fn most_resting(tag_space: u64) -> usize {
    usize::try_from(tag_space / 4).unwrap_or(usize::MAX).min(QUARANTINE_TAGS)
}

/// A context's place; empty while the context is taken out, and when it is gone.
struct Slot {
    id: ContextId,
    context: Option<Box<Context>>,
}

/// The table. Hashing is SipHash with a per-table key, since peers choose most of what is hashed.
#[derive(Default)]
pub struct Table {
    /// In the order of their names.
    slots: Vec<Slot>,
    /// Of them: places of contexts that are gone.
    gone: usize,
    /// Contexts that are taken out, and what they are found by until they are put back.
    out: Vec<(ContextId, Keys)>,
    hasher: RandomState,
    /// By the hash of ULID pair and instance: they are in the context anyway, and need not be here as well.
    by_ulids: HashMap<u64, ContextId>,
    /// Contexts whose place there is another's, with the same hash.
    clashing: Vec<ContextId>,
    by_local_tag: HashMap<ContextTag, ContextId>,
    /// The first context with each CT(peer).
    by_peer_tag: HashMap<ContextTag, ContextId>,
    /// The others that have the same, in the order in which they got it.
    same_peer_tag: HashMap<ContextTag, Vec<ContextId>>,
    by_nonce: HashMap<InitNonce, ContextId>,
    per_prefix: HashMap<Prefix, usize>,
    timers: BTreeSet<(Time, ContextId)>,
    looks: BTreeSet<(Time, ContextId)>,
    resting: VecDeque<(Time, ContextTag)>,
    resting_set: HashSet<ContextTag>,
    next_id: u64,
}

impl Table {
    /// A name that was never used before.
    pub fn new_id(&mut self) -> ContextId {
        self.next_id += 1;
        ContextId(self.next_id)
    }

    /// Number of contexts.
    pub fn count(&self) -> usize {
        self.slots.len() - self.gone
    }

    /// Tags that rest.
    pub fn resting(&self) -> usize {
        self.resting.len()
    }

    /// Number of contexts whose peer ULID has this prefix.
    pub fn in_prefix(&self, prefix: Prefix) -> usize {
        self.per_prefix.get(&prefix).copied().unwrap_or(0)
    }

    /// All contexts in the order of their names, except one that is taken out.
    pub fn iter(&self) -> impl Iterator<Item = &Context> {
        self.slots.iter().filter_map(|s| s.context.as_deref())
    }

    /// Names of all contexts.
    pub fn ids(&self) -> Vec<ContextId> {
        let is_there = |s: &&Slot| s.context.is_some() || self.is_out(s.id);
        self.slots.iter().filter(is_there).map(|s| s.id).collect()
    }

    /// A context.
    pub fn get(&self, id: ContextId) -> Option<&Context> {
        self.slots.get(self.place(id)?)?.context.as_deref()
    }

    /// Takes a context out to change it. It stays findable by what it was found by before.
    pub fn take(&mut self, id: ContextId) -> Option<Box<Context>> {
        let at = self.place(id)?;
        let context = self.slots.get_mut(at)?.context.take()?;
        self.out.push((id, Keys::of(&context)));
        Some(context)
    }

    fn place(&self, id: ContextId) -> Option<usize> {
        self.search(id).ok()
    }

    /// Where a context is, or would be.
    fn search(&self, id: ContextId) -> Result<usize, usize> {
        self.slots.binary_search_by_key(&id, |s| s.id)
    }

    fn is_out(&self, id: ContextId) -> bool {
        self.out.iter().any(|(out, _)| *out == id)
    }

    /// What a context is found by.
    fn keys(&self, id: ContextId) -> Option<Keys> {
        let out = self.out.iter().find(|(out, _)| *out == id);
        out.map(|(_, keys)| *keys).or_else(|| self.get(id).map(Keys::of))
    }

    /// Puts a context back, or a new one in; `timer` is when it wants to run next.
    pub fn put(&mut self, mut context: Box<Context>, timer: Option<Time>) {
        let id = context.id;
        context.timer = timer;
        let keys = Keys::of(&context);
        let old = self.out.iter().position(|(out, _)| *out == id);
        let old = old.map(|at| self.out.swap_remove(at).1);
        match self.search(id) {
            Ok(at) => self.slots[at].context = Some(context),
            // The newest mostly; before others whose making it has brought about.
            Err(at) => self.slots.insert(at, Slot { id, context: Some(context) }),
        }
        match old {
            Some(old) => {
                self.unlink(id, &old, Some(&keys));
                self.link(id, &keys, Some(&old));
            }
            None => {
                *self.per_prefix.entry(Prefix::of(keys.ulids.peer.0)).or_default() += 1;
                self.link(id, &keys, None);
            }
        }
    }

    /// Forgets a context; its tag rests for a while.
    // req: S6-9-06, S6-7.1-03
    pub fn remove(&mut self, id: ContextId, now: Time, tag_space: u64) {
        let Some(keys) = self.keys(id) else { return };
        self.unlink(id, &keys, None);
        self.out.retain(|(out, _)| *out != id);
        self.vacate(id);
        let prefix = Prefix::of(keys.ulids.peer.0);
        if let Some(n) = self.per_prefix.get_mut(&prefix) {
            *n -= 1;
            if *n == 0 {
                self.per_prefix.remove(&prefix);
            }
        }
        let room = most_resting(tag_space);
        self.wake_tags(now);
        while self.resting.len() >= room {
            let Some((_, tag)) = self.resting.pop_front() else { break };
            self.resting_set.remove(&tag);
        }
        if room > 0 && self.resting_set.insert(keys.local_tag) {
            self.resting.push_back((now + QUARANTINE, keys.local_tag));
        }
    }

    /// Empties a place for good. Places are given up by the half, so that each costs little.
    fn vacate(&mut self, id: ContextId) {
        let Some(at) = self.place(id) else { return };
        self.slots[at].context = None;
        self.gone += 1;
        if self.gone > SPARE_SLOTS && self.gone > self.slots.len() / 2 {
            let Table { slots, out, .. } = self;
            slots.retain(|s| s.context.is_some() || out.iter().any(|(out, _)| *out == s.id));
            slots.shrink_to(slots.len() * 2);
            self.gone = 0;
        }
    }

    fn wake_tags(&mut self, now: Time) {
        while self.resting.front().is_some_and(|&(until, _)| until <= now) {
            if let Some((_, tag)) = self.resting.pop_front() {
                self.resting_set.remove(&tag);
            }
        }
    }

    /// Makes a context findable by `k`; by what it had in common with `before` it is already. Mostly a timer alone has
    /// changed, and that costs no hashing.
    fn link(&mut self, id: ContextId, k: &Keys, before: Option<&Keys>) {
        if before.is_none_or(|b| (b.ulids, b.fii) != (k.ulids, k.fii)) {
            let holder = *self.by_ulids.entry(self.hasher.hash_one((k.ulids, k.fii))).or_insert(id);
            if holder != id {
                self.clashing.push(id);
            }
        }
        if before.is_none_or(|b| b.local_tag != k.local_tag) {
            self.by_local_tag.insert(k.local_tag, id);
        }
        if let Some(tag) = k.peer_tag
            && before.is_none_or(|b| b.peer_tag != k.peer_tag)
        {
            let first = *self.by_peer_tag.entry(tag).or_insert(id);
            if first != id {
                self.same_peer_tag.entry(tag).or_default().push(id);
            }
        }
        if let Some(nonce) = k.nonce
            && before.is_none_or(|b| b.nonce != k.nonce)
        {
            self.by_nonce.insert(nonce, id);
        }
        if let Some(t) = k.timer
            && before.is_none_or(|b| b.timer != k.timer)
        {
            self.timers.insert((t, id));
        }
        if let Some(t) = k.look
            && before.is_none_or(|b| b.look != k.look)
        {
            self.looks.insert((t, id));
        }
    }

    /// The reverse, but for what stays as it is in `next`.
    fn unlink(&mut self, id: ContextId, k: &Keys, next: Option<&Keys>) {
        if next.is_none_or(|n| (n.ulids, n.fii) != (k.ulids, k.fii)) {
            let hash = self.hasher.hash_one((k.ulids, k.fii));
            if self.by_ulids.get(&hash) == Some(&id) {
                self.by_ulids.remove(&hash);
            } else {
                self.clashing.retain(|other| *other != id);
            }
        }
        if next.is_none_or(|n| n.local_tag != k.local_tag) {
            self.by_local_tag.remove(&k.local_tag);
        }
        if let Some(tag) = k.peer_tag
            && next.is_none_or(|n| n.peer_tag != k.peer_tag)
        {
            let mut others = self.same_peer_tag.remove(&tag).unwrap_or_default();
            others.retain(|other| *other != id);
            if self.by_peer_tag.get(&tag) == Some(&id) {
                self.by_peer_tag.remove(&tag);
                if !others.is_empty() {
                    self.by_peer_tag.insert(tag, others.remove(0));
                }
            }
            if !others.is_empty() {
                self.same_peer_tag.insert(tag, others);
            }
        }
        if let Some(nonce) = k.nonce
            && next.is_none_or(|n| n.nonce != k.nonce)
        {
            self.by_nonce.remove(&nonce);
        }
        if let Some(t) = k.timer
            && next.is_none_or(|n| n.timer != k.timer)
        {
            self.timers.remove(&(t, id));
        }
        if let Some(t) = k.look
            && next.is_none_or(|n| n.look != k.look)
        {
            self.looks.remove(&(t, id));
        }
    }

    /// By ULID pair and instance: I1, I2, I2bis.
    // req: S6-12.4-01
    pub fn find(&self, ulids: UlidPair, fii: Fii) -> Option<ContextId> {
        let holder = self.by_ulids.get(&self.hasher.hash_one((ulids, fii)));
        let fits = |id: &&ContextId| {
            let same = |u: UlidPair, f: Fii| (u, f) == (ulids, fii);
            match self.get(**id) {
                Some(c) => same(c.ulids, c.fii),
                None => self.keys(**id).is_some_and(|k| same(k.ulids, k.fii)),
            }
        };
        holder.into_iter().chain(&self.clashing).find(fits).copied()
    }

    /// By CT(local): Update, Keepalive, Probe, payload.
    // req: S6-12.4-05, S6-4.1-01
    pub fn find_local_tag(&self, tag: ContextTag) -> Option<ContextId> {
        self.by_local_tag.get(&tag).copied()
    }

    /// By CT(peer), which different peers may pick alike: R1bis, quoted packets, context confusion.
    pub fn find_peer_tag(&self, tag: ContextTag) -> impl Iterator<Item = ContextId> {
        let others = self.same_peer_tag.get(&tag).map_or(&[][..], Vec::as_slice);
        self.by_peer_tag.get(&tag).into_iter().chain(others).copied()
    }

    /// By the Initiator Nonce of our running exchange: R1, R2.
    // req: S6-12.4-02
    pub fn find_nonce(&self, nonce: InitNonce) -> Option<ContextId> {
        self.by_nonce.get(&nonce).copied()
    }

    /// The earliest timer or look.
    pub fn next_time(&self) -> Option<Time> {
        let timer = self.timers.first().map(|(t, _)| *t);
        let look = self.looks.first().map(|(t, _)| *t);
        Time::earlier(timer, look)
    }

    /// A context whose timer is due.
    pub fn due_timer(&self, now: Time) -> Option<ContextId> {
        self.timers.first().filter(|(t, _)| *t <= now).map(|(_, id)| *id)
    }

    /// A context whose activity is due; it is not due again before `again`.
    pub fn due_look(&mut self, now: Time, again: Time) -> Option<ContextId> {
        let &(t, id) = self.looks.first().filter(|(t, _)| *t <= now)?;
        self.looks.remove(&(t, id));
        let slot = self.place(id);
        let out = self.out.iter_mut().find(|(out, _)| *out == id).map(|(_, keys)| &mut keys.look);
        let there = slot.and_then(|at| self.slots[at].context.as_mut()).map(|c| &mut c.look);
        if let Some(look) = out.or(there) {
            *look = Some(again);
            self.looks.insert((again, id));
        }
        Some(id)
    }

    /// A random tag below `space` that is neither in use nor resting, never 0; `None` if the space is exhausted.
    // req: S6-7.1-01, S6-7.1-02, S6-7.1-03, S6-C.4-01
    pub fn new_tag(
        &mut self,
        now: Time,
        space: u64,
        rng: &mut dyn rand::RngCore,
    ) -> Option<ContextTag> {
        self.wake_tags(now);
        let mask = space - 1;
        let free = |t: &Table, v: u64| {
            let tag = ContextTag::from_masked(v);
            (v != 0 && !t.by_local_tag.contains_key(&tag) && !t.resting_set.contains(&tag))
                .then_some(tag)
        };
        for _ in 0..64 {
            if let Some(tag) = free(self, rng.next_u64() & mask) {
                return Some(tag);
            }
        }
        // Only a small space, as in tests, can be so full: look at all of it.
        if space > 1 << 16 {
            return None;
        }
        let start = rng.next_u64();
        (0..space).find_map(|i| free(self, start.wrapping_add(i) & mask))
    }

    /// A random nonce that no running exchange uses.
    pub fn new_nonce(&self, rng: &mut dyn rand::RngCore) -> InitNonce {
        loop {
            let nonce = InitNonce(rng.next_u32());
            if !self.by_nonce.contains_key(&nonce) {
                return nonce;
            }
        }
    }

    /// Whether the indexes hold exactly what the contexts say. Looks at everything: for tests.
    pub fn is_consistent(&self) -> bool {
        let all = self.out.is_empty() && self.iter().count() == self.count();
        let each = self.iter().all(|c| {
            let id = c.id;
            self.get(id).is_some_and(|found| found.id == id)
                && self.find(c.ulids, c.fii) == Some(id)
                && self.find_local_tag(c.local_tag) == Some(id)
                && c.peer_tag.is_none_or(|t| self.find_peer_tag(t).any(|i| i == id))
                && c.setup.as_ref().is_none_or(|s| self.find_nonce(s.nonce) == Some(id))
                && c.timer.is_none_or(|t| self.timers.contains(&(t, id)))
                && c.look.is_none_or(|t| self.looks.contains(&(t, id)))
        });
        let n = self.count();
        let with = |f: fn(&Context) -> bool| self.iter().filter(|c| f(c)).count();
        let others = self.same_peer_tag.values();
        all && each
            && self.by_ulids.len() + self.clashing.len() == n
            && self.by_local_tag.len() == n
            && self.by_peer_tag.len() + others.map(Vec::len).sum::<usize>()
                == with(|c| c.peer_tag.is_some())
            && self.by_nonce.len() == with(|c| c.setup.is_some())
            && self.per_prefix.values().sum::<usize>() == n
            && self.timers.len() == with(|c| c.timer.is_some())
            && self.looks.len() == with(|c| c.look.is_some())
    }
}

#[cfg(test)]
mod tests;
