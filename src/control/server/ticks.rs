//! A signal to oneself while something may take long.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;

/// How long a socket that lingers holds up its thread.
const TICK: Duration = Duration::from_millis(1);

/// A timer of the calling thread whose signal does nothing but end waits that a signal can end. A socket with
/// SO_LINGER set goes on sending what it has when its close was not waited for.
#[derive(Debug)]
pub(super) struct Ticks(libc::timer_t);

impl Ticks {
    /// For the calling thread; not `Send`, as a timer is a pointer.
    pub(super) fn new() -> io::Result<Ticks> {
        static HANDLER: OnceLock<Result<(), i32>> = OnceLock::new();
        HANDLER.get_or_init(install).map_err(io::Error::from_raw_os_error)?;
        // SAFETY: both structures are plain data for which all zeros is a valid value, and outlive the calls, which
        // change the mask of this thread alone.
        unsafe {
            let mut set: libc::sigset_t = mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, signal());
            check(libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()))?;
        }
        // SAFETY: as above; `timer` is filled by the kernel.
        unsafe {
            let mut event: libc::sigevent = mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal();
            event.sigev_notify_thread_id = libc::gettid();
            let mut timer: libc::timer_t = ptr::null_mut();
            check(libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer))?;
            Ok(Ticks(timer))
        }
    }

    /// Does something that ticks cut short.
    pub(super) fn during(&self, f: impl FnOnce()) {
        self.set(TICK);
        f();
        self.set(Duration::ZERO);
    }

    /// Ticks as often as that; never, if zero.
    fn set(&self, every: Duration) {
        let every = libc::timespec { tv_sec: 0, tv_nsec: every.subsec_nanos().into() };
        let times = libc::itimerspec { it_interval: every, it_value: every };
        // SAFETY: the timer lives as long as `self`; `times` outlives the call.
        let done = unsafe { libc::timer_settime(self.0, 0, &raw const times, ptr::null_mut()) };
        if done < 0 {
            log::debug!("control: ticks: {}", io::Error::last_os_error());
        }
    }
}

impl Drop for Ticks {
    fn drop(&mut self) {
        // SAFETY: the timer is ours, and is not used again.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// One that nothing else uses: sent to single threads only, by their own timers.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 1
}

extern "C" fn nothing(_: libc::c_int) {}

/// Without SA_RESTART: that is what it is for.
fn install() -> Result<(), i32> {
    // SAFETY: sigaction is plain data; the handler touches nothing.
    let done = unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        libc::sigaction(signal(), &raw const action, ptr::null_mut())
    };
    if done < 0 { Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)) } else { Ok(()) }
}

/// pthread_sigmask gives the error itself, the others -1.
fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
