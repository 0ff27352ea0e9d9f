//! The recovery messages R1bis and I2bis (RFC 5533, 5.8 and 5.9).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-+-------------+-------------+-+
//! |      59       |  Hdr Ext Len  |0|  Type = 5   |  Reserved1  |0|   R1bis
//! +---------------+---------------+-+-------------+-------------+-+
//! |           Checksum            |R|                             |
//! +-------------------------------+-+                             |
//! |                      Packet Context Tag                       |
//! +---------------------------------------------------------------+
//! |                        Responder Nonce                        |
//! +---------------------------------------------------------------+
//! |                            Options                            |
//!
//! +---------------+---------------+-+-------------+-------------+-+
//! |      59       |  Hdr Ext Len  |0|  Type = 6   |  Reserved1  |0|   I2bis
//! +---------------+---------------+-+-------------+-------------+-+
//! |           Checksum            |R|                             |
//! +-------------------------------+-+                             |
//! |                     Initiator Context Tag                     |
//! +---------------------------------------------------------------+
//! |                        Initiator Nonce                        |
//! +---------------------------------------------------------------+
//! |                        Responder Nonce                        |
//! +---------------------------------------------------------------+
//! |                           Reserved2                           |
//! |                                 +-----------------------------+
//! |                 (49 bits)       |                             |
//! +---------------------------------+                             |
//! |                      Packet Context Tag                       |
//! +---------------------------------------------------------------+
//! |                            Options                            |
//! ```

use super::establish::I2;
use super::{MessageType, ParseError, require};
use crate::addr::{ContextTag, InitNonce, ResponderNonce};
use crate::wire::field;
use crate::wire::option::{OptionType, Options, Rules};

/// Answers a packet whose tag is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R1bis {
    /// The tag of the packet answered.
    pub packet_tag: ContextTag,
    /// Picked by the responder; the I2bis returns it.
    pub responder_nonce: ResponderNonce,
    /// Defined here: Responder Validator.
    pub options: Options,
}

impl R1bis {
    pub(super) const FIXED_LEN: usize = 16;
    const TAG: usize = 6;
    const RESPONDER_NONCE: usize = 12;
    const RULES: Rules =
        Rules { defined: &[OptionType::ResponderValidator], tolerate_preferences: false };

    // req: S6-5.8-01, S6-5.8-02 (RFC 5533, 5.8)
    pub(super) fn parse(m: &[u8]) -> Result<R1bis, ParseError> {
        require(m, MessageType::R1bis, Self::FIXED_LEN)?;
        Ok(R1bis {
            packet_tag: field::tag_at(m, Self::TAG)?,
            responder_nonce: ResponderNonce(field::u32_at(m, Self::RESPONDER_NONCE)?),
            options: Options::parse(m, Self::FIXED_LEN, &Self::RULES)?,
        })
    }

    // req: S6-5.8-01, S6-5.8-02 (RFC 5533, 5.8)
    pub(super) fn emit_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&field::tag_octets(self.packet_tag));
        out.extend_from_slice(&self.responder_nonce.0.to_be_bytes());
    }
}

/// Answers an R1bis: re-establishes the context that the peer has lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct I2bis {
    /// The tag that the sender of this message picked for the context.
    pub initiator_tag: ContextTag,
    /// Random number that the R2 returns.
    pub init_nonce: InitNonce,
    /// Copied from the R1bis.
    pub responder_nonce: ResponderNonce,
    /// Copied from the R1bis: the tag that the peer no longer knows.
    pub packet_tag: ContextTag,
    /// Defined here: all eight options.
    pub options: Options,
}

impl I2bis {
    pub(super) const FIXED_LEN: usize = 32;
    const INITIATOR_TAG: usize = 6;
    const INIT_NONCE: usize = 12;
    const RESPONDER_NONCE: usize = 16;
    // Reserved2 is octets 20 to 25 and the top bit of 26.
    const PACKET_TAG: usize = 26;

    // req: S6-5.9-01, S6-5.9-02 (RFC 5533, 5.9)
    pub(super) fn parse(m: &[u8]) -> Result<I2bis, ParseError> {
        require(m, MessageType::I2bis, Self::FIXED_LEN)?;
        Ok(I2bis {
            initiator_tag: field::tag_at(m, Self::INITIATOR_TAG)?,
            init_nonce: InitNonce(field::u32_at(m, Self::INIT_NONCE)?),
            responder_nonce: ResponderNonce(field::u32_at(m, Self::RESPONDER_NONCE)?),
            packet_tag: field::tag_at(m, Self::PACKET_TAG)?,
            options: Options::parse(m, Self::FIXED_LEN, &I2::RULES)?,
        })
    }

    // req: S6-5.9-01, S6-5.9-02 (RFC 5533, 5.9)
    pub(super) fn emit_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&field::tag_octets(self.initiator_tag));
        out.extend_from_slice(&self.init_nonce.0.to_be_bytes());
        out.extend_from_slice(&self.responder_nonce.0.to_be_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&field::tag_octets(self.packet_tag));
    }
}
