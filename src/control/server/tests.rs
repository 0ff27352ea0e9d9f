//! The server over real sockets, with a driver made of a few lines.

use super::*;
use crate::control::api::*;
use crate::control::client::{Client, ClientError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

mod gone;
pub(super) mod slow;

const SECOND: Duration = Duration::from_secs(1);

const LOCAL: crate::addr::Ulid =
    crate::addr::Ulid(std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0xa));
const PEER: crate::addr::Ulid =
    crate::addr::Ulid(std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0xb));

/// A connected socket without a context.
fn socket() -> SocketInfo {
    SocketInfo {
        protocol: 6,
        local: LOCAL,
        local_port: 1,
        peer: Some(PEER),
        peer_port: Some(2),
        state: Some(ContextState::Idle),
        context: None,
        options: SocketOptions::default(),
    }
}

/// A server with a driver in a thread of their own.
struct Running {
    path: PathBuf,
    counters: Arc<ServerCounters>,
    events: EventSender,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

/// Answers what the tests ask for: status says `ok`, establish is never answered, discard of context 9 drops its
/// reply, stats is too large to send.
fn answer(held: &mut Vec<Incoming>, call: Incoming) {
    match call.request {
        Request::Status {} => {
            let status = StatusInfo { version: "ok".into(), ..StatusInfo::default() };
            call.reply.send(Ok(Response::Status { status: Box::new(status) }));
        }
        Request::Establish { .. } => held.push(call),
        Request::ContextDiscard { context } => {
            if context != (ContextRef::Id { id: ContextId(9) }) {
                call.reply.send(Err(ApiError::no_context(&context)));
            }
        }
        Request::Stats {} => {
            let mut stats = StatsInfo::default();
            stats.counters.insert("x".repeat(MAX_PACKET), 1);
            call.reply.send(Ok(Response::Stats { stats }));
        }
        Request::PathExplore { .. } | Request::SocketExplore {} => {
            let fds = u64::from(call.fd.is_some());
            call.reply.send(Ok(Response::Accepted { context: ContextId(fds) }));
        }
        Request::SocketFork {} => {
            call.reply.send(Err(ApiError::new(ErrorCode::PermissionDenied, "not yours")));
        }
        Request::SocketStatus {} => {
            call.reply.send(Ok(Response::Socket { socket: Box::new(socket()) }));
        }
        _ => call.reply.send(Ok(Response::Done {})),
    }
}

impl Running {
    fn start(limits: Limits, group: &str) -> Running {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().join("control.sock");
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = std::sync::mpsc::channel();
        let (access, bound) = (Arc::new(Access::new(group)), path.clone());
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = Server::bind(&bound, access, limits).unwrap();
                let (caller, mut driver) = link();
                ready.send((server.counters(), driver.events.clone())).unwrap();
                let drive = async move {
                    let mut held = Vec::new();
                    let mut stopped = stopped;
                    loop {
                        tokio::select! {
                            Some(call) = driver.calls.recv() => answer(&mut held, call),
                            _ = &mut stopped => break,
                        }
                    }
                    driver.events.send(99, None, EventKind::Stopping {});
                };
                tokio::join!(server.run(caller), drive);
            });
        });
        let (counters, events) = started.recv().unwrap();
        Running { path, counters, events, stop: Some(stop), thread: Some(thread), _dir: dir }
    }

    fn client(&self) -> Client {
        Client::connect(&self.path, SECOND).unwrap()
    }

    fn raw(&self) -> SeqPacket {
        SeqPacket::connect(&self.path, SECOND).unwrap()
    }

    fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The next packet as JSON; `None` when the connection was closed.
fn read(socket: &SeqPacket) -> Option<serde_json::Value> {
    let mut buffer = vec![0; MAX_PACKET];
    assert!(socket.wait(false, Some(10 * SECOND)).unwrap(), "no packet within ten seconds");
    let got = socket.recv(&mut buffer).unwrap();
    (got.len > 0).then(|| serde_json::from_slice(&buffer[..got.len]).unwrap())
}

/// Sends octets as they are and gives the code and remedy of the error that comes back.
fn refused(socket: &SeqPacket, packet: &[u8]) -> (String, String) {
    socket.send(packet, None).unwrap();
    let answer = read(socket).unwrap();
    let text = |p| answer.pointer(p).and_then(|v| v.as_str()).unwrap_or("").to_owned();
    (text("/error/code"), text("/error/remedy"))
}

#[test]
fn a_call_goes_to_the_driver_and_back() {
    let server = Running::start(Limits::default(), "");
    let mut client = server.client();
    match client.call(Request::Status {}).unwrap() {
        Response::Status { status } => assert_eq!(status.version, "ok"),
        other => panic!("{other:?}"),
    }
    match client.call(Request::Hello {}).unwrap() {
        Response::Hello { protocol: VERSION, privileged: true, .. } => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn errors_of_the_driver_reach_the_caller() {
    let server = Running::start(Limits::default(), "");
    let mut client = server.client();
    let unknown = ContextRef::Id { id: ContextId(4) };
    match client.call(Request::ContextDiscard { context: unknown }) {
        Err(ClientError::Api(e)) => assert_eq!(e.code, ErrorCode::NotFound),
        other => panic!("{other:?}"),
    }
    // A driver that drops the right to answer has failed; the caller is not left waiting.
    let dropped = ContextRef::Id { id: ContextId(9) };
    match client.call(Request::ContextDiscard { context: dropped }) {
        Err(ClientError::Api(e)) => assert_eq!(e.code, ErrorCode::Internal),
        other => panic!("{other:?}"),
    }
    match client.call(Request::Stats {}) {
        Err(ClientError::Api(e)) => assert_eq!(e.code, ErrorCode::Internal),
        other => panic!("{other:?}"),
    }
}

#[test]
fn hostile_packets_are_refused_by_name_and_the_connection_lives_on() {
    let server = Running::start(Limits::default(), "");
    let socket = server.raw();
    for packet in [&b"\xff\xfe\x00"[..], b"{", b"hello", b"{}", b"[]", b"null", b"\"\\ud800\""] {
        assert_eq!(refused(&socket, packet).0, "bad_request", "{packet:?}");
    }
    let deep = [vec![b'['; 20_000], vec![b']'; 20_000]].concat();
    assert_eq!(refused(&socket, &deep).0, "bad_request");
    let nested =
        format!("{{\"v\":1,\"id\":1,\"request\":{}1{}}}", "{\"a\":".repeat(9000), "}".repeat(9000));
    assert_eq!(refused(&socket, nested.as_bytes()).0, "bad_request");
    assert_eq!(refused(&socket, &vec![b' '; MAX_PACKET + 1]).0, "too_large");
    let code = |text: &str| refused(&socket, text.as_bytes());
    assert_eq!(code(r#"{"v":2,"id":1,"request":{"type":"status"}}"#).0, "unsupported_version");
    assert_eq!(code(r#"{"v":-1,"id":1,"request":{"type":"status"}}"#).0, "bad_request");
    assert_eq!(code(r#"{"v":1,"id":-1,"request":{"type":"status"}}"#).0, "bad_request");
    assert_eq!(code(r#"{"v":1,"id":1,"request":{"type":"status","x":1}}"#).0, "bad_request");
    assert_eq!(code(r#"{"v":1,"id":1,"request":{"type":"status"},"x":1}"#).0, "bad_request");
    assert_eq!(
        code(r#"{"v":1,"id":1,"request":{"type":"context_show","context":7}}"#).0,
        "bad_request"
    );
    assert_eq!(
        code(r#"{"v":1,"id":1,"request":{"type":"sattus"}}"#),
        ("unknown_request".into(), "did you mean `status`?".into())
    );
    assert_eq!(
        code(r#"{"v":1,"id":1,"request":{"type":"subscribe","events":["path_switch"]}}"#),
        ("invalid_argument".into(), "did you mean `path_switched`?".into())
    );
    let long = format!(r#"{{"v":1,"id":1,"request":{{"type":"{}"}}}}"#, "é".repeat(30_000));
    assert_eq!(code(&long).0, "unknown_request");
    socket.send(br#"{"v":1,"id":5,"request":{"type":"status"}}"#, None).unwrap();
    let answer = read(&socket).unwrap();
    assert_eq!(answer["id"], 5);
    assert_eq!(answer["response"]["type"], "status");
    assert!(server.counters.invalid.load(Ordering::Relaxed) >= 15);
}

#[test]
fn one_descriptor_reaches_the_driver_and_two_are_refused() {
    let server = Running::start(Limits::default(), "");
    let mut client = server.client();
    let file = fs::File::open("/dev/null").unwrap();
    let fd = Some(std::os::fd::AsFd::as_fd(&file));
    let explore = Request::SocketExplore {};
    let with = client.call_with(explore.clone(), fd, SECOND);
    assert_eq!(with.unwrap(), Response::Accepted { context: ContextId(1) });
    // Without one where it is needed, with one where it is not.
    match client.call(explore).unwrap_err() {
        ClientError::Api(e) => assert_eq!(e.code, ErrorCode::BadRequest),
        other => panic!("{other}"),
    }
    let explore = Request::PathExplore { context: ContextRef::Id { id: ContextId(1) } };
    let with = client.call_with(explore, fd, SECOND);
    assert_eq!(with.unwrap(), Response::Accepted { context: ContextId(0) });

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    use std::os::fd::AsRawFd;
    let socket = server.raw();
    let packet = br#"{"v":1,"id":1,"request":{"type":"status"}}"#;
    for count in [2, 3, 4, 20] {
        let fds = vec![file.as_raw_fd(); count];
        let rights = [ControlMessage::ScmRights(&fds)];
        let iov = [std::io::IoSlice::new(packet)];
        sendmsg::<()>(socket.as_raw_fd(), &iov, &rights, MsgFlags::empty(), None).unwrap();
        assert_eq!(read(&socket).unwrap()["error"]["code"], "bad_request", "{count} descriptors");
    }
}

#[test]
fn what_the_driver_denies_is_counted_too() {
    let server = Running::start(Limits::default(), "");
    let mut client = server.client();
    let file = fs::File::open("/dev/null").unwrap();
    let fd = Some(std::os::fd::AsFd::as_fd(&file));
    match client.call_with(Request::SocketFork {}, fd, SECOND).unwrap_err() {
        ClientError::Api(e) => assert_eq!(e.code, ErrorCode::PermissionDenied),
        other => panic!("{other}"),
    }
    assert_eq!(server.counters.denied.load(Ordering::Relaxed), 1);
}

#[test]
fn the_holder_of_a_socket_sees_the_events_of_its_context_alone() {
    let server = Running::start(Limits::default(), "");
    let mut client = server.client();
    let file = fs::File::open("/dev/null").unwrap();
    let fd = Some(std::os::fd::AsFd::as_fd(&file));
    let wrong = Request::SocketSubscribe { events: vec!["recoverd".into()] };
    assert!(client.call_with(wrong, fd, SECOND).unwrap_err().to_string().contains("recovered"));
    let subscribe = Request::SocketSubscribe { events: vec![] };
    match client.call_with(subscribe, fd, SECOND).unwrap() {
        Response::Socket { socket: answer } => assert_eq!(*answer, socket()),
        other => panic!("{other:?}"),
    }
    let established = |ulid_peer| EventKind::ContextEstablished {
        ulid_local: LOCAL,
        ulid_peer,
        fii: crate::addr::Fii::DEFAULT,
    };
    let state = ContextState::EFailed;
    let failed = |ulid_peer| EventKind::EstablishFailed { ulid_local: LOCAL, ulid_peer, state };
    let lost = EventKind::Lost { after_ms: 1 };
    server.events.send(1, Some(ContextId(6)), lost.clone());
    server.events.send(2, Some(ContextId(6)), established(LOCAL));
    server.events.send(3, Some(ContextId(6)), failed(LOCAL));
    server.events.send(4, Some(ContextId(7)), failed(PEER));
    server.events.send(5, Some(ContextId(8)), established(PEER));
    server.events.send(6, Some(ContextId(8)), lost.clone());
    server.events.send(7, Some(ContextId(9)), lost.clone());
    // The next context between the same ULIDs may be somebody else's.
    server.events.send(8, Some(ContextId(9)), established(PEER));
    server.events.send(9, Some(ContextId(9)), lost);
    client.call_with(Request::SocketExplore {}, fd, SECOND).unwrap();
    let mut seen = Vec::new();
    while let Some(event) = client.next_event(Some(Duration::ZERO)).unwrap() {
        seen.push(event.at_ms);
    }
    assert_eq!(seen, [4, 5, 6]);
}

// req-test: S6-15.1-01
#[test]
fn events_reach_those_who_asked_for_them() {
    let server = Running::start(Limits::default(), "");
    let mut all = server.client();
    let mut probes = server.client();
    let mut seven = server.client();
    let subscribe = |events: &[&str], context| Request::Subscribe {
        events: events.iter().map(|&name| name.to_owned()).collect(),
        context,
    };
    all.call(subscribe(&[], None)).unwrap();
    probes.call(subscribe(&["probe_sent"], None)).unwrap();
    seven.call(subscribe(&[], Some(ContextId(7)))).unwrap();
    let locator = crate::addr::Locator("2001:db8::1".parse().unwrap());
    let pair = Pair { local: locator, peer: locator };
    let probe = EventKind::ProbeSent { pair, state: ReapState::Exploring };
    let recovered = EventKind::Recovered { pair, gap_ms: 3 };
    server.events.send(1, Some(ContextId(7)), probe.clone());
    server.events.send(2, Some(ContextId(8)), recovered.clone());
    server.events.send(3, Some(ContextId(7)), recovered.clone());
    let next = |client: &mut Client| client.next_event(Some(10 * SECOND)).unwrap().unwrap();
    assert_eq!((next(&mut all).at_ms, next(&mut all).at_ms), (2, 3));
    assert_eq!(next(&mut probes).kind, probe);
    assert_eq!(next(&mut seven).at_ms, 3);
    // A call on the same connection keeps the events that come before its answer.
    server.events.send(4, None, EventKind::Reloaded {});
    all.call(Request::Status {}).unwrap();
    assert_eq!(next(&mut all).at_ms, 4);
    all.call(Request::Unsubscribe {}).unwrap();
    server.events.send(5, None, EventKind::Reloaded {});
    all.call(Request::Status {}).unwrap();
    assert_eq!(all.next_event(Some(Duration::ZERO)).unwrap(), None);
}

#[test]
fn the_last_events_are_passed_on_when_the_daemon_stops() {
    let mut server = Running::start(Limits::default(), "");
    let mut client = server.client();
    client.call(Request::Subscribe { events: vec![], context: None }).unwrap();
    server.stop();
    let events: Vec<_> = client.events().map(Result::unwrap).collect();
    assert_eq!(events.last().unwrap().kind, EventKind::Stopping {});
    assert!(matches!(client.call(Request::Status {}), Err(ClientError::Closed)));
    assert!(!server.path.exists(), "the socket's file is removed");
    match Client::connect(&server.path, SECOND) {
        Err(ClientError::NoDaemon { path, .. }) => assert_eq!(path, server.path),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_waits_no_longer_than_told_and_its_late_answer_is_ignored() {
    let server = Running::start(Limits::default(), "");
    let mut client = server.client();
    let peer = crate::addr::Ulid("2001:db8::2".parse().unwrap());
    let wait = Duration::from_millis(50);
    match client.call_with(Request::Establish { local: None, peer }, None, wait) {
        Err(ClientError::Timeout(limit)) => assert_eq!(limit, wait),
        other => panic!("{other:?}"),
    }
    assert!(matches!(client.call(Request::Status {}), Ok(Response::Status { .. })));
}

#[test]
fn requests_in_flight_are_bounded_and_others_are_served_meanwhile() {
    let limits = Limits { in_flight: 3, ..Limits::default() };
    let server = Running::start(limits, "");
    let socket = server.raw();
    let establish = |id| {
        format!(r#"{{"v":1,"id":{id},"request":{{"type":"establish","peer":"2001:db8::2"}}}}"#)
    };
    for id in 0..3 {
        socket.send(establish(id).as_bytes(), None).unwrap();
    }
    socket.send(br#"{"v":1,"id":9,"request":{"type":"hello"}}"#, None).unwrap();
    let mut other = server.client();
    for _ in 0..20 {
        other.call(Request::Status {}).unwrap();
    }
    // The fourth is not even read while three wait for the driver.
    assert!(!socket.wait(false, Some(Duration::from_millis(50))).unwrap());
}

#[test]
fn a_user_above_the_rate_is_slowed_down() {
    let limits = Limits { rate: 50.0, burst: 5.0, ..Limits::default() };
    let server = Running::start(limits, "");
    let mut client = server.client();
    #[allow(clippy::disallowed_methods)]
    let start = std::time::Instant::now();
    for _ in 0..15 {
        client.call(Request::Hello {}).unwrap();
    }
    // Five at once, ten at 20 ms each.
    assert!(start.elapsed() >= Duration::from_millis(190), "{:?}", start.elapsed());
}

#[test]
fn connections_are_bounded() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let server = Running::start(limits, "");
    let _first = server.client();
    let mut second = server.client();
    second.call(Request::Hello {}).unwrap();
    let mut third = server.client();
    match third.call(Request::Hello {}) {
        Err(ClientError::Api(e)) => assert_eq!(e.code, ErrorCode::Busy),
        // The server may have closed before the request was sent.
        Err(ClientError::Closed) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(server.counters.refused.load(Ordering::Relaxed), 1);
}

#[test]
fn a_client_that_does_not_read_is_sent_away_and_nobody_else_notices() {
    let limits = Limits { stall: Duration::from_millis(200), ..Limits::default() };
    let server = Running::start(limits, "");
    let mut idle = server.client();
    idle.call(Request::Subscribe { events: vec![], context: None }).unwrap();
    let mut other = server.client();
    let text = "x".repeat(500);
    for i in 0..5000 {
        let kind = EventKind::AddressRemoved {
            address: crate::addr::Locator("2001:db8::1".parse().unwrap()),
            interface: "eth0".into(),
            reason: text.clone(),
        };
        server.events.send(i, None, kind);
        if i % 100 == 0 {
            other.call(Request::Hello {}).unwrap();
        }
    }
    while server.counters.slow.load(Ordering::Relaxed) == 0 {
        other.call(Request::Hello {}).unwrap();
    }
    assert!(idle.events().count() < 5000);
}

#[test]
fn a_subscriber_that_was_slow_learns_how_many_events_it_lost() {
    let server = Running::start(Limits::default(), "");
    let mut client = server.client();
    client.call(Request::Subscribe { events: vec![], context: None }).unwrap();
    let sent = 20_000;
    for i in 0..sent {
        server.events.send(i, None, EventKind::Reloaded {});
    }
    let (mut got, mut lost) = (0, 0);
    while got + lost < sent {
        match client.next_event(Some(10 * SECOND)).unwrap().unwrap().kind {
            EventKind::EventsLost { count } => lost += count,
            _ => got += 1,
        }
    }
    assert!(lost > 0 && got > 0, "{got} received, {lost} lost");
    assert_eq!(server.counters.events_lost.load(Ordering::Relaxed), lost);
}

#[test]
fn a_stale_socket_is_replaced_a_live_one_and_a_file_are_not() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let bind = || Server::bind(&path, Arc::new(Access::new("")), Limits::default());
    drop(Listener::bind(&path).unwrap());
    assert!(path.exists());
    let server = bind().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o666);
    assert_eq!(bind().unwrap_err().kind(), io::ErrorKind::AddrInUse);
    assert!(path.exists(), "the live daemon keeps its socket");
    drop(server);
    assert!(!path.exists());
    fs::write(&path, "precious").unwrap();
    assert_eq!(bind().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn ordinary_users_are_denied_and_members_of_the_group_are_not() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: needs root to become other users");
        return;
    }
    let server = Running::start(Limits::default(), "games");
    let games = nix::unistd::Group::from_name("games").unwrap().unwrap().gid.as_raw();
    // A client of another user: a python process, as the identity of a thread would be that of the test.
    let ask = |gid: u32, groups: &str, request: &str| {
        let script = format!(
            "import os,socket\nos.setgroups([{groups}])\nos.setgid({gid})\nos.setuid(65534)\n\
             s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\ns.settimeout(10)\n\
             s.connect('{}')\ns.send(b'{{\"v\":1,\"id\":1,\"request\":{{\"type\":\"{request}\"}}}}')\n\
             print(s.recv(65536).decode())",
            server.path.display()
        );
        let out =
            std::process::Command::new("python3").arg("-c").arg(script).output().expect("python3");
        let text = String::from_utf8(out.stdout).unwrap();
        serde_json::from_str::<serde_json::Value>(&text)
            .unwrap_or_else(|e| panic!("{e}: {text} {}", String::from_utf8_lossy(&out.stderr)))
    };
    let denied = ask(65534, "", "status");
    assert_eq!(denied["error"]["code"], "permission_denied");
    assert!(denied["error"]["message"].as_str().unwrap().contains("permission denied"));
    assert_eq!(server.counters.denied.load(Ordering::Relaxed), 1);
    assert_eq!(ask(65534, "", "hello")["response"]["privileged"], false);
    assert_eq!(ask(65534, &games.to_string(), "status")["response"]["type"], "status");
    assert_eq!(ask(games, "", "status")["response"]["type"], "status");
    assert_eq!(server.counters.denied.load(Ordering::Relaxed), 1);
}
