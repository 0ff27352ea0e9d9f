//! Network namespaces for tests: made with a name of their own, gone when the value is dropped.

#![allow(dead_code)]

use nix::sched::{CloneFlags, setns};
use nix::time::{ClockId, clock_gettime};
use shim6::proto::Time;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// CLOCK_BOOTTIME.
pub fn now() -> Time {
    let t = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("clock");
    Time::from_nanos(t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}

/// Waits until `ready` yields something, and panics after the deadline.
pub fn until<T>(deadline: Duration, what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let began = now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(now().since(began) < deadline, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

fn shell(command: &str) -> String {
    let out = Command::new("sh").args(["-c", command]).output().expect("sh");
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{command}: {text}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// One network namespace.
pub struct Namespace {
    name: String,
}

impl Namespace {
    fn new(name: String) -> Namespace {
        shell(&format!("ip netns add {name}"));
        let ns = Namespace { name };
        ns.run("ip link set lo up");
        ns
    }

    /// Runs a command inside.
    pub fn run(&self, command: &str) -> String {
        shell(&format!("ip netns exec {} {command}", self.name))
    }

    /// Runs a closure inside, in a thread of its own. Sockets and threads made there stay inside.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let ns = File::open(format!("/var/run/netns/{}", self.name)).expect("namespace");
        std::thread::scope(|s| {
            let thread = s.spawn(|| {
                setns(&ns, CloneFlags::CLONE_NEWNET).expect("setns");
                inside()
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Packets that the rules with this target have matched.
    pub fn counter(&self, table: &str, chain: &str, target: &str) -> u64 {
        let list = self.run(&format!("ip6tables -t {table} -nvxL {chain}"));
        list.lines()
            .filter_map(|line| {
                let mut fields = line.split_ascii_whitespace();
                let packets = fields.next()?.parse::<u64>().ok()?;
                (fields.nth(1)? == target).then_some(packets)
            })
            .sum()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Another failure is on its way if this one happens too.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Two namespaces with two links between them, `link1` and `link2`, without addresses.
pub fn pair(name: &str) -> (Namespace, Namespace) {
    let id = std::process::id();
    let a = Namespace::new(format!("shim6-{name}-{id}-a"));
    let b = Namespace::new(format!("shim6-{name}-{id}-b"));
    for link in ["link1", "link2"] {
        let (na, nb) = (&a.name, &b.name);
        shell(&format!("ip link add {link} netns {na} type veth peer name {link} netns {nb}"));
        a.run(&format!("ip link set {link} up"));
        b.run(&format!("ip link set {link} up"));
    }
    (a, b)
}

/// A running packet capture.
pub struct Capture {
    tcpdump: Child,
    file: PathBuf,
    _stderr: BufReader<std::process::ChildStderr>,
}

/// Captures IPv6 on an interface.
pub fn capture(ns: &Namespace, interface: &str) -> Capture {
    let file = std::env::temp_dir().join(format!("{}-{interface}.pcap", ns.name));
    let mut tcpdump = Command::new("ip")
        .args(["netns", "exec", &ns.name, "tcpdump", "-i", interface, "-s", "0", "-U", "-n"])
        .args(["-B", "65536", "--immediate-mode", "-w"])
        .arg(&file)
        .arg("ip6")
        .stderr(Stdio::piped())
        .spawn()
        .expect("tcpdump");
    let mut stderr = BufReader::new(tcpdump.stderr.take().expect("stderr"));
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        assert!(stderr.read_line(&mut line).expect("stderr") > 0, "tcpdump does not start");
    }
    Capture { tcpdump, file, _stderr: stderr }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Fails if it has ended already, as it should have.
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
        let _ = fs::remove_file(&self.file);
    }
}

impl Capture {
    /// Ends the capture: all packets from their IPv6 header on.
    pub fn stop(mut self) -> Vec<Vec<u8>> {
        let pid = nix::unistd::Pid::from_raw(self.tcpdump.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("kill");
        self.tcpdump.wait().expect("tcpdump ends");
        let octets = fs::read(&self.file).expect("capture");
        let mut packets = Vec::new();
        // File header 24 octets; per packet 16 octets, of which 8..12 the length in host order; Ethernet 14.
        let mut rest = &octets[24..];
        while let Some((header, tail)) = rest.split_at_checked(16) {
            let len = u32::from_ne_bytes(header[8..12].try_into().expect("four")) as usize;
            let (frame, next) = tail.split_at(len.min(tail.len()));
            packets.push(frame[14..].to_vec());
            rest = next;
        }
        packets
    }
}
