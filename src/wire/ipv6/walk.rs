//! Walking over extension headers: where the Shim6 header is, or where it belongs.
//!
//! ```text
//! IPv6 | Hop-by-Hop | Dest. Options | Routing | Shim6 | Fragment | Dest. Options | AH | ESP | upper layer
//!      (Destination Options stand before the Shim6 header only when a Routing header follows them)
//! ```

use std::fmt;

use super::{Fragment, HEADER_LEN, Ipv6Header, NEXT_HEADER, protocol};
use crate::wire::header::Header;
use crate::wire::{ParseError, field, payload};

/// More extension headers than this in one packet are refused.
pub const MAX_EXTENSION_HEADERS: usize = 16;
/// Home Address option of Mobile IPv6.
const HOME_ADDRESS: u8 = 201;
/// Padding option of a single octet.
const PAD1: u8 = 0;

/// Why the headers of a packet cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WalkError {
    /// The version is not 6.
    NotIpv6,
    /// A header is cut off by the end of the packet, or of the part of it that is at hand.
    Truncated,
    /// Payload Length 0 and a Hop-by-Hop header: a packet above 65,575 octets.
    Jumbogram,
    /// A Hop-by-Hop header that is not the first.
    HopByHopNotFirst,
    /// A second Fragment header.
    SecondFragment,
    /// More than [`MAX_EXTENSION_HEADERS`].
    TooManyHeaders,
}

impl WalkError {
    /// All counter names that [`WalkError::reason`] can yield.
    pub const REASONS: &'static [&'static str] = &[
        "not_ipv6",
        "truncated",
        "jumbogram",
        "hop_by_hop_not_first",
        "second_fragment",
        "too_many_headers",
    ];

    /// The reason's name, for counters and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            WalkError::NotIpv6 => "not_ipv6",
            WalkError::Truncated => "truncated",
            WalkError::Jumbogram => "jumbogram",
            WalkError::HopByHopNotFirst => "hop_by_hop_not_first",
            WalkError::SecondFragment => "second_fragment",
            WalkError::TooManyHeaders => "too_many_headers",
        }
    }
}

impl From<ParseError> for WalkError {
    // The field readers know this one error.
    fn from(_: ParseError) -> WalkError {
        WalkError::Truncated
    }
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason().replace('_', " "))
    }
}

impl std::error::Error for WalkError {}

/// A place in a packet where a header starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Offset of the first octet.
    pub offset: usize,
    /// Offset of the Next Header octet that names what starts there.
    pub next_header_at: usize,
}

/// Where a Shim6 header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shim6Place {
    /// The place.
    pub place: Place,
    /// P: a payload extension header, not a control message.
    pub payload: bool,
}

/// What the extension headers end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Upper {
    /// The protocol: an upper layer's, ESP, IPv6 in IPv6 or any number that is no extension header.
    pub protocol: u8,
    /// Offset of its first octet; at most the packet's length.
    pub offset: usize,
}

/// What the headers of a packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The IPv6 header.
    pub header: Ipv6Header,
    /// Where the packet ends by its Payload Length; beyond the octets at hand if they are a part of it.
    pub end: usize,
    /// Where a payload extension header has to be inserted, if there is none.
    pub insert: Place,
    /// The first Shim6 header.
    pub shim6: Option<Shim6Place>,
    /// A Routing header has Segments Left above 0: the destination address is not the final one.
    pub segments_left: bool,
    /// A Destination Options header holds a Home Address option (Mobile IPv6).
    pub home_address: bool,
    /// The Fragment header and where it is. It may stand before a Shim6 header, as a kernel that does not know
    /// the shim puts it.
    pub fragment: Option<(Place, Fragment)>,
    /// The upper layer; `None` behind a control message, or in a fragment that is not the first.
    pub upper: Option<Upper>,
}

impl Walk {
    /// Whether the shim must leave the packet alone: its destination is still to change (Routing header), or
    /// Mobile IPv6 is at work.
    pub fn unmappable(&self) -> bool {
        self.segments_left || self.home_address || self.is(protocol::MOBILITY)
    }

    /// Whether the upper layer is visible and has this protocol number.
    pub fn is(&self, protocol: u8) -> bool {
        self.upper.is_some_and(|u| u.protocol == protocol)
    }

    /// Whether the Fragment header stands before the Shim6 header.
    pub fn fragment_precedes_shim6(&self) -> bool {
        match (self.fragment, self.shim6) {
            (Some((at, _)), Some(shim6)) => at.offset < shim6.place.offset,
            // The fragments behind the first cannot show it, but say what the first of them starts with.
            (Some((_, f)), None) => f.next_header == protocol::SHIM6,
            _ => false,
        }
    }
}

/// Length in octets of the extension header of that type at octet `at`; `None` if it is not one.
fn extension_len(packet: &[u8], kind: u8, at: usize) -> Result<Option<usize>, WalkError> {
    let units = match kind {
        protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
            usize::from(field::u8_at(packet, at + 1)?) * 8 + 8
        }
        // Counts 4-octet units.
        protocol::AH => usize::from(field::u8_at(packet, at + 1)?) * 4 + 8,
        protocol::FRAGMENT => Fragment::LEN,
        _ => return Ok(None),
    };
    Ok(Some(units))
}

/// Whether the Destination Options header `h` holds a Home Address option. Malformed options end the search:
/// judging them is the receiver's business.
fn has_home_address(h: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&kind) = h.get(at) {
        if kind == HOME_ADDRESS {
            return true;
        }
        at += match (kind, h.get(at + 1)) {
            (PAD1, _) => 1,
            (_, Some(&len)) => 2 + usize::from(len),
            (_, None) => return false,
        };
    }
    false
}

/// Walks over the headers of a packet, or of its first octets.
///
/// # Errors
/// The reason why the headers cannot be followed.
// req: S6-4.6-01, S6-4.6-02, S6-12-01 (RFC 5533, 4.6 and 12)
pub fn walk(packet: &[u8]) -> Result<Walk, WalkError> {
    let header = Ipv6Header::parse(packet)?;
    if header.payload_length == 0 && header.next_header == protocol::HOP_BY_HOP {
        return Err(WalkError::Jumbogram);
    }
    let end = HEADER_LEN + usize::from(header.payload_length);
    // What link layers append is no part of the packet.
    let packet = &packet[..packet.len().min(end)];

    let mut here = Place { offset: HEADER_LEN, next_header_at: NEXT_HEADER };
    let mut walk = Walk {
        header,
        end,
        insert: here,
        shim6: None,
        segments_left: false,
        home_address: false,
        fragment: None,
        upper: None,
    };
    let mut kind = header.next_header;
    // Still among the headers that come before the Shim6 header, or may if a Routing header follows.
    let mut routing_part = true;

    for _ in 0..=MAX_EXTENSION_HEADERS {
        let at = here.offset;
        if kind == protocol::SHIM6 && walk.shim6.is_none() {
            let shim6 = Header::new(packet.get(at..).unwrap_or_default())?;
            walk.shim6 = Some(Shim6Place { place: here, payload: shim6.is_payload() });
            if !shim6.is_payload() || shim6.len() != payload::LEN {
                return Ok(walk);
            }
            routing_part = false;
            kind = shim6.next_header();
            here = Place { offset: at + payload::LEN, next_header_at: at };
            continue;
        }
        let Some(len) = extension_len(packet, kind, at)? else {
            walk.upper = Some(Upper { protocol: kind, offset: at });
            return Ok(walk);
        };
        let next = Place { offset: at + len, next_header_at: at };
        let octets = packet.get(at..next.offset).ok_or(WalkError::Truncated)?;
        match kind {
            protocol::HOP_BY_HOP => {
                if at != HEADER_LEN {
                    return Err(WalkError::HopByHopNotFirst);
                }
                walk.insert = next;
            }
            protocol::ROUTING => {
                walk.segments_left |= field::u8_at(octets, 3)? > 0;
                if routing_part {
                    walk.insert = next;
                }
            }
            protocol::DESTINATION_OPTIONS => walk.home_address |= has_home_address(octets),
            protocol::FRAGMENT => {
                if walk.fragment.is_some() {
                    return Err(WalkError::SecondFragment);
                }
                let fragment = Fragment::parse(packet, at)?;
                walk.fragment = Some((here, fragment));
                if fragment.offset > 0 {
                    return Ok(walk);
                }
                routing_part = false;
            }
            _ => routing_part = false,
        }
        kind = field::u8_at(octets, 0)?;
        here = next;
    }
    Err(WalkError::TooManyHeaders)
}
