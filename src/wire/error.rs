//! Why a Shim6 packet is refused, and what its sender is told.

use std::fmt;

use super::control::{ErrorCode, MessageType};
use super::option::OptionType;

/// The reason why octets are not a Shim6 message that can be processed.
///
/// Offsets count from the first octet of the Shim6 header. The Pointer of an Error message counts from the
/// first octet of the invoking IPv6 packet, so whoever answers adds the Shim6 header's offset in that packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParseError {
    /// Fewer than the 8 octets that every Shim6 header has.
    TooShort,
    /// A control message was expected, but P is 1.
    NotControl,
    /// A payload extension header was expected, but P is 0.
    NotPayload,
    /// A payload extension header that claims to be longer than 8 octets.
    PayloadHeaderLength,
    /// Hdr Ext Len reaches past the end of the packet.
    LengthBeyondPacket,
    /// S is 1: a HIP packet.
    Hip,
    /// The checksum is wrong.
    BadChecksum,
    /// An IPv6 address of the packet is multicast or unspecified.
    BadAddress,
    /// No message has this type number.
    UnknownMessageType(u8),
    /// Shorter than the fixed part of a message of this type.
    MessageTooShort(MessageType),
    /// A Probe whose State field is 3.
    ProbeState,
    /// A Probe that does not even report itself (Psent is 0).
    ProbeWithoutSelf,
    /// A Probe with more reports than its length has room for.
    ProbeReports,
    /// A Probe whose first sent report names other addresses than its packet.
    ProbeAddresses,
    /// An option runs past the end of the message.
    OptionOverrun {
        /// Where the option starts.
        offset: usize,
    },
    /// An option that may occur once occurs again.
    DuplicateOption {
        /// The option.
        option: OptionType,
        /// Where its second copy starts.
        offset: usize,
    },
    /// An option whose Length does not fit its contents.
    OptionLength {
        /// The option.
        option: OptionType,
        /// Where it starts.
        offset: usize,
    },
    /// A Locator List with no locator in it.
    EmptyLocatorList {
        /// Where the option starts.
        offset: usize,
    },
    /// An option with C = 1 that is unknown, or not defined for this message.
    CriticalOption {
        /// The option.
        option: OptionType,
        /// Where it starts, which is the first octet of its Type field.
        offset: usize,
    },
    /// A Locator Preferences option that does not hold a whole number of elements.
    PreferenceElements {
        /// Where its Element Len octet is.
        offset: usize,
    },
}

impl ParseError {
    /// All counter names that [`ParseError::reason`] can yield.
    pub const REASONS: &'static [&'static str] = &[
        "too_short",
        "not_control",
        "not_payload",
        "payload_header_length",
        "length_beyond_packet",
        "hip",
        "bad_checksum",
        "bad_address",
        "unknown_message_type",
        "message_too_short",
        "probe_state",
        "probe_without_self",
        "probe_reports",
        "probe_addresses",
        "option_overrun",
        "duplicate_option",
        "option_length",
        "empty_locator_list",
        "critical_option",
        "preference_elements",
    ];

    /// The reason's name, for counters and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            ParseError::TooShort => "too_short",
            ParseError::NotControl => "not_control",
            ParseError::NotPayload => "not_payload",
            ParseError::PayloadHeaderLength => "payload_header_length",
            ParseError::LengthBeyondPacket => "length_beyond_packet",
            ParseError::Hip => "hip",
            ParseError::BadChecksum => "bad_checksum",
            ParseError::BadAddress => "bad_address",
            ParseError::UnknownMessageType(_) => "unknown_message_type",
            ParseError::MessageTooShort(_) => "message_too_short",
            ParseError::ProbeState => "probe_state",
            ParseError::ProbeWithoutSelf => "probe_without_self",
            ParseError::ProbeReports => "probe_reports",
            ParseError::ProbeAddresses => "probe_addresses",
            ParseError::OptionOverrun { .. } => "option_overrun",
            ParseError::DuplicateOption { .. } => "duplicate_option",
            ParseError::OptionLength { .. } => "option_length",
            ParseError::EmptyLocatorList { .. } => "empty_locator_list",
            ParseError::CriticalOption { .. } => "critical_option",
            ParseError::PreferenceElements { .. } => "preference_elements",
        }
    }

    /// The Error message that the sender is owed, as code and offset from the start of the Shim6 header;
    /// `None` where the packet is dropped silently.
    // req: S6-12.3-04, S6-12.3-06, S6-5.15-08 (RFC 5533, 12.3 and 5.15)
    pub fn reply(&self) -> Option<(ErrorCode, usize)> {
        match *self {
            ParseError::UnknownMessageType(_) => {
                Some((ErrorCode::UnknownMessageType, super::header::TYPE_OFFSET))
            }
            ParseError::CriticalOption { offset, .. } => Some((ErrorCode::CriticalOption, offset)),
            ParseError::PreferenceElements { offset } => {
                Some((ErrorCode::PreferencesCount, offset))
            }
            _ => None,
        }
    }

    /// What to answer while debugging, where [`ParseError::reply`] is silence: a code of the range kept for
    /// that, and the offset. Silent all the same for whatever is not certainly a Shim6 control message with a
    /// good checksum, and for Error messages, which never cause another.
    // req: S6-5.14-07 (RFC 5533, 5.14)
    pub fn debug_reply(&self) -> Option<(ErrorCode, usize)> {
        match *self {
            ParseError::MessageTooShort(MessageType::Error) => None,
            ParseError::MessageTooShort(_) => Some((ErrorCode::Unknown(120), 1)),
            ParseError::ProbeState => Some((ErrorCode::Unknown(121), 13)),
            ParseError::ProbeWithoutSelf | ParseError::ProbeReports => {
                Some((ErrorCode::Unknown(122), 12))
            }
            ParseError::OptionOverrun { offset } => Some((ErrorCode::Unknown(124), offset)),
            ParseError::DuplicateOption { offset, .. } => Some((ErrorCode::Unknown(125), offset)),
            ParseError::OptionLength { offset, .. } => Some((ErrorCode::Unknown(126), offset)),
            ParseError::EmptyLocatorList { offset } => Some((ErrorCode::Unknown(127), offset)),
            _ => None,
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::UnknownMessageType(t) => write!(f, "unknown message type {t}"),
            ParseError::MessageTooShort(t) => write!(f, "{t} shorter than its fixed part"),
            ParseError::OptionOverrun { offset } => {
                write!(f, "option at octet {offset} runs past the message")
            }
            ParseError::DuplicateOption { option, offset } => {
                write!(f, "second {option} option at octet {offset}")
            }
            ParseError::OptionLength { option, offset } => {
                write!(f, "{option} option at octet {offset} has a wrong length")
            }
            ParseError::EmptyLocatorList { offset } => {
                write!(f, "Locator List at octet {offset} is empty")
            }
            ParseError::CriticalOption { option, offset } => {
                write!(f, "critical {option} option at octet {offset} is not known here")
            }
            ParseError::PreferenceElements { offset } => {
                write!(f, "Element Len at octet {offset} does not divide the option")
            }
            ParseError::TooShort
            | ParseError::NotControl
            | ParseError::NotPayload
            | ParseError::PayloadHeaderLength
            | ParseError::LengthBeyondPacket
            | ParseError::Hip
            | ParseError::BadChecksum
            | ParseError::BadAddress
            | ParseError::ProbeState
            | ParseError::ProbeWithoutSelf
            | ParseError::ProbeReports
            | ParseError::ProbeAddresses => f.write_str(&self.reason().replace('_', " ")),
        }
    }
}

impl std::error::Error for ParseError {}
