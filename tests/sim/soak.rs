//! Failures of any kind at any time, for many seeds: in the end, once the network is whole, all is well.

use crate::world::{Traffic, World, present};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shim6::proto::input::AddressEvent;
use std::time::Duration;

fn one_run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let providers = [rng.random_range(2..4), rng.random_range(1..4)];
    let mut w = World::new(seed, &providers);
    w.establish(0, 1);
    let traffic = match rng.random_range(0..3) {
        0 => Traffic::OneWay(Duration::from_millis(rng.random_range(50..3000))),
        1 => Traffic::Echo(Duration::from_millis(rng.random_range(50..3000))),
        _ => Traffic::Tcp { rto: Duration::from_millis(300) },
    };
    let (from, to) = if rng.random_bool(0.5) { (0, 1) } else { (1, 0) };
    let f = w.flow(from, to, traffic);
    w.secs(2);
    let addrs = [w.hosts[0].addrs.clone(), w.hosts[1].addrs.clone()];
    let mut unusable = Vec::new();
    for _ in 0..rng.random_range(2..10) {
        let a = addrs[0][rng.random_range(0..addrs[0].len())];
        let b = addrs[1][rng.random_range(0..addrs[1].len())];
        let bad = rng.random_bool(0.6);
        match rng.random_range(0..7) {
            0 => w.cut(a, b, bad),
            1 => w.link(a, b).cut = bad,
            2 => w.link(b, a).cut = bad,
            3 => w.link(a, b).loss = if bad { 0.5 } else { 0.0 },
            4 => w.link(b, a).delay = Duration::from_millis(rng.random_range(1..400)),
            5 => {
                w.cut_address(0, a, true);
                w.address(0, AddressEvent::Unusable(a));
                unusable.push(a);
            }
            _ => w.restart(rng.random_range(0..2)),
        }
        w.millis(rng.random_range(0..40_000));
    }
    for a in &addrs[0] {
        for b in &addrs[1] {
            for (x, y) in [(*a, *b), (*b, *a)] {
                let link = w.link(x, y);
                link.cut = false;
                link.loss = 0.0;
            }
        }
    }
    for a in unusable {
        w.address(0, present(a));
    }
    w.secs(200);
    // Whoever lost everything may have no reason to negotiate again: the heuristic would.
    for (i, j) in [(0, 1), (1, 0)] {
        let ulids = w.ulids(i, j);
        if w.hosts[i].engine.find(ulids, shim6::addr::Fii(0)).is_none() {
            w.notice(i, shim6::proto::Notice::Heuristic(ulids));
        }
    }
    w.secs(200);
    let since = w.now;
    w.secs(10);
    let gap = w.longest_gap(to, f, since);
    assert!(gap < Duration::from_secs(4), "seed {seed}: {gap:?}");
    let contexts: Vec<usize> = w.hosts.iter().map(|h| h.engine.context_count()).collect();
    if contexts == [1, 1] {
        w.assert_established(0, 1);
        w.assert_operational(&[0, 1]);
    }
}

// req-test: RP-3.3-01, RP-3.3-02, RP-6-01, S6-7.5-01
#[test]
fn any_sequence_of_failures_ends_well_once_the_network_is_whole() {
    let seeds: u64 = std::env::var("SIM_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
    for seed in 0..seeds {
        one_run(seed);
    }
}
