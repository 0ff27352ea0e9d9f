//! The CGA Parameters data structure (RFC 3972, 3), which Shim6 carries as the CGA PDS option (RFC 5533, 5.15.4).
//!
//! ```text
//! octet 0        16              24     25                    25 + k
//!       +--------+---------------+------+---------------------+-----------------------+
//!       |Modifier| Subnet Prefix | Coll.| Public Key (DER, k) | Extension Fields ...  |
//!       +--------+---------------+------+---------------------+-----------------------+
//!
//! Extension Field (RFC 4581, 2):  16-bit type | 16-bit length of the data | data
//!
//! Multi-Prefix extension (RFC 5535, 5):
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! |         type = 0x0012         |        length = 4 + 8 n       |
//! +-+-----------------------------+-------------------------------+
//! |P|                          Reserved                           |
//! +-+-------------------------------------------------------------+
//! |                       Prefix[1], 64 bits                      |
//! |                              ...                              |
//! ```

use std::fmt;
use std::ops::Range;

use crate::addr::Prefix;

use super::der::{self, DerError, RsaPublicKey};

/// Octets of the modifier.
pub const MODIFIER_LEN: usize = 16;
/// Where the subnet prefix stands.
const PREFIX: Range<usize> = 16..24;
/// Where the collision count stands.
const COLLISION_COUNT: usize = 24;
/// Where the public key starts.
pub const KEY_OFFSET: usize = 25;
/// The longest structure that the length field of an option can announce.
pub const MAX_LEN: usize = 0xffff;
/// Extension type of the Multi-Prefix extension.
// req: HB-5-01
pub const MULTI_PREFIX_TYPE: u16 = 0x0012;
/// The P flag in the first octet of the Multi-Prefix extension's data.
const P_FLAG: u8 = 0x80;

/// Why octets are not a usable CGA Parameters data structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PdsError {
    /// Shorter than modifier, prefix and collision count.
    Truncated,
    /// Longer than an option can carry.
    TooLong,
    /// The public key is not exact DER of an RSA key.
    Key(DerError),
    /// An extension field's length runs past the end, or a partial header remains.
    Extension,
    /// The Multi-Prefix extension's length is not 4 + 8n with n of at least 1.
    MultiPrefixLength(u16),
    /// More than one Multi-Prefix extension: which set is meant cannot be told.
    SecondMultiPrefix,
}

impl fmt::Display for PdsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PdsError::Truncated => f.write_str("CGA parameters are shorter than their fixed part"),
            PdsError::TooLong => f.write_str("CGA parameters are longer than an option can be"),
            PdsError::Key(e) => write!(f, "public key in the CGA parameters: {e}"),
            PdsError::Extension => f.write_str("an extension field of the CGA parameters is cut"),
            PdsError::MultiPrefixLength(n) => {
                write!(f, "the Multi-Prefix extension announces {n} octets, not 4 + 8n")
            }
            PdsError::SecondMultiPrefix => f.write_str("two Multi-Prefix extensions"),
        }
    }
}

impl std::error::Error for PdsError {}

/// The Multi-Prefix extension (RFC 5535, 5): the prefixes of an HBA set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MultiPrefix {
    /// Set if the key field holds a real public key, clear if it holds a random number.
    pub p_flag: bool,
    /// Prefix[1..n], in the order in which they were hashed; at least one.
    pub prefixes: Vec<Prefix>,
}

impl MultiPrefix {
    /// Reads the extension's data; Reserved is ignored (it stays part of what is hashed).
    // req: HB-5-01, HB-5-02, HB-5-04
    fn parse(data: &[u8]) -> Option<MultiPrefix> {
        let (flags, prefixes) = data.split_first_chunk::<4>()?;
        let (prefixes, rest) = prefixes.as_chunks::<8>();
        if prefixes.is_empty() || !rest.is_empty() {
            return None;
        }
        Some(MultiPrefix {
            p_flag: flags[0] & P_FLAG != 0,
            prefixes: prefixes.iter().map(|p| Prefix(*p)).collect(),
        })
    }

    /// The extension field, header included, Reserved zero.
    // req: HB-5-01, HB-5-02, HB-5-03, HB-5-04, CG4581-2-01
    pub fn emit(&self) -> Vec<u8> {
        let len = 4 + 8 * self.prefixes.len();
        debug_assert!(len <= MAX_LEN);
        let mut out = Vec::with_capacity(4 + len);
        out.extend(MULTI_PREFIX_TYPE.to_be_bytes());
        out.extend((len as u16).to_be_bytes());
        out.extend([if self.p_flag { P_FLAG } else { 0 }, 0, 0, 0]);
        for prefix in &self.prefixes {
            out.extend(prefix.0);
        }
        out
    }
}

/// A parsed CGA Parameters data structure. Its octets are kept as received, because both hashes run over them.
// req: CG-3-01
#[derive(Clone)]
pub struct Pds {
    octets: Vec<u8>,
    key: Range<usize>,
    /// The RSA numbers, if the key field holds an RSAPublicKey: lengths in bits of modulus and exponent.
    rsa_bits: Option<(u32, u32)>,
    multi_prefix: Option<MultiPrefix>,
}

impl Pds {
    /// Reads a structure that fills `octets`.
    ///
    /// A collision count above 2 is kept, since it is verification that must fail on it. The number in the key
    /// field of an HBA-only set (P = 0) is never used as a key and is taken in whatever form it has inside the
    /// BIT STRING; a real key has to be an RSAPublicKey.
    ///
    /// # Errors
    /// See [`PdsError`]; nothing is allocated in proportion to anything but `octets` itself.
    // req: CG-3-01, CG-3-03, CG-3-04, CG4581-2-01, CG4581-3-01
    pub fn parse(octets: &[u8]) -> Result<Pds, PdsError> {
        if octets.len() > MAX_LEN {
            return Err(PdsError::TooLong);
        }
        let key_and_extensions = octets.get(KEY_OFFSET..).ok_or(PdsError::Truncated)?;
        let (key_len, bits) =
            der::subject_public_key_info(key_and_extensions).map_err(PdsError::Key)?;
        let multi_prefix = parse_extensions(&key_and_extensions[key_len..])?;
        let rsa = der::rsa_public_key(bits);
        if multi_prefix.as_ref().is_none_or(|m| m.p_flag) {
            rsa.map_err(PdsError::Key)?;
        }
        Ok(Pds {
            key: KEY_OFFSET..KEY_OFFSET + key_len,
            rsa_bits: rsa.ok().map(|key: RsaPublicKey<'_>| (key.bits(), key.exponent_bits())),
            multi_prefix,
            octets: octets.to_vec(),
        })
    }

    /// Puts a structure together from its fields.
    ///
    /// # Errors
    /// As [`Pds::parse`].
    // req: HB-6-12
    pub fn assemble(
        modifier: [u8; MODIFIER_LEN],
        prefix: Prefix,
        collision_count: u8,
        public_key: &[u8],
        multi_prefix: Option<&MultiPrefix>,
    ) -> Result<Pds, PdsError> {
        let mut octets = modifier.to_vec();
        octets.extend(prefix.0);
        octets.push(collision_count);
        octets.extend_from_slice(public_key);
        if let Some(extension) = multi_prefix {
            octets.extend(extension.emit());
        }
        Pds::parse(&octets)
    }

    /// The whole structure, as received.
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets
    }

    /// The 128-bit modifier.
    pub fn modifier(&self) -> [u8; MODIFIER_LEN] {
        let mut modifier = [0; MODIFIER_LEN];
        modifier.copy_from_slice(&self.octets[..MODIFIER_LEN]);
        modifier
    }

    /// The Subnet Prefix field.
    pub fn prefix(&self) -> Prefix {
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&self.octets[PREFIX]);
        Prefix(prefix)
    }

    /// The collision count; only 0, 1 and 2 are valid.
    pub fn collision_count(&self) -> u8 {
        self.octets[COLLISION_COUNT]
    }

    /// The public key field: a DER SubjectPublicKeyInfo.
    pub fn public_key(&self) -> &[u8] {
        &self.octets[self.key.clone()]
    }

    /// The extension fields as received, unknown ones included; empty if there are none.
    pub fn extensions(&self) -> &[u8] {
        &self.octets[self.key.end..]
    }

    /// Key and extensions: the part that follows the nine octets which Hash2 takes as zero.
    pub fn key_and_extensions(&self) -> &[u8] {
        &self.octets[KEY_OFFSET..]
    }

    /// The Multi-Prefix extension, if there is one.
    pub fn multi_prefix(&self) -> Option<&MultiPrefix> {
        self.multi_prefix.as_ref()
    }

    /// Whether the key field holds a key that can check signatures: a plain CGA, or an HBA set with P = 1.
    pub fn has_real_key(&self) -> bool {
        self.multi_prefix.as_ref().is_none_or(|m| m.p_flag)
    }

    /// Bits of the RSA modulus and of the public exponent in the key field, whether it is a real key or not;
    /// `None` if the field does not hold an RSAPublicKey (only possible where P = 0).
    pub fn rsa_bits(&self) -> Option<(u32, u32)> {
        self.rsa_bits
    }

    /// The structure's octets with another Subnet Prefix: the PDS of another member of the same set.
    // req: HB-6-06, HB-6-12
    pub fn with_prefix(&self, prefix: Prefix) -> Vec<u8> {
        let mut octets = self.octets.clone();
        octets[PREFIX].copy_from_slice(&prefix.0);
        octets
    }

    /// The same structure with another Subnet Prefix and collision count.
    pub(super) fn replaced(&self, prefix: Prefix, collision_count: u8) -> Pds {
        let mut pds = self.clone();
        pds.octets[PREFIX].copy_from_slice(&prefix.0);
        pds.octets[COLLISION_COUNT] = collision_count;
        pds
    }
}

impl PartialEq for Pds {
    fn eq(&self, other: &Pds) -> bool {
        self.octets == other.octets
    }
}

impl Eq for Pds {}

impl fmt::Debug for Pds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pds")
            .field("modifier", &format_args!("{:032x}", u128::from_be_bytes(self.modifier())))
            .field("prefix", &format_args!("{}", self.prefix()))
            .field("collision_count", &self.collision_count())
            .field("rsa_bits", &self.rsa_bits)
            .field("multi_prefix", &self.multi_prefix)
            .field("octets", &self.octets.len())
            .finish()
    }
}

/// Walks the extension fields; unknown types are skipped unread.
// req: CG-3-04, CG4581-2-01, CG4581-3-01
fn parse_extensions(mut octets: &[u8]) -> Result<Option<MultiPrefix>, PdsError> {
    let mut found = None;
    while !octets.is_empty() {
        let (header, rest) = octets.split_first_chunk::<4>().ok_or(PdsError::Extension)?;
        let [t0, t1, l0, l1] = *header;
        let len = u16::from_be_bytes([l0, l1]);
        let (data, rest) = rest.split_at_checked(usize::from(len)).ok_or(PdsError::Extension)?;
        if u16::from_be_bytes([t0, t1]) == MULTI_PREFIX_TYPE {
            let parsed = MultiPrefix::parse(data).ok_or(PdsError::MultiPrefixLength(len))?;
            if found.replace(parsed).is_some() {
                return Err(PdsError::SecondMultiPrefix);
            }
        }
        octets = rest;
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
