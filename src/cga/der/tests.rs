use super::*;

/// A key of 1024 bits with an arbitrary modulus.
fn key() -> (Vec<u8>, Vec<u8>) {
    let modulus: Vec<u8> = (0..128).map(|i| 0x81_u8.wrapping_add(i)).collect();
    let spki = encode_subject_public_key_info(&modulus, &[1, 0, 1]);
    (modulus, spki)
}

// req-test: HB-6-02, HB-6-03, HB-6-04, CG-3-03
#[test]
fn openssl_reads_what_is_encoded() {
    for len in [48, 120, 127, 128, 256, 384] {
        let mut modulus = vec![0x5a; len];
        modulus[0] = 0x80;
        let spki = encode_subject_public_key_info(&modulus, &[1, 0, 1]);
        let rsa = openssl::rsa::Rsa::public_key_from_der(&spki).unwrap();
        assert_eq!(rsa.n().to_vec(), modulus);
        assert_eq!(rsa.e().to_vec(), [1, 0, 1]);
        // OpenSSL's own encoding of the same numbers is the same.
        assert_eq!(rsa.public_key_to_der().unwrap(), spki);
    }
}

// req-test: CG-3-01, CG-3-03
#[test]
fn what_is_encoded_is_read_back_and_its_length_found() {
    let (modulus, spki) = key();
    let mut followed = spki.clone();
    followed.extend([0x30, 0x00, 0x12]);
    let (len, bits) = subject_public_key_info(&followed).unwrap();
    assert_eq!(len, spki.len());
    let key = rsa_public_key(bits).unwrap();
    assert_eq!((key.modulus, key.exponent), (&modulus[..], &[1, 0, 1][..]));
    assert_eq!((key.bits(), key.exponent_bits()), (1024, 17));
}

#[test]
fn leading_zeros_are_dropped_and_a_top_bit_guarded() {
    let spki = encode_subject_public_key_info(&[0, 0, 0x7f, 1], &[3]);
    let (_, bits) = subject_public_key_info(&spki).unwrap();
    assert_eq!(bits, [0x30, 7, 2, 2, 0x7f, 1, 2, 1, 3]);
    let spki = encode_subject_public_key_info(&[0, 0x80], &[3]);
    let (_, bits) = subject_public_key_info(&spki).unwrap();
    assert_eq!(bits, [0x30, 7, 2, 2, 0, 0x80, 2, 1, 3]);
}

// req-test: CG-3-03
#[test]
fn every_truncation_is_refused() {
    let (_, spki) = key();
    for len in 0..spki.len() {
        assert_eq!(subject_public_key_info(&spki[..len]), Err(DerError::Truncated), "{len}");
    }
    let (_, bits) = subject_public_key_info(&spki).unwrap();
    for len in 0..bits.len() {
        assert!(rsa_public_key(&bits[..len]).is_err(), "{len}");
    }
}

/// The SubjectPublicKeyInfo of given content octets after the AlgorithmIdentifier.
fn spki_of(algorithm: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push_tlv(&mut out, SEQUENCE, &[algorithm, rest].concat());
    out
}

// req-test: CG-3-03, HB-6-03
#[test]
fn other_algorithms_and_loose_ends_are_refused() {
    let bits = [3, 3, 0, 5, 0];
    assert!(subject_public_key_info(&spki_of(&RSA_ENCRYPTION, &bits)).is_ok());

    // rsassaPss, and rsaEncryption without its NULL.
    let mut pss = RSA_ENCRYPTION;
    pss[12] = 0x0a;
    let error = |octets: &[u8]| subject_public_key_info(octets).unwrap_err();
    assert_eq!(error(&spki_of(&pss, &bits)), DerError::Algorithm);
    let no_null = [&[0x30, 0x0b][..], &RSA_ENCRYPTION[2..13]].concat();
    assert_eq!(error(&spki_of(&no_null, &bits)), DerError::Algorithm);
    assert_eq!(error(&spki_of(&[2, 1, 1], &bits)), DerError::Tag);

    let trailing = [&bits[..], &[0]].concat();
    assert_eq!(error(&spki_of(&RSA_ENCRYPTION, &trailing)), DerError::Trailing);
    assert_eq!(error(&spki_of(&RSA_ENCRYPTION, &[3, 3, 1, 5, 0])), DerError::BitString);
    assert_eq!(error(&spki_of(&RSA_ENCRYPTION, &[3, 1, 0])), DerError::BitString);
    assert_eq!(error(&spki_of(&RSA_ENCRYPTION, &[3, 0])), DerError::BitString);
    assert_eq!(error(&spki_of(&RSA_ENCRYPTION, &[4, 3, 0, 5, 0])), DerError::Tag);
    assert_eq!(error(&[0x31, 0]), DerError::Tag);
}

// req-test: CG-3-03
#[test]
fn lengths_that_ber_allows_are_refused() {
    for octets in [
        &[0x30, 0x80, 0, 0][..],
        &[0x30, 0x81, 0x10, 0],
        &[0x30, 0x82, 0x00, 0xff],
        &[0x30, 0x83, 0x01, 0x00, 0x00],
        &[0x30, 0xff],
    ] {
        assert_eq!(tlv(octets, SEQUENCE), Err(DerError::Length), "{octets:02x?}");
    }
}

// req-test: CG-3-03
#[test]
fn integers_have_to_be_positive_and_minimal() {
    for octets in [
        &[2, 0][..],
        &[2, 1, 0],
        &[2, 1, 0x80],
        &[2, 2, 0, 0x7f],
        &[2, 2, 0, 0],
        &[2, 2, 0xff, 0xff],
    ] {
        assert_eq!(positive_integer(octets), Err(DerError::Integer), "{octets:02x?}");
    }
    assert_eq!(positive_integer(&[2, 1, 1, 9]), Ok((&[1][..], &[9][..])));
    assert_eq!(positive_integer(&[2, 2, 0, 0x80]), Ok((&[0x80][..], &[][..])));
}

// req-test: CG-3-03
#[test]
fn octets_after_either_end_of_the_key_are_refused() {
    let inner = [2, 1, 5, 2, 1, 3];
    let mut good = Vec::new();
    push_tlv(&mut good, SEQUENCE, &inner);
    assert!(rsa_public_key(&good).is_ok());
    let inside = [&[0x30, 8][..], &inner, &[5, 0]].concat();
    assert_eq!(rsa_public_key(&inside), Err(DerError::Trailing));
    let after = [&good[..], &[0]].concat();
    assert_eq!(rsa_public_key(&after), Err(DerError::Trailing));
}
