//! Strict DER of the only public-key form that Shim6 knows: an RSA SubjectPublicKeyInfo (RFC 3279, 2.3.1).
//!
//! ```text
//! SEQUENCE {
//!   SEQUENCE { OBJECT IDENTIFIER rsaEncryption (1.2.840.113549.1.1.1), NULL }
//!   BIT STRING, no unused bits {
//!     SEQUENCE { INTEGER modulus, INTEGER publicExponent }      -- RSAPublicKey
//!   }
//! }
//! ```
//!
//! The length of the key field of a PDS is known only from this encoding, and both hashes run over it, so every
//! freedom that BER leaves is refused: indefinite or padded lengths, non-minimal or negative integers, octets
//! that belong to nothing.

use std::fmt;

/// DER tag of INTEGER.
const INTEGER: u8 = 0x02;
/// DER tag of BIT STRING.
const BIT_STRING: u8 = 0x03;
/// DER tag of SEQUENCE (constructed).
const SEQUENCE: u8 = 0x30;

/// AlgorithmIdentifier of rsaEncryption with its NULL parameters, tag and length included.
// req: HB-6-03
const RSA_ENCRYPTION: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// Why octets are not the DER that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DerError {
    /// The octets end before the structure does.
    Truncated,
    /// Another tag was expected here.
    Tag,
    /// An indefinite, padded or unreasonably long length.
    Length,
    /// The algorithm is not rsaEncryption with NULL parameters.
    Algorithm,
    /// The BIT STRING has unused bits, or no octets at all.
    BitString,
    /// An INTEGER that is empty, padded, zero or negative.
    Integer,
    /// Octets follow inside a structure that should have ended.
    Trailing,
}

impl fmt::Display for DerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DerError::Truncated => "the encoding is cut short",
            DerError::Tag => "an unexpected ASN.1 type",
            DerError::Length => "a length that is not minimal definite DER",
            DerError::Algorithm => "the algorithm is not rsaEncryption",
            DerError::BitString => "the BIT STRING is not a whole number of octets",
            DerError::Integer => "an INTEGER that is not positive and minimal",
            DerError::Trailing => "octets after the end of a structure",
        })
    }
}

impl std::error::Error for DerError {}

/// An RSAPublicKey: big-endian numbers without leading zero octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RsaPublicKey<'a> {
    /// The modulus n.
    pub modulus: &'a [u8],
    /// The public exponent e.
    pub exponent: &'a [u8],
}

impl RsaPublicKey<'_> {
    /// Length of the modulus in bits.
    pub fn bits(&self) -> u32 {
        bit_length(self.modulus)
    }

    /// Length of the public exponent in bits.
    pub fn exponent_bits(&self) -> u32 {
        bit_length(self.exponent)
    }
}

/// Bits of a big-endian number without leading zero octets.
fn bit_length(number: &[u8]) -> u32 {
    match number.first() {
        Some(first) => (number.len() as u32) * 8 - first.leading_zeros(),
        None => 0,
    }
}

/// One tag-length-value: its content and what follows it.
fn tlv(octets: &[u8], tag: u8) -> Result<(&[u8], &[u8]), DerError> {
    let (&found, rest) = octets.split_first().ok_or(DerError::Truncated)?;
    if found != tag {
        return Err(DerError::Tag);
    }
    let (&first, rest) = rest.split_first().ok_or(DerError::Truncated)?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&a, rest) = rest.split_first().ok_or(DerError::Truncated)?;
            if a < 0x80 {
                return Err(DerError::Length);
            }
            (usize::from(a), rest)
        }
        0x82 => {
            let (a, rest) = rest.split_first_chunk::<2>().ok_or(DerError::Truncated)?;
            let len = u16::from_be_bytes(*a);
            if len < 0x100 {
                return Err(DerError::Length);
            }
            (usize::from(len), rest)
        }
        // Indefinite (0x80), or longer than any option can carry.
        _ => return Err(DerError::Length),
    };
    rest.split_at_checked(len).ok_or(DerError::Truncated)
}

/// A positive INTEGER: its magnitude and what follows it.
fn positive_integer(octets: &[u8]) -> Result<(&[u8], &[u8]), DerError> {
    let (content, rest) = tlv(octets, INTEGER)?;
    let magnitude = match content {
        [] | [0] => return Err(DerError::Integer),
        [0, next, ..] if *next < 0x80 => return Err(DerError::Integer),
        [0, magnitude @ ..] => magnitude,
        [first, ..] if *first >= 0x80 => return Err(DerError::Integer),
        magnitude => magnitude,
    };
    Ok((magnitude, rest))
}

/// Length of the SubjectPublicKeyInfo at the front of `octets`, and the content of its BIT STRING.
///
/// What the bits hold is not looked at: see [`rsa_public_key`].
///
/// # Errors
/// Anything but exact DER, or another algorithm than rsaEncryption.
// req: CG-3-03, CG-3-01
pub fn subject_public_key_info(octets: &[u8]) -> Result<(usize, &[u8]), DerError> {
    let (content, rest) = tlv(octets, SEQUENCE)?;
    let bits = match content.strip_prefix(&RSA_ENCRYPTION) {
        Some(bits) => bits,
        None => return Err(tlv(content, SEQUENCE).err().unwrap_or(DerError::Algorithm)),
    };
    let (bits, trailing) = tlv(bits, BIT_STRING)?;
    if !trailing.is_empty() {
        return Err(DerError::Trailing);
    }
    match bits {
        [0, key @ ..] if !key.is_empty() => Ok((octets.len() - rest.len(), key)),
        _ => Err(DerError::BitString),
    }
}

/// Reads an RSAPublicKey that fills `octets`.
///
/// # Errors
/// Anything but exact DER of two positive integers.
// req: CG-3-03
pub fn rsa_public_key(octets: &[u8]) -> Result<RsaPublicKey<'_>, DerError> {
    let (content, trailing) = tlv(octets, SEQUENCE)?;
    let (modulus, content_rest) = positive_integer(content)?;
    let (exponent, content_rest) = positive_integer(content_rest)?;
    if !trailing.is_empty() || !content_rest.is_empty() {
        return Err(DerError::Trailing);
    }
    Ok(RsaPublicKey { modulus, exponent })
}

/// Appends tag, minimal length and content.
fn push_tlv(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    let len = content.len();
    if len < 0x80 {
        out.push(len as u8);
    } else if len < 0x100 {
        out.extend([0x81, len as u8]);
    } else {
        debug_assert!(len <= 0xffff);
        out.push(0x82);
        out.extend((len as u16).to_be_bytes());
    }
    out.extend_from_slice(content);
}

/// Appends a positive INTEGER.
fn push_integer(out: &mut Vec<u8>, magnitude: &[u8]) {
    let zeros = magnitude.iter().take_while(|&&o| o == 0).count();
    let mut content = Vec::with_capacity(magnitude.len() + 1);
    if magnitude.get(zeros).is_none_or(|&first| first >= 0x80) {
        content.push(0);
    }
    content.extend_from_slice(&magnitude[zeros..]);
    push_tlv(out, INTEGER, &content);
}

/// The SubjectPublicKeyInfo of an RSA key, or of a number that only looks like one (RFC 5535, 6).
///
/// Both numbers are big-endian; the modulus is at most 8192 octets long.
// req: HB-6-02, HB-6-03, HB-6-04
pub fn encode_subject_public_key_info(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let mut numbers = Vec::new();
    push_integer(&mut numbers, modulus);
    push_integer(&mut numbers, exponent);
    let mut bits = vec![0];
    push_tlv(&mut bits, SEQUENCE, &numbers);
    let mut content = RSA_ENCRYPTION.to_vec();
    push_tlv(&mut content, BIT_STRING, &bits);
    let mut out = Vec::new();
    push_tlv(&mut out, SEQUENCE, &content);
    out
}

#[cfg(test)]
mod tests;
