//! Identities and verdicts as text and, with `--json`, as JSON.

use std::fmt;
use std::net::Ipv6Addr;

use serde::Serialize;

use crate::addr::Prefix;
use crate::cga::{Identity, Pds, Sec, verify_cga, verify_hba};

/// An identity as `shim6ctl identity show` presents it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct IdentityDescription {
    /// `hba`, `cga` or `hba-cga`.
    pub method: String,
    /// The security parameter, 0 to 2.
    pub sec: u8,
    /// The collision count, 0 to 2.
    pub collision_count: u8,
    /// The modifier: 32 hexadecimal digits.
    pub modifier: String,
    /// The key; `null` with method `hba`.
    pub key: Option<KeyDescription>,
    /// Whether locators outside the set can be offered by signature.
    pub can_sign: bool,
    /// Why not, if not.
    pub cannot_sign_because: Option<String>,
    /// The addresses, in the order of the prefixes.
    pub addresses: Vec<MemberDescription>,
    /// Length of the CGA parameters in octets.
    pub pds_octets: usize,
}

/// The RSA key of an identity.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct KeyDescription {
    /// Bits of the modulus.
    pub bits: u32,
    /// Whether the private key is here, too.
    pub private: bool,
}

/// One address of an identity.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MemberDescription {
    /// The address.
    pub address: Ipv6Addr,
    /// The prefix it was made for.
    pub prefix: Prefix,
}

impl IdentityDescription {
    pub(super) fn new(identity: &Identity) -> IdentityDescription {
        let pds = identity.pds();
        let bits = pds.rsa_bits().map(|(bits, _)| bits).filter(|_| pds.has_real_key());
        IdentityDescription {
            method: identity.method().to_string(),
            sec: identity.sec().value(),
            collision_count: identity.collision_count(),
            modifier: format!("{:032x}", u128::from_be_bytes(pds.modifier())),
            key: bits.map(|bits| KeyDescription { bits, private: identity.key().is_some() }),
            can_sign: identity.can_sign(),
            cannot_sign_because: identity.signing().err().map(|e| e.to_string()),
            addresses: identity
                .members()
                .iter()
                .zip(identity.prefixes())
                .map(|(&address, &prefix)| MemberDescription { address, prefix })
                .collect(),
            pds_octets: pds.as_bytes().len(),
        }
    }
}

impl fmt::Display for IdentityDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "method           {}", self.method)?;
        writeln!(f, "sec              {}", self.sec)?;
        match &self.key {
            Some(key) if key.private => writeln!(f, "key              RSA, {} bits", key.bits)?,
            Some(key) => {
                writeln!(f, "key              RSA, {} bits, private key absent", key.bits)?;
            }
            None => writeln!(f, "key              none (a random number)")?,
        }
        match &self.cannot_sign_because {
            None => writeln!(f, "signing          possible")?,
            Some(why) => writeln!(f, "signing          not possible: {why}")?,
        }
        writeln!(f, "collision count  {}", self.collision_count)?;
        writeln!(f, "modifier         {}", self.modifier)?;
        let mut title = "addresses";
        for member in &self.addresses {
            writeln!(f, "{title:<17}{} in {}", member.address, member.prefix)?;
            title = "";
        }
        Ok(())
    }
}

/// Whether an address is bound to CGA parameters, as `shim6ctl identity verify` presents it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct VerifyReport {
    /// The address asked about.
    pub address: Ipv6Addr,
    /// The security parameter that the address claims, 0 to 7.
    pub sec: u8,
    /// Whether either method accepts it.
    pub bound: bool,
    /// Why the address is not accepted as a CGA of exactly these parameters; `null` if it is.
    pub cga_failure: Option<String>,
    /// Why the address is not accepted as a member of the HBA set; `null` if it is.
    pub hba_failure: Option<String>,
}

impl VerifyReport {
    pub(super) fn new(pds: &Pds, address: Ipv6Addr) -> VerifyReport {
        let (cga, hba) = (verify_cga(pds, address), verify_hba(pds, address));
        VerifyReport {
            address,
            sec: Sec::of(address).map_or_else(|unregistered| unregistered, Sec::value),
            bound: cga.is_ok() || hba.is_ok(),
            cga_failure: cga.err().map(|e| e.to_string()),
            hba_failure: hba.err().map(|e| e.to_string()),
        }
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.bound { "bound" } else { "NOT bound" };
        writeln!(f, "{} (sec {}) is {verdict} to these parameters", self.address, self.sec)?;
        for (method, failure) in [("CGA", &self.cga_failure), ("HBA", &self.hba_failure)] {
            match failure {
                None => writeln!(f, "  {method}: yes")?,
                Some(why) => writeln!(f, "  {method}: no: {why}")?,
            }
        }
        Ok(())
    }
}
