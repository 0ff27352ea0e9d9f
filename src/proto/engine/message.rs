//! Building and sending control messages.

use super::locals::{Announced, is_telling};
use super::{Context, Engine};
use crate::addr::{Fii, LocatorPair};
use crate::proto::{Cx, Output, Transmit};
use crate::wire::control::{Message, MessageType};
use crate::wire::header::MAX_PACKET;
use crate::wire::option::{Options, UlidPairOption};
use std::sync::Arc;

/// Octets a control message may have in a packet with a plain IPv6 header.
// req: S6-5.1-02
pub const MAX_MESSAGE: usize = MAX_PACKET - 40;
/// What every locator list has to leave free, so that the same list fits into each message that can carry one: the
/// fixed part of I2bis, ULID Pair, FII, Keepalive Timeout, and a validator of up to 32 octets.
const RESERVE: usize = 32 + 40 + 8 + 8 + 40;

impl Engine {
    /// Sends a message from `pair.local` to `pair.peer`.
    pub(super) fn transmit(&mut self, cx: &mut Cx<'_>, pair: LocatorPair, message: &Message) {
        if message.emitted_len() > MAX_MESSAGE {
            self.count(cx, "tx_too_long");
            return;
        }
        self.count(cx, tx_counter(message.kind()));
        cx.push(Output::Transmit(Transmit {
            src: pair.local,
            dst: pair.peer,
            message: message.emit(),
        }));
    }

    /// The options that say what I1, I2 and I2bis are about.
    // req: S6-5.4-06, S6-5.4-07, S6-5.6-09, S6-5.6-10, S6-5.9-04, S6-5.9-05, S6-5.15.6-01, S6-7.7-02, S6-7.7-03,
    // req: S6-7.11-05, S6-7.11-06, S6-7.18-06, S6-7.18-07
    pub(super) fn identifying(&self, c: &Context, pair: LocatorPair) -> Options {
        Options {
            ulid_pair: (pair != c.ulids.locators())
                .then_some(UlidPairOption { sender: c.ulids.local, receiver: c.ulids.peer }),
            fii: (c.fii != Fii::DEFAULT).then_some(c.fii),
            ..Options::default()
        }
    }

    // req: AL-3.3-01
    /// The list of a context's ULID that fits beside what else a message of `fixed` octets and `others` carries.
    pub(super) fn list_for(
        &mut self,
        c: &Context,
        fixed: usize,
        others: &Options,
    ) -> Arc<Announced> {
        let taken = (fixed + others.emitted_len() + 8).max(RESERVE);
        self.locals.announced(c.ulids.local, &c.settings.extra, MAX_MESSAGE.saturating_sub(taken))
    }

    /// Adds our locators with everything that proves them, and our Send Timeout.
    // req: S6-5.6-11, S6-5.6-13, S6-5.6-14, S6-5.7-05, S6-5.9-06, S6-7.6-01, S6-7.11-08, S6-7.14-03, S6-7.18-08
    // req: RP-5.3-01, RP-5.3-02
    pub(super) fn add_locators(&mut self, c: &mut Context, fixed: usize, options: &mut Options) {
        let list = self.list_for(c, fixed, options);
        if list.is_sent() {
            options.locator_list = Some(list.list());
            options.pds = list.pds.clone();
            options.signature = list.signature.clone();
            let preferences = self.locals.preferences(&list, &c.settings.local);
            if is_telling(&preferences) {
                options.preferences = Some(preferences);
            }
        }
        options.keepalive_timeout = Some(self.send_timeout_secs(c));
        c.told_send_timeout = options.keepalive_timeout;
        c.local.stale = false;
        self.adopt_list(c, &list, list.is_sent());
    }

    /// Ls(local) becomes this list; what is new in it waits for the peer's acknowledgement. `sent`: a message carries it.
    pub(super) fn adopt_list(&mut self, c: &mut Context, list: &Announced, sent: bool) {
        if sent && c.local.generation != Some(list.generation) {
            for e in c.local.entries.iter() {
                let dropped = !list.entries.iter().any(|(l, _)| *l == e.locator);
                if dropped && e.acknowledged && !c.local.former.contains(&e.locator) {
                    c.local.former.push(e.locator);
                }
            }
            // Only so many lists can change between two acknowledgements without being a fault of ours.
            let excess = c.local.former.len().saturating_sub(32);
            c.local.former.drain(..excess);
        }
        let entries = list
            .entries
            .iter()
            .map(|&(locator, proof)| {
                let status = self.locals.status(locator.0);
                super::context::LocalEntry {
                    locator,
                    proof,
                    acknowledged: locator == c.ulids.local.locator()
                        || c.local.get(locator).is_some_and(|e| e.acknowledged),
                    broken: status.is_none_or(|s| s.is_broken()),
                    deprecated: status.is_some_and(|s| s.deprecated),
                    transient: status.is_some_and(|s| s.temporary),
                }
            })
            .collect();
        c.local.entries = entries;
        c.local.generation = if sent { Some(list.generation) } else { c.local.generation };
    }

    /// The peer has our list: all of it may be used as source, and what was dropped is dropped.
    // req: S6-7.2-02, S6-5.11-03
    pub(super) fn acknowledge_list(&mut self, c: &mut Context) {
        if c.local.entries.iter().any(|e| !e.acknowledged) {
            for e in Arc::make_mut(&mut c.local.entries) {
                e.acknowledged = true;
            }
        }
        c.local.former.put_to_rest();
    }
}

/// Counter of messages received, by type.
pub(super) fn rx_counter(kind: MessageType) -> &'static str {
    match kind {
        MessageType::I1 => "rx_i1",
        MessageType::R1 => "rx_r1",
        MessageType::I2 => "rx_i2",
        MessageType::R2 => "rx_r2",
        MessageType::R1bis => "rx_r1bis",
        MessageType::I2bis => "rx_i2bis",
        MessageType::UpdateRequest => "rx_update_request",
        MessageType::UpdateAck => "rx_update_ack",
        MessageType::Keepalive => "rx_keepalive",
        MessageType::Probe => "rx_probe",
        MessageType::Error => "rx_error",
        MessageType::Unknown(_) => "rx_unknown",
    }
}

/// Counter of messages sent, by type.
fn tx_counter(kind: MessageType) -> &'static str {
    match kind {
        MessageType::I1 => "tx_i1",
        MessageType::R1 => "tx_r1",
        MessageType::I2 => "tx_i2",
        MessageType::R2 => "tx_r2",
        MessageType::R1bis => "tx_r1bis",
        MessageType::I2bis => "tx_i2bis",
        MessageType::UpdateRequest => "tx_update_request",
        MessageType::UpdateAck => "tx_update_ack",
        MessageType::Keepalive => "tx_keepalive",
        MessageType::Probe => "tx_probe",
        MessageType::Error => "tx_error",
        MessageType::Unknown(_) => "tx_unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{ContextTag, InitNonce, ResponderNonce, Ulid};
    use crate::wire::control::I2bis;
    use std::net::Ipv6Addr;

    // req-test: S6-5.1-02
    #[test]
    fn room_is_kept_for_all_that_the_longest_message_carries_beside_a_list() {
        let ulid = Ulid(Ipv6Addr::LOCALHOST);
        let longest = Message::I2bis(I2bis {
            initiator_tag: ContextTag::from_masked(1),
            init_nonce: InitNonce(1),
            responder_nonce: ResponderNonce(1),
            packet_tag: ContextTag::from_masked(2),
            options: Options {
                validator: Some(vec![0; 32]),
                ulid_pair: Some(UlidPairOption { sender: ulid, receiver: ulid }),
                fii: Some(Fii(1)),
                keepalive_timeout: Some(15),
                ..Options::default()
            },
        });
        assert_eq!(longest.emitted_len(), RESERVE);
        assert_eq!(MAX_MESSAGE, 1240);
    }

    #[test]
    fn each_kind_of_message_has_its_counters() {
        use MessageType::*;
        let all = [I1, R1, I2, R2, R1bis, I2bis, UpdateRequest, UpdateAck, Keepalive, Probe, Error];
        let all = [&all[..], &[Unknown(99)]].concat();
        let received = all.iter().filter_map(|k| rx_counter(*k).strip_prefix("rx_"));
        let received: std::collections::BTreeSet<&str> = received.collect();
        let sent = all.iter().filter_map(|k| tx_counter(*k).strip_prefix("tx_")).collect();
        assert_eq!(received, sent);
        assert_eq!(received.len(), all.len());
    }
}
