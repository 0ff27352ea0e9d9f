//! What happens to the context of a socket, on a descriptor that poll(2) understands.

use crate::boundary::{answer, check_size, reference, result, store, store_sized};
use crate::handle::{connect, deadline_after, descriptor, shim_handle, surprise};
use crate::result::{
    Failure, SHIM_ERR_ARGUMENT, SHIM_ERR_BUSY, SHIM_ERR_FORKED, SHIM_ERR_TIMEOUT, shim_result,
};
use crate::types::{in6, reap, state};
use libc::{c_int, in6_addr};
use shim6::control::api::{Event, EventKind, Pair, Request, Response};
use shim6::control::client::Client;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Mutex, TryLockError};
use std::time::Duration;

/// shim_event.type: a context serves the socket from now on.
pub const SHIM_EVENT_ESTABLISHED: c_int = 1;
/// The negotiation failed; value is SHIM_STATE_E_FAILED or SHIM_STATE_NO_SUPPORT.
pub const SHIM_EVENT_ESTABLISH_FAILED: c_int = 2;
/// The context is gone. No events follow: subscribe again.
pub const SHIM_EVENT_DISCARDED: c_int = 3;
/// Exploration begins; the pair "from" was in use.
pub const SHIM_EVENT_EXPLORING: c_int = 4;
/// Packets go by the pair "to" instead of "from"; value is the milliseconds since exploration began.
pub const SHIM_EVENT_PATH_SWITCHED: c_int = 5;
/// Both directions work again, by the pair "to"; value is the milliseconds of silence.
pub const SHIM_EVENT_RECOVERED: c_int = 6;
/// All pairs were tried in vain; exploration goes on slowly. value is the milliseconds since it began.
pub const SHIM_EVENT_LOST: c_int = 7;
/// A test of the pair "to" is over; value is its round trip in microseconds, or -1 if it does not work.
pub const SHIM_EVENT_PATH_TESTED: c_int = 12;
/// A locator list changed; value is SHIM_SIDE_LOCAL or SHIM_SIDE_PEER.
pub const SHIM_EVENT_LOCATORS_CHANGED: c_int = 8;
/// The state of the context changed; value is the new SHIM_STATE_….
pub const SHIM_EVENT_STATE_CHANGED: c_int = 9;
/// The state of REAP changed; value is the new SHIM_REAP_….
pub const SHIM_EVENT_REAP_CHANGED: c_int = 10;
/// This program did not read fast enough; value is the number of events lost.
pub const SHIM_EVENT_EVENTS_LOST: c_int = 11;
/// An event of a newer daemon.
pub const SHIM_EVENT_OTHER: c_int = 99;

/// Something that happened. Addresses that an event has not are all zeros.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shim_event {
    /// SHIM_EVENT_….
    pub r#type: i32,
    /// 0.
    pub reserved: i32,
    /// Counts all events of the daemon.
    pub seq: u64,
    /// When: milliseconds of CLOCK_BOOTTIME.
    pub at_ms: u64,
    /// The daemon's number of the context.
    pub context: u64,
    /// What the type says.
    pub value: i64,
    /// Our locator before.
    pub from_local: in6_addr,
    /// The peer's locator before.
    pub from_peer: in6_addr,
    /// Our locator now.
    pub to_local: in6_addr,
    /// The peer's locator now.
    pub to_peer: in6_addr,
}

/// A subscription; opaque. From shim_subscribe, to shim_events_close.
#[derive(Debug)]
pub struct shim_events {
    pid: u32,
    fd: c_int,
    client: Mutex<Client>,
}

impl shim_event {
    fn of(event: &Event) -> shim_event {
        let none = in6(Ipv6Addr::UNSPECIFIED);
        let mut out = shim_event {
            r#type: SHIM_EVENT_OTHER,
            reserved: 0,
            seq: event.seq,
            at_ms: event.at_ms,
            context: event.context.map_or(0, |c| c.0),
            value: 0,
            from_local: none,
            from_peer: none,
            to_local: none,
            to_peer: none,
        };
        let ms = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        (out.r#type, out.value) = match &event.kind {
            EventKind::ContextEstablished { .. } => (SHIM_EVENT_ESTABLISHED, 0),
            EventKind::EstablishFailed { state: s, .. } => {
                (SHIM_EVENT_ESTABLISH_FAILED, state(Some(*s)).into())
            }
            EventKind::ContextDiscarded { .. } => (SHIM_EVENT_DISCARDED, 0),
            EventKind::Exploring { pair, .. } => {
                out.set_from(pair);
                (SHIM_EVENT_EXPLORING, 0)
            }
            EventKind::PathSwitched { from, to, after_ms } => {
                out.set_from(from);
                out.set_to(to);
                (SHIM_EVENT_PATH_SWITCHED, ms(*after_ms))
            }
            EventKind::PathTested { pair, reachable, rtt_us } => {
                out.set_to(pair);
                let rtt = rtt_us.filter(|_| *reachable);
                (SHIM_EVENT_PATH_TESTED, rtt.map_or(-1, ms))
            }
            EventKind::Recovered { pair, gap_ms } => {
                out.set_to(pair);
                (SHIM_EVENT_RECOVERED, ms(*gap_ms))
            }
            EventKind::Lost { after_ms } => (SHIM_EVENT_LOST, ms(*after_ms)),
            EventKind::LocatorsChanged { peer, .. } => {
                (SHIM_EVENT_LOCATORS_CHANGED, i64::from(*peer))
            }
            EventKind::StateChanged { to, .. } => {
                (SHIM_EVENT_STATE_CHANGED, state(Some(*to)).into())
            }
            EventKind::ReapStateChanged { to, .. } => {
                (SHIM_EVENT_REAP_CHANGED, reap(Some(*to)).into())
            }
            EventKind::EventsLost { count } => (SHIM_EVENT_EVENTS_LOST, ms(*count)),
            EventKind::ProbeSent { .. }
            | EventKind::ProbeAnswered { .. }
            | EventKind::RulesReinstalled { .. }
            | EventKind::AddressAdded { .. }
            | EventKind::AddressRemoved { .. }
            | EventKind::Reloaded {}
            | EventKind::Stopping {}
            | EventKind::Unknown => (SHIM_EVENT_OTHER, 0),
        };
        out
    }

    fn set_from(&mut self, pair: &Pair) {
        (self.from_local, self.from_peer) = (in6(pair.local.0), in6(pair.peer.0));
    }

    fn set_to(&mut self, pair: &Pair) {
        (self.to_local, self.to_peer) = (in6(pair.local.0), in6(pair.peer.0));
    }
}

/// Subscribes to the events of the socket's context, on a connection of their own. Without a context, they begin with that
/// of the next one between the same ULIDs. On success *events is to be given to shim_events_close; on failure it is
/// NULL. The socket may be closed meanwhile.
///
/// # Safety
/// `handle` has to be NULL or from shim_open, `events` NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_subscribe(
    handle: *mut shim_handle,
    fd: c_int,
    events: *mut *mut shim_events,
) -> shim_result {
    result(|| {
        // SAFETY: the caller's promise.
        let handle = unsafe { reference(handle) }?;
        // SAFETY: the caller's promise.
        unsafe { store(events, std::ptr::null_mut()) }?;
        let passed = descriptor(fd)?;
        let deadline = deadline_after(handle.timeout());
        let mut client = connect(handle.path(), deadline)?;
        let left = deadline.saturating_duration_since(crate::handle::now());
        let request = Request::SocketSubscribe { events: Vec::new() };
        // SAFETY: the caller keeps the descriptor open during the call.
        let passed = passed.map(|fd| unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) });
        match client.call_with(request, passed, left)? {
            Response::Socket { .. } => {}
            other => return surprise(&other),
        }
        let fd = client.as_fd().as_raw_fd();
        let made = shim_events { pid: std::process::id(), fd, client: Mutex::new(client) };
        // SAFETY: the caller's promise.
        unsafe { store(events, Box::into_raw(Box::new(made))) }
    })
}

/// The descriptor to wait on with poll(2): readable when shim_events_next has something to tell. It stays the library's:
/// not to be read, written or closed. -1 if events is NULL.
///
/// # Safety
/// `events` has to be NULL or from shim_subscribe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_events_fd(events: *const shim_events) -> c_int {
    // SAFETY: the caller's promise.
    answer(-1, || unsafe { events.as_ref() }.map_or(-1, |e| e.fd))
}

/// The next event; waits for it at most timeout_ms milliseconds (0: not at all), then SHIM_ERR_TIMEOUT. `size` is
/// sizeof(struct shim_event). SHIM_ERR_CLOSED when the daemon has ended; SHIM_ERR_BUSY while another thread waits.
///
/// # Safety
/// `events` has to be NULL or from shim_subscribe, `event` NULL or with room for `size` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_events_next(
    events: *mut shim_events,
    timeout_ms: c_int,
    event: *mut shim_event,
    size: usize,
) -> shim_result {
    result(|| {
        // SAFETY: the caller's promise.
        let events = unsafe { reference(events.cast_const()) }?;
        if event.is_null() {
            return Err(crate::result::SHIM_ERR_NULL.into());
        }
        check_size::<shim_event>(size)?;
        if events.pid != std::process::id() {
            return Err(SHIM_ERR_FORKED.into());
        }
        let ms = u64::try_from(timeout_ms)
            .map_err(|_| Failure::new(SHIM_ERR_ARGUMENT, "a time limit is not negative"))?;
        let mut client = match events.client.try_lock() {
            Ok(client) => client,
            Err(TryLockError::Poisoned(client)) => client.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(SHIM_ERR_BUSY.into()),
        };
        match client.next_event(Some(Duration::from_millis(ms)))? {
            // SAFETY: the caller's promise.
            Some(next) => unsafe { store_sized(event, size, shim_event::of(&next)) },
            None => Err(SHIM_ERR_TIMEOUT.into()),
        }
    })
}

/// Ends a subscription. No other thread may be using it. NULL is nothing to do.
///
/// # Safety
/// `events` has to be NULL or from shim_subscribe, and not closed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_events_close(events: *mut shim_events) {
    answer((), || {
        if !events.is_null() {
            // SAFETY: from Box::into_raw in shim_subscribe, by the caller's promise.
            drop(unsafe { Box::from_raw(events) });
        }
    });
}
