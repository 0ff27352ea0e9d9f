//! What the network around may do to a host without harm, renumbering, and the rest of the rows that take two engines.

use crate::world::{Body, Traffic, World, present};
use shim6::addr::{Fii, Locator, Ulid, UlidPair};
use shim6::cga::Method;
use shim6::proto::engine::State;
use shim6::proto::input::{AddressEvent, LocalAddress};
use shim6::proto::{Command, Outbound};
use std::net::Ipv6Addr;
use std::time::Duration;

const OFTEN: Duration = Duration::from_millis(100);

/// Nothing of what a host sends leaves its ULIDs.
fn all_plain(w: &World, i: usize) -> bool {
    w.hosts[i].plane.entries.values().all(|e| e.forward.outbound == Outbound::Plain)
}

// req-test: AL-7.6-01, S6-4-02, S6-13-01
#[test]
fn a_firewall_against_shim6_harms_no_traffic() {
    // From the beginning: the attempt fails, the flow does not notice.
    let mut w = World::new(21, &[2, 2]);
    w.lose = Some(Box::new(|_, _| true));
    let since = w.now;
    let f = w.flow(0, 1, Traffic::Echo(OFTEN));
    w.establish(0, 1);
    for _ in 0..250 {
        w.secs(1);
        assert!(all_plain(&w, 0));
    }
    assert_eq!(w.hosts[0].engine.context_count(), 0);
    assert!(w.longest_gap(0, f, since) < 3 * OFTEN);
    // Later: exploration finds nothing better, and the initial pair stays in use.
    for traffic in [Traffic::Echo(OFTEN), Traffic::OneWay(OFTEN)] {
        let mut w = World::new(22, &[2, 2]);
        w.establish(0, 1);
        w.secs(1);
        w.lose = Some(Box::new(|_, _| true));
        let since = w.now;
        let f = w.flow(0, 1, traffic);
        for _ in 0..120 {
            w.secs(1);
            assert!(all_plain(&w, 0) && all_plain(&w, 1));
        }
        assert!(w.longest_gap(1, f, since) < 3 * OFTEN);
    }
}

// req-test: AL-7.7-01
#[test]
fn behind_prefix_translation_there_is_no_context_and_no_harm() {
    for method in [Method::Hba, Method::Cga] {
        let mut w = World::with(23, &[(2, method), (2, Method::Hba)], |_| {});
        let (inside, peer) = (w.hosts[0].addrs[0], w.hosts[1].addrs[0]);
        let outside: Ipv6Addr = "2001:db8:99:1::42".parse().unwrap();
        // All there is is a translator between the two.
        w.cut(inside, peer, true);
        let ulids = w.ulids(0, 1);
        w.establish(0, 1);
        let mut seen = 0;
        for _ in 0..3000 {
            w.millis(100);
            while let Some((_, p)) = w.wire.get(seen).cloned() {
                seen += 1;
                let Body::Control(octets) = p.body else { continue };
                match (p.src, p.dst) {
                    (src, dst) if (src, dst) == (inside, peer) => {
                        w.inject_octets(1, outside, peer, &octets);
                    }
                    (src, dst) if (src, dst) == (peer, outside) => {
                        w.inject_octets(0, peer, inside, &octets);
                    }
                    _ => {}
                }
            }
            assert_eq!(
                w.hosts[1].engine.context_count(),
                0,
                "its parameters are not those of {outside}"
            );
            assert!(all_plain(&w, 0));
        }
        assert!(w.hosts[0].sent_of("I2").len() > 1, "R1 came through");
        assert!(
            w.hosts[1].drops.get("pds_foreign").is_some_and(|n| *n > 1),
            "{:?}",
            w.hosts[1].drops
        );
        assert_eq!(w.hosts[0].engine.find(ulids, Fii(0)), None, "given up");
    }
}

// req-test: AL-3.3-01
#[test]
fn an_address_that_is_neither_hba_nor_cga_is_a_ulid_without_further_locators() {
    let mut w = World::with(24, &[(2, Method::HbaCga), (2, Method::Hba)], |_| {});
    let leased: Ipv6Addr = "2001:db8:1:1::1234".parse().unwrap();
    w.address(0, present(leased));
    w.hosts[0].addrs.push(leased);
    let ulids = UlidPair { local: Ulid(leased), peer: w.hosts[1].ulid(0) };
    w.on(0, |e, cx| e.handle_command(cx, Command::Establish(ulids))).unwrap();
    w.secs(2);
    let (ours, theirs) = (w.hosts[0].only(), w.hosts[1].only());
    assert_eq!((ours.state, theirs.state), (State::Established, State::Established));
    assert_eq!(ours.local_locators.len(), 1, "nothing vouches for others");
    assert_eq!(theirs.peer_locators.len(), 1);
    assert_eq!(theirs.peer_locators[0].locator, Locator(leased));
    // As a locator beside a ULID with a key it goes by signature.
    w.establish(0, 1);
    w.secs(2);
    let id = w.hosts[1].engine.find(w.ulids(1, 0), Fii(0)).unwrap();
    let signed = w.hosts[1].engine.context(id).unwrap();
    assert!(signed.peer_locators.iter().any(|l| l.locator == Locator(leased) && l.verified));
}

/// A provider is exchanged while its addresses are in use: deprecated, a new prefix beside them, then gone.
// req-test: S6-10.1-01, S6-10-01
#[test]
fn renumbering_keeps_the_flow_alive() {
    for seed in 0..5 {
        let hosts = [(3, Method::HbaCga), (2, Method::Hba)];
        let mut w = World::with(seed, &hosts, |_| {});
        // The third prefix is not there yet.
        let (old, new) = (w.hosts[0].addrs[1], w.hosts[0].addrs[2]);
        w.address(0, AddressEvent::Gone(new));
        w.establish(0, 1);
        w.secs(1);
        assert_eq!(w.hosts[1].only().peer_locators.len(), 2);
        let f = w.flow(0, 1, Traffic::Echo(OFTEN));
        w.secs(2);
        // The ULIDs' own path fails, so that both hosts use the prefix that is to go.
        let ulid = w.hosts[0].addrs[0];
        w.cut_address(0, ulid, true);
        w.secs(30);
        assert_eq!(w.hosts[0].only().pair.local.0, old);
        w.assert_operational(&[0, 1]);
        let since = w.now;
        let deprecated = LocalAddress { addr: old, deprecated: true, temporary: false };
        w.address(0, AddressEvent::Present(deprecated));
        w.secs(10);
        w.address(0, present(new));
        w.secs(10);
        assert_eq!(w.hosts[1].only().peer_locators.len(), 3, "announced and acknowledged");
        assert!(w.longest_gap(1, f, since) < 3 * OFTEN, "nothing of it disturbs the flow");
        // Now the old one goes, under the flow.
        w.address(0, AddressEvent::Gone(old));
        w.cut_address(0, old, true);
        let gone = w.now;
        w.secs(20);
        assert!(w.longest_gap(1, f, gone) < Duration::from_secs(4), "{seed}");
        assert!(w.longest_gap(0, f, gone) < Duration::from_secs(4), "{seed}");
        assert_eq!(w.hosts[0].only().pair.local.0, new);
        assert_eq!(w.hosts[1].only().pair.peer.0, new);
        assert_eq!(w.hosts[1].only().peer_locators.len(), 2, "the old one is withdrawn");
        assert_eq!(w.hosts[0].only().ulids.local.0, ulid, "applications see no change");
        w.assert_operational(&[0, 1]);
        w.assert_established(0, 1);
    }
}

/// The prefix of the ULID itself ends: that is the end of its communication, and of nothing else.
// req-test: S6-1.5-01, S6-1.5-02
#[test]
fn renumbering_of_the_ulid_ends_its_context_alone() {
    let mut w = World::with(30, &[(2, Method::HbaCga), (2, Method::Hba)], |_| {});
    w.establish(0, 1);
    let other = UlidPair { local: w.hosts[0].ulid(1), peer: w.hosts[1].ulid(0) };
    w.on(0, |e, cx| e.handle_command(cx, Command::Establish(other))).unwrap();
    w.secs(1);
    let ulid = w.hosts[0].addrs[0];
    w.address(0, AddressEvent::Gone(ulid));
    w.secs(5);
    assert_eq!(w.hosts[0].engine.find(w.ulids(0, 1), Fii(0)), None);
    let left = w.hosts[0].only();
    assert_eq!((left.ulids, left.state), (other, State::Established));
    assert!(left.local_locators.iter().all(|l| l.locator.0 != ulid));
}

/// Both ends forget everything at once while they are on other locators than their ULIDs.
// req-test: S6-7.5-01
#[test]
fn contexts_lost_on_both_sides_at_once_come_back() {
    for seed in 0..5 {
        let mut w = World::new(seed, &[2, 2]);
        w.establish(0, 1);
        w.secs(1);
        let f = w.flow(0, 1, Traffic::Echo(OFTEN));
        w.secs(2);
        let (a, b) = (w.hosts[0].addrs[0], w.hosts[1].addrs[0]);
        w.cut(a, b, true);
        w.secs(30);
        assert!(w.hosts[0].only().tagged && w.hosts[1].only().tagged);
        // Tagged packets of both are still on their way.
        w.restart(0);
        w.restart(1);
        w.cut(a, b, false);
        let since = w.now;
        for (i, j) in [(0, 1), (1, 0)] {
            let ulids = w.ulids(i, j);
            w.at(Duration::from_millis(500 + i as u64), move |w| {
                w.notice(i, shim6::proto::Notice::Heuristic(ulids));
            });
        }
        w.secs(20);
        assert!(w.longest_gap(1, f, since) < Duration::from_secs(1), "plain packets go on at once");
        w.assert_established(0, 1);
        w.assert_operational(&[0, 1]);
        assert!(w.hosts[0].sent_of("R1bis").len() + w.hosts[1].sent_of("R1bis").len() <= 4);
    }
}
