//! The order of pairs, what each property of it does, and rounds of them.

use super::*;
use crate::proto::reap::Action;
use crate::proto::settings::Ends;

/// What surrounds an exploration: two locators on each side, of four sites, all equal.
struct Scene {
    local: Vec<Candidate>,
    peer: Vec<Candidate>,
    current: LocatorPair,
    wanted: Ends,
    config: ReapConfig,
    rng: StdRng,
    actions: Vec<Action>,
}

impl Scene {
    fn new(local: &[&str], peer: &[&str]) -> Scene {
        let all = |list: &[&str]| list.iter().map(|a| candidate(a, 0)).collect::<Vec<_>>();
        let (local, peer) = (all(local), all(peer));
        let current = LocatorPair { local: Locator(local[0].addr), peer: Locator(peer[0].addr) };
        Scene {
            local,
            peer,
            current,
            wanted: Ends::default(),
            config: ReapConfig::default(),
            rng: StdRng::seed_from_u64(1),
            actions: Vec::new(),
        }
    }

    /// Each locator of a side is as far from the other side as the others are.
    fn square() -> Scene {
        Scene::new(&["2001:db8:1::1", "2001:db8:2::1"], &["2001:db9:1::1", "2001:db9:2::1"])
    }

    fn rcx(&mut self) -> ReapCx<'_> {
        ReapCx {
            now: Time::from_secs(100),
            rng: &mut self.rng,
            config: &self.config,
            local: &self.local,
            peer: &self.peer,
            current: self.current,
            wanted: self.wanted,
            ulids: self.current,
            actions: &mut self.actions,
        }
    }

    fn pair(&self, l: usize, p: usize) -> LocatorPair {
        LocatorPair { local: Locator(self.local[l].addr), peer: Locator(self.peer[p].addr) }
    }

    fn index(&self, pair: LocatorPair) -> (usize, usize) {
        let l = self.local.iter().position(|c| c.addr == pair.local.0).unwrap();
        (l, self.peer.iter().position(|c| c.addr == pair.peer.0).unwrap())
    }

    /// The order of all pairs, by their numbers on both sides.
    fn order(&mut self, e: &Explorer) -> Vec<(usize, usize)> {
        let ranked = e.ranked(&self.rcx());
        ranked.into_iter().map(|p| self.index(p)).collect()
    }

    fn next(&mut self, e: &mut Explorer, round: Round) -> Option<(usize, usize)> {
        let next = e.next(&self.rcx(), round);
        next.map(|p| self.index(p))
    }

    fn tries(&mut self, e: &mut Explorer, round: Round, n: usize) -> Vec<(usize, usize)> {
        (0..n).map(|_| self.next(e, round).unwrap()).collect()
    }

    /// An exploration after the failure of a pair.
    fn failed(&mut self, l: usize, p: usize) -> Explorer {
        let mut e = Explorer::default();
        let pair = self.pair(l, p);
        e.begin(pair, None, &mut self.rng);
        e
    }
}

const ALL: [(usize, usize); 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];

// req-test: RP-4.3-02
#[test]
fn equal_pairs_stay_in_the_order_of_the_lists() {
    let mut s = Scene::square();
    assert_eq!(s.order(&Explorer::default()), ALL);
    s.local[0].usable = false;
    assert_eq!(s.order(&Explorer::default()), [(1, 0), (1, 1)]);
    s.peer[1].usable = false;
    assert_eq!(s.order(&Explorer::default()), [(1, 0)]);
}

// req-test: RP-4.3-02
#[test]
fn marks_wishes_and_priorities_count_in_this_order() {
    let e = Explorer::default();
    let mut s = Scene::square();
    (s.local[0].broken, s.peer[0].broken) = (true, true);
    assert_eq!(s.order(&e), [(1, 1), (0, 1), (1, 0), (0, 0)], "two broken ends are worse than one");
    s.wanted.local = Some(Locator(s.local[0].addr));
    assert_eq!(s.order(&e), [(1, 1), (0, 1), (1, 0), (0, 0)]);
    (s.local[0].broken, s.peer[0].broken) = (false, false);
    s.wanted.local = Some(Locator(s.local[1].addr));
    assert_eq!(s.order(&e), [(1, 0), (1, 1), (0, 0), (0, 1)]);
    (s.local[1].priority, s.peer[0].priority) = (1, 1);
    assert_eq!(s.order(&e), [(1, 1), (1, 0), (0, 1), (0, 0)]);
    // Priorities of both sides add up.
    let mut s = Scene::square();
    (s.local[0].priority, s.local[1].priority) = (1, 2);
    (s.peer[0].priority, s.peer[1].priority) = (3, 5);
    assert_eq!(s.order(&e), [(0, 0), (1, 0), (0, 1), (1, 1)]);
}

// req-test: AS-4-01, RP-4.3-02
#[test]
fn labels_then_precedence_then_priority_then_common_prefix() {
    let e = Explorer::default();
    let mut s = Scene::new(&["fd00:1::1", "2001:db8:2::1"], &["fd00:2::1", "2001:db9:2::1"]);
    assert_eq!(s.order(&e), [(1, 1), (0, 0), (0, 1), (1, 0)]);
    (s.local[1].priority, s.peer[1].priority) = (9, 9);
    assert_eq!(s.order(&e), [(1, 1), (0, 0), (0, 1), (1, 0)]);
    let mut s = Scene::new(
        &["2001:db8:1::1", "2001:db8:4000::1"],
        &["2001:db8:4001::1", "2001:db8:1:8::1"],
    );
    assert_eq!(s.order(&e), [(0, 1), (1, 0), (0, 0), (1, 1)]);
    s.local[0].priority = 1;
    assert_eq!(s.order(&e), [(1, 0), (1, 1), (0, 1), (0, 0)]);
}

// req-test: RP-4.3-03
#[test]
fn what_has_something_in_common_with_the_failure_comes_later() {
    let mut s = Scene::square();
    for (l, p) in ALL {
        let (lo, po) = (1 - l, 1 - p);
        let mut near = [(l, po), (lo, p)];
        near.sort();
        let e = s.failed(l, p);
        assert_eq!(s.order(&e), [(lo, po), near[0], near[1], (l, p)]);
    }
    // A priority counts more than distance, but the pair that has failed is last in any case.
    let e = s.failed(0, 0);
    s.local[0].priority = 0;
    s.local[1].priority = 1;
    assert_eq!(s.order(&e), [(0, 1), (1, 1), (1, 0), (0, 0)]);
}

#[test]
fn among_equal_priorities_weights_draw_lots() {
    let mut s = Scene::square();
    let first = |s: &mut Scene| {
        let mut counts = [0; 2];
        for _ in 0..400 {
            let pair = s.pair(0, 0);
            let mut e = Explorer::default();
            e.begin(pair, None, &mut s.rng);
            e.order.failed = None;
            counts[s.order(&e)[0].1] += 1;
        }
        counts
    };
    assert_eq!(first(&mut s), [400, 0], "equal weights leave nothing to chance");
    s.local.iter_mut().chain(&mut s.peer).for_each(|c| c.weight = 7);
    assert_eq!(first(&mut s), [400, 0]);
    (s.peer[0].weight, s.peer[1].weight) = (5, 15);
    let [less, more] = first(&mut s);
    assert!((70..=130).contains(&less) && less + more == 400, "{less} {more}");
}

#[test]
fn lost_locators_are_left_out_unless_there_are_no_others() {
    let mut s = Scene::square();
    let mut e = Explorer::default();
    e.lose(Locator(s.local[0].addr));
    assert_eq!(s.order(&e), [(1, 0), (1, 1)]);
    e.lose(Locator(s.local[1].addr));
    assert_eq!(s.order(&e), ALL);
}

// req-test: RP-3.1-01
#[test]
fn only_usable_addresses_of_a_context_that_are_not_lost_are_probed() {
    let mut s = Scene::square();
    let mut e = Explorer::default();
    let (good, foreign) = (s.pair(0, 0), Locator("2001:db8:77::1".parse().unwrap()));
    let may = |s: &mut Scene, e: &Explorer, pair| e.may_probe(&s.rcx(), pair);
    assert!(may(&mut s, &e, good));
    assert!(!may(&mut s, &e, LocatorPair { local: foreign, ..good }));
    assert!(!may(&mut s, &e, LocatorPair { peer: foreign, ..good }));
    s.local[0].usable = false;
    assert!(!may(&mut s, &e, good));
    (s.local[0].usable, s.peer[0].usable) = (true, false);
    assert!(!may(&mut s, &e, good));
    s.peer[0].usable = true;
    e.lose(good.peer);
    assert!(!may(&mut s, &e, good));
    e.restore(&s.rcx(), good.peer);
    assert!(may(&mut s, &e, good));
    s.peer[0].addr = "fe80::1".parse().unwrap();
    let link_local = s.pair(0, 0);
    assert!(!may(&mut s, &e, link_local));
    let mut marked = Scene::square();
    assert!(!e.is_marked(&marked.rcx(), good));
    marked.peer[0].broken = true;
    assert!(e.is_marked(&marked.rcx(), good) && !e.is_marked(&marked.rcx(), marked_other()));
    (marked.local[0].broken, marked.peer[0].broken) = (true, false);
    assert!(e.is_marked(&marked.rcx(), good) && !e.is_marked(&marked.rcx(), marked_other()));
}

fn marked_other() -> LocatorPair {
    Scene::square().pair(1, 1)
}

// req-test: RP-4.3-03, RP-6.5-01
#[test]
fn a_round_tries_every_pair_once_and_is_told_of_once_in_exploring() {
    let mut s = Scene::square();
    for round in [Round::Exploring, Round::InboundOk] {
        let mut e = s.failed(0, 0);
        let mut tried = s.tries(&mut e, round, 4);
        assert_eq!((tried[0], tried[3]), ((1, 1), (0, 0)));
        tried.sort();
        assert_eq!(tried, ALL);
        assert!(!e.take_exhausted());
        assert_eq!(s.next(&mut e, round), Some((1, 1)), "the next round");
        assert_eq!(e.take_exhausted(), round == Round::Exploring);
        s.tries(&mut e, round, 9);
        assert!(!e.take_exhausted(), "only the first time");
        let failed = s.pair(0, 0);
        e.begin(failed, None, &mut s.rng);
        s.tries(&mut e, round, 5);
        assert_eq!(e.take_exhausted(), round == Round::Exploring, "another exploration");
    }
    // Each state has a round of its own.
    let mut e = s.failed(0, 0);
    assert_eq!(s.next(&mut e, Round::Exploring), Some((1, 1)));
    assert_eq!(s.next(&mut e, Round::InboundOk), Some((1, 1)));
    e.mark(Round::Exploring, s.pair(0, 1));
    e.mark(Round::Exploring, s.pair(0, 1));
    assert_eq!((e.rounds.tried.len(), e.rounds.tried_inbound.len()), (2, 1));
    assert_eq!(s.next(&mut e, Round::Exploring), Some((1, 0)));
    assert_eq!(s.next(&mut e, Round::InboundOk), Some((0, 1)));
}

#[test]
fn without_any_pair_nothing_is_exhausted() {
    let mut s = Scene::square();
    let mut e = s.failed(0, 0);
    s.local.iter_mut().for_each(|c| c.usable = false);
    assert_eq!(s.next(&mut e, Round::Exploring), None);
    assert_eq!(s.next(&mut e, Round::Exploring), None);
    assert!(!e.take_exhausted());
}

#[test]
fn a_loss_lasts_for_one_round() {
    let mut s = Scene::square();
    let mut e = s.failed(0, 0);
    e.lose(Locator(s.local[1].addr));
    assert_eq!(s.next(&mut e, Round::Exploring), Some((0, 1)));
    assert_eq!(s.next(&mut e, Round::Exploring), Some((0, 0)));
    let mut second = s.tries(&mut e, Round::Exploring, 4);
    assert_eq!(second[0], (1, 1));
    second.sort();
    assert_eq!(second, ALL);
    // The end forgets it as well, but not the order.
    e.lose(Locator(s.local[1].addr));
    e.end();
    assert!(
        !e.is_lost(s.pair(1, 1)) && e.rounds.tried.is_empty() && e.rounds.tried_inbound.is_empty()
    );
    assert_eq!(s.order(&e)[0], (1, 1));
}

#[test]
fn the_standby_is_first_if_it_may_be_probed() {
    let mut s = Scene::square();
    let (failed, standby) = (s.pair(0, 0), s.pair(0, 1));
    let mut e = Explorer::default();
    e.begin(failed, Some(standby), &mut s.rng);
    assert_eq!(s.next(&mut e, Round::InboundOk), Some((0, 1)));
    assert_eq!(e.rounds.tried_inbound, [standby]);
    assert_eq!(s.next(&mut e, Round::InboundOk), Some((1, 1)), "then what the failure leaves");
    e.begin(failed, Some(standby), &mut s.rng);
    e.lose(standby.peer);
    assert_eq!(s.next(&mut e, Round::Exploring), Some((1, 0)));
    // The pair that has failed, if only the way back is in doubt: several times, then the others.
    for (probes, expected) in [(0, 1), (1, 1), (4, 4)] {
        e.begin(failed, Some(failed), &mut s.rng);
        e.insist(probes);
        let here = (0..8).take_while(|_| s.next(&mut e, Round::Exploring) == Some((0, 0))).count();
        assert_eq!(here, expected);
    }
    e.begin(failed, Some(failed), &mut s.rng);
    s.next(&mut e, Round::Exploring);
    assert_ne!(s.next(&mut e, Round::Exploring), Some((0, 0)), "what was asked for before is over");
}

#[test]
fn a_locator_that_is_back_is_tried_next() {
    for (l, p, back) in [(1, 9, [(1, 0), (1, 1)]), (9, 0, [(0, 0), (1, 0)])] {
        let mut s = Scene::square();
        let mut e = s.failed(0, 0);
        s.tries(&mut e, Round::Exploring, 4);
        let locator = if l < 2 { s.local[l].addr } else { s.peer[p].addr };
        e.lose(Locator(locator));
        e.restore(&s.rcx(), Locator(locator));
        assert!(e.rounds.lost.is_empty());
        let mut next = s.tries(&mut e, Round::Exploring, 2);
        next.sort();
        assert_eq!(next, back);
        let mut next = s.tries(&mut e, Round::InboundOk, 2);
        next.sort();
        assert_eq!(next, back);
    }
}

/// Pairs that are candidates no more do not count as tried.
#[test]
fn subnets_that_were_tried_in_vain_come_later() {
    let mut s = Scene::new(
        &["2001:db8:1::1", "2001:db8:2::1"],
        &["2001:db9:1::1", "2001:db9:1::2", "2001:db9:2::1"],
    );
    let mut e = s.failed(0, 0);
    assert_eq!(s.next(&mut e, Round::Exploring), Some((1, 2)));
    // Between these two subnets none has gone yet; it has less in common with the failure than the next one.
    assert_eq!(s.next(&mut e, Round::Exploring), Some((1, 1)));
    assert_eq!(s.next(&mut e, Round::Exploring), Some((0, 2)));
    // The other address of subnets between which one has gone: the failure, or the second one.
    assert_eq!(s.next(&mut e, Round::Exploring), Some((0, 1)));
    s.peer.pop();
    assert_eq!(s.next(&mut e, Round::Exploring), Some((1, 0)));
    assert_eq!(e.rounds.tried.len(), 3, "{:?}", e.rounds.tried);
}

#[test]
fn the_alternative_is_as_far_from_the_current_pair_as_can_be() {
    let mut s = Scene::square();
    let e = Explorer::default();
    let alternative = |s: &mut Scene, but: &[(usize, usize)]| {
        let but: Vec<_> = but.iter().map(|&(l, p)| s.pair(l, p)).collect();
        e.alternative(&s.rcx(), &but).map(|p| s.index(p))
    };
    assert_eq!(alternative(&mut s, &[]), Some((1, 1)));
    assert_eq!(alternative(&mut s, &[(1, 1)]), Some((0, 1)));
    assert_eq!(alternative(&mut s, &[(1, 1), (0, 1), (1, 0)]), None, "never the current one");
    s.current = s.pair(1, 1);
    assert_eq!(alternative(&mut s, &[]), Some((0, 0)));
    s.peer[0].priority = 1;
    assert_eq!(alternative(&mut s, &[]), Some((0, 1)), "preferences first");
}

// req-test: RP-4.3-02
#[test]
fn the_preferred_pair_is_the_best_whatever_has_failed_and_among_equals_that_of_the_ulids() {
    let mut s = Scene::square();
    let mut e = s.failed(0, 0);
    e.order.salt = 7;
    let preferred = |s: &mut Scene, e: &Explorer| {
        let p = e.preferred(&s.rcx()).unwrap();
        s.index(p)
    };
    assert_eq!(preferred(&mut s, &e), (0, 0));
    // `current` stands for the ULIDs as well here.
    s.current = s.pair(1, 0);
    assert_eq!(preferred(&mut s, &e), (1, 0));
    s.local[0].priority = 1;
    s.peer[0].priority = 1;
    assert_eq!(preferred(&mut s, &e), (1, 1));
    s.peer[1].broken = true;
    assert_eq!(preferred(&mut s, &e), (1, 0));
    // Chance by weight has no part in it: the rest decides by the longest common prefix.
    let mut s =
        Scene::new(&["2001:db8:1::1"], &["2001:db9:1::1", "2001:dba:1::1", "2001:db8:9::1"]);
    s.current.peer = Locator("2001:db8:77::1".parse().unwrap());
    (s.peer[0].weight, s.peer[1].weight) = (3, 200);
    for salt in 0..20 {
        e.order.salt = salt;
        assert_eq!(preferred(&mut s, &e), (0, 2));
    }
}

// req-test: RP-6.8-03
#[test]
fn of_what_works_the_current_pair_stays_unless_it_is_marked_or_another_is_wanted() {
    let mut s = Scene::square();
    let mut e = Explorer::default();
    let choose = |s: &mut Scene, e: &Explorer, works: &[(usize, usize)]| {
        let works: Vec<_> = works.iter().map(|&(l, p)| s.pair(l, p)).collect();
        e.choose(&s.rcx(), &works).map(|p| s.index(p))
    };
    s.current = s.pair(1, 1);
    assert_eq!(choose(&mut s, &e, &ALL), Some((1, 1)));
    assert_eq!(choose(&mut s, &e, &[]), None);
    assert_eq!(choose(&mut s, &e, &[(1, 0), (0, 1)]), Some((0, 1)), "the best of them");
    s.peer[1].broken = true;
    assert_eq!(choose(&mut s, &e, &ALL), Some((0, 0)));
    assert_eq!(choose(&mut s, &e, &[(1, 1)]), Some((1, 1)), "better than none");
    s.peer[1].broken = false;
    // Somebody wants another end.
    s.wanted.local = Some(Locator(s.local[0].addr));
    assert_eq!(choose(&mut s, &e, &ALL), Some((0, 0)));
    assert_eq!(choose(&mut s, &e, &[(1, 1), (1, 0)]), Some((1, 1)), "which does not work");
    s.local[0].broken = true;
    assert_eq!(choose(&mut s, &e, &ALL), Some((1, 1)), "which is marked");
    s.wanted = Ends::of(s.current);
    s.local[0].broken = false;
    assert_eq!(choose(&mut s, &e, &ALL), Some((1, 1)));
    // What is lost is not used.
    s.wanted = Ends::default();
    e.lose(Locator(s.local[1].addr));
    assert_eq!(choose(&mut s, &e, &ALL), Some((0, 0)));
    assert_eq!(choose(&mut s, &e, &[(1, 1)]), None);
    s.wanted.local = Some(Locator(s.local[1].addr));
    s.current = s.pair(0, 1);
    assert_eq!(choose(&mut s, &e, &ALL), Some((0, 1)));
}
