//! The connection to the daemon, as many threads and processes may have to share it.
//!
//! One call at a time uses the connection; others wait for it within their own time limit. After fork the child makes
//! a connection of its own: the parent's may be in the middle of a packet. When the daemon was restarted, a call
//! connects again and is repeated once; all requests may be repeated.

use crate::boundary::{reference, result, store};
use crate::result::{Failure, SHIM_ERR_ARGUMENT, SHIM_ERR_TIMEOUT, shim_result};
use libc::{c_char, c_int};
use shim6::control::api::{Request, Response};
use shim6::control::client::{Client, ClientError, socket_path, unexpected};
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// Time limit of a call in milliseconds if the caller gives none.
pub const SHIM_DEFAULT_TIMEOUT_MS: c_int = 5000;

/// A connection to the daemon; opaque. From shim_open, to shim_close.
#[derive(Debug)]
pub struct shim_handle {
    path: PathBuf,
    timeout_ms: AtomicU32,
    /// Never NULL; replaced in a child process.
    slot: AtomicPtr<Slot>,
}

/// What one process has of a handle.
#[derive(Debug)]
struct Slot {
    pid: u32,
    state: Mutex<State>,
    free: Condvar,
}

#[derive(Debug, Default)]
struct State {
    busy: bool,
    client: Option<Client>,
}

impl Slot {
    fn new(client: Option<Client>) -> *mut Slot {
        Box::into_raw(Box::new(Slot {
            pid: std::process::id(),
            state: Mutex::new(State { busy: false, client }),
            free: Condvar::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connection out, or a place for one, for as long as the result lives.
    fn take(&self, deadline: Instant) -> Result<Use<'_>, Failure> {
        let mut state = self.lock();
        while state.busy {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return Err(Failure::new(SHIM_ERR_TIMEOUT, "other threads keep the handle busy"));
            }
            let waited = self.free.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.busy = true;
        Ok(Use { slot: self, client: state.client.take() })
    }
}

/// The connection while one call uses it. Goes back when dropped, also by a panic.
struct Use<'a> {
    slot: &'a Slot,
    client: Option<Client>,
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        let mut state = self.slot.lock();
        state.busy = false;
        state.client = self.client.take();
        self.slot.free.notify_one();
    }
}

impl shim_handle {
    /// Connects.
    ///
    /// # Errors
    /// SHIM_ERR_NO_DAEMON, SHIM_ERR_TIMEOUT.
    pub fn open(path: Option<&Path>, timeout: Duration) -> Result<shim_handle, Failure> {
        let path = socket_path(path);
        let client = connect(&path, deadline_after(timeout))?;
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        Ok(shim_handle {
            path,
            timeout_ms: AtomicU32::new(timeout_ms),
            slot: AtomicPtr::new(Slot::new(Some(client))),
        })
    }

    /// Time limit of a call.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.load(Ordering::Relaxed).into())
    }

    /// Where the daemon listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn slot(&self) -> &Slot {
        let present = self.slot.load(Ordering::Acquire);
        // SAFETY: the pointer is never NULL, and what it points to lives until the handle is closed: a slot that is
        // replaced is leaked, see below.
        let slot = unsafe { &*present };
        if slot.pid == std::process::id() {
            return slot;
        }
        // A child of the process that made the slot. Its lock may be held by a thread that exists only there, so it
        // is left where it is; if it is free, our copy of the descriptor is closed.
        match slot.state.try_lock() {
            Ok(mut state) => drop(state.client.take()),
            Err(TryLockError::Poisoned(state)) => drop(state.into_inner().client.take()),
            Err(TryLockError::WouldBlock) => {}
        }
        let fresh = Slot::new(None);
        match self.slot.compare_exchange(present, fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: just made, never freed before the handle.
            Ok(_) => unsafe { &*fresh },
            Err(other) => {
                // SAFETY: another thread of the child was faster; `fresh` was never shared.
                drop(unsafe { Box::from_raw(fresh) });
                // SAFETY: as for `present`.
                unsafe { &*other }
            }
        }
    }

    /// Asks the daemon, within the handle's time limit.
    ///
    /// # Errors
    /// Whatever happens on the way, and what the daemon refuses.
    pub fn call(&self, request: Request, fd: Option<c_int>) -> Result<Response, Failure> {
        self.call_within(request, fd, self.timeout())
    }

    /// Asks the daemon, within a time limit of its own.
    ///
    /// # Errors
    /// As above.
    pub fn call_within(
        &self,
        request: Request,
        fd: Option<c_int>,
        timeout: Duration,
    ) -> Result<Response, Failure> {
        let deadline = deadline_after(timeout);
        let mut used = self.slot().take(deadline)?;
        let mut kept = used.client.is_some();
        loop {
            let mut client = match used.client.take() {
                Some(client) => client,
                None => connect(&self.path, deadline)?,
            };
            match ask(&mut client, request.clone(), fd, deadline) {
                // The daemon was restarted since the last call.
                Err(ClientError::Closed) if kept => kept = false,
                Err(e @ (ClientError::Api(_) | ClientError::Timeout(_))) => {
                    used.client = Some(client);
                    return Err(e.into());
                }
                Err(e) => return Err(e.into()),
                Ok(response) => {
                    used.client = Some(client);
                    return Ok(response);
                }
            }
        }
    }
}

impl Drop for shim_handle {
    fn drop(&mut self) {
        let slot = *self.slot.get_mut();
        // SAFETY: from `Slot::new`, never freed elsewhere, and nobody uses the handle any more.
        let slot = unsafe { Box::from_raw(slot) };
        if slot.pid != std::process::id() && slot.state.try_lock().is_err() {
            // The parent's, in the hands of a thread that exists only there.
            std::mem::forget(slot);
        }
    }
}

fn ask(
    client: &mut Client,
    request: Request,
    fd: Option<c_int>,
    deadline: Instant,
) -> Result<Response, ClientError> {
    let left = deadline.saturating_duration_since(now());
    // SAFETY: the caller keeps the descriptor open during the call; if not, the kernel says EBADF or passes another
    // file of the same process, which the daemon looks at like any other.
    let fd = fd.map(|fd| unsafe { BorrowedFd::borrow_raw(fd) });
    client.call_with(request, fd, left)
}

/// Connects, again and again if signals interrupt it.
pub fn connect(path: &Path, deadline: Instant) -> Result<Client, Failure> {
    loop {
        let left = deadline.saturating_duration_since(now());
        match Client::connect(path, left) {
            Err(ClientError::NoDaemon { source, .. })
                if source.kind() == io::ErrorKind::Interrupted && !left.is_zero() => {}
            other => return Ok(other?),
        }
    }
}

/// The answer was another one than the request has.
pub fn surprise<T>(response: &Response) -> Result<T, Failure> {
    Err(unexpected(response).into())
}

/// A descriptor that can be one.
///
/// # Errors
/// SHIM_ERR_DESCRIPTOR for a negative one.
pub fn descriptor(fd: c_int) -> Result<Option<c_int>, Failure> {
    if fd < 0 { Err(crate::result::SHIM_ERR_DESCRIPTOR.into()) } else { Ok(Some(fd)) }
}

/// A time limit from C: milliseconds, 0 for the default.
///
/// # Errors
/// SHIM_ERR_ARGUMENT if negative.
pub fn limit(timeout_ms: c_int) -> Result<Duration, Failure> {
    match u64::try_from(timeout_ms) {
        Ok(0) => Ok(Duration::from_millis(SHIM_DEFAULT_TIMEOUT_MS as u64)),
        Ok(ms) => Ok(Duration::from_millis(ms)),
        Err(_) => Err(Failure::new(SHIM_ERR_ARGUMENT, "a time limit is not negative")),
    }
}

/// The library lives in other programs, outside the daemon and its clock.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Instant {
    Instant::now()
}

/// The point in time so far ahead.
pub fn deadline_after(timeout: Duration) -> Instant {
    now() + timeout
}

/// Connects to the daemon at a path, or, with NULL, where SHIM6_SOCKET says (ignored in programs that run with more
/// power than their caller), else at /run/shim6/control.sock. Every later call takes at most timeout_ms milliseconds
/// (0: SHIM_DEFAULT_TIMEOUT_MS). On success *handle is to be given to shim_close; on failure it is set to NULL.
///
/// # Safety
/// `path` has to be NULL or a string, `handle` NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_open(
    path: *const c_char,
    timeout_ms: c_int,
    handle: *mut *mut shim_handle,
) -> shim_result {
    result(|| {
        // SAFETY: the caller's promise.
        unsafe { store(handle, std::ptr::null_mut()) }?;
        let timeout = limit(timeout_ms)?;
        let path = match path.is_null() {
            true => None,
            // SAFETY: a string by the caller's promise.
            false => Some(Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()))),
        };
        let made = Box::new(shim_handle::open(path, timeout)?);
        // SAFETY: the caller's promise.
        unsafe { store(handle, Box::into_raw(made)) }
    })
}

/// Gives a handle back. No other thread may be using it. NULL is nothing to do.
///
/// # Safety
/// `handle` has to be NULL or from shim_open, and not closed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_close(handle: *mut shim_handle) {
    crate::boundary::answer((), || {
        if !handle.is_null() {
            // SAFETY: from Box::into_raw in shim_open, by the caller's promise.
            drop(unsafe { Box::from_raw(handle) });
        }
    });
}

/// Changes the time limit of later calls, in milliseconds (0: SHIM_DEFAULT_TIMEOUT_MS).
///
/// # Safety
/// `handle` has to be NULL or from shim_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_set_timeout(
    handle: *mut shim_handle,
    timeout_ms: c_int,
) -> shim_result {
    result(|| {
        // SAFETY: the caller's promise.
        let handle = unsafe { reference(handle) }?;
        let ms = u32::try_from(limit(timeout_ms)?.as_millis()).unwrap_or(u32::MAX);
        handle.timeout_ms.store(ms, Ordering::Relaxed);
        Ok(())
    })
}
