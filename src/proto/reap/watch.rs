//! Fast detection: the silence of a flow leads to a test of the current pair.
//!
//! The Send Timer waits long enough for any application. A path that has just carried packets to and fro says more:
//! when nothing comes back for longer than a round trip, Probes ask the peer on the pair in use. Its answer by the same
//! way, or any other sign of life, ends the matter; only if all stay without an answer is the pair left. Loss and delay
//! must not look like a failure, so a test goes on until as much evidence has gathered as chance does not produce:
//! each Probe counts, and each payload packet in so far as packets of late were answered. Only TCP segments that
//! arrive without being sent again show that the path loses little; then a few Probes are enough. All of them follow each
//! other within a round trip, and the answers get the time that they need by what has been measured.
//!
//! A flow that nobody answers, or a slow application, is silent though its path works: the first test in a row
//! is free, more of them have to wait for each other.

use crate::proto::config::{Detection, ReapConfig};
use crate::proto::seldom::Initial;
use crate::proto::{Activity, Rtt, Signs, Time};
use std::time::Duration;

/// A silence below this is none: so long a delayed acknowledgement may take.
const LEAST_SILENCE: Duration = Duration::from_millis(60);
/// The same where acknowledgements come in a dense row, because so many octets are under way.
const LEAST_BREAK: Duration = Duration::from_millis(25);
const DENSE: u32 = 12_000;
/// The break in such a row: so many times the gap between packets in, on average.
const BREAK: u32 = 8;
/// What a packet in flight carries about.
const SEGMENT: u32 = 1400;
/// Packets in flight count so much at most: which of them were acknowledged selectively is not known.
const IN_FLIGHT: u64 = 8;
/// The first Probes of a test follow each other at most so fast; the peer answers ten a second, so the others take
/// [`LEAST_GAP`].
const LEAST_SPACING: Duration = Duration::from_millis(10);
/// The wait for the answer to a Probe at least.
const LEAST_WAIT: Duration = Duration::from_millis(60);
/// Later Probes of a test, and the first of an exploration, follow each other at most so fast.
const LEAST_GAP: Duration = Duration::from_millis(50);
/// Whoever sends so soon after a packet came in, and no more, has but answered it.
const AT_ONCE: Duration = Duration::from_millis(2);
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
/// What each Probe beyond the first [`LEAST_PROBES`] of a test adds to that: a path whose answers come late, or get lost,
/// would see a stream of Probes otherwise.
const PROBE_COST: Duration = Duration::from_millis(250);

/// A test of the current pair that runs.
#[derive(Clone, Copy, Debug)]
struct Run {
    since: Time,
    probes: u32,
    next: Time,
    /// How many questions have to stay unanswered.
    wanted: u32,
    /// So many are under way; when the last of their answers should have come.
    verdict: Option<Time>,
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

impl Initial for Watch {
    const REST: &'static Watch = &Watch {
        activity: Activity::NONE,
        read: None,
        quiet: false,
        probed: None,
        answered: None,
        packets_then: 0,
        budget: None,
        run: None,
    };
}

impl Watch {
    /// Begins to watch a pair that has been in use: what was last read of it, until when everything was answered, and
    /// the round trip as far as it is known.
    pub(super) fn begin(
        &mut self,
        read: Time,
        activity: &Activity,
        answered: Option<Time>,
        rtt: Option<Duration>,
    ) {
        self.answered = answered;
        self.probed = rtt.map(Rtt::first);
        self.see(read, activity);
    }

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

    /// From one Probe of an exploration to the next while it is young; `None` if no round trip is known.
    pub(super) fn gap(&self) -> Option<Duration> {
        self.rtt().map(|r| (r.smoothed * 2).max(LEAST_GAP))
    }

    /// How long a silence has to be. Without a round trip the first packet is a reason to measure one.
    fn silence(&self) -> Duration {
        self.rtt()
            .map_or(Duration::ZERO, |r| (r.smoothed * 5 / 4 + r.variation * 4).max(LEAST_SILENCE))
    }

    /// How long a break has to be in the row of acknowledgements of a flow that has much under way, whether or not it
    /// may send more. `None` for others.
    fn pause(&self) -> Option<Duration> {
        let Signs { in_flight, recent_in, .. } = self.activity.signs;
        // Recent packets are those of two seconds at most.
        let gap = Duration::from_secs(2) / recent_in.max(1);
        let rest = (gap * BREAK).max(LEAST_BREAK);
        (in_flight >= DENSE && rest < self.silence()).then_some(rest)
    }

    /// The last packet out answered one that came in, and TCP expects no acknowledgement: that nothing follows is no
    /// surprise, and whoever does expect something asks by itself.
    fn has_only_answered(&self) -> bool {
        let Activity { last_in, pending_out, signs, .. } = self.activity;
        let (Some(heard), Some(answer)) = (last_in, pending_out) else { return false };
        signs.unanswered <= 1 && signs.segment < last_in && answer.since(heard) <= AT_ONCE
    }

    /// When a test has to begin, if nothing comes in before.
    fn hint(&self) -> Option<Time> {
        let last = self.activity.last_out?;
        if self.answered >= Some(last) {
            return None;
        }
        let first = match self.rtt() {
            Some(_) => self.activity.pending_out,
            None => Some(last),
        };
        let answered = self.answered.unwrap_or(Time::ZERO);
        let silence = self.silence() * if self.has_only_answered() { 2 } else { 1 };
        let mut due = first.map(|t| t.max(answered) + silence);
        if let Some(rest) = self.pause()
            && let Some(heard) = self.activity.last_in
        {
            let broken = heard.max(answered) + rest;
            due = Some(due.map_or(broken, |t| t.min(broken)));
        }
        let due = due?;
        let budget = self.budget.map(|full| full - TEST_COST * (TESTS - 1));
        Some(due.max(budget.unwrap_or(Time::ZERO)))
    }

    /// When the cells are to be read next, and [`Watch::step`] called; `None` if a packet has to come first.
    pub(super) fn look(&self) -> Option<Time> {
        match (self.run, self.hint()) {
            (Some(run), _) => Some(run.verdict.map_or(run.next, |t| t.min(run.next))),
            (None, Some(hint)) => Some(hint),
            (None, None) if self.quiet => None,
            (None, None) => self.read.map(|t| t + self.silence().max(LEAST_SILENCE)),
        }
    }

    /// Whether copies are to be kept: what TCP sends from the first Probe on is what it will wait for longest.
    pub(super) fn doubts(&self) -> bool {
        self.run.is_some()
    }

    /// A test begins for a reason from outside, if there is room in the budget. What comes in from now on ends it.
    pub(super) fn suspect(&mut self, now: Time) {
        if self.run.is_none() && self.spend(now) {
            // What is sent again from now on is due to the silence itself.
            let wanted = wanted(&self.activity.signs, now);
            self.run = Some(Run { since: now, probes: 0, next: now, wanted, verdict: None });
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
        let (spacing, later, wait) = match self.rtt() {
            Some(r) => (
                (r.smoothed / 4).max(LEAST_SPACING),
                r.smoothed.max(LEAST_GAP),
                (r.smoothed + r.variation * 2).max(LEAST_WAIT),
            ),
            None => [config.initial_probe_timeout; 3].into(),
        };
        let traffic = self.traffic();
        let run = self.run.as_mut()?;
        if run.verdict.is_some_and(|t| t <= now) {
            self.run = None;
            return Some(Step::Failed);
        }
        if run.next > now {
            return None;
        }
        run.probes += 1;
        if run.probes > LEAST_PROBES {
            self.budget = self.budget.map(|full| full + PROBE_COST);
        }
        run.next = now + if run.probes < LEAST_PROBES { spacing } else { later };
        let enough = run.probes >= LEAST_PROBES && run.probes.saturating_add(traffic) >= run.wanted;
        if enough && run.verdict.is_none() {
            run.verdict = Some(now + wait);
        }
        Some(Step::Probe)
    }

    /// Payload packets whose answers are missing, by the share that was answered of late: those since the silence began,
    /// and what TCP had under way then.
    fn traffic(&self) -> u32 {
        let Activity { packets_out, signs, .. } = self.activity;
        let since = packets_out.saturating_sub(self.packets_then).min(signs.unanswered.into());
        let answered = u64::from(signs.recent_in.min(signs.recent_out));
        let share = |packets: u64| packets * answered / u64::from(signs.recent_out.max(1));
        let missing = share(since).max(share((signs.in_flight / SEGMENT).into()).min(IN_FLIGHT));
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

#[cfg(test)]
mod tests;
