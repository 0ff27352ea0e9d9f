//! Sec, the two hashes and the interface identifier (RFC 3972, 2 to 4; RFC 5535, 6).

use std::fmt;
use std::net::Ipv6Addr;

use openssl::sha::Sha1;

use crate::addr::Prefix;

use super::pds::Pds;

/// The bits of an interface identifier that Hash1 decides: all but Sec (0, 1, 2) and the u and g bits (6, 7).
// req: CG-2-02
pub const HASH1_MASK: u64 = 0x1cff_ffff_ffff_ffff;

/// A registered security parameter: 0, 1 or 2.
///
/// The registry of RFC 4982 binds each Sec value to one procedure. [`Sec::zero_bits`] is that registry here; a value
/// which is not in it is refused, never treated by the older open-ended rule of RFC 3972.
// req: CG4982-5-01, CG4982-4.1-01, HB-6-01
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Sec(u8);

impl Sec {
    /// No work for the owner, 59 bits of protection.
    pub const ZERO: Sec = Sec(0);
    /// About 2^16 hash operations to generate.
    pub const ONE: Sec = Sec(1);
    /// About 2^32 hash operations to generate.
    pub const TWO: Sec = Sec(2);

    /// The parameter, or `None` if no procedure is registered for the value.
    pub fn new(value: u8) -> Option<Sec> {
        (value <= 2).then_some(Sec(value))
    }

    /// Reads the three top bits of an interface identifier.
    ///
    /// # Errors
    /// The value, 3 to 7, if it is not registered.
    // req: CG-2-01, CG-5-03
    pub fn of(addr: Ipv6Addr) -> Result<Sec, u8> {
        let value = addr.octets()[8] >> 5;
        Sec::new(value).ok_or(value)
    }

    /// The number, 0 to 2.
    pub fn value(self) -> u8 {
        self.0
    }

    /// How many of Hash2's leftmost bits have to be zero (SHA-1 for all three values).
    // req: CG4982-5-01
    pub fn zero_bits(self) -> u32 {
        match self.0 {
            0 => 0,
            1 => 16,
            _ => 32,
        }
    }
}

impl fmt::Display for Sec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Hash1: the leftmost 64 bits of SHA-1 over the structure with `prefix` in its Subnet Prefix field.
// req: CG-3-05, CG-5-02, HB-6-08
pub fn hash1(pds: &Pds, prefix: Prefix) -> u64 {
    let mut sha = Sha1::new();
    sha.update(&pds.modifier());
    sha.update(&prefix.0);
    sha.update(&[pds.collision_count()]);
    sha.update(pds.key_and_extensions());
    let [a, b, c, d, e, f, g, h, ..] = sha.finish();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Hash2: the leftmost 112 bits of SHA-1 over modifier, nine zero octets, key and extensions.
// req: CG-3-05, CG-5-02, HB-6-07
pub fn hash2(pds: &Pds) -> [u8; 14] {
    let mut sha = Sha1::new();
    sha.update(&pds.modifier());
    sha.update(&[0; 9]);
    sha.update(pds.key_and_extensions());
    let digest = sha.finish();
    let mut hash2 = [0; 14];
    hash2.copy_from_slice(&digest[..14]);
    hash2
}

/// Whether Hash2, or a whole SHA-1 digest, begins with the zero bits that `sec` demands.
// req: HB-6-07
#[inline]
pub fn hash2_satisfies(hash2: &[u8], sec: Sec) -> bool {
    hash2
        .first_chunk::<4>()
        .is_some_and(|head| u32::from_be_bytes(*head).leading_zeros() >= sec.zero_bits())
}

/// The interface identifier: Hash1 with Sec in its top three bits and the u and g bits zero.
// req: HB-6-09, CG-2-01, CG-4-01
pub fn interface_identifier(hash1: u64, sec: Sec) -> [u8; 8] {
    ((hash1 & HASH1_MASK) | (u64::from(sec.value()) << 61)).to_be_bytes()
}

/// The address that `prefix` gets from the structure: prefix, then interface identifier.
// req: HB-6-10, CG-4-01
pub fn address(pds: &Pds, prefix: Prefix, sec: Sec) -> Ipv6Addr {
    prefix.with_iid(interface_identifier(hash1(pds, prefix), sec))
}

#[cfg(test)]
mod tests;
