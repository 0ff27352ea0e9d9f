//! The establishment messages I1, R1, I2 and R2 (RFC 5533, 5.4 to 5.7).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-+-------------+-------------+-+
//! |      59       |  Hdr Ext Len  |0|  Type = 1   |  Reserved1  |0|   I1
//! +---------------+---------------+-+-------------+-------------+-+
//! |           Checksum            |R|                             |
//! +-------------------------------+-+                             |
//! |                     Initiator Context Tag                     |
//! +---------------------------------------------------------------+
//! |                        Initiator Nonce                        |
//! +---------------------------------------------------------------+
//! |                            Options                            |
//!
//! +---------------+---------------+-+-------------+-------------+-+
//! |      59       |  Hdr Ext Len  |0|  Type = 2   |  Reserved1  |0|   R1
//! +---------------+---------------+-+-------------+-------------+-+
//! |           Checksum            |           Reserved2           |
//! +-------------------------------+-------------------------------+
//! |                        Initiator Nonce                        |
//! +---------------------------------------------------------------+
//! |                        Responder Nonce                        |
//! +---------------------------------------------------------------+
//! |                            Options                            |
//!
//! +---------------+---------------+-+-------------+-------------+-+
//! |      59       |  Hdr Ext Len  |0|  Type = 3   |  Reserved1  |0|   I2
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
//! +---------------------------------------------------------------+
//! |                            Options                            |
//!
//! +---------------+---------------+-+-------------+-------------+-+
//! |      59       |  Hdr Ext Len  |0|  Type = 4   |  Reserved1  |0|   R2
//! +---------------+---------------+-+-------------+-------------+-+
//! |           Checksum            |R|                             |
//! +-------------------------------+-+                             |
//! |                     Responder Context Tag                     |
//! +---------------------------------------------------------------+
//! |                        Initiator Nonce                        |
//! +---------------------------------------------------------------+
//! |                            Options                            |
//! ```

use super::{MessageType, ParseError, require};
use crate::addr::{ContextTag, InitNonce, ResponderNonce};
use crate::wire::field;
use crate::wire::option::{OptionType, Options, Rules};

/// 1st establishment message: the initiator asks for a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct I1 {
    /// The tag that the initiator picked for the context.
    pub initiator_tag: ContextTag,
    /// Random number that the answer returns.
    pub init_nonce: InitNonce,
    /// Defined here: ULID Pair, Forked Instance Identifier.
    pub options: Options,
}

impl I1 {
    pub(super) const FIXED_LEN: usize = 16;
    const TAG: usize = 6;
    const INIT_NONCE: usize = 12;
    const RULES: Rules =
        Rules { defined: &[OptionType::UlidPair, OptionType::Fii], tolerate_preferences: false };

    // req: S6-5.4-01, S6-5.4-03, S6-5.4-04 (RFC 5533, 5.4)
    pub(super) fn parse(m: &[u8]) -> Result<I1, ParseError> {
        require(m, MessageType::I1, Self::FIXED_LEN)?;
        Ok(I1 {
            initiator_tag: field::tag_at(m, Self::TAG)?,
            init_nonce: InitNonce(field::u32_at(m, Self::INIT_NONCE)?),
            options: Options::parse(m, Self::FIXED_LEN, &Self::RULES)?,
        })
    }

    // req: S6-5.4-01, S6-5.4-02 (RFC 5533, 5.4)
    pub(super) fn emit_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&field::tag_octets(self.initiator_tag));
        out.extend_from_slice(&self.init_nonce.0.to_be_bytes());
    }
}

/// 2nd establishment message: the responder answers without keeping state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R1 {
    /// Copied from the I1.
    pub init_nonce: InitNonce,
    /// Picked by the responder; the I2 returns it.
    pub responder_nonce: ResponderNonce,
    /// Defined here: Responder Validator, which the sender has to include.
    pub options: Options,
}

impl R1 {
    pub(super) const FIXED_LEN: usize = 16;
    const INIT_NONCE: usize = 8;
    const RESPONDER_NONCE: usize = 12;
    const RULES: Rules =
        Rules { defined: &[OptionType::ResponderValidator], tolerate_preferences: false };

    // req: S6-5.5-01, S6-5.5-03, S6-5.5-04 (RFC 5533, 5.5)
    pub(super) fn parse(m: &[u8]) -> Result<R1, ParseError> {
        require(m, MessageType::R1, Self::FIXED_LEN)?;
        Ok(R1 {
            init_nonce: InitNonce(field::u32_at(m, Self::INIT_NONCE)?),
            responder_nonce: ResponderNonce(field::u32_at(m, Self::RESPONDER_NONCE)?),
            options: Options::parse(m, Self::FIXED_LEN, &Self::RULES)?,
        })
    }

    // req: S6-5.5-01, S6-5.5-02 (RFC 5533, 5.5)
    pub(super) fn emit_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.init_nonce.0.to_be_bytes());
        out.extend_from_slice(&self.responder_nonce.0.to_be_bytes());
    }
}

/// 3rd establishment message: the initiator returns the validator and may bring its locators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct I2 {
    /// The tag that the initiator picked for the context.
    pub initiator_tag: ContextTag,
    /// Random number that the R2 returns.
    pub init_nonce: InitNonce,
    /// Copied from the R1.
    pub responder_nonce: ResponderNonce,
    /// Defined here: all eight options.
    pub options: Options,
}

impl I2 {
    pub(super) const FIXED_LEN: usize = 24;
    const TAG: usize = 6;
    const INIT_NONCE: usize = 12;
    const RESPONDER_NONCE: usize = 16;
    /// The options of I2 and I2bis.
    // req: RP-5.3-02 (RFC 5534, 5.3)
    pub(super) const RULES: Rules =
        Rules { defined: OptionType::KNOWN, tolerate_preferences: true };

    // req: S6-5.6-01, S6-5.6-03, S6-5.6-04, S6-5.6-05 (RFC 5533, 5.6)
    pub(super) fn parse(m: &[u8]) -> Result<I2, ParseError> {
        require(m, MessageType::I2, Self::FIXED_LEN)?;
        Ok(I2 {
            initiator_tag: field::tag_at(m, Self::TAG)?,
            init_nonce: InitNonce(field::u32_at(m, Self::INIT_NONCE)?),
            responder_nonce: ResponderNonce(field::u32_at(m, Self::RESPONDER_NONCE)?),
            options: Options::parse(m, Self::FIXED_LEN, &Self::RULES)?,
        })
    }

    // req: S6-5.6-01, S6-5.6-02 (RFC 5533, 5.6)
    pub(super) fn emit_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&field::tag_octets(self.initiator_tag));
        out.extend_from_slice(&self.init_nonce.0.to_be_bytes());
        out.extend_from_slice(&self.responder_nonce.0.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
    }
}

/// 4th establishment message: the responder has the context too. Also answers crossing I1s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R2 {
    /// The tag that the responder picked for the context.
    pub responder_tag: ContextTag,
    /// Copied from the message answered.
    pub init_nonce: InitNonce,
    /// Defined here: Locator List, Locator Preferences, CGA PDS, CGA Signature, Keepalive Timeout.
    pub options: Options,
}

impl R2 {
    pub(super) const FIXED_LEN: usize = 16;
    const TAG: usize = 6;
    const INIT_NONCE: usize = 12;
    // req: RP-5.3-02 (RFC 5534, 5.3)
    const RULES: Rules = Rules {
        defined: &[
            OptionType::LocatorList,
            OptionType::LocatorPreferences,
            OptionType::CgaPds,
            OptionType::CgaSignature,
            OptionType::KeepaliveTimeout,
        ],
        tolerate_preferences: true,
    };

    // req: S6-5.7-01, S6-5.7-03, S6-5.7-04 (RFC 5533, 5.7)
    pub(super) fn parse(m: &[u8]) -> Result<R2, ParseError> {
        require(m, MessageType::R2, Self::FIXED_LEN)?;
        Ok(R2 {
            responder_tag: field::tag_at(m, Self::TAG)?,
            init_nonce: InitNonce(field::u32_at(m, Self::INIT_NONCE)?),
            options: Options::parse(m, Self::FIXED_LEN, &Self::RULES)?,
        })
    }

    // req: S6-5.7-01, S6-5.7-02 (RFC 5533, 5.7)
    pub(super) fn emit_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&field::tag_octets(self.responder_tag));
        out.extend_from_slice(&self.init_nonce.0.to_be_bytes());
    }
}
