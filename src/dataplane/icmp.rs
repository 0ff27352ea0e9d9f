//! ICMPv6 errors about Shim6 packets of ours, and Packet Too Big messages for local transports.
//!
//! A router quotes what it saw: locators and a payload header. The transport that sent the packet knows neither, so the
//! quote is translated back. The context is found by the tag in the quote, which is the peer's, and the locators.

use super::entry::Entry;
use super::map::{EntryRef, Map};
use super::rewrite::GROWTH;
use crate::addr::{Locator, LocatorPair, UlidPair};
use crate::proto::time::Time;
use crate::wire::icmpv6::{self, IcmpError, IcmpErrorKind};
use crate::wire::ipv6::{self, HEADER_LEN, PAYLOAD_LENGTH, Place, Walk, protocol};
use crate::wire::payload::PayloadHeader;

use super::pathmtu::MIN_MTU;

/// Hop Limit of messages of our own making; they do not leave the host.
const HOP_LIMIT: u8 = 255;
/// Offset of the type in the ICMPv6 header, and of the code.
const TYPE: usize = 0;
const CODE: usize = 1;

/// What an ICMPv6 error quotes.
#[derive(Debug)]
pub enum Quoted {
    /// A tagged payload packet.
    Payload {
        /// Its context.
        entry: EntryRef,
        /// The locators it was sent on.
        pair: LocatorPair,
        /// ICMPv6 type.
        icmp_type: u8,
        /// ICMPv6 code.
        icmp_code: u8,
        /// MTU that a Packet Too Big announces.
        mtu: Option<usize>,
        /// Whether Shim6 itself is to react, rather than the transport (RFC 5533, section 8).
        for_shim: bool,
    },
    /// A control message.
    Control {
        /// ICMPv6 type.
        icmp_type: u8,
        /// ICMPv6 code.
        icmp_code: u8,
        /// Source of the quoted packet.
        src: Locator,
        /// Its destination.
        dst: Locator,
        /// The Shim6 message as far as it was quoted.
        message: Vec<u8>,
    },
}

/// The error in an inbound packet, if it is one and its checksum is right.
fn error<'a>(packet: &'a [u8], walk: &Walk) -> Option<(&'a [u8], IcmpError<'a>)> {
    let upper = walk.upper.filter(|u| u.protocol == protocol::ICMPV6)?;
    if walk.fragment.is_some_and(|(_, f)| !f.is_whole()) {
        return None;
    }
    let message = packet.get(upper.offset..walk.end)?;
    // Four types; cheaper to see than a checksum.
    if !(1..=4).contains(message.get(TYPE)?) {
        return None;
    }
    let error = IcmpError::parse(walk.header.src, walk.header.dst, message).ok()?;
    Some((message, error))
}

/// Whether an inbound packet of which only the first octets are there may be an error about a Shim6 packet.
pub fn may_quote(packet: &[u8], walk: &Walk) -> bool {
    let quote = || {
        let upper = walk.upper.filter(|u| u.protocol == protocol::ICMPV6)?;
        let message = packet.get(upper.offset..)?;
        let error = (1..=4).contains(message.get(TYPE)?);
        // Behind type, code, checksum and a field of 4 octets.
        error.then(|| ipv6::walk(message.get(8..)?).ok()?.shim6).flatten()
    };
    quote().is_some()
}

/// What an inbound packet says about a Shim6 packet of ours; `None` if it is no such thing.
// req: S6-8-08, S6-12.4-06
pub fn quoted(packet: &[u8], walk: &Walk, map: &Map) -> Option<Quoted> {
    let (message, error) = error(packet, walk)?;
    let (icmp_type, icmp_code) = (*message.get(TYPE)?, *message.get(CODE)?);
    let quote = ipv6::walk(error.quote).ok()?;
    let shim6 = quote.shim6?;
    // Errors come to the source of what they quote.
    if quote.header.src != walk.header.dst {
        return None;
    }
    let (src, dst) = (Locator(quote.header.src), Locator(quote.header.dst));
    let octets = error.quote.get(shim6.place.offset..)?;
    if !shim6.payload {
        return Some(Quoted::Control { icmp_type, icmp_code, src, dst, message: octets.to_vec() });
    }
    let pair = LocatorPair { local: src, peer: dst };
    let entry = map.by_peer_tag(PayloadHeader::parse(octets).ok()?.receiver_tag, pair)?;
    let mtu = match error.kind {
        IcmpErrorKind::PacketTooBig { mtu } => Some(usize::try_from(mtu).unwrap_or(usize::MAX)),
        _ => None,
    };
    let for_shim = for_shim(error.kind, shim6.place);
    Some(Quoted::Payload { entry, pair, icmp_type, icmp_code, mtu, for_shim })
}

/// The errors on which Shim6 acts: a path that fails, or a receiver that does not like our header.
// req: S6-8-03, S6-8-04
fn for_shim(kind: IcmpErrorKind, shim6: Place) -> bool {
    match kind {
        IcmpErrorKind::DestinationUnreachable { code } => matches!(code, 0..=3 | 5 | 6),
        IcmpErrorKind::PacketTooBig { .. } => false,
        IcmpErrorKind::TimeExceeded { .. } => true,
        IcmpErrorKind::ParameterProblem { pointer, .. } => about_shim6(pointer, shim6),
    }
}

/// Whether an offset in the quoted packet lies in the payload header or in the octet that announces it.
fn about_shim6(pointer: u32, shim6: Place) -> bool {
    let Ok(pointer) = usize::try_from(pointer) else { return false };
    pointer == shim6.next_header_at || (shim6.offset..shim6.offset + GROWTH).contains(&pointer)
}

/// The error as the transport has to see it: the quoted packet with its ULIDs and without our header.
// req: S6-8-06, S6-8-07, S6-8-09
pub fn translate(packet: &[u8], walk: &Walk, ulids: UlidPair) -> Option<Vec<u8>> {
    let (_, error) = error(packet, walk)?;
    let place = ipv6::walk(error.quote).ok()?.shim6?.place;
    let (before, rest) = error.quote.split_at_checked(place.offset)?;
    let header = PayloadHeader::parse(rest).ok()?;

    let mut quote = before.to_vec();
    quote.extend_from_slice(rest.get(GROWTH..)?);
    *quote.get_mut(place.next_header_at)? = header.next_header;
    // Not from the length at hand: the quote may be cut short.
    let length = u16::from_be_bytes(quote.get(PAYLOAD_LENGTH)?.try_into().ok()?);
    let length = length.checked_sub(GROWTH as u16)?;
    quote.get_mut(PAYLOAD_LENGTH)?.copy_from_slice(&length.to_be_bytes());
    quote.get_mut(ipv6::SRC)?.copy_from_slice(&ulids.local.0.octets());
    quote.get_mut(ipv6::DST)?.copy_from_slice(&ulids.peer.0.octets());

    let kind = match error.kind {
        IcmpErrorKind::PacketTooBig { mtu } => IcmpErrorKind::PacketTooBig {
            mtu: mtu.saturating_sub(GROWTH as u32).max(MIN_MTU as u32),
        },
        IcmpErrorKind::ParameterProblem { code, pointer } => {
            let beyond = usize::try_from(pointer).is_ok_and(|p| p >= place.offset + GROWTH);
            let pointer = if beyond { pointer - GROWTH as u32 } else { pointer };
            IcmpErrorKind::ParameterProblem { code, pointer }
        }
        other @ (IcmpErrorKind::DestinationUnreachable { .. }
        | IcmpErrorKind::TimeExceeded { .. }) => other,
    };
    let translated = IcmpError { kind, quote: &quote, extensions: error.extensions };
    let upper = walk.upper?;
    let mut out = packet.get(..upper.offset)?.to_vec();
    out.extend_from_slice(&translated.emit(walk.header.src, ulids.local.0));
    let length = u16::try_from(out.len() - HEADER_LEN).ok()?;
    out.get_mut(PAYLOAD_LENGTH)?.copy_from_slice(&length.to_be_bytes());
    out.get_mut(ipv6::DST)?.copy_from_slice(&ulids.local.0.octets());
    Some(out)
}

/// A Packet Too Big that tells the local transport to send packets that still fit when they are tagged.
///
/// It goes to the ULID from itself over the loopback interface, which any sane packet filter lets pass. Whoever ignores
/// it loses nothing: what does not fit is cut or fragmented anyhow. At most one per context and second; `None` where the
/// path takes no more than 1288 octets, since transports do not go below 1280.
// req: S6-15.4-02
pub fn packet_too_big(entry: &Entry, packet: &[u8], path_mtu: usize, now: Time) -> Option<Vec<u8>> {
    let mtu = path_mtu.checked_sub(GROWTH).filter(|mtu| *mtu >= MIN_MTU)?;
    if packet.len() <= mtu || !entry.cells.may_make_too_big(now) {
        return None;
    }
    let local = entry.ulids().local.0;
    icmpv6::packet_too_big(local, packet, u32::try_from(mtu).ok()?, HOP_LIMIT)
}

#[cfg(test)]
mod tests;
