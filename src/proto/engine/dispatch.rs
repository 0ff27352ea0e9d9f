//! A control message or a report of the data plane finds its context (RFC 5533, 12.3, 12.4).

use super::context::count;
use super::message::rx_counter;
use super::{Context, Engine, State};
use crate::addr::{ContextTag, LocatorPair};
use crate::proto::input::{ControlPacket, Notice};
use crate::proto::{Cx, WakeOn};
use crate::wire::control::Message;
use crate::wire::{ParseError, header};

/// A control message with where it came from.
pub(super) struct Envelope<'a> {
    /// The packet.
    pub packet: &'a ControlPacket,
    /// Its octets from the Shim6 header on.
    pub message: &'a [u8],
    /// Our end is where it came to.
    pub pair: LocatorPair,
}

impl Engine {
    /// Handles a Shim6 control message. Poll timeout and activity again afterwards.
    // req: S6-7.9-01, S6-7.11-01, S6-7.16-01, S6-7.13-01, S6-7.20-01
    // req: S6-12-01, S6-12.3-01, S6-12.3-02, S6-12.3-03, S6-12.3-04, S6-12.3-05, S6-12.3-06, S6-5.3-08, S6-12.4-01
    pub fn handle_message(&mut self, cx: &mut Cx<'_>, packet: &ControlPacket) {
        let message = packet.packet.get(packet.offset..).unwrap_or_default();
        let pair = LocatorPair { local: packet.dst, peer: packet.src };
        let env = Envelope { packet, message, pair };
        if let Err(why) = header::check_addresses(packet.src.0, packet.dst.0) {
            return self.drop(cx, why.reason());
        }
        if !self.is_ours(packet.dst.0) {
            return self.drop(cx, "not_ours");
        }
        if self.is_ours(packet.src.0) || packet.src.0.is_loopback() {
            return self.drop(cx, "from_ourselves");
        }
        let parsed = match Message::parse(message) {
            Ok(parsed) => parsed,
            Err(why) => return self.unreadable(cx, &env, why),
        };
        self.count(cx, rx_counter(parsed.kind()));
        match parsed {
            Message::I1(m) => self.on_i1(cx, &env, m),
            Message::R1(m) => self.on_r1(cx, &env, m),
            Message::I2(m) => self.on_proposal(cx, &env, m.into()),
            Message::R2(m) => self.on_r2(cx, &env, m),
            Message::R1bis(m) => self.on_r1bis(cx, &env, m),
            Message::I2bis(m) => self.on_proposal(cx, &env, m.into()),
            Message::UpdateRequest(ref m) => self.on_tagged(cx, &env, m.receiver_tag, parsed),
            Message::UpdateAck(ref m) => self.on_tagged(cx, &env, m.receiver_tag, parsed),
            Message::Keepalive(ref m) => self.on_tagged(cx, &env, m.receiver_tag, parsed),
            Message::Probe(ref m) => self.on_tagged(cx, &env, m.receiver_tag, parsed),
            Message::Error(m) => self.on_error(cx, &env, &m),
        }
    }

    /// Drops what cannot be read; its sender is told where the RFC wants that.
    // req: S6-17-01
    fn unreadable(&mut self, cx: &mut Cx<'_>, env: &Envelope<'_>, why: ParseError) {
        self.drop(cx, why.reason());
        let debug = || why.debug_reply().filter(|_| self.config.debug_errors);
        if let Some((code, offset)) = why.reply().or_else(debug) {
            self.send_error(cx, env, code, offset);
        }
    }

    /// Messages that name a context by CT(local): by state first, then the addresses, then each to its machine.
    // req: S6-7.17-02, S6-10.4-01, S6-10.4-02, S6-10.4-03, S6-10.4-04, S6-10.4-06, S6-10.5-01, S6-10.5-02,
    // req: S6-10.5-03, S6-10.5-04, S6-12.4-05, RP-5.1-06, S6-B-02, S6-B-03, S6-B-04, S6-B-05
    fn on_tagged(&mut self, cx: &mut Cx<'_>, env: &Envelope<'_>, tag: ContextTag, m: Message) {
        let Some(id) = self.table.find_local_tag(tag) else {
            self.drop(cx, "unknown_tag");
            return self.send_r1bis(cx, env.pair, tag);
        };
        let foreign = self.with(cx, id, |e, cx, c| {
            match c.state() {
                // The peer cannot know this tag.
                State::Idle | State::EFailed | State::NoSupport | State::I1Sent => {
                    e.drop(cx, "tagged_in_i1_sent");
                    return false;
                }
                // CT(peer) and Ls(peer) are not known, so there is nothing to check or to answer with.
                State::I2Sent => {
                    e.drop(cx, "tagged_in_i2_sent");
                    e.react(cx, c);
                    return false;
                }
                State::Established | State::I2bisSent => {}
            }
            if !c.peer.contains(env.pair.peer) || !c.local.accepts(env.pair.local) {
                return true;
            }
            if c.state() == State::I2bisSent {
                e.react(cx, c);
            }
            e.on_context_message(cx, c, env, m);
            false
        });
        // req: S6-C.3-01
        if foreign == Some(true) {
            self.drop(cx, "foreign_locator");
            self.send_r1bis(cx, env.pair, tag);
        }
    }

    /// A message of a context whose addresses are in order.
    // req: RP-4.1-09, RP-6.1-06, RP-5.1-06
    fn on_context_message(
        &mut self,
        cx: &mut Cx<'_>,
        c: &mut Context,
        env: &Envelope<'_>,
        m: Message,
    ) {
        let established = c.state() == State::Established;
        match m {
            Message::UpdateRequest(m) => self.on_update_request(cx, c, env, &m),
            Message::UpdateAck(m) => self.on_update_ack(cx, c, &m),
            Message::Keepalive(_) if established => {
                count(&mut c.counters.keepalives_in);
                self.alive(c);
                self.reap(cx, c, |reap, rcx| reap.on_keepalive_by(rcx, env.pair));
            }
            Message::Probe(m) if established => {
                count(&mut c.counters.probes_in);
                self.alive(c);
                let (src, dst) = (env.pair.peer, env.pair.local);
                self.reap(cx, c, |reap, rcx| reap.on_probe(rcx, src, dst, &m));
            }
            _ => self.drop(cx, "reap_in_i2bis_sent"),
        }
    }

    /// Handles a report of the data plane. Poll timeout and activity again afterwards.
    // req: S6-12.2-02, S6-12.2-03, RP-8-01, RP-3.3-04, S6-8-08
    pub fn handle_notice(&mut self, cx: &mut Cx<'_>, notice: Notice) {
        match notice {
            Notice::Heuristic(ulids) => self.on_heuristic(cx, ulids),
            Notice::UnknownTag { src, dst, tag } => {
                let pair = LocatorPair { local: dst, peer: src };
                match self.table.find_local_tag(tag).and_then(|id| self.table.get(id)) {
                    // The entry may be newer than the packet's look-up.
                    Some(_) => self.count(cx, "notice_late"),
                    None => self.send_r1bis(cx, pair, tag),
                }
            }
            Notice::Active(id, activity) => {
                self.with(cx, id, |e, cx, c| {
                    c.armed = WakeOn::Nothing;
                    e.on_activity(cx, c, activity);
                });
            }
            Notice::PayloadInSetup(id) => {
                self.with(cx, id, |e, cx, c| e.react(cx, c));
            }
            Notice::ControlRefused { icmp_type, icmp_code, src, dst, quoted } => {
                let pair = LocatorPair { local: src, peer: dst };
                self.on_control_refused(cx, (icmp_type, icmp_code), pair, &quoted);
            }
            Notice::PayloadRefused { context, icmp_type, icmp_code } => {
                self.with(cx, context, |e, cx, c| {
                    e.on_payload_refused(cx, c, (icmp_type, icmp_code));
                });
            }
            Notice::SendFailed { src, dst } => {
                self.on_send_failed(cx, LocatorPair { local: src, peer: dst });
            }
        }
    }
}
