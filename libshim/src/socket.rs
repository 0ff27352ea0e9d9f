//! Calls about one socket. The descriptor itself is passed to the daemon: holding it is the right to ask.

use crate::boundary::{reference, result, store, store_array, store_sized};
use crate::handle::{descriptor, shim_handle, surprise};
use crate::result::{Failure, SHIM_ERR_ARGUMENT, shim_result};
use crate::rfc6316::{
    SHIM_FEEDBACK_INBOUND, SHIM_FEEDBACK_NONE, SHIM_FEEDBACK_OUTBOUND, SHIM_FEEDBACK_SATISFACTORY,
    SHIM_FEEDBACK_UNABLE, SHIM_FEEDBACK_UNSATISFACTORY, shim_feedback,
};
use crate::types::{locator, serves, shim_locator_info, shim_status};
use libc::{c_int, in6_addr};
use shim6::addr::Locator;
use shim6::control::api::{
    Direction, Keep, LocatorInfo, Pair, Request, Response, Satisfaction, SocketChanges, SocketInfo,
};

/// shim_get_locators: Ls(local).
pub const SHIM_SIDE_LOCAL: c_int = 0;
/// shim_get_locators: Ls(peer).
pub const SHIM_SIDE_PEER: c_int = 1;

/// Outcome of shim_test_pair: the pair does not work.
pub const SHIM_UNREACHABLE: c_int = 0;
/// Outcome of shim_test_pair: the pair works.
pub const SHIM_REACHABLE: c_int = 1;

/// shim_switch_pair: until something speaks for another pair.
pub const SHIM_KEEP_NO: c_int = 0;
/// shim_switch_pair: until the pair fails; exploration then takes it before others if it works again.
pub const SHIM_KEEP_PREFER: c_int = 1;
/// shim_switch_pair: whenever the pair works; shim_pin_pair with NULL ends it.
pub const SHIM_KEEP_PIN: c_int = 2;

/// What the daemon says about a socket.
pub fn info(handle: &shim_handle, fd: c_int) -> Result<SocketInfo, Failure> {
    match handle.call(Request::SocketStatus {}, descriptor(fd)?)? {
        Response::Socket { socket } => Ok(*socket),
        other => surprise(&other),
    }
}

/// Both locator lists of a socket's context.
pub fn lists(
    handle: &shim_handle,
    fd: c_int,
) -> Result<(Vec<LocatorInfo>, Vec<LocatorInfo>), Failure> {
    match handle.call(Request::SocketLocators {}, descriptor(fd)?)? {
        Response::ContextLocators { local, peer, .. } => Ok((local, peer)),
        other => surprise(&other),
    }
}

/// Changes settings of a socket.
pub fn configure(handle: &shim_handle, fd: c_int, changes: SocketChanges) -> Result<(), Failure> {
    match handle.call(Request::SocketConfigure { changes }, descriptor(fd)?)? {
        Response::Done {} => Ok(()),
        other => surprise(&other),
    }
}

/// A request that starts something.
fn start(handle: &shim_handle, fd: c_int, request: Request) -> Result<(), Failure> {
    match handle.call(request, descriptor(fd)?)? {
        Response::Accepted { .. } => Ok(()),
        other => surprise(&other),
    }
}

/// Asks for multihoming support now, not when the heuristic of the host says so. Returns when the negotiation has
/// begun; an event, or shim_get_status, tells when there is a context.
///
/// # Safety
/// `handle` has to be NULL or from shim_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_set(handle: *mut shim_handle, fd: c_int) -> shim_result {
    result(|| {
        // SAFETY: the caller's promise.
        start(unsafe { reference(handle) }?, fd, Request::SocketSet {})
    })
}

/// Keeps the shim off the socket: its packets pass untouched and are no reason to negotiate. To be called before the
/// socket is connected, else SHIM_ERR_NOT_POSSIBLE.
///
/// # Safety
/// `handle` has to be NULL or from shim_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_unset(handle: *mut shim_handle, fd: c_int) -> shim_result {
    result(|| {
        let changes = SocketChanges { dont_shim: Some(true), ..SocketChanges::default() };
        // SAFETY: the caller's promise.
        configure(unsafe { reference(handle) }?, fd, changes)
    })
}

/// Sets *associated to 1 if a context serves the socket, else to 0.
///
/// # Safety
/// `handle` has to be NULL or from shim_open, `associated` NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_is_associated(
    handle: *mut shim_handle,
    fd: c_int,
    associated: *mut c_int,
) -> shim_result {
    result(|| {
        // SAFETY: the caller's promise.
        let handle = unsafe { reference(handle) }?;
        // SAFETY: the caller's promise.
        unsafe { store(associated, 0) }?;
        let info = info(handle, fd)?;
        let yes = info.context.is_some_and(|c| serves(c.state));
        // SAFETY: the caller's promise.
        unsafe { store(associated, yes.into()) }
    })
}

/// Fills in what is known about the socket and its context. `size` is sizeof(struct shim_status).
///
/// # Safety
/// `handle` has to be NULL or from shim_open, `status` NULL or with room for `size` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_get_status(
    handle: *mut shim_handle,
    fd: c_int,
    status: *mut shim_status,
    size: usize,
) -> shim_result {
    result(|| {
        // SAFETY: the caller's promise.
        let info = info(unsafe { reference(handle) }?, fd)?;
        // SAFETY: the caller's promise.
        unsafe { store_sized(status, size, shim_status::of_socket(&info)) }
    })
}

/// Lists the locators of one side (SHIM_SIDE_LOCAL, SHIM_SIDE_PEER). *count says how many elements of `size` octets fit
/// in the array, and tells how many there are; SHIM_ERR_SIZE if they do not fit. The array may be NULL if *count is 0.
///
/// # Safety
/// `handle` has to be NULL or from shim_open, `count` NULL or valid, `locators` NULL or with room as `count` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_get_locators(
    handle: *mut shim_handle,
    fd: c_int,
    side: c_int,
    locators: *mut shim_locator_info,
    size: usize,
    count: *mut usize,
) -> shim_result {
    result(|| {
        // SAFETY: the caller's promise.
        let handle = unsafe { reference(handle) }?;
        // SAFETY: the caller's promise.
        unsafe { reference(count) }?;
        let (local, peer) = match side {
            SHIM_SIDE_LOCAL | SHIM_SIDE_PEER => lists(handle, fd)?,
            _ => return Err(Failure::new(SHIM_ERR_ARGUMENT, "no such side")),
        };
        let list = if side == SHIM_SIDE_LOCAL { local } else { peer };
        let list: Vec<_> = list.iter().map(shim_locator_info::of).collect();
        // SAFETY: the caller's promise.
        unsafe { store_array(locators, size, count, &list) }
    })
}

/// Sends probes on one pair of locators of the socket's context, which changes nothing else. Waits for the outcome: with
/// default timers at most about three seconds, and no longer than the time limit of the handle. Sets *outcome to
/// SHIM_REACHABLE or SHIM_UNREACHABLE and, unless rtt_us is NULL, *rtt_us to the round trip in microseconds or -1.
///
/// # Safety
/// `handle` has to be NULL or from shim_open, the other pointers NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_test_pair(
    handle: *mut shim_handle,
    fd: c_int,
    local: *const in6_addr,
    peer: *const in6_addr,
    outcome: *mut c_int,
    rtt_us: *mut i64,
) -> shim_result {
    result(|| {
        // SAFETY: the caller's promise, for all three.
        let (handle, local, peer) =
            unsafe { (reference(handle)?, reference(local)?, reference(peer)?) };
        // SAFETY: the caller's promise.
        unsafe { store(outcome, SHIM_UNREACHABLE) }?;
        let pair = Pair { local: locator(local), peer: locator(peer) };
        let (reachable, rtt) = match handle.call(Request::SocketTest { pair }, descriptor(fd)?)? {
            Response::PathTested { reachable, rtt_us, .. } => (reachable, rtt_us),
            other => return surprise(&other),
        };
        if !rtt_us.is_null() {
            let rtt = rtt.map_or(-1, |us| i64::try_from(us).unwrap_or(i64::MAX));
            // SAFETY: the caller's promise.
            unsafe { store(rtt_us, rtt) }?;
        }
        // SAFETY: the caller's promise.
        unsafe { store(outcome, if reachable { SHIM_REACHABLE } else { SHIM_UNREACHABLE }) }
    })
}

/// Makes REAP explore the pairs of the socket's context now. Returns when it has begun; events tell how it goes. A context
/// that serves sockets of other users, too, can be steered by root and the control group only: SHIM_ERR_PERMISSION.
///
/// # Safety
/// `handle` has to be NULL or from shim_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_explore(handle: *mut shim_handle, fd: c_int) -> shim_result {
    result(|| {
        // SAFETY: the caller's promise.
        start(unsafe { reference(handle) }?, fd, Request::SocketExplore {})
    })
}

/// Gives the socket a context of its own, so that it can be steered without the other flows between the same hosts.
/// Returns when the negotiation has begun: an event, or shim_get_status, tells when it serves the socket; until then the
/// common context does. It ends with the socket.
///
/// # Safety
/// `handle` has to be NULL or from shim_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_fork_context(handle: *mut shim_handle, fd: c_int) -> shim_result {
    result(|| {
        // SAFETY: the caller's promise.
        start(unsafe { reference(handle) }?, fd, Request::SocketFork {})
    })
}

/// Sends by this pair of the socket's context from now on; `keep` is SHIM_KEEP_…. A pair that did not answer lately is
/// tested first, so the call waits as shim_test_pair does; SHIM_ERR_UNREACHABLE_LOCATOR if it does not answer, and nothing
/// has changed. The peer chooses its own pair. To be had as shim_explore is.
///
/// # Safety
/// `handle` has to be NULL or from shim_open, the addresses NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_switch_pair(
    handle: *mut shim_handle,
    fd: c_int,
    local: *const in6_addr,
    peer: *const in6_addr,
    keep: c_int,
) -> shim_result {
    result(|| {
        // SAFETY: the caller's promise, for all three.
        let (handle, local, peer) =
            unsafe { (reference(handle)?, reference(local)?, reference(peer)?) };
        let keep = match keep {
            SHIM_KEEP_NO => Keep::No,
            SHIM_KEEP_PREFER => Keep::Prefer,
            SHIM_KEEP_PIN => Keep::Pin,
            _ => return Err(Failure::new(SHIM_ERR_ARGUMENT, "keep is SHIM_KEEP_…")),
        };
        let pair = Pair { local: locator(local), peer: locator(peer) };
        match handle.call(Request::SocketSwitch { pair, keep }, descriptor(fd)?)? {
            Response::PathInUse { .. } => Ok(()),
            other => surprise(&other),
        }
    })
}

/// Has the socket use these locators whenever they work, as soon as they have answered a test. Either address may be
/// NULL: the daemon is free to choose that side (again). If other sockets use the context, too, the socket gets one of its
/// own.
///
/// # Safety
/// `handle` has to be NULL or from shim_open, the addresses NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_pin_pair(
    handle: *mut shim_handle,
    fd: c_int,
    local: *const in6_addr,
    peer: *const in6_addr,
) -> shim_result {
    result(|| {
        let any = Locator(std::net::Ipv6Addr::UNSPECIFIED);
        // SAFETY: the caller's promise.
        let (local, peer) = unsafe { (local.as_ref(), peer.as_ref()) };
        let changes = SocketChanges {
            source: Some(local.map_or(any, locator)),
            destination: Some(peer.map_or(any, locator)),
            ..SocketChanges::default()
        };
        // SAFETY: the caller's promise.
        configure(unsafe { reference(handle) }?, fd, changes)
    })
}

/// Keeps an alternative pair tested (on is not 0), or no longer.
///
/// # Safety
/// `handle` has to be NULL or from shim_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_set_hot_standby(
    handle: *mut shim_handle,
    fd: c_int,
    on: c_int,
) -> shim_result {
    result(|| {
        let changes = SocketChanges { hot_standby: Some(on != 0), ..SocketChanges::default() };
        // SAFETY: the caller's promise.
        configure(unsafe { reference(handle) }?, fd, changes)
    })
}

/// Sets the time without any answer after which the path counts as failed: 2 to 65535 seconds, or 0 for the default.
///
/// # Safety
/// `handle` has to be NULL or from shim_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_set_send_timeout(
    handle: *mut shim_handle,
    fd: c_int,
    seconds: u32,
) -> shim_result {
    result(|| {
        let send_timeout_secs = Some(seconds);
        let changes = SocketChanges { send_timeout_secs, ..SocketChanges::default() };
        // SAFETY: the caller's promise.
        configure(unsafe { reference(handle) }?, fd, changes)
    })
}

/// Tells how content the application is with the path in use. Discontent makes the daemon test it.
///
/// # Safety
/// `handle` has to be NULL or from shim_open, `feedback` NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_give_feedback(
    handle: *mut shim_handle,
    fd: c_int,
    feedback: *const shim_feedback,
) -> shim_result {
    result(|| {
        // SAFETY: the caller's promise, for both.
        let (handle, told) = unsafe { (reference(handle)?, reference(feedback)?) };
        self::feedback(handle, fd, told)
    })
}

/// Tells the daemon how content the application is.
///
/// # Errors
/// SHIM_ERR_ARGUMENT for values without meaning, and what the daemon refuses.
// req: AP-8.3-02, AP-8.3-03
pub fn feedback(handle: &shim_handle, fd: c_int, feedback: &shim_feedback) -> Result<(), Failure> {
    let direction = match feedback.fb_direction {
        SHIM_FEEDBACK_OUTBOUND => Direction::Outbound,
        SHIM_FEEDBACK_INBOUND => Direction::Inbound,
        _ => return Err(Failure::new(SHIM_ERR_ARGUMENT, "no such direction")),
    };
    let satisfaction = match feedback.fb_indicator {
        SHIM_FEEDBACK_NONE => return Ok(()),
        SHIM_FEEDBACK_UNABLE => Satisfaction::Unreachable,
        SHIM_FEEDBACK_UNSATISFACTORY => Satisfaction::Unsatisfactory,
        SHIM_FEEDBACK_SATISFACTORY => Satisfaction::Satisfactory,
        _ => return Err(Failure::new(SHIM_ERR_ARGUMENT, "no such indicator")),
    };
    let request = Request::SocketFeedback { direction, satisfaction };
    match handle.call(request, descriptor(fd)?)? {
        Response::Done {} => Ok(()),
        other => surprise(&other),
    }
}
