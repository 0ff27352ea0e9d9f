//! Unix sockets that keep packets apart (`SOCK_SEQPACKET`), as both ends of the control protocol use them.
//!
//! A thin, safe cover over the system calls: nothing here waits unless its name says so, every descriptor is
//! close-on-exec, descriptors that arrive are owned at once, so that none is ever leaked.
#![allow(unsafe_code)]

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Descriptors that one packet can bring (the kernel's SCM_MAX_FD). The protocol allows one. There is room for all:
/// those that find none are closed by the kernel before the receiving call returns, and that may take long.
pub const MAX_DESCRIPTORS: usize = 253;

/// Room for other ancillary data beside them (credentials, a security label), although nobody asks for any.
const BESIDE: usize = 512;

/// One end of a connection. All operations return `WouldBlock` instead of waiting.
#[derive(Debug)]
pub struct SeqPacket(OwnedFd);

/// A packet as it arrived.
#[derive(Debug)]
pub struct Received {
    /// Octets written to the buffer; 0 means that the other end has closed.
    pub len: usize,
    /// Whether the packet was longer than the buffer.
    pub truncated: bool,
    /// Whether more descriptors were passed than are listed; the kernel has closed those. That happens only when this
    /// process may have no more.
    pub descriptors_lost: bool,
    /// Descriptors passed along.
    pub fds: Vec<OwnedFd>,
}

/// Who is at the other end (`SO_PEERCRED`), as of when it connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// Process.
    pub pid: i32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

impl SeqPacket {
    /// Connects, and waits for at most `timeout` if the listener's backlog is full.
    pub fn connect(path: &Path, timeout: Duration) -> io::Result<SeqPacket> {
        let socket = new_socket()?;
        let (address, length) = unix_address(path)?;
        // A blocking connect with a send timeout is the only way to wait for a place in the backlog.
        set_option(&socket, libc::SO_SNDTIMEO, &timeval(timeout))?;
        // SAFETY: `address` is a sockaddr_un of which `length` octets are initialised; both outlive the call.
        check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
        SeqPacket::from_fd(socket)
    }

    /// Two connected ends, for tests and for programs that embed the daemon.
    pub fn pair() -> io::Result<(SeqPacket, SeqPacket)> {
        let mut fds = [0; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: `fds` has room for the two descriptors that socketpair writes.
        check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
        // SAFETY: both descriptors are new and nobody else owns them.
        let [a, b] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        Ok((SeqPacket::from_fd(a)?, SeqPacket::from_fd(b)?))
    }

    /// Takes over a connected socket.
    pub fn from_fd(fd: OwnedFd) -> io::Result<SeqPacket> {
        // SAFETY: fcntl with these commands reads and writes no memory of ours.
        let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
        // SAFETY: as above.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
        Ok(SeqPacket(fd))
    }

    /// Sends one packet, with at most one descriptor.
    pub fn send(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut iov =
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut control = ControlBuffer::new();
        // SAFETY: msghdr is plain data for which all zeros is a valid value.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut iov;
        message.msg_iovlen = 1;
        if let Some(fd) = fd {
            message.msg_control = control.0.as_mut_ptr().cast();
            // SAFETY: CMSG_SPACE, CMSG_FIRSTHDR, CMSG_LEN and CMSG_DATA compute within `control`, which is aligned
            // for cmsghdr and has room for more than one descriptor.
            unsafe {
                message.msg_controllen = libc::CMSG_SPACE(mem::size_of::<RawFd>() as u32) as _;
                let header = libc::CMSG_FIRSTHDR(&raw const message);
                (*header).cmsg_level = libc::SOL_SOCKET;
                (*header).cmsg_type = libc::SCM_RIGHTS;
                (*header).cmsg_len = libc::CMSG_LEN(mem::size_of::<RawFd>() as u32) as _;
                libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd.as_raw_fd());
            }
        }
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        // SAFETY: `message` points to `bytes` and `control`, which both outlive the call; sendmsg only reads.
        let sent = unsafe { libc::sendmsg(self.0.as_raw_fd(), &raw const message, flags) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Receives one packet.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut control = ControlBuffer::new();
        // SAFETY: msghdr is plain data for which all zeros is a valid value.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut iov;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = mem::size_of_val(&control.0) as _;
        let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
        // SAFETY: `message` points to `buffer` and `control` with their true sizes; both outlive the call.
        let len = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, flags) };
        let Ok(len) = usize::try_from(len) else {
            return Err(io::Error::last_os_error());
        };
        Ok(Received {
            len,
            truncated: message.msg_flags & libc::MSG_TRUNC != 0,
            descriptors_lost: message.msg_flags & libc::MSG_CTRUNC != 0,
            // SAFETY: recvmsg succeeded and has filled `message` and `control`.
            fds: unsafe { descriptors(&message) },
        })
    }

    /// Waits until the socket can be read (or written), for at most `timeout` (`None`: for ever). Gives false when
    /// time is up; a signal also ends the wait, with `Interrupted`.
    pub fn wait(&self, write: bool, timeout: Option<Duration>) -> io::Result<bool> {
        let events = if write { libc::POLLOUT } else { libc::POLLIN };
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events, revents: 0 };
        let ms = match timeout {
            None => -1,
            // Rounded up, so that the last millisecond is not spent in a busy loop.
            Some(t) => i32::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX),
        };
        // SAFETY: one pollfd, which outlives the call.
        check(unsafe { libc::poll(&raw mut poll, 1, ms) }).map(|ready| ready > 0)
    }

    /// Who is at the other end.
    pub fn credentials(&self) -> io::Result<Credentials> {
        let mut cred = MaybeUninit::<libc::ucred>::uninit();
        let mut length = mem::size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: `cred` has room for `length` octets.
        check(unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                cred.as_mut_ptr().cast(),
                &raw mut length,
            )
        })?;
        // SAFETY: the kernel has filled the structure; it is plain data.
        let cred = unsafe { cred.assume_init() };
        Ok(Credentials { pid: cred.pid, uid: cred.uid, gid: cred.gid })
    }

    /// Supplementary groups of the other end (`SO_PEERGROUPS`), as of when it connected.
    pub fn groups(&self) -> io::Result<Vec<u32>> {
        let mut groups = vec![0u32; 64];
        loop {
            let mut length = mem::size_of_val(groups.as_slice()) as libc::socklen_t;
            // SAFETY: `groups` has room for `length` octets.
            let result = check(unsafe {
                libc::getsockopt(
                    self.0.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_PEERGROUPS,
                    groups.as_mut_ptr().cast(),
                    &raw mut length,
                )
            });
            let count = length as usize / mem::size_of::<u32>();
            match result {
                Ok(_) => {
                    groups.truncate(count);
                    return Ok(groups);
                }
                // The kernel says how much room it needs.
                Err(e) if e.raw_os_error() == Some(libc::ERANGE) && count > groups.len() => {
                    groups.resize(count, 0);
                }
                Err(e) => return Err(e),
            }
        }
    }
}

impl AsFd for SeqPacket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<SeqPacket> for OwnedFd {
    fn from(socket: SeqPacket) -> OwnedFd {
        socket.0
    }
}

impl AsRawFd for SeqPacket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A socket that takes connections.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Binds and listens. Fails with `AddrInUse` if the path exists.
    pub fn bind(path: &Path) -> io::Result<Listener> {
        let socket = new_socket()?;
        let (address, length) = unix_address(path)?;
        // SAFETY: `address` is a sockaddr_un of which `length` octets are initialised; both outlive the call.
        check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
        // SAFETY: no memory is involved.
        check(unsafe { libc::listen(socket.as_raw_fd(), 64) })?;
        SeqPacket::from_fd(socket).map(|socket| Listener(socket.0))
    }

    /// The next connection.
    pub fn accept(&self) -> io::Result<SeqPacket> {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let none = std::ptr::null_mut();
        // SAFETY: null pointers tell the kernel that the address is not wanted.
        let fd =
            check(unsafe { libc::accept4(self.0.as_raw_fd(), none, std::ptr::null_mut(), flags) })?;
        // SAFETY: the descriptor is new and nobody else owns it.
        Ok(SeqPacket(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> OwnedFd {
        listener.0
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Whether the program runs with more power than its caller (setuid, file capabilities), so that the caller's
/// environment must not be trusted.
pub fn is_privileged_exec() -> bool {
    // SAFETY: getauxval reads a value that the kernel gave to the process.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Octets for ancillary data, aligned for `cmsghdr`.
#[repr(C, align(8))]
struct ControlBuffer([u8; 16 + (MAX_DESCRIPTORS * 4).next_multiple_of(8) + BESIDE]);

impl ControlBuffer {
    fn new() -> ControlBuffer {
        ControlBuffer([0; _])
    }
}

/// Owns every descriptor that a packet brought.
///
/// # Safety
/// `message` must have been filled by a successful `recvmsg`, its control buffer alive.
unsafe fn descriptors(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the CMSG functions walk the control buffer within the length that the kernel has set; each descriptor
    // in an SCM_RIGHTS message is new to this process and owned by nobody else.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let octets = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                for i in 0..octets / mem::size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(i).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    fds
}

fn new_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is involved.
    let fd = check(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    // SAFETY: the descriptor is new and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn unix_address(path: &Path) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: sockaddr_un is plain data for which all zeros is a valid value.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    if bytes.is_empty() || bytes.contains(&0) || bytes.len() >= address.sun_path.len() {
        let text = format!("a socket's path has 1 to {} octets", address.sun_path.len() - 1);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    let length = mem::offset_of!(libc::sockaddr_un, sun_path) + bytes.len() + 1;
    Ok((address, length as libc::socklen_t))
}

fn timeval(timeout: Duration) -> libc::timeval {
    // Zero would mean "for ever".
    let timeout = timeout.max(Duration::from_millis(1));
    libc::timeval {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_usec: timeout.subsec_micros().into(),
    }
}

fn set_option<T>(fd: &OwnedFd, option: i32, value: &T) -> io::Result<()> {
    let length = mem::size_of::<T>() as libc::socklen_t;
    let value = std::ptr::from_ref(value).cast();
    // SAFETY: `value` points to `length` octets that outlive the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, value, length) })
        .map(drop)
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
