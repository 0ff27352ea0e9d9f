//! How `shim6d` starts, fails to start, reads its configuration again and ends.

#![allow(clippy::unwrap_used)]

mod netns;
mod running;

use netns::{eventually, isolated, sh, try_sh};
use running::{Daemon, SHIM6D, in_directory, provider};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

fn shim6d(dir: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(SHIM6D);
    command.arg("--config").arg(dir.join("shim6d.toml"));
    in_directory(command, dir, more)
}

fn code(mut command: Command) -> (i32, String) {
    let out = command.output().unwrap();
    (out.status.code().unwrap(), String::from_utf8_lossy(&out.stderr).into_owned())
}

fn directory(config: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("shim6d.toml"), config).unwrap();
    dir
}

fn start(dir: &Path) -> Daemon<'_> {
    Daemon::spawn(&mut shim6d(dir, &[]), dir)
}

#[test]
fn usage_and_configuration_end_with_2() {
    let dir = directory("[reap]\nsend_timeout = \"soon\"\n");
    for more in [&["--check"][..], &["--no-such-option"]] {
        let (code, text) = code(shim6d(dir.path(), more));
        assert_eq!(code, 2, "{text}");
    }
}

#[test]
fn what_the_kernel_lacks_ends_with_3_and_a_good_host_with_0() {
    isolated("check", || {
        let dir = directory("");
        assert_eq!(code(shim6d(dir.path(), &["--check"])).0, 0);
        // No right to anything, although it runs as root.
        let mut weak = Command::new("setpriv");
        weak.args(["--bounding-set=-all", SHIM6D, "--check", "--config"]);
        weak.arg(dir.path().join("shim6d.toml"));
        let (code, text) = code(weak);
        assert_eq!(code, 3, "{text}");
        assert!(text.contains("CAP_NET_ADMIN"), "{text}");
        assert!(!dir.path().join("state").exists(), "a check changes nothing");
    });
}

#[test]
fn one_daemon_serves_a_network_namespace_whatever_its_directories_and_queues() {
    isolated("other_queues", || {
        provider();
        let dir = directory("");
        let other = directory("[rules]\nqueue_first = 900\n");
        let first = start(dir.path());
        let (code, text) = code(shim6d(other.path(), &[]));
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("another shim6d"), "{text}");
        let rules = sh("nft list table ip6 shim6");
        assert!(!rules.contains("900"), "the first one's rules: {rules}");
        assert_eq!(first.end(), 0);
        // Its place is free again.
        let second = start(other.path());
        assert!(sh("nft list table ip6 shim6").contains("900"));
        assert_eq!(second.end(), 0);
    });
}

#[test]
fn warnings_about_a_configuration_go_with_it() {
    isolated("warnings", || {
        provider();
        let dir = directory("[reap]\nsend_timeout = 5\n");
        let daemon = start(dir.path());
        let warned = || {
            let out = daemon.ctl(&["--json", "status"]);
            let status: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
            status["warnings"].to_string().contains("send_timeout")
        };
        assert!(warned());
        fs::write(dir.path().join("shim6d.toml"), "").unwrap();
        daemon.signal("HUP");
        eventually("the warning goes", || !warned());
        fs::write(dir.path().join("shim6d.toml"), "[reap]\nsend_timeout = 4\n").unwrap();
        daemon.signal("HUP");
        eventually("another one comes", warned);
        assert_eq!(daemon.end(), 0);
    });
}

#[test]
fn a_second_daemon_fails_with_1_and_harms_nobody() {
    isolated("second", || {
        provider();
        let dir = directory("");
        let first = start(dir.path());
        let (code, text) = code(shim6d(dir.path(), &[]));
        assert_eq!(code, 1, "{text}");
        assert!(first.ctl(&["status"]).status.success());
        assert!(sh("nft list tables").contains("shim6"));
        assert_eq!(first.end(), 0);
        assert_eq!(sh("nft list tables"), "");
    });
}

#[test]
fn a_start_that_fails_leaves_no_rules_and_keeps_the_journal() {
    isolated("failure", || {
        provider();
        let dir = directory("");
        // Another program has the queue.
        let mut taken = nfq::Queue::open().unwrap();
        taken.bind(shim6::nft::RuleSpec::default().queue_first).unwrap();
        fs::create_dir(dir.path().join("run")).unwrap();
        let journal = dir.path().join("run/contexts.journal");
        fs::write(&journal, "what an earlier daemon left").unwrap();
        let (code, text) = code(shim6d(dir.path(), &[]));
        assert_eq!(code, 3, "{text}");
        assert_eq!(fs::read(&journal).unwrap(), b"what an earlier daemon left");
        assert!(!dir.path().join("run/control.sock").exists());
        assert_eq!(sh("nft list tables"), "");
    });
}

#[test]
fn directories_that_others_can_change_are_refused() {
    isolated("directories", || {
        let dir = directory("");
        let run = dir.path().join("run");
        fs::create_dir(&run).unwrap();
        fs::set_permissions(&run, fs::Permissions::from_mode(0o777)).unwrap();
        let (code, text) = code(shim6d(dir.path(), &[]));
        assert_eq!(code, 2, "{text}");
        assert!(text.contains("chmod go-w"), "{text}");
    });
}

#[test]
fn a_wrong_configuration_changes_nothing_and_a_right_one_is_taken() {
    isolated("reload", || {
        provider();
        let dir = directory("");
        let config = dir.path().join("shim6d.toml");
        let daemon = start(dir.path());
        fs::write(&config, "[reap]\nsend_timeout = 2\n[nonsense]\n").unwrap();
        daemon.signal("HUP");
        eventually("the log says so", || daemon.log().contains("nothing was changed"));
        assert!(!daemon.log().contains("configuration read again"));
        // Below the recommended range: a warning that has to be seen.
        fs::write(&config, "[reap]\nsend_timeout = 2\n").unwrap();
        daemon.signal("HUP");
        eventually("it is read", || daemon.log().contains("configuration read again"));
        eventually("with its warning", || daemon.log().contains("send_timeout = 2"));
        assert_eq!(daemon.end(), 0);
    });
}

#[test]
fn the_level_of_the_log_changes_with_the_configuration_unless_the_environment_names_one() {
    isolated("log level", || {
        provider();
        let level = |level| format!("[log]\nlevel = \"{level}\"\n");
        let dir = directory(&level("error"));
        let reload = |daemon: &Daemon<'_>, to| {
            fs::write(dir.path().join("shim6d.toml"), level(to)).unwrap();
            assert!(daemon.ctl(&["reload"]).status.success());
        };
        let read = |daemon: &Daemon<'_>| daemon.log().matches("configuration read again").count();
        let daemon = Daemon::spawn(shim6d(dir.path(), &[]).env_remove("SHIM6_LOG"), dir.path());
        assert_eq!(daemon.log(), "");
        // Whoever reloads gets his answer after the line is written.
        for (to, lines) in [("info", 1), ("debug", 2), ("warn", 2), ("error", 2), ("info", 3)] {
            reload(&daemon, to);
            assert_eq!(read(&daemon), lines, "{to}");
        }
        assert_eq!(daemon.end(), 0);
        let daemon = Daemon::spawn(shim6d(dir.path(), &[]).env("SHIM6_LOG", "error"), dir.path());
        reload(&daemon, "info");
        assert_eq!(daemon.log(), "");
        assert_eq!(daemon.end(), 0);
    });
}

#[test]
fn the_end_comes_even_while_an_identity_is_made() {
    isolated("early end", || {
        provider();
        let dir = directory("[identity]\nsec = 2\n");
        let daemon = start(dir.path());
        eventually("it has begun", || daemon.log().contains("making an identity"));
        assert!(daemon.ctl(&["status"]).status.success(), "the loop goes on meanwhile");
        assert_eq!(daemon.end(), 0);
        assert_eq!(sh("nft list tables"), "");
        assert!(!try_sh("ip addr show dev p1").stdout.is_empty());
        assert!(!dir.path().join("state/identity").exists(), "nothing half made is left");
    });
}

/// A program of some user without privileges. It asks for contexts with more peers than it may in so short a time, then
/// has a peer checked as often as it may and once more; prints how often each went well.
const ASKS: &str = r#"
import json, os, socket, sys, time
os.setgroups([])
os.setuid(64103)
def daemon():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(20)
    s.connect(sys.argv[1])
    return s
def towards(n):
    u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    u.bind(("2001:db8:1::10", 0))
    u.connect(("2001:db8:9::%x" % n, 9))
    return u
def ask(s, n, request):
    packet = json.dumps({"v": 1, "id": n, "request": request}).encode()
    with towards(n % 2**16) as u:
        socket.send_fds(s, [packet], [u.fileno()])
s, codes, began = daemon(), [], time.monotonic()
for n in range(1, 61):
    ask(s, n, {"type": "socket_set"})
    codes.append(json.loads(s.recv(65536)).get("error", {}).get("code", "ok"))
took = time.monotonic() - began
again = 0
for _ in range(50):
    ask(s, 1, {"type": "socket_set"})
    again += "response" in json.loads(s.recv(65536))
# Each of three connections may have sixteen requests waiting. The daemon takes them in order: when a later one is
# answered and the check is not, that waits.
lines, waiting, n, full = [daemon() for _ in range(3)], 0, 1000, False
while not full:
    line, n = lines[waiting // 15], n + 1
    ask(line, n, {"type": "peer_check", "wait_ms": 60000})
    ask(line, 2**32 + n, {"type": "socket_status"})
    waiting += 1
    while (answer := json.loads(line.recv(65536)))["id"] <= n:
        assert answer["error"]["code"] == "busy", answer
        waiting, full = waiting - 1, full or "tests and checks" in answer["error"]["message"]
print(json.dumps({"set": codes.count("ok"), "busy": codes.count("busy"), "took": took, "again": again, "checks": waiting}),
      flush=True)
sys.stdin.read()
for line in lines:
    print(json.loads(line.recv(65536))["error"]["code"], flush=True)
"#;

#[test]
fn a_user_gets_only_so_many_contexts_in_a_second_and_hears_of_the_end() {
    use std::io::{BufRead, BufReader};
    isolated("asks", || {
        provider();
        // Whose silence is no news to the kernel.
        sh("ip neigh add 2001:db8:1::1 lladdr 02:00:00:00:00:01 dev p1 nud permanent");
        let dir = directory("");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let daemon = start(dir.path());
        let contexts = || {
            let out = daemon.ctl(&["--json", "status"]);
            let status: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
            let of_state = status["contexts"].as_object().unwrap().values();
            of_state.map(|n| n.as_u64().unwrap()).sum::<u64>()
        };
        let mut asks = Command::new("python3")
            .args(["-c", ASKS])
            .arg(dir.path().join("run/control.sock"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(asks.stdout.take().unwrap()).lines();
        let said: serde_json::Value =
            serde_json::from_str(&lines.next().expect("what it was told").unwrap()).unwrap();
        let (set, busy) = (said["set"].as_u64().unwrap(), said["busy"].as_u64().unwrap());
        assert_eq!(set + busy, 60);
        let most = 21.0 + 10.0 * said["took"].as_f64().unwrap();
        assert!(set >= 20 && set as f64 <= most, "{said}");
        assert_eq!(said["again"], 50, "a context that is there costs nothing");
        assert_eq!(said["checks"], 32);
        // Nothing was sent for those who were told that there is no room.
        assert_eq!(contexts(), set + 32);
        drop(asks.stdin.take());
        daemon.signal("TERM");
        let told: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!(told, ["unavailable"; 3]);
        assert!(asks.wait().unwrap().success());
        assert_eq!(daemon.end(), 0);
    });
}
