//! Wire formats: octets to typed values and back, for the Shim6 control messages and payload header (RFC 5533,
//! section 5; RFC 5534, section 5), IPv6 headers and ICMPv6 errors.
//!
//! Pure functions of their arguments. Every parser is total: whatever the octets are, it ends in a value or in
//! a typed reason, and it allocates no more than the (at most 2048-octet) message holds.

#[macro_use]
mod enums;
mod error;
mod field;

pub mod checksum;
pub mod control;
pub mod header;
pub mod icmpv6;
pub mod ipv6;
pub mod option;
pub mod payload;
#[cfg(test)]
mod tests;

pub use control::{Message, MessageType};
pub use error::ParseError;

/// IP protocol number of Shim6, control messages and payload header alike.
// req: S6-5-01 (RFC 5533, 5)
pub const IPPROTO_SHIM6: u8 = 140;
