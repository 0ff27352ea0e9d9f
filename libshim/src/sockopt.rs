//! RFC 6316's options by calls with the shape of the system's own: 0, or -1 and errno.
//!
//! But for which sockets want locators with what they receive ([`recv_options`]) they keep nothing between calls: each makes a connection, uses it, and closes it. So a program that closes all its
//! descriptors, forks or calls from many threads cannot get in the way; and none of its descriptors is ever ours.

use crate::boundary::errno;
use crate::handle::{SHIM_DEFAULT_TIMEOUT_MS, shim_handle};
use crate::recv_options;
use crate::result::{
    Failure, SHIM_ERR_ARGUMENT, SHIM_ERR_INVALID_LOCATOR, SHIM_ERR_NO_CONTEXT,
    SHIM_ERR_NOT_CONNECTED, SHIM_ERR_NULL, SHIM_ERR_SIZE, SHIM_ERR_TOO_MANY_LOCATORS,
};
use crate::rfc6316::*;
use crate::socket::{configure, info, lists};
use crate::types::{in6, locator, serves};
use libc::{c_int, c_void, socklen_t};
use shim6::addr::Locator;
use shim6::control::api::{
    ExploreSettings, LocatorInfo, Preference, SocketChanges, SocketContext, SocketInfo,
    Verification,
};
use std::mem;
use std::net::Ipv6Addr;
use std::time::Duration;

/// setsockopt(2) that knows SOL_SHIM: other levels go to the system's. Waits for the daemon at most
/// SHIM_DEFAULT_TIMEOUT_MS. Without a daemon: ENOPROTOOPT; what a daemon cannot do yet: ENOSYS.
///
/// # Safety
/// `value` has to be NULL or point to `len` octets.
// req: AP-6-01, AP-6-03, AP-6.16-01
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    if level != SOL_SHIM {
        // SAFETY: the caller's promise is the one that the system asks for.
        return unsafe { libc::setsockopt(fd, level, name, value, len) };
    }
    errno(|| {
        if value.is_null() {
            return Err(SHIM_ERR_NULL.into());
        }
        // SAFETY: not NULL, and so long by the caller's promise.
        let octets = unsafe { std::slice::from_raw_parts(value.cast::<u8>(), len as usize) };
        set(fd, name, octets)
    })
}

/// getsockopt(2) that knows SOL_SHIM: other levels go to the system's. *len says how much room there is, and tells how
/// much was used.
///
/// # Safety
/// `len` has to be NULL or valid, `value` NULL or with room for `*len` octets.
// req: AP-6-01, AP-6-03, AP-6.16-01
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim_getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    if level != SOL_SHIM {
        // SAFETY: the caller's promise is the one that the system asks for.
        return unsafe { libc::getsockopt(fd, level, name, value, len) };
    }
    errno(|| {
        if value.is_null() || len.is_null() {
            return Err(SHIM_ERR_NULL.into());
        }
        // SAFETY: valid by the caller's promise.
        let room = unsafe { len.read_unaligned() };
        // SAFETY: not NULL, and so much room by the caller's promise; octets need no initial value to be written, and
        // none is read.
        let octets = unsafe {
            std::slice::from_raw_parts_mut(value.cast::<mem::MaybeUninit<u8>>(), room as usize)
        };
        let used = get(fd, name, &mut Room { octets, used: 0 })?;
        // SAFETY: valid by the caller's promise.
        unsafe { len.write_unaligned(used) };
        Ok(())
    })
}

/// The caller's buffer.
struct Room<'a> {
    octets: &'a mut [mem::MaybeUninit<u8>],
    used: usize,
}

impl Room<'_> {
    /// Appends a value. False if there is no room.
    fn put<T: Copy>(&mut self, value: T) -> bool {
        let size = mem::size_of::<T>();
        let Some(place) = self.octets.get_mut(self.used..self.used + size) else { return false };
        // SAFETY: `place` has the size of a T and does not overlap with `value`; octets have no alignment.
        unsafe { place.as_mut_ptr().cast::<T>().write_unaligned(value) };
        self.used += size;
        true
    }

    /// The only value of an option.
    fn only<T: Copy>(&mut self, value: T) -> Result<socklen_t, Failure> {
        if self.put(value) {
            return Ok(self.used as socklen_t);
        }
        let text = format!("the option needs {} octets", mem::size_of::<T>());
        Err(Failure::new(SHIM_ERR_ARGUMENT, text))
    }
}

/// What an option's value can be read from.
trait Plain: Copy {}
impl Plain for c_int {}
impl Plain for shim_locator {}
impl Plain for shim_pathexplore {}

/// The value of an option, which has to be of exactly its size.
fn read<T: Plain>(octets: &[u8]) -> Result<T, Failure> {
    if octets.len() != mem::size_of::<T>() {
        let text = format!("the option has {} octets", mem::size_of::<T>());
        return Err(Failure::new(SHIM_ERR_ARGUMENT, text));
    }
    // SAFETY: so many octets are there, and every bit pattern is a value of these types.
    Ok(unsafe { octets.as_ptr().cast::<T>().read_unaligned() })
}

/// A connection for one call.
///
/// # Errors
/// SHIM_ERR_NO_DAEMON, SHIM_ERR_TIMEOUT.
pub fn open() -> Result<shim_handle, Failure> {
    shim_handle::open(None, Duration::from_millis(SHIM_DEFAULT_TIMEOUT_MS as u64))
}

fn invalid(text: &str) -> Failure {
    Failure::new(SHIM_ERR_ARGUMENT, text)
}

/// No option with this number, or none that can be set.
fn unknown() -> Failure {
    invalid("no such option, or not to be set")
}

fn recv_flag(name: c_int) -> u32 {
    if name == SHIM_LOC_LOCAL_RECV { recv_options::LOCAL } else { recv_options::PEER }
}

fn flag(octets: &[u8]) -> Result<bool, Failure> {
    match read::<c_int>(octets)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(invalid("the option is 0 or 1")),
    }
}

// req: AP-3-01, AP-8.1-02, AP-8.1-04
fn from_c(l: &shim_locator) -> Result<Locator, Failure> {
    if c_int::from(l.lc_family) != libc::AF_INET6 || l.lc_proto != 0 {
        return Err(Failure::new(SHIM_ERR_INVALID_LOCATOR, "Shim6 has IPv6 locators without NAT"));
    }
    Ok(locator(&l.lc_addr))
}

/// All zeros cancel an earlier choice.
fn choice(octets: &[u8]) -> Result<Locator, Failure> {
    let l = read::<shim_locator>(octets)?;
    if l.lc_family == 0 && l.lc_addr.s6_addr == [0; 16] {
        return Ok(Locator(Ipv6Addr::UNSPECIFIED));
    }
    from_c(&l)
}

fn preference(l: &shim_locator) -> Result<Preference, Failure> {
    Ok(Preference { locator: from_c(l)?, priority: l.lc_prio, weight: l.lc_weight })
}

// req: AP-6.10-01, AP-6.10-03, AP-6.11-02, AP-6.11-03
fn list(octets: &[u8]) -> Result<Vec<Preference>, Failure> {
    let size = mem::size_of::<shim_locator>();
    if octets.is_empty() || !octets.len().is_multiple_of(size) {
        return Err(invalid("the option is an array of struct shim_locator"));
    }
    if octets.len() / size > SHIM_MAX_LOCATORS {
        return Err(SHIM_ERR_TOO_MANY_LOCATORS.into());
    }
    octets.chunks_exact(size).map(|one| preference(&read(one)?)).collect()
}

// req: AP-6-02
fn set(fd: c_int, name: c_int, octets: &[u8]) -> Result<(), Failure> {
    let mut changes = SocketChanges::default();
    match name {
        // req: AP-6.2-01, AP-6.2-03
        SHIM_DONTSHIM => changes.dont_shim = Some(flag(octets)?),
        SHIM_HOT_STANDBY => changes.hot_standby = Some(flag(octets)?),
        SHIM_LOC_LOCAL_PREF => changes.local_preference = Some(preference(&read(octets)?)?),
        SHIM_LOC_PEER_PREF => changes.peer_preference = Some(preference(&read(octets)?)?),
        SHIM_LOC_LOCAL_SEND => changes.source = Some(choice(octets)?),
        SHIM_LOC_PEER_SEND => changes.destination = Some(choice(octets)?),
        SHIM_LOCLIST_LOCAL => changes.local_list = Some(list(octets)?),
        SHIM_LOCLIST_PEER => changes.peer_list = Some(list(octets)?),
        SHIM_APP_TIMEOUT => {
            let secs = u32::try_from(read::<c_int>(octets)?);
            changes.send_timeout_secs =
                Some(secs.map_err(|_| invalid("a Send Timeout is not negative"))?);
        }
        // req: AP-8.2-02
        SHIM_PATHEXPLORE => {
            let pe = read::<shim_pathexplore>(octets)?;
            if pe.pe_reserved != 0 {
                return Err(invalid("pe_reserved is 0"));
            }
            changes.explore = Some(ExploreSettings {
                probes: pe.pe_probenum,
                keepalive_timeout_secs: pe.pe_keepaliveto,
                keepalive_interval_secs: pe.pe_keepaliveint,
                initial_probe_timeout_ms: pe.pe_initprobeto,
            });
        }
        SHIM_LOC_LOCAL_RECV | SHIM_LOC_PEER_RECV => {
            let on = flag(octets)?;
            context(&info(&open()?, fd)?)?;
            return match recv_options::set(fd, recv_flag(name), on) {
                true => Ok(()),
                false => Err(Failure::new(SHIM_ERR_SIZE, "too many sockets have the option on")),
            };
        }
        // req: AP-6.1-01
        _ => return Err(unknown()),
    }
    configure(&open()?, fd, changes)
}

/// The context that all options need but SHIM_ASSOCIATED, SHIM_DONTSHIM and the deferred setup.
///
/// # Errors
/// SHIM_ERR_NOT_CONNECTED, SHIM_ERR_NO_CONTEXT.
// req: AP-6.15-01, AP-6.3-02, AP-6.6-02, AP-6.7-02, AP-6.12-02, AP-6.13-02
pub fn context(info: &SocketInfo) -> Result<&SocketContext, Failure> {
    if info.peer.is_none() {
        return Err(SHIM_ERR_NOT_CONNECTED.into());
    }
    info.context.as_ref().filter(|c| serves(c.state)).ok_or(SHIM_ERR_NO_CONTEXT.into())
}

fn get(fd: c_int, name: c_int, room: &mut Room<'_>) -> Result<socklen_t, Failure> {
    if !(SHIM_ASSOCIATED..=SHIM_CONTEXT_DEFERRED_SETUP).contains(&name) {
        return Err(unknown());
    }
    let handle = open()?;
    let info = info(&handle, fd)?;
    let connected = info.peer.is_some();
    match name {
        // req: AP-6.1-02, AP-6.1-03, AP-6.1-04
        SHIM_ASSOCIATED if !connected => {
            room.only::<c_int>(2)?;
            Err(SHIM_ERR_NOT_CONNECTED.into())
        }
        SHIM_ASSOCIATED => room.only(c_int::from(context(&info).is_ok())),
        SHIM_DONTSHIM => room.only(c_int::from(info.options.dont_shim)),
        // req: AP-6.14-01, AP-6.14-02
        SHIM_CONTEXT_DEFERRED_SETUP if connected => room.only::<c_int>(1),
        SHIM_CONTEXT_DEFERRED_SETUP => Err(SHIM_ERR_NOT_CONNECTED.into()),
        SHIM_HOT_STANDBY => {
            context(&info)?;
            room.only(c_int::from(info.options.hot_standby))
        }
        SHIM_LOC_LOCAL_RECV | SHIM_LOC_PEER_RECV => {
            context(&info)?;
            room.only(c_int::from(recv_options::get(fd, recv_flag(name))))
        }
        SHIM_APP_TIMEOUT => {
            context(&info)?;
            room.only(c_int::try_from(info.options.send_timeout_secs).unwrap_or(c_int::MAX))
        }
        SHIM_PATHEXPLORE => {
            let e = context(&info)?.explore;
            room.only(shim_pathexplore {
                pe_probenum: e.probes,
                pe_keepaliveto: e.keepalive_timeout_secs,
                pe_keepaliveint: e.keepalive_interval_secs,
                pe_initprobeto: e.initial_probe_timeout_ms,
                pe_reserved: 0,
            })
        }
        _ => get_locators(&handle, fd, name, &info, room),
    }
}

fn get_locators(
    handle: &shim_handle,
    fd: c_int,
    name: c_int,
    info: &SocketInfo,
    room: &mut Room<'_>,
) -> Result<socklen_t, Failure> {
    context(info)?;
    let chosen = match name {
        SHIM_LOC_LOCAL_SEND => Some((info.options.source, true)),
        SHIM_LOC_PEER_SEND => Some((info.options.destination, false)),
        _ => None,
    };
    let (local, peer) = lists(handle, fd)?;
    if let Some((chosen, ours)) = chosen {
        let list = if ours { &local } else { &peer };
        let found = chosen.and_then(|l| list.iter().find(|e| e.locator == l));
        return room.only(found.map_or(zeros(), |e| to_c(e, ours)));
    }
    let (list, ours) = match name {
        SHIM_LOC_LOCAL_PREF | SHIM_LOCLIST_LOCAL => (local, true),
        _ => (peer, false),
    };
    match name {
        // req: AP-8.1-03
        SHIM_LOC_LOCAL_PREF | SHIM_LOC_PEER_PREF => {
            let best = list.iter().min_by_key(|e| rank(e)).ok_or(SHIM_ERR_NO_CONTEXT)?;
            room.only(to_c(best, ours))
        }
        // req: AP-6.10-02, AP-6.11-01
        _ => {
            if list.iter().all(|e| room.put(to_c(e, ours))) {
                return Ok(room.used as socklen_t);
            }
            Err(Failure::new(SHIM_ERR_TOO_MANY_LOCATORS, format!("there are {}", list.len())))
        }
    }
}

/// Most preferred first: what works, by priority, by weight, then what is in use.
fn rank(e: &LocatorInfo) -> (bool, u8, std::cmp::Reverse<u8>, bool) {
    (e.broken, e.priority.unwrap_or(0), std::cmp::Reverse(e.weight.unwrap_or(0)), !e.current)
}

fn zeros() -> shim_locator {
    shim_locator {
        lc_family: 0,
        lc_proto: 0,
        lc_port: 0,
        lc_prio: 0,
        lc_weight: 0,
        lc_ifidx: 0,
        lc_addr: in6(Ipv6Addr::UNSPECIFIED),
        lc_flags: 0,
    }
}

/// A locator as the RFC's structure has it.
// req: AP-8.1-02, AP-8.1-04, AP-8.1-05
fn to_c(e: &LocatorInfo, ours: bool) -> shim_locator {
    shim_locator {
        lc_family: libc::AF_INET6 as u8,
        lc_prio: e.priority.unwrap_or(0).into(),
        lc_weight: e.weight.unwrap_or(0).into(),
        lc_ifidx: if ours { interface_of(e.locator.0) } else { 0 },
        lc_addr: in6(e.locator.0),
        lc_flags: match e.method {
            Verification::Hba => SHIM_LOCATOR_HBA,
            Verification::Cga => SHIM_LOCATOR_CGA,
            Verification::None | Verification::Other => 0,
        },
        ..zeros()
    }
}

/// The index of the interface that has an address, 0 if none has.
fn interface_of(addr: Ipv6Addr) -> u32 {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `list` is valid for the call; on success it is given back below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return 0;
    }
    let mut index = 0;
    let mut at = list;
    // SAFETY: getifaddrs gives a list that ends with NULL; addresses are NULL or of the family that they name, names are
    // strings; all of it lives until freeifaddrs.
    unsafe {
        while let Some(entry) = at.as_ref() {
            let family = entry.ifa_addr.as_ref().map(|a| c_int::from(a.sa_family));
            if family == Some(libc::AF_INET6) {
                let found = entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                if Ipv6Addr::from(found.sin6_addr.s6_addr) == addr {
                    index = libc::if_nametoindex(entry.ifa_name);
                    break;
                }
            }
            at = entry.ifa_next;
        }
        libc::freeifaddrs(list);
    }
    index
}
