//! Makes a program that uses RFC 6316 by the C library's own calls work, without a change to it: `shimrun PROGRAM…` has
//! the run-time linker put this library before the C library.
//!
//! What is wrapped and what a wrapper does is all here, because programs that have nothing to do with the shim run through
//! it, too. They are left alone: a call of another level goes to the next library at the price of a comparison, nothing is
//! allocated, and libshim is not even loaded before a program uses level SOL_SHIM.
//!
//! | Call | Goes to libshim |
//! |---|---|
//! | `setsockopt`, `getsockopt` | with level SOL_SHIM |
//! | `sendmsg`, `sendmmsg` | with ancillary data of level SOL_SHIM |
//! | `recvmsg`, `recvmmsg` | once an option SHIM_LOC_…_RECV was set in this process; libshim knows for which sockets |
//!
//! `close` needs no wrapper, as libshim knows sockets by the kernel's number and not by their descriptors; neither does
//! `fork`. Programs that run with more power than their caller are safe from this library: the run-time linker does not
//! load it there. Calls that libshim itself makes go straight through.
#![allow(unsafe_code)]

use libc::{
    c_char, c_int, c_uint, c_void, cmsghdr, mmsghdr, msghdr, size_t, socklen_t, ssize_t, timespec,
};
use std::cell::Cell;
use std::ffi::CStr;
use std::mem::{size_of, transmute_copy};
use std::ptr;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{Acquire, Release};

/// libshim's level of RFC 6316's options.
const SOL_SHIM: c_int = 0x5336;
/// libshim's numbers of the options that change what is received.
const SHIM_LOC_LOCAL_RECV: c_int = 6;
const SHIM_LOC_PEER_RECV: c_int = 7;
/// libshim by the name of its ABI.
const LIBSHIM: &CStr = c"libshim.so.0";

type SetSockOpt = unsafe extern "C" fn(c_int, c_int, c_int, *const c_void, socklen_t) -> c_int;
type GetSockOpt = unsafe extern "C" fn(c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int;
type SendMsg = unsafe extern "C" fn(c_int, *const msghdr, c_int) -> ssize_t;
type RecvMsg = unsafe extern "C" fn(c_int, *mut msghdr, c_int) -> ssize_t;
type SendMmsg = unsafe extern "C" fn(c_int, *mut mmsghdr, c_uint, c_int) -> c_int;
type RecvMmsg = unsafe extern "C" fn(c_int, *mut mmsghdr, c_uint, c_int, *mut timespec) -> c_int;

/// A function that is looked up once.
struct Symbol {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Symbol {
    const fn new(name: &'static CStr) -> Symbol {
        Symbol { name, found: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The function, looked up by `look_up` the first time.
    fn get(&self, look_up: impl FnOnce(*const c_char) -> *mut c_void) -> *mut c_void {
        let mut found = self.found.load(Acquire);
        if found.is_null() {
            found = look_up(self.name.as_ptr());
            self.found.store(found, Release);
        }
        found
    }

    /// The C library's function of type `F`.
    fn next<F: Copy>(&self) -> Option<F> {
        // SAFETY: the name is a string.
        function(self.get(|name| unsafe { libc::dlsym(libc::RTLD_NEXT, name) }))
    }

    /// libshim's function of type `F`, if the library is loaded.
    fn loaded<F: Copy>(&self) -> Option<F> {
        function(self.found.load(Acquire))
    }

    /// libshim's function of type `F`; loads the library if need be.
    fn load<F: Copy>(&self) -> Option<F> {
        function(self.get(|name| {
            // SAFETY: the name is a string; the library's initialisation is libshim's, which does nothing.
            let library = unsafe { libc::dlopen(LIBSHIM.as_ptr(), libc::RTLD_NOW) };
            if library.is_null() {
                return ptr::null_mut();
            }
            // SAFETY: the library stays open for good.
            unsafe { libc::dlsym(library, name) }
        }))
    }
}

/// A pointer to a function as a function. `F` is a type of function pointers.
fn function<F: Copy>(found: *mut c_void) -> Option<F> {
    assert!(size_of::<F>() == size_of::<*mut c_void>());
    // SAFETY: of the same size; the names in this file go with the types at their use.
    (!found.is_null()).then(|| unsafe { transmute_copy(&found) })
}

static SETSOCKOPT: Symbol = Symbol::new(c"setsockopt");
static GETSOCKOPT: Symbol = Symbol::new(c"getsockopt");
static SENDMSG: Symbol = Symbol::new(c"sendmsg");
static RECVMSG: Symbol = Symbol::new(c"recvmsg");
static SENDMMSG: Symbol = Symbol::new(c"sendmmsg");
static RECVMMSG: Symbol = Symbol::new(c"recvmmsg");
static SHIM_SETSOCKOPT: Symbol = Symbol::new(c"shim_setsockopt");
static SHIM_GETSOCKOPT: Symbol = Symbol::new(c"shim_getsockopt");
static SHIM_SENDMSG: Symbol = Symbol::new(c"shim_sendmsg");
static SHIM_SENDMMSG: Symbol = Symbol::new(c"shim_sendmmsg");
/// Looked up with the first option that needs them; receiving calls only read them.
static SHIM_RECVMSG: Symbol = Symbol::new(c"shim_recvmsg");
static SHIM_RECVMMSG: Symbol = Symbol::new(c"shim_recvmmsg");

thread_local! {
    /// libshim is at work in this thread: what it calls is not for it.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

fn inside() -> bool {
    INSIDE.get()
}

/// Runs a call of libshim.
fn within<T>(call: impl FnOnce() -> T) -> T {
    INSIDE.set(true);
    let value = call();
    INSIDE.set(false);
    value
}

/// As on a host that has never heard of level SOL_SHIM.
fn unknown_option() -> c_int {
    // SAFETY: the location is valid for the calling thread.
    unsafe { *libc::__errno_location() = libc::ENOPROTOOPT };
    -1
}

/// setsockopt(2).
///
/// # Safety
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    if level == SOL_SHIM && !inside() {
        let Some(shim) = SHIM_SETSOCKOPT.load::<SetSockOpt>() else { return unknown_option() };
        if name == SHIM_LOC_LOCAL_RECV || name == SHIM_LOC_PEER_RECV {
            SHIM_RECVMSG.load::<RecvMsg>();
            SHIM_RECVMMSG.load::<RecvMmsg>();
        }
        // SAFETY: the caller's promise.
        return within(|| unsafe { shim(fd, level, name, value, len) });
    }
    match SETSOCKOPT.next::<SetSockOpt>() {
        // SAFETY: the caller's promise.
        Some(next) => unsafe { next(fd, level, name, value, len) },
        // SAFETY: the caller's promise.
        None => unsafe {
            libc::syscall(libc::SYS_setsockopt, fd, level, name, value, len) as c_int
        },
    }
}

/// getsockopt(2).
///
/// # Safety
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    if level == SOL_SHIM && !inside() {
        let Some(shim) = SHIM_GETSOCKOPT.load::<GetSockOpt>() else { return unknown_option() };
        // SAFETY: the caller's promise.
        return within(|| unsafe { shim(fd, level, name, value, len) });
    }
    match GETSOCKOPT.next::<GetSockOpt>() {
        // SAFETY: the caller's promise.
        Some(next) => unsafe { next(fd, level, name, value, len) },
        // SAFETY: the caller's promise.
        None => unsafe {
            libc::syscall(libc::SYS_getsockopt, fd, level, name, value, len) as c_int
        },
    }
}

/// Whether a message has ancillary data of level SOL_SHIM.
///
/// # Safety
/// `message` has to be NULL or as sendmsg(2) wants it.
unsafe fn is_ours(message: *const msghdr) -> bool {
    // SAFETY: the caller's promise.
    let Some(m) = (unsafe { message.as_ref() }) else { return false };
    let mut left: size_t = if m.msg_control.is_null() { 0 } else { m.msg_controllen };
    let mut at = m.msg_control.cast::<u8>().cast_const();
    while left >= size_of::<cmsghdr>() {
        // SAFETY: so many octets are left, by the caller's promise.
        let header = unsafe { at.cast::<cmsghdr>().read_unaligned() };
        if header.cmsg_len < size_of::<cmsghdr>() || header.cmsg_len > left {
            return false;
        }
        if header.cmsg_level == SOL_SHIM {
            return true;
        }
        let step = header.cmsg_len.next_multiple_of(size_of::<size_t>()).min(left);
        at = at.wrapping_add(step);
        left -= step;
    }
    false
}

/// sendmsg(2).
///
/// # Safety
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller's promise.
    if !inside() && unsafe { is_ours(message) } {
        let Some(shim) = SHIM_SENDMSG.load::<SendMsg>() else { return unknown_option() as ssize_t };
        // SAFETY: the caller's promise.
        return within(|| unsafe { shim(fd, message, flags) });
    }
    match SENDMSG.next::<SendMsg>() {
        // SAFETY: the caller's promise.
        Some(next) => unsafe { next(fd, message, flags) },
        // SAFETY: the caller's promise.
        None => unsafe { libc::syscall(libc::SYS_sendmsg, fd, message, flags) as ssize_t },
    }
}

/// recvmsg(2).
///
/// # Safety
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    if let Some(shim) = SHIM_RECVMSG.loaded::<RecvMsg>()
        && !inside()
    {
        // SAFETY: the caller's promise.
        return within(|| unsafe { shim(fd, message, flags) });
    }
    match RECVMSG.next::<RecvMsg>() {
        // SAFETY: the caller's promise.
        Some(next) => unsafe { next(fd, message, flags) },
        // SAFETY: the caller's promise.
        None => unsafe { libc::syscall(libc::SYS_recvmsg, fd, message, flags) as ssize_t },
    }
}

/// sendmmsg(2).
///
/// # Safety
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    // What the kernel takes at once.
    let looked_at = if messages.is_null() { 0 } else { count.min(1024) };
    // SAFETY: `count` messages are there by the caller's promise.
    let ours = |i: c_uint| unsafe { is_ours(&raw const (*messages.add(i as usize)).msg_hdr) };
    if !inside() && (0..looked_at).any(ours) {
        let Some(shim) = SHIM_SENDMMSG.load::<SendMmsg>() else { return unknown_option() };
        // SAFETY: the caller's promise.
        return within(|| unsafe { shim(fd, messages, count, flags) });
    }
    match SENDMMSG.next::<SendMmsg>() {
        // SAFETY: the caller's promise.
        Some(next) => unsafe { next(fd, messages, count, flags) },
        // SAFETY: the caller's promise.
        None => unsafe { libc::syscall(libc::SYS_sendmmsg, fd, messages, count, flags) as c_int },
    }
}

/// recvmmsg(2).
///
/// # Safety
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    if let Some(shim) = SHIM_RECVMMSG.loaded::<RecvMmsg>()
        && !inside()
    {
        // SAFETY: the caller's promise.
        return within(|| unsafe { shim(fd, messages, count, flags, timeout) });
    }
    match RECVMMSG.next::<RecvMmsg>() {
        // SAFETY: the caller's promise.
        Some(next) => unsafe { next(fd, messages, count, flags, timeout) },
        // SAFETY: the caller's promise.
        None => unsafe {
            libc::syscall(libc::SYS_recvmmsg, fd, messages, count, flags, timeout) as c_int
        },
    }
}
