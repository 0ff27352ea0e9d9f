//! How fast single parts are: `cargo bench --bench speed [FILTER]`.
//!
//! Each line is the best of several rounds, which is what the machine can do when nobody disturbs it. Lines that
//! compare (`/`) give the ratio. Nothing but the library is needed.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use shim6::addr::{ContextTag, Fii, Locator, LocatorPair, Prefix, Ulid, UlidPair};
use shim6::cga::{GenerateParams, Identity, Method, Progress, Sec};
use shim6::dataplane::coalesce::Train;
use shim6::dataplane::decide::{Way, decide};
use shim6::dataplane::map::Map;
use shim6::dataplane::{rewrite, segment};
use shim6::proto::engine::{Engine, State};
use shim6::proto::input::{Activity, AddressEvent, ControlPacket, LocalAddress};
use shim6::proto::{
    Command, Config, ContextId, Cx, Forward, ForwardChange, Inbound, Input, Outbound, Output, Time,
    WakeOn,
};
use shim6::wire::checksum;
use shim6::wire::header::control_message;
use shim6::wire::ipv6::{Ipv6Header, protocol, walk};
use std::collections::VecDeque;
use std::hint::black_box;
use std::net::Ipv6Addr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;

/// Seconds for each of `n` runs of `f`, best of several rounds.
fn best(n: usize, mut f: impl FnMut(usize)) -> f64 {
    let round = |f: &mut dyn FnMut(usize)| {
        let began = Instant::now();
        (0..n).for_each(f);
        began.elapsed().as_secs_f64() / n as f64
    };
    (0..ROUNDS).map(|_| round(&mut f)).fold(f64::INFINITY, f64::min)
}

fn show(what: &str, seconds: f64) {
    println!("{what:58} {:10.1} ns {:14.0} /s", seconds * 1e9, 1.0 / seconds);
}

fn locator(net: u16, n: usize) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 1, (n >> 16) as u16, n as u16)
}

fn forward(n: usize, tagged: bool) -> Forward {
    let pair = LocatorPair { local: Locator(locator(3, 0)), peer: Locator(locator(4, n)) };
    let tag = ContextTag::from_masked(n as u64 * 7919 % (1 << 47));
    Forward {
        id: ContextId(n as u64),
        ulids: UlidPair { local: Ulid(locator(1, 0)), peer: Ulid(locator(2, n)) },
        fii: Fii::DEFAULT,
        local_tag: tag,
        outbound: if tagged { Outbound::Tagged(pair, tag) } else { Outbound::Plain },
        inbound: Inbound::Unmap,
        hold: false,
        watch: false,
        wake: WakeOn::Nothing,
    }
}

fn tcp(src: Ipv6Addr, dst: Ipv6Addr, seq: u32, data: usize) -> Vec<u8> {
    let mut s = vec![0x20, 1, 0x20, 2];
    s.extend(seq.to_be_bytes());
    s.extend([0, 0, 0, 7, 0x50, 0x10, 0x12, 0x34, 0, 0, 0, 0]);
    s.extend((0..data).map(|n| (n * 7 + n / 251) as u8));
    let sum = checksum::transport(src, dst, protocol::TCP, &s);
    s[16..18].copy_from_slice(&sum.to_be_bytes());
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: 1,
        payload_length: s.len() as u16,
        next_header: protocol::TCP,
        hop_limit: 64,
        src,
        dst,
    };
    [&header.emit()[..], &s].concat()
}

/// Octets of this process in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Where a packet has its destination, and one with a payload header behind the IPv6 header the P bit and the tag.
const DST: std::ops::Range<usize> = 24..40;
const TAG: std::ops::Range<usize> = 42..48;

/// Lookup and decision, and publishing, with few contexts and with many.
fn scale() {
    let mut few = [0.0; 5];
    for contexts in [100, 10_000, 1_000_000] {
        let map = Map::default();
        let before = resident();
        for n in 0..contexts {
            map.apply(&ForwardChange::Set(forward(n, n % 2 == 0)));
        }
        let memory = resident().saturating_sub(before) / contexts;
        // Packets for contexts all over the table.
        let place = |n: usize| n.wrapping_mul(2_654_435_761) % contexts;
        let out: Vec<_> =
            (0..4096).map(|n| tcp(locator(1, 0), locator(2, place(n)), 1, 64)).collect();
        let tagged: Vec<_> = (0..4096)
            .map(|n| {
                let f = forward(place(n), true);
                let Outbound::Tagged(pair, tag) = f.outbound else { unreachable!() };
                let plain = tcp(f.ulids.local.0, f.ulids.peer.0, 1, 64);
                rewrite::tag(&plain, walk(&plain).unwrap().insert, pair, tag).unwrap()
            })
            .collect();
        // The same, but no context again before a million others: all that belongs to it has left the caches.
        let (mut one_out, mut one_tagged) = (out[0].clone(), tagged[0].clone());
        let times = [
            best(200_000, |n| {
                black_box(decide(&out[n % 4096], Way::Out, &map));
            }),
            best(200_000, |n| {
                black_box(decide(&tagged[n % 4096], Way::Shim6, &map));
            }),
            best(1_000_000, |n| {
                one_out[DST].copy_from_slice(&locator(2, place(n)).octets());
                black_box(decide(black_box(&one_out), Way::Out, &map));
            }),
            best(1_000_000, |n| {
                let word = 1 << 47 | (place(n) as u64 * 7919 % (1 << 47));
                one_tagged[TAG].copy_from_slice(&u64::to_be_bytes(word)[2..]);
                black_box(decide(black_box(&one_tagged), Way::Shim6, &map));
            }),
            best(20_000, |n| {
                map.apply(&ForwardChange::Set(forward(place(n), n % 3 == 0)));
            }),
        ];
        let names = [
            "decide, packet out",
            "decide, tagged packet in",
            "decide, packet out, all contexts in turn",
            "decide, tagged packet in, all in turn",
            "publish a change",
        ];
        for ((name, time), few) in names.iter().zip(times).zip(&mut few) {
            if contexts == 100 {
                *few = time;
            }
            show(&format!("{name}, {contexts} contexts ({:.2} of 100)", time / *few), time);
        }
        let inserted = best(1000, |n| {
            let f = forward(contexts + n, true);
            let id = f.id;
            map.apply(&ForwardChange::Set(f));
            map.apply(&ForwardChange::Remove(id));
        });
        show(&format!("insert and remove a context, {contexts} contexts"), inserted);
        println!(
            "{:58} {memory:10} octets",
            format!("memory of the map per context, {contexts} contexts")
        );
    }
}

fn packets() {
    let f = forward(1, true);
    let Outbound::Tagged(pair, tag) = f.outbound else { unreachable!() };
    let (us, peer) = (f.ulids.local.0, f.ulids.peer.0);
    let small = tcp(us, peer, 1, 1392);
    let headers = walk(&small).unwrap();
    let wire = rewrite::tag(&small, headers.insert, pair, tag).unwrap();
    let place = walk(&wire).unwrap().shim6.unwrap().place;
    let back = UlidPair { local: f.ulids.peer, peer: f.ulids.local };
    show(
        "parse headers",
        best(1_000_000, |_| {
            black_box(walk(black_box(&small)).unwrap());
        }),
    );
    show(
        "tag 1452 octets",
        best(500_000, |_| {
            black_box(rewrite::tag(&small, headers.insert, pair, tag));
        }),
    );
    show(
        "strip 1460 octets",
        best(500_000, |_| {
            black_box(rewrite::strip(&wire, place, back));
        }),
    );
    let big = tcp(us, peer, 1, 60_000);
    let headers = walk(&big).unwrap();
    let cut = best(2000, |_| {
        black_box(segment::cut(&big, &headers, 1492).unwrap());
    });
    show("segment 60000 octets", cut);
    let pieces: Vec<_> = (0..21).map(|n| tcp(us, peer, 1 + n * 1432, 1432)).collect();
    show(
        "coalesce 21 segments of 1432 octets",
        best(5000, |_| {
            let mut train = Train::start(pieces[0].clone()).unwrap();
            assert!(pieces[1..].iter().all(|p| train.add(p)));
            black_box(train.finish());
        }),
    );
}

/// Generation of identities against SHA-1 alone, over input of the same length, on all processors.
fn generation() {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let prefixes = vec![Prefix::of(locator(1, 0)), Prefix::of(locator(2, 0))];
    for method in [Method::Hba, Method::HbaCga] {
        let mut rng = StdRng::seed_from_u64(1);
        let params = GenerateParams::new(method, prefixes.clone());
        let id = Identity::generate(params, &mut rng, &mut |_| ControlFlow::Continue(())).unwrap();
        let octets = 25 + id.pds().key_and_extensions().len();
        let raw = || {
            let began = Instant::now();
            let limit = Duration::from_secs(1);
            let done: u64 = std::thread::scope(|s| {
                let work = || {
                    let mut input = vec![0u8; octets];
                    let mut n = 0u64;
                    while began.elapsed() < limit {
                        for _ in 0..4096 {
                            input[..8].copy_from_slice(&n.to_be_bytes());
                            // The call for all in one would look the algorithm up each time.
                            let mut sha = openssl::sha::Sha1::new();
                            sha.update(&input);
                            black_box(sha.finish());
                            n += 1;
                        }
                    }
                    n
                };
                let all: Vec<_> = (0..threads).map(|_| s.spawn(work)).collect();
                all.into_iter().map(|t| t.join().unwrap()).sum()
            });
            done as f64 / began.elapsed().as_secs_f64()
        };
        // Sec 2 takes 2^32 hashes, so it is stopped after a second: its rate is what counts.
        let ours = |rng: &mut dyn RngCore| {
            let params = GenerateParams {
                sec: Sec::new(2).unwrap(),
                key: id.key().cloned(),
                ..GenerateParams::new(method, prefixes.clone())
            };
            let (mut began, mut tried) = (None, 0);
            let _stopped = Identity::generate(params, rng, &mut |progress| {
                if let Progress::Searching { tried: n, .. } = progress {
                    let began = *began.get_or_insert_with(Instant::now);
                    tried = n;
                    if began.elapsed() > Duration::from_secs(1) {
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            });
            tried as f64 / began.unwrap().elapsed().as_secs_f64()
        };
        let (mut most_raw, mut most_ours) = (0f64, 0f64);
        for _ in 0..3 {
            most_raw = most_raw.max(raw());
            most_ours = most_ours.max(ours(&mut rng));
        }
        println!(
            "{:58} {most_ours:12.0} /s of {most_raw:.0} /s: {:.2}",
            format!("{} modifiers, {octets} octets, {threads} threads", method.name()),
            most_ours / most_raw
        );
        let sec1 = GenerateParams {
            sec: Sec::new(1).unwrap(),
            key: id.key().cloned(),
            ..GenerateParams::new(method, prefixes.clone())
        };
        let one = best(20, |_| {
            let done =
                Identity::generate(sec1.clone(), &mut rng, &mut |_| ControlFlow::Continue(()));
            black_box(done.unwrap());
        });
        println!("{:58} {:10.1} ms", format!("{} Sec 1, mean of 20", method.name()), one * 1e3);
    }
}

/// A host of the handshakes: its engine and what it leaves.
struct Host {
    engine: Engine,
    rng: StdRng,
    out: VecDeque<Output>,
}

impl Host {
    fn new(id: &Arc<Identity>, seed: u64, now: Time) -> Host {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut config = Config::default();
        // What is measured is work, not the limits that protect from it.
        config.limits.r1_per_second = u32::MAX;
        config.limits.r1_per_prefix = u32::MAX;
        config.limits.r2_per_second = u32::MAX;
        config.limits.r2_per_prefix = u32::MAX;
        let engine = Engine::new(config, now, &mut rng);
        let mut host = Host { engine, rng, out: VecDeque::new() };
        host.on(now, |e, cx| e.set_identities(cx, vec![Arc::clone(id)]));
        for addr in id.members() {
            let present = LocalAddress { addr: *addr, deprecated: false, temporary: false };
            host.feed(now, Input::Address(AddressEvent::Present(present)));
        }
        host
    }

    fn on<R>(&mut self, now: Time, f: impl FnOnce(&mut Engine, &mut Cx<'_>) -> R) -> R {
        f(&mut self.engine, &mut Cx { now, rng: &mut self.rng, out: &mut self.out })
    }

    fn feed(&mut self, now: Time, input: Input) {
        self.on(now, |e, cx| e.handle(cx, input));
    }

    /// What it has sent since the last call, as it comes out of the network.
    fn sent(&mut self) -> Vec<ControlPacket> {
        let packet = |output| match output {
            Output::Transmit(t) => {
                let header = Ipv6Header {
                    traffic_class: 0,
                    flow_label: 0,
                    payload_length: t.message.len() as u16,
                    next_header: 140,
                    hop_limit: 64,
                    src: t.src.0,
                    dst: t.dst.0,
                };
                let packet = [&header.emit()[..], &t.message].concat();
                Some(ControlPacket { src: t.src, dst: t.dst, packet, offset: 40 })
            }
            _ => None,
        };
        self.out.drain(..).filter_map(packet).collect()
    }
}

fn identity(method: Method, seed: u64, net: u16) -> Arc<Identity> {
    let prefixes = vec![Prefix::of(locator(net, 0)), Prefix::of(locator(net + 1, 0))];
    let params = GenerateParams::new(method, prefixes);
    let mut rng = StdRng::seed_from_u64(seed);
    Arc::new(Identity::generate(params, &mut rng, &mut |_| ControlFlow::Continue(())).unwrap())
}

/// Whole negotiations, both ends on one processor: the four messages, parsed, verified, answered.
fn handshakes() {
    for method in [Method::Hba, Method::HbaCga, Method::Cga] {
        let (a, b) = (identity(method, 1, 0x10), identity(method, 2, 0x20));
        let ulids = UlidPair { local: Ulid(a.members()[0]), peer: Ulid(b.members()[0]) };
        let mut now = Time::from_secs(1000);
        let mut rate = 0f64;
        let n = if method == Method::Hba { 2000 } else { 200 };
        let mut hosts = [Host::new(&a, 1, now), Host::new(&b, 2, now)];
        for _ in 0..ROUNDS {
            let began = Instant::now();
            for _ in 0..n {
                now = now + Duration::from_millis(1);
                hosts[0].feed(now, Input::Command(Command::Establish(ulids)));
                let mut turn = 0;
                loop {
                    let messages = hosts[turn].sent();
                    if messages.is_empty() {
                        break;
                    }
                    turn = 1 - turn;
                    for packet in messages {
                        hosts[turn].feed(now, Input::Message(packet));
                    }
                }
                let back = UlidPair { local: ulids.peer, peer: ulids.local };
                for (h, ulids) in hosts.iter_mut().zip([ulids, back]) {
                    let id = h.engine.find(ulids, Fii::DEFAULT).expect("a context");
                    assert_eq!(h.engine.context(id).unwrap().state, State::Established);
                    h.feed(now, Input::Command(Command::Discard(id)));
                    h.out.clear();
                }
            }
            rate = rate.max(f64::from(n) / began.elapsed().as_secs_f64());
        }
        show(&format!("negotiation, {}, both ends", method.name()), 1.0 / rate);
    }
}

/// As many peers as told, each with an identity and two locators of its own, make a context with us; what they take, in
/// octets of this process for each. With `used` each context has a test of its pair and traffic, and then 150 s of silence.
fn contexts_with(us: &mut Host, peers: usize, used: bool) -> usize {
    let mut now = Time::from_secs(1000);
    let ours = us.engine.locals().identities()[0].members()[0];
    let mut peer = |us: &mut Host, n: usize| {
        now = now + Duration::from_millis(1);
        let them = identity(Method::Hba, n as u64, 0x1000 + 2 * (n / 4) as u16);
        let ulids = UlidPair { local: Ulid(them.members()[0]), peer: Ulid(ours) };
        let mut them = Host::new(&them, n as u64, now);
        let exchange = |us: &mut Host, them: &mut Host| {
            while !(us.out.is_empty() && them.out.is_empty()) {
                them.sent().into_iter().for_each(|m| us.feed(now, Input::Message(m)));
                us.sent().into_iter().for_each(|m| them.feed(now, Input::Message(m)));
            }
        };
        them.feed(now, Input::Command(Command::Establish(ulids)));
        exchange(us, &mut them);
        if used {
            let back = UlidPair { local: ulids.peer, peer: ulids.local };
            let id = us.engine.find(back, Fii::DEFAULT).expect("a context");
            us.feed(now, Input::Command(Command::Test(id, back.locators())));
            exchange(us, &mut them);
            assert!(us.engine.context(id).unwrap().rtt.is_some(), "answered");
            let later = now + Duration::from_micros(500);
            us.feed(later, Input::Activity(id, traffic(later)));
        }
    };
    // What is there for all of them comes first.
    (0..100).for_each(|n| peer(us, n));
    let before = resident();
    (100..100 + peers).for_each(|n| peer(us, n));
    if used {
        let since = now;
        for secs in 1..=150 {
            let now = since + Duration::from_secs(secs);
            while let Some(id) = us.engine.due_activity(now) {
                let seen = us.engine.context(id).unwrap().activity;
                us.feed(now, Input::Activity(id, seen));
            }
            us.feed(now, Input::Timeout);
            us.out.clear();
        }
        assert!(us.engine.contexts().any(|c| c.counters.keepalives_out > 0));
    }
    us.out = VecDeque::new();
    assert_eq!(us.engine.context_count(), 100 + peers);
    resident().saturating_sub(before) / peers
}

/// Ten packets each way, the last one in.
fn traffic(now: Time) -> Activity {
    Activity {
        last_out: Some(now - Duration::from_millis(5)),
        last_in: Some(now),
        pending_in: Some(now),
        packets_out: 10,
        packets_in: 10,
        octets_out: 1000,
        octets_in: 1000,
        ..Activity::NONE
    }
}

/// What an established context takes in the engine and in the map.
fn memory() {
    const PEERS: usize = 10_000;
    let id = identity(Method::Hba, 2, 0x20);
    let mut us = Host::new(&id, 2, Time::from_secs(1000));
    let engine = contexts_with(&mut us, PEERS, false);
    let map = Map::default();
    let before = resident();
    for c in us.engine.contexts() {
        map.apply(&ForwardChange::Set(Forward {
            id: c.id,
            ulids: c.ulids,
            fii: c.fii,
            local_tag: c.local_tag,
            outbound: Outbound::Plain,
            inbound: Inbound::Unmap,
            hold: false,
            watch: false,
            wake: WakeOn::Any,
        }));
    }
    let mapped = resident().saturating_sub(before) / PEERS;
    let mut us = Host::new(&id, 2, Time::from_secs(1000));
    let used = contexts_with(&mut us, PEERS, true);
    for (what, octets) in [
        ("engine and map", engine + mapped),
        ("engine", engine),
        ("engine, after traffic and a test", used),
    ] {
        println!("{:58} {octets:10} octets", format!("memory per established context, {what}"));
    }
}

/// R1 for I1 after I1, each from another host.
fn flood() {
    let id = identity(Method::Hba, 2, 0x20);
    let now = Time::from_secs(1000);
    let mut us = Host::new(&id, 2, now);
    let peer = identity(Method::Hba, 1, 0x10);
    let ulids = UlidPair { local: Ulid(peer.members()[0]), peer: Ulid(id.members()[0]) };
    let mut them = Host::new(&peer, 1, now);
    them.feed(now, Input::Command(Command::Establish(ulids)));
    let i1 = them.sent().remove(0);
    assert!(control_message(&i1.packet[40..]).is_ok());
    let floods: Vec<_> = (0..4096)
        .map(|n| {
            let src = locator(0x1000 + n as u16, n);
            let mut packet = i1.packet.clone();
            packet[8..24].copy_from_slice(&src.octets());
            // The checksum covers the message alone, so another source leaves it right.
            ControlPacket { src: Locator(src), packet, ..i1.clone() }
        })
        .collect();
    let mut answered = 0;
    let time = best(20_000, |n| {
        us.feed(now, Input::Message(floods[n % 4096].clone()));
        answered += us.out.drain(..).filter(|o| matches!(o, Output::Transmit(_))).count();
    });
    assert_eq!(answered, ROUNDS * 20_000);
    show("R1 under a flood of I1", time);
}

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let all: [(&str, fn()); 6] = [
        // First, while nothing that was freed hides what grows.
        ("memory", memory),
        ("scale", scale),
        ("packets", packets),
        ("handshakes", handshakes),
        ("flood", flood),
        ("generation", generation),
    ];
    for (name, run) in all {
        if name.contains(&filter) {
            run();
        }
    }
}
