use super::protocol::*;
use super::*;
use crate::addr::ContextTag;
use crate::wire::payload::PayloadHeader;

fn addr(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

/// A header to put into a packet, with its own type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum H {
    HopByHop,
    Dest(usize),
    Routing(u8),
    Payload,
    Control,
    Fragment { offset: u16, more: bool },
    Ah,
    Esp,
    Tcp,
}

impl H {
    fn kind(self) -> u8 {
        match self {
            H::HopByHop => HOP_BY_HOP,
            H::Dest(_) => DESTINATION_OPTIONS,
            H::Routing(_) => ROUTING,
            H::Payload | H::Control => SHIM6,
            H::Fragment { .. } => FRAGMENT,
            H::Ah => AH,
            H::Esp => ESP,
            H::Tcp => TCP,
        }
    }

    fn octets(self, next: u8) -> Vec<u8> {
        let padded = |next, units: usize, third: u8, fourth: u8| {
            let mut h = vec![next, (units - 1) as u8, third, fourth];
            h.resize(units * 8, 0);
            h
        };
        match self {
            H::HopByHop => padded(next, 2, 1, 12),
            H::Dest(units) => padded(next, units, 1, (units * 8 - 4) as u8),
            H::Routing(left) => padded(next, 3, 4, left),
            H::Payload => {
                PayloadHeader { next_header: next, receiver_tag: ContextTag::new(7).unwrap() }
                    .emit()
                    .to_vec()
            }
            H::Control => vec![59, 1, 66, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            H::Fragment { offset, more } => {
                Fragment { next_header: next, offset, more, id: 0xdead_beef }.emit().to_vec()
            }
            // 4-octet units minus 2: 24 octets.
            H::Ah => {
                let mut h = vec![next, 4];
                h.resize(24, 0);
                h
            }
            H::Esp | H::Tcp => vec![0; 20],
        }
    }
}

/// A packet with these headers, and where each of them starts.
fn build(chain: &[H]) -> (Vec<u8>, Vec<usize>) {
    let next_of = |i: usize| chain.get(i).map_or(NO_NEXT_HEADER, |h| h.kind());
    let mut body = vec![];
    let mut at = vec![];
    for (i, h) in chain.iter().enumerate() {
        at.push(HEADER_LEN + body.len());
        body.extend(h.octets(next_of(i + 1)));
    }
    at.push(HEADER_LEN + body.len());
    let header = Ipv6Header {
        traffic_class: 0xb8,
        flow_label: 0xabcde,
        payload_length: body.len() as u16,
        next_header: next_of(0),
        hop_limit: 64,
        src: addr("2001:db8:a::1"),
        dst: addr("2001:db8:b::2"),
    };
    let mut packet = header.emit().to_vec();
    packet.extend(body);
    (packet, at)
}

const FIRST: H = H::Fragment { offset: 0, more: true };
const LATER: H = H::Fragment { offset: 1232, more: false };

#[test]
fn header_golden_octets() {
    let (packet, _) = build(&[H::Tcp]);
    let mut golden = vec![0x6b, 0x8a, 0xbc, 0xde, 0, 20, 6, 64];
    golden.extend(addr("2001:db8:a::1").octets());
    golden.extend(addr("2001:db8:b::2").octets());
    assert_eq!(packet[..40], golden);
    let header = Ipv6Header::parse(&packet).unwrap();
    assert_eq!(header.emit().to_vec(), golden);
    assert_eq!((header.traffic_class, header.flow_label), (0xb8, 0xabcde));
    for len in 0..40 {
        assert_eq!(Ipv6Header::parse(&golden[..len]), Err(WalkError::Truncated));
    }
    golden[0] = 0x45;
    assert_eq!(Ipv6Header::parse(&golden), Err(WalkError::NotIpv6));
    assert_eq!(walk(&golden), Err(WalkError::NotIpv6));
}

#[test]
fn fragment_golden_octets() {
    let f = Fragment { next_header: 17, offset: 1232, more: true, id: 0xdead_beef };
    assert_eq!(f.emit(), [17, 0, 0x04, 0xd1, 0xde, 0xad, 0xbe, 0xef]);
    assert_eq!(Fragment::parse(&f.emit(), 0), Ok(f));
    // Reserved bits do not matter.
    assert_eq!(Fragment::parse(&[17, 0xff, 0x04, 0xd7, 0xde, 0xad, 0xbe, 0xef], 0), Ok(f));
    assert!(!f.is_whole());
    assert!(Fragment { offset: 0, more: false, ..f }.is_whole());
    for len in 0..8 {
        assert_eq!(Fragment::parse(&f.emit()[..len], 0), Err(WalkError::Truncated));
    }
}

// req-test: S6-4.6-01
#[test]
fn the_shim6_header_goes_between_routing_and_endpoint_headers() {
    let dest = H::Dest(1);
    let routing = H::Routing(0);
    // The chain, and before which of its headers the Shim6 header belongs.
    let cases: &[(&[H], usize)] = &[
        (&[H::Tcp], 0),
        (&[], 0),
        (&[H::HopByHop, H::Tcp], 1),
        (&[dest, H::Tcp], 0),
        (&[H::HopByHop, dest, H::Tcp], 1),
        (&[routing, H::Tcp], 1),
        (&[dest, routing, H::Tcp], 2),
        (&[H::HopByHop, dest, routing, H::Tcp], 3),
        (&[H::HopByHop, dest, routing, dest, H::Tcp], 3),
        (&[H::HopByHop, H::Dest(3), routing, FIRST, dest, H::Ah, H::Tcp], 3),
        (&[dest, dest, routing, routing, FIRST, H::Tcp], 4),
        (&[FIRST, H::Tcp], 0),
        (&[FIRST, dest, routing, H::Tcp], 0),
        (&[H::Ah, dest, H::Tcp], 0),
        (&[H::HopByHop, H::Esp], 1),
        (&[LATER], 0),
        (&[H::HopByHop, routing, LATER], 2),
    ];
    for (chain, before) in cases {
        let (packet, at) = build(chain);
        let w = walk(&packet).unwrap();
        let next_header_at = if *before == 0 { 6 } else { at[before - 1] };
        assert_eq!(w.insert, Place { offset: at[*before], next_header_at }, "{chain:?}");
        assert_eq!(w.shim6, None);
        assert_eq!(w.end, packet.len());
        // Put there, it is found there, and the rest is where it was, 8 octets on.
        let mut with: Vec<H> = chain.to_vec();
        with.insert(*before, H::Payload);
        let (tagged, _) = build(&with);
        let tagged_walk = walk(&tagged).unwrap();
        assert_eq!(tagged_walk.shim6, Some(Shim6Place { place: w.insert, payload: true }));
        let moved = |u: Upper| Upper { offset: u.offset + 8, ..u };
        assert_eq!(tagged_walk.upper, w.upper.map(moved), "{chain:?}");
        assert!(!tagged_walk.fragment_precedes_shim6());
        assert_eq!(tagged_walk.fragment.map(|f| f.1), w.fragment.map(|f| f.1));
    }
}

// req-test: S6-4.6-01, S6-12-01
#[test]
fn all_permutations_of_six_headers_walk_or_fail_by_name() {
    let headers = [H::HopByHop, H::Dest(2), H::Routing(0), H::Payload, FIRST, H::Ah];
    let mut order: Vec<usize> = (0..headers.len()).collect();
    let mut seen = 0;
    permute(&mut order, 0, &mut |order| {
        seen += 1;
        let mut chain: Vec<H> = order.iter().map(|&i| headers[i]).collect();
        chain.push(H::Tcp);
        let (packet, at) = build(&chain);
        let result = walk(&packet);
        if chain[0] != H::HopByHop {
            assert_eq!(result, Err(WalkError::HopByHopNotFirst), "{chain:?}");
            return;
        }
        let w = result.unwrap();
        let position = |h: H| chain.iter().position(|&c| c == h).unwrap();
        let shim6 = position(H::Payload);
        assert_eq!(w.shim6.unwrap().place.offset, at[shim6]);
        assert_eq!(w.shim6.unwrap().place.next_header_at, at[shim6 - 1]);
        assert_eq!(w.fragment.unwrap().0.offset, at[position(FIRST)]);
        assert_eq!(w.fragment_precedes_shim6(), position(FIRST) < shim6);
        assert_eq!(w.upper, Some(Upper { protocol: TCP, offset: at[6] }));
        assert!(!w.segments_left && !w.unmappable() && w.is(TCP));
    });
    assert_eq!(seen, 720);
}

fn permute(order: &mut Vec<usize>, from: usize, visit: &mut dyn FnMut(&[usize])) {
    if from == order.len() {
        return visit(order);
    }
    for i in from..order.len() {
        order.swap(from, i);
        permute(order, from + 1, visit);
        order.swap(from, i);
    }
}

// req-test: S6-12-01, S6-4.6-02
#[test]
fn shim6_headers_are_found_and_told_apart() {
    let (packet, at) = build(&[H::Control]);
    let w = walk(&packet).unwrap();
    let place = Place { offset: 40, next_header_at: 6 };
    assert_eq!(w.shim6, Some(Shim6Place { place, payload: false }));
    assert_eq!((w.upper, at[0]), (None, 40));
    // Behind Destination Options too, wherever the sender put it.
    let (packet, at) = build(&[H::HopByHop, H::Dest(1), H::Control]);
    assert_eq!(walk(&packet).unwrap().shim6.unwrap().place.offset, at[2]);
    // Inside a tunnel it is the inner packet's business.
    let (mut packet, at) = build(&[H::Payload, H::Tcp]);
    packet[at[0]] = IPV6;
    let w = walk(&packet).unwrap();
    assert_eq!(w.upper, Some(Upper { protocol: IPV6, offset: at[1] }));
    let (mut packet, at) = build(&[H::Dest(5), H::Payload, H::Tcp]);
    packet[NEXT_HEADER] = IPV6;
    let inner_header = Ipv6Header { next_header: SHIM6, ..Ipv6Header::parse(&packet).unwrap() };
    let inner_length = (packet.len() - at[1]) as u16;
    let inner_header = Ipv6Header { payload_length: inner_length, ..inner_header };
    packet[at[0]..at[1]].copy_from_slice(&inner_header.emit());
    let outer = walk(&packet).unwrap();
    assert_eq!((outer.shim6, outer.upper), (None, Some(Upper { protocol: IPV6, offset: at[0] })));
    let inner = walk(&packet[at[0]..]).unwrap();
    assert!(inner.shim6.is_some_and(|s| s.place.offset == 40) && inner.is(TCP));
    // Of two, the first counts; the other is what it carries.
    let (packet, at) = build(&[H::Payload, H::Payload, H::Tcp]);
    let w = walk(&packet).unwrap();
    assert_eq!(w.shim6.unwrap().place.offset, at[0]);
    assert_eq!(w.upper, Some(Upper { protocol: SHIM6, offset: at[1] }));
    // A payload header of another length than 8 is found, but nothing is read behind it.
    let (mut packet, at) = build(&[H::Payload, H::Tcp]);
    packet[at[0] + 1] = 1;
    let w = walk(&packet).unwrap();
    assert_eq!((w.shim6.map(|s| s.payload), w.upper), (Some(true), None));
}

#[test]
fn fragments_show_what_they_can() {
    let (packet, at) = build(&[H::Payload, FIRST, H::Tcp]);
    let w = walk(&packet).unwrap();
    let (place, fragment) = w.fragment.unwrap();
    assert_eq!(place, Place { offset: at[1], next_header_at: at[0] });
    assert_eq!((fragment.offset, fragment.more, fragment.id), (0, true, 0xdead_beef));
    assert!(w.is(TCP));
    // Not the first: no upper layer, but the tag, if the header is in every fragment.
    let (packet, _) = build(&[H::Payload, LATER, H::Tcp]);
    let w = walk(&packet).unwrap();
    assert!(w.shim6.is_some() && w.upper.is_none() && !w.fragment_precedes_shim6());
    // Fragmented below the shim by a kernel: visible in the first, announced in the others.
    for fragment in [FIRST, LATER] {
        let (packet, _) = build(&[fragment, H::Payload, H::Tcp]);
        let w = walk(&packet).unwrap();
        assert!(w.fragment_precedes_shim6());
        assert_eq!(w.shim6.is_some(), fragment == FIRST);
        assert_eq!(w.upper.is_some(), fragment == FIRST);
    }
    let (packet, _) = build(&[FIRST, FIRST, H::Tcp]);
    assert_eq!(walk(&packet), Err(WalkError::SecondFragment));
}

#[test]
fn routing_headers_and_mobile_ipv6_are_not_for_the_shim() {
    let (packet, _) = build(&[H::Routing(1), H::Tcp]);
    let w = walk(&packet).unwrap();
    assert!(w.segments_left && w.unmappable());
    let (packet, _) = build(&[H::Dest(1), H::Routing(0), H::Routing(2), H::Tcp]);
    assert!(walk(&packet).unwrap().unmappable());

    let (mut packet, at) = build(&[H::Dest(3), H::Tcp]);
    assert!(!walk(&packet).unwrap().home_address);
    // Pad1, PadN, then the Home Address option.
    packet[at[0] + 2..at[0] + 8].copy_from_slice(&[0, 1, 0, 201, 16, 0]);
    let w = walk(&packet).unwrap();
    assert!(w.home_address && w.unmappable());
    // An option that overruns its header hides nothing and breaks nothing.
    packet[at[0] + 2..at[0] + 8].copy_from_slice(&[1, 255, 0, 201, 16, 0]);
    assert!(!walk(&packet).unwrap().home_address);

    let (mut packet, _) = build(&[H::Tcp]);
    packet[NEXT_HEADER] = MOBILITY;
    assert!(walk(&packet).unwrap().unmappable());
}

#[test]
fn chains_end_somewhere() {
    let mut chain = vec![H::Dest(1); MAX_EXTENSION_HEADERS];
    chain.push(H::Tcp);
    let (packet, _) = build(&chain);
    assert!(walk(&packet).unwrap().is(TCP));
    chain.insert(0, H::Dest(1));
    let (packet, _) = build(&chain);
    assert_eq!(walk(&packet), Err(WalkError::TooManyHeaders));
    let (packet, _) = build(&[H::Dest(1), H::HopByHop, H::Tcp]);
    assert_eq!(walk(&packet), Err(WalkError::HopByHopNotFirst));
}

#[test]
fn every_cut_ends_in_a_name() {
    let (packet, at) =
        build(&[H::HopByHop, H::Dest(2), H::Routing(0), H::Payload, FIRST, H::Ah, H::Tcp]);
    let whole = walk(&packet).unwrap();
    for len in 0..packet.len() {
        // The octets at hand are a part of a longer packet.
        let cut = walk(&packet[..len]);
        if len < at[6] {
            assert_eq!(cut, Err(WalkError::Truncated), "{len}");
        } else {
            assert_eq!(cut, Ok(whole));
        }
        // The packet says itself that it ends there; what follows is no part of it.
        if let Some(payload) = len.checked_sub(HEADER_LEN) {
            let mut short = packet.clone();
            short[PAYLOAD_LENGTH].copy_from_slice(&(payload as u16).to_be_bytes());
            match walk(&short) {
                Ok(w) => assert!(len >= at[6] && w.end == len),
                Err(WalkError::Jumbogram) => assert_eq!(payload, 0),
                Err(e) => assert!(e == WalkError::Truncated && len < at[6]),
            }
        }
    }
    let (packet, _) = build(&[]);
    assert!(walk(&packet).unwrap().is(NO_NEXT_HEADER));
    for (e, name) in [
        (WalkError::NotIpv6, 0),
        (WalkError::Truncated, 1),
        (WalkError::Jumbogram, 2),
        (WalkError::HopByHopNotFirst, 3),
        (WalkError::SecondFragment, 4),
        (WalkError::TooManyHeaders, 5),
    ] {
        assert_eq!(e.reason(), WalkError::REASONS[name]);
        assert!(!e.to_string().is_empty());
    }
}
