//! RFC 6316's names, numbers and structures.
//!
//! The RFC gives no numbers. Ours lie outside those that kernels use, as this library and nothing else understands them.

use libc::{c_int, in6_addr};

/// Level of the options below, for shim_setsockopt, shim_getsockopt and ancillary data.
// req: AP-6-01
pub const SOL_SHIM: c_int = 0x5336;

/// int, get: 1 if a context serves the socket, 0 if none does; 2 with EOPNOTSUPP on an unconnected socket.
pub const SHIM_ASSOCIATED: c_int = 1;
/// int, get and set before the socket is connected: 1 keeps the shim off the socket.
pub const SHIM_DONTSHIM: c_int = 2;
/// int, get and set: 1 keeps an alternative pair tested.
pub const SHIM_HOT_STANDBY: c_int = 3;
/// struct shim_locator, get and set: preference of a source locator; get yields the most preferred.
pub const SHIM_LOC_LOCAL_PREF: c_int = 4;
/// struct shim_locator, get and set: the same for a destination locator.
pub const SHIM_LOC_PEER_PREF: c_int = 5;
/// int, get and set: 1 stores the destination locator of received packets in ancillary data.
pub const SHIM_LOC_LOCAL_RECV: c_int = 6;
/// int, get and set: 1 stores the source locator of received packets in ancillary data.
pub const SHIM_LOC_PEER_RECV: c_int = 7;
/// struct shim_locator, get and set: the source locator to use; all zeros: any.
pub const SHIM_LOC_LOCAL_SEND: c_int = 8;
/// struct shim_locator, get and set: the destination locator to use; all zeros: any.
pub const SHIM_LOC_PEER_SEND: c_int = 9;
/// Array of struct shim_locator, get and set: Ls(local).
pub const SHIM_LOCLIST_LOCAL: c_int = 10;
/// Array of struct shim_locator, get and set: Ls(peer).
pub const SHIM_LOCLIST_PEER: c_int = 11;
/// int, get and set: Send Timeout in seconds; 0: the default.
pub const SHIM_APP_TIMEOUT: c_int = 12;
/// struct shim_pathexplore, get and set.
pub const SHIM_PATHEXPLORE: c_int = 13;
/// int, get: 1, as Shim6 negotiates beside the communication.
pub const SHIM_CONTEXT_DEFERRED_SETUP: c_int = 14;
/// The RFC's other spelling of the same option.
pub const SHIM_DEFERRED_CONTEXT_SETUP: c_int = SHIM_CONTEXT_DEFERRED_SETUP;
/// Ancillary data of sendmsg: struct shim_feedback.
pub const SHIM_FEEDBACK: c_int = 15;

/// Most locators in a list.
// req: AP-13-01
pub const SHIM_MAX_LOCATORS: usize = 32;

/// errno: not a locator of the context.
// req: AP-6.16-02
pub const EINVALIDLOCATOR: c_int = 0x5337;
/// errno: a locator of the peer that was not shown to be reachable yet.
pub const EUNVERIFIEDLOCATOR: c_int = 0x5338;
/// errno: a locator of the peer that does not answer.
pub const EUNREACHABLELOCATOR: c_int = 0x5339;
/// errno: more than SHIM_MAX_LOCATORS, or no room for all there are.
pub const ETOOMANYLOCATORS: c_int = 0x533a;

/// lc_flags: the locator is a hash-based address.
// req: AP-8.1-05
pub const SHIM_LOCATOR_HBA: u16 = 0x01;
/// lc_flags: the locator is signed with the key of a CGA.
pub const SHIM_LOCATOR_CGA: u16 = 0x02;

/// A locator (RFC 6316, 8.1). 32 octets.
// req: AP-8.1-01
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shim_locator {
    /// AF_INET6.
    pub lc_family: u8,
    /// 0: Shim6 knows no locators behind NAT.
    pub lc_proto: u8,
    /// Port behind NAT: 0.
    pub lc_port: u16,
    /// Priority, lowest first.
    pub lc_prio: u16,
    /// Weight among those of equal priority.
    pub lc_weight: u16,
    /// Interface of a local locator, 0 if it has none; no effect on set.
    pub lc_ifidx: u32,
    /// The address, in network byte order.
    pub lc_addr: in6_addr,
    /// SHIM_LOCATOR_HBA, SHIM_LOCATOR_CGA; no effect on set.
    pub lc_flags: u16,
}

/// Settings of failure detection and exploration (RFC 6316, 8.2). 12 octets.
// req: AP-8.2-01
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct shim_pathexplore {
    /// Number of Initial Probes.
    pub pe_probenum: u16,
    /// Keepalive Timeout in seconds: the same value as SHIM_APP_TIMEOUT.
    pub pe_keepaliveto: u16,
    /// Keepalive Interval in seconds, at most half of the timeout.
    pub pe_keepaliveint: u16,
    /// Initial Probe Timeout in milliseconds.
    pub pe_initprobeto: u16,
    /// 0.
    pub pe_reserved: u32,
}

/// How content an application is (RFC 6316, 8.3). 4 octets.
// req: AP-8.3-01
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct shim_feedback {
    /// SHIM_FEEDBACK_OUTBOUND or SHIM_FEEDBACK_INBOUND.
    pub fb_direction: u8,
    /// SHIM_FEEDBACK_NONE, _UNABLE, _UNSATISFACTORY or _SATISFACTORY.
    pub fb_indicator: u8,
    /// Ignored.
    pub fb_reserved: u16,
}

/// fb_direction: to the peer.
pub const SHIM_FEEDBACK_OUTBOUND: u8 = 0;
/// fb_direction: from the peer.
pub const SHIM_FEEDBACK_INBOUND: u8 = 1;
/// fb_indicator: says nothing, is not processed.
pub const SHIM_FEEDBACK_NONE: u8 = 0;
/// fb_indicator: unable to connect.
pub const SHIM_FEEDBACK_UNABLE: u8 = 1;
/// fb_indicator: unsatisfactory.
pub const SHIM_FEEDBACK_UNSATISFACTORY: u8 = 2;
/// fb_indicator: satisfactory.
pub const SHIM_FEEDBACK_SATISFACTORY: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    // req-test: AP-8.1-01, AP-8.2-01, AP-8.3-01, AP-13-01
    #[test]
    fn structures_have_the_layout_of_the_rfc() {
        assert_eq!(size_of::<shim_locator>(), 32);
        let offsets = [
            offset_of!(shim_locator, lc_family),
            offset_of!(shim_locator, lc_proto),
            offset_of!(shim_locator, lc_port),
            offset_of!(shim_locator, lc_prio),
            offset_of!(shim_locator, lc_weight),
            offset_of!(shim_locator, lc_ifidx),
            offset_of!(shim_locator, lc_addr),
            offset_of!(shim_locator, lc_flags),
        ];
        assert_eq!(offsets, [0, 1, 2, 4, 6, 8, 12, 28]);
        assert_eq!(size_of::<shim_pathexplore>(), 12);
        assert_eq!(offset_of!(shim_pathexplore, pe_reserved), 8);
        assert_eq!(size_of::<shim_feedback>(), 4);
        assert_eq!(SHIM_MAX_LOCATORS, shim6::control::api::MAX_LOCATORS);
    }
}
