use super::*;
use crate::dataplane::segment::cut;
use crate::dataplane::testing::*;
use crate::wire::checksum::transport;
use crate::wire::ipv6::walk;
use proptest::prelude::*;

const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];

/// One packet of all that follow the first, and those that do not.
fn joined(packets: &[Vec<u8>]) -> (Vec<u8>, usize) {
    let mut train = Train::start(packets[0].clone()).unwrap();
    let n = packets[1..].iter().take_while(|p| train.add(p)).count() + 1;
    assert_eq!(train.segments(), n);
    (train.finish(), n)
}

fn checksum_is_right(packet: &[u8]) -> bool {
    let walk = walk(packet).unwrap();
    assert_eq!(walk.end, packet.len());
    transport(walk.header.src, walk.header.dst, protocol::TCP, &packet[40..]) == 0
}

#[test]
fn a_train_of_segments_becomes_one() {
    let flags = [flag::ACK | flag::CWR, flag::ACK, flag::ACK | flag::PSH | flag::FIN];
    let packets: Vec<_> = flags
        .iter()
        .zip(0u32..)
        .map(|(flags, n)| tcp(US, PEER, n * 1001, *flags, &TIMESTAMPS, &pattern(1001)))
        .collect();
    let (whole, n) = joined(&packets);
    assert_eq!(n, 3);
    assert!(checksum_is_right(&whole));
    let flags = flag::ACK | flag::CWR | flag::PSH | flag::FIN;
    let data = [pattern(1001), pattern(1001), pattern(1001)].concat();
    assert_eq!(whole, tcp(US, PEER, 0, flags, &TIMESTAMPS, &data));
}

#[test]
fn what_differs_in_more_than_its_place_does_not_follow() {
    let first = tcp(US, PEER, 1, flag::ACK, &TIMESTAMPS, &pattern(100));
    let good = tcp(US, PEER, 101, flag::ACK, &TIMESTAMPS, &pattern(100));
    let follows = |packet: &[u8]| Train::start(first.clone()).unwrap().add(packet);
    assert!(follows(&good));
    // Traffic class (ECN), flow label, hop limit, addresses, ports, sequence, acknowledgement, window, urgent pointer,
    // options.
    for at in [1, 3, 7, 23, 39, 41, 43, 47, 51, 55, 59, 68] {
        let mut other = good.clone();
        other[at] ^= 1;
        assert!(!follows(&other), "octet {at}");
    }
    for flags in [
        0,
        flag::ACK | flag::SYN,
        flag::ACK | flag::RST,
        flag::ACK | flag::URG,
        flag::ACK | flag::CWR,
        // ECE: the congestion seen from here on.
        flag::ACK | 0x40,
    ] {
        assert!(!follows(&tcp(US, PEER, 101, flags, &TIMESTAMPS, &pattern(100))), "{flags:#x}");
    }
    assert!(!follows(&tcp(US, PEER, 101, flag::ACK, &[], &pattern(100))), "other options");
    assert!(!follows(&tcp(US, PEER, 101, flag::ACK, &TIMESTAMPS, &[])), "no data");
    assert!(!follows(&udp(US, PEER, &pattern(100))));
    assert!(!follows(&good[..70]));
    assert!(!follows(b""));
}

#[test]
fn what_nothing_may_follow_stays_alone() {
    let alone = |flags, options: &[u8], data: &[u8]| {
        Train::start(tcp(US, PEER, 1, flags, options, data)).is_err()
    };
    assert!(alone(flag::ACK | flag::PSH, &[], &pattern(100)));
    assert!(alone(flag::ACK | flag::FIN, &[], &pattern(100)));
    assert!(alone(flag::SYN, &[], &pattern(100)));
    assert!(alone(flag::ACK, &[], b""));
    let md5 = [&[1, 1, 19, 18][..], &[7; 16]].concat();
    assert!(alone(flag::ACK, &md5, &pattern(100)));
    let ao = [&[29, 16][..], &[7; 14]].concat();
    assert!(alone(flag::ACK, &ao, &pattern(100)));
    assert!(Train::start(udp(US, PEER, b"x")).is_err());
    assert!(Train::start(Vec::new()).is_err());
    let options =
        [&[6u8, 0, 1, 4, 0, 0, 0, 0][..], &tcp(US, PEER, 1, 16, &[], b"x")[40..]].concat();
    assert!(Train::start(packet(US, PEER, 60, &options)).is_err(), "extension headers");
}

#[test]
fn trains_end_at_what_the_kernel_finds_room_for() {
    let packets: Vec<_> =
        (0..40).map(|n| tcp(US, PEER, n * 1000, flag::ACK, &[], &pattern(1000))).collect();
    let (whole, n) = joined(&packets);
    assert_eq!((n, whole.len()), (31, 31_060));
}

#[test]
fn damage_is_not_hidden() {
    let mut packets: Vec<_> =
        (0..3).map(|n| tcp(US, PEER, n * 101, flag::ACK, &[], &pattern(101))).collect();
    packets[1][100] ^= 4;
    let (whole, n) = joined(&packets);
    assert_eq!(n, 3);
    assert!(!checksum_is_right(&whole));
    // A wrong checksum stays one, too, though the data is good.
    let mut packets: Vec<_> =
        (0..3).map(|n| tcp(US, PEER, n * 101, flag::ACK, &[], &pattern(101))).collect();
    packets[0][57] ^= 4;
    assert!(!checksum_is_right(&joined(&packets).0));
}

proptest! {
    #[test]
    fn coalescing_undoes_cutting(
        len in 2usize..31_000,
        room in 1usize..4000,
        seq: u32,
        flags in 0u8..=255,
        options in any::<bool>(),
    ) {
        prop_assume!(room < len && len / room < 500);
        let flags = flags & !(flag::SYN | flag::RST | flag::URG) | flag::ACK;
        let options: &[u8] = if options { &TIMESTAMPS } else { &[] };
        let packet = tcp(US, PEER, seq, flags, options, &pattern(len));
        let max = 60 + options.len() + room;
        let pieces = cut(&packet, &walk(&packet).unwrap(), max).unwrap();
        let pieces: Vec<_> = pieces.iter().map(<[u8]>::to_vec).collect();
        let (whole, n) = joined(&pieces);
        prop_assert_eq!(n, pieces.len());
        prop_assert_eq!(whole, packet);
    }

    #[test]
    fn no_octets_make_it_panic(
        first in proptest::collection::vec(any::<u8>(), 0..120),
        damage in proptest::collection::vec((0usize..160, any::<u8>()), 1..4),
    ) {
        let _ = Train::start(first.clone()).map(|mut t| t.add(&first));
        let good = tcp(US, PEER, 1, flag::ACK, &TIMESTAMPS, &pattern(100));
        let mut next = tcp(US, PEER, 101, flag::ACK, &TIMESTAMPS, &pattern(100));
        for (at, octet) in damage {
            if let Some(place) = next.get_mut(at) {
                *place = octet;
            }
        }
        let mut train = Train::start(good).unwrap();
        train.add(&next);
        let whole = train.finish();
        prop_assert!(walk(&whole).is_ok_and(|w| w.end == whole.len()));
    }
}
