//! The payload extension header (RFC 5533, 5.2).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-+-----------------------------+
//! |  Next Header  |       0       |1|                             |
//! +---------------+---------------+-+                             |
//! |                     Receiver Context Tag                      |
//! +---------------------------------------------------------------+
//! ```

use super::ParseError;
use super::field;
use super::header::Header;
use crate::addr::ContextTag;

/// Octets of the header.
pub const LEN: usize = 8;
/// Offset of the octet that holds P and the upper 7 bits of the tag.
const TAG_OFFSET: usize = 2;

/// A payload extension header: the packet's addresses are locators, the tag names the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PayloadHeader {
    /// The type of what follows: the header that stood here before the shim came.
    pub next_header: u8,
    /// The tag that the packet's receiver picked.
    pub receiver_tag: ContextTag,
}

impl PayloadHeader {
    /// Reads the header at the start of the octets.
    ///
    /// # Errors
    /// [`ParseError::TooShort`], [`ParseError::NotPayload`], or [`ParseError::PayloadHeaderLength`] if Hdr Ext
    /// Len is not 0: all to be dropped silently.
    // req: S6-5.2-03 (RFC 5533, 5.2)
    pub fn parse(octets: &[u8]) -> Result<PayloadHeader, ParseError> {
        let header = Header::new(octets)?;
        if !header.is_payload() {
            return Err(ParseError::NotPayload);
        }
        if header.len() != LEN {
            return Err(ParseError::PayloadHeaderLength);
        }
        Ok(PayloadHeader {
            next_header: header.next_header(),
            receiver_tag: field::tag_at(octets, TAG_OFFSET)?,
        })
    }

    /// The header's octets.
    // req: S6-5.2-01 (RFC 5533, 5.2)
    pub fn emit(&self) -> [u8; LEN] {
        let [t0, t1, t2, t3, t4, t5] = field::tag_octets(self.receiver_tag);
        [self.next_header, 0, 0x80 | t0, t1, t2, t3, t4, t5]
    }
}
