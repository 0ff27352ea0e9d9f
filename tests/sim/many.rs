//! Many contexts at once, and the same again with the same seed.

use crate::world::{Body, Traffic, World};
use shim6::addr::{Ulid, UlidPair};
use shim6::proto::engine::State;
use shim6::proto::input::AddressEvent;
use shim6::proto::reap::ReapState;
use shim6::proto::{Command, Config};
use std::time::Duration;

/// Contexts between all addresses of two hosts.
fn all_pairs(seed: u64, n: usize, tweak: impl Fn(&mut Config)) -> (World, Vec<UlidPair>) {
    use shim6::cga::Method::Hba;
    let mut w = World::with(seed, &[(n, Hba), (n, Hba)], tweak);
    let (us, them) = (w.hosts[0].addrs.clone(), w.hosts[1].addrs.clone());
    let pairs: Vec<UlidPair> = us
        .iter()
        .flat_map(|a| them.iter().map(|b| UlidPair { local: Ulid(*a), peer: Ulid(*b) }))
        .collect();
    for ulids in &pairs {
        w.on(0, |e, cx| e.handle_command(cx, Command::Establish(*ulids))).unwrap();
    }
    w.secs(2);
    for h in &w.hosts {
        assert_eq!(h.engine.context_count(), n * n);
        assert!(h.engine.contexts().all(|c| c.state == State::Established));
    }
    (w, pairs)
}

#[test]
fn all_contexts_of_a_dead_provider_recover_together() {
    let (mut w, pairs) = all_pairs(1, 10, |_| {});
    for ulids in &pairs {
        w.payload(0, *ulids);
    }
    w.millis(100);
    let dead = w.hosts[0].addrs[3];
    w.cut_address(0, dead, true);
    w.address(0, AddressEvent::Unusable(dead));
    w.secs(5);
    let on_dead = w.hosts[0].engine.contexts().filter(|c| c.ulids.local.0 == dead);
    for c in on_dead {
        assert_eq!(c.reap, Some(ReapState::Operational));
        assert!(c.tagged && c.pair.local.0 != dead);
    }
    assert!(w.hosts[0].engine.contexts().all(|c| c.pair.local.0 != dead));
    // Every peer context knows by now that the address is broken.
    for c in w.hosts[1].engine.contexts() {
        let e = c.peer_locators.iter().find(|l| l.locator.0 == dead).unwrap();
        assert_eq!(e.flags.0 & 1, 1);
    }
}

#[test]
fn probes_of_all_contexts_share_a_budget() {
    let (mut w, pairs) = all_pairs(2, 10, |c| c.limits.probes_per_second = 20);
    for ulids in &pairs {
        w.payload(0, *ulids);
    }
    w.millis(100);
    for a in w.hosts[0].addrs.clone() {
        w.cut_address(0, a, true);
    }
    for h in &mut w.hosts {
        h.sent.clear();
    }
    w.secs(60);
    let probes = w.hosts[0].sent_of("Probe").len();
    assert!((100..=20 * 61).contains(&probes), "{probes}");
    assert!(w.hosts[0].counter("probe_budget") > 0);
    // Nobody is forgotten over it.
    for a in w.hosts[0].addrs.clone() {
        w.cut_address(0, a, false);
    }
    w.secs(200);
    assert!(w.hosts[0].engine.contexts().all(|c| c.reap == Some(ReapState::Operational)));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut w = World::new(3, &[3, 2]);
        w.establish(0, 1);
        w.establish(1, 0);
        w.flow(0, 1, Traffic::Tcp { rto: Duration::from_millis(300) });
        w.secs(3);
        let (a, b) = (w.hosts[0].addrs[0], w.hosts[1].addrs[0]);
        w.link(a, b).loss = 0.5;
        w.secs(60);
        w.cut(a, b, true);
        w.secs(60);
        w.restart(1);
        w.secs(60);
        let wire: Vec<_> = w
            .wire
            .iter()
            .map(|(t, p)| match &p.body {
                Body::Control(octets) => (*t, p.src, p.dst, octets.clone()),
                Body::Data { .. } => unreachable!("only control messages are recorded"),
            })
            .collect();
        let events: Vec<_> = w.hosts.iter().map(|h| h.events.clone()).collect();
        (wire, events)
    };
    let (first, second) = (run(), run());
    assert!(first.0.len() >= 10, "{}", first.0.len());
    assert_eq!(first.0, second.0);
    assert_eq!(first.1, second.1);
}
