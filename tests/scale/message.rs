//! Which message of which kind a context has met: what the engine took for it, not what its octets say.

use crate::host::Heard;
use crate::matrix::{Cause, On};
use crate::settle::roll;
use crate::world::{About, World, tag_at};
use shim6::proto::engine::State;
use shim6::proto::reap::ReapState;
use shim6::wire::MessageType;

/// What a message is by its octets, before anybody has looked whether they are in order.
pub struct Foreseen {
    on: On,
    state: State,
    /// REAP's state, and what the message is to it.
    reap: Option<(ReapState, Cause)>,
}

impl World {
    /// What a message will be to the context it is about, if it is in order. Nothing is known of strangers' messages.
    pub fn foresee(&mut self, h: usize, m: &[u8], about: About) -> Option<Foreseen> {
        let tag = tag_at(m, 6)?;
        let kind = MessageType::from(m[2] & 0x7f);
        let host = &mut self.hosts[h];
        let now = self.now;
        let on = match kind {
            MessageType::R1 => On::R1,
            MessageType::I2 => On::I2,
            MessageType::R2 => On::R2,
            MessageType::R1bis => On::R1bis,
            MessageType::I2bis => On::I2bis,
            MessageType::Error => On::Error,
            MessageType::I1 => {
                let same = |(u, f)| {
                    host.find(u, f).is_some_and(|i| {
                        let c = &host.ctxs[i];
                        c.state.has_peer() && c.peer_tag == Some(tag)
                    })
                };
                if about.is_some_and(same) { On::I1Same } else { On::I1Other }
            }
            MessageType::UpdateRequest
            | MessageType::UpdateAck
            | MessageType::Keepalive
            | MessageType::Probe => {
                let on = match (kind, m.get(13).map(|o| o >> 6)) {
                    (MessageType::UpdateRequest, _) => On::UpdateRequest,
                    (MessageType::UpdateAck, _) => On::UpdateAck,
                    (MessageType::Keepalive, _) => On::Keepalive,
                    (_, Some(1)) => On::ProbeExploring,
                    (_, Some(2)) => On::ProbeInboundOk,
                    _ => On::ProbeOperational,
                };
                if let Some(c) = host.ctxs.iter_mut().find(|c| c.local_tag == tag) {
                    let cause = match on {
                        On::Keepalive => Cause::KeepaliveIn,
                        On::ProbeExploring => Cause::ProbeExploringIn,
                        On::ProbeInboundOk => Cause::ProbeInboundOkIn,
                        On::ProbeOperational => Cause::ProbeOperationalIn,
                        _ => Cause::PayloadIn,
                    };
                    // What it may make the engine send.
                    let w = roll(c, now.millis());
                    match kind {
                        MessageType::Probe => {
                            w.heard += 1;
                            // One that names nothing is no news of the pair in use, which is tested.
                            w.tests += u32::from(on == On::ProbeInboundOk && names_nothing(m));
                        }
                        MessageType::Keepalive => {}
                        _ => w.fresh += 1,
                    }
                    let reap = (c.state == State::Established).then_some((c.reap, cause));
                    return Some(Foreseen { on, state: c.state, reap });
                }
                on
            }
            MessageType::Unknown(_) => On::Unreadable,
        };
        let (ulids, fii) = about?;
        Some(Foreseen { on, state: self.hosts[h].state_of(ulids, fii, now), reap: None })
    }

    /// The engine has seen it: counts what it was.
    pub fn count_message(&mut self, foreseen: Option<Foreseen>) {
        let Some(Foreseen { on, state, reap }) = foreseen else { return };
        let on = match (self.readable, self.dropped) {
            (false, _) => On::Unreadable,
            (true, None) => on,
            (true, Some(reason)) if is_answer_of(state, reason) => on,
            (true, Some(_)) => On::Refused,
        };
        self.tally.matrix.hit(state, on);
        if let Some((reap, cause)) = reap
            && !matches!(on, On::Unreadable | On::Refused)
        {
            self.tally.matrix.reap(reap, cause);
        }
    }

    /// Keeps one message of each type and direction for those who repeat messages.
    pub fn archive(&mut self, h: usize, heard: &Heard) {
        if self.plan.ambush == 0 {
            return;
        }
        let kind = heard.packet[42];
        let again = self.rng.permille(300);
        let archive = &mut self.hosts[h].archive;
        let same = |o: &Heard| o.packet[42] == kind && o.about == heard.about;
        match archive.iter().position(same) {
            Some(i) if again => archive[i] = heard.clone(),
            Some(_) => {}
            None if archive.len() < 64 => archive.push(heard.clone()),
            None => {}
        }
    }
}

/// Whether this reason to drop a message is what the state says about messages of its kind, whatever they hold. All others
/// are about what this one holds: validator, nonce, locators, tags, lists.
fn is_answer_of(state: State, reason: &str) -> bool {
    match reason {
        "unknown_tag" | "tagged_in_i1_sent" | "tagged_in_i2_sent" | "reap_in_i2bis_sent" => true,
        "r1_state" | "r1bis_state" | "r1bis_too_often" => true,
        // Limits know no states, and an acknowledgement that is late is one all the same.
        "r1_rate" | "r2_rate" | "update_ack_unmatched" => true,
        // Nobody waits for such a message.
        "r1_unmatched" => state != State::I1Sent,
        "r2_unmatched" => !matches!(state, State::I1Sent | State::I2Sent | State::I2bisSent),
        "r1bis_unmatched" | "error_unmatched" => !state.has_peer(),
        _ => false,
    }
}

/// A Probe has no reports of Probes that were received.
fn names_nothing(m: &[u8]) -> bool {
    m.get(12).is_some_and(|counts| counts >> 4 == 0)
}
