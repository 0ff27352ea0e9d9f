//! The initiator: I1 and I2 out, R1 and R2 in, and what happens when no answer comes (RFC 5533, 7.7 to 7.12, 7.16).

use super::context::{Answer, Setup, count};
use super::dispatch::Envelope;
use super::peer::{self, Occasion};
use super::{CommandError, Context, ContextId, Engine, State};
use crate::addr::{Fii, LocatorPair, UlidPair};
use crate::proto::config::PolicyAction;
use crate::proto::reap::ReapState;
use crate::proto::{Cx, Event, Output, Time};
use crate::wire::control::{I1, I2, I2bis, Message, R1, R2};
use crate::wire::option::Options;
use rand::Rng;
use std::time::Duration;

/// How often I2 or I2bis may fall back to I1 in one attempt.
const MAX_FALLBACKS: u32 = 2;
/// At most one I2 or I2bis per context and this time is caused by traffic.
const REACTION_GAP: Duration = Duration::from_secs(1);

/// The wait after the `retries`-th retransmission: doubled each time, then spread over half to one and a half.
// req: S6-7.8-01, S6-7.8-02, S6-14-09, S6-7.12-01, S6-7.19-01, S6-10.2-01
pub(super) fn backoff(cx: &mut Cx<'_>, first: Duration, retries: u32, cap: Duration) -> Time {
    let nominal = first.saturating_mul(1 << retries.min(20)).min(cap);
    cx.now + nominal.mul_f64(cx.rng.random_range(0.5..=1.5))
}

impl Engine {
    /// Starts a context, or yields the one there is.
    // req: S6-7.7-01, S6-7.8-03, S6-7.8-04, S6-7.8-06, S6-4-01, S6-1.6-03, AL-5.1.2-01
    pub(super) fn establish(
        &mut self,
        cx: &mut Cx<'_>,
        ulids: UlidPair,
        fii: Fii,
    ) -> Result<ContextId, CommandError> {
        self.establish_on(cx, ulids, fii, ulids.locators())
    }

    /// The same with the pair on which the first message leaves.
    fn establish_on(
        &mut self,
        cx: &mut Cx<'_>,
        ulids: UlidPair,
        fii: Fii,
        pair: LocatorPair,
    ) -> Result<ContextId, CommandError> {
        self.are_ulids(ulids)?;
        if let Some(id) = self.table.find(ulids, fii) {
            return Ok(id);
        }
        if self.config.heuristic.action(ulids.peer.0) == PolicyAction::Never {
            return Err(CommandError::Policy);
        }
        match self.holddowns.state(ulids, cx.now) {
            State::Idle => {}
            held => return Err(CommandError::HeldDown(held)),
        }
        let mut c = self.new_context(cx, ulids, fii)?;
        c.initiator = true;
        let id = c.id;
        self.start(cx, &mut c, pair, 0);
        self.settle(cx, c);
        Ok(id)
    }

    /// Starts a further instance for a ULID pair, with a random identifier. It is negotiated where the default context's
    /// packets go, since the ULIDs themselves may not work at present.
    ///
    /// # Errors
    /// As for establishing the default context.
    // req: S6-4.2-01
    pub fn fork(&mut self, cx: &mut Cx<'_>, ulids: UlidPair) -> Result<ContextId, CommandError> {
        let default = self.table.find(ulids, Fii::DEFAULT).and_then(|id| self.table.get(id));
        let pair = default.filter(|c| c.state().has_peer()).map_or(ulids.locators(), |c| c.pair);
        loop {
            let fii = Fii(cx.rng.next_u32());
            if fii != Fii::DEFAULT && self.table.find(ulids, fii).is_none() {
                return self.establish_on(cx, ulids, fii, pair);
            }
        }
    }

    /// Whether traffic between two addresses is a reason to negotiate: not for a host with one locator alone, which
    /// leaves the initiative to the other side.
    // req: AL-2-01, S6-4-01, S6-1.4-01, S6-13-01
    pub(super) fn on_heuristic(&mut self, cx: &mut Cx<'_>, ulids: UlidPair) {
        if self.table.find(ulids, Fii::DEFAULT).is_some() {
            return;
        }
        let refused = if self.locals.locators_of(ulids.local) < 2 {
            Some("heuristic_single_locator")
        } else {
            match self.establish(cx, ulids, Fii::DEFAULT) {
                Ok(_) => None,
                Err(CommandError::HeldDown(_)) => Some("heuristic_held_down"),
                Err(CommandError::Policy) => Some("heuristic_policy"),
                Err(_) => Some("heuristic_refused"),
            }
        };
        if let Some(name) = refused {
            self.count(cx, name);
        }
    }

    /// Sends the first I1 of a (new) attempt.
    // req: S6-5.4-05, S6-7.7-01
    pub(super) fn start(
        &mut self,
        cx: &mut Cx<'_>,
        c: &mut Context,
        pair: LocatorPair,
        fallbacks: u32,
    ) {
        let nonce = self.table.new_nonce(cx.rng);
        let e = &self.config.establish;
        let timer = backoff(cx, e.i1_timeout, 0, Duration::MAX);
        let told = c.setup.as_ref().is_some_and(|s| s.told);
        self.transition(cx, c, State::I1Sent);
        // What was known of the peer is void: it may have lost everything.
        c.peer = peer::PeerSet::of_ulid(c.ulids.peer);
        c.pair = c.ulids.locators();
        c.setup = Some(Box::new(Setup { fallbacks, told, ..Setup::new(nonce, vec![pair], timer) }));
        self.send_i1(cx, c);
    }

    fn send_i1(&mut self, cx: &mut Cx<'_>, c: &Context) {
        let Some((s, pair)) = c.setup.as_ref().and_then(|s| Some((s, *s.sent.first()?))) else {
            return;
        };
        let options = self.identifying(c, pair);
        let i1 = I1 { initiator_tag: c.local_tag, init_nonce: s.nonce, options };
        self.transmit(cx, pair, &Message::I1(i1));
    }

    /// Sends the I2 or I2bis that the stored answer asks for.
    // req: S6-5.6-06, S6-5.6-07, S6-5.6-08, S6-5.9-03, S6-7.11-07, S6-7.18-05
    pub(super) fn send_i2(&mut self, cx: &mut Cx<'_>, c: &mut Context) {
        let Some(setup) = &c.setup else { return };
        let nonce = setup.nonce;
        let Some(answer) = setup.answer.clone() else { return };
        // The peer takes the first one that it gets, and those that follow for repetitions of it.
        let before = setup.told.then_some((c.local.stale, c.local.generation, c.told_send_timeout));
        let mut options =
            Options { validator: Some(answer.validator), ..self.identifying(c, answer.pair) };
        self.add_locators(c, if answer.packet_tag.is_some() { 32 } else { 24 }, &mut options);
        let now = (false, c.local.generation, c.told_send_timeout);
        c.local.stale = before.is_some_and(|before| before != now);
        if let Some(setup) = &mut c.setup {
            setup.told = true;
        }
        let message = match answer.packet_tag {
            None => Message::I2(I2 {
                initiator_tag: c.local_tag,
                init_nonce: nonce,
                responder_nonce: answer.nonce,
                options,
            }),
            Some(packet_tag) => Message::I2bis(I2bis {
                initiator_tag: c.local_tag,
                init_nonce: nonce,
                responder_nonce: answer.nonce,
                packet_tag,
                options,
            }),
        };
        self.transmit(cx, answer.pair, &message);
    }

    /// Traffic of the peer in I2-SENT or I2BIS-SENT: it has the context already, our R2 was lost.
    // req: S6-12.2-03, S6-10.4-06, S6-10.5-04, S6-B-03, S6-B-04
    pub(super) fn react(&mut self, cx: &mut Cx<'_>, c: &mut Context) {
        let now = cx.now;
        let Some(s) = &c.setup else { return };
        if !matches!(c.state(), State::I2Sent | State::I2bisSent)
            || s.reacted.is_some_and(|t| now.since(t) < REACTION_GAP)
        {
            return;
        }
        if let Some(s) = &mut c.setup {
            s.reacted = Some(now);
        }
        self.send_i2(cx, c);
    }

    /// R1: found by its nonce, taken only on a pair on which an I1 with that nonce went out.
    // req: S6-7.11-02, S6-7.11-03, S6-7.11-04, S6-12.4-02
    pub(super) fn on_r1(&mut self, cx: &mut Cx<'_>, env: &Envelope<'_>, m: R1) {
        let Some(id) = self.table.find_nonce(m.init_nonce) else {
            return self.drop(cx, "r1_unmatched");
        };
        let done = self.with(cx, id, |e, cx, c| {
            let matches = c.setup.as_ref().is_some_and(|s| s.sent.contains(&env.pair));
            if !matches {
                return e.drop(cx, "r1_unmatched");
            }
            if c.state() != State::I1Sent {
                return e.drop(cx, "r1_state");
            }
            // req: S6-5.5-06
            let Some(validator) = m.options.validator else {
                return e.drop(cx, "r1_without_validator");
            };
            let answer = Answer {
                pair: env.pair,
                nonce: m.responder_nonce,
                validator,
                packet_tag: None,
                at: cx.now,
            };
            let timeout = e.config.establish.i2_timeout;
            e.answer(cx, c, answer, State::I2Sent, timeout);
        });
        if done.is_none() {
            self.drop(cx, "r1_unmatched");
        }
    }

    /// Goes on with I2 or I2bis.
    pub(super) fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        c: &mut Context,
        answer: Answer,
        state: State,
        timeout: Duration,
    ) {
        let timer = backoff(cx, timeout, 0, Duration::MAX);
        if let Some(s) = &mut c.setup {
            if !s.sent.contains(&answer.pair) {
                s.sent.push(answer.pair);
            }
            s.answer = Some(answer);
            s.retries = 0;
            s.timer = timer;
        }
        self.transition(cx, c, state);
        self.send_i2(cx, c);
    }

    /// R2: found by its nonce, taken only on a pair on which that nonce went out.
    // req: S6-7.16-02, S6-7.16-03, S6-7.16-04, S6-7.16-05, S6-7.16-06, S6-7.16-07, S6-7.15-01, S6-12.4-02
    pub(super) fn on_r2(&mut self, cx: &mut Cx<'_>, env: &Envelope<'_>, m: R2) {
        let Some(id) = self.table.find_nonce(m.init_nonce) else {
            return self.drop(cx, "r2_unmatched");
        };
        let done = self.with(cx, id, |e, cx, c| {
            if !c.setup.as_ref().is_some_and(|s| s.sent.contains(&env.pair)) {
                return e.drop(cx, "r2_unmatched");
            }
            if e.is_crowded(m.responder_tag, Some(id)) {
                return e.drop(cx, "peer_tag_crowded");
            }
            let known = c.state().has_peer().then_some(&c.peer);
            let max = e.config.limits.locators;
            let checked = peer::check(c.ulids.peer, known, &m.options, max, Occasion::Establish);
            let checked = match checked {
                Ok(checked) => checked,
                Err(why) => return e.refuse(cx, env, why),
            };
            e.report_ignored(cx, env, &m.options, checked.ignored);
            let recovered = c.state() == State::I2bisSent;
            let previous = c.pair;
            // The peer has read our list if an I2 or I2bis brought it, perhaps one before this I1; an I1 brings none.
            let told = c.setup.as_ref().is_some_and(|s| s.told);
            e.holddowns.clear(c.ulids);
            e.learn(cx, c, m.responder_tag, checked.peer, m.options.keepalive_timeout);
            e.prove_pair(c, env.pair);
            // A pair that works is not left only because the loss was noticed on another, as by a test.
            let settled = c.reap.as_ref().is_some_and(|r| r.state() == ReapState::Operational);
            let ours = c.local.get(previous.local).is_some_and(|l| l.acknowledged && !l.broken);
            let theirs = c.peer.get(previous.peer).is_some_and(|p| p.verified && p.probed);
            if recovered && settled && ours && theirs {
                c.pair = previous;
            }
            // R2 in answer to an I1: the peer has our list from an R2 of ours, or gets it by one before it is
            // established. In any case what has changed since it was told is news.
            let list = e.list_for(c, 0, &Options::default());
            if list.entries.is_empty() {
                // Kept back since we began.
                c.end = Some("last locator gone");
                return;
            }
            let outdated = match c.local.generation {
                Some(sent) => list.generation != sent,
                None if told => list.is_sent(),
                None => {
                    e.adopt_list(c, &list, false);
                    false
                }
            };
            let outdated = std::mem::take(&mut c.local.stale) || outdated;
            let seconds = Some(e.send_timeout_secs(c));
            let outdated = outdated || c.told_send_timeout.is_some_and(|t| Some(t) != seconds);
            e.become_established(cx, c);
            e.acknowledge_list(c);
            if outdated {
                e.want_update(cx, c, super::update::Wanted::all());
            }
            e.check_current(cx, c);
            if recovered {
                count(&mut c.counters.recoveries);
                e.note_switch(cx, c, previous);
            }
        });
        if done.is_none() {
            self.drop(cx, "r2_unmatched");
        }
    }

    /// The running exchange got no answer in time.
    // req: S6-7.8-01, S6-7.8-03, S6-7.12-01, S6-7.12-02, S6-7.12-03, S6-7.19-01, S6-7.19-02
    pub(super) fn on_setup_timeout(&mut self, cx: &mut Cx<'_>, c: &mut Context) {
        let config = self.config.establish.clone();
        let state = c.state();
        let Some(s) = &mut c.setup else { return };
        let (timeout, max) = match state {
            State::I2Sent => (config.i2_timeout, config.i2_retries_max),
            State::I2bisSent => (config.i2bis_timeout, config.i2bis_retries_max),
            _ => (config.i1_timeout, config.i1_retries_max),
        };
        // A validator that the peer need not accept any more is not worth a packet.
        let stale = |a: &Answer| cx.now.since(a.at) > config.validator_min_lifetime;
        if s.retries < max && !s.answer.as_ref().is_some_and(stale) {
            s.retries += 1;
            s.timer = backoff(cx, timeout, s.retries, Duration::MAX);
            match state {
                State::I2Sent | State::I2bisSent => self.send_i2(cx, c),
                _ => self.send_i1(cx, c),
            }
            return;
        }
        let (fallbacks, pair) = (s.fallbacks, s.sent.last().copied());
        match (state, pair) {
            (State::I2Sent | State::I2bisSent, Some(pair)) if fallbacks < MAX_FALLBACKS => {
                self.start(cx, c, pair, fallbacks + 1);
            }
            _ => self.give_up(cx, c, State::EFailed),
        }
    }

    /// The attempt has failed: the context goes, its ULIDs are held down.
    // req: S6-7.8-03, S6-7.8-04, S6-7.8-05, S6-7.8-06, S6-6.2-02, S6-4-02, S6-15.3-01, AL-7.6-01
    pub(super) fn give_up(&mut self, cx: &mut Cx<'_>, c: &mut Context, state: State) {
        let e = &self.config.establish;
        let bound = self.config.limits.holddowns;
        let shed = if state == State::NoSupport {
            self.holddowns.no_support(c.ulids.peer, cx.now, e.icmp_holddown, bound)
        } else {
            self.holddowns.no_answer(c.ulids, cx.now, e.no_r1_holddown, bound)
        };
        if shed {
            self.count(cx, "holddown_shed");
        }
        self.transition(cx, c, state);
        let event = Event::EstablishFailed { context: c.id, ulids: c.ulids, state: state.name() };
        cx.push(Output::Event(event));
        c.end = Some(if state == State::NoSupport { "not supported" } else { "no answer" });
    }

    /// Timers of a context that are due.
    pub(super) fn on_timer(&mut self, cx: &mut Cx<'_>, c: &mut Context) {
        if c.doomed.is_some_and(|t| t <= cx.now) {
            c.end = Some("peer lost Shim6");
            return;
        }
        if c.setup.as_ref().is_some_and(|s| s.timer <= cx.now) {
            self.on_setup_timeout(cx, c);
        }
        if c.update.as_ref().is_some_and(|u| u.timer <= cx.now) {
            self.on_update_timeout(cx, c);
        }
        if c.steer_at.is_some_and(|t| t <= cx.now) {
            self.pursue(cx, c);
        }
        self.on_reap_timer(cx, c);
    }
}
