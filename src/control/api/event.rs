//! What the daemon tells subscribers.

use super::{ContextId, ContextState, Pair, ReapState};
use crate::addr::{Fii, Locator, Ulid};
use serde::{Deserialize, Serialize};

/// Something that happened, and when.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Counts all events of this daemon; a gap is an event that this subscriber did not ask for or has lost.
    pub seq: u64,
    /// Milliseconds of CLOCK_BOOTTIME.
    pub at_ms: u64,
    /// The context it concerns, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextId>,
    /// What happened. In JSON its keys stand beside the others.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Why exploration began (RFC 5534, 4.1 and 4.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExploreReason {
    /// Nothing came back within Send Timeout.
    SendTimeout,
    /// The current local locator is gone or its link is down.
    LocalFailure,
    /// The peer has withdrawn its current locator or marked it BROKEN.
    PeerLocator,
    /// The peer's probe says that it hears nothing from us.
    PeerProbe,
    /// A test of the current pair, started by a hint, stayed unanswered.
    TestFailed,
    /// Somebody asked.
    Requested,
    /// A reason of a newer daemon.
    #[serde(other)]
    Other,
}

impl ExploreReason {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            ExploreReason::SendTimeout => "no answer within Send Timeout",
            ExploreReason::LocalFailure => "local address or link failed",
            ExploreReason::PeerLocator => "peer withdrew its locator",
            ExploreReason::PeerProbe => "peer hears nothing from us",
            ExploreReason::TestFailed => "test of the current pair failed",
            ExploreReason::Requested => "requested",
            ExploreReason::Other => "other",
        }
    }
}

/// What can happen.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// A context has reached ESTABLISHED for the first time.
    ContextEstablished {
        /// ULID(local).
        ulid_local: Ulid,
        /// ULID(peer).
        ulid_peer: Ulid,
        /// Forked instance.
        fii: Fii,
    },
    /// A context is gone.
    ContextDiscarded {
        /// ULID(local).
        ulid_local: Ulid,
        /// ULID(peer).
        ulid_peer: Ulid,
        /// Why, in words.
        reason: String,
    },
    /// An attempt to establish a context has failed.
    EstablishFailed {
        /// ULID(local).
        ulid_local: Ulid,
        /// ULID(peer).
        ulid_peer: Ulid,
        /// E-FAILED (no answer) or NO-SUPPORT (the peer's kernel refuses Shim6).
        state: ContextState,
    },
    /// The state of a context has changed.
    StateChanged {
        /// Before.
        from: ContextState,
        /// Now.
        to: ContextState,
    },
    /// The state of REAP has changed.
    ReapStateChanged {
        /// Before.
        from: ReapState,
        /// Now.
        to: ReapState,
    },
    /// Exploration has begun.
    Exploring {
        /// Why.
        reason: ExploreReason,
        /// The pair that was in use.
        pair: Pair,
    },
    /// A probe has left (verbose).
    ProbeSent {
        /// On this pair.
        pair: Pair,
        /// Our state as the probe reports it.
        state: ReapState,
    },
    /// A probe of ours was answered (verbose).
    ProbeAnswered {
        /// The pair that our probe used.
        pair: Pair,
        /// Round trip in microseconds.
        rtt_us: u64,
    },
    /// A test of a pair is over.
    PathTested {
        /// The pair.
        pair: Pair,
        /// Whether it works.
        reachable: bool,
        /// Round trip in microseconds, if it works.
        rtt_us: Option<u64>,
    },
    /// Our packets use another pair now.
    PathSwitched {
        /// Before.
        from: Pair,
        /// Now.
        to: Pair,
        /// Milliseconds since exploration began.
        after_ms: u64,
    },
    /// Both directions work again.
    Recovered {
        /// The pair in use.
        pair: Pair,
        /// Milliseconds since the last packet from the peer before the failure.
        gap_ms: u64,
    },
    /// All pairs have been tried in vain; exploration goes on at a slower pace.
    Lost {
        /// Milliseconds since exploration began.
        after_ms: u64,
    },
    /// A locator list of a context has changed.
    LocatorsChanged {
        /// Whether it is the peer's.
        peer: bool,
        /// The new list.
        locators: Vec<Locator>,
    },
    /// The rules had been removed by somebody else and are in place again.
    RulesReinstalled {
        /// Milliseconds without them.
        after_ms: u64,
    },
    /// An address of this host can be used as a locator.
    AddressAdded {
        /// The address.
        address: Locator,
        /// Its interface.
        interface: String,
    },
    /// An address of this host can no longer be used as a locator.
    AddressRemoved {
        /// The address.
        address: Locator,
        /// Its interface.
        interface: String,
        /// Why, in words.
        reason: String,
    },
    /// The daemon's configuration was read again.
    Reloaded {},
    /// The daemon is stopping; the connection ends.
    Stopping {},
    /// This subscriber was too slow.
    EventsLost {
        /// Events that it did not get.
        count: u64,
    },
    /// An event of a newer daemon.
    #[serde(other)]
    Unknown,
}

impl EventKind {
    /// All values of `type` that can be subscribed to.
    pub const NAMES: [&'static str; 18] = [
        "context_established",
        "establish_failed",
        "context_discarded",
        "state_changed",
        "reap_state_changed",
        "exploring",
        "probe_sent",
        "probe_answered",
        "path_tested",
        "path_switched",
        "recovered",
        "lost",
        "locators_changed",
        "rules_reinstalled",
        "address_added",
        "address_removed",
        "reloaded",
        "stopping",
    ];

    /// The value of `type` in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            EventKind::ContextEstablished { .. } => "context_established",
            EventKind::ContextDiscarded { .. } => "context_discarded",
            EventKind::EstablishFailed { .. } => "establish_failed",
            EventKind::StateChanged { .. } => "state_changed",
            EventKind::ReapStateChanged { .. } => "reap_state_changed",
            EventKind::Exploring { .. } => "exploring",
            EventKind::ProbeSent { .. } => "probe_sent",
            EventKind::ProbeAnswered { .. } => "probe_answered",
            EventKind::PathTested { .. } => "path_tested",
            EventKind::PathSwitched { .. } => "path_switched",
            EventKind::Recovered { .. } => "recovered",
            EventKind::Lost { .. } => "lost",
            EventKind::LocatorsChanged { .. } => "locators_changed",
            EventKind::RulesReinstalled { .. } => "rules_reinstalled",
            EventKind::AddressAdded { .. } => "address_added",
            EventKind::AddressRemoved { .. } => "address_removed",
            EventKind::Reloaded {} => "reloaded",
            EventKind::Stopping {} => "stopping",
            EventKind::EventsLost { .. } => "events_lost",
            EventKind::Unknown => "unknown",
        }
    }

    /// Sent only to subscribers who name it.
    pub fn is_verbose(&self) -> bool {
        matches!(self, EventKind::ProbeSent { .. } | EventKind::ProbeAnswered { .. })
    }
}
