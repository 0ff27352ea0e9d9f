//! What the protocol says about one socket of a program: the one whose descriptor comes along with the request.
//!
//! Nothing here names tags, other sockets or other users: the answers go to callers who may do no more than act on
//! their own socket.

use super::{ContextId, ContextState, Pair, ReapState};
use crate::addr::{Fii, Locator, Ulid};
use serde::{Deserialize, Serialize};

/// Most entries in a locator list (SHIM_MAX_LOCATORS of RFC 6316).
pub const MAX_LOCATORS: usize = 32;

/// A socket and what the shim does for it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SocketInfo {
    /// Its IP protocol: 6 is TCP, 17 UDP.
    pub protocol: u8,
    /// Its own address; `::` if it has none yet.
    pub local: Ulid,
    /// Its own port, 0 if it has none.
    pub local_port: u16,
    /// Whom it is connected to; `null` if it is not.
    pub peer: Option<Ulid>,
    /// The peer's port.
    pub peer_port: Option<u16>,
    /// State of its pair of ULIDs, also without a context (IDLE, E-FAILED, NO-SUPPORT); `null` if unconnected.
    pub state: Option<ContextState>,
    /// The context that serves it.
    pub context: Option<SocketContext>,
    /// What was asked for this socket.
    pub options: SocketOptions,
}

/// A context as the holder of one of its sockets may see it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SocketContext {
    /// The daemon's number.
    pub id: ContextId,
    /// Forked instance, 0 for the default context.
    pub fii: Fii,
    /// State of the context.
    pub state: ContextState,
    /// State of REAP; `null` while there is nothing to watch.
    pub reap_state: Option<ReapState>,
    /// The pair that our packets use.
    pub current: Pair,
    /// The pair by which the newest payload packet came in; before the first, `current`. Daemons that cannot tell
    /// leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<Pair>,
    /// Whether our packets carry the Shim6 payload header.
    pub tagged: bool,
    /// Milliseconds since the context, and its tags with it, was made.
    pub age_ms: u64,
    /// Milliseconds since the last payload packet went out.
    pub last_out_ms: Option<u64>,
    /// Milliseconds since the last packet came in.
    pub last_in_ms: Option<u64>,
    /// Round trip of the last answered probe, in microseconds.
    pub rtt_us: Option<u64>,
    /// Payload packets out and in.
    pub packets_out: u64,
    /// See `packets_out`.
    pub packets_in: u64,
    /// Octets of payload packets out and in, IPv6 header included.
    pub octets_out: u64,
    /// See `octets_out`.
    pub octets_in: u64,
    /// Probes sent and received.
    pub probes_out: u64,
    /// See `probes_out`.
    pub probes_in: u64,
    /// How often the current pair changed.
    pub switches: u64,
    /// Locators of ours and of the peer.
    pub local_locators: u32,
    /// See `local_locators`.
    pub peer_locators: u32,
    /// Send Timeout in force, in milliseconds.
    pub send_timeout_ms: u64,
    /// Exploration and failure detection as in force.
    pub explore: ExploreSettings,
}

/// Settings of failure detection and exploration (`struct shim_pathexplore` of RFC 6316, 8.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExploreSettings {
    /// Number of Initial Probes.
    pub probes: u16,
    /// Keepalive Timeout in seconds: the same thing as Send Timeout, see `docs/libshim.md`.
    pub keepalive_timeout_secs: u16,
    /// Keepalive Interval in seconds, at most half of the timeout.
    pub keepalive_interval_secs: u16,
    /// Initial Probe Timeout in milliseconds.
    pub initial_probe_timeout_ms: u16,
}

/// What was asked for a socket, as RFC 6316 names it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SocketOptions {
    /// SHIM_DONTSHIM.
    pub dont_shim: bool,
    /// SHIM_HOT_STANDBY.
    pub hot_standby: bool,
    /// SHIM_APP_TIMEOUT in seconds; 0 is the default of the host.
    pub send_timeout_secs: u32,
    /// SHIM_LOC_LOCAL_SEND; `null` if the daemon is free to choose.
    pub source: Option<Locator>,
    /// SHIM_LOC_PEER_SEND; `null` if the daemon is free to choose.
    pub destination: Option<Locator>,
}

/// What to change for a socket; keys that are absent stay as they are.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SocketChanges {
    /// SHIM_DONTSHIM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dont_shim: Option<bool>,
    /// SHIM_HOT_STANDBY.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_standby: Option<bool>,
    /// SHIM_APP_TIMEOUT in seconds: 0 for the default, else at least 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_timeout_secs: Option<u32>,
    /// SHIM_LOC_LOCAL_SEND; `::` leaves the choice to the daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Locator>,
    /// SHIM_LOC_PEER_SEND; `::` leaves the choice to the daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Locator>,
    /// SHIM_LOC_LOCAL_PREF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_preference: Option<Preference>,
    /// SHIM_LOC_PEER_PREF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_preference: Option<Preference>,
    /// SHIM_LOCLIST_LOCAL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_list: Option<Vec<Preference>>,
    /// SHIM_LOCLIST_PEER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_list: Option<Vec<Preference>>,
    /// SHIM_PATHEXPLORE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explore: Option<ExploreSettings>,
}

/// A locator with its preference: as in DNS SRV, the lowest priority first, among equals by weight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preference {
    /// The locator.
    pub locator: Locator,
    /// Lower first.
    #[serde(default)]
    pub priority: u16,
    /// Share among those of equal priority.
    #[serde(default)]
    pub weight: u16,
}

/// Which way a packet goes, seen from this host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the peer.
    Outbound,
    /// From the peer.
    Inbound,
}

/// How content a program is with one direction (RFC 6316, 8.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Satisfaction {
    /// Nothing gets through.
    Unreachable,
    /// Not well enough.
    Unsatisfactory,
    /// All is well.
    Satisfactory,
}

/// Whether a host knows Shim6.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Support {
    /// It answered, there is a context.
    Yes,
    /// Its kernel refused the protocol.
    No,
    /// It did not answer (in time).
    #[serde(other)]
    Unknown,
}
