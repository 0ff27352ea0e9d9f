//! Bulk flows of rewritten contexts: TCP that comes in packets which the kernel has not cut into segments yet.
//!
//! We cut these ourselves and send the pieces through a socket. What else belongs to such a flow goes the same way for
//! as long as it is busy: packets of our socket and packets that go on by verdict may wait in different queues of a
//! device, and would overtake each other there.
//!
//! How large TCP's segments are the kernel does not tell with the packet. It is asked for the socket instead, once a
//! second: the size follows from the peer's MSS option, the path's MTU and all that TCP has learned since.

use crate::proto::Time;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto,
    setsockopt, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddrV6;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// Flows remembered, in each worker; a power of two.
const FLOWS: usize = 1024;
/// The size of segments is asked for again after this time.
const KNOWN_FOR: Duration = Duration::from_secs(1);
/// A flow that has sent nothing for so long has nothing left in any queue of a device.
const BUSY_FOR: Duration = Duration::from_millis(200);

/// A TCP flow: our end, the peer's.
pub type Ends = (SocketAddrV6, SocketAddrV6);

#[derive(Clone, Copy, Debug)]
struct Slot {
    flow: u64,
    size: Option<usize>,
    asked: Time,
    busy: Time,
}

/// What is known of a bulk flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Data in each of TCP's segments.
    pub size: usize,
    /// Nothing of the flow was sent through our socket of late, perhaps never.
    pub new: bool,
}

/// One worker's bulk flows. Fixed in size; flows may push out each other.
#[derive(Debug)]
pub struct Bulk {
    hasher: RandomState,
    slots: Box<[Option<Slot>]>,
}

impl Default for Bulk {
    fn default() -> Bulk {
        Bulk { hasher: RandomState::new(), slots: vec![None; FLOWS].into_boxed_slice() }
    }
}

impl Bulk {
    fn slot(&mut self, flow: &Ends) -> Option<(u64, &mut Option<Slot>)> {
        let hash = self.hasher.hash_one(flow);
        Some((hash, self.slots.get_mut(hash as usize % FLOWS)?))
    }

    /// Notes a packet of the flow that is to be cut. `None` if nobody knows how.
    pub fn note(
        &mut self,
        flow: &Ends,
        now: Time,
        ask: impl FnOnce(&Ends) -> Option<usize>,
    ) -> Option<Known> {
        let (hash, slot) = self.slot(flow)?;
        let known = slot.filter(|s| s.flow == hash);
        let (size, asked) = match known {
            Some(s) if now.since(s.asked) < KNOWN_FOR => (s.size, s.asked),
            _ => (ask(flow), now),
        };
        let new = known.is_none_or(|s| now.since(s.busy) >= BUSY_FOR);
        let busy = known.map_or(now, |s| s.busy);
        // What cannot be cut does not go through our socket.
        let busy = if size.is_some() { now } else { busy };
        *slot = Some(Slot { flow: hash, size, asked, busy });
        size.map(|size| Known { size, new })
    }

    /// Whether another packet of the flow has to go through our socket, because some before it did.
    pub fn follows(&mut self, flow: &Ends, now: Time) -> bool {
        let Some((hash, Some(slot))) = self.slot(flow) else { return false };
        let busy = slot.flow == hash && slot.size.is_some() && now.since(slot.busy) < BUSY_FOR;
        if busy {
            slot.busy = now;
        }
        busy
    }
}

/// ```text
///  request: nlmsghdr (16), inet_diag_req_v2          answer: nlmsghdr (16), inet_diag_msg (72), attributes
///   0 family  1 protocol  2 extensions                attribute 2, tcp_info: eight octets, then words:
///   4 states (bit mask)   8 source port               retransmission time-out, ack time-out, segment size …
///  10 destination port   12 source   28 destination
///  44 interface  48 cookie (8)
/// ```
mod diag {
    pub const SOCK_DIAG_BY_FAMILY: u16 = 20;
    pub const NLM_F_REQUEST: u16 = 1;
    pub const HEADER: usize = 16;
    pub const REQUEST: usize = HEADER + 56;
    pub const ANSWER: usize = HEADER + 72;
    pub const INFO: u16 = 2;
    /// Bit of [`INFO`] among the extensions.
    pub const WANT_INFO: u8 = 1 << (INFO - 1);
    /// Where tcp_info has the segment size.
    pub const SEGMENT_SIZE: usize = 16;
    /// Nobody waits longer for an answer, which the kernel gives before the request returns.
    pub const PATIENCE_MILLIS: i64 = 20;
}

/// A socket that asks the kernel about TCP sockets of this network namespace.
#[derive(Debug)]
pub struct TcpSizes(OwnedFd);

impl TcpSizes {
    /// Opens it.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn open() -> Result<TcpSizes, Errno> {
        let fd = nix::sys::socket::socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::milliseconds(diag::PATIENCE_MILLIS))?;
        Ok(TcpSizes(fd))
    }

    /// Octets of data in each segment of a flow, reckoned with those TCP options that every segment has.
    ///
    /// # Errors
    /// The kernel's answer; ENOENT if it has no such socket.
    pub fn size(&self, flow: &Ends) -> Result<usize, Errno> {
        let fd = self.0.as_raw_fd();
        // An answer that came too late must not be taken for this one.
        let mut answer = [0; 4096];
        while recv(fd, &mut answer, MsgFlags::MSG_DONTWAIT).is_ok() {}
        sendto(fd, &request(flow), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let len = recv(fd, &mut answer, MsgFlags::empty())?;
        read(answer.get(..len).unwrap_or_default())
    }
}

fn request((us, peer): &Ends) -> [u8; diag::REQUEST] {
    let mut r = [0; diag::REQUEST];
    let mut put = |at: usize, octets: &[u8]| {
        if let Some(to) = r.get_mut(at..at + octets.len()) {
            to.copy_from_slice(octets);
        }
    };
    put(0, &(diag::REQUEST as u32).to_ne_bytes());
    put(4, &diag::SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &diag::NLM_F_REQUEST.to_ne_bytes());
    let body = diag::HEADER;
    put(body, &[libc::AF_INET6 as u8, libc::IPPROTO_TCP as u8, diag::WANT_INFO]);
    put(body + 4, &u32::MAX.to_ne_bytes());
    put(body + 8, &us.port().to_be_bytes());
    put(body + 10, &peer.port().to_be_bytes());
    put(body + 12, &us.ip().octets());
    put(body + 28, &peer.ip().octets());
    // Any socket of that name.
    put(body + 48, &[0xff; 8]);
    r
}

/// The segment size out of the kernel's answer.
fn read(answer: &[u8]) -> Result<usize, Errno> {
    let half =
        |at: usize| answer.get(at..).and_then(|o| o.first_chunk()).map(|o| u16::from_ne_bytes(*o));
    let word =
        |at: usize| answer.get(at..).and_then(|o| o.first_chunk()).map(|o| u32::from_ne_bytes(*o));
    if half(4) == Some(libc::NLMSG_ERROR as u16) {
        let errno = word(diag::HEADER).map_or(0, |e| (e as i32).saturating_neg());
        return Err(Errno::from_raw(errno));
    }
    if half(4) != Some(diag::SOCK_DIAG_BY_FAMILY) {
        return Err(Errno::EBADMSG);
    }
    let mut at = diag::ANSWER;
    while let (Some(len), Some(kind)) = (half(at), half(at + 2)) {
        let len = usize::from(len);
        if kind == diag::INFO && len >= 4 + diag::SEGMENT_SIZE + 4 {
            let size = word(at + 4 + diag::SEGMENT_SIZE).and_then(|s| usize::try_from(s).ok());
            return size.filter(|s| *s > 0).ok_or(Errno::EBADMSG);
        }
        at += len.max(4).next_multiple_of(4);
    }
    Err(Errno::EBADMSG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    fn v6(addr: SocketAddr) -> SocketAddrV6 {
        match addr {
            SocketAddr::V6(addr) => addr,
            SocketAddr::V4(_) => panic!("asked for IPv6"),
        }
    }

    // Loopback inside the test process; nothing leaves the host.
    #[test]
    fn the_kernel_tells_the_segment_size_of_a_socket() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_accepted, _) = listener.accept().unwrap();
        let ends = (v6(stream.local_addr().unwrap()), v6(stream.peer_addr().unwrap()));
        let sizes = TcpSizes::open().unwrap();
        let told = sizes.size(&ends).unwrap();
        let mss = nix::sys::socket::getsockopt(&stream, sockopt::TcpMaxSeg).unwrap();
        assert_eq!(told, mss as usize);
        let nobody = SocketAddrV6::new(*ends.0.ip(), 1, 0, 0);
        assert_eq!(sizes.size(&(nobody, ends.1)), Err(Errno::ENOENT));
        assert_eq!(sizes.size(&ends), Ok(told), "an error leaves nothing behind");
    }

    #[test]
    fn answers_that_make_no_sense_are_errors() {
        for len in 0..200 {
            assert!(read(&vec![0; len]).is_err());
            assert!(read(&vec![0xff; len]).is_err());
        }
        let mut answer = vec![0; diag::ANSWER];
        answer[4..6].copy_from_slice(&diag::SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        assert_eq!(read(&answer), Err(Errno::EBADMSG), "no attribute");
        answer.extend([24u16, diag::INFO].map(u16::to_ne_bytes).concat());
        answer.extend([0; 16]);
        assert_eq!(read(&answer), Err(Errno::EBADMSG), "cut short");
        answer.extend(1428u32.to_ne_bytes());
        assert_eq!(read(&answer), Ok(1428));
    }

    #[test]
    fn a_flow_is_asked_for_once_a_second_and_busy_for_a_while() {
        let at = Time::from_millis;
        let end = |port| SocketAddrV6::new(std::net::Ipv6Addr::LOCALHOST, port, 0, 0);
        let flow = (end(1), end(2));
        let mut bulk = Bulk::default();
        let known = |size, new| Some(Known { size, new });
        assert!(!bulk.follows(&flow, at(1000)));
        assert_eq!(bulk.note(&flow, at(1000), |_| Some(1000)), known(1000, true));
        assert_eq!(bulk.note(&flow, at(1100), |_| panic!("asked again")), known(1000, false));
        assert!(bulk.follows(&flow, at(1250)) && bulk.follows(&flow, at(1400)));
        assert!(!bulk.follows(&flow, at(1600)));
        assert_eq!(bulk.note(&flow, at(1900), |_| panic!("asked again")), known(1000, true));
        assert_eq!(bulk.note(&flow, at(2000), |_| Some(900)), known(900, false));
        assert_eq!(bulk.note(&flow, at(3000), |_| None), None);
        assert!(!bulk.follows(&flow, at(3001)), "goes on by verdict now");
        assert_eq!(bulk.note(&flow, at(3100), |_| panic!("asked again")), None);
        let other = (end(3), end(2));
        assert_eq!(bulk.note(&other, at(4000), |_| Some(7)), known(7, true));
    }
}
