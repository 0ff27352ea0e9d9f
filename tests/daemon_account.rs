//! `shim6d` on a host that has an account for it, with the rights that its unit file leaves it.

#![allow(clippy::unwrap_used)]

mod netns;
mod running;

use netns::{eventually, isolated, sh};
use nix::sched::{CloneFlags, unshare};
use running::{Daemon, SHIM6D, in_directory, provider};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

const UNIT: &str = include_str!("../docs/systemd/shim6d.service");

/// The account's number. The account is in a copy of `/etc` that nobody else sees.
const ACCOUNT: u32 = 64_142;

/// A host with one provider and the account; the body is given a directory that everybody can enter.
fn host(test: &str, body: impl FnOnce(&Path) + Send + 'static) {
    isolated(test, move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().to_str().unwrap();
        sh(&format!(
            "mount --make-rprivate /
             cp -a /etc {at}/etc
             sed -i /^shim6:/d {at}/etc/passwd {at}/etc/group
             echo 'shim6:x:{ACCOUNT}:{ACCOUNT}::/nonexistent:/usr/sbin/nologin' >> {at}/etc/passwd
             echo 'shim6:x:{ACCOUNT}:' >> {at}/etc/group
             rm -rf {at}/etc/shim6
             mkdir {at}/etc/shim6
             mount --bind {at}/etc /etc"
        ));
        provider();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        body(dir.path());
    });
}

/// What the unit file says of a key.
fn unit(key: &str) -> &'static str {
    UNIT.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('=')).expect("a key of the unit")
}

/// The arguments that make `setpriv` leave what the unit file leaves.
fn as_the_unit_says() -> Vec<String> {
    let names = unit("CapabilityBoundingSet").to_lowercase();
    let left = names.split(' ').map(|name| format!(",+{}", name.trim_start_matches("cap_")));
    assert_eq!(unit("NoNewPrivileges"), "yes");
    vec![format!("--bounding-set=-all{}", left.collect::<String>()), "--no-new-privs".to_owned()]
}

/// As somebody may start it who has an account with these two capabilities.
fn with_ambient_capabilities(uid: u32) -> Vec<String> {
    let caps = "-all,+net_admin,+net_raw";
    vec![
        format!("--reuid={uid}"),
        format!("--regid={uid}"),
        "--clear-groups".to_owned(),
        format!("--inh-caps={caps}"),
        format!("--ambient-caps={caps}"),
    ]
}

/// The daemon's command; its directories are `state` and `run` in `dir`, its configuration is that of the host.
fn shim6d(dir: &Path, rights: &[String], more: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(rights).arg(SHIM6D);
    in_directory(command, dir, more)
}

fn start<'a>(dir: &'a Path, rights: &[String], more: &[&str]) -> Daemon<'a> {
    Daemon::spawn(&mut shim6d(dir, rights, more), dir)
}

/// As the service manager does it: with all rights if there is a `+`, else with those of the daemon.
fn reload(daemon: &Daemon<'_>) {
    let line = unit("ExecReload");
    let (line, rights) = match line.strip_prefix('+') {
        Some(line) => (line, Vec::new()),
        None => (line, as_the_unit_says()),
    };
    let mut command = Command::new("setpriv");
    command.args(rights).args(["sh", "-c", line]);
    let pid = daemon.process.id().to_string();
    assert!(command.env("MAINPID", pid).status().unwrap().success(), "{line}");
}

/// A line of `/proc/PID/status`.
fn status(pid: u32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {key} in {text}"))
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn it_starts_again_and_again_with_what_its_unit_leaves_it() {
    host("account", |dir| {
        let identity = dir.join("state/identity/key.pem");
        let mut key = None;
        for (round, backend) in ["batch", "nfq", "batch"].into_iter().enumerate() {
            let more = ["--queue-backend", backend];
            let daemon = start(dir, &as_the_unit_says(), &more);
            let pid = daemon.process.id();
            let guard = sh(&format!("pgrep -P {pid} -x shim6d-guard")).trim().parse().unwrap();
            for process in [pid, guard] {
                assert_eq!(
                    status(process, "Uid"),
                    format!("{ACCOUNT} {ACCOUNT} {ACCOUNT} {ACCOUNT}")
                );
                // CAP_NET_ADMIN and CAP_NET_RAW, and no way to more.
                assert_eq!(status(process, "CapEff"), "0000000000003000");
                assert_eq!(status(process, "CapPrm"), "0000000000003000");
                assert_eq!(status(process, "CapBnd"), "0000000000003000");
                assert_eq!(status(process, "CapInh"), "0000000000000000");
                assert_eq!(status(process, "NoNewPrivs"), "1");
            }
            eventually("there is an identity", || identity.exists());
            let now = fs::read(&identity).unwrap();
            assert_eq!(key.get_or_insert(now.clone()), &now, "round {round}");
            assert!(!daemon.log().contains("WARN"), "{}", daemon.log());
            // The second time it is killed, and leaves its socket.
            if round == 1 {
                drop(daemon);
            } else {
                assert_eq!(daemon.end(), 0);
            }
            for file in ["state", "state/identity/key.pem", "run", "run/shim6d.lock"] {
                assert_eq!(fs::metadata(dir.join(file)).unwrap().uid(), ACCOUNT, "{file}");
            }
            assert!(dir.join("run/contexts.journal").exists());
        }
        // What is left in the runtime directory is for the next start.
        assert_eq!(unit("RuntimeDirectoryPreserve"), "yes");
    });
}

#[test]
fn a_configuration_that_the_account_may_not_read_changes_nothing() {
    host("unreadable", |dir| {
        let (etc, file) = (Path::new("/etc/shim6"), Path::new("/etc/shim6/shim6d.toml"));
        let mode = |of: &Path, mode| fs::set_permissions(of, PermissionsExt::from_mode(mode));
        // Below the recommended range, which shows.
        fs::write(file, "[reap]\nsend_timeout = 4\n").unwrap();
        let daemon = start(dir, &as_the_unit_says(), &[]);
        let in_force = || {
            let status = daemon.ctl(&["--json", "status"]).stdout;
            String::from_utf8_lossy(&status).contains("send_timeout = 4")
        };
        assert!(in_force());
        for (round, path) in [etc, file].into_iter().enumerate() {
            mode(path, 0o600).unwrap();
            reload(&daemon);
            let refused = || daemon.log().matches("nothing was changed").count() == round + 1;
            eventually("the log says so", refused);
            mode(path, 0o755).unwrap();
        }
        let text = format!("{}: Permission denied (os error 13): user {ACCOUNT}", file.display());
        assert_eq!(daemon.log().matches(&text).count(), 2, "{}", daemon.log());
        assert!(in_force(), "what was read before");
        fs::remove_file(file).unwrap();
        reload(&daemon);
        eventually("without a file the defaults hold", || !in_force());
        assert_eq!(daemon.end(), 0);
    });
}

/// Somebody's program that takes the name by which daemons find each other, says so, and lets so many connect.
const HOLDS_THE_NAME: &str = "
import os, socket, sys
os.setuid(64103)
s = socket.socket(socket.AF_UNIX)
s.bind('\\0shim6d')
if (room := int(sys.argv[1])) >= 0:
    s.listen(room)
guests = [socket.socket(socket.AF_UNIX) for _ in range(room + 1)]
for guest in guests if room < 9 else []:
    guest.connect(s.getsockname())
print('held', flush=True)
sys.stdin.read()
";

#[test]
fn a_second_daemon_ends_if_the_first_is_the_accounts_and_starts_beside_a_strangers_program() {
    host("second", |dir| {
        let (first, second) = (dir.join("first"), dir.join("second"));
        fs::create_dir(&first).unwrap();
        std::os::unix::fs::chown(&first, Some(ACCOUNT), Some(ACCOUNT)).unwrap();
        fs::create_dir(&second).unwrap();
        fs::write("/etc/shim6/shim6d.toml", "[rules]\nqueue_first = 900\n").unwrap();
        // That of root becomes the account's, too.
        for rights in [with_ambient_capabilities(ACCOUNT), as_the_unit_says()] {
            let daemon = start(&first, &rights, &[]);
            fs::write("/etc/shim6/shim6d.toml", "").unwrap();
            for rights in [with_ambient_capabilities(ACCOUNT), as_the_unit_says()] {
                let own = tempfile::tempdir_in(&second).unwrap();
                std::os::unix::fs::chown(own.path(), Some(ACCOUNT), None).unwrap();
                let out = shim6d(own.path(), &rights, &[]).output().unwrap();
                let text = String::from_utf8_lossy(&out.stderr);
                assert_eq!(out.status.code(), Some(1), "{text}");
                assert!(
                    text.contains(&format!("another shim6d (process {})", daemon.process.id())),
                    "{text}"
                );
            }
            assert_eq!(daemon.end(), 0);
        }
        // One who can be asked, one who is full, and one who does not listen.
        for room in ["9", "0", "-1"] {
            let mut stranger = Command::new("python3")
                .args(["-c", HOLDS_THE_NAME, room])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            stranger.stdout.as_mut().unwrap().read_exact(&mut [0; 4]).unwrap();
            let daemon = start(&second, &as_the_unit_says(), &[]);
            let log = daemon.log();
            assert!(log.contains("user 64103") && log.contains("holds the name"), "{log}");
            assert_eq!(daemon.end(), 0);
            drop(stranger.stdin.take());
            assert!(stranger.wait().unwrap().success());
        }
    });
}
