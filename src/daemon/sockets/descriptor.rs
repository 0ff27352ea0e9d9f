//! What a passed descriptor proves. Only options of the socket layer are read, none of which waits for anybody.

use crate::addr::{Flow, Ulid, UlidPair};
use crate::control::api::{ApiError, ErrorCode};
use nix::sys::socket::{SockaddrIn6, getpeername, getsockname, setsockopt, sockopt};
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd};

/// A socket of this network namespace, as its descriptor shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proven {
    /// IP protocol.
    pub protocol: u8,
    /// Its own address, `::` if it has none.
    pub local: Ulid,
    /// Its own port.
    pub local_port: u16,
    /// Whom it is connected to, with the port.
    pub peer: Option<(Ulid, u16)>,
    /// The kernel's unique number for it.
    pub cookie: u64,
}

impl Proven {
    /// What its packets are known by, if it is connected and has ports.
    pub fn flow(&self) -> Option<Flow> {
        let (peer, peer_port) = self.peer.filter(|(_, port)| *port != 0)?;
        let ulids = UlidPair { local: self.local, peer };
        let has_ports = matches!(
            i32::from(self.protocol),
            libc::IPPROTO_TCP | libc::IPPROTO_UDP | libc::IPPROTO_UDPLITE | libc::IPPROTO_DCCP
        );
        let (protocol, local_port) = (self.protocol, self.local_port);
        (has_ports && local_port != 0).then_some(Flow { protocol, ulids, local_port, peer_port })
    }

    /// The two ends of a connected socket.
    ///
    /// # Errors
    /// `not_connected`.
    pub fn ulids(&self) -> Result<UlidPair, ApiError> {
        match self.peer {
            Some((peer, _)) => Ok(UlidPair { local: self.local, peer }),
            None => Err(ApiError::new(ErrorCode::NotConnected, "the socket is not connected")),
        }
    }
}

/// What the mark of a socket says about the shim.
pub fn left_shim(fd: &impl AsFd, (mark, mask): (u32, u32)) -> io::Result<bool> {
    Ok(option::<u32>(fd, libc::SO_MARK)? & mask == mark)
}

/// Has all packets of a socket say that it has left the shim, or no longer. Bits of the mark that are not ours stay as
/// they are.
///
/// # Errors
/// The kernel's answer.
// req: AP-6.2-02
pub fn set_left_shim(fd: &impl AsFd, (mark, mask): (u32, u32), left: bool) -> io::Result<()> {
    let present: u32 = option(fd, libc::SO_MARK)?;
    let wanted = present & !mask | if left { mark } else { 0 };
    if (present & mask == mark) != left {
        setsockopt(fd, sockopt::Mark, &wanted)?;
    }
    Ok(())
}

/// Looks at a descriptor. `netns` is the cookie of the daemon's network namespace.
///
/// # Errors
/// `invalid_argument` if it is no IPv6 socket, `permission_denied` if it is one of another network namespace.
pub fn prove(fd: &impl AsFd, netns: u64) -> Result<Proven, ApiError> {
    let invalid = |text: String| ApiError::new(ErrorCode::InvalidArgument, text);
    let domain: i32 = option(fd, libc::SO_DOMAIN)
        .map_err(|e| invalid(format!("the descriptor is no socket: {e}")))?;
    if domain != libc::AF_INET6 {
        return Err(invalid("not an IPv6 socket".to_owned()));
    }
    let kernel = |e: io::Error| ApiError::new(ErrorCode::Kernel, format!("socket options: {e}"));
    if netns_cookie(fd).map_err(kernel)? != netns {
        return Err(ApiError::new(
            ErrorCode::PermissionDenied,
            "permission denied: the socket is of another network namespace",
        )
        .remedy("name the daemon of that namespace with SHIM6_SOCKET"));
    }
    let protocol: i32 = option(fd, libc::SO_PROTOCOL).map_err(kernel)?;
    let raw = fd.as_fd().as_raw_fd();
    let local: SockaddrIn6 = getsockname(raw).map_err(|e| kernel(e.into()))?;
    let peer = match getpeername::<SockaddrIn6>(raw) {
        Ok(peer) => Some(peer),
        Err(nix::errno::Errno::ENOTCONN) => None,
        Err(e) => return Err(kernel(e.into())),
    };
    let peer = peer.map(|p| (Ulid(p.ip()), p.port())).filter(|(p, _)| !p.0.is_unspecified());
    let mapped = |a: Ulid| a.0.to_ipv4_mapped().is_some();
    if mapped(Ulid(local.ip())) || peer.is_some_and(|(p, _)| mapped(p)) {
        return Err(invalid("the socket carries IPv4".to_owned()));
    }
    Ok(Proven {
        protocol: u8::try_from(protocol).unwrap_or(0),
        local: Ulid(local.ip()),
        local_port: local.port(),
        peer,
        cookie: cookie(fd).map_err(kernel)?,
    })
}

/// The cookie of the network namespace of the calling thread.
///
/// # Errors
/// On kernels before 5.14, which do not know it.
pub fn own_netns() -> io::Result<u64> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let probe = socket(AddressFamily::Inet6, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    netns_cookie(&probe)
}

fn netns_cookie(fd: &impl AsFd) -> io::Result<u64> {
    option(fd, libc::SO_NETNS_COOKIE)
}

/// The kernel's unique number of a socket.
///
/// # Errors
/// If it is no socket.
pub fn cookie(fd: &impl AsFd) -> io::Result<u64> {
    option(fd, libc::SO_COOKIE)
}

/// An option of level SOL_SOCKET whose value is plain data of one size.
#[allow(unsafe_code)]
fn option<T: Copy + Plain>(fd: &impl AsFd, name: i32) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = mem::size_of::<T>() as libc::socklen_t;
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: `value` has room for `len` octets and outlives the call.
    let done = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, name, value.as_mut_ptr().cast(), &raw mut len)
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    if len as usize != mem::size_of::<T>() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: `Plain` types have no invalid bit patterns, and all octets are initialised.
    Ok(unsafe { value.assume_init() })
}

/// Numbers: every bit pattern is a value.
trait Plain {}
impl Plain for i32 {}
impl Plain for u32 {}
impl Plain for u64 {}
