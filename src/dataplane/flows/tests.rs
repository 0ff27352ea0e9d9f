use super::*;
use crate::dataplane::map::Map;
use crate::dataplane::testing::*;
use crate::proto::{Forward, ForwardChange};
use crate::wire::ipv6::walk;

fn flow(n: u32, peer: &str) -> Flow {
    let ulids = UlidPair { peer: Ulid(a(peer)), ..ulids() };
    Flow { protocol: 17, ulids, local_port: (n >> 16) as u16, peer_port: n as u16 }
}

fn map_with_fork() -> (Map, EntryRef) {
    let map = Map::default();
    let fork = Forward { fii: crate::addr::Fii(3), ..tagged() };
    map.apply(&ForwardChange::Set(fork));
    let entry = map.entry(tagged().id).unwrap();
    (map, entry)
}

fn kind(flows: &Flows, flow: &Flow) -> &'static str {
    match flows.get(flow) {
        Some(Treatment::Bound(_)) => "bound",
        Some(Treatment::Learned(_)) => "learned",
        Some(Treatment::LeaveAlone) => "alone",
        None => "none",
    }
}

#[test]
fn own_choices_come_before_what_packets_teach() {
    let (map, entry) = map_with_fork();
    let (flows, counters, id) = (&map.flows, Counters::default(), tagged().id);
    let f = flow(1, PEER);
    assert!(flows.is_empty());
    flows.learn(f, id, &entry, &counters);
    assert_eq!((kind(flows, &f), flows.is_empty()), ("learned", false));
    assert!(map.bind_flow(f, id));
    assert_eq!(kind(flows, &f), "bound");
    flows.learn(f, id, &entry, &counters);
    flows.leave_alone(f, &counters);
    assert_eq!(kind(flows, &f), "bound");
    flows.release(&f);
    assert_eq!((kind(flows, &f), flows.is_empty()), ("none", true));
    flows.leave_alone(f, &counters);
    flows.learn(f, id, &entry, &counters);
    assert_eq!(kind(flows, &f), "alone");
    assert_eq!(flows.count(), (0, 0, 1));
    assert!(!map.bind_flow(f, ContextId(99)), "no such context");
}

#[test]
fn flows_go_with_their_context() {
    let (map, entry) = map_with_fork();
    let counters = Counters::default();
    for n in 0..10 {
        map.flows.learn(flow(n, PEER), entry.forward().id, &entry, &counters);
        map.bind_flow(flow(100 + n, PEER), entry.forward().id);
    }
    map.flows.leave_alone(flow(1000, PEER), &counters);
    assert_eq!(map.flows.count(), (10, 10, 1));
    map.apply(&ForwardChange::Remove(tagged().id));
    assert_eq!(map.flows.count(), (0, 0, 1));
    let books = map.flows.lock();
    assert!(books.of_context.is_empty() && books.of_peer.is_empty());
    assert_eq!(books.kinds.len(), 1);
}

// req-test: AP-A-01
#[test]
fn what_packets_teach_is_bounded_per_peer_and_in_all() {
    let (map, entry) = map_with_fork();
    let (flows, counters, id) = (&map.flows, Counters::default(), tagged().id);
    map.bind_flow(flow(70_000, PEER), id);
    flows.learn(flow(1, PEER_TOO), id, &entry, &counters);
    for n in 0..3000 {
        flows.learn(flow(n, PEER), id, &entry, &counters);
    }
    assert_eq!(flows.count(), (1, LEARNED_PER_PEER + 1, 0));
    assert_eq!(counters.get(Counter::FlowShed), 3000 - LEARNED_PER_PEER as u64);
    assert_eq!(kind(flows, &flow(1, PEER_TOO)), "learned", "another peer's flows stay");
    assert_eq!(kind(flows, &flow(70_000, PEER)), "bound", "our own choices stay");
    // Which of them stay is chance: neither the oldest nor the newest alone.
    let old = (0..1500).filter(|n| kind(flows, &flow(*n, PEER)) == "learned").count();
    assert!(old < LEARNED_PER_PEER, "{old}");
    let table = (0..3000).filter(|n| kind(flows, &flow(*n, PEER)) == "learned").count();
    assert_eq!(table, LEARNED_PER_PEER, "books and table agree");
    for n in 0..LEFT_ALONE as u32 + 10 {
        flows.leave_alone(flow(n, ROUTER), &counters);
    }
    assert_eq!(flows.count().2, LEFT_ALONE);
}

#[test]
fn a_flow_has_one_key_for_both_directions() {
    let of = |packet: &[u8], way| flow_of(packet, &walk(packet).unwrap(), way);
    let there = of(&udp(US, PEER, b"x"), Way::Out).unwrap();
    assert_eq!((there.protocol, there.ulids), (17, ulids()));
    assert_eq!((there.local_port, there.peer_port), (0x1001, 0x1002));
    let mut back = udp(PEER, US, b"x");
    back[40..44].copy_from_slice(&[0x10, 2, 0x10, 1]);
    assert_eq!(of(&back, Way::In), Some(there));
    assert_eq!(of(&packet(US, PEER, 58, &[128, 0, 0, 0]), Way::Out), None, "no ports");
    assert_eq!(of(&packet(US, PEER, 17, &[1, 2, 3]), Way::Out), None, "cut short");
}
