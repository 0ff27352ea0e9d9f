//! Making a new identity (RFC 3972, 4; RFC 5535, 6).

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use rand::RngCore;

use crate::addr::Prefix;

use super::der;
use super::hash::Sec;
use super::identity::{Identity, Method, duplicate, new_pds};
use super::pds::{MODIFIER_LEN, PdsError};
use super::search::{Stopped, find_modifier};
use super::signature::{KeyError, SignError, SigningKey};

/// The most prefixes of one identity: with more, the handshake would not fit a packet.
pub const MAX_PREFIXES: usize = 32;
/// Octets of the extended modifier, the random number in place of a key: 384 bits.
// req: HB-6-05
const EXTENDED_MODIFIER_LEN: usize = 48;
/// The public exponent beside the extended modifier, 65537: the RFC leaves it open, this one is everybody's.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// What is to be made.
#[derive(Clone, Debug)]
pub struct GenerateParams {
    /// The kind of addresses.
    pub method: Method,
    /// One address for each of these, 1 to [`MAX_PREFIXES`], none twice. Their order enters an HBA set's hashes.
    pub prefixes: Vec<Prefix>,
    /// The security parameter: the cost is about 2^(16 Sec) hash operations.
    pub sec: Sec,
    /// Bits of a new RSA key, 1024 to 3072; unused with method HBA, or when a key is given.
    pub key_bits: u32,
    /// A key to go on using instead of making one; not for method HBA.
    pub key: Option<SigningKey>,
    /// Threads for the modifier search; `None` for as many as the machine runs at once. Does not change the result.
    pub threads: Option<NonZeroUsize>,
}

impl GenerateParams {
    /// The default: RSA-2048, Sec 0, all cores.
    pub fn new(method: Method, prefixes: Vec<Prefix>) -> GenerateParams {
        GenerateParams {
            method,
            prefixes,
            sec: Sec::ZERO,
            key_bits: 2048,
            key: None,
            threads: None,
        }
    }
}

/// How far the work has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// An RSA key of this many bits is about to be made; it takes up to a few seconds and cannot be stopped.
    GeneratingKey {
        /// Bits of the modulus.
        bits: u32,
    },
    /// Modifiers are being tried. Comes every few milliseconds.
    Searching {
        /// Hash operations done.
        tried: u64,
        /// Hash operations that the search takes on average; the chance of success in each is one in this many.
        expected: u64,
    },
}

/// Why no identity was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GenerateError {
    /// No prefix is given.
    NoPrefix,
    /// More than [`MAX_PREFIXES`] prefixes (the number given).
    TooManyPrefixes(usize),
    /// The same prefix is given twice.
    DuplicatePrefix(Prefix),
    /// A key is given for method HBA, which has none.
    UnexpectedKey,
    /// The private key cannot be made or used.
    Key(KeyError),
    /// The key cannot sign on this host; with [`SignError::Sha1Forbidden`] method HBA is the way out.
    Sign(SignError),
    /// The progress callback asked to stop.
    Stopped,
    /// OpenSSL gave a public key that is not what RFC 3972 prescribes.
    Pds(PdsError),
}

impl fmt::Display for GenerateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GenerateError::NoPrefix => f.write_str("give at least one /64 prefix"),
            GenerateError::TooManyPrefixes(n) => {
                write!(f, "{n} prefixes are too many; at most {MAX_PREFIXES} fit a handshake")
            }
            GenerateError::DuplicatePrefix(p) => write!(f, "prefix {p} is given twice"),
            GenerateError::UnexpectedKey => {
                f.write_str("method hba takes no key; use hba-cga to use one")
            }
            GenerateError::Key(e) => e.fmt(f),
            GenerateError::Sign(e) => e.fmt(f),
            GenerateError::Stopped => f.write_str("stopped"),
            GenerateError::Pds(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for GenerateError {}

impl Identity {
    /// Makes a new identity.
    ///
    /// Modifier and extended modifier come from `rng`, which has to be cryptographically strong outside of tests; a
    /// new RSA key comes from OpenSSL's own generator. With the same `rng` and key the result is the same, however
    /// many threads search. `progress` may break to stop.
    ///
    /// # Errors
    /// See [`GenerateError`]. Whether the host lets the key sign is tried before the search begins.
    // req: CG-4-01, CG-4-02, CG-7.1-01, HB-4-01, HB-8.1-02, HB-11.2-01, S6-16-01
    pub fn generate(
        params: GenerateParams,
        rng: &mut dyn RngCore,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Identity, GenerateError> {
        let GenerateParams { method, prefixes, sec, key_bits, key, threads } = params;
        match prefixes.len() {
            0 => return Err(GenerateError::NoPrefix),
            n if n > MAX_PREFIXES => return Err(GenerateError::TooManyPrefixes(n)),
            _ => {}
        }
        if let Some(twice) = duplicate(&prefixes) {
            return Err(GenerateError::DuplicatePrefix(twice));
        }
        let (key, public_key) = match key {
            Some(_) if !method.has_key() => return Err(GenerateError::UnexpectedKey),
            None if !method.has_key() => (None, extended_modifier(rng)),
            key => {
                let key = match key {
                    Some(key) => key,
                    None => new_key(key_bits, progress)?,
                };
                let public_key = key.public_key().map_err(GenerateError::Key)?;
                (Some(key), public_key)
            }
        };

        let mut start = [0; MODIFIER_LEN];
        rng.fill_bytes(&mut start);
        let pds = new_pds(method, start, &prefixes, &public_key).map_err(GenerateError::Pds)?;
        let identity = Identity::build(pds, key, prefixes, sec);
        if method.has_key() {
            identity.signing().map_err(GenerateError::Sign)?;
        }
        if sec == Sec::ZERO {
            return Ok(identity);
        }

        let threads = threads
            .unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
        let expected = 1 << sec.zero_bits();
        let modifier =
            find_modifier(start, identity.pds().key_and_extensions(), sec, threads, &mut |tried| {
                progress(Progress::Searching { tried, expected })
            })
            .map_err(|Stopped| GenerateError::Stopped)?;
        let prefixes = identity.prefixes().to_vec();
        let pds = new_pds(method, modifier, &prefixes, &public_key).map_err(GenerateError::Pds)?;
        Ok(Identity::build(pds, identity.key().cloned(), prefixes, sec))
    }
}

/// A new RSA key, announced first.
fn new_key(
    bits: u32,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<SigningKey, GenerateError> {
    if progress(Progress::GeneratingKey { bits }).is_break() {
        return Err(GenerateError::Stopped);
    }
    SigningKey::generate(bits).map_err(GenerateError::Key)
}

/// The extended modifier: a random number that looks like the modulus of an RSA key. Its top bit is set, so that
/// its encoding always has the same length.
// req: HB-6-02, HB-6-04, HB-6-05
fn extended_modifier(rng: &mut dyn RngCore) -> Vec<u8> {
    let mut number = [0; EXTENDED_MODIFIER_LEN];
    rng.fill_bytes(&mut number);
    number[0] |= 0x80;
    der::encode_subject_public_key_info(&number, &EXPONENT)
}

#[cfg(test)]
mod tests;
