//! A sender that has much under way, as TCP's with selective acknowledgements does: it goes on while something is lost,
//! sends what is missing again, and waits for its time-out only when nothing comes back at all. Its window does not shrink,
//! which is the worst for whoever has to tell loss from failure: the row of acknowledgements stays dense, and breaks.

use shim6::proto::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A segment that was sent and is not acknowledged.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Time,
    lost: bool,
    /// The peer has it, though not all before it.
    there: bool,
}

/// Both ends of such a flow. Segments are counted from 1.
#[derive(Clone, Debug, Default)]
pub struct Bulk {
    window: usize,
    newest: u64,
    acked: u64,
    sent: BTreeMap<u64, Sent>,
    round_trip: Option<Duration>,
    backoff: u32,
    /// The receiver: everything up to here, and what came beyond it.
    whole: u64,
    beyond: BTreeSet<u64>,
}

impl Bulk {
    pub fn new(window: usize) -> Bulk {
        Bulk { window, ..Bulk::default() }
    }

    /// Segments sent for the first time.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// What may be sent now: first what is missing.
    pub fn due(&mut self, now: Time) -> Vec<u64> {
        let mut under_way = self.sent.values().filter(|s| !s.lost && !s.there).count();
        let mut due = Vec::new();
        for (n, s) in self.sent.iter_mut().filter(|(_, s)| s.lost) {
            if under_way >= self.window {
                return due;
            }
            *s = Sent { at: now, lost: false, there: false };
            due.push(*n);
            under_way += 1;
        }
        // A receiver has room for so many behind a hole.
        while under_way < self.window && self.newest - self.acked < 4 * self.window as u64 {
            self.newest += 1;
            self.sent.insert(self.newest, Sent { at: now, lost: false, there: false });
            due.push(self.newest);
            under_way += 1;
        }
        due
    }

    /// A segment comes in; what the receiver has without a gap.
    pub fn receive(&mut self, n: u64) -> u64 {
        if n > self.whole {
            self.beyond.insert(n);
        }
        while self.beyond.remove(&(self.whole + 1)) {
            self.whole += 1;
        }
        self.whole
    }

    /// An acknowledgement comes in: all up to `whole`, and the segment that caused it. What was sent a quarter of a round
    /// trip before that one is lost.
    pub fn acknowledged(&mut self, now: Time, whole: u64, newest: u64) {
        self.backoff = 0;
        if let Some(s) = self.sent.get_mut(&newest) {
            s.there = true;
            let (at, sample) = (s.at, now.since(s.at));
            let smoothed = self.round_trip.map_or(sample, |r| (r * 7 + sample) / 8);
            self.round_trip = Some(smoothed);
            for s in self.sent.values_mut().filter(|s| !s.there) {
                s.lost |= s.at + smoothed / 4 < at;
            }
        }
        self.acked = self.acked.max(whole);
        self.sent = self.sent.split_off(&(self.acked + 1));
    }

    /// Nothing came back for so long.
    pub fn patience(&self) -> Duration {
        let least = Duration::from_millis(200);
        let wait = self.round_trip.map_or(least * 5, |r| (r * 2).max(least));
        wait * (1 << self.backoff.min(6))
    }

    /// That was too long: the first one that is missing goes out again, and all others count as lost.
    pub fn give_up(&mut self) {
        self.backoff += 1;
        for s in self.sent.values_mut().filter(|s| !s.there) {
            s.lost = true;
        }
    }
}
