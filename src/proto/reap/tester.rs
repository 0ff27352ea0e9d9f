//! Tests of single pairs beside the normal run.
//!
//! "Test this pair" has no message of its own. A Probe Exploring is sent that only we know to be a test; the peer
//! answers with a Probe InboundOk that reports it, and a Probe Operational without reports ends the exchange, so that
//! the peer keeps its pair as we keep ours.

use super::explore::gap;
use crate::addr::LocatorPair;
use crate::proto::Time;
use crate::proto::config::ReapConfig;
use crate::proto::seldom::{Initial, Rest};
use rand::RngCore;
use std::collections::VecDeque;

/// Tests that may wait.
const MAX_WAITING: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Run {
    pair: LocatorPair,
    probes: u32,
    next: Time,
}

/// What a test wants at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Another Probe.
    Probe(LocatorPair),
    /// It has failed.
    Failed(LocatorPair),
}

/// The test that runs and those that wait for it: one Probe at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Tester {
    run: Option<Run>,
    waiting: VecDeque<LocatorPair>,
}

impl Initial for Tester {
    const REST: &'static Tester = &Tester { run: None, waiting: VecDeque::new() };
}

impl Rest for Tester {
    fn rests(&self) -> bool {
        self.run.is_none() && self.waiting.is_empty()
    }
}

impl Tester {
    /// Puts a test in the queue, if it is not there; the first Probe is due at `at`. False if too many wait.
    pub(super) fn add(&mut self, at: Time, pair: LocatorPair) -> bool {
        if self.run.is_some_and(|r| r.pair == pair) || self.waiting.contains(&pair) {
            return true;
        }
        if self.waiting.len() >= MAX_WAITING {
            return false;
        }
        match self.run {
            None => self.run = Some(Run { pair, probes: 0, next: at }),
            Some(_) => self.waiting.push_back(pair),
        }
        true
    }

    /// An exploration begins: it does what the tests would do.
    pub(super) fn cancel(&mut self) {
        *self = Tester::default();
    }

    /// A test that was interrupted goes on, at a distance to other Probes.
    pub(super) fn go_on(&mut self, soonest: Time) {
        if let Some(run) = &mut self.run {
            run.next = run.next.max(soonest);
        }
    }

    /// When a step is due.
    pub(super) fn next(&self) -> Option<Time> {
        self.run.map(|r| r.next)
    }

    /// The pair of the test that runs.
    pub(super) fn pair(&self) -> Option<LocatorPair> {
        self.run.map(|r| r.pair)
    }

    /// The step that is due.
    pub(super) fn step(
        &mut self,
        now: Time,
        config: &ReapConfig,
        rng: &mut dyn RngCore,
    ) -> Option<Step> {
        let run = self.run.as_mut().filter(|r| r.next <= now)?;
        if run.probes >= config.initial_probes.max(1) {
            let pair = run.pair;
            self.run = self.waiting.pop_front().map(|pair| Run { pair, probes: 0, next: now });
            return Some(Step::Failed(pair));
        }
        run.probes += 1;
        run.next = now + gap(run.probes, config, rng);
        Some(Step::Probe(run.pair))
    }

    /// A Probe of a test has been answered. Whether the test ran still.
    pub(super) fn answered(&mut self, pair: LocatorPair) -> bool {
        if let Some(run) = self.run.filter(|r| r.pair == pair) {
            let next = run.next;
            self.run = self.waiting.pop_front().map(|pair| Run { pair, probes: 0, next });
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests;
