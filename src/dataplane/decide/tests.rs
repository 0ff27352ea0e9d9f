use super::*;
use crate::dataplane::rewrite;
use crate::dataplane::testing::*;
use crate::proto::{Forward, ForwardChange};
use crate::wire::checksum;
use crate::wire::icmpv6::{IcmpError, IcmpErrorKind};
use proptest::prelude::*;

fn map(forward: Forward) -> Map {
    let map = Map::default();
    map.apply(&ForwardChange::Set(forward));
    map
}

fn name(decision: &Decision) -> &'static str {
    match decision {
        Decision::Pass => "pass",
        Decision::PassCounted(c) | Decision::Drop(c) => c.name(),
        Decision::Watch(_) => "watch",
        Decision::PlainOut { .. } | Decision::PlainIn(_) => "plain",
        Decision::Tag { .. } => "tag",
        Decision::Strip { report: false, .. } => "strip",
        Decision::Strip { report: true, .. } => "strip and report",
        Decision::Reassemble(_) => "reassemble",
        Decision::UnknownTag { .. } => "unknown tag",
        Decision::Control { .. } => "control",
        Decision::Icmp(_) => "icmp",
    }
}

fn of(packet: &[u8], way: Way, forward: Forward) -> &'static str {
    name(&decide(packet, way, &map(forward)))
}

/// A packet from the peer's other locator to ours, tagged.
fn inbound(tag: ContextTag) -> Vec<u8> {
    let plain = udp(PEER, US, b"hello");
    let pair = LocatorPair { local: locators().peer, peer: locators().local };
    rewrite::tag(&plain, walk(&plain).unwrap().insert, pair, tag).unwrap()
}

// req-test: S6-11-01, S6-11-02, S6-12.1-01, S6-1.6-02, S6-4-03, S6-5.2-02, S6-12.4-07
#[test]
fn payload_by_context_and_pair() {
    let out = udp(US, PEER, b"hello");
    let back = udp(PEER, US, b"hello");
    assert_eq!(of(&out, Way::Out, plain()), "plain");
    assert_eq!(of(&back, Way::In, plain()), "plain");
    assert_eq!(of(&out, Way::Out, tagged()), "tag");
    // One direction may be mapped while the other is not.
    assert_eq!(of(&back, Way::In, tagged()), "plain");
    assert_eq!(of(&udp(US, ROUTER, b"hello"), Way::Out, tagged()), "watch");
    assert_eq!(of(&udp(ROUTER, US, b"hello"), Way::In, tagged()), "watch");
    // The pair in use differs from the ULIDs in one end only: tagged all the same.
    for pair in [
        LocatorPair { local: ulids().local.locator(), ..locators() },
        LocatorPair { peer: ulids().peer.locator(), ..locators() },
    ] {
        let one_end = Forward { outbound: Outbound::Tagged(pair, peer_tag()), ..plain() };
        assert_eq!(of(&out, Way::Out, one_end), "tag");
    }
    // A context with another FII is not the default one.
    let forked = Forward { fii: Fii(3), ..tagged() };
    assert_eq!(of(&out, Way::Out, forked), "watch");
    let Decision::Watch(pair) = decide(&back, Way::In, &Map::default()) else { panic!() };
    assert_eq!(pair, ulids(), "one key for both directions");
}

// req-test: S6-12.2-01, S6-12.2-03, S6-12.4-04, S6-12-01
#[test]
fn tagged_payload_by_tag_and_state_from_any_source() {
    let mut packet = inbound(local_tag());
    assert_eq!(of(&packet, Way::Shim6, plain()), "strip");
    packet[23] ^= 0x55;
    assert_eq!(of(&packet, Way::Shim6, plain()), "strip", "any source");
    let setup = Forward { inbound: Inbound::UnmapAndNotify, ..plain() };
    assert_eq!(of(&packet, Way::Shim6, setup), "strip and report");
    let early = Forward { inbound: Inbound::Drop, ..plain() };
    assert_eq!(of(&packet, Way::Shim6, early), "drop_payload_state");
    // The peer's tag is not ours.
    assert_eq!(of(&inbound(peer_tag()), Way::Shim6, tagged()), "unknown tag");
}

// req-test: S6-12.2-02
#[test]
fn an_unknown_tag_is_reported_with_its_addresses() {
    let packet = inbound(ContextTag::from_masked(5));
    let Decision::UnknownTag { src, dst, tag } = decide(&packet, Way::Shim6, &map(plain())) else {
        panic!("not reported");
    };
    assert_eq!((src, dst), (locators().peer, locators().local));
    assert_eq!(tag, ContextTag::from_masked(5));
}

// req-test: S6-1.4-01
#[test]
fn multicast_link_local_discovery_and_our_own_messages_are_left_alone() {
    // Contexts that must never be, to show that they are not even looked for.
    for (src, dst) in [
        (US, "ff0e::1"),
        (US, "ff02::1"),
        ("fe80::1", PEER),
        (US, "fe80::2"),
        ("::1", "::1"),
        ("::", PEER),
        (US, US),
    ] {
        let ulids = UlidPair { local: Ulid(a(src)), peer: Ulid(a(dst)) };
        let forward = Forward { ulids, ..tagged() };
        assert_eq!(of(&udp(src, dst, b"x"), Way::Out, forward.clone()), "pass", "{src} {dst}");
        assert_eq!(of(&udp(dst, src, b"x"), Way::In, forward), "pass", "{dst} {src}");
    }
    for kind in [130, 133, 134, 135, 136, 137, 143] {
        let nd = packet(US, PEER, 58, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(of(&nd, Way::Out, tagged()), "pass", "ICMPv6 type {kind}");
    }
    assert_eq!(of(&packet(US, PEER, 58, &[128, 0, 0, 0, 0, 0, 0, 0]), Way::Out, tagged()), "tag");
    let message = [59, 1, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    assert_eq!(of(&packet(US, PEER, 140, &message), Way::Out, tagged()), "pass");
}

// req-test: AL-7.3-01
#[test]
fn multihomed_transports_get_no_context() {
    assert_eq!(of(&packet(US, PEER, SCTP, &[0; 12]), Way::Out, tagged()), "pass");
    let mptcp = tcp(US, PEER, 1, 0x10, &[30, 4, 0, 0], b"data");
    assert_eq!(of(&mptcp, Way::Out, Forward { fii: Fii(9), ..plain() }), "pass");
    assert_eq!(
        of(&tcp(US, PEER, 1, 0x10, &[], b"data"), Way::Out, Forward { fii: Fii(9), ..plain() }),
        "watch"
    );
}

#[test]
fn routing_headers_with_segments_left_and_mobile_ipv6_are_not_mapped() {
    let routed = packet(US, PEER, 43, &[17, 0, 4, 1, 0, 0, 0, 0, 0, 1, 0, 2, 0, 8, 0, 0]);
    assert_eq!(of(&routed, Way::Out, tagged()), "pass_routing_header");
    let home = packet(
        US,
        PEER,
        60,
        &[17, 2, 201, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0],
    );
    assert_eq!(of(&home, Way::Out, tagged()), "pass_routing_header");
    assert_eq!(
        of(&packet(US, PEER, 135, &[59, 0, 0, 0, 0, 0, 0, 0]), Way::Out, tagged()),
        "pass_routing_header"
    );
    // Arrived, but not at its end.
    let mut inner = inbound(local_tag());
    let rest = inner.split_off(40);
    inner[6] = 43;
    inner.extend([140, 0, 4, 1, 0, 0, 0, 0]);
    inner.extend(rest);
    let length = (inner.len() - 40) as u16;
    inner[4..6].copy_from_slice(&length.to_be_bytes());
    assert_eq!(of(&inner, Way::Shim6, plain()), "drop_shim6_routing_header");
    inner[43] = 0;
    assert_eq!(of(&inner, Way::Shim6, plain()), "strip");
}

fn control(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut message = vec![59, 1, 1, 0, 0, 0, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    change(&mut message);
    let sum = checksum::internet(&message);
    message[4..6].copy_from_slice(&sum.to_be_bytes());
    packet(PEER_TOO, US_TOO, 140, &message)
}

// req-test: S6-12.3-01, S6-12.3-02, S6-12.3-03
#[test]
fn control_messages_are_checked_before_they_reach_the_engine() {
    let good = control(|_| {});
    let Decision::Control { offset: 40 } = decide(&good, Way::Shim6, &Map::default()) else {
        panic!("not a control message");
    };
    let mut bad = good.clone();
    bad[47] ^= 1;
    assert_eq!(of(&bad, Way::Shim6, plain()), "drop_shim6_checksum");
    assert_eq!(of(&control(|m| m[1] = 2), Way::Shim6, plain()), "drop_shim6_length");
    assert_eq!(of(&control(|m| m[3] = 1), Way::Shim6, plain()), "drop_hip");
    for (src, dst) in
        [("ff02::1", US), (PEER, "ff0e::1"), ("::", US), (PEER, "::"), ("fe80::1", US)]
    {
        assert_eq!(
            of(&packet(src, dst, 140, &good[40..]), Way::Shim6, plain()),
            "drop_shim6_address"
        );
    }
}

#[test]
fn malformed_payload_headers_are_dropped_by_name() {
    let mut long = inbound(local_tag());
    long[41] = 1;
    assert_eq!(of(&long, Way::Shim6, plain()), "drop_shim6_length");
    let mut nested = inbound(local_tag());
    nested[40] = 140;
    assert_eq!(of(&nested, Way::Shim6, plain()), "drop_nested_shim6");
    assert_eq!(of(&packet(PEER, US, 140, &[0; 4]), Way::Shim6, plain()), "drop_shim6_length");
    assert_eq!(of(&udp(PEER, US, b"x"), Way::Shim6, plain()), "drop_not_shim6");
    let cut = inbound(local_tag());
    assert_eq!(of(&cut[..cut.len() - 1], Way::Shim6, plain()), "drop_truncated");
    assert_eq!(of(&[0x45; 60], Way::Out, plain()), "pass_malformed");
}

#[test]
fn a_shim6_header_behind_a_fragment_header_is_accepted_when_it_is_whole() {
    let mut packet = inbound(local_tag());
    let rest = packet.split_off(40);
    packet[6] = 44;
    packet.extend([140, 0, 0, 1, 0, 0, 0, 1]);
    packet.extend(rest);
    let length = (packet.len() - 40) as u16;
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    assert_eq!(of(&packet, Way::Shim6, plain()), "reassemble");
    packet[43] = 0;
    assert_eq!(of(&packet, Way::Shim6, plain()), "strip");
    packet[43] = 8;
    assert_eq!(of(&packet, Way::Shim6, plain()), "reassemble", "a later fragment");
}

// req-test: S6-4.6-02
#[test]
fn tunnels_are_processed_in_the_order_of_their_headers() {
    // Outer, Shim6, inner: the outer packet is the context's payload.
    let inner = udp("2001:db8:77::1", "2001:db8:88::1", b"x");
    let plain_outer = packet(PEER, US, 41, &inner);
    let pair = LocatorPair { local: locators().peer, peer: locators().local };
    let place = walk(&plain_outer).unwrap().insert;
    let outer = rewrite::tag(&plain_outer, place, pair, local_tag()).unwrap();
    assert_eq!(of(&outer, Way::Shim6, plain()), "strip");
    // Outer, inner, Shim6: nothing of ours before the tunnel has ended.
    let tunnelled = packet(PEER, US, 41, &inbound(local_tag()));
    assert_eq!(of(&tunnelled, Way::In, plain()), "plain");
}

#[test]
fn icmp_errors_go_their_own_way_only_if_they_quote_shim6() {
    let out = udp(US, PEER, b"hello");
    let wire = rewrite::tag(&out, walk(&out).unwrap().insert, locators(), peer_tag()).unwrap();
    let error = |quote| {
        let kind = IcmpErrorKind::TimeExceeded { code: 0 };
        IcmpError { kind, quote, extensions: &[] }.emit_packet(a(ROUTER), a(US_TOO), 9)
    };
    assert_eq!(of(&error(&wire), Way::In, tagged()), "icmp");
    assert_eq!(of(&error(&out), Way::In, tagged()), "watch");
}

/// A million packets made from good ones by changing some octets; none may panic, and all get some decision.
#[test]
fn a_million_mutated_packets_are_decided() {
    let map = map(tagged());
    let out = udp(US, PEER, &pattern(64));
    let wire = rewrite::tag(&out, walk(&out).unwrap().insert, locators(), peer_tag()).unwrap();
    let kind = IcmpErrorKind::ParameterProblem { code: 1, pointer: 44 };
    let icmp = IcmpError { kind, quote: &wire, extensions: &[] };
    let mut routed = inbound(local_tag());
    routed[6] = 43;
    let seeds = [
        (out.clone(), Way::Out),
        (tcp(US, PEER, 1, 0x18, &[1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0], &pattern(64)), Way::Out),
        (
            packet(
                US,
                PEER,
                0,
                &[
                    60, 0, 1, 4, 0, 0, 0, 0, 44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 1, 2, 3, 4, 5,
                    6, 7, 8,
                ],
            ),
            Way::Out,
        ),
        (icmp.emit_packet(a(ROUTER), a(US_TOO), 9), Way::In),
        (inbound(local_tag()), Way::Shim6),
        (control(|_| {}), Way::Shim6),
        (routed, Way::Shim6),
    ];
    let mut x = 0x5533_5534_5535_u64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as usize
    };
    let mut kinds = std::collections::BTreeMap::new();
    let mut buffer = Vec::new();
    for _ in 0..1_000_000 {
        let (seed, way) = &seeds[next() % seeds.len()];
        buffer.clear();
        buffer.extend_from_slice(seed);
        for _ in 0..1 + next() % 4 {
            // Mostly headers, where it hurts.
            let at = if next().is_multiple_of(4) { next() } else { next() % 64 } % buffer.len();
            buffer[at] = next() as u8;
        }
        if next().is_multiple_of(8) {
            buffer.truncate(next() % (buffer.len() + 1));
        }
        *kinds.entry(name(&decide(&buffer, *way, &map))).or_insert(0u32) += 1;
    }
    assert!(kinds.len() >= 10, "{kinds:?}");
}

proptest! {
    #[test]
    fn any_octets_are_decided(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        static MAP: std::sync::LazyLock<Map> = std::sync::LazyLock::new(|| map(tagged()));
        for way in [Way::Out, Way::In, Way::Shim6] {
            let _decision = decide(&octets, way, &MAP);
        }
    }
}

fn two_contexts() -> Map {
    let map = map(plain());
    let fork = Forward { id: crate::proto::ContextId(8), fii: Fii(3), ..tagged() };
    let local_tag = ContextTag::from_masked(77);
    map.apply(&ForwardChange::Set(Forward { local_tag, ..fork }));
    map
}

fn flow_of_udp() -> crate::addr::Flow {
    let packet = udp(US, PEER, b"x");
    flows::flow_of(&packet, &walk(&packet).unwrap(), Way::Out).unwrap()
}

// req-test: S6-12.4-07, S6-4.2-02, AP-9-01
#[test]
fn a_forked_flow_goes_by_its_own_context_and_others_stay() {
    let map = two_contexts();
    let (udp, tcp) = (udp(US, PEER, b"x"), tcp(US, PEER, 1, 0x10, &[], b"x"));
    assert_eq!(name(&decide(&udp, Way::Out, &map)), "plain");
    assert!(map.bind_flow(flow_of_udp(), crate::proto::ContextId(8)));
    assert_eq!(name(&decide(&udp, Way::Out, &map)), "tag");
    assert_eq!(name(&decide(&tcp, Way::Out, &map)), "plain", "another flow");
    // Without both tags the fork cannot carry anything yet; the default context does.
    let fork = Forward { id: crate::proto::ContextId(8), fii: Fii(3), ..plain() };
    let waiting = Forward { local_tag: ContextTag::from_masked(77), ..fork };
    map.apply(&ForwardChange::Set(waiting));
    let Decision::PlainOut { entry, .. } = decide(&udp, Way::Out, &map) else { panic!() };
    assert_eq!(entry.forward().fii, Fii::DEFAULT);
    map.apply(&ForwardChange::Remove(crate::proto::ContextId(8)));
    assert_eq!(name(&decide(&udp, Way::Out, &map)), "plain");
    assert!(map.flows.is_empty());
}

// req-test: AP-6.2-02
#[test]
fn answers_to_a_flow_that_left_the_shim_pass_untouched() {
    let map = two_contexts();
    let mut back = udp(PEER, US, b"x");
    back[40..44].copy_from_slice(&[0x10, 2, 0x10, 1]);
    assert_eq!(name(&decide(&back, Way::In, &map)), "plain");
    map.flows.leave_alone(flow_of_udp(), &crate::dataplane::Counters::default());
    assert_eq!(name(&decide(&back, Way::In, &map)), "left_alone");
    let other = udp(PEER, US, b"x");
    assert_eq!(name(&decide(&other, Way::In, &map)), "plain", "other ports");
}
