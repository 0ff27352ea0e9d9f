//! The Internet checksum (RFC 1071): for Shim6 messages without, for TCP, UDP and ICMPv6 with a pseudo-header.

use std::net::Ipv6Addr;

/// A one's complement sum of 16-bit words in network order, not complemented, not yet folded.
///
/// Sums of parts add up, so that a checksum can follow from those of its pieces, or be changed for a few
/// octets without reading the rest (RFC 1624).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Sum = Sum(0);

    /// The sum of octets that start at an even offset; an odd last octet counts as the upper half of a word.
    pub fn of(octets: &[u8]) -> Sum {
        // The one's complement sum depends neither on the width it is done in nor, up to the order of the octets of its
        // result, on the byte order (RFC 1071, 2): in the machine's own it takes no work to read a word.
        let (words, rest) = octets.as_chunks::<4>();
        let mut sum: u64 = words.iter().map(|w| u64::from(u32::from_ne_bytes(*w))).sum();
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        sum += u64::from(u32::from_ne_bytes(last));
        Sum(u64::from(u16::from_be(fold(sum))))
    }

    /// The sum of one 16-bit word.
    pub fn word(word: u16) -> Sum {
        Sum(u64::from(word))
    }

    /// The sum of the IPv6 pseudo-header (RFC 8200, 8.1) of an upper-layer packet of `len` octets.
    pub fn pseudo_header(src: Ipv6Addr, dst: Ipv6Addr, len: u32, protocol: u8) -> Sum {
        Sum::of(&src.octets())
            + Sum::of(&dst.octets())
            + Sum::of(&len.to_be_bytes())
            + Sum::word(u16::from(protocol))
    }

    /// This sum, for octets that start at an odd offset: the halves of each word change places.
    pub fn swapped(self) -> Sum {
        Sum(u64::from(self.fold().swap_bytes()))
    }

    /// The sum that, added, takes this one away.
    pub fn negated(self) -> Sum {
        Sum(u64::from(!self.fold()))
    }

    /// The sum of `self` followed by `next`, where `len` octets were summed for `self`.
    pub fn followed_by(self, len: usize, next: Sum) -> Sum {
        if len.is_multiple_of(2) { self + next } else { self + next.swapped() }
    }

    /// The 16-bit one's complement sum.
    pub fn fold(self) -> u16 {
        fold(self.0)
    }

    /// The checksum: the complement of the sum.
    pub fn checksum(self) -> u16 {
        !self.fold()
    }
}

impl std::ops::Add for Sum {
    type Output = Sum;

    fn add(self, other: Sum) -> Sum {
        // Both folded, so the addition cannot overflow however often it is done.
        Sum(u64::from(self.fold()) + u64::from(other.fold()))
    }
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Sum) {
        *self = *self + other;
    }
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The Internet checksum of octets. 0 if they contain their own right checksum; a computed 0 stays 0.
pub fn internet(octets: &[u8]) -> u16 {
    Sum::of(octets).checksum()
}

/// The checksum of an upper-layer packet whose own checksum field is 0 (or, if it is filled in: 0 for right).
///
/// UDP sends a computed 0 as 0xffff: see [`udp`].
pub fn transport(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, packet: &[u8]) -> u16 {
    let len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    (Sum::pseudo_header(src, dst, len, protocol) + Sum::of(packet)).checksum()
}

/// A checksum as UDP over IPv6 sends it, where 0 is not allowed.
pub fn udp(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// A checksum after the octets summed in `old` were replaced by those summed in `new` (RFC 1624).
///
/// Both sums have to be of octets at offsets of the same parity as in the packet.
pub fn replace(checksum: u16, old: Sum, new: Sum) -> u16 {
    (Sum::word(!checksum) + old.negated() + new).checksum()
}

#[cfg(test)]
mod tests;
