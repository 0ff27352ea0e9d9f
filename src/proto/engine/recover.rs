//! A context that one side has lost: R1bis out and in (RFC 5533, 7.17, 7.18). I2bis goes the way of I2.

use super::context::{Answer, Setup};
use super::dispatch::Envelope;
use super::validator::Question;
use super::{Engine, State, peer};
use crate::addr::{ContextTag, LocatorPair};
use crate::proto::{Cx, Time};
use crate::wire::control::{Message, R1bis};
use crate::wire::option::Options;
use std::time::Duration;

/// At most one recovery per context and this time.
const RECOVERY_GAP: Duration = Duration::from_secs(5);

impl Engine {
    /// Answers a packet with a tag that no context has, or that came from or to an address outside its context, by
    /// R1bis. Keeps nothing; limited in all and per /64.
    // req: S6-5.8-03, S6-7.17-01, S6-7.17-02, S6-7.17-03, S6-7.17.1-01, S6-12.2-02, S6-7.5-01, S6-1.5-02
    pub(super) fn send_r1bis(&mut self, cx: &mut Cx<'_>, pair: LocatorPair, tag: ContextTag) {
        if !peer::is_unicast(pair.peer.0) || !self.is_ours(pair.local.0) {
            return self.count(cx, "unknown_tag_address");
        }
        if !self.rates.r1bis(cx.now, &self.config.limits, pair.peer) {
            return self.count(cx, "r1bis_rate");
        }
        let question = Question::Tagged { tag, pair };
        let (nonce, validator) = self.validator.issue(cx.now, cx.rng, &question);
        let options = Options { validator: Some(validator.to_vec()), ..Options::default() };
        let r1bis = R1bis { packet_tag: tag, responder_nonce: nonce, options };
        self.transmit(cx, pair, &Message::R1bis(r1bis));
    }

    /// R1bis: the peer says that it has lost the context. Payload goes on with the old tag until R2 brings the new
    /// one, because anybody on an old path could have sent this.
    ///
    /// It is taken on any pair of the context on which a packet with that tag went out lately, since Probes leave on
    /// other pairs than the current one.
    // req: S6-7.18-01, S6-7.18-02, S6-7.18-03, S6-7.18-04, S6-7.18-05, S6-12.4-03, S6-B-04, S6-B-05
    pub(super) fn on_r1bis(&mut self, cx: &mut Cx<'_>, env: &Envelope<'_>, m: R1bis) {
        let id = self.table.find_peer_tag(m.packet_tag).find(|id| {
            self.table.get(*id).is_some_and(|c| {
                c.peer.contains(env.pair.peer)
                    && c.local.accepts(env.pair.local)
                    && c.sent_tagged(env.pair, cx.now)
            })
        });
        let Some(id) = id else { return self.drop(cx, "r1bis_unmatched") };
        let Some(validator) = m.options.validator else {
            return self.drop(cx, "r1bis_without_validator");
        };
        self.with(cx, id, |e, cx, c| {
            if c.state() != State::Established {
                return e.drop(cx, "r1bis_state");
            }
            if cx.now < c.no_recovery_before {
                return e.drop(cx, "r1bis_too_often");
            }
            c.no_recovery_before = cx.now + RECOVERY_GAP;
            let nonce = e.table.new_nonce(cx.rng);
            c.setup = Some(Box::new(Setup::new(nonce, Vec::new(), Time::ZERO)));
            let answer = Answer {
                pair: env.pair,
                nonce: m.responder_nonce,
                validator,
                packet_tag: Some(m.packet_tag),
                at: cx.now,
            };
            let timeout = e.config.establish.i2bis_timeout;
            e.answer(cx, c, answer, State::I2bisSent, timeout);
        });
    }
}
