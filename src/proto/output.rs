//! What the engine wants done.

use super::{ContextId, ForwardChange};
use crate::addr::{Locator, LocatorPair, UlidPair};
use std::time::Duration;

/// One effect. Effects are carried out in the order in which they were left.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a Shim6 control message.
    Transmit(Transmit),
    /// Change the data plane's map.
    Forward(ForwardChange),
    /// Tell subscribers and the log.
    Event(Event),
    /// Count a packet that was dropped.
    Drop(DropReason),
    /// Count something that happened, by the name of its counter.
    Count(&'static str),
}

/// A control message to send as IPv6 payload with next header 140.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Source locator; the packet leaves by the provider of this address.
    pub src: Locator,
    /// Destination locator.
    pub dst: Locator,
    /// The Shim6 message, checksum included.
    pub message: Vec<u8>,
}

/// Something a person or a program outside may want to know.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A context exists with both tags known.
    Established {
        /// The context.
        context: ContextId,
        /// Its ULIDs.
        ulids: UlidPair,
    },
    /// A context was discarded.
    Discarded {
        /// The context.
        context: ContextId,
        /// Its ULIDs.
        ulids: UlidPair,
        /// Why, in a word or two.
        reason: &'static str,
    },
    /// An attempt to establish a context failed.
    EstablishFailed {
        /// The context that ends with it.
        context: ContextId,
        /// The ULIDs.
        ulids: UlidPair,
        /// E-FAILED or NO-SUPPORT.
        state: &'static str,
    },
    /// The establishment state changed (RFC spelling).
    State {
        /// The context.
        context: ContextId,
        /// State left.
        from: &'static str,
        /// State entered.
        to: &'static str,
    },
    /// The REAP state changed (RFC spelling).
    Reap {
        /// The context.
        context: ContextId,
        /// State left.
        from: &'static str,
        /// State entered.
        to: &'static str,
        /// What caused it.
        reason: &'static str,
    },
    /// A Probe was sent.
    ProbeSent {
        /// The context.
        context: ContextId,
        /// The pair it was sent on.
        pair: LocatorPair,
    },
    /// A Probe of ours was reported as received.
    ProbeAnswered {
        /// The context.
        context: ContextId,
        /// The pair it was sent on.
        pair: LocatorPair,
        /// Time from sending it to the report.
        rtt: Duration,
    },
    /// A test of one pair is over.
    Tested {
        /// The context.
        context: ContextId,
        /// The pair.
        pair: LocatorPair,
        /// Round trip; `None` if nothing came back, or an exploration began meanwhile.
        rtt: Option<Duration>,
    },
    /// Payload does not go to a pair that was asked for: something else was asked for before its test was over.
    Overtaken {
        /// The context.
        context: ContextId,
        /// The pair that is not waited for any more.
        pair: LocatorPair,
    },
    /// Outgoing payload uses another pair from now on.
    Switched {
        /// The context.
        context: ContextId,
        /// Before.
        from: LocatorPair,
        /// Now.
        to: LocatorPair,
        /// Since exploration began or somebody asked for the pair; zero if neither was the reason.
        after: Duration,
    },
    /// Exploration ended: both directions work again.
    Recovered {
        /// The context.
        context: ContextId,
        /// How long the exploration took.
        took: Duration,
    },
    /// An exploration has tried every pair in vain; it goes on, more slowly.
    Lost {
        /// The context.
        context: ContextId,
        /// Since it began.
        after: Duration,
    },
    /// The locators of the peer or our own announced ones changed.
    Locators {
        /// The context.
        context: ContextId,
        /// Whether they are the peer's.
        peer: bool,
    },
}

/// Why a packet was dropped; each has a counter `drop_<name>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DropReason(pub &'static str);
