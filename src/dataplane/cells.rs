//! Activity cells: what a worker writes for each packet of a context, and the control thread reads when a timer
//! is due.
//!
//! Nearly all accesses are relaxed: each cell stands for itself, and a reader that misses the newest value by a moment
//! sees it at its next look. Only arming the wake-up and counting a packet have to see each other, or the packet that
//! comes between the engine's last look and the arming would wake nobody. RFC 5534 starts the Send Timer with the first packet out since the last one in and the
//! Keepalive Timer with the first packet in since the last one out, so two cells hold just these times.

use super::received::Received;
use super::signs::SignCells;
use super::slab::Refs;
use crate::addr::LocatorPair;
use crate::proto::signs::Signs;
use crate::proto::{Activity, Time, WakeOn};
use crate::wire::ipv6::protocol;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};
use std::time::Duration;

/// A time or nothing; 0 is nothing, else nanoseconds + 1.
#[derive(Debug, Default)]
pub(super) struct TimeCell(AtomicU64);

impl TimeCell {
    fn pack(t: Time) -> u64 {
        t.nanos().saturating_add(1)
    }

    pub(super) fn set(&self, t: Time) {
        self.0.store(Self::pack(t), Relaxed);
    }

    pub(super) fn clear(&self) {
        // A plain load first: the line stays shared when there is nothing to clear.
        if self.0.load(Relaxed) != 0 {
            self.0.store(0, Relaxed);
        }
    }

    fn set_if_empty(&self, t: Time) {
        if self.0.load(Relaxed) == 0 {
            let _lost_race = self.0.compare_exchange(0, Self::pack(t), Relaxed, Relaxed);
        }
    }

    pub(super) fn get(&self) -> Option<Time> {
        match self.0.load(Relaxed) {
            0 => None,
            n => Some(Time::from_nanos(n - 1)),
        }
    }

    /// True, and the time noted, if the last success is at least `gap` ago.
    pub(super) fn every(&self, now: Time, gap: Duration) -> bool {
        let seen = self.0.load(Relaxed);
        if seen != 0 && now.since(Time::from_nanos(seen - 1)) < gap {
            return false;
        }
        self.0.compare_exchange(seen, Self::pack(now), Relaxed, Relaxed).is_ok()
    }
}

/// Packets of one protocol, and whether they come fast. Approximate where workers race.
#[derive(Debug, Default)]
pub struct Pace {
    count: AtomicU32,
    /// When the run of [`Pace::RUN`] packets began that is being counted.
    began: TimeCell,
    /// Not called fast before.
    until: TimeCell,
}

impl Pace {
    /// So many packets ...
    const RUN: u32 = 32;
    /// ... in this time are fast.
    const WITHIN: Duration = Duration::from_millis(200);

    /// Notes a packet. True for the last one of a fast run.
    pub fn note(&self, now: Time) -> bool {
        let count = self.count.fetch_add(1, Relaxed).wrapping_add(1);
        if !count.is_multiple_of(Pace::RUN) {
            return false;
        }
        let began = self.began.get();
        self.began.set(now);
        began.is_some_and(|t| now.since(t) < Pace::WITHIN)
            && self.until.get().is_none_or(|t| t <= now)
    }

    fn reset(&self) {
        self.count.store(0, Relaxed);
        self.began.clear();
        self.until.clear();
    }

    /// Calls nothing fast until then.
    pub fn pause(&self, until: Time) {
        self.until.set(until);
    }
}

/// Packets that nobody has looked at, as the kernel has counted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// How many; at least one.
    pub packets: u64,
    /// Their octets.
    pub octets: u64,
    /// When the counters were read; the last one may have come somewhat earlier.
    pub last: Time,
}

/// The cells of one context. They outlive every change of its treatment.
///
/// What few contexts need is made when it is needed. The order is that of the look-up: the first 32 octets share a cache
/// line with what a packet is decided by.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Cells {
    /// Who holds the entry of these cells.
    pub(super) refs: Refs,
    wake: AtomicU8,
    last_out: TimeCell,
    pending_out: TimeCell,
    pending_in: TimeCell,
    last_in: TimeCell,
    packets_out: AtomicU64,
    octets_out: AtomicU64,
    packets_in: AtomicU64,
    octets_in: AtomicU64,
    /// Packets of each direction that the engine knows about: the lower bits of their number, as it is only compared.
    seen_out: AtomicU32,
    seen_in: AtomicU32,
    seldom: OnceLock<Box<Seldom>>,
    /// Locators of the newest packet in; none before the first with a payload header.
    received: OnceLock<Box<Received>>,
}

/// Cells that few contexts need.
#[derive(Debug, Default)]
struct Seldom {
    held: AtomicU32,
    too_big_made: TimeCell,
    setup_told: TimeCell,
    refused_told: TimeCell,
    failed_told: TimeCell,
    /// TCP, and everything else.
    paces: [Pace; 2],
    /// Filled where the context is watched closely.
    signs: OnceLock<Box<SignCells>>,
}

const WAKE_NOTHING: u8 = 0;
const WAKE_ANY: u8 = 1;
const WAKE_INBOUND: u8 = 2;

fn number(wake: WakeOn) -> u8 {
    match wake {
        WakeOn::Nothing => WAKE_NOTHING,
        WakeOn::Any => WAKE_ANY,
        WakeOn::Inbound => WAKE_INBOUND,
    }
}

impl Cells {
    /// Cells with the wake-up armed as told.
    pub fn new(wake: WakeOn) -> Cells {
        let cells = Cells::default();
        cells.arm(wake);
        cells
    }

    /// As new, for another context. Nobody but the caller may write meanwhile.
    pub(super) fn reset(&self) {
        for time in [&self.last_out, &self.last_in, &self.pending_out, &self.pending_in] {
            time.clear();
        }
        for count in [&self.packets_out, &self.packets_in, &self.octets_out, &self.octets_in] {
            count.store(0, SeqCst);
        }
        self.seen_out.store(0, Relaxed);
        self.seen_in.store(0, Relaxed);
        self.wake.store(WAKE_NOTHING, SeqCst);
        self.received_plain();
        if let Some(seldom) = self.seldom.get() {
            let Seldom { too_big_made, setup_told, refused_told, failed_told, .. } = &**seldom;
            for time in [too_big_made, setup_told, refused_told, failed_told] {
                time.clear();
            }
            seldom.held.store(0, Relaxed);
            seldom.paces.iter().for_each(Pace::reset);
            if let Some(signs) = seldom.signs.get() {
                signs.reset();
            }
        }
    }

    fn seldom(&self) -> &Seldom {
        self.seldom.get_or_init(Box::default)
    }

    /// What is noted where the context is watched closely.
    pub fn signs(&self) -> &SignCells {
        self.seldom().signs.get_or_init(Box::default)
    }

    fn noted_signs(&self) -> Option<&SignCells> {
        self.seldom.get()?.signs.get().map(|signs| &**signs)
    }

    /// Whether an acknowledgement is awaited, so that inbound segments are worth a look.
    pub fn measures(&self) -> bool {
        self.noted_signs().is_some_and(SignCells::measures)
    }

    /// A packet came in on its ULIDs.
    pub fn received_plain(&self) {
        if let Some(received) = self.received.get() {
            received.plain();
        }
    }

    /// A packet came in by a pair: to our locator `pair.local`, from `pair.peer`.
    pub fn received_tagged(&self, pair: LocatorPair) {
        self.received.get_or_init(Box::default).tagged(pair);
    }

    /// By which pair the newest packet came in, `None` for the ULIDs.
    pub fn received(&self) -> Option<LocatorPair> {
        self.received.get()?.pair()
    }

    /// Notes a payload packet out. The wake-up that was armed for it, if one was; it is disarmed then.
    // req: RP-4.1-05
    pub fn touch_out(&self, now: Time, octets: usize) -> Option<WakeOn> {
        self.last_out.set(now);
        self.pending_in.clear();
        self.pending_out.set_if_empty(now);
        self.octets_out.fetch_add(octets as u64, Relaxed);
        self.packets_out.fetch_add(1, SeqCst);
        self.disarm(WAKE_ANY).then_some(WakeOn::Any)
    }

    /// Notes a payload packet in. The wake-up that was armed for it, if one was; it is disarmed then.
    // req: RP-4.1-07
    pub fn touch_in(&self, now: Time, octets: usize) -> Option<WakeOn> {
        self.last_in.set(now);
        self.pending_out.clear();
        self.pending_in.set_if_empty(now);
        self.octets_in.fetch_add(octets as u64, Relaxed);
        self.packets_in.fetch_add(1, SeqCst);
        match self.wake.load(SeqCst) {
            WAKE_ANY => self.disarm(WAKE_ANY).then_some(WakeOn::Any),
            WAKE_INBOUND => self.disarm(WAKE_INBOUND).then_some(WakeOn::Inbound),
            _ => None,
        }
    }

    /// Notes packets that have passed unseen after `since`. The wake-up that was armed for them, if one was.
    ///
    /// When single ones came is not known, only between which readings. Packets that went out while none came in wait for
    /// an answer since the reading before, which is wrong by what lies between two readings at most. Where both came, ours
    /// count as answered and theirs do not: a Keepalive too many does no harm, a suspicion does. What workers have noted
    /// since the reading before counts with that; but one that they saw go out is not answered by what came in at some
    /// time in between.
    // req: RP-4.1-05, RP-4.1-07
    pub fn passed(
        &self,
        since: Time,
        out: Option<Passed>,
        inward: Option<Passed>,
    ) -> Option<WakeOn> {
        // By workers: what passed was noted at the readings.
        let noted = |cell: &TimeCell| cell.get().filter(|t| *t > since);
        let (noted_out, noted_in) = (noted(&self.last_out), noted(&self.last_in));
        let newest = |cell: &TimeCell, t: Time| {
            let newest = cell.get().map_or(t, |old| old.max(t));
            cell.set(newest);
            newest
        };
        let last_out = out.map(|p| newest(&self.last_out, p.last));
        let last_in = inward.map(|p| newest(&self.last_in, p.last));
        match (last_out, last_in) {
            (None, None) => return None,
            (Some(_), None) if noted_in.is_none() => {
                self.pending_in.clear();
                self.pending_out.set_if_empty(since);
            }
            (None, Some(_)) => {
                if noted(&self.pending_out).is_none() {
                    self.pending_out.clear();
                }
                self.pending_in.set_if_empty(noted_out.unwrap_or(since));
            }
            (Some(out), _) => {
                self.pending_out.clear();
                self.pending_in.set(out);
            }
        }
        if let Some(p) = out {
            self.octets_out.fetch_add(p.octets, Relaxed);
            self.packets_out.fetch_add(p.packets, SeqCst);
        }
        if let Some(p) = inward {
            self.octets_in.fetch_add(p.octets, Relaxed);
            self.packets_in.fetch_add(p.packets, SeqCst);
        }
        match self.wake.load(SeqCst) {
            WAKE_ANY => self.disarm(WAKE_ANY).then_some(WakeOn::Any),
            WAKE_INBOUND if inward.is_some() => {
                self.disarm(WAKE_INBOUND).then_some(WakeOn::Inbound)
            }
            _ => None,
        }
    }

    /// How fast packets of a protocol come.
    pub fn pace(&self, protocol: u8) -> &Pace {
        let [tcp, other] = &self.seldom().paces;
        if protocol == protocol::TCP { tcp } else { other }
    }

    /// Whether a wake-up is armed.
    pub fn is_armed(&self) -> bool {
        self.wake.load(SeqCst) != WAKE_NOTHING
    }

    /// Arms the wake-up for one packet, or disarms it. True if such a packet has come since the engine's last look: it
    /// is disarmed again, and the engine has to be told now.
    pub fn arm(&self, wake: WakeOn) -> bool {
        let value = number(wake);
        self.wake.swap(value, SeqCst);
        let came =
            |count: &AtomicU64, seen: &AtomicU32| count.load(SeqCst) as u32 != seen.load(Relaxed);
        let missed = match wake {
            WakeOn::Nothing => false,
            WakeOn::Any => {
                came(&self.packets_out, &self.seen_out) || came(&self.packets_in, &self.seen_in)
            }
            WakeOn::Inbound => came(&self.packets_in, &self.seen_in),
        };
        missed && self.disarm(value)
    }

    /// Arms the wake-up again as it was, because its notice did not get through; a newer arming stays.
    pub fn rearm(&self, wake: WakeOn) {
        let _newer = self.wake.compare_exchange(WAKE_NOTHING, number(wake), SeqCst, Relaxed);
    }

    fn disarm(&self, from: u8) -> bool {
        self.wake.load(SeqCst) == from
            && self.wake.compare_exchange(from, WAKE_NOTHING, SeqCst, Relaxed).is_ok()
    }

    /// What has been counted, for the engine: a wake-up is armed relative to what it has seen here.
    pub fn look(&self) -> Activity {
        let activity = self.activity();
        self.seen_out.store(activity.packets_out as u32, Relaxed);
        self.seen_in.store(activity.packets_in as u32, Relaxed);
        activity
    }

    /// What has been counted.
    pub fn activity(&self) -> Activity {
        // The counts first: a packet that comes meanwhile is then seen as one too many, not one too few.
        let packets_out = self.packets_out.load(SeqCst);
        let packets_in = self.packets_in.load(SeqCst);
        Activity {
            last_out: self.last_out.get(),
            last_in: self.last_in.get(),
            pending_out: self.pending_out.get(),
            pending_in: self.pending_in.get(),
            packets_out,
            packets_in,
            octets_out: self.octets_out.load(Relaxed),
            octets_in: self.octets_in.load(Relaxed),
            signs: self.noted_signs().map_or_else(Signs::default, SignCells::look),
        }
    }

    /// Whether a packet has waited longer than `limit` for any answer.
    pub fn unanswered(&self, now: Time, limit: Duration) -> bool {
        self.pending_out.get().is_some_and(|t| now.since(t) >= limit)
    }

    /// Whether no packet has come in for so long.
    pub fn silent(&self, now: Time, limit: Duration) -> bool {
        self.last_in.get().is_some_and(|t| now.since(t) >= limit)
    }

    /// How many copies are held for this context; inbound packets look for acknowledgements only if there are any.
    pub fn held(&self) -> u32 {
        self.seldom.get().map_or(0, |seldom| seldom.held.load(Relaxed))
    }

    /// Notes how many copies are held.
    pub fn set_held(&self, copies: u32) {
        if copies != self.held() {
            self.seldom().held.store(copies, Relaxed);
        }
    }

    /// Whether a Packet Too Big may be made for local transports now (one per second).
    pub fn may_make_too_big(&self, now: Time) -> bool {
        self.seldom().too_big_made.every(now, Duration::from_secs(1))
    }

    /// Whether payload during establishment may be reported now (one per second).
    pub fn may_tell_setup(&self, now: Time) -> bool {
        self.seldom().setup_told.every(now, Duration::from_secs(1))
    }

    /// Whether an ICMPv6 error may be reported now (ten per second).
    pub fn may_tell_refused(&self, now: Time) -> bool {
        self.seldom().refused_told.every(now, Duration::from_millis(100))
    }

    /// Whether a local failure to send may be reported now (ten per second).
    pub fn may_tell_failed(&self, now: Time) -> bool {
        self.seldom().failed_told.every(now, Duration::from_millis(100))
    }
}

#[cfg(test)]
mod tests;
