//! Raw sockets: whole IPv6 packets of our own making, and Shim6 control messages.
//!
//! A raw socket routes by the socket's idea of the source address, not by the one in the packet it is given, so every
//! send names its source with IPV6_PKTINFO; source-prefix routing then takes the provider of that address. The
//! packets pass OUTPUT again: the mark tells our own rule to let them through.

use super::config::StartError;
use crate::wire::{IPPROTO_SHIM6, ipv6};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, SockaddrIn6, sendmsg, setsockopt,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::fmt;
use std::io::{self, IoSlice};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Hop Limit of control messages.
const CONTROL_HOP_LIMIT: i32 = 64;
/// Room for packets on their way to the device.
const SEND_BUFFER: usize = 8 << 20;
/// How long a send may wait for room.
const SEND_TIMEOUT_MILLIS: i64 = 100;

/// Why a packet could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No route from this source, or the address is not ours any more.
    Unreachable(Errno),
    /// Larger than the link takes.
    TooBig,
    /// A packet filter refused it.
    Filtered,
    /// No room for now.
    Busy,
    /// Anything else.
    Other(Errno),
}

impl From<Errno> for SendError {
    fn from(e: Errno) -> SendError {
        match e {
            Errno::ENETUNREACH
            | Errno::EHOSTUNREACH
            | Errno::EADDRNOTAVAIL
            | Errno::ENETDOWN
            | Errno::ENODEV
            | Errno::ENXIO
            | Errno::EACCES
            // IPV6_PKTINFO with an address that is not (or no longer) ours.
            | Errno::EINVAL => SendError::Unreachable(e),
            Errno::EMSGSIZE => SendError::TooBig,
            Errno::EPERM => SendError::Filtered,
            Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM => SendError::Busy,
            other => SendError::Other(other),
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Unreachable(e) => write!(f, "unreachable: {}", e.desc()),
            SendError::TooBig => f.write_str("too big for the link"),
            SendError::Filtered => f.write_str("refused by a packet filter"),
            SendError::Busy => f.write_str("no room in the send buffer"),
            SendError::Other(e) => f.write_str(e.desc()),
        }
    }
}

impl std::error::Error for SendError {}

/// Sends whole IPv6 packets.
pub trait Inject {
    /// Sends the packet as it is; it leaves by the provider of its source address.
    ///
    /// # Errors
    /// The kernel's answer.
    fn inject(&mut self, packet: &[u8]) -> Result<(), SendError>;
}

/// A raw socket for whole packets.
#[derive(Debug)]
pub struct RawPackets {
    socket: OwnedFd,
    flags: MsgFlags,
}

impl RawPackets {
    /// Opens the socket; its packets carry the mark. With `wait`, sending waits a moment for room in its buffer.
    ///
    /// # Errors
    /// [`StartError::Permission`] or [`StartError::RawSocket`].
    pub fn open(mark: u32, wait: bool) -> Result<RawPackets, StartError> {
        let socket = raw_socket(libc::IPPROTO_RAW)?;
        let set_up = || -> nix::Result<()> {
            setsockopt(&socket, sockopt::Mark, &mark)?;
            setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER)?;
            setsockopt(&socket, sockopt::SendTimeout, &TimeVal::milliseconds(SEND_TIMEOUT_MILLIS))?;
            // The kernel must never fragment: it would put its Fragment header before the payload header.
            setsockopt(&socket, sockopt::Ipv6DontFrag, &true)
        };
        set_up().map_err(start_error)?;
        let flags = if wait { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
        Ok(RawPackets { socket, flags })
    }
}

impl Inject for RawPackets {
    fn inject(&mut self, packet: &[u8]) -> Result<(), SendError> {
        let header =
            ipv6::Ipv6Header::parse(packet).map_err(|_| SendError::Other(Errno::EPROTO))?;
        send_from(&self.socket, header.src, header.dst, packet, self.flags)
    }
}

/// The raw socket of protocol 140.
///
/// While it is open the kernel never answers an unknown protocol 140 with a Parameter Problem of its own. Nothing is
/// read from it: a filter throws away what the kernel would queue here.
#[derive(Debug)]
pub struct ControlSocket {
    socket: OwnedFd,
}

impl ControlSocket {
    /// Opens the socket; its packets carry the mark.
    ///
    /// # Errors
    /// [`StartError::Permission`] or [`StartError::RawSocket`].
    pub fn open(mark: u32) -> Result<ControlSocket, StartError> {
        let socket = raw_socket(i32::from(IPPROTO_SHIM6))?;
        let set_up = || -> nix::Result<()> {
            setsockopt(&socket, sockopt::Mark, &mark)?;
            setsockopt(&socket, sockopt::Ipv6Ttl, &CONTROL_HOP_LIMIT)?;
            setsockopt(&socket, sockopt::Ipv6DontFrag, &true)
        };
        set_up().map_err(start_error)?;
        receive_nothing(&socket).map_err(StartError::RawSocket)?;
        Ok(ControlSocket { socket })
    }

    /// Sends a Shim6 message. Never waits.
    ///
    /// # Errors
    /// The kernel's answer.
    // req: S6-3-04, AS-7-01
    pub fn send(&self, src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> Result<(), SendError> {
        send_from(&self.socket, src, dst, message, MsgFlags::MSG_DONTWAIT)
    }
}

fn raw_socket(protocol: i32) -> Result<OwnedFd, StartError> {
    // nix knows no protocol 140.
    #[allow(unsafe_code)]
    // SAFETY: a plain system call; the result is checked before it becomes an owned descriptor.
    let fd = unsafe {
        let fd = libc::socket(
            AddressFamily::Inet6 as i32,
            SockType::Raw as i32 | SockFlag::SOCK_CLOEXEC.bits(),
            protocol,
        );
        if fd < 0 {
            return Err(start_error(Errno::last()));
        }
        OwnedFd::from_raw_fd(fd)
    };
    Ok(fd)
}

fn start_error(e: Errno) -> StartError {
    match e {
        Errno::EPERM | Errno::EACCES => StartError::Permission,
        other => StartError::RawSocket(other.into()),
    }
}

/// Attaches a filter that keeps no packet.
#[allow(unsafe_code)]
fn receive_nothing(socket: &OwnedFd) -> io::Result<()> {
    // BPF_RET | BPF_K with 0: keep 0 octets.
    let mut program = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }];
    let filter = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
    // SAFETY: `filter` and the program it points to live until the call returns; the length is that of the type.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            std::ptr::from_ref(&filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn send_from(
    socket: &OwnedFd,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    octets: &[u8],
    flags: MsgFlags,
) -> Result<(), SendError> {
    let info =
        libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: src.octets() }, ipi6_ifindex: 0 };
    // Port 0: for a raw socket the port would be a protocol number.
    let to = SockaddrIn6::from(SocketAddrV6::new(dst, 0, 0, 0));
    loop {
        let sent = sendmsg(
            socket.as_raw_fd(),
            &[IoSlice::new(octets)],
            &[ControlMessage::Ipv6PacketInfo(&info)],
            flags,
            Some(&to),
        );
        match sent {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
