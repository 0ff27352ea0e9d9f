//! REAP in its context: inputs translated, actions carried out, activity cells read in time (RFC 5534).

use super::context::count;
use super::steer::{ranked, steer_later, wanted};
use super::{CommandError, Context, ContextId, Engine, State};
use crate::addr::LocatorPair;
use crate::proto::reap::{Action, Reap, ReapCx, ReapState};
use crate::proto::{Activity, Cx, Event, Output, Time, WakeOn};
use crate::wire::control::{Keepalive, Message, Probe};
use crate::wire::option::Options;
use std::time::Duration;

/// Notices may be lost, so an idle context is looked at this often all the same.
const SAFETY_LOOK: Duration = Duration::from_secs(60);
/// After "unrecognized next header" for payload the peer has so long to show that it is still there.
const DOOM: Duration = Duration::from_secs(30);
/// A failed send on a pair is acted on once in this time.
const SEND_FAILURE_GAP: Duration = Duration::from_secs(1);
/// Pairs with failed sends remembered.
const SEND_FAILURES: usize = 64;

impl Engine {
    /// Gives the machine one input and carries out what it wants.
    // req: S6-12.1-01, RP-4.2-03, RP-8-04
    pub(super) fn reap(
        &mut self,
        cx: &mut Cx<'_>,
        c: &mut Context,
        input: impl FnOnce(&mut Reap, &mut ReapCx<'_>),
    ) {
        if c.state() != State::Established {
            return;
        }
        let Some(mut reap) = c.reap.take() else { return };
        let mut actions = Vec::new();
        let local = ranked(self.locals.preferred(c.local.candidates()), &c.settings.local);
        let peer = ranked(c.peer.candidates(), &c.settings.peer);
        let host = &self.config.reap;
        let config = c.settings.reap(host, c.keepalive_timeout(host));
        let mut rcx = ReapCx {
            now: cx.now,
            rng: &mut *cx.rng,
            config: &config,
            local: &local,
            peer: &peer,
            current: c.pair,
            wanted: wanted(c),
            ulids: c.ulids.locators(),
            actions: &mut actions,
        };
        input(&mut reap, &mut rcx);
        c.reap = Some(reap);
        for action in actions {
            self.carry_out(cx, c, action);
        }
    }

    fn carry_out(&mut self, cx: &mut Cx<'_>, c: &mut Context, action: Action) {
        match action {
            // req: RP-6.1-07, RP-6.3-01, RP-5.1-01, S6-5.12-01
            Action::SendKeepalive => {
                let Some(tag) = c.peer_tag else { return };
                count(&mut c.counters.keepalives_out);
                c.note_tagged(c.pair, cx.now);
                let m = Keepalive { receiver_tag: tag, options: Options::default() };
                self.transmit(cx, c.pair, &Message::Keepalive(m));
            }
            // req: RP-5.2-01, RP-6.1-04, S6-5.13-01
            Action::SendProbe { pair, state, sent, received } => {
                let Some(tag) = c.peer_tag else { return };
                // The exploration takes it for lost and goes on by its schedule.
                if !self.rates.probe(cx.now, &self.config.limits) {
                    return self.count(cx, "probe_budget");
                }
                count(&mut c.counters.probes_out);
                c.note_tagged(pair, cx.now);
                let options = Options::default();
                let m = Probe { receiver_tag: tag, state, sent, received, options };
                self.transmit(cx, pair, &Message::Probe(m));
                cx.push(Output::Event(Event::ProbeSent { context: c.id, pair }));
            }
            Action::Switch(pair) => {
                self.switch(cx, c, pair);
                steer_later(cx, c);
            }
            // req: RP-9-01, RP-9-02
            Action::State { from, to, reason } => {
                let event = Event::Reap {
                    context: c.id,
                    from: from.name(),
                    to: to.name(),
                    reason: reason.name(),
                };
                cx.push(Output::Event(event));
                if to == ReapState::Operational {
                    return self.recovered(cx, c);
                }
                if from == ReapState::Operational {
                    c.exploring_since = Some(cx.now);
                }
                // What the peer asks for may be no more than a test.
                if to == ReapState::Exploring {
                    self.steering_interrupted(cx, c);
                }
            }
            // req: S6-7.2-04, S6-16-02, RP-8-02
            Action::Answered { pair, rtt } => {
                c.doomed = None;
                if let Some(entry) = c.peer.get_mut(pair.peer) {
                    entry.probed = true;
                }
                cx.push(Output::Event(Event::ProbeAnswered { context: c.id, pair, rtt }));
            }
            Action::Tested { pair, rtt } => self.tested(cx, c, pair, Some(rtt)),
            Action::Exhausted => {
                let after = cx.now.since(c.exploring_since.unwrap_or(cx.now));
                cx.push(Output::Event(Event::Lost { context: c.id, after }));
            }
            // A test decides nothing by itself; but when the pair in use does not answer, it is time to look for
            // others.
            Action::TestFailed { pair } => {
                self.count(cx, "test_failed");
                self.tested(cx, c, pair, None);
                if pair == c.pair {
                    self.reap(cx, c, |reap, rcx| reap.on_test_failed(rcx));
                }
            }
            Action::Ignored(why) => self.count(cx, why),
            Action::Dropped(why) => self.drop(cx, why),
        }
    }

    /// A confirmed pair takes over. Only one whose locators are beyond doubt.
    // req: S6-7.2-02, S6-7.2-03, S6-7.2-04, S6-16-02, S6-10.4-14, RP-6.9-04, RP-3.5-01, HB-11-01
    pub(super) fn switch(&mut self, cx: &mut Cx<'_>, c: &mut Context, pair: LocatorPair) {
        let ours = pair.local == c.ulids.local.locator()
            || c.local.get(pair.local).is_some_and(|e| e.acknowledged);
        let Some(entry) = c.peer.get_mut(pair.peer).filter(|e| e.verified && ours) else {
            return self.count(cx, "switch_refused");
        };
        entry.probed = true;
        let previous = std::mem::replace(&mut c.pair, pair);
        self.note_switch(cx, c, previous);
    }

    /// Tells of a change of the current pair, if it is one.
    // req: RP-4.2-02, S6-15.1-01, RP-9-01
    pub(super) fn note_switch(&mut self, cx: &mut Cx<'_>, c: &mut Context, previous: LocatorPair) {
        // Held copies go out by whatever pair has just been shown to work.
        c.resend = true;
        if previous != c.pair {
            count(&mut c.counters.switches);
            if let Some(u) = &mut c.update {
                u.timer = cx.now;
            }
            let asked = c.approaching.filter(|(to, _, _)| *to == c.pair).map(|(_, _, at)| at);
            // The pair may be taken just after the exploration has ended.
            let just = c.explored_just_now(cx.now);
            let since = c.exploring_since.or(asked).or(just);
            let since = since.unwrap_or(cx.now);
            let after = cx.now.since(since);
            let event = Event::Switched { context: c.id, from: previous, to: c.pair, after };
            cx.push(Output::Event(event));
        }
    }

    /// Both directions work again.
    fn recovered(&mut self, cx: &mut Cx<'_>, c: &mut Context) {
        c.resend = true;
        // What the settings want has just been tried, or will be soon: tests by the peer end here, too.
        steer_later(cx, c);
        if let Some(since) = c.exploring_since.take() {
            *c.explored = Some((since, cx.now));
            let took = cx.now.since(since);
            cx.push(Output::Event(Event::Recovered { context: c.id, took }));
        }
        if let Some(u) = c.update.as_mut().filter(|u| u.waiting) {
            u.timer = cx.now;
        }
    }

    /// The activity cells of a context, asked for or sent along with a notice.
    // req: S6-9-02, S6-9-03, S6-9-04, S6-9-05, S6-12.1-01, RP-4.1-05, RP-4.1-07, RP-6.1-01, RP-6.2-01
    pub(super) fn on_activity(&mut self, cx: &mut Cx<'_>, c: &mut Context, activity: Activity) {
        c.looked = cx.now;
        // Packets have passed, so the wake-up has gone off; if its notice is lost this makes up for it.
        let passed = (activity.packets_out, activity.packets_in) != c.activity.packets();
        if passed {
            c.armed = WakeOn::Nothing;
        }
        if activity.last_in > c.activity.last_in() {
            self.alive(c);
        }
        c.activity.note(&activity);
        let idle = cx.now.since(c.last_use()) >= self.config.establish.idle_teardown;
        if c.state().has_peer() && idle && !c.in_use {
            c.end = Some("idle");
            return;
        }
        if c.state() == State::Established {
            self.reap(cx, c, |reap, rcx| {
                reap.on_activity(rcx, &activity);
                reap.on_timer(rcx);
            });
        }
    }

    /// The peer has shown that it still has the context.
    pub(super) fn alive(&mut self, c: &mut Context) {
        c.doomed = None;
    }

    /// REAP's own timer, if it is due.
    pub(super) fn on_reap_timer(&mut self, cx: &mut Cx<'_>, c: &mut Context) {
        let due = c.reap.as_ref().and_then(|r| r.poll_timeout()).is_some_and(|t| t <= cx.now);
        if due && c.state() == State::Established {
            self.reap(cx, c, |reap, rcx| reap.on_timer(rcx));
        }
    }

    /// When the activity cells are wanted next.
    pub(super) fn next_look(&self, c: &Context) -> Option<Time> {
        if !c.state().has_peer() {
            return None;
        }
        let reap = match c.state() {
            State::Established => c.reap.as_ref().and_then(|r| r.activity_due()),
            _ => None,
        };
        // Not in the past for ever if the last use lies far back and the cells have not been read since.
        let idle = (c.last_use() + self.config.establish.idle_teardown)
            .max(c.looked + Duration::from_secs(1));
        let safety = c.looked + SAFETY_LOOK;
        let idle = if c.in_use { safety } else { idle };
        Some(idle.min(safety).min(reap.unwrap_or(safety)))
    }

    /// Somebody asks for an exploration.
    pub(super) fn explore(
        &mut self,
        cx: &mut Cx<'_>,
        id: ContextId,
    ) -> Result<ContextId, CommandError> {
        self.with(cx, id, |e, cx, c| match c.state() {
            State::Established
                if c.settings.pin.local.is_some() && c.settings.pin.peer.is_some() =>
            {
                Err(CommandError::Pinned)
            }
            State::Established => {
                e.reap(cx, c, |reap, rcx| reap.explore_now(rcx));
                Ok(id)
            }
            state => Err(CommandError::State(state)),
        })
        .unwrap_or(Err(CommandError::NoSuchContext))
    }

    /// Somebody asks for a test of one pair.
    pub(super) fn test_pair(
        &mut self,
        cx: &mut Cx<'_>,
        id: ContextId,
        pair: LocatorPair,
    ) -> Result<ContextId, CommandError> {
        self.with(cx, id, |e, cx, c| match c.state() {
            State::Established => {
                let mut begun = false;
                e.reap(cx, c, |reap, rcx| begun = reap.test_pair(rcx, pair));
                match c.reap.as_ref().map(|r| r.state()) {
                    _ if begun => Ok(id),
                    Some(ReapState::Operational) => Err(CommandError::NotTestable),
                    _ => Err(CommandError::Exploring),
                }
            }
            state => Err(CommandError::State(state)),
        })
        .unwrap_or(Err(CommandError::NoSuchContext))
    }

    /// An ICMPv6 error about payload: a reason to test the current pair, never to leave it. "Unrecognized next header"
    /// says that the peer has no Shim6 any more; it gets time to prove the contrary.
    // req: RP-3.3-04, RP-8-01
    pub(super) fn on_payload_refused(&mut self, cx: &mut Cx<'_>, c: &mut Context, icmp: (u8, u8)) {
        if c.state() != State::Established {
            return;
        }
        if icmp == (4, 1) && c.doomed.is_none() {
            c.doomed = Some(cx.now + DOOM);
        }
        self.reap(cx, c, |reap, rcx| reap.on_hint(rcx));
    }

    /// We could not even send on a pair: contexts that use it explore at once.
    pub(super) fn on_send_failed(&mut self, cx: &mut Cx<'_>, pair: LocatorPair) {
        let now = cx.now;
        self.send_failures.retain(|(_, t)| now.since(*t) < SEND_FAILURE_GAP);
        if self.send_failures.iter().any(|(p, _)| *p == pair)
            || self.send_failures.len() >= SEND_FAILURES
        {
            return;
        }
        self.send_failures.push((pair, now));
        let users: Vec<ContextId> = self
            .table
            .iter()
            .filter(|c| c.pair == pair && c.state() == State::Established)
            .filter(|c| c.reap.as_ref().is_some_and(|r| r.state() == ReapState::Operational))
            .map(|c| c.id)
            .collect();
        for id in users {
            self.with(cx, id, |e, cx, c| e.reap(cx, c, |reap, rcx| reap.on_send_failed(rcx)));
        }
    }
}
