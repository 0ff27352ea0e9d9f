//! What all Shim6 headers share (RFC 5533, 5.1 and 5.3).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-+-------------+-------------+-+
//! |  Next Header  |  Hdr Ext Len  |P|    Type     | type-specif.|S|   P = 0: control message
//! +---------------+---------------+-+-------------+-------------+-+
//! |           Checksum            |     type-specific format      |
//! +-------------------------------+-------------------------------+
//! ```
//!
//! The first 17 bits stand in the payload extension header too, where P is 1.

use std::net::Ipv6Addr;

use super::ParseError;
use super::checksum;

/// Octets of the shortest Shim6 header.
pub const MIN_LEN: usize = 8;
/// Octets of the longest message that Hdr Ext Len can express.
pub const MAX_LEN: usize = 256 * 8;
/// The largest IPv6 packet that may carry a control message, headers before the Shim6 header included.
pub const MAX_PACKET: usize = 1280;
/// Next Header of control messages: nothing follows.
pub const NO_NEXT_HEADER: u8 = 59;

/// Offset of Next Header.
pub const NEXT_HEADER_OFFSET: usize = 0;
/// Offset of Hdr Ext Len.
pub const HDR_EXT_LEN_OFFSET: usize = 1;
/// Offset of the octet that holds P and Type.
pub const TYPE_OFFSET: usize = 2;
/// Offset of the octet that holds the 7 type-specific bits and S.
pub const SPECIFIC_OFFSET: usize = 3;
/// Offset of the control messages' checksum.
pub const CHECKSUM_OFFSET: usize = 4;

const P_BIT: u8 = 0x80;
const S_BIT: u8 = 0x01;

/// A view of octets that start with a Shim6 header, known to be at least 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    fixed: [u8; MIN_LEN],
    octets: &'a [u8],
}

impl<'a> Header<'a> {
    /// Views the octets.
    ///
    /// # Errors
    /// [`ParseError::TooShort`] below 8 octets.
    pub fn new(octets: &'a [u8]) -> Result<Header<'a>, ParseError> {
        Ok(Header { fixed: super::field::octets_at(octets, 0)?, octets })
    }

    /// The type of what follows this header.
    pub fn next_header(&self) -> u8 {
        self.fixed[NEXT_HEADER_OFFSET]
    }

    /// Length in 8-octet units, the first 8 octets not counted.
    pub fn hdr_ext_len(&self) -> u8 {
        self.fixed[HDR_EXT_LEN_OFFSET]
    }

    /// Length in octets, 8 to 2048, as the header claims it.
    // req: S6-5.1-01 (RFC 5533, 5.1)
    pub fn len(&self) -> usize {
        (usize::from(self.hdr_ext_len()) + 1) * 8
    }

    /// Never true: a header has at least 8 octets.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// P: true for a payload extension header, false for a control message.
    // req: S6-12-01 (RFC 5533, 5.1; the sentence in section 12 has the two turned round)
    pub fn is_payload(&self) -> bool {
        self.fixed[TYPE_OFFSET] & P_BIT != 0
    }

    /// The 7-bit type of a control message.
    pub fn message_type(&self) -> u8 {
        self.fixed[TYPE_OFFSET] & !P_BIT
    }

    /// The 7 type-specific bits beside S.
    pub fn specific(&self) -> u8 {
        self.fixed[SPECIFIC_OFFSET] >> 1
    }

    /// S: true for HIP.
    pub fn is_hip(&self) -> bool {
        self.fixed[SPECIFIC_OFFSET] & S_BIT != 0
    }

    /// The octets of the header alone, without what follows it.
    ///
    /// # Errors
    /// [`ParseError::LengthBeyondPacket`] if the header claims more octets than there are.
    // req: S6-12.3-02 (RFC 5533, 12.3)
    pub fn message(&self) -> Result<&'a [u8], ParseError> {
        self.octets.get(..self.len()).ok_or(ParseError::LengthBeyondPacket)
    }
}

/// Whether octets start with a payload extension header (P = 1). False below 8 octets.
pub fn is_payload(octets: &[u8]) -> bool {
    Header::new(octets).is_ok_and(|h| h.is_payload())
}

/// Checks all that a control message of any type has to satisfy, and yields it without what follows it.
///
/// # Errors
/// [`ParseError::TooShort`], [`ParseError::NotControl`], [`ParseError::LengthBeyondPacket`],
/// [`ParseError::Hip`] or [`ParseError::BadChecksum`]: all to be dropped silently.
// req: S6-12.3-01, S6-12.3-02, S6-5.3-04, S6-5.3-05, S6-5.3-06, S6-5.3-07 (RFC 5533, 5.3 and 12.3)
pub fn control_message(octets: &[u8]) -> Result<(Header<'_>, &[u8]), ParseError> {
    let header = Header::new(octets)?;
    if header.is_payload() {
        return Err(ParseError::NotControl);
    }
    let message = header.message()?;
    // HIP sums a pseudo-header too, so S has to be looked at before the checksum for the right reason's sake.
    if header.is_hip() {
        return Err(ParseError::Hip);
    }
    if checksum::internet(message) != 0 {
        return Err(ParseError::BadChecksum);
    }
    Ok((header, message))
}

/// Length in octets of the control message at the start of the octets, if it is one (P = 0) that ends within them.
pub fn control_length(octets: &[u8]) -> Option<usize> {
    let header = Header::new(octets).ok()?;
    if header.is_payload() {
        return None;
    }
    header.message().ok().map(<[u8]>::len)
}

/// Checks the addresses of a packet that carries a control message.
///
/// # Errors
/// [`ParseError::BadAddress`] if one is multicast or unspecified.
// req: S6-12.3-03 (RFC 5533, 12.3)
pub fn check_addresses(src: Ipv6Addr, dst: Ipv6Addr) -> Result<(), ParseError> {
    let bad = |a: Ipv6Addr| a.is_multicast() || a.is_unspecified();
    if bad(src) || bad(dst) { Err(ParseError::BadAddress) } else { Ok(()) }
}

/// Starts a control message at the end of `out`: the first 6 octets, length and checksum still 0.
// req: S6-5.3-02, S6-5.3-03, S6-5.3-04 (RFC 5533, 5.3)
pub(super) fn begin(out: &mut Vec<u8>, message_type: u8, specific: u8) {
    out.extend_from_slice(&[NO_NEXT_HEADER, 0, message_type & !P_BIT, specific << 1, 0, 0]);
}

/// Fills in length and checksum of the finished message. Its length is a multiple of 8 in 8..=2048.
// req: S6-5.3-01, S6-5.3-05 (RFC 5533, 5.3)
pub(super) fn finish(message: &mut [u8]) {
    debug_assert!(message.len().is_multiple_of(8) && (MIN_LEN..=MAX_LEN).contains(&message.len()));
    message[HDR_EXT_LEN_OFFSET] = (message.len() / 8 - 1) as u8;
    message[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].fill(0);
    let sum = checksum::internet(message);
    message[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&sum.to_be_bytes());
}
