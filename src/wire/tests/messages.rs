//! Golden octets and reserved bits of every message.

use super::*;
use crate::wire::header::{self, Header};
use crate::wire::payload::PayloadHeader;

// Packed from the RFCs' pictures by a separate program.
const I1_GOLDEN: &str = "\
    3b07010082bf123456789abc11223344000c00240000000020010db8000a00000000000000000001\
    20010db8000b00000000000000000002000e0004deadbeef";
const I1_PLAIN: &str = "3b0101007c2f123456789abc11223344";
const R1_GOLDEN: &str = "\
    3b040200572c0000112233445566778800020014000102030405060708090a0b0c0d0e0f10111213";
const I2_GOLDEN: &str = "\
    3b180300b89e123456789abc11223344556677880000000000020014000102030405060708090a0b\
    0c0d0e0f101112130004002c01020304020102000000000020010db8000a00000000000000000001\
    20010db8000c000000000000000000010006000b010203040300010201ff000000080005aaaaaaaa\
    aa00000000000000000a0006bbbbbbbbbbbb000000000000000c00240000000020010db8000a0000\
    000000000000000120010db8000b00000000000000000002000e0004deadbeef001400040000000f";
const R2_GOLDEN: &str = "\
    3b0904001603123456789abc112233440004002c01020304020102000000000020010db8000a0000\
    000000000000000120010db8000c0000000000000000000100080005aaaaaaaaaa00000000000000";
const R1BIS_GOLDEN: &str = "\
    3b040500e8c87edcba9876545566778800020014000102030405060708090a0b0c0d0e0f10111213";
const I2BIS_GOLDEN: &str = "\
    3b0706000247123456789abc11223344556677880000000000007edcba9876540002001400010203\
    0405060708090a0b0c0d0e0f10111213000e0004deadbeef";
const UPDATE_REQUEST_GOLDEN: &str = "\
    3b094000c140123456789abc99aabbcc0004002c01020304020102000000000020010db8000a0000\
    000000000000000120010db8000c0000000000000000000100060007010203040101020000000000";
const UPDATE_ACK_GOLDEN: &str = "3b0141002b1e123456789abc99aabbcc";
const KEEPALIVE_GOLDEN: &str = "3b0142007f95123456789abc00000000";
const PROBE_GOLDEN: &str = "\
    3b104300bbbd123456789abc1280000020010db8000a0000000000000000000120010db8000b0000\
    000000000000000200000001deadbeef20010db8000c0000000000000000000120010db8000b0000\
    0000000000000002000000020000000020010db8000b0000000000000000000220010db8000a0000\
    00000000000000010000000300000004";
const ERROR_GOLDEN: &str = "3b014404947100386000000000108c40";

/// Every message with its octets.
fn goldens() -> Vec<(Message, Vec<u8>)> {
    let all = all_options();
    let of = |kind, options| replace_options(plain_of(kind), options);
    let validator = Options { validator: all.validator.clone(), ..Options::default() };
    [
        (
            of(
                MessageType::I1,
                Options { ulid_pair: all.ulid_pair, fii: all.fii, ..Options::default() },
            ),
            I1_GOLDEN,
        ),
        (plain_of(MessageType::I1), I1_PLAIN),
        (of(MessageType::R1, validator.clone()), R1_GOLDEN),
        (of(MessageType::I2, all.clone()), I2_GOLDEN),
        (
            of(
                MessageType::R2,
                Options {
                    locator_list: all.locator_list.clone(),
                    pds: all.pds.clone(),
                    ..Options::default()
                },
            ),
            R2_GOLDEN,
        ),
        (of(MessageType::R1bis, validator.clone()), R1BIS_GOLDEN),
        (of(MessageType::I2bis, Options { fii: all.fii, ..validator }), I2BIS_GOLDEN),
        (
            of(
                MessageType::UpdateRequest,
                Options {
                    locator_list: all.locator_list,
                    preferences: Some(preferences(1, &[[1, 0, 0], [2, 0, 0]])),
                    ..Options::default()
                },
            ),
            UPDATE_REQUEST_GOLDEN,
        ),
        (plain_of(MessageType::UpdateAck), UPDATE_ACK_GOLDEN),
        (plain_of(MessageType::Keepalive), KEEPALIVE_GOLDEN),
        (plain_of(MessageType::Probe), PROBE_GOLDEN),
        (plain_of(MessageType::Error), ERROR_GOLDEN),
    ]
    .into_iter()
    .map(|(m, golden)| (m, hex(golden)))
    .collect()
}

// req-test: S6-5.3-03, S6-5.4-01, S6-5.5-01, S6-5.6-01, S6-5.7-01, S6-5.8-01, S6-5.9-01, S6-5.10-01, S6-5.11-01
// req-test: S6-5.14-01, RP-5.1-01, RP-5.1-02, RP-5.2-01, RP-5.2-02, RP-5.2-03
#[test]
fn every_message_has_its_golden_octets() {
    for (message, golden) in goldens() {
        assert_eq!(message.emit(), golden, "{}", message.kind());
        assert_eq!(Message::parse(&golden), Ok(message));
    }
}

// req-test: S6-5.3-01, S6-5.3-02, S6-5.4-02, S6-5.5-02, S6-5.6-02, S6-5.7-02, S6-5.8-02, S6-5.9-02, S6-5.10-02
// req-test: S6-5.11-02, RP-5.1-03, RP-5.1-04, RP-5.2-04, RP-5.2-05
#[test]
fn nothing_of_the_buffer_shines_through() {
    for (message, golden) in goldens() {
        // Spare capacity and what stands before both hold 0xa5.
        let mut buffer = vec![0xa5; 4096];
        buffer.truncate(24);
        message.emit_into(&mut buffer);
        assert_eq!(buffer[..24], [0xa5; 24]);
        assert_eq!(buffer[24..], golden, "{}", message.kind());
        assert_eq!(buffer.len() - 24, message.emitted_len());
        assert_eq!(buffer[24], 59);
        assert!(golden.len().is_multiple_of(8));
    }
}

/// The reserved bits of each type, as masks over octets.
fn reserved(kind: MessageType) -> Vec<(usize, u8)> {
    let reserved1 = (3, 0xfe);
    let r = (6, 0x80);
    let whole = |range: std::ops::Range<usize>| range.map(|i| (i, 0xff));
    match kind {
        MessageType::R1 => [reserved1].into_iter().chain(whole(6..8)).collect(),
        MessageType::I2 => [reserved1, r].into_iter().chain(whole(20..24)).collect(),
        MessageType::I2bis => [reserved1, r, (26, 0x80)].into_iter().chain(whole(20..26)).collect(),
        MessageType::Keepalive => [reserved1, r].into_iter().chain(whole(12..16)).collect(),
        MessageType::Probe => [reserved1, r, (13, 0x3f)].into_iter().chain(whole(14..16)).collect(),
        MessageType::Error => vec![],
        _ => vec![reserved1, r],
    }
}

// req-test: S6-5.4-03, S6-5.4-04, S6-5.5-03, S6-5.5-04, S6-5.6-03, S6-5.6-04, S6-5.6-05, S6-5.7-03, S6-5.7-04
// req-test: S6-5.8-02, S6-5.9-02, S6-5.10-02, S6-5.11-02, RP-5.1-03, RP-5.1-04, RP-5.2-04, RP-5.2-05
#[test]
fn reserved_bits_are_ignored_and_all_others_count() {
    for message in plain() {
        let octets = message.emit();
        let masks = reserved(message.kind());
        let mut set = octets.clone();
        for &(at, mask) in &masks {
            assert_eq!(octets[at] & mask, 0, "{}: octet {at}", message.kind());
            set[at] |= mask;
        }
        resum(&mut set);
        assert_eq!(Message::parse(&set), Ok(message.clone()), "{}", message.kind());

        for bit in 0..octets.len() * 8 {
            let (at, mask) = (bit / 8, 0x80u8 >> (bit % 8));
            let is_reserved = masks.iter().any(|&(i, m)| i == at && m & mask != 0);
            // Next Header is ignored too; the checksum is made anew.
            if is_reserved || at == 0 || (4..6).contains(&at) {
                continue;
            }
            let mut changed = octets.clone();
            changed[at] ^= mask;
            resum(&mut changed);
            assert_ne!(Message::parse(&changed), Ok(message.clone()), "octet {at} {mask:#x}");
        }
    }
}

#[test]
fn truncated_messages_are_refused_at_every_length() {
    for (message, golden) in goldens() {
        for len in 0..golden.len() {
            let refused = Message::parse(&golden[..len]).unwrap_err();
            let expected =
                if len < 8 { ParseError::TooShort } else { ParseError::LengthBeyondPacket };
            assert_eq!(refused, expected, "{} cut to {len}", message.kind());
            assert_eq!(refused.reply(), None);
            assert_eq!(refused.debug_reply(), None);
        }
        // The same, cut at every multiple of 8 and consistent again.
        for len in (8..golden.len()).step_by(8) {
            let cut = seal(golden[..len].to_vec());
            if let Err(e) = Message::parse(&cut) {
                assert_eq!(e.reply(), None, "{} cut to {len}: {e}", message.kind());
            }
        }
    }
}

// req-test: S6-5.3-05, S6-12.3-01
#[test]
fn one_flipped_bit_spoils_the_checksum_silently() {
    for (message, golden) in goldens() {
        // Not in the first 4 octets' P, length and S, which are looked at before.
        for bit in 32..golden.len() * 8 {
            let mut flipped = golden.clone();
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            let refused = Message::parse(&flipped).unwrap_err();
            assert_eq!(refused, ParseError::BadChecksum, "{} bit {bit}", message.kind());
            assert_eq!((refused.reply(), refused.debug_reply()), (None, None));
        }
    }
}

// req-test: S6-12.3-02
#[test]
fn a_length_one_too_large_is_dropped_silently() {
    for (message, mut golden) in goldens() {
        golden[1] += 1;
        resum(&mut golden);
        let refused = Message::parse(&golden).unwrap_err();
        assert_eq!(refused, ParseError::LengthBeyondPacket, "{}", message.kind());
        assert_eq!(refused.reply(), None);
        assert_eq!(header::control_length(&golden), None);
    }
}

// req-test: S6-12.3-03
#[test]
fn multicast_and_unspecified_addresses_are_refused() {
    let good = addr("2001:db8::1");
    assert_eq!(header::check_addresses(good, good), Ok(()));
    for bad in ["::", "ff02::1", "ff0e::1", "ff02::16"].map(addr) {
        for (src, dst) in [(bad, good), (good, bad), (bad, bad)] {
            let refused = header::check_addresses(src, dst).unwrap_err();
            assert_eq!(refused, ParseError::BadAddress);
            assert_eq!(refused.reply(), None);
        }
    }
}

// req-test: S6-5.1-01
#[test]
fn hdr_ext_len_counts_units_beyond_the_first() {
    for (octets, units) in [(8, 0), (16, 1), (24, 2), (32, 3), (2048, 255)] {
        let mut h = vec![59, units, 0x41, 0];
        h.resize(octets, 0);
        let view = Header::new(&h).unwrap();
        assert_eq!((view.len(), view.hdr_ext_len()), (octets, units));
        assert_eq!(view.message().unwrap().len(), octets);
        assert_eq!(header::control_length(&h), Some(octets));
    }
}

// req-test: S6-5.2-01, S6-5-01
#[test]
fn payload_header_golden_octets() {
    for (value, golden) in [
        (0x7fff_ffff_ffff, "0600ffffffffffff"),
        (1, "0600800000000001"),
        (0, "0600800000000000"),
        (TAG, "0600923456789abc"),
    ] {
        let header = PayloadHeader { next_header: 6, receiver_tag: tag(value) };
        assert_eq!(header.emit().to_vec(), hex(golden));
        assert_eq!(PayloadHeader::parse(&hex(golden)), Ok(header));
        assert_eq!(PayloadHeader::parse(&hex(golden)[..7]), Err(ParseError::TooShort));
    }
    assert_eq!(crate::wire::IPPROTO_SHIM6, 140);
}

// req-test: S6-5.3-09
#[test]
fn message_types_have_their_numbers() {
    let numbers: Vec<u8> = MessageType::KNOWN.iter().map(|t| t.value()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 64, 65, 66, 67, 68]);
    let kinds: Vec<MessageType> = plain().iter().map(Message::kind).collect();
    assert_eq!(kinds, MessageType::KNOWN);
    for n in 0..=u8::MAX {
        assert_eq!(MessageType::from(n).value(), n);
        assert_eq!(matches!(MessageType::from(n), MessageType::Unknown(_)), !numbers.contains(&n));
    }
}

// req-test: S6-5.14-04
#[test]
fn error_codes_have_their_numbers() {
    let numbers: Vec<u8> = ErrorCode::KNOWN.iter().map(|c| c.value()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    for code in 0..128 {
        let error = ErrorMessage { code: code.into(), pointer: 7, quoted: vec![1; 8] };
        let octets = Message::Error(error.clone()).emit();
        assert_eq!(octets[3], code << 1);
        assert_eq!(Message::parse(&octets), Ok(Message::Error(error)));
    }
}

#[test]
fn options_that_do_not_fit_are_left_out_whole() {
    let m = replace_options(
        plain_of(MessageType::I2),
        Options {
            pds: Some(vec![1; 2000]),
            signature: Some(vec![2; 200]),
            fii: Some(Fii(1)),
            ..Options::default()
        },
    );
    assert!(m.emitted_len() > header::MAX_LEN);
    let Ok(Message::I2(parsed)) = Message::parse(&m.emit()) else { panic!("not an I2") };
    assert_eq!(parsed.options.pds.map(|p| p.len()), Some(2000));
    assert_eq!(parsed.options.signature, None);
    assert_eq!(parsed.options.fii, Some(Fii(1)));

    let too_many =
        LocatorList { generation: Generation(1), entries: vec![two_locators().entries[0]; 300] };
    let m = replace_options(
        plain_of(MessageType::UpdateRequest),
        Options { locator_list: Some(too_many), ..Options::default() },
    );
    assert_eq!(Message::parse(&m.emit()), Ok(plain_of(MessageType::UpdateRequest)));
    // A length that the option's own field cannot express.
    let m = replace_options(
        plain_of(MessageType::R1),
        Options { validator: Some(vec![0; 0x1_0008]), ..Options::default() },
    );
    assert_eq!(Message::parse(&m.emit()), Ok(plain_of(MessageType::R1)));
}

#[test]
fn every_reason_has_its_own_name() {
    let mut names = ParseError::REASONS.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ParseError::REASONS.len());
    let (option, offset) = (OptionType::Fii, 16);
    let all = [
        ParseError::TooShort,
        ParseError::NotControl,
        ParseError::NotPayload,
        ParseError::PayloadHeaderLength,
        ParseError::LengthBeyondPacket,
        ParseError::Hip,
        ParseError::BadChecksum,
        ParseError::BadAddress,
        ParseError::UnknownMessageType(7),
        ParseError::MessageTooShort(MessageType::I1),
        ParseError::ProbeState,
        ParseError::ProbeWithoutSelf,
        ParseError::ProbeReports,
        ParseError::ProbeAddresses,
        ParseError::OptionOverrun { offset },
        ParseError::DuplicateOption { option, offset },
        ParseError::OptionLength { option, offset },
        ParseError::EmptyLocatorList { offset },
        ParseError::CriticalOption { option, offset },
        ParseError::PreferenceElements { offset },
    ];
    let reasons: Vec<&str> = all.iter().map(ParseError::reason).collect();
    assert_eq!(reasons, ParseError::REASONS);
    for e in all {
        assert!(!e.to_string().is_empty());
        // Either an answer that the RFC asks for, or one for debugging, or none.
        assert!(e.reply().is_none() || e.debug_reply().is_none());
    }
}
