//! Cutting a TCP segment into several that leave room for the payload header: one that has just become too long, or
//! many that the kernel has not cut yet.
//!
//! The pieces are what TCP itself would have sent with a smaller MSS: sequence numbers that follow each other, PSH and
//! FIN on the last only, CWR on the first only, all options copied, checksums over the ULIDs. Segments whose options
//! sign them (MD5, TCP-AO) cannot be cut, nor can those behind AH.

use crate::wire::checksum::{self, Sum};
use crate::wire::ipv6::{DST, HEADER_LEN, PAYLOAD_LENGTH, SRC, Walk, protocol, walk};
use std::net::Ipv6Addr;

/// Octets of a TCP header without options.
const TCP_HEADER: usize = 20;
const SEQUENCE: usize = 4;
const DATA_OFFSET: usize = 12;
const FLAGS: usize = 13;
const CHECKSUM: usize = 16;
const URGENT: usize = 18;
/// Where UDP has its checksum.
const UDP_CHECKSUM: usize = 6;
/// Octets that the option takes with its padding.
const TIMESTAMPS: usize = 12;

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
const OPTION_TIMESTAMPS: u8 = 8;
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

/// Packets of one making, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    octets: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Pieces {
    /// Each of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let piece = self.octets.get(start..end).unwrap_or_default();
            start = end;
            piece
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Octets of all of them.
    pub fn octets(&self) -> usize {
        self.octets.len()
    }

    /// Whether all are between the same two addresses, if all of each are.
    pub fn alike(&self, others: &Pieces) -> bool {
        let ends = SRC.start..DST.end;
        self.octets.get(ends.clone()) == others.octets.get(ends)
    }

    /// Puts others behind these.
    pub fn append(&mut self, others: &Pieces) {
        let before = self.octets.len();
        self.octets.extend_from_slice(&others.octets);
        self.ends.extend(others.ends.iter().map(|end| end + before));
    }
}

impl FromIterator<Vec<u8>> for Pieces {
    fn from_iter<T: IntoIterator<Item = Vec<u8>>>(packets: T) -> Pieces {
        let mut pieces = Pieces::default();
        for packet in packets {
            pieces.octets.extend_from_slice(&packet);
            pieces.ends.push(pieces.octets.len());
        }
        pieces
    }
}

/// A segment that may be cut.
#[derive(Debug)]
pub struct Cutter<'a> {
    /// All before the TCP header.
    headers: &'a [u8],
    tcp_header: &'a [u8],
    data: &'a [u8],
    tcp: Tcp,
    ends: (Ipv6Addr, Ipv6Addr),
    urgent: u16,
}

impl<'a> Cutter<'a> {
    /// Looks at a packet that ends where its Payload Length says.
    ///
    /// `None` if it must not be cut: not TCP in plain sight, signed, SYN or RST.
    pub fn new(packet: &'a [u8], walk: &Walk) -> Option<Cutter<'a>> {
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
        let (tcp_header, data) = segment.split_at_checked(tcp.header_len)?;
        let urgent = u16::from_be_bytes([*segment.get(URGENT)?, *segment.get(URGENT + 1)?]);
        let ends = (walk.header.src, walk.header.dst);
        Some(Cutter { headers, tcp_header, data, tcp, ends, urgent })
    }

    /// The TCP header.
    pub fn tcp(&self) -> &Tcp {
        &self.tcp
    }

    /// Octets of all headers.
    pub fn headers_len(&self) -> usize {
        self.headers.len() + self.tcp.header_len
    }

    /// Octets of the TCP header without those options that come and go (SACK): what TCP takes off for headers when it
    /// reckons its segment size.
    pub fn fixed_header_len(&self) -> usize {
        let timestamps = tcp_options(self.tcp_header).any(|(kind, _)| kind == OPTION_TIMESTAMPS);
        TCP_HEADER + if timestamps { TIMESTAMPS } else { 0 }
    }

    /// Pieces with at most `room` octets of data each, one at least, headed by `headers` in place of all before the TCP
    /// header; checksums are over the addresses that the packet had. `None` without room, or beyond what can be
    /// expressed.
    pub fn pieces(&self, headers: &[u8], room: usize) -> Option<Pieces> {
        if room == 0 {
            return None;
        }
        let count = self.data.len().div_ceil(room).max(1);
        let mut pieces = Pieces {
            octets: Vec::with_capacity(
                self.data.len() + count * (headers.len() + self.tcp.header_len),
            ),
            ends: Vec::with_capacity(count),
        };
        for n in 0..count {
            self.put(&mut pieces.octets, headers, room, n)?;
            pieces.ends.push(pieces.octets.len());
        }
        Some(pieces)
    }

    /// The first of [`Cutter::pieces`], headed as the packet is.
    pub fn first(&self, room: usize) -> Option<Vec<u8>> {
        let mut piece = Vec::new();
        self.put(&mut piece, self.headers, room, 0)?;
        Some(piece)
    }

    fn put(&self, out: &mut Vec<u8>, headers: &[u8], room: usize, n: usize) -> Option<()> {
        let at = n.checked_mul(room)?;
        let rest = self.data.get(at..)?;
        let chunk = rest.get(..room).unwrap_or(rest);
        let last = chunk.len() == rest.len();
        let mut flags = self.tcp.flags;
        if !last {
            flags &= !(flag::FIN | flag::PSH);
        }
        if n > 0 {
            flags &= !flag::CWR;
        }
        // The pointer counts from the piece's own sequence number; pieces behind the urgent data have none.
        let mut pointer = self.urgent;
        if flags & flag::URG != 0 {
            match usize::from(self.urgent).checked_sub(at) {
                Some(left) if left > 0 || n == 0 => pointer = u16::try_from(left).ok()?,
                _ => {
                    flags &= !flag::URG;
                    pointer = 0;
                }
            }
        }
        let start = out.len();
        let len = self.tcp.header_len + chunk.len();
        let length = u16::try_from(headers.len().checked_sub(HEADER_LEN)? + len).ok()?;
        out.extend_from_slice(headers);
        out.extend_from_slice(self.tcp_header);
        let (header, tcp) = out.get_mut(start..)?.split_at_mut_checked(headers.len())?;
        header.get_mut(PAYLOAD_LENGTH)?.copy_from_slice(&length.to_be_bytes());
        // The offset fits: a packet has less than 64 KiB.
        let seq = self.tcp.seq.wrapping_add(at as u32);
        tcp.get_mut(SEQUENCE..SEQUENCE + 4)?.copy_from_slice(&seq.to_be_bytes());
        *tcp.get_mut(FLAGS)? = flags;
        tcp.get_mut(CHECKSUM..CHECKSUM + 2)?.fill(0);
        tcp.get_mut(URGENT..URGENT + 2)?.copy_from_slice(&pointer.to_be_bytes());
        let (src, dst) = self.ends;
        // Less than 64 KiB, as was just seen.
        let sum = Sum::pseudo_header(src, dst, len as u32, protocol::TCP)
            + Sum::of(tcp).followed_by(self.tcp.header_len, Sum::of(chunk));
        tcp.get_mut(CHECKSUM..CHECKSUM + 2)?.copy_from_slice(&sum.checksum().to_be_bytes());
        out.extend_from_slice(chunk);
        Some(())
    }
}

/// Cuts the segment into pieces of at most `max` octets each, the IPv6 header included.
///
/// `None` if it must not be cut, if there is no room for data or no need to cut, or if its checksum is wrong (new ones
/// would hide that).
pub fn cut(packet: &[u8], walk: &Walk, max: usize) -> Option<Pieces> {
    let cutter = Cutter::new(packet, walk)?;
    let room = max.checked_sub(cutter.headers_len())?;
    let segment = packet.get(cutter.headers.len()..)?;
    let (src, dst) = cutter.ends;
    if cutter.data.len() <= room || checksum::transport(src, dst, protocol::TCP, segment) != 0 {
        return None;
    }
    cutter.pieces(cutter.headers, room)
}

/// Fills in the checksum of a TCP or UDP packet that has none yet. False, and nothing changed, for anything else.
pub fn complete(packet: &mut [u8]) -> bool {
    fill_in(packet).is_some()
}

fn fill_in(packet: &mut [u8]) -> Option<()> {
    let walk = walk(packet).ok()?;
    let upper = walk.upper.filter(|_| walk.fragment.is_none() && !walk.segments_left)?;
    let at = match upper.protocol {
        protocol::TCP => CHECKSUM,
        protocol::UDP => UDP_CHECKSUM,
        _ => return None,
    };
    let segment = packet.get_mut(upper.offset..walk.end)?;
    segment.get_mut(at..at + 2)?.fill(0);
    let mut sum = checksum::transport(walk.header.src, walk.header.dst, upper.protocol, segment);
    if upper.protocol == protocol::UDP {
        sum = checksum::udp(sum);
    }
    segment.get_mut(at..at + 2)?.copy_from_slice(&sum.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests;
