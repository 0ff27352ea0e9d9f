use std::net::Ipv6Addr;

use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::symm::Cipher;

use super::*;
use crate::addr::Prefix;

const RSA_1024: &[u8] = include_bytes!("../../../tests/data/vectors/keys/rsa1024.pem");
const RSA_2048: &[u8] = include_bytes!("../../../tests/data/vectors/keys/rsa2048.pem");
const RSA_3072: &[u8] = include_bytes!("../../../tests/data/keys/rsa3072.pem");
const RSA_4096: &[u8] = include_bytes!("../../../tests/data/keys/rsa4096.pem");

fn locator(n: u16) -> Locator {
    Locator(Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1))
}

fn pds_of(spki: &[u8]) -> Pds {
    Pds::assemble([1; 16], Prefix([0x20; 8]), 0, spki, None).unwrap()
}

// req-test: S6-5.15.5-02, S6-5.15.5-03, CG-7.4-02
#[test]
fn tag_generation_and_locators_are_what_is_signed() {
    let octets = signed_octets(Generation(0x0102_0304), &[locator(7), locator(3)]);
    assert_eq!(octets[..16], *b"J0VbHXWK6UAoPjmH");
    assert_eq!(octets[16..20], [1, 2, 3, 4]);
    assert_eq!(octets[20..36], locator(7).0.octets());
    assert_eq!(octets[36..], locator(3).0.octets());
}

// req-test: CG-6-01, S6-5.15.5-01
#[test]
fn a_signature_is_the_padded_digest_to_the_private_exponent() {
    let key = SigningKey::from_pem(RSA_2048).unwrap();
    let signature = sign_locators(&key, Generation(5), &[locator(1)]).unwrap();
    let rsa = key.0.rsa().unwrap();
    let mut message = BigNum::new().unwrap();
    let number = BigNum::from_slice(&signature).unwrap();
    let mut cx = BigNumContext::new().unwrap();
    message.mod_exp(&number, rsa.e(), rsa.n(), &mut cx).unwrap();

    // RFC 8017, 9.2: 0x00 0x01 PS 0x00 DigestInfo(SHA-1).
    let digest = openssl::sha::sha1(&signed_octets(Generation(5), &[locator(1)]));
    let digest_info = [0x30, 0x21, 0x30, 9, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0, 4, 20];
    let tail = [&[0][..], &digest_info, &digest].concat();
    let padding = vec![0xff; 256 - 2 - tail.len()];
    assert_eq!(message.to_vec_padded(256).unwrap(), [&[0, 1][..], &padding, &tail].concat());
}

// req-test: CG-5-04, CG-6-01
#[test]
fn keys_of_all_lengths_up_to_4096_bits_verify() {
    for (bits, pem) in [(1024, RSA_1024), (2048, RSA_2048), (3072, RSA_3072), (4096, RSA_4096)] {
        // Without the limit for own keys.
        let key = SigningKey(PKey::private_key_from_pem(pem).unwrap());
        assert_eq!(key.bits(), bits);
        let pds = pds_of(&key.public_key().unwrap());
        let signature = sign_locators(&key, Generation(1), &[locator(1)]).unwrap();
        assert_eq!(signature.len(), bits as usize / 8);
        let verify = |l| verify_locator_signature(&pds, Generation(1), &[l], &signature);
        assert_eq!(verify(locator(1)), Ok(()));
        assert_eq!(verify(locator(2)), Err(SignatureError::Mismatch));
    }
}

// req-test: S6-16-01
#[test]
fn keys_outside_the_lengths_are_refused() {
    assert_eq!(SigningKey::generate(1023).unwrap_err(), KeyError::TooShort(1023));
    assert_eq!(SigningKey::generate(3073).unwrap_err(), KeyError::TooLong(3073));
    let pem = Rsa::generate(512).unwrap().private_key_to_pem().unwrap();
    assert_eq!(SigningKey::from_pem(&pem).unwrap_err(), KeyError::TooShort(512));
    assert!(SigningKey::from_pem(RSA_3072).is_ok());
    assert_eq!(SigningKey::from_pem(RSA_4096).unwrap_err(), KeyError::TooLong(4096));
    assert_eq!(SigningKey::generate(1024).unwrap().bits(), 1024);

    // What a peer signs with a short key is not even looked at.
    let short = SigningKey(PKey::from_rsa(Rsa::generate(512).unwrap()).unwrap());
    let signature = sign_locators(&short, Generation(1), &[]).unwrap();
    let pds = pds_of(&short.public_key().unwrap());
    let expected = SignatureError::Key(VerifyError::KeyTooShort(512));
    assert_eq!(verify_locator_signature(&pds, Generation(1), &[], &signature), Err(expected));
}

#[test]
fn pem_goes_round_and_other_things_are_refused() {
    let key = SigningKey::from_pem(RSA_1024).unwrap();
    let pem = key.to_pem().unwrap();
    assert!(pem.starts_with(b"-----BEGIN PRIVATE KEY-----"));
    let again = SigningKey::from_pem(&pem).unwrap();
    assert_eq!(again.public_key().unwrap(), key.public_key().unwrap());

    let refused = |pem: &[u8]| SigningKey::from_pem(pem).unwrap_err();
    assert_eq!(refused(b""), KeyError::Pem);
    assert_eq!(refused(&RSA_1024[..RSA_1024.len() / 2]), KeyError::Pem);
    let public = key.0.public_key_to_pem().unwrap();
    assert_eq!(refused(&public), KeyError::Pem);
    let locked = key.0.private_key_to_pem_pkcs8_passphrase(Cipher::aes_128_cbc(), b"secret");
    assert_eq!(refused(&locked.unwrap()), KeyError::Pem);
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let ec = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    assert_eq!(refused(&ec.private_key_to_pem_pkcs8().unwrap()), KeyError::NotRsa);
}

// req-test: CG-7.4-01
#[test]
fn the_private_key_is_not_shown() {
    let key = SigningKey::from_pem(RSA_1024).unwrap();
    assert_eq!(format!("{key:?}"), "SigningKey(1024 bits)");
}

#[test]
fn a_policy_against_sha1_is_told_from_other_failures() {
    let sha1 = MessageDigest::sha1().type_();
    let failure = || Err(ErrorStack::get());
    let policy = |d: MessageDigest| if d.type_() == sha1 { failure() } else { Ok(()) };
    assert!(matches!(sha1_or_forbidden(policy), Err(Sha1Error::Forbidden)));
    let broken = |_| -> Result<(), ErrorStack> { failure() };
    assert!(matches!(sha1_or_forbidden(broken), Err(Sha1Error::Other(_))));
    assert!(matches!(sha1_or_forbidden(|_| Ok(3)), Ok(3)));
}
