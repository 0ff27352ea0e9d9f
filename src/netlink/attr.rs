//! Netlink's framing: messages, and attributes (type, length, value) inside them.
//!
//! ```text
//!  message                                  attribute
//!   0        4      6      8      12     16   0      2      4
//!  +--------+------+------+------+------+--  +------+------+--------------+-----+
//!  | length | type | flags| seq  | port |..  |length| type | value        | pad |
//!  +--------+------+------+------+------+--  +------+------+--------------+-----+
//! ```
//!
//! All in host byte order; lengths count their headers; both are padded to 4 octets.

/// Octets of a message header.
pub(crate) const HEADER: usize = 16;

/// One message of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// Type.
    pub kind: u16,
    /// Flags.
    pub flags: u16,
    /// Sequence number: that of the request, in answers.
    pub seq: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl Message<'_> {
    /// The error number if this is an acknowledgement (0) or a refusal (positive), else `None`.
    pub fn error(&self) -> Option<i32> {
        let is_answer = i32::from(self.kind) == libc::NLMSG_ERROR
            || (i32::from(self.kind) == libc::NLMSG_DONE && self.payload.len() >= 4);
        if !is_answer {
            return None;
        }
        Some(u32_at(self.payload, 0)?.cast_signed().wrapping_neg())
    }

    /// Whether this ends a list.
    pub fn is_done(&self) -> bool {
        i32::from(self.kind) == libc::NLMSG_DONE
    }
}

/// The 16 bits at an offset, in host order.
pub(crate) fn u16_at(buf: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*buf.get(at..)?.first_chunk()?))
}

/// The 32 bits at an offset, in host order.
pub(crate) fn u32_at(buf: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*buf.get(at..)?.first_chunk()?))
}

/// The messages of a datagram; stops at the first that is cut short.
pub(crate) fn messages(mut buf: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let len = u32_at(buf, 0)? as usize;
        let message = Message {
            kind: u16_at(buf, 4)?,
            flags: u16_at(buf, 6)?,
            seq: u32_at(buf, 8)?,
            payload: buf.get(HEADER..len)?,
        };
        buf = buf.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in a buffer, without the two flag bits of their type; stops at the first malformed one.
pub(crate) fn attrs(mut buf: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(buf, 0)?);
        let kind = u16_at(buf, 2)? & 0x3fff;
        let value = buf.get(4..len)?;
        buf = buf.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of a type.
pub(crate) fn attr(buf: &[u8], kind: u16) -> Option<&[u8]> {
    attrs(buf).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

/// A string attribute without its terminating NUL.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&b| b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

/// Whether a buffer is nothing but well-formed attributes, at least one.
pub(crate) fn is_attrs(buf: &[u8]) -> bool {
    let used: usize = attrs(buf).map(|(_, v)| (4 + v.len()).next_multiple_of(4)).sum();
    used > 0 && used == buf.len().next_multiple_of(4)
}

/// A request under construction.
pub(crate) struct Request(Vec<u8>);

impl Request {
    /// A message of a type, with NLM_F_REQUEST and more flags.
    pub fn new(kind: u16, flags: i32, seq: u32) -> Request {
        let flags = (libc::NLM_F_REQUEST | flags) as u16;
        let mut buf = vec![0; 4];
        buf.extend(kind.to_ne_bytes());
        buf.extend(flags.to_ne_bytes());
        buf.extend(seq.to_ne_bytes());
        buf.extend([0; 4]);
        Request(buf)
    }

    /// Appends the family's own header.
    pub fn head(mut self, octets: &[u8]) -> Request {
        self.0.extend(octets);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Appends an attribute.
    pub fn attr(mut self, kind: u16, value: &[u8]) -> Request {
        let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend(len.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// The octets to send.
    pub fn finish(mut self) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back() {
        let req = Request::new(72, libc::NLM_F_ACK, 7).head(&[10, 0]).attr(1, b"abc").attr(2, &[]);
        let buf = req.finish();
        let all: Vec<_> = messages(&buf).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].kind, all[0].seq), (72, 7));
        let body = &all[0].payload[4..];
        assert_eq!(attrs(body).collect::<Vec<_>>(), [(1, &b"abc"[..]), (2, &[][..])]);
        assert!(is_attrs(body));
        assert!(!is_attrs(&body[..6]));
    }

    #[test]
    fn damaged_lengths_end_the_walk() {
        let buf = Request::new(1, 0, 0).attr(1, &[1, 2, 3, 4]).finish();
        for cut in 0..buf.len() {
            assert_eq!(messages(&buf[..cut]).count(), 0);
        }
        let mut wild = buf.clone();
        wild[16] = 200;
        assert_eq!(messages(&wild).map(|m| attrs(m.payload).count()).collect::<Vec<_>>(), [0]);
        wild[0] = 3;
        assert_eq!(messages(&wild).count(), 0);
        assert_eq!(attrs(&[0, 0, 0, 0]).count(), 0);
    }
}
