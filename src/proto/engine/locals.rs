//! Our own addresses and identities, and the locator list that each ULID announces.

use super::context::LocalEntry;
use super::peer::is_unicast;
use crate::addr::{Generation, Locator, Ulid};
use crate::cga::{Identity, Proof};
use crate::proto::input::{LocalAddress, LocatorRule, Offer};
use crate::proto::reap::Candidate;
use crate::proto::settings::{Preference, Settings};
use crate::wire::option::{
    LocatorEntry, LocatorList, LocatorPreference, LocatorPreferences, PreferenceFlags, total_len,
};
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv6Addr;
use std::sync::Arc;

/// What is known of one of our addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalStatus {
    /// Its preferred lifetime is over.
    pub deprecated: bool,
    /// It is a temporary (privacy) address.
    pub temporary: bool,
    /// It is on an interface that works.
    pub usable: bool,
    /// Packets from it have no way out.
    pub unreachable: bool,
    /// What an administrator has decided about it.
    pub rule: LocatorRule,
}

impl LocalStatus {
    /// Whether it cannot be used as a locator at present.
    pub fn is_broken(&self) -> bool {
        !self.usable || self.unreachable || self.rule.broken || self.rule.offer == Offer::Never
    }
}

/// Lists that are kept to be shared: at any time most contexts of a host have one of few.
const SHARED: usize = 16;

/// A list is known by its ULID, by how many locators fit, and by those that are offered for one context alone.
type ListKey = (Ulid, usize, Vec<Locator>);

/// A locator list as it goes into messages, signed where needed. Shared by all contexts with the same ULID.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announced {
    /// Its generation.
    pub generation: Generation,
    /// The locators with their methods, the ULID first where it is one.
    pub entries: Vec<(Locator, Option<Proof>)>,
    /// It holds nothing but the ULID, so that I2, I2bis and R2 need not carry it.
    pub alone: bool,
    /// The PDS of the ULID; `None` for a plain address.
    pub pds: Option<Vec<u8>>,
    /// The signature over the entries with method CGA.
    pub signature: Option<Vec<u8>>,
}

impl Announced {
    /// Whether I2, I2bis and R2 carry this list: a single address needs none.
    // req: S6-3-03
    pub fn is_sent(&self) -> bool {
        self.pds.is_some() && !self.alone
    }

    /// The Locator List option.
    pub fn list(&self) -> LocatorList {
        let entries = self
            .entries
            .iter()
            .map(|&(locator, proof)| LocatorEntry {
                locator,
                // An entry without proof is a plain ULID, which is never sent in a list.
                method: proof.unwrap_or(Proof::Hba).into(),
            })
            .collect();
        LocatorList { generation: self.generation, entries }
    }

    fn octets(&self) -> usize {
        let octets = |o: &Option<Vec<u8>>| o.as_ref().map_or(0, |v| total_len(v.len()));
        total_len(self.list().contents_len())
            + total_len(5 + 3 * self.entries.len())
            + octets(&self.pds)
            + octets(&self.signature)
    }
}

/// Our addresses.
pub struct Locals {
    addresses: BTreeMap<Ipv6Addr, LocalStatus>,
    identities: Vec<Arc<Identity>>,
    /// Lists by ULID and number of locators that fit; void when addresses change.
    lists: HashMap<ListKey, Arc<Announced>>,
    /// Lists announced last, so that the same contents keep their generation.
    former: HashMap<ListKey, Arc<Announced>>,
    /// What an administrator has decided, also about addresses that are away for the moment.
    rules: BTreeMap<Ipv6Addr, LocatorRule>,
    generation: Generation,
    max_locators: usize,
    /// Lists as contexts have them, those used last at the end.
    shared: Vec<Arc<[LocalEntry]>>,
}

impl Locals {
    /// No addresses yet; generations start at `generation`, a random number.
    pub fn new(generation: Generation, max_locators: usize) -> Locals {
        Locals {
            addresses: BTreeMap::new(),
            identities: Vec::new(),
            lists: HashMap::new(),
            former: HashMap::new(),
            rules: BTreeMap::new(),
            generation,
            max_locators,
            shared: Vec::new(),
        }
    }

    /// Takes one list for all contexts that have the same.
    pub(super) fn share(&mut self, list: &mut Arc<[LocalEntry]>) {
        if Arc::strong_count(list) > 1 {
            return;
        }
        match self.shared.iter().position(|s| s == list) {
            Some(at) => {
                let known = self.shared.remove(at);
                *list = Arc::clone(&known);
                self.shared.push(known);
            }
            None => {
                if self.shared.len() >= SHARED {
                    self.shared.remove(0);
                }
                self.shared.push(Arc::clone(list));
            }
        }
    }

    /// Changes how many locators a list may have.
    pub fn set_max_locators(&mut self, max_locators: usize) {
        if self.max_locators != max_locators {
            self.max_locators = max_locators;
            self.forget_lists();
        }
    }

    /// Replaces all identities.
    pub fn set_identities(&mut self, identities: Vec<Arc<Identity>>) {
        self.identities = identities;
        self.forget_lists();
    }

    /// The identities.
    pub fn identities(&self) -> &[Arc<Identity>] {
        &self.identities
    }

    /// Only the lists of just now may come back with their generation: an older one with the same contents has had
    /// successors since, and is a new list.
    // req: S6-10.1-02
    fn forget_lists(&mut self) {
        self.former.clear();
        for (key, list) in self.lists.drain() {
            self.former.insert(key, list);
        }
        let addresses = &self.addresses;
        self.former.retain(|(ulid, _, _), _| addresses.contains_key(&ulid.0));
    }

    /// An address is there, or has other properties. Returns whether that is news.
    pub fn present(&mut self, a: LocalAddress) -> bool {
        let status = LocalStatus {
            deprecated: a.deprecated,
            temporary: a.temporary,
            usable: true,
            unreachable: false,
            rule: self.rules.get(&a.addr).copied().unwrap_or_default(),
        };
        let news = self.addresses.insert(a.addr, status) != Some(status);
        if news {
            self.forget_lists();
        }
        news
    }

    /// Its link is down. Returns whether that is news.
    pub fn unusable(&mut self, addr: Ipv6Addr) -> bool {
        self.change(addr, |s| s.usable = false)
    }

    /// Packets from it have no way out. Returns whether that is news.
    pub fn unreachable(&mut self, addr: Ipv6Addr) -> bool {
        self.change(addr, |s| s.unreachable = true)
    }

    fn change(&mut self, addr: Ipv6Addr, f: impl FnOnce(&mut LocalStatus)) -> bool {
        let Some(status) = self.addresses.get_mut(&addr) else { return false };
        let before = *status;
        f(status);
        *status != before
    }

    /// An administrator decides about an address, which may be away for the moment. Returns its status before; `None` if it
    /// is not ours now.
    pub fn set_rule(&mut self, addr: Ipv6Addr, rule: LocatorRule) -> Option<LocalStatus> {
        if rule == LocatorRule::default() {
            self.rules.remove(&addr);
        } else {
            self.rules.insert(addr, rule);
        }
        let status = self.addresses.get_mut(&addr)?;
        let before = *status;
        status.rule = rule;
        if before.rule.offer != rule.offer {
            self.forget_lists();
        }
        Some(before)
    }

    /// All rules that say anything.
    pub fn rules(&self) -> impl Iterator<Item = (Ipv6Addr, LocatorRule)> {
        self.rules.iter().map(|(addr, rule)| (*addr, *rule))
    }

    /// Candidates with the preferences that an administrator gave them.
    pub fn preferred(&self, mut list: Vec<Candidate>) -> Vec<Candidate> {
        for c in &mut list {
            if let Some((priority, weight)) = self.rules.get(&c.addr).and_then(|r| r.preference) {
                (c.priority, c.weight) = (priority, weight);
            }
        }
        list
    }

    /// Whether contexts of a ULID can offer an address of ours: it is proven by the identity, and nobody objects.
    pub fn may_offer(&self, ulid: Ulid, addr: Ipv6Addr) -> bool {
        let allowed = self.status(addr).is_some_and(|s| s.rule.offer != Offer::Never);
        let proof = self.identity_of(ulid.0).and_then(|i| i.proof_for(Locator(addr)));
        allowed && is_unicast(addr) && proof.is_some()
    }

    /// It is gone for good. Returns whether it was there.
    pub fn gone(&mut self, addr: Ipv6Addr) -> bool {
        let was = self.addresses.remove(&addr).is_some();
        if was {
            self.forget_lists();
        }
        was
    }

    /// What is known of an address; `None` if it is not ours.
    pub fn status(&self, addr: Ipv6Addr) -> Option<&LocalStatus> {
        self.addresses.get(&addr)
    }

    /// All addresses.
    pub fn addresses(&self) -> impl Iterator<Item = (Ipv6Addr, &LocalStatus)> {
        self.addresses.iter().map(|(a, s)| (*a, s))
    }

    /// The identity that an address belongs to.
    pub fn identity_of(&self, addr: Ipv6Addr) -> Option<&Arc<Identity>> {
        self.identities.iter().find(|i| i.contains(addr).is_some())
    }

    /// Locators that contexts of a ULID may use, in order of preference, each with its proof. Temporary addresses are
    /// offered only beside a ULID that is temporary itself: the list would give them away.
    // req: S6-2.2-01, S6-3-01, S6-3-02, S6-5.15.2-05, AL-8.1-01, RP-3.1-01
    fn offer(&self, ulid: Ulid, extra: &[Locator]) -> Vec<(Locator, Option<Proof>)> {
        let Some(identity) = self.identity_of(ulid.0) else {
            return vec![(ulid.locator(), None)];
        };
        let temporary = self.status(ulid.0).is_some_and(|s| s.temporary);
        let mut rest: Vec<_> = self
            .addresses
            .iter()
            .filter(|(a, _)| **a != ulid.0 && is_unicast(**a))
            .filter(|(a, s)| match s.rule.offer {
                Offer::Never => false,
                Offer::Always => true,
                Offer::AsUsual => temporary || !s.temporary || extra.contains(&Locator(**a)),
            })
            .filter_map(|(a, s)| {
                let proof = identity.proof_for(Locator(*a))?;
                let asked = s.rule.offer == Offer::Always || extra.contains(&Locator(*a));
                Some((
                    (!asked, s.deprecated, identity.contains(*a).is_none(), *a),
                    (Locator(*a), Some(proof)),
                ))
            })
            .collect();
        rest.sort_unstable_by_key(|(order, _)| *order);
        let own = self.status(ulid.0).filter(|s| s.rule.offer != Offer::Never);
        let own = own.and_then(|_| identity.proof_for(ulid.locator()));
        let own = own.map(|proof| (ulid.locator(), Some(proof)));
        own.into_iter().chain(rest.into_iter().map(|(_, e)| e)).take(self.max_locators).collect()
    }

    /// Whether an administrator keeps back all that contexts of this ULID could offer.
    pub fn withholds_all(&self, ulid: Ulid) -> bool {
        !self.rules.is_empty() && self.offer(ulid, &[]).is_empty()
    }

    /// How many locators contexts of this ULID would have.
    pub fn locators_of(&self, ulid: Ulid) -> usize {
        self.offer(ulid, &[]).len()
    }

    /// The list for a ULID, whose options together with preferences take at most `room` octets.
    ///
    /// The same contents keep their generation; new contents get the next one.
    // req: S6-5.1-02, S6-5.1-03, S6-5.15.2-04, S6-10.1-02, S6-5.6-11, S6-5.6-13, S6-5.6-14, S6-5.7-05, S6-5.9-06,
    // req: S6-7.6-01, S6-7.11-08, S6-7.14-03, S6-7.18-08, S6-5.15.5-01
    pub fn announced(&mut self, ulid: Ulid, extra: &[Locator], room: usize) -> Arc<Announced> {
        let offer = self.offer(ulid, extra);
        let mut n = offer.len();
        loop {
            let list = self.list_of(ulid, extra, &offer[..n]);
            if list.octets() <= room || !list.is_sent() || n <= 1 {
                return list;
            }
            n -= 1;
        }
    }

    fn list_of(
        &mut self,
        ulid: Ulid,
        extra: &[Locator],
        offer: &[(Locator, Option<Proof>)],
    ) -> Arc<Announced> {
        let key = (ulid, offer.len(), extra.to_vec());
        if let Some(list) = self.lists.get(&key) {
            return list.clone();
        }
        let list = match self.former.remove(&key) {
            Some(former) if former.entries == offer => former,
            _ => Arc::new(self.build(ulid, offer)),
        };
        self.lists.insert(key, list.clone());
        list
    }

    fn build(&mut self, ulid: Ulid, offer: &[(Locator, Option<Proof>)]) -> Announced {
        self.generation = Generation(self.generation.0.wrapping_add(1));
        let mut list = Announced {
            generation: self.generation,
            entries: offer.to_vec(),
            alone: matches!(offer, [(only, _)] if *only == ulid.locator()) || offer.is_empty(),
            pds: None,
            signature: None,
        };
        let Some(identity) = self.identity_of(ulid.0).filter(|_| !offer.is_empty()) else {
            return list;
        };
        list.pds = identity.pds_for(ulid.0);
        let signed = |list: &Announced| -> Vec<Locator> {
            list.entries.iter().filter(|(_, p)| *p == Some(Proof::Cga)).map(|(l, _)| *l).collect()
        };
        let to_sign = signed(&list);
        if !to_sign.is_empty() {
            match identity.sign(self.generation, &to_sign) {
                Ok(signature) => list.signature = Some(signature),
                // What cannot be signed cannot be offered.
                Err(_) => {
                    list.entries.retain(|(_, p)| *p != Some(Proof::Cga));
                    if list.entries.len() <= 1 {
                        list.entries = vec![(ulid.locator(), None)];
                        list.alone = true;
                        list.pds = None;
                    }
                }
            }
        }
        list
    }

    /// Preferences for a list: by what is known of its locators, by an administrator's rules before that, and first by what
    /// was asked for one context.
    // req: S6-5.6-12, S6-5.7-06, S6-5.15.3-03, S6-4-04, RP-4.1-02
    pub fn preferences(&self, list: &Announced, asked: &[Preference]) -> LocatorPreferences {
        let elements = list
            .entries
            .iter()
            .map(|(l, _)| match self.status(l.0) {
                Some(s) => {
                    let rank = Settings::rank(asked, *l).or(s.rule.preference);
                    let (priority, weight) = rank.unwrap_or((u8::from(s.deprecated), 0));
                    LocatorPreference { flags: flags(s), priority, weight }
                }
                None => {
                    LocatorPreference { flags: PreferenceFlags::BROKEN, priority: 1, weight: 0 }
                }
            })
            .collect();
        LocatorPreferences { generation: list.generation, element_len: 3, elements }
    }
}

fn flags(s: &LocalStatus) -> PreferenceFlags {
    let broken = if s.is_broken() { PreferenceFlags::BROKEN } else { PreferenceFlags::NONE };
    let transient = if s.temporary { PreferenceFlags::TRANSIENT } else { PreferenceFlags::NONE };
    broken | transient
}

/// Whether preferences say anything: not all locators are equal and in order.
pub fn is_telling(p: &LocatorPreferences) -> bool {
    p.elements.iter().any(|e| *e != LocatorPreference::default())
}

#[cfg(test)]
mod tests;
