//! Cryptographically bound addresses: CGA (RFC 3972, extension fields of RFC 4581, hash registry of RFC 4982)
//! and HBA (RFC 5535), and the signature over a locator list (RFC 5533, 5.15.5).
//!
//! | Module | What it holds |
//! |---|---|
//! | [`der`] | strict DER of a SubjectPublicKeyInfo that carries an RSA key |
//! | [`pds`] | the CGA Parameters data structure and its Multi-Prefix extension |
//! | [`hash`] | Sec, Hash1, Hash2 and the interface identifier |
//! | [`verify`] | does an address, or a whole locator list, belong to a PDS? |
//! | [`signature`] | private keys, signing and checking locator lists |
//! | [`search`] | the modifier search that Sec 1 and 2 ask for |
//! | [`identity`], [`generate`] | the addresses this host owns, and how they are made |
//!
//! Nothing here reads a clock or asks the operating system for randomness: random octets come from the `rng`
//! argument. The one exception is the generation of an RSA key, which OpenSSL does with its own generator (and
//! the blinding of RSA operations, which does not change their result).

pub mod der;
pub mod generate;
pub mod hash;
pub mod identity;
pub mod pds;
pub mod search;
pub mod signature;
pub mod verify;

pub use generate::{GenerateError, GenerateParams, MAX_PREFIXES, Progress};
pub use hash::Sec;
pub use identity::{Identity, IdentityError, Method};
pub use pds::{MultiPrefix, Pds, PdsError};
pub use signature::{
    KeyError, SignError, SignatureError, SigningKey, sign_locators, verify_locator_signature,
};
pub use verify::{
    ListError, Proof, VerifyError, verify_binding, verify_cga, verify_hba, verify_list,
};
