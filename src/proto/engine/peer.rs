//! Ls(peer): the peer's locators, and what has to be shown before one of them is believed (RFC 5533, 7.2).
//!
//! A message's locator options are checked as a whole; only then anything is stored.

use crate::addr::{Generation, Locator, Ulid};
use crate::cga::verify::verify_ulid;
use crate::cga::{ListError, Pds, Proof, VerifyError, verify_list};
use crate::proto::reap::Candidate;
use crate::wire::control::ErrorCode;
use crate::wire::option::{self, LocatorPreferences, OptionType, Options, PreferenceFlags};
use std::fmt;

/// One locator of the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerEntry {
    /// The address.
    pub locator: Locator,
    /// By what it is bound to the ULID; `None` for the ULID itself without a list.
    pub proof: Option<Proof>,
    /// That binding was checked.
    pub verified: bool,
    /// The peer was shown to be reachable there.
    pub probed: bool,
    /// Flags of its preferences.
    pub flags: PreferenceFlags,
    /// Lower is used first.
    pub priority: u8,
    /// Share among those of equal priority.
    pub weight: u8,
}

impl PeerEntry {
    /// A locator that is believed but not yet probed.
    fn new(locator: Locator, proof: Option<Proof>, verified: bool) -> PeerEntry {
        PeerEntry {
            locator,
            proof,
            verified,
            probed: false,
            flags: PreferenceFlags::NONE,
            priority: 0,
            weight: 0,
        }
    }
}

/// Ls(peer) with what proves it.
#[derive(Clone, Debug)]
pub struct PeerSet {
    /// Generation of the last list that was received and verified.
    // req: S6-6.1-02
    pub generation: Option<Generation>,
    /// The locators in the order of that list.
    // req: S6-5.15.2-03
    pub entries: Box<[PeerEntry]>,
    /// The octets of the peer's PDS, once one was verified: they are read again when a new list comes.
    pub pds: Option<Box<[u8]>>,
    /// The peer gave preferences.
    pub has_preferences: bool,
}

impl PeerSet {
    /// What is known of a peer that sends no list: its ULID, to which packets may go at any time.
    // req: S6-3-03
    pub fn of_ulid(ulid: Ulid) -> PeerSet {
        let mut own = PeerEntry::new(ulid.locator(), None, true);
        own.probed = true;
        PeerSet { generation: None, entries: Box::new([own]), pds: None, has_preferences: false }
    }

    /// The entry of a locator.
    pub fn get(&self, locator: Locator) -> Option<&PeerEntry> {
        self.entries.iter().find(|e| e.locator == locator)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, locator: Locator) -> Option<&mut PeerEntry> {
        self.entries.iter_mut().find(|e| e.locator == locator)
    }

    /// Whether a locator is in the set.
    pub fn contains(&self, locator: Locator) -> bool {
        self.get(locator).is_some()
    }

    /// What exploration may use.
    // req: S6-7.2-03, RP-4.3-02
    pub fn candidates(&self) -> Vec<Candidate> {
        self.entries
            .iter()
            .map(|e| Candidate {
                addr: e.locator.0,
                usable: e.verified,
                broken: e.flags.contains(PreferenceFlags::BROKEN),
                priority: e.priority,
                weight: e.weight,
            })
            .collect()
    }

    /// Takes over preferences that were checked against this set.
    // req: S6-5.15.3-04, S6-10.4-12
    fn apply_preferences(&mut self, p: &LocatorPreferences) {
        for (entry, element) in self.entries.iter_mut().zip(&p.elements) {
            entry.flags = element.flags;
            entry.priority = element.priority;
            entry.weight = element.weight;
        }
        self.has_preferences = true;
    }
}

/// Why locator options were not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Distrust {
    /// The PDS cannot be read.
    PdsUnreadable,
    /// The PDS does not belong to ULID(peer).
    PdsForeign(VerifyError),
    /// A list came without PDS, and none was known.
    NoPds,
    /// The verification method of this entry is unknown.
    Method(usize),
    /// More locators than we accept.
    TooMany,
    /// The list repeats a locator, or names an address that cannot be one (index given).
    BadLocator(usize),
    /// HBA or CGA verification failed.
    List(ListError),
    /// Preferences for another list than the stored one.
    Generation,
    /// Preferences with another number of elements than there are locators.
    Count,
}

impl Distrust {
    /// Name for counters: `drop_<name>`.
    pub fn reason(self) -> &'static str {
        match self {
            Distrust::PdsUnreadable => "pds_unreadable",
            Distrust::PdsForeign(_) => "pds_foreign",
            Distrust::NoPds => "list_without_pds",
            Distrust::Method(_) => "verification_method",
            Distrust::TooMany => "too_many_locators",
            Distrust::BadLocator(_) => "bad_locator",
            Distrust::List(ListError::Entry(_, _)) => "verify_entry_failed",
            Distrust::List(ListError::NoSignature(_)) => "signature_missing",
            Distrust::List(ListError::Signature(..)) => "verify_signature_failed",
            Distrust::List(ListError::Ulid(_)) => "pds_foreign",
            Distrust::Generation => "preferences_generation",
            Distrust::Count => "preferences_count",
        }
    }

    /// The Error the sender is told, with its offset from the start of the Shim6 header; `None` is silence.
    // req: S6-7.2-06, S6-10.4-07, S6-10.4-09, S6-10.4-10, S6-10.4-05, S6-7.13-04
    pub fn reply(self, message: &[u8]) -> Option<(ErrorCode, usize)> {
        let list = || option::offset_of(message, OptionType::LocatorList);
        let method = |i| {
            option::verification_method_offset(message, i)
                .map(|o| (ErrorCode::VerificationFailed, o))
        };
        let preferences = || option::offset_of(message, OptionType::LocatorPreferences);
        match self {
            Distrust::PdsUnreadable | Distrust::PdsForeign(_) | Distrust::TooMany => None,
            Distrust::NoPds => list().map(|o| (ErrorCode::VerificationFailed, o)),
            Distrust::Method(i) | Distrust::BadLocator(i) => method(i),
            Distrust::List(e) => e.entry().and_then(method),
            Distrust::Generation => preferences().map(|o| (ErrorCode::GenerationOutOfSync, o + 4)),
            Distrust::Count => preferences().map(|o| (ErrorCode::PreferencesCount, o + 2)),
        }
    }
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

/// An address that can be somebody's locator or ULID: global unicast or unique local.
// req: RP-3.1-01
pub fn is_unicast(a: std::net::Ipv6Addr) -> bool {
    let mapped = a.to_ipv4_mapped().is_some();
    let link_local = a.segments()[0] & 0xffc0 == 0xfe80 || a.segments()[0] & 0xffc0 == 0xfec0;
    !(a.is_multicast() || a.is_unspecified() || a.is_loopback() || link_local || mapped)
}

/// In which kind of message locator options came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Occasion {
    /// I2, I2bis, R2: the peer says all there is; without a list it has its ULID alone. Preferences that do not fit
    /// are answered with an Error and ignored.
    Establish,
    /// Update Request: what is not in it stays as it was. Preferences that do not fit condemn the message.
    Update,
}

/// The outcome of a successful check: what to store.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The new Ls(peer).
    pub peer: PeerSet,
    /// The fault of a preferences option that was ignored.
    pub ignored: Option<Distrust>,
}

/// Checks the locator options of a message against ULID(peer) and what is known already, changing nothing.
///
/// `known` is the present set of the same peer; without one the peer starts with its ULID alone. A new list voids
/// earlier preferences, since their indexes mean other locators now.
///
/// # Errors
/// The first thing found wrong; nothing of the message may be stored then.
// req: S6-7.2-01, S6-7.2-03, S6-7.2-05, S6-7.13-04, S6-7.13-07, S6-7.13-12, S6-7.16-03, S6-7.16-05, S6-7.20-04,
// req: S6-7.20-07, S6-10.4-05, S6-10.4-08, S6-5.10-03, S6-10-01, HB-8-02, AL-7.7-01
pub fn check(
    ulid: Ulid,
    known: Option<&PeerSet>,
    options: &Options,
    max_locators: usize,
    occasion: Occasion,
) -> Result<Checked, Distrust> {
    let mut peer = match (known, occasion) {
        (Some(known), Occasion::Update) => known.clone(),
        (Some(known), Occasion::Establish) => {
            PeerSet { pds: known.pds.clone(), ..PeerSet::of_ulid(ulid) }
        }
        (None, _) => PeerSet::of_ulid(ulid),
    };
    let was_probed =
        |l: Locator| known.is_some_and(|k| k.get(l).is_some_and(|e| e.verified && e.probed));
    let read = |octets: &[u8]| Pds::parse(octets).map_err(|_| Distrust::PdsUnreadable);
    let mut fresh = None;
    if let Some(octets) = &options.pds {
        let pds = read(octets)?;
        verify_ulid(&pds, ulid).map_err(Distrust::PdsForeign)?;
        peer.pds = Some(octets.as_slice().into());
        fresh = Some(pds);
    }
    if let Some(list) = &options.locator_list {
        let pds = match (fresh, &peer.pds) {
            (Some(pds), _) => pds,
            (None, Some(octets)) => read(octets)?,
            (None, None) => return Err(Distrust::NoPds),
        };
        if list.entries.len() > max_locators {
            return Err(Distrust::TooMany);
        }
        let mut claims = Vec::with_capacity(list.entries.len());
        for (i, e) in list.entries.iter().enumerate() {
            let proof = Proof::try_from(e.method).map_err(|_| Distrust::Method(i))?;
            if !is_unicast(e.locator.0) || claims.iter().any(|(_, l)| *l == e.locator) {
                return Err(Distrust::BadLocator(i));
            }
            claims.push((proof, e.locator));
        }
        verify_list(&pds, ulid, list.generation, &claims, options.signature.as_deref())
            .map_err(Distrust::List)?;
        let entries = claims
            .into_iter()
            .map(|(proof, locator)| {
                let mut entry = PeerEntry::new(locator, Some(proof), true);
                entry.probed = locator == ulid.locator() || was_probed(locator);
                entry
            })
            .collect();
        peer.entries = entries;
        peer.generation = Some(list.generation);
        peer.has_preferences = false;
    }
    let mut ignored = options.preferences_fault.map(|_| Distrust::Count);
    if let Some(p) = &options.preferences {
        let fault = if peer.generation != Some(p.generation) {
            Some(Distrust::Generation)
        } else if p.elements.len() != peer.entries.len() {
            Some(Distrust::Count)
        } else {
            None
        };
        match (fault, occasion) {
            (None, _) => peer.apply_preferences(p),
            (Some(fault), Occasion::Update) => return Err(fault),
            (Some(fault), Occasion::Establish) => ignored = Some(fault),
        }
    }
    Ok(Checked { peer, ignored })
}

#[cfg(test)]
mod tests;
