//! The clock: CLOCK_BOOTTIME, which runs on while the machine sleeps and is never set.

use crate::proto::Time;
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Now, in nanoseconds since the machine started.
pub fn now() -> Time {
    // This clock is in every kernel since 2.6.39, so the call does not fail; the start of time is a harmless answer.
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    Time::from_nanos(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::now;
    use crate::proto::Time;
    use nix::time::{ClockId, clock_gettime};
    use std::time::Duration;

    #[test]
    fn the_clock_runs_and_never_backwards() {
        let first = now();
        assert!(first > Time::ZERO);
        let mut last = first;
        while last == first {
            let next = now();
            assert!(next >= last);
            last = next;
        }
    }

    /// Somebody sets that one, and timers would run out at once, or never.
    #[test]
    fn the_clock_is_not_the_one_on_the_wall() {
        let read = |id| clock_gettime(id).map(Duration::from).unwrap();
        let boot = || Time::ZERO + read(ClockId::CLOCK_BOOTTIME);
        let (before, ours, after) = (boot(), now(), boot());
        assert!(before <= ours && ours <= after, "{before:?} {ours:?} {after:?}");
        // No machine has been up since 1970, but one without a clock may believe so.
        let wall = Time::ZERO + read(ClockId::CLOCK_REALTIME);
        assert!(wall.since(after) > Duration::from_secs(60), "it is 1970: nothing can be said");
    }
}
