//! What can go wrong with addresses and routes.

use std::fmt;
use std::io;
use std::net::Ipv6Addr;

use crate::addr::Prefix;

/// Why the kernel could not be asked, or would not do, something about addresses, labels, routes or rules.
#[derive(Debug)]
pub enum NetlinkError {
    /// The caller lacks CAP_NET_ADMIN in this network namespace.
    Permission,
    /// No interface has an address of that prefix, so nobody says where and how long it is valid.
    NoOwner(Prefix),
    /// Another host on the link has the address (RFC 4862, 5.4.5).
    DadFailed(Ipv6Addr),
    /// Duplicate address detection did not end in time.
    DadTimeout(Ipv6Addr),
    /// The address went away while it was being waited for.
    AddressGone(Ipv6Addr),
    /// The kernel refused a request; `what` names it.
    Kernel {
        /// What was asked.
        what: String,
        /// The error number that the kernel gave.
        errno: i32,
    },
    /// The kernel's answer could not be understood.
    Garbled(&'static str),
    /// The netlink socket failed.
    Io(io::Error),
}

impl NetlinkError {
    pub(super) fn kernel(what: impl Into<String>, errno: i32) -> NetlinkError {
        match errno {
            libc::EPERM | libc::EACCES => NetlinkError::Permission,
            _ => NetlinkError::Kernel { what: what.into(), errno },
        }
    }

    /// The kernel's error number, if the kernel refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            NetlinkError::Permission => Some(libc::EPERM),
            NetlinkError::Kernel { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetlinkError::Permission => {
                write!(f, "not permitted to change addresses or routes: needs CAP_NET_ADMIN")
            }
            NetlinkError::NoOwner(p) => write!(f, "no interface has an address of {p}"),
            NetlinkError::DadFailed(a) => write!(f, "{a} is in use by another host on the link"),
            NetlinkError::DadTimeout(a) => {
                write!(f, "duplicate address detection of {a} did not end in time")
            }
            NetlinkError::AddressGone(a) => write!(f, "{a} was removed meanwhile"),
            NetlinkError::Kernel { what, errno } => {
                write!(f, "kernel refused to {what}: {}", io::Error::from_raw_os_error(*errno))
            }
            NetlinkError::Garbled(what) => write!(f, "cannot understand the kernel's {what}"),
            NetlinkError::Io(e) => write!(f, "netlink socket: {e}"),
        }
    }
}

impl std::error::Error for NetlinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NetlinkError::Io(e) => Some(e),
            _ => None,
        }
    }
}

impl From<io::Error> for NetlinkError {
    fn from(e: io::Error) -> NetlinkError {
        NetlinkError::Io(e)
    }
}
