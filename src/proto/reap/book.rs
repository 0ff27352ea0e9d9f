//! What is known about each pair, for display.

use super::{PairStatus, ReapCx};
use crate::addr::LocatorPair;
use crate::proto::Time;
use crate::proto::seldom::{Initial, Rest};
use std::time::Duration;

/// As many as 16 locators on both sides make.
const MAX_PAIRS: usize = 256;

/// One entry per pair that was probed or heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    pairs: Vec<PairStatus>,
}

impl Initial for Book {
    const REST: &'static Book = &Book { pairs: Vec::new() };
}

impl Rest for Book {
    fn rests(&self) -> bool {
        self.pairs.is_empty()
    }
}

impl Book {
    pub(super) fn pairs(&self) -> &[PairStatus] {
        &self.pairs
    }

    /// Forgets pairs whose locators are gone.
    pub(super) fn prune(&mut self, rcx: &ReapCx<'_>) {
        self.pairs.retain(|s| {
            rcx.local.iter().any(|c| c.addr == s.pair.local.0)
                && rcx.peer.iter().any(|c| c.addr == s.pair.peer.0)
        });
    }

    fn entry(&mut self, pair: LocatorPair) -> Option<&mut PairStatus> {
        let at = match self.pairs.iter().position(|s| s.pair == pair) {
            Some(at) => at,
            None if self.pairs.len() < MAX_PAIRS => {
                // Most contexts have one such pair, or two.
                self.pairs.reserve_exact(1);
                self.pairs.push(PairStatus {
                    pair,
                    probed: None,
                    answered: None,
                    rtt: None,
                    unanswered: 0,
                    heard: None,
                });
                self.pairs.len() - 1
            }
            None => return None,
        };
        self.pairs.get_mut(at)
    }

    /// A Probe goes out.
    pub(super) fn probed(&mut self, now: Time, pair: LocatorPair) {
        if let Some(s) = self.entry(pair) {
            s.probed = Some(now);
            s.unanswered = s.unanswered.saturating_add(1);
        }
    }

    /// A Probe of ours was reported.
    pub(super) fn answered(&mut self, now: Time, pair: LocatorPair, rtt: Duration) {
        if let Some(s) = self.entry(pair) {
            s.answered = Some(now);
            s.rtt = Some(rtt);
            s.unanswered = 0;
        }
    }

    /// A Probe came in.
    pub(super) fn heard(&mut self, now: Time, pair: LocatorPair) {
        if let Some(s) = self.entry(pair) {
            s.heard = Some(now);
        }
    }
}

#[cfg(test)]
mod tests;
