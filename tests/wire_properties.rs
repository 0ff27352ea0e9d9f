//! Properties of all wire formats: what is emitted parses to the same value; no octets whatever panic a parser.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod wire_common;

use std::net::Ipv6Addr;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use shim6::addr::*;
use shim6::wire::checksum::{self, Sum};
use shim6::wire::control::*;
use shim6::wire::icmpv6::{IcmpError, IcmpErrorKind, packet_too_big};
use shim6::wire::ipv6::{self, Fragment, Ipv6Header, walk};
use shim6::wire::option::*;
use shim6::wire::payload::PayloadHeader;
use shim6::wire::{Message, MessageType, header};
use wire_common::{Numbers, addr, defined, message, packet, samples};

fn any_tag() -> impl Strategy<Value = ContextTag> {
    any::<u64>().prop_map(ContextTag::from_masked)
}

fn any_addr() -> impl Strategy<Value = Ipv6Addr> {
    any::<[u8; 16]>().prop_map(Ipv6Addr::from)
}

fn any_report() -> impl Strategy<Value = ProbeReport> {
    (any_addr(), any_addr(), any::<u32>(), any::<u32>()).prop_map(|(src, dst, nonce, data)| {
        ProbeReport { src: Locator(src), dst: Locator(dst), nonce: ProbeNonce(nonce), data }
    })
}

fn any_list() -> impl Strategy<Value = LocatorList> {
    (any::<u32>(), vec((any_addr(), any::<u8>()), 1..20)).prop_map(|(generation, entries)| {
        LocatorList {
            generation: Generation(generation),
            entries: entries
                .into_iter()
                .map(|(a, m)| LocatorEntry { locator: Locator(a), method: m.into() })
                .collect(),
        }
    })
}

fn any_preferences() -> impl Strategy<Value = LocatorPreferences> {
    (any::<u32>(), 1..8_u8, vec(any::<[u8; 3]>(), 0..20)).prop_map(|(generation, len, elements)| {
        LocatorPreferences {
            generation: Generation(generation),
            element_len: len,
            elements: elements
                .into_iter()
                .map(|[flags, priority, weight]| LocatorPreference {
                    flags: PreferenceFlags(flags),
                    priority: if len > 1 { priority } else { 0 },
                    weight: if len > 2 { weight } else { 0 },
                })
                .collect(),
        }
    })
}

/// Options for any message; together they always fit.
fn any_options() -> impl Strategy<Value = Options> {
    let octets = |max| of(vec(any::<u8>(), 0..max));
    let unknown = (11..0x7fff_u16, vec(any::<u8>(), 0..20))
        .prop_map(|(option_type, contents)| UnknownOption { option_type, contents });
    (
        (octets(64), octets(300), octets(300)),
        (of(any_list()), of(any_preferences())),
        of((any_addr(), any_addr())),
        (of(any::<u32>()), of(any::<u16>())),
        vec(unknown, 0..4),
    )
        .prop_map(
            |((validator, pds, signature), (list, preferences), ulids, (fii, k), unknown)| {
                Options {
                    validator,
                    locator_list: list,
                    preferences,
                    pds,
                    signature,
                    ulid_pair: ulids
                        .map(|(s, r)| UlidPairOption { sender: Ulid(s), receiver: Ulid(r) }),
                    fii: fii.map(Fii),
                    keepalive_timeout: k,
                    unknown,
                    preferences_fault: None,
                }
            },
        )
}

fn any_message() -> impl Strategy<Value = Message> {
    let with_options = (0..10_usize, any_options(), any_tag(), any_tag(), any::<[u32; 2]>())
        .prop_map(|(kind, options, tag, tag2, [n1, n2])| {
            let kind = MessageType::KNOWN[kind];
            let mut m = message(kind, defined(kind, options));
            match &mut m {
                Message::I1(x) => (x.initiator_tag, x.init_nonce) = (tag, InitNonce(n1)),
                Message::R1(x) => {
                    (x.init_nonce, x.responder_nonce) = (InitNonce(n1), ResponderNonce(n2));
                }
                Message::I2(x) => {
                    (x.initiator_tag, x.init_nonce) = (tag, InitNonce(n1));
                    x.responder_nonce = ResponderNonce(n2);
                }
                Message::R2(x) => (x.responder_tag, x.init_nonce) = (tag, InitNonce(n1)),
                Message::R1bis(x) => (x.packet_tag, x.responder_nonce) = (tag, ResponderNonce(n1)),
                Message::I2bis(x) => {
                    (x.initiator_tag, x.init_nonce) = (tag, InitNonce(n1));
                    (x.packet_tag, x.responder_nonce) = (tag2, ResponderNonce(n2));
                }
                Message::UpdateRequest(x) => {
                    (x.receiver_tag, x.request_nonce) = (tag, RequestNonce(n1));
                }
                Message::UpdateAck(x) => {
                    (x.receiver_tag, x.request_nonce) = (tag, RequestNonce(n1))
                }
                Message::Keepalive(x) => x.receiver_tag = tag,
                Message::Probe(x) => x.receiver_tag = tag,
                Message::Error(_) => {}
            }
            m
        });
    let state = prop_oneof![
        Just(ProbeState::Operational),
        Just(ProbeState::Exploring),
        Just(ProbeState::InboundOk)
    ];
    let probe = (any_tag(), state, vec(any_report(), 1..16), vec(any_report(), 0..16)).prop_map(
        |(receiver_tag, state, sent, received)| {
            let options = Options::default();
            Message::Probe(Probe { receiver_tag, state, sent, received, options })
        },
    );
    let error = (0..128_u8, any::<u16>(), vec(any::<[u8; 8]>(), 1..155)).prop_map(|(c, p, q)| {
        Message::Error(ErrorMessage { code: c.into(), pointer: p, quoted: q.concat() })
    });
    prop_oneof![6 => with_options, 1 => probe, 1 => error]
}

proptest! {
    // req-test: S6-5.3-01, S6-5.3-02
    #[test]
    fn messages_come_back_as_sent(m in any_message(), trailing in vec(any::<u8>(), 0..20)) {
        let mut octets = m.emit();
        prop_assert!(octets.len().is_multiple_of(8) && octets.len() == m.emitted_len());
        prop_assert_eq!(octets[0], 59);
        prop_assert_eq!(octets[3] & 1, 0);
        prop_assert_eq!(header::control_length(&octets), Some(octets.len()));
        octets.extend(trailing);
        prop_assert_eq!(Message::parse(&octets), Ok(m));
    }

    #[test]
    fn emitting_does_not_depend_on_the_buffer(m in any_message(), start in 0..64_usize) {
        let mut buffer = vec![0xa5; 4096];
        buffer.truncate(start);
        m.emit_into(&mut buffer);
        prop_assert!(buffer[..start].iter().all(|&o| o == 0xa5));
        prop_assert_eq!(&buffer[start..], m.emit());
    }

    // req-test: S6-5.2-03
    #[test]
    fn payload_headers_come_back_as_sent(next_header: u8, tag in any_tag()) {
        let h = PayloadHeader { next_header, receiver_tag: tag };
        prop_assert_eq!(PayloadHeader::parse(&h.emit()), Ok(h));
    }

    #[test]
    fn ipv6_headers_come_back_as_sent(
        traffic_class: u8,
        flow_label in 0..0x10_0000_u32,
        payload_length: u16,
        next_header: u8,
        hop_limit: u8,
        src in any_addr(),
        dst in any_addr(),
    ) {
        let h = Ipv6Header {
            traffic_class, flow_label, payload_length, next_header, hop_limit, src, dst,
        };
        prop_assert_eq!(Ipv6Header::parse(&h.emit()), Ok(h));
    }

    #[test]
    fn fragment_headers_come_back_as_sent(next_header: u8, units in 0..0x2000_u16, more: bool, id: u32) {
        let f = Fragment { next_header, offset: units * 8, more, id };
        prop_assert_eq!(Fragment::parse(&f.emit(), 0), Ok(f));
    }

    #[test]
    fn icmp_errors_come_back_as_sent(
        kind in prop_oneof![
            any::<u8>().prop_map(|code| IcmpErrorKind::DestinationUnreachable { code }),
            any::<u32>().prop_map(|mtu| IcmpErrorKind::PacketTooBig { mtu }),
            any::<u8>().prop_map(|code| IcmpErrorKind::TimeExceeded { code }),
            any::<(u8, u32)>()
                .prop_map(|(code, pointer)| IcmpErrorKind::ParameterProblem { code, pointer }),
        ],
        quote in vec(any::<u8>(), 0..1233),
        src in any_addr(),
        dst in any_addr(),
    ) {
        let error = IcmpError { kind, quote: &quote, extensions: &[] };
        let octets = error.emit(src, dst);
        prop_assert_eq!(IcmpError::parse(src, dst, &octets), Ok(error));
    }

    #[test]
    fn sums_are_the_same_however_they_are_made(
        octets in vec(any::<u8>(), 0..200),
        cut in 0..200_usize,
        new in any::<[u8; 16]>(),
    ) {
        let cut = cut.min(octets.len());
        let (a, b) = octets.split_at(cut);
        let whole = Sum::of(&octets);
        prop_assert_eq!(Sum::of(a).followed_by(a.len(), Sum::of(b)).fold(), whole.fold());
        if octets.len() >= 18 {
            let mut changed = octets.clone();
            changed[2..18].copy_from_slice(&new);
            let made = checksum::replace(whole.checksum(), Sum::of(&octets[2..18]), Sum::of(&new));
            // 0 and 0xffff are one number; which of them comes out depends on the way.
            prop_assert_eq!(made % 0xffff, checksum::internet(&changed) % 0xffff);
        }
    }

    #[test]
    fn no_octets_panic_a_parser(octets in vec(any::<u8>(), 0..400)) {
        parse_all(&octets);
    }
}

/// Every parser on the same octets.
fn parse_all(octets: &[u8]) {
    if let Err(e) = Message::parse(octets) {
        let _ = (e.reason(), e.reply(), e.debug_reply());
    }
    let _ = PayloadHeader::parse(octets);
    let _ = header::control_length(octets);
    let _ = offset_of(octets, OptionType::LocatorList);
    let _ = verification_method_offset(octets, 3);
    if let Ok(w) = walk(octets) {
        let within = |offset: usize| offset <= octets.len() && offset <= w.end;
        assert!(within(w.insert.offset) && w.insert.next_header_at < w.insert.offset);
        assert!(w.shim6.is_none_or(|s| within(s.place.offset + 8)));
        assert!(w.upper.is_none_or(|u| within(u.offset)));
        assert!(w.fragment.is_none_or(|f| within(f.0.offset + 8)));
    }
    let _ = packet_too_big(Ipv6Addr::LOCALHOST, octets, 1280, 64);
    let nowhere = Ipv6Addr::UNSPECIFIED;
    let _ = IcmpError::parse(nowhere, nowhere, octets);
}

/// Changes a few octets, and makes the checksum good again most of the time, or the parser would see nothing else.
fn mutate(numbers: &mut Numbers, octets: &mut Vec<u8>, is_message: bool) {
    for _ in 0..=numbers.below(4) {
        let n = numbers.next();
        let at = numbers.below(octets.len());
        match n % 8 {
            0..3 => octets[at] ^= 1 << ((n >> 8) % 8),
            3 => octets[at] = (n >> 8) as u8,
            4 => octets[at] = [0, 1, 7, 8, 0x7f, 0x80, 0xfe, 0xff][(n >> 8) as usize % 8],
            // The places where lengths and counts stand.
            5 => {
                let at = (at / 8 * 8 + 3).min(octets.len() - 1);
                octets[at] = octets[at].wrapping_add((n >> 8) as u8 % 9).wrapping_sub(4);
            }
            6 => octets.truncate(at.max(1)),
            _ => octets.push((n >> 8) as u8),
        }
    }
    if is_message && octets.len() >= 8 && !numbers.next().is_multiple_of(16) {
        let usable = octets.len().min(2048) / 8 * 8;
        octets[1] = (usable / 8 - 1) as u8;
        octets[2] &= 0x7f;
        octets[3] &= 0xfe;
        octets[4..6].fill(0);
        let sum = checksum::internet(&octets[..usable]);
        octets[4..6].copy_from_slice(&sum.to_be_bytes());
    }
}

/// A quarter of a million mutated messages with this seed.
fn mutated_messages(seed: u64) {
    const COUNT: usize = 250_000;
    let originals: Vec<Vec<u8>> =
        samples().iter().map(Message::emit).filter(|m| m.len() <= 200).collect();
    assert!(originals.len() > 50);
    let mut numbers = Numbers::new(seed);
    let mut octets = vec![];
    let (mut accepted, mut answered) = (0, 0);
    for i in 0..COUNT {
        octets.clear();
        octets.extend_from_slice(&originals[numbers.below(originals.len())]);
        mutate(&mut numbers, &mut octets, true);
        match Message::parse(&octets) {
            Ok(m) => {
                accepted += 1;
                // What is accepted is understood: it can be sent again and means the same.
                if i.is_multiple_of(8) {
                    let mut again = Message::parse(&m.emit()).unwrap();
                    restore_fault(&mut again, &m);
                    assert_eq!(again, m, "seed {seed}, message {i}");
                }
            }
            Err(e) => {
                if let Some((_, offset)) = e.reply() {
                    answered += 1;
                    assert!(offset < octets.len(), "seed {seed}, message {i}: {e}");
                }
            }
        }
    }
    // The test is worth something only if all ways are walked.
    assert!(accepted > COUNT / 20, "{accepted} accepted");
    assert!(answered > COUNT / 200, "{answered} answered");
    assert!(COUNT - accepted - answered > COUNT / 20, "{accepted} and {answered}");
}

/// The note about unreadable preferences is never emitted, so it cannot come back.
fn restore_fault(again: &mut Message, m: &Message) {
    let Some(fault) = m.options().map(|o| o.preferences_fault) else { return };
    match again {
        Message::I2(x) => x.options.preferences_fault = fault,
        Message::R2(x) => x.options.preferences_fault = fault,
        Message::I2bis(x) => x.options.preferences_fault = fault,
        _ => assert_eq!(fault, None),
    }
}

// A million in four parts, so that they run beside each other.
#[test]
fn a_million_mutated_messages_1() {
    mutated_messages(1);
}

#[test]
fn a_million_mutated_messages_2() {
    mutated_messages(2);
}

#[test]
fn a_million_mutated_messages_3() {
    mutated_messages(3);
}

#[test]
fn a_million_mutated_messages_4() {
    mutated_messages(4);
}

#[test]
fn mutated_packets_panic_no_parser() {
    let (src, dst) = (addr("2001:db8:a::1"), addr("2001:db8:b::2"));
    let mut originals: Vec<Vec<u8>> = samples()
        .iter()
        .step_by(20)
        .map(|m| packet(&m.emit(), src, dst))
        .filter(|p| p.len() < 300)
        .collect();
    // Headers of all kinds, one after the other.
    let mut chain = packet(&[0; 72], src, dst);
    chain[ipv6::NEXT_HEADER] = 0;
    for (at, next) in [(40, 60), (48, 43), (56, 140), (64, 44), (72, 60), (80, 51), (88, 6)] {
        chain[at] = next;
    }
    chain[58] = 0x80;
    originals.push(chain);
    let error = IcmpErrorKind::TimeExceeded { code: 0 };
    let error = IcmpError { kind: error, quote: &originals[0], extensions: &[1; 12] };
    let error = error.emit_packet(src, dst, 64);
    originals.push(error);

    let mut numbers = Numbers::new(5);
    let mut octets = vec![];
    for _ in 0..100_000 {
        octets.clear();
        octets.extend_from_slice(&originals[numbers.below(originals.len())]);
        mutate(&mut numbers, &mut octets, false);
        parse_all(&octets);
        parse_all(octets.get(40..).unwrap_or_default());
    }
}

#[test]
fn every_shorter_sample_is_refused() {
    for m in samples() {
        let octets = m.emit();
        for len in 0..octets.len() {
            let e = Message::parse(&octets[..len]).unwrap_err();
            assert_eq!((e.reply(), e.debug_reply()), (None, None), "{m:?} {len}");
        }
        parse_all(&octets);
    }
}
