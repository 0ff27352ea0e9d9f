//! The Fragment header (RFC 8200, 4.5).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------+---+-+
//! |  Next Header  |   Reserved    |  Offset in 8-oct. units |Res|M|
//! +---------------+---------------+-------------------------+---+-+
//! |                        Identification                         |
//! +---------------------------------------------------------------+
//! ```

use super::WalkError;
use crate::wire::field;

const OFFSET_AND_FLAGS: usize = 2;
const IDENTIFICATION: usize = 4;
const OFFSET_MASK: u16 = !7;
const MORE: u16 = 1;

/// A Fragment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Type of the first header of the fragmented part.
    pub next_header: u8,
    /// Octets of the fragmented part before this fragment, a multiple of 8.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
    /// Identification.
    pub id: u32,
}

impl Fragment {
    /// Octets of the header.
    pub const LEN: usize = 8;

    /// Reads the header at octet `at`.
    ///
    /// # Errors
    /// [`WalkError::Truncated`] if it is not there as a whole.
    pub fn parse(packet: &[u8], at: usize) -> Result<Fragment, WalkError> {
        let offset = field::u16_at(packet, at + OFFSET_AND_FLAGS)?;
        Ok(Fragment {
            next_header: field::u8_at(packet, at)?,
            offset: offset & OFFSET_MASK,
            more: offset & MORE != 0,
            id: field::u32_at(packet, at + IDENTIFICATION)?,
        })
    }

    /// The header's octets.
    pub fn emit(&self) -> [u8; Self::LEN] {
        let [o0, o1] = (self.offset & OFFSET_MASK | u16::from(self.more)).to_be_bytes();
        let [i0, i1, i2, i3] = self.id.to_be_bytes();
        [self.next_header, 0, o0, o1, i0, i1, i2, i3]
    }

    /// Whether this is the only piece: a Fragment header around a whole packet.
    pub fn is_whole(&self) -> bool {
        self.offset == 0 && !self.more
    }
}
