//! A queue through our own netlink driver: many packets for each call, one message for many verdicts.
//!
//! # Headers and whole packets
//! Packets that stay as they are need only be looked at: of these the kernel copies the first octets, and does not cut
//! them into segments before. A packet that turns out to be needed as a whole is sent through the chain again
//! (NF_REPEAT) behind a message that has the queue give more of each. One send carries all of that, so the packet comes
//! back after one turn. For a single packet (a copy to be held, an ICMPv6 error to be translated) it comes cut to size,
//! with its checksum, and a third message switches back at once. Where a context's packets are rewritten the queue
//! stays with all octets of each, still uncut and without checksums, until [`QueueBackend::relax`]; if there are some that
//! only the kernel can cut, with whole ones.
//!
//! The message to stay so is acknowledged: what was queued before it comes before the answer, and all of it that is to
//! be rewritten is sent through the chain again, however short it is. So packets may overtake each other only in the
//! moment between the message and the verdict behind it.

mod message;
mod socket;
#[cfg(test)]
mod tests;

use super::config::StartError;
use super::queue::{MAX_VERDICT_PACKET, QUEUE_LENGTH, QueueBackend, Queued, Waker, Wanted};
use super::segment;
use message::{Kind, Manner, Message, Packet, Verdicts};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use socket::{BATCH, Buffer, Socket};
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

/// Octets that are enough to decide: IPv6 and TCP with all its options take 100, extension headers the rest.
const HEADERS: u32 = 256;
/// Verdicts are sent when they have come to so many octets.
const SEND_AT: usize = 64 << 10;
/// What cannot be sent is tried once more after this time.
const SEND_AGAIN_MILLIS: u16 = 5;
/// How long the answer to a configuration request may take; the kernel gives it before the request returns.
const ANSWER_MILLIS: u16 = 1000;
/// Answers that are remembered until somebody asks; more of them are not worth telling one by one.
const ANSWERS: usize = 1024;

/// How much of each packet a queue gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The first octets.
    Headers,
    /// All octets, of packets that the kernel has not cut into segments yet.
    Large,
    /// All octets; packets are cut to size, and have their checksums.
    Cut,
}

/// A packet in the buffer in which it came.
pub struct BatchPacket {
    buffer: Buffer,
    packet: Packet,
    /// Whether it came before the queue has changed its depth: it must not overtake those that come again.
    before: bool,
    /// Of the queue, when it came.
    depth: Depth,
}

impl BatchPacket {
    /// Whether all octets are there.
    fn full(&self) -> bool {
        self.packet.len == self.packet.payload.len() && !self.before
    }
}

impl Queued for BatchPacket {
    fn packet(&self) -> &[u8] {
        self.buffer.get(self.packet.payload.clone()).unwrap_or_default()
    }

    fn hook(&self) -> u8 {
        self.packet.hook
    }

    fn mark(&self) -> u32 {
        self.packet.mark
    }

    fn full_len(&self) -> usize {
        self.packet.len
    }

    fn whole(&self) -> bool {
        let unfinished = message::CHECKSUM_NOT_READY | message::TO_BE_SEGMENTED;
        self.full() && self.packet.info & unfinished == 0
    }

    fn large(&self) -> bool {
        self.full() && self.packet.info & message::TO_BE_SEGMENTED != 0
    }

    fn complete(&mut self) {
        if self.full()
            && !self.large()
            && self.packet.info & message::CHECKSUM_NOT_READY != 0
            && let Some(octets) = self.buffer.get_mut(self.packet.payload.clone())
            && segment::complete(octets)
        {
            self.packet.info &= !message::CHECKSUM_NOT_READY;
        }
    }

    fn can_come_whole(&self) -> bool {
        self.packet.info & message::TO_BE_SEGMENTED != 0 || self.packet.len <= MAX_VERDICT_PACKET
    }
}

impl fmt::Debug for BatchPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.packet.fmt(f)
    }
}

/// One bound queue.
#[derive(Debug)]
pub struct BatchQueue {
    socket: Socket,
    /// How much of each packet comes for as long as that will do.
    base: Depth,
    /// How much comes now.
    depth: Depth,
    /// The message that changed this, until it is answered, and the packet for which it did.
    changing: Option<(u32, u32)>,
    /// Flags of the queue that never change.
    flags: u32,
    verdicts: Verdicts,
    /// Buffers that hold nothing.
    pool: Vec<Buffer>,
    lengths: Vec<Option<usize>>,
    /// Packets that came before the queue was set up.
    early: Vec<BatchPacket>,
    /// Errors that the kernel answered, to be told.
    answers: Vec<i32>,
    sequence: u32,
}

impl BatchQueue {
    /// Binds the queue. With `fail_open` the kernel lets packets pass when the queue is full; it gives no more of packets
    /// than `depth` where that will do.
    ///
    /// # Errors
    /// [`StartError::Permission`] or [`StartError::Queue`].
    pub fn open(number: u16, fail_open: bool, depth: Depth) -> Result<BatchQueue, StartError> {
        Socket::open(number)
            .and_then(|socket| Self::bind(socket, number, fail_open, depth))
            .map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => StartError::Permission,
                _ => StartError::Queue { queue: number, error },
            })
    }

    fn bind(socket: Socket, number: u16, fail_open: bool, depth: Depth) -> io::Result<BatchQueue> {
        let mut queue = BatchQueue {
            socket,
            base: depth,
            depth,
            changing: None,
            flags: if fail_open { message::FAIL_OPEN } else { 0 },
            verdicts: Verdicts::new(number),
            pool: Vec::new(),
            lengths: Vec::new(),
            early: Vec::new(),
            answers: Vec::new(),
            sequence: 0,
        };
        let manner = queue.manner(depth);
        queue.request(|out, sequence| message::bind(out, number, sequence))?;
        queue.request(|out, sequence| {
            message::set_up(out, number, sequence, QUEUE_LENGTH, manner);
        })?;
        Ok(queue)
    }

    fn manner(&self, depth: Depth) -> Manner {
        let all = MAX_VERDICT_PACKET as u32;
        match depth {
            Depth::Headers => Manner { range: HEADERS, flags: self.flags | message::GSO },
            Depth::Large => Manner { range: all, flags: self.flags | message::GSO },
            Depth::Cut => Manner { range: all, flags: self.flags },
        }
    }

    fn next_sequence(&mut self) -> u32 {
        // Verdicts have 0.
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        self.sequence
    }

    /// Sends a configuration request and waits for its answer.
    fn request(&mut self, write: impl FnOnce(&mut Vec<u8>, u32)) -> io::Result<()> {
        let wanted = self.next_sequence();
        let mut out = Vec::new();
        write(&mut out, wanted);
        self.socket.send(&out)?;
        let mut early = std::mem::take(&mut self.early);
        let answer = loop {
            if let Some(errno) = self.take(&mut early, Some(wanted), false)? {
                break errno;
            }
            let mut events = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut events, ANSWER_MILLIS) {
                Ok(0) => return Err(io::Error::other("the kernel does not answer")),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        };
        self.early = early;
        if answer == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(answer)) }
    }

    /// Takes what is there, if told after waiting for something. The answer to the wanted request, if it has come.
    fn take(
        &mut self,
        batch: &mut Vec<BatchPacket>,
        wanted: Option<u32>,
        wait: bool,
    ) -> io::Result<Option<i32>> {
        self.pool.resize_with(BATCH.max(self.pool.len()), socket::buffer);
        let mut answer = None;
        match self.socket.receive(&mut self.pool, &mut self.lengths, wait) {
            Ok(()) => {}
            Err(e)
                if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
            {
                return Ok(None);
            }
            Err(e) => return Err(e),
        }
        let mut used = self.pool.drain(..self.lengths.len());
        let mut spare = Vec::new();
        for length in &self.lengths {
            let Some(buffer) = used.next() else { break };
            let Some(len) = *length else {
                // Longer than any packet can make it.
                self.answers.push(Errno::EMSGSIZE as i32);
                spare.push(buffer);
                continue;
            };
            let mut packets = Vec::new();
            for message in message::messages(buffer.get(..len).unwrap_or_default()) {
                match message {
                    Message::Packet(packet) => packets.push(packet),
                    Message::Answer { sequence, errno } if Some(sequence) == wanted => {
                        answer = Some(errno);
                    }
                    Message::Answer { sequence, errno } => {
                        if self.changing.is_some_and(|(changing, _)| changing == sequence) {
                            self.changing = None;
                        }
                        if errno != 0 && self.answers.len() < ANSWERS {
                            self.answers.push(errno);
                        }
                    }
                    Message::Other => {}
                }
            }
            let last = packets.pop();
            // So many packets later the answer must have been lost: the queue holds no more at a time.
            let id = last.as_ref().map_or(0, |p| p.id);
            let far = |since: u32| last.is_some() && id.wrapping_sub(since) > QUEUE_LENGTH;
            if self.changing.is_some_and(|(_, since)| far(since)) {
                self.changing = None;
            }
            let (before, depth) = (self.changing.is_some(), self.depth);
            // The kernel sends one packet in each datagram; nothing says that it has to.
            batch.extend(packets.into_iter().map(|packet| BatchPacket {
                buffer: buffer.clone(),
                packet,
                before,
                depth,
            }));
            match last {
                Some(packet) => batch.push(BatchPacket { buffer, packet, before, depth }),
                None => spare.push(buffer),
            }
        }
        drop(used);
        self.pool.append(&mut spare);
        Ok(answer)
    }

    /// Sends the verdicts; if that fails, once more after a wait.
    fn send_verdicts(&mut self, wait: impl FnOnce()) -> io::Result<()> {
        let octets = self.verdicts.finish();
        if octets.is_empty() {
            return Ok(());
        }
        let sent = self.socket.send(octets).or_else(|_| {
            wait();
            self.socket.send(octets)
        });
        match &sent {
            Ok(()) => self.verdicts.clear(),
            Err(_) => {
                self.verdicts.lose();
                // A change of depth may be among what got lost.
                let (sequence, manner) = (self.next_sequence(), self.manner(self.depth));
                if let Some((changing, _)) = &mut self.changing {
                    *changing = sequence;
                }
                self.verdicts.change(sequence, manner, self.changing.is_some());
            }
        }
        sent
    }

    /// Takes a packet's buffer back, and sends the verdicts if they have become many.
    fn done(&mut self, packet: BatchPacket) -> io::Result<()> {
        if self.pool.len() < 2 * BATCH {
            self.pool.push(packet.buffer);
        }
        if self.verdicts.len() >= SEND_AT { self.flush() } else { Ok(()) }
    }
}

impl QueueBackend for BatchQueue {
    type Packet = BatchPacket;

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn waker(&self) -> Option<Waker> {
        let socket = self.socket.another().ok()?;
        let mut nothing = Vec::new();
        message::nothing(&mut nothing);
        Some(Waker::new(move || {
            // What the kernel answers to this is something to be received.
            if let Err(e) = socket.send(&nothing) {
                log::warn!("waking up a worker: {e}");
            }
        }))
    }

    fn receive(&mut self, batch: &mut Vec<BatchPacket>, wait: bool) -> io::Result<()> {
        batch.append(&mut self.early);
        // Not while there is something to be said, because it could not be sent.
        let wait = wait && self.verdicts.len() == 0;
        if batch.is_empty() && self.answers.is_empty() {
            self.take(batch, None, wait)?;
        }
        // Packets first: an answer concerns an earlier one.
        match self.answers.pop() {
            Some(errno) if batch.is_empty() => Err(io::Error::from_raw_os_error(errno)),
            Some(errno) => {
                self.answers.push(errno);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn accept(&mut self, packet: BatchPacket) -> io::Result<()> {
        self.verdicts.add(Kind::Accept, packet.packet.id);
        self.done(packet)
    }

    fn replace(
        &mut self,
        packet: BatchPacket,
        octets: Vec<u8>,
        mark: Option<u32>,
    ) -> io::Result<()> {
        if octets.len() > MAX_VERDICT_PACKET {
            self.verdicts.add(Kind::Drop, packet.packet.id);
            self.done(packet)?;
            return Err(Errno::EMSGSIZE.into());
        }
        self.verdicts.replace(packet.packet.id, &octets, mark);
        self.done(packet)
    }

    fn drop(&mut self, packet: BatchPacket) -> io::Result<()> {
        self.verdicts.add(Kind::Drop, packet.packet.id);
        self.done(packet)
    }

    fn again(&mut self, packet: BatchPacket, wanted: Wanted) -> io::Result<()> {
        // Or it would come again and again.
        if !packet.can_come_whole() {
            return if wanted == Wanted::Once { self.accept(packet) } else { self.drop(packet) };
        }
        let sequence = self.next_sequence();
        let depth = match wanted {
            Wanted::Once => Depth::Cut,
            // Those that came before a change come again as it wants them.
            _ if packet.before || packet.depth != self.depth => self.depth,
            Wanted::Large if self.depth == Depth::Headers => Depth::Large,
            // All octets were there and did not do.
            Wanted::Large | Wanted::Cut => Depth::Cut,
        };
        if wanted == Wanted::Once {
            self.verdicts.change(sequence, self.manner(depth), false);
            self.verdicts.add(Kind::Repeat, packet.packet.id);
            self.verdicts.change(sequence, self.manner(self.depth), false);
        } else {
            if self.depth != depth {
                self.depth = depth;
                self.changing = Some((sequence, packet.packet.id));
                self.verdicts.change(sequence, self.manner(depth), true);
            }
            self.verdicts.add(Kind::Repeat, packet.packet.id);
        }
        self.done(packet)
    }

    fn relax(&mut self) -> io::Result<()> {
        if self.depth != self.base {
            self.depth = self.base;
            let sequence = self.next_sequence();
            self.verdicts.change(sequence, self.manner(self.base), false);
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Above all memory may be short for a moment.
        self.send_verdicts(|| {
            let _interrupted = poll(&mut [], SEND_AGAIN_MILLIS);
        })
    }
}
