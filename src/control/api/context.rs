//! What the protocol says about contexts and their locators.

use crate::addr::{ContextTag, Fii, Generation, Locator, LocatorPair, Ulid};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The daemon's number for a context; never used twice in the life of a daemon.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContextId(pub u64);

impl fmt::Display for ContextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a request names a context: `{"id":7}`, or `{"local":…,"peer":…}` with an optional `fii`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a context is {\"id\":N} or {\"local\":ULID,\"peer\":ULID,\"fii\":N}"
)]
pub enum ContextRef {
    /// By the daemon's number.
    Id {
        /// The number.
        id: ContextId,
    },
    /// By its key (RFC 5533, 6.1).
    Ulids {
        /// ULID(local).
        local: Ulid,
        /// ULID(peer).
        peer: Ulid,
        /// Forked instance, 0 for the default context.
        #[serde(default)]
        fii: Fii,
    },
}

impl fmt::Display for ContextRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContextRef::Id { id } => id.fmt(f),
            ContextRef::Ulids { local, peer, fii: Fii::DEFAULT } => write!(f, "{local} -> {peer}"),
            ContextRef::Ulids { local, peer, fii } => write!(f, "{local} -> {peer} fii {}", fii.0),
        }
    }
}

/// State of a context (RFC 5533, 6.2), in the RFC's spelling.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ContextState {
    #[serde(rename = "IDLE")]
    Idle,
    #[serde(rename = "I1-SENT")]
    I1Sent,
    #[serde(rename = "I2-SENT")]
    I2Sent,
    #[serde(rename = "ESTABLISHED")]
    Established,
    #[serde(rename = "I2BIS-SENT")]
    I2bisSent,
    #[serde(rename = "E-FAILED")]
    EFailed,
    #[serde(rename = "NO-SUPPORT")]
    NoSupport,
}

impl ContextState {
    /// The RFC's spelling.
    pub fn name(self) -> &'static str {
        match self {
            ContextState::Idle => "IDLE",
            ContextState::I1Sent => "I1-SENT",
            ContextState::I2Sent => "I2-SENT",
            ContextState::Established => "ESTABLISHED",
            ContextState::I2bisSent => "I2BIS-SENT",
            ContextState::EFailed => "E-FAILED",
            ContextState::NoSupport => "NO-SUPPORT",
        }
    }
}

impl fmt::Display for ContextState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// State of REAP (RFC 5534, 4.2), in the RFC's spelling.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ReapState {
    Operational,
    Exploring,
    InboundOk,
}

impl ReapState {
    /// The RFC's spelling.
    pub fn name(self) -> &'static str {
        match self {
            ReapState::Operational => "Operational",
            ReapState::Exploring => "Exploring",
            ReapState::InboundOk => "InboundOk",
        }
    }
}

impl fmt::Display for ReapState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Who began the exchange that made the context.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// This host.
    Initiator,
    /// The peer.
    Responder,
}

/// Two locators as seen from this host: packets leave from `local` to `peer`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Pair {
    /// Our end.
    pub local: Locator,
    /// The peer's end.
    pub peer: Locator,
}

impl From<LocatorPair> for Pair {
    fn from(pair: LocatorPair) -> Pair {
        Pair { local: pair.local, peer: pair.peer }
    }
}

impl From<Pair> for LocatorPair {
    fn from(pair: Pair) -> LocatorPair {
        LocatorPair { local: pair.local, peer: pair.peer }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.local, self.peer)
    }
}

/// For how long a pair that was asked for is to be used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Until something speaks for another one.
    #[default]
    No,
    /// Until it fails; exploration then takes it before others if it works again.
    Prefer,
    /// Whenever it works: left only when it fails, and returned to once it answers again.
    Pin,
}

/// A context in one line of a listing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ContextSummary {
    /// The daemon's number.
    pub id: ContextId,
    /// ULID(local).
    pub ulid_local: Ulid,
    /// ULID(peer).
    pub ulid_peer: Ulid,
    /// Forked instance, 0 for the default context.
    pub fii: Fii,
    /// State of the context.
    pub state: ContextState,
    /// State of REAP; `null` while there is nothing to watch.
    pub reap_state: Option<ReapState>,
    /// Who began.
    pub role: Role,
    /// The pair that our packets use.
    pub current: Pair,
    /// Whether our packets carry the Shim6 payload header.
    pub tagged: bool,
    /// CT(local), which the peer writes.
    pub local_tag: ContextTag,
    /// CT(peer), which we write, once known.
    pub peer_tag: Option<ContextTag>,
    /// Milliseconds since the context was made.
    pub age_ms: u64,
    /// Milliseconds since the last payload packet went out.
    pub last_out_ms: Option<u64>,
    /// Milliseconds since the last packet came in.
    pub last_in_ms: Option<u64>,
    /// Round trip of the last answered probe, in microseconds.
    pub rtt_us: Option<u64>,
    /// Octets of payload packets out and in, IPv6 header included.
    pub octets_out: u64,
    /// See `octets_out`.
    pub octets_in: u64,
}

/// Everything about one context. In JSON the keys of [`ContextSummary`] stand beside the others.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ContextInfo {
    /// What the listing shows.
    #[serde(flatten)]
    pub summary: ContextSummary,
    /// Ls(local).
    pub local_locators: Vec<LocatorInfo>,
    /// Ls(peer).
    pub peer_locators: Vec<LocatorInfo>,
    /// Generation of our list.
    pub local_generation: Generation,
    /// Generation of the peer's list, once we have one.
    pub peer_generation: Option<Generation>,
    /// Pairs that have been tried, newest first.
    pub pairs: Vec<PairInfo>,
    /// The pair that is pinned, as far as it is; `::` where the choice is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<Pair>,
    /// The pair that is preferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred: Option<Pair>,
    /// A second pair kept tested, with hot standby.
    pub standby: Option<Pair>,
    /// Timer values in use, and what is left of those running.
    pub timers: ContextTimers,
    /// Packets and messages of this context.
    pub counters: ContextCounters,
    /// Whether the context came out of the journal of an earlier daemon.
    pub restored: bool,
}

/// How a locator is proven to belong to its host (RFC 5533, 5.15.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// Member of the HBA set.
    Hba,
    /// Signed with the key of the CGA.
    Cga,
    /// Not proven; only the ULID itself may be so.
    None,
    /// A method of a newer daemon.
    #[serde(other)]
    Other,
}

impl Verification {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Verification::Hba => "hba",
            Verification::Cga => "cga",
            Verification::None => "none",
            Verification::Other => "other",
        }
    }
}

/// One entry of Ls(local) or Ls(peer).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LocatorInfo {
    /// The address.
    pub locator: Locator,
    /// Whether it is the ULID, too.
    pub ulid: bool,
    /// Whether the current pair uses it.
    pub current: bool,
    /// How it is proven.
    pub method: Verification,
    /// Whether that proof has been checked (for our own: whether it can be checked).
    pub verified: bool,
    /// Whether it was last seen to work; `null` if never tried.
    pub reachable: Option<bool>,
    /// Flag BROKEN of the preferences (RFC 5533, 5.15.3).
    pub broken: bool,
    /// Flag TRANSIENT of the preferences.
    pub transient: bool,
    /// Priority, lower first, if preferences were given.
    pub priority: Option<u8>,
    /// Weight among those of equal priority, if preferences were given.
    pub weight: Option<u8>,
}

/// What REAP knows about one pair.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PairInfo {
    /// The pair.
    pub pair: Pair,
    /// Whether its last probe was answered; `null` while one is out.
    pub works: Option<bool>,
    /// Milliseconds since the last probe on it.
    pub probed_ms: Option<u64>,
    /// Round trip of its last answered probe, in microseconds.
    pub rtt_us: Option<u64>,
}

/// Timer values of a context, in milliseconds; `…_left_ms` is `null` when that timer does not run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContextTimers {
    /// Send Timeout (RFC 5534, 7).
    pub send_timeout_ms: u64,
    /// Keepalive Timeout, the peer's wish or the default.
    pub keepalive_timeout_ms: u64,
    /// Keepalive Interval.
    pub keepalive_interval_ms: u64,
    /// Until we call the pair failed.
    pub send_left_ms: Option<u64>,
    /// Until we stop sending keepalives.
    pub keepalive_left_ms: Option<u64>,
    /// Until the next probe.
    pub probe_left_ms: Option<u64>,
    /// Until the next I1, I2, I2bis or Update Request.
    pub retransmit_left_ms: Option<u64>,
    /// How failures are noticed: `rfc` or `fast`; empty from an older daemon.
    pub detection: String,
}

/// Counters of a context.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContextCounters {
    /// Payload packets out.
    pub packets_out: u64,
    /// Payload packets in.
    pub packets_in: u64,
    /// Of those out: with the payload header.
    pub tagged_out: u64,
    /// Of those in: with the payload header.
    pub tagged_in: u64,
    /// Probes sent.
    pub probes_out: u64,
    /// Probes received.
    pub probes_in: u64,
    /// Keepalives sent.
    pub keepalives_out: u64,
    /// Keepalives received.
    pub keepalives_in: u64,
    /// How often the current pair changed.
    pub switches: u64,
}
