//! The order in which pairs are tried.

use super::side::*;
use crate::addr::{Locator, LocatorPair};
use crate::proto::config::ReapConfig;
use crate::proto::reap::ReapState;
use crate::proto::reap::{
    Candidate, ReapCx,
    explore::{Explorer, Round},
};
use crate::wire::control::ProbeState;
use std::collections::HashSet;

fn ranked(s: &mut Side, failed: Option<LocatorPair>) -> Vec<LocatorPair> {
    let mut e = Explorer::default();
    if let Some(f) = failed {
        e.begin(f, None, &mut s.rng);
    }
    let rcx = ReapCx {
        now: s.now,
        rng: &mut s.rng,
        config: &s.config,
        local: &s.local,
        peer: &s.peer,
        current: s.current,
        wanted: Default::default(),
        ulids: s.ulids,
        actions: &mut Vec::new(),
    };
    e.ranked(&rcx)
}

fn named(list: &[&str]) -> Vec<Candidate> {
    list.iter().map(|a| candidate(Locator(a.parse().unwrap()))).collect()
}

fn addresses(pairs: &[LocatorPair]) -> Vec<(String, String)> {
    pairs.iter().map(|p| (p.local.to_string(), p.peer.to_string())).collect()
}

fn both(l: &str, p: &str) -> (String, String) {
    (l.to_string(), p.to_string())
}

// req-test: RP-4.3-01, RP-3.1-01, AS-4-01
#[test]
fn addresses_that_are_no_locators_make_no_pairs() {
    let mut s = Side::new(0, 1, 1, exact(), 1);
    s.local = named(&["2001:db8::1", "fe80::1", "fec0::1", "::1", "fd00::1"]);
    s.peer = named(&["2001:db8:9::1", "fe80::2", "ff02::1", "::ffff:192.0.2.1", "::"]);
    let pairs = ranked(&mut s, None);
    let one = |l: &str| both(l, "2001:db8:9::1");
    assert_eq!(addresses(&pairs), [one("2001:db8::1"), one("fd00::1")]);
    s.local[0].usable = false;
    assert_eq!(addresses(&ranked(&mut s, None)), [one("fd00::1")]);
}

// req-test: RP-4.3-02, AS-2.2-01
#[test]
fn order_is_by_label_preference_and_prefix() {
    let mut s = Side::new(0, 1, 1, exact(), 1);
    s.local = named(&["2001:db8:1::1", "2001:db8:2::1", "fd00:1::1"]);
    s.peer = named(&["fd00:2::1", "2001:db8:3::1"]);
    let pairs = addresses(&ranked(&mut s, None));
    assert_eq!(
        pairs,
        [
            // 2 and 3 share a bit more than 1 and 3.
            both("2001:db8:2::1", "2001:db8:3::1"),
            both("2001:db8:1::1", "2001:db8:3::1"),
            both("fd00:1::1", "fd00:2::1"),
            both("fd00:1::1", "2001:db8:3::1"),
            both("2001:db8:1::1", "fd00:2::1"),
            both("2001:db8:2::1", "fd00:2::1"),
        ]
    );
    // Preferences of either side come before the common prefix, a broken locator after everything.
    s.local[1].priority = 1;
    assert_eq!(addresses(&ranked(&mut s, None))[0], both("2001:db8:1::1", "2001:db8:3::1"));
    s.peer[1].broken = true;
    assert_eq!(addresses(&ranked(&mut s, None))[0], both("fd00:1::1", "fd00:2::1"));
    // Beyond the 64 bits of a subnet nothing counts: what is next comes in the order of the list.
    let mut s = Side::new(0, 1, 1, exact(), 1);
    s.local = named(&["2001:db8:1::1", "2001:db8:1::ffff"]);
    s.peer = named(&["2001:db8:1::fffe"]);
    assert_eq!(addresses(&ranked(&mut s, None))[0], both("2001:db8:1::1", "2001:db8:1::fffe"));
}

// req-test: RP-4.3-02
#[test]
fn alternatives_without_a_common_locator_come_first_and_the_failed_pair_last() {
    let mut s = Side::new(0, 3, 2, exact(), 1);
    let pairs = ranked(&mut s, Some(pair(0, 0, 0)));
    assert_eq!(pairs.len(), 6);
    assert_eq!(pairs[5], pair(0, 0, 0));
    assert!(pairs[..2].iter().all(|p| p.local != addr(0, 0) && p.peer != addr(1, 0)));
    // Preferences decide before that; but even broken alternatives come before what has just failed.
    s.peer[1].priority = 1;
    assert_eq!(ranked(&mut s, Some(pair(0, 0, 0)))[0].peer, addr(1, 0));
    s.peer[1].broken = true;
    s.local[1].broken = true;
    s.local[2].broken = true;
    assert_eq!(ranked(&mut s, Some(pair(0, 0, 0)))[5], pair(0, 0, 0));
}

// req-test: RP-4.3-02
#[test]
fn weights_are_shares() {
    let mut first = [0u32; 3];
    for seed in 0..3000 {
        let mut s = Side::new(0, 3, 1, exact(), seed);
        s.local[0].weight = 10;
        s.local[1].weight = 30;
        let f = LocatorPair { local: addr(0, 9), peer: addr(1, 9) };
        let best = ranked(&mut s, Some(f))[0];
        first[(0..3).find(|i| addr(0, *i) == best.local).unwrap()] += 1;
        assert_eq!(ranked(&mut s, Some(f)).len(), 3);
    }
    assert!((600..900).contains(&first[0]), "{first:?}");
    assert!((2100..2400).contains(&first[1]), "{first:?}");
    assert!(first[2] < 60, "{first:?}");
}

// req-test: RP-4.3-03, RP-6.5-01
#[test]
fn all_pairs_are_tried_before_one_is_tried_again() {
    let mut s = Side::new(0, 3, 3, ReapConfig::default(), 5);
    s.call(|r, rcx| r.explore_now(rcx));
    s.run_to(secs(2000.0));
    let probes: Vec<_> = s.take_probes().iter().map(|p| p.1).collect();
    assert!(probes.len() > 27);
    for round in probes.chunks_exact(9) {
        let distinct: HashSet<_> = round.iter().collect();
        assert_eq!(distinct.len(), 9);
        assert_eq!(round[8], pair(0, 0, 0));
        assert!(round[0].local != addr(0, 0) && round[0].peer != addr(1, 0));
    }
}

#[test]
fn new_candidates_join_a_running_round() {
    let mut s = Side::new(0, 2, 2, exact(), 5);
    s.call(|r, rcx| r.explore_now(rcx));
    s.run_to(secs(0.6));
    s.peer.push(candidate(addr(1, 7)));
    s.peer[1].usable = false;
    s.run_to(secs(3.0));
    let probes: Vec<_> = s.take_probes().iter().skip(2).map(|p| p.1).collect();
    assert_eq!(probes.iter().filter(|p| p.peer == addr(1, 7)).count(), 2);
    assert!(probes.iter().all(|p| p.peer != addr(1, 1)));
}

#[test]
fn answers_go_back_where_the_probe_came_from() {
    let mut s = Side::new(0, 2, 2, exact(), 5);
    for (i, (l, p)) in [(1, 0), (0, 1), (1, 1)].into_iter().enumerate() {
        s.probe_in(&probe_of_peer(ProbeState::Exploring, (l, p), i as u32, Vec::new()));
        assert_eq!(s.take_probes(), [(s.now, pair(0, l, p), ProbeState::InboundOk)]);
    }
    // Then the pairs that are left, then all again.
    s.run_to(secs(0.5));
    assert_eq!(s.take_probes()[0].1, pair(0, 0, 0));
    assert_eq!(s.reap.state(), ReapState::InboundOk);
    s.run_to(secs(4.0));
    assert_eq!(s.take_probes().len(), 3);
    // A source that is none of the peer's locators gets no Probe.
    s.peer[1].usable = false;
    s.probe_in(&probe_of_peer(ProbeState::Exploring, (0, 1), 9, Vec::new()));
    assert_eq!(s.take_probes()[0].1.peer, addr(1, 0));
}

/// A side that is Operational repeats nothing by itself; its answers have to find a way that works.
#[test]
fn closing_answers_take_a_proven_pair_and_then_others() {
    let mut s = in_state(ReapState::Exploring, exact());
    let proven = s.last_probe().sent[0];
    let mut seen = HashSet::new();
    for i in 0..8 {
        s.now = s.now + for_secs(0.5);
        s.take();
        s.probe_in(&probe_of_peer(ProbeState::InboundOk, (1, 0), i, vec![proven]));
        let sent = s.take_probes();
        if i % 2 == 0 {
            assert_eq!(sent[0].1, pair(0, 1, 1), "the pair that was reported");
        }
        seen.insert(sent[0].1);
    }
    assert_eq!(seen.len(), 4);
}

/// The mirrored pair is taken if it is among the reported ones: example 5 of the RFC.
// req-test: RP-A-04
#[test]
fn closing_answer_prefers_the_mirrored_pair() {
    let mut s = in_state(ReapState::Exploring, exact());
    s.run_to(secs(101.6));
    let probe = s.last_probe();
    s.take();
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (1, 1), 9, probe.sent));
    assert_eq!(s.take_probes()[0].1, pair(0, 1, 1));
    assert_eq!(s.current, pair(0, 0, 0));
    assert_eq!(s.reap.state(), ReapState::Operational);
}

/// Four providers and two addresses of each on both sides: the first three probes go by the three providers at either
/// end that have not failed, and no two of the first fifteen by the same two.
// req-test: RP-4.3-02
#[test]
fn providers_that_have_not_been_tried_come_first() {
    let mut s = Side::new(0, 1, 1, exact(), 1);
    let list = |side: &str| -> Vec<String> {
        let host = |h: &'static str| (1..=4).map(move |i| (i, h));
        host("1").chain(host("2")).map(|(i, h)| format!("2001:db8:{side}{i}::{h}")).collect()
    };
    let (local, peer) = (list("a"), list("b"));
    s.local = named(&local.iter().map(String::as_str).collect::<Vec<_>>());
    s.peer = named(&peer.iter().map(String::as_str).collect::<Vec<_>>());
    let failed = LocatorPair { local: Locator(s.local[0].addr), peer: Locator(s.peer[0].addr) };
    let mut e = Explorer::default();
    e.begin(failed, None, &mut s.rng);
    let rcx = ReapCx {
        now: s.now,
        rng: &mut s.rng,
        config: &s.config,
        local: &s.local,
        peer: &s.peer,
        current: failed,
        wanted: Default::default(),
        ulids: failed,
        actions: &mut Vec::new(),
    };
    let tried: Vec<_> = (0..64).filter_map(|_| e.next(&rcx, Round::Exploring)).collect();
    let subnet = |l: Locator| l.0.segments()[2];
    let locals: HashSet<_> = tried[..3].iter().map(|p| subnet(p.local)).collect();
    let peers: HashSet<_> = tried[..3].iter().map(|p| subnet(p.peer)).collect();
    assert_eq!((locals.len(), peers.len()), (3, 3), "{:?}", &tried[..3]);
    assert!(!locals.contains(&subnet(failed.local)) && !peers.contains(&subnet(failed.peer)));
    let between: HashSet<_> =
        tried[..15].iter().map(|p| (subnet(p.local), subnet(p.peer))).collect();
    assert_eq!(between.len(), 15, "{:?}", &tried[..15]);
    assert_eq!(tried.iter().collect::<HashSet<_>>().len(), 64);
    assert_eq!(tried.last(), Some(&failed));
}
