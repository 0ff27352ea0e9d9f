//! Locator List (RFC 5533, 5.15.2).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-----------------------------+-+-------------------------------+
//! |          Type = 2           |0|            Length             |
//! +-----------------------------+-+-------------------------------+
//! |                    Locator List Generation                    |
//! +---------------+-----------------------------------------------+
//! | Num Locators N|         N octets of Verification Method       |
//! +---------------+                               +---------------+
//! |                                               | Padding 0..7  |
//! +-----------------------------------------------+---------------+
//! |                   Locators 1 to N, 16 octets each             |
//! +---------------------------------------------------------------+
//! ```
//!
//! The padding stands inside, so that the locators start at a multiple of 8 octets of the option, and Length
//! counts it; there is none at the end.

use super::{HEADER_LEN, ParseError, RawOption, field};
use crate::addr::{Generation, Locator};

const COUNT_OFFSET: usize = 4;
const METHODS_OFFSET: usize = 5;
const LOCATOR_LEN: usize = 16;

enum_with_unknown! {
    /// How the peer can verify that a locator belongs to the sender.
    ///
    /// The numbers are those of the message format; the IANA section of RFC 5533 has the two turned round.
    // req: S6-5.15.2-06, S6-17-03 (RFC 5533, 5.15.2)
    pub enum VerificationMethod(u8) {
        /// By the hash-based address set of the PDS.
        Hba = 1,
        /// By the CGA Signature.
        Cga = 2,
    }
}

/// One locator of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocatorEntry {
    /// The locator.
    pub locator: Locator,
    /// How it can be verified.
    pub method: VerificationMethod,
}

/// All locators of the message's sender, in an order to which the preferences refer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatorList {
    /// Generation of this list.
    pub generation: Generation,
    /// The locators: 1 to 255.
    pub entries: Vec<LocatorEntry>,
}

/// Where the locators start in the contents of a list of `count`.
const fn locators_offset(count: usize) -> usize {
    METHODS_OFFSET + count + 7 - count % 8
}

impl LocatorList {
    /// Octets of the option's contents.
    pub fn contents_len(&self) -> usize {
        locators_offset(self.entries.len()) + LOCATOR_LEN * self.entries.len()
    }

    // req: S6-5.15.2-01, S6-5.15.2-02, S6-5.15.2-03 (RFC 5533, 5.15.2)
    pub(super) fn parse(raw: &RawOption<'_>) -> Result<LocatorList, ParseError> {
        let bad = ParseError::OptionLength { option: raw.option_type, offset: raw.offset };
        let c = raw.contents;
        let generation = field::u32_at(c, 0).map_err(|_| bad)?;
        let count = usize::from(field::u8_at(c, COUNT_OFFSET).map_err(|_| bad)?);
        if count == 0 {
            return Err(ParseError::EmptyLocatorList { offset: raw.offset });
        }
        let locators = locators_offset(count);
        if c.len() != locators + LOCATOR_LEN * count {
            return Err(bad);
        }
        let entries = (0..count)
            .map(|i| {
                Ok(LocatorEntry {
                    locator: Locator(field::addr_at(c, locators + LOCATOR_LEN * i)?),
                    method: field::u8_at(c, METHODS_OFFSET + i)?.into(),
                })
            })
            .collect::<Result<_, ParseError>>()?;
        Ok(LocatorList { generation: Generation(generation), entries })
    }

    // req: S6-5.15.2-01, S6-5.15.2-03 (RFC 5533, 5.15.2)
    pub(super) fn emit_contents(&self, out: &mut Vec<u8>) {
        let count = self.entries.len();
        let start = out.len();
        out.extend_from_slice(&self.generation.0.to_be_bytes());
        // More than 255 do not fit into a message anyway, so that the option is left out.
        out.push(u8::try_from(count).unwrap_or(u8::MAX));
        out.extend(self.entries.iter().map(|e| e.method.value()));
        out.resize(start + locators_offset(count), 0);
        debug_assert!((HEADER_LEN + out.len() - start).is_multiple_of(8));
        for e in &self.entries {
            out.extend_from_slice(&e.locator.0.octets());
        }
    }
}
