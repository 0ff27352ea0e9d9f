//! Send Timer and Keepalive Timer, evaluated from the activity cells.
//!
//! A payload packet touches a cell and nothing else. When the cells are read, what happened since the last reading
//! is turned into at most one burst in and one burst out, in their order, and the timers become what they would be
//! if each packet had been seen: the cells hold the first packet that is unanswered in either direction, and that
//! is where START starts. What arrives in control messages is seen at once and may lie between packets that are
//! read later, so the moments of both are kept and compared.

use crate::proto::Activity;
use crate::proto::Time;
use crate::proto::config::ReapConfig;
use rand::RngCore;
use std::time::Duration;

/// Keepalives never follow each other faster.
// req: RP-4.1-11 (RFC 5534, 4.1)
const MIN_KEEPALIVE_GAP: Duration = Duration::from_secs(1);

/// An idle context's cells are looked at after so many Send Timeouts even if no wake-up came.
const IDLE_LOOK: u32 = 4;

/// A random part of a duration: uniform between `1 - down` and `1 + up` times `d`.
// req: RP-4.1-15 (RFC 5534, 4.1)
pub(super) fn vary(d: Duration, rng: &mut dyn RngCore, down: f64, up: f64) -> Duration {
    let unit = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let down = down.clamp(0.0, 0.9);
    scaled(d, 1.0 - down + unit * (down + up.clamp(0.0, 1.0)))
}

/// A multiple of a duration; the longest there is instead of an overflow.
fn scaled(d: Duration, factor: f64) -> Duration {
    let nanos = d.as_secs_f64() * factor * 1e9;
    if nanos < u64::MAX as f64 { Duration::from_nanos(nanos as u64) } else { Duration::MAX }
}

/// The nominal Send Timeout.
// req: RP-7-03 (RFC 5534, 7)
pub(super) fn send_timeout(config: &ReapConfig) -> Duration {
    Duration::from_secs(config.send_timeout_secs.max(1).into())
}

/// When something happened that a timer depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// First packet of a burst that nothing has answered yet; where START starts.
    first: Option<Time>,
    /// Last packet of a burst; what STOP compares with the start of a timer.
    last: Time,
    /// The other direction's first unanswered packet: it is younger than the burst, whatever its time stamp.
    pending: Option<Time>,
}

impl Moment {
    /// Something that is happening now.
    pub(super) fn now(now: Time) -> Moment {
        Moment { first: Some(now), last: now, pending: None }
    }

    /// The last packet.
    pub(super) fn last(self) -> Time {
        self.last
    }
}

/// Payload since the last reading.
#[derive(Clone, Copy, Debug)]
pub(super) enum Burst {
    /// In.
    In(Moment),
    /// Out.
    Out(Moment),
}

/// The nominal Keepalive Interval that belongs to a Keepalive Timeout: the configured part of it, at least a second.
// req: RP-4.1-04, RP-7-05 (RFC 5534, 4.1 and 7)
pub fn keepalive_interval(timeout: Duration, config: &ReapConfig) -> Duration {
    scaled(timeout, config.keepalive_fraction.clamp(0.1, 1.0)).max(MIN_KEEPALIVE_GAP)
}

#[derive(Clone, Copy, Debug)]
struct SendRun {
    start: Time,
    due: Time,
    /// It has been put off already.
    put_off: bool,
}

#[derive(Clone, Copy, Debug)]
struct KeepaliveRun {
    start: Time,
    /// Next Keepalive; equals `end` for the last one.
    next: Time,
    end: Time,
    interval: Duration,
}

/// What the Keepalive Timer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeepaliveDue {
    /// A Keepalive Interval is over.
    Interval,
    /// The timer has run out.
    Timeout,
}

/// Both timers of one context and what was read from its cells.
#[derive(Clone, Debug)]
pub(super) struct Timers {
    send: Option<SendRun>,
    keepalive: Option<KeepaliveRun>,
    /// The timers as they would be if a Probe of the peer had not interrupted Operational.
    aside: Option<Box<Timers>>,
    /// The last Keepalive, of whatever run.
    keepalive_sent: Option<Time>,
    /// The peer's Send Timeout in seconds, as it told us.
    peer_send_timeout: Option<u16>,
    /// Everything that went out until here is answered.
    answered_out: Option<Time>,
    /// Everything that came in until here is answered, or no answer is due.
    answered_in: Option<Time>,
    /// Last control message in that counts as payload.
    control_in: Option<Time>,
    /// Last control message out that counts as payload.
    control_out: Option<Time>,
    seen_out: Option<Time>,
    seen_in: Option<Time>,
    /// Last reading of the cells.
    read: Time,
    /// The last reading showed nothing new.
    quiet: bool,
}

impl Timers {
    pub(super) fn new(now: Time) -> Timers {
        Timers {
            send: None,
            keepalive: None,
            aside: None,
            keepalive_sent: None,
            peer_send_timeout: None,
            // Before the context was established nobody had to answer anything.
            answered_out: Some(now),
            answered_in: Some(now),
            control_in: None,
            control_out: None,
            seen_out: None,
            seen_in: None,
            read: now,
            quiet: false,
        }
    }

    /// The peer has told its Send Timeout. If that is shorter now, a Keepalive Timer that runs is shortened alike: the
    /// peer's next packet will not wait for the time that was in force before.
    // req: RP-5.3-04, RP-7-04 (RFC 5534, 5.3 and 7)
    pub(super) fn set_peer_send_timeout(&mut self, seconds: Option<u16>, config: &ReapConfig) {
        if seconds == Some(0) {
            return;
        }
        if let Some(aside) = &mut self.aside {
            aside.set_peer_send_timeout(seconds, config);
        }
        let before = self.keepalive_timeout(config);
        self.peer_send_timeout = seconds;
        let now = self.keepalive_timeout(config);
        if let Some(run) = self.keepalive.as_mut().filter(|_| now < before) {
            let last = self.keepalive_sent.map_or(run.start, |t| t.max(run.start));
            run.interval = scaled(run.interval, now.as_secs_f64() / before.as_secs_f64())
                .max(MIN_KEEPALIVE_GAP);
            run.end = run.start + now;
            run.advance(last);
        }
    }

    /// The peer's Send Timeout, or the default if it told none.
    // req: RP-7-04 (RFC 5534, 7)
    pub(super) fn keepalive_timeout(&self, config: &ReapConfig) -> Duration {
        self.peer_send_timeout
            .map_or(config.default_keepalive_timeout, |s| Duration::from_secs(s.into()))
    }

    /// The nominal Keepalive Interval.
    pub(super) fn keepalive_interval(&self, config: &ReapConfig) -> Duration {
        keepalive_interval(self.keepalive_timeout(config), config)
    }

    /// Notes what the cells say now; the bursts are to be handled in their order.
    pub(super) fn observe(&mut self, now: Time, a: &Activity) -> [Option<Burst>; 2] {
        let new_out = a.last_out.filter(|_| a.last_out > self.seen_out);
        let new_in = a.last_in.filter(|_| a.last_in > self.seen_in);
        let out = new_out.map(|last| {
            let exact = a
                .pending_out
                .filter(|&p| Some(p) > self.answered_out && Some(p) > self.seen_out && p <= last);
            // If a control message answered in between, the cell still holds an older packet. Which was the first
            // after it is unknown; the last one surely was, and a timer must not start before its cause.
            let first = exact.or_else(|| Some(last).filter(|_| Some(last) > self.answered_out));
            Burst::Out(Moment { first, last, pending: a.pending_in })
        });
        let inward = new_in.map(|last| {
            let exact = a
                .pending_in
                .filter(|&p| Some(p) > self.answered_in && Some(p) > self.seen_in && p <= last);
            // The first packet after a wake-up was armed is told at once, and is the last as well. Without one, or if
            // others may have come before it was, the earliest possible moment is the safe one: a Keepalive may be early.
            let woken = self.quiet && self.send.is_none() && self.keepalive.is_none();
            let earliest = self.answered_in.map_or(self.read, |t| t.max(self.read)).min(last);
            let first = exact.or_else(|| {
                (Some(last) > self.answered_in).then_some(if woken { last } else { earliest })
            });
            Burst::In(Moment { first, last, pending: a.pending_out })
        });
        self.quiet = out.is_none() && inward.is_none();
        self.seen_out = self.seen_out.max(a.last_out);
        self.seen_in = self.seen_in.max(a.last_in);
        self.read = now;
        let out_is_last = match (a.pending_out, a.pending_in) {
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(_), Some(_)) | (None, None) => a.last_out > a.last_in,
        };
        if out_is_last { [inward, out] } else { [out, inward] }
    }

    /// Something else than the cells may just have made this side idle: what they hold by now found no wake-up armed.
    pub(super) fn look_again(&mut self) {
        self.quiet = false;
    }

    /// Remembers a control message in that counts as payload.
    pub(super) fn note_control_in(&mut self, now: Time) {
        self.control_in = Some(now);
    }

    /// Remembers a control message out that counts as payload.
    pub(super) fn note_control_out(&mut self, now: Time) {
        self.control_out = Some(now);
    }

    /// START Send.
    pub(super) fn start_send(&mut self, m: Moment, config: &ReapConfig, rng: &mut dyn RngCore) {
        if self.send.is_none()
            && let Some(first) = m.first
        {
            self.run_send(first, config, rng);
        }
    }

    /// RESTART Send.
    pub(super) fn restart_send(&mut self, now: Time, config: &ReapConfig, rng: &mut dyn RngCore) {
        self.run_send(now, config, rng);
    }

    // req: RP-4.1-05, RP-4.1-15 (RFC 5534, 4.1)
    fn run_send(&mut self, start: Time, config: &ReapConfig, rng: &mut dyn RngCore) {
        let due = start + vary(send_timeout(config), rng, config.send_jitter, 0.0);
        self.send = Some(SendRun { start, due, put_off: false });
    }

    /// STOP Send, unless it was started after the cause.
    pub(super) fn stop_send(&mut self, m: Moment, config: &ReapConfig, rng: &mut dyn RngCore) {
        self.answered_out = self.answered_out.max(Some(m.last));
        if self.send.is_some_and(|r| m.last >= r.start && m.pending != Some(r.start)) {
            self.send = None;
            // A control message of ours that went out after the packet which is seen only now.
            if let Some(said) = self.control_out.filter(|&t| t > m.last) {
                self.run_send(said, config, rng);
            }
        }
    }

    /// A test of ours was answered `rtt` after it went out. For so long it has kept the peer from sending Keepalives, which
    /// are to come before the Send Timer runs out; so it runs on, once.
    pub(super) fn put_off_send(&mut self, rtt: Duration, config: &ReapConfig) {
        if let Some(run) = self.send.as_mut().filter(|r| !r.put_off) {
            run.due = run.due + rtt.min(send_timeout(config) / 2);
            run.put_off = true;
        }
    }

    /// A Probe comes in that may be no more than a test of some pair. Until that is known, whatever happens has to be
    /// told to [`Timers::aside`] as well.
    pub(super) fn interrupt(&mut self) {
        self.aside = None;
        self.aside = Some(Box::new(self.clone()));
    }

    /// The timers as they would be without the interruption.
    pub(super) fn aside(&mut self) -> Option<&mut Timers> {
        self.aside.as_deref_mut()
    }

    /// It was no test, or did not end as one.
    pub(super) fn forget_interruption(&mut self) {
        self.aside = None;
    }

    /// It was a test: all goes on as if it had not been. Otherwise a peer that tests its pairs more often than our Send
    /// Timeout would keep us from noticing that nothing comes back, and our Keepalives that it is not heard. False if
    /// nothing was interrupted.
    pub(super) fn resume(&mut self) -> bool {
        let Some(before) = self.aside.take() else { return false };
        *self = *before;
        self.look_again();
        true
    }

    /// START Keepalive.
    pub(super) fn start_keepalive(
        &mut self,
        m: Moment,
        config: &ReapConfig,
        rng: &mut dyn RngCore,
    ) {
        if self.keepalive.is_none()
            && let Some(first) = m.first
        {
            self.run_keepalive(first, config, rng);
        }
    }

    fn run_keepalive(&mut self, start: Time, config: &ReapConfig, rng: &mut dyn RngCore) {
        let end = start + self.keepalive_timeout(config);
        let interval = vary(self.keepalive_interval(config), rng, config.send_jitter, 0.0)
            .max(MIN_KEEPALIVE_GAP);
        let mut run = KeepaliveRun { start, next: start, end, interval };
        run.advance(start);
        self.keepalive = Some(run);
    }

    /// STOP Keepalive, unless it was started after the cause.
    pub(super) fn stop_keepalive(&mut self, m: Moment, config: &ReapConfig, rng: &mut dyn RngCore) {
        self.answered_in = self.answered_in.max(Some(m.last));
        if self.keepalive.is_some_and(|r| m.last >= r.start && m.pending != Some(r.start)) {
            self.keepalive = None;
            // A control message of the peer that came in after the packet which is seen only now.
            if let Some(heard) = self.control_in.filter(|&t| t > m.last) {
                self.run_keepalive(heard, config, rng);
            }
        }
    }

    /// Whether the Send Timer has run out. Only a reading of the cells at or after its end can tell.
    pub(super) fn send_due(&self, now: Time) -> bool {
        self.send.is_some_and(|r| r.due <= now && r.due <= self.read)
    }

    /// Everything that went out until then is answered.
    pub(super) fn answered_out(&self) -> Option<Time> {
        self.answered_out
    }

    /// Since when the Send Timer has run.
    pub(super) fn send_since(&self) -> Option<Time> {
        self.send.map(|r| r.start)
    }

    /// Whether a Keepalive is to be sent; with the interval the next one is planned.
    // req: RP-4.1-10, RP-4.1-11, RP-4.1-12, RP-4.1-13, RP-6.1-07 (RFC 5534, 4.1 and 6.1)
    pub(super) fn keepalive_due(&mut self, now: Time) -> Option<KeepaliveDue> {
        let read = self.read;
        let run = self.keepalive.as_mut().filter(|r| r.next <= now && r.next <= read)?;
        // A run that is noticed late could come on the heels of the one before.
        if let Some(soonest) = self.keepalive_sent.map(|t| t + MIN_KEEPALIVE_GAP)
            && now < soonest
        {
            run.next = soonest;
            return None;
        }
        self.keepalive_sent = Some(now);
        if run.end <= now {
            return Some(KeepaliveDue::Timeout);
        }
        run.advance(now);
        Some(KeepaliveDue::Interval)
    }

    /// When the timers were started.
    #[cfg(test)]
    pub(super) fn started(&self) -> (Option<Time>, Option<Time>) {
        (self.send.map(|r| r.start), self.keepalive.map(|r| r.start))
    }

    /// Whether the Send Timer is known to run.
    pub(super) fn send_runs(&self) -> bool {
        self.send.is_some()
    }

    /// Whether the Keepalive Timer is known to run.
    pub(super) fn keepalive_runs(&self) -> bool {
        self.keepalive.is_some()
    }

    /// When the Keepalive Timer wants something, if it is known to run.
    pub(super) fn next_keepalive(&self) -> Option<Time> {
        self.keepalive.map(|r| r.next)
    }

    /// When the cells have to be read next: at the end of a timer, or when one could run out that has been started
    /// by packets after the last reading.
    pub(super) fn read_due(&self, config: &ReapConfig, idle: bool) -> Time {
        if idle && self.quiet {
            // The wake-up is armed; this is only for the case that its notice was lost.
            return self.read + send_timeout(config) * IDLE_LOOK;
        }
        let shortest = send_timeout(config).min(self.keepalive_interval(config));
        let look = self.read + scaled(shortest, 1.0 - config.send_jitter.clamp(0.0, 0.9));
        let send = self.send.map_or(look, |r| r.due);
        let keepalive = self.next_keepalive().unwrap_or(look);
        look.min(send).min(keepalive)
    }

    /// Forgets both timers; everything until now is taken as answered.
    pub(super) fn clear(&mut self, now: Time) {
        self.send = None;
        self.keepalive = None;
        self.answered_out = Some(now);
        self.answered_in = Some(now);
    }
}

impl KeepaliveRun {
    /// Plans the next Keepalive. One that would come just before the last is left out.
    // req: RP-4.1-11 (RFC 5534, 4.1)
    fn advance(&mut self, now: Time) {
        let next = now + self.interval;
        self.next = if next + MIN_KEEPALIVE_GAP > self.end { self.end } else { next };
    }
}

#[cfg(test)]
mod tests;
