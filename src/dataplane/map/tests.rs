use super::*;
use crate::addr::{Locator, Ulid};
use crate::dataplane::testing::read_meanwhile;
use crate::proto::{Inbound, WakeOn};

fn forward(n: u64) -> Forward {
    let at = |side: u16| {
        std::net::Ipv6Addr::new(0x2001, 0xdb8, side, 0, 0, 0, (n >> 16) as u16, n as u16)
    };
    Forward {
        id: ContextId(n),
        ulids: UlidPair { local: Ulid(at(1)), peer: Ulid(at(2)) },
        fii: Fii::DEFAULT,
        local_tag: ContextTag::from_masked(n + 1000),
        outbound: Outbound::Plain,
        inbound: Inbound::Unmap,
        hold: false,
        watch: false,
        wake: WakeOn::Nothing,
    }
}

fn other_pair() -> LocatorPair {
    LocatorPair {
        local: Locator("2001:db8:a::1".parse().unwrap()),
        peer: Locator("2001:db8:b::1".parse().unwrap()),
    }
}

// req-test: S6-12.2-01, S6-12.4-04, S6-12.4-07, S6-4.1-01
#[test]
fn a_context_is_found_by_ulids_and_by_local_tag_only() {
    let map = Map::default();
    let f = forward(1);
    map.apply(&ForwardChange::Set(f.clone()));
    assert_eq!(map.by_ulids(f.ulids, Fii::DEFAULT).unwrap().forward().id, f.id);
    assert!(map.by_ulids(f.ulids, Fii(7)).is_none());
    assert_eq!(map.by_local_tag(f.local_tag).unwrap().forward().id, f.id);
    assert!(map.by_local_tag(ContextTag::from_masked(1)).is_none());
    assert_eq!(map.len(), 1);
    map.apply(&ForwardChange::Remove(f.id));
    assert!(map.is_empty());
    assert!(
        map.by_ulids(f.ulids, Fii::DEFAULT).is_none() && map.by_local_tag(f.local_tag).is_none()
    );
}

// req-test: S6-8-08
#[test]
fn a_quoted_packet_is_found_by_the_peers_tag_and_the_pair() {
    let map = Map::default();
    let mut one = forward(1);
    let mut two = forward(2);
    // The local tag of one is the peer's tag of the other.
    one.outbound = Outbound::Tagged(other_pair(), two.local_tag);
    map.apply(&ForwardChange::Set(one.clone()));
    map.apply(&ForwardChange::Set(two.clone()));
    assert_eq!(map.by_peer_tag(two.local_tag, other_pair()).unwrap().forward().id, one.id);
    assert!(map.by_peer_tag(one.local_tag, other_pair()).is_none());
    // After a switch only the new pair counts.
    let next =
        LocatorPair { local: other_pair().local, peer: Locator("2001:db8:c::1".parse().unwrap()) };
    one.outbound = Outbound::Tagged(next, two.local_tag);
    map.apply(&ForwardChange::Set(one.clone()));
    assert!(map.by_peer_tag(two.local_tag, other_pair()).is_none());
    assert!(map.by_peer_tag(two.local_tag, next).is_some());
    map.apply(&ForwardChange::Remove(one.id));
    assert!(map.by_peer_tag(two.local_tag, next).is_none());
    two.local_tag = ContextTag::from_masked(5);
    map.apply(&ForwardChange::Set(two.clone()));
    assert!(map.by_local_tag(ContextTag::from_masked(1002)).is_none());
    assert!(map.by_local_tag(two.local_tag).is_some());
}

#[test]
fn cells_survive_replacement_and_a_reader_sees_the_new_treatment() {
    let map = Map::default();
    let mut f = forward(1);
    map.apply(&ForwardChange::Set(f.clone()));
    let held_by_reader = map.by_ulids(f.ulids, Fii::DEFAULT).unwrap();
    held_by_reader.cells.touch_out(Time::from_secs(3), 10);
    f.outbound = Outbound::Tagged(other_pair(), ContextTag::from_masked(9));
    f.wake = WakeOn::Any;
    assert_eq!(map.apply(&ForwardChange::Set(f.clone())).unwrap().packets_out, 1);
    assert_eq!(map.activity(f.id).unwrap().packets_out, 1);
    assert_eq!(held_by_reader.forward().outbound, f.outbound);
    assert_eq!(map.look(f.id).unwrap().packets_out, 1);
    assert_eq!(map.apply(&ForwardChange::Wake(f.id, WakeOn::Any)), None);
    assert!(held_by_reader.cells.touch_out(Time::from_secs(4), 10).is_some());
    // Armed too late: the packet is reported by the arming itself.
    let told = map.apply(&ForwardChange::Wake(f.id, WakeOn::Any)).unwrap();
    assert_eq!(told.packets_out, 2);
    assert_eq!(map.apply(&ForwardChange::Wake(f.id, WakeOn::Inbound)), None);
    assert!(held_by_reader.cells.touch_in(Time::from_secs(5), 10).is_some());
    assert_eq!(map.contexts(), vec![(f.id, Some(Time::from_secs(5)))]);
    map.apply(&ForwardChange::ResendHeld(f.id));
    map.apply(&ForwardChange::Wake(ContextId(99), WakeOn::Any));
    map.apply(&ForwardChange::Remove(ContextId(99)));
    assert_eq!(map.len(), 1);
    assert!(map.activity(ContextId(99)).is_none() && map.entry(f.id).is_some());
}

#[test]
fn contexts_forked_from_one_pair_are_kept_apart() {
    let map = Map::default();
    let f = forward(1);
    let forked = Forward {
        id: ContextId(2),
        fii: Fii(0xffff_ffff),
        local_tag: ContextTag::from_masked(77),
        ..f.clone()
    };
    map.apply(&ForwardChange::Set(f.clone()));
    map.apply(&ForwardChange::Set(forked.clone()));
    assert_eq!(map.by_ulids(f.ulids, Fii::DEFAULT).unwrap().forward().id, f.id);
    assert_eq!(map.by_ulids(f.ulids, forked.fii).unwrap().forward().id, forked.id);
    map.apply(&ForwardChange::Remove(forked.id));
    assert!(map.by_ulids(f.ulids, Fii::DEFAULT).is_some());
}

#[test]
fn removing_a_context_leaves_its_successor_alone() {
    let map = Map::default();
    let old = forward(1);
    let new = Forward { id: ContextId(2), ..old.clone() };
    map.apply(&ForwardChange::Set(old.clone()));
    map.apply(&ForwardChange::Set(new.clone()));
    map.apply(&ForwardChange::Remove(old.id));
    assert_eq!(map.by_ulids(old.ulids, Fii::DEFAULT).unwrap().forward().id, new.id);
    assert_eq!(map.by_local_tag(old.local_tag).unwrap().forward().id, new.id);
}

#[test]
fn readers_always_find_an_entry_that_is_being_replaced() {
    let map = Map::default();
    for n in 0..2000 {
        map.apply(&ForwardChange::Set(forward(n)));
    }
    read_meanwhile(
        || {
            for n in 0..100 {
                let f = forward(n);
                assert_eq!(map.by_ulids(f.ulids, f.fii).unwrap().forward().id, f.id);
                assert!(map.by_local_tag(f.local_tag).is_some());
            }
        },
        || {
            for n in 2000..4000 {
                map.apply(&ForwardChange::Set(forward(n)));
                map.apply(&ForwardChange::Set(Forward { hold: n % 2 == 0, ..forward(n % 100) }));
                map.apply(&ForwardChange::Remove(ContextId(n - 1900)));
            }
        },
    );
    assert_eq!(map.len(), 2000);
}
