use super::*;
use crate::dataplane::fragment::fragment;
use crate::dataplane::testing::*;
use crate::wire::ipv6::walk;

fn fragments(len: usize, id: u32) -> Vec<Vec<u8>> {
    let packet = udp(US, PEER, &pattern(len));
    fragment(&packet, &walk(&packet).unwrap(), 1000, id).unwrap()
}

struct Case {
    reassembler: Reassembler,
    counters: Counters,
}

impl Case {
    fn new(config: ReassemblyConfig) -> Case {
        Case { reassembler: Reassembler::new(config), counters: Counters::default() }
    }

    fn add(&mut self, fragment: &[u8], now: Time) -> Option<Vec<u8>> {
        self.reassembler.add(fragment, &walk(fragment).unwrap(), now, &self.counters)
    }

    fn empty(&self) -> bool {
        self.reassembler.partials.is_empty() && self.reassembler.cost == 0
    }
}

#[test]
fn order_and_exact_duplicates_do_not_matter() {
    let mut c = Case::new(ReassemblyConfig::default());
    let f = fragments(2500, 1);
    assert_eq!(f.len(), 3);
    assert_eq!(c.add(&f[2], Time::ZERO), None);
    assert_eq!(c.add(&f[2], Time::ZERO), None);
    assert_eq!(c.add(&f[0], Time::ZERO), None);
    assert_eq!(c.add(&f[0], Time::ZERO), None);
    assert_eq!(c.add(&f[1], Time::ZERO).unwrap(), udp(US, PEER, &pattern(2500)));
    assert!(c.empty());
    assert_eq!(c.counters.get(Counter::Reassembled), 1);
}

#[test]
fn overlapping_fragments_end_the_whole_datagram() {
    let f = fragments(2500, 1);
    // Each: another content at the same place, a piece across the boundary, a last fragment that ends elsewhere.
    let mut other = f[0].clone();
    *other.last_mut().unwrap() ^= 1;
    let mut shifted = f[1].clone();
    let at = u16::from_be_bytes([shifted[42], shifted[43]]) - 8;
    shifted[42..44].copy_from_slice(&at.to_be_bytes());
    let mut short = f[0].clone();
    short[43] &= !1;
    for bad in [other, shifted, short] {
        let mut c = Case::new(ReassemblyConfig::default());
        assert_eq!(c.add(&f[0], Time::ZERO), None);
        assert_eq!(c.add(&f[2], Time::ZERO), None);
        assert_eq!(c.add(&bad, Time::ZERO), None);
        // What is missing does not help any more, and neither does all of it again.
        for f in [&f[1], &f[0], &f[1], &f[2]] {
            assert_eq!(c.add(f, Time::ZERO), None);
        }
        assert_eq!(c.counters.get(Counter::DropFragmentOverlap), 7);
        assert_eq!(c.reassembler.cost, OVERHEAD);
        // After its time the identification can be used again.
        let later = Time::from_secs(61);
        assert_eq!(c.add(&f[0], later), None);
        assert_eq!(c.add(&f[1], later), None);
        assert!(c.add(&f[2], later).is_some());
        assert!(c.empty());
    }
}

#[test]
fn incomplete_datagrams_are_forgotten_after_a_minute() {
    let mut c = Case::new(ReassemblyConfig::default());
    let f = fragments(2500, 1);
    c.add(&f[0], Time::from_secs(1));
    c.add(&f[1], Time::from_secs(60));
    assert_eq!(c.add(&f[2], Time::from_secs(61)), None, "60 s from the first fragment are over");
    assert_eq!(c.counters.get(Counter::DropFragmentTimeout), 2);
}

#[test]
fn memory_is_bounded_and_the_oldest_goes_first() {
    let config = ReassemblyConfig { datagrams: 10, octets: 20_000, ..Default::default() };
    let mut c = Case::new(config);
    let firsts: Vec<_> = (0..100).map(|id| fragments(2500, id)).collect();
    for f in &firsts {
        assert_eq!(c.add(&f[0], Time::ZERO), None);
        assert!(c.reassembler.partials.len() <= 10 && c.reassembler.cost <= 20_000);
    }
    assert_eq!(c.counters.get(Counter::DropFragmentShed), 90);
    assert_eq!(c.add(&firsts[99][1], Time::ZERO), None);
    assert!(c.add(&firsts[99][2], Time::ZERO).is_some());
    // Many that complete do not make the list of the order grow.
    for id in 0..10_000 {
        for f in fragments(1500, id) {
            c.add(&f, Time::ZERO);
        }
        assert!(c.reassembler.order.len() <= 70);
    }
    let mut c = Case::new(ReassemblyConfig { octets: 3000, ..config });
    for f in fragments(60_000, 1) {
        assert_eq!(c.add(&f, Time::ZERO), None, "one datagram cannot take more than there is");
        assert!(c.reassembler.cost <= 3000);
    }
}

#[test]
fn malformed_fragments_are_dropped() {
    let mut c = Case::new(ReassemblyConfig::default());
    let mut odd = fragments(2500, 1)[0].clone();
    odd.pop();
    let length = (odd.len() - 40) as u16;
    odd[4..6].copy_from_slice(&length.to_be_bytes());
    assert_eq!(c.add(&odd, Time::ZERO), None, "length not a multiple of 8");
    let mut beyond = fragments(2500, 1)[2].clone();
    beyond[42..44].copy_from_slice(&0xfff8u16.to_be_bytes());
    assert_eq!(c.add(&beyond, Time::ZERO), None, "beyond 65535");
    let nothing = packet(US, PEER, 44, &[17, 0, 0, 1, 0, 0, 0, 1]);
    assert_eq!(c.add(&nothing, Time::ZERO), None, "no data");
    assert_eq!(c.add(&udp(US, PEER, b"x"), Time::ZERO), None, "no fragment");
    assert_eq!(c.counters.get(Counter::DropFragment), 4);
    assert!(c.empty());
}

#[test]
fn congestion_experienced_by_one_fragment_is_that_of_the_datagram() {
    let mut c = Case::new(ReassemblyConfig::default());
    let mut f = fragments(1500, 1);
    f[1][1] |= CE;
    assert_eq!(c.add(&f[0], Time::ZERO), None);
    assert_eq!(c.add(&f[1], Time::ZERO).unwrap()[1] & CE, CE);
}
