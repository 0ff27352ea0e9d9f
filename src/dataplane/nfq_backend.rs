//! A queue through the `nfq` crate: one netlink message for each packet, one for each verdict.

use super::config::StartError;
use super::queue::{KernelFigures, QUEUE_LENGTH, QueueBackend, Queued, Wanted};
use nix::sys::socket::{NetlinkAddr, getsockname, setsockopt, sockopt};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

/// Room for packets between the kernel and us; losses for lack of it would be silent.
const RECEIVE_BUFFER: usize = 64 << 20;

/// One bound queue.
pub struct NfqQueue {
    queue: nfq::Queue,
    /// A descriptor of the same socket, to wait on.
    descriptor: OwnedFd,
}

impl Queued for nfq::Message {
    fn packet(&self) -> &[u8] {
        self.get_payload()
    }

    fn hook(&self) -> u8 {
        self.get_hook()
    }

    fn mark(&self) -> u32 {
        self.get_nfmark()
    }
}

impl NfqQueue {
    /// Binds the queue. With `fail_open` the kernel lets packets pass when the queue is full.
    ///
    /// # Errors
    /// [`StartError::Permission`] or [`StartError::Queue`].
    pub fn open(
        number: u16,
        fail_open: bool,
        figures: Option<&KernelFigures>,
    ) -> Result<NfqQueue, StartError> {
        Self::bind(number, fail_open, figures).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => StartError::Permission,
            _ => StartError::Queue { queue: number, error },
        })
    }

    fn bind(number: u16, fail_open: bool, figures: Option<&KernelFigures>) -> io::Result<NfqQueue> {
        // One at a time: see `new_socket`.
        static OPENING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        let before = netlink_sockets()?.into_iter().map(|(_, name)| name).collect();
        let mut queue = nfq::Queue::open()?;
        queue.bind(number)?;
        let descriptor = new_socket(number, &before, figures)?;
        queue.set_queue_max_len(number, QUEUE_LENGTH)?;
        queue.set_fail_open(number, fail_open)?;
        // Without the right to exceed the limit the default has to do; the loss counters would tell.
        if let Err(e) = setsockopt(&descriptor, sockopt::RcvBufForce, &RECEIVE_BUFFER) {
            log::warn!("queue {number}: receive buffer stays small: {e}");
        }
        queue.set_nonblocking(true);
        Ok(NfqQueue { queue, descriptor })
    }
}

/// All netlink sockets of this process, each with the name that the kernel gives no other socket.
fn netlink_sockets() -> io::Result<Vec<(RawFd, OsString)>> {
    let mut sockets = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let Some(fd) = entry.file_name().to_str().and_then(|n| n.parse::<RawFd>().ok()) else {
            continue;
        };
        // Descriptors of other threads may close meanwhile.
        let (Ok(name), Ok(_)) = (fs::read_link(entry.path()), getsockname::<NetlinkAddr>(fd))
        else {
            continue;
        };
        sockets.push((fd, name.into_os_string()));
    }
    Ok(sockets)
}

/// A duplicate of the descriptor that the crate keeps to itself: that of the netlink socket which is new, and bound to
/// the port that the kernel names as the queue's owner.
fn new_socket(
    number: u16,
    before: &HashSet<OsString>,
    figures: Option<&KernelFigures>,
) -> io::Result<OwnedFd> {
    let port = figures
        .ok_or_else(|| io::Error::other("the kernel's list of queues cannot be read"))?
        .read(|queue| queue == number)?
        .first()
        .map(|s| s.port)
        .ok_or_else(|| io::Error::other("the kernel does not list the queue"))?;
    let found = netlink_sockets()?.into_iter().find(|(fd, name)| {
        !before.contains(name)
            && getsockname::<NetlinkAddr>(*fd).is_ok_and(|a| a.pid() == port)
            && is_netfilter(*fd)
    });
    let (fd, _) = found.ok_or_else(|| io::Error::other("the queue's socket is not to be found"))?;
    #[allow(unsafe_code)]
    // SAFETY: duplicating a number that is no descriptor fails; the result is checked before it is owned.
    unsafe {
        let copy = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0);
        if copy < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(copy))
    }
}

fn is_netfilter(fd: RawFd) -> bool {
    let mut protocol: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    #[allow(unsafe_code)]
    // SAFETY: both pointers are to locals that outlive the call, and `len` is the size of `protocol`.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_PROTOCOL,
            std::ptr::from_mut(&mut protocol).cast(),
            &raw mut len,
        )
    };
    result == 0 && protocol == libc::NETLINK_NETFILTER
}

impl QueueBackend for NfqQueue {
    type Packet = nfq::Message;

    fn descriptor(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.descriptor.as_fd()
    }

    fn receive(&mut self, batch: &mut Vec<nfq::Message>, _: bool) -> io::Result<()> {
        // One at a time: so the crate uses its buffer again instead of making one for each packet.
        match self.queue.recv() {
            Ok(message) => batch.push(message),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn accept(&mut self, mut packet: nfq::Message) -> io::Result<()> {
        packet.set_verdict(nfq::Verdict::Accept);
        self.queue.verdict(packet)
    }

    fn replace(
        &mut self,
        mut packet: nfq::Message,
        octets: Vec<u8>,
        mark: Option<u32>,
    ) -> io::Result<()> {
        packet.set_payload(octets);
        if let Some(mark) = mark {
            packet.set_nfmark(mark);
        }
        packet.set_verdict(nfq::Verdict::Accept);
        self.queue.verdict(packet)
    }

    fn drop(&mut self, mut packet: nfq::Message) -> io::Result<()> {
        packet.set_verdict(nfq::Verdict::Drop);
        self.queue.verdict(packet)
    }

    fn again(&mut self, mut packet: nfq::Message, _: Wanted) -> io::Result<()> {
        packet.set_verdict(nfq::Verdict::Repeat);
        self.queue.verdict(packet)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for NfqQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NfqQueue").field("fd", &self.descriptor.as_raw_fd()).finish()
    }
}
