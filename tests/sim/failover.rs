//! Failures and how traffic survives them.

use crate::world::{Traffic, World};
use shim6::proto::reap::ReapState;
use shim6::proto::{Event, Notice};
use std::time::Duration;

fn established(seed: u64, providers: &[usize]) -> World {
    let mut w = World::new(seed, providers);
    w.establish(0, 1);
    w.secs(1);
    w.assert_established(0, 1);
    w
}

// req-test: RP-A-01, RP-A-02, RP-4.1-03, RP-4.1-13
#[test]
fn idle_and_bidirectional_contexts_need_no_messages() {
    let mut w = established(1, &[2, 2]);
    w.secs(100);
    let before: usize = w.hosts.iter().map(|h| h.sent.len()).sum();
    let f = w.flow(0, 1, Traffic::Echo(Duration::from_millis(200)));
    w.secs(120);
    let after: usize = w.hosts.iter().map(|h| h.sent.len()).sum();
    assert_eq!(before, after);
    w.assert_operational(&[0, 1]);
    // The last packet is not answered by payload, so it is by Keepalives, but not for ever.
    w.stop(f);
    w.secs(60);
    let keepalives = w.hosts.iter().map(|h| h.sent_of("Keepalive").len()).sum::<usize>();
    assert!((1..=4).contains(&keepalives), "{keepalives}");
    w.secs(100);
    assert_eq!(w.hosts.iter().map(|h| h.sent.len()).sum::<usize>(), after + keepalives);
}

// req-test: RP-A-02, RP-4.1-10, RP-4.1-12, RP-6.1-07
#[test]
fn one_way_traffic_is_kept_alive_by_keepalives() {
    let mut w = established(2, &[2, 2]);
    let f = w.flow(0, 1, Traffic::OneWay(Duration::from_millis(100)));
    w.secs(120);
    assert!(w.hosts[1].counter("tx_keepalive") >= 20);
    assert_eq!(w.hosts[0].counter("tx_keepalive"), 0);
    assert_eq!(w.hosts[0].counter("tx_probe") + w.hosts[1].counter("tx_probe"), 0);
    w.assert_operational(&[0, 1]);
    w.stop(f);
    w.secs(60);
    let quiet = w.hosts[1].counter("tx_keepalive");
    w.secs(60);
    assert_eq!(w.hosts[1].counter("tx_keepalive"), quiet);
}

// req-test: RP-A-03, RP-4.1-14, RP-6.4-01, S6-5.2-02, S6-11.1-01, S6-7.2-04, S6-16-02
#[test]
fn a_silent_blackhole_is_survived() {
    for seed in 0..10 {
        let mut w = established(seed, &[2, 2]);
        let f = w.flow(0, 1, Traffic::Tcp { rto: Duration::from_millis(300) });
        w.secs(20);
        let (a, b) = (w.hosts[0].addrs[0], w.hosts[1].addrs[0]);
        w.cut(a, b, true);
        let cut = w.now;
        w.secs(30);
        w.assert_operational(&[0, 1]);
        let gap = w.longest_gap(1, f, cut);
        assert!(gap < Duration::from_millis(17_000), "{gap:?}");
        for h in &w.hosts {
            let c = h.only();
            assert!(c.tagged);
            assert!(c.pair.local.0 != h.addrs[0] || c.pair.peer.0 != c.ulids.peer.0);
            assert!(h.events.iter().any(|(_, e)| matches!(e, Event::Switched { .. })));
            assert!(h.events.iter().any(|(_, e)| matches!(e, Event::Recovered { .. })));
        }
    }
}

// req-test: RP-A-04, RP-3.3-02
#[test]
fn a_one_way_failure_moves_only_that_direction() {
    for seed in 0..10 {
        let mut w = established(seed, &[2, 2]);
        let f = w.flow(0, 1, Traffic::Tcp { rto: Duration::from_millis(300) });
        w.secs(20);
        let (a, b) = (w.hosts[0].addrs[0], w.hosts[1].addrs[0]);
        w.link(a, b).cut = true;
        let cut = w.now;
        w.secs(30);
        w.assert_operational(&[0, 1]);
        let gap = w.longest_gap(1, f, cut);
        assert!(gap < Duration::from_millis(17_000), "{gap:?}");
        let from_a = w.hosts[0].only().pair;
        assert!(from_a.local.0 != a || from_a.peer.0 != b);
        w.secs(60);
        w.assert_operational(&[0, 1]);
        // And the other way round.
        let mut w = established(seed, &[2, 2]);
        let f = w.flow(0, 1, Traffic::Tcp { rto: Duration::from_millis(300) });
        w.secs(20);
        w.link(b, a).cut = true;
        let cut = w.now;
        w.secs(40);
        w.assert_operational(&[0, 1]);
        let gap = w.longest_gap(0, f, cut);
        assert!(gap < Duration::from_millis(17_500), "{gap:?}");
        assert_eq!(w.hosts[0].only().reap, Some(ReapState::Operational));
    }
}

/// When the last packet that got through was one that needs no answer, the peer assures us with
/// Keepalives for a whole Keepalive Timeout that all is well: it cannot know what it does not hear.
/// Only then does the Send Timeout run out.
// req-test: RP-4.1-10, RP-4.1-14
#[test]
fn keepalives_of_a_peer_that_heard_last_delay_the_discovery_of_a_one_way_failure() {
    let timeout = Duration::from_secs(15);
    for answered in [true, false] {
        let mut w = established(7, &[2, 2]);
        let ulids = w.ulids(0, 1);
        let (a, b) = (w.hosts[0].addrs[0], w.hosts[1].addrs[0]);
        let flow = w.flow(0, 1, Traffic::Echo(Duration::from_millis(200)));
        w.secs(10);
        w.stop(flow);
        w.secs(1);
        w.payload(0, ulids);
        w.millis(100);
        if answered {
            w.payload(1, w.ulids(1, 0));
            w.millis(100);
        }
        w.link(a, b).cut = true;
        let cut = w.now;
        let keepalives = w.hosts[1].counter("tx_keepalive");
        w.flow(0, 1, Traffic::OneWay(Duration::from_millis(100)));
        w.secs(40);
        w.assert_operational(&[0, 1]);
        let found = w.hosts[0].events.iter().find_map(|(at, e)| match e {
            Event::Switched { .. } if *at > cut => Some(at.since(cut)),
            _ => None,
        });
        let found = found.expect("the failure is found");
        let keepalives = w.hosts[1].counter("tx_keepalive") - keepalives;
        if answered {
            assert!(found < timeout + Duration::from_millis(1_500), "{found:?}");
        } else {
            assert!(keepalives >= 2, "{keepalives}");
            assert!(found > timeout, "{found:?}");
            assert!(found < 2 * timeout + Duration::from_millis(1_500), "{found:?}");
        }
    }
}

/// A peer whose daemon does not run, or that has none: applications see nothing of our attempts, whether its kernel
/// refuses protocol 140 aloud or drops it, and none of their packets is changed, delayed or lost.
// req-test: S6-15.3-01
#[test]
fn a_peer_without_shim6_is_talked_to_as_without_us() {
    for refuses in [false, true] {
        let mut w = World::new(3, &[2, 2]);
        // Nothing of the control protocol arrives anywhere: there are but the hosts' addresses.
        w.lose = Some(Box::new(|_, _| true));
        let traffic = [
            Traffic::Tcp { rto: Duration::from_millis(300) },
            Traffic::Echo(Duration::from_millis(50)),
            Traffic::OneWay(Duration::from_millis(70)),
        ];
        let flows = traffic.map(|t| w.flow(0, 1, t));
        w.secs(5);
        let (began, ulids) = (w.now, w.ulids(0, 1));
        for round in 0..3 {
            w.notice(0, Notice::Heuristic(ulids));
            w.secs(1);
            if refuses && round == 0 {
                let (_, pair, i1) = w.hosts[0].sent_of("I1").last().copied().unwrap().clone();
                let (src, dst, quoted) = (pair.local, pair.peer, i1.emit());
                let (icmp_type, icmp_code) = (4, 1);
                let refused = Notice::ControlRefused { icmp_type, icmp_code, src, dst, quoted };
                w.notice(0, refused);
            }
            w.secs(299);
            assert_eq!(w.hosts[0].engine.context_count(), 0, "round {round}, refuses {refuses}");
        }
        let attempts = w.hosts[0].sent.len();
        assert_eq!(attempts, if refuses { 1 } else { 15 }, "I1s are all that leaves");
        assert_eq!(w.hosts[1].sent.len(), 0);
        for f in flows {
            let gap = w.longest_gap(1, f, began);
            assert!(gap <= Duration::from_millis(100), "flow {f}: {gap:?}");
            let got = w.hosts[1].received[&f].len() as u64;
            assert!(got + 1 >= w.flows[f].seq, "flow {f}: {got} of {}", w.flows[f].seq);
        }
        assert!(w.tagged_payload == 0, "no packet was given a payload header");
    }
}
