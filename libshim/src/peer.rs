//! Calls about a peer.

use crate::boundary::{reference, result, store};
use crate::handle::{shim_handle, surprise};
use crate::result::{Failure, SHIM_ERR_ARGUMENT, shim_result};
use crate::types::address;
use libc::{c_char, c_int, in6_addr};
use shim6::addr::Ulid;
use shim6::control::api::{MAX_WAIT_MS, Request, Response, Support};
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

/// The version of this library, "0.1.0". Static: not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn shim_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
