//! Which sockets of this process want locators with what they receive (SHIM_LOC_LOCAL_RECV, SHIM_LOC_PEER_RECV), and what
//! the daemon said about them last.
//!
//! A table of fixed size without locks around its look-up, so that a receiving call of a socket that never asked costs one
//! load, and a child process never finds it locked. The key is the kernel's cookie of the socket: it is the same for all
//! descriptors of a socket, and never used again.

use libc::c_int;
use shim6::control::api::Pair;
use std::collections::HashSet;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Mutex, MutexGuard};

/// SHIM_LOC_LOCAL_RECV is on.
pub const LOCAL: u32 = 1;
/// SHIM_LOC_PEER_RECV is on.
pub const PEER: u32 = 2;

/// Places in the table, which bounds the sockets of a process that have an option on.
const PLACES: usize = 4096;
/// A socket has its place among so many, beginning with the one that its cookie names.
const WINDOW: usize = 32;
/// No socket has this cookie: kernels begin with 1.
const FREE: u64 = 0;

/// How long an answer of the daemon is good for.
pub const PRECISION_US: u64 = 100_000;
/// Questions to the daemon in a second by one process, and how many at once.
const RATE: u64 = 100;
const BURST: u64 = 20;

/// What the daemon said, and when, in microseconds of CLOCK_MONOTONIC.
type Answer = Option<(u64, Option<Pair>)>;

struct Place {
    cookie: AtomicU64,
    flags: AtomicU32,
    /// Never waited for: who finds it locked asks the daemon.
    answer: Mutex<Answer>,
}

static TABLE: [Place; PLACES] = [const {
    Place { cookie: AtomicU64::new(FREE), flags: AtomicU32::new(0), answer: Mutex::new(None) }
}; PLACES];
static USED: AtomicUsize = AtomicUsize::new(0);

/// A socket that has an option on.
pub struct Wanted {
    /// [`LOCAL`], [`PEER`].
    pub flags: u32,
    place: &'static Place,
}

/// The kernel's number of the socket, `None` if it is none.
fn cookie(fd: c_int) -> Option<u64> {
    let mut value = FREE;
    let mut len = size_of::<u64>() as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_COOKIE);
    // SAFETY: `value` has room for `len` octets.
    let done = unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut len) };
    (done == 0 && value != FREE).then_some(value)
}

/// Where a socket may have its place.
fn window(cookie: u64) -> impl Iterator<Item = &'static Place> {
    // Cookies are handed out one after the other.
    let first = (cookie % PLACES as u64) as usize;
    TABLE.iter().cycle().skip(first).take(WINDOW)
}

fn find(cookie: u64) -> Option<&'static Place> {
    window(cookie).find(|place| place.cookie.load(Acquire) == cookie)
}

/// The place of a socket, taken for it if it had none.
fn claim(cookie: u64) -> Option<&'static Place> {
    let take = |place: &&Place| {
        place.cookie.compare_exchange(FREE, cookie, Release, Relaxed).is_ok() && {
            USED.fetch_add(1, Relaxed);
            true
        }
    };
    find(cookie).or_else(|| window(cookie).find(take))
}

fn leave(place: &Place, cookie: u64) {
    place.flags.store(0, Relaxed);
    if let Ok(mut answer) = place.answer.try_lock() {
        *answer = None;
    }
    if place.cookie.compare_exchange(cookie, FREE, Release, Relaxed).is_ok() {
        USED.fetch_sub(1, Relaxed);
    }
}

/// Frees the places of sockets that this process holds no descriptor of any more.
fn sweep() {
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let open: HashSet<u64> =
        open.filter_map(|entry| cookie(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect();
    for place in &TABLE {
        let seen = place.cookie.load(Acquire);
        if seen != FREE && !open.contains(&seen) {
            leave(place, seen);
        }
    }
}

/// One thread at a time, as far as possible: in a child process the lock may be that of a thread which exists only in
/// the parent.
fn alone() -> Option<MutexGuard<'static, ()>> {
    static LOCK: Mutex<()> = Mutex::new(());
    let attempt = |_| {
        let guard = LOCK.try_lock().ok();
        if guard.is_none() {
            std::thread::yield_now();
        }
        guard
    };
    (0..10_000).find_map(attempt)
}

/// Turns an option of a socket on or off. False if too many sockets have one on, or it is no socket.
pub fn set(fd: c_int, flag: u32, on: bool) -> bool {
    let Some(cookie) = cookie(fd) else { return false };
    let _alone = alone();
    if !on {
        if let Some(place) = find(cookie)
            && place.flags.fetch_and(!flag, Relaxed) & !flag == 0
        {
            leave(place, cookie);
        }
        return true;
    }
    let place = claim(cookie).or_else(|| {
        sweep();
        claim(cookie)
    });
    place.map(|place| place.flags.fetch_or(flag, Relaxed)).is_some()
}

/// Whether an option of a socket is on.
pub fn get(fd: c_int, flag: u32) -> bool {
    wanted(fd).is_some_and(|w| w.flags & flag != 0)
}

/// What a socket wants, `None` if nothing. One load as long as no socket of the process wants anything.
pub fn wanted(fd: c_int) -> Option<Wanted> {
    if USED.load(Relaxed) == 0 {
        return None;
    }
    let place = find(cookie(fd)?)?;
    let flags = place.flags.load(Relaxed);
    (flags != 0).then_some(Wanted { flags, place })
}

impl Wanted {
    /// The locators of the newest packet in, `None` without a context. They come from `ask`, but for those that are
    /// younger than [`PRECISION_US`], or if this process has asked too often lately.
    pub fn locators(&self, now_us: u64, ask: impl FnOnce() -> Option<Pair>) -> Option<Pair> {
        let kept = self.place.answer.try_lock().ok().and_then(|answer| *answer);
        if let Some((at, pair)) = kept
            && (now_us.saturating_sub(at) < PRECISION_US || !may_ask(now_us))
        {
            return pair;
        }
        let pair = ask();
        if let Ok(mut answer) = self.place.answer.try_lock() {
            *answer = Some((now_us, pair));
        }
        pair
    }
}

/// A leaky bucket for the whole process.
fn may_ask(now_us: u64) -> bool {
    /// When it is empty again.
    static EMPTY: AtomicU64 = AtomicU64::new(0);
    const COST: u64 = 1_000_000 / RATE;
    let spend = |empty: u64| {
        let next = empty.max(now_us) + COST;
        (next <= now_us + COST * BURST).then_some(next)
    };
    EMPTY.fetch_update(Relaxed, Relaxed, spend).is_ok()
}

/// Microseconds of CLOCK_MONOTONIC.
pub fn now_us() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for the call, which cannot fail with this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use shim6::addr::Locator;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    fn pair(n: u16) -> Pair {
        let at = |last| Locator([0x2001, 0xdb8, n, 0, 0, 0, 0, last].into());
        Pair { local: at(1), peer: at(2) }
    }

    /// One test, as the table is one per process.
    #[test]
    fn sockets_are_known_by_their_cookie_and_answers_by_their_age() {
        let socket = UdpSocket::bind("[::1]:0").unwrap();
        let other = UdpSocket::bind("[::1]:0").unwrap();
        let fd = socket.as_raw_fd();
        assert!(wanted(fd).is_none() && !get(fd, LOCAL));
        assert!(set(fd, LOCAL, true) && get(fd, LOCAL) && !get(fd, PEER));
        assert!(wanted(other.as_raw_fd()).is_none());
        let copy = socket.try_clone().unwrap();
        assert!(get(copy.as_raw_fd(), LOCAL), "an option is the socket's");

        let later = |us: u64| 1_000_000_000 + us;
        let w = wanted(fd).unwrap();
        assert_eq!(w.locators(later(0), || Some(pair(1))), Some(pair(1)));
        assert_eq!(w.locators(later(99_999), || Some(pair(2))), Some(pair(1)));
        assert_eq!(w.locators(later(100_000), || Some(pair(2))), Some(pair(2)));
        assert_eq!(w.locators(later(300_000), || None), None);
        let mut asked = 0;
        for _ in 0..1000 {
            *w.place.answer.lock().unwrap() = Some((later(0), Some(pair(3))));
            w.locators(later(500_000), || {
                asked += 1;
                Some(pair(3))
            });
        }
        assert_eq!(asked, BURST, "no more than that at once");
        let locked = w.place.answer.lock().unwrap();
        assert_eq!(w.locators(later(500_000), || Some(pair(4))), Some(pair(4)), "never waits");
        drop(locked);

        assert!(set(fd, LOCAL, false) && wanted(fd).is_none());
        assert!(!set(-1, PEER, true));
        // More than there is room for, one after the other: those that are closed make room.
        for _ in 0..PLACES + 100 {
            let socket = UdpSocket::bind("[::1]:0").unwrap();
            assert!(set(socket.as_raw_fd(), PEER, true));
        }
        sweep();
        assert_eq!(USED.load(Relaxed), 0);
    }
}
