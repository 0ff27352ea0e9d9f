use std::ops::ControlFlow;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::cga::{GenerateParams, verify_cga, verify_hba};

fn prefix(n: u8) -> Prefix {
    Prefix([0x20, 1, 0x0d, 0xb8, 0, n, 0, 1])
}

fn make(method: Method, seed: u64) -> Identity {
    let mut params = GenerateParams::new(method, vec![prefix(1), prefix(2)]);
    let pem = include_bytes!("../../../tests/data/vectors/keys/rsa1024.pem");
    params.key = method.has_key().then(|| SigningKey::from_pem(pem).unwrap());
    let mut rng = StdRng::seed_from_u64(seed);
    Identity::generate(params, &mut rng, &mut |_| ControlFlow::Continue(())).unwrap()
}

const METHODS: [Method; 3] = [Method::Hba, Method::Cga, Method::HbaCga];

// req-test: HB-4-01, HB-6-06, HB-6-12, HB-8-02
#[test]
fn each_member_has_parameters_of_its_own_that_differ_in_the_prefix_only() {
    for method in METHODS {
        let own = make(method, 1);
        assert_eq!(own.method(), method);
        assert_eq!(own.members().len(), 2);
        let octets: Vec<_> = own.members().iter().map(|&a| own.pds_for(a).unwrap()).collect();
        for (i, octets) in octets.iter().enumerate() {
            let pds = Pds::parse(octets).unwrap();
            assert_eq!(pds.prefix(), own.prefixes()[i]);
            if method.has_key() {
                assert_eq!(verify_cga(&pds, own.members()[i]), Ok(()));
            }
            if method.is_set() {
                assert_eq!(verify_hba(&pds, own.members()[i]), Ok(()));
            }
        }
        assert_eq!(octets[0][..16], octets[1][..16]);
        assert_eq!(octets[0][24..], octets[1][24..]);
        let stranger = "2001:db8:1:1::1".parse().unwrap();
        assert_eq!(own.pds_for(stranger), None);
        assert_eq!(own.contains(stranger), None);
    }
}

// req-test: HB-8.1-01, S6-10-01, HB-9-01, HB-4-02
#[test]
fn what_lies_outside_the_set_can_be_offered_by_signature_only() {
    let stranger = Locator("2001:db8:1:1::1".parse().unwrap());
    let proofs = METHODS.map(|method| {
        let own = make(method, 2);
        (own.contains(own.members()[0]), own.proof_for(stranger), own.can_sign())
    });
    assert_eq!(
        proofs,
        [
            (Some(Proof::Hba), None, false),
            (Some(Proof::Cga), Some(Proof::Cga), true),
            (Some(Proof::Hba), Some(Proof::Cga), true),
        ]
    );
    assert_eq!(make(Method::Hba, 2).sign(Generation(1), &[]), Err(SignError::NoKey));
}

// req-test: HB-6-11, CG-3-02, CG-4-01
#[test]
fn a_duplicate_changes_all_addresses_and_the_third_one_is_an_error() {
    for method in METHODS {
        let own = make(method, 3);
        let mut seen = own.members().to_vec();
        for count in 1..=2 {
            let next = own.with_collision_count(count).unwrap();
            assert_eq!(next.collision_count(), count);
            assert_eq!(next.prefixes(), own.prefixes());
            for &member in next.members() {
                assert!(!seen.contains(&member));
                assert_eq!(next.pds_for(member).map(|p| p[24]), Some(count));
            }
            seen.extend(next.members());
            assert_eq!(next.with_collision_count(0).unwrap().members(), own.members());
        }
        assert_eq!(own.with_collision_count(3).unwrap_err(), TooManyCollisions);
    }
}

#[test]
fn parts_go_round() {
    for method in METHODS {
        let own = make(method, 4).with_collision_count(1).unwrap();
        let again = Identity::from_parts(
            own.pds().as_bytes(),
            own.key().cloned(),
            own.prefixes(),
            Some(own.sec()),
        )
        .unwrap();
        assert_eq!(again.members(), own.members());
        assert_eq!(again.method(), method);
        assert_eq!(again.can_sign(), own.can_sign());
        let bad = own.pds().replaced(prefix(1), 3);
        let refused = Identity::from_parts(bad.as_bytes(), own.key().cloned(), &[], None);
        let expected = IdentityError::Verify(VerifyError::CollisionCount(3));
        assert_eq!(refused.unwrap_err(), expected);
    }
}

// req-test: CG-4-03
#[test]
fn a_cga_takes_new_prefixes_with_its_old_modifier_and_a_set_does_not() {
    let own = make(Method::Cga, 5).with_collision_count(2).unwrap();
    let next = own.with_prefixes(&[prefix(9)]).unwrap();
    assert_eq!(next.pds().modifier(), own.pds().modifier());
    assert_eq!((next.prefixes(), next.collision_count()), (&[prefix(9)][..], 0));
    assert_eq!(verify_cga(next.pds(), next.members()[0]), Ok(()));

    for method in [Method::Hba, Method::HbaCga] {
        let own = make(method, 5);
        let refused = own.with_prefixes(&[prefix(1), prefix(9)]).unwrap_err();
        assert_eq!(refused, IdentityError::PrefixNotInSet(prefix(9)));
        let fewer = own.with_prefixes(&[prefix(2)]).unwrap();
        assert_eq!(fewer.members(), &own.members()[1..]);
    }
}

#[test]
fn a_set_whose_private_key_is_elsewhere_works_by_hash_alone() {
    let own = make(Method::HbaCga, 6);
    let pds = own.pds().as_bytes();
    let keyless = Identity::from_parts(pds, None, &[], Some(own.sec())).unwrap();
    assert_eq!(keyless.members(), own.members());
    assert_eq!(keyless.signing(), Err(SignError::NoKey));
    assert_eq!(keyless.proof_for(Locator(own.members()[0])), Some(Proof::Hba));
    assert_eq!(keyless.proof_for(Locator("2001:db8::1".parse().unwrap())), None);
}

#[test]
fn method_names_go_round() {
    for method in METHODS {
        assert_eq!(method.to_string().parse(), Ok(method));
    }
    assert!("HBA".parse::<Method>().is_err());
}
