//! What the data plane notes where a context is watched closely (fast detection): as in the daemon, without its locks.

use shim6::proto::{Activity, Rtt, Time};
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(1);
const HISTORY_LIFE: Duration = Duration::from_secs(1);

/// The notes of one context. Times are the host's.
#[derive(Debug)]
pub struct Watched {
    unanswered: u32,
    recent_out: u32,
    recent_in: u32,
    window: Option<Time>,
    /// One bit for each of the last segments, newest lowest: it had been sent before.
    history: u64,
    segment: Option<Time>,
    /// The segment whose acknowledgement is waited for, and when it went out.
    sample: Option<(u32, Time)>,
    rtt: Option<Rtt>,
}

impl Default for Watched {
    fn default() -> Watched {
        Watched {
            unanswered: 0,
            recent_out: 0,
            recent_in: 0,
            window: None,
            history: u64::MAX,
            segment: None,
            sample: None,
            rtt: None,
        }
    }
}

impl Watched {
    pub fn packet(&mut self, now: Time, inbound: bool) {
        if self.window.is_none_or(|t| now.since(t) >= WINDOW) {
            self.window = Some(now);
            self.recent_out /= 2;
            self.recent_in /= 2;
        }
        if inbound {
            self.unanswered = 0;
            self.recent_in += 1;
        } else {
            self.unanswered += 1;
            self.recent_out += 1;
        }
    }

    /// A TCP segment with data goes out.
    pub fn segment_out(&mut self, now: Time, seq: u32, repeated: bool) {
        let fresh = self.segment.is_some_and(|t| now.since(t) < HISTORY_LIFE);
        let history = if fresh { self.history } else { u64::MAX };
        self.history = history << 1 | u64::from(repeated);
        self.segment = Some(now);
        // Which of both will be acknowledged nobody knows.
        self.sample = (!repeated).then_some((seq, now));
    }

    /// A TCP acknowledgement comes in.
    pub fn acknowledged(&mut self, now: Time, seq: u32) {
        if let Some((wanted, at)) = self.sample
            && seq >= wanted
        {
            let sample = now.since(at);
            self.rtt = Some(self.rtt.map_or(Rtt::first(sample), |r| r.after(sample)));
            self.sample = None;
        }
    }

    /// Puts the notes where the engine reads them.
    pub fn show(&self, a: &mut Activity) {
        let s = &mut a.signs;
        s.rtt = self.rtt;
        s.unanswered = self.unanswered;
        s.recent_out = self.recent_out;
        s.recent_in = self.recent_in;
        s.repeated = self.history.count_ones();
        s.segment = self.segment;
    }
}
