//! Options of fixed length: ULID Pair, Forked Instance Identifier, Keepalive Timeout.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-----------------------------+-+-------------------------------+
//! |          Type = 6           |0|          Length = 36          |
//! +-----------------------------+-+-------------------------------+
//! |                           Reserved2                           |
//! +---------------------------------------------------------------+
//! |                    Sender ULID (16 octets)                    |
//! +---------------------------------------------------------------+
//! |                   Receiver ULID (16 octets)                   |
//! +---------------------------------------------------------------+
//!
//! +-----------------------------+-+-------------------------------+
//! |          Type = 7           |0|           Length = 4          |
//! +-----------------------------+-+-------------------------------+
//! |                  Forked Instance Identifier                   |
//! +---------------------------------------------------------------+
//!
//! +-----------------------------+-+-------------------------------+
//! |          Type = 10          |0|           Length = 4          |
//! +-----------------------------+-+-------------------------------+
//! |           Reserved            |  Keepalive Timeout (seconds)  |
//! +-------------------------------+-------------------------------+
//! ```

use super::{ParseError, RawOption, field};
use crate::addr::{Fii, Ulid};

/// ULID Pair (RFC 5533, 5.15.6), as the sender of the message sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UlidPairOption {
    /// The ULID of the message's sender.
    pub sender: Ulid,
    /// The ULID of the message's receiver.
    pub receiver: Ulid,
}

const SENDER_OFFSET: usize = 4;
const RECEIVER_OFFSET: usize = 20;

impl UlidPairOption {
    /// Octets of the contents.
    pub const CONTENTS_LEN: usize = 36;

    // req: S6-5.15.6-02, S6-5.15.6-03 (RFC 5533, 5.15.6)
    pub(super) fn parse(raw: &RawOption<'_>) -> Result<UlidPairOption, ParseError> {
        let c = exactly(raw, Self::CONTENTS_LEN)?;
        Ok(UlidPairOption {
            sender: Ulid(field::addr_at(c, SENDER_OFFSET)?),
            receiver: Ulid(field::addr_at(c, RECEIVER_OFFSET)?),
        })
    }

    pub(super) fn emit_contents(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.sender.0.octets());
        out.extend_from_slice(&self.receiver.0.octets());
    }
}

/// The contents, if they have the one length that this option has.
fn exactly<'a>(raw: &RawOption<'a>, len: usize) -> Result<&'a [u8], ParseError> {
    if raw.contents.len() == len {
        Ok(raw.contents)
    } else {
        Err(ParseError::OptionLength { option: raw.option_type, offset: raw.offset })
    }
}

// req: S6-5.15.7-01 (RFC 5533, 5.15.7)
pub(super) fn parse_fii(raw: &RawOption<'_>) -> Result<Fii, ParseError> {
    field::u32_at(exactly(raw, 4)?, 0).map(Fii)
}

// req: RP-5.3-05, RP-5.3-06 (RFC 5534, 5.3)
pub(super) fn parse_keepalive_timeout(raw: &RawOption<'_>) -> Result<u16, ParseError> {
    field::u16_at(exactly(raw, 4)?, 2)
}

pub(super) fn emit_keepalive_timeout(seconds: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&seconds.to_be_bytes());
}
