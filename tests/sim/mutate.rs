//! A million packets that are nearly right.

use crate::craft::Craft;
use crate::world::{Body, Traffic, World, control_packet};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use shim6::addr::Locator;
use shim6::proto::{Cx, Notice, Output, Time};
use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::Duration;

/// Packets of a run with everything in it: establishment, failure, recovery, updates.
fn captured() -> (World, Vec<(Ipv6Addr, Ipv6Addr, Vec<u8>)>) {
    let mut w = World::new(42, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    w.flow(0, 1, Traffic::OneWay(Duration::from_millis(500)));
    w.secs(20);
    let (a, b) = (w.hosts[0].addrs[0], w.hosts[1].addrs[0]);
    w.cut(a, b, true);
    w.secs(30);
    let spare = w.hosts[0].addrs[1];
    w.address(0, shim6::proto::input::AddressEvent::Unreachable(spare));
    w.secs(5);
    w.restart(1);
    w.secs(5);
    w.address(0, crate::world::present(spare));
    w.cut(a, b, false);
    w.secs(30);
    w.establish(1, 0);
    w.establish(0, 1);
    w.secs(5);
    let packets = w
        .wire
        .iter()
        .filter_map(|(_, p)| match &p.body {
            Body::Control(octets) => Some((p.src, p.dst, octets.clone())),
            Body::Data { .. } => None,
        })
        .collect();
    (w, packets)
}

fn checksum(m: &mut [u8]) {
    if m.len() >= 8 {
        m[4..6].fill(0);
        let end = m.len().min((usize::from(m[1]) + 1) * 8);
        let sum = shim6::wire::checksum::internet(&m[..end]);
        m[4..6].copy_from_slice(&sum.to_be_bytes());
    }
}

fn mutate(rng: &mut StdRng, m: &mut Vec<u8>) {
    for _ in 0..rng.random_range(1..4) {
        match rng.random_range(0..7) {
            0 | 1 if !m.is_empty() => {
                let i = rng.random_range(0..m.len());
                m[i] ^= 1 << rng.random_range(0..8);
            }
            2 if !m.is_empty() => {
                let i = rng.random_range(0..m.len());
                m[i] = *[0, 1, 7, 0x7f, 0x80, 0xff].choose(rng).unwrap();
            }
            3 => m.truncate(rng.random_range(0..=m.len())),
            4 if m.len() > 1 => {
                let n = rng.random_range(1..64);
                m.extend((0..n).map(|_| rng.random::<u8>()));
                m[1] = (m.len() / 8).saturating_sub(1).min(255) as u8;
            }
            5 if m.len() > 24 => {
                let at = rng.random_range(16..m.len());
                let piece = m[at..].to_vec();
                m.extend(piece);
                m.truncate(1240);
                m[1] = (m.len() / 8).saturating_sub(1).min(255) as u8;
            }
            _ if m.len() > 3 => m[2] = rng.random_range(0..70),
            _ => {}
        }
    }
    if rng.random_bool(0.9) {
        checksum(m);
    }
}

#[test]
fn a_million_mutated_packets_neither_panic_nor_fill_the_engine() {
    const PACKETS: u64 = 1_000_000;
    let seed = 20_261_121;
    println!("seed {seed}");
    let (mut w, packets) = captured();
    let kinds: std::collections::BTreeSet<u8> = packets.iter().map(|p| p.2[2]).collect();
    assert!(kinds.len() >= 10, "all but Error: {kinds:?}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut out = VecDeque::new();
    let mut now = w.now;
    let us = w.hosts[1].addrs.clone();
    let host = &mut w.hosts[1];
    let limits = host.engine.config().limits.clone();
    let mut sent = 0u64;
    for n in 0..PACKETS {
        let (src, dst, m) = packets.choose(&mut rng).unwrap();
        let (mut src, mut dst, mut m) = (*src, *dst, m.clone());
        if rng.random_bool(0.3) {
            src = Ipv6Addr::from(rng.random::<u128>());
        }
        if !us.contains(&dst) {
            // Sent by this host itself: turned round.
            std::mem::swap(&mut src, &mut dst);
        }
        mutate(&mut rng, &mut m);
        let packet = control_packet(src, dst, &m);
        let mut cx = Cx { now, rng: &mut host.rng, out: &mut out };
        host.engine.handle_message(&mut cx, &packet);
        if n % 64 == 0 {
            now = now + Duration::from_millis(rng.random_range(0..50));
            while let Some(id) = host.engine.due_activity(now) {
                let mut cx = Cx { now, rng: &mut host.rng, out: &mut out };
                host.engine.handle_activity(&mut cx, id, Default::default());
            }
            let mut cx = Cx { now, rng: &mut host.rng, out: &mut out };
            host.engine.handle_timeout(&mut cx);
        }
        if n % 10_000 == 0 {
            assert!(host.engine.is_consistent());
        }
        for o in out.drain(..) {
            if let Output::Transmit(t) = o {
                assert!(t.message.len() <= 1240);
                sent += 1;
            }
        }
    }
    assert!(host.engine.is_consistent());
    // Mutations that keep the validator valid are all for ULIDs that the peer has.
    assert!(host.engine.context_count() <= 4, "{}", host.engine.context_count());
    assert!(host.engine.holddown_count() <= 2 * limits.holddowns);
    for c in host.engine.contexts() {
        assert!(c.peer_locators.len() <= limits.locators);
        assert!(c.local_locators.len() <= limits.locators);
        assert!(c.pairs.len() <= 256);
    }
    let kinds = host.engine.counters().len() + host.engine.drops().len();
    assert!(kinds < 120, "counter names are fixed: {kinds}");
    assert!(sent < PACKETS / 2);
    // Each was counted as received or as dropped.
    let received = host.engine.counters().iter().filter(|(name, _)| name.starts_with("rx_"));
    let counted = received.map(|(_, n)| n).sum::<u64>() + host.engine.drops().values().sum::<u64>();
    assert!(counted >= PACKETS, "{counted}");
}

#[test]
fn notices_of_any_kind_are_harmless() {
    let mut c = Craft::new(1);
    c.reach_established();
    let mut rng = StdRng::seed_from_u64(5);
    let known = c.context().unwrap().id;
    for n in 0..20_000u64 {
        let id = if n % 3 == 0 { known } else { shim6::proto::ContextId(rng.random_range(0..9)) };
        let addr = |rng: &mut StdRng| match rng.random_range(0..4) {
            0 => c.us(0),
            1 => c.them(0),
            2 => c.them(1),
            _ => Ipv6Addr::from(rng.random::<u128>()),
        };
        let (a, b) = (addr(&mut rng), addr(&mut rng));
        let activity = shim6::proto::Activity {
            last_in: Some(Time::from_millis(rng.random_range(0..2_000_000))),
            pending_out: Some(Time::from_millis(rng.random_range(0..2_000_000))),
            ..Default::default()
        };
        let notice = match n % 7 {
            0 => Notice::Heuristic(shim6::addr::UlidPair {
                local: shim6::addr::Ulid(a),
                peer: shim6::addr::Ulid(b),
            }),
            1 => Notice::UnknownTag {
                src: Locator(a),
                dst: Locator(b),
                tag: shim6::addr::ContextTag::from_masked(rng.random()),
            },
            2 => Notice::Active(id, activity),
            3 => Notice::PayloadInSetup(id),
            4 => Notice::ControlRefused {
                icmp_type: rng.random(),
                icmp_code: rng.random(),
                src: Locator(a),
                dst: Locator(b),
                quoted: (0..rng.random_range(0..60)).map(|_| rng.random()).collect(),
            },
            5 => Notice::PayloadRefused {
                context: id,
                icmp_type: rng.random(),
                icmp_code: rng.random(),
            },
            _ => Notice::SendFailed { src: Locator(a), dst: Locator(b) },
        };
        c.w.on(0, |e, cx| e.handle_notice(cx, notice));
        if n % 100 == 0 {
            assert!(c.w.hosts[0].engine.is_consistent());
        }
    }
}
