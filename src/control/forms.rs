//! How addresses and tags look in JSON: an address as its usual text, a prefix as `2001:db8::/64`, a context tag
//! as twelve hexadecimal digits, an FII as a number.

use crate::addr::{ContextTag, Fii, Generation, Locator, Prefix, Ulid};
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::net::Ipv6Addr;

macro_rules! as_address {
    ($($type:ident),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(s)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                Ipv6Addr::deserialize(d).map($type)
            }
        }
    )*};
}

macro_rules! as_number {
    ($($type:ident),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(s)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                u32::deserialize(d).map($type)
            }
        }
    )*};
}

as_address!(Ulid, Locator);
as_number!(Fii, Generation);

impl Serialize for ContextTag {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContextTag {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        u64::from_str_radix(&text, 16).ok().and_then(ContextTag::new).ok_or_else(|| {
            D::Error::invalid_value(Unexpected::Str(&text), &"a context tag of 47 bits in hex")
        })
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        parse_prefix(&text).map_err(D::Error::custom)
    }
}

/// A prefix from `2001:db8:1:2::/64`; the length may be left out, any other length is refused, and so is an
/// address with a non-zero interface identifier, as that is most likely a slip.
pub fn parse_prefix(text: &str) -> Result<Prefix, String> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: Ipv6Addr =
        address.parse().map_err(|_| format!("`{text}` is no IPv6 prefix (2001:db8:1:2::/64)"))?;
    if length.is_some_and(|length| length != "64") {
        return Err(format!("`{text}`: CGA and HBA need a prefix length of 64"));
    }
    if address.octets()[8..] != [0; 8] {
        return Err(format!("`{text}`: the lower 64 bits of a prefix are zero"));
    }
    Ok(Prefix::of(address))
}
