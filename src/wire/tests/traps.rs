//! One test for each place where the RFCs' text leads astray, is silent or contradicts itself: what was decided,
//! and that we do it.

use super::*;
use crate::wire::header::{self, Header};
use crate::wire::payload::PayloadHeader;

/// Parses what must be refused, and says what the sender is told.
fn refused(octets: &[u8]) -> (ParseError, Option<(ErrorCode, usize)>) {
    let e = Message::parse(octets).unwrap_err();
    (e, e.reply())
}

/// An IPv6 packet with these octets behind its header.
fn packet(octets: &[u8]) -> Vec<u8> {
    let mut p = hex("60000000");
    p.extend((octets.len() as u16).to_be_bytes());
    p.extend([140, 64]);
    p.extend(addr("2001:db8:a::1").octets());
    p.extend(addr("2001:db8:b::2").octets());
    p.extend(octets);
    p
}

// req-test: S6-5.3-05, S6-5.3-06
#[test]
fn trap_01_checksum_is_over_the_message_alone_and_zero_stays_zero() {
    for m in plain() {
        let octets = m.emit();
        assert_eq!(naive_sum(&octets), 0xffff, "{}", m.kind());
    }
    // Some nonce makes the checksum 0: it is sent as 0, and 0xffff in its place is the same number.
    let zero = (0..=0xffff)
        .map(|nonce| {
            Message::UpdateAck(UpdateAck {
                receiver_tag: tag(TAG),
                request_nonce: RequestNonce(nonce),
                options: Options::default(),
            })
        })
        .find(|m| m.emit()[4..6] == [0, 0])
        .expect("one of 65536 sums is 0");
    assert_eq!(Message::parse(&zero.emit()), Ok(zero));
}

// req-test: S6-12-01
#[test]
fn trap_02_p_one_is_payload() {
    let payload = PayloadHeader { next_header: 59, receiver_tag: tag(TAG) }.emit();
    assert!(Header::new(&payload).unwrap().is_payload() && header::is_payload(&payload));
    assert_eq!(refused(&payload), (ParseError::NotControl, None));
    assert_eq!(header::control_length(&payload), None);
    for m in plain() {
        let octets = m.emit();
        assert!(!header::is_payload(&octets));
        assert_eq!(PayloadHeader::parse(&octets), Err(ParseError::NotPayload));
        assert_eq!(header::control_length(&octets), Some(octets.len()));
    }
    assert!(!header::is_payload(&payload[..7]));
}

// req-test: S6-5.2-03, S6-5.4-04
#[test]
fn trap_03_tags_are_47_bits_beside_p_or_r() {
    for value in [0, 1, TAG, TAG2, ContextTag::MASK] {
        let payload = PayloadHeader { next_header: 6, receiver_tag: tag(value) };
        assert_eq!(payload.emit()[2] & 0x80, 0x80);
        assert_eq!(PayloadHeader::parse(&payload.emit()), Ok(payload));

        let keepalive =
            Message::Keepalive(Keepalive { receiver_tag: tag(value), options: Options::default() });
        let mut octets = keepalive.emit();
        assert_eq!(octets[6] & 0x80, 0);
        octets[6] |= 0x80;
        resum(&mut octets);
        assert_eq!(Message::parse(&octets), Ok(keepalive));
    }
    // 48 bits are no tag.
    assert_eq!(ContextTag::new(ContextTag::MASK + 1), None);
}

// req-test: S6-5.3-04
#[test]
fn trap_04_s_one_is_hip_and_dropped_silently() {
    for m in plain() {
        let mut octets = m.emit();
        assert_eq!(octets[3] & 1, 0);
        octets[3] |= 1;
        resum(&mut octets);
        assert_eq!(refused(&octets), (ParseError::Hip, None));
        assert_eq!(ParseError::Hip.debug_reply(), None);
    }
    // An unknown type with S = 1 is not answered with Error 0 either.
    let octets = seal(vec![59, 0, 7, 1, 0, 0, 0, 0]);
    assert_eq!(refused(&octets), (ParseError::Hip, None));
}

#[test]
fn trap_05_fixed_lengths() {
    let lengths = [16, 16, 24, 16, 16, 32, 16, 16, 16, 16 + 3 * 40, 16];
    for (m, len) in plain().into_iter().zip(lengths) {
        let octets = m.emit();
        assert_eq!((octets.len(), usize::from(octets[1])), (len, len / 8 - 1), "{}", m.kind());
        assert_eq!(m.emitted_len(), len);
        // Cut below the fixed part: silence, and for an Error even while debugging.
        let fixed = len.min(if m.kind() == MessageType::Probe { 16 } else { len });
        for short in (8..fixed).step_by(8) {
            let (e, reply) = refused(&seal(octets[..short].to_vec()));
            assert_eq!((e, reply), (ParseError::MessageTooShort(m.kind()), None));
            assert_eq!(e.debug_reply().is_none(), m.kind() == MessageType::Error);
        }
    }
    // A Probe has at least 56 octets, Hdr Ext Len 6.
    let Message::Probe(mut probe) = plain_of(MessageType::Probe) else { panic!() };
    probe.sent.truncate(1);
    probe.received.clear();
    assert_eq!(Message::Probe(probe).emit()[1], 6);
    // Reserved2 of I2bis: 49 bits, so that the tag starts in octet 26 beside one of them.
    let octets = plain_of(MessageType::I2bis).emit();
    assert_eq!(octets[20..26], [0; 6]);
    assert_eq!(octets[26..32], hex("7edcba987654"));
    // A payload header is 8 octets long or none.
    let mut payload = PayloadHeader { next_header: 6, receiver_tag: tag(TAG) }.emit().to_vec();
    for units in 1..=255 {
        payload[1] = units;
        assert_eq!(PayloadHeader::parse(&payload), Err(ParseError::PayloadHeaderLength));
    }
}

// req-test: S6-5.3-07
#[test]
fn trap_06_next_header_and_what_follows_are_ignored() {
    for m in plain() {
        let mut octets = m.emit();
        assert_eq!(octets[0], 59);
        let len = octets.len();
        for next_header in [6, 17, 58, 140] {
            octets[0] = next_header;
            resum(&mut octets[..len]);
            octets.truncate(len);
            octets.extend([0x5a; 13]);
            assert_eq!(Message::parse(&octets), Ok(m.clone()));
        }
    }
}

#[test]
fn trap_07_malformed_options_cost_the_message_silently() {
    let i2 = plain_of(MessageType::I2);
    // Length beyond the message.
    for length in 5..=0xffff_u16 {
        let mut o = vec![0, 14];
        o.extend(length.to_be_bytes());
        o.extend([0; 4]);
        let e = refused(&with_options(&i2, &[o]));
        assert_eq!(e, (ParseError::OptionOverrun { offset: 24 }, None), "{length}");
    }
    // Twice the same.
    let contents: [(u16, Vec<u8>); 8] = [
        (1, vec![0; 20]),
        (2, hex("00000001010100000000000020010db8000000000000000000000001")),
        (3, hex("000000010101")),
        (4, vec![0; 3]),
        (5, vec![0; 3]),
        (6, vec![0; 36]),
        (7, vec![0; 4]),
        (10, vec![0; 4]),
    ];
    for (t, c) in &contents {
        let once = option(*t, false, c);
        assert!(Message::parse(&with_options(&i2, std::slice::from_ref(&once))).is_ok());
        let offset = 24 + once.len();
        let (e, reply) = refused(&with_options(&i2, &[once.clone(), once]));
        assert_eq!(e, ParseError::DuplicateOption { option: OptionType::from(*t), offset });
        assert_eq!(reply, None);
        assert_eq!(e.debug_reply(), Some((ErrorCode::Unknown(125), offset)));
    }
    // A second Locator Preferences option is one too many, readable or not, in either order.
    let (good, bad) = (option(3, false, &contents[2].1), option(3, false, &[0, 0, 0, 1, 0, 1]));
    for two in [[good.clone(), bad.clone()], [bad.clone(), good], [bad.clone(), bad]] {
        let (e, reply) = refused(&with_options(&i2, &two));
        let option = OptionType::LocatorPreferences;
        assert_eq!((e, reply), (ParseError::DuplicateOption { option, offset: 40 }, None));
    }
    // Fixed lengths.
    for (t, right) in [(6, 36), (7, 4), (10, 4)] {
        for len in (0..64).filter(|&l| l != right) {
            let e = refused(&with_options(&i2, &[option(t, false, &vec![0; len])]));
            let option = OptionType::from(t);
            assert_eq!(e, (ParseError::OptionLength { option, offset: 24 }, None), "{t} {len}");
        }
    }
}

// req-test: S6-5.15.2-02
#[test]
fn trap_08_the_padding_of_a_locator_list_is_inside_its_length() {
    let i2 = plain_of(MessageType::I2);
    let option_type = OptionType::LocatorList;
    for n in 1..=60_usize {
        let right = 5 + n + (7 - n % 8) + 16 * n;
        let mut contents = vec![0, 0, 0, 1, n as u8];
        contents.resize(5 + n, 1);
        contents.resize(right, 0);
        let good = option(2, false, &contents);
        assert_eq!(good.len(), 4 + right, "never padded at the end");
        let parsed = Message::parse(&with_options(&i2, &[good])).unwrap();
        let list = parsed.options().unwrap().locator_list.as_ref().unwrap();
        assert_eq!(list.entries.len(), n);
        // Any other number of locators disagrees with the Length.
        for other in (1..=255_u8).filter(|&o| usize::from(o) != n) {
            contents[4] = other;
            let e = refused(&with_options(&i2, &[option(2, false, &contents)]));
            let wrong = ParseError::OptionLength { option: option_type, offset: 24 };
            assert_eq!(e, (wrong, None), "{n} {other}");
        }
    }
    // The padding left out, as an early implementation had it.
    let mut contents = vec![0, 0, 0, 1, 1, 1];
    contents.resize(6 + 16, 0);
    let e = refused(&with_options(&i2, &[option(2, false, &contents)]));
    assert_eq!(e, (ParseError::OptionLength { option: option_type, offset: 24 }, None));
    // No locator at all.
    let none = option(2, false, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        refused(&with_options(&i2, &[none])),
        (ParseError::EmptyLocatorList { offset: 24 }, None)
    );
}

#[test]
fn trap_09_elements_of_preferences_have_to_divide_the_option() {
    let bad = |len: u8, octets: usize| {
        let mut contents = vec![0, 0, 0, 1, len];
        contents.resize(5 + octets, 9);
        option(3, false, &contents)
    };
    // Element Len is at octet 8 of the option.
    for (len, octets) in [(0, 0), (0, 3), (2, 3), (3, 4), (4, 3), (255, 254)] {
        let fii = option(7, false, &[0, 0, 0, 1]);
        // An Update Request is applied as a whole or not at all.
        let update = with_options(&plain_of(MessageType::UpdateRequest), &[bad(len, octets)]);
        let e = ParseError::PreferenceElements { offset: 24 };
        assert_eq!(refused(&update), (e, Some((ErrorCode::PreferencesCount, 24))));
        // Establishment goes on without them, and the answer is known.
        for (kind, fixed) in
            [(MessageType::I2, 24), (MessageType::R2, 16), (MessageType::I2bis, 32)]
        {
            let octets = with_options(&plain_of(kind), &[bad(len, octets), fii.clone()]);
            let options = Message::parse(&octets).unwrap();
            let options = options.options().unwrap();
            assert_eq!(options.preferences_fault, Some(fixed + 8), "{kind}");
            assert_eq!(octets[fixed + 8], len);
            assert_eq!(options.preferences, None);
        }
    }
    // Without even a generation and an element length it is malformed like any other option.
    for len in 0..5 {
        let octets = with_options(&plain_of(MessageType::I2), &[option(3, false, &vec![0; len])]);
        let option = OptionType::LocatorPreferences;
        assert_eq!(refused(&octets), (ParseError::OptionLength { option, offset: 24 }, None));
    }
    // Element Len 1: no priority, so all are equal.
    let octets = option(3, false, &[0, 0, 0, 1, 1, 0, 2]);
    let parsed = Message::parse(&with_options(&plain_of(MessageType::I2), &[octets])).unwrap();
    let elements = &parsed.options().unwrap().preferences.as_ref().unwrap().elements;
    assert_eq!(elements.len(), 2);
    assert!(elements.iter().all(|e| (e.priority, e.weight) == (0, 0)));
}

// req-test: S6-5.15.2-06, S6-17-03
#[test]
fn trap_10_hba_is_1_and_cga_is_2() {
    assert_eq!(VerificationMethod::Hba.value(), 1);
    assert_eq!(VerificationMethod::Cga.value(), 2);
    let m = replace_options(
        plain_of(MessageType::I2),
        Options { locator_list: Some(two_locators()), ..Options::default() },
    );
    assert_eq!(m.emit()[24 + 9..24 + 11], [1, 2]);
    // All other numbers come through for the verifier to refuse.
    for n in (0..=255).filter(|n| ![1, 2].contains(n)) {
        assert_eq!(VerificationMethod::from(n), VerificationMethod::Unknown(n));
    }
}

// req-test: S6-5.15.3-03
#[test]
fn trap_11_flag_2_is_transient() {
    assert_eq!(PreferenceFlags::BROKEN.0, 0x01);
    assert_eq!(PreferenceFlags::TRANSIENT.0, 0x02);
    let octets = option(3, false, &[0, 0, 0, 1, 1, 0x01, 0x02, 0x83]);
    let parsed = Message::parse(&with_options(&plain_of(MessageType::R2), &[octets])).unwrap();
    let elements = &parsed.options().unwrap().preferences.as_ref().unwrap().elements;
    let flags: Vec<(bool, bool)> = elements
        .iter()
        .map(|e| {
            let f = e.flags;
            (f.contains(PreferenceFlags::BROKEN), f.contains(PreferenceFlags::TRANSIENT))
        })
        .collect();
    assert_eq!(flags, [(true, false), (false, true), (true, true)]);
}

/// The options defined for a message.
fn defined(kind: MessageType) -> &'static [u16] {
    match kind {
        MessageType::I1 => &[6, 7],
        MessageType::R1 | MessageType::R1bis => &[1],
        MessageType::I2 | MessageType::I2bis => &[1, 2, 3, 4, 5, 6, 7, 10],
        MessageType::R2 | MessageType::UpdateRequest => &[2, 3, 4, 5, 10],
        _ => &[],
    }
}

// req-test: S6-5.15-07, S6-5.15-08, S6-5.15-09, S6-12.3-05, S6-12.3-06
#[test]
fn trap_12_the_critical_bit_decides_over_unknown_and_misplaced_options() {
    for message in plain_with_options() {
        let kind = message.kind();
        let offset = message.emit().len();
        for t in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 100, 0x7fff] {
            if defined(kind).contains(&t) {
                continue;
            }
            // The contents do not matter: here they would be malformed.
            let octets = with_options(&message, &[option(t, false, &[1])]);
            let parsed = Message::parse(&octets).unwrap();
            let unknown = &parsed.options().unwrap().unknown;
            assert_eq!(unknown[..], [UnknownOption { option_type: t, contents: vec![1] }]);
            assert_eq!(replace_options(parsed, Options::default()), message);

            let octets = with_options(&message, &[option(t, true, &[1])]);
            let e = ParseError::CriticalOption { option: OptionType::from(t), offset };
            assert_eq!(refused(&octets), (e, Some((ErrorCode::CriticalOption, offset))), "{kind}");
        }
    }
    // Behind other options the pointer moves along, and nothing after the critical one is read.
    let octets = with_options(
        &plain_of(MessageType::I2),
        &[option(1, false, &[0; 20]), option(99, true, &[]), option(7, false, &[])],
    );
    assert_eq!(refused(&octets).1, Some((ErrorCode::CriticalOption, 24 + 24)));
}

// req-test: S6-12.3-04, S6-5.14-02, S6-5.14-03
#[test]
fn trap_13_error_messages() {
    // Unknown types: Error 0, pointing at the type, which is octet 42 of a packet without extension headers.
    for n in (0..=127).filter(|&n| matches!(MessageType::from(n), MessageType::Unknown(_))) {
        for len in [8, 16] {
            let mut octets = vec![59, 0, n, 0];
            octets.resize(len, 0);
            let octets = seal(octets);
            let (e, reply) = refused(&octets);
            assert_eq!(e, ParseError::UnknownMessageType(n));
            assert_eq!(reply, Some((ErrorCode::UnknownMessageType, 2)));
            let p = packet(&octets);
            let error = ErrorMessage::about(&p, 40, reply.unwrap());
            assert_eq!((error.pointer, p[42]), (42, n));
            assert_eq!(error.quoted, p);
        }
    }
    // The quote: as much as fits into 1280 octets, in whole units of 8.
    assert_eq!(ErrorMessage::MAX_QUOTED, 1232);
    for (len, quoted) in
        [(48, 48), (55, 48), (56, 56), (1231, 1224), (1232, 1232), (1280, 1232), (2088, 1232)]
    {
        let p: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let error = ErrorMessage::about(&p, 40, (ErrorCode::CriticalOption, 16));
        assert_eq!(error.quoted, p[..quoted]);
        assert_eq!(error.pointer, 56);
        let octets = Message::Error(error.clone()).emit();
        assert_eq!(octets.len(), 8 + quoted);
        assert!(40 + octets.len() <= 1280);
        assert_eq!(Message::parse(&octets), Ok(Message::Error(error)));
    }
    // Whatever an Error holds, it causes no other.
    for len in (8..=2048).step_by(8) {
        let mut octets = vec![59, 0, 68, 2 << 1];
        octets.resize(len, 0xff);
        match Message::parse(&seal(octets)) {
            Ok(Message::Error(e)) => assert_eq!(e.quoted.len(), len - 8),
            Ok(other) => panic!("{other:?}"),
            Err(e) => assert_eq!((len, e.reply(), e.debug_reply()), (8, None, None)),
        }
    }
}

// req-test: S6-5.14-07
#[test]
fn what_is_dropped_silently_has_an_error_code_for_debugging() {
    for (e, code) in [
        (ParseError::MessageTooShort(MessageType::I2), 120),
        (ParseError::ProbeState, 121),
        (ParseError::ProbeWithoutSelf, 122),
        (ParseError::ProbeReports, 122),
        (ParseError::OptionOverrun { offset: 16 }, 124),
        (ParseError::EmptyLocatorList { offset: 16 }, 127),
    ] {
        assert_eq!(e.reply(), None);
        assert_eq!(e.debug_reply().map(|(c, _)| c.value()), Some(code));
    }
}

#[test]
fn trap_15_the_size_of_a_packet_is_known_before_it_is_sent() {
    // Octets of a SubjectPublicKeyInfo for each modulus, and an I2 with all there is for `n` locators.
    let i2 = |modulus_bits: usize, key: usize, n: usize| {
        let pds = 16 + 8 + 1 + key + 4 + 4 + 8 * n;
        let entry = LocatorEntry { locator: loc("2001:db8::1"), method: VerificationMethod::Cga };
        let options = Options {
            validator: Some(vec![0; 16]),
            locator_list: Some(LocatorList { generation: Generation(1), entries: vec![entry; n] }),
            preferences: Some(preferences(3, &vec![[0, 1, 1]; n])),
            pds: Some(vec![0; pds]),
            signature: Some(vec![0; modulus_bits / 8]),
            ulid_pair: Some(ulid_pair()),
            fii: Some(Fii(1)),
            keepalive_timeout: Some(15),
            ..Options::default()
        };
        let m = replace_options(plain_of(MessageType::I2), options);
        assert_eq!(m.emit().len(), m.emitted_len());
        40 + m.emitted_len()
    };
    let rsa2048 = i2(2048, 294, 8);
    let rsa3072 = i2(3072, 422, 8);
    let rsa4096 = i2(4096, 550, 8);
    assert!((900..1050).contains(&rsa2048), "{rsa2048}");
    assert!((1200..=header::MAX_PACKET).contains(&rsa3072), "{rsa3072}");
    assert!(rsa4096 > header::MAX_PACKET, "{rsa4096}");
    // Each locator more is seen at once.
    assert!(i2(2048, 294, 9) > rsa2048);
    assert!(i2(2048, 294, 40) > header::MAX_PACKET);
}

// req-test: RP-5.2-02, RP-5.2-06, RP-5.2-11
#[test]
fn trap_78_precvd_is_the_high_nibble_and_sent_reports_come_first() {
    let Message::Probe(probe) = plain_of(MessageType::Probe) else { panic!() };
    let octets = Message::Probe(probe.clone()).emit();
    assert_eq!(octets[12], 0x12, "1 received, 2 sent");
    assert_eq!(octets[13] >> 6, 2);
    assert_eq!(octets[16..32], probe.sent[0].src.0.octets());
    assert_eq!(octets[16 + 80..16 + 96], probe.received[0].src.0.octets());

    for (value, state) in
        [(0, ProbeState::Operational), (1, ProbeState::Exploring), (2, ProbeState::InboundOk)]
    {
        let mut changed = octets.clone();
        changed[13] = value << 6;
        resum(&mut changed);
        let expected = Probe { state, ..probe.clone() };
        assert_eq!(Message::parse(&changed), Ok(Message::Probe(expected)));
    }
    let changed = |at: usize, value: u8| {
        let mut changed = octets.clone();
        changed[at] = value;
        resum(&mut changed);
        refused(&changed)
    };
    assert_eq!(changed(13, 0xc0), (ParseError::ProbeState, None));
    assert_eq!(changed(12, 0x30), (ParseError::ProbeWithoutSelf, None));
    for counts in [0x13, 0x22, 0xff, 0x0f, 0xf1] {
        assert_eq!(changed(12, counts), (ParseError::ProbeReports, None), "{counts:#x}");
    }
}

// req-test: RP-5.2-05, RP-5.2-11
#[test]
fn trap_79_a_probe_is_never_made_of_a_keepalive() {
    // The text that would send a Probe where the table sends nothing needs a state and reports; the two
    // formats share neither type nor the meaning of octets 12 to 15.
    let mut octets = plain_of(MessageType::Keepalive).emit();
    octets[12..16].fill(0xff);
    resum(&mut octets);
    assert_eq!(Message::parse(&octets), Ok(plain_of(MessageType::Keepalive)));
    octets[2] = 67;
    resum(&mut octets);
    assert_eq!(refused(&octets), (ParseError::ProbeState, None));
}

#[test]
fn trap_80_reports_come_in_any_state() {
    let Message::Probe(probe) = plain_of(MessageType::Probe) else { panic!() };
    for state in [ProbeState::Operational, ProbeState::Exploring, ProbeState::InboundOk] {
        for received in [vec![], probe.received.clone(), probe.sent.clone()] {
            let m = Message::Probe(Probe { state, received, ..probe.clone() });
            assert_eq!(Message::parse(&m.emit()), Ok(m));
        }
    }
}

// req-test: RP-5.2-13
#[test]
fn trap_81_reports_come_back_bit_by_bit() {
    let sent = report("2001:db8:a::1", "2001:db8:b::2", 0x8000_0001, 0xdead_beef);
    let probe = |sent: Vec<ProbeReport>, received: Vec<ProbeReport>| {
        let m = Message::Probe(Probe {
            receiver_tag: tag(TAG),
            state: ProbeState::Exploring,
            sent,
            received,
            options: Options::default(),
        });
        match Message::parse(&m.emit()) {
            Ok(Message::Probe(p)) => p,
            other => panic!("{other:?}"),
        }
    };
    // There and back: the peer reports what it has received.
    let there = probe(vec![sent], vec![]);
    let back = probe(vec![report("2001:db8:b::2", "2001:db8:a::1", 1, 0)], there.sent);
    assert_eq!(back.received, [sent]);
}

// req-test: RP-5.2-06
#[test]
fn trap_82_the_first_report_names_the_packets_addresses() {
    let Message::Probe(probe) = plain_of(MessageType::Probe) else { panic!() };
    let (a, b, c) = (loc("2001:db8:a::1"), loc("2001:db8:b::2"), loc("2001:db8:c::1"));
    assert_eq!(probe.own_report(a, b), Ok(&probe.sent[0]));
    for (src, dst) in [(b, a), (a, c), (c, b), (a, a)] {
        let e = probe.own_report(src, dst).unwrap_err();
        assert_eq!((e, e.reply()), (ParseError::ProbeAddresses, None));
    }
    let empty = Probe { sent: vec![], ..probe };
    assert_eq!(empty.own_report(a, b), Err(ParseError::ProbeWithoutSelf));
}

// req-test: RP-5.2-14
#[test]
fn trap_83_fifteen_reports_of_each_kind_fit() {
    let r = report("2001:db8:a::1", "2001:db8:b::2", 1, 2);
    for n in [15, 16, 100] {
        let m = Message::Probe(Probe {
            receiver_tag: tag(TAG),
            state: ProbeState::InboundOk,
            sent: vec![r; n],
            received: vec![r; n],
            options: Options::default(),
        });
        assert_eq!((m.emit().len(), m.emitted_len()), (1216, 1216));
        let Ok(Message::Probe(parsed)) = Message::parse(&m.emit()) else { panic!() };
        assert_eq!((parsed.sent.len(), parsed.received.len()), (15, 15));
    }
}
