//! What a context's own packets say about the path they take: round trips, answers that stay out, segments sent again.

use super::Time;
use std::time::Duration;

/// A smoothed round trip and its variation, estimated as RFC 6298 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
pub struct Rtt {
    /// The smoothed round trip.
    pub smoothed: Duration,
    /// Its smoothed mean deviation.
    pub variation: Duration,
}

impl Rtt {
    /// The estimate after the first measurement.
    pub fn first(sample: Duration) -> Rtt {
        Rtt { smoothed: sample, variation: sample / 2 }
    }

    /// The estimate after one more measurement.
    pub fn after(self, sample: Duration) -> Rtt {
        let off = self.smoothed.abs_diff(sample);
        Rtt {
            smoothed: (self.smoothed * 7 + sample) / 8,
            variation: (self.variation * 3 + off) / 4,
        }
    }
}

/// What is counted besides the activity cells while [`super::Forward::watch`] is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "client", serde(default))]
pub struct Signs {
    /// The round trip by TCP's acknowledgements; `None` before the first.
    pub rtt: Option<Rtt>,
    /// Packets out since the last packet in.
    pub unanswered: u32,
    /// Packets out of late: halved each second.
    pub recent_out: u32,
    /// Packets in of late: halved each second.
    pub recent_in: u32,
    /// How many of the last 64 TCP segments with data had been sent before; 64 for those not seen yet.
    pub repeated: u32,
    /// The last TCP segment with data that went out.
    pub segment: Option<Time>,
    /// Octets that the flow of this segment has sent and the peer has not acknowledged.
    pub in_flight: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_follows_rfc_6298() {
        let ms = Duration::from_millis;
        let first = Rtt::first(ms(100));
        assert_eq!(first, Rtt { smoothed: ms(100), variation: ms(50) });
        let next = first.after(ms(20));
        assert_eq!(next, Rtt { smoothed: ms(90), variation: Duration::from_micros(57_500) });
        let settled = (0..200).fold(next, |r, _| r.after(ms(20)));
        assert!(settled.smoothed < ms(21) && settled.variation < ms(1), "{settled:?}");
    }
}
