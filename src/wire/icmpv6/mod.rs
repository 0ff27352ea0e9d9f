//! ICMPv6 error messages (RFC 4443) with the length field of RFC 4884.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |     Type      |     Code      |           Checksum            |
//! +---------------+---------------+-------------------------------+
//! |  Packet Too Big: MTU.  Parameter Problem: Pointer.            |
//! |  Destination Unreachable, Time Exceeded: Length, 24 bits zero |
//! +---------------------------------------------------------------+
//! |           The invoking packet, as much of it as fits          |
//! +---------------------------------------------------------------+
//! |         Extensions, if Length (8-octet units) is not 0        |
//! +---------------------------------------------------------------+
//! ```

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::Ipv6Addr;

use super::ipv6::{self, Ipv6Header, protocol};
use super::{ParseError, checksum, field};

/// Octets before the invoking packet.
pub const HEADER_LEN: usize = 8;
/// IPv6 packets with ICMPv6 errors have at most this many octets.
pub const MAX_PACKET: usize = 1280;
/// The most octets after the ICMPv6 header.
const MAX_BODY: usize = MAX_PACKET - ipv6::HEADER_LEN - HEADER_LEN;
/// With extensions, the invoking packet is filled up to at least this many octets (RFC 4884, 4.2).
const MIN_QUOTE_BEFORE_EXTENSIONS: usize = 128;
/// Types from here on are no errors.
const FIRST_INFORMATIONAL: u8 = 128;

const DESTINATION_UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;

const CHECKSUM: std::ops::Range<usize> = 2..4;
const VALUE: usize = 4;

/// Why octets are no ICMPv6 error that can be processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IcmpParseError {
    /// Fewer than 8 octets.
    TooShort,
    /// The checksum is wrong.
    BadChecksum,
    /// Another type than the four errors.
    NotAnError(u8),
    /// The length field claims more octets than there are.
    QuoteLength,
}

impl IcmpParseError {
    /// The reason's name, for counters and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            IcmpParseError::TooShort => "icmp_too_short",
            IcmpParseError::BadChecksum => "icmp_bad_checksum",
            IcmpParseError::NotAnError(_) => "icmp_not_an_error",
            IcmpParseError::QuoteLength => "icmp_quote_length",
        }
    }
}

impl From<ParseError> for IcmpParseError {
    // The field readers know this one error.
    fn from(_: ParseError) -> IcmpParseError {
        IcmpParseError::TooShort
    }
}

impl fmt::Display for IcmpParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason().replace('_', " "))
    }
}

impl std::error::Error for IcmpParseError {}

/// What an ICMPv6 error tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IcmpErrorKind {
    /// Type 1.
    DestinationUnreachable {
        /// 0 no route, 1 prohibited, 2 beyond scope, 3 address, 4 port, 5 source policy, 6 reject route.
        code: u8,
    },
    /// Type 2; its code is 0.
    PacketTooBig {
        /// MTU of the next link, in octets.
        mtu: u32,
    },
    /// Type 3.
    TimeExceeded {
        /// 0 hop limit, 1 reassembly.
        code: u8,
    },
    /// Type 4.
    ParameterProblem {
        /// 0 header field, 1 next header, 2 option.
        code: u8,
        /// Octet offset of the problem in the invoking packet.
        pointer: u32,
    },
}

impl IcmpErrorKind {
    fn type_and_code(self) -> (u8, u8) {
        match self {
            IcmpErrorKind::DestinationUnreachable { code } => (DESTINATION_UNREACHABLE, code),
            IcmpErrorKind::PacketTooBig { .. } => (PACKET_TOO_BIG, 0),
            IcmpErrorKind::TimeExceeded { code } => (TIME_EXCEEDED, code),
            IcmpErrorKind::ParameterProblem { code, .. } => (PARAMETER_PROBLEM, code),
        }
    }

    /// Whether the message has a length field, and so may have extensions (RFC 4884, 4).
    fn has_length(self) -> bool {
        match self {
            IcmpErrorKind::DestinationUnreachable { .. } | IcmpErrorKind::TimeExceeded { .. } => {
                true
            }
            IcmpErrorKind::PacketTooBig { .. } | IcmpErrorKind::ParameterProblem { .. } => false,
        }
    }
}

/// An ICMPv6 error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError<'a> {
    /// What it tells.
    pub kind: IcmpErrorKind,
    /// The invoking packet from its IPv6 header on, as much as there is; with extensions, zero padding included.
    pub quote: &'a [u8],
    /// The extension structure of RFC 4884, not interpreted; empty where there is none.
    pub extensions: &'a [u8],
}

impl<'a> IcmpError<'a> {
    /// Reads the ICMPv6 message `message` that came from `src` to `dst`.
    ///
    /// # Errors
    /// The reason; the packet is then none of ours to change.
    pub fn parse(
        src: Ipv6Addr,
        dst: Ipv6Addr,
        message: &'a [u8],
    ) -> Result<IcmpError<'a>, IcmpParseError> {
        let [kind, code, ..] = field::octets_at::<HEADER_LEN>(message, 0)?;
        let kind = match kind {
            DESTINATION_UNREACHABLE => IcmpErrorKind::DestinationUnreachable { code },
            PACKET_TOO_BIG => IcmpErrorKind::PacketTooBig { mtu: field::u32_at(message, VALUE)? },
            TIME_EXCEEDED => IcmpErrorKind::TimeExceeded { code },
            PARAMETER_PROBLEM => {
                IcmpErrorKind::ParameterProblem { code, pointer: field::u32_at(message, VALUE)? }
            }
            other => return Err(IcmpParseError::NotAnError(other)),
        };
        if checksum::transport(src, dst, protocol::ICMPV6, message) != 0 {
            return Err(IcmpParseError::BadChecksum);
        }
        let body = message.get(HEADER_LEN..).unwrap_or_default();
        let quoted = match kind.has_length() {
            true => usize::from(field::u8_at(message, VALUE)?) * 8,
            false => 0,
        };
        let (quote, extensions): (&[u8], &[u8]) = match quoted {
            0 => (body, &[]),
            n => body.split_at_checked(n).ok_or(IcmpParseError::QuoteLength)?,
        };
        Ok(IcmpError { kind, quote, extensions })
    }

    /// The ICMPv6 message from `src` to `dst`, checksum included, at most 1240 octets: the quote is cut to fit.
    ///
    /// Extensions are sent only in messages with a length field; the quote is then filled up with zeros to at
    /// least 128 octets and a multiple of 8. Extensions that leave no room for that are left out.
    pub fn emit(&self, src: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
        let (kind, code) = self.kind.type_and_code();
        let mut m = vec![kind, code, 0, 0];
        let room = MAX_BODY.saturating_sub(self.extensions.len()) / 8 * 8;
        let with_extensions = self.kind.has_length()
            && !self.extensions.is_empty()
            && room >= MIN_QUOTE_BEFORE_EXTENSIONS;
        if with_extensions {
            let quote = &self.quote[..self.quote.len().min(room)];
            let padded = quote.len().next_multiple_of(8).max(MIN_QUOTE_BEFORE_EXTENSIONS);
            // At most 1232 / 8 = 154.
            m.extend_from_slice(&[(padded / 8) as u8, 0, 0, 0]);
            m.extend_from_slice(quote);
            m.resize(HEADER_LEN + padded, 0);
            m.extend_from_slice(self.extensions);
        } else {
            let value = match self.kind {
                IcmpErrorKind::PacketTooBig { mtu } => mtu,
                IcmpErrorKind::ParameterProblem { pointer, .. } => pointer,
                IcmpErrorKind::DestinationUnreachable { .. }
                | IcmpErrorKind::TimeExceeded { .. } => 0,
            };
            m.extend_from_slice(&value.to_be_bytes());
            m.extend_from_slice(&self.quote[..self.quote.len().min(MAX_BODY)]);
        }
        let sum = checksum::transport(src, dst, protocol::ICMPV6, &m);
        m[CHECKSUM].copy_from_slice(&sum.to_be_bytes());
        m
    }

    /// The whole IPv6 packet from `src` to `dst`, at most 1280 octets.
    pub fn emit_packet(&self, src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8) -> Vec<u8> {
        let message = self.emit(src, dst);
        let header = Ipv6Header {
            traffic_class: 0,
            flow_label: 0,
            // At most 1240.
            payload_length: message.len() as u16,
            next_header: protocol::ICMPV6,
            hop_limit,
            src,
            dst,
        };
        let mut packet = header.emit().to_vec();
        packet.extend_from_slice(&message);
        packet
    }
}

/// The Packet Too Big that `from` sends about the packet `invoking`, as a whole IPv6 packet to its source.
///
/// `None` where RFC 4443, 2.4 (e) forbids an answer (the source names no single node, or the packet is an ICMPv6
/// error itself) and where `invoking` is no IPv6 packet. `mtu` in octets; receivers ignore one below 1280.
pub fn packet_too_big(from: Ipv6Addr, invoking: &[u8], mtu: u32, hop_limit: u8) -> Option<Vec<u8>> {
    let to = Ipv6Header::parse(invoking).ok()?.src;
    if to.is_multicast() || to.is_unspecified() || is_error_packet(invoking) {
        return None;
    }
    let error =
        IcmpError { kind: IcmpErrorKind::PacketTooBig { mtu }, quote: invoking, extensions: &[] };
    Some(error.emit_packet(from, to, hop_limit))
}

/// Whether an IPv6 packet carries, visibly, an ICMPv6 error.
pub fn is_error_packet(packet: &[u8]) -> bool {
    ipv6::walk(packet)
        .ok()
        .and_then(|w| w.upper)
        .filter(|u| u.protocol == protocol::ICMPV6)
        .and_then(|u| packet.get(u.offset))
        .is_some_and(|&kind| kind < FIRST_INFORMATIONAL)
}
