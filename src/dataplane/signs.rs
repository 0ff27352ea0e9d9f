//! Cells for [`Signs`]: what workers note beside activity where a context is watched closely.
//!
//! All accesses are relaxed, and several steps are not one: two workers that touch a context at the same moment may
//! lose a count or a sample. What is made of it is a reason to ask the peer, never a decision.

use super::cells::TimeCell;
use crate::proto::Time;
use crate::proto::signs::{Rtt, Signs};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

/// Recent counts are halved so often.
const WINDOW: Duration = Duration::from_secs(1);
/// A round trip is measured at most so often: each costs a look at the packets that come in meanwhile.
const SAMPLE_GAP: Duration = Duration::from_millis(10);
/// A measurement that takes longer is given up.
const SAMPLE_LIMIT: Duration = Duration::from_secs(3);
/// After a pause between segments the losses from before it say nothing any more.
const HISTORY_LIFE: Duration = Duration::from_secs(1);

/// The cells.
#[derive(Debug, Default)]
pub struct SignCells {
    unanswered: AtomicU32,
    recent_out: AtomicU32,
    recent_in: AtomicU32,
    window: TimeCell,
    /// One bit for each of the last segments, newest lowest: it had been sent before. The first one finds all others set:
    /// nothing is known of the path then, so the worst is assumed.
    history: AtomicU64,
    segment: TimeCell,
    /// What the running measurement waits for: sequence number, our port, the peer's port; 0 if none runs.
    sample: AtomicU64,
    sample_at: TimeCell,
    /// The flow that sent data last, in the same form: the end of its newest segment, and what is acknowledged of it.
    sent: AtomicU64,
    acked: AtomicU64,
    /// In nanoseconds; 0 before the first measurement.
    smoothed: AtomicU64,
    variation: AtomicU64,
}

fn sample_of(ports: (u16, u16), seq: u32) -> u64 {
    u64::from(seq) << 32 | u64::from(ports.0) << 16 | u64::from(ports.1)
}

/// The flow of a sample.
fn flow_of(sample: u64) -> u32 {
    sample as u32
}

/// Whether the first sequence number comes after the second one.
fn after(sample: u64, other: u64) -> bool {
    ((sample >> 32) as u32).wrapping_sub((other >> 32) as u32) as i32 > 0
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

impl SignCells {
    /// As new.
    pub(super) fn reset(&self) {
        for count in [&self.unanswered, &self.recent_out, &self.recent_in] {
            count.store(0, Relaxed);
        }
        for time in [&self.window, &self.segment, &self.sample_at] {
            time.clear();
        }
        let SignCells { history, sample, sent, acked, smoothed, variation, .. } = self;
        for cell in [history, sample, sent, acked, smoothed, variation] {
            cell.store(0, Relaxed);
        }
    }

    /// Notes a packet out.
    pub fn packet_out(&self, now: Time) {
        self.age(now);
        self.unanswered.fetch_add(1, Relaxed);
        self.recent_out.fetch_add(1, Relaxed);
    }

    /// Notes a packet in.
    pub fn packet_in(&self, now: Time) {
        self.age(now);
        if self.unanswered.load(Relaxed) != 0 {
            self.unanswered.store(0, Relaxed);
        }
        self.recent_in.fetch_add(1, Relaxed);
    }

    fn age(&self, now: Time) {
        if self.window.every(now, WINDOW) {
            for count in [&self.recent_out, &self.recent_in] {
                count.store(count.load(Relaxed) / 2, Relaxed);
            }
        }
    }

    /// Notes a TCP segment with data that goes out: the flow's ports, ours first, the sequence number behind it, and
    /// whether it had been sent before.
    pub fn segment_out(&self, now: Time, ports: (u16, u16), end: u32, repeated: bool) {
        let fresh = self.segment.get().is_some_and(|t| now.since(t) < HISTORY_LIFE);
        let history = if fresh { self.history.load(Relaxed) } else { u64::MAX };
        self.history.store(history << 1 | u64::from(repeated), Relaxed);
        self.segment.set(now);
        let (newest, sent) = (sample_of(ports, end), self.sent.load(Relaxed));
        if flow_of(newest) != flow_of(sent) {
            self.acked.store(newest, Relaxed);
        }
        if flow_of(newest) != flow_of(sent) || after(newest, sent) {
            self.sent.store(newest, Relaxed);
        }
        let running = self.sample.load(Relaxed);
        let started = self.sample_at.get();
        if repeated {
            // Which of both will be acknowledged nobody knows (Karn).
            if flow_of(running) == flow_of(newest) {
                self.sample.store(0, Relaxed);
            }
            return;
        }
        let gap = if running == 0 { SAMPLE_GAP } else { SAMPLE_LIMIT };
        if started.is_none_or(|t| now.since(t) >= gap) {
            self.sample_at.set(now);
            self.sample.store(newest, Relaxed);
        }
    }

    /// Whether an acknowledgement is awaited, so that inbound segments are worth a look.
    pub fn measures(&self) -> bool {
        self.sample.load(Relaxed) != 0 || self.in_flight() != 0
    }

    fn in_flight(&self) -> u32 {
        let (sent, acked) = (self.sent.load(Relaxed), self.acked.load(Relaxed));
        if flow_of(sent) != flow_of(acked) || !after(sent, acked) {
            return 0;
        }
        ((sent >> 32) as u32).wrapping_sub((acked >> 32) as u32)
    }

    /// Notes an inbound acknowledgement of the flow with these ports, ours first.
    pub fn acknowledged(&self, now: Time, ports: (u16, u16), ack: u32) {
        let (news, known) = (sample_of(ports, ack), self.acked.load(Relaxed));
        if flow_of(news) == flow_of(known) && after(news, known) {
            self.acked.store(news, Relaxed);
        }
        let running = self.sample.load(Relaxed);
        if running == 0 || flow_of(running) != flow_of(news) || after(running, news) {
            return;
        }
        let Some(started) = self.sample_at.get() else { return };
        if self.sample.compare_exchange(running, 0, Relaxed, Relaxed).is_ok() {
            let sample = now.since(started);
            let rtt = self.rtt().map_or(Rtt::first(sample), |r| r.after(sample));
            self.variation.store(nanos(rtt.variation), Relaxed);
            self.smoothed.store(nanos(rtt.smoothed).max(1), Relaxed);
        }
    }

    fn rtt(&self) -> Option<Rtt> {
        let smoothed = self.smoothed.load(Relaxed);
        (smoothed != 0).then(|| Rtt {
            smoothed: Duration::from_nanos(smoothed),
            variation: Duration::from_nanos(self.variation.load(Relaxed)),
        })
    }

    /// What has been noted.
    pub fn look(&self) -> Signs {
        Signs {
            rtt: self.rtt(),
            unanswered: self.unanswered.load(Relaxed),
            recent_out: self.recent_out.load(Relaxed),
            recent_in: self.recent_in.load(Relaxed),
            repeated: self.history.load(Relaxed).count_ones(),
            segment: self.segment.get(),
            in_flight: self.in_flight(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: (u16, u16) = (1000, 2000);

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn a_round_trip_lasts_from_the_segment_to_its_acknowledgement() {
        let cells = SignCells::default();
        cells.segment_out(at(1000), FLOW, 500, false);
        cells.segment_out(at(1001), FLOW, 600, false);
        assert!(cells.measures());
        cells.acknowledged(at(1005), FLOW, 400);
        cells.acknowledged(at(1006), (1000, 2001), 500);
        assert_eq!(cells.look().rtt, None);
        cells.acknowledged(at(1020), FLOW, 600);
        let rtt = cells.look().rtt.unwrap();
        assert_eq!(
            (rtt.smoothed, rtt.variation),
            (Duration::from_millis(20), Duration::from_millis(10))
        );
        assert!(!cells.measures());
        // Sequence numbers wrap around.
        cells.segment_out(at(1100), FLOW, u32::MAX - 5, false);
        cells.acknowledged(at(1120), FLOW, 10);
        assert_eq!(cells.look().rtt.unwrap().smoothed, Duration::from_millis(20));
    }

    #[test]
    fn what_is_in_flight_is_sent_and_not_acknowledged() {
        let cells = SignCells::default();
        assert_eq!(cells.look().in_flight, 0);
        let last = u32::MAX - 999;
        for n in 0..5 {
            cells.segment_out(at(n), FLOW, last.wrapping_add(500 * n as u32), false);
        }
        assert_eq!(cells.look().in_flight, 2000, "the first one seen is where counting begins");
        cells.acknowledged(at(20), FLOW, last.wrapping_add(1500));
        cells.acknowledged(at(21), FLOW, last.wrapping_add(500));
        cells.acknowledged(at(21), (1, 2), last.wrapping_add(2000));
        assert_eq!(cells.look().in_flight, 500);
        cells.segment_out(at(22), FLOW, last.wrapping_add(1500), true);
        assert_eq!(cells.look().in_flight, 500);
        assert!(cells.measures());
        cells.acknowledged(at(23), FLOW, last.wrapping_add(2000));
        assert_eq!((cells.look().in_flight, cells.measures()), (0, false));
        // Another flow.
        cells.segment_out(at(24), (1, 2), 7, false);
        cells.segment_out(at(24), (1, 2), 9, false);
        assert_eq!(cells.look().in_flight, 2);
    }

    #[test]
    fn a_segment_sent_twice_measures_nothing() {
        let cells = SignCells::default();
        cells.segment_out(at(1000), FLOW, 500, false);
        cells.segment_out(at(1200), FLOW, 500, true);
        cells.acknowledged(at(1220), FLOW, 500);
        assert_eq!(cells.look().rtt, None);
        // Nor does one that is never acknowledged keep others from being measured.
        cells.segment_out(at(2000), FLOW, 600, false);
        cells.segment_out(at(6000), (1, 2), 9, false);
        cells.acknowledged(at(6030), (1, 2), 9);
        assert_eq!(cells.look().rtt.unwrap().smoothed, Duration::from_millis(30));
    }

    #[test]
    fn losses_are_those_of_the_last_64_segments() {
        let cells = SignCells::default();
        assert_eq!(cells.look().repeated, 0, "nothing was sent");
        for n in 0..63 {
            cells.segment_out(at(n), FLOW, n as u32, false);
        }
        assert_eq!(cells.look().repeated, 1, "one place is not filled yet");
        cells.segment_out(at(63), FLOW, 64, false);
        assert_eq!(cells.look().repeated, 0);
        cells.segment_out(at(64), FLOW, 64, true);
        assert_eq!((cells.look().repeated, cells.look().segment), (1, Some(at(64))));
        cells.segment_out(at(1100), FLOW, 65, false);
        assert_eq!(cells.look().repeated, 63, "what was before a pause is forgotten");
    }

    #[test]
    fn recent_counts_fade() {
        let cells = SignCells::default();
        for n in 0..100 {
            cells.packet_out(at(10 + n));
            if n % 2 == 0 {
                cells.packet_in(at(10 + n));
            }
        }
        assert_eq!((cells.look().recent_out, cells.look().recent_in), (100, 50));
        assert_eq!(cells.look().unanswered, 1);
        cells.packet_out(at(1200));
        let signs = cells.look();
        assert_eq!((signs.recent_out, signs.recent_in, signs.unanswered), (51, 25, 2));
    }
}
