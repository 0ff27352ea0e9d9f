//! Options of control messages (RFC 5533, 5.15; RFC 5534, 5.3).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-----------------------------+-+-------------------------------+
//! |            Type             |C|            Length             |
//! +-----------------------------+-+-------------------------------+
//! |                      Contents: Length octets                  |
//! +                                               +---------------+
//! |                                               | Padding 0..7  |
//! +-----------------------------------------------+---------------+
//! ```
//!
//! Length counts the contents alone; the padding makes the whole a multiple of 8.

mod fixed;
mod locator_list;
mod preferences;

use std::fmt;

use super::ParseError;
use super::field;
use crate::addr::Fii;

pub use fixed::UlidPairOption;
pub use locator_list::{LocatorEntry, LocatorList, VerificationMethod};
pub use preferences::{LocatorPreference, LocatorPreferences, PreferenceFlags};

/// Octets before the contents.
pub const HEADER_LEN: usize = 4;

enum_with_unknown! {
    /// Option types, without the C bit.
    // req: S6-5.15-10 (RFC 5533, 5.15)
    pub enum OptionType(u16) {
        /// Responder Validator (5.15.1).
        ResponderValidator = 1,
        /// Locator List (5.15.2).
        LocatorList = 2,
        /// Locator Preferences (5.15.3).
        LocatorPreferences = 3,
        /// CGA Parameter Data Structure (5.15.4).
        CgaPds = 4,
        /// CGA Signature (5.15.5).
        CgaSignature = 5,
        /// ULID Pair (5.15.6).
        UlidPair = 6,
        /// Forked Instance Identifier (5.15.7).
        Fii = 7,
        /// Keepalive Timeout (RFC 5534, 5.3).
        KeepaliveTimeout = 10,
    }
}

impl fmt::Display for OptionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionType::ResponderValidator => f.write_str("Responder Validator"),
            OptionType::LocatorList => f.write_str("Locator List"),
            OptionType::LocatorPreferences => f.write_str("Locator Preferences"),
            OptionType::CgaPds => f.write_str("CGA Parameter Data Structure"),
            OptionType::CgaSignature => f.write_str("CGA Signature"),
            OptionType::UlidPair => f.write_str("ULID Pair"),
            OptionType::Fii => f.write_str("Forked Instance Identifier"),
            OptionType::KeepaliveTimeout => f.write_str("Keepalive Timeout"),
            OptionType::Unknown(n) => write!(f, "type {n}"),
        }
    }
}

/// An option with C = 0 that has no meaning in its message: unknown, or not defined for that message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownOption {
    /// The 15-bit type, C not included.
    pub option_type: u16,
    /// The contents, without padding.
    pub contents: Vec<u8>,
}

/// The options of one message.
///
/// All defined options are sent with C = 0, in the order of the fields here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Responder Validator: made by the responder, returned by the initiator octet for octet.
    pub validator: Option<Vec<u8>>,
    /// Locator List: all of the sender's locators.
    pub locator_list: Option<LocatorList>,
    /// Locator Preferences, one element per locator of the list with the same generation.
    pub preferences: Option<LocatorPreferences>,
    /// CGA Parameter Data Structure as RFC 3972 lays it out, with HBA's extension where HBA is used.
    pub pds: Option<Vec<u8>>,
    /// CGA Signature: PKCS#1 v1.5 over the CGA-verified part of the list.
    pub signature: Option<Vec<u8>>,
    /// ULID Pair, where the packet's addresses are not the ULIDs.
    pub ulid_pair: Option<UlidPairOption>,
    /// Forked Instance Identifier.
    pub fii: Option<Fii>,
    /// Keepalive Timeout in seconds that the sender wishes the receiver to use.
    pub keepalive_timeout: Option<u16>,
    /// Options with C = 0 that mean nothing in this message. Ignored by the protocol; emitted after the others.
    pub unknown: Vec<UnknownOption>,
    /// Set by the parser alone, in I2, R2 and I2bis: where the Element Len octet of a Locator Preferences option
    /// is that holds no whole number of elements. The option is left out of `preferences`, the message stands,
    /// and its sender is owed an Error with [`ErrorCode::PreferencesCount`] pointing there. Never emitted.
    ///
    /// [`ErrorCode::PreferencesCount`]: super::control::ErrorCode::PreferencesCount
    pub preferences_fault: Option<usize>,
}

/// Octets of a whole option (header, contents and padding) whose contents have `contents` octets.
// req: S6-5.15-02, S6-5.15-06 (RFC 5533, 5.15)
pub const fn total_len(contents: usize) -> usize {
    11 + contents - (contents + 3) % 8
}

/// One option as it stands in a message, its contents not interpreted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawOption<'a> {
    /// The 15-bit type.
    pub option_type: OptionType,
    /// C: the receiver has to know this option.
    pub critical: bool,
    /// The contents, without padding.
    pub contents: &'a [u8],
    /// Where the option starts, from the start of the Shim6 header.
    pub offset: usize,
}

/// Walks over the options of a message.
struct RawOptions<'a> {
    message: &'a [u8],
    offset: usize,
}

impl<'a> RawOptions<'a> {
    fn read(&self) -> Result<(RawOption<'a>, usize), ParseError> {
        let offset = self.offset;
        let overrun = |_| ParseError::OptionOverrun { offset };
        let type_and_c = field::u16_at(self.message, offset).map_err(overrun)?;
        let length = field::u16_at(self.message, offset + 2).map_err(overrun)?;
        let length = usize::from(length);
        let start = offset + HEADER_LEN;
        let end = offset + total_len(length);
        if end > self.message.len() {
            return Err(ParseError::OptionOverrun { offset });
        }
        let contents =
            self.message.get(start..start + length).ok_or(ParseError::OptionOverrun { offset })?;
        let raw = RawOption {
            option_type: OptionType::from(type_and_c >> 1),
            critical: type_and_c & 1 != 0,
            contents,
            offset,
        };
        Ok((raw, end))
    }
}

impl<'a> Iterator for RawOptions<'a> {
    type Item = Result<RawOption<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.message.len() {
            return None;
        }
        match self.read() {
            Ok((raw, end)) => {
                self.offset = end;
                Some(Ok(raw))
            }
            Err(e) => {
                self.offset = self.message.len();
                Some(Err(e))
            }
        }
    }
}

/// What a message type makes of options.
pub(super) struct Rules {
    /// The options defined for the message.
    pub defined: &'static [OptionType],
    /// Whether a Locator Preferences option that cannot be read costs the option alone, not the message.
    pub tolerate_preferences: bool,
}

/// Puts a value into its place, once.
fn set<T>(place: &mut Option<T>, value: T, raw: &RawOption<'_>) -> Result<(), ParseError> {
    match place {
        None => {
            *place = Some(value);
            Ok(())
        }
        Some(_) => Err(duplicate(raw)),
    }
}

fn duplicate(raw: &RawOption<'_>) -> ParseError {
    ParseError::DuplicateOption { option: raw.option_type, offset: raw.offset }
}

impl Options {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        *self == Options { preferences_fault: self.preferences_fault, ..Options::default() }
    }

    /// Reads the options of a message from octet `from` to its end.
    // req: S6-5.15-01, S6-5.15-05, S6-5.15-07, S6-5.15-08, S6-5.15-09, S6-12.3-05, S6-12.3-06
    pub(super) fn parse(message: &[u8], from: usize, rules: &Rules) -> Result<Options, ParseError> {
        let mut options = Options::default();
        for raw in (RawOptions { message, offset: from }) {
            let raw = raw?;
            if rules.defined.contains(&raw.option_type) {
                options.take(&raw, rules)?;
            } else if raw.critical {
                return Err(ParseError::CriticalOption {
                    option: raw.option_type,
                    offset: raw.offset,
                });
            } else {
                options.unknown.push(UnknownOption {
                    option_type: raw.option_type.value(),
                    contents: raw.contents.to_vec(),
                });
            }
        }
        Ok(options)
    }

    /// Takes one option that is defined for the message.
    fn take(&mut self, raw: &RawOption<'_>, rules: &Rules) -> Result<(), ParseError> {
        match raw.option_type {
            OptionType::ResponderValidator => set(&mut self.validator, raw.contents.to_vec(), raw),
            OptionType::LocatorList => set(&mut self.locator_list, LocatorList::parse(raw)?, raw),
            OptionType::LocatorPreferences => {
                if self.preferences_fault.is_some() {
                    return Err(duplicate(raw));
                }
                match LocatorPreferences::parse(raw) {
                    Ok(p) => set(&mut self.preferences, p, raw),
                    // A second copy is malformed whatever it holds.
                    Err(_) if self.preferences.is_some() => Err(duplicate(raw)),
                    Err(ParseError::PreferenceElements { offset })
                        if rules.tolerate_preferences =>
                    {
                        self.preferences_fault = Some(offset);
                        Ok(())
                    }
                    Err(e) => Err(e),
                }
            }
            OptionType::CgaPds => set(&mut self.pds, raw.contents.to_vec(), raw),
            OptionType::CgaSignature => set(&mut self.signature, raw.contents.to_vec(), raw),
            OptionType::UlidPair => set(&mut self.ulid_pair, UlidPairOption::parse(raw)?, raw),
            OptionType::Fii => set(&mut self.fii, fixed::parse_fii(raw)?, raw),
            OptionType::KeepaliveTimeout => {
                set(&mut self.keepalive_timeout, fixed::parse_keepalive_timeout(raw)?, raw)
            }
            // Never among the defined ones.
            OptionType::Unknown(option_type) => {
                self.unknown.push(UnknownOption { option_type, contents: raw.contents.to_vec() });
                Ok(())
            }
        }
    }

    /// Octets of all options when emitted.
    pub fn emitted_len(&self) -> usize {
        let octets = |o: &Option<Vec<u8>>| o.as_ref().map_or(0, |v| total_len(v.len()));
        octets(&self.validator)
            + self.locator_list.as_ref().map_or(0, |l| total_len(l.contents_len()))
            + self.preferences.as_ref().map_or(0, |p| total_len(p.contents_len()))
            + octets(&self.pds)
            + octets(&self.signature)
            + self.ulid_pair.map_or(0, |_| total_len(UlidPairOption::CONTENTS_LEN))
            + self.fii.map_or(0, |_| total_len(4))
            + self.keepalive_timeout.map_or(0, |_| total_len(4))
            + self.unknown.iter().map(|u| total_len(u.contents.len())).sum::<usize>()
    }

    /// Appends the options. One that would make `out` longer than `end` octets is left out as a whole, so that
    /// the message is well-formed in any case.
    pub(super) fn emit_into(&self, out: &mut Vec<u8>, end: usize) {
        let mut put = |option_type: OptionType, emit: &dyn Fn(&mut Vec<u8>)| {
            put_option(out, end, option_type.value(), emit);
        };
        if let Some(v) = &self.validator {
            put(OptionType::ResponderValidator, &|out| out.extend_from_slice(v));
        }
        if let Some(l) = &self.locator_list {
            put(OptionType::LocatorList, &|out| l.emit_contents(out));
        }
        if let Some(p) = &self.preferences {
            put(OptionType::LocatorPreferences, &|out| p.emit_contents(out));
        }
        if let Some(v) = &self.pds {
            put(OptionType::CgaPds, &|out| out.extend_from_slice(v));
        }
        if let Some(v) = &self.signature {
            put(OptionType::CgaSignature, &|out| out.extend_from_slice(v));
        }
        if let Some(u) = &self.ulid_pair {
            put(OptionType::UlidPair, &|out| u.emit_contents(out));
        }
        if let Some(f) = self.fii {
            put(OptionType::Fii, &|out| out.extend_from_slice(&f.0.to_be_bytes()));
        }
        if let Some(seconds) = self.keepalive_timeout {
            put(OptionType::KeepaliveTimeout, &|out| fixed::emit_keepalive_timeout(seconds, out));
        }
        for u in &self.unknown {
            put(OptionType::from(u.option_type), &|out| out.extend_from_slice(&u.contents));
        }
    }
}

/// Appends one option with C = 0, padded with zeros, unless it would reach beyond `end`.
// req: S6-5.15-01, S6-5.15-02, S6-5.15-03, S6-5.15-04, S6-5.15-10 (RFC 5533, 5.15)
fn put_option(out: &mut Vec<u8>, end: usize, option_type: u16, emit: &dyn Fn(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&(option_type << 1).to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    emit(out);
    let contents = out.len() - at - HEADER_LEN;
    match u16::try_from(contents) {
        Ok(length) if at + total_len(contents) <= end => {
            out[at + 2..at + HEADER_LEN].copy_from_slice(&length.to_be_bytes());
            out.resize(at + total_len(contents), 0);
        }
        _ => out.truncate(at),
    }
}

/// Where the first option of this type starts in a message that [`Message::parse`] accepts.
///
/// For the Pointer of an Error message about a Locator List, see also [`verification_method_offset`].
///
/// [`Message::parse`]: super::control::Message::parse
pub fn offset_of(octets: &[u8], option_type: OptionType) -> Option<usize> {
    let (header, message) = super::header::control_message(octets).ok()?;
    let offset = super::control::options_offset(&header, message)?;
    RawOptions { message, offset }
        .map_while(Result::ok)
        .find(|raw| raw.option_type == option_type)
        .map(|raw| raw.offset)
}

/// Where the verification method octet of the `index`-th locator (from 0) is in a message that holds a Locator
/// List.
pub fn verification_method_offset(octets: &[u8], index: usize) -> Option<usize> {
    let at = offset_of(octets, OptionType::LocatorList)? + HEADER_LEN;
    let count = usize::from(*octets.get(at + 4)?);
    (index < count).then_some(at + 5 + index)
}
