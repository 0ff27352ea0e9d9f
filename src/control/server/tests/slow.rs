//! Descriptors that take long to close, wherever they are dropped: nobody else may have to wait.

use super::*;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

/// A connection whose close takes so many seconds, as its other end does not read.
pub(in crate::control::server) fn lingering(seconds: i32) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    setsockopt(&listener, sockopt::RcvBuf, &4096).unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    setsockopt(&stream, sockopt::SndBuf, &4096).unwrap();
    let linger = libc::linger { l_onoff: 1, l_linger: seconds };
    setsockopt(&stream, sockopt::Linger, &linger).unwrap();
    stream.set_nonblocking(true).unwrap();
    while io::Write::write(&mut stream, &[0; 4096]).is_ok() {}
    (stream, peer)
}

/// Sends a packet with the only descriptors of that many connections that linger. Gives their other ends.
fn send_lingering(socket: &SeqPacket, packet: &[u8], count: usize) -> Vec<TcpStream> {
    let (streams, peers): (Vec<_>, Vec<_>) = (0..count).map(|_| lingering(3)).unzip();
    let fds: Vec<_> = streams.iter().map(AsRawFd::as_raw_fd).collect();
    let (rights, iov) = ([ControlMessage::ScmRights(&fds)], [std::io::IoSlice::new(packet)]);
    sendmsg::<()>(socket.as_raw_fd(), &iov, &rights, MsgFlags::empty(), None).unwrap();
    peers
}

/// How long somebody else waits for an answer at most.
#[allow(clippy::disallowed_methods)]
fn longest_wait(server: &Running, calls: usize) -> Duration {
    let mut other = server.client();
    let one = |_| {
        let start = std::time::Instant::now();
        other.call_with(Request::Hello {}, None, 30 * SECOND).unwrap();
        start.elapsed()
    };
    (0..calls).map(one).max().unwrap()
}

#[test]
fn all_descriptors_that_a_packet_can_bring_arrive() {
    use crate::control::seqpacket::MAX_DESCRIPTORS;
    let (ours, theirs) = SeqPacket::pair().unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    let send = |count| {
        let fds = vec![file.as_raw_fd(); count];
        let rights = [ControlMessage::ScmRights(&fds)];
        let iov = [std::io::IoSlice::new(b"x")];
        sendmsg::<()>(ours.as_raw_fd(), &iov, &rights, MsgFlags::empty(), None)
    };
    send(MAX_DESCRIPTORS).unwrap();
    let received = theirs.recv(&mut [0; 8]).unwrap();
    assert_eq!(received.fds.len(), MAX_DESCRIPTORS);
    assert!(!received.descriptors_lost);
    assert_eq!(send(MAX_DESCRIPTORS + 1), Err(nix::errno::Errno::EINVAL), "so says this kernel");
}

#[test]
fn descriptors_that_are_slow_to_close_hold_up_nobody() {
    const HELLO: &[u8] = br#"{"v":1,"id":1,"request":{"type":"hello"}}"#;
    const SET: &[u8] = br#"{"v":1,"id":1,"request":{"type":"socket_set"}}"#;
    let server = Running::start(Limits::default(), "");
    let mut peers = Vec::new();
    let prompt = |server: &Running, what: &str| {
        let waited = longest_wait(server, 20);
        assert!(waited < SECOND, "{what}: {waited:?}");
    };
    let socket = server.raw();
    for (packet, count) in [(HELLO, 1), (HELLO, 2), (HELLO, 5), (HELLO, 40), (b"{", 1), (SET, 1)] {
        peers.extend(send_lingering(&socket, packet, count));
        prompt(&server, &format!("{count} descriptors"));
        assert!(read(&socket).is_some());
    }
    for _ in 0..40 {
        peers.extend(send_lingering(&socket, HELLO, 1));
        assert!(read(&socket).is_some());
    }
    prompt(&server, "forty packets");
    peers.extend(send_lingering(&socket, b"", 1));
    prompt(&server, "an empty packet");
    assert!(read(&socket).is_none());
}

#[test]
fn packets_that_nobody_has_read_hold_up_nobody() {
    const HELLO: &[u8] = br#"{"v":1,"id":1,"request":{"type":"hello"}}"#;
    const ESTABLISH: &[u8] =
        br#"{"v":1,"id":1,"request":{"type":"establish","peer":"2001:db8::2"}}"#;
    let mut peers = Vec::new();
    // The third packet waits for its time, and the client leaves without having read the answers to the others.
    let server = Running::start(Limits { rate: 20.0, burst: 3.0, ..Limits::default() }, "");
    let mut socket = server.raw();
    for _ in 0..3 {
        socket.send(HELLO, None).unwrap();
    }
    assert!(socket.wait(false, Some(10 * SECOND)).unwrap());
    peers.extend(send_lingering(&socket, HELLO, 1));
    drop(socket);
    assert!(longest_wait(&server, 10) < SECOND, "left");

    // A connection that is refused.
    let server = Running::start(Limits { connections: 1, ..Limits::default() }, "");
    let mut only = server.client();
    only.call(Request::Hello {}).unwrap();
    socket = server.raw();
    peers.extend(send_lingering(&socket, HELLO, 1));
    drop(socket);
    for _ in 0..20 {
        only.call(Request::Hello {}).unwrap();
    }

    // One that is not read from while its request waits, when the daemon stops.
    let mut server = Running::start(Limits { in_flight: 1, ..Limits::default() }, "");
    let asks = server.raw();
    asks.send(ESTABLISH, None).unwrap();
    socket = server.raw();
    socket.send(ESTABLISH, None).unwrap();
    assert!(longest_wait(&server, 1) < SECOND);
    peers.extend(send_lingering(&socket, HELLO, 1));
    // And one that nobody has accepted may be among these.
    let late = server.raw();
    peers.extend(send_lingering(&late, HELLO, 1));
    #[allow(clippy::disallowed_methods)]
    let start = std::time::Instant::now();
    server.stop();
    assert!(start.elapsed() < SECOND, "stopping takes {:?}", start.elapsed());
    // Who has left nothing unread gets his answer.
    assert_eq!(read(&asks).unwrap()["error"]["code"], "unavailable");
}
