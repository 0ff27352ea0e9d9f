//! The netlink socket: many datagrams for each call.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, connect, setsockopt,
    socket, sockopt,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Datagrams taken at a time.
pub const BATCH: usize = 64;
/// Room for one datagram: a packet and what the kernel says about it.
pub const DATAGRAM: usize = 65_536 + 4096;
/// Room for packets between the kernel and us; losses for lack of it show in the kernel's figures only.
const RECEIVE_BUFFER: usize = 64 << 20;
/// Room for one send; netlink refuses what exceeds it.
const SEND_BUFFER: usize = 4 << 20;

/// A buffer for one datagram.
pub type Buffer = Box<[u8]>;

/// A new buffer.
pub fn buffer() -> Buffer {
    vec![0; DATAGRAM].into_boxed_slice()
}

/// A socket whose datagrams are netlink messages.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// A socket to nfnetlink.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn open(number: u16) -> io::Result<Socket> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        // To the kernel, and so from nobody else.
        connect(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        // An overrun is counted by the kernel; to be told with an error would only cost a call, and the batch. Errors
        // come without the message they are about, which holds the whole packet.
        for option in [libc::NETLINK_NO_ENOBUFS, libc::NETLINK_CAP_ACK] {
            switch_on(&fd, option)?;
        }
        // Without the right to exceed the limits the defaults have to do; the loss counters would tell.
        if let Err(e) = setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER) {
            log::warn!("queue {number}: receive buffer stays small: {e}");
        }
        if let Err(e) = setsockopt(&fd, sockopt::SndBufForce, &SEND_BUFFER) {
            log::warn!("queue {number}: send buffer stays small: {e}");
        }
        Ok(Socket(fd))
    }

    /// Any socket that keeps datagrams apart and does not block, as a kernel of the tests' own.
    #[cfg(test)]
    pub fn from_fd(fd: OwnedFd) -> Socket {
        Socket(fd)
    }

    /// The descriptor.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Another descriptor of the socket.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn another(&self) -> io::Result<Socket> {
        self.0.try_clone().map(Socket)
    }

    /// Takes datagrams that are there, one into each buffer, if told after waiting for the first; their lengths, `None`
    /// for one that was too long for its buffer. At most [`BATCH`].
    ///
    /// # Errors
    /// The kernel's answer; `WouldBlock` if there are none.
    #[allow(unsafe_code)]
    pub fn receive(
        &self,
        buffers: &mut [Buffer],
        lengths: &mut Vec<Option<usize>>,
        wait: bool,
    ) -> io::Result<()> {
        lengths.clear();
        let flags = if wait { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let mut places = [empty; BATCH];
        // SAFETY: all fields of mmsghdr are numbers and pointers, for which 0 is a value: no name, no control data.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let n = buffers.len().min(BATCH);
        for ((buffer, place), header) in buffers.iter_mut().zip(&mut places).zip(&mut headers) {
            *place = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            header.msg_hdr.msg_iov = place;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: the first `n` headers each point to one iovec that points to a buffer of its length; headers, iovecs
        // and buffers outlive the call, and nothing else refers to them meanwhile.
        let got = unsafe {
            libc::recvmmsg(
                self.0.as_raw_fd(),
                headers.as_mut_ptr(),
                n as libc::c_uint,
                flags,
                std::ptr::null_mut(),
            )
        };
        let got = usize::try_from(Errno::result(got)?).unwrap_or(0);
        lengths.extend(headers.iter().take(got).map(|h| {
            let whole = h.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            whole.then_some(h.msg_len as usize)
        }));
        Ok(())
    }

    /// Sends messages in one datagram.
    ///
    /// # Errors
    /// The kernel's answer to the datagram; answers to messages are received.
    pub fn send(&self, octets: &[u8]) -> io::Result<()> {
        loop {
            match nix::unistd::write(&self.0, octets) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

#[allow(unsafe_code)]
fn switch_on(fd: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer is to a local that outlives the call, and the length is its size.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            std::ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    Errno::result(result)?;
    Ok(())
}
