//! What an engine leaves is carried out, followed, and held against the rules.

use crate::host::{Ctx, Segment, Window};
use crate::matrix::Cause;
use crate::net::Spot;
use crate::world::{About, Next, World, reverse, tag_at};
use shim6::addr::{ContextTag, Fii, Locator, LocatorPair, UlidPair};
use shim6::proto::config::Detection;
use shim6::proto::engine::State;
use shim6::proto::reap::ReapState;
use shim6::proto::{ContextId, Event, Forward, ForwardChange, Outbound, Output, Transmit, WakeOn};
use shim6::wire::MessageType;
use std::net::Ipv6Addr;
use std::time::Duration;

/// An IPv6 packet with a control message has this many octets at most.
const MAX_PACKET: usize = 1280;
/// Probes that the schedule of RFC 5534 allows in ten seconds after a fresh start, with all gaps a fifth shorter:
/// at 0, 0.4, 0.8, 1.2, 2.0, 3.6 and 6.8 s.
const SCHEDULED: u32 = 7;
/// Probes of one test.
const TEST_PROBES: u32 = 5;
/// Probes in ten seconds with hot standby, a return to the preferred pair, or a pair that was asked for: one test at a
/// time, whose Probes are 0.4 s apart at least.
const TESTS_OF_OTHERS: u32 = 26;
/// Probes in ten seconds by fast detection. A test has 3 of them or up to 22, its budget is 4 s with 1 s for each test and
/// 0.25 s for each Probe beyond the third, and the last test may overdraw it.
const FAST_PROBES: u32 = 75;

/// A state by its name in the RFC.
fn state(name: &str) -> State {
    crate::matrix::STATES.into_iter().find(|s| s.name() == name).unwrap_or(State::Idle)
}

fn reap_state(name: &str) -> ReapState {
    let found = crate::matrix::REAP.into_iter().find(|s| s.name() == name);
    found.unwrap_or(ReapState::Operational)
}

impl World {
    /// Carries out all effects of an engine.
    pub fn settle(&mut self, h: usize, about: About) {
        if self.hosts[h].out.is_empty() {
            return;
        }
        let mut changed = false;
        let mut switched = Vec::new();
        while let Some(output) = self.hosts[h].out.pop_front() {
            changed |= matches!(
                output,
                Output::Forward(ForwardChange::Set(_) | ForwardChange::Remove(_))
                    | Output::Event(_)
            );
            if let Output::Event(Event::Switched { context, from, to, .. }) = output {
                switched.push((context, from, to));
            }
            match output {
                Output::Transmit(t) => self.transmitted(h, t, about),
                Output::Forward(change) => self.forward(h, change),
                Output::Event(event) => self.event(h, event),
                Output::Drop(reason) => drop(self.dropped.get_or_insert(reason.0)),
                Output::Count("bad_transition" | "timer_overrun" | "tx_too_long") => {
                    self.broken("the engine found a fault in itself", |_| String::new());
                }
                Output::Count(name) => self.readable |= name.starts_with("rx_"),
            }
        }
        for (id, from, to) in switched {
            self.judge_switch(h, id, from, to);
        }
        let consistent = || self.hosts[h].engine.as_ref().is_none_or(|e| e.is_consistent());
        if changed && !consistent() {
            self.broken("indexes agree with contexts, each tag is of one context", |_| {
                String::new()
            });
        }
        if changed {
            self.judge_tables(h);
        }
    }

    /// FNV-1a, eight octets at a time, over everything that leaves; messages are multiples of eight octets long.
    pub fn digest_of(&mut self, octets: &[u8]) {
        let mut add = |word: u64| {
            self.digest = (self.digest ^ word).wrapping_mul(0x100_0000_01b3).rotate_left(23);
        };
        add(self.now.nanos());
        let (words, _) = octets.as_chunks();
        words.iter().for_each(|w| add(u64::from_le_bytes(*w)));
    }

    fn transmitted(&mut self, h: usize, t: Transmit, about: About) {
        let octets = t.message.len() + 40;
        if octets > MAX_PACKET {
            self.broken("no control packet over 1280 octets", |_| format!("{octets}"));
        }
        let ours = Spot::of(t.src.0).is_some_and(|s| s.host == h);
        if !ours {
            self.broken("control messages leave from our addresses", |_| t.src.to_string());
        }
        let kind = MessageType::from(t.message[2] & 0x7f);
        let Some(tag) = tag_at(&t.message, 6) else { return };
        let about = match kind {
            MessageType::R1
            | MessageType::R2
            | MessageType::R1bis
            | MessageType::UpdateAck
            | MessageType::Error
            | MessageType::Unknown(_) => about.map(|(u, f)| (reverse(u), f)),
            MessageType::I1 | MessageType::I2 | MessageType::I2bis => {
                let c = self.hosts[h].ctxs.iter().find(|c| c.local_tag == tag);
                c.map(|c| (reverse(c.ulids), c.fii))
            }
            MessageType::UpdateRequest | MessageType::Keepalive | MessageType::Probe => {
                let i = self.sender(h, t.dst, tag);
                i.map(|i| {
                    self.reap_message(h, i, kind);
                    let c = &self.hosts[h].ctxs[i];
                    (reverse(c.ulids), c.fii)
                })
            }
        };
        self.emit(h, t, about);
    }

    /// The context that sends a message with this tag to this locator. Hosts choose their tags each for itself, so two
    /// peers may have chosen the same, and a tag may have been another context's before.
    fn sender(&mut self, h: usize, to: Locator, tag: ContextTag) -> Option<usize> {
        let peer = Spot::of(to.0)?.host;
        let find = |ctxs: &[Ctx]| {
            ctxs.iter().position(|c| {
                c.peer_tag == Some(tag) && Spot::of(c.ulids.peer.0).is_some_and(|s| s.host == peer)
            })
        };
        // Where tags are short they are used again before long.
        let known = if self.plan.tag_bits == 47 { find(&self.hosts[h].ctxs) } else { None };
        known.or_else(|| {
            self.hosts[h].refresh();
            find(&self.hosts[h].ctxs)
        })
    }

    /// A Probe, Keepalive or Update Request of a context goes out.
    fn reap_message(&mut self, h: usize, i: usize, kind: MessageType) {
        let now = self.now;
        let in_timer = self.in_timer;
        let reap = &self.hosts[h].config.reap;
        let tests = reap.hot_standby || reap.return_to_preferred.is_some();
        let fast = reap.detection == Detection::Fast;
        let c = &mut self.hosts[h].ctxs[i];
        let others = if tests || c.steered { TESTS_OF_OTHERS } else { 0 }
            + if fast { FAST_PROBES } else { 0 };
        match kind {
            MessageType::Keepalive => {
                self.tally.matrix.reap(c.reap, Cause::KeepaliveTimer);
                if c.reap != ReapState::Operational {
                    self.broken("Keepalives in Operational only", |_| String::new());
                }
            }
            MessageType::Probe => {
                if in_timer && c.reap != ReapState::Operational && c.reap_since < now {
                    self.tally.matrix.reap(c.reap, Cause::Retransmission);
                }
                let w = roll(c, now.millis());
                w.sent += 1;
                // Each Probe answers one, or begins a schedule, or follows it, or tests a pair.
                let bound = SCHEDULED * (1 + w.fresh) + w.heard + TEST_PROBES * w.tests + others;
                if w.sent > bound {
                    let w = *w;
                    self.broken("Probes keep to their schedule", |_| format!("host {h}: {w:?}"));
                }
            }
            _ => {}
        }
    }

    /// Whatever lets contexts of a host begin their schedule afresh has happened.
    pub fn fresh(&mut self, h: usize) {
        let now = self.now.millis();
        self.hosts[h].ctxs.iter_mut().for_each(|c| roll(c, now).fresh += 1);
    }

    /// A message of a host came to an address, and whose owner answers later has shown that it is there.
    pub fn witness(&mut self, h: usize, src: Ipv6Addr, to: Spot, sent: shim6::proto::Time) {
        let Some(from) = Spot::of(src).filter(|s| s.host < self.hosts.len()) else { return };
        let now = self.now;
        self.hosts[from.host].reached[to.host][to.at].get_or_insert(now);
        let host = &mut self.hosts[h];
        let reached = host.reached[from.host];
        for (at, reached) in reached.iter().enumerate() {
            if reached.is_some_and(|t| t <= sent) {
                host.confirmed[from.host][at] = true;
            }
        }
    }

    // ---- the data plane ----

    fn forward(&mut self, h: usize, change: ForwardChange) {
        match change {
            ForwardChange::Set(f) => self.set_forward(h, f),
            ForwardChange::Wake(id, wake) => match self.hosts[h].ctx(id) {
                Some(c) if c.forward.is_some() => c.wake = wake,
                _ => self.broken("forwarding entries exist", |_| format!("{id}: wake")),
            },
            ForwardChange::ResendHeld(id) => {
                let Some(c) = self.hosts[h].ctx(id) else {
                    return self.broken("forwarding entries exist", |_| format!("{id}: resend"));
                };
                let (ulids, fii) = (c.ulids, c.fii);
                if let Some(segment) = c.held.take() {
                    self.transmit(h, ulids, fii, segment);
                }
            }
            ForwardChange::Remove(id) => {
                let c = self.hosts[h].ctx(id).filter(|c| c.forward.is_some());
                match c {
                    Some(c) => c.forward = None,
                    None => self.broken("forwarding entries exist", |_| format!("{id}: remove")),
                }
            }
        }
    }

    fn set_forward(&mut self, h: usize, f: Forward) {
        self.meet(h, f.id);
        if let Outbound::Tagged(pair, _) = f.outbound {
            self.judge_payload(h, f.ulids, pair);
            if f.fii == Fii::DEFAULT && pair == f.ulids.locators() {
                self.broken("no payload header on the ULIDs", |_| format!("{f:?}"));
            }
        }
        let host = &mut self.hosts[h];
        let twins = host.ctxs.iter().filter(|c| c.id != f.id && c.forward.is_some());
        let twin = twins.into_iter().find(|c| c.local_tag == f.local_tag).map(|c| c.id);
        if let Some(twin) = twin {
            self.broken("each local tag is of one context", |_| format!("{} and {twin}", f.id));
            return;
        }
        let Some(c) = host.ctx(f.id) else { return };
        if c.forward.as_ref() == Some(&f) && c.wake == f.wake {
            self.broken("nothing is published twice", |_| format!("{f:?}"));
            return;
        }
        c.wake = f.wake;
        c.local_tag = f.local_tag;
        c.forward = Some(f);
    }

    /// Payload goes only where its peer was shown to be, on locators that are the peer's.
    pub fn judge_payload(&mut self, h: usize, ulids: UlidPair, pair: LocatorPair) {
        let spots = (Spot::of(pair.local.0), Spot::of(pair.peer.0), Spot::of(ulids.peer.0));
        let (Some(from), Some(to), Some(peer)) = spots else {
            return self.broken("payload goes to verified locators", |_| pair.to_string());
        };
        if from.host != h || to.host != peer.host {
            return self.broken("payload goes to verified locators", |_| pair.to_string());
        }
        if to != peer && !self.hosts[h].confirmed[to.host][to.at] {
            self.broken("payload goes to return-routable locators", |_| pair.to_string());
        }
    }

    /// Makes the acquaintance of a context.
    fn meet(&mut self, h: usize, id: ContextId) {
        let now = self.now;
        let host = &mut self.hosts[h];
        if host.ctxs.iter().any(|c| c.id == id) {
            return;
        }
        let Some(v) = host.engine.as_ref().and_then(|e| e.context(id)) else { return };
        host.ctxs.push(Ctx {
            id,
            ulids: v.ulids,
            fii: v.fii,
            state: State::Idle,
            reap: ReapState::Operational,
            reap_since: now,
            local_tag: v.local_tag,
            peer_tag: v.peer_tag,
            forward: None,
            activity: Default::default(),
            wake: WakeOn::Nothing,
            held: None::<Segment>,
            probes: Window::default(),
            signs: Default::default(),
            calm_since: now,
            explored: false,
            steered: false,
            asked: None,
            passed: Vec::new(),
        });
    }

    // ---- events ----

    fn event(&mut self, h: usize, event: Event) {
        self.note(|| format!("host {h}: {event:?}"));
        let now = self.now;
        match event {
            Event::State { context, from, to } => {
                self.meet(h, context);
                let Some(c) = self.hosts[h].ctx(context) else { return };
                let (from, to, was) = (state(from), state(to), c.state);
                c.state = to;
                if to == State::Established {
                    c.reap = ReapState::Operational;
                    c.reap_since = now;
                    roll(c, now.millis()).fresh += 1;
                }
                let (ulids, fii) = (c.ulids, c.fii);
                if was != from || !from.may_become(to) {
                    self.broken("states follow each other", |_| format!("{was}, {from}, {to}"));
                }
                match to {
                    State::I1Sent | State::I2Sent | State::I2bisSent => {
                        self.lie_in_wait(h, ulids, fii);
                    }
                    State::Idle | State::Established | State::EFailed | State::NoSupport => {}
                }
            }
            Event::EstablishFailed { ulids, .. } => {
                let forked = self.hosts[h].ctxs.iter().find(|c| {
                    c.ulids == ulids && matches!(c.state, State::EFailed | State::NoSupport)
                });
                let fii = forked.map(|c| c.fii).unwrap_or_default();
                self.lie_in_wait(h, ulids, fii);
            }
            Event::Reap { context, from, to, reason } => {
                let Some(c) = self.hosts[h].ctx(context) else { return };
                let (from, to, was) = (reap_state(from), reap_state(to), c.reap);
                c.reap = to;
                c.reap_since = now;
                if to == ReapState::Exploring {
                    c.passed.clear();
                }
                c.explored |= to == ReapState::Exploring;
                if to == ReapState::Operational && std::mem::take(&mut c.explored) {
                    c.calm_since = now;
                }
                if to != ReapState::Operational {
                    roll(c, now.millis()).fresh += 1;
                }
                match reason {
                    "send timeout" => self.tally.matrix.reap(from, Cause::SendTimer),
                    "local failure" | "peer withdrew its locator" => {
                        self.tally.matrix.reap(from, Cause::Failure);
                    }
                    _ => {}
                }
                if from == ReapState::Operational {
                    self.tally.explorations += 1;
                }
                if was != from {
                    self.broken("REAP's states follow each other", |_| format!("{was:?} {from:?}"));
                }
            }
            Event::Established { context, .. } => {
                self.tally.established += 1;
                self.hosts[h].lists_changed = now;
                self.hosts[h].refresh();
                if let Some(c) = self.hosts[h].ctx(context) {
                    c.calm_since = now;
                }
            }
            Event::Switched { .. } => self.tally.switches += 1,
            Event::ProbeAnswered { context, pair, .. } => {
                let Some(c) = self.hosts[h].ctx(context) else { return };
                match c.passed.iter_mut().find(|(p, _, _)| *p == pair) {
                    Some((_, n, _)) => *n += 1,
                    None => c.passed.push((pair, 1, now)),
                }
            }
            Event::Tested { context, pair, rtt: None } => {
                let Some(c) = self.hosts[h].ctx(context) else { return };
                c.passed.retain(|p| p.0 != pair);
            }
            Event::Locators { .. } => {
                self.hosts[h].lists_changed = now;
                self.hosts[h].refresh();
            }
            Event::Discarded { context, ulids, .. } => {
                let host = &mut self.hosts[h];
                if let Some(i) = host.ctxs.iter().position(|c| c.id == context) {
                    let c = host.ctxs.remove(i);
                    host.graves.push_front((context, ulids, c.fii));
                    host.graves.truncate(8);
                }
            }
            Event::ProbeSent { .. }
            | Event::Recovered { .. }
            | Event::Tested { .. }
            | Event::Overtaken { .. }
            | Event::Lost { .. } => {}
        }
    }

    /// Somebody waits for just this state to disturb it.
    fn lie_in_wait(&mut self, h: usize, ulids: UlidPair, fii: Fii) {
        if !self.peace && self.rng.permille(self.plan.ambush) {
            let at = self.now + Duration::from_millis(self.rng.below(12_000) as u64);
            let at = if self.rng.permille(600) { self.now } else { at };
            let at = at + Duration::from_micros(self.rng.below(30_000) as u64);
            self.schedule(at, Next::Ambush(h, Box::new((ulids, fii))));
        }
    }
}

/// The window of the present ten seconds.
pub fn roll(c: &mut Ctx, millis: u64) -> &mut Window {
    let index = millis / 10_000;
    if c.probes.index != index {
        // What was heard or begun at the end of the last window may be answered in this one.
        let old = c.probes;
        let before =
            if old.index + 1 == index { (old.heard, old.fresh, old.tests) } else { (0, 0, 0) };
        c.probes = Window {
            index,
            sent: 0,
            heard: before.0.min(10),
            fresh: before.1.min(2),
            tests: before.2,
        };
    }
    &mut c.probes
}
