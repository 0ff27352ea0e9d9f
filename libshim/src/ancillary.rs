//! RFC 6316's ancillary data (section 7) by calls with the shape of sendmsg(2) and recvmsg(2).
//!
//! Without such data, and on sockets that asked for none, both are the system's calls and no more: nothing is copied,
//! nothing allocated, nobody asked.

use crate::boundary::errno;
use crate::handle::shim_handle;
use crate::recv_options::{self, LOCAL, PEER, Wanted, now_us};
use crate::result::{
    Failure, SHIM_ERR_ARGUMENT, SHIM_ERR_BUSY, SHIM_ERR_INVALID_LOCATOR, SHIM_ERR_NOT_POSSIBLE,
    SHIM_ERR_UNREACHABLE_LOCATOR,
};
use crate::rfc6316::*;
use crate::socket::{configure, feedback, info};
use crate::sockopt::{context, open};
use crate::types::locator;
use libc::{c_int, c_uint, cmsghdr, mmsghdr, msghdr, sockaddr_in6, ssize_t, timespec};
use shim6::addr::Locator;
use shim6::control::api::{Pair, SocketChanges, SocketInfo};
use std::mem::{MaybeUninit, size_of};
use std::net::Ipv6Addr;
use std::time::Duration;

/// Messages that the kernel takes at once.
const MAX_MESSAGES: c_uint = 1024;
/// How long a received message may have to wait for its locators.
const ASK_LIMIT: Duration = Duration::from_millis(50);
/// How long a datagram with locators of its own may take to the packet that carries them.
const LEAVE_LIMIT_US: u64 = 100_000;
/// How long its pair may take to come into use: a test, and the negotiation of a context for the socket alone.
const USE_LIMIT_US: u64 = 3_000_000;
/// How long to try to put back what was before.
const BACK_LIMIT_US: u64 = 1_000_000;

/// sendmsg(2) that knows ancillary data of level SOL_SHIM: SHIM_LOC_LOCAL_SEND and SHIM_LOC_PEER_SEND (struct sockaddr_in6)
/// name the locators of this one datagram, SHIM_FEEDBACK (struct shim_feedback) tells how content the program is. All
/// other ancillary data goes to the system's call. With locators it waits until they are in use and the
/// datagram has left, and may fail with EAGAIN if done more than some three times in a second: SHIM_LOC_…_SEND as socket
/// options are for more. Fails with
/// what the options fail with, and sends nothing then.
///
/// # Safety
/// `message` has to be as sendmsg(2) wants it.
// req: AP-7-01, AP-7-02, AP-7-03
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller's promise.
    if !unsafe { has_ours(message) } {
        // SAFETY: the caller's promise.
        return unsafe { libc::sendmsg(fd, message, flags) };
    }
    let mut sent = -1;
    let done = errno(|| {
        // SAFETY: `has_ours` has looked at it.
        let message = unsafe { &*message };
        // SAFETY: the caller's promise.
        let (asked, rest) = unsafe { take_ours(message) }?;
        let mut plain = *message;
        plain.msg_control = if rest.is_empty() { std::ptr::null_mut() } else { rest.start() };
        plain.msg_controllen = rest.octets as _;
        // SAFETY: as the caller has promised, with ancillary data of our own.
        let send = || unsafe { libc::sendmsg(fd, &raw const plain, flags) };
        sent = asked.carry_out(fd, send)?;
        Ok(())
    });
    if done == 0 { sent } else { -1 }
}

/// recvmsg(2) that adds the locators of what was received for sockets with SHIM_LOC_LOCAL_RECV or SHIM_LOC_PEER_RECV:
/// ancillary data of that type and level SOL_SHIM with one struct sockaddr_in6, of port 0, behind the system's. Without a
/// context, or if the daemon does not answer at once, it is all zeros. MSG_CTRUNC says that there was no room. The locators
/// are those of the newest payload packet of the context when the daemon was asked, at most 100 ms ago (longer if a process
/// has more than ten such sockets busy).
///
/// # Safety
/// `message` has to be as recvmsg(2) wants it.
// req: AP-6.6-01, AP-6.7-01, AP-7-01, AP-7-02, AP-7-03, AP-7.4-01
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    let Some(wanted) = wanted(fd, message.is_null(), flags) else {
        // SAFETY: the caller's promise.
        return unsafe { libc::recvmsg(fd, message, flags) };
    };
    // SAFETY: not NULL, valid by the caller's promise.
    let room = unsafe { (*message).msg_controllen };
    // SAFETY: the caller's promise.
    let received = unsafe { libc::recvmsg(fd, message, flags) };
    if received >= 0 {
        crate::boundary::answer((), || {
            let pair = wanted.locators(now_us(), || newest(fd));
            // SAFETY: the caller's promise; `room` is what there was.
            unsafe { append(&mut *message, room, &wanted, pair) };
        });
    }
    received
}

/// sendmmsg(2) that knows ancillary data as shim_sendmsg does. If one of the messages has some, they are sent one by one.
///
/// # Safety
/// `messages` has to be as sendmmsg(2) wants it.
// req: AP-7-01
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_sendmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    let looked_at = if messages.is_null() { 0 } else { count.min(MAX_MESSAGES) };
    // SAFETY: `count` messages are there by the caller's promise.
    let at = |i: c_uint| unsafe { &mut *messages.add(i as usize) };
    // SAFETY: as above.
    if !(0..looked_at).any(|i| unsafe { has_ours(&raw const at(i).msg_hdr) }) {
        // SAFETY: the caller's promise.
        return unsafe { libc::sendmmsg(fd, messages, count, flags) };
    }
    for i in 0..looked_at {
        // SAFETY: as above.
        let sent = unsafe { shim_sendmsg(fd, &raw const at(i).msg_hdr, flags) };
        match c_uint::try_from(sent) {
            Ok(octets) => at(i).msg_len = octets,
            // As with the system's call an error counts only if it meets the first message.
            Err(_) if i == 0 => return -1,
            Err(_) => return i as c_int,
        }
    }
    looked_at as c_int
}

/// recvmmsg(2) that adds locators to each message as shim_recvmsg does.
///
/// # Safety
/// `messages` and `timeout` have to be as recvmmsg(2) wants them.
// req: AP-7-01
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    let Some(wanted) = wanted(fd, messages.is_null(), flags) else {
        // SAFETY: the caller's promise.
        return unsafe { libc::recvmmsg(fd, messages, count, flags, timeout) };
    };
    // SAFETY: `count` messages are there by the caller's promise.
    let at = |i: usize| unsafe { &mut (*messages.add(i)).msg_hdr };
    let rooms: Vec<usize> =
        (0..count.min(MAX_MESSAGES)).map(|i| at(i as usize).msg_controllen).collect();
    // SAFETY: the caller's promise.
    let received = unsafe { libc::recvmmsg(fd, messages, count, flags, timeout) };
    crate::boundary::answer((), || {
        for (i, room) in rooms.into_iter().enumerate().take(usize::try_from(received).unwrap_or(0))
        {
            let pair = wanted.locators(now_us(), || newest(fd));
            // SAFETY: `room` is what there was.
            unsafe { append(at(i), room, &wanted, pair) };
        }
    });
    received
}

/// What the socket wants to be told about what it receives.
fn wanted(fd: c_int, nothing: bool, flags: c_int) -> Option<Wanted> {
    if nothing || flags & libc::MSG_ERRQUEUE != 0 { None } else { recv_options::wanted(fd) }
}

/// What the daemon says about the newest packet in.
// req: AP-7.1-01
fn newest(fd: c_int) -> Option<Pair> {
    let handle = shim_handle::open(None, ASK_LIMIT).ok()?;
    let info = info(&handle, fd).ok()?;
    let context = context(&info).ok()?;
    Some(context.received.unwrap_or(context.current))
}

/// Rounds up to the alignment of ancillary data.
fn aligned(octets: usize) -> usize {
    octets.next_multiple_of(size_of::<usize>())
}

/// Octets of one piece of ancillary data with its header, up to the next.
fn space(octets: usize) -> usize {
    aligned(size_of::<cmsghdr>()) + aligned(octets)
}

/// Puts locators behind what the system has stored.
///
/// # Safety
/// `message` has room for `room` octets of ancillary data, of which msg_controllen are used.
unsafe fn append(message: &mut msghdr, room: usize, wanted: &Wanted, pair: Option<Pair>) {
    let pieces = [
        (LOCAL, SHIM_LOC_LOCAL_RECV, pair.map(|p| p.local)),
        (PEER, SHIM_LOC_PEER_RECV, pair.map(|p| p.peer)),
    ];
    for (flag, kind, locator) in pieces {
        if wanted.flags & flag == 0 {
            continue;
        }
        let begin = aligned(message.msg_controllen);
        let len = aligned(size_of::<cmsghdr>()) + size_of::<sockaddr_in6>();
        if message.msg_control.is_null() || begin + len > room {
            message.msg_flags |= libc::MSG_CTRUNC;
            return;
        }
        // SAFETY: all zeros is a value of the plain structures of C.
        let (mut header, mut address): (cmsghdr, sockaddr_in6) =
            unsafe { (MaybeUninit::zeroed().assume_init(), MaybeUninit::zeroed().assume_init()) };
        header.cmsg_level = SOL_SHIM;
        header.cmsg_type = kind;
        header.cmsg_len = len as _;
        if let Some(locator) = locator {
            address.sin6_family = libc::AF_INET6 as _;
            address.sin6_addr = crate::types::in6(locator.0);
        }
        let place = message.msg_control.cast::<u8>().wrapping_add(begin);
        // SAFETY: `len` octets from `place` on are within the room, as was just checked.
        unsafe {
            place.cast::<cmsghdr>().write_unaligned(header);
            let data = place.wrapping_add(aligned(size_of::<cmsghdr>()));
            data.cast::<sockaddr_in6>().write_unaligned(address);
        }
        message.msg_controllen = (begin + space(size_of::<sockaddr_in6>())).min(room) as _;
    }
}

/// The pieces of ancillary data: header, and where it begins. Ends at the first that does not fit.
struct Pieces {
    at: *const u8,
    left: usize,
    /// One did not fit.
    broken: bool,
}

impl Pieces {
    /// # Safety
    /// `message` has to be as sendmsg(2) wants it, for as long as the pieces are looked at.
    unsafe fn of(message: &msghdr) -> Pieces {
        let left = if message.msg_control.is_null() { 0 } else { message.msg_controllen };
        Pieces { at: message.msg_control.cast(), left, broken: false }
    }
}

impl Iterator for Pieces {
    type Item = (cmsghdr, *const u8);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left < size_of::<cmsghdr>() {
            return None;
        }
        // SAFETY: so many octets are left, by the promise of `Pieces::of`.
        let header = unsafe { self.at.cast::<cmsghdr>().read_unaligned() };
        let (at, len) = (self.at, header.cmsg_len);
        if len < aligned(size_of::<cmsghdr>()) || len > self.left {
            (self.left, self.broken) = (0, true);
            return None;
        }
        let step = aligned(len).min(self.left);
        self.at = at.wrapping_add(step);
        self.left -= step;
        Some((header, at))
    }
}

/// Whether there is ancillary data of our level.
///
/// # Safety
/// `message` has to be NULL or as sendmsg(2) wants it.
unsafe fn has_ours(message: *const msghdr) -> bool {
    // SAFETY: the caller's promise.
    let pieces = unsafe { message.as_ref().map(|m| Pieces::of(m)) };
    pieces.is_some_and(|mut p| p.any(|(header, _)| header.cmsg_level == SOL_SHIM))
}

/// Ancillary data for the system's call, aligned as it has to be.
#[derive(Default)]
struct Rest {
    words: Vec<usize>,
    octets: usize,
}

impl Rest {
    fn is_empty(&self) -> bool {
        self.octets == 0
    }

    fn start(&self) -> *mut libc::c_void {
        self.words.as_ptr().cast_mut().cast()
    }

    /// # Safety
    /// `len` octets can be read at `at`.
    unsafe fn push(&mut self, at: *const u8, len: usize) {
        let begin = self.words.len();
        self.words.resize(begin + aligned(len) / size_of::<usize>(), 0);
        if let Some(words) = self.words.get_mut(begin..) {
            // SAFETY: readable by promise; there is room for `len` rounded up.
            unsafe { at.copy_to_nonoverlapping(words.as_mut_ptr().cast(), len) };
        }
        self.octets = self.words.len() * size_of::<usize>();
    }
}

/// What a program asks for with one message.
#[derive(Default)]
struct Asked {
    source: Option<Locator>,
    destination: Option<Locator>,
    feedback: Option<shim_feedback>,
}

/// Parts ancillary data of our level from the rest.
///
/// # Safety
/// `message` has to be as sendmsg(2) wants it.
///
/// # Errors
/// EINVAL for a type that is not for sending, a wrong size, or a piece that does not fit.
unsafe fn take_ours(message: &msghdr) -> Result<(Asked, Rest), Failure> {
    let (mut asked, mut rest) = (Asked::default(), Rest::default());
    // SAFETY: the caller's promise.
    let mut pieces = unsafe { Pieces::of(message) };
    for (header, at) in pieces.by_ref() {
        let len = header.cmsg_len;
        if header.cmsg_level != SOL_SHIM {
            // SAFETY: the iterator has checked that `len` octets are there.
            unsafe { rest.push(at, len) };
            continue;
        }
        let data = at.wrapping_add(aligned(size_of::<cmsghdr>()));
        let size = len - aligned(size_of::<cmsghdr>());
        match header.cmsg_type {
            // SAFETY: `size` octets can be read at `data`.
            SHIM_LOC_LOCAL_SEND => asked.source = Some(unsafe { address(data, size) }?),
            // SAFETY: as above.
            SHIM_LOC_PEER_SEND => asked.destination = Some(unsafe { address(data, size) }?),
            SHIM_FEEDBACK if size == size_of::<shim_feedback>() => {
                // SAFETY: as above, and every bit pattern is a value of the type.
                asked.feedback = Some(unsafe { data.cast::<shim_feedback>().read_unaligned() });
            }
            _ => return Err(Failure::new(SHIM_ERR_ARGUMENT, "no such ancillary data to send")),
        }
    }
    if pieces.broken {
        return Err(Failure::new(SHIM_ERR_ARGUMENT, "ancillary data that does not fit"));
    }
    Ok((asked, rest))
}

/// A locator as a socket address.
///
/// # Safety
/// `size` octets can be read at `data`.
// req: AP-3-01
unsafe fn address(data: *const u8, size: usize) -> Result<Locator, Failure> {
    if size != size_of::<sockaddr_in6>() && size != size_of::<libc::sockaddr_in>() {
        return Err(Failure::new(SHIM_ERR_ARGUMENT, "the locator is a struct sockaddr_in6"));
    }
    // SAFETY: both structures begin with the family.
    let family = unsafe { data.cast::<libc::sa_family_t>().read_unaligned() };
    if size != size_of::<sockaddr_in6>() || c_int::from(family) != libc::AF_INET6 {
        return Err(Failure::new(SHIM_ERR_INVALID_LOCATOR, "Shim6 has IPv6 locators"));
    }
    // SAFETY: so many octets are there, and every bit pattern is a value of the type.
    let address = unsafe { data.cast::<sockaddr_in6>().read_unaligned() };
    Ok(locator(&address.sin6_addr))
}

impl Asked {
    /// Sends a message as asked.
    ///
    /// # Errors
    /// Those of the daemon; the system's are in the value of `send` and in errno.
    // req: AP-7.2-01, AP-7.2-02, AP-7.3-01, AP-7.3-02
    fn carry_out(&self, fd: c_int, send: impl FnOnce() -> ssize_t) -> Result<ssize_t, Failure> {
        let handle = open()?;
        let before = info(&handle, fd)?;
        context(&before)?;
        if let Some(told) = &self.feedback {
            feedback(&handle, fd, told)?;
        }
        match (self.source, self.destination) {
            (None, None) => Ok(send()),
            _ => self.send_by(&handle, fd, &before, send),
        }
    }

    /// Sends one datagram by other locators than those that follow.
    fn send_by(
        &self,
        handle: &shim_handle,
        fd: c_int,
        before: &SocketInfo,
        send: impl FnOnce() -> ssize_t,
    ) -> Result<ssize_t, Failure> {
        if c_int::from(before.protocol) == libc::IPPROTO_TCP {
            let text = "a stream has no datagrams: set the option of the socket instead";
            return Err(Failure::new(SHIM_ERR_NOT_POSSIBLE, text));
        }
        let current = context(before)?.current;
        let pair = Pair {
            local: self.source.unwrap_or(current.local),
            peer: self.destination.unwrap_or(current.peer),
        };
        // The daemon says whether the locators are good for it, also if they are those in use.
        configure(handle, fd, choice(self.source, self.destination))?;
        let sent = match in_use(handle, fd, pair, USE_LIMIT_US) {
            Some(packets) => Ok(send_and_see(handle, fd, packets, send)),
            None => {
                let text = format!("{} to {} does not come into use", pair.local.0, pair.peer.0);
                Err(Failure::new(SHIM_ERR_UNREACHABLE_LOCATOR, text))
            }
        };
        let kept = std::io::Error::last_os_error().raw_os_error();
        // What comes next goes by the pair of before. The datagram is on its way, whatever happens here.
        if pair != current && insist(handle, fd, choice(Some(current.local), Some(current.peer))) {
            in_use(handle, fd, current, BACK_LIMIT_US);
        }
        let any = Locator(Ipv6Addr::UNSPECIFIED);
        let (source, destination) = (before.options.source, before.options.destination);
        insist(handle, fd, choice(source.or(Some(any)), destination.or(Some(any))));
        crate::boundary::set_errno(kept.unwrap_or(0));
        sent
    }
}

fn choice(source: Option<Locator>, destination: Option<Locator>) -> SocketChanges {
    SocketChanges { source, destination, ..SocketChanges::default() }
}

/// Sends, and waits until the data plane has taken up the packet: only then may the pair change.
fn send_and_see(
    handle: &shim_handle,
    fd: c_int,
    packets: u64,
    send: impl FnOnce() -> ssize_t,
) -> ssize_t {
    let sent = send();
    let kept = std::io::Error::last_os_error().raw_os_error();
    let deadline = now_us() + LEAVE_LIMIT_US;
    while sent >= 0 && now_us() < deadline {
        match info(handle, fd).ok().and_then(|i| i.context) {
            Some(c) if c.packets_out == packets => pause(),
            _ => break,
        }
    }
    crate::boundary::set_errno(kept.unwrap_or(0));
    sent
}

/// Waits until the socket's packets use a pair. How many its context has sent; `None` if it does not come to that.
fn in_use(handle: &shim_handle, fd: c_int, pair: Pair, limit_us: u64) -> Option<u64> {
    let deadline = now_us() + limit_us;
    loop {
        let context = info(handle, fd).ok()?.context?;
        if context.current == pair {
            return Some(context.packets_out);
        }
        if now_us() >= deadline {
            return None;
        }
        pause();
    }
}

/// Changes settings, as soon as the daemon is not too busy for it. False if it does not come to that.
fn insist(handle: &shim_handle, fd: c_int, changes: SocketChanges) -> bool {
    let deadline = now_us() + BACK_LIMIT_US;
    loop {
        match configure(handle, fd, changes.clone()) {
            Err(e) if e.code == SHIM_ERR_BUSY && now_us() < deadline => pause(),
            result => return result.is_ok(),
        }
    }
}

/// Between two questions to the daemon.
fn pause() {
    // SAFETY: no descriptors are looked at.
    unsafe { libc::poll(std::ptr::null_mut(), 0, 2) };
}
