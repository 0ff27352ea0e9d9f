//! A `shim6d` that runs for a test, and its host. For crates that have `mod netns`, too.
#![allow(clippy::unwrap_used)]

use crate::netns::{eventually, sh};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

pub const SHIM6D: &str = env!("CARGO_BIN_EXE_shim6d");
const SHIM6CTL: &str = env!("CARGO_BIN_EXE_shim6ctl");

/// A host with one provider.
pub fn provider() {
    sh("ip link add p1 type veth peer name q1
        echo 0 > /proc/sys/net/ipv6/conf/p1/accept_dad
        ip link set p1 up; ip link set q1 up
        ip addr add 2001:db8:1::10/64 dev p1 nodad
        ip route add default via 2001:db8:1::1 dev p1");
}

/// The arguments with which its directories are `state` and `run` in `dir`, and `more`.
pub fn in_directory(mut command: Command, dir: &Path, more: &[&str]) -> Command {
    command.arg("--state-dir").arg(dir.join("state")).arg("--runtime-dir").arg(dir.join("run"));
    command.args(more).env("SHIM6_LOG", "info").stdin(Stdio::null());
    command
}

/// A daemon that answers.
pub struct Daemon<'a> {
    pub process: Child,
    dir: &'a Path,
}

impl Daemon<'_> {
    /// Starts it, with its log in `dir`.
    pub fn spawn<'a>(command: &mut Command, dir: &'a Path) -> Daemon<'a> {
        let log = File::create(dir.join("log")).unwrap();
        let process = command.stderr(log).spawn().unwrap();
        let mut daemon = Daemon { process, dir };
        eventually("the daemon answers", || {
            let ended = daemon.process.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", daemon.log());
            daemon.ctl(&["status"]).status.success()
        });
        daemon
    }

    pub fn ctl(&self, args: &[&str]) -> Output {
        let socket = self.dir.join("run/control.sock");
        Command::new(SHIM6CTL).arg("--socket").arg(socket).args(args).output().unwrap()
    }

    pub fn signal(&self, name: &str) {
        sh(&format!("kill -{name} {}", self.process.id()));
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap()
    }

    /// Ends it in good order; its exit status.
    pub fn end(mut self) -> i32 {
        self.signal("TERM");
        let status = self.process.wait().unwrap();
        if !status.success() {
            eprintln!("{}", self.log());
        }
        status.code().unwrap_or_else(|| panic!("{status:?}: {}", self.log()))
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
