//! Fast detection between two engines: failures are found within fractions of a second, and bad paths are not left.

use crate::world::{Traffic, World};
use shim6::addr::{Locator, LocatorPair};
use shim6::cga::Method;
use shim6::proto::config::{Config, Detection};
use shim6::proto::input::Keep;
use shim6::proto::reap::ReapState;
use shim6::proto::{Command, Event, Time};
use std::time::Duration;

fn fast(config: &mut Config) {
    config.reap.detection = Detection::Fast;
}

fn world(seed: u64) -> World {
    World::with(seed, &[(2, Method::Hba), (2, Method::Hba)], fast)
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Seeds per test; more in a long run by `FAST_SEEDS`, beginning with `FAST_FROM`.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|s| s.parse().ok());
    let from = number("FAST_FROM").unwrap_or(0);
    from..from + number("FAST_SEEDS").unwrap_or(default)
}

/// The longest gap at a host after the ULIDs of both can no longer reach each other.
fn gap_after_blackhole(w: &mut World, traffic: Traffic, host: usize) -> Duration {
    w.establish(0, 1);
    w.secs(1);
    let f = w.flow(0, 1, traffic);
    w.secs(20);
    let cut = w.now;
    let lost = w.hosts[0].addrs[0];
    w.cut_address(0, lost, true);
    w.secs(10);
    // A stream that nobody answers is tested once a second, and while a test runs its peer is in InboundOk.
    let operational =
        |w: &World| w.hosts.iter().all(|h| h.only().reap == Some(ReapState::Operational));
    for _ in 0..50 {
        if !operational(w) {
            w.millis(10);
        }
    }
    w.assert_operational(&[0, 1]);
    for h in &w.hosts {
        assert_ne!(h.only().pair, h.only().ulids.locators(), "{} has not moved", h.name);
    }
    w.longest_gap(host, f, cut)
}

#[test]
fn lively_flows_leave_a_dead_pair_at_once() {
    for seed in 0..10 {
        let gap = gap_after_blackhole(&mut world(seed), Traffic::Echo(millis(5)), 0);
        assert!(gap <= millis(250), "echo, seed {seed}: {gap:?}");
        let gap = gap_after_blackhole(&mut world(seed), Traffic::Tcp { rto: millis(220) }, 1);
        assert!(gap <= millis(350), "TCP, seed {seed}: {gap:?}");
    }
}

#[test]
fn sparse_flows_and_unanswered_streams_leave_it_soon() {
    for seed in 0..10 {
        let gap = gap_after_blackhole(&mut world(seed), Traffic::Echo(millis(400)), 0);
        assert!(gap <= millis(2000), "sparse, seed {seed}: {gap:?}");
        let gap = gap_after_blackhole(&mut world(seed), Traffic::OneWay(millis(20)), 1);
        assert!(gap <= millis(3000), "one-way, seed {seed}: {gap:?}");
    }
}

#[test]
fn the_peer_needs_no_fast_detection() {
    for seed in 0..5 {
        for (traffic, host, most) in
            [(Traffic::Echo(millis(5)), 0, 250), (Traffic::OneWay(millis(20)), 1, 3000)]
        {
            let mut w = world(seed);
            w.on(1, |engine, cx| engine.set_config(cx, Config::default()));
            let gap = gap_after_blackhole(&mut w, traffic, host);
            assert!(gap <= millis(most), "seed {seed}: {gap:?}");
        }
    }
}

#[test]
fn switching_it_on_while_contexts_live_takes_effect() {
    let mut w = World::new(1, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    let f = w.flow(0, 1, Traffic::Echo(millis(5)));
    w.secs(20);
    for i in 0..2 {
        let mut config = Config::default();
        fast(&mut config);
        w.on(i, |engine, cx| engine.set_config(cx, config));
    }
    w.secs(20);
    let cut = w.now;
    let lost = w.hosts[0].addrs[0];
    w.cut_address(0, lost, true);
    w.secs(5);
    let gap = w.longest_gap(0, f, cut);
    assert!(gap <= millis(350), "{gap:?}");
}

/// What becomes of the paths between two hosts without any real failure.
#[derive(Clone, Copy, Debug)]
enum Nuisance {
    /// So much is lost each way.
    Loss(f64),
    /// Each packet takes so much longer at most.
    Jitter(Duration),
    /// All packets suddenly take so long, after a minute.
    Jump(Duration),
}

/// One way of bulk flows.
const BULK_DELAY: Duration = Duration::from_millis(40);

/// All paths between both hosts take so long.
fn delay(w: &mut World, delay: Duration) {
    for a in w.hosts[0].addrs.clone() {
        for b in w.hosts[1].addrs.clone() {
            w.link(a, b).delay = delay;
            w.link(b, a).delay = delay;
        }
    }
}

/// Ten minutes of it, two of a dense flow. What a host that leaves its pair says to that.
fn left(seed: u64, traffic: &Traffic, nuisance: Nuisance) -> Option<String> {
    let mut w = world(seed);
    // With loss the handshake might fail, which is not what is looked at here.
    w.establish(0, 1);
    w.secs(60);
    w.assert_established(0, 1);
    let bulk = matches!(traffic, Traffic::Bulk { .. });
    if bulk {
        // With so short a round trip as else the answers' wait is longer than any break in their row.
        delay(&mut w, BULK_DELAY);
    }
    let f = w.flow(0, 1, traffic.clone());
    if matches!(nuisance, Nuisance::Jump(_)) {
        w.secs(60);
    }
    for a in w.hosts[0].addrs.clone() {
        for b in w.hosts[1].addrs.clone() {
            for (from, to) in [(a, b), (b, a)] {
                let link = w.link(from, to);
                match nuisance {
                    Nuisance::Loss(share) => link.loss = share,
                    Nuisance::Jitter(most) => link.jitter = most,
                    Nuisance::Jump(delay) => link.delay = delay,
                }
            }
        }
    }
    // There are so many packets that two minutes of them take as long here as all other flows together.
    w.secs(if bulk { 120 } else { 600 });
    assert!(w.flows[f].seq > 200, "{traffic:?} has sent {} packets", w.flows[f].seq);
    let densest = w.hosts[0].plane.entries.values().map(|e| e.densest).max();
    assert!(!bulk || densest >= Some(12_000), "{traffic:?} had {densest:?} octets under way");
    w.hosts.iter().find_map(|h| {
        let leaves = |e: &Event| match e {
            Event::Switched { .. } => true,
            // Who explores may still stay where it is.
            Event::Reap { reason, .. } => {
                *reason == "test failed" && !matches!(nuisance, Nuisance::Jump(_))
            }
            _ => false,
        };
        let n = h.events.iter().position(|(_, e)| leaves(e))?;
        let after = h.events[n].0.since(Time::from_secs(1000));
        let before = &h.events[n.saturating_sub(8)..=n];
        let what = format!("{traffic:?}, {nuisance:?}, seed {seed}: {} after {after:?}", h.name);
        Some(format!("{what}: {before:#?}"))
    })
}

/// Nobody leaves its pair, whatever the flow.
fn nobody_leaves(seeds: std::ops::Range<u64>, nuisance: Nuisance) {
    let mut flows: Vec<_> = [20, 150, 1000].map(|ms| Traffic::Echo(millis(ms))).into();
    flows.push(Traffic::Tcp { rto: millis(220) });
    flows.push(Traffic::OneWay(millis(100)));
    nobody_leaves_of(seeds, &flows, nuisance);
}

/// The same for flows that have so much under way that a break in the row of their acknowledgements is a reason to test.
fn nobody_bulky_leaves(seeds: std::ops::Range<u64>, nuisance: Nuisance) {
    nobody_leaves_of(seeds, &[10, 20, 60].map(|window| Traffic::Bulk { window }), nuisance);
}

fn nobody_leaves_of(seeds: std::ops::Range<u64>, flows: &[Traffic], nuisance: Nuisance) {
    let runs = seeds.clone().count() * flows.len();
    let bad: Vec<String> = seeds
        .flat_map(|seed| flows.iter().map(move |flow| (seed, flow)))
        .filter_map(|(seed, flow)| left(seed, flow, nuisance))
        .collect();
    println!("{nuisance:?}: {} of {runs} runs with a needless step", bad.len());
    assert!(bad.is_empty(), "{bad:#?}");
}

// req-test: RP-8-01, RP-3.3-04
#[test]
fn loss_of_a_fifth_is_no_failure() {
    nobody_leaves(seeds(2), Nuisance::Loss(0.2));
}

// req-test: RP-8-01, RP-3.3-04
#[test]
fn jitter_of_600_ms_is_no_failure() {
    nobody_leaves(seeds(2), Nuisance::Jitter(millis(600)));
}

// req-test: RP-8-01
#[test]
fn a_sudden_delay_makes_nobody_switch() {
    nobody_leaves(seeds(2), Nuisance::Jump(millis(300)));
}

// req-test: RP-8-01, RP-3.3-04
#[test]
fn loss_in_a_dense_flow_is_no_failure() {
    for share in [0.02, 0.2] {
        nobody_bulky_leaves(seeds(1), Nuisance::Loss(share));
    }
}

// req-test: RP-8-01, RP-3.3-04
#[test]
fn jitter_in_a_dense_flow_is_no_failure() {
    for most in [60, 600] {
        nobody_bulky_leaves(seeds(1), Nuisance::Jitter(millis(most)));
    }
}

// req-test: RP-8-01
#[test]
fn a_sudden_delay_makes_no_dense_flow_switch() {
    nobody_bulky_leaves(seeds(1), Nuisance::Jump(millis(300)));
}

/// A break in the row of acknowledgements is noticed before their wait is over.
#[test]
fn dense_flows_leave_a_dead_pair_at_once() {
    for seed in 0..3 {
        let mut w = world(seed);
        delay(&mut w, BULK_DELAY);
        let gap = gap_after_blackhole(&mut w, Traffic::Bulk { window: 60 }, 1);
        assert!(gap <= millis(250), "seed {seed}: {gap:?}");
        assert!(w.hosts[0].plane.entries.values().any(|e| e.densest >= 12_000));
    }
}

/// The answer to a test of our pair takes the same way back, whatever way the peer's payload takes: where that has failed,
/// no number of answered tests may hide it.
#[test]
fn the_peers_own_way_to_us_is_missed_in_time() {
    for seed in 0..10 {
        let mut w = world(seed);
        w.on(0, |engine, cx| engine.set_config(cx, Config::default()));
        let id = w.establish(0, 1);
        w.secs(1);
        let there = w.flow(0, 1, Traffic::OneWay(millis(700)));
        w.flow(1, 0, Traffic::OneWay(millis(300)));
        w.secs(20);
        let ends = [0, 1].map(|h| Locator(w.hosts[h].addrs[1]));
        let other = LocatorPair { local: ends[0], peer: ends[1] };
        w.on(0, |e, cx| e.handle_command(cx, Command::Switch(id, other, Keep::No))).unwrap();
        w.secs(20);
        assert_eq!(w.hosts[0].only().pair, other);
        assert_eq!(w.hosts[1].only().pair, w.hosts[1].only().ulids.locators());
        let cut = w.now;
        w.cut(ends[0].0, ends[1].0, true);
        w.secs(60);
        let gap = w.longest_gap(1, there, cut);
        // Keepalives for what came before go on for a Keepalive Timeout, then it takes a Send Timeout.
        assert!(gap <= Duration::from_secs(32), "seed {seed}: {gap:?}");
        assert_ne!(w.hosts[0].only().pair, other);
        let moved = |e: &Event| matches!(e, Event::Switched { .. });
        assert!(!w.hosts[1].events.iter().any(|(t, e)| *t >= cut && moved(e)), "seed {seed}");
    }
}

/// Tests of other pairs while little passes: whoever is tested just when a packet arrives answers it all the same.
#[test]
fn hot_standby_leads_to_no_exploration() {
    for seed in 0..4 {
        let hot = |config: &mut Config| {
            config.reap.hot_standby = true;
            config.reap.return_to_preferred = Some(Duration::from_secs(8));
        };
        let mut w = World::with(seed, &[(2, Method::Hba), (2, Method::Hba)], hot);
        w.establish(0, 1);
        w.secs(1);
        for a in w.hosts[0].addrs.clone() {
            for b in w.hosts[1].addrs.clone() {
                for (from, to) in [(a, b), (b, a)] {
                    let link = w.link(from, to);
                    (link.delay, link.jitter) = (millis(97), millis(100));
                }
            }
        }
        w.flow(0, 1, Traffic::OneWay(Duration::from_secs(47)));
        w.flow(0, 1, Traffic::Echo(millis(23_100)));
        w.secs(4 * 3600);
        for h in &w.hosts {
            let late = |e: &Event| matches!(e, Event::Reap { reason: "send timeout", .. });
            let found = h.events.iter().find(|(_, e)| late(e));
            assert_eq!(found, None, "{}, seed {seed}", h.name);
        }
    }
}
