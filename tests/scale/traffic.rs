//! Payload: flows, and what the data plane does with their packets.

use crate::host::{Segment, touch};
use crate::matrix::{Cause, On};
use crate::net::Spot;
use crate::world::{About, Body, Next, Packet, World, reverse};
use shim6::addr::{ContextTag, Fii, Locator, UlidPair};
use shim6::proto::engine::State;
use shim6::proto::{Inbound, Notice, Outbound, Time};
use std::net::Ipv6Addr;
use std::time::Duration;

/// Payload between two ULIDs.
#[derive(Clone, Debug)]
pub struct Flow {
    pub from: usize,
    pub to: usize,
    pub ulids: UlidPair,
    /// It wants a forked context.
    pub forked: bool,
    pub fii: Fii,
    /// Each packet is answered.
    pub echo: bool,
    /// What was not acknowledged is sent again.
    pub tcp: bool,
    /// Packets that each of its segments stands for.
    pub packets: u32,
    pub acked: u32,
    pub gap: Duration,
    /// Packets in a burst, then a pause of so long.
    pub burst: u32,
    pub pause: Duration,
    pub running: bool,
    pub timer: u32,
    pub seq: u32,
    /// Packets sent, repeated ones included.
    pub ticks: u32,
    /// World time of the last packet that arrived in order of each direction.
    pub arrived: Option<Time>,
    pub answered: Option<Time>,
}

impl World {
    pub fn tagged(
        &mut self,
        h: usize,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        tag: ContextTag,
        segment: Segment,
        spoilt: bool,
    ) {
        let Some(i) = self.hosts[h].ctxs.iter().position(|c| c.local_tag == tag) else {
            if !spoilt && let Some((ulids, fii)) = self.meant(h, segment) {
                let state = self.hosts[h].state_of(ulids, fii, self.now);
                self.tally.matrix.hit(state, On::TaggedPayload);
            }
            let (src, dst) = (Locator(src), Locator(dst));
            return self.tell(h, Notice::UnknownTag { src, dst, tag });
        };
        let c = &self.hosts[h].ctxs[i];
        let (id, ulids, fii) = (c.id, c.ulids, c.fii);
        let inbound = c.forward.as_ref().map_or(Inbound::Drop, |f| f.inbound);
        if inbound == Inbound::Drop {
            let state = c.state;
            return self.tally.matrix.hit(state, On::TaggedPayload);
        }
        self.payload_in(h, i, On::TaggedPayload);
        if inbound == Inbound::UnmapAndNotify {
            self.tell(h, Notice::PayloadInSetup(id));
        }
        if !spoilt {
            self.receive(h, ulids, fii, segment);
        }
    }

    pub fn payload_in(&mut self, h: usize, i: usize, on: On) {
        let now = self.hosts[h].clock(self.now);
        let c = &mut self.hosts[h].ctxs[i];
        self.tally.matrix.hit(c.state, on);
        if c.state == State::Established {
            self.tally.matrix.reap(c.reap, Cause::PayloadIn);
        }
        if c.forward.is_some() && touch(c, now, true) {
            let notice = Notice::Active(c.id, c.activity);
            self.tell(h, notice);
        }
    }

    /// For which context of the receiver a segment was meant.
    fn meant(&self, h: usize, s: Segment) -> About {
        let f = self.flows.get(usize::from(s.flow))?;
        let ulids = if h == f.from { f.ulids } else { reverse(f.ulids) };
        Some((ulids, f.fii))
    }

    /// An application of a host sends payload.
    pub fn transmit(&mut self, h: usize, ulids: UlidPair, fii: Fii, segment: Segment) {
        let now = self.hosts[h].clock(self.now);
        self.tally.payload += 1;
        let (mut src, mut dst, mut tag) = (ulids.local.0, ulids.peer.0, None);
        let host = &mut self.hosts[h];
        let found = host.find(ulids, fii).or_else(|| host.find(ulids, Fii::DEFAULT));
        if let Some(i) = found {
            let c = &mut host.ctxs[i];
            self.tally.matrix.hit(c.state, On::PayloadOut);
            if c.state == State::Established {
                self.tally.matrix.reap(c.reap, Cause::PayloadOut);
            }
            let mut wake = None;
            if let Some(f) = &c.forward {
                let (hold, outbound, watched) = (f.hold, f.outbound, f.watch);
                let woken = touch(c, now, false);
                if !segment.ack && self.flows[usize::from(segment.flow)].tcp && watched {
                    let packets = self.flows[usize::from(segment.flow)].packets;
                    c.signs.segment_out(now, segment, packets);
                    c.signs.show(&mut c.activity);
                }
                if woken {
                    wake = Some(Notice::Active(c.id, c.activity));
                }
                if hold {
                    c.held = Some(segment);
                }
                if let Outbound::Tagged(pair, t) = outbound {
                    (src, dst, tag) = (pair.local.0, pair.peer.0, Some(t));
                    self.judge_payload(h, ulids, pair);
                }
            }
            if let Some(notice) = wake {
                self.tell(h, notice);
            }
        } else {
            let state = self.hosts[h].state_of(ulids, Fii::DEFAULT, self.now);
            self.tally.matrix.hit(state, On::PayloadOut);
        }
        let (Some(from), Some(to)) = (Spot::of(src), Spot::of(dst)) else { return };
        if let Some(r) = &mut self.record {
            r.payload(self.now, (src, dst), tag, segment);
        }
        if self.hosts[h].works(from.at) {
            let body = Body::Data { tag, segment, spoilt: false };
            self.send(from, Packet { src, dst, to, sent: self.now, body });
        }
    }

    /// Payload reaches its application, which sees ULIDs whatever the locators were.
    pub fn receive(&mut self, h: usize, ulids: UlidPair, fii: Fii, segment: Segment) {
        let Some(f) = self.flows.get_mut(usize::from(segment.flow)) else { return };
        let meant = if segment.ack { f.ulids } else { reverse(f.ulids) };
        if ulids != meant {
            // With tags of few bits a packet may find a newer context of the same tag; its checksum stops it then.
            if self.plan.tag_bits == 47 {
                self.broken("ULIDs restored", |_| format!("{segment:?} came as {ulids}"));
            }
            return;
        }
        if segment.ack {
            f.answered = Some(self.now);
            f.acked = f.acked.max(segment.seq);
            if f.tcp {
                self.acknowledged(h, ulids, fii, segment);
            }
        } else {
            f.arrived = Some(self.now);
            if f.echo {
                self.transmit(h, ulids, fii, Segment { ack: true, again: false, ..segment });
            }
            self.heuristic(h, ulids, segment);
        }
    }

    fn acknowledged(&mut self, h: usize, ulids: UlidPair, fii: Fii, segment: Segment) {
        let host = &mut self.hosts[h];
        let now = host.clock(self.now);
        if let Some(i) = host.find(ulids, fii) {
            let c = &mut host.ctxs[i];
            if c.forward.as_ref().is_some_and(|f| f.watch) {
                c.signs.acknowledged(now, segment);
                c.signs.show(&mut c.activity);
            }
        }
    }

    pub fn tick(&mut self, n: usize, timer: u32) {
        let f = &mut self.flows[n];
        if !f.running || f.timer != timer {
            return;
        }
        let again = f.tcp && f.acked < f.seq;
        f.seq += u32::from(!again);
        f.ticks += 1;
        let wait = if f.ticks.is_multiple_of(f.burst.max(1)) { f.pause } else { f.gap };
        let (h, ulids, fii) = (f.from, f.ulids, f.fii);
        let segment = Segment { flow: n as u16, seq: f.seq, ack: false, again };
        let at = self.now + wait;
        self.schedule(at, Next::Tick(n, timer));
        if !self.hosts[h].is_frozen(self.now) {
            self.transmit(h, ulids, fii, segment);
        }
        self.heuristic(h, ulids, segment);
    }

    /// Traffic without context leads to a negotiation before long.
    fn heuristic(&mut self, h: usize, ulids: UlidPair, segment: Segment) {
        let host = &self.hosts[h];
        if segment.seq.is_multiple_of(8)
            && host.engine.is_some()
            && host.find(ulids, Fii::DEFAULT).is_none()
        {
            self.tell(h, Notice::Heuristic(ulids));
        }
    }

    pub fn start_flow(&mut self, n: usize) {
        let f = &mut self.flows[n];
        f.running = true;
        f.timer += 1;
        let timer = f.timer;
        self.schedule(self.now, Next::Tick(n, timer));
    }
}
