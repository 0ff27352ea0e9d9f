//! Control messages (RFC 5533, 5.4 to 5.14; RFC 5534, 5.1 and 5.2). Layouts stand in the files of the families.

mod error;
mod establish;
mod reap;
mod recover;
mod update;

use std::fmt;

use super::ParseError;
use super::header::{self, Header};
use super::option::Options;

pub use error::{ErrorCode, ErrorMessage};
pub use establish::{I1, I2, R1, R2};
pub use reap::{Keepalive, Probe, ProbeReport, ProbeState};
pub use recover::{I2bis, R1bis};
pub use update::{UpdateAck, UpdateRequest};

enum_with_unknown! {
    /// Message types, 7 bits.
    // req: S6-5.3-09, RP-5.1-01, RP-5.2-01 (RFC 5533, 5.3; RFC 5534, 5.1 and 5.2)
    pub enum MessageType(u8) {
        /// 1st establishment message, from the initiator.
        I1 = 1,
        /// 2nd establishment message, from the responder.
        R1 = 2,
        /// 3rd establishment message, from the initiator.
        I2 = 3,
        /// 4th establishment message, from the responder.
        R2 = 4,
        /// Answer to a reference to a context that does not exist.
        R1bis = 5,
        /// Answer to an R1bis.
        I2bis = 6,
        /// Update Request.
        UpdateRequest = 64,
        /// Update Acknowledgement.
        UpdateAck = 65,
        /// Keepalive (RFC 5534).
        Keepalive = 66,
        /// Probe (RFC 5534).
        Probe = 67,
        /// Error.
        Error = 68,
    }
}

impl MessageType {
    /// Octets before the options of a message without reports; `None` for Error, which has no options.
    fn fixed_len(self) -> Option<usize> {
        match self {
            MessageType::I1 => Some(I1::FIXED_LEN),
            MessageType::R1 => Some(R1::FIXED_LEN),
            MessageType::I2 => Some(I2::FIXED_LEN),
            MessageType::R2 => Some(R2::FIXED_LEN),
            MessageType::R1bis => Some(R1bis::FIXED_LEN),
            MessageType::I2bis => Some(I2bis::FIXED_LEN),
            MessageType::UpdateRequest => Some(UpdateRequest::FIXED_LEN),
            MessageType::UpdateAck => Some(UpdateAck::FIXED_LEN),
            MessageType::Keepalive => Some(Keepalive::FIXED_LEN),
            MessageType::Probe => Some(Probe::FIXED_LEN),
            MessageType::Error | MessageType::Unknown(_) => None,
        }
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageType::UpdateRequest => f.write_str("Update Request"),
            MessageType::UpdateAck => f.write_str("Update Acknowledgement"),
            MessageType::Unknown(n) => write!(f, "type {n}"),
            known => fmt::Debug::fmt(known, f),
        }
    }
}

/// A control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Asks for a context.
    I1(I1),
    /// Answers an I1 without keeping state.
    R1(R1),
    /// Returns the validator and brings the initiator's locators.
    I2(I2),
    /// Ends the establishment.
    R2(R2),
    /// Tells that a tag is not known.
    R1bis(R1bis),
    /// Re-establishes a context that the peer has lost.
    I2bis(I2bis),
    /// Announces locators and preferences.
    UpdateRequest(UpdateRequest),
    /// Acknowledges an Update Request.
    UpdateAck(UpdateAck),
    /// Shows that payload arrives.
    Keepalive(Keepalive),
    /// Tests a locator pair.
    Probe(Probe),
    /// Tells that a message could not be processed.
    Error(ErrorMessage),
}

/// Checks that the message has its fixed part.
fn require(message: &[u8], kind: MessageType, fixed: usize) -> Result<(), ParseError> {
    if message.len() < fixed { Err(ParseError::MessageTooShort(kind)) } else { Ok(()) }
}

/// Where the options of a message start.
pub(super) fn options_offset(header: &Header<'_>, message: &[u8]) -> Option<usize> {
    let kind = MessageType::from(header.message_type());
    let fixed = kind.fixed_len()?;
    match kind {
        MessageType::Probe => Some(fixed + reap::reports_len(message)?),
        _ => Some(fixed),
    }
}

impl Message {
    /// Reads the control message at the start of the octets, which begin at the Shim6 header and end where the
    /// IPv6 packet ends. Octets after the message are ignored, whatever Next Header says. Reserved bits are
    /// ignored.
    ///
    /// # Errors
    /// The reason; [`ParseError::reply`] says whether its sender is told.
    // req: S6-5.3-07, S6-12.3-01, S6-12.3-02, S6-12.3-04 (RFC 5533, 5.3 and 12.3)
    pub fn parse(octets: &[u8]) -> Result<Message, ParseError> {
        let (header, message) = header::control_message(octets)?;
        let m = message;
        Ok(match MessageType::from(header.message_type()) {
            MessageType::I1 => Message::I1(I1::parse(m)?),
            MessageType::R1 => Message::R1(R1::parse(m)?),
            MessageType::I2 => Message::I2(I2::parse(m)?),
            MessageType::R2 => Message::R2(R2::parse(m)?),
            MessageType::R1bis => Message::R1bis(R1bis::parse(m)?),
            MessageType::I2bis => Message::I2bis(I2bis::parse(m)?),
            MessageType::UpdateRequest => Message::UpdateRequest(UpdateRequest::parse(m)?),
            MessageType::UpdateAck => Message::UpdateAck(UpdateAck::parse(m)?),
            MessageType::Keepalive => Message::Keepalive(Keepalive::parse(m)?),
            MessageType::Probe => Message::Probe(Probe::parse(m)?),
            MessageType::Error => Message::Error(ErrorMessage::parse(&header, m)?),
            MessageType::Unknown(n) => return Err(ParseError::UnknownMessageType(n)),
        })
    }

    /// The message's octets, complete with Next Header 59, length and checksum.
    ///
    /// Hdr Ext Len can express 2048 octets; an option that does not fit is left out. Packets with control
    /// messages have to stay within [`header::MAX_PACKET`]: see [`Message::emitted_len`].
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.emitted_len().min(header::MAX_LEN));
        self.emit_into(&mut out);
        out
    }

    /// Appends the message's octets; see [`Message::emit`].
    // req: S6-5.3-01, S6-5.3-02, S6-5.3-03, S6-5.3-05 (RFC 5533, 5.3)
    pub fn emit_into(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let specific = match self {
            Message::Error(e) => e.code.value(),
            _ => 0,
        };
        header::begin(out, self.kind().value(), specific);
        match self {
            Message::I1(m) => m.emit_fields(out),
            Message::R1(m) => m.emit_fields(out),
            Message::I2(m) => m.emit_fields(out),
            Message::R2(m) => m.emit_fields(out),
            Message::R1bis(m) => m.emit_fields(out),
            Message::I2bis(m) => m.emit_fields(out),
            Message::UpdateRequest(m) => m.emit_fields(out),
            Message::UpdateAck(m) => m.emit_fields(out),
            Message::Keepalive(m) => m.emit_fields(out),
            Message::Probe(m) => m.emit_fields(out),
            Message::Error(m) => m.emit_fields(out),
        }
        if let Some(options) = self.options() {
            options.emit_into(out, start + header::MAX_LEN);
        }
        header::finish(&mut out[start..]);
    }

    /// Octets of the message when emitted, as if Hdr Ext Len had no limit: compare with what the packet has
    /// room for before sending.
    pub fn emitted_len(&self) -> usize {
        let options = self.options().map_or(0, Options::emitted_len);
        match self {
            Message::Error(e) => e.emitted_len(),
            Message::Probe(p) => Probe::FIXED_LEN + p.reports_emitted_len() + options,
            other => other.kind().fixed_len().unwrap_or(header::MIN_LEN) + options,
        }
    }

    /// The message's type.
    pub fn kind(&self) -> MessageType {
        match self {
            Message::I1(_) => MessageType::I1,
            Message::R1(_) => MessageType::R1,
            Message::I2(_) => MessageType::I2,
            Message::R2(_) => MessageType::R2,
            Message::R1bis(_) => MessageType::R1bis,
            Message::I2bis(_) => MessageType::I2bis,
            Message::UpdateRequest(_) => MessageType::UpdateRequest,
            Message::UpdateAck(_) => MessageType::UpdateAck,
            Message::Keepalive(_) => MessageType::Keepalive,
            Message::Probe(_) => MessageType::Probe,
            Message::Error(_) => MessageType::Error,
        }
    }

    /// The message's options; an Error has none.
    pub fn options(&self) -> Option<&Options> {
        match self {
            Message::I1(m) => Some(&m.options),
            Message::R1(m) => Some(&m.options),
            Message::I2(m) => Some(&m.options),
            Message::R2(m) => Some(&m.options),
            Message::R1bis(m) => Some(&m.options),
            Message::I2bis(m) => Some(&m.options),
            Message::UpdateRequest(m) => Some(&m.options),
            Message::UpdateAck(m) => Some(&m.options),
            Message::Keepalive(m) => Some(&m.options),
            Message::Probe(m) => Some(&m.options),
            Message::Error(_) => None,
        }
    }
}
