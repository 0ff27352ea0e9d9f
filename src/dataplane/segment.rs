//! Cutting a TCP segment into several that leave room for the payload header.
//!
//! The pieces are what TCP itself would have sent with a smaller MSS: sequence numbers that follow each other, PSH and
//! FIN on the last only, CWR on the first only, all options copied, checksums over the ULIDs. Segments whose options
//! sign them (MD5, TCP-AO) cannot be cut, nor can those behind AH.

use crate::wire::checksum::{self, Sum};
use crate::wire::ipv6::{HEADER_LEN, PAYLOAD_LENGTH, Walk, protocol};

/// Octets of a TCP header without options.
const TCP_HEADER: usize = 20;
const SEQUENCE: usize = 4;
const DATA_OFFSET: usize = 12;
const FLAGS: usize = 13;
const CHECKSUM: usize = 16;
const URGENT: usize = 18;

/// TCP flags.
pub mod flag {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Opens the connection.
    pub const SYN: u8 = 0x02;
    /// Ends the connection at once.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// Congestion window reduced (RFC 3168).
    pub const CWR: u8 = 0x80;
}

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MD5: u8 = 19;
const OPTION_AO: u8 = 29;

/// What matters of a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; counts with [`flag::ACK`].
    pub ack: u32,
    /// Flags.
    pub flags: u8,
    /// Octets of the header with its options.
    pub header_len: usize,
    /// Octets of data.
    pub data_len: usize,
}

impl Tcp {
    /// Reads the header of a segment that is there as a whole.
    pub fn parse(segment: &[u8]) -> Option<Tcp> {
        Self::parse_start(segment, segment.len())
    }

    /// Reads the header of a segment of `len` octets, of which at least the header without options is there.
    pub fn parse_start(segment: &[u8], len: usize) -> Option<Tcp> {
        let (fixed, _) = segment.split_first_chunk::<TCP_HEADER>()?;
        let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let long = |at: usize| u32::from(word(at)) << 16 | u32::from(word(at + 2));
        let header_len = usize::from(fixed[DATA_OFFSET] >> 4) * 4;
        if header_len < TCP_HEADER {
            return None;
        }
        Some(Tcp {
            src_port: word(0),
            dst_port: word(2),
            seq: long(SEQUENCE),
            ack: long(8),
            flags: fixed[FLAGS],
            header_len,
            data_len: len.checked_sub(header_len)?,
        })
    }

    /// How much sequence space the segment takes.
    pub fn space(&self) -> u32 {
        let marks = u32::from(self.flags & flag::SYN != 0) + u32::from(self.flags & flag::FIN != 0);
        // At most 65535.
        self.data_len as u32 + marks
    }
}

/// The options of a TCP segment: kind and contents. Ends silently at the first malformed one.
pub fn tcp_options(segment: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let len = segment.get(DATA_OFFSET).map_or(0, |o| usize::from(o >> 4) * 4);
    let mut rest = segment.get(TCP_HEADER..len).unwrap_or_default();
    std::iter::from_fn(move || {
        loop {
            let (&kind, tail) = rest.split_first()?;
            match kind {
                OPTION_END => return None,
                OPTION_NOP => rest = tail,
                _ => {
                    let len = usize::from(*tail.first()?);
                    let option = rest.get(2..len)?;
                    rest = rest.get(len..)?;
                    return Some((kind, option));
                }
            }
        }
    })
}

/// Whether the options sign the segment, so that it must arrive as it is.
pub fn signed(segment: &[u8]) -> bool {
    tcp_options(segment).any(|(kind, _)| matches!(kind, OPTION_MD5 | OPTION_AO))
}

/// Cuts the segment into pieces of at most `max` octets each, the IPv6 header included.
///
/// `None` if it must not be cut: not TCP in plain sight, signed, SYN or RST, no room for data, or with a checksum that
/// is wrong (new ones would hide that).
pub fn cut(packet: &[u8], walk: &Walk, max: usize) -> Option<Vec<Vec<u8>>> {
    let upper = walk.upper.filter(|u| u.protocol == protocol::TCP)?;
    // Headers between here and there may be AH, which covers the segment.
    if upper.offset != walk.insert.offset || walk.fragment.is_some() {
        return None;
    }
    let (headers, segment) = packet.split_at_checked(upper.offset)?;
    let tcp = Tcp::parse(segment)?;
    if tcp.flags & (flag::SYN | flag::RST) != 0 || signed(segment) {
        return None;
    }
    let (src, dst) = (walk.header.src, walk.header.dst);
    if checksum::transport(src, dst, protocol::TCP, segment) != 0 {
        return None;
    }
    let (tcp_header, data) = segment.split_at_checked(tcp.header_len)?;
    let room = max.checked_sub(headers.len() + tcp.header_len).filter(|r| *r > 0)?;
    if data.len() <= room {
        return None;
    }
    let urgent = u16::from_be_bytes([*segment.get(URGENT)?, *segment.get(URGENT + 1)?]);
    let mut pieces = Vec::with_capacity(data.len().div_ceil(room));
    for (n, chunk) in data.chunks(room).enumerate() {
        let at = n * room;
        let last = at + chunk.len() == data.len();
        let mut flags = tcp.flags;
        if !last {
            flags &= !(flag::FIN | flag::PSH);
        }
        if n > 0 {
            flags &= !flag::CWR;
        }
        // The pointer counts from the piece's own sequence number; pieces behind the urgent data have none.
        let mut pointer = urgent;
        if flags & flag::URG != 0 {
            match usize::from(urgent).checked_sub(at) {
                Some(left) if left > 0 || n == 0 => pointer = u16::try_from(left).ok()?,
                _ => {
                    flags &= !flag::URG;
                    pointer = 0;
                }
            }
        }
        let mut piece = Vec::with_capacity(headers.len() + tcp.header_len + chunk.len());
        piece.extend_from_slice(headers);
        let length =
            u16::try_from(headers.len() - HEADER_LEN + tcp.header_len + chunk.len()).ok()?;
        piece.get_mut(PAYLOAD_LENGTH)?.copy_from_slice(&length.to_be_bytes());
        piece.extend_from_slice(tcp_header);
        let header = piece.get_mut(headers.len()..)?;
        // The offset fits: a packet has less than 64 KiB.
        let seq = tcp.seq.wrapping_add(at as u32);
        header[SEQUENCE..SEQUENCE + 4].copy_from_slice(&seq.to_be_bytes());
        header[FLAGS] = flags;
        header[CHECKSUM..CHECKSUM + 2].fill(0);
        header[URGENT..URGENT + 2].copy_from_slice(&pointer.to_be_bytes());
        let len = (tcp.header_len + chunk.len()) as u32;
        let sum = Sum::pseudo_header(src, dst, len, protocol::TCP)
            + Sum::of(header).followed_by(tcp.header_len, Sum::of(chunk));
        header[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.checksum().to_be_bytes());
        piece.extend_from_slice(chunk);
        pieces.push(piece);
    }
    Some(pieces)
}

#[cfg(test)]
mod tests;
