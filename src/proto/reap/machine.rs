//! The machine itself: inputs, the rows of RFC 5534, section 6, and what follows from them.

use super::book::Book;
use super::explore::{Explorer, Round, Schedule};
use super::reports::{Reports, SentProbe, mirror, news};
use super::rows::{Event, Row, Sent, TimerOp, row};
use super::standby::{Standby, Wish};
use super::tester::{Step, Tester};
use super::timers::{Burst, KeepaliveDue, Moment, Timers};
use super::watch::{self, Watch};
use super::{Action, Candidate, PairStatus, ReapCx, ReapState, Reason};
use crate::addr::{Locator, LocatorPair};
use crate::proto::config::Detection;
use crate::proto::{Activity, Time, WakeOn};
use crate::wire::control::{Probe, ProbeState};
use std::time::Duration;

/// REAP for one established context. Sending and receiving pairs are independent of each other: this side only ever
/// chooses where it sends.
// req: RP-3.3-01, RP-3.3-02, RP-3.5-01 (RFC 5534, 3.3 and 3.5)
// req: RP-A-01, RP-A-02, RP-A-03, RP-A-04 (RFC 5534, appendix A)
#[derive(Clone, Debug)]
pub struct Reap {
    state: ReapState,
    since: Time,
    exploring_since: Option<Time>,
    timers: Timers,
    /// Probe retransmission; runs in Exploring and InboundOk.
    schedule: Option<Schedule>,
    reports: Reports,
    explorer: Explorer,
    tester: Tester,
    /// Fast detection.
    watch: Watch,
    /// Tests of other pairs while all is well.
    standby: Standby,
    book: Book,
    /// When the budget of immediate answers is full again.
    answers_full: Time,
    /// Probes Operational sent since the last sign that one has arrived.
    unheard_answers: u32,
    last_rtt: Option<Duration>,
    /// The test that runs is one of the current pair.
    doubt: bool,
    /// The peer asked on the current pair: it may only test it, so answers stay there while gaps are short.
    asked_here: bool,
    /// A packet has to wake us: no timer runs that it could stop or start, and no silence is being watched.
    waits: bool,
    /// When the cells are to be read next.
    read_due: Time,
}

/// What the reports in a Probe say about our Probes.
struct Verdict {
    /// Probes of ours that arrived, tests left out.
    works: Vec<SentProbe>,
    /// The message reports tests and nothing else.
    only_tests: bool,
}

impl Reap {
    /// A machine for a context that has just been established: Operational, no timer runs.
    pub fn new(now: Time) -> Reap {
        Reap {
            state: ReapState::Operational,
            since: now,
            exploring_since: None,
            timers: Timers::new(now),
            schedule: None,
            reports: Reports::new(now),
            explorer: Explorer::default(),
            tester: Tester::default(),
            watch: Watch::default(),
            standby: Standby::default(),
            book: Book::default(),
            answers_full: now,
            unheard_answers: 0,
            last_rtt: None,
            doubt: false,
            asked_here: false,
            waits: true,
            read_due: now,
        }
    }

    /// The activity cells as they are now: payload that went in or out since they were last read.
    // req: RP-4.1-03 (RFC 5534, 4.1)
    pub fn on_activity(&mut self, rcx: &mut ReapCx<'_>, activity: &Activity) {
        for burst in self.timers.observe(rcx.now, activity).into_iter().flatten() {
            match burst {
                // Packets from before Exploring was entered do not end it.
                Burst::In(m) if self.state == ReapState::Exploring && m.last() <= self.since => {}
                Burst::In(m) => self.fire(rcx, Event::PayloadIn, m),
                Burst::Out(m) => self.fire(rcx, Event::PayloadOut, m),
            }
        }
        self.watch.see(rcx.now, activity);
        if self.state == ReapState::Operational {
            let packets = activity.packets_out.wrapping_add(activity.packets_in);
            self.standby.see(rcx.now, packets, rcx.config);
        }
        self.plan_reading(rcx);
    }

    /// A valid control message other than Keepalive and Probe came in: a life sign like payload.
    pub fn on_control_in(&mut self, rcx: &mut ReapCx<'_>) {
        self.fire(rcx, Event::PayloadIn, Moment::now(rcx.now));
        self.timers.note_control_in(rcx.now);
        self.watch.answered(rcx.now);
        self.plan_reading(rcx);
    }

    /// An Update Request, Update Acknowledgement or Error of this context goes out: counts like payload.
    pub fn on_control_out(&mut self, rcx: &mut ReapCx<'_>) {
        self.fire(rcx, Event::PayloadOut, Moment::now(rcx.now));
        self.timers.note_control_out(rcx.now);
        self.plan_reading(rcx);
    }

    /// A valid Keepalive came in.
    pub fn on_keepalive(&mut self, rcx: &mut ReapCx<'_>) {
        self.fire(rcx, Event::KeepaliveIn, Moment::now(rcx.now));
        self.watch.answered(rcx.now);
        self.plan_reading(rcx);
    }

    /// A valid Probe came in with these addresses in its IPv6 header.
    pub fn on_probe(&mut self, rcx: &mut ReapCx<'_>, src: Locator, dst: Locator, probe: &Probe) {
        let now = rcx.now;
        // Who forges the header, or a middlebox that changes it, does not get a place in our reports.
        let Some(itself) = probe.sent.first().filter(|r| r.src == src && r.dst == dst) else {
            rcx.actions.push(Action::Ignored("probe_addresses"));
            return;
        };
        self.reports.prune(now, rcx.config.report_lifetime);
        let verdict = self.judge(rcx, probe, mirror(itself));
        let event = match probe.state {
            ProbeState::Exploring => Event::ProbeExploringIn,
            ProbeState::InboundOk => Event::ProbeInboundOkIn,
            ProbeState::Operational => Event::ProbeOperationalIn,
        };
        let dead = self.is_dead(rcx, rcx.current);
        let r = row(self.state, event);
        self.timers_of(rcx, r, Moment::now(now));
        self.transition(rcx, r.next, reason_of(event));
        self.reports.receive(now, *itself);
        let heard = mirror(itself);
        self.asked_here = probe.state == ProbeState::Exploring && heard == rcx.current;
        if self.explorer.may_probe(rcx, heard) {
            self.book.heard(now, heard);
        }
        match probe.state {
            ProbeState::Exploring => {
                self.unheard_answers = 0;
                let pair = self.answer_pair(rcx, heard);
                self.answer(rcx, r.message, pair, true);
            }
            ProbeState::InboundOk => {
                let works = news(&verdict.works, now, rcx.config.report_lifetime);
                let chosen = self.select(rcx, &works);
                let pair = self.closing_pair(rcx, heard, &works, chosen);
                self.unheard_answers = self.unheard_answers.saturating_add(1);
                self.answer(rcx, r.message, pair, !verdict.only_tests);
                self.leave_dead_pair(rcx, dead && chosen.is_none());
            }
            ProbeState::Operational => {
                self.unheard_answers = 0;
                let works = news(&verdict.works, now, rcx.config.report_lifetime);
                let chosen = self.select(rcx, &works);
                self.leave_dead_pair(rcx, dead && chosen.is_none());
            }
        }
        self.plan_reading(rcx);
    }

    /// Time has passed. Timers that payload can stop run out only if the cells were read after their end.
    pub fn on_timer(&mut self, rcx: &mut ReapCx<'_>) {
        let now = Moment::now(rcx.now);
        match self.timers.keepalive_due(rcx.now) {
            Some(KeepaliveDue::Interval) => rcx.actions.push(Action::SendKeepalive),
            Some(KeepaliveDue::Timeout) => self.fire(rcx, Event::KeepaliveTimeout, now),
            None => {}
        }
        if self.timers.send_due(rcx.now) {
            self.fire(rcx, Event::SendTimeout, now);
        }
        if self.schedule.is_some_and(|s| s.next() <= rcx.now) {
            if let Some(s) = &mut self.schedule {
                s.advance(rcx.now, rcx.config, rcx.rng);
            }
            self.fire(rcx, Event::Retransmission, now);
        }
        match self.tester.step(rcx.now, rcx.config, rcx.rng) {
            Some(Step::Probe(pair)) => self.send_test(rcx, pair),
            Some(Step::Failed(pair)) => {
                self.note_tested(rcx, pair, None);
                rcx.actions.push(Action::TestFailed { pair });
            }
            None => {}
        }
        self.test_others(rcx);
        self.watch_current(rcx);
        self.note_doubt(rcx);
        self.plan_reading(rcx);
    }

    /// Hot standby and return to the preferred pair: the test that is due.
    fn test_others(&mut self, rcx: &mut ReapCx<'_>) {
        if self.state != ReapState::Operational {
            return;
        }
        let pair = match self.standby.due(rcx.now, rcx.config, rcx.rng) {
            Some(Wish::Standby) => {
                let other = self.explorer.alternative(rcx, self.standby.failed());
                self.standby.candidate(rcx.current, other)
            }
            Some(Wish::Preferred) => self.explorer.preferred(rcx).filter(|p| *p != rcx.current),
            None => return,
        };
        if let Some(pair) = pair {
            self.test_pair(rcx, pair);
        }
    }

    /// A test has ended: with an answer on the way it went, after `rtt`, or without one. Goes back to the preferred
    /// pair if it has passed enough of them.
    fn note_tested(&mut self, rcx: &mut ReapCx<'_>, pair: LocatorPair, rtt: Option<Duration>) {
        match rtt {
            Some(_) => self.standby.answered(rcx.now, pair),
            None => self.standby.unanswered(rcx.now, pair),
        }
        let other = rcx.config.return_to_preferred.is_some()
            && self.state == ReapState::Operational
            && pair != rcx.current
            && self.explorer.preferred(rcx) == Some(pair);
        if other && self.standby.preferred(rcx.now, rtt.is_some()) {
            rcx.current = pair;
            self.watch.switched(rtt);
            rcx.actions.push(Action::Switch(pair));
        }
    }

    /// Fast detection: a step of the test of the current pair, or its beginning, if it is time.
    fn watch_current(&mut self, rcx: &mut ReapCx<'_>) {
        let current = rcx.current;
        if self.state != ReapState::Operational || !self.explorer.may_probe(rcx, current) {
            return;
        }
        match self.watch.step(rcx.now, rcx.config) {
            Some(watch::Step::Probe) => self.send_test(rcx, current),
            Some(watch::Step::Failed) => self.fail(rcx, Reason::TestFailed),
            None => {}
        }
    }

    /// Somebody suspects that the current pair does not work, without proof: a reason to test it.
    // req: RP-3.3-04, RP-8-01 (RFC 5534, 3.3 and 8)
    pub fn on_hint(&mut self, rcx: &mut ReapCx<'_>) {
        match rcx.config.detection {
            Detection::Rfc => {
                self.test_pair(rcx, rcx.current);
            }
            Detection::Fast => {
                self.watch.suspect(rcx.now);
                self.watch_current(rcx);
                self.note_doubt(rcx);
                self.plan_reading(rcx);
            }
        }
    }

    /// A test of the current pair has failed: time to look for others.
    pub fn on_test_failed(&mut self, rcx: &mut ReapCx<'_>) {
        self.fail(rcx, Reason::TestFailed);
        self.plan_reading(rcx);
    }

    /// Packets on the current pair could not even leave: Exploring at once.
    pub fn on_send_failed(&mut self, rcx: &mut ReapCx<'_>) {
        self.fail(rcx, Reason::LocalFailure);
        self.plan_reading(rcx);
    }

    /// Our locator `lost` cannot be used: address, link or route is gone. Explores at once if the current pair has
    /// it. Pairs with it are skipped until [`Reap::on_locator_usable`] names it or all others have been tried; as
    /// long as it lasts the candidate should not be `usable`.
    // req: RP-4.1-01 (RFC 5534, 4.1)
    pub fn on_local_failure(&mut self, rcx: &mut ReapCx<'_>, lost: Locator) {
        if rcx.current.local == lost {
            self.explorer.lose(lost);
            self.fail(rcx, Reason::LocalFailure);
        } else if self.state != ReapState::Operational {
            self.explorer.lose(lost);
        }
        self.plan_reading(rcx);
    }

    /// A locator of ours or of the peer's has come (back): forgets its loss, and a running exploration tries it
    /// without waiting for the end of a long gap.
    pub fn on_locator_usable(&mut self, rcx: &mut ReapCx<'_>, back: Locator) {
        if let Some(s) = &mut self.schedule {
            self.explorer.restore(rcx, back);
            s.hurry(rcx.now, rcx.config, rcx.rng);
        }
        self.plan_reading(rcx);
    }

    /// The peer marked its locator of the current pair as broken, or withdrew it.
    pub fn on_peer_withdrew(&mut self, rcx: &mut ReapCx<'_>) {
        self.fail(rcx, Reason::PeerWithdrew);
        self.plan_reading(rcx);
    }

    /// Explore now; one that already runs starts its schedule anew.
    pub fn explore_now(&mut self, rcx: &mut ReapCx<'_>) {
        self.fail(rcx, Reason::Requested);
        self.plan_reading(rcx);
    }

    /// Upper layers or the transport see progress: what was sent until now has been answered. Stops the Send Timer as
    /// a Keepalive does, but proves nothing to an exploration.
    // req: RP-3.3-03 (RFC 5534, 3.3)
    pub fn on_progress(&mut self, rcx: &mut ReapCx<'_>) {
        match self.state {
            ReapState::Operational => self.on_keepalive(rcx),
            ReapState::Exploring | ReapState::InboundOk => {}
        }
    }

    /// Tests one pair beside the normal run, if Operational. Ends with `Action::Answered` or `Action::TestFailed`
    /// for this pair, or without either if an exploration begins meanwhile. Changes no current pair.
    /// False if not Operational, if the pair cannot be used, or if too many tests wait.
    // req: RP-3.3-04, RP-8-01 (RFC 5534, 3.3 and 8)
    pub fn test_pair(&mut self, rcx: &mut ReapCx<'_>, pair: LocatorPair) -> bool {
        let ready = match self.state {
            ReapState::Operational => self.explorer.may_probe(rcx, pair),
            ReapState::Exploring | ReapState::InboundOk => false,
        };
        if !ready || !self.tester.add(rcx.now, pair) {
            return false;
        }
        if let Some(Step::Probe(pair)) = self.tester.step(rcx.now, rcx.config, rcx.rng) {
            self.send_test(rcx, pair);
        }
        self.note_doubt(rcx);
        true
    }

    /// The peer's Send Timeout in seconds from its Keepalive Timeout option; `None` if it sent none. 0 is ignored.
    pub fn set_peer_send_timeout(&mut self, seconds: Option<u16>) {
        self.timers.set_peer_send_timeout(seconds);
    }

    /// The context was established anew by the peer on `ReapCx::current`: Operational, no timer, nothing remembered.
    pub fn reset_operational(&mut self, rcx: &mut ReapCx<'_>) {
        self.timers.clear(rcx.now);
        self.transition(rcx, ReapState::Operational, Reason::Reestablished);
        self.reports.begin();
        self.reports.end(rcx.now);
        self.tester.cancel();
        self.watch.reset(rcx.now);
        self.unheard_answers = 0;
        self.note_doubt(rcx);
        self.plan_reading(rcx);
    }

    /// The present state.
    pub fn state(&self) -> ReapState {
        self.state
    }

    /// When the present state was entered.
    pub fn since(&self) -> Time {
        self.since
    }

    /// When the exploration that runs now left Operational; `None` if none runs.
    pub fn exploring_since(&self) -> Option<Time> {
        self.exploring_since
    }

    /// When `on_timer` is wanted next, apart from `activity_due`.
    pub fn poll_timeout(&self) -> Option<Time> {
        let tests = [self.tester.next(), self.standby.next()].into_iter().flatten().min();
        self.schedule.map(|s| s.next()).or(tests)
    }

    /// When the activity cells are to be read next, followed by `on_timer`.
    pub fn activity_due(&self) -> Option<Time> {
        Some(self.read_due)
    }

    /// Which packet has to be told at once.
    pub fn wake(&self) -> WakeOn {
        match self.state {
            ReapState::Operational if self.waits => WakeOn::Any,
            ReapState::Operational | ReapState::InboundOk => WakeOn::Nothing,
            ReapState::Exploring => WakeOn::Inbound,
        }
    }

    /// Whether copies of unanswered segments are to be kept.
    pub fn hold(&self) -> bool {
        self.state != ReapState::Operational || self.doubt
    }

    /// The pair that is kept tested and passed the last time; `None` without hot standby.
    pub fn standby(&self) -> Option<LocatorPair> {
        self.standby.pair()
    }

    /// From the last answered Probe to its report.
    pub fn last_rtt(&self) -> Option<Duration> {
        self.last_rtt
    }

    /// What is known about each pair that was probed or heard, at most 256 pairs.
    pub fn pairs(&self) -> &[PairStatus] {
        self.book.pairs()
    }

    /// When Send Timer and Keepalive Timer were started.
    #[cfg(test)]
    pub(super) fn timers(&self) -> (Option<Time>, Option<Time>) {
        self.timers.started()
    }

    /// No timer runs, and payload would start one.
    fn idle(&self) -> bool {
        !self.timers.send_runs() && !self.timers.keepalive_runs()
    }

    fn plan_reading(&mut self, rcx: &ReapCx<'_>) {
        let idle = self.state == ReapState::Operational && self.idle();
        let due = self.timers.read_due(rcx.config, idle);
        self.read_due = match (self.state, self.schedule) {
            (ReapState::Operational, _) if rcx.config.detection == Detection::Fast => {
                self.watch.look().map_or(due, |look| look.min(due))
            }
            (ReapState::Operational, _) | (_, None) => due,
            // Life signs wake us; before the next Probe we look in any case.
            (ReapState::Exploring, Some(s)) => s.next(),
            (ReapState::InboundOk, Some(s)) => due.min(s.next()),
        };
        let unwatched = rcx.config.detection == Detection::Fast && self.watch.look().is_none();
        self.waits = self.idle() || unwatched;
    }

    fn note_doubt(&mut self, rcx: &ReapCx<'_>) {
        self.doubt = self.tester.pair() == Some(rcx.current) || self.watch.doubts();
    }

    /// One event that is not a Probe, through its row.
    fn fire(&mut self, rcx: &mut ReapCx<'_>, event: Event, m: Moment) {
        self.fire_because(rcx, event, m, reason_of(event));
    }

    fn fire_because(&mut self, rcx: &mut ReapCx<'_>, event: Event, m: Moment, reason: Reason) {
        let r = row(self.state, event);
        // Where a Probe is sent, the timers count from it and not from the packet that led to it.
        let m = if matches!(r.message, Sent::Probe(_)) { Moment::now(rcx.now) } else { m };
        self.timers_of(rcx, r, m);
        self.transition(rcx, r.next, reason);
        match event {
            Event::PayloadIn | Event::KeepaliveIn => self.unheard_answers = 0,
            Event::PayloadOut
            | Event::KeepaliveTimeout
            | Event::SendTimeout
            | Event::Retransmission
            | Event::Failure
            | Event::ProbeExploringIn
            | Event::ProbeInboundOkIn
            | Event::ProbeOperationalIn => {}
        }
        match r.message {
            Sent::Nothing => {}
            Sent::Keepalive => rcx.actions.push(Action::SendKeepalive),
            Sent::Probe(state) => {
                let pair = match state {
                    ProbeState::Exploring => self.explorer.next(rcx, Round::Exploring),
                    // Both sides often suspect the same silence. A lost answer must not lead to others elsewhere at
                    // once, which the peer would report as pairs to use.
                    ProbeState::InboundOk
                        if self.asked_here
                            && self.schedule.is_some_and(|s| s.is_short())
                            && self.explorer.may_probe(rcx, rcx.current) =>
                    {
                        Some(rcx.current)
                    }
                    ProbeState::InboundOk => self.explorer.next(rcx, Round::InboundOk),
                    ProbeState::Operational => Some(rcx.current),
                };
                if self.explorer.take_exhausted() {
                    rcx.actions.push(Action::Exhausted);
                }
                self.send_probe(rcx, state, pair, true);
            }
        }
    }

    fn timers_of(&mut self, rcx: &mut ReapCx<'_>, r: Row, m: Moment) {
        let (config, rng) = (rcx.config, &mut *rcx.rng);
        match r.send {
            TimerOp::Keep => {}
            TimerOp::Start => self.timers.start_send(m, config, rng),
            TimerOp::Restart => self.timers.restart_send(rcx.now, config, rng),
            TimerOp::Stop => self.timers.stop_send(m, config, rng),
        }
        match r.keepalive {
            TimerOp::Keep => {}
            TimerOp::Start | TimerOp::Restart => self.timers.start_keepalive(m, config, rng),
            TimerOp::Stop => self.timers.stop_keepalive(m, config, rng),
        }
    }

    /// The only place where the state changes.
    fn transition(&mut self, rcx: &mut ReapCx<'_>, to: ReapState, reason: Reason) {
        let from = self.state;
        if from == to {
            return;
        }
        self.state = to;
        self.since = rcx.now;
        match (from, to) {
            (ReapState::Operational, ReapState::Exploring | ReapState::InboundOk) => {
                self.exploring_since = Some(rcx.now);
                self.reports.begin();
                self.book.prune(rcx);
                let standby = self.standby.ready(rcx.now, rcx.config);
                self.explorer.begin(rcx.current, standby, rcx.rng);
                if to == ReapState::Exploring {
                    self.standby.left(rcx.now, rcx.config);
                }
                self.tester.cancel();
                self.unheard_answers = 0;
            }
            (ReapState::Exploring | ReapState::InboundOk, ReapState::Operational) => {
                self.exploring_since = None;
                self.reports.end(rcx.now);
                self.explorer.end();
            }
            (ReapState::InboundOk, ReapState::Exploring) => self.reports.forget_received(),
            (ReapState::Exploring, ReapState::InboundOk)
            | (ReapState::Operational, ReapState::Operational)
            | (ReapState::Exploring, ReapState::Exploring)
            | (ReapState::InboundOk, ReapState::InboundOk) => {}
        }
        self.watch.reset(rcx.now);
        let short = match rcx.config.detection {
            Detection::Fast => self.watch.gap(),
            Detection::Rfc => None,
        };
        self.schedule = match to {
            ReapState::Operational => None,
            // The Probe that the row sends is the first.
            ReapState::Exploring | ReapState::InboundOk => {
                Some(Schedule::begin(rcx.now, short, rcx.config, rcx.rng))
            }
        };
        if to == ReapState::Exploring {
            self.timers.clear(rcx.now);
        }
        self.note_doubt(rcx);
        rcx.actions.push(Action::State { from, to, reason });
    }

    /// The current pair is known not to work, or shall be replaced: Exploring without waiting for the Send Timer.
    fn fail(&mut self, rcx: &mut ReapCx<'_>, reason: Reason) {
        let before = self.state;
        self.fire_because(rcx, Event::Failure, Moment::now(rcx.now), reason);
        match (before, &mut self.schedule) {
            (ReapState::Exploring, Some(s)) => s.hurry(rcx.now, rcx.config, rcx.rng),
            (ReapState::Operational | ReapState::InboundOk, _) | (_, None) => {}
        }
    }

    /// Packets cannot leave on this pair, or are not to be sent there.
    fn is_dead(&self, rcx: &ReapCx<'_>, pair: LocatorPair) -> bool {
        let gone = |l: Locator, list: &[Candidate]| list.iter().any(|c| c.addr == l.0 && !c.usable);
        self.explorer.is_lost(pair) || gone(pair.local, rcx.local) || gone(pair.peer, rcx.peer)
    }

    /// Operational on a dead pair is not operational: the message that led here named no other.
    fn leave_dead_pair(&mut self, rcx: &mut ReapCx<'_>, dead: bool) {
        if !dead {
            return;
        }
        // Whoever repeats such messages would have a Probe for each.
        if self.may_answer(rcx) {
            self.fail(rcx, Reason::LocalFailure);
        } else {
            let r = row(self.state, Event::Failure);
            self.timers_of(rcx, r, Moment::now(rcx.now));
            self.transition(rcx, r.next, Reason::LocalFailure);
        }
    }

    /// Looks up our Probes among the reports.
    // req: RP-8-02, RP-4.2-01 (RFC 5534, 8 and 4.2)
    fn judge(&mut self, rcx: &mut ReapCx<'_>, probe: &Probe, heard: LocatorPair) -> Verdict {
        let mut works = Vec::new();
        let (mut tests, mut unknown) = (false, false);
        let mut newest: Option<SentProbe> = None;
        for report in probe.received.iter().take(Probe::MAX_REPORTS) {
            let Some((sent, first)) = self.reports.confirm(report) else {
                unknown = true;
                continue;
            };
            if first {
                let rtt = rcx.now.since(sent.at);
                self.book.answered(rcx.now, sent.pair, rtt);
                rcx.actions.push(Action::Answered { pair: sent.pair, rtt });
                if newest.is_none_or(|n| sent.at >= n.at) {
                    newest = Some(sent);
                    self.last_rtt = Some(rtt);
                }
            }
            if sent.test {
                tests = true;
                if self.tester.answered(sent.pair) {
                    let (pair, rtt) = (sent.pair, rcx.now.since(sent.at));
                    rcx.actions.push(Action::Tested { pair, rtt });
                }
            } else {
                works.push(sent);
            }
        }
        // An answer by another way says nothing about the way back.
        if let Some(sent) = newest.filter(|n| n.test) {
            let rtt = (sent.pair == heard).then(|| rcx.now.since(sent.at));
            self.note_tested(rcx, sent.pair, rtt);
        }
        if let Some(sent) = newest.filter(|n| n.pair == rcx.current && heard == rcx.current) {
            self.watch.measured(rcx.now.since(sent.at));
            self.watch.answered(rcx.now);
        }
        self.note_doubt(rcx);
        if unknown {
            rcx.actions.push(Action::Ignored("report_unknown"));
        }
        Verdict { only_tests: tests && works.is_empty(), works }
    }

    /// Takes a pair that was reported to work; returns it.
    // req: RP-6.8-03, RP-6.9-04 (RFC 5534, 6.8 and 6.9)
    fn select(&mut self, rcx: &mut ReapCx<'_>, works: &[LocatorPair]) -> Option<LocatorPair> {
        let chosen = self.explorer.choose(rcx, works)?;
        if chosen != rcx.current {
            rcx.current = chosen;
            self.standby.left(rcx.now, rcx.config);
            self.watch.switched(self.last_rtt);
            rcx.actions.push(Action::Switch(chosen));
        }
        Some(chosen)
    }

    /// Where an InboundOk goes that answers a Probe: back on its pair, else on.
    fn answer_pair(&mut self, rcx: &ReapCx<'_>, heard: LocatorPair) -> Option<LocatorPair> {
        if self.explorer.may_probe(rcx, heard) {
            self.explorer.mark(Round::InboundOk, heard);
            Some(heard)
        } else {
            self.explorer.next(rcx, Round::InboundOk)
        }
    }

    /// Where an Operational goes: it is not repeated by itself, so it takes a pair that works. That is the mirrored
    /// one if it was reported, else the chosen one, else, if the peer heard no Probe but other packets of ours, the
    /// current one. If the peer goes on asking, every other answer goes round all pairs.
    fn closing_pair(
        &self,
        rcx: &ReapCx<'_>,
        heard: LocatorPair,
        works: &[LocatorPair],
        chosen: Option<LocatorPair>,
    ) -> Option<LocatorPair> {
        let mut order = Vec::new();
        let mut add = |pair: Option<LocatorPair>| {
            if let Some(p) = pair.filter(|p| self.explorer.may_probe(rcx, *p) && !order.contains(p))
            {
                order.push(p);
            }
        };
        add(works.contains(&heard).then_some(heard));
        add(chosen);
        add(chosen.is_none().then_some(rcx.current));
        add(Some(heard));
        self.explorer.ranked(rcx).into_iter().for_each(|p| add(Some(p)));
        let n = self.unheard_answers as usize;
        let at = if n.is_multiple_of(2) { 0 } else { 1 + (n / 2) % (order.len().max(2) - 1) };
        order.get(at).or(order.first()).copied()
    }

    /// Sends a Probe that answers something, within the budget of such answers.
    fn answer(
        &mut self,
        rcx: &mut ReapCx<'_>,
        message: Sent,
        pair: Option<LocatorPair>,
        with_received: bool,
    ) {
        let Sent::Probe(state) = message else { return };
        if self.may_answer(rcx) {
            self.send_probe(rcx, state, pair, with_received);
        }
    }

    /// Takes one from the budget of immediate answers.
    fn may_answer(&mut self, rcx: &mut ReapCx<'_>) -> bool {
        let rate = rcx.config.replies_per_second.max(1);
        let full = self.answers_full.max(rcx.now);
        let cost = Duration::from_secs(1) / rate;
        if full.since(rcx.now) + cost > Duration::from_secs(1) {
            rcx.actions.push(Action::Ignored("answer_rate"));
            return false;
        }
        self.answers_full = full + cost;
        true
    }

    // req: RP-6.1-04, RP-5.2-06 (RFC 5534, 6.1 and 5.2)
    fn send_probe(
        &mut self,
        rcx: &mut ReapCx<'_>,
        state: ProbeState,
        pair: Option<LocatorPair>,
        with_received: bool,
    ) {
        let Some(pair) = pair else {
            rcx.actions.push(Action::Ignored("no_pair"));
            return;
        };
        self.reports.prune(rcx.now, rcx.config.report_lifetime);
        let (sent, mut received) = self.reports.send(rcx.now, pair, false, rcx.rng);
        if !with_received {
            received.clear();
        }
        self.book.probed(rcx.now, pair);
        rcx.actions.push(Action::SendProbe { pair, state, sent, received });
    }

    /// Asks for an answer without being in Exploring: the one Probe whose State is not the sender's.
    fn send_test(&mut self, rcx: &mut ReapCx<'_>, pair: LocatorPair) {
        self.reports.prune(rcx.now, rcx.config.report_lifetime);
        let (sent, _) = self.reports.send(rcx.now, pair, true, rcx.rng);
        self.book.probed(rcx.now, pair);
        let state = ProbeState::Exploring;
        rcx.actions.push(Action::SendProbe { pair, state, sent, received: Vec::new() });
    }
}

fn reason_of(event: Event) -> Reason {
    match event {
        Event::PayloadIn | Event::KeepaliveIn => Reason::LifeSign,
        Event::SendTimeout => Reason::SendTimeout,
        Event::ProbeExploringIn => Reason::PeerExploring,
        Event::ProbeInboundOkIn => Reason::PeerInboundOk,
        Event::ProbeOperationalIn => Reason::PeerOperational,
        Event::PayloadOut | Event::KeepaliveTimeout | Event::Retransmission | Event::Failure => {
            Reason::Requested
        }
    }
}
