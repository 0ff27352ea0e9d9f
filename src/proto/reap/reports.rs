//! Lists of Probes sent and received (RFC 5534, 5.2).
//!
//! A report of a received Probe steers our payload, so it counts only if it names a Probe that we sent: source,
//! destination and nonce. Both lists belong to one failure. They are emptied when a new one begins, else a pair that
//! has died since would be reported as good, and outlive its end by some seconds for messages that are late.

use crate::addr::{LocatorPair, ProbeNonce};
use crate::proto::Time;
use crate::proto::seldom::{Initial, Rest};
use crate::wire::control::{Probe, ProbeReport, ProbeState};
use rand::RngCore;
use std::collections::VecDeque;
use std::time::Duration;

/// Probes we still know when the peer reports them; more than one message can carry, because answers may be slow.
const MAX_SENT: usize = 32;

/// What a Probe of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It tests a pair beside the normal run: its answer selects none.
    Test,
    /// It tells our state.
    Tell(ProbeState),
}

/// A Probe we sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SentProbe {
    report: ProbeReport,
    /// Its pair.
    pub(super) pair: LocatorPair,
    /// When.
    pub(super) at: Time,
    /// What for.
    purpose: Purpose,
    /// The peer has reported it.
    reported: bool,
}

impl SentProbe {
    /// It tests a pair beside the normal run.
    pub(super) fn is_test(&self) -> bool {
        self.purpose == Purpose::Test
    }
}

/// Both lists, newest first.
#[derive(Clone, Debug)]
pub(super) struct Reports {
    sent: VecDeque<SentProbe>,
    received: VecDeque<(ProbeReport, Time)>,
    /// When the exploration they belong to ended; `None` while it runs.
    ended: Option<Time>,
}

impl Initial for Reports {
    /// Empty lists of no exploration. When the last one ended does not matter to what comes into them later.
    const REST: &'static Reports =
        &Reports { sent: VecDeque::new(), received: VecDeque::new(), ended: Some(Time::ZERO) };
}

impl Rest for Reports {
    fn rests(&self) -> bool {
        self.sent.is_empty() && self.received.is_empty() && self.ended.is_some()
    }
}

impl Reports {
    /// A new failure begins, or the peer asks. Tests stay known: when both sides test at the same time, an answer that were
    /// not recognised as one to a test would look like the end of an exploration, and move the peer.
    pub(super) fn begin(&mut self) {
        self.sent.retain(SentProbe::is_test);
        self.received.clear();
        self.ended = None;
    }

    /// The exploration that has just ended goes on, because it led to no pair: answers to its Probes still count.
    pub(super) fn go_on(&mut self) {
        self.received.clear();
        self.ended = None;
    }

    /// The state Exploring is entered: nothing is heard any more.
    // req: RP-5.2-08 (RFC 5534, 5.2)
    pub(super) fn forget_received(&mut self) {
        self.received.clear();
    }

    /// The exploration has ended.
    pub(super) fn end(&mut self, now: Time) {
        self.ended = Some(now);
    }

    /// Drops what is older than the lifetime and belongs to no running exploration.
    pub(super) fn prune(&mut self, now: Time, lifetime: Duration) {
        self.drop_old(now, lifetime, |_| false);
    }

    /// The same once time has passed, whatever comes next. Tests stay until then: an exploration that begins tells of them.
    /// Between explorations the lists take no more room than they need.
    pub(super) fn expire(&mut self, now: Time, lifetime: Duration) {
        if self.ended.is_some() {
            self.drop_old(now, lifetime, SentProbe::is_test);
            self.sent.shrink_to_fit();
            self.received.shrink_to_fit();
        }
    }

    fn drop_old(&mut self, now: Time, lifetime: Duration, stays: impl Fn(&SentProbe) -> bool) {
        let Some(ended) = self.ended else { return };
        let fresh = |at: Time| now.since(at.max(ended)) <= lifetime;
        self.sent.retain(|s| stays(s) || fresh(s.at));
        self.received.retain(|(_, at)| fresh(*at));
    }

    /// Adds a Probe that is about to be sent, and returns the lists it has to carry: itself and earlier ones that
    /// the peer has not reported yet, and those that came from the peer.
    // req: RP-5.2-06, RP-5.2-07, RP-5.2-09, RP-5.2-10, RP-5.2-12, RP-5.2-14, RP-6.1-05 (RFC 5534, 5.2 and 6.1)
    pub(super) fn send(
        &mut self,
        now: Time,
        pair: LocatorPair,
        purpose: Purpose,
        rng: &mut dyn RngCore,
    ) -> (Vec<ProbeReport>, Vec<ProbeReport>) {
        let mut nonce = ProbeNonce(rng.next_u32());
        while self.sent.iter().any(|s| s.report.nonce == nonce) {
            nonce = ProbeNonce(nonce.0.wrapping_add(1));
        }
        let report = ProbeReport { src: pair.local, dst: pair.peer, nonce, data: 0 };
        self.sent.truncate(MAX_SENT - 1);
        self.sent.push_front(SentProbe { report, pair, at: now, purpose, reported: false });
        let sent = self.sent.iter().filter(|s| !s.reported).map(|s| s.report);
        let received = self.received.iter().map(|(r, _)| *r);
        (sent.take(Probe::MAX_REPORTS).collect(), received.collect())
    }

    /// Remembers a Probe of the peer by its first sent report, which describes it.
    // req: RP-5.2-08, RP-5.2-13 (RFC 5534, 5.2)
    pub(super) fn receive(&mut self, now: Time, report: ProbeReport) {
        self.received.retain(|(r, _)| *r != report);
        self.received.truncate(Probe::MAX_REPORTS - 1);
        self.received.push_front((report, now));
    }

    /// A peer that is Operational without a reason has heard that we are InboundOk. If we have not said so on the pair
    /// in use lately, it was elsewhere: on the way of its word, if we have said so there, else perhaps on the last such pair.
    pub(super) fn heard_elsewhere(
        &self,
        now: Time,
        lifetime: Duration,
        current: LocatorPair,
        way: LocatorPair,
    ) -> Option<LocatorPair> {
        let told = Purpose::Tell(ProbeState::InboundOk);
        let lately = |s: &&SentProbe| s.purpose == told && now.since(s.at) <= lifetime;
        let mut pairs = self.sent.iter().filter(lately).map(|s| s.pair);
        let last = pairs.clone().next().filter(|_| pairs.clone().all(|p| p != current))?;
        Some(pairs.find(|p| *p == way).unwrap_or(last))
    }

    /// The Probe that a report of the peer names, and whether this is its first report; `None` if we did not send
    /// it in this exploration.
    // req: RP-8-02 (RFC 5534, 8)
    pub(super) fn confirm(&mut self, report: &ProbeReport) -> Option<(SentProbe, bool)> {
        let sent = self.sent.iter_mut().find(|s| {
            s.report.nonce == report.nonce
                && s.report.src == report.src
                && s.report.dst == report.dst
        })?;
        let first = !sent.reported;
        sent.reported = true;
        Some((*sent, first))
    }
}

/// The pair on which an answer takes the same way back.
pub(super) fn mirror(report: &ProbeReport) -> LocatorPair {
    LocatorPair { local: report.dst, peer: report.src }
}

/// The pairs of Probes that were reported, without those whose news is old: the newest one counts in any case.
pub(super) fn news(reported: &[SentProbe], now: Time, lifetime: Duration) -> Vec<LocatorPair> {
    let newest = reported.iter().map(|s| s.at).max();
    let fresh = |s: &&SentProbe| Some(s.at) == newest || now.since(s.at) <= lifetime;
    reported.iter().filter(fresh).map(|s| s.pair).collect()
}

#[cfg(test)]
mod tests;
