//! Fast detection: the silence of a flow leads to a test of the current pair.
//!
//! The Send Timer waits long enough for any application. A path that has just carried packets to and fro says more:
//! when nothing comes back within a few round trips, Probes ask the peer on the pair in use. Its answer by the same way,
//! or any other sign of life, ends the matter; only if all stay without an answer is the pair left. Loss and delay
//! must not look like a failure, so a test goes on until as much evidence has gathered as chance does not produce:
//! each Probe counts, and each payload packet in so far as packets of late were answered. Only TCP segments that
//! arrive without being sent again show that the path loses little; then a few Probes are enough.
//!
//! A flow that nobody answers, or a slow application, is silent though its path works: the first test in a row
//! is free, more of them have to wait for each other.

use crate::proto::config::{Detection, ReapConfig};
use crate::proto::{Activity, Rtt, Signs, Time};
use std::time::Duration;

/// A silence below this is none.
const LEAST_SILENCE: Duration = Duration::from_millis(100);
/// Probes of a test, and the first of an exploration, follow each other at most so fast.
const LEAST_GAP: Duration = Duration::from_millis(50);
/// Probes of a test at least.
const LEAST_PROBES: u32 = 3;
/// Evidence that is enough on any path: if 36 % of all questions or their answers get lost (20 % each way), so many in
/// a row stay unanswered once in a hundred million times.
const MOST_EVIDENCE: u32 = 18;
/// More evidence is wanted by so much for each of the last 64 segments that had to be sent again.
const PER_REPEATED: u32 = 2;
/// Losses seen longer ago say nothing about the path now.
const HISTORY_LIFE: Duration = Duration::from_secs(1);
/// Tests in a row; after that one each [`TEST_COST`].
const TESTS: u32 = 4;
const TEST_COST: Duration = Duration::from_secs(1);

/// A test of the current pair that runs.
#[derive(Clone, Copy, Debug)]
struct Run {
    since: Time,
    probes: u32,
    next: Time,
}

/// What a test wants at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Another Probe on the current pair.
    Probe,
    /// There is enough evidence that it does not work.
    Failed,
}

/// What is known about the current pair.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    activity: Activity,
    /// When the cells were read.
    read: Option<Time>,
    /// The last reading showed nothing new.
    quiet: bool,
    /// By Probes on the current pair.
    probed: Option<Rtt>,
    /// Everything sent until then is answered, though not by payload.
    answered: Option<Time>,
    /// Packets out at that time.
    packets_then: u64,
    /// When the budget of tests is full again.
    budget: Option<Time>,
    run: Option<Run>,
}

impl Watch {
    /// The cells as they are now.
    pub(super) fn see(&mut self, now: Time, a: &Activity) {
        let packets = |a: &Activity| (a.packets_out, a.packets_in);
        self.quiet = packets(a) == packets(&self.activity);
        self.activity = *a;
        self.read = Some(now);
        if self.run.is_some_and(|r| a.last_in > Some(r.since)) {
            self.run = None;
        }
    }

    /// The peer has shown in another way than by payload that it hears us on the current pair.
    pub(super) fn answered(&mut self, now: Time) {
        self.answered = Some(now);
        self.packets_then = self.activity.packets_out;
        self.run = None;
    }

    /// A Probe on the current pair was answered on the same way.
    pub(super) fn measured(&mut self, rtt: Duration) {
        self.probed = Some(self.probed.map_or(Rtt::first(rtt), |r| r.after(rtt)));
    }

    /// Another pair is in use from now on; the Probe that showed it to work took so long.
    pub(super) fn switched(&mut self, rtt: Option<Duration>) {
        self.probed = rtt.map(Rtt::first);
    }

    /// Operational is left or entered.
    pub(super) fn reset(&mut self, now: Time) {
        self.answered(now);
    }

    /// The round trip: by TCP if it has told one, else by Probes.
    pub(super) fn rtt(&self) -> Option<Rtt> {
        self.activity.signs.rtt.or(self.probed)
    }

    /// The wait for the answer to a Probe; `None` if no round trip is known.
    pub(super) fn gap(&self) -> Option<Duration> {
        self.rtt().map(|r| (r.smoothed * 2).max(LEAST_GAP))
    }

    /// How long a silence has to be. Without a round trip the first packet is a reason to measure one.
    fn silence(&self) -> Duration {
        self.rtt().map_or(Duration::ZERO, |r| (r.smoothed * 2 + r.variation * 4).max(LEAST_SILENCE))
    }

    /// When a test has to begin, if nothing comes in before.
    fn hint(&self) -> Option<Time> {
        let last = self.activity.last_out?;
        if self.answered >= Some(last) {
            return None;
        }
        let first = match self.rtt() {
            Some(_) => self.activity.pending_out?,
            None => last,
        };
        let due = first.max(self.answered.unwrap_or(Time::ZERO)) + self.silence();
        let budget = self.budget.map(|full| full - TEST_COST * (TESTS - 1));
        Some(due.max(budget.unwrap_or(Time::ZERO)))
    }

    /// When the cells are to be read next, and [`Watch::step`] called; `None` if a packet has to come first.
    pub(super) fn look(&self) -> Option<Time> {
        match (self.run, self.hint()) {
            (Some(run), _) => Some(run.next),
            (None, Some(hint)) => Some(hint),
            (None, None) if self.quiet => None,
            (None, None) => self.read.map(|t| t + self.silence().max(LEAST_SILENCE)),
        }
    }

    /// Whether copies are to be kept: a Probe has stayed without an answer already.
    pub(super) fn doubts(&self) -> bool {
        self.run.is_some_and(|r| r.probes > 1)
    }

    /// A test begins for a reason from outside, if there is room in the budget. What comes in from now on ends it.
    pub(super) fn suspect(&mut self, now: Time) {
        if self.run.is_none() && self.spend(now) {
            self.run = Some(Run { since: now, probes: 0, next: now });
        }
    }

    fn spend(&mut self, now: Time) -> bool {
        let full = self.budget.map_or(now, |t| t.max(now));
        let room = full.since(now) + TEST_COST <= TEST_COST * TESTS;
        if room {
            self.budget = Some(full + TEST_COST);
        }
        room
    }

    /// What is due now. The cells have been read.
    pub(super) fn step(&mut self, now: Time, config: &ReapConfig) -> Option<Step> {
        if config.detection != Detection::Fast {
            self.run = None;
            return None;
        }
        if self.run.is_none() && self.hint().is_some_and(|t| t <= now) {
            self.suspect(now);
        }
        let gap = self.gap().unwrap_or(config.initial_probe_timeout);
        let wanted = wanted(&self.activity.signs, now);
        let traffic = self.traffic();
        let run = self.run.as_mut().filter(|r| r.next <= now)?;
        if run.probes >= LEAST_PROBES && run.probes.saturating_add(traffic) >= wanted {
            self.run = None;
            return Some(Step::Failed);
        }
        run.probes += 1;
        run.next = now + gap;
        Some(Step::Probe)
    }

    /// Payload packets whose answers are missing, by the share that was answered of late.
    fn traffic(&self) -> u32 {
        let Activity { packets_out, signs, .. } = self.activity;
        let since = packets_out.saturating_sub(self.packets_then).min(signs.unanswered.into());
        let answered = u64::from(signs.recent_in.min(signs.recent_out));
        let missing = since * answered / u64::from(signs.recent_out.max(1));
        u32::try_from(missing).unwrap_or(u32::MAX)
    }
}

/// How much evidence tells a failure from chance.
fn wanted(signs: &Signs, now: Time) -> u32 {
    let fresh = signs.segment.is_some_and(|t| now.since(t) < HISTORY_LIFE);
    if fresh {
        (LEAST_PROBES + PER_REPEATED * signs.repeated).min(MOST_EVIDENCE)
    } else {
        MOST_EVIDENCE
    }
}
