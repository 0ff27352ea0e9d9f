//! Addresses with the same leading bits.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::Prefix;

/// All addresses that begin with the same bits: a prefix of any length, as policies name peers by. The one whose
/// addresses a host may make for itself is a [`Prefix`], always of 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AddressRange {
    /// The lowest of them.
    first: Ipv6Addr,
    /// How many bits they share, 0 to 128.
    length: u8,
}

impl AddressRange {
    /// Whether the address is one of them.
    pub fn contains(self, address: Ipv6Addr) -> bool {
        (u128::from(address) ^ u128::from(self.first)) & self.mask() == 0
    }

    /// How many leading bits they share, 0 to 128.
    pub fn length(self) -> u8 {
        self.length
    }

    fn mask(self) -> u128 {
        u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0)
    }
}

impl From<Prefix> for AddressRange {
    fn from(prefix: Prefix) -> AddressRange {
        AddressRange { first: prefix.with_iid([0; 8]), length: 64 }
    }
}

/// Why a text is no [`AddressRange`]; it names the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AddressRangeError {
    /// Not an address, with or without a length from 0 to 128.
    NoPrefix(String),
    /// The address is not the first of its range: perhaps another length was meant.
    BitsBehind(String, u8),
}

impl fmt::Display for AddressRangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressRangeError::NoPrefix(text) => {
                write!(f, "`{text}` is no IPv6 prefix such as 2001:db8::/32")
            }
            AddressRangeError::BitsBehind(text, length) => {
                write!(f, "`{text}`: there are bits behind the first {length}")
            }
        }
    }
}

impl std::error::Error for AddressRangeError {}

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    /// `2001:db8::/32`; an address alone is a range of one.
    fn from_str(text: &str) -> Result<AddressRange, AddressRangeError> {
        let wrong = || AddressRangeError::NoPrefix(text.to_owned());
        let (first, length) = text.split_once('/').unwrap_or((text, "128"));
        let first = first.parse().map_err(|_| wrong())?;
        let length = length.parse().ok().filter(|n| *n <= 128).ok_or_else(wrong)?;
        let range = AddressRange { first, length };
        if u128::from(first) & !range.mask() != 0 {
            return Err(AddressRangeError::BitsBehind(text.to_owned(), length));
        }
        Ok(range)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> AddressRange {
        text.parse().unwrap()
    }

    #[test]
    fn contains_what_begins_with_the_same_bits() {
        let has = |r: &str, a: &str| range(r).contains(a.parse().unwrap());
        assert!(has("::/0", "2001:db8::1") && has("::/0", "::"));
        assert!(has("2001:db8:8000::/33", "2001:db8:8000::1"));
        assert!(!has("2001:db8:8000::/33", "2001:db8:7fff::1"));
        assert!(has("2001:db8::1", "2001:db8::1") && !has("2001:db8::1", "2001:db8::3"));
        assert!(has("2001:db8::/127", "2001:db8::1") && !has("2001:db8::/127", "2001:db8::2"));
    }

    #[test]
    fn is_told_as_it_is_read() {
        for text in ["::/0", "2001:db8::/32", "2001:db8::5/128"] {
            assert_eq!(range(text).to_string(), text);
        }
        assert_eq!(range("2001:db8::5").to_string(), "2001:db8::5/128");
        let prefix = Prefix::of("2001:db8:1:2::3".parse().unwrap());
        assert_eq!(AddressRange::from(prefix), range("2001:db8:1:2::/64"));
    }

    #[test]
    fn says_what_is_wrong() {
        let wrong = |text: &str| text.parse::<AddressRange>().unwrap_err().to_string();
        for text in ["", "2001:db8::/129", "2001:db8::/x", "2001:db8::/-1", "/3", "10.0.0.0/8"] {
            assert_eq!(wrong(text), format!("`{text}` is no IPv6 prefix such as 2001:db8::/32"));
        }
        assert_eq!(wrong("2001:db8::1/32"), "`2001:db8::1/32`: there are bits behind the first 32");
    }
}
