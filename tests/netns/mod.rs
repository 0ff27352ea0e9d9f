//! Fresh network namespaces for tests of the kernel edges.
//!
//! A namespace lives as long as the thread that made it, so nothing has to be cleaned up, whatever happens.
#![allow(dead_code, unsafe_code, clippy::disallowed_methods, clippy::unwrap_used)]

use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

/// Runs a test in a network namespace of its own with `lo` up; says so loudly if that is not permitted.
pub fn isolated(test: &str, body: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED {test}: network namespaces need root");
        return;
    }
    let thread = std::thread::Builder::new().name(test.into()).spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
        sh("ip link set lo up");
        body();
    });
    if let Err(panic) = thread.expect("a thread").join() {
        std::panic::resume_unwind(panic);
    }
}

/// A second host: a thread in another network namespace that runs what it is given.
pub struct Host {
    tid: i32,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Host {
    /// Makes it, with `lo` up.
    pub fn new() -> Host {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
            sh("ip link set lo up");
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            while let Ok(job) = inbox.recv() {
                job();
            }
        });
        Host { tid: told.recv().unwrap(), jobs: Some(jobs), thread: Some(thread) }
    }

    /// Runs something there and waits for its result.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        let job = Box::new(move || drop(tell.send(job())));
        self.jobs.as_ref().unwrap().send(job).unwrap();
        told.recv().expect("the job on the other host ended")
    }

    /// Runs shell commands there.
    pub fn sh(&self, script: &'static str) -> String {
        self.run(move || sh(script))
    }

    /// Connects the calling thread's namespace with that host: a veth pair of the given names, both ends up,
    /// without duplicate address detection.
    pub fn connect(&self, here: &str, there: &'static str) {
        let tid = self.tid;
        sh(&format!(
            "ip link add {here} type veth peer name {there} netns {tid}
             echo 0 > /proc/sys/net/ipv6/conf/{here}/accept_dad
             ip link set {here} up"
        ));
        self.run(move || {
            sh(&format!(
                "echo 0 > /proc/sys/net/ipv6/conf/{there}/accept_dad
                 ip link set {there} up"
            ))
        });
        eventually("the link is up", || {
            sh(&format!("ip -6 addr show dev {here} scope link")).contains("inet6 fe80")
        });
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("a job on the other host failed");
        }
    }
}

/// Runs a shell script in the thread's namespace.
pub fn try_sh(script: &str) -> Output {
    Command::new("sh").args(["-ec", script]).output().expect("sh runs")
}

/// The same, and it has to succeed; gives its output.
pub fn sh(script: &str) -> String {
    let out = try_sh(script);
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{script}: {err}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Waits for a condition, five seconds at most.
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(within(Duration::from_secs(5), condition), "not in time: {what}");
}

/// Whether a condition becomes true in time.
pub fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends one packet of protocol 140 to an address.
pub fn send_140(to: &str, payload: &[u8]) -> std::io::Result<()> {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    let to = nix::sys::socket::SockaddrIn6::from(std::net::SocketAddrV6::new(
        to.parse().unwrap(),
        0,
        0,
        0,
    ));
    // SAFETY: socket(2) takes three numbers.
    let fd = unsafe { libc::socket(libc::AF_INET6, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 140) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    nix::sys::socket::sendto(fd.as_raw_fd(), payload, &to, nix::sys::socket::MsgFlags::empty())?;
    Ok(())
}

/// Sets the mark of a socket's packets.
pub fn set_mark(socket: &impl std::os::fd::AsFd, mark: u32) {
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::Mark, &mark).expect("a mark");
}

/// Two hosts on one link: ours is 2001:db8::1, the other 2001:db8::2.
pub fn two_hosts() -> Host {
    let peer = Host::new();
    peer.connect("eth0", "eth0");
    sh("ip addr add 2001:db8::1/64 dev eth0 nodad");
    peer.sh("ip addr add 2001:db8::2/64 dev eth0 nodad");
    sh("ping -c1 -W2 2001:db8::2");
    peer
}

/// Binds a packet queue, to be read without waiting.
pub fn listen(queue: u16) -> nfq::Queue {
    let mut q = nfq::Queue::open().expect("open queues");
    q.bind(queue).expect("bind a queue");
    q.set_nonblocking(true);
    q
}

/// Takes everything out of a queue, accepts it, and gives the payloads.
pub fn drain(queue: &mut nfq::Queue) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Ok(mut message) = queue.recv() {
        all.push(message.get_payload().to_vec());
        message.set_verdict(nfq::Verdict::Accept);
        queue.verdict(message).expect("verdict");
    }
    all
}
