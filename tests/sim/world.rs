//! Hosts with an engine and a model of a data plane each, and a network between them, in virtual time. Everything
//! random comes from one seed, which is printed.

pub use crate::flow::{Flow, Traffic};
use crate::plane::{DataPlane, touch, watch};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shim6::addr::{ContextTag, Fii, Locator, LocatorPair, Prefix, Ulid, UlidPair};
use shim6::cga::{GenerateParams, Identity, Method, SigningKey};
use shim6::proto::engine::{ContextView, Engine, State};
use shim6::proto::input::{AddressEvent, ControlPacket, LocalAddress};
use shim6::proto::reap::ReapState;
use shim6::proto::{
    Command, Config, ContextId, Cx, Event, Inbound, Notice, Outbound, Output, Time, Transmit,
};
use shim6::wire::Message;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::Ipv6Addr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// What travels.
#[derive(Clone, Debug)]
pub enum Body {
    /// A Shim6 control message.
    Control(Vec<u8>),
    /// Payload, with the tag of its payload header if it has one.
    Data { tag: Option<ContextTag>, segment: Segment },
}

/// A payload packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub flow: usize,
    /// TCP: counted in segments. An acknowledgement is for all up to this one.
    pub seq: u64,
    pub ack: bool,
    /// The segment that caused this acknowledgement.
    pub cause: u64,
}

#[derive(Clone, Debug)]
pub struct Packet {
    pub src: Ipv6Addr,
    pub dst: Ipv6Addr,
    pub body: Body,
}

/// One direction between two addresses.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub delay: Duration,
    pub loss: f64,
    pub cut: bool,
    /// Each packet takes so much longer at most.
    pub jitter: Duration,
}

impl Default for Link {
    fn default() -> Link {
        let delay = Duration::from_millis(10);
        Link { delay, loss: 0.0, cut: false, jitter: Duration::ZERO }
    }
}

/// A host.
pub struct Host {
    pub name: &'static str,
    pub engine: Engine,
    pub rng: StdRng,
    pub plane: DataPlane,
    pub addrs: Vec<Ipv6Addr>,
    pub events: Vec<(Time, Event)>,
    pub sent: Vec<(Time, LocatorPair, Message)>,
    pub drops: BTreeMap<&'static str, u64>,
    /// Payload handed to applications, by flow.
    pub received: HashMap<usize, Vec<(Time, Segment)>>,
    /// Notices do not reach the engine.
    pub deaf: bool,
    out: VecDeque<Output>,
}

impl Host {
    pub fn counter(&self, name: &str) -> u64 {
        self.engine.counters().get(name).copied().unwrap_or(0)
    }

    pub fn only(&self) -> ContextView {
        let all: Vec<_> = self.engine.contexts().collect();
        assert_eq!(all.len(), 1, "{}: {all:#?}", self.name);
        all.into_iter().next().unwrap()
    }

    pub fn ulid(&self, i: usize) -> Ulid {
        Ulid(self.addrs[i])
    }

    pub fn sent_of(&self, name: &str) -> Vec<&(Time, LocatorPair, Message)> {
        self.sent.iter().filter(|(_, _, m)| m.kind().to_string() == name).collect()
    }
}

pub enum Next {
    Deliver(Packet),
    Tick(usize, u64),
    Call(Box<dyn FnOnce(&mut World)>),
}

pub struct World {
    pub now: Time,
    pub hosts: Vec<Host>,
    pub flows: Vec<Flow>,
    links: HashMap<(Ipv6Addr, Ipv6Addr), Link>,
    queue: BTreeMap<(Time, u64), Next>,
    order: u64,
    rng: StdRng,
    /// Control messages are lost if this says so.
    #[allow(clippy::type_complexity)]
    pub lose: Option<Box<dyn FnMut(&Packet, &Message) -> bool>>,
    /// Tags are so short that a packet may find a newer context of the same tag.
    pub tags_collide: bool,
    /// All control messages with their addresses, as seen on the wire.
    pub wire: Vec<(Time, Packet)>,
    /// Payload packets that left with a payload header.
    pub tagged_payload: u64,
}

pub fn prefix(host: usize, provider: usize) -> Prefix {
    let net: Ipv6Addr = format!("2001:db8:{:x}:{:x}::", host + 1, provider + 1).parse().unwrap();
    Prefix::of(net)
}

pub fn identity(seed: u64, host: usize, providers: usize, method: Method) -> Identity {
    let prefixes = (0..providers).map(|p| prefix(host, p)).collect();
    let mut params = GenerateParams::new(method, prefixes);
    if method.has_key() {
        let file = ["rsa2048.pem", "rsa1536.pem", "rsa1024.pem"][host % 3];
        let path = format!("{}/tests/data/vectors/keys/{file}", env!("CARGO_MANIFEST_DIR"));
        params.key = Some(SigningKey::from_pem(&std::fs::read(path).unwrap()).unwrap());
    }
    let mut rng = StdRng::seed_from_u64(seed ^ (host as u64) << 32);
    Identity::generate(params, &mut rng, &mut |_| ControlFlow::Continue(())).unwrap()
}

pub fn present(addr: Ipv6Addr) -> AddressEvent {
    AddressEvent::Present(LocalAddress { addr, deprecated: false, temporary: false })
}

impl World {
    /// Hosts with so many providers each, all with HBAs.
    pub fn new(seed: u64, providers: &[usize]) -> World {
        World::with(seed, &providers.iter().map(|&n| (n, Method::Hba)).collect::<Vec<_>>(), |_| {})
    }

    /// Hosts with so many providers and addresses of this kind each, and a change to the default configuration.
    pub fn with(seed: u64, hosts: &[(usize, Method)], tweak: impl Fn(&mut Config)) -> World {
        println!("seed {seed}");
        let mut world = World {
            now: Time::from_secs(1000),
            hosts: Vec::new(),
            flows: Vec::new(),
            links: HashMap::new(),
            queue: BTreeMap::new(),
            order: 0,
            rng: StdRng::seed_from_u64(seed),
            lose: None,
            tags_collide: false,
            wire: Vec::new(),
            tagged_payload: 0,
        };
        for (i, &(providers, method)) in hosts.iter().enumerate() {
            let mut config = Config::default();
            tweak(&mut config);
            let id = identity(seed, i, providers, method);
            let host = world.make_host(seed, i, config, Some(id));
            world.hosts.push(host);
        }
        world.settle();
        world
    }

    fn make_host(&self, seed: u64, i: usize, config: Config, id: Option<Identity>) -> Host {
        let name = ["a", "b", "c", "d"][i];
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(31) + i as u64 + self.now.nanos());
        let engine = Engine::new(config, self.now, &mut rng);
        let addrs = id.as_ref().map_or(Vec::new(), |id| id.members().to_vec());
        let mut host = Host {
            name,
            engine,
            rng,
            plane: DataPlane::default(),
            addrs: addrs.clone(),
            events: Vec::new(),
            sent: Vec::new(),
            drops: BTreeMap::new(),
            received: HashMap::new(),
            deaf: false,
            out: VecDeque::new(),
        };
        let mut cx = Cx { now: self.now, rng: &mut host.rng, out: &mut host.out };
        host.engine.set_identities(&mut cx, id.into_iter().map(Arc::new).collect());
        for addr in addrs {
            host.engine.handle_address(&mut cx, present(addr));
        }
        host
    }

    /// The daemon of a host starts anew: same identity, nothing remembered.
    pub fn restart(&mut self, i: usize) {
        let identities = self.hosts[i].engine.locals().identities().to_vec();
        let config = self.hosts[i].engine.config().clone();
        let mut host = self.make_host(77, i, config, None);
        host.addrs = self.hosts[i].addrs.clone();
        host.received = std::mem::take(&mut self.hosts[i].received);
        let mut cx = Cx { now: self.now, rng: &mut host.rng, out: &mut host.out };
        host.engine.set_identities(&mut cx, identities);
        for addr in &host.addrs {
            host.engine.handle_address(&mut cx, present(*addr));
        }
        self.hosts[i] = host;
        self.settle();
    }

    pub fn link(&mut self, src: Ipv6Addr, dst: Ipv6Addr) -> &mut Link {
        self.links.entry((src, dst)).or_default()
    }

    /// Cuts or repairs both directions between two addresses.
    pub fn cut(&mut self, a: Ipv6Addr, b: Ipv6Addr, cut: bool) {
        self.link(a, b).cut = cut;
        self.link(b, a).cut = cut;
    }

    /// Cuts or repairs everything from and to an address of a host.
    pub fn cut_address(&mut self, i: usize, addr: Ipv6Addr, cut: bool) {
        let others: Vec<Ipv6Addr> = self
            .hosts
            .iter()
            .enumerate()
            .filter(|(j, _)| *j != i)
            .flat_map(|(_, h)| h.addrs.clone())
            .collect();
        for other in others {
            self.cut(addr, other, cut);
        }
    }

    pub fn ulids(&self, from: usize, to: usize) -> UlidPair {
        UlidPair { local: self.hosts[from].ulid(0), peer: self.hosts[to].ulid(0) }
    }

    pub fn schedule(&mut self, at: Time, next: Next) {
        self.order += 1;
        self.queue.insert((at, self.order), next);
    }

    pub fn at(&mut self, after: Duration, f: impl FnOnce(&mut World) + 'static) {
        self.schedule(self.now + after, Next::Call(Box::new(f)));
    }

    /// Lets the engine of a host do something, and carries out what it leaves.
    pub fn on<R>(&mut self, i: usize, f: impl FnOnce(&mut Engine, &mut Cx<'_>) -> R) -> R {
        let h = &mut self.hosts[i];
        let mut cx = Cx { now: self.now, rng: &mut h.rng, out: &mut h.out };
        let r = f(&mut h.engine, &mut cx);
        self.settle();
        r
    }

    pub fn establish(&mut self, from: usize, to: usize) -> ContextId {
        let ulids = self.ulids(from, to);
        self.on(from, |e, cx| e.handle_command(cx, Command::Establish(ulids))).unwrap()
    }

    pub fn address(&mut self, i: usize, event: AddressEvent) {
        self.on(i, |e, cx| e.handle_address(cx, event));
    }

    pub fn notice(&mut self, i: usize, notice: Notice) {
        if !self.hosts[i].deaf {
            self.on(i, |e, cx| e.handle_notice(cx, notice));
        }
    }

    /// A control message arrives at a host, whoever sent it.
    pub fn inject(&mut self, i: usize, src: Ipv6Addr, dst: Ipv6Addr, message: &Message) {
        self.inject_octets(i, src, dst, &message.emit());
    }

    pub fn inject_octets(&mut self, i: usize, src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) {
        let packet = control_packet(src, dst, message);
        self.on(i, |e, cx| e.handle_message(cx, &packet));
    }

    /// Carries out all effects of all engines.
    fn settle(&mut self) {
        for i in 0..self.hosts.len() {
            while let Some(output) = self.hosts[i].out.pop_front() {
                self.effect(i, output);
            }
        }
    }

    fn effect(&mut self, i: usize, output: Output) {
        let now = self.now;
        match output {
            Output::Transmit(Transmit { src, dst, message }) => {
                assert!(message.len() <= 1240, "{} octets", message.len());
                assert!(self.hosts[i].addrs.contains(&src.0), "sent from {src}, which is not ours");
                let parsed = Message::parse(&message).expect("an engine sends valid messages");
                let pair = LocatorPair { local: src, peer: dst };
                self.hosts[i].sent.push((now, pair, parsed));
                self.send(Packet { src: src.0, dst: dst.0, body: Body::Control(message) });
            }
            Output::Forward(change) => {
                if let Some((ulids, segment)) = self.hosts[i].plane.change(change) {
                    self.transmit_data(i, ulids, segment);
                }
            }
            Output::Event(event) => self.hosts[i].events.push((now, event)),
            Output::Drop(reason) => *self.hosts[i].drops.entry(reason.0).or_default() += 1,
            Output::Count(_) => {}
        }
    }

    fn send(&mut self, packet: Packet) {
        if let Body::Control(octets) = &packet.body {
            self.wire.push((self.now, packet.clone()));
            let message = Message::parse(octets).unwrap();
            if let Some(mut lose) = self.lose.take() {
                let lost = lose(&packet, &message);
                self.lose = Some(lose);
                if lost {
                    return;
                }
            }
        }
        let link = *self.link(packet.src, packet.dst);
        if link.cut || link.loss > 0.0 && self.rng.random_bool(link.loss) {
            return;
        }
        let longer = match link.jitter.as_nanos() as u64 {
            0 => Duration::ZERO,
            most => Duration::from_nanos(self.rng.random_range(0..=most)),
        };
        self.schedule(self.now + link.delay + longer, Next::Deliver(packet));
    }

    /// An application of a host sends payload.
    pub fn transmit_data(&mut self, i: usize, ulids: UlidPair, segment: Segment) {
        let now = self.now;
        let mut wake = None;
        let tcp = self.is_tcp(segment);
        let mut packet = Packet {
            src: ulids.local.0,
            dst: ulids.peer.0,
            body: Body::Data { tag: None, segment },
        };
        if let Some(e) = self.hosts[i].plane.by_ulids(ulids) {
            watch(e, now, false, segment, tcp);
            if touch(e, now, false) {
                wake = Some(Notice::Active(e.forward.id, e.activity));
            }
            let unanswered =
                e.activity.pending_out.is_some_and(|t| now.since(t).as_millis() >= 500);
            if (e.forward.hold || unanswered) && e.held.is_none_or(|s| s.seq >= segment.seq) {
                e.held = Some(segment);
            }
            if let Outbound::Tagged(pair, tag) = e.forward.outbound {
                packet.src = pair.local.0;
                packet.dst = pair.peer.0;
                packet.body = Body::Data { tag: Some(tag), segment };
                self.tagged_payload += 1;
            }
        }
        self.send(packet);
        if let Some(notice) = wake {
            self.notice(i, notice);
        }
    }

    fn deliver(&mut self, packet: Packet) {
        let Some(i) = self.hosts.iter().position(|h| h.addrs.contains(&packet.dst)) else { return };
        match packet.body {
            Body::Control(octets) => {
                self.inject_octets(i, packet.src, packet.dst, &octets);
            }
            Body::Data { tag: None, segment } => {
                let ulids = UlidPair { local: Ulid(packet.dst), peer: Ulid(packet.src) };
                let now = self.now;
                let tcp = self.is_tcp(segment);
                let mut wake = None;
                if let Some(e) = self.hosts[i].plane.by_ulids(ulids) {
                    watch(e, now, true, segment, tcp);
                    if touch(e, now, true) {
                        wake = Some(Notice::Active(e.forward.id, e.activity));
                    }
                }
                self.receive(i, ulids, segment);
                if let Some(notice) = wake {
                    self.notice(i, notice);
                }
            }
            Body::Data { tag: Some(tag), segment } => self.deliver_tagged(i, &packet, tag, segment),
        }
    }

    fn is_tcp(&self, segment: Segment) -> bool {
        let flow = self.flows.get(segment.flow);
        flow.is_some_and(|f| matches!(f.traffic, Traffic::Tcp { .. } | Traffic::Bulk { .. }))
    }

    fn deliver_tagged(&mut self, i: usize, packet: &Packet, tag: ContextTag, segment: Segment) {
        let now = self.now;
        let tcp = self.is_tcp(segment);
        let entry = self.hosts[i].plane.entries.values_mut().find(|e| e.forward.local_tag == tag);
        let Some(e) = entry else {
            let (src, dst) = (Locator(packet.src), Locator(packet.dst));
            return self.notice(i, Notice::UnknownTag { src, dst, tag });
        };
        let (id, ulids, inbound) = (e.forward.id, e.forward.ulids, e.forward.inbound);
        if inbound == Inbound::Drop {
            return;
        }
        watch(e, now, true, segment, tcp);
        let wake = touch(e, now, true).then_some(Notice::Active(id, e.activity));
        self.receive(i, ulids, segment);
        if let Some(notice) = wake {
            self.notice(i, notice);
        }
        if inbound == Inbound::UnmapAndNotify {
            self.notice(i, Notice::PayloadInSetup(id));
        }
    }

    /// Payload reaches its application, which sees ULIDs whatever the locators were.
    fn receive(&mut self, i: usize, ulids: UlidPair, segment: Segment) {
        let now = self.now;
        let Some(flow) = self.flows.get(segment.flow) else { return };
        let (meant, traffic) = (flow.ulids, flow.traffic.clone());
        let reverse = UlidPair { local: meant.peer, peer: meant.local };
        if ulids != if segment.ack { meant } else { reverse } {
            // A transport finds a wrong checksum and drops it.
            assert!(self.tags_collide, "payload for {ulids} came to another context");
            return;
        }
        self.hosts[i].received.entry(segment.flow).or_default().push((now, segment));
        match (segment.ack, traffic) {
            (true, _) => self.flow_acked(segment),
            (false, Traffic::OneWay(_)) => {}
            (false, Traffic::Bulk { .. }) => {
                let (cause, seq) =
                    (segment.seq, self.flows[segment.flow].bulk.receive(segment.seq));
                self.transmit_data(i, ulids, Segment { ack: true, seq, cause, ..segment });
            }
            (false, _) => self.transmit_data(i, ulids, Segment { ack: true, ..segment }),
        }
    }

    /// One packet of payload from a host.
    pub fn payload(&mut self, i: usize, ulids: UlidPair) {
        self.transmit_data(i, ulids, Segment { flow: usize::MAX, seq: 0, ack: false, cause: 0 });
    }

    /// Virtual time runs.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0u64;
        loop {
            steps += 1;
            assert!(steps < 5_000_000, "time stands still");
            let queued = self.queue.first_key_value().map(|((t, _), _)| *t);
            let timers = self.hosts.iter().filter_map(|h| h.engine.poll_timeout());
            let next = timers.chain(queued).min().filter(|t| *t <= end);
            let Some(next) = next else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            for i in 0..self.hosts.len() {
                if self.hosts[i].engine.poll_timeout().is_some_and(|t| t <= self.now) {
                    self.timers(i);
                }
            }
            if queued.is_some_and(|t| t <= self.now)
                && let Some((_, next)) = self.queue.pop_first()
            {
                match next {
                    Next::Deliver(packet) => self.deliver(packet),
                    Next::Tick(flow, timer) => self.tick(flow, timer),
                    Next::Call(f) => f(self),
                }
            }
        }
    }

    fn timers(&mut self, i: usize) {
        let now = self.now;
        while let Some(id) = self.hosts[i].engine.due_activity(now) {
            let activity = self.hosts[i].plane.entries.get(&id).map(|e| e.activity);
            self.on(i, |e, cx| e.handle_activity(cx, id, activity.unwrap_or_default()));
        }
        self.on(i, |e, cx| e.handle_timeout(cx));
        assert!(self.hosts[i].engine.is_consistent());
    }

    pub fn secs(&mut self, secs: u64) {
        self.run(Duration::from_secs(secs));
    }

    pub fn millis(&mut self, millis: u64) {
        self.run(Duration::from_millis(millis));
    }

    /// Both hosts have the context of their first ULIDs, ESTABLISHED with each other's tags.
    pub fn assert_established(&self, a: usize, b: usize) {
        let one = |i: usize, j: usize| {
            let id = self.hosts[i].engine.find(self.ulids(i, j), Fii(0));
            let id = id.unwrap_or_else(|| panic!("{} has no context", self.hosts[i].name));
            self.hosts[i].engine.context(id).unwrap()
        };
        let (x, y) = (one(a, b), one(b, a));
        assert_eq!((x.state, y.state), (State::Established, State::Established));
        assert_eq!(x.peer_tag, Some(y.local_tag));
        assert_eq!(y.peer_tag, Some(x.local_tag));
    }

    pub fn assert_operational(&self, hosts: &[usize]) {
        for &i in hosts {
            let c = self.hosts[i].only();
            assert_eq!(c.reap, Some(ReapState::Operational), "{}: {c:#?}", self.hosts[i].name);
        }
    }

    /// The longest gap in what a host received of a flow, from `since` to now.
    pub fn longest_gap(&self, host: usize, flow: usize, since: Time) -> Duration {
        let empty = Vec::new();
        let times = self.hosts[host].received.get(&flow).unwrap_or(&empty);
        let mut last = since;
        let mut gap = Duration::ZERO;
        for (t, _) in times.iter().filter(|(t, _)| *t >= since) {
            gap = gap.max(t.since(last));
            last = *t;
        }
        gap.max(self.now.since(last))
    }
}

/// An IPv6 packet with a control message.
pub fn control_packet(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> ControlPacket {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((message.len() as u16).to_be_bytes());
    packet.extend([140, 64]);
    packet.extend(src.octets());
    packet.extend(dst.octets());
    packet.extend_from_slice(message);
    ControlPacket { src: Locator(src), dst: Locator(dst), packet, offset: 40 }
}
