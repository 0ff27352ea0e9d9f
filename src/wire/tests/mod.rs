//! Tests of the message formats. The helpers build octets by the RFCs' text, not with the code under test.

mod messages;
mod options;
mod traps;

use std::net::Ipv6Addr;

use super::control::*;
use super::option::*;
use super::{Message, MessageType, ParseError};
use crate::addr::*;

/// Octets from hexadecimal digits.
fn hex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2));
    (0..digits.len()).step_by(2).map(|i| digits[i..i + 2].parse_hex()).collect()
}

trait ParseHex {
    fn parse_hex(&self) -> u8;
}

impl ParseHex for str {
    fn parse_hex(&self) -> u8 {
        u8::from_str_radix(self, 16).unwrap()
    }
}

/// The 16-bit one's complement sum, the slow way.
fn naive_sum(octets: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        if sum > 0xffff {
            sum -= 0xffff;
        }
    }
    sum as u16
}

/// Fills in Hdr Ext Len and checksum.
fn seal(mut m: Vec<u8>) -> Vec<u8> {
    assert!(m.len().is_multiple_of(8) && m.len() <= 2048);
    m[1] = (m.len() / 8 - 1) as u8;
    resum(&mut m);
    m
}

/// Fills in the checksum alone.
fn resum(m: &mut [u8]) {
    m[4..6].fill(0);
    let sum = !naive_sum(m);
    m[4..6].copy_from_slice(&sum.to_be_bytes());
}

/// An option, padded with `pad` octets.
fn option_padded(option_type: u16, critical: bool, contents: &[u8], pad: u8) -> Vec<u8> {
    let mut o = (option_type * 2 + u16::from(critical)).to_be_bytes().to_vec();
    o.extend((contents.len() as u16).to_be_bytes());
    o.extend(contents);
    while !o.len().is_multiple_of(8) {
        o.push(pad);
    }
    o
}

fn option(option_type: u16, critical: bool, contents: &[u8]) -> Vec<u8> {
    option_padded(option_type, critical, contents, 0)
}

/// A message with options appended.
fn with_options(m: &Message, options: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = m.emit();
    for o in options {
        octets.extend(o);
    }
    seal(octets)
}

fn addr(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

fn loc(s: &str) -> Locator {
    Locator(addr(s))
}

fn tag(value: u64) -> ContextTag {
    ContextTag::new(value).unwrap()
}

const TAG: u64 = 0x1234_5678_9abc;
const TAG2: u64 = 0x7edc_ba98_7654;

fn report(src: &str, dst: &str, nonce: u32, data: u32) -> ProbeReport {
    ProbeReport { src: loc(src), dst: loc(dst), nonce: ProbeNonce(nonce), data }
}

/// One message of every type, without options; the Error quotes 8 octets.
fn plain() -> Vec<Message> {
    let (initiator_tag, receiver_tag) = (tag(TAG), tag(TAG));
    let init_nonce = InitNonce(0x1122_3344);
    let responder_nonce = ResponderNonce(0x5566_7788);
    let request_nonce = RequestNonce(0x99aa_bbcc);
    let options = Options::default;
    vec![
        Message::I1(I1 { initiator_tag, init_nonce, options: options() }),
        Message::R1(R1 { init_nonce, responder_nonce, options: options() }),
        Message::I2(I2 { initiator_tag, init_nonce, responder_nonce, options: options() }),
        Message::R2(R2 { responder_tag: tag(TAG), init_nonce, options: options() }),
        Message::R1bis(R1bis { packet_tag: tag(TAG2), responder_nonce, options: options() }),
        Message::I2bis(I2bis {
            initiator_tag,
            init_nonce,
            responder_nonce,
            packet_tag: tag(TAG2),
            options: options(),
        }),
        Message::UpdateRequest(UpdateRequest { receiver_tag, request_nonce, options: options() }),
        Message::UpdateAck(UpdateAck { receiver_tag, request_nonce, options: options() }),
        Message::Keepalive(Keepalive { receiver_tag, options: options() }),
        Message::Probe(Probe {
            receiver_tag,
            state: ProbeState::InboundOk,
            sent: vec![
                report("2001:db8:a::1", "2001:db8:b::2", 1, 0xdead_beef),
                report("2001:db8:c::1", "2001:db8:b::2", 2, 0),
            ],
            received: vec![report("2001:db8:b::2", "2001:db8:a::1", 3, 4)],
            options: options(),
        }),
        Message::Error(ErrorMessage {
            code: ErrorCode::VerificationFailed,
            pointer: 56,
            quoted: hex("6000000000108c40"),
        }),
    ]
}

/// The messages of [`plain`] that have options.
fn plain_with_options() -> Vec<Message> {
    plain().into_iter().filter(|m| m.kind() != MessageType::Error).collect()
}

fn plain_of(kind: MessageType) -> Message {
    plain().into_iter().find(|m| m.kind() == kind).unwrap()
}

/// The message with other options.
fn replace_options(mut m: Message, options: Options) -> Message {
    match &mut m {
        Message::I1(x) => x.options = options,
        Message::R1(x) => x.options = options,
        Message::I2(x) => x.options = options,
        Message::R2(x) => x.options = options,
        Message::R1bis(x) => x.options = options,
        Message::I2bis(x) => x.options = options,
        Message::UpdateRequest(x) => x.options = options,
        Message::UpdateAck(x) => x.options = options,
        Message::Keepalive(x) => x.options = options,
        Message::Probe(x) => x.options = options,
        Message::Error(_) => panic!("an Error has no options"),
    }
    m
}

fn list(entries: &[(&str, VerificationMethod)]) -> LocatorList {
    LocatorList {
        generation: Generation(0x0102_0304),
        entries: entries
            .iter()
            .map(|&(a, method)| LocatorEntry { locator: loc(a), method })
            .collect(),
    }
}

fn two_locators() -> LocatorList {
    list(&[("2001:db8:a::1", VerificationMethod::Hba), ("2001:db8:c::1", VerificationMethod::Cga)])
}

fn preferences(element_len: u8, elements: &[[u8; 3]]) -> LocatorPreferences {
    LocatorPreferences {
        generation: Generation(0x0102_0304),
        element_len,
        elements: elements
            .iter()
            .map(|&[flags, priority, weight]| LocatorPreference {
                flags: PreferenceFlags(flags),
                priority,
                weight,
            })
            .collect(),
    }
}

fn ulid_pair() -> UlidPairOption {
    UlidPairOption { sender: Ulid(addr("2001:db8:a::1")), receiver: Ulid(addr("2001:db8:b::2")) }
}

/// All eight options.
fn all_options() -> Options {
    Options {
        validator: Some((0..20).collect()),
        locator_list: Some(two_locators()),
        preferences: Some(preferences(3, &[[0, 1, 2], [1, 255, 0]])),
        pds: Some(vec![0xaa; 5]),
        signature: Some(vec![0xbb; 6]),
        ulid_pair: Some(ulid_pair()),
        fii: Some(Fii(0xdead_beef)),
        keepalive_timeout: Some(15),
        ..Options::default()
    }
}
