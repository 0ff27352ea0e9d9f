//! Closing what clients have passed, off the loop that serves everybody.
//!
//! Closing waits for as long as the owner likes: a socket with SO_LINGER for its peer, a file for the file system in
//! user space that it lies in. Descriptors are closed when the last one of a file is, by whoever does that, and a
//! connection takes along those in the packets that nobody has read. So both are handed to threads when they are
//! dropped, wherever that is, and nothing is ever closed where it was dropped.
//!
//! Sockets wait only for as long as no signal comes, so their threads give themselves one (see [`Ticks`]): they are
//! never stuck. Other descriptors may stick for ever. They have threads of their own, of which one user gets only a few,
//! and a user with too many descriptors that are not closed yet is not read from any more.
#![allow(unsafe_code)]

use super::link::Peer;
use super::ticks::Ticks;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{getsockopt, sockopt};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Descriptors that one packet can bring (SCM_MAX_FD).
const PER_PACKET: usize = crate::control::seqpacket::MAX_DESCRIPTORS;
/// Passed descriptors at a time, if the limit of the process is that high; otherwise half of that.
pub(super) const MOST: usize = 4096;
/// Of those, kept for root and the control group: what one packet brings.
const RESERVED: usize = PER_PACKET;
/// Connections that wait to be closed while others are taken.
const ENDS: usize = 128;
/// How long a thread waits for more to close.
const IDLE: Duration = Duration::from_secs(1);
/// Whoever waits for room looks again after so long, also if nobody tells.
const LOOK: Duration = Duration::from_millis(100);

/// On whose account something is closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Owner {
    /// Whether it is root or a member of the control group.
    pub(super) privileged: bool,
    /// The user.
    pub(super) uid: u32,
}

impl Owner {
    /// Somebody of whom nothing is known yet.
    pub(super) const UNKNOWN: Owner = Owner { privileged: false, uid: u32::MAX };
    /// Ourselves.
    pub(super) const DAEMON: Owner = Owner { privileged: true, uid: 0 };
}

impl From<&Peer> for Owner {
    fn from(peer: &Peer) -> Owner {
        Owner { privileged: peer.privileged, uid: peer.uid }
    }
}

/// What is closed, by how long that may take.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    /// Sockets, ours and others: until the next tick.
    Socket,
    /// Anything else: for ever.
    File,
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::Socket, Kind::File];

    /// Threads at a time.
    const fn threads(self) -> usize {
        match self {
            Kind::Socket => 8,
            Kind::File => 32,
        }
    }

    /// Of those, for all owners without privileges.
    const fn for_all(self) -> usize {
        match self {
            Kind::Socket => 6,
            Kind::File => 24,
        }
    }

    /// Of those, for one owner.
    const fn for_one(self) -> usize {
        match self {
            Kind::Socket => 3,
            Kind::File => 2,
        }
    }
}

/// A descriptor on its way to a thread.
#[derive(Debug)]
struct Job {
    fd: OwnedFd,
    /// Whether it is one end of a connection, not a passed descriptor.
    end: bool,
}

/// What one owner has to be closed.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Job>,
    /// Threads at work on it.
    busy: usize,
}

#[derive(Debug, Default)]
struct Crew {
    threads: usize,
    idle: usize,
    /// Threads at work for owners without privileges.
    unprivileged: usize,
    /// Whose turn it was last.
    last: Option<Owner>,
    lanes: BTreeMap<Owner, Lane>,
}

impl Crew {
    /// The owner whose turn it is.
    fn turn(&self, kind: Kind) -> Option<Owner> {
        let ready = |(owner, lane): (&Owner, &Lane)| {
            let room = owner.privileged || self.unprivileged < kind.for_all();
            (room && !lane.waiting.is_empty() && lane.busy < kind.for_one()).then_some(*owner)
        };
        let after = |owner: &Owner| self.last.is_none_or(|last| *owner > last);
        let later = self.lanes.iter().filter(|(owner, _)| after(owner)).find_map(ready);
        later.or_else(|| self.lanes.iter().find_map(ready))
    }

    fn next(&mut self, kind: Kind) -> Option<(Owner, Job)> {
        let owner = self.turn(kind)?;
        let lane = self.lanes.get_mut(&owner)?;
        let job = lane.waiting.pop_front()?;
        lane.busy += 1;
        self.unprivileged += usize::from(!owner.privileged);
        self.last = Some(owner);
        Some((owner, job))
    }

    fn done(&mut self, owner: Owner) {
        self.unprivileged -= usize::from(!owner.privileged);
        if let Some(lane) = self.lanes.get_mut(&owner) {
            lane.busy -= 1;
            if lane.busy == 0 && lane.waiting.is_empty() {
                self.lanes.remove(&owner);
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    crews: [Crew; 2],
    /// Passed descriptors that are not closed yet, in use or not.
    held: BTreeMap<Owner, usize>,
    /// All of them.
    total: usize,
    /// Ends of connections that wait to be closed.
    ends: usize,
}

/// Closes descriptors. Threads come and go with the work.
pub(super) struct Closers {
    /// Passed descriptors of all owners.
    most: usize,
    /// Of one owner without privileges, before nothing more is read from him.
    per_user: usize,
    state: Mutex<State>,
    /// There is work for a crew.
    work: [Condvar; 2],
    /// There may be room again.
    freed: Notify,
    close: fn(OwnedFd),
}

impl fmt::Debug for Closers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closers").field("most", &self.most).finish_non_exhaustive()
    }
}

impl Closers {
    /// With room for `per_user` descriptors of one user.
    pub(super) fn new(per_user: usize) -> Arc<Closers> {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(now, _)| now);
        let half = usize::try_from(limit / 2).unwrap_or(usize::MAX);
        Closers::with(per_user, half.min(MOST), drop)
    }

    fn with(per_user: usize, most: usize, close: fn(OwnedFd)) -> Arc<Closers> {
        Arc::new(Closers {
            most,
            per_user,
            state: Mutex::default(),
            work: Default::default(),
            freed: Notify::new(),
            close,
        })
    }

    /// Takes charge of a descriptor that somebody has passed.
    pub(super) fn passed(self: &Arc<Closers>, owner: Owner, fd: OwnedFd) -> Passed {
        let mut state = self.lock();
        *state.held.entry(owner).or_default() += 1;
        state.total += 1;
        drop(state);
        Handed { inner: ManuallyDrop::new(fd), end: false, owner, closers: self.clone() }
    }

    /// Takes charge of a socket of ours.
    pub(super) fn end<T: Into<OwnedFd>>(self: &Arc<Closers>, owner: Owner, socket: T) -> Handed<T> {
        Handed { inner: ManuallyDrop::new(socket), end: true, owner, closers: self.clone() }
    }

    /// Whether one more packet of this owner can be read, with all that it may bring.
    pub(super) fn has_room(&self, owner: Owner) -> bool {
        let state = self.lock();
        let reserved = if owner.privileged { 0 } else { RESERVED };
        let fits = state.total == 0 || state.total + PER_PACKET + reserved <= self.most;
        let mine = state.held.get(&owner).copied().unwrap_or(0);
        fits && (owner.privileged || mine < self.per_user)
    }

    /// Waits until one more packet of this owner can be read.
    pub(super) async fn room(self: &Arc<Closers>, owner: Owner) {
        self.until(|| self.has_room(owner)).await;
    }

    /// Waits until few enough of our own sockets wait to be closed.
    pub(super) async fn room_for_ends(self: &Arc<Closers>) {
        self.until(|| self.lock().ends < ENDS).await;
    }

    async fn until(self: &Arc<Closers>, ready: impl Fn() -> bool) {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if ready() {
                return;
            }
            let _ = tokio::time::timeout(LOOK, freed).await;
            // For the case that there was no thread to be had when there was work.
            let mut state = self.lock();
            Kind::ALL.into_iter().for_each(|kind| self.rally(&mut state, kind));
        }
    }

    fn take(self: &Arc<Closers>, owner: Owner, job: Job) {
        let kind = match job.end || getsockopt(&job.fd, sockopt::SockType).is_ok() {
            true => Kind::Socket,
            false => Kind::File,
        };
        let mut state = self.lock();
        state.ends += usize::from(job.end);
        if let Some(crew) = state.crews.get_mut(kind as usize) {
            crew.lanes.entry(owner).or_default().waiting.push_back(job);
        }
        self.rally(&mut state, kind);
    }

    /// Sees to it that somebody does what can be done now.
    fn rally(self: &Arc<Closers>, state: &mut State, kind: Kind) {
        let (Some(crew), Some(work)) =
            (state.crews.get_mut(kind as usize), self.work.get(kind as usize))
        else {
            return;
        };
        if crew.turn(kind).is_none() {
            return;
        }
        if crew.idle > 0 {
            work.notify_one();
        } else if crew.threads < kind.threads() {
            static NO_THREAD: Once = Once::new();
            let closers = self.clone();
            let thread = std::thread::Builder::new().name("shim6d-close".to_owned());
            match thread.stack_size(128 << 10).spawn(move || closers.work(kind)) {
                Ok(_) => crew.threads += 1,
                Err(e) => NO_THREAD.call_once(|| log::error!("control: no thread to close: {e}")),
            }
        }
    }

    /// One thread.
    fn work(self: Arc<Closers>, kind: Kind) {
        let ticks = (kind == Kind::Socket).then(Ticks::new).and_then(|ticks| {
            ticks.inspect_err(|e| log::warn!("control: closing takes its time: {e}")).ok()
        });
        let (at, Some(work)) = (kind as usize, self.work.get(kind as usize)) else { return };
        let mut state = self.lock();
        loop {
            let Some(crew) = state.crews.get_mut(at) else { return };
            let Some((owner, job)) = crew.next(kind) else {
                crew.idle += 1;
                let (woken, timeout) =
                    work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
                state = woken;
                let Some(crew) = state.crews.get_mut(at) else { return };
                crew.idle -= 1;
                if timeout.timed_out() && crew.turn(kind).is_none() {
                    crew.threads -= 1;
                    return;
                }
                continue;
            };
            // This one may take long: somebody else looks after the next.
            self.rally(&mut state, kind);
            drop(state);
            let (end, close) = (job.end, || (self.close)(job.fd));
            match &ticks {
                Some(ticks) => ticks.during(close),
                None => close(),
            }
            state = self.lock();
            if let Some(crew) = state.crews.get_mut(at) {
                crew.done(owner);
            }
            if self.closed(&mut state, owner, end) {
                self.freed.notify_waiters();
            }
        }
    }

    /// Settles the accounts; says whether somebody may wait for this. Those who wait look again anyway, so that not
    /// everybody has to be woken by each.
    fn closed(&self, state: &mut State, owner: Owner, end: bool) -> bool {
        if end {
            state.ends -= 1;
            return state.ends.is_multiple_of(ENDS / 4);
        }
        state.total -= 1;
        let Some(mine) = state.held.get_mut(&owner) else { return false };
        *mine -= 1;
        let mine = *mine;
        if mine == 0 {
            state.held.remove(&owner);
        }
        mine == self.per_user / 2 || state.total.is_multiple_of(RESERVED)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passed descriptors that are not closed yet.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.lock().total
    }
}

impl Drop for Closers {
    fn drop(&mut self) {
        // Only if there were no threads to be had. They are closed with the process.
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        for lane in state.crews.iter_mut().flat_map(|crew| crew.lanes.values_mut()) {
            lane.waiting.drain(..).for_each(std::mem::forget);
        }
    }
}

/// Something with a descriptor that is closed by another thread when this is dropped.
#[derive(Debug)]
pub struct Handed<T: Into<OwnedFd>> {
    inner: ManuallyDrop<T>,
    end: bool,
    owner: Owner,
    closers: Arc<Closers>,
}

/// A descriptor that a client has passed.
pub type Passed = Handed<OwnedFd>;

impl<T: Into<OwnedFd>> Handed<T> {
    /// Says on whose account it is closed. Only for ends, which are not counted by owner.
    pub(super) fn belongs_to(&mut self, owner: Owner) {
        self.owner = owner;
    }
}

impl<T: Into<OwnedFd>> Deref for Handed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: Into<OwnedFd> + AsFd> AsFd for Handed<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<T: Into<OwnedFd> + AsRawFd> AsRawFd for Handed<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

impl<T: Into<OwnedFd>> Drop for Handed<T> {
    fn drop(&mut self) {
        // SAFETY: `inner` is taken nowhere else, and nobody can use it after this.
        let inner = unsafe { ManuallyDrop::take(&mut self.inner) };
        self.closers.take(self.owner, Job { fd: inner.into(), end: self.end });
    }
}

#[cfg(test)]
mod tests;
