//! `shim6ctl` and the Python client against a server whose driver is a few lines.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use shim6::addr::{ContextTag, Fii, Generation, Locator, Ulid};
use shim6::control::api::*;
use shim6::control::server::{Access, Driver, EventSender, Incoming, Limits, Server, link};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// A daemon as far as the control socket shows it: 100 contexts, of which each can be explored.
struct Daemon {
    dir: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

fn address(network: u16, last: u16) -> std::net::Ipv6Addr {
    [0x2001, 0xdb8, network, 0, 0, 0, 0, last].into()
}

fn pair(network: u16) -> Pair {
    Pair { local: Locator(address(network, 0xa)), peer: Locator(address(network, 0xb)) }
}

fn summary(id: u64) -> ContextSummary {
    ContextSummary {
        id: ContextId(id),
        ulid_local: Ulid(address(1, 0xa)),
        ulid_peer: Ulid(address(1, 0xb)),
        fii: Fii(id as u32 - 1),
        state: ContextState::Established,
        reap_state: Some(ReapState::Operational),
        role: Role::Responder,
        current: pair(2),
        tagged: true,
        local_tag: ContextTag::from_masked(id),
        peer_tag: None,
        age_ms: 1000 * id,
        last_out_ms: None,
        last_in_ms: Some(3),
        rtt_us: None,
        octets_out: 2048,
        octets_in: 0,
    }
}

fn info(id: u64) -> ContextInfo {
    ContextInfo {
        summary: summary(id),
        local_locators: vec![],
        peer_locators: vec![],
        local_generation: Generation(1),
        peer_generation: None,
        pairs: vec![],
        pinned: None,
        preferred: None,
        standby: None,
        timers: ContextTimers::default(),
        counters: ContextCounters::default(),
        restored: false,
    }
}

fn find(context: &ContextRef) -> Result<u64, ApiError> {
    match context {
        ContextRef::Id { id } if (1..=100).contains(&id.0) => Ok(id.0),
        ContextRef::Ulids { fii, .. } if fii.0 < 100 => Ok(u64::from(fii.0) + 1),
        other => Err(ApiError::no_context(other)),
    }
}

fn answer(request: Request, events: &EventSender) -> Result<Response, ApiError> {
    Ok(match request {
        Request::Status {} => Response::Status {
            status: Box::new(StatusInfo { version: "9.9".into(), ..StatusInfo::default() }),
        },
        Request::ContextList { after, limit } => {
            let first = after.map_or(0, |id| id.0) + 1;
            let last = (first + u64::from(limit.unwrap_or(MAX_PAGE)) - 1).min(100);
            Response::Contexts {
                contexts: (first..=last).map(summary).collect(),
                next: (last < 100).then_some(ContextId(last)),
            }
        }
        Request::ContextShow { context } => {
            Response::Context { context: Box::new(info(find(&context)?)) }
        }
        Request::PathExplore { context } => {
            let id = find(&context)?;
            let context = ContextId(id);
            let reason = ExploreReason::Requested;
            events.send(10, Some(context), EventKind::Exploring { reason, pair: pair(1) });
            if id != 2 {
                let kind = EventKind::Recovered { pair: pair(2), gap_ms: 40 };
                events.send(20, Some(context), kind);
            }
            Response::Accepted { context }
        }
        Request::RulesInstall {} => {
            return Err(ApiError::new(ErrorCode::Kernel, "no nf_tables").remedy("modprobe it"));
        }
        Request::Stats {} => Response::Stats { stats: StatsInfo::default() },
        Request::Reload {} => Response::Reloaded { warnings: vec!["mind the gap".into()] },
        Request::LocatorList { context: None } => Response::HostLocators { locators: vec![] },
        _ => Response::Done {},
    })
}

async fn drive(mut driver: Driver, mut stopped: oneshot::Receiver<()>) {
    loop {
        tokio::select! {
            Some(Incoming { request, reply, .. }) = driver.calls.recv() => {
                reply.send(answer(request, &driver.events));
            }
            _ = &mut stopped => return driver.events.send(99, None, EventKind::Stopping {}),
        }
    }
}

impl Daemon {
    fn start() -> Daemon {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let access = Arc::new(Access::new(""));
                let server = Server::bind(&path, access, Limits::default()).unwrap();
                let (caller, driver) = link();
                ready.send(()).unwrap();
                tokio::join!(server.run(caller), drive(driver, stopped));
            });
        });
        started.recv().unwrap();
        Daemon { dir, stop: Some(stop), thread: Some(thread) }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shim6ctl"));
        command.args(words).env("SHIM6_SOCKET", self.socket()).stdin(Stdio::null());
        command
    }

    /// Runs `shim6ctl` and gives exit code, standard output and standard error.
    fn ctl(&self, words: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command(words).output().unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    fn json(&self, words: &[&str]) -> (i32, Value) {
        let (code, out, _) = self.ctl(&[words, &["--json"]].concat());
        (code, serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}")))
    }

    fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

#[test]
fn listings_come_as_tables_and_as_json() {
    let daemon = Daemon::start();
    let (code, out, _) = daemon.ctl(&["context", "list"]);
    assert_eq!((code, out.lines().count()), (0, 101));
    assert!(out.starts_with(" ID  ULIDS "), "{out}");
    let (code, list) = daemon.json(&["context", "list"]);
    assert_eq!(code, 0);
    let ids: Vec<_> = list["contexts"].as_array().unwrap().iter().map(|c| &c["id"]).collect();
    assert_eq!(ids, (1..=100).map(|n| json!(n)).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    assert_eq!(daemon.json(&["status"]).1["version"], "9.9");
    assert_eq!(daemon.json(&["context", "show", "3"]).1["local_tag"], "000000000003");
    let named = "2001:db8:1::a,2001:db8:1::b,4";
    assert_eq!(daemon.json(&["context", "show", named]).1["id"], 5);
    assert!(daemon.ctl(&["context", "show", "5"]).1.contains("fii         4"));
    assert!(daemon.ctl(&["reload"]).1.contains("warning: mind the gap"));
    assert_eq!(daemon.ctl(&["stats"]).0, 0);
    assert!(daemon.ctl(&["locator", "list"]).1.contains("no global IPv6 address"));
    assert_eq!(daemon.ctl(&["context", "discard", "1"]).0, 0);
}

#[test]
fn exit_codes_say_whose_fault_it_is() {
    let mut daemon = Daemon::start();
    let (code, out, err) = daemon.ctl(&["context", "show", "101"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("there is no context 101") && err.contains("context list"), "{err}");
    let (code, error) = daemon.json(&["context", "show", "101"]);
    assert_eq!((code, &error["error"]["code"]), (1, &json!("not_found")));
    assert_eq!(daemon.ctl(&["context", "shw"]).0, 2);
    let (code, _, err) = daemon.ctl(&["monitor", "--event", "recoverd", "--count", "1"]);
    assert_eq!(code, 2);
    assert!(err.contains("'recovered'"), "{err}");
    let (code, _, err) = daemon.ctl(&["rules", "install"]);
    assert_eq!(code, 3);
    assert!(err.contains("modprobe it"), "{err}");
    daemon.stop();
    let (code, _, err) = daemon.ctl(&["status"]);
    assert_eq!(code, 1);
    assert!(err.contains("no shim6d answers at") && err.contains("control.sock"), "{err}");
}

#[test]
fn exploring_can_wait_for_the_result() {
    let daemon = Daemon::start();
    let (code, answer) = daemon.json(&["path", "explore", "7"]);
    assert_eq!((code, &answer["context"]), (0, &json!(7)));
    let (code, answer) = daemon.json(&["path", "explore", "7", "--wait", "10"]);
    assert_eq!((code, &answer["pair"]["local"]), (0, &json!("2001:db8:2::a")));
    let (code, _, err) = daemon.ctl(&["path", "explore", "2", "--wait", "0.2"]);
    assert_eq!(code, 1);
    assert!(err.contains("no pair was confirmed within 0.2 s"), "{err}");
}

/// Waits until the child has said on standard error that it listens.
fn listening(child: &mut Child) {
    use std::io::{BufRead, BufReader};
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("waiting for events"), "{line}");
}

#[test]
fn monitor_prints_events_as_they_happen() {
    let mut daemon = Daemon::start();
    let start = |words: &[&str]| {
        let mut command = daemon.command(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        listening(&mut child);
        child
    };
    let text = start(&["monitor"]);
    let lines = start(&["monitor", "--json", "--event", "recovered,exploring", "--count", "2"]);
    assert_eq!(daemon.ctl(&["path", "explore", "7"]).0, 0);
    let lines = lines.wait_with_output().unwrap();
    assert!(lines.status.success());
    let events: Vec<Value> = String::from_utf8(lines.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<_> = events.iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["exploring", "recovered"]);
    assert_eq!(events[0]["reason"], "requested");
    daemon.stop();
    let text = text.wait_with_output().unwrap();
    assert!(text.status.success());
    let text = String::from_utf8(text.stdout).unwrap();
    assert_eq!(
        text,
        "       0.010      #7  exploring, requested: 2001:db8:1::a -> 2001:db8:1::b\n       \
         0.020      #7  recovered on 2001:db8:2::a -> 2001:db8:2::b, silent for 40 ms\n       \
         0.099       -  the daemon stops\n"
    );
}

#[test]
fn the_python_client_works_as_it_stands() {
    let daemon = Daemon::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/shim6_client.py");
    let lines = std::fs::read_to_string(script).unwrap();
    let code = lines.lines().filter(|l| !l.trim().is_empty()).count();
    assert!(code <= 42, "{code} lines, and the documentation says forty");
    let mut child = Command::new("python3")
        .args([script.as_ref(), daemon.socket().as_os_str(), "2".as_ref()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    // It subscribes before it lists: once the last context is there, events are coming.
    use std::io::{BufRead, BufReader};
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let listed: Vec<_> = out.by_ref().take(100).collect();
    assert_eq!(listed[99], "100 2001:db8:1::a 2001:db8:1::b ESTABLISHED");
    assert_eq!(daemon.ctl(&["path", "explore", "7"]).0, 0);
    let events: Vec<_> = out.collect();
    assert_eq!(events, ["10 exploring 7", "20 recovered 7"]);
    assert!(child.wait().unwrap().success());
}
