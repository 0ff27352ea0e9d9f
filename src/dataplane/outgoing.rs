//! Payload of contexts on its way out: with a payload header, in pieces if need be, and held copies once more.

use super::counters::Counter;
use super::inject::{Inject, SendError};
use super::map::Entry;
use super::pathmtu::{PathMtus, Routes};
use super::rewrite::{self, GROWTH};
use super::shared::Shared;
use super::{fragment, icmp, segment};
use crate::addr::{ContextTag, LocatorPair};
use crate::proto::{Notice, Outbound, Time};
use crate::wire::ipv6::{Walk, protocol, walk};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Sends packets of contexts: the part that workers and the control thread (for held copies) have in common.
#[derive(Debug)]
pub struct Outgoing<R, I> {
    shared: Arc<Shared>,
    mtus: PathMtus<R>,
    inject: I,
}

impl<R: Routes, I: Inject> Outgoing<R, I> {
    /// Sends by these routes and this socket.
    pub fn new(shared: Arc<Shared>, routes: R, inject: I) -> Outgoing<R, I> {
        let mtus = PathMtus::new(routes, Arc::clone(&shared.lowered));
        Outgoing { shared, mtus, inject }
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
        let shared = &self.shared;
        let counters = &shared.counters;
        let Some(packet) = packet.get(..walk.end) else { return Err(Counter::DropTruncated) };
        let mtu = match self.mtus.get(pair, now, counters) {
            Ok(mtu) => mtu,
            Err(_) => {
                shared.failed(entry, pair, now);
                return Err(Counter::DropNoRoute);
            }
        };
        let put = |p: &[u8]| rewrite::tag(p, walk.insert, pair, tag).ok_or(Counter::DropTooBig);
        if packet.len() + GROWTH <= mtu {
            counters.count(Counter::Tagged);
            return Ok(vec![put(packet)?]);
        }
        // What would not fit without our header either was to be fragmented below us anyhow: its sender does not follow
        // the path's MTU, and would only see an error once a second.
        let follows = walk.upper.is_some_and(|u| u.protocol == protocol::TCP);
        if (follows || packet.len() <= mtu)
            && let Some(told) = icmp::packet_too_big(entry, packet, mtu, now)
            && self.inject.inject(&told).is_ok()
        {
            counters.count(Counter::PacketTooBigMade);
        }
        let max = mtu - GROWTH;
        let pieces = match segment::cut(packet, walk, max) {
            Some(pieces) => {
                counters.count(Counter::TcpCut);
                pieces
            }
            None => {
                let id = shared.fragment_id.fetch_add(1, Relaxed);
                let pieces =
                    fragment::fragment(packet, walk, max, id).ok_or(Counter::DropTooBig)?;
                counters.count(Counter::Fragmented);
                pieces
            }
        };
        counters.add(Counter::Tagged, pieces.len() as u64);
        pieces.iter().map(|p| put(p)).collect()
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
