//! Making one TCP segment of several that follow each other: the reverse of [`segment`](super::segment), for segments
//! that come in.
//!
//! As the kernel's GRO does it: all that may differ is the sequence number, which has to go on where the last segment
//! ended, PSH and FIN, which end the train, and the checksum. The checksum of the whole follows from those of the
//! segments, without a look at the data: damaged data stays damaged data, and the receiver finds it out.

use super::segment::{Tcp, flag, signed};
use crate::wire::checksum::Sum;
use crate::wire::ipv6::{HEADER_LEN, Ipv6Header, NEXT_HEADER, PAYLOAD_LENGTH, protocol};

/// Octets of a coalesced packet, at most: the kernel makes room for it in one piece, and pieces of up to 32 KiB are to
/// be had even when memory is scattered.
const MOST: usize = 32_000;
/// Where the fields of the TCP header are, from the packet's start: no extension headers here.
const FLAGS: usize = HEADER_LEN + 13;
const CHECKSUM: usize = HEADER_LEN + 16;
const URGENT: usize = HEADER_LEN + 18;

/// Segments that follow each other.
#[derive(Debug)]
pub struct Train {
    packet: Vec<u8>,
    /// Octets of both headers.
    headers: usize,
    next_seq: u32,
    flags: u8,
    /// Sum of the data, as the segments' checksums have it.
    data: Sum,
    segments: usize,
}

/// What matters of a segment that may belong to a train.
struct Segment {
    tcp: Tcp,
    headers: usize,
    data: Sum,
}

/// Looks at a packet that ends where its Payload Length says.
fn segment(packet: &[u8]) -> Option<Segment> {
    if *packet.get(NEXT_HEADER)? != protocol::TCP {
        return None;
    }
    let (_, octets) = packet.split_at_checked(HEADER_LEN)?;
    let tcp = Tcp::parse(octets)?;
    let never = flag::SYN | flag::RST | flag::URG;
    if tcp.flags & never != 0
        || tcp.flags & flag::ACK == 0
        || tcp.data_len == 0
        || packet.get(URGENT..URGENT + 2)? != [0, 0]
        || signed(octets)
    {
        return None;
    }
    let header = Ipv6Header::parse(packet).ok()?;
    let len = u32::try_from(octets.len()).ok()?;
    // The sum of it all is 0 if the checksum is right, so the rest tells the sum of the data.
    let rest = Sum::pseudo_header(header.src, header.dst, len, protocol::TCP)
        + Sum::of(octets.get(..tcp.header_len)?);
    Some(Segment { tcp, headers: HEADER_LEN + tcp.header_len, data: rest.negated() })
}

impl Train {
    /// Begins with a packet that ends where its Payload Length says; gives it back if nothing can follow it.
    ///
    /// # Errors
    /// The packet.
    pub fn start(packet: Vec<u8>) -> Result<Train, Vec<u8>> {
        let Some(first) = segment(&packet).filter(|s| s.tcp.flags & (flag::PSH | flag::FIN) == 0)
        else {
            return Err(packet);
        };
        Ok(Train {
            headers: first.headers,
            next_seq: first.tcp.seq.wrapping_add(first.tcp.space()),
            flags: first.tcp.flags,
            data: first.data,
            segments: 1,
            packet,
        })
    }

    /// Appends a packet if it follows. False, and nothing changed, if it does not.
    pub fn add(&mut self, packet: &[u8]) -> bool {
        self.follow(packet).is_some()
    }

    fn follow(&mut self, packet: &[u8]) -> Option<()> {
        let next = segment(packet)?;
        let ends = flag::PSH | flag::FIN;
        let len = self.packet.len().checked_sub(self.headers)?;
        let data = packet.get(next.headers..)?;
        if self.flags & ends != 0
            || next.tcp.seq != self.next_seq
            || next.tcp.flags & !ends != self.flags & !flag::CWR
            || self.packet.len() + data.len() > MOST
            || !self.alike(packet)?
        {
            return None;
        }
        if self.segments == 1 {
            self.packet.reserve(MOST.saturating_sub(self.packet.len()));
        }
        self.packet.extend_from_slice(data);
        self.data = self.data.followed_by(len, next.data);
        self.next_seq = next.tcp.seq.wrapping_add(next.tcp.space());
        self.flags |= next.tcp.flags & ends;
        self.segments += 1;
        Some(())
    }

    /// Whether all of the headers that must not differ are the same: everything but Payload Length, sequence number,
    /// flags and checksum. The length of the TCP header is among them, and with it come the options.
    fn alike(&self, packet: &[u8]) -> Option<bool> {
        let seq = HEADER_LEN + 4;
        let parts = [
            0..PAYLOAD_LENGTH.start,
            PAYLOAD_LENGTH.end..seq,
            seq + 4..FLAGS,
            FLAGS + 1..CHECKSUM,
            CHECKSUM + 2..self.headers,
        ];
        for part in parts {
            if self.packet.get(part.clone())? != packet.get(part)? {
                return Some(false);
            }
        }
        Some(true)
    }

    /// How many segments it is made of.
    pub fn segments(&self) -> usize {
        self.segments
    }

    /// The packet; as it was if nothing followed.
    pub fn finish(mut self) -> Vec<u8> {
        if self.segments > 1 {
            self.complete();
        }
        self.packet
    }

    fn complete(&mut self) -> Option<()> {
        let (src, dst) = Ipv6Header::parse(&self.packet).map(|h| (h.src, h.dst)).ok()?;
        let len = self.packet.len() - HEADER_LEN;
        // At most MOST.
        self.packet.get_mut(PAYLOAD_LENGTH)?.copy_from_slice(&(len as u16).to_be_bytes());
        *self.packet.get_mut(FLAGS)? = self.flags;
        self.packet.get_mut(CHECKSUM..CHECKSUM + 2)?.fill(0);
        let header = self.packet.get(HEADER_LEN..self.headers)?;
        let sum =
            Sum::pseudo_header(src, dst, len as u32, protocol::TCP) + Sum::of(header) + self.data;
        self.packet.get_mut(CHECKSUM..CHECKSUM + 2)?.copy_from_slice(&sum.checksum().to_be_bytes());
        Some(())
    }
}

#[cfg(test)]
mod tests;
