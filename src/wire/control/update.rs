//! Update Request and Update Acknowledgement (RFC 5533, 5.10 and 5.11).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-+-------------+-------------+-+
//! |      59       |  Hdr Ext Len  |0| Type = 64/65|  Reserved1  |0|
//! +---------------+---------------+-+-------------+-------------+-+
//! |           Checksum            |R|                             |
//! +-------------------------------+-+                             |
//! |                     Receiver Context Tag                      |
//! +---------------------------------------------------------------+
//! |                         Request Nonce                         |
//! +---------------------------------------------------------------+
//! |                            Options                            |
//! ```

use super::{MessageType, ParseError, require};
use crate::addr::{ContextTag, RequestNonce};
use crate::wire::field;
use crate::wire::option::{OptionType, Options, Rules};

const TAG: usize = 6;
const REQUEST_NONCE: usize = 12;

/// Replaces the sender's locator list, or its preferences, or both, as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateRequest {
    /// The tag that the receiver picked for the context.
    pub receiver_tag: ContextTag,
    /// Random number that the acknowledgement returns.
    pub request_nonce: RequestNonce,
    /// Defined here: Locator List, Locator Preferences, CGA PDS, CGA Signature, Keepalive Timeout.
    pub options: Options,
}

impl UpdateRequest {
    pub(super) const FIXED_LEN: usize = 16;
    // An update is applied as a whole or not at all, so bad preferences cost the message.
    // req: RP-5.3-02 (RFC 5534, 5.3)
    const RULES: Rules = Rules {
        defined: &[
            OptionType::LocatorList,
            OptionType::LocatorPreferences,
            OptionType::CgaPds,
            OptionType::CgaSignature,
            OptionType::KeepaliveTimeout,
        ],
        tolerate_preferences: false,
    };

    // req: S6-5.10-01, S6-5.10-02 (RFC 5533, 5.10)
    pub(super) fn parse(m: &[u8]) -> Result<UpdateRequest, ParseError> {
        require(m, MessageType::UpdateRequest, Self::FIXED_LEN)?;
        Ok(UpdateRequest {
            receiver_tag: field::tag_at(m, TAG)?,
            request_nonce: RequestNonce(field::u32_at(m, REQUEST_NONCE)?),
            options: Options::parse(m, Self::FIXED_LEN, &Self::RULES)?,
        })
    }

    // req: S6-5.10-01, S6-5.10-02 (RFC 5533, 5.10)
    pub(super) fn emit_fields(&self, out: &mut Vec<u8>) {
        emit_fields(self.receiver_tag, self.request_nonce, out);
    }
}

/// Acknowledges an Update Request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateAck {
    /// The tag that the receiver picked for the context.
    pub receiver_tag: ContextTag,
    /// Copied from the request.
    pub request_nonce: RequestNonce,
    /// None is defined here.
    pub options: Options,
}

impl UpdateAck {
    pub(super) const FIXED_LEN: usize = 16;
    const RULES: Rules = Rules { defined: &[], tolerate_preferences: false };

    // req: S6-5.11-01, S6-5.11-02 (RFC 5533, 5.11)
    pub(super) fn parse(m: &[u8]) -> Result<UpdateAck, ParseError> {
        require(m, MessageType::UpdateAck, Self::FIXED_LEN)?;
        Ok(UpdateAck {
            receiver_tag: field::tag_at(m, TAG)?,
            request_nonce: RequestNonce(field::u32_at(m, REQUEST_NONCE)?),
            options: Options::parse(m, Self::FIXED_LEN, &Self::RULES)?,
        })
    }

    // req: S6-5.11-01, S6-5.11-02 (RFC 5533, 5.11)
    pub(super) fn emit_fields(&self, out: &mut Vec<u8>) {
        emit_fields(self.receiver_tag, self.request_nonce, out);
    }
}

fn emit_fields(tag: ContextTag, nonce: RequestNonce, out: &mut Vec<u8>) {
    out.extend_from_slice(&field::tag_octets(tag));
    out.extend_from_slice(&nonce.0.to_be_bytes());
}
