//! What a seed means: hosts, flows, and what happens to them when.

use crate::host::Presence;
use crate::net::{Quality, Spot, Where};
use crate::pool::Kind;
use crate::rng::Chance;
use shim6::proto::Keep;
use shim6::proto::input::{LocatorRule, Offer};
use std::sync::OnceLock;
use std::time::Duration;

/// One operation. `pick` chooses among what there is when its time has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The fault with this number cuts links.
    Cut(u8, Where),
    /// The fault with this number makes links worse.
    Noise(u8, Where, Quality),
    /// That fault ends.
    Repair(u8),
    /// An address comes, goes, or changes.
    Address {
        spot: Spot,
        to: Presence,
        deprecated: bool,
        temporary: bool,
    },
    /// The daemon ends and starts again after a while; its kernel may refuse protocol 140 meanwhile.
    Restart {
        host: usize,
        journal: bool,
        refuses: bool,
        down: Duration,
    },
    /// The host stands still.
    Freeze {
        host: usize,
        time: Duration,
    },
    /// An administrator decides about an address of ours.
    Rule {
        spot: Spot,
        rule: LocatorRule,
    },
    /// A new Send Timeout by configuration.
    SendTimeout {
        host: usize,
        seconds: u16,
    },
    /// An administrator explores.
    Explore {
        host: usize,
        pick: usize,
    },
    /// Somebody wants another pair for a context.
    Steer {
        host: usize,
        pick: usize,
        wish: Wish,
    },
    /// Somebody tests a pair.
    Test {
        host: usize,
        pick: usize,
    },
    /// A socket takes or leaves a context.
    InUse {
        host: usize,
        pick: usize,
        on: bool,
    },
    /// An administrator discards a context.
    Discard {
        host: usize,
        pick: usize,
    },
    /// The context of a flow is discarded at its sender.
    Drop {
        flow: usize,
    },
    /// Somebody asks for the context of a flow.
    Establish {
        flow: usize,
    },
    /// A flow begins or ends.
    Start(usize),
    Stop(usize),
    /// An ICMPv6 error about payload.
    Hint {
        host: usize,
        pick: usize,
    },
    /// Strangers send so many messages.
    Flood {
        host: usize,
        kind: Flood,
        count: u32,
    },
    /// Somebody repeats what was sent before.
    Replay {
        host: usize,
        count: u32,
    },
}

impl Op {
    /// Whether it is a fault: something that worked does not, or is not as it was.
    pub fn is_fault(&self) -> bool {
        match self {
            Op::Cut(..) | Op::Noise(..) | Op::Restart { .. } | Op::Freeze { .. } => true,
            Op::Address { to, .. } => *to != Presence::Present,
            Op::Rule { rule, .. } => *rule != LocatorRule::default(),
            Op::Discard { .. } | Op::Drop { .. } | Op::Flood { .. } | Op::Replay { .. } => true,
            _ => false,
        }
    }
}

/// What somebody wants of a context's pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Another one, for so long.
    Switch(Keep),
    /// A certain end of ours, whatever the other is.
    PinLocal,
    /// A certain end of the peer's.
    PinPeer,
    /// Nothing any more.
    Release,
    /// Not the pair that was asked for last, if it is still being tested.
    GiveUp,
    /// Other settings that say nothing about pairs.
    Settings,
}

/// What strangers send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// I1 from anywhere.
    I1,
    /// I2 and I2bis with validators that nobody gave.
    I2,
    /// R1, R2 and R1bis that nobody asked for.
    Answers,
    /// Updates, Keepalives and Probes with tags that nobody has.
    Tags,
    /// Probes with a tag that was overheard, in the name of the peer.
    Probes,
    /// Lists of other hosts' addresses with a tag that was overheard, in the name of the peer.
    Lists,
    /// Octets.
    Noise,
    /// Payload of so many strangers that there seems to be a reason to negotiate with each of them.
    Crowd,
}

#[derive(Clone, Debug)]
pub struct HostPlan {
    pub kind: Kind,
    /// All addresses it may come to have.
    pub addresses: usize,
    /// Those it has at first.
    pub present: usize,
    pub variant: usize,
    pub send_timeout: u16,
    pub refuses: bool,
    /// Fast detection.
    pub fast: bool,
    pub hot_standby: bool,
    pub return_to_preferred: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct FlowPlan {
    pub from: usize,
    pub to: usize,
    /// Which addresses are the ULIDs.
    pub ends: (usize, usize),
    pub forked: bool,
    pub echo: bool,
    /// Like TCP: answers are acknowledgements, and what was not acknowledged is sent again.
    pub tcp: bool,
    /// Packets that each of its segments stands for: what is under way is counted in octets.
    pub packets: u32,
    pub gap: Duration,
    pub burst: u32,
    pub pause: Duration,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub hosts: Vec<HostPlan>,
    pub base: Quality,
    pub flows: Vec<FlowPlan>,
    /// When, counted from the first establishment, and what.
    pub ops: Vec<(Duration, Op)>,
    /// Times in a thousand that somebody waits for a context in the middle of an exchange.
    pub ambush: u32,
    /// Notices in a thousand that are lost.
    pub deaf: u32,
    pub tag_bits: u32,
    pub max_probe_timeout: Duration,
    /// Contexts of a host at most.
    pub contexts: usize,
    /// Somebody asks for pairs.
    pub steering: bool,
    /// In the end a pair in use fails once more.
    pub last: bool,
}

const CLEAN: Quality = Quality { delay: 20, jitter: 0, loss: 0, twice: 0, damage: 0 };

/// Scenarios of a thousand in which hosts may test pairs by themselves, if nothing else is asked for.
pub const TESTING: usize = 250;

/// The share that is asked for.
pub fn testing() -> usize {
    static SHARE: OnceLock<usize> = OnceLock::new();
    let named = || std::env::var("SHIM6_SIM_TESTING").ok()?.parse().ok();
    *SHARE.get_or_init(|| named().unwrap_or(TESTING))
}

fn quality(c: &mut Chance) -> Quality {
    Quality {
        delay: c.between(1, 300) as u32,
        jitter: c.pick(&[0, 0, 20, 300]),
        loss: c.pick(&[0, 50, 200, 500, 900]),
        twice: c.pick(&[0, 0, 100, 500]),
        damage: c.pick(&[0, 0, 0, 50, 300]),
    }
}

impl Plan {
    /// The scenario of a seed.
    pub fn of(seed: u64) -> Plan {
        let mut c = Chance::new(seed, 1);
        let n = match c.below(20) {
            0..=13 => 2,
            14..=17 => 3,
            18 => 4,
            _ => 5,
        };
        let modern = c.below(1000) < testing();
        let hosts: Vec<HostPlan> = (0..n).map(|h| host(&mut c, h, modern)).collect();
        let steering = c.permille(180);
        let base = match c.below(4) {
            0 => Quality { delay: c.between(1, 200) as u32, jitter: 100, twice: 50, ..CLEAN },
            _ => Quality { delay: c.between(1, 100) as u32, ..CLEAN },
        };
        let mut flows = Vec::new();
        let count = if n == 2 { 1 + c.below(10) / 6 + c.below(12) / 10 } else { n + c.below(3) };
        for i in 0..count + usize::from(steering && n == 2) {
            let from = i % n;
            let to = (from + 1 + c.below(n - 1)) % n;
            let fork = if steering { 500 } else { 150 };
            flows.push(flow(&mut c, &hosts, (from, to), i, fork));
        }
        let tag_bits = if c.permille(30) { 5 } else { 47 };
        let max_probe_timeout = Duration::from_secs(match c.below(40) {
            0 => 60,
            1 | 2 => 16,
            n => [2, 4, 8][n % 3],
        });
        let ambush = c.pick(&[0, 0, 0, 150, 600]);
        let last = c.permille(if hosts.iter().any(|h| h.fast) { 400 } else { 60 });
        let mut plan = Plan {
            seed,
            steering,
            last,
            contexts: 2 * (flows.len() + 1),
            hosts,
            base,
            flows,
            ops: Vec::new(),
            ambush,
            deaf: c.pick(&[0, 0, 0, 20, 300]),
            tag_bits,
            max_probe_timeout,
        };
        plan.ops = ops(&mut c, &plan);
        plan
    }

    /// The same without some of its operations.
    pub fn without(mut self, left_out: &[usize]) -> Plan {
        for n in left_out {
            if let Some((_, op)) = self.ops.get_mut(*n) {
                // A repair of nothing.
                *op = Op::Repair(63);
            }
        }
        self
    }

    /// Pairs of one context at most, both directions counted once.
    pub fn pairs(&self) -> u32 {
        let of = |f: &FlowPlan| self.hosts[f.from].addresses * self.hosts[f.to].addresses;
        self.flows.iter().map(of).max().unwrap_or(1) as u32
    }

    /// Whether old messages are repeated.
    pub fn repeats(&self) -> bool {
        self.ambush > 0 || self.ops.iter().any(|(_, op)| matches!(op, Op::Replay { .. }))
    }

    /// When the last operation is over.
    pub fn end(&self) -> Duration {
        self.ops.last().map_or(Duration::ZERO, |(t, _)| *t)
    }
}

fn host(c: &mut Chance, h: usize, modern: bool) -> HostPlan {
    let kind = match c.below(40) {
        0 => Kind::HbaCga,
        1 => Kind::Cga,
        2 if h > 0 => Kind::Plain,
        _ => Kind::Hba,
    };
    let addresses = match kind {
        Kind::Plain => 1,
        _ => c.pick(&[2, 2, 2, 2, 3, 3, 3, 4, 5]),
    };
    let spare = if addresses > 2 { c.below(2) } else { 0 };
    HostPlan {
        kind,
        addresses,
        present: addresses - spare,
        variant: c.below(100),
        send_timeout: if c.permille(50) { 2 } else { c.pick(&[5, 10, 15, 15, 15]) },
        refuses: c.permille(300),
        fast: modern && c.permille(600),
        hot_standby: modern && c.permille(400),
        return_to_preferred: (modern && c.permille(400))
            .then(|| Duration::from_secs(c.between(4, 60))),
    }
}

fn flow(
    c: &mut Chance,
    hosts: &[HostPlan],
    (from, to): (usize, usize),
    i: usize,
    fork: u32,
) -> FlowPlan {
    let end = |c: &mut Chance, h: usize| match hosts[h].kind {
        Kind::Hba | Kind::HbaCga if i > 0 => c.below(hosts[h].present.min(2)),
        _ => 0,
    };
    let echo = c.permille(600);
    FlowPlan {
        from,
        to,
        ends: (end(c, from), end(c, to)),
        forked: i > 0 && c.permille(fork),
        echo,
        tcp: echo && c.permille(400),
        packets: c.pick(&[1, 1, 20]),
        gap: Duration::from_millis(c.pick(&[500, 1000, 2000, 3000])),
        burst: c.between(2, 20) as u32,
        pause: Duration::from_secs(c.pick(&[10, 20, 40, 70])),
    }
}

/// Faults, repairs and requests, in the order of their time.
fn ops(c: &mut Chance, plan: &Plan) -> Vec<(Duration, Op)> {
    let mut ops: Vec<(Duration, Op)> = Vec::new();
    let mut at = Duration::from_millis(c.between(1_000, 15_000));
    let mut fault = 0u8;
    let wanted = 4 + c.below(10);
    let mut faults = 0;
    if c.permille(200) {
        anew(c, plan, &mut ops);
    }
    while ops.len() < wanted || faults < 2 {
        let op = if faults < 2 && ops.len() + 2 >= wanted {
            Op::Cut(0, somewhere(c, plan))
        } else {
            one(c, plan)
        };
        let op = match op {
            Op::Cut(_, place) => Op::Cut(fault, place),
            Op::Noise(_, place, q) => Op::Noise(fault, place, q),
            other => other,
        };
        if op.is_fault() {
            faults += 1;
        }
        let ended_by = match &op {
            Op::Cut(n, _) | Op::Noise(n, _, _) => {
                fault += 1;
                c.permille(600).then_some(Op::Repair(*n))
            }
            Op::Address { spot, to, .. } if *to != Presence::Present => {
                let (spot, deprecated, temporary) = (*spot, false, false);
                let to = Presence::Present;
                c.permille(700).then_some(Op::Address { spot, to, deprecated, temporary })
            }
            Op::Rule { spot, .. } => {
                let (spot, rule) = (*spot, LocatorRule::default());
                c.permille(700).then_some(Op::Rule { spot, rule })
            }
            _ => None,
        };
        ops.push((at, op));
        if let Some(end) = ended_by {
            ops.push((at + Duration::from_millis(c.between(200, 120_000)), end));
        }
        at += Duration::from_millis(match c.below(4) {
            0 => c.between(0, 500),
            1 | 2 => c.between(500, 25_000),
            _ => c.between(25_000, 90_000),
        });
    }
    ops.sort_by_key(|(t, _)| *t);
    ops
}

/// A context is discarded and asked for again: while its peer answers, while it refuses, and while nothing comes through.
fn anew(c: &mut Chance, plan: &Plan, ops: &mut Vec<(Duration, Op)>) {
    let n = c.below(plan.flows.len());
    let f = &plan.flows[n];
    let at = Duration::from_millis(c.between(30_000, 150_000));
    let moment = Duration::from_millis(1);
    match c.below(3) {
        0 => {}
        1 => {
            let down = Duration::from_millis(c.between(1_000, 40_000));
            let journal = c.permille(500);
            ops.push((at, Op::Restart { host: f.to, journal, refuses: true, down }));
        }
        _ => {
            ops.push((at, Op::Cut(62, Where::Hosts(f.from, f.to))));
            let end = at + Duration::from_secs(c.between(150, 250));
            ops.push((end, Op::Repair(62)));
        }
    }
    ops.push((at + moment, Op::Drop { flow: n }));
    ops.push((at + moment * 2, Op::Establish { flow: n }));
}

fn spot(c: &mut Chance, plan: &Plan, host: usize) -> Spot {
    Spot { host, at: c.below(plan.hosts[host].addresses) }
}

fn somewhere(c: &mut Chance, plan: &Plan) -> Where {
    let f = &plan.flows[c.below(plan.flows.len())];
    let (from, to) = if c.permille(500) { (f.from, f.to) } else { (f.to, f.from) };
    let ends = if f.from == from { f.ends } else { (f.ends.1, f.ends.0) };
    let exact = c.permille(400);
    let mut end = |host: usize, at: usize| match exact {
        true => Spot { host, at },
        false => spot(c, plan, host),
    };
    let (a, b) = (end(from, ends.0), end(to, ends.1));
    match c.below(12) {
        0..=2 => Where::Pair(a, b),
        3 | 4 => Where::OneWay(a, b),
        5 | 6 => Where::Address(a),
        7 => Where::From(a),
        8 => Where::To(a),
        9 => Where::HostsOneWay(from, to),
        10 => Where::Hosts(from, to),
        _ => Where::Pair(b, a),
    }
}

/// What an administrator may decide about an address.
pub fn rule(c: &mut Chance) -> LocatorRule {
    LocatorRule {
        offer: c.pick(&[Offer::AsUsual, Offer::AsUsual, Offer::Always, Offer::Never]),
        broken: c.permille(300),
        preference: c.permille(400).then(|| (c.below(4) as u8, c.below(3) as u8)),
    }
}

fn one(c: &mut Chance, plan: &Plan) -> Op {
    let host = c.below(plan.hosts.len());
    let pick = c.below(100);
    if plan.steering && c.permille(250) {
        let wish = match c.below(10) {
            0 | 1 => Wish::Switch(Keep::No),
            2 => Wish::Switch(Keep::Prefer),
            3 | 4 => Wish::Switch(Keep::Pin),
            5 => Wish::PinLocal,
            6 => Wish::PinPeer,
            7 => Wish::GiveUp,
            8 => Wish::Settings,
            _ => Wish::Release,
        };
        return Op::Steer { host, pick, wish };
    }
    match c.below(100) {
        0..=29 => Op::Cut(0, somewhere(c, plan)),
        30..=43 => {
            Op::Noise(0, if c.permille(150) { Where::All } else { somewhere(c, plan) }, quality(c))
        }
        44..=56 => Op::Address {
            spot: spot(c, plan, host),
            to: c.pick(&[
                Presence::Unusable,
                Presence::Unreachable,
                Presence::Absent,
                Presence::Present,
            ]),
            deprecated: c.permille(400),
            temporary: c.permille(150),
        },
        57..=65 => Op::Restart {
            host,
            journal: c.permille(500),
            refuses: plan.hosts[host].refuses,
            down: Duration::from_millis(match c.below(3) {
                0 => 0,
                1 => c.between(10, 2_000),
                _ => c.between(2_000, 40_000),
            }),
        },
        66..=68 => Op::Freeze { host, time: Duration::from_millis(c.between(500, 40_000)) },
        69..=70 => Op::Rule { spot: spot(c, plan, host), rule: rule(c) },
        71 => Op::SendTimeout { host, seconds: c.pick(&[2, 5, 15, 30]) },
        72..=75 => Op::Explore { host, pick },
        76..=81 => Op::Test { host, pick },
        82 => Op::InUse { host, pick, on: c.permille(500) },
        83 => Op::Discard { host, pick },
        84..=86 => Op::Establish { flow: c.below(plan.flows.len()) },
        87 => Op::Start(c.below(plan.flows.len())),
        88 => Op::Stop(c.below(plan.flows.len())),
        89 | 90 => Op::Hint { host, pick },
        91..=95 => Op::Flood {
            host,
            kind: c.pick(&[
                Flood::I1,
                Flood::I2,
                Flood::Answers,
                Flood::Tags,
                Flood::Probes,
                Flood::Lists,
                Flood::Noise,
                Flood::Crowd,
            ]),
            count: c.between(5, 120) as u32,
        },
        _ => Op::Replay { host, count: c.between(1, 30) as u32 },
    }
}
