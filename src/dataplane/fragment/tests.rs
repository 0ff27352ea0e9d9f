use super::*;
use crate::dataplane::config::ReassemblyConfig;
use crate::dataplane::counters::Counters;
use crate::dataplane::reassemble::Reassembler;
use crate::dataplane::rewrite;
use crate::dataplane::testing::*;
use crate::proto::Time;
use crate::wire::ipv6::walk;
use proptest::prelude::*;

fn joined(fragments: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut r = Reassembler::new(ReassemblyConfig::default());
    let counters = Counters::default();
    let mut whole = None;
    for f in fragments {
        assert!(whole.is_none(), "complete too early");
        whole = r.add(f, &walk(f).unwrap(), Time::ZERO, &counters);
    }
    whole
}

// req-test: S6-1.6-01, S6-4.6-01
#[test]
fn every_fragment_gets_a_payload_header_before_its_fragment_header() {
    let packet = udp(US, PEER, &pattern(4000));
    let fragments = fragment(&packet, &walk(&packet).unwrap(), 1492, 0x0102_0304).unwrap();
    assert_eq!(fragments.len(), 3);
    for (n, f) in fragments.iter().enumerate() {
        assert!(f.len() <= 1492);
        let walked = walk(f).unwrap();
        let wire = rewrite::tag(f, walked.insert, locators(), peer_tag()).unwrap();
        assert!(wire.len() <= 1500);
        assert_eq!((wire[6], wire[40], wire[48]), (140, 44, 17));
        let walked = walk(&wire).unwrap();
        assert!(!walked.fragment_precedes_shim6());
        let (_, header) = walked.fragment.unwrap();
        assert_eq!((header.id, header.more), (0x0102_0304, n < 2));
    }
    assert_eq!(joined(&fragments).unwrap(), packet);
}

#[test]
fn a_fragment_that_does_not_fit_is_cut_further_under_its_own_identification() {
    let packet = udp(US, PEER, &pattern(2900));
    let first = fragment(&packet, &walk(&packet).unwrap(), 1500, 77).unwrap();
    let mut smaller = Vec::new();
    for f in &first {
        let cut = fragment(f, &walk(f).unwrap(), 1492, 99).unwrap();
        for f in &cut {
            assert!(f.len() <= 1492);
            assert_eq!(walk(f).unwrap().fragment.unwrap().1.id, 77);
        }
        smaller.extend(cut);
    }
    assert!(smaller.len() > first.len());
    assert_eq!(joined(&smaller).unwrap(), packet);
}

#[test]
fn no_room_no_fragments() {
    let packet = udp(US, PEER, &pattern(100));
    let walked = walk(&packet).unwrap();
    assert_eq!(fragment(&packet, &walked, 55, 1), None);
    assert_eq!(fragment(&packet, &walked, 3, 1), None);
    assert_eq!(fragment(&packet, &walked, 56, 1).unwrap().len(), 14);
    // Destination Options before the Fragment header: the packet is not ours to fragment again.
    let odd = [&[44u8, 0, 1, 4, 0, 0, 0, 0][..], &[17, 0, 0, 1, 0, 0, 0, 1], &[0; 64]].concat();
    let odd = crate::dataplane::testing::packet(US, PEER, 60, &odd);
    assert_eq!(fragment(&odd, &walk(&odd).unwrap(), 80, 1), None);
}

proptest! {
    #[test]
    fn joining_undoes_fragmenting(
        len in 1usize..20_000,
        max in 64usize..1500,
        hop: bool,
        order in any::<prop::sample::Index>(),
    ) {
        let mut packet = udp(US, PEER, &pattern(len));
        if hop {
            let upper = packet.split_off(40);
            packet[6] = 0;
            packet.extend([17, 0, 1, 4, 0, 0, 0, 0]);
            packet.extend(upper);
            let length = (packet.len() - 40) as u16;
            packet[4..6].copy_from_slice(&length.to_be_bytes());
        }
        let mut fragments = fragment(&packet, &walk(&packet).unwrap(), max, 5).unwrap();
        prop_assert!(fragments.iter().all(|f| f.len() <= max));
        let turn = order.index(fragments.len());
        fragments.rotate_left(turn);
        prop_assert_eq!(joined(&fragments).unwrap(), packet);
    }
}
