//! Results of calls: a code, a text that goes with the code, and a text that goes with the case.

use crate::boundary::answer;
use crate::rfc6316::{EINVALIDLOCATOR, ETOOMANYLOCATORS, EUNREACHABLELOCATOR, EUNVERIFIEDLOCATOR};
use libc::{c_char, c_int};
use shim6::control::api::ErrorCode;
use shim6::control::client::ClientError;
use std::cell::RefCell;
use std::ffi::{CStr, CString};

/// What every call returns: SHIM_OK or one of SHIM_ERR_…. Codes come in ranges: 1 to 19 what the caller passed,
/// 20 to 39 the way to the daemon, 40 to 59 the state of socket and context, 60 to 79 locators, 80 to 99 rights,
/// 100 and above faults. New codes are added inside their range.
pub type shim_result = c_int;

/// Done.
pub const SHIM_OK: c_int = 0;
/// A pointer was NULL that must not be.
pub const SHIM_ERR_NULL: c_int = 1;
/// A value makes no sense here.
pub const SHIM_ERR_ARGUMENT: c_int = 2;
/// The array or structure has no room for the answer; the count tells how much is needed.
pub const SHIM_ERR_SIZE: c_int = 3;
/// The descriptor is negative or closed.
pub const SHIM_ERR_DESCRIPTOR: c_int = 4;
/// No shim6d answers.
pub const SHIM_ERR_NO_DAEMON: c_int = 20;
/// The time that the caller allowed is over. What was asked for may still happen.
pub const SHIM_ERR_TIMEOUT: c_int = 21;
/// The daemon has closed the connection.
pub const SHIM_ERR_CLOSED: c_int = 22;
/// The connection failed.
pub const SHIM_ERR_IO: c_int = 23;
/// The daemon's answer was not understood.
pub const SHIM_ERR_PROTOCOL: c_int = 24;
/// The daemon, or another thread in the same call, is busy: try again.
pub const SHIM_ERR_BUSY: c_int = 25;
/// The object belongs to the parent process: make one of your own.
pub const SHIM_ERR_FORKED: c_int = 26;
/// The socket is not connected.
pub const SHIM_ERR_NOT_CONNECTED: c_int = 40;
/// The socket has no context.
pub const SHIM_ERR_NO_CONTEXT: c_int = 41;
/// Not in the present state.
pub const SHIM_ERR_NOT_POSSIBLE: c_int = 42;
/// This daemon cannot do that yet, for nobody.
pub const SHIM_ERR_NOT_SUPPORTED: c_int = 43;
/// There is no such thing.
pub const SHIM_ERR_NOT_FOUND: c_int = 44;
/// Not a locator of this context.
pub const SHIM_ERR_INVALID_LOCATOR: c_int = 60;
/// A locator of the peer that was not shown to be reachable yet.
pub const SHIM_ERR_UNVERIFIED_LOCATOR: c_int = 61;
/// A locator of the peer that does not answer.
pub const SHIM_ERR_UNREACHABLE_LOCATOR: c_int = 62;
/// More than SHIM_MAX_LOCATORS.
pub const SHIM_ERR_TOO_MANY_LOCATORS: c_int = 63;
/// Not yours to do.
pub const SHIM_ERR_PERMISSION: c_int = 80;
/// A fault of this library.
pub const SHIM_ERR_INTERNAL: c_int = 100;
/// A fault of the daemon; its log says more.
pub const SHIM_ERR_DAEMON: c_int = 101;
/// The kernel refused.
pub const SHIM_ERR_KERNEL: c_int = 102;

/// Code, errno value, text.
const TABLE: [(c_int, c_int, &CStr); 25] = [
    (SHIM_OK, 0, c"success"),
    (SHIM_ERR_NULL, libc::EFAULT, c"a pointer is NULL that must not be"),
    (SHIM_ERR_ARGUMENT, libc::EINVAL, c"invalid argument"),
    (SHIM_ERR_SIZE, libc::ENOBUFS, c"no room for the answer"),
    (SHIM_ERR_DESCRIPTOR, libc::EBADF, c"no such descriptor"),
    // As on a host whose protocol stack has never heard of the options.
    (SHIM_ERR_NO_DAEMON, libc::ENOPROTOOPT, c"no shim6d answers"),
    (SHIM_ERR_TIMEOUT, libc::ETIMEDOUT, c"no answer in time"),
    (SHIM_ERR_CLOSED, libc::ECONNRESET, c"the daemon has closed the connection"),
    (SHIM_ERR_IO, libc::EIO, c"the connection to the daemon failed"),
    (SHIM_ERR_PROTOCOL, libc::EPROTO, c"the daemon's answer was not understood"),
    (SHIM_ERR_BUSY, libc::EAGAIN, c"busy, try again"),
    (SHIM_ERR_FORKED, libc::ECHILD, c"made by the parent process"),
    (SHIM_ERR_NOT_CONNECTED, libc::EOPNOTSUPP, c"the socket is not connected"),
    (SHIM_ERR_NO_CONTEXT, libc::ENOENT, c"the socket has no context"),
    (SHIM_ERR_NOT_POSSIBLE, libc::EOPNOTSUPP, c"not possible in the present state"),
    (SHIM_ERR_NOT_SUPPORTED, libc::ENOSYS, c"not supported by this daemon yet"),
    (SHIM_ERR_NOT_FOUND, libc::ESRCH, c"not found"),
    (SHIM_ERR_INVALID_LOCATOR, EINVALIDLOCATOR, c"not a locator of this context"),
    (SHIM_ERR_UNVERIFIED_LOCATOR, EUNVERIFIEDLOCATOR, c"locator not shown to be reachable yet"),
    (SHIM_ERR_UNREACHABLE_LOCATOR, EUNREACHABLELOCATOR, c"locator not reachable"),
    (SHIM_ERR_TOO_MANY_LOCATORS, ETOOMANYLOCATORS, c"too many locators"),
    (SHIM_ERR_PERMISSION, libc::EPERM, c"permission denied"),
    (SHIM_ERR_INTERNAL, libc::EIO, c"fault of the library"),
    (SHIM_ERR_DAEMON, libc::EIO, c"fault of the daemon"),
    (SHIM_ERR_KERNEL, libc::EIO, c"the kernel refused"),
];

/// Why a call failed: the code, and words about this case.
#[derive(Debug)]
pub struct Failure {
    /// SHIM_ERR_….
    pub code: shim_result,
    /// For people; empty if the code says all.
    pub text: String,
}

impl Failure {
    /// A failure with words of its own.
    pub fn new(code: shim_result, text: impl Into<String>) -> Failure {
        Failure { code, text: text.into() }
    }

    /// The errno value of its code.
    pub fn errno(&self) -> c_int {
        errno_of(self.code)
    }
}

impl From<shim_result> for Failure {
    fn from(code: shim_result) -> Failure {
        Failure { code, text: String::new() }
    }
}

impl From<ClientError> for Failure {
    fn from(e: ClientError) -> Failure {
        let code = match &e {
            ClientError::NoDaemon { .. } => SHIM_ERR_NO_DAEMON,
            ClientError::Timeout(_) => SHIM_ERR_TIMEOUT,
            ClientError::Closed => SHIM_ERR_CLOSED,
            // The kernel looks at the passed descriptor first.
            ClientError::Io(io) if io.raw_os_error() == Some(libc::EBADF) => SHIM_ERR_DESCRIPTOR,
            ClientError::Io(_) => SHIM_ERR_IO,
            ClientError::TooLarge => SHIM_ERR_ARGUMENT,
            ClientError::Protocol(_) => SHIM_ERR_PROTOCOL,
            ClientError::Api(e) => match e.code {
                ErrorCode::InvalidArgument => SHIM_ERR_ARGUMENT,
                ErrorCode::PermissionDenied => SHIM_ERR_PERMISSION,
                ErrorCode::Busy => SHIM_ERR_BUSY,
                ErrorCode::NotFound => SHIM_ERR_NOT_FOUND,
                ErrorCode::NotPossible => SHIM_ERR_NOT_POSSIBLE,
                // An older daemon does not know requests that this library does.
                ErrorCode::NotSupported
                | ErrorCode::UnknownRequest
                | ErrorCode::UnsupportedVersion => SHIM_ERR_NOT_SUPPORTED,
                ErrorCode::NotConnected => SHIM_ERR_NOT_CONNECTED,
                ErrorCode::NoContext => SHIM_ERR_NO_CONTEXT,
                ErrorCode::InvalidLocator => SHIM_ERR_INVALID_LOCATOR,
                ErrorCode::UnverifiedLocator => SHIM_ERR_UNVERIFIED_LOCATOR,
                ErrorCode::UnreachableLocator => SHIM_ERR_UNREACHABLE_LOCATOR,
                ErrorCode::TooManyLocators => SHIM_ERR_TOO_MANY_LOCATORS,
                ErrorCode::Unavailable => SHIM_ERR_NO_DAEMON,
                ErrorCode::Kernel => SHIM_ERR_KERNEL,
                ErrorCode::BadRequest
                | ErrorCode::TooLarge
                | ErrorCode::Internal
                | ErrorCode::Unknown => SHIM_ERR_DAEMON,
            },
        };
        Failure { code, text: e.to_string() }
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Remembers the words of a failure for this thread.
pub fn remember(failure: &Failure) {
    let mut text = failure.text.clone();
    text.retain(|c| c != '\0');
    let text = CString::new(text).unwrap_or_default();
    // A thread that is ending has no last error any more.
    let _ = LAST.try_with(|last| *last.borrow_mut() = text);
}

fn errno_of(code: shim_result) -> c_int {
    TABLE.iter().find(|(c, ..)| *c == code).map_or(libc::EIO, |(_, errno, _)| *errno)
}

/// The text of a code, never NULL. Static: not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn shim_strerror(result: shim_result) -> *const c_char {
    answer(c"".as_ptr(), || {
        let found = TABLE.iter().find(|(code, ..)| *code == result);
        found.map_or(c"unknown result", |(.., text)| text).as_ptr()
    })
}

/// The errno value that goes with a code: 0 for SHIM_OK. RFC 6316's own values lie outside the system's.
#[unsafe(no_mangle)]
pub extern "C" fn shim_errno(result: shim_result) -> c_int {
    answer(libc::EIO, || errno_of(result))
}

/// What the last failed call of this thread has to say beyond its code, in English; "" if nothing. Never NULL. Valid
/// until the next call of this library in the same thread.
#[unsafe(no_mangle)]
pub extern "C" fn shim_last_error() -> *const c_char {
    answer(c"".as_ptr(), || LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(p: *const c_char) -> String {
        // SAFETY: the functions under test give valid strings.
        unsafe { CStr::from_ptr(p) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn every_code_has_a_text_and_an_errno_of_its_range() {
        let mut last = -1;
        for (code, errno, words) in TABLE {
            assert!(code > last, "in order, each once");
            last = code;
            assert_eq!(text(shim_strerror(code)), words.to_str().unwrap());
            assert_eq!(shim_errno(code), errno);
            assert_eq!(errno == 0, code == SHIM_OK);
        }
        assert_eq!(text(shim_strerror(-1)), "unknown result");
        assert_eq!(shim_errno(9999), libc::EIO);
    }

    // req-test: AP-6.16-02
    #[test]
    fn new_errno_values_differ_from_those_of_the_system() {
        let own = [EINVALIDLOCATOR, EUNVERIFIEDLOCATOR, EUNREACHABLELOCATOR, ETOOMANYLOCATORS];
        for (i, value) in own.into_iter().enumerate() {
            // The kernel's own end at 4095.
            assert!(value > 4095);
            assert!(!own[..i].contains(&value));
        }
    }

    #[test]
    fn words_are_kept_per_thread() {
        remember(&Failure::new(SHIM_ERR_IO, "one\0two"));
        assert_eq!(text(shim_last_error()), "onetwo");
        std::thread::spawn(|| assert_eq!(text(shim_last_error()), "")).join().unwrap();
        remember(&Failure::from(SHIM_ERR_IO));
        assert_eq!(text(shim_last_error()), "");
    }
}
