use super::*;
use crate::dataplane::map::{EntryRef, Map};
use crate::dataplane::testing::*;
use crate::proto::{Forward, ForwardChange};
use crate::wire::ipv6::walk;
use std::time::Duration;

const START: Time = Time::from_secs(1000);

struct Case {
    held: Held,
    map: Map,
    counters: Counters,
}

impl Case {
    fn new(config: HeldConfig) -> Case {
        let map = Map::default();
        map.apply(&ForwardChange::Set(plain()));
        Case { held: Held::new(config), map, counters: Counters::default() }
    }

    fn entry(&self) -> EntryRef {
        self.map.entry(plain().id).unwrap()
    }

    fn out(&self, packet: &[u8]) {
        self.out_at(packet, START);
    }

    fn out_at(&self, packet: &[u8], now: Time) {
        self.held.keep(&self.entry(), packet, &walk(packet).unwrap(), &self.counters, now);
    }

    fn acked(&self, ack: u32, flags: u8) {
        self.acked_at(ack, flags, START);
    }

    fn acked_at(&self, ack: u32, flags: u8, now: Time) {
        let mut packet = tcp(PEER, US, 5, flags, &[], b"");
        packet[40..44].copy_from_slice(&[0x20, 2, 0x20, 1]);
        packet[48..52].copy_from_slice(&ack.to_be_bytes());
        let walk = walk(&packet).unwrap();
        self.held.acknowledge(&self.entry(), &packet, &walk, &self.counters, now);
    }
}

fn data(seq: u32, len: usize) -> Vec<u8> {
    tcp(US, PEER, seq, flag::ACK, &[], &pattern(len))
}

#[test]
fn the_lowest_unacknowledged_segment_is_kept_across_the_wrap() {
    let c = Case::new(HeldConfig::default());
    c.out(&data(10, 100));
    c.out(&data(u32::MAX - 9, 20));
    c.out(&data(10, 100));
    c.out(&tcp(US, PEER, u32::MAX - 50, flag::ACK, &[], b""));
    c.out(&udp(US, PEER, b"never"));
    assert_eq!(c.entry().cells.held(), 1);
    // An acknowledgement of a part frees nothing.
    c.acked(9, flag::ACK);
    assert_eq!(c.held.size(), (1, 80));
    c.acked(10, flag::ACK);
    assert_eq!(c.held.size(), (0, 0));
    assert_eq!(c.entry().cells.held(), 0);
    c.out(&data(10, 100));
    let taken = c.held.take(plain().id);
    assert_eq!(taken, [data(10, 100)]);
    assert!(c.held.take(plain().id).is_empty());
    assert_eq!(c.held.size(), (0, 0));
}

#[test]
fn syn_and_fin_count_and_a_reset_forgets() {
    let c = Case::new(HeldConfig::default());
    c.out(&tcp(US, PEER, 7, flag::SYN, &[], b""));
    c.acked(7, flag::ACK);
    assert_eq!(c.held.size().0, 1);
    c.acked(8, flag::ACK | flag::SYN);
    assert_eq!(c.held.size().0, 0);
    c.out(&tcp(US, PEER, 9, flag::FIN | flag::ACK, &[], b""));
    assert_eq!(c.held.size().0, 1);
    c.acked(0, flag::RST);
    assert_eq!(c.held.size().0, 0);
    c.out(&data(1, 10));
    c.out(&tcp(US, PEER, 11, flag::RST, &[], b""));
    assert_eq!((c.held.size().0, c.entry().cells.held()), (0, 0));
}

#[test]
fn segments_that_were_sent_before_are_recognised_per_flow() {
    let mut progress = Progress::default();
    let mut repeats = |packet: &[u8]| progress.repeats(plain().id, packet, &walk(packet).unwrap());
    assert!(!repeats(&tcp(US, PEER, u32::MAX - 100, flag::SYN, &[], b"")));
    assert!(!repeats(&data(u32::MAX - 99, 100)));
    assert!(!repeats(&data(0, 100)));
    assert!(repeats(&data(u32::MAX - 99, 100)));
    assert!(repeats(&data(0, 100)));
    assert!(repeats(&data(50, 50)));
    assert!(!repeats(&data(50, 51)));
    assert!(!repeats(&tcp(US, PEER, 3, flag::ACK, &[], b"")), "no data");
    assert!(!repeats(&udp(US, PEER, b"x")));
    let mut other = data(0, 100);
    other[41] ^= 1;
    assert!(!repeats(&other), "another flow");
    assert!(!repeats(&tcp(US, PEER, 5, flag::SYN, &[], b"")), "a new connection");
    assert!(repeats(&tcp(US, PEER, 5, flag::SYN, &[], b"")));
    assert!(!repeats(&data(6, 10)));
    let mut progress = Progress::default();
    for n in 0..10_000 {
        let packet = data(1, 1);
        assert!(!progress.repeats(ContextId(n), &packet, &walk(&packet).unwrap()));
    }
    assert_eq!(progress.slots.len(), PROGRESS);
}

#[test]
fn flows_and_octets_are_bounded() {
    let flow = |n: u8| {
        let mut packet = data(1, 100);
        packet[41] = n;
        packet
    };
    let c = Case::new(HeldConfig { flows: 3, ..Default::default() });
    (0..5).for_each(|n| c.out(&flow(n)));
    assert_eq!(c.held.size(), (3, 480));
    // One that is there already can still be replaced.
    c.out(&flow(1));
    assert_eq!(c.held.size(), (3, 480));
    assert_eq!(c.counters.get(Counter::HeldShed), 2);
    let c = Case::new(HeldConfig { octets: 400, ..Default::default() });
    (0..5).for_each(|n| c.out(&flow(n)));
    assert_eq!(c.held.size(), (2, 320));
    let c = Case::new(HeldConfig { flows_per_context: 1, ..Default::default() });
    (0..5).for_each(|n| c.out(&flow(n)));
    assert_eq!(c.held.size(), (1, 160));
}

#[test]
fn copies_are_wanted_after_half_a_second_or_on_demand() {
    let c = Case::new(HeldConfig::default());
    let at = |ms: u64| Time::from_millis(1000 + ms);
    assert!(!c.held.wanted(&c.entry(), at(0)));
    c.entry().cells.touch_out(at(0), 1);
    assert!(!c.held.wanted(&c.entry(), at(499)));
    assert!(c.held.wanted(&c.entry(), at(500)));
    c.entry().cells.touch_in(at(510), 1);
    assert!(!c.held.wanted(&c.entry(), at(5000)));
    c.map.apply(&ForwardChange::Set(Forward { hold: true, ..plain() }));
    assert!(c.held.wanted(&c.entry(), at(5000)));
    c.map.apply(&ForwardChange::Set(Forward { watch: true, ..plain() }));
    c.entry().cells.touch_in(at(6000), 1);
    assert!(!c.held.wanted(&c.entry(), at(6029)));
    assert!(c.held.wanted(&c.entry(), at(6030)), "a tail loss probe");
    assert_eq!(HeldConfig::default().after, Duration::from_millis(500));
}

#[test]
fn while_exploring_the_newest_acknowledgement_of_each_flow_is_kept_beside_its_segment() {
    let c = Case::new(HeldConfig::default());
    let ack = |n: u32| {
        let mut packet = tcp(US, PEER, 500, flag::ACK, &[], b"");
        packet[48..52].copy_from_slice(&n.to_be_bytes());
        packet
    };
    c.out(&ack(1));
    assert_eq!(c.held.size().0, 0, "not without a search");
    c.map.apply(&ForwardChange::Set(Forward { hold: true, ..plain() }));
    c.out(&data(10, 100));
    c.out(&ack(1));
    c.out(&ack(2));
    assert_eq!(c.held.size().0, 2);
    assert_eq!(c.entry().cells.held(), 1, "inbound packets have only the segment to look for");
    assert_eq!(c.held.take(plain().id), [data(10, 100), ack(2)]);
    assert_eq!(c.held.size(), (0, 0));
    let few = Case::new(HeldConfig { flows_per_context: 0, ..HeldConfig::default() });
    few.map.apply(&ForwardChange::Set(Forward { hold: true, ..plain() }));
    few.out(&ack(1));
    assert_eq!(few.held.size(), (0, 0));
}

#[test]
fn copies_that_nobody_waits_for_any_more_are_freed() {
    let c = Case::new(HeldConfig::default());
    let sweep = |now| c.held.sweep(now, &c.map, &c.counters);
    let state = || (c.held.size(), c.entry().cells.held(), c.counters.get(Counter::HeldExpired));
    c.map.apply(&ForwardChange::Set(Forward { hold: true, ..plain() }));
    let syn = |port| {
        let mut packet = tcp(US, PEER, 7, flag::SYN, &[], b"");
        packet[41] = port;
        packet
    };
    c.out(&syn(1));
    c.out(&tcp(US, PEER, 7, flag::ACK, &[], b""));
    let late = START + LIFE - Duration::from_secs(1);
    c.out_at(&syn(2), late);
    sweep(late);
    assert_eq!(state(), ((3, 180), 2, 0));
    sweep(START + LIFE);
    assert_eq!(state(), ((1, 60), 1, 2));
    // Sent once more, it lives on.
    c.out_at(&syn(2), START + LIFE);
    sweep(late + LIFE);
    assert_eq!(state(), ((1, 60), 1, 2));
    sweep(START + LIFE + LIFE);
    assert_eq!(state(), ((0, 0), 0, 3));
    assert!(c.held.take(plain().id).is_empty());
    // Without a sweep: the flow's next segment takes its place, and what comes in for the flow frees it.
    c.out(&data(10, 100));
    c.out_at(&data(500, 50), late);
    assert_eq!(state(), ((1, 160), 1, 3));
    c.out_at(&data(500, 50), START + LIFE);
    assert_eq!(state(), ((1, 110), 1, 3));
    c.acked_at(20, flag::ACK, START + LIFE);
    assert_eq!(state(), ((1, 110), 1, 3));
    c.acked_at(20, flag::ACK, START + LIFE + LIFE);
    assert_eq!(state(), ((0, 0), 0, 4));
}
