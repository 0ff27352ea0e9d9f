//! Contexts that outlive the daemon: a plain value for each, and its octets for the journal.

use super::context::{Context, LocalEntry};
use super::peer::{PeerEntry, PeerSet};
use super::update::Wanted;
use super::{Engine, State};
use crate::addr::{ContextTag, Fii, Generation, Locator, LocatorPair, Ulid, UlidPair};
use crate::cga::{Pds, Proof};
use crate::proto::reap::Reap;
use crate::proto::settings::{Ends, Preference, Settings};
use crate::proto::{ContextId, Cx, Event, Output};
use crate::wire::option::{PreferenceFlags, VerificationMethod};
use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

/// First octet of the saved form; counts up when it changes.
const VERSION: u8 = 3;
/// The form before: settings without hot standby and further locators.
const SHORT_SETTINGS: u8 = 2;
/// The form before that: without settings.
const WITHOUT_SETTINGS: u8 = 1;

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
    /// Ls(local) as announced: what has changed since then, the peer has to be told.
    pub local: Vec<LocalEntry>,
    /// An Update Request was not acknowledged yet.
    pub updating: bool,
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
    /// What somebody asked for it.
    pub settings: Settings,
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

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RestoreError::Malformed => "not a saved context",
            RestoreError::Ulids => "its ULIDs are no longer those of a context",
            RestoreError::Exists => "another context has its ULIDs or its tag",
            RestoreError::Full => "the limit on contexts is reached",
        })
    }
}

impl std::error::Error for RestoreError {}

impl Engine {
    /// All contexts worth saving: those whose tags are both known.
    pub fn export_contexts(&self) -> Vec<(ContextId, SavedContext)> {
        self.table.iter().filter_map(|c| save(c).map(|s| (c.id, s))).collect()
    }

    /// One context as it is to be saved; `None` if it is not established.
    pub fn saved_context(&self, id: ContextId) -> Option<SavedContext> {
        self.table.get(id).and_then(save)
    }

    /// Takes over a saved context: ESTABLISHED, and explored at once if its pair is not that of its ULIDs, the saved
    /// pair first. Our addresses have to be known before. Poll timeout and activity again afterwards.
    ///
    /// # Errors
    /// See [`RestoreError`]; nothing has changed then.
    pub fn restore_context(
        &mut self,
        cx: &mut Cx<'_>,
        saved: SavedContext,
    ) -> Result<ContextId, RestoreError> {
        let SavedContext { ulids, fii, pair, .. } = saved;
        self.are_ulids(ulids).map_err(|_| RestoreError::Ulids)?;
        if self.table.find(ulids, fii).is_some()
            || self.table.find_local_tag(saved.local_tag).is_some()
        {
            return Err(RestoreError::Exists);
        }
        if let Some(octets) = &saved.peer_pds {
            Pds::parse(octets).map_err(|_| RestoreError::Malformed)?;
        }
        let max = self.config.limits.locators;
        if saved.peer.is_empty() || saved.peer.len() > max || saved.local.len() > max {
            return Err(RestoreError::Malformed);
        }
        let mut c = self.new_context(cx, ulids, fii).map_err(|_| RestoreError::Full)?;
        c.local_tag = saved.local_tag;
        c.peer_tag = Some(saved.peer_tag);
        c.initiator = saved.initiator;
        c.restored = true;
        c.peer = PeerSet {
            generation: saved.peer_generation,
            entries: saved.peer.into(),
            pds: saved.peer_pds.map(Into::into),
            has_preferences: saved.peer_preferences,
        };
        c.local.generation = saved.local_generation;
        c.local.entries = saved.local.into();
        c.pair = pair;
        c.told_send_timeout = saved.told_send_timeout;
        c.keepalive_secs = saved.keepalive_secs;
        c.settings = saved.settings.into();
        let mut reap = Box::new(Reap::new(cx.now));
        reap.set_peer_send_timeout(c.keepalive_secs, &self.config.reap);
        c.reap = Some(reap);
        self.transition(cx, &mut c, State::Established);
        cx.push(Output::Event(Event::Established { context: c.id, ulids }));
        let id = c.id;
        self.settle(cx, c);
        self.with(cx, id, |e, cx, c| {
            e.refresh_local_set(cx, c);
            // What the old daemon had not got acknowledged, and what its configuration said otherwise.
            let news = Wanted {
                list: saved.updating,
                preferences: saved.updating,
                keepalive_timeout: saved.updating
                    || c.told_send_timeout != Some(e.send_timeout_secs(c)),
                ..Wanted::default()
            };
            if news != Wanted::default() {
                e.want_update(cx, c, news);
            }
            if c.pair != c.ulids.locators() {
                e.reap(cx, c, |reap, rcx| {
                    reap.test_pair(rcx, pair);
                });
            }
            e.check_current(cx, c);
        });
        Ok(id)
    }
}

fn save(c: &Context) -> Option<SavedContext> {
    if !c.state().has_peer() {
        return None;
    }
    Some(SavedContext {
        ulids: c.ulids,
        fii: c.fii,
        local_tag: c.local_tag,
        peer_tag: c.peer_tag?,
        initiator: c.initiator,
        local: c.local.entries.to_vec(),
        updating: c.update.is_some(),
        local_generation: c.local.generation,
        peer: c.peer.entries.to_vec(),
        peer_generation: c.peer.generation,
        peer_pds: c.peer.pds.as_ref().map(|p| p.to_vec()),
        peer_preferences: c.peer.has_preferences,
        pair: c.pair,
        told_send_timeout: c.told_send_timeout,
        keepalive_secs: c.keepalive_secs,
        settings: Settings::clone(&c.settings),
    })
}

impl SavedContext {
    /// Its octets, for the journal.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut o = vec![VERSION];
        for a in [self.ulids.local.0, self.ulids.peer.0, self.pair.local.0, self.pair.peer.0] {
            o.extend(a.octets());
        }
        o.extend(self.fii.0.to_be_bytes());
        o.extend(self.local_tag.value().to_be_bytes());
        o.extend(self.peer_tag.value().to_be_bytes());
        let flags = [self.initiator, self.peer_preferences, self.updating];
        o.push(bits(&flags));
        put_option(&mut o, self.local_generation.map(|g| g.0.to_be_bytes()));
        put_option(&mut o, self.peer_generation.map(|g| g.0.to_be_bytes()));
        put_option(&mut o, self.told_send_timeout.map(u16::to_be_bytes));
        put_option(&mut o, self.keepalive_secs.map(u16::to_be_bytes));
        // Both lists are bounded by Limits::locators, and one message holds fewer than 255.
        o.push(self.local.len().min(255) as u8);
        for e in self.local.iter().take(255) {
            o.extend(e.locator.0.octets());
            let flags = [e.acknowledged, e.broken, e.deprecated, e.transient];
            o.extend([method(e.proof), bits(&flags)]);
        }
        o.push(self.peer.len().min(255) as u8);
        for e in self.peer.iter().take(255) {
            o.extend(e.locator.0.octets());
            let flags = u8::from(e.verified) | u8::from(e.probed) << 1;
            o.extend([method(e.proof), flags, e.flags.0, e.priority, e.weight]);
        }
        put_settings(&mut o, &self.settings);
        if let Some(pds) = &self.peer_pds {
            o.extend_from_slice(pds);
        }
        o
    }

    /// Reads what [`SavedContext::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`RestoreError::Malformed`], whatever the octets are.
    pub fn from_bytes(octets: &[u8]) -> Result<SavedContext, RestoreError> {
        read(&mut Reader(octets)).ok_or(RestoreError::Malformed)
    }
}

/// The first flag in the lowest bit.
fn bits(flags: &[bool]) -> u8 {
    flags.iter().rev().fold(0, |o, f| o << 1 | u8::from(*f))
}

/// The verification method's number; 0 for none.
fn method(proof: Option<Proof>) -> u8 {
    proof.map_or(0, |p| VerificationMethod::from(p).value())
}

fn put_locator(o: &mut Vec<u8>, locator: Option<Locator>) {
    put_option(o, locator.map(|l| l.0.octets()));
}

fn put_millis(o: &mut Vec<u8>, time: Option<Duration>) {
    let millis = time.map(|d| u32::try_from(d.as_millis()).unwrap_or(u32::MAX));
    put_option(o, millis.map(u32::to_be_bytes));
}

fn put_settings(o: &mut Vec<u8>, s: &Settings) {
    put_option(o, s.send_timeout_secs.map(u16::to_be_bytes));
    put_millis(o, s.keepalive_interval);
    put_option(o, s.initial_probes.map(u16::to_be_bytes));
    put_millis(o, s.initial_probe_timeout);
    for end in [s.pin.local, s.pin.peer, s.prefer.map(|p| p.local), s.prefer.map(|p| p.peer)] {
        put_locator(o, end);
    }
    for list in [&s.local, &s.peer] {
        o.push(list.len().min(255) as u8);
        for p in list.iter().take(255) {
            o.extend(p.locator.0.octets());
            o.extend([p.priority, p.weight]);
        }
    }
    put_option(o, s.hot_standby.map(|on| [u8::from(on)]));
    o.push(s.extra.len().min(255) as u8);
    for locator in s.extra.iter().take(255) {
        o.extend(locator.0.octets());
    }
}

fn put_option<const N: usize>(o: &mut Vec<u8>, value: Option<[u8; N]>) {
    o.push(u8::from(value.is_some()));
    o.extend(value.unwrap_or([0; N]));
}

/// Takes octets from the front; `None` when they are used up.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn octet(&mut self) -> Option<u8> {
        self.take::<1>().map(|[b]| b)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.octet()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn addr(&mut self) -> Option<Ipv6Addr> {
        self.take::<16>().map(Ipv6Addr::from)
    }

    fn tag(&mut self) -> Option<ContextTag> {
        ContextTag::new(u64::from_be_bytes(self.take()?))
    }

    fn optional<const N: usize>(&mut self) -> Option<Option<[u8; N]>> {
        let some = self.flag()?;
        let value = self.take::<N>()?;
        Some(some.then_some(value))
    }

    fn locator(&mut self) -> Option<Option<Locator>> {
        Some(self.optional()?.map(|o: [u8; 16]| Locator(o.into())))
    }

    fn millis(&mut self) -> Option<Option<Duration>> {
        let millis = self.optional()?.map(u32::from_be_bytes);
        Some(millis.map(|ms| Duration::from_millis(ms.into())))
    }

    fn preferences(&mut self) -> Option<Vec<Preference>> {
        let n = self.octet()?;
        (0..n)
            .map(|_| {
                let locator = Locator(self.addr()?);
                let [priority, weight] = self.take()?;
                Some(Preference { locator, priority, weight })
            })
            .collect()
    }

    fn settings(&mut self, short: bool) -> Option<Settings> {
        let send_timeout_secs = self.optional()?.map(u16::from_be_bytes);
        let keepalive_interval = self.millis()?;
        let initial_probes = self.optional()?.map(u16::from_be_bytes);
        let initial_probe_timeout = self.millis()?;
        let pin = Ends { local: self.locator()?, peer: self.locator()? };
        let prefer = match (self.locator()?, self.locator()?) {
            (Some(local), Some(peer)) => Some(LocatorPair { local, peer }),
            (_, _) => None,
        };
        let (local, peer) = (self.preferences()?, self.preferences()?);
        let (hot_standby, extra) = match short {
            true => (None, Vec::new()),
            false => {
                let on = match self.optional()? {
                    Some([0]) => Some(false),
                    Some([1]) => Some(true),
                    Some(_) => return None,
                    None => None,
                };
                let n = self.octet()?;
                (on, (0..n).map(|_| self.addr().map(Locator)).collect::<Option<_>>()?)
            }
        };
        Some(Settings {
            send_timeout_secs,
            keepalive_interval,
            initial_probes,
            initial_probe_timeout,
            hot_standby,
            pin,
            prefer,
            local,
            extra,
            peer,
        })
    }

    fn proof(&mut self) -> Option<Option<Proof>> {
        match self.octet()? {
            0 => Some(None),
            n => Proof::try_from(VerificationMethod::from(n)).ok().map(Some),
        }
    }
}

fn read(r: &mut Reader<'_>) -> Option<SavedContext> {
    let version = r.octet()?;
    if !matches!(version, VERSION | SHORT_SETTINGS | WITHOUT_SETTINGS) {
        return None;
    }
    let ulids = UlidPair { local: Ulid(r.addr()?), peer: Ulid(r.addr()?) };
    let pair = LocatorPair { local: Locator(r.addr()?), peer: Locator(r.addr()?) };
    let fii = Fii(u32::from_be_bytes(r.take()?));
    let (local_tag, peer_tag) = (r.tag()?, r.tag()?);
    let flags = r.octet()?;
    let generation = |o: [u8; 4]| Generation(u32::from_be_bytes(o));
    let local_generation = r.optional()?.map(generation);
    let peer_generation = r.optional()?.map(generation);
    let told_send_timeout = r.optional()?.map(u16::from_be_bytes);
    let keepalive_secs = r.optional()?.map(u16::from_be_bytes);
    let n = r.octet()?;
    let local = (0..n)
        .map(|_| {
            let (locator, proof) = (Locator(r.addr()?), r.proof()?);
            let state = r.octet()?;
            let flag = |bit: u8| state >> bit & 1 != 0;
            (state < 16).then_some(LocalEntry {
                locator,
                proof,
                acknowledged: flag(0),
                broken: flag(1),
                deprecated: flag(2),
                transient: flag(3),
            })
        })
        .collect::<Option<Vec<_>>>()?;
    let n = r.octet()?;
    let peer = (0..n)
        .map(|_| {
            let locator = Locator(r.addr()?);
            let proof = r.proof()?;
            let [state, flags, priority, weight] = r.take()?;
            (state <= 3).then_some(PeerEntry {
                locator,
                proof,
                verified: state & 1 != 0,
                probed: state & 2 != 0,
                flags: PreferenceFlags(flags),
                priority,
                weight,
            })
        })
        .collect::<Option<Vec<_>>>()?;
    let settings = match version {
        WITHOUT_SETTINGS => Settings::default(),
        version => r.settings(version == SHORT_SETTINGS)?,
    };
    let peer_pds = (!r.0.is_empty()).then(|| r.0.to_vec());
    Some(SavedContext {
        ulids,
        fii,
        local_tag,
        peer_tag,
        initiator: flags & 1 != 0,
        local,
        updating: flags & 4 != 0,
        local_generation,
        peer,
        peer_generation,
        peer_pds,
        peer_preferences: flags & 2 != 0,
        pair,
        told_send_timeout,
        keepalive_secs,
        settings,
    })
}

#[cfg(test)]
mod tests;
