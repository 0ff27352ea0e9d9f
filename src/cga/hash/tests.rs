use super::*;

// req-test: CG-2-01, CG-5-03, CG4982-5-01, CG4982-4.1-01, HB-6-01
#[test]
fn sec_is_the_top_three_bits_and_only_registered_values_are_taken() {
    for value in 0..8_u8 {
        let iid = [value << 5 | 0x1f, 0, 0, 0, 0, 0, 0, 0];
        let addr = Prefix([0x20; 8]).with_iid(iid);
        let zero_bits = Sec::of(addr).map(Sec::zero_bits);
        let expected = [Ok(0), Ok(16), Ok(32), Err(3), Err(4), Err(5), Err(6), Err(7)];
        assert_eq!(zero_bits, expected[usize::from(value)]);
        assert_eq!(Sec::new(value).is_some(), value <= 2);
    }
}

// req-test: HB-6-09, CG-2-02
#[test]
fn interface_identifier_takes_sec_and_clears_u_and_g() {
    assert_eq!(interface_identifier(u64::MAX, Sec::ZERO)[0], 0x1c);
    assert_eq!(interface_identifier(u64::MAX, Sec::ONE)[0], 0x3c);
    assert_eq!(interface_identifier(u64::MAX, Sec::TWO)[0], 0x5c);
    assert_eq!(interface_identifier(0, Sec::TWO), [0x40, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(interface_identifier(u64::MAX, Sec::ZERO)[1..], [0xff; 7]);
    // RFC 3972, Appendix A.
    let iid = interface_identifier(0xfd4a_5bf6_ffb4_ca6c, Sec::ONE);
    assert_eq!(u64::from_be_bytes(iid), 0x3c4a_5bf6_ffb4_ca6c);
}

// req-test: HB-6-07
#[test]
fn hash2_is_compared_in_whole_16_bit_steps() {
    let bits = |zeros: u32| (u32::MAX.checked_shr(zeros).unwrap_or(0)).to_be_bytes();
    for (sec, needed) in [(Sec::ZERO, 0), (Sec::ONE, 16), (Sec::TWO, 32)] {
        for zeros in 0..=32 {
            assert_eq!(hash2_satisfies(&bits(zeros), sec), zeros >= needed, "{sec} {zeros}");
        }
    }
}
