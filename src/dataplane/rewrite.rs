//! The payload header goes in, the payload header comes out: nothing else of a packet changes but its addresses.
//!
//! ```text
//! IPv6 | Hop-by-Hop | [Dest. Options |] Routing | Shim6, 8 octets | Fragment | Dest. Options | AH | ESP | upper layer
//! ```
//!
//! Upper-layer checksums stay those over the ULIDs.

use crate::addr::{ContextTag, LocatorPair, UlidPair};
use crate::wire::ipv6::{DST, PAYLOAD_LENGTH, Place, SRC, protocol};
use crate::wire::payload::{self, PayloadHeader};
use std::net::Ipv6Addr;

/// Octets that a tagged packet has more.
pub const GROWTH: usize = payload::LEN;

/// Writes the two addresses and the payload length of a packet that is at least an IPv6 header long.
fn set_header(packet: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) -> Option<()> {
    let length = u16::try_from(packet.len().checked_sub(crate::wire::ipv6::HEADER_LEN)?).ok()?;
    packet.get_mut(PAYLOAD_LENGTH)?.copy_from_slice(&length.to_be_bytes());
    packet.get_mut(SRC)?.copy_from_slice(&src.octets());
    packet.get_mut(DST)?.copy_from_slice(&dst.octets());
    Some(())
}

/// The packet with a payload header at `place` and the locators as addresses.
///
/// `packet` must end where its Payload Length says. `None` if it would exceed what Payload Length can express, or if
/// `place` does not lie inside it.
// req: S6-11.1-01, S6-11.1-02, S6-11.1-03, S6-11.1-04, S6-11.1-05, S6-5.2-02
pub fn tag(packet: &[u8], place: Place, pair: LocatorPair, tag: ContextTag) -> Option<Vec<u8>> {
    let (before, after) = packet.split_at_checked(place.offset)?;
    let header =
        PayloadHeader { next_header: *packet.get(place.next_header_at)?, receiver_tag: tag };
    let mut out = Vec::with_capacity(packet.len() + GROWTH);
    out.extend_from_slice(before);
    out.extend_from_slice(&header.emit());
    out.extend_from_slice(after);
    *out.get_mut(place.next_header_at)? = protocol::SHIM6;
    set_header(&mut out, pair.local.0, pair.peer.0)?;
    Some(out)
}

/// The inbound packet without the payload header at `place`, with the ULIDs as addresses.
///
/// `packet` must end where its Payload Length says. `None` if there is no payload header at `place`.
// req: S6-12.2-04, S6-1.6-04
pub fn strip(packet: &[u8], place: Place, ulids: UlidPair) -> Option<Vec<u8>> {
    let (before, rest) = packet.split_at_checked(place.offset)?;
    let header = PayloadHeader::parse(rest).ok()?;
    let mut out = Vec::with_capacity(packet.len() - GROWTH);
    out.extend_from_slice(before);
    out.extend_from_slice(rest.get(GROWTH..)?);
    *out.get_mut(place.next_header_at)? = header.next_header;
    set_header(&mut out, ulids.peer.0, ulids.local.0)?;
    Some(out)
}

#[cfg(test)]
mod tests;
