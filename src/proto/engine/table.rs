//! All contexts and every way to find one. The indexes are changed here alone, so they cannot disagree with the
//! contexts: a context is taken out, changed, and put back, and putting back brings the indexes into step.

use super::context::Context;
use crate::addr::{ContextTag, Fii, InitNonce, Prefix, UlidPair};
use crate::proto::{ContextId, Time};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

/// How long a tag rests after its context has gone.
const QUARANTINE: Duration = Duration::from_secs(600);
/// Tags resting at most.
const QUARANTINE_TAGS: usize = 65_536;

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
    fn of(c: &Context, timer: Option<Time>) -> Keys {
        Keys {
            ulids: c.ulids,
            fii: c.fii,
            local_tag: c.local_tag,
            peer_tag: c.peer_tag,
            nonce: c.setup.as_ref().map(|s| s.nonce),
            timer,
            look: c.look,
        }
    }
}

/// A context's place; empty while the context is taken out.
struct Slot {
    context: Option<Box<Context>>,
    keys: Keys,
}

/// The table. Hashing is SipHash with a per-table key, since peers choose most of what is hashed.
#[derive(Default)]
pub struct Table {
    slots: BTreeMap<ContextId, Slot>,
    by_ulids: HashMap<(UlidPair, Fii), ContextId>,
    by_local_tag: HashMap<ContextTag, ContextId>,
    by_peer_tag: HashMap<ContextTag, Vec<ContextId>>,
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
        self.slots.len()
    }

    /// Number of contexts whose peer ULID has this prefix.
    pub fn in_prefix(&self, prefix: Prefix) -> usize {
        self.per_prefix.get(&prefix).copied().unwrap_or(0)
    }

    /// All contexts in the order of their names, except one that is taken out.
    pub fn iter(&self) -> impl Iterator<Item = &Context> {
        self.slots.values().filter_map(|s| s.context.as_deref())
    }

    /// Names of all contexts.
    pub fn ids(&self) -> Vec<ContextId> {
        self.slots.keys().copied().collect()
    }

    /// A context.
    pub fn get(&self, id: ContextId) -> Option<&Context> {
        self.slots.get(&id)?.context.as_deref()
    }

    /// Takes a context out to change it. It stays findable by what it was found by before.
    pub fn take(&mut self, id: ContextId) -> Option<Box<Context>> {
        self.slots.get_mut(&id)?.context.take()
    }

    /// Puts a context back, or a new one in; `timer` is when it wants to run next.
    pub fn put(&mut self, context: Box<Context>, timer: Option<Time>) {
        let id = context.id;
        let keys = Keys::of(&context, timer);
        match self.slots.get_mut(&id) {
            Some(slot) => {
                let old = slot.keys;
                slot.keys = keys;
                slot.context = Some(context);
                if old != keys {
                    self.unlink(id, &old, Some(&keys));
                    self.link(id, &keys, Some(&old));
                }
            }
            None => {
                *self.per_prefix.entry(Prefix::of(keys.ulids.peer.0)).or_default() += 1;
                self.slots.insert(id, Slot { context: Some(context), keys });
                self.link(id, &keys, None);
            }
        }
    }

    /// Forgets a context; its tag rests for a while.
    // req: S6-9-06, S6-7.1-03
    pub fn remove(&mut self, id: ContextId, now: Time, tag_space: u64) {
        let Some(slot) = self.slots.remove(&id) else { return };
        self.unlink(id, &slot.keys, None);
        let prefix = Prefix::of(slot.keys.ulids.peer.0);
        if let Some(n) = self.per_prefix.get_mut(&prefix) {
            *n -= 1;
            if *n == 0 {
                self.per_prefix.remove(&prefix);
            }
        }
        // In a small tag space (tests) only a quarter may rest, or none would be left.
        let room = usize::try_from(tag_space / 4).unwrap_or(usize::MAX).min(QUARANTINE_TAGS);
        self.wake_tags(now);
        while self.resting.len() >= room {
            let Some((_, tag)) = self.resting.pop_front() else { break };
            self.resting_set.remove(&tag);
        }
        if room > 0 && self.resting_set.insert(slot.keys.local_tag) {
            self.resting.push_back((now + QUARANTINE, slot.keys.local_tag));
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
            self.by_ulids.insert((k.ulids, k.fii), id);
        }
        if before.is_none_or(|b| b.local_tag != k.local_tag) {
            self.by_local_tag.insert(k.local_tag, id);
        }
        if let Some(tag) = k.peer_tag
            && before.is_none_or(|b| b.peer_tag != k.peer_tag)
        {
            self.by_peer_tag.entry(tag).or_default().push(id);
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
            self.by_ulids.remove(&(k.ulids, k.fii));
        }
        if next.is_none_or(|n| n.local_tag != k.local_tag) {
            self.by_local_tag.remove(&k.local_tag);
        }
        if let Some(tag) = k.peer_tag
            && next.is_none_or(|n| n.peer_tag != k.peer_tag)
            && let Some(ids) = self.by_peer_tag.get_mut(&tag)
        {
            ids.retain(|i| *i != id);
            if ids.is_empty() {
                self.by_peer_tag.remove(&tag);
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
        self.by_ulids.get(&(ulids, fii)).copied()
    }

    /// By CT(local): Update, Keepalive, Probe, payload.
    // req: S6-12.4-05, S6-4.1-01
    pub fn find_local_tag(&self, tag: ContextTag) -> Option<ContextId> {
        self.by_local_tag.get(&tag).copied()
    }

    /// By CT(peer), which different peers may pick alike: R1bis, quoted packets, context confusion.
    pub fn find_peer_tag(&self, tag: ContextTag) -> &[ContextId] {
        self.by_peer_tag.get(&tag).map_or(&[], Vec::as_slice)
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
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.keys.look = Some(again);
            self.looks.insert((again, id));
            if let Some(c) = &mut slot.context {
                c.look = Some(again);
            }
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
        let all = self.iter().count() == self.slots.len();
        let each = self.slots.iter().all(|(id, s)| {
            let Some(c) = s.context.as_deref() else { return false };
            Keys::of(c, s.keys.timer) == s.keys
                && self.find(c.ulids, c.fii) == Some(*id)
                && self.find_local_tag(c.local_tag) == Some(*id)
                && c.peer_tag.is_none_or(|t| self.find_peer_tag(t).contains(id))
                && c.setup.as_ref().is_none_or(|s| self.find_nonce(s.nonce) == Some(*id))
        });
        let n = self.slots.len();
        all && each
            && self.by_ulids.len() == n
            && self.by_local_tag.len() == n
            && self.by_peer_tag.values().map(Vec::len).sum::<usize>()
                == self.iter().filter(|c| c.peer_tag.is_some()).count()
            && self.by_nonce.len() == self.iter().filter(|c| c.setup.is_some()).count()
            && self.per_prefix.values().sum::<usize>() == n
            && self.timers.len() == self.slots.values().filter(|s| s.keys.timer.is_some()).count()
            && self.looks.len() == self.slots.values().filter(|s| s.keys.look.is_some()).count()
    }
}

#[cfg(test)]
mod tests;
