use super::*;
use crate::dataplane::testing::*;
use crate::wire::ipv6::walk;
use proptest::prelude::*;

const DATA: u8 = flag::ACK | flag::PSH | flag::FIN | flag::CWR;

/// The pieces one by one.
fn cut(packet: &[u8], walk: &Walk, max: usize) -> Option<Vec<Vec<u8>>> {
    super::cut(packet, walk, max).map(|pieces| pieces.iter().map(<[u8]>::to_vec).collect())
}

fn parts(piece: &[u8]) -> (Tcp, Vec<u8>) {
    let walk = walk(piece).unwrap();
    assert_eq!(walk.end, piece.len());
    let segment = &piece[walk.upper.unwrap().offset..];
    let (src, dst) = (walk.header.src, walk.header.dst);
    assert_eq!(checksum::transport(src, dst, protocol::TCP, segment), 0, "checksum");
    let tcp = Tcp::parse(segment).unwrap();
    (tcp, segment[tcp.header_len..].to_vec())
}

#[test]
fn a_full_segment_becomes_two_as_tcp_would_have_sent_them() {
    // Timestamps, as most segments have them.
    let options = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
    let packet = tcp(US, PEER, 0xffff_ff00, DATA, &options, &pattern(1428));
    assert_eq!(packet.len(), 1500);
    let pieces = cut(&packet, &walk(&packet).unwrap(), 1492).unwrap();
    assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [1492, 80]);
    let ((first, one), (second, two)) = (parts(&pieces[0]), parts(&pieces[1]));
    assert_eq!([one, two].concat(), pattern(1428));
    assert_eq!(first.seq, 0xffff_ff00);
    assert_eq!(second.seq, 0xffff_ff00u32.wrapping_add(1420));
    assert_eq!(first.flags, flag::ACK | flag::CWR);
    assert_eq!(second.flags, flag::ACK | flag::PSH | flag::FIN);
    for piece in &pieces {
        assert_eq!(piece[60..72], options);
        assert_eq!(piece[..4], packet[..4], "traffic class and flow label");
    }
}

#[test]
fn the_urgent_pointer_counts_from_each_piece() {
    let mut packet = tcp(US, PEER, 1, flag::ACK | flag::URG, &[], &pattern(3000));
    let fix = |packet: &mut Vec<u8>, pointer: u16| {
        packet[58..60].copy_from_slice(&pointer.to_be_bytes());
        packet[56..58].fill(0);
        let sum = checksum::transport(a(US), a(PEER), protocol::TCP, &packet[40..]);
        packet[56..58].copy_from_slice(&sum.to_be_bytes());
    };
    fix(&mut packet, 1500);
    let pieces = cut(&packet, &walk(&packet).unwrap(), 1060).unwrap();
    let urgent = |p: &[u8]| (p[53] & flag::URG != 0, u16::from_be_bytes([p[58], p[59]]));
    let got: Vec<_> = pieces.iter().map(|p| urgent(p)).collect();
    assert_eq!(got, [(true, 1500), (true, 500), (false, 0)]);
}

#[test]
fn what_must_not_be_cut_is_not() {
    let refuse = |packet: &[u8], max: usize| {
        assert_eq!(cut(packet, &walk(packet).unwrap(), max), None);
    };
    let data = pattern(1400);
    let mut md5 = vec![1, 1, 19, 18];
    md5.extend([7; 16]);
    refuse(&tcp(US, PEER, 1, flag::ACK, &md5, &data), 1000);
    let mut ao = vec![29, 16];
    ao.extend([7; 14]);
    refuse(&tcp(US, PEER, 1, flag::ACK, &ao, &data), 1000);
    refuse(&tcp(US, PEER, 1, flag::SYN, &[], &data), 1000);
    refuse(&tcp(US, PEER, 1, flag::RST, &[], &data), 1000);
    refuse(&udp(US, PEER, &data), 1000);
    refuse(&tcp(US, PEER, 1, flag::ACK, &[], &data), 60);
    refuse(&tcp(US, PEER, 1, flag::ACK, &[], &data), 10);
    refuse(&tcp(US, PEER, 1, flag::ACK, &[], &data), 1460);
    let mut bad = tcp(US, PEER, 1, flag::ACK, &[], &data);
    *bad.last_mut().unwrap() ^= 1;
    refuse(&bad, 1000);
    // Behind an AH the segment is signed.
    let segment = tcp(US, PEER, 1, flag::ACK, &[], &data)[40..].to_vec();
    let ah = [&[6u8, 2][..], &[0; 14], &segment].concat();
    refuse(&packet(US, PEER, protocol::AH, &ah), 1000);
    let fragment = [&[6u8, 0, 0, 1, 0, 0, 0, 1][..], &segment].concat();
    refuse(&packet(US, PEER, protocol::FRAGMENT, &fragment), 1000);
}

#[test]
fn options_are_read_to_the_first_malformed_one() {
    let options = |o: &[u8]| {
        let packet = tcp(US, PEER, 1, flag::ACK, o, b"");
        tcp_options(&packet[40..]).map(|(k, v)| (k, v.len())).collect::<Vec<_>>()
    };
    assert_eq!(options(&[1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0]), [(8, 8)]);
    assert_eq!(options(&[30, 4, 1, 1, 0, 19, 18, 0]), [(30, 2)]);
    assert_eq!(options(&[5, 0, 0, 0]), []);
    assert_eq!(options(&[5, 1, 0, 0]), []);
    assert_eq!(options(&[5, 9, 0, 0]), []);
    assert_eq!(options(&[1, 1, 1, 5]), []);
    assert_eq!(tcp_options(&[0xff; 12]).count(), 0);
    assert_eq!(tcp_options(&[]).count(), 0);
}

#[test]
fn missing_checksums_are_filled_in() {
    let good = [tcp(US, PEER, 1, flag::SYN, &[2, 4, 5, 0xa0], b""), udp(US, PEER, &pattern(99))];
    for (packet, at) in good.iter().zip([56, 46]) {
        let mut without = packet.clone();
        // What the kernel leaves there is the sum of the pseudo-header.
        without[at..at + 2].copy_from_slice(&[0x12, 0x34]);
        assert!(complete(&mut without));
        assert_eq!(&without, packet);
        // Link layers may append something.
        without.extend([1, 2, 3]);
        without[at] ^= 0x55;
        assert!(complete(&mut without));
        assert_eq!(&without[..packet.len()], packet);
    }
    // A computed 0 is sent as its other form.
    let mut datagram = udp(US, PEER, b"ab");
    let sum = u16::from_be_bytes([datagram[46], datagram[47]]);
    let word = u16::from_be_bytes([b'a', b'b']);
    let (all, carry) = word.overflowing_add(sum);
    datagram[48..50].copy_from_slice(&(all + u16::from(carry)).to_be_bytes());
    assert!(complete(&mut datagram));
    assert_eq!(datagram[46..48], [0xff, 0xff]);
    for other in [packet(US, PEER, 58, &[0; 8]), packet(US, PEER, protocol::TCP, &[0; 9])] {
        let mut same = other.clone();
        assert!(!complete(&mut same));
        assert_eq!(same, other);
    }
    for len in 0..100 {
        complete(&mut good[0].get(..len).unwrap_or(&good[0]).to_vec());
    }
}

#[test]
fn pieces_are_kept_one_behind_the_other() {
    let mut all: Pieces = [udp(US, PEER, b"one"), udp(US, PEER, b"two")].into_iter().collect();
    let other: Pieces = [udp(US, PEER, b"three")].into_iter().collect();
    assert!(all.alike(&other));
    all.append(&other);
    let got: Vec<_> = all.iter().map(|p| p[48..].to_vec()).collect();
    assert_eq!(got, [&b"one"[..], b"two", b"three"]);
    assert_eq!((all.len(), all.octets(), all.is_empty()), (3, 3 * 48 + 11, false));
    assert!(!all.alike(&[udp(US, US_TOO, b"x")].into_iter().collect()));
    assert!(Pieces::default().is_empty());
}

proptest! {
    #[test]
    fn joining_undoes_cutting(
        len in 2usize..9000,
        room in 1usize..4000,
        seq: u32,
        flags in 0u8..=255,
    ) {
        prop_assume!(room < len);
        let flags = flags & !(flag::SYN | flag::RST | flag::URG) | flag::ACK;
        let packet = tcp(US, PEER, seq, flags, &[1, 1, 1, 1], &pattern(len));
        let pieces = cut(&packet, &walk(&packet).unwrap(), 64 + room).unwrap();
        let mut stream = Vec::new();
        for (n, piece) in pieces.iter().enumerate() {
            let (tcp, data) = parts(piece);
            prop_assert!(piece.len() <= 64 + room && !data.is_empty());
            prop_assert_eq!(tcp.seq, seq.wrapping_add(stream.len() as u32));
            let (first, last) = (n == 0, n + 1 == pieces.len());
            prop_assert_eq!(tcp.flags & flag::CWR, if first { flags & flag::CWR } else { 0 });
            let ends = flag::PSH | flag::FIN;
            prop_assert_eq!(tcp.flags & ends, if last { flags & ends } else { 0 });
            prop_assert_eq!(tcp.flags & !(ends | flag::CWR), flags & !(ends | flag::CWR));
            stream.extend(data);
        }
        prop_assert_eq!(stream, pattern(len));
    }
}
