use super::*;
use crate::addr::Ulid;
use crate::proto::engine::context::Setup;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn at(secs: u64) -> Time {
    Time::from_secs(secs)
}

fn tag(n: u64) -> ContextTag {
    ContextTag::from_masked(n)
}

fn ulids(peer: u16) -> UlidPair {
    UlidPair {
        local: Ulid("2001:db8:1::1".parse().unwrap()),
        peer: Ulid(std::net::Ipv6Addr::new(0x2001, 0xdb8, 2, peer, 0, 0, 0, 1)),
    }
}

/// A context that every index knows.
fn context(t: &mut Table, n: u16) -> Box<Context> {
    let id = t.new_id();
    let mut c = Context::new(id, ulids(n), Fii(0), tag(100 + u64::from(n)), at(1));
    c.peer_tag = Some(tag(200 + u64::from(n)));
    let nonce = InitNonce(300 + u32::from(n));
    c.setup = Some(Box::new(Setup::new(nonce, Vec::new(), at(10))));
    c.look = Some(at(20 + u64::from(n)));
    Box::new(c)
}

fn two() -> (Table, ContextId, ContextId) {
    let mut t = Table::default();
    let (a, b) = (context(&mut t, 1), context(&mut t, 2));
    let ids = (a.id, b.id);
    t.put(a, Some(at(11)));
    t.put(b, Some(at(12)));
    assert!(t.is_consistent());
    (t, ids.0, ids.1)
}

#[test]
fn the_check_notices_each_disagreement() {
    type Damage = fn(&mut Table, ContextId, ContextId);
    let damages: [(&str, Damage); 14] = [
        ("taken out", |t, a, _| drop(t.take(a))),
        ("out and there", |t, a, _| t.out.push((a, t.keys(a).unwrap()))),
        ("changed in place", |t, a, _| {
            let at = t.place(a).unwrap();
            t.slots[at].context.as_mut().unwrap().look = None;
        }),
        ("ULIDs of another", |t, _, b| {
            t.by_ulids.insert(t.hasher.hash_one((ulids(1), Fii(0))), b);
        }),
        ("local tag of another", |t, _, b| {
            t.by_local_tag.insert(tag(101), b);
        }),
        ("peer tag of another", |t, _, b| {
            t.by_peer_tag.insert(tag(201), b);
        }),
        ("nonce of another", |t, _, b| {
            t.by_nonce.insert(InitNonce(301), b);
        }),
        ("ULIDs of nobody", |t, a, _| {
            t.by_ulids.insert(t.hasher.hash_one((ulids(3), Fii(0))), a);
        }),
        ("local tag of nobody", |t, a, _| {
            t.by_local_tag.insert(tag(103), a);
        }),
        ("peer tag of nobody", |t, a, _| {
            t.by_peer_tag.insert(tag(203), a);
        }),
        ("nonce of nobody", |t, a, _| {
            t.by_nonce.insert(InitNonce(303), a);
        }),
        ("prefix of nobody", |t, _, _| {
            t.per_prefix.insert(Prefix::of(ulids(3).peer.0), 1);
        }),
        ("timer of nobody", |t, a, _| assert!(t.timers.insert((at(99), a)))),
        ("look of nobody", |t, a, _| assert!(t.looks.insert((at(99), a)))),
    ];
    for (what, damage) in damages {
        let (mut t, a, b) = two();
        damage(&mut t, a, b);
        assert!(!t.is_consistent(), "{what}");
    }
}

#[test]
fn a_context_is_found_by_what_it_has_become() {
    let (mut t, a, b) = two();
    let mut c = t.take(a).unwrap();
    c.ulids = ulids(1);
    c.fii = Fii(5);
    c.local_tag = tag(104);
    c.peer_tag = Some(tag(202));
    c.setup.as_mut().unwrap().nonce = InitNonce(304);
    c.look = Some(at(5));
    t.put(c, Some(at(6)));
    assert!(t.is_consistent());
    assert_eq!((t.find(ulids(1), Fii(5)), t.find(ulids(1), Fii(0))), (Some(a), None));
    assert_eq!((t.find_local_tag(tag(104)), t.find_local_tag(tag(101))), (Some(a), None));
    assert_eq!(t.find_peer_tag(tag(202)).collect::<Vec<_>>(), [b, a]);
    assert_eq!(t.find_peer_tag(tag(201)).count(), 0);
    assert_eq!((t.find_nonce(InitNonce(304)), t.find_nonce(InitNonce(301))), (Some(a), None));
    assert_eq!(t.next_time(), Some(at(5)));
    assert_eq!((t.due_timer(at(5)), t.due_timer(at(6))), (None, Some(a)));
    assert_eq!(t.due_look(at(4), at(9)), None);
    assert_eq!(t.due_look(at(5), at(9)), Some(a));
    assert_eq!(t.get(a).unwrap().look, Some(at(9)));
    assert!(t.is_consistent());
    assert_eq!(t.due_look(at(8), at(10)), None);
    t.remove(a, at(10), 1 << 47);
    assert!(t.is_consistent());
    assert_eq!((t.count(), t.ids()), (1, vec![b]));
    assert_eq!(t.find_peer_tag(tag(202)).collect::<Vec<_>>(), [b]);
    assert_eq!(t.in_prefix(Prefix::of(ulids(1).peer.0)), 0);
    assert_eq!(t.in_prefix(Prefix::of(ulids(2).peer.0)), 1);
}

#[test]
fn tags_rest_ten_minutes_and_no_more_of_them_than_there_is_room() {
    let (mut t, a, b) = two();
    let mut rng = StdRng::seed_from_u64(1);
    t.remove(a, at(100), 1 << 47);
    assert_eq!(t.resting.len(), 1);
    t.wake_tags(at(699));
    assert!(t.resting_set.contains(&tag(101)));
    t.wake_tags(at(700));
    assert!(t.resting.is_empty() && t.resting_set.is_empty());
    // Of eight tags two may rest; 0 is no tag, so five are left to give away.
    t.remove(b, at(700), 8);
    for n in 1..=3 {
        let mut c = context(&mut t, 10 + n);
        c.local_tag = tag(n.into());
        let id = c.id;
        t.put(c, None);
        t.remove(id, at(701), 8);
        assert!(t.resting.len() <= 2 && t.resting_set.len() == t.resting.len());
    }
    let resting: Vec<u64> = t.resting.iter().map(|(_, tag)| tag.value()).collect();
    assert_eq!(resting, [2, 3]);
    let mut given = BTreeSet::new();
    while let Some(tag) = t.new_tag(at(702), 8, &mut rng) {
        assert!(given.insert(tag.value()));
        let mut c = context(&mut t, 20 + tag.value() as u16);
        c.local_tag = tag;
        t.put(c, None);
    }
    assert_eq!(given.into_iter().collect::<Vec<_>>(), [1, 4, 5, 6, 7]);
    // In a space too small for a quarter nothing rests.
    let (mut t, a, _) = two();
    t.remove(a, at(100), 3);
    assert!(t.resting.is_empty() && t.resting_set.is_empty());
}

#[test]
fn contexts_with_one_hash_or_one_peer_tag_are_all_found() {
    let (mut t, a, b) = two();
    // The place of the third is taken, as if by a context with the same hash.
    let hash = t.hasher.hash_one((ulids(3), Fii(0)));
    t.by_ulids.insert(hash, a);
    let mut third = context(&mut t, 3);
    third.peer_tag = Some(tag(201));
    let c = third.id;
    t.put(third, None);
    assert_eq!(t.find(ulids(3), Fii(0)), Some(c));
    let mut third = t.take(c).unwrap();
    assert_eq!(t.find(ulids(3), Fii(0)), Some(c), "taken out as well");
    third.fii = Fii(9);
    t.put(third, None);
    assert_eq!((t.find(ulids(3), Fii(0)), t.find(ulids(3), Fii(9))), (None, Some(c)));
    t.by_ulids.remove(&hash);
    assert!(t.is_consistent());
    assert_eq!(t.find_peer_tag(tag(201)).collect::<Vec<_>>(), [a, c]);
    t.remove(a, at(1), 1 << 47);
    assert_eq!(t.find_peer_tag(tag(201)).collect::<Vec<_>>(), [c]);
    t.remove(c, at(1), 1 << 47);
    assert_eq!(t.find_peer_tag(tag(201)).count(), 0);
    assert!(t.is_consistent());
    assert_eq!(t.ids(), [b]);
}

#[test]
fn a_context_whose_place_another_has_is_no_disagreement() {
    let (mut t, _, b) = two();
    t.by_ulids.remove(&t.hasher.hash_one((ulids(2), Fii(0))));
    t.clashing.push(b);
    assert!(t.is_consistent());
}

#[test]
fn many_contexts_with_one_peer_tag_are_found_until_the_last_is_gone() {
    let mut t = Table::default();
    let all: Vec<ContextId> = (1..5)
        .map(|n| {
            let mut c = context(&mut t, n);
            c.peer_tag = Some(tag(77));
            let id = c.id;
            t.put(c, None);
            id
        })
        .collect();
    for gone in 0..=all.len() {
        assert_eq!(t.find_peer_tag(tag(77)).collect::<Vec<_>>(), all[gone..]);
        assert!(t.is_consistent());
        if let Some(id) = all.get(gone) {
            t.remove(*id, at(1), 1 << 47);
        }
    }
    assert!(t.same_peer_tag.is_empty());
}

/// So many contexts.
fn full(n: u16) -> (Table, Vec<ContextId>) {
    let mut t = Table::default();
    let mut ids = Vec::new();
    for n in 0..n {
        let c = context(&mut t, n);
        ids.push(c.id);
        t.put(c, None);
    }
    (t, ids)
}

#[test]
fn places_are_given_up_when_more_than_half_and_more_than_a_few_are_empty() {
    for (all, kept) in [(100, 50), (40, 32)] {
        let (mut t, ids) = full(all);
        for id in &ids[..kept] {
            t.remove(*id, at(1), 1 << 47);
            assert_eq!(t.slots.len(), usize::from(all));
        }
        t.remove(ids[kept], at(1), 1 << 47);
        assert_eq!(t.slots.len(), usize::from(all) - kept - 1);
        assert!(t.slots.capacity() >= 2 * t.slots.len(), "room to grow again");
    }
}

#[test]
fn a_context_that_is_taken_out_keeps_its_place_and_its_name() {
    let (mut t, ids) = full(60);
    t.remove(ids[1], at(1), 1 << 47);
    let c = t.take(ids[0]).unwrap();
    assert_eq!(t.ids().len(), 59);
    assert_eq!(t.ids()[0], ids[0]);
    for id in &ids[2..40] {
        t.remove(*id, at(1), 1 << 47);
    }
    assert_eq!(t.slots.first().map(|s| s.id), Some(ids[0]));
    assert_eq!((t.ids().len(), t.count()), (21, 21));
    t.put(c, None);
    assert!(t.is_consistent() && t.get(ids[0]).is_some());
}

#[test]
fn a_look_that_is_due_while_its_context_is_out_is_not_lost() {
    let (mut t, a, _) = two();
    let c = t.take(a).unwrap();
    assert_eq!(t.due_look(at(21), at(30)), Some(a));
    assert_eq!(t.due_look(at(21), at(30)), None);
    assert!(t.looks.contains(&(at(30), a)));
    t.put(c, None);
    assert!(t.is_consistent());
}

#[test]
fn places_of_contexts_that_are_gone_are_given_up() {
    let mut t = Table::default();
    let ids: Vec<ContextId> = (0..1000)
        .map(|n| {
            let c = context(&mut t, n);
            let id = c.id;
            t.put(c, None);
            id
        })
        .collect();
    for (n, id) in ids.iter().enumerate().filter(|(n, _)| n % 100 != 7) {
        assert!(t.slots.len() <= 2 * t.count() + SPARE_SLOTS, "{n}");
        t.remove(*id, at(1), 1 << 47);
    }
    let left: Vec<ContextId> = ids.into_iter().skip(7).step_by(100).collect();
    assert_eq!((t.ids(), t.count()), (left.clone(), 10));
    assert!(t.slots.len() <= 2 * 10 + SPARE_SLOTS);
    assert!(left.iter().all(|id| t.get(*id).is_some_and(|c| c.id == *id)));
    assert!(t.is_consistent());
}
