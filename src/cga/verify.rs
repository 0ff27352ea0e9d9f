//! Verification: is an address bound to a CGA Parameters data structure, and may a locator list be believed?
//!
//! | Function | RFC | Question |
//! |---|---|---|
//! | [`verify_binding`] | 3972, 5 | does this PDS make this very address? |
//! | [`verify_cga`] | 3972, 5 and 5533, 16 | … and is its key one that may vouch for other locators? |
//! | [`verify_hba`] | 5535, 7.2 | is the address a member of the set that the PDS describes? |
//! | [`verify_list`] | 5533, 7.2 | all of it, for a ULID and a whole locator list |

use std::fmt;
use std::net::Ipv6Addr;

use crate::addr::{Generation, Locator, Prefix, Ulid};
use crate::wire::option::VerificationMethod;

use super::hash::{self, HASH1_MASK, Sec};
use super::pds::Pds;
use super::signature::{SignatureError, verify_locator_signature};

/// The highest valid collision count.
// req: CG-3-02
pub const MAX_COLLISION_COUNT: u8 = 2;
/// The shortest RSA modulus of a real key, in bits (RFC 5533, 16).
// req: S6-16-01
pub const MIN_KEY_BITS: u32 = 1024;
/// The longest RSA modulus that is worked with, in bits: nothing longer fits a Shim6 message with its signature.
// req: CG-5-04
pub const MAX_KEY_BITS: u32 = 8192;
/// The longest public exponent in bits: bounds what a stranger's signature costs to check.
pub const MAX_EXPONENT_BITS: u32 = 64;

/// By what a locator is bound to the ULID (RFC 5533, 5.15.2): the two verification methods.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Proof {
    /// Membership in the HBA set of the PDS.
    Hba,
    /// The signature made with the key in the PDS.
    Cga,
}

impl From<Proof> for VerificationMethod {
    fn from(proof: Proof) -> VerificationMethod {
        match proof {
            Proof::Hba => VerificationMethod::Hba,
            Proof::Cga => VerificationMethod::Cga,
        }
    }
}

impl TryFrom<VerificationMethod> for Proof {
    /// The method as received, which is none that anything is verified by.
    type Error = VerificationMethod;

    fn try_from(method: VerificationMethod) -> Result<Proof, VerificationMethod> {
        match method {
            VerificationMethod::Hba => Ok(Proof::Hba),
            VerificationMethod::Cga => Ok(Proof::Cga),
            VerificationMethod::Unknown(_) => Err(method),
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proof::Hba => "HBA",
            Proof::Cga => "CGA",
        })
    }
}

/// Why an address is not bound to a PDS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VerifyError {
    /// The collision count is above 2.
    CollisionCount(u8),
    /// The PDS is for another subnet prefix.
    PrefixMismatch,
    /// The interface identifier is not made from the PDS.
    Hash1Mismatch,
    /// The address claims a security parameter without a registered procedure, 3 to 7.
    UnsupportedSec(u8),
    /// Hash2 lacks the zero bits that the address's security parameter demands.
    Hash2Mismatch,
    /// HBA is claimed, but the PDS has no Multi-Prefix extension.
    NoMultiPrefix,
    /// The address's prefix is not in the set.
    PrefixNotInSet,
    /// CGA is claimed, but the PDS holds a random number instead of a key (P = 0).
    NoPublicKey,
    /// The RSA key has fewer than 1024 bits (the number given).
    KeyTooShort(u32),
    /// The RSA modulus or exponent is longer than what is worked with (bits of the modulus given).
    KeyTooLong(u32),
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VerifyError::CollisionCount(n) => write!(f, "collision count {n} is above 2"),
            VerifyError::PrefixMismatch => f.write_str("the parameters are for another prefix"),
            VerifyError::Hash1Mismatch => {
                f.write_str("the interface identifier is not made from these parameters (Hash1)")
            }
            VerifyError::UnsupportedSec(n) => write!(f, "security parameter {n} is not registered"),
            VerifyError::Hash2Mismatch => {
                f.write_str("the parameters lack the work that the address claims (Hash2)")
            }
            VerifyError::NoMultiPrefix => f.write_str("the parameters describe no HBA set"),
            VerifyError::PrefixNotInSet => f.write_str("the prefix is not in the HBA set"),
            VerifyError::NoPublicKey => f.write_str("the HBA set holds no public key"),
            VerifyError::KeyTooShort(n) => {
                write!(f, "an RSA key of {n} bits; at least {MIN_KEY_BITS} are required")
            }
            VerifyError::KeyTooLong(n) => write!(f, "an RSA key of {n} bits is too long"),
        }
    }
}

impl std::error::Error for VerifyError {}

/// CGA verification of `addr` against the structure as if its Subnet Prefix were `prefix`; the steps in the RFC's
/// order, the first failure ends it.
// req: CG-5-01, CG-5-02, CG-5-03, CG-3-02, CG4982-5-01, HB-6-01
fn check(pds: &Pds, prefix: Prefix, addr: Ipv6Addr) -> Result<(), VerifyError> {
    if pds.collision_count() > MAX_COLLISION_COUNT {
        return Err(VerifyError::CollisionCount(pds.collision_count()));
    }
    if prefix != Prefix::of(addr) {
        return Err(VerifyError::PrefixMismatch);
    }
    let iid = u128::from(addr) as u64;
    if (hash::hash1(pds, prefix) ^ iid) & HASH1_MASK != 0 {
        return Err(VerifyError::Hash1Mismatch);
    }
    let sec = Sec::of(addr).map_err(VerifyError::UnsupportedSec)?;
    // Hash2 of Sec 0 cannot fail, so it is not computed.
    if sec != Sec::ZERO && !hash::hash2_satisfies(&hash::hash2(pds), sec) {
        return Err(VerifyError::Hash2Mismatch);
    }
    Ok(())
}

/// Checks that the key field holds a key and that its length is within what RFC 5533 allows.
///
/// The random number of an HBA-only set is no key: the minimum is not for it.
///
/// # Errors
/// [`VerifyError::NoPublicKey`], [`VerifyError::KeyTooShort`], [`VerifyError::KeyTooLong`].
// req: S6-16-01, CG-5-04
pub fn check_key(pds: &Pds) -> Result<(), VerifyError> {
    let Some((bits, exponent_bits)) = pds.rsa_bits().filter(|_| pds.has_real_key()) else {
        return Err(VerifyError::NoPublicKey);
    };
    if bits < MIN_KEY_BITS {
        return Err(VerifyError::KeyTooShort(bits));
    }
    if bits > MAX_KEY_BITS || exponent_bits > MAX_EXPONENT_BITS {
        return Err(VerifyError::KeyTooLong(bits));
    }
    Ok(())
}

/// Plain CGA verification (RFC 3972, 5; RFC 5535, 7.1): this PDS makes this address. Says nothing about the key.
///
/// # Errors
/// The first step that fails.
// req: CG-5-01, HB-7.1-01
pub fn verify_binding(pds: &Pds, addr: Ipv6Addr) -> Result<(), VerifyError> {
    check(pds, pds.prefix(), addr)
}

/// Verifies that `addr` is a CGA of this PDS, whose key may vouch for other locators.
///
/// # Errors
/// The first step that fails; then those of [`check_key`].
// req: S6-16-01, S6-3-02
pub fn verify_cga(pds: &Pds, addr: Ipv6Addr) -> Result<(), VerifyError> {
    verify_binding(pds, addr)?;
    check_key(pds)
}

/// HBA verification (RFC 5535, 7.2): `addr` is a member of the set that this PDS, of any member, describes.
///
/// # Errors
/// The first step that fails; for a set with a real key (P = 1) also a bad length of that key.
// req: HB-7.2-01, HB-7.2-02, HB-7.2-03, HB-6-06, HB-8-01, HB-9-01, S6-3-01
pub fn verify_hba(pds: &Pds, addr: Ipv6Addr) -> Result<(), VerifyError> {
    let set = pds.multi_prefix().ok_or(VerifyError::NoMultiPrefix)?;
    let prefix = Prefix::of(addr);
    if !set.prefixes.contains(&prefix) {
        return Err(VerifyError::PrefixNotInSet);
    }
    check(pds, prefix, addr)?;
    if set.p_flag { check_key(pds) } else { Ok(()) }
}

/// Why a locator list is not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListError {
    /// The ULID is not bound to the PDS.
    Ulid(VerifyError),
    /// The entry with this index (from 0) is not what its method claims, or its method does not fit the PDS.
    Entry(usize, VerifyError),
    /// The signature over the entries with method CGA is missing; the index is that of the first of them.
    NoSignature(usize),
    /// The signature is wrong; the index is that of the first entry with method CGA.
    Signature(usize, SignatureError),
}

impl ListError {
    /// Index of the locator list's entry whose verification method is at fault, for the pointer of an Error
    /// message with code 2; `None` if it is the ULID.
    pub fn entry(&self) -> Option<usize> {
        match self {
            ListError::Ulid(_) => None,
            ListError::Entry(i, _) | ListError::NoSignature(i) | ListError::Signature(i, _) => {
                Some(*i)
            }
        }
    }
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListError::Ulid(e) => write!(f, "the ULID is not bound: {e}"),
            ListError::Entry(i, e) => write!(f, "locator {}: {e}", i + 1),
            ListError::NoSignature(i) => {
                write!(f, "locator {} uses CGA, but there is no signature", i + 1)
            }
            ListError::Signature(_, e) => write!(f, "signature over the locators: {e}"),
        }
    }
}

impl std::error::Error for ListError {}

/// Verifies a peer's ULID against the PDS it sent.
///
/// A PDS of another member of the same HBA set is taken too: only the prefix differs, and the same key is bound.
///
/// # Errors
/// That of HBA verification if the PDS describes a set with the ULID's prefix, else that of CGA verification.
pub fn verify_ulid(pds: &Pds, ulid: Ulid) -> Result<(), VerifyError> {
    match pds.multi_prefix() {
        Some(set) if set.prefixes.contains(&Prefix::of(ulid.0)) => verify_hba(pds, ulid.0),
        Some(set) if !set.p_flag => Err(VerifyError::PrefixNotInSet),
        _ => verify_cga(pds, ulid.0),
    }
}

/// Verifies a ULID and its whole locator list; one bad entry condemns the list.
///
/// Entries with method HBA are checked by hash; those with method CGA need `signature`, made over them in list order
/// with the key that is bound to the ULID. A list without CGA entries needs none, and one that is present is not
/// looked at.
///
/// # Errors
/// The first thing found wrong.
// req: HB-4-02, CG-6-02, S6-3-01, S6-3-02, S6-5.15.5-03
pub fn verify_list(
    pds: &Pds,
    ulid: Ulid,
    generation: Generation,
    list: &[(Proof, Locator)],
    signature: Option<&[u8]>,
) -> Result<(), ListError> {
    verify_ulid(pds, ulid).map_err(ListError::Ulid)?;
    let mut signed = Vec::new();
    let mut first_signed = None;
    for (i, &(proof, locator)) in list.iter().enumerate() {
        match proof {
            Proof::Hba => verify_hba(pds, locator.0).map_err(|e| ListError::Entry(i, e))?,
            Proof::Cga => {
                check_key(pds).map_err(|e| ListError::Entry(i, e))?;
                first_signed.get_or_insert(i);
                signed.push(locator);
            }
        }
    }
    let Some(first) = first_signed else { return Ok(()) };
    let signature = signature.ok_or(ListError::NoSignature(first))?;
    verify_locator_signature(pds, generation, &signed, signature)
        .map_err(|e| ListError::Signature(first, e))
}

#[cfg(test)]
mod tests;
