//! The IPv6 header and the headers that may follow it (RFC 8200).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+---------------+---------------------------------------+
//! |   6   | Traffic Class |              Flow Label               |
//! +-------+-------+-------+-------+---------------+---------------+
//! |        Payload Length         |  Next Header  |   Hop Limit   |
//! +-------------------------------+---------------+---------------+
//! |                  Source Address (16 octets)                   |
//! +---------------------------------------------------------------+
//! |                Destination Address (16 octets)                |
//! +---------------------------------------------------------------+
//! ```

mod fragment;
#[cfg(test)]
mod tests;
mod walk;

use std::net::Ipv6Addr;
use std::ops::Range;

use super::field;

pub use fragment::Fragment;
pub use walk::{MAX_EXTENSION_HEADERS, Place, Shim6Place, Upper, Walk, WalkError, walk};

/// Octets of the IPv6 header.
pub const HEADER_LEN: usize = 40;
/// Where Payload Length is.
pub const PAYLOAD_LENGTH: Range<usize> = 4..6;
/// Where Next Header is.
pub const NEXT_HEADER: usize = 6;
/// Where Hop Limit is.
pub const HOP_LIMIT: usize = 7;
/// Where the source address is.
pub const SRC: Range<usize> = 8..24;
/// Where the destination address is.
pub const DST: Range<usize> = 24..40;

/// Next Header numbers that matter here.
pub mod protocol {
    /// Hop-by-Hop Options.
    pub const HOP_BY_HOP: u8 = 0;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IPv6.
    pub const IPV6: u8 = 41;
    /// Routing header.
    pub const ROUTING: u8 = 43;
    /// Fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Encapsulating Security Payload.
    pub const ESP: u8 = 50;
    /// Authentication Header.
    pub const AH: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// Nothing follows.
    pub const NO_NEXT_HEADER: u8 = 59;
    /// Destination Options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// Mobility header.
    pub const MOBILITY: u8 = 135;
    /// Shim6.
    pub const SHIM6: u8 = super::super::IPPROTO_SHIM6;
}

/// The IPv6 header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ipv6Header {
    /// Traffic Class.
    pub traffic_class: u8,
    /// Flow Label, 20 bits; what is above them is not emitted.
    pub flow_label: u32,
    /// Octets after this header.
    pub payload_length: u16,
    /// Type of the next header.
    pub next_header: u8,
    /// Hop Limit.
    pub hop_limit: u8,
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
}

impl Ipv6Header {
    /// Reads the header at the start of the octets.
    ///
    /// # Errors
    /// [`WalkError::Truncated`] below 40 octets, [`WalkError::NotIpv6`] for another version.
    pub fn parse(packet: &[u8]) -> Result<Ipv6Header, WalkError> {
        let first = field::u32_at(packet, 0)?;
        if first >> 28 != 6 {
            return Err(WalkError::NotIpv6);
        }
        Ok(Ipv6Header {
            traffic_class: (first >> 20) as u8,
            flow_label: first & 0xf_ffff,
            payload_length: field::u16_at(packet, PAYLOAD_LENGTH.start)?,
            next_header: field::u8_at(packet, NEXT_HEADER)?,
            hop_limit: field::u8_at(packet, HOP_LIMIT)?,
            src: field::addr_at(packet, SRC.start)?,
            dst: field::addr_at(packet, DST.start)?,
        })
    }

    /// The header's octets.
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut h = [0; HEADER_LEN];
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | (self.flow_label & 0xf_ffff);
        h[..4].copy_from_slice(&first.to_be_bytes());
        h[PAYLOAD_LENGTH].copy_from_slice(&self.payload_length.to_be_bytes());
        h[NEXT_HEADER] = self.next_header;
        h[HOP_LIMIT] = self.hop_limit;
        h[SRC].copy_from_slice(&self.src.octets());
        h[DST].copy_from_slice(&self.dst.octets());
        h
    }
}
