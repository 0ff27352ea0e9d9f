//! Closing that takes long, with and without an end.

use super::super::tests::slow::lingering;
use super::*;
use std::fs::File;
use std::net::UdpSocket;

fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limit = Duration::from_secs(20);
    runtime.block_on(async { tokio::time::timeout(limit, test).await.expect("in time") });
}

fn user(uid: u32) -> Owner {
    Owner { privileged: false, uid }
}

const ROOT: Owner = Owner { privileged: true, uid: 0 };

fn file(path: &str) -> OwnedFd {
    File::open(path).unwrap().into()
}

fn socket() -> OwnedFd {
    UdpSocket::bind("[::1]:0").unwrap().into()
}

impl Closers {
    async fn down_to(self: &Arc<Closers>, left: usize) {
        self.until(|| self.open() <= left).await;
    }
}

#[test]
fn a_user_whose_descriptors_never_close_holds_up_himself_alone() {
    static GATE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
    /// /dev/null takes until the gate opens.
    fn close(fd: OwnedFd) {
        if nix::sys::stat::fstat(&fd).is_ok_and(|s| s.st_rdev == libc::makedev(1, 3)) {
            let opened = GATE.0.lock().unwrap();
            drop(GATE.1.wait_while(opened, |opened| !*opened).unwrap());
        }
    }
    block_on(async {
        let closers = Closers::with(64, 4096, close);
        assert!(closers.has_room(user(1)));
        for _ in 0..64 {
            drop(closers.passed(user(1), file("/dev/null")));
        }
        assert!(!closers.has_room(user(1)));
        assert_eq!(closers.open(), 64);
        // Others are served, sockets even of the same user, and connections.
        for owner in [user(1), user(2), ROOT] {
            drop(closers.passed(owner, socket()));
        }
        for owner in [user(2), ROOT] {
            assert!(closers.has_room(owner));
            drop(closers.passed(owner, file("/dev/zero")));
        }
        for _ in 0..2 * ENDS {
            drop(closers.end(user(1), socket()));
        }
        closers.down_to(64).await;
        closers.until(|| closers.lock().ends == 0).await;
        // Many of them take all threads but those kept for the privileged.
        for uid in 3..60 {
            for _ in 0..3 {
                drop(closers.passed(user(uid), file("/dev/null")));
            }
        }
        let stuck = closers.open();
        drop(closers.passed(ROOT, file("/dev/zero")));
        drop(closers.passed(user(70), socket()));
        closers.down_to(stuck).await;
        assert!(closers.lock().crews[Kind::File as usize].threads <= Kind::File.threads());
        *GATE.0.lock().unwrap() = true;
        GATE.1.notify_all();
        closers.room(user(1)).await;
        closers.down_to(0).await;
        assert!(closers.lock().held.is_empty());
        assert!(closers.lock().crews.iter().all(|crew| crew.lanes.is_empty()));
    });
}

#[test]
fn many_users_together_leave_room_for_the_privileged() {
    let closers = Closers::with(64, 1000, drop);
    let mut all = Vec::new();
    for uid in 1..100 {
        while all.len() < uid * 20 && closers.has_room(user(uid as u32)) {
            all.push(closers.passed(user(uid as u32), socket()));
        }
    }
    assert_eq!(all.len(), 1000 - PER_PACKET - RESERVED + 1);
    while closers.has_room(ROOT) {
        all.push(closers.passed(ROOT, socket()));
    }
    assert_eq!(all.len(), 1000 - PER_PACKET + 1);
    drop(all);
    block_on(async {
        closers.room(ROOT).await;
        closers.room(user(1)).await;
        closers.down_to(0).await;
    });
    // A process that may have only a few descriptors serves one packet after the other.
    let closers = Closers::with(64, 10, drop);
    assert!(closers.has_room(user(1)));
    let passed = closers.passed(user(1), socket());
    assert!(!closers.has_room(user(1)));
    drop(passed);
    block_on(closers.room(user(1)));
}

#[test]
fn sockets_that_linger_do_not_hold_up_the_threads() {
    block_on(async {
        let closers = Closers::new(64);
        let mut peers = Vec::new();
        for _ in 0..30 {
            let (stream, peer) = lingering(60);
            drop(closers.passed(user(1), stream.into()));
            peers.push(peer);
        }
        // One thread of them would take half an hour.
        closers.down_to(0).await;
    });
}
