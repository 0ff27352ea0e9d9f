//! The identity of this host: addresses that are bound to one another, and what proves it.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::addr::{Generation, Locator, Prefix};

use super::hash::{self, Sec};
use super::pds::{MODIFIER_LEN, MultiPrefix, Pds, PdsError};
use super::signature::{KeyError, SignError, SigningKey, sign_locators};
use super::verify::{MAX_COLLISION_COUNT, Proof, VerifyError, check_key};

/// The kinds of cryptographically bound addresses (RFC 5535, 4).
// req: HB-4-01
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Method {
    /// HBA-only: a random number in place of the key; only members of the set can be locators.
    Hba,
    /// CGA-only: every locator is vouched for by signature.
    Cga,
    /// HBA and CGA at once: members are checked by hash, other locators by signature.
    #[default]
    HbaCga,
}

impl Method {
    /// The name used in configuration and on the command line: `hba`, `cga`, `hba-cga`.
    pub fn name(self) -> &'static str {
        match self {
            Method::Hba => "hba",
            Method::Cga => "cga",
            Method::HbaCga => "hba-cga",
        }
    }

    /// Whether addresses of this kind carry a Multi-Prefix extension.
    pub fn is_set(self) -> bool {
        matches!(self, Method::Hba | Method::HbaCga)
    }

    /// Whether addresses of this kind carry a real public key.
    pub fn has_key(self) -> bool {
        matches!(self, Method::Cga | Method::HbaCga)
    }

    /// The kind of addresses that a PDS makes.
    pub fn of(pds: &Pds) -> Method {
        match pds.multi_prefix() {
            None => Method::Cga,
            Some(set) if set.p_flag => Method::HbaCga,
            Some(_) => Method::Hba,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(s: &str) -> Result<Method, String> {
        [Method::Hba, Method::Cga, Method::HbaCga]
            .into_iter()
            .find(|m| m.name() == s)
            .ok_or_else(|| format!("`{s}` is no method; use hba, cga or hba-cga"))
    }
}

/// Why parts do not make an identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IdentityError {
    /// The CGA parameters cannot be read.
    Pds(PdsError),
    /// The parameters can be read, but no peer would accept them.
    Verify(VerifyError),
    /// The private key cannot be used.
    Key(KeyError),
    /// A private key is given for an HBA-only set, which has none.
    UnexpectedKey,
    /// A CGA without its private key can prove nothing.
    MissingKey,
    /// The private key does not belong to the public key in the parameters.
    ForeignKey,
    /// The prefix is not in the parameters' HBA set.
    PrefixNotInSet(Prefix),
    /// The same prefix is given twice.
    DuplicatePrefix(Prefix),
    /// The parameters lack the zero bits of Hash2 that this security parameter demands.
    Sec(Sec),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityError::Pds(e) => e.fmt(f),
            IdentityError::Verify(e) => e.fmt(f),
            IdentityError::Key(e) => e.fmt(f),
            IdentityError::UnexpectedKey => {
                f.write_str("these parameters are HBA-only and take no private key; leave it out")
            }
            IdentityError::MissingKey => {
                f.write_str("a CGA is worthless without its private key; give the key as well")
            }
            IdentityError::ForeignKey => {
                f.write_str("the private key does not belong to these parameters")
            }
            IdentityError::PrefixNotInSet(p) => write!(
                f,
                "prefix {p} is not in the HBA set of these parameters; leave it out or generate anew"
            ),
            IdentityError::DuplicatePrefix(p) => write!(f, "prefix {p} is given twice"),
            IdentityError::Sec(sec) => {
                write!(f, "these parameters were not generated for security parameter {sec}")
            }
        }
    }
}

impl std::error::Error for IdentityError {}

/// Three addresses in a row were duplicates: the identity has to be generated anew (RFC 3972, 4; RFC 5535, 6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyCollisions;

impl fmt::Display for TooManyCollisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("duplicate addresses after three attempts: generate a new identity")
    }
}

impl std::error::Error for TooManyCollisions {}

/// What a host owns: one PDS, one address for each prefix, and perhaps the private key.
///
/// All addresses share modifier, key, Sec, prefix vector and collision count, so the PDS of one member becomes that of
/// another by its Subnet Prefix alone.
// req: HB-6-06
#[derive(Clone, Debug)]
pub struct Identity {
    sec: Sec,
    /// The PDS with the first prefix in use.
    pds: Pds,
    prefixes: Vec<Prefix>,
    members: Vec<Ipv6Addr>,
    key: Option<SigningKey>,
    /// Whether signing works here, tried once.
    signing: Result<(), SignError>,
}

impl Identity {
    /// Puts an identity together from what was exported or stored.
    ///
    /// `prefixes` are those to use, in this order: for an HBA set any of its prefixes (all of them if the list is empty),
    /// for a CGA any at all (that of the PDS if the list is empty). `sec` is the parameter the identity was generated
    /// for; without it the highest one is taken that Hash2 allows.
    ///
    /// An HBA set with a public key may come without the private one: it can then only be used by the HBA method.
    ///
    /// # Errors
    /// See [`IdentityError`]. That the host forbids signing is none of them: see [`Identity::signing`].
    // req: AL-7.2-01
    pub fn from_parts(
        pds: &[u8],
        key: Option<SigningKey>,
        prefixes: &[Prefix],
        sec: Option<Sec>,
    ) -> Result<Identity, IdentityError> {
        let pds = Pds::parse(pds).map_err(IdentityError::Pds)?;
        if pds.collision_count() > MAX_COLLISION_COUNT {
            let count = VerifyError::CollisionCount(pds.collision_count());
            return Err(IdentityError::Verify(count));
        }
        let method = Method::of(&pds);
        match &key {
            Some(_) if !method.has_key() => return Err(IdentityError::UnexpectedKey),
            None if method == Method::Cga => return Err(IdentityError::MissingKey),
            Some(key) if key.public_key().map_err(IdentityError::Key)? != pds.public_key() => {
                return Err(IdentityError::ForeignKey);
            }
            _ => {}
        }
        if method.has_key() {
            check_key(&pds).map_err(IdentityError::Verify)?;
        }
        let hash2 = hash::hash2(&pds);
        let sec = match sec {
            Some(sec) if !hash::hash2_satisfies(&hash2, sec) => {
                return Err(IdentityError::Sec(sec));
            }
            Some(sec) => sec,
            None => [Sec::TWO, Sec::ONE]
                .into_iter()
                .find(|&sec| hash::hash2_satisfies(&hash2, sec))
                .unwrap_or(Sec::ZERO),
        };
        let prefixes = pick_prefixes(&pds, prefixes)?;
        Ok(Identity::build(pds, key, prefixes, sec))
    }

    /// Computes the members; the parts are known to fit one another and `prefixes` is not empty.
    pub(super) fn build(
        pds: Pds,
        key: Option<SigningKey>,
        prefixes: Vec<Prefix>,
        sec: Sec,
    ) -> Identity {
        let first = prefixes.first().copied().unwrap_or(pds.prefix());
        let pds = pds.replaced(first, pds.collision_count());
        // req: HB-6-08, HB-6-10
        let members = prefixes.iter().map(|&p| hash::address(&pds, p, sec)).collect();
        let signing = match &key {
            Some(key) => sign_locators(key, Generation(0), &[]).map(drop),
            None => Err(SignError::NoKey),
        };
        Identity { sec, pds, prefixes, members, key, signing }
    }

    /// The kind of its addresses.
    pub fn method(&self) -> Method {
        Method::of(&self.pds)
    }

    /// The security parameter.
    pub fn sec(&self) -> Sec {
        self.sec
    }

    /// The PDS with the first prefix in use.
    pub fn pds(&self) -> &Pds {
        &self.pds
    }

    /// The prefixes in use, in the order of [`Identity::members`].
    pub fn prefixes(&self) -> &[Prefix] {
        &self.prefixes
    }

    /// The addresses, one for each prefix in use.
    pub fn members(&self) -> &[Ipv6Addr] {
        &self.members
    }

    /// The collision count, 0 to 2, common to all addresses.
    pub fn collision_count(&self) -> u8 {
        self.pds.collision_count()
    }

    /// The private key, if this host has it.
    pub fn key(&self) -> Option<&SigningKey> {
        self.key.as_ref()
    }

    /// By what a peer verifies `addr` if it is one of the identity's own addresses, else `None`.
    // req: HB-4-01, HB-9-01
    pub fn contains(&self, addr: Ipv6Addr) -> Option<Proof> {
        self.members.contains(&addr).then_some(if self.method().is_set() {
            Proof::Hba
        } else {
            Proof::Cga
        })
    }

    /// By what a peer can verify `locator` in a list of ours: members of a set by hash, anything else by signature,
    /// or `None` if it cannot be offered.
    // req: HB-4-02, HB-8.1-01, S6-3-02, S6-10-01
    pub fn proof_for(&self, locator: Locator) -> Option<Proof> {
        match self.contains(locator.0) {
            Some(Proof::Hba) => Some(Proof::Hba),
            _ => self.can_sign().then_some(Proof::Cga),
        }
    }

    /// The PDS that corresponds to a ULID of ours; `None` if the address is not the identity's.
    // req: HB-6-12, HB-8-02, S6-5.15.4-01
    pub fn pds_for(&self, ulid: Ipv6Addr) -> Option<Vec<u8>> {
        self.contains(ulid).map(|_| self.pds.with_prefix(Prefix::of(ulid)))
    }

    /// Whether locators beyond the set can be offered: there is a private key and the host lets it be used.
    pub fn can_sign(&self) -> bool {
        self.signing.is_ok()
    }

    /// Why signing is not possible, if it is not.
    ///
    /// # Errors
    /// What [`Identity::sign`] would answer.
    pub fn signing(&self) -> Result<(), SignError> {
        self.signing.clone()
    }

    /// Signs the locators with method CGA of a list, in list order.
    ///
    /// # Errors
    /// [`SignError::NoKey`], [`SignError::Sha1Forbidden`], or OpenSSL's words.
    pub fn sign(
        &self,
        generation: Generation,
        method_cga_locators: &[Locator],
    ) -> Result<Vec<u8>, SignError> {
        let key = self.key.as_ref().ok_or(SignError::NoKey)?;
        sign_locators(key, generation, method_cga_locators)
    }

    /// The same identity with another collision count, for when duplicate address detection has failed: all addresses
    /// change.
    ///
    /// # Errors
    /// [`TooManyCollisions`] for counts above 2.
    // req: HB-6-11, CG-4-01, CG-3-02
    pub fn with_collision_count(&self, count: u8) -> Result<Identity, TooManyCollisions> {
        if count > MAX_COLLISION_COUNT {
            return Err(TooManyCollisions);
        }
        let pds = self.pds.replaced(self.pds.prefix(), count);
        Ok(Identity::build(pds, self.key.clone(), self.prefixes.clone(), self.sec))
    }

    /// The same parameters with other prefixes, without a new search: for a CGA any, for an HBA set those in its vector.
    /// The collision count starts at 0 for a CGA.
    ///
    /// # Errors
    /// [`IdentityError::PrefixNotInSet`] (generate anew then), [`IdentityError::DuplicatePrefix`].
    pub fn with_prefixes(&self, prefixes: &[Prefix]) -> Result<Identity, IdentityError> {
        let prefixes = pick_prefixes(&self.pds, prefixes)?;
        let count = if self.method().is_set() { self.collision_count() } else { 0 };
        let pds = self.pds.replaced(self.pds.prefix(), count);
        Ok(Identity::build(pds, self.key.clone(), prefixes, self.sec))
    }
}

/// The prefixes asked for, checked; if none are asked for, those that the PDS names.
fn pick_prefixes(pds: &Pds, asked: &[Prefix]) -> Result<Vec<Prefix>, IdentityError> {
    if let Some(twice) = duplicate(asked) {
        return Err(IdentityError::DuplicatePrefix(twice));
    }
    match pds.multi_prefix() {
        Some(set) if asked.is_empty() => {
            let mut prefixes = Vec::new();
            for prefix in &set.prefixes {
                if !prefixes.contains(prefix) {
                    prefixes.push(*prefix);
                }
            }
            Ok(prefixes)
        }
        None if asked.is_empty() => Ok(vec![pds.prefix()]),
        Some(set) => match asked.iter().find(|p| !set.prefixes.contains(p)) {
            Some(&foreign) => Err(IdentityError::PrefixNotInSet(foreign)),
            None => Ok(asked.to_vec()),
        },
        None => Ok(asked.to_vec()),
    }
}

/// The first prefix that occurs a second time.
pub(super) fn duplicate(prefixes: &[Prefix]) -> Option<Prefix> {
    prefixes.iter().enumerate().find(|(i, p)| prefixes[..*i].contains(p)).map(|(_, p)| *p)
}

/// The PDS of a new identity, before its addresses are made.
pub(super) fn new_pds(
    method: Method,
    modifier: [u8; MODIFIER_LEN],
    prefixes: &[Prefix],
    public_key: &[u8],
) -> Result<Pds, PdsError> {
    // req: HB-5-03, HB-6-12
    let set = method
        .is_set()
        .then(|| MultiPrefix { p_flag: method.has_key(), prefixes: prefixes.to_vec() });
    let first = prefixes.first().copied().unwrap_or(Prefix([0; 8]));
    Pds::assemble(modifier, first, 0, public_key, set.as_ref())
}

#[cfg(test)]
mod tests;
