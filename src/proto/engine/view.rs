//! What the outside may know: values, copied out of the engine.

use super::context::{Context, ContextCounters, LocalEntry};
use super::peer::PeerEntry;
use super::state::State;
use crate::addr::{ContextTag, Fii, Generation, LocatorPair, UlidPair};
use crate::proto::config::ReapConfig;
use crate::proto::reap::{PairStatus, ReapState};
use crate::proto::{Activity, ContextId, Settings, Time};
use std::time::Duration;

/// Everything about one context.
#[derive(Clone, Debug, PartialEq)]
pub struct ContextView {
    /// Its name.
    pub id: ContextId,
    /// ULID(local), ULID(peer).
    pub ulids: UlidPair,
    /// Forked instance.
    pub fii: Fii,
    /// Establishment state.
    pub state: State,
    /// REAP's state, once established.
    pub reap: Option<ReapState>,
    /// We began the exchange that made it.
    pub initiator: bool,
    /// Where our payload goes: Lp(local), Lp(peer).
    pub pair: LocatorPair,
    /// Our payload carries the payload header.
    pub tagged: bool,
    /// CT(local).
    pub local_tag: ContextTag,
    /// CT(peer), once known.
    pub peer_tag: Option<ContextTag>,
    /// Ls(local).
    pub local_locators: Vec<LocalEntry>,
    /// Ls(peer).
    pub peer_locators: Vec<PeerEntry>,
    /// The peer gave preferences.
    pub peer_preferences: bool,
    /// Generation of our list, if one was sent.
    pub local_generation: Option<Generation>,
    /// Generation of the peer's list, if one was received.
    pub peer_generation: Option<Generation>,
    /// What somebody asked for it.
    pub settings: Settings,
    /// REAP's values in force.
    pub config: ReapConfig,
    /// Keepalive Timeout in force: the peer's Send Timeout.
    pub keepalive_timeout: Duration,
    /// Whether the peer told that value.
    pub keepalive_told: bool,
    /// Round trip of the last answered probe.
    pub rtt: Option<Duration>,
    /// The pair that is kept tested (hot standby) and passed the last time.
    pub standby: Option<LocatorPair>,
    /// Pairs that were probed or heard.
    pub pairs: Vec<PairStatus>,
    /// When the next Probe of the exploration that runs is due.
    pub probe_at: Option<Time>,
    /// When the context was made.
    pub created: Time,
    /// When it was last established.
    pub established: Option<Time>,
    /// When REAP left Operational, while it has not come back.
    pub exploring_since: Option<Time>,
    /// The next I1, I2, I2bis or Update Request.
    pub retransmit_at: Option<Time>,
    /// The data plane's last report; may be some seconds old.
    pub activity: Activity,
    /// Counters.
    pub counters: ContextCounters,
    /// It came out of the journal.
    pub restored: bool,
    /// An Update Request waits for its acknowledgement.
    pub updating: bool,
}

impl ContextView {
    /// A copy of what is to be seen of a context.
    pub(super) fn of(c: &Context, config: &ReapConfig) -> ContextView {
        let setup = c.setup.as_ref().map(|s| s.timer);
        let update = c.update.as_ref().map(|u| u.timer);
        ContextView {
            id: c.id,
            ulids: c.ulids,
            fii: c.fii,
            state: c.state(),
            reap: c.reap.as_ref().map(|r| r.state()),
            initiator: c.initiator,
            pair: c.pair,
            tagged: c.is_tagged(),
            local_tag: c.local_tag,
            peer_tag: c.peer_tag,
            local_locators: c.local.entries.to_vec(),
            peer_locators: c.peer.entries.to_vec(),
            peer_preferences: c.peer.has_preferences,
            local_generation: c.local.generation,
            peer_generation: c.peer.generation,
            settings: Settings::clone(&c.settings),
            config: c.settings.reap(config, c.keepalive_timeout(config)).into_owned(),
            keepalive_timeout: c.keepalive_timeout(config),
            keepalive_told: c.keepalive_secs.is_some(),
            rtt: c.reap.as_ref().and_then(|r| r.last_rtt()),
            standby: c.reap.as_ref().and_then(|r| r.standby()),
            pairs: c.reap.as_ref().map_or(Vec::new(), |r| r.pairs().to_vec()),
            probe_at: c.reap.as_ref().and_then(|r| r.next_probe()),
            created: c.created,
            established: c.established,
            exploring_since: c.exploring_since,
            retransmit_at: setup.or(update),
            activity: c.activity.activity(),
            counters: c.counters,
            restored: c.restored,
            updating: c.update.is_some(),
        }
    }
}
