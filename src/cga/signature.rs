//! The signature over a locator list (RFC 5533, 5.15.5; RFC 3972, 6): RSASSA-PKCS1-v1_5 with SHA-1.
//!
//! ```text
//! signed octets:  message type tag, 16 | Locator List Generation, 4 | locators with method CGA, 16 each
//! ```
//!
//! Neither ULIDs nor context tags nor the sender's address are covered, so one signed list serves every context of
//! its key.

use std::fmt;

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::{Signer, Verifier};

use crate::addr::{Generation, Locator};

use super::pds::Pds;
use super::verify::{MIN_KEY_BITS, VerifyError, check_key};

/// The CGA message type tag of Shim6.
// req: S6-5.15.5-02, CG-7.4-02
pub const MESSAGE_TYPE_TAG: [u8; 16] = [
    0x4a, 0x30, 0x56, 0x62, 0x48, 0x58, 0x57, 0x4b, 0x36, 0x55, 0x41, 0x6f, 0x50, 0x6a, 0x6d, 0x48,
];
/// The longest RSA modulus of an own key, in bits: with a longer one an I2 may not fit 1280 octets.
pub const MAX_OWN_KEY_BITS: u32 = 3072;

/// Why a private key cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyError {
    /// Not a private key in PEM (or one that is protected by a passphrase).
    Pem,
    /// A key of another kind than RSA.
    NotRsa,
    /// Fewer than 1024 bits (the number given).
    TooShort(u32),
    /// More than 3072 bits (the number given).
    TooLong(u32),
    /// OpenSSL refused; its words.
    OpenSsl(String),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Pem => f.write_str(
                "not an unencrypted private key in PEM (remove a passphrase with `openssl rsa`)",
            ),
            KeyError::NotRsa => f.write_str("the key is not an RSA key"),
            KeyError::TooShort(n) => {
                write!(f, "an RSA key of {n} bits; Shim6 requires at least {MIN_KEY_BITS}")
            }
            KeyError::TooLong(n) => write!(
                f,
                "an RSA key of {n} bits; above {MAX_OWN_KEY_BITS} the handshake would not fit a packet"
            ),
            KeyError::OpenSsl(e) => write!(f, "OpenSSL: {e}"),
        }
    }
}

impl std::error::Error for KeyError {}

/// Why a signature could not be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SignError {
    /// There is no private key: the identity is HBA-only, or was imported without its key.
    NoKey,
    /// The crypto policy of the host forbids SHA-1 signatures, though others can be made. Only HBA works here.
    Sha1Forbidden,
    /// OpenSSL refused; its words.
    OpenSsl(String),
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignError::NoKey => f.write_str("there is no private key to sign with"),
            SignError::Sha1Forbidden => f.write_str(
                "this host's crypto policy forbids SHA-1 signatures, which CGA needs; use method hba",
            ),
            SignError::OpenSsl(e) => write!(f, "OpenSSL: {e}"),
        }
    }
}

impl std::error::Error for SignError {}

/// Why a peer's signature is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignatureError {
    /// The PDS holds no key that may sign.
    Key(VerifyError),
    /// The signature does not fit the signed octets and the key.
    Mismatch,
    /// The crypto policy of the host forbids checking SHA-1 signatures.
    Sha1Forbidden,
    /// OpenSSL could not use the key.
    OpenSsl,
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignatureError::Key(e) => e.fmt(f),
            SignatureError::Mismatch => f.write_str("it does not match"),
            SignatureError::Sha1Forbidden => {
                f.write_str("this host's crypto policy forbids SHA-1 signatures")
            }
            SignatureError::OpenSsl => f.write_str("OpenSSL cannot use the key"),
        }
    }
}

impl std::error::Error for SignatureError {}

/// The private RSA key of an identity. It signs and does nothing else; it is never shown by `Debug`.
// req: CG-7.4-01
#[derive(Clone)]
pub struct SigningKey(PKey<Private>);

impl SigningKey {
    /// Makes a new key, with public exponent 65537, from OpenSSL's own random generator.
    ///
    /// # Errors
    /// `bits` is outside 1024 to 3072, or OpenSSL fails.
    // req: S6-16-01
    pub fn generate(bits: u32) -> Result<SigningKey, KeyError> {
        check_own_bits(bits)?;
        let rsa = Rsa::generate(bits).map_err(openssl_words)?;
        Ok(SigningKey(PKey::from_rsa(rsa).map_err(openssl_words)?))
    }

    /// Reads an unencrypted key in PEM, PKCS#8 or traditional form. Never prompts.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn from_pem(pem: &[u8]) -> Result<SigningKey, KeyError> {
        // The callback stands where OpenSSL would ask the terminal for a passphrase.
        let key = PKey::private_key_from_pem_callback(pem, |_| Ok(0)).map_err(|_| KeyError::Pem)?;
        if key.id() != Id::RSA {
            return Err(KeyError::NotRsa);
        }
        check_own_bits(key.bits())?;
        Ok(SigningKey(key))
    }

    /// The key in PEM (PKCS#8, unencrypted).
    ///
    /// # Errors
    /// [`KeyError::OpenSsl`].
    pub fn to_pem(&self) -> Result<Vec<u8>, KeyError> {
        self.0.private_key_to_pem_pkcs8().map_err(openssl_words)
    }

    /// The public half as a DER SubjectPublicKeyInfo, as the PDS holds it.
    ///
    /// # Errors
    /// [`KeyError::OpenSsl`].
    pub fn public_key(&self) -> Result<Vec<u8>, KeyError> {
        self.0.public_key_to_der().map_err(openssl_words)
    }

    /// Bits of the modulus.
    pub fn bits(&self) -> u32 {
        self.0.bits()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} bits)", self.bits())
    }
}

/// The length rule for own keys.
// req: S6-16-01
fn check_own_bits(bits: u32) -> Result<(), KeyError> {
    match bits {
        ..MIN_KEY_BITS => Err(KeyError::TooShort(bits)),
        MIN_KEY_BITS..=MAX_OWN_KEY_BITS => Ok(()),
        _ => Err(KeyError::TooLong(bits)),
    }
}

/// OpenSSL's error queue as an error of ours.
fn openssl_words(e: ErrorStack) -> KeyError {
    KeyError::OpenSsl(e.to_string())
}

/// What is signed: tag, generation, then the CGA-method locators in list order.
// req: S6-5.15.5-02, S6-5.15.5-03, CG-6-01
pub fn signed_octets(generation: Generation, method_cga_locators: &[Locator]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(20 + 16 * method_cga_locators.len());
    octets.extend(MESSAGE_TYPE_TAG);
    octets.extend(generation.0.to_be_bytes());
    for locator in method_cga_locators {
        octets.extend(locator.0.octets());
    }
    octets
}

/// Signs the locators with method CGA of a list, in the order in which the list has them.
///
/// # Errors
/// [`SignError::Sha1Forbidden`] where the host's policy says so; other failures with OpenSSL's words.
// req: S6-5.15.5-01, S6-5.15.5-02, S6-5.15.5-03, CG-6-01, CG-7.4-02
pub fn sign_locators(
    key: &SigningKey,
    generation: Generation,
    method_cga_locators: &[Locator],
) -> Result<Vec<u8>, SignError> {
    let octets = signed_octets(generation, method_cga_locators);
    sha1_or_forbidden(|digest| Signer::new(digest, &key.0)?.sign_oneshot_to_vec(&octets)).map_err(
        |e| match e {
            Sha1Error::Forbidden => SignError::Sha1Forbidden,
            Sha1Error::Other(e) => SignError::OpenSsl(e.to_string()),
        },
    )
}

/// Checks a signature over the locators with method CGA of a list, given in list order.
///
/// That the key is bound to the ULID is for [`super::verify_cga`] or [`super::verify_list`] to show; both have to
/// succeed.
///
/// # Errors
/// See [`SignatureError`].
// req: S6-5.15.5-02, S6-5.15.5-03, S6-16-01, CG-6-01, CG-6-02
pub fn verify_locator_signature(
    pds: &Pds,
    generation: Generation,
    method_cga_locators: &[Locator],
    signature: &[u8],
) -> Result<(), SignatureError> {
    check_key(pds).map_err(SignatureError::Key)?;
    let key = PKey::public_key_from_der(pds.public_key()).map_err(|_| SignatureError::OpenSsl)?;
    let mut verifier =
        sha1_or_forbidden(|digest| Verifier::new(digest, &key)).map_err(|e| match e {
            Sha1Error::Forbidden => SignatureError::Sha1Forbidden,
            Sha1Error::Other(_) => SignatureError::OpenSsl,
        })?;
    let octets = signed_octets(generation, method_cga_locators);
    match verifier.verify_oneshot(signature, &octets) {
        Ok(true) => Ok(()),
        // OpenSSL reports a signature of the wrong length as an error.
        Ok(false) | Err(_) => Err(SignatureError::Mismatch),
    }
}

/// Why an operation with SHA-1 failed.
#[derive(Debug)]
enum Sha1Error {
    /// SHA-1 is what was refused.
    Forbidden,
    /// Something else.
    Other(ErrorStack),
}

/// Runs an operation with SHA-1. If that fails and the same succeeds with SHA-256, policy is the reason: how a
/// forbidden digest is reported differs between distributions and OpenSSL releases, so their codes are not asked.
fn sha1_or_forbidden<T>(
    mut operation: impl FnMut(MessageDigest) -> Result<T, ErrorStack>,
) -> Result<T, Sha1Error> {
    operation(MessageDigest::sha1()).map_err(|e| match operation(MessageDigest::sha256()) {
        Ok(_) => Sha1Error::Forbidden,
        Err(_) => Sha1Error::Other(e),
    })
}

#[cfg(test)]
mod tests;
