//! Calls about the host as a whole, for privileged callers.

use crate::boundary::{reference, result, store, store_array};
use crate::handle::{shim_handle, surprise};
use crate::result::{Failure, SHIM_ERR_ARGUMENT, SHIM_ERR_INTERNAL, shim_result};
use crate::types::{address, shim_locator_info, shim_status};
use libc::{c_int, in6_addr};
use shim6::addr::Ulid;
use shim6::control::api::{ContextId, MAX_PAGE, PolicyAction, Request, Response};

/// shim_get_policy: a context is negotiated when traffic is worth it.
pub const SHIM_POLICY_SHIM: c_int = 0;
/// shim_get_policy: a context is negotiated at the first packet.
pub const SHIM_POLICY_IMMEDIATE: c_int = 1;
/// shim_get_policy: there is never a context, not even when the peer asks.
pub const SHIM_POLICY_NEVER: c_int = 2;

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

/// Lists the host's own locators, whatever their context. Of SHIM_FLAG_…, SHIM_FLAG_VERIFIED says that the locator is
/// offered to peers, and SHIM_FLAG_BROKEN that it was marked so; reachable is 1 if its link and route are there, 0 if not;
/// priority and weight are those that an administrator gave. *count says how many elements of `size` octets fit in the
/// array, and tells how many there are; SHIM_ERR_SIZE if they do not fit. The array may be NULL if *count is 0. Privileged
/// callers only.
///
/// # Safety
/// `handle` has to be NULL or from shim_open, `count` NULL or valid, `locators` NULL or with room as `count` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_list_locators(
    handle: *mut shim_handle,
    locators: *mut shim_locator_info,
    size: usize,
    count: *mut usize,
) -> shim_result {
    result(|| {
        // SAFETY: the caller's promise.
        let handle = unsafe { reference(handle) }?;
        // SAFETY: the caller's promise.
        unsafe { reference(count) }?;
        let list = match handle.call(Request::LocatorList { context: None }, None)? {
            Response::HostLocators { locators } => locators,
            other => return surprise(&other),
        };
        let list: Vec<_> = list.iter().map(shim_locator_info::of_host).collect();
        // SAFETY: the caller's promise.
        unsafe { store_array(locators, size, count, &list) }
    })
}

/// Tells what the host's policy says about a peer: sets *policy to SHIM_POLICY_…. Privileged callers only.
///
/// # Safety
/// `handle` has to be NULL or from shim_open, `peer` and `policy` NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_get_policy(
    handle: *mut shim_handle,
    peer: *const in6_addr,
    policy: *mut c_int,
) -> shim_result {
    result(|| {
        // SAFETY: the caller's promise, for all three.
        let (handle, peer) = unsafe {
            reference(policy)?;
            (reference(handle)?, address(reference(peer.cast_mut())?))
        };
        let known = match handle.call(Request::PolicyShow {}, None)? {
            Response::Policy { policy } => policy,
            other => return surprise(&other),
        };
        let action = known.action_for(Ulid(peer)).map_err(|rule| {
            Failure::new(SHIM_ERR_INTERNAL, format!("the daemon's rule {rule} is none"))
        })?;
        let code = match action {
            PolicyAction::Shim => SHIM_POLICY_SHIM,
            PolicyAction::Immediate => SHIM_POLICY_IMMEDIATE,
            PolicyAction::Never => SHIM_POLICY_NEVER,
        };
        // SAFETY: the caller's promise.
        unsafe { store(policy, code) }
    })
}
