//! Tests of single pairs beside the normal run: on request, for hot standby, and of the current pair by fast detection.

use super::Reap;
use crate::addr::LocatorPair;
use crate::proto::config::Detection;
use crate::proto::reap::reports::Purpose;
use crate::proto::reap::standby::Wish;
use crate::proto::reap::tester::Step;
use crate::proto::reap::{Action, ReapCx, ReapState, Reason, watch};
use crate::wire::control::ProbeState;
use std::time::Duration;

impl Reap {
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

    /// The peer says that it hears us, and names no Probe. A packet that was on its way when the failure came is
    /// reason enough for it to say so, which is no news of the pair in use: that is tested, when its next Probe could
    /// have come, and until then copies are kept.
    pub(super) fn test_soon(&mut self, rcx: &mut ReapCx<'_>) {
        let pair = rcx.current;
        if self.state == ReapState::Operational && self.explorer.may_probe(rcx, pair) {
            self.tester.add(rcx.now + rcx.config.initial_probe_timeout, pair);
            self.note_doubt(rcx);
        }
    }

    /// Hot standby and return to the preferred pair: the test that is due.
    pub(super) fn test_others(&mut self, rcx: &mut ReapCx<'_>) {
        let due = self.standby.next().is_some_and(|t| t <= rcx.now);
        if self.state != ReapState::Operational || !due {
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

    /// Fast detection: a step of the test of the current pair, or its beginning, if it is time.
    pub(super) fn watch_current(&mut self, rcx: &mut ReapCx<'_>) {
        let current = rcx.current;
        if rcx.config.detection == Detection::Rfc {
            return self.watch.put_to_rest();
        }
        if self.state != ReapState::Operational || !self.explorer.may_probe(rcx, current) {
            return;
        }
        match self.watch.step(rcx.now, rcx.config) {
            Some(watch::Step::Probe) => self.send_test(rcx, current),
            Some(watch::Step::Failed) => self.fail(rcx, Reason::TestFailed),
            None => {}
        }
    }

    /// A test has ended: with an answer on the way it went, after `rtt`, or without one. Goes back to the preferred
    /// pair if it has passed enough of them.
    pub(super) fn note_tested(
        &mut self,
        rcx: &mut ReapCx<'_>,
        pair: LocatorPair,
        rtt: Option<Duration>,
    ) {
        match rtt {
            Some(_) => self.standby.answered(rcx.now, pair),
            None => self.standby.unanswered(rcx.now, pair),
        }
        let other = rcx.config.return_to_preferred.is_some()
            && self.state == ReapState::Operational
            && pair != rcx.current
            && self.explorer.preferred(rcx) == Some(pair);
        let counts = other && (self.standby.returns() || rtt.is_none());
        if counts && self.standby.preferred(rcx.now, rtt.is_some(), rcx.config) {
            rcx.current = pair;
            self.standby.moved();
            self.watch.switched(rtt);
            rcx.actions.push(Action::Switch(pair));
        }
    }

    /// Asks for an answer without being in Exploring: the one Probe whose State is not the sender's.
    pub(super) fn send_test(&mut self, rcx: &mut ReapCx<'_>, pair: LocatorPair) {
        self.reports.prune(rcx.now, rcx.config.report_lifetime);
        let (sent, _) = self.reports.send(rcx.now, pair, Purpose::Test, rcx.rng);
        self.book.probed(rcx.now, pair);
        let state = ProbeState::Exploring;
        rcx.actions.push(Action::SendProbe { pair, state, sent, received: Vec::new() });
    }
}
