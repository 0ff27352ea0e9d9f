//! Everything that can happen to the engine, each as one value.

use super::{ContextId, Settings, Signs, Time};
use crate::addr::{ContextTag, Locator, LocatorPair, UlidPair};
use std::net::Ipv6Addr;

/// One input. A recorded run is a list of these with their times.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
pub enum Input {
    /// A Shim6 control message arrived.
    Message(ControlPacket),
    /// The data plane has seen something worth a decision.
    Notice(Notice),
    /// The activity cells of a context, read by the driver because `Engine::due_activity` named it.
    Activity(ContextId, Activity),
    /// Something about our own addresses changed.
    Address(AddressEvent),
    /// An administrator or an application asks for something.
    Command(Command),
    /// Time has passed.
    Timeout,
}

/// A packet whose payload is a Shim6 control message, as taken from the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
pub struct ControlPacket {
    /// Source in the IPv6 header.
    pub src: Locator,
    /// Destination in the IPv6 header: one of our addresses.
    pub dst: Locator,
    /// The whole IPv6 packet (Error messages quote it from its first octet).
    pub packet: Vec<u8>,
    /// Where in `packet` the Shim6 header starts.
    pub offset: usize,
}

/// A report from the data plane. Notices come over a bounded channel and may be lost; nothing depends on a single
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
pub enum Notice {
    /// Traffic between two addresses without a context has crossed the heuristic's threshold.
    Heuristic(UlidPair),
    /// A payload header with a tag that no entry has.
    UnknownTag {
        /// Source locator of the packet.
        src: Locator,
        /// Destination locator of the packet.
        dst: Locator,
        /// The tag.
        tag: ContextTag,
    },
    /// A packet passed on a context whose wake-up was armed.
    Active(ContextId, Activity),
    /// A tagged packet came in for a context that waits for R2.
    PayloadInSetup(ContextId),
    /// An ICMPv6 Parameter Problem "unrecognized next header" or another error quoting one of our control messages.
    ControlRefused {
        /// ICMPv6 type.
        icmp_type: u8,
        /// ICMPv6 code.
        icmp_code: u8,
        /// Source of the quoted packet: ours.
        src: Locator,
        /// Destination of the quoted packet: the peer.
        dst: Locator,
        /// The quoted Shim6 message as far as it was quoted.
        quoted: Vec<u8>,
    },
    /// An ICMPv6 error quoting a tagged payload packet of ours: a hint that the current pair may have failed.
    PayloadRefused {
        /// The context found by the quoted tag and addresses.
        context: ContextId,
        /// ICMPv6 type.
        icmp_type: u8,
        /// ICMPv6 code.
        icmp_code: u8,
    },
    /// Our attempt to send on a pair failed locally (no route, address gone).
    SendFailed {
        /// Source locator.
        src: Locator,
        /// Destination locator.
        dst: Locator,
    },
}

/// What the data plane has counted for a context. All times are of payload packets of the context, mapped or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "client", serde(default))]
pub struct Activity {
    /// Last packet out.
    pub last_out: Option<Time>,
    /// Last packet in.
    pub last_in: Option<Time>,
    /// First packet out since the last packet in; `None` if nothing waits for an answer.
    pub pending_out: Option<Time>,
    /// First packet in since the last packet out; `None` if we owe no answer.
    pub pending_in: Option<Time>,
    /// Packets out, ever.
    pub packets_out: u64,
    /// Packets in, ever.
    pub packets_in: u64,
    /// Octets out, ever.
    pub octets_out: u64,
    /// Octets in, ever.
    pub octets_in: u64,
    /// What the packets say about the path; all zero unless the context is watched closely.
    pub signs: Signs,
}

impl Activity {
    /// No packet has passed.
    pub const NONE: Activity = Activity {
        last_out: None,
        last_in: None,
        pending_out: None,
        pending_in: None,
        packets_out: 0,
        packets_in: 0,
        octets_out: 0,
        octets_in: 0,
        signs: Signs {
            rtt: None,
            unanswered: 0,
            recent_out: 0,
            recent_in: 0,
            repeated: 0,
            segment: None,
            in_flight: 0,
        },
    };
}

/// A change of one of our own addresses, or the first report of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
pub enum AddressEvent {
    /// The address can be used as a locator, or one of its properties changed.
    Present(LocalAddress),
    /// The address is no longer on any interface, but may come back (its link went down). A ULID stays valid as an
    /// identifier; as a locator it is unusable.
    Unusable(Ipv6Addr),
    /// The address is gone for good (removed by the administrator, lifetime over): contexts with it as ULID end.
    Gone(Ipv6Addr),
    /// No route for packets from this source any more, or its gateway does not answer; the address stays.
    Unreachable(Ipv6Addr),
}

/// One of our own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
pub struct LocalAddress {
    /// The address.
    pub addr: Ipv6Addr,
    /// Its preferred lifetime is over.
    pub deprecated: bool,
    /// It is a temporary (privacy) address.
    pub temporary: bool,
}

/// A request from outside the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
pub enum Command {
    /// Negotiate a context now, whatever the heuristic says.
    Establish(UlidPair),
    /// Negotiate a further instance for a ULID pair, with a random Forked Instance Identifier.
    Fork(UlidPair),
    /// Explore the pairs of a context now.
    Explore(ContextId),
    /// Test one pair of a context, changing nothing.
    Test(ContextId, LocatorPair),
    /// Send by this pair of a context from now on. Unless it was seen to work lately it is tested first:
    /// [`super::Event::Switched`], [`super::Event::Tested`] or [`super::Event::Overtaken`] tells the outcome.
    Switch(ContextId, LocatorPair, Keep),
    /// Nobody waits for this pair any more: if it is still being tested before a switch, there will be none.
    GiveUpSwitch(ContextId, LocatorPair),
    /// Gives up what [`Keep`] and the settings say about pairs; the current one stays.
    Release(ContextId),
    /// Other settings for a context, all at once.
    Configure(ContextId, Box<Settings>),
    /// Somebody uses (or no longer uses) a context, as a connected socket does: it is not torn down for idleness.
    InUse(ContextId, bool),
    /// An upper layer sees that what it sent by a context was answered.
    Progress(ContextId),
    /// Forget a context without telling the peer.
    Discard(ContextId),
    /// An administrator decides about one of our addresses; peers are told.
    Locator(Ipv6Addr, LocatorRule),
}

/// What an administrator has decided about one of our addresses; the default leaves all to what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
pub struct LocatorRule {
    /// Whether peers get to know it.
    pub offer: Offer,
    /// It counts as out of order, whatever its link says.
    pub broken: bool,
    /// Priority (lower first) and weight, for peers and for ourselves.
    pub preference: Option<(u8, u8)>,
}

/// Whether peers get to know an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
pub enum Offer {
    /// If the identity proves it, and it is not a temporary address.
    #[default]
    AsUsual,
    /// Also if it is a temporary address.
    Always,
    /// In no case.
    Never,
}

/// How long a pair that was asked for is to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
pub enum Keep {
    /// Until something speaks for another one.
    #[default]
    No,
    /// Until it fails; exploration then tries it before others that have not failed.
    Prefer,
    /// Whenever it works: it is left only when it fails, and returned to once it answers again.
    Pin,
}
