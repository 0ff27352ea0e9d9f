//! Which sockets of this host talk from one address to another, and whose they are (sock_diag).
//!
//! ```text
//!  request: inet_diag_req_v2, 56 octets, and a filter       answer: inet_diag_msg, 72 octets
//!   0 family  1 protocol  2 ext  3 -                         0 family  1 state  2 timer  3 retrans
//!   4 states (bit mask)                                      4 source port    6 destination port
//!   8 source port  10 destination port  12 addresses …       8 source (16)   24 destination (16)
//!  56 attribute 1: filter program                           44 cookie (8)    64 uid    68 inode
//! ```
//!
//! The kernel runs the filter, so a host with many sockets answers with few. A protocol whose sock_diag part is not
//! built is read from /proc/net, which lacks the cookies.

use super::NetlinkError;
use super::attr::{Request, u32_at};
use super::socket::list_sockets;
use crate::addr::{Ulid, UlidPair};
use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv6Addr;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQ_BYTECODE: u16 = 1;
/// Operations of the filter: compare the source, or the destination, with a prefix.
const S_COND: u8 = 7;
const D_COND: u8 = 8;
/// Octets of one such operation with an IPv6 address.
const COND: u16 = 4 + 8 + 16;

/// Protocols whose sockets are looked at, with their place in /proc/net.
const PROTOCOLS: [(i32, &str); 4] = [
    (libc::IPPROTO_TCP, "tcp6"),
    (libc::IPPROTO_UDP, "udp6"),
    (libc::IPPROTO_UDPLITE, "udplite6"),
    (libc::IPPROTO_RAW, "raw6"),
];

/// States of TCP in which a socket that nobody holds still has something to send: FIN-WAIT-1, CLOSE-WAIT, LAST-ACK, CLOSING.
const SENDING: u32 = 1 << 4 | 1 << 8 | 1 << 9 | 1 << 11;

/// A socket, held by a program or still sending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldSocket {
    /// Who made it.
    pub uid: u32,
    /// The kernel's unique number for it (SO_COOKIE), where known.
    pub cookie: Option<u64>,
    /// Its own port and the peer's.
    pub ports: (u16, u16),
    /// Some program holds it. Else it was closed, and TCP is not done with it.
    pub held: bool,
}

/// All sockets that are connected between two addresses and held by some program, or closed while TCP still has something
/// to send. Those in TIME-WAIT, and those that nobody holds yet (SYN-RECEIVED), are nobody's flows.
///
/// # Errors
/// When the kernel gives no list, by neither way.
pub fn sockets_between(ulids: UlidPair) -> Result<Vec<HeldSocket>, NetlinkError> {
    let mut all = Vec::new();
    // An older kernel may ignore the filter.
    each(Some(ulids), &mut |pair, socket| {
        if pair == ulids {
            all.push(socket);
        }
    })?;
    Ok(all)
}

/// Those of the pairs between which there is such a socket. The kernel goes through all sockets of the host and tells of
/// each: with 100,000 of them that takes some tenths of a second.
///
/// # Errors
/// When the kernel gives no list, by neither way.
pub fn connected(pairs: &BTreeSet<UlidPair>) -> Result<BTreeSet<UlidPair>, NetlinkError> {
    let mut all = BTreeSet::new();
    each(None, &mut |pair, _| {
        if pairs.contains(&pair) {
            all.insert(pair);
        }
    })?;
    Ok(all)
}

/// What is done with a socket and the addresses that it connects.
type Each<'a> = &'a mut dyn FnMut(UlidPair, HeldSocket);

fn each(filtered: Option<UlidPair>, f: Each<'_>) -> Result<(), NetlinkError> {
    for (protocol, proc_name) in PROTOCOLS {
        match by_netlink(protocol, filtered, f) {
            Err(e) if matches!(e.errno(), Some(libc::ENOENT | libc::EINVAL)) => {
                by_proc(proc_name, f)?;
            }
            done => done?,
        }
    }
    Ok(())
}

fn by_netlink(protocol: i32, filtered: Option<UlidPair>, f: Each<'_>) -> Result<(), NetlinkError> {
    let mut head = [0; 56];
    head[0] = libc::AF_INET6 as u8;
    // Raw sockets go by this number whatever their own protocol is.
    head[1] = protocol as u8;
    head[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
    let mut request = Request::new(SOCK_DIAG_BY_FAMILY, libc::NLM_F_DUMP, 1).head(&head);
    if let Some(ulids) = filtered {
        request = request.attr(REQ_BYTECODE, &filter(ulids));
    }
    list_sockets(&request.finish(), "list sockets", |answer| {
        if let Some((pair, socket)) = held(answer) {
            f(pair, socket);
        }
    })
}

/// The filter program: source and destination both equal.
fn filter(ulids: UlidPair) -> Vec<u8> {
    let mut program = Vec::with_capacity(2 * usize::from(COND));
    for (op, addr, left) in [(S_COND, ulids.local.0, 2 * COND), (D_COND, ulids.peer.0, COND)] {
        // A jump to 4 octets behind the end means "no".
        program.extend([op, COND as u8]);
        program.extend((left + 4).to_ne_bytes());
        program.extend([libc::AF_INET6 as u8, 128, 0, 0]);
        program.extend((-1_i32).to_ne_bytes());
        program.extend(addr.octets());
    }
    program
}

/// One answer, if it is about a socket in question.
fn held(answer: &[u8]) -> Option<(UlidPair, HeldSocket)> {
    let addr = |at: usize| Some(Ulid(Ipv6Addr::from(*answer.get(at..)?.first_chunk::<16>()?)));
    let held = u32_at(answer, 68)? != 0;
    let sends = SENDING.checked_shr(u32::from(*answer.get(1)?)).unwrap_or(0) & 1 == 1;
    if !(held || sends) {
        return None;
    }
    let cookie = u64::from(u32_at(answer, 44)?) | u64::from(u32_at(answer, 48)?) << 32;
    let port = |at: usize| Some(u16::from_be_bytes(*answer.get(at..)?.first_chunk::<2>()?));
    let ports = (port(4)?, port(6)?);
    let pair = UlidPair { local: addr(8)?, peer: addr(24)? };
    Some((pair, HeldSocket { uid: u32_at(answer, 64)?, cookie: Some(cookie), ports, held }))
}

fn by_proc(name: &str, f: Each<'_>) -> Result<(), NetlinkError> {
    match fs::read_to_string(format!("/proc/thread-self/net/{name}")) {
        Ok(text) => {
            text.lines().skip(1).filter_map(listed).for_each(|(pair, socket)| f(pair, socket));
            Ok(())
        }
        // A protocol that the kernel lacks has no sockets.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// One line of /proc/net: number, local and remote end, state, queues, timer, retransmits, uid, timeout, inode.
fn listed(line: &str) -> Option<(UlidPair, HeldSocket)> {
    let mut fields = line.split_ascii_whitespace();
    let (local, local_port) = hex_address(fields.nth(1)?)?;
    let (peer, peer_port) = hex_address(fields.next()?)?;
    let uid = fields.nth(4)?.parse().ok()?;
    let inode: u64 = fields.nth(1)?.parse().ok()?;
    let pair = UlidPair { local: Ulid(local), peer: Ulid(peer) };
    let ports = (local_port, peer_port);
    (inode != 0).then_some((pair, HeldSocket { uid, cookie: None, ports, held: true }))
}

/// Four words of 32 bits in host order, in hexadecimal, and a port.
fn hex_address(text: &str) -> Option<(Ipv6Addr, u16)> {
    let mut octets = [0; 16];
    for (i, word) in octets.chunks_mut(4).enumerate() {
        let value = u32::from_str_radix(text.get(8 * i..8 * i + 8)?, 16).ok()?;
        word.copy_from_slice(&value.to_ne_bytes());
    }
    let port = u16::from_str_radix(text.get(33..)?, 16).ok()?;
    Some((octets.into(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    const LO: Ulid = Ulid(Ipv6Addr::LOCALHOST);

    // Loopback inside the test process; nothing leaves the host.
    #[test]
    fn sockets_are_found_with_their_owner_and_cookie() {
        let pair = UlidPair { local: LO, peer: LO };
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_accepted, _) = listener.accept().unwrap();
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        udp.connect("[::1]:9").unwrap();
        let found = sockets_between(pair).unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        let ports = (stream.local_addr().unwrap().port(), listener.local_addr().unwrap().port());
        // Both ends of the stream, and the datagram socket; those of other tests come and go meanwhile.
        for wanted in [ports, (ports.1, ports.0), (udp.local_addr().unwrap().port(), 9)] {
            let socket = found.iter().find(|s| s.ports == wanted);
            let found = socket.is_some_and(|s| s.uid == uid && s.cookie.is_some() && s.held);
            assert!(found, "{wanted:?}: {socket:?}");
        }
        // Closed with more in its send queue than the other end takes: TCP goes on with it.
        stream.set_nonblocking(true).unwrap();
        while (&stream).write(&[0; 1 << 16]).is_ok() {}
        drop(stream);
        let closed = sockets_between(pair).unwrap().into_iter().find(|s| s.ports == ports);
        assert!(closed.is_some_and(|s| !s.held && s.cookie.is_some()), "{closed:?}");
        let other = UlidPair { local: LO, peer: Ulid("2001:db8::1".parse().unwrap()) };
        assert_eq!(sockets_between(other).unwrap(), []);
        assert_eq!(connected(&[pair, other].into()).unwrap(), [pair].into());
        assert_eq!(connected(&[other].into()).unwrap(), [].into());
    }

    #[test]
    fn lines_of_proc_are_read() {
        let line = "   5: B80D0120000000000000000001000000:003A B80D0120000000000000000002000000:0000 \
                    01 00000000:00000000 00:00000000 00000000  1000        0 4711 2 0000 0";
        let addr = |n: u16| Ulid([0x2001, 0xdb8, 0, 0, 0, 0, 0, n].into());
        let pair = UlidPair { local: addr(1), peer: addr(2) };
        // The words are in host order.
        if cfg!(target_endian = "little") {
            assert_eq!(
                listed(line),
                Some((pair, HeldSocket { uid: 1000, cookie: None, ports: (0x3a, 0), held: true }))
            );
        }
        assert_eq!(listed(&line.replace(" 4711 ", " 0 ")), None, "nobody holds it");
        for cut in 0..line.len() {
            let _ = listed(&line[..cut]);
        }
    }
}
