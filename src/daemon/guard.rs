//! A process beside the daemon that lets packets go which wait in the queues of a daemon that hangs.
//!
//! Rules that queue no more are half of the cure. TCP does not send a segment again while its first copy is still in
//! the host, and the copies that wait in a queue stay there as long as the queue's socket exists. Somebody who still
//! runs has to throw them out. That takes no secret and no socket of the daemon's: the guard holds one end of a pipe
//! and CAP_NET_ADMIN, and ends when the daemon does.
//!
//! ```text
//!  daemon::heartbeat ── an octet with every sign of life ──► guard ── none for 550 ms ──► nft::release_queued
//! ```

use crate::nft::{self, HEARTBEAT_TIMEOUT};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, close, fork, pipe2, read, write};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// So long after the last sign of life: the rules have ceased to queue by then, and nothing can follow.
const PATIENCE: Duration = HEARTBEAT_TIMEOUT.checked_add(Duration::from_millis(50)).expect("small");
/// As `ps` and `killall` know it, unlike the daemon.
const NAME: &std::ffi::CStr = c"shim6d-guard";

/// The daemon's end. The guard goes away when it is dropped, or when the daemon ends in whatever way.
#[derive(Debug)]
pub struct Guard {
    /// Closed first of all at the end.
    signs: Option<OwnedFd>,
    process: Option<Pid>,
}

impl Guard {
    /// Starts the guard with the capabilities that the daemon has left. There must be no other thread yet.
    ///
    /// # Errors
    /// When there can be no more processes or descriptors, or there are other threads.
    #[allow(unsafe_code)]
    pub fn start() -> io::Result<Guard> {
        if fs::read_dir("/proc/self/task")?.count() != 1 {
            return Err(io::Error::other("started too late: there are threads"));
        }
        let (ours, signs) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // SAFETY: there is no other thread that could hold a lock, so the child may do whatever the parent may.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Guard { signs: Some(signs), process: Some(child) }),
            ForkResult::Child => {
                drop(signs);
                let done = catch_unwind(AssertUnwindSafe(|| serve(&ours)));
                let status = i32::from(!matches!(done, Ok(Ok(()))));
                // SAFETY: ends the process at once: nothing of the parent's may be torn down from here.
                unsafe { libc::_exit(status) }
            }
        }
    }

    /// Tells the guard that all is well. Never waits.
    ///
    /// # Errors
    /// EPIPE if the guard is gone.
    pub fn sign(&self) -> io::Result<()> {
        match self.signs.as_ref().map(|signs| write(signs, &[0])) {
            // A guard that is late has enough to read.
            Some(Ok(_) | Err(Errno::EAGAIN)) => Ok(()),
            Some(Err(e)) => Err(e.into()),
            None => Err(Errno::EPIPE.into()),
        }
    }
}

impl Drop for Guard {
    /// Waits for the end of the guard, for half a second at most.
    fn drop(&mut self) {
        self.signs = None;
        let Some(process) = self.process else { return };
        for _ in 0..100 {
            if !matches!(waitpid(process, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive)) {
                return;
            }
            // An interruption only makes the wait shorter.
            let _ = poll(&mut [], PollTimeout::from(5u8));
        }
    }
}

/// The guard's life.
#[allow(unsafe_code)]
fn serve(signs: &OwnedFd) -> io::Result<()> {
    // SAFETY: the name is a NUL-terminated constant of less than 16 octets.
    unsafe { libc::prctl(libc::PR_SET_NAME, NAME.as_ptr()) };
    for ignored in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        // SAFETY: no handler is installed. They are meant for the daemon; the guard ends with it.
        unsafe { signal(ignored, SigHandler::SigIgn) }?;
    }
    close_all_but(signs.as_raw_fd())?;
    watch(signs, PATIENCE, || match nft::release_queued() {
        Ok(()) => log::warn!("shim6d hangs: packets that waited in its queues were thrown out"),
        Err(e) => log::error!("shim6d hangs, and packets that wait in its queues stay there: {e}"),
    })
}

/// The daemon's sockets and its lock must not outlive it.
fn close_all_but(keep: RawFd) -> io::Result<()> {
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > libc::STDERR_FILENO && *fd != keep)
        .collect();
    for fd in open {
        // That of the directory itself is closed already.
        let _ = close(fd);
    }
    Ok(())
}

/// Calls `release` whenever there has been no sign for so long, once until the next sign. Returns when there will be
/// no more.
fn watch(signs: &OwnedFd, patience: Duration, mut release: impl FnMut()) -> io::Result<()> {
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    // Before the first sign nothing is known to have been well.
    let mut wait = PollTimeout::NONE;
    loop {
        let mut events = [PollFd::new(signs.as_fd(), PollFlags::POLLIN)];
        match poll(&mut events, wait) {
            Ok(0) => {
                release();
                wait = PollTimeout::NONE;
            }
            Ok(_) => match read(signs, &mut [0; 64]) {
                Ok(0) => return Ok(()),
                Ok(_) => wait = patience,
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            },
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn silence_is_acted_on_once_until_the_next_sign() {
        let patience = Duration::from_millis(100);
        let (ours, theirs) = pipe2(OFlag::O_NONBLOCK).unwrap();
        let guard = Guard { signs: Some(theirs), process: None };
        let (released_in, released) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            watch(&ours, patience, || released_in.send(()).unwrap()).unwrap();
        });
        assert!(released.recv_timeout(patience * 3).is_err(), "no sign yet, nothing to miss");
        for _ in 0..2 {
            guard.sign().unwrap();
            released.recv_timeout(Duration::from_secs(5)).expect("silence is noticed");
            assert!(released.recv_timeout(patience * 3).is_err(), "once");
        }
        drop(guard);
        thread.join().unwrap();
    }

    #[test]
    fn a_guard_that_is_gone_or_late_is_no_reason_to_wait() {
        let (ours, theirs) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
        let guard = Guard { signs: Some(theirs), process: None };
        for _ in 0..100_000 {
            guard.sign().unwrap();
        }
        drop(ours);
        // Another test may be between fork and exec just now, with a copy of our end.
        let (_wait, never) = mpsc::channel::<()>();
        let gone = (0..500).find_map(|_| {
            let _ = never.recv_timeout(Duration::from_millis(10));
            guard.sign().err()
        });
        assert_eq!(gone.map(|e| e.kind()), Some(io::ErrorKind::BrokenPipe));
    }
}
