//! Which pair is tried next, and when (RFC 5534, 4.3).

use super::timers::vary;
use super::{Candidate, ReapCx};
use crate::addr::{Locator, LocatorPair};
use crate::proto::Time;
use crate::proto::config::ReapConfig;
use crate::proto::seldom::{Initial, Seldom};
use rand::RngCore;
use std::cmp::Reverse;
use std::net::Ipv6Addr;
use std::time::Duration;

/// Gaps that may be shorter than Initial Probe Timeout in fast mode.
const SHORT_GAPS: u32 = 4;
/// Locators known as lost; more than a context has.
const MAX_LOST: usize = 16;

/// The back-off: a gap that starts small and grows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// Probes sent.
    probes: u32,
    /// When the next one is due.
    next: Time,
    /// When the last one went.
    last: Time,
    /// The first gaps, where round trips are known to be short.
    short: Option<Duration>,
}

impl Schedule {
    /// The first Probe goes out now. `short` takes the place of the first [`SHORT_GAPS`] gaps.
    pub(super) fn begin(
        now: Time,
        short: Option<Duration>,
        config: &ReapConfig,
        rng: &mut dyn RngCore,
    ) -> Schedule {
        let short = short.filter(|s| *s < config.initial_probe_timeout);
        let mut s = Schedule { probes: 0, next: now, last: now, short };
        s.advance(now, config, rng);
        s
    }

    /// Whether the next gap is one of the short ones.
    pub(super) fn is_short(&self) -> bool {
        self.short.is_some() && self.probes <= SHORT_GAPS
    }

    fn gap(&self, config: &ReapConfig, rng: &mut dyn RngCore) -> Duration {
        match self.short {
            Some(short) if self.probes <= SHORT_GAPS => vary(short, rng, 0.0, config.probe_jitter),
            Some(_) => gap(self.probes - SHORT_GAPS, config, rng),
            None => gap(self.probes, config, rng),
        }
    }

    /// A Probe goes out now.
    // req: RP-4.3-04 (RFC 5534, 4.3)
    pub(super) fn advance(&mut self, now: Time, config: &ReapConfig, rng: &mut dyn RngCore) {
        self.probes = self.probes.saturating_add(1);
        self.last = now;
        self.next = now + self.gap(config, rng);
    }

    /// When the next Probe is due.
    pub(super) fn next(&self) -> Time {
        self.next
    }

    /// A Probe beside the schedule goes out now: the next one is not closer to it than the shortest gap.
    pub(super) fn out_of_turn(&mut self, now: Time, config: &ReapConfig, rng: &mut dyn RngCore) {
        self.last = now;
        self.next = self.next.max(now + gap(0, config, rng));
    }

    /// Starts again with short gaps, but never closer to the last Probe than the shortest one.
    pub(super) fn hurry(&mut self, now: Time, config: &ReapConfig, rng: &mut dyn RngCore) {
        self.probes = 0;
        let soonest = self.last + self.gap(config, rng);
        self.next = self.next.min(soonest.max(now));
    }
}

/// The gap after the given number of Probes: the initial ones follow each other at a fixed rate, then each gap is
/// twice the one before. Varied to both sides, at the upper limit only downwards.
// req: RP-4.3-05, RP-4.3-06, RP-4.3-07, RP-4.3-08, RP-4.3-09, RP-7-01, RP-7-02 (RFC 5534, 4.3 and 7)
pub(super) fn gap(probes: u32, config: &ReapConfig, rng: &mut dyn RngCore) -> Duration {
    let doublings = (probes + 1).saturating_sub(config.initial_probes.max(1)).min(31);
    let max = config.max_probe_timeout;
    let nominal = config.initial_probe_timeout.saturating_mul(1 << doublings).min(max);
    let up = if nominal == max { 0.0 } else { config.probe_jitter };
    vary(nominal, rng, config.probe_jitter, up).min(max).max(Duration::from_millis(1))
}

/// Which pairs have been tried since when.
#[derive(Clone, Debug, Default)]
pub(super) struct Explorer {
    order: Seldom<Order>,
    rounds: Seldom<Rounds>,
}

/// What the last failure has left: the order of the pairs.
#[derive(Clone, Debug, Default)]
struct Order {
    /// The pair in use when the failure came.
    failed: Option<LocatorPair>,
    /// Makes one random order among equal priorities per exploration.
    salt: u64,
}

/// What is needed while an exploration runs.
#[derive(Clone, Debug, Default)]
struct Rounds {
    /// A pair that was tested lately, while all was well: the exploration begins with it.
    first: Option<LocatorPair>,
    /// And with so many more Probes on it.
    again: u32,
    /// Our locators that were reported as unusable.
    lost: Vec<Locator>,
    /// Pairs tried in this round in Exploring.
    tried: Vec<LocatorPair>,
    /// Pairs tried in this round in InboundOk. A round of its own: what the peer hears of us in Exploring does it no
    /// good once it is forgotten, so each state has to come round to every pair.
    tried_inbound: Vec<LocatorPair>,
    /// All pairs have been tried in Exploring since the failure; true once it was told.
    exhausted: Option<bool>,
}

impl Initial for Order {
    const REST: &'static Order = &Order { failed: None, salt: 0 };
}

impl Initial for Rounds {
    const REST: &'static Rounds = &Rounds {
        first: None,
        again: 0,
        lost: Vec::new(),
        tried: Vec::new(),
        tried_inbound: Vec::new(),
        exhausted: None,
    };
}

/// Which round a Probe belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// Probes of the state Exploring.
    Exploring,
    /// Probes of the state InboundOk.
    InboundOk,
}

impl Explorer {
    /// A new failure begins. `first`: the pair to try first.
    pub(super) fn begin(
        &mut self,
        failed: LocatorPair,
        first: Option<LocatorPair>,
        rng: &mut dyn RngCore,
    ) {
        *self.order = Order { failed: Some(failed), salt: rng.next_u64() };
        let lost = std::mem::take(&mut self.rounds.lost);
        *self.rounds = Rounds { first, lost, ..Rounds::default() };
    }

    /// The exploration that has just begun tries this pair first, once.
    pub(super) fn lead(&mut self, first: LocatorPair) {
        (self.rounds.first, self.rounds.again) = (Some(first), 0);
    }

    /// So many Probes go to the first pair, one after the other.
    pub(super) fn insist(&mut self, probes: u32) {
        self.rounds.again = probes.saturating_sub(1);
    }

    /// True once in an exploration: when every pair has been tried in vain.
    pub(super) fn take_exhausted(&mut self) -> bool {
        let news = self.rounds.exhausted == Some(false);
        if news {
            self.rounds.exhausted = Some(true);
        }
        news
    }

    /// The exploration has ended. The order stays for reports that are late.
    pub(super) fn end(&mut self) {
        self.rounds.put_to_rest();
    }

    /// A locator is lost until [`Explorer::restore`].
    pub(super) fn lose(&mut self, lost: Locator) {
        if !self.rounds.lost.contains(&lost) && self.rounds.lost.len() < MAX_LOST {
            self.rounds.lost.push(lost);
        }
    }

    /// A locator is usable again: pairs with it are tried next.
    pub(super) fn restore(&mut self, rcx: &ReapCx<'_>, back: Locator) {
        self.rounds.lost.retain(|l| *l != back);
        let others: Vec<_> =
            self.ranked(rcx).into_iter().filter(|p| p.local != back && p.peer != back).collect();
        self.rounds.tried = others.clone();
        self.rounds.tried_inbound = others;
    }

    /// Whether a locator of the pair is known as lost.
    pub(super) fn is_lost(&self, pair: LocatorPair) -> bool {
        self.rounds.lost.contains(&pair.local) || self.rounds.lost.contains(&pair.peer)
    }

    /// Whether a Probe may be sent on this pair.
    pub(super) fn may_probe(&self, rcx: &ReapCx<'_>, pair: LocatorPair) -> bool {
        let usable = |list: &[Candidate], l: Locator| {
            list.iter().any(|c| c.addr == l.0 && c.usable) && Scope::of(l.0).is_some()
        };
        usable(rcx.local, pair.local) && usable(rcx.peer, pair.peer) && !self.is_lost(pair)
    }

    /// The next pair of a round; a new round begins when all pairs have been tried. Then a loss counts no longer: if
    /// it lasts, the candidates show it, and a return of which we were not told must not be missed for ever. `None`
    /// if there is no pair.
    // req: RP-4.3-03, RP-6.5-01 (RFC 5534, 4.3 and 6.5)
    pub(super) fn next(&mut self, rcx: &ReapCx<'_>, round: Round) -> Option<LocatorPair> {
        let first = self.rounds.first.take();
        if let Some(first) = first.filter(|p| self.may_probe(rcx, *p)) {
            self.rounds.first = (self.rounds.again > 0).then_some(first);
            self.rounds.again = self.rounds.again.saturating_sub(1);
            self.mark(round, first);
            return Some(first);
        }
        let mut ranked = self.keyed(rcx);
        if ranked.iter().all(|(_, p)| self.tried_in(round).contains(p)) {
            if round == Round::Exploring && !ranked.is_empty() && self.rounds.exhausted.is_none() {
                self.rounds.exhausted = Some(false);
            }
            self.rounds.lost.clear();
            self.tried_in(round).clear();
            ranked = self.keyed(rcx);
        }
        let failed = self.order.failed;
        let tried = self.tried_in(round);
        tried.retain(|p| ranked.iter().any(|(_, r)| r == p));
        let (_, next) = ranked
            .iter()
            .filter(|(_, p)| !tried.contains(p))
            .min_by_key(|(key, p)| (key.class(), Worn::of(*p, tried, failed)))?;
        tried.push(*next);
        Some(*next)
    }

    /// The pair to fall back on if the current one fails: as far away from it as can be, none of `but`.
    pub(super) fn alternative(&self, rcx: &ReapCx<'_>, but: &[LocatorPair]) -> Option<LocatorPair> {
        self.keyed(rcx)
            .into_iter()
            .filter(|(_, p)| *p != rcx.current && !but.contains(p))
            .min_by_key(|(key, p)| (key.class(), Worn::of(*p, &[], Some(rcx.current))))
            .map(|(_, p)| p)
    }

    /// The pair that is best by preferences and address selection, whatever has failed before; among equals that of
    /// the ULIDs, which needs no payload header, else the first in the order of the lists: always the same one.
    // req: RP-4.3-02 (RFC 5534, 4.3)
    pub(super) fn preferred(&self, rcx: &ReapCx<'_>) -> Option<LocatorPair> {
        let ulids = rcx.ulids;
        let at = |l: Locator, list: &[Candidate]| list.iter().position(|c| c.addr == l.0);
        self.keyed(rcx)
            .into_iter()
            .min_by_key(|(key, p)| {
                let key = Rank { failed: false, shared: 0, draw: 0, ..*key };
                (key.class(), *p != ulids, key, at(p.local, rcx.local), at(p.peer, rcx.peer))
            })
            .map(|(_, p)| p)
    }

    /// A pair has been tried out of turn.
    pub(super) fn mark(&mut self, round: Round, pair: LocatorPair) {
        let tried = self.tried_in(round);
        if !tried.contains(&pair) {
            tried.push(pair);
        }
    }

    fn tried_in(&mut self, round: Round) -> &mut Vec<LocatorPair> {
        match round {
            Round::Exploring => &mut self.rounds.tried,
            Round::InboundOk => &mut self.rounds.tried_inbound,
        }
    }

    /// All pairs that may be probed, best first. Pairs with a lost locator are skipped, unless there is no other.
    // req: RP-4.3-01, RP-4.3-02 (RFC 5534, 4.3)
    pub(super) fn ranked(&self, rcx: &ReapCx<'_>) -> Vec<LocatorPair> {
        self.keyed(rcx).into_iter().map(|(_, p)| p).collect()
    }

    fn keyed(&self, rcx: &ReapCx<'_>) -> Vec<(Rank, LocatorPair)> {
        let spread = {
            let weights = || rcx.local.iter().chain(rcx.peer).map(|c| c.weight);
            weights().min() != weights().max()
        };
        let mut pairs = Vec::with_capacity(rcx.local.len() * rcx.peer.len());
        for l in rcx.local.iter().filter(|c| c.usable) {
            for p in rcx.peer.iter().filter(|c| c.usable) {
                let pair = LocatorPair { local: Locator(l.addr), peer: Locator(p.addr) };
                if let (Some(ls), Some(ps)) = (Scope::of(l.addr), Scope::of(p.addr)) {
                    let key = Rank {
                        failed: self.order.failed == Some(pair),
                        broken: u8::from(l.broken) + u8::from(p.broken),
                        unwanted: !rcx.wanted.fit(pair),
                        label_differs: ls.label != ps.label,
                        precedence: Reverse(ps.precedence),
                        priority: u16::from(l.priority) + u16::from(p.priority),
                        shared: self.order.failed.map_or(0, |f| {
                            u8::from(f.local == pair.local) + u8::from(f.peer == pair.peer)
                        }),
                        draw: if spread { draw(self.order.salt, l, p) } else { 0 },
                        common_prefix: Reverse(common_prefix(l.addr, p.addr)),
                    };
                    pairs.push((key, pair));
                }
            }
        }
        if pairs.iter().any(|(_, p)| !self.is_lost(*p)) {
            pairs.retain(|(_, p)| !self.is_lost(*p));
        }
        // Stable: equal pairs stay in the order of the lists.
        pairs.sort_by_key(|(key, _)| *key);
        pairs
    }

    /// Whether a locator of the pair is marked as broken.
    pub(super) fn is_marked(&self, rcx: &ReapCx<'_>, p: LocatorPair) -> bool {
        rcx.local.iter().any(|c| c.broken && c.addr == p.local.0)
            || rcx.peer.iter().any(|c| c.broken && c.addr == p.peer.0)
    }

    /// The pair to use among those that were shown to work: one that somebody wants, else the current one if it is in
    /// good order, else the best.
    // req: RP-6.8-03 (RFC 5534, 6.8)
    pub(super) fn choose(&self, rcx: &ReapCx<'_>, works: &[LocatorPair]) -> Option<LocatorPair> {
        let ranked = self.ranked(rcx);
        let good = |p: &LocatorPair| {
            works.contains(p) && self.may_probe(rcx, *p) && !self.is_marked(rcx, *p)
        };
        let asked = |p: &&LocatorPair| good(p) && rcx.wanted.fit(**p);
        if !rcx.wanted.fit(rcx.current)
            && let Some(pair) = ranked.iter().find(asked)
        {
            return Some(*pair);
        }
        if good(&rcx.current) {
            return Some(rcx.current);
        }
        ranked.into_iter().find(|p| works.contains(p) && !self.is_lost(*p))
    }
}

/// The order of pairs, most important first: smaller comes earlier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// The pair that has just failed.
    failed: bool,
    /// Locators that are marked as broken (RFC 6724, rule 3, for deprecated ones).
    broken: u8,
    /// Not what somebody asked for.
    unwanted: bool,
    /// RFC 6724, rule 5.
    label_differs: bool,
    /// RFC 6724, rule 6.
    precedence: Reverse<u8>,
    /// Preferences of both sides.
    priority: u16,
    /// Locators in common with the pair that has failed: what they have in common may be what is broken.
    shared: u8,
    /// Chance by weight.
    draw: u64,
    /// RFC 6724, rule 9.
    common_prefix: Reverse<u32>,
}

impl Rank {
    /// What no variety makes up for: the part of the rank that comes before the pairs tried so far.
    fn class(self) -> impl Ord + use<> {
        (
            self.failed,
            self.broken,
            self.unwanted,
            self.label_differs,
            self.precedence,
            self.priority,
        )
    }
}

/// How much of a pair has been tried in vain already: smaller is fresher. Addresses of one subnet share a provider
/// and mostly its fate, so the subnets count. With many locators the gaps between Probes grow long before all pairs
/// have had their turn; what has nothing in common with the failures so far is most likely to work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Worn {
    /// Pairs tried between the same two subnets.
    between: usize,
    /// Pairs tried from the one plus pairs tried to the other.
    ends: usize,
}

impl Worn {
    fn of(pair: LocatorPair, tried: &[LocatorPair], failed: Option<LocatorPair>) -> Worn {
        let subnet = |l: Locator| l.0.to_bits() >> 64;
        let mut worn = Worn { between: 0, ends: 0 };
        for t in tried.iter().copied().chain(failed) {
            let (from, to) =
                (subnet(t.local) == subnet(pair.local), subnet(t.peer) == subnet(pair.peer));
            worn.between += usize::from(from && to);
            worn.ends += usize::from(from) + usize::from(to);
        }
        worn
    }
}

/// What RFC 6724's policy table says about an address.
// req: AS-4-01
#[derive(Clone, Copy)]
struct Scope {
    precedence: u8,
    label: u8,
}

impl Scope {
    /// `None` if the address is no locator: only global and unique local unicast addresses are.
    // req: RP-3.1-01 (RFC 5534, 3.1)
    fn of(a: Ipv6Addr) -> Option<Scope> {
        let s = a.segments();
        let scope = |precedence, label| Some(Scope { precedence, label });
        match s[0] {
            // IPv4-mapped, IPv4-compatible, unspecified and loopback
            0 if s[1..5] == [0; 4] => None,
            // link-local, site-local, multicast
            0xfe80..=0xffff => None,
            0xfc00..=0xfdff => scope(3, 13),
            0x2002 => scope(30, 2),
            0x2001 if s[1] == 0 => scope(5, 5),
            0x3ffe => scope(1, 12),
            _ => scope(40, 1),
        }
    }
}

/// Length of the common prefix of two addresses, at most that of a subnet prefix.
// req: AS-2.2-01
fn common_prefix(a: Ipv6Addr, b: Ipv6Addr) -> u32 {
    (a.to_bits() ^ b.to_bits()).leading_zeros().min(64)
}

/// An exponentially distributed number with the pair's weight as rate, as bits that sort like it: smallest first
/// picks each pair with a chance in proportion to its weight. The same salt gives the same order.
fn draw(salt: u64, l: &Candidate, p: &Candidate) -> u64 {
    let mut z = salt;
    for bits in [l.addr.to_bits(), p.addr.to_bits()] {
        for half in [bits as u64, (bits >> 64) as u64] {
            // splitmix64
            z = (z ^ half).wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
        }
    }
    let unit = ((z >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
    // Weight 0 still has a small chance (RFC 2782).
    let weight = |w: u8| if w == 0 { 0.1 } else { f64::from(w) };
    (-unit.ln() / (weight(l.weight) * weight(p.weight))).abs().to_bits()
}

#[cfg(test)]
mod tests;
