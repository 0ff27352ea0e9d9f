use super::*;
use crate::dataplane::testing::*;
use crate::wire::checksum;
use crate::wire::ipv6::walk;
use proptest::prelude::*;

/// An extension header of 8 octets.
fn extension(kind: u8, next: u8) -> Vec<u8> {
    match kind {
        // Fragment: the first of several.
        44 => vec![next, 0, 0, 1, 9, 9, 9, 9],
        // AH counts in another unit: 16 octets, a multiple of 8 as IPv6 wants it.
        51 => [&[next, 2][..], &[0; 14]].concat(),
        // Padding option of 4 octets; for a Routing header: type 4, no segments left.
        43 => vec![next, 0, 4, 0, 0, 0, 0, 0],
        _ => vec![next, 0, 1, 4, 0, 0, 0, 0],
    }
}

/// A packet with these extension headers in order and a UDP header behind them.
fn with_headers(kinds: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (n, kind) in kinds.iter().enumerate() {
        payload.extend(extension(*kind, kinds.get(n + 1).copied().unwrap_or(17)));
    }
    payload.extend([0x10, 1, 0x10, 2, 0, 12, 0xab, 0xcd, 1, 2, 3, 4]);
    packet(US, PEER, kinds.first().copied().unwrap_or(17), &payload)
}

// req-test: S6-11.1-01, S6-11.1-02, S6-11.1-04, S6-11.1-05, S6-5.2-01, S6-5.2-02
#[test]
fn golden_packet() {
    let plain = udp(US, PEER, b"payload!");
    let place = walk(&plain).unwrap().insert;
    let got = tag(&plain, place, locators(), peer_tag()).unwrap();
    let mut want = plain[..40].to_vec();
    want[4..6].copy_from_slice(&24u16.to_be_bytes());
    want[6] = 140;
    want[8..24].copy_from_slice(&a(US_TOO).octets());
    want[24..40].copy_from_slice(&a(PEER_TOO).octets());
    want.extend([17, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    want.extend(&plain[40..]);
    assert_eq!(got, want);
    // The checksum is the one over the ULIDs, untouched.
    assert_eq!(checksum::transport(a(US), a(PEER), 17, &got[48..]), 0);
    let one = tag(&plain, place, locators(), ContextTag::from_masked(1)).unwrap();
    assert_eq!(one[40..48], [17, 0, 0x80, 0, 0, 0, 0, 1]);
}

// req-test: S6-4.6-01, S6-11.1-03
#[test]
fn the_header_goes_behind_routing_and_before_endpoint_headers_in_every_order() {
    // Hop-by-Hop, Destination Options, Routing | Fragment, Destination Options, AH: each of them present or not.
    for n in 0..64u8 {
        let has = |bit: u8| n & 1 << bit != 0;
        let (hop, dest, routing) = (has(0), has(1), has(2));
        let mut kinds = Vec::new();
        let before = [(hop, 0u8), (dest && routing, 60), (routing, 43)];
        kinds.extend(before.iter().filter(|(on, _)| *on).map(|(_, k)| *k));
        let expected = 40 + 8 * kinds.len();
        // Without a Routing header behind them, Destination Options belong to the endpoint.
        let after = [(has(3), 44u8), (dest && !routing || has(4), 60), (has(5), 51)];
        kinds.extend(after.iter().filter(|(on, _)| *on).map(|(_, k)| *k));
        let plain = with_headers(&kinds);
        let place = walk(&plain).unwrap().insert;
        let got = tag(&plain, place, locators(), peer_tag()).unwrap();
        assert_eq!(got[expected..expected + 2], [plain[place.next_header_at], 0], "{kinds:?}");
        assert_eq!(got[place.next_header_at], 140, "{kinds:?}");
        let walked = walk(&got).unwrap();
        assert_eq!(walked.shim6.unwrap().place.offset, expected, "{kinds:?}");
        assert_eq!(got.len(), plain.len() + 8);
        assert_eq!(walked.end, got.len());
    }
}

#[test]
fn what_cannot_be_rewritten_is_refused() {
    let plain = udp(US, PEER, &[0; 65_520]);
    let place = walk(&plain).unwrap().insert;
    assert_eq!(tag(&plain, place, locators(), peer_tag()), None, "Payload Length overflows");
    let beyond = Place { offset: 10_000, next_header_at: 6 };
    assert_eq!(tag(&udp(US, PEER, b"x"), beyond, locators(), peer_tag()), None);
    assert_eq!(strip(&udp(US, PEER, b"x"), place, ulids()), None, "no payload header there");
    assert_eq!(strip(&[0; 10], place, ulids()), None);
}

proptest! {
    // req-test: S6-12.2-04, S6-1.6-04, S6-5.2-03
    #[test]
    fn stripping_undoes_tagging(
        kinds in proptest::sample::subsequence(vec![0u8, 60, 43, 44, 51], 0..=5),
        data in proptest::collection::vec(any::<u8>(), 0..600),
        value in 0..=ContextTag::MASK,
    ) {
        let mut plain = with_headers(&kinds);
        plain.extend(&data);
        let length = (plain.len() - 40) as u16;
        plain[4..6].copy_from_slice(&length.to_be_bytes());
        let place = walk(&plain).unwrap().insert;
        let value = ContextTag::from_masked(value);
        let wire = tag(&plain, place, locators(), value).unwrap();
        // At the peer, where local and peer are the other way round.
        let there = UlidPair { local: ulids().peer, peer: ulids().local };
        let shim6 = walk(&wire).unwrap().shim6.unwrap();
        prop_assert_eq!(PayloadHeader::parse(&wire[shim6.place.offset..]).unwrap().receiver_tag, value);
        prop_assert_eq!(strip(&wire, shim6.place, there).unwrap(), plain);
    }
}
