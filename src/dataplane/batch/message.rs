//! Netlink messages of nfnetlink_queue, to and from octets.
//!
//! ```text
//! | length (4) | type (2) | flags (2) | sequence (4) | port (4) |          nlmsghdr, host byte order
//! | family (1) | version 0 (1) | queue (2, network order) |                nfgenmsg
//! | length (2) | kind (2) | value, padded to 4 | …                         attributes, values in network order
//! ```
//!
//! What the kernel says is read with the same care as what the network says: nothing here can panic.

use std::ops::Range;

/// Octets of nlmsghdr.
const HEADER: usize = 16;
/// Octets of nfgenmsg.
const FAMILY_HEADER: usize = 4;
/// Octets of an attribute's header.
const ATTRIBUTE: usize = 4;
/// The upper half of a message type: NFNL_SUBSYS_QUEUE.
const SUBSYSTEM: u16 = 3 << 8;
/// An answer: 0 or an error number.
const NLMSG_ERROR: u16 = 2;
/// A request for nothing.
const NLMSG_NOOP: u16 = 1;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;

/// Message types of the subsystem.
const PACKET: u16 = SUBSYSTEM;
const VERDICT: u16 = SUBSYSTEM | 1;
const CONFIG: u16 = SUBSYSTEM | 2;
const VERDICT_BATCH: u16 = SUBSYSTEM | 3;

/// Attributes of packets and verdicts (NFQA_*).
mod attribute {
    pub const PACKET_HDR: u16 = 1;
    pub const VERDICT_HDR: u16 = 2;
    pub const MARK: u16 = 3;
    pub const PAYLOAD: u16 = 10;
    pub const CAP_LEN: u16 = 13;
    pub const SKB_INFO: u16 = 14;
    /// The kind without the flags "nested" and "network byte order".
    pub const KIND: u16 = 0x3fff;
}

/// Attributes of configuration (NFQA_CFG_*).
mod setting {
    pub const CMD: u16 = 1;
    pub const PARAMS: u16 = 2;
    pub const QUEUE_MAXLEN: u16 = 3;
    pub const MASK: u16 = 4;
    pub const FLAGS: u16 = 5;
    pub const CMD_BIND: u8 = 1;
    pub const COPY_PACKET: u8 = 2;
}

/// The queue's flag "let packets pass when it is full".
pub const FAIL_OPEN: u32 = 1;
/// The queue's flag "give packets that are still to be segmented, and whose checksum is still to be filled in".
pub const GSO: u32 = 4;

/// Flags of a packet: its checksum is still to be filled in.
pub const CHECKSUM_NOT_READY: u32 = 1;
/// It is still to be segmented.
pub const TO_BE_SEGMENTED: u32 = 2;

/// The kernel's verdicts (NF_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// The packet ends.
    Drop = 0,
    /// It goes on.
    Accept = 1,
    /// It goes through the same chain again, and so comes back into the queue.
    Repeat = 4,
}

/// A packet as the kernel described it; the octets stay where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its number in the queue.
    pub id: u32,
    /// The netfilter hook.
    pub hook: u8,
    /// Its mark.
    pub mark: u32,
    /// [`CHECKSUM_NOT_READY`] and [`TO_BE_SEGMENTED`].
    pub info: u32,
    /// Its octets in all, of which `payload` may be the first only.
    pub len: usize,
    /// Where its octets are in the datagram.
    pub payload: Range<usize>,
}

/// One message of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A packet.
    Packet(Packet),
    /// The answer to the message with this sequence number: 0, or an error number (positive).
    Answer {
        /// The sequence number.
        sequence: u32,
        /// 0 or the error number.
        errno: i32,
    },
    /// Something else, or malformed.
    Other,
}

fn be32(octets: &[u8]) -> Option<u32> {
    octets.first_chunk().copied().map(u32::from_be_bytes)
}

fn host16(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn host32(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

const fn aligned(len: usize) -> usize {
    len.div_ceil(4) * 4
}

/// The messages in a datagram. Ends at the first whose length is wrong.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Message> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let len = usize::try_from(host32(datagram, at)?).ok()?;
        let end = at.checked_add(len)?;
        if len < HEADER || end > datagram.len() {
            return None;
        }
        let message = message(datagram, at..end).unwrap_or(Message::Other);
        at = at.checked_add(aligned(len))?;
        Some(message)
    })
}

fn message(datagram: &[u8], place: Range<usize>) -> Option<Message> {
    let octets = datagram.get(place.clone())?;
    match host16(octets, 4)? {
        PACKET => packet(datagram, place.start + HEADER + FAMILY_HEADER..place.end),
        NLMSG_ERROR => {
            // The error number, negative, and the header of the message that it is about.
            let errno = host32(octets, HEADER)? as i32;
            let sequence = host32(octets, HEADER + 4 + 8)?;
            Some(Message::Answer { sequence, errno: errno.saturating_neg() })
        }
        _ => Some(Message::Other),
    }
}

fn packet(datagram: &[u8], mut place: Range<usize>) -> Option<Message> {
    let mut header = None;
    let (mut mark, mut info, mut cap_len) = (0, 0, None);
    let mut payload = place.end..place.end;
    while place.end.saturating_sub(place.start) >= ATTRIBUTE {
        let len = usize::from(host16(datagram, place.start)?);
        let end = place.start + len;
        if len < ATTRIBUTE || end > place.end {
            return None;
        }
        let kind = host16(datagram, place.start + 2)? & attribute::KIND;
        let at = place.start + ATTRIBUTE..end;
        let value = datagram.get(at.clone())?;
        match kind {
            attribute::PACKET_HDR => header = Some((be32(value)?, *value.get(6)?)),
            attribute::MARK => mark = be32(value)?,
            attribute::SKB_INFO => info = be32(value)?,
            attribute::CAP_LEN => cap_len = Some(be32(value)?),
            attribute::PAYLOAD => payload = at,
            _ => {}
        }
        place.start += aligned(len);
    }
    let (id, hook) = header?;
    // Told only when it is more than what was copied.
    let len = cap_len.map_or(0, |n| n as usize).max(payload.len());
    Some(Message::Packet(Packet { id, hook, mark, info, len, payload }))
}

/// Appends a message; `fill` writes its attributes.
fn put(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    queue: u16,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    // The kernel knows our port.
    out.extend_from_slice(&[0; 4]);
    // Any family, version 0.
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&queue.to_be_bytes());
    fill(out);
    // Attributes come padded, so the message ends where the next one may begin.
    let len = (out.len() - start) as u32;
    if let Some(at) = out.get_mut(start..start + 4) {
        at.copy_from_slice(&len.to_ne_bytes());
    }
}

/// Appends an attribute of at most 65,531 octets.
fn put_attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&((ATTRIBUTE + value.len()) as u16).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(out.len() + (aligned(value.len()) - value.len()), 0);
}

/// How packets come out of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Octets of each that are copied, at most 65,531.
    pub range: u32,
    /// [`FAIL_OPEN`] and [`GSO`].
    pub flags: u32,
}

/// Appends a request for nothing that is answered nevertheless.
pub fn nothing(out: &mut Vec<u8>) {
    put(out, NLMSG_NOOP, NLM_F_ACK, 0, 0, |_| {});
}

/// Appends the request to bind a queue.
pub fn bind(out: &mut Vec<u8>, queue: u16, sequence: u32) {
    put(out, CONFIG, NLM_F_ACK, sequence, queue, |out| {
        put_attribute(out, setting::CMD, &[setting::CMD_BIND, 0, 0, 0]);
    });
}

fn put_manner(out: &mut Vec<u8>, manner: Manner) {
    let mut params = [0; 5];
    params[..4].copy_from_slice(&manner.range.to_be_bytes());
    params[4] = setting::COPY_PACKET;
    put_attribute(out, setting::PARAMS, &params);
    put_attribute(out, setting::FLAGS, &manner.flags.to_be_bytes());
    put_attribute(out, setting::MASK, &(FAIL_OPEN | GSO).to_be_bytes());
}

/// Appends the request that sets up a queue once it is bound.
pub fn set_up(out: &mut Vec<u8>, queue: u16, sequence: u32, length: u32, manner: Manner) {
    put(out, CONFIG, NLM_F_ACK, sequence, queue, |out| {
        put_manner(out, manner);
        put_attribute(out, setting::QUEUE_MAXLEN, &length.to_be_bytes());
    });
}

/// Appends the request for another manner. Answered only if it fails, or if told to be.
pub fn change(out: &mut Vec<u8>, queue: u16, sequence: u32, manner: Manner, answered: bool) {
    let flags = if answered { NLM_F_ACK } else { 0 };
    put(out, CONFIG, flags, sequence, queue, |out| put_manner(out, manner));
}

/// Verdicts on their way into one send. Those that are alike and follow each other become one message.
#[derive(Debug)]
pub struct Verdicts {
    queue: u16,
    octets: Vec<u8>,
    /// Verdicts of one kind whose message is still to be written: up to which number, and how many.
    run: Option<(Kind, u32, u32)>,
    /// The newest packet with a verdict here.
    newest: Option<u32>,
}

impl Verdicts {
    /// None yet, for this queue.
    pub fn new(queue: u16) -> Verdicts {
        Verdicts { queue, octets: Vec::new(), run: None, newest: None }
    }

    fn put_verdict(&mut self, message: u16, kind: Kind, id: u32, more: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.octets, message, 0, 0, self.queue, |out| {
            let mut value = [0; 8];
            value[..4].copy_from_slice(&(kind as u32).to_be_bytes());
            value[4..].copy_from_slice(&id.to_be_bytes());
            put_attribute(out, attribute::VERDICT_HDR, &value);
            more(out);
        });
    }

    /// Writes down what is still to be written. A batch concerns every packet up to its number that waits for a verdict;
    /// all before the run have theirs by then.
    fn end_run(&mut self) {
        if let Some((kind, id, n)) = self.run.take() {
            let message = if n > 1 { VERDICT_BATCH } else { VERDICT };
            self.put_verdict(message, kind, id, |_| {});
        }
    }

    /// Adds a verdict. Verdicts have to come in the order in which the kernel gave the packets.
    pub fn add(&mut self, kind: Kind, id: u32) {
        self.newest = Some(id);
        match &mut self.run {
            Some((of, last, n)) if *of == kind => (*last, *n) = (id, *n + 1),
            _ => {
                self.end_run();
                self.run = Some((kind, id, 1));
            }
        }
    }

    /// Adds the acceptance of other octets, at most 65,531, in the place of a packet, if told with another mark.
    pub fn replace(&mut self, id: u32, packet: &[u8], mark: Option<u32>) {
        self.newest = Some(id);
        self.end_run();
        self.put_verdict(VERDICT, Kind::Accept, id, |out| {
            if let Some(mark) = mark {
                put_attribute(out, attribute::MARK, &mark.to_be_bytes());
            }
            put_attribute(out, attribute::PAYLOAD, packet);
        });
    }

    /// Has packets come in another manner from here on.
    pub fn change(&mut self, sequence: u32, manner: Manner, answered: bool) {
        self.end_run();
        change(&mut self.octets, self.queue, sequence, manner, answered);
    }

    /// Octets written so far.
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// All of it, to be sent.
    pub fn finish(&mut self) -> &[u8] {
        self.end_run();
        &self.octets
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        self.octets.clear();
        (self.run, self.newest) = (None, None);
    }

    /// Begins anew, because what was written cannot be sent. The packets concerned still wait for a verdict, and the next
    /// batch of any kind would be one for them; so they end before it.
    pub fn lose(&mut self) {
        let newest = self.newest;
        self.clear();
        if let Some(id) = newest {
            self.newest = newest;
            self.put_verdict(VERDICT_BATCH, Kind::Drop, id, |_| {});
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
