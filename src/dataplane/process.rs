//! One packet, from decision to verdict: cells, reports, copies, rewriting. Everything of a worker but the queue.

use super::counters::Counter;
use super::decide::{Decision, Way, decide};
use super::entry::Entry;
use super::flows::{Treatment, flow_of};
use super::held::{self, Progress};
use super::icmp::{self, Quoted};
use super::inject::Inject;
use super::map::EntryRef;
use super::outgoing::Outgoing;
use super::pathmtu::Routes;
use super::queue::{MAX_VERDICT_PACKET, Wanted};
use super::reassemble::Reassembler;
use super::rewrite;
use super::segment::{Cutter, Pieces, flag};
use super::shared::Shared;
use crate::addr::{ContextTag, Fii, Locator, LocatorPair, UlidPair};
use crate::proto::input::ControlPacket;
use crate::proto::{Notice, Time};
use crate::wire::ipv6::{NEXT_HEADER, Place, Walk, protocol, walk};
use std::sync::Arc;
use std::time::Duration;

/// Unknown tags, and errors about control messages, are each reported at most so often in such a time by each worker, so
/// that a flood of them leaves room for other notices.
const TOLD: (u32, Duration) = (20, Duration::from_millis(100));
/// Fast flows that wait for the queue to be empty, at most, and for how long.
const FAST: (usize, Duration) = (256, Duration::from_millis(200));

/// A packet as it came out of a queue.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its octets, or the first of them.
    pub octets: &'a [u8],
    /// How many it has.
    pub len: usize,
    /// Whether asking for it again would not show more. Then the octets are those that would go on, all of them, cut to
    /// size, with their checksum; or the first of a packet that is too long to be shown.
    pub whole: bool,
    /// Whether the octets are all of them, but still to be cut into segments, which have no checksums yet.
    pub large: bool,
}

impl<'a, T: AsRef<[u8]> + ?Sized> From<&'a T> for Seen<'a> {
    /// A whole packet.
    fn from(octets: &'a T) -> Seen<'a> {
        let octets = octets.as_ref();
        Seen { octets, len: octets.len(), whole: true, large: false }
    }
}

/// What becomes of a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has to come again in this way; never of a packet that did come whole, or that cannot.
    Again(Wanted),
    /// It goes on as it is.
    Accept,
    /// Other octets go on in its place.
    Replace {
        /// The octets.
        packet: Vec<u8>,
        /// Whether it gets our mark.
        mark: bool,
        /// Packets to be sent behind it.
        then: Vec<Vec<u8>>,
    },
    /// These are sent in its place, between the same two locators; itself it ends here.
    Send(Pieces),
    /// It ends here.
    Drop,
}

/// When the present time of [`TOLD`] began, and what was to be told in it.
#[derive(Debug)]
struct Limit(Time, u32);

impl Limit {
    const NEW: Limit = Limit(Time::ZERO, 0);

    fn may_tell(&mut self, now: Time) -> bool {
        let Limit(start, told) = self;
        if *told == 0 || now.since(*start) >= TOLD.1 {
            (*start, *told) = (now, 0);
        }
        *told = told.saturating_add(1);
        *told <= TOLD.0
    }
}

/// A worker without its queue.
#[derive(Debug)]
pub struct Processor<R, I> {
    shared: Arc<Shared>,
    outgoing: Outgoing<R, I>,
    reassembler: Reassembler,
    progress: Progress,
    unknown_tags: Limit,
    refused: Limit,
    /// Flows that could pass in the kernel, and since when they wait for that.
    fast: (Time, Vec<(EntryRef, u8)>),
}

impl<R: Routes, I: Inject> Processor<R, I> {
    /// A processor of packets.
    pub fn new(shared: Arc<Shared>, routes: R, inject: I) -> Processor<R, I> {
        let reassembler = Reassembler::new(shared.config.reassembly);
        let outgoing = Outgoing::new(Arc::clone(&shared), routes, inject);
        let progress = Progress::default();
        let (unknown_tags, refused) = (Limit::NEW, Limit::NEW);
        let fast = (Time::ZERO, Vec::new());
        Processor { shared, outgoing, reassembler, progress, unknown_tags, refused, fast }
    }

    /// Notes a packet of a flow that could pass in the kernel.
    fn pace(&mut self, entry: &EntryRef, protocol: u8, now: Time) {
        if matches!(protocol, protocol::TCP | protocol::UDP)
            && self.shared.kernel_path.get().is_some()
            && entry.cells.pace(protocol).note(now)
            && self.fast.1.len() < FAST.0
        {
            if self.fast.1.is_empty() {
                self.fast.0 = now;
            }
            self.fast.1.push((entry.clone(), protocol));
        }
    }

    /// Whether there are any for [`Processor::let_pass`].
    pub fn has_fast(&self) -> bool {
        !self.fast.1.is_empty()
    }

    /// Lets one of the fast flows pass in the kernel. Best when the queue is empty: its next packets would overtake those
    /// that wait in it. A queue that is never empty loses packets anyhow, and is soon relieved by this.
    pub fn let_pass(&mut self, empty: bool) {
        let (since, flows) = &mut self.fast;
        if flows.is_empty() || !empty && (self.shared.config.clock)().since(*since) < FAST.1 {
            return;
        }
        // One for each look at the queue: the next packets of a second one may have come meanwhile.
        if let (Some(kernel_path), Some(flow)) = (self.shared.kernel_path.get(), flows.pop()) {
            kernel_path.enter(&self.shared, flow);
        }
    }

    /// Sends what a verdict leaves to be sent behind its packet.
    pub fn send(&mut self, packets: Vec<Vec<u8>>) {
        for packet in packets {
            let Ok(walk) = walk(&packet) else { continue };
            let pair =
                LocatorPair { local: Locator(walk.header.src), peer: Locator(walk.header.dst) };
            self.outgoing.send(&packet, pair);
        }
    }

    /// Sends what [`Verdict::Send`] leaves to be sent, with this mark.
    pub fn send_all(&mut self, packets: &Pieces, mark: u32) {
        self.outgoing.send_all(packets, mark);
    }

    /// Decides and carries out all of it but the verdict itself.
    pub fn process<'a>(&mut self, packet: impl Into<Seen<'a>>, way: Way) -> Verdict {
        let now = (self.shared.config.clock)();
        let packet = packet.into();
        let decision = decide(packet.octets, way, &self.shared.map);
        let verdict = self.carry_out(decision, packet, way, now);
        self.shared.counters.count(match (&verdict, way) {
            (Verdict::Again(_), _) => Counter::AskedWhole,
            (_, Way::Out) => Counter::RxOut,
            (_, Way::In) => Counter::RxIn,
            (_, Way::Shim6) => Counter::RxShim6,
        });
        verdict
    }

    /// A packet out of a socket that has left the shim: goes on as it is, and so will the answers to it.
    // req: AP-6.2-02
    pub fn leave_alone(&mut self, packet: &[u8]) -> Verdict {
        let Shared { counters, map, .. } = &*self.shared;
        counters.count(Counter::RxOut);
        counters.count(Counter::LeftAlone);
        if let Ok(walk) = walk(packet)
            && let Some(flow) = flow_of(packet, &walk, Way::Out)
        {
            map.flows.leave_alone(flow, counters);
            self.concern(flow.ulids);
        }
        Verdict::Accept
    }

    /// What an ordinary packet says about the treatment of its flow. Out: a flow that was left alone has another socket
    /// now. In, but not by a forked context: the peer uses that context for the flow no longer.
    fn follow(&self, packet: &[u8], walk: &Walk, way: Way) {
        let flows = &self.shared.map.flows;
        if flows.is_empty() {
            return;
        }
        let Some(flow) = flow_of(packet, walk, way) else { return };
        match (flows.get(&flow), way) {
            (Some(Treatment::LeaveAlone), Way::Out) => flows.release(&flow),
            (Some(Treatment::Learned(_)), Way::In | Way::Shim6) => flows.release(&flow),
            _ => {}
        }
    }

    /// A packet that came by this context. Answers go by the same one if it is a forked one, unless an own socket has
    /// chosen another.
    // req: S6-4.2-02, AP-A-01
    fn learn(&self, entry: &EntryRef, packet: &[u8]) {
        let (id, fii) = (entry.id(), entry.fii());
        if fii == Fii::DEFAULT && self.shared.map.flows.is_empty() {
            return;
        }
        let Ok(walk) = walk(packet) else { return };
        if fii == Fii::DEFAULT {
            return self.follow(packet, &walk, Way::Shim6);
        }
        let Some(flow) = flow_of(packet, &walk, Way::In) else { return };
        let flows = &self.shared.map.flows;
        match flows.get(&flow) {
            Some(Treatment::Bound(_) | Treatment::LeaveAlone) => {}
            Some(Treatment::Learned(known)) if known.same(entry) => {}
            Some(Treatment::Learned(_)) | None => {
                self.shared.map.learn_flow(flow, id, &self.shared.counters);
                self.concern(flow.ulids);
            }
        }
    }

    /// A flow between these ULIDs is treated in a way of its own, so none passes in the kernel.
    fn concern(&self, ulids: UlidPair) {
        if let Some(kernel_path) = self.shared.kernel_path.get() {
            kernel_path.review(&self.shared, ulids, false);
        }
    }

    fn carry_out(&mut self, decision: Decision, seen: Seen<'_>, way: Way, now: Time) -> Verdict {
        let counters = &self.shared.counters;
        let packet = seen.octets;
        match decision {
            // Its headers may go on behind what is there, or tell a length of 0 until it is cut to size.
            Decision::PassCounted(Counter::PassMalformed) if !seen.whole => {
                Verdict::Again(Wanted::Once)
            }
            Decision::Tag { entry, pair, tag, walk } if seen.large => {
                self.follow(packet, &walk, Way::Out);
                self.tag_large(&entry, (pair, tag), seen, &walk, now)
            }
            Decision::Tag { .. } if !seen.whole => Verdict::Again(Wanted::Large),
            Decision::Watch(_) | Decision::PlainIn(_)
                if !seen.whole && way == Way::In && quotes_shim6(packet) =>
            {
                Verdict::Again(Wanted::Once)
            }
            Decision::Pass => Verdict::Accept,
            Decision::PassCounted(counter) => {
                counters.count(counter);
                Verdict::Accept
            }
            Decision::Watch(pair) => {
                if !self.shared.map.flows.is_empty()
                    && let Ok(walk) = walk(packet)
                {
                    self.follow(packet, &walk, way);
                }
                if self.shared.heuristic.observe(pair, seen.len, now, counters) {
                    self.shared.notice(Notice::Heuristic(pair));
                }
                Verdict::Accept
            }
            Decision::PlainOut { entry, walk } => {
                self.follow(packet, &walk, Way::Out);
                if self.touch_out(&entry, seen, &walk, now) {
                    self.pace(&entry, walk.upper.map_or(0, |u| u.protocol), now);
                    Verdict::Accept
                } else {
                    Verdict::Again(Wanted::Once)
                }
            }
            Decision::PlainIn(entry) => {
                if !self.shared.map.flows.is_empty()
                    && let Ok(walk) = walk(packet)
                {
                    self.follow(packet, &walk, Way::In);
                }
                self.touch_in(&entry, seen.len, now);
                entry.cells.received_plain();
                self.acknowledge(&entry, packet, now);
                // One with extension headers may go uncounted: it is a hint only.
                self.pace(&entry, packet.get(NEXT_HEADER).copied().unwrap_or(0), now);
                Verdict::Accept
            }
            // Too long for the queue. Nobody can answer what does not go out, so it does not count, either.
            Decision::Tag { walk, .. } if packet.len() < walk.end => self.drop(Counter::DropTooBig),
            Decision::Tag { entry, pair, tag, walk } => {
                self.follow(packet, &walk, Way::Out);
                self.touch_out(&entry, seen, &walk, now);
                let follows = self.outgoing.follows(packet, &walk, now);
                match self.outgoing.tagged(packet, &walk, &entry, (pair, tag), now) {
                    Ok(packets) if follows => Verdict::Send(packets.into_iter().collect()),
                    Ok(mut packets) => {
                        let then = packets.split_off(1.min(packets.len()));
                        match packets.pop() {
                            Some(packet) => Verdict::Replace { packet, mark: false, then },
                            None => Verdict::Drop,
                        }
                    }
                    Err(reason) => self.drop(reason),
                }
            }
            Decision::Strip { entry, ulids, place, report } => {
                self.strip(&entry, ulids, place, report, packet, now)
            }
            Decision::Reassemble(walk) => {
                match self.reassembler.add(packet, &walk, now, counters) {
                    Some(whole) => {
                        let decision = decide(&whole, way, &self.shared.map);
                        self.carry_out(decision, Seen::from(&whole), way, now)
                    }
                    None => Verdict::Drop,
                }
            }
            Decision::UnknownTag { src, dst, tag } => {
                counters.count(Counter::DropUnknownTag);
                if self.unknown_tags.may_tell(now) {
                    self.shared.notice(Notice::UnknownTag { src, dst, tag });
                }
                Verdict::Drop
            }
            Decision::Control { offset } => {
                self.control(packet, offset);
                Verdict::Drop
            }
            Decision::Icmp(quoted) => self.icmp(quoted, packet, now),
            Decision::Drop(reason) => self.drop(reason),
        }
    }

    fn drop(&self, reason: Counter) -> Verdict {
        self.shared.counters.count(reason);
        Verdict::Drop
    }

    /// Notes a packet out, and keeps a copy of it if its context or its flow is in doubt. False, and nothing noted, if
    /// that needs the whole packet.
    fn touch_out(&mut self, entry: &Entry, seen: Seen<'_>, walk: &Walk, now: Time) -> bool {
        let wanted = self.shared.held.wanted(entry, now);
        if wanted && !seen.whole && walk.is(protocol::TCP) {
            return false;
        }
        let id = entry.id();
        // When the packet comes a second time it is still one that was sent before.
        let repeats = self.progress.repeats(id, seen.octets, walk);
        if repeats && !seen.whole {
            return false;
        }
        self.note_out(entry, seen, walk, repeats, now);
        // A reset frees what is held.
        let resets = || held::tcp_of(seen.octets, walk).is_some_and(|t| t.flags & flag::RST != 0);
        if repeats || wanted || entry.cells.held() > 0 && resets() {
            self.shared.held.keep(entry, seen.octets, walk, &self.shared.counters, now);
        }
        true
    }

    /// Payload of a context on other locators that the kernel has not cut into segments yet.
    fn tag_large(
        &mut self,
        entry: &Entry,
        way: (LocatorPair, ContextTag),
        seen: Seen<'_>,
        walk: &Walk,
        now: Time,
    ) -> Verdict {
        let segmented = match self.outgoing.segmented(seen.octets, walk, entry, way, now) {
            Ok(None) => return Verdict::Again(Wanted::Cut),
            Ok(Some(segmented)) => Ok(segmented),
            Err(reason) => Err(reason),
        };
        let wanted = self.shared.held.wanted(entry, now);
        let repeats = self.progress.repeats(entry.id(), seen.octets, walk);
        self.note_out(entry, seen, walk, repeats, now);
        let segmented = match segmented {
            Ok(segmented) => segmented,
            Err(reason) => return self.drop(reason),
        };
        if (repeats || wanted)
            && let Some(cutter) = Cutter::new(seen.octets, walk)
            && let Some(first) = cutter.first(segmented.room)
            && let Ok(walk) = crate::wire::ipv6::walk(&first)
        {
            self.shared.held.keep(entry, &first, &walk, &self.shared.counters, now);
        }
        let mut pieces = segmented.pieces.iter().map(<[u8]>::to_vec);
        match segmented.new.then(|| pieces.next()).flatten() {
            Some(packet) => Verdict::Replace { packet, mark: false, then: pieces.collect() },
            None => {
                drop(pieces);
                Verdict::Send(segmented.pieces)
            }
        }
    }

    /// Counts a packet out.
    fn note_out(&self, entry: &Entry, seen: Seen<'_>, walk: &Walk, repeats: bool, now: Time) {
        let watch = entry.watch();
        self.shared.active(entry, entry.cells.touch_out(now, seen.len));
        if watch {
            let signs = entry.cells.signs();
            signs.packet_out(now);
            if let Some(tcp) = held::tcp_of(seen.octets, walk).filter(|t| t.space() > 0) {
                let end = tcp.seq.wrapping_add(tcp.space());
                signs.segment_out(now, (tcp.src_port, tcp.dst_port), end, repeats);
            }
        }
    }

    fn touch_in(&self, entry: &Entry, octets: usize, now: Time) {
        if entry.watch() {
            entry.cells.signs().packet_in(now);
        }
        self.shared.active(entry, entry.cells.touch_in(now, octets));
    }

    /// Frees held copies that an inbound packet acknowledges, and ends the measurement of a round trip.
    fn acknowledge(&self, entry: &Entry, packet: &[u8], now: Time) {
        let (held, measures) = (entry.cells.held() > 0, entry.cells.measures());
        if !held && !measures {
            return;
        }
        let Ok(walk) = walk(packet) else { return };
        if measures
            && let Some(tcp) = held::tcp_of(packet, &walk)
            && tcp.flags & flag::ACK != 0
        {
            entry.cells.signs().acknowledged(now, (tcp.dst_port, tcp.src_port), tcp.ack);
        }
        if held {
            self.shared.held.acknowledge(entry, packet, &walk, &self.shared.counters, now);
        }
    }

    // req: S6-16.1-03
    fn strip(
        &mut self,
        entry: &EntryRef,
        ulids: UlidPair,
        place: Place,
        report: bool,
        packet: &[u8],
        now: Time,
    ) -> Verdict {
        self.touch_in(entry, packet.len(), now);
        let outer = walk(packet);
        if let Ok(Walk { header, .. }) = &outer {
            let pair = LocatorPair { local: Locator(header.dst), peer: Locator(header.src) };
            entry.cells.received_tagged(pair);
        }
        if report && entry.cells.may_tell_setup(now) {
            self.shared.notice(Notice::PayloadInSetup(entry.id()));
        }
        // What link layers append is no part of the packet.
        let end = outer.map_or(packet.len(), |w| w.end.min(packet.len()));
        let Some(mut stripped) =
            packet.get(..end).and_then(|packet| rewrite::strip(packet, place, ulids))
        else {
            return self.drop(Counter::DropShim6Length);
        };
        let Ok(inner) = walk(&stripped) else {
            return self.drop(Counter::DropShim6Length);
        };
        self.shared.counters.count(Counter::Stripped);
        if inner.fragment.is_some_and(|(_, f)| !f.is_whole()) {
            match self.reassembler.add(&stripped, &inner, now, &self.shared.counters) {
                Some(whole) => stripped = whole,
                None => return Verdict::Drop,
            }
        }
        if stripped.len() > MAX_VERDICT_PACKET {
            return self.drop(Counter::DropReassembledSize);
        }
        self.learn(entry, &stripped);
        self.acknowledge(entry, &stripped, now);
        Verdict::Replace { packet: stripped, mark: true, then: Vec::new() }
    }

    fn control(&self, packet: &[u8], offset: usize) {
        if let Ok(walk) = walk(packet) {
            let end = walk.end.min(packet.len());
            self.shared.control(ControlPacket {
                src: Locator(walk.header.src),
                dst: Locator(walk.header.dst),
                packet: packet.get(..end).unwrap_or_default().to_vec(),
                offset,
            });
        }
    }

    // req: S6-8-01, S6-8-02, S6-8-03, S6-8-04
    fn icmp(&mut self, quoted: Quoted, packet: &[u8], now: Time) -> Verdict {
        let counters = &self.shared.counters;
        let (entry, pair, mtu, for_shim) = match quoted {
            Quoted::Control { icmp_type, icmp_code, src, dst, message: quoted } => {
                counters.count(Counter::IcmpControl);
                if self.refused.may_tell(now) {
                    let notice = Notice::ControlRefused { icmp_type, icmp_code, src, dst, quoted };
                    self.shared.notice(notice);
                } else {
                    counters.count(Counter::IcmpControlShed);
                }
                return Verdict::Drop;
            }
            Quoted::Payload { entry, pair, icmp_type, icmp_code, mtu, for_shim } => {
                if entry.cells.may_tell_refused(now) {
                    let context = entry.id();
                    let notice = Notice::PayloadRefused { context, icmp_type, icmp_code };
                    self.shared.notice(notice);
                }
                (entry, pair, mtu, for_shim)
            }
        };
        if let Some(mtu) = mtu {
            self.shared.lowered.lower(pair, mtu, now);
        }
        let (acting, ulids) = {
            let forward = entry.forward();
            (forward.hold, forward.ulids)
        };
        if for_shim && acting && !self.shared.config.deliver_all_icmp {
            counters.count(Counter::IcmpConsumed);
            return Verdict::Drop;
        }
        match walk(packet).ok().and_then(|walk| icmp::translate(packet, &walk, ulids)) {
            Some(packet) => {
                counters.count(Counter::IcmpTranslated);
                Verdict::Replace { packet, mark: false, then: Vec::new() }
            }
            None => self.drop(Counter::DropIcmp),
        }
    }
}

/// Whether a packet of which only the headers are there may be an ICMPv6 error about a Shim6 packet.
fn quotes_shim6(packet: &[u8]) -> bool {
    // Nearly all packets; cheaper to see than all headers once more.
    if matches!(packet.get(NEXT_HEADER), Some(&(protocol::TCP | protocol::UDP))) {
        return false;
    }
    walk(packet).is_ok_and(|walk| walk.is(protocol::ICMPV6) && icmp::may_quote(packet, &walk))
}

#[cfg(test)]
mod tests;
