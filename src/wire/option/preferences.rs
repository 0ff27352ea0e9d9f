//! Locator Preferences (RFC 5533, 5.15.3).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-----------------------------+-+-------------------------------+
//! |          Type = 3           |0|            Length             |
//! +-----------------------------+-+-------------------------------+
//! |                    Locator List Generation                    |
//! +---------------+-----------------------------------------------+
//! |  Element Len  | Element[1], Element[2], ...   |  Padding      |
//! +---------------+-------------------------------+---------------+
//!
//! Element:   Flags | Priority (Element Len > 1) | Weight (> 2) | more, skipped
//! ```

use super::{HEADER_LEN, ParseError, RawOption, field};
use crate::addr::Generation;

const ELEMENT_LEN_OFFSET: usize = 4;
const ELEMENTS_OFFSET: usize = 5;

/// Flags of one locator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PreferenceFlags(pub u8);

impl PreferenceFlags {
    /// No flag.
    pub const NONE: PreferenceFlags = PreferenceFlags(0);
    /// Known not to work.
    pub const BROKEN: PreferenceFlags = PreferenceFlags(0x01);
    /// Less stable than others, as a care-of address is; a hint.
    pub const TRANSIENT: PreferenceFlags = PreferenceFlags(0x02);

    /// Whether all flags of `other` are set.
    pub fn contains(self, other: PreferenceFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for PreferenceFlags {
    type Output = PreferenceFlags;

    fn bitor(self, other: PreferenceFlags) -> PreferenceFlags {
        PreferenceFlags(self.0 | other.0)
    }
}

/// Preference of one locator; priority and weight mean what they mean in DNS SRV records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LocatorPreference {
    /// Flags.
    pub flags: PreferenceFlags,
    /// The lowest is used first; 0 where the element has none, so that all are equal.
    pub priority: u8,
    /// Share among locators of equal priority; 0 where the element has none.
    pub weight: u8,
}

/// Preferences of all locators of a list, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatorPreferences {
    /// Generation of the list they belong to.
    pub generation: Generation,
    /// Octets of one element on the wire, 1 to 255: 1 flags, 2 and priority, 3 and weight, more is zero.
    pub element_len: u8,
    /// One element per locator.
    pub elements: Vec<LocatorPreference>,
}

impl LocatorPreferences {
    /// The element length in force: 0 cannot be sent and counts as 1.
    fn element_octets(&self) -> usize {
        usize::from(self.element_len).max(1)
    }

    /// Octets of the option's contents.
    pub fn contents_len(&self) -> usize {
        ELEMENTS_OFFSET + self.element_octets() * self.elements.len()
    }

    // req: S6-5.15.3-01, S6-5.15.3-02, S6-5.15.3-03, S6-5.15.3-05 (RFC 5533, 5.15.3)
    pub(super) fn parse(raw: &RawOption<'_>) -> Result<LocatorPreferences, ParseError> {
        let bad = |_| ParseError::OptionLength { option: raw.option_type, offset: raw.offset };
        let c = raw.contents;
        let generation = Generation(field::u32_at(c, 0).map_err(bad)?);
        let element_len = field::u8_at(c, ELEMENT_LEN_OFFSET).map_err(bad)?;
        let octets = c.get(ELEMENTS_OFFSET..).unwrap_or_default();
        let size = usize::from(element_len);
        if size == 0 || !octets.len().is_multiple_of(size) {
            return Err(ParseError::PreferenceElements {
                offset: raw.offset + HEADER_LEN + ELEMENT_LEN_OFFSET,
            });
        }
        let elements = octets
            .chunks_exact(size)
            .map(|e| LocatorPreference {
                flags: PreferenceFlags(e.first().copied().unwrap_or(0)),
                priority: e.get(1).copied().unwrap_or(0),
                weight: e.get(2).copied().unwrap_or(0),
            })
            .collect();
        Ok(LocatorPreferences { generation, element_len, elements })
    }

    // req: S6-5.15.3-01, S6-5.15.3-02 (RFC 5533, 5.15.3)
    pub(super) fn emit_contents(&self, out: &mut Vec<u8>) {
        let size = self.element_octets();
        out.extend_from_slice(&self.generation.0.to_be_bytes());
        out.push(size as u8);
        for e in &self.elements {
            let known = [e.flags.0, e.priority, e.weight];
            let end = out.len() + size;
            out.extend_from_slice(&known[..size.min(known.len())]);
            out.resize(end, 0);
        }
    }
}
