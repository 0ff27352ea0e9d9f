//! Options: lengths, padding, golden octets, critical and unknown ones.

use super::*;

/// The octets of the single option that an I2 with these options holds.
fn emitted(options: Options) -> Vec<u8> {
    replace_options(plain_of(MessageType::I2), options).emit()[24..].to_vec()
}

/// The options of an I2 that holds these octets.
fn parsed(octets: &[Vec<u8>]) -> Result<Options, ParseError> {
    match Message::parse(&with_options(&plain_of(MessageType::I2), octets))? {
        Message::I2(m) => Ok(m.options),
        other => panic!("{other:?}"),
    }
}

// req-test: S6-5.15-06
#[test]
fn option_length_formula() {
    for length in 0..=65535 {
        let total = total_len(length);
        assert!(total.is_multiple_of(8) && (4 + length..4 + length + 8).contains(&total));
        assert_eq!(total, 11 + length - ((length + 3) % 8));
        assert_eq!(total - 4 - length, 7 - ((length + 3) % 8));
    }
}

// req-test: S6-5.15-02, S6-5.15-03, S6-5.15-04
#[test]
fn options_are_padded_with_zeros_that_length_does_not_count() {
    for len in 0..64 {
        let contents = vec![0xff; len];
        let octets = emitted(Options { validator: Some(contents.clone()), ..Options::default() });
        assert_eq!(octets, option(1, false, &contents));
        assert_eq!(usize::from(u16::from_be_bytes([octets[2], octets[3]])), len);
        assert!(octets[4 + len..].iter().all(|&o| o == 0));
        assert_eq!(parsed(&[octets]).unwrap().validator, Some(contents));
    }
    // A validator of 20 octets needs no padding.
    let octets = emitted(Options { validator: Some(vec![1; 20]), ..Options::default() });
    assert_eq!((octets.len(), &octets[2..4]), (24, &[0, 20][..]));
}

// req-test: S6-5.15-05
#[test]
fn padding_is_not_looked_at() {
    for pad in [0x01, 0xff] {
        let options = parsed(&[
            option_padded(1, false, &[7; 17], pad),
            option_padded(4, false, &[8; 3], pad),
            option_padded(3, false, &[0, 0, 0, 9, 1, 2], pad),
        ])
        .unwrap();
        assert_eq!(options.validator, Some(vec![7; 17]));
        assert_eq!(options.pds, Some(vec![8; 3]));
        assert_eq!(options.preferences.unwrap().elements.len(), 1);
    }
}

// req-test: S6-5.15-01, S6-5.15-10
#[test]
fn option_types_stand_above_the_critical_bit() {
    let numbers: Vec<u16> = OptionType::KNOWN.iter().map(|t| t.value()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 10]);
    // The eight options of one message in order, each with C = 0.
    let octets = emitted(all_options());
    let mut at = 0;
    for t in OptionType::KNOWN {
        let field = u16::from_be_bytes([octets[at], octets[at + 1]]);
        assert_eq!(field, t.value() * 2);
        let length = usize::from(u16::from_be_bytes([octets[at + 2], octets[at + 3]]));
        at += 4 + length;
        at = at.next_multiple_of(8);
    }
    assert_eq!(at, octets.len());
    // C = 1 on an option that is known here changes nothing.
    let critical = parsed(&[option(7, true, &[0, 0, 0, 5])]).unwrap();
    assert_eq!(critical.fii, Some(Fii(5)));
}

// req-test: S6-5.15.2-01
#[test]
fn locator_list_golden_octets() {
    for (n, total, start) in [
        (1, 32, "0004001c00000001010100000000000020010db8000000000000000000000001"),
        (7, 128, "0004007c00000001070101010101010120010db8000000000000000000000001"),
        (8, 152, "00040094000000010801010101010101010000000000000020010db800000000"),
        (15, 264, "00040104000000010f01010101010101010101010101010120010db800000000"),
        (16, 288, "0004011c00000001100101010101010101010101010101010100000000000000"),
    ] {
        let entry = LocatorEntry { locator: loc("2001:db8::1"), method: VerificationMethod::Hba };
        let list = LocatorList { generation: Generation(1), entries: vec![entry; n] };
        let octets = emitted(Options { locator_list: Some(list.clone()), ..Options::default() });
        assert_eq!(octets.len(), total);
        assert_eq!(octets[..32], hex(start));
        assert_eq!(parsed(&[octets]).unwrap().locator_list, Some(list));
    }
}

// req-test: S6-5.15.2-03
#[test]
fn locators_and_preferences_keep_their_order() {
    let methods = [VerificationMethod::Cga, VerificationMethod::Hba, VerificationMethod::Cga];
    let list = list(&[
        ("2001:db8:c::1", methods[0]),
        ("2001:db8:a::1", methods[1]),
        ("2001:db8:b::1", methods[2]),
    ]);
    let preferences = preferences(3, &[[1, 9, 1], [2, 8, 2], [0, 7, 3]]);
    let octets = emitted(Options {
        locator_list: Some(list.clone()),
        preferences: Some(preferences.clone()),
        ..Options::default()
    });
    let options = parsed(&[octets]).unwrap();
    assert_eq!(options.locator_list, Some(list));
    assert_eq!(options.preferences, Some(preferences));
}

// req-test: S6-5.15.3-01, S6-5.15.3-02
#[test]
fn locator_preferences_golden_octets() {
    for (len, golden, second) in [
        (1, "00060007000000070101020000000000", [2, 0, 0]),
        (2, "00060009000000070201020304000000", [3, 4, 0]),
        (3, "0006000b000000070301020304050600", [4, 5, 6]),
    ] {
        let first = [1, if len > 1 { 2 } else { 0 }, if len > 2 { 3 } else { 0 }];
        let mut value = preferences(len, &[first, second]);
        value.generation = Generation(7);
        let octets = emitted(Options { preferences: Some(value.clone()), ..Options::default() });
        assert_eq!(octets, hex(golden));
        assert_eq!(parsed(&[octets]).unwrap().preferences, Some(value));
    }
}

// req-test: S6-5.15.3-05
#[test]
fn longer_elements_give_their_first_three_octets() {
    let mut contents = vec![0, 0, 0, 7, 5];
    contents.extend([1, 2, 3, 0xee, 0xee, 2, 4, 6, 0xee, 0xee]);
    let value = parsed(&[option(3, false, &contents)]).unwrap().preferences.unwrap();
    assert_eq!(value.element_len, 5);
    assert_eq!(value.elements, preferences(3, &[[1, 2, 3], [2, 4, 6]]).elements);
}

// req-test: S6-5.15.6-02, S6-5.15.6-03
#[test]
fn ulid_pair_golden_octets() {
    let mut golden = hex("000c00240000000020010db8000a0000000000000000000120010db8000b0000");
    golden.extend(hex("0000000000000002"));
    let value = Options { ulid_pair: Some(ulid_pair()), ..Options::default() };
    assert_eq!(emitted(value.clone()), golden);
    golden[4..8].fill(0xff);
    assert_eq!(parsed(&[golden]), Ok(value));
}

// req-test: S6-5.15.7-01
#[test]
fn fii_golden_octets() {
    for n in [0, 1, 0xffff_ffff, 0xdead_beef_u32] {
        let value = Options { fii: Some(Fii(n)), ..Options::default() };
        assert_eq!(emitted(value.clone()), hex(&format!("000e0004{n:08x}")));
        assert_eq!(parsed(&[emitted(value.clone())]), Ok(value));
    }
}

// req-test: RP-5.3-02, RP-5.3-05, RP-5.3-06
#[test]
fn keepalive_timeout_golden_octets() {
    let value = Options { keepalive_timeout: Some(15), ..Options::default() };
    let mut octets = emitted(value.clone());
    assert_eq!(octets, hex("001400040000000f"));
    octets[4..6].fill(0xff);
    for kind in [MessageType::I2, MessageType::I2bis, MessageType::R2, MessageType::UpdateRequest] {
        let message = Message::parse(&with_options(&plain_of(kind), &[octets.clone()])).unwrap();
        assert_eq!(message.options(), Some(&value), "{kind}");
    }
}

// req-test: S6-12.3-05, S6-5.15-07, RP-5.1-05
#[test]
fn unknown_options_that_are_not_critical_are_kept_and_ignored() {
    for message in plain_with_options() {
        let extra = [option(0x7fff, false, &[1, 2, 3]), option(8, false, &[])];
        let parsed = Message::parse(&with_options(&message, &extra)).unwrap();
        let options = parsed.options().unwrap();
        assert_eq!(
            options.unknown,
            [
                UnknownOption { option_type: 0x7fff, contents: vec![1, 2, 3] },
                UnknownOption { option_type: 8, contents: vec![] },
            ]
        );
        assert!(!options.is_empty());
        assert_eq!(replace_options(parsed.clone(), Options::default()), message);
        // And sent as they came.
        assert_eq!(parsed.emit(), with_options(&message, &extra));
    }
}

#[test]
fn offsets_of_options_are_found_for_pointers() {
    let m = replace_options(plain_of(MessageType::I2), all_options()).emit();
    for t in OptionType::KNOWN {
        let at = offset_of(&m, *t).unwrap();
        assert_eq!(u16::from_be_bytes([m[at], m[at + 1]]), t.value() * 2);
    }
    let first = verification_method_offset(&m, 0).unwrap();
    assert_eq!(m[first..first + 2], [1, 2]);
    assert_eq!(verification_method_offset(&m, 1), Some(first + 1));
    assert_eq!(verification_method_offset(&m, 2), None);
    // Behind a Probe's reports.
    let probe = with_options(&plain_of(MessageType::Probe), &[option(99, false, &[1])]);
    assert_eq!(offset_of(&probe, OptionType::Unknown(99)), Some(16 + 3 * 40));
    assert_eq!(offset_of(&probe, OptionType::Fii), None);
    assert_eq!(offset_of(&plain_of(MessageType::Error).emit(), OptionType::Fii), None);
}

#[test]
fn no_options_means_empty() {
    assert!(Options::default().is_empty());
    assert!(Options { preferences_fault: Some(5), ..Options::default() }.is_empty());
    assert!(!all_options().is_empty());
    assert_eq!(all_options().emitted_len(), emitted(all_options()).len());
}
