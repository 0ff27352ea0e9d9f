//! Raw sockets: whole IPv6 packets of our own making, and Shim6 control messages.
//!
//! A raw socket routes by the socket's idea of the source address, not by the one in the packet it is given, so every
//! send names its source with IPV6_PKTINFO; source-prefix routing then takes the provider of that address. The
//! packets pass OUTPUT again: the mark tells our own rule to let them through.

use super::config::StartError;
use super::segment::Pieces;
use crate::wire::{IPPROTO_SHIM6, ipv6};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, SockaddrIn6, recv, sendmsg,
    setsockopt, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::fmt;
use std::io::{self, IoSlice};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Hop Limit of control messages.
const CONTROL_HOP_LIMIT: i32 = 64;
/// Room for packets on their way to the device.
const SEND_BUFFER: usize = 8 << 20;
/// How long a send may wait for room.
const SEND_TIMEOUT_MILLIS: i64 = 100;
/// Packets for each call, at most.
const BATCH: usize = 64;
/// Pauses while the device has no room for a packet: the first, and how many, each twice as long (6 ms in all).
const PAUSE: (Duration, u32) = (Duration::from_micros(50), 7);

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

    /// Sends packets between the same two addresses in this order, with this mark; `told` hears what became of each.
    fn inject_all(
        &mut self,
        packets: &Pieces,
        mark: u32,
        told: &mut dyn FnMut(Result<(), SendError>),
    );
}

/// A raw socket for whole packets.
#[derive(Debug)]
pub struct RawPackets {
    socket: OwnedFd,
    /// Whether sending waits for room.
    wait: bool,
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
            setsockopt(&socket, sockopt::Ipv6DontFrag, &true)?;
            // Else the kernel keeps to itself that a device had no room for a packet.
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true)
        };
        set_up().map_err(start_error)?;
        Ok(RawPackets { socket, wait })
    }

    fn flags(&self) -> MsgFlags {
        if self.wait { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT }
    }

    /// Does it again and again while there is no room, if it may wait.
    // Nothing tells when a device has room again, so the pauses are short and few.
    #[allow(clippy::disallowed_methods)]
    fn patiently<T>(&self, mut send: impl FnMut() -> Result<T, SendError>) -> Result<T, SendError> {
        let (mut pause, mut pauses) = (PAUSE.0, if self.wait { PAUSE.1 } else { 0 });
        loop {
            match send() {
                Err(SendError::Busy) if pauses > 0 => {
                    std::thread::sleep(pause);
                    pause *= 2;
                    pauses -= 1;
                }
                // What the kernel says about that beside the error is of no use.
                Err(SendError::TooBig) => {
                    let socket = self.socket.as_raw_fd();
                    while recv(socket, &mut [], MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT)
                        .is_ok()
                    {}
                    return Err(SendError::TooBig);
                }
                other => return other,
            }
        }
    }
}

impl Inject for RawPackets {
    fn inject(&mut self, packet: &[u8]) -> Result<(), SendError> {
        let header =
            ipv6::Ipv6Header::parse(packet).map_err(|_| SendError::Other(Errno::EPROTO))?;
        let send = || send_from(&self.socket, header.src, header.dst, packet, self.flags());
        self.patiently(send)
    }

    fn inject_all(
        &mut self,
        packets: &Pieces,
        mark: u32,
        told: &mut dyn FnMut(Result<(), SendError>),
    ) {
        let mut places = packets.iter().map(|p| libc::iovec {
            // Only read from.
            iov_base: p.as_ptr().cast_mut().cast(),
            iov_len: p.len(),
        });
        let header = packets.iter().next().map(ipv6::Ipv6Header::parse);
        let Some(Ok(header)) = header else {
            places.for_each(|_| told(Err(SendError::Other(Errno::EPROTO))));
            return;
        };
        let info = control(header.src, mark);
        let to = SockaddrIn6::from(SocketAddrV6::new(header.dst, 0, 0, 0));
        loop {
            let batch: Vec<_> = places.by_ref().take(BATCH).collect();
            let mut rest = batch.as_slice();
            while !rest.is_empty() {
                match self.patiently(|| send_some(&self.socket, &info, &to, rest, self.flags())) {
                    Ok(sent) => {
                        (0..sent).for_each(|_| told(Ok(())));
                        rest = rest.get(sent..).unwrap_or_default();
                    }
                    Err(e) => {
                        told(Err(e));
                        rest = rest.get(1..).unwrap_or_default();
                    }
                }
            }
            if batch.len() < BATCH {
                return;
            }
        }
    }
}

/// Control data of a packet to be sent: its source address and its mark.
type Control = [u64; CONTROL];
const CONTROL: usize = 12;

#[allow(unsafe_code)]
fn control(src: Ipv6Addr, mark: u32) -> Control {
    let info =
        libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: src.octets() }, ipi6_ifindex: 0 };
    let mut control: Control = [0; CONTROL];
    // SAFETY: all fields of msghdr are numbers and pointers, for which 0 is a value. CMSG_FIRSTHDR and CMSG_NXTHDR give
    // places inside the control data or null; two messages of 20 and 4 octets with their headers fit into 96 octets, and
    // what is written there are plain numbers.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<Control>() as _;
        let first = libc::CMSG_FIRSTHDR(&message);
        if let Some(header) = first.as_mut() {
            header.cmsg_level = libc::IPPROTO_IPV6;
            header.cmsg_type = libc::IPV6_PKTINFO;
            header.cmsg_len = libc::CMSG_LEN(size_of_val(&info) as u32) as _;
            libc::CMSG_DATA(first).cast::<libc::in6_pktinfo>().write_unaligned(info);
        }
        let second = libc::CMSG_NXTHDR(&message, first);
        if let Some(header) = second.as_mut() {
            header.cmsg_level = libc::SOL_SOCKET;
            header.cmsg_type = libc::SO_MARK;
            header.cmsg_len = libc::CMSG_LEN(size_of::<u32>() as u32) as _;
            libc::CMSG_DATA(second).cast::<u32>().write_unaligned(mark);
        }
    }
    control
}

/// Octets of both messages in [`Control`].
fn control_len() -> usize {
    #[allow(unsafe_code)]
    // SAFETY: reckons with numbers.
    let len = unsafe {
        libc::CMSG_SPACE(size_of::<libc::in6_pktinfo>() as u32)
            + libc::CMSG_SPACE(size_of::<u32>() as u32)
    };
    len as usize
}

/// Sends packets, at most [`BATCH`]; how many went, or the error of the first.
#[allow(unsafe_code)]
fn send_some(
    socket: &OwnedFd,
    control: &Control,
    to: &SockaddrIn6,
    places: &[libc::iovec],
    flags: MsgFlags,
) -> Result<usize, SendError> {
    let n = places.len().min(BATCH);
    // SAFETY: all fields of mmsghdr are numbers and pointers, for which 0 is a value.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    for (header, place) in headers.iter_mut().zip(places) {
        let header = &mut header.msg_hdr;
        header.msg_name = std::ptr::from_ref(to).cast_mut().cast();
        header.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
        header.msg_iov = std::ptr::from_ref(place).cast_mut();
        header.msg_iovlen = 1;
        header.msg_control = std::ptr::from_ref(control).cast_mut().cast();
        header.msg_controllen = control_len() as _;
    }
    loop {
        // SAFETY: the first `n` headers point to an address, an iovec and control data that outlive the call, as does what
        // the iovec points to, which the callers took from a slice; the kernel only reads them.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                n as libc::c_uint,
                flags.bits(),
            )
        };
        match Errno::result(sent) {
            Ok(sent) => return Ok(usize::try_from(sent).unwrap_or(0).max(1)),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
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
