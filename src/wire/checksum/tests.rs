use super::*;

/// The sum with end-around carry, 16 bits at a time.
fn naive(octets: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        if sum > 0xffff {
            sum -= 0xffff;
        }
    }
    sum as u16
}

/// Octets that look random and are the same each time.
fn noise(len: usize) -> Vec<u8> {
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x as u8
        })
        .collect()
}

fn addr(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

#[test]
fn sums_of_all_lengths_equal_the_slow_way() {
    let octets = noise(300);
    for len in 0..octets.len() {
        assert_eq!(Sum::of(&octets[..len]).fold(), naive(&octets[..len]), "{len}");
    }
    let ones = vec![0xff; 70_000];
    assert_eq!(Sum::of(&ones).fold(), naive(&ones));
    // RFC 1071's own example.
    assert_eq!(Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]).fold(), 0xddf2);
    assert_eq!(Sum::ZERO.checksum(), 0xffff);
}

#[test]
fn a_sum_follows_from_its_parts_wherever_they_are_cut() {
    let octets = noise(64);
    let whole = Sum::of(&octets).fold();
    for cut in 0..=octets.len() {
        let (a, b) = octets.split_at(cut);
        assert_eq!(Sum::of(a).followed_by(a.len(), Sum::of(b)).fold(), whole, "{cut}");
    }
}

#[test]
fn adding_any_number_of_sums_does_not_overflow() {
    let mut sum = Sum::ZERO;
    for _ in 0..200_000 {
        sum += Sum::word(0xffff);
    }
    assert_eq!(sum.fold(), 0xffff);
}

#[test]
fn transport_checksum_of_a_known_packet() {
    // An ICMPv6 echo request; its words and those of the pseudo-header added up by hand.
    let (src, dst) = (addr("2001:db8::1"), addr("2001:db8::2"));
    let mut packet = vec![128, 0, 0, 0, 0x12, 0x34, 0, 1];
    let pseudo = 2 * (0x2001 + 0x0db8) + 1 + 2 + 8 + 58;
    let words = 0x8000 + 0x1234 + 1 + pseudo;
    let expected = !(((words & 0xffff) + (words >> 16)) as u16);
    let sum = transport(src, dst, 58, &packet);
    assert_eq!(sum, expected);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(transport(src, dst, 58, &packet), 0);
    packet[5] ^= 1;
    assert_ne!(transport(src, dst, 58, &packet), 0);
}

#[test]
fn udp_never_sends_zero() {
    assert_eq!(udp(0), 0xffff);
    assert_eq!(udp(0x1234), 0x1234);
}

#[test]
fn replacing_octets_equals_summing_anew() {
    let (a, b) = (addr("2001:db8:a::1"), addr("2001:db8:b::1"));
    let (c, d) = (addr("2001:db8:c:ffff::1"), addr("2001:db8:d::abcd"));
    for len in [1, 7, 40, 1500] {
        let packet = noise(len);
        let old = transport(a, b, 6, &packet);
        let sum = |x: Ipv6Addr, y: Ipv6Addr| Sum::of(&x.octets()) + Sum::of(&y.octets());
        let new = replace(old, sum(a, b), sum(c, d));
        assert_eq!(new, transport(c, d, 6, &packet));
        assert_eq!(replace(new, sum(c, d), sum(a, b)), old);
    }
    // The length of the pseudo-header, as when a packet is cut.
    let packet = noise(100);
    let old = transport(a, b, 17, &packet);
    let new = replace(old, Sum::word(100) + Sum::of(&packet[60..]), Sum::word(60));
    assert_eq!(new, transport(a, b, 17, &packet[..60]));
}
