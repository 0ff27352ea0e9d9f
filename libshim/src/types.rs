//! The structures that calls fill in. They may grow at the end: calls take the size that the caller knows.

use libc::{c_int, in6_addr};
use shim6::addr::{Locator, Ulid};
use shim6::control::api::{
    ContextState, ContextSummary, HostLocator, LocatorInfo, LocatorPreference, Pair, ReapState,
    SocketInfo, Verification,
};
use std::net::Ipv6Addr;

/// States of a context (RFC 5533, 6.2); SHIM_STATE_NONE: the socket is not connected.
pub const SHIM_STATE_NONE: c_int = -1;
/// IDLE: there is no context.
pub const SHIM_STATE_IDLE: c_int = 0;
/// I1-SENT.
pub const SHIM_STATE_I1_SENT: c_int = 1;
/// I2-SENT.
pub const SHIM_STATE_I2_SENT: c_int = 2;
/// ESTABLISHED.
pub const SHIM_STATE_ESTABLISHED: c_int = 3;
/// I2BIS-SENT: being recovered, still in use.
pub const SHIM_STATE_I2BIS_SENT: c_int = 4;
/// E-FAILED: the peer did not answer lately.
pub const SHIM_STATE_E_FAILED: c_int = 5;
/// NO-SUPPORT: the peer's host does not know Shim6.
pub const SHIM_STATE_NO_SUPPORT: c_int = 6;

/// States of REAP (RFC 5534, 4.2); SHIM_REAP_NONE: nothing to watch.
pub const SHIM_REAP_NONE: c_int = -1;
/// Operational.
pub const SHIM_REAP_OPERATIONAL: c_int = 0;
/// Exploring.
pub const SHIM_REAP_EXPLORING: c_int = 1;
/// InboundOk.
pub const SHIM_REAP_INBOUND_OK: c_int = 2;

/// A socket and the context that serves it. Addresses that there are not are all zeros; times and round trips that are
/// not known are -1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shim_status {
    /// 1 if a context serves the socket, else 0.
    pub associated: i32,
    /// SHIM_STATE_….
    pub state: i32,
    /// SHIM_REAP_….
    pub reap_state: i32,
    /// 1 if packets carry the payload header, which they do on other locators than the ULIDs.
    pub tagged: i32,
    /// The daemon's number of the context, 0 without one.
    pub context: u64,
    /// Forked instance, 0 for the default context.
    pub fii: u32,
    /// IP protocol of the socket: IPPROTO_TCP, IPPROTO_UDP; 0 in listings of contexts.
    pub protocol: u32,
    /// Ports of the socket, in host order.
    pub local_port: u16,
    /// See local_port.
    pub peer_port: u16,
    /// Send Timeout in force, in milliseconds.
    pub send_timeout_ms: u32,
    /// ULID(local): the address that the socket shows.
    pub ulid_local: in6_addr,
    /// ULID(peer).
    pub ulid_peer: in6_addr,
    /// Where packets really leave from.
    pub locator_local: in6_addr,
    /// Where packets really go to.
    pub locator_peer: in6_addr,
    /// Milliseconds since the context was made, and its tags with it.
    pub age_ms: i64,
    /// Milliseconds since the last packet went out.
    pub last_out_ms: i64,
    /// Milliseconds since the last packet came in.
    pub last_in_ms: i64,
    /// Round trip of the last answered probe, in microseconds.
    pub rtt_us: i64,
    /// Payload packets out.
    pub packets_out: u64,
    /// Payload packets in.
    pub packets_in: u64,
    /// Octets of those out, IPv6 header included.
    pub octets_out: u64,
    /// Octets of those in.
    pub octets_in: u64,
    /// Probes sent.
    pub probes_out: u64,
    /// Probes received.
    pub probes_in: u64,
    /// How often the pair in use changed.
    pub switches: u64,
    /// Locators in Ls(local).
    pub local_locators: u32,
    /// Locators in Ls(peer).
    pub peer_locators: u32,
}

/// shim_locator_info.flags: a member of the HBA set.
pub const SHIM_FLAG_HBA: u32 = 0x01;
/// Signed with the key of the CGA.
pub const SHIM_FLAG_CGA: u32 = 0x02;
/// The ULID, too.
pub const SHIM_FLAG_ULID: u32 = 0x04;
/// In use now.
pub const SHIM_FLAG_CURRENT: u32 = 0x08;
/// Proven to belong to its host.
pub const SHIM_FLAG_VERIFIED: u32 = 0x10;
/// Marked BROKEN, or out of order.
pub const SHIM_FLAG_BROKEN: u32 = 0x20;
/// Marked TRANSIENT.
pub const SHIM_FLAG_TRANSIENT: u32 = 0x40;

/// One entry of Ls(local) or Ls(peer).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shim_locator_info {
    /// The address.
    pub addr: in6_addr,
    /// SHIM_FLAG_….
    pub flags: u32,
    /// 1 if last seen to work, 0 if not, -1 if never tried.
    pub reachable: i32,
    /// Priority, lowest first; -1 if no preferences were given.
    pub priority: i32,
    /// Weight among those of equal priority; -1 if no preferences were given.
    pub weight: i32,
}

/// An address as C has it.
pub fn in6(a: Ipv6Addr) -> in6_addr {
    in6_addr { s6_addr: a.octets() }
}

/// An address from C.
pub fn address(a: &in6_addr) -> Ipv6Addr {
    a.s6_addr.into()
}

/// A locator from C.
pub fn locator(a: &in6_addr) -> Locator {
    Locator(address(a))
}

/// A number that may be unknown.
fn known(n: Option<u64>) -> i64 {
    n.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX))
}

/// SHIM_STATE_….
pub fn state(s: Option<ContextState>) -> c_int {
    match s {
        None => SHIM_STATE_NONE,
        Some(ContextState::Idle) => SHIM_STATE_IDLE,
        Some(ContextState::I1Sent) => SHIM_STATE_I1_SENT,
        Some(ContextState::I2Sent) => SHIM_STATE_I2_SENT,
        Some(ContextState::Established) => SHIM_STATE_ESTABLISHED,
        Some(ContextState::I2bisSent) => SHIM_STATE_I2BIS_SENT,
        Some(ContextState::EFailed) => SHIM_STATE_E_FAILED,
        Some(ContextState::NoSupport) => SHIM_STATE_NO_SUPPORT,
    }
}

/// SHIM_REAP_….
pub fn reap(s: Option<ReapState>) -> c_int {
    match s {
        None => SHIM_REAP_NONE,
        Some(ReapState::Operational) => SHIM_REAP_OPERATIONAL,
        Some(ReapState::Exploring) => SHIM_REAP_EXPLORING,
        Some(ReapState::InboundOk) => SHIM_REAP_INBOUND_OK,
    }
}

/// Whether a context in this state serves its sockets.
pub fn serves(s: ContextState) -> bool {
    matches!(s, ContextState::Established | ContextState::I2bisSent)
}

impl shim_status {
    fn empty() -> shim_status {
        let none = in6(Ipv6Addr::UNSPECIFIED);
        shim_status {
            associated: 0,
            state: SHIM_STATE_NONE,
            reap_state: SHIM_REAP_NONE,
            tagged: 0,
            context: 0,
            fii: 0,
            protocol: 0,
            local_port: 0,
            peer_port: 0,
            send_timeout_ms: 0,
            ulid_local: none,
            ulid_peer: none,
            locator_local: none,
            locator_peer: none,
            age_ms: -1,
            last_out_ms: -1,
            last_in_ms: -1,
            rtt_us: -1,
            packets_out: 0,
            packets_in: 0,
            octets_out: 0,
            octets_in: 0,
            probes_out: 0,
            probes_in: 0,
            switches: 0,
            local_locators: 0,
            peer_locators: 0,
        }
    }

    fn set_pair(&mut self, pair: &Pair) {
        self.locator_local = in6(pair.local.0);
        self.locator_peer = in6(pair.peer.0);
    }

    fn set_ulids(&mut self, local: Ulid, peer: Option<Ulid>) {
        self.ulid_local = in6(local.0);
        self.ulid_peer = in6(peer.map_or(Ipv6Addr::UNSPECIFIED, |p| p.0));
    }

    /// What the daemon says about a socket.
    pub fn of_socket(s: &SocketInfo) -> shim_status {
        let mut out = shim_status {
            state: state(s.state),
            protocol: s.protocol.into(),
            local_port: s.local_port,
            peer_port: s.peer_port.unwrap_or(0),
            ..shim_status::empty()
        };
        out.set_ulids(s.local, s.peer);
        if let Some(c) = &s.context {
            out.set_pair(&c.current);
            out = shim_status {
                associated: serves(c.state).into(),
                reap_state: reap(c.reap_state),
                tagged: c.tagged.into(),
                context: c.id.0,
                fii: c.fii.0,
                send_timeout_ms: u32::try_from(c.send_timeout_ms).unwrap_or(u32::MAX),
                age_ms: known(Some(c.age_ms)),
                last_out_ms: known(c.last_out_ms),
                last_in_ms: known(c.last_in_ms),
                rtt_us: known(c.rtt_us),
                packets_out: c.packets_out,
                packets_in: c.packets_in,
                octets_out: c.octets_out,
                octets_in: c.octets_in,
                probes_out: c.probes_out,
                probes_in: c.probes_in,
                switches: c.switches,
                local_locators: c.local_locators,
                peer_locators: c.peer_locators,
                ..out
            };
        }
        out
    }

    /// One line of a listing of contexts.
    pub fn of_context(c: &ContextSummary) -> shim_status {
        let mut out = shim_status {
            associated: serves(c.state).into(),
            state: state(Some(c.state)),
            reap_state: reap(c.reap_state),
            tagged: c.tagged.into(),
            context: c.id.0,
            fii: c.fii.0,
            age_ms: known(Some(c.age_ms)),
            last_out_ms: known(c.last_out_ms),
            last_in_ms: known(c.last_in_ms),
            rtt_us: known(c.rtt_us),
            octets_out: c.octets_out,
            octets_in: c.octets_in,
            ..shim_status::empty()
        };
        out.set_ulids(c.ulid_local, Some(c.ulid_peer));
        out.set_pair(&c.current);
        out
    }
}

impl shim_locator_info {
    /// An entry of a list.
    // req: AP-3-02
    pub fn of(l: &LocatorInfo) -> shim_locator_info {
        let flags = [
            (l.method == Verification::Hba, SHIM_FLAG_HBA),
            (l.method == Verification::Cga, SHIM_FLAG_CGA),
            (l.ulid, SHIM_FLAG_ULID),
            (l.current, SHIM_FLAG_CURRENT),
            (l.verified, SHIM_FLAG_VERIFIED),
            (l.broken, SHIM_FLAG_BROKEN),
            (l.transient, SHIM_FLAG_TRANSIENT),
        ];
        shim_locator_info {
            addr: in6(l.locator.0),
            flags: flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum(),
            reachable: l.reachable.map_or(-1, i32::from),
            priority: l.priority.map_or(-1, i32::from),
            weight: l.weight.map_or(-1, i32::from),
        }
    }

    /// An entry of the host's own list.
    pub fn of_host(l: &HostLocator) -> shim_locator_info {
        let flags = [
            (l.method == Verification::Hba, SHIM_FLAG_HBA),
            (l.method == Verification::Cga, SHIM_FLAG_CGA),
            (l.offered, SHIM_FLAG_VERIFIED),
            (l.broken, SHIM_FLAG_BROKEN),
        ];
        let preference = |of: fn(&LocatorPreference) -> u8| {
            l.preference.as_ref().map_or(-1, |p| i32::from(of(p)))
        };
        shim_locator_info {
            addr: in6(l.locator.0),
            flags: flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum(),
            reachable: i32::from(l.operational),
            priority: preference(|p| p.priority),
            weight: preference(|p| p.weight),
        }
    }
}
