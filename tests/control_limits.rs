//! The limits of the control socket as documented, and what is left for others when somebody tries them all at once.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used)]

use shim6::control::api::{MAX_PACKET, Request};
use shim6::control::client::Client;
use shim6::control::server::{Access, Limits, Server, ServerCounters, link};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Floods the socket from a hundred connections with what may and what may not be, reads nothing, and ends with its input.
const HOSTILE: &str = r#"
import json, os, random, select, socket, sys
path, random = sys.argv[1], random.Random(7)
os.setgroups([])
os.setuid(64102)
valid = [json.dumps({"v": 1, "id": i, "request": {"type": t}}).encode()
         for i, t in enumerate(["hello", "status", "subscribe", "socket_status", "reload"])]
bad = [b"", b"{", b"[" * 60000, b"x" * 65536, b"\x00\xff" * 9, b'{"v":9,"id":1,"request":{"type":"hello"}}',
       b'{"v":1,"id":1e999,"request":{}}', b'{"v":1,"id":1,"request":{"type":"hello","evil":1}}']
sockets, sent = [], 0
def connect():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.setblocking(False)
    try:
        s.connect(path)
        sockets.append(s)
    except OSError:
        s.close()
while not select.select([sys.stdin], [], [], 0)[0]:
    if len(sockets) < 100:
        connect()
    for s in list(sockets):
        try:
            data = random.choice(valid + bad)
            fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(random.choice([0, 0, 1, 3]))]
            try:
                socket.send_fds(s, [data], fds) if fds else s.send(data)
            finally:
                [os.close(fd) for fd in fds]
            sent += 1
        except BlockingIOError:
            pass
        except OSError:
            sockets.remove(s)
            s.close()
    if sent > 1000 and len(sockets) > 0:
        print("flooding", flush=True)
        sent = -10**9
"#;

/// A server with its default limits, whose driver denies nothing. It lives as long as the test.
fn serve(path: &Path) -> Arc<ServerCounters> {
    let path = path.to_owned();
    let (ready, started) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::bind(&path, Arc::new(Access::new("")), Limits::default()).unwrap();
            let (caller, mut driver) = link();
            ready.send(server.counters()).unwrap();
            let drive = async move {
                while let Some(call) = driver.calls.recv().await {
                    call.reply.send(Ok(shim6::control::api::Response::Done {}));
                }
            };
            tokio::join!(server.run(caller), drive);
        });
    });
    started.recv().unwrap()
}

#[test]
fn a_user_who_tries_all_limits_at_once_does_not_starve_others() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: another user needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let path = dir.path().join("control.sock");
    let counters = serve(&path);
    let mut hostile = Command::new("python3")
        .args(["-c", HOSTILE])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut said = String::new();
    BufReader::new(hostile.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "flooding\n");

    // Both connections and calls of somebody else go through, each within its time limit.
    for _ in 0..5 {
        let mut client = Client::connect(&path, Duration::from_secs(5)).unwrap();
        for _ in 0..20 {
            client.call(Request::Status {}).unwrap();
        }
    }
    assert!(hostile.try_wait().unwrap().is_none(), "it was at it all the time");
    drop(hostile.stdin.take());
    assert!(hostile.wait().unwrap().success());
    let count = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    let counted = [count(&counters.refused), count(&counters.invalid), count(&counters.denied)];
    assert!(counted.iter().all(|n| *n > 0), "refused, invalid, denied: {counted:?}");
}

#[test]
fn the_documented_limits_are_those_in_force() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/control-protocol.md");
    let text = std::fs::read_to_string(path).unwrap();
    let limits = Limits::default();
    let table = text.split("## Limits").nth(1).unwrap();
    let row = |what: &str| {
        let row = table.lines().find(|line| line.starts_with(&format!("| {what} |")));
        row.unwrap_or_else(|| panic!("no row: {what}")).replace(',', "")
    };
    let expected = [
        ("packet", vec![MAX_PACKET as f64]),
        ("requests of one connection without an answer", vec![limits.in_flight as f64]),
        ("packets of one user", vec![limits.rate, limits.burst]),
        (
            "connections",
            vec![limits.connections as f64, limits.reserved as f64, limits.per_user as f64],
        ),
        (
            "connects of one user without privileges",
            vec![limits.connect_rate, limits.connect_burst],
        ),
        ("answers that a client does not read", vec![limits.stall.as_secs_f64()]),
        (
            "descriptors passed and not closed yet, of one user without privileges",
            vec![limits.descriptors as f64, limits.stall.as_secs_f64()],
        ),
    ];
    for (what, numbers) in expected {
        let row = row(what);
        let found: Vec<f64> =
            row.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
        assert_eq!(found, numbers, "{row}");
    }
}
