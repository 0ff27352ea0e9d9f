//! What the engine tells the data plane about a context.

use super::ContextId;
use crate::addr::{ContextTag, Fii, LocatorPair, UlidPair};

/// One entry of the forwarding map: how packets of a context are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The context.
    pub id: ContextId,
    /// What the upper layers see.
    pub ulids: UlidPair,
    /// Which instance of the ULID pair.
    pub fii: Fii,
    /// Inbound payload headers carry this tag.
    pub local_tag: ContextTag,
    /// What happens to outbound packets of the ULID pair.
    pub outbound: Outbound,
    /// What happens to inbound packets with our tag.
    pub inbound: Inbound,
    /// Keep copies of unanswered TCP segments from now on (exploration runs or the current pair is in doubt),
    /// so that they can be sent again on the next confirmed pair.
    pub hold: bool,
    /// Keep [`super::Signs`] of the context (fast detection).
    pub watch: bool,
    /// Which packet wakes the engine with [`super::Notice::Active`].
    pub wake: WakeOn,
}

/// Treatment of outbound packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// Leave as they are: the current pair equals the ULIDs, or there is no pair to use yet.
    Plain,
    /// Rewritten to these locators and tagged for the peer.
    Tagged(LocatorPair, ContextTag),
}

impl Outbound {
    /// Locators and tag, if packets get them.
    pub fn tagged(self) -> Option<(LocatorPair, ContextTag)> {
        match self {
            Outbound::Plain => None,
            Outbound::Tagged(pair, tag) => Some((pair, tag)),
        }
    }
}

/// Treatment of inbound packets that carry our tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// Strip the header, restore the ULIDs.
    Unmap,
    /// The same, and tell the engine ([`super::Notice::PayloadInSetup`]; I2-SENT, I2BIS-SENT).
    UnmapAndNotify,
    /// Drop (I1-SENT: the peer cannot know this tag).
    Drop,
}

/// Which payload packet causes one [`super::Notice::Active`]. One notice per arming: the data plane disarms itself,
/// the engine arms again with [`ForwardChange::Wake`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeOn {
    /// None.
    Nothing,
    /// The next packet in either direction (the context was idle).
    Any,
    /// The next inbound packet (exploration waits for a life sign).
    Inbound,
}

/// A change to the forwarding map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardChange {
    /// Insert or replace the entry of this context. Activity cells survive a replacement.
    Set(Forward),
    /// Arm the wake-up of an existing entry.
    Wake(ContextId, WakeOn),
    /// Send the held copies of this context by its present entry, then forget them.
    ResendHeld(ContextId),
    /// Forget the context and its copies.
    Remove(ContextId),
}
