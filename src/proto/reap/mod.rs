//! REAP (RFC 5534): failure detection and locator pair exploration of one context.
//!
//! A pure machine beside the context: inputs are `on_*` methods, effects are [`Action`]s, the surroundings come as
//! [`ReapCx`]. It knows nothing of tags, messages on the wire or other contexts.
//!
//! How to drive a [`Reap`]:
//!
//! - Wake at the earlier of [`Reap::poll_timeout`] and [`Reap::activity_due`]. If `activity_due` has come, read the
//!   activity cells and call [`Reap::on_activity`] first; then call [`Reap::on_timer`]. Early calls are harmless.
//! - After each call compare [`Reap::wake`] with what is armed in the data plane, and arm again what a notice has
//!   disarmed. A notice's cells go to `on_activity` too.
//! - [`Reap::hold`] is the `hold` of the context's map entry.
//! - Carry out the actions in their order. On `State { to: Operational, .. }` held copies can go out by the current
//!   pair; on `Switch` by the new one.
//! - [`Reap::on_control_in`] is for every valid control message of the context except Keepalive and Probe;
//!   [`Reap::on_control_out`] for Update Request, Update Acknowledgement and Error only: a peer may ignore a
//!   repeated I1, I2 or I2bis, which would look like a failure.

mod book;
mod explore;
mod machine;
mod reports;
mod rows;
mod standby;
mod tester;
#[cfg(test)]
mod tests;
mod timers;
mod watch;

pub use machine::Reap;
pub use timers::keepalive_interval;

use super::Time;
use super::config::ReapConfig;
use super::settings::Ends;
use crate::addr::LocatorPair;
use crate::wire::control::{ProbeReport, ProbeState};
use std::time::Duration;

/// One locator of ours or of the peer, as exploration sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The address.
    pub addr: std::net::Ipv6Addr,
    /// May be used at all: ours is present and acknowledged, the peer's is verified.
    pub usable: bool,
    /// Marked BROKEN by its owner, deprecated, or known to have no route: tried last.
    pub broken: bool,
    /// Lower is tried first (Locator Preferences priority, or local policy).
    pub priority: u8,
    /// Share among equal priorities, as in RFC 2782.
    pub weight: u8,
}

/// What the machine needs to know about its context at each input.
pub struct ReapCx<'a> {
    /// The present time.
    pub now: Time,
    /// Jitter and nonces.
    pub rng: &'a mut dyn rand::RngCore,
    /// Timers.
    pub config: &'a ReapConfig,
    /// Ls(local).
    pub local: &'a [Candidate],
    /// Ls(peer).
    pub peer: &'a [Candidate],
    /// The pair payload uses now.
    pub current: LocatorPair,
    /// Ends that somebody wants to be used if a pair with them works.
    pub wanted: Ends,
    /// The ULIDs, as locators: where payload went first.
    pub ulids: LocatorPair,
    /// Effects, in order.
    pub actions: &'a mut Vec<Action>,
}

/// What the context has to do for REAP.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send a Keepalive on the current pair.
    SendKeepalive,
    /// Send a Probe on this pair; its first sent report names the pair itself.
    SendProbe {
        /// Where.
        pair: LocatorPair,
        /// The state to put in.
        state: ProbeState,
        /// Probes we sent, newest first, this one included.
        sent: Vec<ProbeReport>,
        /// Probes we received, newest first.
        received: Vec<ProbeReport>,
    },
    /// Payload uses this pair from now on: it is confirmed.
    Switch(LocatorPair),
    /// The state changed.
    State {
        /// Before.
        from: ReapState,
        /// After.
        to: ReapState,
        /// Why.
        reason: Reason,
    },
    /// A probe of ours was reported as received.
    Answered {
        /// Its pair.
        pair: LocatorPair,
        /// Time since it was sent.
        rtt: Duration,
    },
    /// The test of this pair is over: it works.
    Tested {
        /// The pair.
        pair: LocatorPair,
        /// Time from the Probe to its report.
        rtt: Duration,
    },
    /// None of the Probes of a test was reported as received in time. By itself this changes nothing.
    TestFailed {
        /// The pair that was tested.
        pair: LocatorPair,
    },
    /// Every pair was probed in vain, for the first time in this exploration, which goes on.
    Exhausted,
    /// A report was ignored, or an answer not sent, for this reason.
    Ignored(&'static str),
    /// An incoming Probe was dropped for this reason.
    Dropped(&'static str),
}

/// What is known about one pair, for display. Both directions are kept apart: the pair may work in one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairStatus {
    /// The pair, our end first.
    pub pair: LocatorPair,
    /// Our last Probe on it.
    pub probed: Option<Time>,
    /// When a Probe of ours on it was last reported as received: it works from us to the peer.
    pub answered: Option<Time>,
    /// Time from that Probe to its report; more than a round trip if the peer reported late.
    pub rtt: Option<Duration>,
    /// Probes sent on it since the last report.
    pub unanswered: u32,
    /// Last Probe that came in on it: it works from the peer to us.
    pub heard: Option<Time>,
}

/// Why the state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Send Timer ran out.
    SendTimeout,
    /// A Probe Exploring came in: the peer does not hear us.
    PeerExploring,
    /// A Probe InboundOk came in.
    PeerInboundOk,
    /// A Probe Operational came in.
    PeerOperational,
    /// Payload or another life sign came in.
    LifeSign,
    /// One of our own addresses, links or routes was lost.
    LocalFailure,
    /// The peer marked its current locator as broken or withdrew it.
    PeerWithdrew,
    /// Probes that tested the current pair stayed without an answer.
    TestFailed,
    /// Somebody asked for it.
    Requested,
    /// The peer established the context anew: the locators in use are just proven.
    Reestablished,
}

impl Reason {
    /// A few words for events and logs.
    pub fn name(self) -> &'static str {
        match self {
            Reason::SendTimeout => "send timeout",
            Reason::PeerExploring => "peer explores",
            Reason::PeerInboundOk => "peer hears us",
            Reason::PeerOperational => "peer is operational",
            Reason::LifeSign => "life sign",
            Reason::LocalFailure => "local failure",
            Reason::PeerWithdrew => "peer withdrew its locator",
            Reason::TestFailed => "test failed",
            Reason::Requested => "requested",
            Reason::Reestablished => "context established anew",
        }
    }
}

/// The three states of RFC 5534, section 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReapState {
    /// Both directions are believed to work.
    Operational,
    /// Nothing is heard from the peer.
    Exploring,
    /// The peer is heard, but it has not confirmed that it hears us.
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
