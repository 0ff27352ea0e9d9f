//! What the data plane notes where a context is watched closely (fast detection): as in the daemon, without its locks.

use crate::host::Segment;
use shim6::proto::{Activity, Rtt, Time};
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(1);
const HISTORY_LIFE: Duration = Duration::from_secs(1);
/// Octets of a packet.
const PACKET: u32 = 1400;

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
    /// So many packets each segment of the flow that sent last stands for.
    packets: u32,
    /// That flow, its newest segment, and what is acknowledged of it.
    flow: Option<u16>,
    newest: u32,
    acked: u32,
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
            packets: 1,
            flow: None,
            newest: 0,
            acked: 0,
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
            self.recent_in += self.packets;
        } else {
            self.unanswered += self.packets;
            self.recent_out += self.packets;
        }
    }

    /// A TCP segment with data goes out, or so many packets with one number.
    pub fn segment_out(&mut self, now: Time, s: Segment, packets: u32) {
        let (seq, repeated) = (s.seq, s.again);
        if self.flow != Some(s.flow) {
            // What of it was under way before is not known.
            (self.newest, self.acked) = (seq, if packets > 1 { seq - 1 } else { seq });
        }
        (self.flow, self.packets) = (Some(s.flow), packets);
        self.newest = self.newest.max(seq);
        let fresh = self.segment.is_some_and(|t| now.since(t) < HISTORY_LIFE);
        let history = if fresh { self.history } else { u64::MAX };
        self.history = history << 1 | u64::from(repeated);
        self.segment = Some(now);
        // Which of both will be acknowledged nobody knows.
        self.sample = (!repeated).then_some((seq, now));
    }

    /// A TCP acknowledgement comes in.
    pub fn acknowledged(&mut self, now: Time, Segment { flow, seq, .. }: Segment) {
        if self.flow == Some(flow) {
            self.acked = self.acked.max(seq);
        }
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
        s.in_flight = self.newest.saturating_sub(self.acked) * self.packets * PACKET;
    }
}
