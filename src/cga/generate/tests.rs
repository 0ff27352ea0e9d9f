use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::cga::hash::{hash2, hash2_satisfies};
use crate::cga::pds::Pds;
use crate::cga::verify_hba;

fn prefix(n: u8) -> Prefix {
    Prefix([0x20, 1, 0x0d, 0xb8, 0, n, 0, 1])
}

fn params(method: Method, n: u8) -> GenerateParams {
    let mut params = GenerateParams::new(method, (1..=n).map(prefix).collect());
    params.key_bits = 1024;
    params
}

fn run(params: GenerateParams, seed: u64) -> Result<Identity, GenerateError> {
    let mut rng = StdRng::seed_from_u64(seed);
    Identity::generate(params, &mut rng, &mut |_| ControlFlow::Continue(()))
}

fn test_key() -> SigningKey {
    SigningKey::from_pem(include_bytes!("../../../tests/data/vectors/keys/rsa1024.pem")).unwrap()
}

// req-test: HB-6-02, HB-6-03, HB-6-04, HB-6-05, HB-5-03
#[test]
fn the_extended_modifier_is_a_384_bit_modulus_of_constant_length() {
    let mut lengths = Vec::new();
    for seed in 0..40 {
        let own = run(params(Method::Hba, 2), seed).unwrap();
        let rsa = openssl::rsa::Rsa::public_key_from_der(own.pds().public_key()).unwrap();
        assert_eq!(rsa.n().num_bits(), 384);
        assert_eq!(rsa.e().to_vec(), EXPONENT);
        assert_eq!(own.pds().multi_prefix().map(|m| m.p_flag), Some(false));
        lengths.push(own.pds().as_bytes().len());
    }
    lengths.dedup();
    assert_eq!(lengths.len(), 1);
}

// req-test: HB-4-01, HB-5-03, S6-16-01
#[test]
fn a_new_key_is_made_and_announced() {
    for method in [Method::Cga, Method::HbaCga] {
        let mut seen = Vec::new();
        let own = Identity::generate(params(method, 2), &mut StdRng::seed_from_u64(0), &mut |p| {
            seen.push(p);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(seen, [Progress::GeneratingKey { bits: 1024 }]);
        assert_eq!(own.pds().multi_prefix().map(|m| m.p_flag), method.is_set().then_some(true));
        assert_eq!(own.pds().rsa_bits(), Some((1024, 17)));
        assert!(own.can_sign());
    }
}

// req-test: HB-6-07, HB-6-08, HB-6-10, CG-4-01
#[test]
fn the_same_seed_makes_the_same_identity_however_many_search() {
    for method in [Method::Hba, Method::Cga, Method::HbaCga] {
        let make = |threads, seed| {
            let mut params = params(method, 3);
            params.sec = Sec::ONE;
            params.key = method.has_key().then(test_key);
            params.threads = NonZeroUsize::new(threads);
            run(params, seed).unwrap()
        };
        let own = make(1, 7);
        assert!(hash2_satisfies(&hash2(own.pds()), Sec::ONE));
        assert_eq!(make(4, 7).pds(), own.pds());
        assert_eq!(make(4, 7).members(), own.members());
        assert_ne!(make(1, 8).pds(), own.pds());
    }
}

// req-test: CG-4-02, HB-11.2-01, HB-8.1-02, CG-7.1-01
#[test]
fn generating_anew_leaves_nothing_that_links_the_addresses() {
    for method in [Method::Hba, Method::Cga, Method::HbaCga] {
        let (old, new) = (run(params(method, 2), 1).unwrap(), run(params(method, 3), 2).unwrap());
        assert_ne!(old.pds().modifier(), new.pds().modifier());
        assert_ne!(old.pds().public_key(), new.pds().public_key());
        assert!(new.members().iter().all(|a| !old.members().contains(a)));
        for (a, b) in old.members().iter().zip(new.members()) {
            assert_ne!(a.octets()[8..], b.octets()[8..]);
        }
    }
    // One key, two modifiers.
    let with_key = |seed| {
        let mut params = params(Method::Cga, 1);
        params.key = Some(test_key());
        run(params, seed).unwrap()
    };
    assert_eq!(with_key(1).pds().public_key(), with_key(2).pds().public_key());
    assert_ne!(with_key(1).members(), with_key(2).members());
}

// req-test: HB-8.1-02
#[test]
fn another_prefix_in_the_vector_changes_every_address() {
    let (two, three) =
        (run(params(Method::Hba, 2), 5).unwrap(), run(params(Method::Hba, 3), 5).unwrap());
    assert_eq!(two.pds().modifier(), three.pds().modifier());
    assert_eq!(two.pds().public_key(), three.pds().public_key());
    for i in 0..2 {
        assert_eq!(two.prefixes()[i], three.prefixes()[i]);
        assert_ne!(two.members()[i], three.members()[i]);
    }
    let pds = Pds::parse(&three.pds_for(three.members()[2]).unwrap()).unwrap();
    assert!(verify_hba(&pds, two.members()[0]).is_err());
}

#[test]
fn the_search_reports_and_can_be_stopped() {
    let mut params = params(Method::Hba, 1);
    params.sec = Sec::TWO;
    let mut calls = 0;
    let stopped = Identity::generate(params, &mut StdRng::seed_from_u64(3), &mut |p| {
        let Progress::Searching { tried, expected } = p else { panic!("{p:?}") };
        assert_eq!(expected, 1 << 32);
        assert!(tried > 0);
        calls += 1;
        ControlFlow::Break(())
    });
    assert_eq!((stopped.unwrap_err(), calls), (GenerateError::Stopped, 1));
}

// req-test: S6-16-01
#[test]
fn impossible_wishes_are_refused() {
    let refused = |params| run(params, 0).unwrap_err();
    assert_eq!(refused(params(Method::Hba, 0)), GenerateError::NoPrefix);
    assert_eq!(refused(params(Method::Hba, 33)), GenerateError::TooManyPrefixes(33));
    let mut twice = params(Method::Hba, 2);
    twice.prefixes.push(prefix(1));
    assert_eq!(refused(twice), GenerateError::DuplicatePrefix(prefix(1)));
    let mut keyed = params(Method::Hba, 2);
    keyed.key = Some(test_key());
    assert_eq!(refused(keyed), GenerateError::UnexpectedKey);
    for (bits, why) in [(1023, KeyError::TooShort(1023)), (4096, KeyError::TooLong(4096))] {
        let mut params = params(Method::HbaCga, 2);
        params.key_bits = bits;
        assert_eq!(refused(params), GenerateError::Key(why));
    }
}
