//! What is kept about one context (RFC 5533, 6.1).

use super::peer::PeerSet;
use super::state::State;
use super::update::Update;
use crate::addr::{
    ContextTag, Fii, Generation, InitNonce, Locator, LocatorPair, RequestNonce, ResponderNonce,
    UlidPair,
};
use crate::cga::Proof;
use crate::proto::config::ReapConfig;
use crate::proto::reap::{Candidate, Reap};
use crate::proto::seldom::{Initial, Rest, Seldom};
use crate::proto::{Activity, ContextId, Forward, Inbound, Keep, Settings, Signs, Time, WakeOn};
use std::sync::Arc;
use std::time::Duration;

/// Pairs remembered on which packets with CT(peer) went out lately.
const TAGGED: usize = 32;
/// How long an R1bis may come after the packet that caused it.
const TAGGED_LIFE: Duration = Duration::from_secs(60);
/// A change of the pair so long after an exploration is still its outcome.
const JUST_NOW: Duration = Duration::from_secs(1);

/// One locator of ours in a context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalEntry {
    /// The address.
    pub locator: Locator,
    /// How the peer can verify it; `None` for a plain ULID.
    pub proof: Option<Proof>,
    /// The peer is known to accept it as source.
    pub acknowledged: bool,
    /// Out of order at present: link or route lost, or no longer ours.
    pub broken: bool,
    /// Its preferred lifetime is over.
    pub deprecated: bool,
    /// It is less stable than others (a temporary address).
    pub transient: bool,
}

/// Ls(local) of a context.
#[derive(Clone, Debug, Default)]
pub struct LocalSet {
    /// Generation of the list that was last put into a message; `None` if none was ever sent.
    pub generation: Option<Generation>,
    /// The locators in the order of the list; contexts with the same ones share them.
    pub entries: Arc<[LocalEntry]>,
    /// Locators of the list before, still accepted as destination until the peer has acknowledged the new one.
    pub(super) former: Seldom<Vec<Locator>>,
    /// Something has changed since an I2, I2bis or R2 that the peer may have taken, and no Update Request could tell.
    pub stale: bool,
}

impl LocalSet {
    /// The entry of a locator.
    pub fn get(&self, locator: Locator) -> Option<&LocalEntry> {
        self.entries.iter().find(|e| e.locator == locator)
    }

    /// Whether packets of the context may come to this address.
    pub fn accepts(&self, locator: Locator) -> bool {
        self.get(locator).is_some() || self.former.contains(&locator)
    }

    /// What exploration may use.
    pub fn candidates(&self) -> Vec<Candidate> {
        self.entries
            .iter()
            .map(|e| Candidate {
                addr: e.locator.0,
                usable: e.acknowledged && !e.broken,
                broken: e.deprecated,
                priority: u8::from(e.transient),
                weight: 0,
            })
            .collect()
    }
}

/// The answer that let an I2 or I2bis go out: what it returns to the responder.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The pair on which R1 or R1bis came; I2 and I2bis leave on it.
    pub pair: LocatorPair,
    /// Responder Nonce.
    pub nonce: ResponderNonce,
    /// The validator, octet for octet.
    pub validator: Vec<u8>,
    /// Packet Context Tag of an R1bis.
    pub packet_tag: Option<ContextTag>,
    /// When it came.
    pub at: Time,
}

/// The peer's I2 or I2bis that a context was last established by, or brought up to date.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// Initiator Context Tag.
    pub tag: ContextTag,
    /// Initiator Nonce.
    pub nonce: InitNonce,
    /// Responder Nonce, which is as old as the exchange.
    pub responder_nonce: ResponderNonce,
    /// The peer has told something newer since, in an Update Request.
    pub outdated: bool,
}

/// An exchange of ours that runs: I1, I2 or I2bis is out.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Initiator Nonce of all messages of the attempt.
    pub nonce: InitNonce,
    /// Pairs on which messages with the nonce went out.
    pub sent: Vec<LocatorPair>,
    /// Retransmissions of the present message so far.
    pub retries: u32,
    /// How often I2 or I2bis fell back to I1.
    pub fallbacks: u32,
    /// When to retransmit or give up.
    pub timer: Time,
    /// What I2 or I2bis returns.
    pub answer: Option<Answer>,
    /// An I2 or I2bis went out, with this nonce or one before it, so the peer may know what it said.
    pub told: bool,
    /// Last I2 or I2bis that was sent because of traffic.
    pub reacted: Option<Time>,
}

impl Setup {
    /// An attempt under this nonce; nothing was answered so far.
    pub(super) fn new(nonce: InitNonce, sent: Vec<LocatorPair>, timer: Time) -> Setup {
        Setup {
            nonce,
            sent,
            retries: 0,
            fallbacks: 0,
            timer,
            answer: None,
            told: false,
            reacted: None,
        }
    }
}

/// Counters of a context; they stop at their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContextCounters {
    /// Probes sent.
    pub probes_out: u32,
    /// Probes received.
    pub probes_in: u32,
    /// Keepalives sent.
    pub keepalives_out: u32,
    /// Keepalives received.
    pub keepalives_in: u32,
    /// How often the current pair changed.
    pub switches: u32,
    /// How often the peer had lost the context.
    pub recoveries: u32,
}

/// Adds one to a counter.
pub(super) fn count(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}

/// The last report of the data plane. What it says of a path beside times and numbers is there under fast detection alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    cells: [Option<Time>; 4],
    counters: [u64; 4],
    signs: Seldom<Signs>,
}

impl Initial for Signs {
    const REST: &'static Signs = &Activity::NONE.signs;
}

impl Rest for Signs {
    fn rests(&self) -> bool {
        self == Signs::REST
    }
}

impl Seen {
    /// Notes a report.
    pub(super) fn note(&mut self, a: &Activity) {
        self.cells = [a.last_out, a.last_in, a.pending_out, a.pending_in];
        self.counters = [a.packets_out, a.packets_in, a.octets_out, a.octets_in];
        if !a.signs.rests() || !self.signs.takes_no_room() {
            *self.signs = a.signs;
            self.signs.tidy();
        }
    }

    /// The report as it came.
    pub(super) fn activity(&self) -> Activity {
        let [last_out, last_in, pending_out, pending_in] = self.cells;
        let [packets_out, packets_in, octets_out, octets_in] = self.counters;
        Activity {
            last_out,
            last_in,
            pending_out,
            pending_in,
            packets_out,
            packets_in,
            octets_out,
            octets_in,
            signs: *self.signs,
        }
    }

    /// The last packet in.
    pub(super) fn last_in(&self) -> Option<Time> {
        self.cells[1]
    }

    /// The last packet in either direction.
    fn last(&self) -> Option<Time> {
        self.cells[0].max(self.cells[1])
    }

    /// Packets out and in.
    pub(super) fn packets(&self) -> (u64, u64) {
        (self.counters[0], self.counters[1])
    }
}

/// What the data plane's entry says beside what never changes in a context.
#[derive(Clone, Debug)]
pub(super) struct Published {
    inbound: Inbound,
    hold: bool,
    watch: bool,
    /// Locators and tag of packets that are rewritten.
    tagged: Option<Box<(LocatorPair, ContextTag)>>,
}

impl Published {
    /// Whether it is what this entry says.
    pub(super) fn is(&self, f: &Forward) -> bool {
        (self.inbound, self.hold, self.watch) == (f.inbound, f.hold, f.watch)
            && self.tagged.as_deref().copied() == f.outbound.tagged()
    }

    /// What this entry says.
    pub(super) fn of(f: &Forward) -> Published {
        let tagged = f.outbound.tagged().map(Box::new);
        Published { inbound: f.inbound, hold: f.hold, watch: f.watch, tagged }
    }
}

/// What Update Requests have left behind.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    /// Those that were followed by another, newest last: their late acknowledgements say that the peer may have read them
    /// after it.
    pub followed: Vec<RequestNonce>,
    /// The one that was acknowledged last.
    pub acknowledged: Option<RequestNonce>,
    /// All is to be told again once the present request is acknowledged.
    pub retell: bool,
    /// When all was told again last.
    pub retold: Option<Time>,
}

impl Initial for Requests {
    const REST: &'static Requests =
        &Requests { followed: Vec::new(), acknowledged: None, retell: false, retold: None };
}

impl Rest for Requests {
    fn rests(&self) -> bool {
        self.followed.is_empty()
            && self.acknowledged.is_none()
            && !self.retell
            && self.retold.is_none()
    }
}

/// A context.
// req: S6-6.1-01, S6-6.2-02
pub struct Context {
    /// Its name.
    pub id: ContextId,
    /// ULID(local), ULID(peer).
    pub ulids: UlidPair,
    /// Forked instance.
    pub fii: Fii,
    /// Written by [`Context::enter`] alone.
    state: State,
    /// We began the exchange that made it.
    pub initiator: bool,
    /// CT(local).
    pub local_tag: ContextTag,
    /// CT(peer), in the states that hold it.
    pub peer_tag: Option<ContextTag>,
    /// Ls(local).
    pub local: LocalSet,
    /// Ls(peer).
    pub peer: PeerSet,
    /// Lp(local), Lp(peer): where our payload goes.
    pub pair: LocatorPair,
    /// Our running exchange, if any.
    pub setup: Option<Box<Setup>>,
    /// The peer's exchange that was accepted last, if any.
    pub accepted: Option<Accepted>,
    /// Our outstanding or wanted Update Request, if any.
    pub update: Option<Box<Update>>,
    /// Update Requests of before.
    pub(super) requests: Seldom<Requests>,
    /// REAP, once established.
    pub reap: Option<Box<Reap>>,
    /// The Send Timeout we told the peer last, in seconds.
    pub told_send_timeout: Option<u16>,
    /// The peer's Send Timeout, our Keepalive Timeout, in seconds; `None` if it never told.
    pub keepalive_secs: Option<u16>,
    /// Last report of the data plane.
    pub(super) activity: Seen,
    /// No R1bis is acted on before.
    pub no_recovery_before: Time,
    /// Pairs on which packets with CT(peer) went out, with the last time.
    tagged: Box<[(LocatorPair, Time)]>,
    /// When REAP left Operational.
    pub exploring_since: Option<Time>,
    /// When the last exploration began and ended.
    pub(super) explored: Seldom<Option<(Time, Time)>>,
    /// After a hint that the peer's kernel does not know Shim6 any more: discard then, unless it is heard before.
    pub doomed: Option<Time>,
    /// When the context was made.
    pub created: Time,
    /// When it was last established.
    pub established: Option<Time>,
    /// It came out of the journal.
    pub restored: bool,
    /// Counters.
    pub counters: ContextCounters,
    /// What somebody asked for it.
    pub(super) settings: Seldom<Settings>,
    /// A pair that is tested and used once it answers, and since when.
    pub(super) approaching: Seldom<Option<(LocatorPair, Keep, Time)>>,
    /// When to look whether the settings want another pair.
    pub steer_at: Option<Time>,
    /// Somebody uses it although no packet passes: it is not torn down for idleness.
    pub in_use: bool,
    /// Why it has to end; the engine removes it when the present input is done.
    pub end: Option<&'static str>,
    /// The entry the data plane has.
    pub(super) forwarded: Option<Published>,
    /// The wake-up that is armed there, as far as we know.
    pub armed: WakeOn,
    /// Held copies have to go out once the present entry is published.
    pub resend: bool,
    /// When it is to run next, and when the activity cells are wanted next: as the table has it.
    pub timer: Option<Time>,
    /// See [`Context::timer`].
    pub look: Option<Time>,
    /// When they were last read.
    pub looked: Time,
}

impl Context {
    /// Whether the peer is offered this locator of ours; the ULID always is.
    pub(super) fn offers(&self, local: Locator) -> bool {
        local == self.ulids.local.locator() || self.local.get(local).is_some()
    }

    /// A context in IDLE on its ULIDs; nothing is sent or published yet.
    pub fn new(
        id: ContextId,
        ulids: UlidPair,
        fii: Fii,
        local_tag: ContextTag,
        now: Time,
    ) -> Context {
        Context {
            id,
            ulids,
            fii,
            state: State::Idle,
            initiator: false,
            local_tag,
            peer_tag: None,
            local: LocalSet::default(),
            peer: PeerSet::of_ulid(ulids.peer),
            pair: ulids.locators(),
            setup: None,
            accepted: None,
            update: None,
            requests: Seldom::NONE,
            reap: None,
            told_send_timeout: None,
            keepalive_secs: None,
            activity: Seen::default(),
            no_recovery_before: Time::ZERO,
            tagged: Box::default(),
            exploring_since: None,
            explored: Seldom::NONE,
            doomed: None,
            created: now,
            established: None,
            restored: false,
            counters: ContextCounters::default(),
            settings: Seldom::NONE,
            approaching: Seldom::NONE,
            steer_at: None,
            in_use: false,
            end: None,
            forwarded: None,
            armed: WakeOn::Nothing,
            resend: false,
            timer: None,
            look: None,
            looked: now,
        }
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Changes the state. Called by the engine's `transition` alone, which does what goes with it.
    pub(super) fn enter(&mut self, next: State) {
        self.state = next;
    }

    /// Notes that a packet with CT(peer) goes out on this pair.
    pub fn note_tagged(&mut self, pair: LocatorPair, now: Time) {
        if let Some(entry) = self.tagged.iter_mut().find(|(p, _)| *p == pair) {
            entry.1 = now;
            return;
        }
        let mut tagged = std::mem::take(&mut self.tagged).into_vec();
        if tagged.len() >= TAGGED {
            let oldest = tagged.iter().enumerate().min_by_key(|(_, (_, t))| *t);
            if let Some((i, _)) = oldest {
                tagged.swap_remove(i);
            }
        }
        tagged.reserve_exact(1);
        tagged.push((pair, now));
        self.tagged = tagged.into_boxed_slice();
    }

    /// Forgets what counts no longer, and gives up the room of what is at rest.
    pub(super) fn tidy(&mut self, now: Time) {
        let lately = |(_, t): &(LocatorPair, Time)| now.since(*t) <= TAGGED_LIFE;
        if !self.tagged.iter().all(lately) {
            self.tagged = self.tagged.iter().copied().filter(lately).collect();
        }
        if self.explored.is_some_and(|(_, ended)| now.since(ended) > JUST_NOW) {
            self.explored.put_to_rest();
        }
        self.requests.tidy();
        self.settings.tidy();
        self.approaching.tidy();
        self.local.former.tidy();
    }

    /// When the last exploration began, if it has just ended: a change of the pair so soon is still its outcome.
    pub(super) fn explored_just_now(&self, now: Time) -> Option<Time> {
        self.explored.filter(|(_, ended)| now.since(*ended) <= JUST_NOW).map(|(began, _)| began)
    }

    /// Whether a packet with CT(peer) went out on this pair lately, so that an R1bis may come back on it.
    pub fn sent_tagged(&self, pair: LocatorPair, now: Time) -> bool {
        pair == self.pair
            || self.tagged.iter().any(|&(p, t)| p == pair && now.since(t) <= TAGGED_LIFE)
    }

    /// Whether outbound payload carries the payload header.
    // req: S6-1.6-02, S6-4-03, S6-11-01, S6-11-02, S6-5.2-02, RP-3.4-01
    pub fn is_tagged(&self) -> bool {
        self.state.has_peer() && (self.pair != self.ulids.locators() || self.fii != Fii::DEFAULT)
    }

    /// The Keepalive Timeout in force.
    // req: RP-7-04
    pub fn keepalive_timeout(&self, config: &ReapConfig) -> Duration {
        match self.keepalive_secs {
            Some(secs) => Duration::from_secs(secs.into()),
            None => config.default_keepalive_timeout,
        }
    }

    /// Last packet in either direction that is known, or the context's beginning.
    pub fn last_use(&self) -> Time {
        self.activity.last().map_or(self.created, |last| self.created.max(last))
    }
}

#[cfg(test)]
mod tests;
