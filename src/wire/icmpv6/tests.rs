use super::*;

fn addr(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

fn src() -> Ipv6Addr {
    addr("2001:db8:f::1")
}

fn dst() -> Ipv6Addr {
    addr("2001:db8:a::1")
}

/// An IPv6 packet of `len` octets with this next header.
fn invoking(len: usize, next_header: u8) -> Vec<u8> {
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: 0,
        payload_length: (len - ipv6::HEADER_LEN) as u16,
        next_header,
        hop_limit: 64,
        src: dst(),
        dst: addr("2001:db8:b::2"),
    };
    let mut packet = header.emit().to_vec();
    packet.extend((ipv6::HEADER_LEN..len).map(|i| i as u8 | 1));
    packet
}

const KINDS: [IcmpErrorKind; 6] = [
    IcmpErrorKind::DestinationUnreachable { code: 0 },
    IcmpErrorKind::DestinationUnreachable { code: 6 },
    IcmpErrorKind::PacketTooBig { mtu: 1492 },
    IcmpErrorKind::TimeExceeded { code: 1 },
    IcmpErrorKind::ParameterProblem { code: 1, pointer: 6 },
    IcmpErrorKind::ParameterProblem { code: 2, pointer: u32::MAX },
];

fn fix_checksum(m: &mut [u8]) {
    m[CHECKSUM].fill(0);
    let sum = checksum::transport(src(), dst(), protocol::ICMPV6, m);
    m[CHECKSUM].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn errors_have_their_golden_octets() {
    let quote = invoking(48, 17);
    for (kind, start) in [
        (KINDS[0], [1, 0, 0, 0, 0, 0]),
        (KINDS[1], [1, 6, 0, 0, 0, 0]),
        (KINDS[2], [2, 0, 0, 0, 0x05, 0xd4]),
        (KINDS[3], [3, 1, 0, 0, 0, 0]),
        (KINDS[4], [4, 1, 0, 0, 0, 6]),
        (KINDS[5], [4, 2, 0xff, 0xff, 0xff, 0xff]),
    ] {
        let m = IcmpError { kind, quote: &quote, extensions: &[] }.emit(src(), dst());
        assert_eq!([&m[..2], &m[4..8]].concat(), start);
        assert_eq!(m[8..], quote);
        assert_eq!(checksum::transport(src(), dst(), 58, &m), 0);
    }
}

#[test]
fn errors_come_back_as_sent() {
    for kind in KINDS {
        for len in [40, 41, 48, 127, 128, 1232] {
            let quote = invoking(len, 17);
            let error = IcmpError { kind, quote: &quote, extensions: &[] };
            let m = error.emit(src(), dst());
            assert_eq!(IcmpError::parse(src(), dst(), &m), Ok(error));
        }
    }
}

#[test]
fn extensions_stand_behind_the_padded_quote() {
    let extensions = [0x20, 0, 0, 0, 0, 8, 1, 1, 1, 2, 3, 4];
    for (kind, counts) in KINDS.into_iter().zip([true, true, false, true, false, false]) {
        for (len, padded) in [(40, 128), (121, 128), (128, 128), (129, 136), (1232, 1216)] {
            let quote = invoking(len, 17);
            let m = IcmpError { kind, quote: &quote, extensions: &extensions }.emit(src(), dst());
            assert!(m.len() <= 1240);
            let parsed = IcmpError::parse(src(), dst(), &m).unwrap();
            if counts {
                assert_eq!(usize::from(m[4]) * 8, padded);
                assert_eq!(parsed.quote.len(), padded);
                assert_eq!(parsed.quote[..len.min(padded)], quote[..len.min(padded)]);
                assert!(parsed.quote[len.min(padded)..].iter().all(|&o| o == 0));
                assert_eq!(parsed.extensions, extensions);
            } else {
                assert_eq!((parsed.quote, parsed.extensions), (&quote[..], &[][..]));
            }
        }
    }
    // Too long to leave room for 128 octets of the packet: left out.
    let quote = invoking(200, 17);
    let error = IcmpError { kind: KINDS[0], quote: &quote, extensions: &[1; 1200] };
    let m = error.emit(src(), dst());
    assert_eq!(IcmpError::parse(src(), dst(), &m), Ok(IcmpError { extensions: &[], ..error }));
}

#[test]
fn malformed_errors_end_in_a_name() {
    let quote = invoking(128, 17);
    for kind in KINDS {
        let good = IcmpError { kind, quote: &quote, extensions: &[] }.emit(src(), dst());
        for len in 0..good.len() {
            let expected = match len {
                0..8 => IcmpParseError::TooShort,
                _ => IcmpParseError::BadChecksum,
            };
            assert_eq!(IcmpError::parse(src(), dst(), &good[..len]), Err(expected));
        }
        // The sum covers the addresses.
        let elsewhere = IcmpError::parse(src(), addr("2001:db8:a::3"), &good);
        assert_eq!(elsewhere, Err(IcmpParseError::BadChecksum));
        // A length field beyond the message; the others have none.
        let mut long = good.clone();
        long[4] = 17;
        fix_checksum(&mut long);
        let parsed = IcmpError::parse(src(), dst(), &long);
        if kind.has_length() {
            assert_eq!(parsed, Err(IcmpParseError::QuoteLength));
        } else {
            assert_eq!(parsed.unwrap().quote, quote);
        }
    }
    for kind in [0, 5, 100, 127, 128, 135, 255] {
        let e = IcmpError::parse(src(), dst(), &[kind, 0, 0, 0, 0, 0, 0, 0]).unwrap_err();
        assert_eq!((e, e.reason()), (IcmpParseError::NotAnError(kind), "icmp_not_an_error"));
        assert_eq!(e.to_string(), "icmp not an error");
    }
}

#[test]
fn packet_too_big_about_any_packet() {
    for len in [40, 60, 1280, 1500, 9000] {
        let packet = invoking(len, 6);
        let answer = packet_too_big(src(), &packet, 1492, 64).unwrap();
        assert!(answer.len() <= 1280);
        let w = ipv6::walk(&answer).unwrap();
        assert_eq!((w.header.src, w.header.dst, w.header.hop_limit), (src(), dst(), 64));
        assert_eq!(w.end, answer.len());
        let upper = w.upper.unwrap();
        let error = IcmpError::parse(src(), dst(), &answer[upper.offset..]).unwrap();
        assert_eq!(error.kind, IcmpErrorKind::PacketTooBig { mtu: 1492 });
        assert_eq!(error.quote, &packet[..len.min(1232)]);
        assert!(is_error_packet(&answer));
        // Errors cause no errors.
        assert_eq!(packet_too_big(src(), &answer, 1492, 64), None);
    }
    // An echo request may be too big, and so may a packet to a group.
    let mut echo = invoking(1500, protocol::ICMPV6);
    echo[40] = 128;
    assert!(!is_error_packet(&echo));
    assert!(packet_too_big(src(), &echo, 1400, 64).is_some());
    echo[ipv6::DST].copy_from_slice(&addr("ff0e::1").octets());
    assert!(packet_too_big(src(), &echo, 1400, 64).is_some());
    // From nobody, or from a group: no answer.
    for from in ["::", "ff02::1"] {
        let mut packet = invoking(1500, 6);
        packet[ipv6::SRC].copy_from_slice(&addr(from).octets());
        assert_eq!(packet_too_big(src(), &packet, 1400, 64), None);
    }
    assert_eq!(packet_too_big(src(), &[0x45; 60], 1400, 64), None);
    assert_eq!(packet_too_big(src(), &[], 1400, 64), None);
}
