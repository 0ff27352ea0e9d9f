//! Probes: what those of the peer say, and where ours go.

use super::Reap;
use super::reason_of;
use crate::addr::{Locator, LocatorPair};
use crate::proto::Time;
use crate::proto::reap::explore::Round;
use crate::proto::reap::reports::{Purpose, SentProbe, mirror, news};
use crate::proto::reap::rows::{Event, Sent, row};
use crate::proto::reap::timers::{Moment, send_timeout};
use crate::proto::reap::{Action, Candidate, ReapCx, ReapState, Reason};
use crate::wire::control::{Probe, ProbeState};
use std::cmp::Reverse;
use std::time::Duration;

/// Of the Probes of a peer that goes on asking one in so many at least gets here.
const PROBES_UNHEARD: u32 = 8;
/// How many Send Timeouts the way of the peer's Keepalives is taken for the way of its payload.
const WAY_BACK_LIFE: u32 = 2;

/// What the reports in a Probe say about our Probes.
struct Verdict {
    /// Probes of ours that arrived, tests left out.
    works: Vec<SentProbe>,
    /// The message reports tests and nothing else.
    only_tests: bool,
    /// One of them took the current pair, and its answer the same way back.
    current: bool,
    /// Pairs of fresh reports, tests among them, the newest Probe first.
    reported: Vec<LocatorPair>,
    /// Those that had not been reported before, in any order.
    news: Vec<LocatorPair>,
}

impl Reap {
    /// A valid Probe came in with these addresses in its IPv6 header.
    pub fn on_probe(&mut self, rcx: &mut ReapCx<'_>, src: Locator, dst: Locator, probe: &Probe) {
        let now = rcx.now;
        // Who forges the header, or a middlebox that changes it, does not get a place in our reports.
        let itself = match probe.own_report(src, dst) {
            Ok(itself) => itself,
            Err(why) => return rcx.actions.push(Action::Dropped(why.reason())),
        };
        self.reports.prune(now, rcx.config.report_lifetime);
        let verdict = self.judge(rcx, probe, mirror(itself));
        let event = match probe.state {
            ProbeState::Exploring => Event::ProbeExploringIn,
            ProbeState::InboundOk => Event::ProbeInboundOkIn,
            ProbeState::Operational => Event::ProbeOperationalIn,
        };
        let dead = self.is_dead(rcx, rcx.current);
        let was = self.state;
        let stays = !dead && self.stays(rcx, verdict.current);
        let heard = mirror(itself);
        let r = row(self.state, event);
        let (watch, mut schedule) = (self.watch.clone(), *self.schedule);
        let test = self.time_test(rcx, probe, &verdict);
        if !test {
            self.timers_of(rcx, r, Moment::now(now));
        }
        self.transition(rcx, r.next, reason_of(event));
        if test {
            self.watch = watch;
        }
        if heard == rcx.current {
            self.watch.answered(now);
        }
        // Not what a peer's test makes of Operational.
        let explores = was != ReapState::Operational && !test;
        self.note_doubt(rcx);
        self.reports.receive(now, *itself);
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
                let chosen = self.take_reported(rcx, &verdict, stays, explores);
                // Whoever has heard an answer does not go on asking.
                let gap = rcx.config.max_probe_timeout.saturating_mul(PROBES_UNHEARD);
                if self.asked.is_none_or(|t| now.since(t) > gap) {
                    self.unheard_answers = 0;
                }
                let pair = self.closing_pair(rcx, heard, &verdict, chosen);
                self.unheard_answers = self.unheard_answers.saturating_add(1);
                self.asked = Some(now);
                // Whoever explores tells what it hears, even if all that the peer names are tests.
                let tested = test || stays && was == ReapState::Operational;
                self.answer(rcx, r.message, pair, !tested);
                if dead && chosen.is_none() {
                    self.go_on_exploring(rcx, Reason::LocalFailure, None);
                }
                if probe.received.is_empty() {
                    self.test_soon(rcx);
                }
            }
            ProbeState::Operational => {
                self.unheard_answers = 0;
                let chosen = self.take_reported(rcx, &verdict, stays, explores);
                if chosen.is_none() && !stays {
                    // The end of a test that met our exploration: it shows no pair to go to, and ours may have failed.
                    let names_none =
                        explores && was == ReapState::InboundOk && probe.received.is_empty();
                    let lifetime = rcx.config.report_lifetime;
                    let elsewhere = names_none
                        .then(|| self.reports.heard_elsewhere(now, lifetime, rcx.current, heard))
                        .flatten();
                    if dead {
                        self.go_on_exploring(rcx, Reason::LocalFailure, elsewhere);
                    } else if elsewhere.is_some() {
                        self.go_on_exploring(rcx, Reason::PeerOperational, elsewhere);
                        // Nothing new has failed: the gaps grow on.
                        if let Some(s) = &mut schedule {
                            s.out_of_turn(now, rcx.config, rcx.rng);
                        }
                        self.schedule = schedule.into();
                    }
                }
            }
        }
        self.plan_reading(rcx);
    }

    /// Tests of pairs are no life signs, whoever makes them, and whatever they show: the answer comes back on the way of
    /// its Probe, where the payload of the other side need not go. They must not keep the timers of either side from
    /// noticing that the pair in use has failed. One of the current pair is, if the peer's Keepalives take its way back.
    /// Does to the timers what a Probe of a test does; false where this one is none, or may be none, and the table's row for
    /// the timers applies.
    fn time_test(&mut self, rcx: &mut ReapCx<'_>, probe: &Probe, verdict: &Verdict) -> bool {
        // One that ends an exploration reports what was heard.
        let closes = probe.state == ProbeState::Operational && probe.received.is_empty();
        let test = match (self.state, probe.state) {
            // The answer to a test of ours.
            (ReapState::Operational, ProbeState::InboundOk) => {
                if let Some(rtt) = self.last_rtt.filter(|_| !verdict.news.is_empty()) {
                    self.timers.put_off_send(rtt, rcx.config);
                }
                verdict.only_tests
            }
            // The same, while the peer's test has not ended.
            (ReapState::InboundOk, ProbeState::InboundOk) if verdict.only_tests => {
                self.resume(rcx.now)
            }
            // The peer's: perhaps a test, perhaps an exploration.
            (ReapState::Operational, ProbeState::Exploring) => {
                self.timers.interrupt();
                false
            }
            (ReapState::InboundOk, ProbeState::Operational) if closes => self.resume(rcx.now),
            // A test of several Probes has as many ends.
            (ReapState::Operational, ProbeState::Operational) if closes => {
                self.tested.is_some_and(|t| rcx.now.since(t) <= rcx.config.report_lifetime)
            }
            _ => false,
        };
        if test && verdict.current && self.is_way_back(rcx) {
            self.timers.stop_send(Moment::now(rcx.now), rcx.config, rcx.rng);
            self.timers.look_again();
        }
        test
    }

    /// The peer's Keepalives take the same way as answers on our current pair, so these are as good as those: a few of
    /// them may get lost.
    fn is_way_back(&self, rcx: &ReapCx<'_>) -> bool {
        self.way_back(rcx) == Some(rcx.current)
    }

    /// They take another one: that answers on the way of our current pair get lost says nothing.
    fn hears_elsewhere(&self, rcx: &ReapCx<'_>) -> bool {
        self.way_back(rcx).is_some_and(|way| way != rcx.current)
    }

    /// The way of the peer's Keepalives, our end first, if one has come lately.
    fn way_back(&self, rcx: &ReapCx<'_>) -> Option<LocatorPair> {
        let lately = |at: Time| rcx.now.since(at) <= send_timeout(rcx.config) * WAY_BACK_LIFE;
        self.kept.filter(|(_, at)| lately(*at)).map(|(way, _)| way)
    }

    /// The timers go on as if the peer had not tested anything; false if it has not.
    fn resume(&mut self, now: Time) -> bool {
        let interrupted = self.timers.resume();
        if interrupted {
            self.tested = Some(now);
        }
        interrupted
    }

    /// The pair in use works after all, its answers were only late. Those to Probes on other pairs follow, and are no
    /// reason to move. `current`: one of its answers has come just now.
    fn stays(&self, rcx: &ReapCx<'_>, current: bool) -> bool {
        let lately = |t: Time| rcx.now.since(t) <= rcx.config.report_lifetime;
        let proven = self.state == ReapState::Operational
            && self.proven >= Some(self.since)
            && self.proven.is_some_and(lately);
        (current || proven)
            && rcx.wanted.fit(rcx.current)
            && !self.explorer.is_marked(rcx, rcx.current)
    }

    /// Packets cannot leave on this pair, or are not to be sent there: a locator does not work, or is withdrawn.
    pub(super) fn is_dead(&self, rcx: &ReapCx<'_>, pair: LocatorPair) -> bool {
        let usable =
            |l: Locator, list: &[Candidate]| list.iter().any(|c| c.addr == l.0 && c.usable);
        let usable = usable(pair.local, rcx.local) && usable(pair.peer, rcx.peer);
        self.explorer.is_lost(pair) || !usable
    }

    /// Operational on a dead pair, or one that nothing speaks for, is not operational: the message that led here named no
    /// other. `first`: the pair to try first.
    fn go_on_exploring(
        &mut self,
        rcx: &mut ReapCx<'_>,
        reason: Reason,
        first: Option<LocatorPair>,
    ) {
        // Its Probes have been under way for less than a round trip, maybe.
        self.led_nowhere = true;
        let r = row(self.state, Event::Failure);
        self.timers_of(rcx, r, Moment::now(rcx.now));
        self.transition(rcx, r.next, reason);
        if let Some(first) = first {
            self.explorer.lead(first);
        }
        // Whoever repeats such messages would have a Probe for each.
        if self.may_answer(rcx) {
            let pair = self.explorer.next(rcx, Round::Exploring);
            self.send_probe(rcx, ProbeState::Exploring, pair, true);
        }
    }

    /// Looks up our Probes among the reports.
    // req: RP-8-02, RP-4.2-01 (RFC 5534, 8 and 4.2)
    fn judge(&mut self, rcx: &mut ReapCx<'_>, probe: &Probe, heard: LocatorPair) -> Verdict {
        let mut works = Vec::new();
        let (mut tests, mut unknown) = (false, false);
        let mut newest: Option<SentProbe> = None;
        let mut current = false;
        let mut reported: Vec<SentProbe> = Vec::new();
        let mut fresh = Vec::new();
        for report in probe.received.iter().take(Probe::MAX_REPORTS) {
            let Some((sent, first)) = self.reports.confirm(report) else {
                unknown = true;
                continue;
            };
            if rcx.now.since(sent.at) <= rcx.config.report_lifetime {
                reported.push(sent);
            }
            if first {
                fresh.push(sent.pair);
                current |= sent.pair == rcx.current && heard == rcx.current;
                let rtt = rcx.now.since(sent.at);
                self.book.answered(rcx.now, sent.pair, rtt);
                rcx.actions.push(Action::Answered { pair: sent.pair, rtt });
                if newest.is_none_or(|n| sent.at >= n.at) {
                    newest = Some(sent);
                    self.last_rtt = Some(rtt);
                }
            }
            if sent.is_test() {
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
        if let Some(sent) = newest.filter(SentProbe::is_test) {
            let rtt = (sent.pair == heard).then(|| rcx.now.since(sent.at));
            self.note_tested(rcx, sent.pair, rtt);
        }
        if let Some(sent) = newest.filter(|n| n.pair == rcx.current) {
            // What comes in on the current pair itself is an answer in any case.
            if heard == rcx.current {
                self.watch.measured(rcx.now.since(sent.at));
            } else if self.hears_elsewhere(rcx) {
                self.watch.answered(rcx.now);
            }
        }
        if current {
            self.proven = Some(rcx.now);
        }
        self.note_doubt(rcx);
        if unknown {
            rcx.actions.push(Action::Ignored("report_unknown"));
        }
        reported.sort_unstable_by_key(|sent| Reverse(sent.at));
        let reported = reported.into_iter().map(|sent| sent.pair).collect();
        Verdict { only_tests: tests && works.is_empty(), works, current, reported, news: fresh }
    }

    /// Takes a pair that works by the word of the peer, unless the one in use is to stay. A test selects none while all is
    /// well; whoever explores takes its pair if no other was reported. Repeated, that is old news.
    fn take_reported(
        &mut self,
        rcx: &mut ReapCx<'_>,
        verdict: &Verdict,
        stays: bool,
        explores: bool,
    ) -> Option<LocatorPair> {
        if stays {
            None
        } else if explores && verdict.works.is_empty() {
            self.select(rcx, &verdict.news)
        } else {
            let works = news(&verdict.works, rcx.now, rcx.config.report_lifetime);
            self.select(rcx, &works)
        }
    }

    /// Takes a pair that was reported to work; returns it.
    // req: RP-6.8-03, RP-6.9-04 (RFC 5534, 6.8 and 6.9)
    fn select(&mut self, rcx: &mut ReapCx<'_>, works: &[LocatorPair]) -> Option<LocatorPair> {
        let chosen = self.explorer.choose(rcx, works)?;
        if chosen != rcx.current {
            rcx.current = chosen;
            self.standby.left(rcx.now, rcx.config);
            self.standby.moved();
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
    /// one if a Probe of ours on it was reported, be it that of a test; else the chosen one, else one that was reported,
    /// else, if the peer heard no Probe but other packets of ours, the current one. If the peer goes on asking, every
    /// other answer goes round all pairs, and every fourth if it names tests alone.
    fn closing_pair(
        &self,
        rcx: &ReapCx<'_>,
        heard: LocatorPair,
        verdict: &Verdict,
        chosen: Option<LocatorPair>,
    ) -> Option<LocatorPair> {
        let reported = &verdict.reported;
        let may = |p: &LocatorPair| self.explorer.may_probe(rcx, *p);
        let mirrored = reported.contains(&heard).then_some(heard);
        let fallback = chosen.is_none().then_some(rcx.current).into_iter().chain([heard]);
        let likely = mirrored.into_iter().chain(chosen).chain(reported.iter().copied());
        let n = self.unheard_answers as usize;
        // After a test nobody has lost a pair, as far as is known.
        let every = if verdict.only_tests { 4 } else { 2 };
        let best = likely.chain(fallback).find(may).filter(|_| n % every != every - 1);
        best.or_else(|| {
            // Whatever pair the peer happened to ask on: its own round must not keep step with this one.
            let pairs: Vec<_> = self.explorer.ranked(rcx).into_iter().filter(may).collect();
            pairs.get(n / every % pairs.len().max(1)).copied()
        })
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
    pub(super) fn send_probe(
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
        let (sent, mut received) = self.reports.send(rcx.now, pair, Purpose::Tell(state), rcx.rng);
        if !with_received {
            received.clear();
        }
        // Nothing answers the last word.
        if state != ProbeState::Operational {
            self.book.probed(rcx.now, pair);
        }
        rcx.actions.push(Action::SendProbe { pair, state, sent, received });
    }
}
