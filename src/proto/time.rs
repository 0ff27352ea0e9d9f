//! Time as the engine knows it: nanoseconds on a clock that never runs backwards (the daemon uses CLOCK_BOOTTIME).

use std::fmt;
use std::num::NonZeroU64;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time, in nanoseconds since the clock's own start.
///
/// Kept as one more than that, so that an optional time takes no more room than a time: a context has many.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "client", serde(from = "u64", into = "u64"))]
pub struct Time(NonZeroU64);

impl Time {
    /// The clock's start.
    pub const ZERO: Time = Time(NonZeroU64::MIN);

    /// A point in time from nanoseconds; the last of 584 years is the end of time.
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// A point in time from milliseconds.
    pub const fn from_millis(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    /// A point in time from seconds.
    pub const fn from_secs(secs: u64) -> Time {
        Time::from_nanos(secs * 1_000_000_000)
    }

    /// Nanoseconds since the clock's start.
    pub const fn nanos(self) -> u64 {
        self.0.get() - 1
    }

    /// Whole milliseconds since the clock's start.
    pub const fn millis(self) -> u64 {
        self.nanos() / 1_000_000
    }

    /// The earlier of two times, as far as there are any.
    pub fn earlier(a: Option<Time>, b: Option<Time>) -> Option<Time> {
        match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, None) => a,
            (None, b) => b,
        }
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.nanos().saturating_sub(earlier.nanos()))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Time").field(&self.nanos()).finish()
    }
}

impl From<u64> for Time {
    fn from(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }
}

impl From<Time> for u64 {
    fn from(time: Time) -> u64 {
        time.nanos()
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    /// Saturates at the end of time (584 years).
    fn add(self, d: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    /// Saturates at the clock's start.
    fn sub(self, d: Duration) -> Time {
        let nanos = u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        Time::from_nanos(self.nanos().saturating_sub(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_optional_time_takes_no_more_room_than_a_time() {
        assert_eq!(size_of::<Option<Time>>(), 8);
        assert!(Some(Time::ZERO) > None);
        assert_eq!(format!("{:?}", Time::from_nanos(5)), "Time(5)");
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Time::from_secs(2) - Duration::from_secs(3), Time::ZERO);
        assert_eq!(Time::from_nanos(u64::MAX) + Duration::from_secs(1), Time::from_nanos(u64::MAX));
        assert_eq!(Time::from_secs(1).since(Time::from_secs(2)), Duration::ZERO);
        assert_eq!(Time::from_nanos(0), Time::ZERO);
        assert_eq!((Time::ZERO.nanos(), Time::from_nanos(7).nanos()), (0, 7));
        assert_eq!(u64::from(Time::from(7)), 7);
        assert_eq!(Time::from_millis(1500).since(Time::from_secs(1)), Duration::from_millis(500));
    }
}
