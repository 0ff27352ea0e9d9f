//! Whether workers get on with their work: one number for each, which costs a worker two stores per batch.

use super::worker::Kind;
use crate::proto::Time;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Nothing in hand: the worker waits for packets, or has not started yet.
const IDLE: u64 = 0;
/// The worker has ended.
const ENDED: u64 = u64::MAX;

/// Since when a worker has had the same batch in hand, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Pulse(AtomicU64);

impl Pulse {
    /// A batch was taken.
    pub fn busy(&self, now: Time) {
        self.0.store(now.nanos().clamp(IDLE + 1, ENDED - 1), Ordering::Relaxed);
    }

    /// The queue could not be read: that is no progress, so whatever began earlier goes on.
    pub fn blocked(&self, now: Time) {
        if self.0.load(Ordering::Relaxed) == IDLE {
            self.busy(now);
        }
    }

    /// Nothing is left to do.
    pub fn idle(&self) {
        self.0.store(IDLE, Ordering::Relaxed);
    }

    fn ended(&self) {
        self.0.store(ENDED, Ordering::Relaxed);
    }

    fn stuck_for(&self, now: Time) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            IDLE => Duration::ZERO,
            ENDED => Duration::MAX,
            since => now.since(Time::from_nanos(since)),
        }
    }
}

/// Notes the end of a worker, be it by a panic.
#[derive(Debug)]
pub(super) struct EndGuard(pub Arc<Pulse>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.ended();
    }
}

/// The signs of life of all workers. Clones look at the same workers.
#[derive(Clone, Debug, Default)]
pub struct Liveness {
    workers: Vec<(String, Kind, Arc<Pulse>)>,
}

impl Liveness {
    pub(super) fn add(&mut self, name: String, kind: Kind, pulse: Arc<Pulse>) {
        self.workers.push((name, kind, pulse));
    }

    /// One worker of this kind, and a way to make it busy since some time, or idle.
    #[cfg(test)]
    pub(crate) fn for_test(kind: Kind) -> (Liveness, impl Fn(Option<Time>)) {
        let pulse = Arc::new(Pulse::default());
        let mut all = Liveness::default();
        all.add("test".to_owned(), kind, Arc::clone(&pulse));
        (all, move |since| since.map_or_else(|| pulse.idle(), |t| pulse.busy(t)))
    }

    /// The worker of this kind that has got stuck, by name, if any has been at one batch for longer than `limit`, could
    /// not read its queue for so long, or has ended.
    pub fn stuck(&self, kind: Kind, now: Time, limit: Duration) -> Option<&str> {
        self.workers
            .iter()
            .find(|(_, of, pulse)| *of == kind && pulse.stuck_for(now) > limit)
            .map(|(name, ..)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(300);

    #[test]
    fn a_worker_is_stuck_in_a_batch_not_in_waiting() {
        let pulse = Arc::new(Pulse::default());
        let mut all = Liveness::default();
        all.add("queue-7".to_owned(), Kind::Plain, Arc::clone(&pulse));
        let at = Time::from_millis;
        let stuck = |now| all.stuck(Kind::Plain, now, LIMIT);
        assert_eq!(stuck(at(5000)), None, "not started");
        pulse.busy(at(5000));
        assert_eq!(stuck(at(5300)), None);
        assert_eq!(stuck(at(5301)), Some("queue-7"));
        assert_eq!(all.stuck(Kind::Shim6, at(5301), LIMIT), None);
        pulse.busy(at(5302));
        assert_eq!(stuck(at(5303)), None, "the next batch");
        pulse.idle();
        assert_eq!(stuck(at(9000)), None, "waiting is no sign of death");
        // Errors are no progress, however many there are.
        pulse.blocked(at(9000));
        pulse.blocked(at(9200));
        assert_eq!(stuck(at(9301)), Some("queue-7"));
        pulse.idle();
        drop(EndGuard(pulse));
        assert_eq!(stuck(at(9302)), Some("queue-7"), "ended");
    }
}
