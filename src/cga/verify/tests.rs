use std::ops::ControlFlow;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::cga::pds::MultiPrefix;
use crate::cga::{GenerateParams, Identity, Method, SigningKey, sign_locators};

/// Prefixes that differ from one another in more than one bit.
fn prefix(n: u8) -> Prefix {
    Prefix([0x20, 1, 0x0d, 0xb8, 0, n, n, 1])
}

fn test_key() -> SigningKey {
    let pem = include_bytes!("../../../tests/data/vectors/keys/rsa1024.pem");
    SigningKey::from_pem(pem).unwrap()
}

fn make(method: Method, sec: Sec, seed: u64) -> Identity {
    let mut params = GenerateParams::new(method, vec![prefix(1), prefix(2), prefix(3)]);
    params.sec = sec;
    params.key = method.has_key().then(test_key);
    let mut rng = StdRng::seed_from_u64(seed);
    Identity::generate(params, &mut rng, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn pds(identity: &Identity, member: usize) -> Pds {
    Pds::parse(&identity.pds_for(identity.members()[member]).unwrap()).unwrap()
}

fn flip(addr: Ipv6Addr, bit: u32) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(addr) ^ (1 << (127 - bit)))
}

// req-test: HB-4-01, HB-6-06, HB-7.1-01, HB-7.2-02, HB-8-01
#[test]
fn every_member_verifies_with_every_members_parameters() {
    for (method, sec) in
        [(Method::Hba, Sec::ZERO), (Method::HbaCga, Sec::ZERO), (Method::Hba, Sec::ONE)]
    {
        for seed in 0..4 {
            let own = make(method, sec, seed);
            for i in 0..3 {
                assert_eq!(verify_binding(&pds(&own, i), own.members()[i]), Ok(()));
                for &member in own.members() {
                    assert_eq!(verify_hba(&pds(&own, i), member), Ok(()));
                    assert_eq!(Sec::of(member), Ok(sec));
                }
            }
        }
    }
}

// req-test: CG-2-02, HB-7.2-01, HB-7.2-02, CG-5-01, CG-5-03, HB-6-01
#[test]
fn of_an_address_only_five_bits_are_not_compared() {
    let own = make(Method::Hba, Sec::ZERO, 1);
    let pds = pds(&own, 0);
    let member = own.members()[0];
    for bit in 0..128 {
        let verdict = verify_hba(&pds, flip(member, bit));
        let expected = match bit {
            0..64 => Err(VerifyError::PrefixNotInSet),
            // Sec is not part of Hash1; what it then claims is judged by itself.
            64 => Err(VerifyError::UnsupportedSec(4)),
            65 | 66 => Err(VerifyError::Hash2Mismatch),
            70 | 71 => Ok(()),
            _ => Err(VerifyError::Hash1Mismatch),
        };
        assert_eq!(verdict, expected, "bit {bit}");
        let plain = verify_binding(&pds, flip(member, bit));
        let prefix_differs = Err(VerifyError::PrefixMismatch);
        assert_eq!(plain, if bit < 64 { prefix_differs } else { expected }, "bit {bit}");
    }
}

// req-test: CG-5-02, CG-5-01, HB-5-04, HB-7.2-02
#[test]
fn of_the_parameters_every_bit_counts() {
    for method in [Method::Hba, Method::HbaCga] {
        let own = make(method, Sec::ZERO, 2);
        let octets = own.pds_for(own.members()[0]).unwrap();
        for bit in 0..octets.len() * 8 {
            let mut flipped = octets.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok(flipped) = Pds::parse(&flipped) else { continue };
            assert!(verify_binding(&flipped, own.members()[0]).is_err(), "bit {bit}");
            // The Subnet Prefix is the one field that HBA verification replaces.
            let verdict = verify_hba(&flipped, own.members()[0]);
            assert_eq!(verdict.is_ok(), (128..192).contains(&bit), "bit {bit}");
        }
    }
}

// req-test: CG-5-02, CG-3-04, CG4581-3-01
#[test]
fn unknown_extensions_are_hashed() {
    let own = make(Method::HbaCga, Sec::ZERO, 3);
    let mut octets = own.pds().as_bytes().to_vec();
    octets.extend([0xff, 0xfd, 0, 2, 1, 2]);
    let extended = Pds::parse(&octets).unwrap();
    assert_eq!(verify_binding(&extended, own.members()[0]), Err(VerifyError::Hash1Mismatch));
    let addr = hash::address(&extended, extended.prefix(), Sec::ZERO);
    assert_eq!(verify_binding(&extended, addr), Ok(()));
    assert_eq!(verify_hba(&extended, addr), Ok(()));
    *octets.last_mut().unwrap() ^= 1;
    let changed = Pds::parse(&octets).unwrap();
    assert_eq!(verify_binding(&changed, addr), Err(VerifyError::Hash1Mismatch));
}

// req-test: CG-3-02, CG-5-01
#[test]
fn collision_counts_above_two_fail_before_anything_else() {
    let own = make(Method::HbaCga, Sec::ZERO, 4);
    for count in [0, 1, 2, 3, 255] {
        let pds = own.pds().replaced(prefix(1), count);
        let addr = hash::address(&pds, prefix(1), Sec::ZERO);
        let expected = if count <= 2 { Ok(()) } else { Err(VerifyError::CollisionCount(count)) };
        assert_eq!(verify_hba(&pds, addr), expected);
        assert_eq!(verify_cga(&pds, addr), expected);
        let elsewhere = flip(addr, 0);
        let expected = if count <= 2 { Err(VerifyError::PrefixMismatch) } else { expected };
        assert_eq!(verify_cga(&pds, elsewhere), expected);
    }
}

// req-test: CG-5-03, HB-6-01, CG4982-5-01
#[test]
fn unregistered_security_parameters_fail() {
    let own = make(Method::Hba, Sec::ZERO, 5);
    let member = u128::from(own.members()[0]);
    for sec in 3..8_u8 {
        let addr = Ipv6Addr::from(member | u128::from(sec) << 61);
        assert_eq!(verify_hba(own.pds(), addr), Err(VerifyError::UnsupportedSec(sec)));
        assert_eq!(verify_binding(own.pds(), addr), Err(VerifyError::UnsupportedSec(sec)));
    }
}

// req-test: HB-7.2-03, HB-4-01
#[test]
fn parameters_without_the_extension_verify_no_hba() {
    let own = make(Method::Cga, Sec::ZERO, 6);
    for (i, &member) in own.members().iter().enumerate() {
        assert_eq!(verify_cga(&pds(&own, i), member), Ok(()));
        assert_eq!(verify_hba(&pds(&own, i), member), Err(VerifyError::NoMultiPrefix));
    }
    assert_eq!(verify_cga(&pds(&own, 0), own.members()[1]), Err(VerifyError::PrefixMismatch));
}

/// The verdict on a CGA whose key has this many bits, and this public exponent.
fn verdict_on_key(bits: usize, exponent: &[u8], set: Option<bool>) -> Result<(), VerifyError> {
    let mut modulus = vec![0x5b; bits.div_ceil(8)];
    modulus[0] = 1 << ((bits - 1) % 8);
    let spki = crate::cga::der::encode_subject_public_key_info(&modulus, exponent);
    let set = set.map(|p_flag| MultiPrefix { p_flag, prefixes: vec![prefix(1)] });
    let pds = Pds::assemble([7; 16], prefix(1), 0, &spki, set.as_ref()).unwrap();
    let addr = hash::address(&pds, prefix(1), Sec::ZERO);
    assert_eq!(verify_binding(&pds, addr), Ok(()));
    if set.is_some() { verify_hba(&pds, addr) } else { verify_cga(&pds, addr) }
}

// req-test: S6-16-01, CG-5-04
#[test]
fn real_keys_have_a_minimum_length_and_random_numbers_have_not() {
    for bits in [384, 512, 1023] {
        let short = Err(VerifyError::KeyTooShort(bits as u32));
        assert_eq!(verdict_on_key(bits, &[1, 0, 1], None), short);
        assert_eq!(verdict_on_key(bits, &[1, 0, 1], Some(true)), short);
        assert_eq!(verdict_on_key(bits, &[1, 0, 1], Some(false)), Ok(()));
    }
    for bits in [1024, 2048, 3072, 4096, 8192] {
        assert_eq!(verdict_on_key(bits, &[1, 0, 1], None), Ok(()));
        assert_eq!(verdict_on_key(bits, &[1, 0, 1], Some(true)), Ok(()));
    }
    let long = |bits| Err(VerifyError::KeyTooLong(bits));
    assert_eq!(verdict_on_key(8193, &[1, 0, 1], None), long(8193));
    // 65 and 64 bits of exponent.
    assert_eq!(verdict_on_key(2048, &[1; 9], None), long(2048));
    assert_eq!(verdict_on_key(2048, &[0xff; 8], None), Ok(()));
}

/// A list as a host with this identity sends it: members, then what only the signature can vouch for.
fn signed_list(own: &Identity, others: &[Locator]) -> (Vec<(Proof, Locator)>, Option<Vec<u8>>) {
    let locators = own.members().iter().map(|&a| Locator(a)).chain(others.iter().copied());
    let list: Vec<_> = locators.map(|l| (own.proof_for(l).unwrap(), l)).collect();
    let signed: Vec<_> = list.iter().filter(|e| e.0 == Proof::Cga).map(|e| e.1).collect();
    let signature = (!signed.is_empty()).then(|| own.sign(Generation(9), &signed).unwrap());
    (list, signature)
}

fn other(n: u16) -> Locator {
    Locator(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, n, 0, 0, 0, 1))
}

// req-test: HB-4-02, S6-3-02, S6-5.15.5-03, CG-6-02, HB-8.1-01
#[test]
fn a_mixed_list_needs_both_methods_to_hold() {
    let own = make(Method::HbaCga, Sec::ZERO, 7);
    let ulid = Ulid(own.members()[1]);
    let (mut list, signature) = signed_list(&own, &[other(1), other(2)]);
    list.swap(0, 3);
    let signature = signature.as_deref();
    let pds = pds(&own, 1);
    assert_eq!(verify_list(&pds, ulid, Generation(9), &list, signature), Ok(()));
    // Entries checked by hash may stand in any order; the signed ones may not.
    list.swap(1, 2);
    assert_eq!(verify_list(&pds, ulid, Generation(9), &list, signature), Ok(()));
    list.swap(0, 4);
    let mismatch = Err(ListError::Signature(0, SignatureError::Mismatch));
    assert_eq!(verify_list(&pds, ulid, Generation(9), &list, signature), mismatch);
    list.swap(0, 4);
    assert_eq!(verify_list(&pds, ulid, Generation(8), &list, signature), mismatch);
    let missing = Err(ListError::NoSignature(0));
    assert_eq!(verify_list(&pds, ulid, Generation(9), &list, None), missing);
    list[2].1 = other(3);
    let foreign = ListError::Entry(2, VerifyError::PrefixNotInSet);
    assert_eq!(verify_list(&pds, ulid, Generation(9), &list, signature), Err(foreign));
    assert_eq!(foreign.entry(), Some(2));
}

// req-test: CG-6-02
#[test]
fn a_good_signature_with_foreign_parameters_is_worth_nothing() {
    let (own, foreign) = (make(Method::Cga, Sec::ZERO, 8), make(Method::Cga, Sec::ZERO, 9));
    let (list, signature) = signed_list(&own, &[other(1)]);
    let generation = Generation(9);
    let ulid = Ulid(own.members()[0]);
    let signature = signature.as_deref();
    assert_eq!(verify_list(own.pds(), ulid, generation, &list, signature), Ok(()));
    // The same key, so the signature itself is good; but these parameters make another address.
    assert_eq!(own.pds().public_key(), foreign.pds().public_key());
    let unbound = Err(ListError::Ulid(VerifyError::Hash1Mismatch));
    assert_eq!(verify_list(foreign.pds(), ulid, generation, &list, signature), unbound);
    // And with another key it is the other way round.
    let pem = include_bytes!("../../../tests/data/vectors/keys/rsa1024b.pem");
    let key = SigningKey::from_pem(pem).unwrap();
    let signed: Vec<_> = list.iter().map(|e| e.1).collect();
    let forged = sign_locators(&key, generation, &signed).unwrap();
    let mismatch = Err(ListError::Signature(0, SignatureError::Mismatch));
    assert_eq!(verify_list(own.pds(), ulid, generation, &list, Some(&forged)), mismatch);
}

// req-test: HB-9-01, S6-3-01, HB-8.1-01, S6-10-01
#[test]
fn an_hba_only_host_can_list_members_only() {
    let own = make(Method::Hba, Sec::ZERO, 10);
    let ulid = Ulid(own.members()[0]);
    let (list, signature) = signed_list(&own, &[]);
    assert_eq!(signature, None);
    assert_eq!(verify_list(own.pds(), ulid, Generation(9), &list, None), Ok(()));
    assert_eq!(own.proof_for(other(1)), None);
    // A peer that claims method CGA all the same.
    let forced = [list, vec![(Proof::Cga, other(1))]].concat();
    let no_key = Err(ListError::Entry(3, VerifyError::NoPublicKey));
    assert_eq!(verify_list(own.pds(), ulid, Generation(9), &forced, Some(&[0; 128])), no_key);
    // A ULID that is no HBA.
    let unbound = Err(ListError::Ulid(VerifyError::PrefixNotInSet));
    assert_eq!(verify_list(own.pds(), other(1).ulid(), Generation(9), &[], None), unbound);
}
