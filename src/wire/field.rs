//! Reading fields at fixed places, each read bounded by the slice.

use std::net::Ipv6Addr;

use super::ParseError;
use crate::addr::ContextTag;

/// `N` octets from `at` on.
pub(super) fn octets_at<const N: usize>(b: &[u8], at: usize) -> Result<[u8; N], ParseError> {
    let end = at.checked_add(N).ok_or(ParseError::TooShort)?;
    b.get(at..end).and_then(|s| s.try_into().ok()).ok_or(ParseError::TooShort)
}

/// One octet.
pub(super) fn u8_at(b: &[u8], at: usize) -> Result<u8, ParseError> {
    b.get(at).copied().ok_or(ParseError::TooShort)
}

/// 16 bits in network order.
pub(super) fn u16_at(b: &[u8], at: usize) -> Result<u16, ParseError> {
    octets_at(b, at).map(u16::from_be_bytes)
}

/// 32 bits in network order.
pub(super) fn u32_at(b: &[u8], at: usize) -> Result<u32, ParseError> {
    octets_at(b, at).map(u32::from_be_bytes)
}

/// An IPv6 address.
pub(super) fn addr_at(b: &[u8], at: usize) -> Result<Ipv6Addr, ParseError> {
    octets_at::<16>(b, at).map(Ipv6Addr::from)
}

/// The 47-bit tag in the 6 octets from `at` on; the bit above it (R, or P in the payload header) is left out.
// req: S6-5.2-03 (RFC 5533, 5.2)
pub(super) fn tag_at(b: &[u8], at: usize) -> Result<ContextTag, ParseError> {
    let [a0, a1, a2, a3, a4, a5] = octets_at(b, at)?;
    Ok(ContextTag::from_masked(u64::from_be_bytes([0, 0, a0, a1, a2, a3, a4, a5])))
}

/// The 6 octets of a tag, with the bit above it 0.
pub(super) fn tag_octets(tag: ContextTag) -> [u8; 6] {
    let [_, _, a0, a1, a2, a3, a4, a5] = tag.value().to_be_bytes();
    [a0, a1, a2, a3, a4, a5]
}
