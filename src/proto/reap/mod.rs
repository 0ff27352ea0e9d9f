//! REAP (RFC 5534): failure detection and locator pair exploration of one context.
//!
//! A pure machine beside the context: inputs are `on_*` methods, effects are [`Action`]s, the surroundings come as
//! [`ReapCx`]. It knows nothing of tags, messages on the wire or other contexts.

use super::Time;
use super::config::ReapConfig;
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
    /// An incoming Probe was dropped, or a report ignored, for this reason.
    Ignored(&'static str),
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
    /// Somebody asked for it.
    Requested,
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
