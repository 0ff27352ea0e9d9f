//! The machine itself: inputs, the rows of RFC 5534, section 6, and what follows from them.

mod answers;
mod tests_of_pairs;

use super::book::Book;
use super::explore::{Explorer, Round, Schedule};
use super::reports::Reports;
use super::rows::{Event, Row, Sent, TimerOp, row};
use super::standby::Standby;
use super::tester::{Step, Tester};
use super::timers::{Burst, KeepaliveDue, Moment, Timers};
use super::watch::Watch;
use super::{Action, PairStatus, ReapCx, ReapState, Reason};
use crate::addr::{Locator, LocatorPair};
use crate::proto::config::{Detection, ReapConfig};
use crate::proto::seldom::Seldom;
use crate::proto::{Activity, Time, WakeOn};
use crate::wire::control::ProbeState;
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
    schedule: Seldom<Option<Schedule>>,
    reports: Seldom<Reports>,
    explorer: Explorer,
    tester: Seldom<Tester>,
    /// Fast detection.
    watch: Seldom<Watch>,
    /// Tests of other pairs while all is well.
    standby: Seldom<Standby>,
    book: Seldom<Book>,
    /// When the budget of immediate answers is full again.
    answers_full: Time,
    /// Probes Operational sent since the last sign that one has arrived.
    unheard_answers: u32,
    /// When the peer last said that it hears us and does not know whether we hear it.
    asked: Option<Time>,
    last_rtt: Option<Duration>,
    /// The test that runs is one of the current pair.
    doubt: bool,
    /// When a Probe on the current pair was last answered on the same way.
    proven: Option<Time>,
    /// The Send Timer runs out, but the current pair is likely to work as far as the peer: it is the other way that is lost.
    way_back_lost: bool,
    /// The exploration that has just ended named no pair to take the place of a dead one.
    led_nowhere: bool,
    /// The way of the last Keepalive, seen from our end, and when it came: the peer's current pair.
    kept: Seldom<Option<(LocatorPair, Time)>>,
    /// When a test by the peer last ended.
    tested: Option<Time>,
    /// The peer asked on the current pair: it may only test it, so answers stay there while gaps are short.
    asked_here: bool,
    /// A packet has to wake us: no timer runs that it could stop or start, and no silence is being watched.
    waits: bool,
    /// When the cells are to be read next.
    read_due: Time,
}

impl Reap {
    /// A machine for a context that has just been established: Operational, no timer runs.
    pub fn new(now: Time) -> Reap {
        Reap {
            state: ReapState::Operational,
            since: now,
            exploring_since: None,
            timers: Timers::new(now),
            schedule: Seldom::NONE,
            reports: Seldom::NONE,
            explorer: Explorer::default(),
            tester: Seldom::NONE,
            watch: Seldom::NONE,
            standby: Seldom::NONE,
            book: Seldom::NONE,
            answers_full: now,
            unheard_answers: 0,
            asked: None,
            last_rtt: None,
            doubt: false,
            proven: None,
            way_back_lost: false,
            led_nowhere: false,
            kept: Seldom::NONE,
            tested: None,
            asked_here: false,
            waits: true,
            read_due: now,
        }
    }

    /// The activity cells as they are now: payload that went in or out since they were last read.
    // req: RP-4.1-03 (RFC 5534, 4.1)
    pub fn on_activity(&mut self, rcx: &mut ReapCx<'_>, activity: &Activity) {
        if let Some(aside) = self.timers.aside() {
            for burst in aside.observe(rcx.now, activity).iter().flatten() {
                match *burst {
                    Burst::In(m) => operational(aside, rcx, Event::PayloadIn, m),
                    Burst::Out(m) => operational(aside, rcx, Event::PayloadOut, m),
                }
            }
        }
        for burst in self.timers.observe(rcx.now, activity).iter().flatten() {
            match *burst {
                // Packets from before Exploring was entered do not end it.
                Burst::In(m) if self.state == ReapState::Exploring && m.last() <= self.since => {}
                Burst::In(m) => self.fire(rcx, Event::PayloadIn, m),
                Burst::Out(m) => self.fire(rcx, Event::PayloadOut, m),
            }
        }
        if rcx.config.detection == Detection::Fast {
            self.watch.see(rcx.now, activity);
        }
        let tests = Standby::is_wanted(rcx.config) || !self.standby.takes_no_room();
        if tests && self.state == ReapState::Operational {
            let packets = activity.packets_out.wrapping_add(activity.packets_in);
            self.standby.see(rcx.now, packets, rcx.config);
        }
        self.plan_reading(rcx);
    }

    /// A valid control message other than Keepalive and Probe came in: a life sign like payload.
    pub fn on_control_in(&mut self, rcx: &mut ReapCx<'_>) {
        if let Some(aside) = self.timers.aside() {
            operational(aside, rcx, Event::PayloadIn, Moment::now(rcx.now));
            aside.note_control_in(rcx.now);
        }
        self.fire(rcx, Event::PayloadIn, Moment::now(rcx.now));
        self.timers.note_control_in(rcx.now);
        self.watch.answered(rcx.now);
        self.plan_reading(rcx);
    }

    /// An Update Request, Update Acknowledgement or Error of this context goes out: counts like payload.
    pub fn on_control_out(&mut self, rcx: &mut ReapCx<'_>) {
        if let Some(aside) = self.timers.aside() {
            operational(aside, rcx, Event::PayloadOut, Moment::now(rcx.now));
            aside.note_control_out(rcx.now);
        }
        self.fire(rcx, Event::PayloadOut, Moment::now(rcx.now));
        self.timers.note_control_out(rcx.now);
        self.plan_reading(rcx);
    }

    /// A valid Keepalive came in on the way `heard`, our end first.
    pub fn on_keepalive_by(&mut self, rcx: &mut ReapCx<'_>, heard: LocatorPair) {
        *self.kept = Some((heard, rcx.now));
        self.on_keepalive(rcx);
    }

    /// A valid Keepalive came in.
    pub fn on_keepalive(&mut self, rcx: &mut ReapCx<'_>) {
        if let Some(aside) = self.timers.aside() {
            operational(aside, rcx, Event::KeepaliveIn, Moment::now(rcx.now));
        }
        self.fire(rcx, Event::KeepaliveIn, Moment::now(rcx.now));
        self.timers.look_again();
        self.watch.answered(rcx.now);
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
            // Shown after the packet that has been waiting since, or by payload: its silence would have been noticed.
            let shown = self.proven.is_some() && self.proven >= self.timers.send_since();
            let fast = rcx.config.detection == Detection::Fast;
            self.way_back_lost = (shown || fast) && self.state == ReapState::Operational;
            self.fire(rcx, Event::SendTimeout, now);
        }
        if self.schedule.is_some_and(|s| s.next() <= rcx.now) {
            if let Some(s) = &mut *self.schedule {
                s.advance(rcx.now, rcx.config, rcx.rng);
            }
            self.fire(rcx, Event::Retransmission, now);
        }
        let due = self.state == ReapState::Operational
            && self.tester.next().is_some_and(|t| t <= rcx.now);
        let step = due.then(|| self.tester.step(rcx.now, rcx.config, rcx.rng)).flatten();
        match step {
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

    /// Fast detection has just been switched on: what has passed of late may already be the beginning of a silence.
    /// `activity` is what was last read of the cells, at `read`.
    pub fn on_watched(&mut self, rcx: &mut ReapCx<'_>, read: Time, activity: &Activity) {
        if rcx.config.detection == Detection::Fast {
            let answered = self.timers.answered_out();
            self.watch.begin(read, activity, answered, self.last_rtt);
        }
        self.on_timer(rcx);
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
        if let Some(s) = &mut *self.schedule {
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

    /// When the next Probe of the exploration is due; `None` if none runs.
    pub fn next_probe(&self) -> Option<Time> {
        self.schedule.map(|s| s.next())
    }

    /// The peer's Send Timeout in seconds from its Keepalive Timeout option; `None` if it sent none. 0 is ignored.
    pub fn set_peer_send_timeout(&mut self, seconds: Option<u16>, config: &ReapConfig) {
        self.timers.set_peer_send_timeout(seconds, config);
        if let Some(next) = self.timers.next_keepalive() {
            self.read_due = self.read_due.min(next);
        }
    }

    /// The context was established anew by the peer on `ReapCx::current`: Operational, no timer, nothing remembered.
    pub fn reset_operational(&mut self, rcx: &mut ReapCx<'_>) {
        self.timers.clear(rcx.now);
        self.proven = None;
        self.tested = None;
        self.kept.put_to_rest();
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
        let tests = Time::earlier(self.tester.next(), self.standby.next());
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

    /// The parts that take room.
    #[cfg(test)]
    pub(super) fn room(&self) -> Vec<&'static str> {
        let parts = [
            ("schedule", self.schedule.takes_no_room()),
            ("reports", self.reports.takes_no_room()),
            ("tester", self.tester.takes_no_room()),
            ("watch", self.watch.takes_no_room()),
            ("standby", self.standby.takes_no_room()),
            ("book", self.book.takes_no_room()),
        ];
        parts.into_iter().filter(|(_, none)| !none).map(|(name, _)| name).collect()
    }

    /// No timer runs, and payload would start one.
    fn idle(&self) -> bool {
        !self.timers.send_runs() && !self.timers.keepalive_runs()
    }

    fn plan_reading(&mut self, rcx: &ReapCx<'_>) {
        let idle = self.state == ReapState::Operational && self.idle();
        let due = self.timers.read_due(rcx.config, idle);
        // A pair that must not be probed is not watched.
        let fast = rcx.config.detection == Detection::Fast;
        let watched = fast && self.explorer.may_probe(rcx, rcx.current);
        let look = self.watch.look().filter(|_| watched);
        self.read_due = match (self.state, *self.schedule) {
            (ReapState::Operational, _) => look.map_or(due, |look| look.min(due)),
            (_, None) => due,
            // Life signs wake us; before the next Probe we look in any case.
            (ReapState::Exploring, Some(s)) => s.next(),
            (ReapState::InboundOk, Some(s)) => due.min(s.next()),
        };
        self.waits = self.idle() || (fast && look.is_none());
        self.tidy(rcx);
    }

    /// What has come to rest takes no room any more.
    fn tidy(&mut self, rcx: &ReapCx<'_>) {
        if rcx.config.detection == Detection::Rfc {
            self.watch.put_to_rest();
        }
        if !self.reports.takes_no_room() {
            self.reports.expire(rcx.now, rcx.config.report_lifetime);
        }
        self.reports.tidy();
        self.schedule.tidy();
        self.tester.tidy();
        self.standby.tidy();
        self.book.tidy();
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
            // Only in Operational are they sent, unlike payload.
            Event::KeepaliveIn => self.unheard_answers = 0,
            Event::PayloadIn
            | Event::PayloadOut
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
        run_timers(&mut self.timers, rcx, r, m);
    }

    /// The only place where the state changes.
    fn transition(&mut self, rcx: &mut ReapCx<'_>, to: ReapState, reason: Reason) {
        let from = self.state;
        if from == to {
            return;
        }
        self.state = to;
        self.since = rcx.now;
        if to != ReapState::InboundOk {
            self.timers.forget_interruption();
        }
        match (from, to) {
            (ReapState::Operational, ReapState::Exploring | ReapState::InboundOk) => {
                self.exploring_since = Some(rcx.now);
                if std::mem::take(&mut self.led_nowhere) {
                    self.reports.go_on();
                } else {
                    self.reports.begin();
                }
                self.book.prune(rcx);
                // An answer by this way lets the peer mend its own, and leaves ours as it is.
                if std::mem::take(&mut self.way_back_lost) {
                    self.explorer.begin(rcx.current, Some(rcx.current), rcx.rng);
                    self.explorer.insist(rcx.config.initial_probes);
                } else {
                    let standby = self.standby.ready(rcx.now, rcx.config);
                    self.explorer.begin(rcx.current, standby, rcx.rng);
                }
                // The peer may only test a pair, as we do perhaps.
                if to == ReapState::Exploring {
                    self.standby.left(rcx.now, rcx.config);
                    self.tester.cancel();
                }
                self.unheard_answers = 0;
            }
            (ReapState::Exploring | ReapState::InboundOk, ReapState::Operational) => {
                self.exploring_since = None;
                self.reports.end(rcx.now);
                self.explorer.end();
                self.tester.go_on(rcx.now + rcx.config.initial_probe_timeout);
            }
            (ReapState::InboundOk, ReapState::Exploring) => {
                self.reports.forget_received();
                self.tester.cancel();
            }
            (ReapState::Exploring, ReapState::InboundOk)
            | (ReapState::Operational, ReapState::Operational)
            | (ReapState::Exploring, ReapState::Exploring)
            | (ReapState::InboundOk, ReapState::InboundOk) => {}
        }
        if to != ReapState::InboundOk {
            self.watch.reset(rcx.now);
        }
        let short = match rcx.config.detection {
            Detection::Fast => self.watch.gap(),
            Detection::Rfc => None,
        };
        self.schedule = match to {
            ReapState::Operational => Seldom::NONE,
            // The Probe that the row sends is the first.
            ReapState::Exploring | ReapState::InboundOk => {
                Seldom::from(Some(Schedule::begin(rcx.now, short, rcx.config, rcx.rng)))
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
        match (before, &mut *self.schedule) {
            (ReapState::Exploring, Some(s)) => s.hurry(rcx.now, rcx.config, rcx.rng),
            (ReapState::Operational | ReapState::InboundOk, _) | (_, None) => {}
        }
    }
}

/// What a row does to timers.
fn run_timers(timers: &mut Timers, rcx: &mut ReapCx<'_>, r: Row, m: Moment) {
    let (config, rng) = (rcx.config, &mut *rcx.rng);
    match r.send {
        TimerOp::Keep => {}
        TimerOp::Start => timers.start_send(m, config, rng),
        TimerOp::Restart => timers.restart_send(rcx.now, config, rng),
        TimerOp::Stop => timers.stop_send(m, config, rng),
    }
    match r.keepalive {
        TimerOp::Keep => {}
        TimerOp::Start | TimerOp::Restart => timers.start_keepalive(m, config, rng),
        TimerOp::Stop => timers.stop_keepalive(m, config, rng),
    }
}

/// What happens to the timers that are kept aside, as they would be in Operational.
fn operational(aside: &mut Timers, rcx: &mut ReapCx<'_>, event: Event, m: Moment) {
    run_timers(aside, rcx, row(ReapState::Operational, event), m);
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
