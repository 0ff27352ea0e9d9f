//! A netlink socket, bound to groups or not.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sockopt,
};
use tokio::io::unix::AsyncFd;

use super::NetlinkError;
use super::attr::messages;

/// How long an answer may take before the kernel is held to be mute.
const ANSWER: Duration = Duration::from_secs(5);
/// Room for events that arrive in bursts, such as a link that takes all its routes along.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Room for one datagram of a list of sockets.
const LIST_BUFFER: usize = 1 << 15;

/// The netlink protocols in use here.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    /// Addresses, links, routes, rules, neighbours.
    Route,
    /// nf_tables and packet queues.
    Netfilter,
    /// Sockets of this host.
    SockDiag,
}

/// A non-blocking netlink socket of the network namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct NlSocket(OwnedFd);

impl NlSocket {
    /// Opens and binds; `groups` is a bit mask, 0 for none.
    pub fn open(protocol: Protocol, groups: u32) -> io::Result<NlSocket> {
        let protocol = match protocol {
            Protocol::Route => SockProtocol::NetlinkRoute,
            Protocol::Netfilter => SockProtocol::NetlinkNetFilter,
            Protocol::SockDiag => SockProtocol::NetlinkSockDiag,
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        if groups != 0 && socket::setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            // Without CAP_NET_ADMIN the kernel caps the size; fewer events fit, none is lost unnoticed.
            socket::setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        socket::bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(NlSocket(fd))
    }

    /// Registers the socket with the tokio run time of the caller.
    #[allow(unsafe_code)]
    pub fn into_async(self) -> io::Result<AsyncFd<NlSocket>> {
        // SAFETY: `as_raw_fd` always gives the one descriptor that this value owns, open until it is dropped.
        unsafe { AsyncFd::register(self) }.map_err(io::Error::from)
    }

    /// Sends one datagram to the kernel.
    pub fn send(&self, octets: &[u8]) -> io::Result<()> {
        let to = NetlinkAddr::new(0, 0);
        let sent = socket::sendto(self.0.as_raw_fd(), octets, &to, MsgFlags::empty())?;
        if sent == octets.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Receives what is there; `None` if nothing is. A datagram that does not fit is an error.
    pub fn try_receive(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            return match socket::recv(self.0.as_raw_fd(), buf, MsgFlags::MSG_TRUNC) {
                Ok(len) if len > buf.len() => Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
                Ok(len) => Ok(Some(len)),
                Err(Errno::EAGAIN) => Ok(None),
                Err(Errno::EINTR) => continue,
                Err(e) => Err(e.into()),
            };
        }
    }

    /// Receives one datagram, waiting a few seconds at most.
    pub fn receive(&self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(len) = self.try_receive(buf)? {
                return Ok(len);
            }
            let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(ANSWER).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// Has the kernel list what a request asks for, and hands each answer to `f`, without its header; `what` is for the error.
///
/// # Errors
/// The kernel's answer, or that it gives none.
pub(super) fn list_sockets(
    request: &[u8],
    what: &str,
    mut f: impl FnMut(&[u8]),
) -> Result<(), NetlinkError> {
    let socket = NlSocket::open(Protocol::SockDiag, 0)?;
    socket.send(request)?;
    let mut buf = vec![0; LIST_BUFFER];
    loop {
        let len = socket.receive(&mut buf)?;
        for message in messages(buf.get(..len).unwrap_or_default()) {
            if let Some(errno) = message.error().filter(|e| *e != 0) {
                return Err(NetlinkError::kernel(what, errno));
            }
            if message.is_done() {
                return Ok(());
            }
            f(message.payload);
        }
    }
}

impl AsFd for NlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for NlSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
