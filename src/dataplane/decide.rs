//! What a packet is to us: a pure function of its octets, the way it goes, and the map.
//!
//! Nothing is changed here. The worker carries out the decision: it touches the cells, rewrites, reports, counts.

use super::counters::Counter;
use super::flows::{self, Treatment};
use super::icmp::{self, Quoted};
use super::map::{EntryRef, Map};
use crate::addr::{ContextTag, Fii, Locator, LocatorPair, Ulid, UlidPair};
use crate::proto::{Inbound, Outbound};
use crate::wire::ipv6::{Place, Walk, protocol, walk};
use crate::wire::payload::PayloadHeader;
use crate::wire::{ParseError, header};
use std::net::Ipv6Addr;

/// SCTP has multihoming of its own and gets no context (RFC 6629).
const SCTP: u8 = 132;
/// MPTCP too: this TCP option marks it.
const TCP_OPTION_MPTCP: u8 = 30;

/// Where a packet was taken from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Local-out: made by this host, on its way to the network.
    Out,
    /// Local-in: about to be delivered to this host; no protocol 140.
    In,
    /// Protocol 140 for this host, before conntrack has seen it.
    Shim6,
}

/// What is to be done.
#[derive(Debug)]
pub enum Decision {
    /// Not ours: goes on as it is.
    Pass,
    /// The same, for a reason worth counting.
    PassCounted(Counter),
    /// No context, but there could be one: goes on as it is, and counts for the heuristic.
    Watch(UlidPair),
    /// Outbound payload of a context on its ULIDs: goes on as it is, and counts as activity.
    PlainOut {
        /// The context.
        entry: EntryRef,
        /// The packet's headers.
        walk: Box<Walk>,
    },
    /// Inbound payload of a context without a payload header: goes on as it is, and counts as activity.
    PlainIn(EntryRef),
    /// Payload of a context on other locators: gets a payload header.
    Tag {
        /// The context.
        entry: EntryRef,
        /// The locators to use.
        pair: LocatorPair,
        /// The tag the peer gave us.
        tag: ContextTag,
        /// The packet's headers.
        walk: Box<Walk>,
    },
    /// Tagged payload of a context: loses its header and gets the ULIDs back.
    Strip {
        /// The context.
        entry: EntryRef,
        /// Its ULIDs.
        ulids: UlidPair,
        /// Where the payload header is.
        place: Place,
        /// The context waits for R2, so the engine has to know.
        report: bool,
    },
    /// A piece of a packet whose Shim6 header lies in the fragmented part: to be put together first.
    Reassemble(Box<Walk>),
    /// A tag that no context has: the engine may answer R1bis; the packet is dropped.
    // req: S6-12.2-02
    UnknownTag {
        /// Source locator.
        src: Locator,
        /// Destination locator.
        dst: Locator,
        /// The tag.
        tag: ContextTag,
    },
    /// A control message: goes to the engine, never to the kernel.
    Control {
        /// Where the Shim6 header starts.
        offset: usize,
    },
    /// An ICMPv6 error about a Shim6 packet of ours.
    Icmp(Quoted),
    /// Dropped for this reason.
    Drop(Counter),
}

/// Whether an address can be a ULID or locator at all.
// req: S6-1.4-01
pub fn mappable(a: Ipv6Addr) -> bool {
    !(a.is_multicast() || a.is_unspecified() || a.is_loopback() || a.is_unicast_link_local())
}

/// Decides about one packet.
pub fn decide(packet: &[u8], way: Way, map: &Map) -> Decision {
    match (walk(packet), way) {
        (Ok(walk), Way::Out) => decide_out(packet, walk, map),
        (Ok(walk), Way::In) => decide_in(packet, &walk, map),
        (Ok(walk), Way::Shim6) => decide_shim6(packet, walk, map),
        (Err(_), Way::Out | Way::In) => Decision::PassCounted(Counter::PassMalformed),
        (Err(_), Way::Shim6) => Decision::Drop(Counter::DropShim6Length),
    }
}

/// The two ends, if both can belong to a context.
fn ends(walk: &Walk) -> Option<(Ipv6Addr, Ipv6Addr)> {
    let (src, dst) = (walk.header.src, walk.header.dst);
    (mappable(src) && mappable(dst) && src != dst).then_some((src, dst))
}

/// Traffic that must never be mapped, nor cause a context: Neighbor Discovery, multicast listeners, SCTP.
// req: AL-7.3-01
fn excluded(packet: &[u8], walk: &Walk) -> bool {
    match walk.upper {
        Some(u) if u.protocol == protocol::ICMPV6 => {
            matches!(packet.get(u.offset), Some(130..=137 | 141..=143 | 148..=153))
        }
        Some(u) => u.protocol == SCTP,
        None => false,
    }
}

/// Whether a TCP segment shows that its connection is multihomed by itself.
fn is_mptcp(packet: &[u8], walk: &Walk) -> bool {
    walk.is(protocol::TCP)
        && walk.upper.is_some_and(|u| {
            super::segment::tcp_options(packet.get(u.offset..).unwrap_or_default())
                .any(|(kind, _)| kind == TCP_OPTION_MPTCP)
        })
}

fn watch(packet: &[u8], walk: &Walk, ulids: UlidPair) -> Decision {
    if is_mptcp(packet, walk) { Decision::Pass } else { Decision::Watch(ulids) }
}

// req: S6-11-01, S6-11-02, S6-1.6-02, S6-4-03, S6-16.1-01, AS-4-02
fn decide_out(packet: &[u8], walk: Walk, map: &Map) -> Decision {
    let Some((src, dst)) = ends(&walk) else { return Decision::Pass };
    // Our own control messages and packets that are tagged already.
    if walk.shim6.is_some() || excluded(packet, &walk) {
        return Decision::Pass;
    }
    let ulids = UlidPair { local: Ulid(src), peer: Ulid(dst) };
    let Some(entry) = forked(packet, &walk, map).or_else(|| map.by_ulids(ulids, Fii::DEFAULT))
    else {
        return watch(packet, &walk, ulids);
    };
    let outbound = entry.outbound();
    match outbound {
        Outbound::Plain => Decision::PlainOut { entry, walk: Box::new(walk) },
        Outbound::Tagged(..) if walk.unmappable() => Decision::PassCounted(Counter::PassRouting),
        Outbound::Tagged(pair, tag) => Decision::Tag { entry, pair, tag, walk: Box::new(walk) },
    }
}

/// The context of a flow of its own, once that has both tags; until then the default one serves it.
// req: S6-12.4-07, S6-4.2-02, AP-A-01, AP-9-01
fn forked(packet: &[u8], walk: &Walk, map: &Map) -> Option<EntryRef> {
    if map.flows.is_empty() {
        return None;
    }
    match map.flows.get(&flows::flow_of(packet, walk, Way::Out)?)? {
        Treatment::Bound(entry) | Treatment::Learned(entry) => {
            let tagged = matches!(entry.outbound(), Outbound::Tagged(..));
            tagged.then_some(entry)
        }
        Treatment::LeaveAlone => None,
    }
}

/// Whether an inbound packet belongs to a socket that has left the shim.
// req: AP-6.2-02, S6-4.3-01
fn left_alone(packet: &[u8], walk: &Walk, map: &Map) -> bool {
    !map.flows.is_empty()
        && flows::flow_of(packet, walk, Way::In)
            .is_some_and(|flow| matches!(map.flows.get(&flow), Some(Treatment::LeaveAlone)))
}

// req: S6-12.1-01, S6-8-05, S6-16.1-02
fn decide_in(packet: &[u8], walk: &Walk, map: &Map) -> Decision {
    let Some((src, dst)) = ends(walk) else { return Decision::Pass };
    if walk.shim6.is_some() || excluded(packet, walk) {
        return Decision::Pass;
    }
    if let Some(quoted) = icmp::quoted(packet, walk, map) {
        return Decision::Icmp(quoted);
    }
    if left_alone(packet, walk, map) {
        return Decision::PassCounted(Counter::LeftAlone);
    }
    let ulids = UlidPair { local: Ulid(dst), peer: Ulid(src) };
    match map.by_ulids(ulids, Fii::DEFAULT) {
        Some(entry) => Decision::PlainIn(entry),
        None => watch(packet, walk, ulids),
    }
}

// req: S6-12-01, S6-12.3-03
fn decide_shim6(packet: &[u8], walk: Walk, map: &Map) -> Decision {
    let (src, dst) = (walk.header.src, walk.header.dst);
    if !mappable(src) || !mappable(dst) {
        return Decision::Drop(Counter::DropShim6Address);
    }
    if walk.segments_left {
        return Decision::Drop(Counter::DropShim6Routing);
    }
    if walk.end > packet.len() {
        return Decision::Drop(Counter::DropTruncated);
    }
    if walk.fragment_precedes_shim6() && walk.fragment.is_some_and(|(_, f)| !f.is_whole()) {
        return Decision::Reassemble(Box::new(walk));
    }
    let Some(shim6) = walk.shim6 else { return Decision::Drop(Counter::DropNotShim6) };
    let octets = packet.get(shim6.place.offset..walk.end).unwrap_or_default();
    if !shim6.payload {
        return match header::control_message(octets) {
            Ok(_) => Decision::Control { offset: shim6.place.offset },
            Err(ParseError::BadChecksum) => Decision::Drop(Counter::DropShim6Checksum),
            Err(ParseError::Hip) => Decision::Drop(Counter::DropHip),
            Err(_) => Decision::Drop(Counter::DropShim6Length),
        };
    }
    let Ok(payload) = PayloadHeader::parse(octets) else {
        return Decision::Drop(Counter::DropShim6Length);
    };
    if payload.next_header == protocol::SHIM6 {
        return Decision::Drop(Counter::DropNested);
    }
    let tag = payload.receiver_tag;
    let Some(entry) = map.by_local_tag(tag) else {
        return Decision::UnknownTag { src: Locator(src), dst: Locator(dst), tag };
    };
    let (inbound, ulids) = {
        let forward = entry.forward();
        (forward.inbound, forward.ulids)
    };
    // req: S6-12.2-03
    match inbound {
        Inbound::Drop => Decision::Drop(Counter::DropPayloadState),
        Inbound::Unmap => Decision::Strip { entry, ulids, place: shim6.place, report: false },
        Inbound::UnmapAndNotify => {
            Decision::Strip { entry, ulids, place: shim6.place, report: true }
        }
    }
}

#[cfg(test)]
mod tests;
