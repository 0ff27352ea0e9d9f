//! The responder: R1 without state, I2 and I2bis checked before anything is kept, R2 (RFC 5533, 7.9, 7.10, 7.13, 7.14,
//! 7.20).

use super::context::Accepted;
use super::dispatch::Envelope;
use super::peer::{self, Distrust, Occasion, PeerSet};
use super::validator::{Question, Refusal};
use super::{Context, Engine, State};
use crate::addr::{ContextTag, Fii, InitNonce, LocatorPair, Prefix, ResponderNonce, UlidPair};
use crate::proto::config::PolicyAction;
use crate::proto::reap::Reap;
use crate::proto::{Cx, Event, Output};
use crate::wire::control::{I1, I2, I2bis, Message, R1, R2};
use crate::wire::option::{OptionType, Options, offset_of};

/// An I2 or I2bis.
pub(super) struct Proposal {
    /// The tag the peer picked.
    pub tag: ContextTag,
    /// What the R2 returns.
    pub nonce: InitNonce,
    /// What the peer returns to us.
    pub responder_nonce: ResponderNonce,
    /// For I2bis: the tag that we are said to have lost.
    pub packet_tag: Option<ContextTag>,
    /// Its options.
    pub options: Options,
}

impl From<I2> for Proposal {
    fn from(m: I2) -> Proposal {
        Proposal {
            tag: m.initiator_tag,
            nonce: m.init_nonce,
            responder_nonce: m.responder_nonce,
            packet_tag: None,
            options: m.options,
        }
    }
}

impl From<I2bis> for Proposal {
    fn from(m: I2bis) -> Proposal {
        Proposal {
            tag: m.initiator_tag,
            nonce: m.init_nonce,
            responder_nonce: m.responder_nonce,
            packet_tag: Some(m.packet_tag),
            options: m.options,
        }
    }
}

impl Proposal {
    /// Whether it belongs to an exchange that a newer one has followed: the peer has given it up, so somebody repeats
    /// it, and its tag and locators are those of a context that is no more. RFC 5533, 7.13, would take it as long as it is
    /// recent. Responder Nonces are as old as our answers.
    fn is_before(&self, last: &Accepted) -> bool {
        last.responder_nonce.0.wrapping_sub(self.responder_nonce.0).cast_signed() > 0
    }

    /// Whether it is the same message once more: our R2 was lost, or somebody repeats it.
    fn is_again(&self, last: &Accepted) -> bool {
        (self.tag, self.nonce, self.responder_nonce) == (last.tag, last.nonce, last.responder_nonce)
    }
}

/// ULID pair and instance that I1, I2 or I2bis is about, as we see them.
// req: S6-7.9-02, S6-12.4-01
fn subject(env: &Envelope<'_>, options: &Options) -> (UlidPair, Fii) {
    let ulids = match options.ulid_pair {
        Some(o) => UlidPair { local: o.receiver, peer: o.sender },
        None => UlidPair { local: env.pair.local.ulid(), peer: env.pair.peer.ulid() },
    };
    (ulids, options.fii.unwrap_or_default())
}

impl Engine {
    /// Whether a peer may negotiate with us about these ULIDs; silent otherwise.
    fn welcome(&mut self, cx: &mut Cx<'_>, ulids: UlidPair) -> bool {
        if self.are_ulids(ulids).is_err() {
            self.drop(cx, "bad_ulids");
            return false;
        }
        if self.config.heuristic.action(ulids.peer.0) == PolicyAction::Never {
            self.drop(cx, "policy_never");
            return false;
        }
        true
    }

    /// I1: R1 without keeping anything, or R2 where a context shows that the peer is already half way.
    ///
    /// An I1 whose source is not known to be the peer's gets R1 in every state: R2 would tell CT(local) and our locators
    /// to whoever asks.
    // req: S6-7.9-03, S6-7.9-04, S6-7.9-05, S6-7.9-06, S6-7.9-07, S6-7.9-08, S6-7.4-01, S6-7.4-02, S6-7.5-02,
    // req: S6-7.6-04, S6-7.10-02, S6-B-01, S6-B-02, S6-B-03, S6-B-04, S6-B-05, S6-B-06
    pub(super) fn on_i1(&mut self, cx: &mut Cx<'_>, env: &Envelope<'_>, m: I1) {
        let (ulids, fii) = subject(env, &m.options);
        if !self.welcome(cx, ulids) {
            return;
        }
        self.holddowns.clear(ulids);
        let known = self.table.find(ulids, fii).filter(|id| {
            let Some(c) = self.table.get(*id) else { return false };
            let source_ok = m.options.ulid_pair.is_none()
                || c.peer.contains(env.pair.peer) && self.may_come_to(c, env.pair);
            match c.state() {
                State::I1Sent | State::I2Sent | State::I2bisSent => source_ok,
                State::Established => source_ok && c.peer_tag == Some(m.initiator_tag),
                State::Idle | State::EFailed | State::NoSupport => false,
            }
        });
        match known {
            Some(id) => {
                if !self.rates.r2(cx.now, &self.config.limits, env.pair.peer) {
                    return self.drop(cx, "r2_rate");
                }
                self.with(cx, id, |e, cx, c| e.send_r2(cx, c, env.pair, m.init_nonce));
            }
            None => {
                let question = Question::I1 { tag: m.initiator_tag, ulids, fii, pair: env.pair };
                self.send_r1(cx, env.pair, m.init_nonce, &question);
            }
        }
    }

    /// Whether control packets of a context may come to this address of ours. Before Ls(local) was announced that is
    /// any address.
    fn may_come_to(&self, c: &Context, pair: LocatorPair) -> bool {
        c.local.entries.is_empty() || c.local.accepts(pair.local)
    }

    /// R1: keeps nothing; limited in all and per /64, lest we are used to flood somebody. Its sender asks again.
    // req: S6-5.5-05, S6-5.5-06, S6-7.10-01, S6-16-03
    fn send_r1(
        &mut self,
        cx: &mut Cx<'_>,
        pair: LocatorPair,
        nonce: InitNonce,
        question: &Question,
    ) {
        let known = self.table.in_prefix(Prefix::of(pair.peer.0)) > 0;
        if !self.rates.r1(cx.now, &self.config.limits, pair.peer, known) {
            return self.drop(cx, "r1_rate");
        }
        let (responder_nonce, validator) = self.validator.issue(cx.now, cx.rng, question);
        let options = Options { validator: Some(validator.to_vec()), ..Options::default() };
        self.transmit(cx, pair, &Message::R1(R1 { init_nonce: nonce, responder_nonce, options }));
    }

    /// I2 or I2bis: validator, PDS and the whole locator list are checked before anything is looked up or kept.
    // req: S6-7.13-01, S6-7.13-02, S6-7.13-03, S6-7.13-04, S6-7.13-05, S6-7.13-06, S6-7.13-07, S6-7.13-08,
    // req: S6-7.13-09, S6-7.13-10, S6-7.13-11, S6-7.13-12, S6-7.20-03, S6-7.20-04, S6-7.20-05, S6-7.20-06,
    // req: S6-7.20-07, S6-7.20-08, S6-7.20-09, S6-7.20-10, S6-7.20-11, S6-7.3-01, S6-16-03, HB-11.4-01
    pub(super) fn on_proposal(&mut self, cx: &mut Cx<'_>, env: &Envelope<'_>, m: Proposal) {
        let (ulids, fii) = subject(env, &m.options);
        let question = match m.packet_tag {
            None => Question::I1 { tag: m.tag, ulids, fii, pair: env.pair },
            Some(tag) => Question::Tagged { tag, pair: env.pair },
        };
        let Some(validator) = &m.options.validator else {
            return self.drop(cx, "i2_without_validator");
        };
        match self.validator.check(cx.now, cx.rng, &question, m.responder_nonce, validator) {
            Ok(()) => {}
            Err(Refusal::Stale) => return self.drop(cx, "validator_stale"),
            Err(Refusal::Mismatch) => return self.drop(cx, "validator_mismatch"),
        }
        if !self.welcome(cx, ulids) {
            return;
        }
        let existing = self.table.find(ulids, fii);
        let context = existing.and_then(|id| self.table.get(id));
        if context.and_then(|c| c.accepted).is_some_and(|a| m.is_before(&a)) {
            return self.drop(cx, "i2_of_old_exchange");
        }
        if self.is_crowded(m.tag, existing) {
            return self.drop(cx, "peer_tag_crowded");
        }
        let known = context.map(|c| &c.peer);
        let max = self.config.limits.locators;
        let checked = match peer::check(ulids.peer, known, &m.options, max, Occasion::Establish) {
            Ok(checked) => checked,
            Err(why) => return self.refuse(cx, env, why),
        };
        // The source has to belong to the peer: its ULID, a verified locator of this message, or one known before.
        let source = env.pair.peer;
        let source_ok = source == ulids.peer.locator()
            || checked.peer.contains(source)
            || known.is_some_and(|k| k.contains(source));
        if !source_ok {
            return self.drop(cx, "i2_source");
        }
        self.report_ignored(cx, env, &m.options, checked.ignored);
        self.holddowns.clear(ulids);
        match existing {
            Some(id) => {
                self.with(cx, id, |e, cx, c| e.accept(cx, c, env.pair, &m, checked.peer));
            }
            None => {
                let Ok(mut c) = self.new_context(cx, ulids, fii) else { return };
                self.accept(cx, &mut c, env.pair, &m, checked.peer);
                self.settle(cx, c);
            }
        }
    }

    /// All checks are passed: the context takes over what the peer said, and R2 goes out.
    // req: S6-7.14-01, S6-7.15-01
    fn accept(
        &mut self,
        cx: &mut Cx<'_>,
        c: &mut Context,
        pair: LocatorPair,
        m: &Proposal,
        peer: PeerSet,
    ) {
        let previous = c.pair;
        let again = c.accepted.filter(|a| c.state() == State::Established && m.is_again(a));
        if again.is_some_and(|a| a.outdated) {
            // What it says was put right by the peer itself since, which therefore has had our R2.
            return self.send_r2(cx, c, pair, m.nonce);
        }
        c.accepted = Some(Accepted {
            tag: m.tag,
            nonce: m.nonce,
            responder_nonce: m.responder_nonce,
            outdated: false,
        });
        self.learn(cx, c, m.tag, peer, m.options.keepalive_timeout);
        match c.state() {
            State::Idle | State::EFailed | State::NoSupport | State::I1Sent => {
                self.prove_pair(c, pair);
                self.become_established(cx, c);
            }
            // Our own exchange still runs; its R2 ends it.
            State::I2Sent | State::I2bisSent => {}
            State::Established => {
                self.prove_pair(c, pair);
                // The R2 brings our whole list, unless nobody waits for it: then the Update Request goes on.
                if again.is_none() {
                    c.update = None;
                }
                self.note_switch(cx, c, previous);
                self.reap(cx, c, |reap, rcx| reap.reset_operational(rcx));
                self.steering_interrupted(cx, c);
                c.steer_at = (!c.settings.is_default()).then_some(cx.now);
                cx.push(Output::Event(Event::Locators { context: c.id, peer: true }));
            }
        }
        self.send_r2(cx, c, pair, m.nonce);
        // By the list that went with it.
        if c.state() == State::Established {
            self.check_current(cx, c);
        }
    }

    /// R2: our tag and all our locators. Never retransmitted: whoever misses it asks again.
    // req: S6-7.14-02, S6-7.14-03, S6-7.14-04, S6-7.10-02
    fn send_r2(&mut self, cx: &mut Cx<'_>, c: &mut Context, pair: LocatorPair, nonce: InitNonce) {
        let mut options = Options::default();
        self.add_locators(c, 16, &mut options);
        if c.state() == State::Established && c.update.is_none() {
            // If the R2 is lost or refused, the peer has no context there and asks again: nothing is
            // taken from our new locators meanwhile. Where an Update Request is out its acknowledgement tells.
            self.acknowledge_list(c);
        }
        let r2 = R2 { responder_tag: c.local_tag, init_nonce: nonce, options };
        self.transmit(cx, pair, &Message::R2(r2));
    }

    /// Takes over CT(peer), Ls(peer) and the peer's Send Timeout, and resolves context confusion.
    // req: S6-7.15-01, S6-7.16-07, S6-7.14-01, RP-5.3-04
    pub(super) fn learn(
        &mut self,
        cx: &mut Cx<'_>,
        c: &mut Context,
        tag: ContextTag,
        peer: PeerSet,
        keepalive_timeout: Option<u16>,
    ) {
        c.peer_tag = Some(tag);
        c.peer = peer;
        self.learn_send_timeout(c, keepalive_timeout);
        self.resolve_confusion(cx, c);
    }

    /// The peer's Send Timeout becomes our Keepalive Timeout; 0 says nothing.
    // req: RP-5.3-04, RP-7-04
    pub(super) fn learn_send_timeout(&mut self, c: &mut Context, seconds: Option<u16>) {
        if let Some(seconds) = seconds.filter(|s| *s > 0) {
            c.keepalive_secs = Some(seconds);
        }
        if let Some(reap) = &mut c.reap {
            reap.set_peer_send_timeout(c.keepalive_secs, &self.config.reap);
        }
    }

    /// The pair has just carried a message with a nonce or validator of ours in each direction: the peer is there.
    /// Payload may use it if the locator is the peer's beyond doubt.
    pub(super) fn prove_pair(&mut self, c: &mut Context, pair: LocatorPair) {
        let Some(entry) = c.peer.get_mut(pair.peer).filter(|e| e.verified) else {
            if pair == c.ulids.locators() {
                c.pair = pair;
            }
            return;
        };
        entry.probed = true;
        c.pair = pair;
    }

    /// Enters ESTABLISHED with a new REAP machine.
    pub(super) fn become_established(&mut self, cx: &mut Cx<'_>, c: &mut Context) {
        let mut reap = Box::new(Reap::new(cx.now));
        reap.set_peer_send_timeout(c.keepalive_secs, &self.config.reap);
        c.reap = Some(reap);
        c.exploring_since = None;
        c.doomed = None;
        self.transition(cx, c, State::Established);
        cx.push(Output::Event(Event::Established { context: c.id, ulids: c.ulids }));
    }

    /// Drops a message whose locators are not believed, and tells its sender where the RFC wants that.
    // req: S6-7.2-05, S6-7.2-06, S6-10.4-05, S6-10.4-07, S6-10.4-11
    pub(super) fn refuse(&mut self, cx: &mut Cx<'_>, env: &Envelope<'_>, why: Distrust) {
        self.drop(cx, why.reason());
        if let Some((code, offset)) = why.reply(env.message) {
            self.send_error(cx, env, code, offset);
        }
    }

    /// Tells the sender of an I2, I2bis or R2 about preferences that were ignored.
    pub(super) fn report_ignored(
        &mut self,
        cx: &mut Cx<'_>,
        env: &Envelope<'_>,
        options: &Options,
        ignored: Option<Distrust>,
    ) {
        let Some(why) = ignored else { return };
        self.count(cx, why.reason());
        let reply = match options.preferences_fault {
            Some(offset) => Some((crate::wire::control::ErrorCode::PreferencesCount, offset)),
            None => why.reply(env.message),
        };
        debug_assert!(offset_of(env.message, OptionType::LocatorPreferences).is_some());
        if let Some((code, offset)) = reply {
            self.send_error(cx, env, code, offset);
        }
    }
}
