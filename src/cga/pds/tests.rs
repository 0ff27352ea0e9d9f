use proptest::prelude::*;

use super::*;

const MODIFIER: [u8; 16] = *b"0123456789abcdef";

fn key() -> Vec<u8> {
    der::encode_subject_public_key_info(&[0xc5; 128], &[1, 0, 1])
}

fn prefixes(n: u8) -> Vec<Prefix> {
    (0..n).map(|i| Prefix([0x20, 1, 0x0d, 0xb8, 0, i, 0, 1])).collect()
}

/// A structure with these extension octets behind the key.
fn with_extensions(extensions: &[u8]) -> Vec<u8> {
    [&MODIFIER[..], &prefixes(1)[0].0, &[1], &key(), extensions].concat()
}

// req-test: HB-5-01, HB-5-02, HB-5-03, CG4581-2-01
#[test]
fn multi_prefix_golden_octets() {
    let golden: [&[u8]; 3] = [
        &[0, 0x12, 0, 12, 0x80, 0, 0, 0, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 1],
        &[
            0, 0x12, 0, 20, 0x80, 0, 0, 0, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 1, 0x20, 1, 0x0d, 0xb8, 0,
            1, 0, 1,
        ],
        &[
            0, 0x12, 0, 28, 0x80, 0, 0, 0, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 1, 0x20, 1, 0x0d, 0xb8, 0,
            1, 0, 1, 0x20, 1, 0x0d, 0xb8, 0, 2, 0, 1,
        ],
    ];
    for (n, golden) in (1..).zip(golden) {
        let set = MultiPrefix { p_flag: true, prefixes: prefixes(n) };
        assert_eq!(set.emit(), golden);
        assert_eq!(MultiPrefix::parse(&golden[4..]), Some(set.clone()));
        let random = MultiPrefix { p_flag: false, ..set };
        assert_eq!(random.emit()[4..8], [0; 4]);
    }
}

// req-test: HB-5-04
#[test]
fn reserved_is_ignored_but_kept() {
    let mut extension = MultiPrefix { p_flag: false, prefixes: prefixes(2) }.emit();
    extension[4..8].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
    let pds = Pds::parse(&with_extensions(&extension)).unwrap();
    assert_eq!(pds.multi_prefix().map(|m| m.p_flag), Some(false));
    assert_eq!(pds.extensions(), extension);
}

// req-test: CG-3-01, HB-6-12
#[test]
fn fields_stand_where_they_belong() {
    let set = MultiPrefix { p_flag: true, prefixes: prefixes(2) };
    let pds = Pds::assemble(MODIFIER, prefixes(1)[0], 2, &key(), Some(&set)).unwrap();
    let octets = pds.as_bytes();
    assert_eq!(octets[..16], MODIFIER);
    assert_eq!(octets[16..24], prefixes(1)[0].0);
    assert_eq!(octets[24], 2);
    assert_eq!(octets[25..25 + key().len()], key());
    assert_eq!(octets[25 + key().len()..], set.emit());
    assert_eq!(pds.modifier(), MODIFIER);
    assert_eq!(pds.prefix(), prefixes(1)[0]);
    assert_eq!(pds.collision_count(), 2);
    assert_eq!(pds.public_key(), key());
    assert_eq!(pds.extensions(), set.emit());
    assert_eq!(pds.rsa_bits(), Some((1024, 17)));
    assert!(pds.has_real_key());

    let other = prefixes(2)[1];
    let replaced = Pds::parse(&pds.with_prefix(other)).unwrap();
    assert_eq!(replaced.prefix(), other);
    assert_eq!(replaced.with_prefix(pds.prefix()), octets);
}

// req-test: CG-3-04, CG4581-2-01, CG4581-3-01
#[test]
fn unknown_extensions_are_skipped_on_either_side() {
    let set = MultiPrefix { p_flag: true, prefixes: prefixes(3) };
    let experimental = [0xff, 0xfd, 0, 3, 9, 9, 9, 0xff, 0xfe, 0, 0, 0xff, 0xff, 0, 1, 7];
    let octets = with_extensions(&[&experimental[..], &set.emit(), &experimental].concat());
    let pds = Pds::parse(&octets).unwrap();
    assert_eq!(pds.multi_prefix(), Some(&set));
    assert_eq!(pds.as_bytes(), octets);
    let alone = Pds::parse(&with_extensions(&experimental)).unwrap();
    assert_eq!(alone.multi_prefix(), None);
    assert!(alone.has_real_key());
}

// req-test: CG4581-2-01, HB-5-02
#[test]
fn malformed_extensions_are_refused() {
    let set = MultiPrefix { p_flag: true, prefixes: prefixes(2) }.emit();
    let error = |extensions: &[u8]| Pds::parse(&with_extensions(extensions)).unwrap_err();
    for len in 1..set.len() {
        assert_eq!(error(&set[..len]), PdsError::Extension, "{len}");
    }
    assert_eq!(error(&[0xff, 0xfd, 0, 2, 1]), PdsError::Extension);
    for len in [0_u16, 3, 4, 11, 13, 19] {
        let octets = [&[0, 0x12][..], &len.to_be_bytes(), &vec![0; usize::from(len)]].concat();
        assert_eq!(error(&octets), PdsError::MultiPrefixLength(len));
    }
    assert_eq!(error(&[&set[..], &set].concat()), PdsError::SecondMultiPrefix);
}

// req-test: CG-3-03
#[test]
fn a_real_key_has_to_be_an_rsa_public_key_and_a_random_number_need_not() {
    // The number put right into the BIT STRING, as LinShim6 does.
    let mut raw = vec![0x30, 0x14, 0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    raw.extend([5, 0, 3, 3, 0, 0xab, 0xcd]);
    let make = |set: Option<bool>| {
        let set = set.map(|p_flag| MultiPrefix { p_flag, prefixes: prefixes(1) });
        Pds::assemble(MODIFIER, prefixes(1)[0], 0, &raw, set.as_ref())
    };
    let pds = make(Some(false)).unwrap();
    assert_eq!((pds.rsa_bits(), pds.has_real_key()), (None, false));
    assert_eq!(pds.public_key(), raw);
    assert_eq!(make(Some(true)), Err(PdsError::Key(DerError::Tag)));
    assert_eq!(make(None), Err(PdsError::Key(DerError::Tag)));
}

// req-test: CG-3-01
#[test]
fn every_truncation_of_the_fixed_part_and_the_key_is_refused() {
    let octets = with_extensions(&[]);
    for len in 0..octets.len() {
        let expected =
            if len < KEY_OFFSET { PdsError::Truncated } else { PdsError::Key(DerError::Truncated) };
        assert_eq!(Pds::parse(&octets[..len]), Err(expected), "{len}");
    }
    assert_eq!(Pds::parse(&vec![0; MAX_LEN + 1]), Err(PdsError::TooLong));
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Pds::parse(&octets);
    }

    #[test]
    fn mutated_structures_are_refused_or_kept_as_they_are(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        p_flag in any::<bool>(),
        n in 1_u8..8,
    ) {
        let set = MultiPrefix { p_flag, prefixes: prefixes(n) };
        let mut octets = with_extensions(&set.emit());
        for (at, value) in changes {
            let at = at.index(octets.len());
            octets[at] = value;
        }
        if let Ok(pds) = Pds::parse(&octets) {
            prop_assert_eq!(pds.as_bytes(), &octets[..]);
            let parts = [&octets[..KEY_OFFSET], pds.public_key(), pds.extensions()].concat();
            prop_assert_eq!(parts, octets);
        }
    }
}
