//! Which context a quoted packet belongs to: Shim6 Error messages and ICMPv6 errors quote what we sent.
//!
//! A quote may be cut anywhere and its checksum cannot be relied on, so only fixed fields are read.

use super::control::MessageType;
use super::field;
use super::header::Header;
use super::ipv6::walk;
use super::payload::PayloadHeader;
use crate::addr::{ContextTag, InitNonce, Locator, RequestNonce};

const RECEIVER_TAG: usize = 6;
const REQUEST_NONCE: usize = 12;
const R1_INIT_NONCE: usize = 8;
const INIT_NONCE: usize = 12;

/// A quoted packet that holds a Shim6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quote {
    /// Its source address.
    pub src: Locator,
    /// Its destination address.
    pub dst: Locator,
    /// Offset of the Shim6 header in the quote.
    pub shim6_offset: usize,
    /// What the Shim6 header is.
    pub header: QuotedHeader,
}

/// The Shim6 header of a quoted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuotedHeader {
    /// A payload extension header.
    Payload {
        /// The tag that the quoted packet's receiver picked.
        receiver_tag: ContextTag,
    },
    /// A message about an established context: Update Request, Update Acknowledgement, Keepalive or Probe.
    Context {
        /// Which.
        kind: MessageType,
        /// The tag that the quoted packet's receiver picked.
        receiver_tag: ContextTag,
        /// The Request Nonce of an Update Request or Update Acknowledgement.
        request_nonce: Option<RequestNonce>,
    },
    /// I1, R1, I2, R2 or I2bis.
    Establishment {
        /// Which.
        kind: MessageType,
        /// Its Initiator Nonce.
        init_nonce: InitNonce,
    },
    /// R1bis, Error or an unknown type.
    Other {
        /// Which.
        kind: MessageType,
    },
}

impl Quote {
    /// Reads a quoted packet, which starts at its IPv6 header. `None` if it shows no Shim6 header.
    // req: S6-12.4-06 (RFC 5533, 12.4)
    pub fn read(packet: &[u8]) -> Option<Quote> {
        let walk = walk(packet).ok()?;
        let shim6_offset = walk.shim6?.place.offset;
        let octets = packet.get(shim6_offset..)?;
        let header = Header::new(octets).ok()?;
        let header = if header.is_payload() {
            let receiver_tag = PayloadHeader::parse(octets).ok()?.receiver_tag;
            QuotedHeader::Payload { receiver_tag }
        } else {
            control(MessageType::from(header.message_type()), octets)?
        };
        let (src, dst) = (Locator(walk.header.src), Locator(walk.header.dst));
        Some(Quote { src, dst, shim6_offset, header })
    }
}

fn control(kind: MessageType, octets: &[u8]) -> Option<QuotedHeader> {
    let init_nonce = |at| field::u32_at(octets, at).ok().map(InitNonce);
    match kind {
        MessageType::UpdateRequest | MessageType::UpdateAck => Some(QuotedHeader::Context {
            kind,
            receiver_tag: field::tag_at(octets, RECEIVER_TAG).ok()?,
            request_nonce: field::u32_at(octets, REQUEST_NONCE).ok().map(RequestNonce),
        }),
        MessageType::Keepalive | MessageType::Probe => Some(QuotedHeader::Context {
            kind,
            receiver_tag: field::tag_at(octets, RECEIVER_TAG).ok()?,
            request_nonce: None,
        }),
        MessageType::R1 => {
            Some(QuotedHeader::Establishment { kind, init_nonce: init_nonce(R1_INIT_NONCE)? })
        }
        MessageType::I1 | MessageType::I2 | MessageType::R2 | MessageType::I2bis => {
            Some(QuotedHeader::Establishment { kind, init_nonce: init_nonce(INIT_NONCE)? })
        }
        MessageType::R1bis | MessageType::Error | MessageType::Unknown(_) => {
            Some(QuotedHeader::Other { kind })
        }
    }
}
