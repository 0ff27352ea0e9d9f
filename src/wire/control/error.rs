//! The Error message (RFC 5533, 5.14).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-+-------------+-------------+-+
//! |      59       |  Hdr Ext Len  |0|  Type = 68  | Error Code  |0|
//! +---------------+---------------+-+-------------+-------------+-+
//! |           Checksum            |            Pointer            |
//! +-------------------------------+-------------------------------+
//! |           Packet in error, from its IPv6 header on            |
//! ```

use super::{MessageType, ParseError, require};
use crate::wire::field;
use crate::wire::header::{self, Header};

enum_with_unknown! {
    /// Error codes, 7 bits; 120 to 127 are kept for debugging.
    // req: S6-5.14-04 (RFC 5533, 5.14)
    pub enum ErrorCode(u8) {
        /// Unknown message type.
        UnknownMessageType = 0,
        /// Critical option not recognized.
        CriticalOption = 1,
        /// Locator verification method failed; the Pointer tells which.
        VerificationFailed = 2,
        /// Locator List Generation out of sync.
        GenerationOutOfSync = 3,
        /// Wrong number of locators in a Locator Preferences option.
        PreferencesCount = 4,
    }
}

/// Tells the sender of a message why it could not be processed. Never answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorMessage {
    /// What is wrong.
    pub code: ErrorCode,
    /// Octet offset of the problem in the packet in error, from the start of its IPv6 header.
    pub pointer: u16,
    /// The packet in error, or as much of it as fits: a multiple of 8 octets, 8 to 1232. What is beyond is
    /// not emitted; fewer than 8 octets are filled up with zeros.
    pub quoted: Vec<u8>,
}

impl ErrorMessage {
    /// The most octets that are quoted: the IPv6 packet then has 1280.
    // req: S6-5.14-03 (RFC 5533, 5.14)
    pub const MAX_QUOTED: usize = header::MAX_PACKET - 40 - Self::FIXED_LEN;
    pub(super) const FIXED_LEN: usize = 8;
    const MIN_QUOTED: usize = 8;
    const POINTER: usize = 6;

    /// The Error about the IPv6 packet `packet`, whose Shim6 header is at octet `shim6_offset`, for a problem at
    /// `offset` from there (see [`ParseError::reply`]).
    // req: S6-5.14-02, S6-5.14-03 (RFC 5533, 5.14)
    pub fn about(
        packet: &[u8],
        shim6_offset: usize,
        (code, offset): (ErrorCode, usize),
    ) -> ErrorMessage {
        let len = Self::quoted_len(packet.len()).min(packet.len());
        ErrorMessage {
            code,
            pointer: u16::try_from(shim6_offset.saturating_add(offset)).unwrap_or(u16::MAX),
            quoted: packet[..len].to_vec(),
        }
    }

    /// Octets emitted for a packet of `len` octets: Hdr Ext Len is all the length the message has, so it is a
    /// multiple of 8.
    fn quoted_len(len: usize) -> usize {
        (len.min(Self::MAX_QUOTED) / 8 * 8).max(Self::MIN_QUOTED)
    }

    // req: S6-5.14-01 (RFC 5533, 5.14)
    pub(super) fn parse(header: &Header<'_>, m: &[u8]) -> Result<ErrorMessage, ParseError> {
        require(m, MessageType::Error, Self::FIXED_LEN + Self::MIN_QUOTED)?;
        Ok(ErrorMessage {
            code: header.specific().into(),
            pointer: field::u16_at(m, Self::POINTER)?,
            quoted: m.get(Self::FIXED_LEN..).unwrap_or_default().to_vec(),
        })
    }

    // req: S6-5.14-01, S6-5.14-03 (RFC 5533, 5.14)
    pub(super) fn emit_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.pointer.to_be_bytes());
        let len = Self::quoted_len(self.quoted.len());
        let end = out.len() + len;
        out.extend_from_slice(&self.quoted[..len.min(self.quoted.len())]);
        out.resize(end, 0);
    }

    /// Octets of the message when emitted.
    pub(super) fn emitted_len(&self) -> usize {
        Self::FIXED_LEN + Self::quoted_len(self.quoted.len())
    }
}
