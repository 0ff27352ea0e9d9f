//! What follows from the peer's Probes: answers, their limits and ways, late reports, pairs that are dead.

use super::side::*;
use crate::proto::Rtt;
use crate::proto::config::{Detection, ReapConfig};
use crate::proto::reap::{Action, ReapState};
use crate::proto::settings::Ends;
use crate::wire::control::{ProbeReport, ProbeState};

/// A side that has explored all four pairs in vain, at 101.6 s.
fn explored() -> Side {
    let mut s = in_state(ReapState::Exploring, exact());
    s.run_to(secs(101.6));
    s
}

/// The report of our last Probe on a pair.
fn report(s: &Side, l: usize, p: usize) -> ProbeReport {
    let sent = s.log.iter().rev().find_map(|(_, a)| match a {
        Action::SendProbe { pair: on, sent, .. } if *on == pair(0, l, p) => Some(sent[0]),
        _ => None,
    });
    sent.expect("a Probe on this pair")
}

/// The peer has received our Probe on one pair, and says so on another.
fn hears(s: &mut Side, (l, p): (usize, usize), on: (usize, usize)) {
    let reports = vec![report(s, l, p)];
    let nonce = s.log.len() as u32;
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, on, nonce, reports));
}

#[test]
fn ten_answers_go_at_once_and_one_more_each_tenth_of_a_second() {
    let mut s = in_state(ReapState::InboundOk, exact());
    let ask = |s: &mut Side, at: f64, n: u32| {
        s.now = secs(at);
        s.take();
        let nonce = s.log.len() as u32;
        (0..n).for_each(|i| {
            s.probe_in(&probe_of_peer(ProbeState::Exploring, (0, 0), nonce + i, Vec::new()));
        });
        let actions = s.take();
        let refused = |a: &Action| *a == Action::Ignored("answer_rate");
        let sent = |a: &Action| matches!(a, Action::SendProbe { .. });
        let count = |f: &dyn Fn(&Action) -> bool| actions.iter().filter(|(_, a)| f(a)).count();
        (count(&sent), count(&refused))
    };
    assert_eq!(ask(&mut s, 200.0, 12), (10, 2));
    assert_eq!(ask(&mut s, 200.099, 1), (0, 1));
    assert_eq!(ask(&mut s, 200.1, 2), (1, 1));
    assert_eq!(ask(&mut s, 200.35, 5), (2, 3));
}

/// As long as the peer goes on asking, every other answer takes another pair.
#[test]
fn closing_answers_go_round_all_pairs_beside_the_one_that_works() {
    let mut s = in_state(ReapState::Exploring, exact());
    let mut ways = Vec::new();
    for _ in 0..9 {
        s.now = s.now + for_secs(0.5);
        s.take();
        hears(&mut s, (1, 1), (1, 0));
        ways.push(s.take_probes()[0].1);
    }
    let order = [(1, 1), (1, 1), (1, 1), (0, 1), (1, 1), (1, 0), (1, 1), (0, 0), (1, 1)];
    assert_eq!(ways, order.map(|(l, p)| pair(0, l, p)));
    // Not even a peer whose own round keeps step with ours hides one.
    for (peer, turn) in [((1, 1), 0), ((0, 1), 1)] {
        let mut s = in_state(ReapState::Exploring, exact());
        let mut ways = Vec::new();
        for n in 0..8 {
            s.now = s.now + for_secs(0.5);
            s.take();
            let other = if peer == (1, 1) { (0, 1) } else { (1, 1) };
            let by = if n % 2 == turn { peer } else { other };
            s.probe_in(&probe_of_peer(ProbeState::InboundOk, by, 60 + n, vec![]));
            ways.push(s.take_probes()[0].1);
        }
        for (l, p) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            assert!(ways.contains(&pair(0, l, p)), "{l} {p}: {ways:?}");
        }
    }
    // A message of another kind in between says that one has arrived.
    s.call(|r, rcx| r.on_keepalive(rcx));
    hears(&mut s, (1, 1), (1, 0));
    assert_eq!(s.take_probes().last().unwrap().1, pair(0, 1, 1));
}

#[test]
fn the_round_trip_is_that_of_the_newest_probe_reported() {
    for order in [[0, 1], [1, 0]] {
        let mut s = explored();
        s.now = secs(102.0);
        // Sent at 100.0 and, last of the four, at 101.5.
        let both = [report(&s, 1, 1), report(&s, 0, 0)];
        let reports = order.map(|i| both[i]).to_vec();
        s.probe_in(&probe_of_peer(ProbeState::InboundOk, (1, 1), 9, reports));
        assert_eq!(s.reap.last_rtt(), Some(for_secs(0.5)));
    }
}

// req-test: RP-6.8-03
#[test]
fn late_answers_by_other_pairs_move_nothing_once_the_pair_in_use_is_proven() {
    let (current, other) = (pair(0, 0, 0), pair(0, 1, 1));
    // Whether the pair is left for the one that a later message reports.
    let leaves = |on: (usize, usize), later: f64, between: fn(&mut Side)| {
        let mut s = explored();
        hears(&mut s, (0, 0), on);
        assert_eq!((s.reap.state(), s.current), (ReapState::Operational, current));
        between(&mut s);
        s.now = secs(101.6 + later);
        hears(&mut s, (1, 1), (1, 1));
        assert!([current, other].contains(&s.current));
        if s.current == current {
            assert_eq!(s.last_probe().received, [], "the peer keeps its pair as well");
        }
        s.current == other
    };
    let nothing = |_: &mut Side| {};
    assert!(!leaves((0, 0), 0.1, nothing));
    assert!(!leaves((0, 0), 9.9, nothing));
    assert!(
        leaves((1, 1), 0.1, nothing),
        "an answer by another way proves nothing of the way back"
    );
    assert!(leaves((0, 0), 0.1, |s| s.peer[0].broken = true));
    assert!(leaves((0, 0), 0.1, |s| s.local[0].usable = false));
    let wanted = |s: &mut Side| s.wanted = Ends { local: Some(addr(0, 1)), peer: None };
    assert!(leaves((0, 0), 0.1, wanted));
    // What was proven before another exploration counts no more.
    assert!(leaves((0, 0), 1.0, |s| s.call(|r, rcx| r.explore_now(rcx))));
    let mut s = explored();
    hears(&mut s, (0, 0), (0, 0));
    s.call(|r, rcx| r.explore_now(rcx));
    s.run_to(secs(103.2));
    hears(&mut s, (0, 1), (0, 1));
    assert_eq!(s.current, pair(0, 0, 1));
    s.now = secs(103.3);
    // Not proven either, for its Probe was answered while it was not in use yet.
    hears(&mut s, (1, 1), (1, 1));
    assert_eq!(s.current, other);
}

// req-test: RP-6.9-04
#[test]
fn nobody_is_operational_on_a_dead_pair_if_there_is_another() {
    let kills: [fn(&mut Side); 3] = [
        |s| s.local[0].usable = false,
        |s| s.peer[0].usable = false,
        |s| s.call(|r, rcx| r.on_local_failure(rcx, addr(0, 0))),
    ];
    for kill in kills {
        for state in [ProbeState::InboundOk, ProbeState::Operational] {
            let mut s = explored();
            kill(&mut s);
            s.probe_in(&probe_of_peer(state, (1, 1), 9, Vec::new()));
            assert_eq!((s.reap.state(), s.current), (ReapState::Exploring, pair(0, 0, 0)));
            let works = vec![report(&s, 1, 1)];
            s.probe_in(&probe_of_peer(state, (1, 1), 10, works));
            assert_eq!((s.reap.state(), s.current), (ReapState::Operational, pair(0, 1, 1)));
        }
    }
    // One that the candidates do not name has been withdrawn.
    let mut s = Side::new(0, 2, 2, exact(), 3);
    s.now = secs(100.0);
    s.local.remove(0);
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (1, 1), 9, Vec::new()));
    assert_eq!(s.reap.state(), ReapState::Exploring);
}

#[test]
fn only_pairs_that_may_be_used_are_noted_as_heard() {
    let mut s = Side::new(0, 2, 2, exact(), 3);
    s.now = secs(100.0);
    s.peer[1].usable = false;
    s.probe_in(&probe_of_peer(ProbeState::Operational, (0, 1), 8, Vec::new()));
    assert_eq!(s.reap.pairs(), []);
    s.probe_in(&probe_of_peer(ProbeState::Operational, (0, 0), 9, Vec::new()));
    let heard: Vec<_> = s.reap.pairs().iter().map(|p| (p.pair, p.heard)).collect();
    assert_eq!(heard, [(pair(0, 0, 0), Some(secs(100.0)))]);
}

/// A peer that suspects the same silence asks on the pair in use: a lost answer is repeated there while gaps are short.
#[test]
fn answers_to_questions_on_the_current_pair_stay_there_while_gaps_are_short() {
    let ways = |config: ReapConfig, on: (usize, usize), between: fn(&mut Side)| {
        let mut s = Side::new(0, 2, 2, config, 3);
        let variation = for_secs(0.001);
        s.cells.signs.rtt = Some(Rtt { smoothed: for_secs(0.02), variation });
        s.now = secs(100.0);
        s.read();
        s.probe_in(&probe_of_peer(ProbeState::Exploring, on, 8, Vec::new()));
        between(&mut s);
        let all = [(0, 0), (0, 1), (1, 0), (1, 1)];
        for _ in 0..5 {
            s.now = s.reap.poll_timeout().unwrap();
            s.call(|r, rcx| r.on_timer(rcx));
        }
        let name = |p| all.into_iter().find(|(l, q)| pair(0, *l, *q) == p).unwrap();
        s.take_probes().into_iter().map(|p| name(p.1)).collect::<Vec<_>>()
    };
    let fast = || ReapConfig { detection: Detection::Fast, ..exact() };
    let stays = ways(fast(), (0, 0), |_| {});
    assert_eq!(stays[..4], [(0, 0); 4]);
    assert!(!stays[4..].contains(&(0, 0)), "{stays:?}");
    let moves = |ways: Vec<(usize, usize)>| {
        let mut four = ways[..4].to_vec();
        four.sort();
        assert_eq!(four, [(0, 0), (0, 1), (1, 0), (1, 1)], "{ways:?}");
    };
    moves(ways(fast(), (1, 1), |_| {}));
    moves(ways(exact(), (0, 0), |_| {}));
    let lost = ways(fast(), (0, 0), |s| s.local[0].usable = false);
    assert_eq!(lost[0], (0, 0));
    assert!(lost[1..].iter().all(|w| w.0 == 1), "{lost:?}");
}

/// A packet that was noticed late does not end an exploration that began after it.
#[test]
fn payload_ends_an_exploration_only_if_it_came_after_its_beginning() {
    for (millis, state) in [(0, ReapState::Exploring), (1, ReapState::InboundOk)] {
        let mut s = in_state(ReapState::Exploring, exact());
        s.now = secs(100.0 + f64::from(millis) / 1000.0);
        s.payload_in();
        s.now = secs(100.3);
        s.read();
        assert_eq!(s.reap.state(), state, "{millis} ms later");
    }
}

/// Pairs whose locators are gone are forgotten with the next failure.
#[test]
fn a_new_failure_forgets_pairs_that_are_no_longer_there() {
    let mut s = explored();
    hears(&mut s, (0, 0), (0, 0));
    assert_eq!(s.reap.pairs().len(), 4);
    s.local.pop();
    s.call(|r, rcx| r.explore_now(rcx));
    let known = |s: &Side| {
        let mut pairs: Vec<_> = s.reap.pairs().iter().map(|p| p.pair).collect();
        pairs.sort_by_key(|p| (p.local, p.peer));
        pairs
    };
    assert_eq!(known(&s), [pair(0, 0, 0), pair(0, 0, 1)]);
    hears(&mut s, (0, 1), (0, 1));
    s.peer.remove(0);
    s.call(|r, rcx| r.explore_now(rcx));
    assert_eq!(known(&s), [pair(0, 0, 1)]);
}

#[test]
fn reasons_and_states_have_names_of_their_own() {
    use crate::proto::reap::Reason::*;
    let reasons = [
        SendTimeout,
        PeerExploring,
        PeerInboundOk,
        PeerOperational,
        LifeSign,
        LocalFailure,
        PeerWithdrew,
        TestFailed,
        Requested,
        Reestablished,
    ];
    let names: std::collections::HashSet<_> = reasons.iter().map(|r| r.name()).collect();
    assert_eq!(names.len(), reasons.len());
    assert!(names.iter().all(|n| n.len() > 5));
    let states = [ReapState::Operational, ReapState::Exploring, ReapState::InboundOk];
    assert_eq!(states.map(ReapState::name), ["Operational", "Exploring", "InboundOk"]);
}

/// The answer to a test that ran when the failure came proves a pair like any other.
// req-test: RP-6.8-03, RP-8-01
#[test]
fn whoever_explores_takes_the_pair_of_a_test_if_no_other_is_reported() {
    let other = pair(0, 1, 1);
    for state in [ProbeState::InboundOk, ProbeState::Operational] {
        let tested = |fails: bool| {
            let mut s = Side::new(0, 2, 2, exact(), 3);
            s.now = secs(100.0);
            s.read();
            assert!(s.call(|r, rcx| r.test_pair(rcx, other)));
            let answer = vec![report(&s, 1, 1)];
            if fails {
                s.now = secs(100.1);
                s.call(|r, rcx| r.explore_now(rcx));
            }
            s.now = secs(100.2);
            s.probe_in(&probe_of_peer(state, (1, 1), 9, answer));
            (s.reap.state(), s.current)
        };
        assert_eq!(tested(true), (ReapState::Operational, other), "{state:?}");
        assert_eq!(tested(false), (ReapState::Operational, pair(0, 0, 0)), "{state:?}");
    }
}

/// A peer that tests a pair of its own, which works, while ours has failed.
// req-test: RP-8-02, RP-6.8-03
#[test]
fn the_end_of_a_peers_test_does_not_end_an_exploration() {
    let other = pair(0, 1, 1);
    let ask = |nonce| probe_of_peer(ProbeState::Exploring, (1, 1), nonce, Vec::new());
    let end = |nonce| probe_of_peer(ProbeState::Operational, (1, 1), nonce, Vec::new());
    let mut s = in_state(ReapState::Exploring, exact());
    s.probe_in(&ask(1));
    assert_eq!(s.reap.state(), ReapState::InboundOk);
    s.take();
    s.probe_in(&end(2));
    // It shows no Probe of ours, so payload stays, and all pairs are asked again.
    assert_eq!((s.reap.state(), s.current), (ReapState::Exploring, pair(0, 0, 0)));
    assert_eq!(s.take_probes().len(), 1);
    s.run_to(secs(101.6));
    hears(&mut s, (1, 1), (1, 1));
    assert_eq!((s.reap.state(), s.current), (ReapState::Operational, other));
    // Whoever was Operational before stays so.
    let mut s = Side::new(0, 2, 2, exact(), 3);
    s.now = secs(100.0);
    s.read();
    s.probe_in(&ask(1));
    assert_eq!(s.reap.state(), ReapState::InboundOk);
    s.probe_in(&end(2));
    assert_eq!((s.reap.state(), s.current), (ReapState::Operational, pair(0, 0, 0)));
    // So does one that has said InboundOk on its own pair: it may be that which was heard.
    let mut s = in_state(ReapState::Exploring, exact());
    s.probe_in(&probe_of_peer(ProbeState::Exploring, (0, 0), 1, Vec::new()));
    s.probe_in(&end(2));
    assert_eq!((s.reap.state(), s.current), (ReapState::Operational, pair(0, 0, 0)));
}

/// The peer's word has no reason on the pair in use: it must be another one on which it has heard us, or a test's.
// req-test: RP-4.3-03, RP-5.2-08
#[test]
fn an_exploration_that_goes_on_begins_where_the_peer_was_told_that_we_hear_it() {
    let other = pair(0, 0, 1);
    let mut s = in_state(ReapState::Exploring, exact());
    s.probe_in(&probe_of_peer(ProbeState::Exploring, (0, 1), 1, Vec::new()));
    s.take();
    s.probe_in(&probe_of_peer(ProbeState::Operational, (0, 1), 2, Vec::new()));
    assert_eq!(s.reap.state(), ReapState::Exploring);
    assert_eq!(s.take_probes(), [(secs(100.0), other, ProbeState::Exploring)]);
    // What was sent counts still, what was heard does not.
    assert_eq!((s.last_probe().sent.len(), s.last_probe().received.len()), (3, 0));
    s.run_to(secs(101.0));
    assert!(s.take_probes().iter().all(|p| p.1 != other), "once");
    // Not only for as long as an exploration's reports outlive it.
    s.run_to(secs(115.0));
    let mine = s.log.iter().find_map(|(_, a)| match a {
        Action::SendProbe { sent, .. } => Some(sent[0]),
        _ => None,
    });
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (1, 1), 3, mine.into_iter().collect()));
    assert_eq!((s.reap.state(), s.current), (ReapState::Operational, pair(0, 1, 1)));
}

// req-test: RP-4.3-04, RP-4.3-07
#[test]
fn an_exploration_that_goes_on_keeps_its_gaps_and_a_distance() {
    let times = |config: ReapConfig, end: f64| {
        let mut s = in_state(ReapState::Exploring, config);
        s.probe_in(&probe_of_peer(ProbeState::Exploring, (1, 1), 1, Vec::new()));
        s.run_to(secs(end));
        s.take();
        s.probe_in(&probe_of_peer(ProbeState::Operational, (1, 1), 2, Vec::new()));
        assert_eq!(s.reap.state(), ReapState::Exploring);
        s.run_to(secs(end + 5.0));
        s.take_probes().iter().map(|p| p.0.since(secs(100.0)).as_millis()).collect::<Vec<_>>()
    };
    assert_eq!(times(exact(), 100.25), [250, 750, 1250, 1750, 2750, 4750]);
    // One, two and four seconds: the Probe out of turn brings none nearer.
    let doubling = ReapConfig { initial_probes: 1, ..exact() };
    assert_eq!(times(doubling, 103.25), [3250, 7000]);
}

#[test]
fn a_peer_that_asks_after_eight_of_the_longest_gaps_goes_on_asking() {
    let way = |last: f64| {
        let mut s = Side::new(0, 2, 2, exact(), 3);
        for (nonce, t) in [(1, 100.0), (2, 100.0), (3, 100.0), (4, last)] {
            s.now = secs(t);
            s.probe_in(&probe_of_peer(ProbeState::InboundOk, (1, 1), nonce, Vec::new()));
        }
        s.take_probes()[3].1
    };
    assert_eq!(way(580.0), pair(0, 0, 1));
    assert_eq!(way(580.5), pair(0, 0, 0), "later it asks anew");
}

#[test]
fn a_dead_pair_is_not_tested_once_another_is_in_use() {
    let mut s = explored();
    s.call(|r, rcx| r.on_local_failure(rcx, addr(0, 0)));
    s.probe_in(&probe_of_peer(ProbeState::InboundOk, (1, 1), 9, Vec::new()));
    assert_eq!(s.reap.state(), ReapState::Exploring);
    hears(&mut s, (1, 1), (1, 1));
    assert_eq!((s.reap.state(), s.current), (ReapState::Operational, pair(0, 1, 1)));
    s.take();
    s.run_to(secs(105.0));
    assert_eq!(s.take_probes(), []);
}
