//! What the tests of the wire formats share: sample messages, and the comparison with `shim6decode.py`'s JSON.

#![allow(dead_code, reason = "each test crate uses its part")]

use std::net::Ipv6Addr;

use serde_json::Value;
use shim6::addr::*;
use shim6::wire::control::*;
use shim6::wire::option::*;
use shim6::wire::{Message, MessageType};

/// Octets from hexadecimal digits.
pub fn unhex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2));
    (0..digits.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap())
        .collect()
}

/// Hexadecimal digits of octets.
pub fn to_hex(octets: &[u8]) -> String {
    octets.iter().map(|o| format!("{o:02x}")).collect()
}

/// Numbers that look random and are the same for the same seed, on every platform.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (((self.next() >> 32) * n as u64) >> 32) as usize
    }
}

fn tag(v: u64) -> ContextTag {
    ContextTag::new(v).unwrap()
}

pub fn addr(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

fn report(src: &str, dst: &str, nonce: u32, data: u32) -> ProbeReport {
    ProbeReport { src: Locator(addr(src)), dst: Locator(addr(dst)), nonce: ProbeNonce(nonce), data }
}

/// A message of this type with these options. Error has none: a quote instead.
pub fn message(kind: MessageType, options: Options) -> Message {
    let initiator_tag = tag(0x1234_5678_9abc);
    let receiver_tag = tag(0x7fff_ffff_ffff);
    let packet_tag = tag(1);
    let init_nonce = InitNonce(0x1122_3344);
    let responder_nonce = ResponderNonce(0xffff_0000);
    let request_nonce = RequestNonce(0x0000_0001);
    match kind {
        MessageType::I1 => Message::I1(I1 { initiator_tag, init_nonce, options }),
        MessageType::R1 => Message::R1(R1 { init_nonce, responder_nonce, options }),
        MessageType::I2 => Message::I2(I2 { initiator_tag, init_nonce, responder_nonce, options }),
        MessageType::R2 => Message::R2(R2 { responder_tag: packet_tag, init_nonce, options }),
        MessageType::R1bis => Message::R1bis(R1bis { packet_tag, responder_nonce, options }),
        MessageType::I2bis => Message::I2bis(I2bis {
            initiator_tag,
            init_nonce,
            responder_nonce,
            packet_tag,
            options,
        }),
        MessageType::UpdateRequest => {
            Message::UpdateRequest(UpdateRequest { receiver_tag, request_nonce, options })
        }
        MessageType::UpdateAck => {
            Message::UpdateAck(UpdateAck { receiver_tag, request_nonce, options })
        }
        MessageType::Keepalive => Message::Keepalive(Keepalive { receiver_tag, options }),
        MessageType::Probe => Message::Probe(Probe {
            receiver_tag,
            state: ProbeState::Exploring,
            sent: vec![report("2001:db8:a::1", "2001:db8:b::2", 1, 0xdead_beef)],
            received: vec![],
            options,
        }),
        MessageType::Error => Message::Error(ErrorMessage {
            code: ErrorCode::CriticalOption,
            pointer: 56,
            quoted: (0..64).collect(),
        }),
        MessageType::Unknown(n) => panic!("no message has type {n}"),
    }
}

/// Lets the options defined for a message pass.
pub fn defined(kind: MessageType, o: Options) -> Options {
    let (validator, addresses, locators) = match kind {
        MessageType::I1 => (false, true, false),
        MessageType::R1 | MessageType::R1bis => (true, false, false),
        MessageType::I2 | MessageType::I2bis => (true, true, true),
        MessageType::R2 | MessageType::UpdateRequest => (false, false, true),
        _ => (false, false, false),
    };
    Options {
        validator: o.validator.filter(|_| validator),
        locator_list: o.locator_list.filter(|_| locators),
        preferences: o.preferences.filter(|_| locators),
        pds: o.pds.filter(|_| locators),
        signature: o.signature.filter(|_| locators),
        ulid_pair: o.ulid_pair.filter(|_| addresses),
        fii: o.fii.filter(|_| addresses),
        keepalive_timeout: o.keepalive_timeout.filter(|_| locators),
        unknown: o.unknown,
        preferences_fault: None,
    }
}

/// A list of `n` locators with every kind of method.
pub fn list(n: usize) -> LocatorList {
    let entry = |i: usize| LocatorEntry {
        locator: Locator(addr(&format!("2001:db8:{i:x}::{:x}", i + 1))),
        method: [
            VerificationMethod::Hba,
            VerificationMethod::Cga,
            VerificationMethod::Unknown(201),
        ][i % 3],
    };
    LocatorList { generation: Generation(0xffff_fffe), entries: (0..n).map(entry).collect() }
}

/// Preferences for `n` locators.
pub fn preferences(element_len: u8, n: usize) -> LocatorPreferences {
    let element = |i: usize| LocatorPreference {
        flags: PreferenceFlags(i as u8),
        priority: if element_len > 1 { 0x80 + i as u8 } else { 0 },
        weight: if element_len > 2 { 0xff - i as u8 } else { 0 },
    };
    LocatorPreferences {
        generation: Generation(0xffff_fffe),
        element_len,
        elements: (0..n).map(element).collect(),
    }
}

/// All options at once.
pub fn all_options() -> Options {
    Options {
        validator: Some((0..16).collect()),
        locator_list: Some(list(3)),
        preferences: Some(preferences(3, 3)),
        pds: Some((0..187).collect()),
        signature: Some((0..128).collect()),
        ulid_pair: Some(UlidPairOption {
            sender: Ulid(addr("2001:db8:a::1")),
            receiver: Ulid(addr("2001:db8:b::2")),
        }),
        fii: Some(Fii(0x8000_0001)),
        keepalive_timeout: Some(15),
        unknown: vec![
            UnknownOption { option_type: 9, contents: vec![] },
            UnknownOption { option_type: 0x7fff, contents: vec![1, 2, 3] },
        ],
        preferences_fault: None,
    }
}

/// Each option alone, in several sizes.
fn single_options() -> Vec<Options> {
    let all = all_options();
    let none = Options::default;
    let mut singles = vec![
        none(),
        Options { ulid_pair: all.ulid_pair, ..none() },
        Options { unknown: all.unknown, ..none() },
    ];
    for len in [0, 1, 4, 5, 12, 16, 20, 64, 187] {
        let octets = Some(vec![0xa5; len]);
        singles.push(Options { validator: octets.clone(), ..none() });
        singles.push(Options { pds: octets.clone(), ..none() });
        singles.push(Options { signature: octets, ..none() });
    }
    for n in [1, 2, 6, 7, 8, 9, 15, 16, 60] {
        singles.push(Options { locator_list: Some(list(n)), ..none() });
        for element_len in 1..=5 {
            let preferences = Some(preferences(element_len, n));
            singles.push(Options { preferences, ..none() });
        }
    }
    for n in [0, 1, 0xffff] {
        singles.push(Options { keepalive_timeout: Some(n), ..none() });
        singles.push(Options { fii: Some(Fii(u32::from(n) << 16 | 1)), ..none() });
    }
    singles
}

/// Every message with every option that is defined for it, alone and all together, and Probes and Errors of
/// every size.
pub fn samples() -> Vec<Message> {
    let mut samples = vec![];
    for &kind in MessageType::KNOWN {
        for options in single_options().into_iter().chain([all_options()]) {
            let m = message(kind, defined(kind, options));
            if !samples.contains(&m) {
                samples.push(m);
            }
        }
    }
    let r = |n: u32| report("2001:db8:c::1", "2001:db8:d::ffff", n, !n);
    for state in [ProbeState::Operational, ProbeState::Exploring, ProbeState::InboundOk] {
        for (psent, precvd) in [(1, 0), (1, 1), (2, 15), (15, 1), (15, 15)] {
            samples.push(Message::Probe(Probe {
                receiver_tag: tag(0x55),
                state,
                sent: (0..psent).map(r).collect(),
                received: (100..100 + precvd).map(r).collect(),
                options: Options { unknown: all_options().unknown, ..Options::default() },
            }));
        }
    }
    for (code, len) in [(0, 8), (1, 48), (2, 640), (3, 1232), (4, 1224), (127, 16)] {
        samples.push(Message::Error(ErrorMessage {
            code: ErrorCode::from(code),
            pointer: 0xff00 + u16::from(code),
            quoted: (0..len).map(|i| i as u8).collect(),
        }));
    }
    samples
}

/// The message as an IPv6 packet.
pub fn packet(message: &[u8], src: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
    let header = shim6::wire::ipv6::Ipv6Header {
        traffic_class: 0,
        flow_label: 0,
        payload_length: message.len() as u16,
        next_header: shim6::wire::IPPROTO_SHIM6,
        hop_limit: 64,
        src,
        dst,
    };
    let mut packet = header.emit().to_vec();
    packet.extend_from_slice(message);
    packet
}

/// A number that the decoder writes in hexadecimal.
pub fn hex_number(decoded: &Value, key: &str) -> u64 {
    let digits = decoded[key].as_str().unwrap_or_else(|| panic!("no {key} in {decoded}"));
    u64::from_str_radix(digits, 16).unwrap()
}

fn number(decoded: &Value, key: &str) -> u64 {
    decoded[key].as_u64().unwrap_or_else(|| panic!("no {key} in {decoded}"))
}

fn octets(decoded: &Value, key: &str) -> Vec<u8> {
    unhex(decoded[key].as_str().unwrap_or_else(|| panic!("no {key} in {decoded}")))
}

fn address(decoded: &Value) -> Ipv6Addr {
    addr(decoded.as_str().unwrap())
}

fn decoded_tag(decoded: &Value, key: &str) -> ContextTag {
    tag(hex_number(decoded, key))
}

fn decoded_options(decoded: &Value) -> Options {
    let mut options = Options::default();
    for o in decoded["options"].as_array().expect("options") {
        assert_eq!(o["c"], 0, "{o}");
        let name = o["option"].as_str();
        match name {
            Some("ResponderValidator") => options.validator = Some(octets(o, "validator")),
            Some("LocatorList") => {
                let entries = o["locators"].as_array().unwrap().iter().map(|l| LocatorEntry {
                    locator: Locator(address(&l[1])),
                    method: match l[0].as_str() {
                        Some("HBA") => VerificationMethod::Hba,
                        Some("CGA") => VerificationMethod::Cga,
                        _ => VerificationMethod::Unknown(l[0].as_u64().unwrap() as u8),
                    },
                });
                options.locator_list = Some(LocatorList {
                    generation: Generation(number(o, "generation") as u32),
                    entries: entries.collect(),
                });
            }
            Some("LocatorPreferences") => {
                let element = |e: &Value| {
                    let octet = |i: usize| e[i].as_u64().unwrap_or(0) as u8;
                    LocatorPreference {
                        flags: PreferenceFlags(octet(0)),
                        priority: octet(1),
                        weight: octet(2),
                    }
                };
                options.preferences = Some(LocatorPreferences {
                    generation: Generation(number(o, "generation") as u32),
                    element_len: number(o, "element_len") as u8,
                    elements: o["elements"].as_array().unwrap().iter().map(element).collect(),
                });
            }
            Some("CgaPds") => options.pds = Some(octets(o, "content")),
            Some("CgaSignature") => options.signature = Some(octets(o, "content")),
            Some("UlidPair") => {
                options.ulid_pair = Some(UlidPairOption {
                    sender: Ulid(address(&o["sender"])),
                    receiver: Ulid(address(&o["receiver"])),
                });
            }
            Some("FII") => options.fii = Some(Fii(number(o, "fii") as u32)),
            Some("KeepaliveTimeout") => {
                options.keepalive_timeout = Some(number(o, "seconds") as u16);
            }
            Some(other) => panic!("option {other}"),
            None => options.unknown.push(UnknownOption {
                option_type: number(o, "option") as u16,
                contents: octets(o, "content"),
            }),
        }
    }
    options
}

fn decoded_reports(decoded: &Value, key: &str) -> Vec<ProbeReport> {
    let reports = decoded[key].as_array().expect(key);
    let report = |r: &Value| ProbeReport {
        src: Locator(address(&r["src"])),
        dst: Locator(address(&r["dst"])),
        nonce: ProbeNonce(hex_number(r, "nonce") as u32),
        data: hex_number(r, "data") as u32,
    };
    reports.iter().map(report).collect()
}

/// The message that the decoder saw.
pub fn decoded_message(d: &Value) -> Message {
    let init_nonce = || InitNonce(hex_number(d, "inonce") as u32);
    let responder_nonce = || ResponderNonce(hex_number(d, "rnonce") as u32);
    let request_nonce = || RequestNonce(hex_number(d, "rqnonce") as u32);
    let options = || decoded_options(d);
    match d["type"].as_str().expect("type") {
        "I1" => Message::I1(I1 {
            initiator_tag: decoded_tag(d, "ct_initiator"),
            init_nonce: init_nonce(),
            options: options(),
        }),
        "R1" => Message::R1(R1 {
            init_nonce: init_nonce(),
            responder_nonce: responder_nonce(),
            options: options(),
        }),
        "I2" => Message::I2(I2 {
            initiator_tag: decoded_tag(d, "ct_initiator"),
            init_nonce: init_nonce(),
            responder_nonce: responder_nonce(),
            options: options(),
        }),
        "R2" => Message::R2(R2 {
            responder_tag: decoded_tag(d, "ct_responder"),
            init_nonce: init_nonce(),
            options: options(),
        }),
        "R1bis" => Message::R1bis(R1bis {
            packet_tag: decoded_tag(d, "ct_packet"),
            responder_nonce: responder_nonce(),
            options: options(),
        }),
        "I2bis" => Message::I2bis(I2bis {
            initiator_tag: decoded_tag(d, "ct_initiator"),
            init_nonce: init_nonce(),
            responder_nonce: responder_nonce(),
            packet_tag: decoded_tag(d, "ct_packet"),
            options: options(),
        }),
        "UpdateRequest" => Message::UpdateRequest(UpdateRequest {
            receiver_tag: decoded_tag(d, "ct_receiver"),
            request_nonce: request_nonce(),
            options: options(),
        }),
        "UpdateAck" => Message::UpdateAck(UpdateAck {
            receiver_tag: decoded_tag(d, "ct_receiver"),
            request_nonce: request_nonce(),
            options: options(),
        }),
        "Keepalive" => Message::Keepalive(Keepalive {
            receiver_tag: decoded_tag(d, "ct_receiver"),
            options: options(),
        }),
        "Probe" => {
            let probe = Probe {
                receiver_tag: decoded_tag(d, "ct_receiver"),
                state: match d["sta"].as_str().expect("sta") {
                    "Operational" => ProbeState::Operational,
                    "Exploring" => ProbeState::Exploring,
                    "InboundOk" => ProbeState::InboundOk,
                    other => panic!("state {other}"),
                },
                sent: decoded_reports(d, "sent"),
                received: decoded_reports(d, "received"),
                options: options(),
            };
            assert_eq!(number(d, "psent") as usize, probe.sent.len());
            assert_eq!(number(d, "precvd") as usize, probe.received.len());
            Message::Probe(probe)
        }
        "Error" => Message::Error(ErrorMessage {
            code: ErrorCode::from(number(d, "code") as u8),
            pointer: number(d, "pointer") as u16,
            quoted: octets(d, "quoted"),
        }),
        other => panic!("type {other}"),
    }
}
