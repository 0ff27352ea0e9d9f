//! Calls about a peer, and, for privileged callers, about the host as a whole.

use crate::boundary::{reference, result, store, store_array};
use crate::handle::{shim_handle, surprise};
use crate::result::{Failure, SHIM_ERR_ARGUMENT, shim_result};
use crate::types::{address, shim_status};
use libc::{c_char, c_int, in6_addr};
use shim6::addr::Ulid;
use shim6::control::api::{ContextId, MAX_PAGE, MAX_WAIT_MS, Request, Response, Support};
use std::time::Duration;

/// shim_check_peer: the host's kernel refuses Shim6.
pub const SHIM_SUPPORT_NO: c_int = 0;
/// shim_check_peer: the host knows Shim6, there is a context.
pub const SHIM_SUPPORT_YES: c_int = 1;
/// shim_check_peer: it did not answer (in time).
pub const SHIM_SUPPORT_UNKNOWN: c_int = 2;

/// Finds out whether a host supports Shim6, by negotiating a context with it if there is none. The host is the one that
/// the socket fd is connected to; privileged callers may pass -1 as fd and name it by its address, which is NULL
/// otherwise. Waits at most wait_ms milliseconds (1 to 60000), whatever the time limit of the handle is, and sets
/// *support to SHIM_SUPPORT_….
///
/// # Safety
/// `handle` has to be NULL or from shim_open, `peer` NULL or valid, `support` NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_check_peer(
    handle: *mut shim_handle,
    fd: c_int,
    peer: *const in6_addr,
    wait_ms: c_int,
    support: *mut c_int,
) -> shim_result {
    result(|| {
        // SAFETY: the caller's promise.
        let (handle, peer) = unsafe { (reference(handle)?, peer.as_ref()) };
        // SAFETY: the caller's promise.
        unsafe { store(support, SHIM_SUPPORT_UNKNOWN) }?;
        let wait = u32::try_from(wait_ms).ok().filter(|ms| (1..=MAX_WAIT_MS).contains(ms));
        let wait = wait.ok_or_else(|| Failure::new(SHIM_ERR_ARGUMENT, "wait_ms out of range"))?;
        let fd = match (fd, peer) {
            (-1, Some(_)) => None,
            (0.., None) => Some(fd),
            _ => return Err(Failure::new(SHIM_ERR_ARGUMENT, "either a socket or an address")),
        };
        let peer = peer.map(|p| Ulid(address(p)));
        // The daemon's last word has to arrive within our time.
        let request = Request::PeerCheck { peer, wait_ms: Some(wait - wait / 10) };
        let within = Duration::from_millis(wait.into());
        let answer = match handle.call_within(request, fd, within)? {
            Response::PeerSupport { support, .. } => support,
            other => return surprise(&other),
        };
        let code = match answer {
            Support::Yes => SHIM_SUPPORT_YES,
            Support::No => SHIM_SUPPORT_NO,
            Support::Unknown => SHIM_SUPPORT_UNKNOWN,
        };
        // SAFETY: the caller's promise.
        unsafe { store(support, code) }
    })
}

/// Lists the contexts of the host with numbers above *after, in order, as many as fit: *count says how many elements of
/// `size` octets (sizeof(struct shim_status)) the array has room for, and tells how many were filled in; *after moves to
/// the last of them. The end is reached when *count comes back as 0. Privileged callers only.
///
/// # Safety
/// `handle` has to be NULL or from shim_open, `after` and `count` NULL or valid, `contexts` NULL or with room as `count`
/// says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_list_contexts(
    handle: *mut shim_handle,
    after: *mut u64,
    contexts: *mut shim_status,
    size: usize,
    count: *mut usize,
) -> shim_result {
    result(|| {
        // SAFETY: the caller's promise, for all three.
        let (handle, from, room) =
            unsafe { (reference(handle)?, *reference(after)?, *reference(count)?) };
        let limit = u32::try_from(room).unwrap_or(MAX_PAGE).min(MAX_PAGE);
        if limit == 0 {
            return Err(Failure::new(SHIM_ERR_ARGUMENT, "room for no context at all"));
        }
        let request = Request::ContextList { after: Some(ContextId(from)), limit: Some(limit) };
        let page = match handle.call(request, None)? {
            Response::Contexts { contexts, .. } => contexts,
            other => return surprise(&other),
        };
        let list: Vec<_> = page.iter().map(shim_status::of_context).collect();
        // SAFETY: the caller's promise.
        unsafe { store_array(contexts, size, count, &list) }?;
        // SAFETY: the caller's promise.
        unsafe { store(after, page.last().map_or(from, |c| c.id.0)) }
    })
}

/// The version of this library, "0.1.0". Static: not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn shim_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
