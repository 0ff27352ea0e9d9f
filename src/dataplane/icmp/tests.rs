use super::*;
use crate::dataplane::rewrite;
use crate::dataplane::testing::*;
use crate::proto::ForwardChange;
use crate::wire::checksum;
use crate::wire::ipv6::walk;

fn map() -> Map {
    let map = Map::default();
    map.apply(&ForwardChange::Set(tagged()));
    map
}

/// The ULID packet and what went out for it.
fn sent() -> (Vec<u8>, Vec<u8>) {
    let plain = udp(US, PEER, &pattern(400));
    let place = walk(&plain).unwrap().insert;
    let wire = rewrite::tag(&plain, place, locators(), peer_tag()).unwrap();
    (plain, wire)
}

fn from_router(kind: IcmpErrorKind, quote: &[u8], extensions: &[u8]) -> Vec<u8> {
    let error = IcmpError { kind, quote, extensions };
    error.emit_packet(a(ROUTER), a(US_TOO), 61)
}

fn examine(packet: &[u8]) -> Option<Quoted> {
    quoted(packet, &walk(packet).unwrap(), &map())
}

/// The translated packet's addresses and error.
fn translated(packet: &[u8]) -> (Vec<u8>, IcmpErrorKind, Vec<u8>, Vec<u8>) {
    let out = translate(packet, &walk(packet).unwrap(), ulids()).unwrap();
    let header = ipv6::Ipv6Header::parse(&out).unwrap();
    assert_eq!((header.src, header.dst, header.hop_limit), (a(ROUTER), a(US), 61));
    let error = IcmpError::parse(a(ROUTER), a(US), &out[40..]).expect("right checksum");
    let (kind, quote, extensions) = (error.kind, error.quote.to_vec(), error.extensions.to_vec());
    (out, kind, quote, extensions)
}

const UNREACHABLE: IcmpErrorKind = IcmpErrorKind::DestinationUnreachable { code: 0 };

// req-test: S6-8-06, S6-8-01
#[test]
fn the_transport_sees_the_packet_it_sent() {
    let (plain, wire) = sent();
    let packet = from_router(UNREACHABLE, &wire, &[]);
    let Some(Quoted::Payload { entry, pair, icmp_type, icmp_code, mtu, for_shim }) =
        examine(&packet)
    else {
        panic!("not recognised");
    };
    assert_eq!((entry.forward().id, pair), (tagged().id, locators()));
    assert_eq!((icmp_type, icmp_code, mtu, for_shim), (1, 0, None, true));
    let (_, kind, quote, _) = translated(&packet);
    assert_eq!((kind, quote), (UNREACHABLE, plain));
}

#[test]
fn a_quote_cut_short_keeps_the_length_of_the_packet_it_was() {
    let (plain, wire) = sent();
    let packet = from_router(UNREACHABLE, &wire[..60], &[]);
    assert!(examine(&packet).is_some());
    assert_eq!(translated(&packet).2, &plain[..52]);
    // Not even our header is there as a whole.
    assert!(examine(&from_router(UNREACHABLE, &wire[..47], &[])).is_none());
}

// req-test: S6-8-09, S6-8-04
#[test]
fn packet_too_big_announces_room_for_the_header() {
    let (_, wire) = sent();
    for (announced, delivered) in [(1480, 1472), (1280, 1280), (1287, 1280), (0, 1280)] {
        let kind = IcmpErrorKind::PacketTooBig { mtu: announced };
        let packet = from_router(kind, &wire, &[]);
        let Some(Quoted::Payload { mtu, for_shim: false, .. }) = examine(&packet) else {
            panic!("not recognised");
        };
        assert_eq!(mtu, Some(announced as usize));
        assert_eq!(translated(&packet).1, IcmpErrorKind::PacketTooBig { mtu: delivered });
    }
}

// req-test: S6-8-06, S6-8-03, S6-8-04
#[test]
fn a_pointer_beyond_the_header_moves_and_one_into_it_is_for_the_shim() {
    let (_, wire) = sent();
    for (pointer, delivered, shim) in [
        (7, 7, false),
        (6, 6, true),
        (40, 40, true),
        (47, 47, true),
        (48, 40, false),
        (54, 46, false),
    ] {
        let kind = IcmpErrorKind::ParameterProblem { code: 1, pointer };
        let packet = from_router(kind, &wire, &[]);
        let Some(Quoted::Payload { for_shim, .. }) = examine(&packet) else {
            panic!("not recognised");
        };
        assert_eq!(for_shim, shim, "{pointer}");
        let want = IcmpErrorKind::ParameterProblem { code: 1, pointer: delivered };
        assert_eq!(translated(&packet).1, want);
    }
}

// req-test: S6-8-03, S6-8-04
#[test]
fn which_errors_are_for_the_shim() {
    let (_, wire) = sent();
    let shim = |kind| match examine(&from_router(kind, &wire, &[])) {
        Some(Quoted::Payload { for_shim, .. }) => for_shim,
        other => panic!("{other:?}"),
    };
    for code in 0..=8 {
        let kind = IcmpErrorKind::DestinationUnreachable { code };
        assert_eq!(shim(kind), matches!(code, 0 | 1 | 2 | 3 | 5 | 6), "code {code}");
    }
    assert!(shim(IcmpErrorKind::TimeExceeded { code: 0 }));
    assert!(shim(IcmpErrorKind::TimeExceeded { code: 1 }));
}

// req-test: S6-8-07
#[test]
fn extensions_stay_parseable() {
    let extensions = [0x20, 0, 0xd5, 0xf1, 0, 8, 1, 1, 0, 1, 2, 3];
    let (plain, wire) = sent();
    for kind in [UNREACHABLE, IcmpErrorKind::TimeExceeded { code: 0 }] {
        // 456 octets, and the shortest original datagram field that RFC 4884 allows.
        for quote in [&wire[..], &wire[..128], &wire[..100]] {
            let (_, _, got, ext) = translated(&from_router(kind, quote, &extensions));
            assert_eq!(ext, extensions);
            assert!(got.len() >= 128 && got.len().is_multiple_of(8));
            assert_eq!(got[..quote.len() - 8], plain[..quote.len() - 8]);
        }
    }
}

// req-test: S6-8-08, S6-8-05, S6-12.4-06
#[test]
fn only_quotes_of_what_we_sent_are_taken() {
    let (plain, wire) = sent();
    let place = walk(&plain).unwrap().insert;
    let tag = |tag| rewrite::tag(&plain, place, locators(), tag).unwrap();
    // Our own tag is not the one we write into packets.
    assert!(examine(&from_router(UNREACHABLE, &tag(local_tag()), &[])).is_none());
    // Another pair than the one in use.
    let mut other = wire.clone();
    other[39] ^= 1;
    assert!(examine(&from_router(UNREACHABLE, &other, &[])).is_none());
    // A quote of somebody else's packet.
    let mut foreign = wire.clone();
    foreign[23] ^= 1;
    assert!(examine(&from_router(UNREACHABLE, &foreign, &[])).is_none());
    // A packet that was not tagged: nothing to be changed.
    assert!(examine(&from_router(UNREACHABLE, &plain, &[])).is_none());
    // A wrong checksum.
    let mut bad = from_router(UNREACHABLE, &wire, &[]);
    *bad.last_mut().unwrap() ^= 1;
    assert!(examine(&bad).is_none());
    // No error at all.
    let mut echo = from_router(UNREACHABLE, &wire, &[]);
    echo[40] = 128;
    echo[42..44].fill(0);
    let sum = checksum::transport(a(ROUTER), a(US_TOO), 58, &echo[40..]);
    echo[42..44].copy_from_slice(&sum.to_be_bytes());
    assert!(examine(&echo).is_none());
}

#[test]
fn an_error_about_a_control_message_is_recognised() {
    let message = [59, 1, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let control = packet(US_TOO, PEER_TOO, 140, &message);
    let kind = IcmpErrorKind::ParameterProblem { code: 1, pointer: 6 };
    let Some(Quoted::Control { icmp_type: 4, icmp_code: 1, src, dst, message: got }) =
        examine(&from_router(kind, &control, &[]))
    else {
        panic!("not recognised");
    };
    assert_eq!((src, dst, &got[..]), (locators().local, locators().peer, &message[..]));
}

// req-test: S6-15.4-02
#[test]
fn a_packet_too_big_of_our_own_goes_from_the_ulid_to_itself() {
    let map = map();
    let entry = map.entry(tagged().id).unwrap();
    let packet = udp(US, PEER, &pattern(1450));
    let now = Time::from_secs(1);
    assert!(packet_too_big(&entry, &packet, 1287, now).is_none(), "below 1280 nobody listens");
    assert!(packet_too_big(&entry, &packet, 9000, now).is_none(), "fits");
    let told = packet_too_big(&entry, &packet, 1500, now).unwrap();
    let header = ipv6::Ipv6Header::parse(&told).unwrap();
    assert_eq!((header.src, header.dst), (a(US), a(US)));
    let error = IcmpError::parse(a(US), a(US), &told[40..]).unwrap();
    assert_eq!(error.kind, IcmpErrorKind::PacketTooBig { mtu: 1492 });
    assert_eq!(error.quote, &packet[..1232]);
    assert!(told.len() <= 1280);
    assert!(packet_too_big(&entry, &packet, 1500, now).is_none(), "one per second");
}
