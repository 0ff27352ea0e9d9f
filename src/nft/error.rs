//! What can go wrong with the rules, in words that name the remedy.

use std::fmt;
use std::io;

/// Why rules could not be probed, installed, read back or removed.
#[derive(Debug)]
pub enum NftError {
    /// The caller lacks CAP_NET_ADMIN in this network namespace.
    Permission,
    /// The kernel has no nf_tables for IPv6.
    NoNfTables,
    /// The kernel can neither do `queue` nor the xt `NFQUEUE` target in nf_tables.
    NoQueue,
    /// The kernel has no nfnetlink_queue: nobody could receive queued packets.
    NoNfnetlinkQueue,
    /// A value of the specification is out of its range.
    BadSpec(&'static str),
    /// The kernel refused a message; `what` names it, `errno` is the kernel's answer.
    Kernel {
        /// The object that was being created, deleted or read.
        what: String,
        /// The error number that the kernel gave.
        errno: i32,
    },
    /// There is no table of ours, or its rules do not see our packets.
    TableMissing,
    /// The rules read back differ from those sent.
    Differs(Vec<String>),
    /// The kernel's answer could not be understood.
    Garbled(&'static str),
    /// The netlink socket failed.
    Io(io::Error),
}

impl NftError {
    /// What an administrator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            NftError::Permission => "run as root or with CAP_NET_ADMIN",
            NftError::NoNfTables => "modprobe nf_tables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_IPV6)",
            NftError::NoQueue => {
                "modprobe nft_queue, or modprobe nft_compat and xt_NFQUEUE \
                 (CONFIG_NFT_QUEUE, or CONFIG_NFT_COMPAT and CONFIG_NETFILTER_XT_TARGET_NFQUEUE)"
            }
            NftError::NoNfnetlinkQueue => {
                "modprobe nfnetlink_queue (CONFIG_NETFILTER_NETLINK_QUEUE)"
            }
            NftError::BadSpec(_) => "correct the [rules] section of the configuration",
            NftError::Kernel { .. } => "see the kernel log; `nft list ruleset` shows what is there",
            NftError::TableMissing => "none needed: a running daemon puts the table back",
            NftError::Differs(_) => "another program changes table ip6 shim6: find and stop it",
            NftError::Garbled(_) => "report this with the kernel's version",
            NftError::Io(_) => "check the system's limits on sockets and memory",
        }
    }

    pub(super) fn kernel(what: impl Into<String>, errno: i32) -> NftError {
        match errno {
            libc::EPERM | libc::EACCES => NftError::Permission,
            _ => NftError::Kernel { what: what.into(), errno },
        }
    }
}

impl fmt::Display for NftError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NftError::Permission => write!(f, "not permitted to change rules")?,
            NftError::NoNfTables => write!(f, "the kernel has no nf_tables for IPv6")?,
            NftError::NoQueue => write!(f, "the kernel cannot queue packets from nf_tables")?,
            NftError::NoNfnetlinkQueue => write!(f, "the kernel has no nfnetlink_queue")?,
            NftError::BadSpec(why) => write!(f, "unusable rule specification: {why}")?,
            NftError::Kernel { what, errno } => {
                write!(f, "kernel refused {what}: {}", io::Error::from_raw_os_error(*errno))?;
            }
            NftError::TableMissing => write!(f, "there is no table ip6 shim6")?,
            NftError::Differs(how) => {
                write!(f, "rules read back differ from those sent: {}", how.join("; "))?;
            }
            NftError::Garbled(what) => write!(f, "cannot understand the kernel's {what}")?,
            NftError::Io(e) => write!(f, "netlink socket: {e}")?,
        }
        write!(f, " (remedy: {})", self.remedy())
    }
}

impl std::error::Error for NftError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NftError::Io(e) => Some(e),
            _ => None,
        }
    }
}

impl From<io::Error> for NftError {
    fn from(e: io::Error) -> NftError {
        match e.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => NftError::Permission,
            Some(libc::EPROTONOSUPPORT) => NftError::NoNfTables,
            _ => NftError::Io(e),
        }
    }
}
