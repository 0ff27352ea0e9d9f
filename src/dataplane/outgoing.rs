//! Payload of contexts on its way out: with a payload header, in pieces if need be, and held copies once more.

use super::bulk::{Bulk, Ends};
use super::counters::Counter;
use super::entry::Entry;
use super::held;
use super::inject::{Inject, SendError};
use super::pathmtu::{PathMtus, Routes};
use super::rewrite::{self, GROWTH};
use super::segment::{Cutter, Pieces, flag};
use super::shared::Shared;
use super::{fragment, icmp, segment};
use crate::addr::{ContextTag, Locator, LocatorPair};
use crate::proto::{Notice, Outbound, Time};
use crate::wire::ipv6::{Walk, protocol, walk};
use std::net::SocketAddrV6;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Sends packets of contexts: the part that workers and the control thread (for held copies) have in common.
#[derive(Debug)]
pub struct Outgoing<R, I> {
    shared: Arc<Shared>,
    mtus: PathMtus<R>,
    inject: I,
    bulk: Bulk,
}

/// A TCP packet that the kernel had not cut, ready to be sent.
#[derive(Debug)]
pub(super) struct Segmented {
    /// Its pieces, each with a payload header.
    pub pieces: Pieces,
    /// Data in each of them but the last.
    pub room: usize,
    /// Nothing of its flow went through our socket of late: the first piece takes the packet's own place, so that
    /// whoever follows connections has seen it through.
    pub new: bool,
}

/// The ends of a TCP packet.
fn ends(packet: &[u8], walk: &Walk) -> Option<Ends> {
    let tcp = held::tcp_of(packet, walk).filter(|t| t.flags & flag::SYN == 0)?;
    let end = |addr, port| SocketAddrV6::new(addr, port, 0, 0);
    Some((end(walk.header.src, tcp.src_port), end(walk.header.dst, tcp.dst_port)))
}

impl<R: Routes, I: Inject> Outgoing<R, I> {
    /// Sends by these routes and this socket.
    pub fn new(shared: Arc<Shared>, routes: R, inject: I) -> Outgoing<R, I> {
        let mtus = PathMtus::new(routes, Arc::clone(&shared.lowered));
        Outgoing { shared, mtus, inject, bulk: Bulk::default() }
    }

    /// What goes onto the wire for a packet with ULIDs: itself with a payload header, or pieces that each have one.
    pub(super) fn tagged(
        &mut self,
        packet: &[u8],
        walk: &Walk,
        entry: &Entry,
        (pair, tag): (LocatorPair, ContextTag),
        now: Time,
    ) -> Result<Vec<Vec<u8>>, Counter> {
        let Some(packet) = packet.get(..walk.end) else { return Err(Counter::DropTruncated) };
        let mtu = self.mtu(entry, pair, now)?;
        let shared = &self.shared;
        let counters = &shared.counters;
        let put = |p: &[u8]| rewrite::tag(p, walk.insert, pair, tag).ok_or(Counter::DropTooBig);
        if packet.len() + GROWTH <= mtu {
            counters.count(Counter::Tagged);
            return Ok(vec![put(packet)?]);
        }
        // What would not fit without our header either was to be fragmented below us anyhow: its sender does not follow
        // the path's MTU, and would only see an error once a second.
        let follows = walk.upper.is_some_and(|u| u.protocol == protocol::TCP);
        if follows || packet.len() <= mtu {
            self.tell_too_big(entry, packet, mtu, now);
        }
        let shared = &self.shared;
        let counters = &shared.counters;
        let max = mtu - GROWTH;
        let pieces: Vec<_> = match segment::cut(packet, walk, max) {
            Some(pieces) => {
                counters.count(Counter::TcpCut);
                pieces.iter().map(put).collect::<Result<_, _>>()?
            }
            None => {
                let id = shared.fragment_id.fetch_add(1, Relaxed);
                let pieces =
                    fragment::fragment(packet, walk, max, id).ok_or(Counter::DropTooBig)?;
                counters.count(Counter::Fragmented);
                pieces.iter().map(|p| put(p)).collect::<Result<_, _>>()?
            }
        };
        counters.add(Counter::Tagged, pieces.len() as u64);
        Ok(pieces)
    }

    fn mtu(&mut self, entry: &Entry, pair: LocatorPair, now: Time) -> Result<usize, Counter> {
        self.mtus.get(pair, now, &self.shared.counters).map_err(|_| {
            self.shared.failed(entry, pair, now);
            Counter::DropNoRoute
        })
    }

    /// Tells the transport that its packets are too long.
    fn tell_too_big(&mut self, entry: &Entry, packet: &[u8], mtu: usize, now: Time) {
        if let Some(told) = icmp::packet_too_big(entry, packet, mtu, now)
            && self.inject.inject(&told).is_ok()
        {
            self.shared.counters.count(Counter::PacketTooBigMade);
        }
    }

    /// What goes onto the wire for a TCP packet with ULIDs that the kernel has not cut into segments yet, which have no
    /// checksums either: segments as long as TCP has them, if that leaves room for the payload header. `None` if the
    /// kernel has to cut it.
    pub(super) fn segmented(
        &mut self,
        packet: &[u8],
        walk: &Walk,
        entry: &Entry,
        (pair, tag): (LocatorPair, ContextTag),
        now: Time,
    ) -> Result<Option<Segmented>, Counter> {
        let mtu = self.mtu(entry, pair, now)?;
        let Some(packet) = packet.get(..walk.end) else { return Ok(None) };
        let (Some(cutter), Some(flow)) = (Cutter::new(packet, walk), ends(packet, walk)) else {
            return Ok(None);
        };
        let mtus = &mut self.mtus;
        let Some(known) = self.bulk.note(&flow, now, |flow| mtus.segment_size(flow)) else {
            return Ok(None);
        };
        let headers = cutter.headers_len();
        // Options that come and go take their room from the data.
        let all = headers - cutter.tcp().header_len + cutter.fixed_header_len() + known.size;
        let max = mtu.saturating_sub(GROWTH);
        if all > max {
            self.tell_too_big(entry, packet, mtu, now);
        }
        let room = all.min(max).saturating_sub(headers);
        let head = packet.get(..walk.insert.offset);
        let head = head.and_then(|head| rewrite::tag(head, walk.insert, pair, tag));
        let Some(pieces) = head.and_then(|head| cutter.pieces(&head, room)) else {
            return Ok(None);
        };
        let counters = &self.shared.counters;
        counters.count(Counter::Segmented);
        counters.add(Counter::Tagged, pieces.len() as u64);
        Ok(Some(Segmented { pieces, room, new: known.new }))
    }

    /// Whether a packet of a flow has to go through our socket, because some before it did.
    pub(super) fn follows(&mut self, packet: &[u8], walk: &Walk, now: Time) -> bool {
        walk.is(protocol::TCP)
            && ends(packet, walk).is_some_and(|flow| self.bulk.follows(&flow, now))
    }

    /// Sends packets between the same two locators through the raw socket, with this mark.
    pub fn send_all(&mut self, packets: &Pieces, mark: u32) {
        let counters = &self.shared.counters;
        let (mut sent, mut unreachable) = (0, false);
        self.inject.inject_all(packets, mark, &mut |result| match result {
            Ok(()) => sent += 1,
            Err(e) => {
                counters.count(Counter::DropSend);
                unreachable |= matches!(e, SendError::Unreachable(_));
            }
        });
        counters.add(Counter::Injected, sent);
        if unreachable && let Some(Ok(walk)) = packets.iter().next().map(walk) {
            let (src, dst) = (Locator(walk.header.src), Locator(walk.header.dst));
            self.shared.notice(Notice::SendFailed { src, dst });
        }
    }

    /// Sends a packet through the raw socket.
    pub fn send(&mut self, packet: &[u8], pair: LocatorPair) {
        let counters = &self.shared.counters;
        match self.inject.inject(packet) {
            Ok(()) => counters.count(Counter::Injected),
            Err(e) => {
                counters.count(Counter::DropSend);
                if let SendError::Unreachable(_) = e {
                    let (src, dst) = (pair.local, pair.peer);
                    self.shared.notice(Notice::SendFailed { src, dst });
                }
            }
        }
    }

    /// Sends held copies on the present pair of their context.
    pub fn resend(&mut self, entry: &Entry, copies: Vec<Vec<u8>>, now: Time) {
        let (ulids, outbound) = {
            let forward = entry.forward();
            (forward.ulids, forward.outbound)
        };
        for copy in copies {
            let Ok(walk) = walk(&copy) else { continue };
            self.shared.active(entry, entry.cells.touch_out(now, copy.len()));
            let (pair, packets) = match outbound {
                Outbound::Plain => (ulids.locators(), Ok(vec![copy])),
                Outbound::Tagged(pair, tag) => {
                    (pair, self.tagged(&copy, &walk, entry, (pair, tag), now))
                }
            };
            match packets {
                Ok(packets) => {
                    for packet in packets {
                        self.send(&packet, pair);
                    }
                    self.shared.counters.count(Counter::HeldResent);
                }
                Err(reason) => self.shared.counters.count(reason),
            }
        }
    }
}
