//! Addresses and identifiers, each a type of its own, so that a ULID is never taken for a locator and a local
//! one never for a peer's.

use std::fmt;
use std::net::Ipv6Addr;
use std::num::NonZeroU64;

mod range;

pub use range::{AddressRange, AddressRangeError};

/// An upper-layer identifier (RFC 5533, 2.1): the address that transport protocols and applications see.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Ulid(pub Ipv6Addr);

/// A locator (RFC 5533, 2.1): an address that routers see.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Locator(pub Ipv6Addr);

impl Ulid {
    /// The same address used as a locator.
    pub fn locator(self) -> Locator {
        Locator(self.0)
    }
}

impl Locator {
    /// The same address used as an identifier.
    pub fn ulid(self) -> Ulid {
        Ulid(self.0)
    }
}

impl fmt::Display for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The two identifiers of a context, as seen from this host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
pub struct UlidPair {
    /// ULID(local).
    pub local: Ulid,
    /// ULID(peer).
    pub peer: Ulid,
}

impl UlidPair {
    /// The pair of locators that equals this pair of identifiers.
    pub fn locators(self) -> LocatorPair {
        LocatorPair { local: self.local.locator(), peer: self.peer.locator() }
    }
}

impl fmt::Display for UlidPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.local, self.peer)
    }
}

/// One flow of a transport protocol between two ULIDs (the 5-tuple), as seen from this host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Flow {
    /// IP protocol.
    pub protocol: u8,
    /// Both addresses.
    pub ulids: UlidPair,
    /// Our port.
    pub local_port: u16,
    /// The peer's port.
    pub peer_port: u16,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UlidPair { local, peer } = self.ulids;
        let (from, to) = (self.local_port, self.peer_port);
        write!(f, "protocol {} [{local}]:{from} -> [{peer}]:{to}", self.protocol)
    }
}

/// Two locators, as seen from this host: packets leave from `local` to `peer`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
pub struct LocatorPair {
    /// Our end.
    pub local: Locator,
    /// The peer's end.
    pub peer: Locator,
}

impl fmt::Display for LocatorPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.local, self.peer)
    }
}

/// A subnet prefix of 64 bits, the only length that CGA and HBA know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Prefix(pub [u8; 8]);

impl Prefix {
    /// The upper 64 bits of an address.
    pub fn of(addr: Ipv6Addr) -> Prefix {
        let mut p = [0; 8];
        p.copy_from_slice(&addr.octets()[..8]);
        Prefix(p)
    }

    /// The address with this prefix and the given interface identifier.
    pub fn with_iid(self, iid: [u8; 8]) -> Ipv6Addr {
        let mut a = [0; 16];
        a[..8].copy_from_slice(&self.0);
        a[8..].copy_from_slice(&iid);
        Ipv6Addr::from(a)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/64", self.with_iid([0; 8]))
    }
}

/// A context tag (RFC 5533, 5.2): 47 bits, picked by the receiver of the packets that carry it.
///
/// Kept with the bit above set, so that an optional tag takes no more room than a tag.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContextTag(NonZeroU64);

impl ContextTag {
    /// All 47 bits set.
    pub const MASK: u64 = 0x7fff_ffff_ffff;

    /// A tag, or `None` if the value does not fit in 47 bits.
    pub fn new(value: u64) -> Option<ContextTag> {
        (value <= Self::MASK).then(|| ContextTag::from_masked(value))
    }

    /// The lower 47 bits of a value, as the wire formats hold them beside one other bit.
    pub fn from_masked(value: u64) -> ContextTag {
        const BEYOND: NonZeroU64 = NonZeroU64::MIN.saturating_add(ContextTag::MASK);
        ContextTag(BEYOND | (value & Self::MASK))
    }

    /// The 47-bit number.
    pub fn value(self) -> u64 {
        self.0.get() & Self::MASK
    }
}

impl fmt::Display for ContextTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.value())
    }
}

impl fmt::Debug for ContextTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ContextTag").field(&self.value()).finish()
    }
}

/// Forked Instance Identifier (RFC 5533, 4.2): part of a context's key, 0 for the default context.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Fii(pub u32);

impl Fii {
    /// The default context of a ULID pair.
    pub const DEFAULT: Fii = Fii(0);
}

/// Generation of a locator list (RFC 5533, 5.15.2); receivers only test it for equality.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Generation(pub u32);

/// Nonce of an I1, I2 or I2bis, returned in R1, R2 (RFC 5533, 5.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InitNonce(pub u32);

/// Nonce of the responder in R1 and R1bis, returned in I2 and I2bis (RFC 5533, 5.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ResponderNonce(pub u32);

/// Nonce of an Update Request, returned in the Update Acknowledgement (RFC 5533, 5.10).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RequestNonce(pub u32);

/// Nonce that names one Probe (RFC 5534, 5.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ProbeNonce(pub u32);
