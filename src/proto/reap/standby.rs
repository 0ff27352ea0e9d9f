//! Tests of other pairs while all is well: of a second one to fall back on, and of the preferred one to return to.
//!
//! Both are options. A test is answered or not and changes no pair by itself; what this module makes of it is where an
//! exploration begins, and the decision to go back. Contexts that carry nothing are left alone.

use super::timers::vary;
use crate::addr::LocatorPair;
use crate::proto::Time;
use crate::proto::config::ReapConfig;
use crate::proto::seldom::{Initial, Rest};
use rand::RngCore;
use std::time::Duration;

/// Pairs that failed as standby, remembered until all have been tried.
const MAX_FAILED: usize = 64;
/// A standby that has not been tested for so many intervals is none.
const STANDBY_LIFE: u32 = 3;
/// Tests that the preferred pair has to pass one after the other.
const RETURN_TESTS: u32 = 4;
/// After a return that did not last it has to pass twice as many, up to so many times more.
const MAX_PENALTY: u32 = 16;
/// A return lasts if the pair works for so many times the wait before it.
const LASTING: u32 = 4;
/// Tests of the preferred pair follow each other at most so fast.
const LEAST_RETURN_GAP: Duration = Duration::from_secs(1);

/// What is to be tested now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Any other pair, as standby.
    Standby,
    /// The preferred pair.
    Preferred,
}

/// Both options of one context.
#[derive(Clone, Debug, Default)]
pub(super) struct Standby {
    /// When the next test of each kind is due, while payload passes.
    standby_at: Option<Time>,
    return_at: Option<Time>,
    /// The pair that was shown to work last, and when.
    ready: Option<(LocatorPair, Time)>,
    /// The pair whose test as standby runs.
    testing: Option<LocatorPair>,
    failed: Vec<LocatorPair>,
    /// The preferred pair is being tested to return to it. It may be tested as standby, too, which counts for nothing: it
    /// has to work for the configured time.
    returning: bool,
    /// Tests that the preferred pair has passed without a break.
    passed: u32,
    /// How many times more of them are wanted.
    penalty: u32,
    returned: Option<Time>,
    /// Payload packets at the last look, and at the last test of each kind.
    packets: u64,
    standby_tested: u64,
    return_tested: u64,
}

fn return_gap(wait: Duration) -> Duration {
    (wait / RETURN_TESTS).max(LEAST_RETURN_GAP)
}

impl Initial for Standby {
    const REST: &'static Standby = &Standby {
        standby_at: None,
        return_at: None,
        ready: None,
        testing: None,
        failed: Vec::new(),
        returning: false,
        passed: 0,
        penalty: 0,
        returned: None,
        packets: 0,
        standby_tested: 0,
        return_tested: 0,
    };
}

impl Rest for Standby {
    /// As long as none of the options was ever used. How many packets have passed is told again before it matters.
    fn rests(&self) -> bool {
        self.next().is_none()
            && self.ready.is_none()
            && self.testing.is_none()
            && self.failed.is_empty()
            && self.returned.is_none()
            && !self.returning
            && (self.passed, self.penalty) == (0, 0)
            && (self.standby_tested, self.return_tested) == (0, 0)
    }
}

impl Standby {
    /// Whether one of the options is on.
    pub(super) fn is_wanted(config: &ReapConfig) -> bool {
        config.hot_standby || config.return_to_preferred.is_some()
    }

    /// The cells were read: so many payload packets have passed in all.
    pub(super) fn see(&mut self, now: Time, packets: u64, config: &ReapConfig) {
        self.packets = packets;
        if config.hot_standby && self.standby_at.is_none() && packets != self.standby_tested {
            self.standby_at = Some(now);
        }
        if let Some(wait) = config.return_to_preferred
            && self.return_at.is_none()
            && packets != self.return_tested
        {
            self.return_at = Some(now + return_gap(wait));
        }
    }

    /// When a test is due.
    pub(super) fn next(&self) -> Option<Time> {
        Time::earlier(self.standby_at, self.return_at)
    }

    /// What is due now. Contexts without payload since the last round wait for it.
    pub(super) fn due(
        &mut self,
        now: Time,
        config: &ReapConfig,
        rng: &mut dyn RngCore,
    ) -> Option<Wish> {
        if self.standby_at.is_some_and(|t| t <= now) {
            let on = config.hot_standby && self.packets != self.standby_tested;
            // Both hosts of a context must not go on testing at the same moments.
            let (interval, part) = (config.standby_interval, config.probe_jitter);
            self.standby_at = on.then(|| now + vary(interval, rng, part, part));
            if on {
                self.standby_tested = self.packets;
                return Some(Wish::Standby);
            }
        }
        if self.return_at.is_some_and(|t| t <= now) {
            let used = self.packets != self.return_tested;
            let wait = config.return_to_preferred.filter(|_| used || self.passed > 0);
            let part = config.probe_jitter;
            self.return_at = wait.map(|wait| now + vary(return_gap(wait), rng, 0.0, part));
            self.returning = wait.is_some();
            if wait.is_some() {
                self.return_tested = self.packets;
                return Some(Wish::Preferred);
            }
        }
        None
    }

    /// Pairs that are not worth another test now.
    pub(super) fn failed(&self) -> &[LocatorPair] {
        &self.failed
    }

    /// The pair to test as standby: the one that was good the last time, else another one.
    pub(super) fn candidate(
        &mut self,
        current: LocatorPair,
        alternative: Option<LocatorPair>,
    ) -> Option<LocatorPair> {
        self.ready = self.ready.filter(|(pair, _)| *pair != current);
        let pair = self.pair().or(alternative);
        if pair.is_none() {
            // All have failed: from the beginning, at the next interval.
            self.failed.clear();
        }
        self.testing = pair;
        pair
    }

    /// A test was answered.
    pub(super) fn answered(&mut self, now: Time, pair: LocatorPair) {
        if self.testing == Some(pair) {
            self.testing = None;
            self.failed.clear();
            self.ready = Some((pair, now));
        }
    }

    /// A test stayed without an answer. A standby is looked for among the others at once.
    pub(super) fn unanswered(&mut self, now: Time, pair: LocatorPair) {
        if self.ready.is_some_and(|(p, _)| p == pair) {
            self.ready = None;
        }
        if self.testing == Some(pair) {
            self.testing = None;
            if self.failed.len() < MAX_FAILED {
                self.failed.push(pair);
            }
            self.standby_at = self.standby_at.map(|_| now);
            // The round goes on even if nothing was sent meanwhile.
            self.standby_tested = self.standby_tested.wrapping_sub(1);
        }
    }

    /// Another pair is in use: what was far from the one before may be close to this one.
    pub(super) fn moved(&mut self) {
        self.ready = None;
    }

    /// The pair that passed the last test as standby.
    pub(super) fn pair(&self) -> Option<LocatorPair> {
        self.ready.map(|(pair, _)| pair)
    }

    /// The standby, as long as its last test is fresh.
    pub(super) fn ready(&self, now: Time, config: &ReapConfig) -> Option<LocatorPair> {
        let life = config.standby_interval.saturating_mul(STANDBY_LIFE);
        self.ready.filter(|(_, t)| now.since(*t) <= life).map(|(pair, _)| pair)
    }

    /// Whether the test of the preferred pair that has just ended was one for a return, the first since it was due.
    pub(super) fn returns(&mut self) -> bool {
        std::mem::take(&mut self.returning)
    }

    /// The preferred pair has passed a test, or not. True if it is time to go back to it.
    pub(super) fn preferred(&mut self, now: Time, passed: bool, config: &ReapConfig) -> bool {
        self.passed = if passed { self.passed + 1 } else { 0 };
        if let (true, Some(at), Some(wait)) = (passed, self.return_at, config.return_to_preferred) {
            // The test may have waited for others, or for its answer: the pair has to work for the time between tests.
            self.return_at = Some(at.max(now + return_gap(wait)));
        }
        let wanted = RETURN_TESTS * self.penalty.max(1);
        if self.passed < wanted {
            return false;
        }
        self.passed = 0;
        self.returned = Some(now);
        true
    }

    /// The current pair has failed, or was given up for another one: an exploration that the peer's test or failure
    /// brings about is no reason, until it ends elsewhere.
    pub(super) fn left(&mut self, now: Time, config: &ReapConfig) {
        let lasting = config.return_to_preferred.unwrap_or_default().saturating_mul(LASTING);
        if let Some(returned) = self.returned.take() {
            self.penalty = match now.since(returned) < lasting {
                true => (self.penalty.max(1) * 2).min(MAX_PENALTY),
                false => 1,
            };
        }
        self.testing = None;
        self.failed.clear();
        self.passed = 0;
    }
}

#[cfg(test)]
mod tests;
