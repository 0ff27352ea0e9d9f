//! Virtual time: an event heap, hosts, flows of payload, and the way of every packet.

use crate::host::{Ctx, Heard, Host, Segment};
use crate::matrix::{Matrix, On};
use crate::net::{Net, Quality, Spot};
use crate::plan::{Op, Plan};
use crate::record::Recorder;
use crate::rng::Chance;
pub use crate::traffic::Flow;
use shim6::addr::{ContextTag, Fii, Locator, LocatorPair, Ulid, UlidPair};
use shim6::proto::engine::{Engine, State, TABLES};
use shim6::proto::input::ControlPacket;
use shim6::proto::reap::ReapState;
use shim6::proto::{Cx, Notice, Outbound, Time, Transmit};
use shim6::wire::MessageType;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::net::Ipv6Addr;
use std::time::Duration;

/// What a packet is about, as its receiver sees it.
pub type About = Option<(UlidPair, Fii)>;

/// What travels.
#[derive(Clone, Debug)]
pub enum Body {
    /// A whole IPv6 packet with a control message at octet 40.
    Control { packet: Vec<u8>, about: About, spoilt: bool },
    /// Payload, with the tag of its payload header if it has one.
    Data { tag: Option<ContextTag>, segment: Segment, spoilt: bool },
    /// An ICMPv6 "unrecognized next header" that quotes a message, or tagged payload.
    Refused { quoted: Option<Vec<u8>>, tag: Option<ContextTag>, pair: LocatorPair },
}

#[derive(Clone, Debug)]
pub struct Packet {
    pub src: Ipv6Addr,
    pub dst: Ipv6Addr,
    pub to: Spot,
    pub sent: Time,
    pub body: Body,
}

pub enum Next {
    Deliver(Box<Packet>),
    Timer(usize),
    Tick(usize, u32),
    Notice(usize, u32, Box<Notice>),
    Op(usize),
    Ambush(usize, Box<(UlidPair, Fii)>),
    Boot(usize, Box<[Vec<u8>]>),
    Thaw(usize),
}

struct Item {
    at: Time,
    order: u64,
    next: Next,
}

impl PartialEq for Item {
    fn eq(&self, other: &Item) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Item {}
impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Item) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Item {
    /// The heap yields its greatest first.
    fn cmp(&self, other: &Item) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// What broke a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub rule: &'static str,
    pub detail: String,
}

/// Figures of one or many runs.
#[derive(Clone, Default)]
pub struct Tally {
    pub matrix: Matrix,
    pub scenarios: u64,
    pub events: u64,
    pub seconds: u64,
    pub faults: u64,
    pub control: u64,
    pub payload: u64,
    pub established: u64,
    pub explorations: u64,
    pub switches: u64,
    pub restarts: u64,
    pub attacks: u64,
    /// Contexts judged after a part of the network was repaired, and the slowest in thousandths of its bound.
    pub judged: u64,
    pub slowest: u64,
    pub tests: u64,
    /// Fresh failures at the end: how many, and how long it took to leave them in thousandths of the Send Timeout; by
    /// the RFC's detection, and by the fast one.
    pub fresh: [(u64, u64); 2],
    /// Returns to the preferred pair, and contexts with a pinned end, both on a whole network.
    pub returns: u64,
    pub pinned: u64,
    /// Tests at moments at which nothing else could change a pair.
    pub calm_tests: u64,
    /// How often each of the engine's tables was found full.
    pub full: [u64; TABLES],
}

pub struct World {
    pub now: Time,
    pub plan: Plan,
    pub hosts: Vec<Host>,
    pub net: Net,
    pub flows: Vec<Flow>,
    heap: BinaryHeap<Item>,
    order: u64,
    pub rng: Chance,
    pub tally: Tally,
    pub violation: Option<Violation>,
    pub record: Option<Box<Recorder>>,
    pub digest: u64,
    /// Nobody disturbs any more.
    pub peace: bool,
    /// World time of the last thing that was done to the network or a host.
    pub disturbed: Time,
    /// Until the next disturbance no context may change its pair.
    pub no_switch: bool,
    /// The engine's timers run at present.
    pub in_timer: bool,
    /// Of the message that was handled last: it could be read; why it was dropped.
    pub readable: bool,
    pub dropped: Option<&'static str>,
}

impl World {
    pub fn empty(plan: Plan, record: Option<Box<Recorder>>) -> World {
        let rng = Chance::new(plan.seed, 2);
        World {
            now: Time::from_secs(1000),
            net: Net::new(plan.base),
            plan,
            hosts: Vec::new(),
            flows: Vec::new(),
            heap: BinaryHeap::new(),
            order: 0,
            rng,
            tally: Tally::default(),
            violation: None,
            record,
            digest: 0xcbf2_9ce4_8422_2325,
            peace: true,
            disturbed: Time::ZERO,
            no_switch: false,
            in_timer: false,
            readable: false,
            dropped: None,
        }
    }

    /// A rule is broken. The first one counts.
    pub fn broken(&mut self, rule: &'static str, detail: impl FnOnce(&World) -> String) {
        if self.violation.is_none() {
            let detail = format!("at {:.3} s: {}", self.now.nanos() as f64 / 1e9, detail(self));
            self.violation = Some(Violation { rule, detail });
        }
    }

    pub fn schedule(&mut self, at: Time, next: Next) {
        self.order += 1;
        self.heap.push(Item { at: at.max(self.now), order: self.order, next });
    }

    pub fn note(&mut self, f: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(r) = &mut self.record {
            r.line(now, &f());
        }
    }

    /// Time runs up to `end`.
    pub fn run(&mut self, end: Time) {
        let mut still = 0u32;
        while self.violation.is_none() {
            if self.heap.peek().is_none_or(|i| i.at > end) {
                self.now = end;
                return;
            }
            let Some(item) = self.heap.pop() else { return };
            still = if item.at == self.now { still + 1 } else { 0 };
            if still > 20_000 {
                self.broken("time stands still", |_| String::new());
            }
            self.now = item.at;
            self.tally.events += 1;
            match item.next {
                Next::Deliver(packet) => self.deliver(*packet),
                Next::Timer(h) => self.timer(h),
                Next::Tick(flow, timer) => self.tick(flow, timer),
                Next::Notice(h, boot, notice) => {
                    if self.hosts[h].boot == boot {
                        self.notice(h, *notice);
                    }
                }
                Next::Op(n) => self.operate(n),
                Next::Ambush(h, about) => self.ambush(h, about.0, about.1),
                Next::Boot(h, saved) => {
                    self.disturb();
                    self.boot(h, &saved);
                }
                Next::Thaw(h) => {
                    self.disturb();
                    self.hosts[h].frozen = None;
                    // A schedule that began before or meanwhile goes on with its short gaps.
                    self.fresh(h);
                    self.timer(h);
                }
            }
        }
    }

    /// Lets an engine do something and carries out what it leaves. `about`: what the input was about.
    pub fn on<R>(
        &mut self,
        h: usize,
        about: About,
        f: impl FnOnce(&mut Engine, &mut Cx<'_>) -> R,
    ) -> Option<R> {
        let host = &mut self.hosts[h];
        let now = host.clock(self.now);
        let engine = host.engine.as_mut()?;
        let mut cx = Cx { now, rng: &mut host.rng, out: &mut host.out };
        let r = f(engine, &mut cx);
        self.settle(h, about);
        Some(r)
    }

    /// Queues the engine's next timer.
    pub fn arm(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        let Some(t) = host.engine.as_ref().and_then(Engine::poll_timeout) else { return };
        let at = host.world(t).max(self.now);
        if host.timer.is_none_or(|queued| at < queued) {
            host.timer = Some(at);
            self.schedule(at, Next::Timer(h));
        }
    }

    fn timer(&mut self, h: usize) {
        let now = self.now;
        let host = &mut self.hosts[h];
        if host.timer.is_some_and(|t| t <= now) {
            host.timer = None;
        }
        if host.is_frozen(now) || host.engine.is_none() {
            return;
        }
        let clock = host.clock(now);
        self.in_timer = true;
        while let Some(id) = self.hosts[h].engine.as_mut().and_then(|e| e.due_activity(clock)) {
            let activity = self.hosts[h].ctx(id).map(|c| c.activity).unwrap_or_default();
            self.on(h, None, |e, cx| e.handle_activity(cx, id, activity));
        }
        let due = |c: &Engine| c.poll_timeout().is_some_and(|t| t <= clock);
        if self.hosts[h].engine.as_ref().is_some_and(due) {
            for i in 0..self.hosts[h].ctxs.len() {
                let c = &self.hosts[h].ctxs[i];
                let pending = match c.state {
                    State::Established => c.reap != ReapState::Operational,
                    _ => true,
                };
                if pending {
                    let state = c.state;
                    self.tally.matrix.hit(state, On::Timer);
                }
            }
            self.on(h, None, |e, cx| e.handle_timeout(cx));
        }
        self.in_timer = false;
        self.arm(h);
    }

    pub fn notice(&mut self, h: usize, notice: Notice) {
        let now = self.now;
        if self.hosts[h].is_frozen(now) {
            return;
        }
        let (kind, id) = match &notice {
            Notice::Active(id, _) => (On::Active, Some(*id)),
            Notice::PayloadInSetup(id) => (On::PayloadInSetup, Some(*id)),
            Notice::PayloadRefused { context, .. } => (On::PayloadRefused, Some(*context)),
            Notice::Heuristic(ulids) => {
                let state = self.hosts[h].state_of(*ulids, Fii::DEFAULT, now);
                self.tally.matrix.hit(state, On::Heuristic);
                (On::Heuristic, None)
            }
            Notice::ControlRefused { quoted, .. } => {
                let tag = tag_at(quoted, 6);
                let host = &self.hosts[h];
                match host.ctxs.iter().find(|c| Some(c.local_tag) == tag) {
                    Some(c) => self.tally.matrix.hit(c.state, On::ControlRefused),
                    None => {
                        for (ulids, fii) in self.absent(h) {
                            let state = self.hosts[h].state_of(ulids, fii, now);
                            self.tally.matrix.hit(state, On::ControlRefused);
                        }
                    }
                }
                (On::ControlRefused, None)
            }
            Notice::SendFailed { .. } => {
                self.hit_all(h, On::SendFailed);
                (On::SendFailed, None)
            }
            Notice::UnknownTag { .. } => (On::TaggedPayload, None),
        };
        if let Some(id) = id {
            let host = &self.hosts[h];
            let state = match host.ctxs.iter().find(|c| c.id == id) {
                Some(c) => Some(c.state),
                None => {
                    let grave = host.graves.iter().find(|g| g.0 == id);
                    grave.map(|g| host.state_of(g.1, g.2, now))
                }
            };
            if let Some(state) = state {
                self.tally.matrix.hit(state, kind);
            }
        }
        self.note(|| format!("host {h}: {notice:?}"));
        self.on(h, None, |e, cx| e.handle_notice(cx, notice));
        self.arm(h);
    }

    /// ULID pairs of flows for which a host has no context.
    pub fn absent(&self, h: usize) -> Vec<(UlidPair, Fii)> {
        self.flows
            .iter()
            .filter_map(|f| {
                let ulids = match h {
                    h if h == f.from => f.ulids,
                    h if h == f.to => reverse(f.ulids),
                    _ => return None,
                };
                self.hosts[h].find(ulids, f.fii).is_none().then_some((ulids, f.fii))
            })
            .collect()
    }

    /// An event for all contexts of a host, and for ULID pairs without one.
    pub fn hit_all(&mut self, h: usize, on: On) {
        for c in &self.hosts[h].ctxs {
            self.tally.matrix.hit(c.state, on);
        }
        for (ulids, fii) in self.absent(h) {
            let state = self.hosts[h].state_of(ulids, fii, self.now);
            self.tally.matrix.hit(state, on);
        }
    }

    /// A notice for later: the channel takes a moment, and may lose it.
    pub fn tell(&mut self, h: usize, notice: Notice) {
        if self.peace || !self.rng.permille(self.plan.deaf) {
            let boot = self.hosts[h].boot;
            let at = self.now + Duration::from_micros(50);
            self.schedule(at, Next::Notice(h, boot, Box::new(notice)));
        }
    }

    // ---- packets ----

    /// A control message leaves a host.
    pub fn emit(&mut self, h: usize, t: Transmit, about: About) {
        let (src, dst) = (t.src.0, t.dst.0);
        let packet = whole(src, dst, &t.message);
        self.digest_of(&packet);
        let now = self.now;
        if let Some(r) = &mut self.record {
            r.packet(now, &packet);
        }
        self.tally.control += 1;
        self.hosts[h].transmitted += 1;
        let (Some(from), Some(to)) = (Spot::of(src), Spot::of(dst)) else {
            return self.stranger_refuses(h, t);
        };
        if !self.peace && self.plan.ambush > 0 && is_i1(&t.message) && self.rng.permille(20) {
            // In the name of the peer.
            self.refuse_aloud(h, t.clone());
        }
        if !self.hosts[h].works(from.at) {
            if !self.peace && self.rng.permille(100) {
                self.tell(h, Notice::SendFailed { src: t.src, dst: t.dst });
            }
            return;
        }
        let body = Body::Control { packet, about, spoilt: false };
        self.send(from, Packet { src, dst, to, sent: now, body });
    }

    /// Onto the link, with what it does to packets.
    pub fn send(&mut self, from: Spot, mut packet: Packet) {
        let Some(q) = self.net.quality(from, packet.to) else { return };
        if self.rng.permille(q.loss) {
            return;
        }
        if q.damage > 0 && self.rng.permille(q.damage) {
            self.damage(&mut packet);
        }
        let copies = if self.rng.permille(q.twice) { 2 } else { 1 };
        for _ in 1..copies {
            let at = self.arrival(q);
            self.schedule(at, Next::Deliver(Box::new(packet.clone())));
        }
        let at = self.arrival(q);
        self.schedule(at, Next::Deliver(Box::new(packet)));
    }

    fn arrival(&mut self, q: Quality) -> Time {
        let jitter = if q.jitter > 0 { self.rng.below(q.jitter as usize * 1000) } else { 0 };
        self.now + Duration::from_millis(q.delay.into()) + Duration::from_micros(jitter as u64)
    }

    /// One 16-bit word is changed, which the checksum cannot miss.
    fn damage(&mut self, packet: &mut Packet) {
        match &mut packet.body {
            Body::Control { packet, spoilt, .. } => {
                *spoilt = true;
                let words = (packet.len() - 40) / 2;
                let at = 40 + 2 * self.rng.below(words);
                packet[at] ^= 1 << self.rng.below(8);
            }
            Body::Data { tag, spoilt, .. } => {
                *spoilt = true;
                if tag.is_some() && self.rng.permille(500) {
                    *tag = Some(ContextTag::from_masked(self.rng.word()));
                }
            }
            Body::Refused { .. } => {}
        }
    }

    fn deliver(&mut self, packet: Packet) {
        let h = packet.to.host;
        let host = &self.hosts[h];
        if !host.works(packet.to.at) || host.is_frozen(self.now) {
            return;
        }
        if host.engine.is_none() {
            return self.deliver_without_daemon(h, packet);
        }
        match packet.body {
            Body::Control { packet: octets, about, spoilt } => {
                let heard = Heard { packet: octets, about };
                if !spoilt {
                    self.witness(h, packet.src, packet.to, packet.sent);
                    self.archive(h, &heard);
                }
                self.control(h, heard);
            }
            Body::Data { tag: None, segment, spoilt } => {
                let ulids = UlidPair { local: Ulid(packet.dst), peer: Ulid(packet.src) };
                match self.hosts[h].find(ulids, Fii::DEFAULT) {
                    Some(i) => self.payload_in(h, i, On::PlainPayload),
                    None => {
                        let state = self.hosts[h].state_of(ulids, Fii::DEFAULT, self.now);
                        self.tally.matrix.hit(state, On::PlainPayload);
                    }
                }
                if !spoilt {
                    self.receive(h, ulids, Fii::DEFAULT, segment);
                }
            }
            Body::Data { tag: Some(tag), segment, spoilt } => {
                self.tagged(h, packet.src, packet.dst, tag, segment, spoilt);
            }
            Body::Refused { quoted: Some(quoted), pair, .. } => {
                let (src, dst) = (pair.local, pair.peer);
                let quoted = quoted[40..].to_vec();
                self.notice(
                    h,
                    Notice::ControlRefused { icmp_type: 4, icmp_code: 1, src, dst, quoted },
                );
            }
            Body::Refused { tag, pair, .. } => {
                let host = &self.hosts[h];
                let used = |c: &&Ctx| {
                    c.forward.as_ref().is_some_and(
                        |f| matches!(f.outbound, Outbound::Tagged(p, t) if p == pair && Some(t) == tag),
                    )
                };
                if let Some(context) = host.ctxs.iter().find(used).map(|c| c.id) {
                    self.notice(h, Notice::PayloadRefused { context, icmp_type: 4, icmp_code: 1 });
                }
            }
        }
    }

    /// Protocol 140 ends in the rules, or in the kernel's refusal; plain packets pass.
    fn deliver_without_daemon(&mut self, h: usize, packet: Packet) {
        let pair = LocatorPair { local: Locator(packet.src), peer: Locator(packet.dst) };
        let refused = match packet.body {
            Body::Control { packet, .. } => (Some(packet), None),
            Body::Data { tag: Some(tag), .. } => (None, Some(tag)),
            Body::Data { tag: None, segment, .. } => {
                let ulids = UlidPair { local: Ulid(packet.dst), peer: Ulid(packet.src) };
                return self.receive(h, ulids, Fii::DEFAULT, segment);
            }
            Body::Refused { .. } => return,
        };
        let Some(to) = Spot::of(packet.src) else { return };
        if self.hosts[h].refuses && to.host < self.hosts.len() {
            let body = Body::Refused { quoted: refused.0, tag: refused.1, pair };
            let (src, dst, sent) = (packet.dst, packet.src, self.now);
            self.send(packet.to, Packet { src, dst, to, sent, body });
        }
    }

    /// A control message is handed to the engine.
    pub fn control(&mut self, h: usize, heard: Heard) {
        let Heard { packet, about } = heard;
        let octets = |from: usize| -> Ipv6Addr {
            let mut a = [0; 16];
            a.copy_from_slice(&packet[from..from + 16]);
            a.into()
        };
        let (src, dst) = (octets(8), octets(24));
        let foreseen = self.foresee(h, &packet[40..], about);
        let packet = ControlPacket { src: Locator(src), dst: Locator(dst), packet, offset: 40 };
        if self.record.is_some() {
            let text = format!("host {h}: {:?}", shim6::wire::Message::parse(&packet.packet[40..]));
            self.note(|| format!("{text} from {src} to {dst}"));
        }
        (self.readable, self.dropped) = (false, None);
        self.on(h, about, |e, cx| e.handle_message(cx, &packet));
        self.count_message(foreseen);
        self.arm(h);
    }

    /// Something is done to the network or to a host.
    pub fn disturb(&mut self) {
        self.disturbed = self.now;
        self.no_switch = false;
    }

    /// The next operation of the plan.
    fn operate(&mut self, n: usize) {
        let Some((_, op)) = self.plan.ops.get(n).cloned() else { return };
        self.note(|| format!("op {n}: {op:?}"));
        match op {
            Op::Test { .. } => {}
            _ => self.disturb(),
        }
        self.act(op);
    }
}

pub fn reverse(u: UlidPair) -> UlidPair {
    UlidPair { local: u.peer, peer: u.local }
}

pub fn is_i1(m: &[u8]) -> bool {
    m.get(2).is_some_and(|kind| kind & 0x7f == MessageType::I1.value())
}

/// The 47 bits at an offset of a message.
pub fn tag_at(m: &[u8], at: usize) -> Option<ContextTag> {
    let mut octets = [0; 8];
    octets[2..].copy_from_slice(m.get(at..at + 6)?);
    Some(ContextTag::from_masked(u64::from_be_bytes(octets)))
}

/// An IPv6 packet with a control message.
pub fn whole(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40 + message.len());
    packet.extend([0x60, 0, 0, 0]);
    packet.extend((message.len() as u16).to_be_bytes());
    packet.extend([140, 64]);
    packet.extend(src.octets());
    packet.extend(dst.octets());
    packet.extend_from_slice(message);
    packet
}
