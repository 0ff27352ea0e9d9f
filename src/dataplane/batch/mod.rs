//! A queue through our own netlink driver: many packets for each call, one message for many verdicts.
//!
//! # Headers and whole packets
//! Packets that stay as they are need only be looked at: of these the kernel copies the first octets, and does not cut
//! them into segments before. A packet that turns out to be needed as a whole is sent through the chain again
//! (NF_REPEAT) behind a message that has the queue give whole packets: cut to size, with their checksums. One send
//! carries all of that, so the packet comes back after one turn. For a single packet (a copy to be held, an ICMPv6 error
//! to be translated) a third message switches back at once; where a context's packets are rewritten the queue stays with
//! whole packets until [`QueueBackend::relax`]. Packets may overtake each other only in that moment of switching.

mod message;
mod socket;
#[cfg(test)]
mod tests;

use super::config::StartError;
use super::queue::{MAX_VERDICT_PACKET, QUEUE_LENGTH, QueueBackend, Queued, Waker};
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
/// How long the answer to a configuration request may take; the kernel gives it before the request returns.
const ANSWER_MILLIS: u16 = 1000;
/// Answers that are remembered until somebody asks; more of them are not worth telling one by one.
const ANSWERS: usize = 1024;

/// A packet in the buffer in which it came.
pub struct BatchPacket {
    buffer: Buffer,
    packet: Packet,
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
        self.packet.len == self.packet.payload.len() && self.packet.info & unfinished == 0
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
    /// Packets come by their headers for as long as that will do.
    headers: bool,
    /// Flags of the queue that never change.
    flags: u32,
    /// Whole packets come now.
    whole: bool,
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
    /// Binds the queue. With `fail_open` the kernel lets packets pass when the queue is full; with `headers` it gives
    /// only the headers of those that are not needed as a whole.
    ///
    /// # Errors
    /// [`StartError::Permission`] or [`StartError::Queue`].
    pub fn open(number: u16, fail_open: bool, headers: bool) -> Result<BatchQueue, StartError> {
        Socket::open(number)
            .and_then(|socket| Self::bind(socket, number, fail_open, headers))
            .map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => StartError::Permission,
                _ => StartError::Queue { queue: number, error },
            })
    }

    fn bind(socket: Socket, number: u16, fail_open: bool, headers: bool) -> io::Result<BatchQueue> {
        let mut queue = BatchQueue {
            socket,
            headers,
            flags: if fail_open { message::FAIL_OPEN } else { 0 },
            whole: !headers,
            verdicts: Verdicts::new(number),
            pool: Vec::new(),
            lengths: Vec::new(),
            early: Vec::new(),
            answers: Vec::new(),
            sequence: 0,
        };
        let manner = queue.manner(queue.whole);
        queue.request(|out, sequence| message::bind(out, number, sequence))?;
        queue.request(|out, sequence| {
            message::set_up(out, number, sequence, QUEUE_LENGTH, manner);
        })?;
        Ok(queue)
    }

    fn manner(&self, whole: bool) -> Manner {
        if whole {
            Manner { range: MAX_VERDICT_PACKET as u32, flags: self.flags }
        } else {
            Manner { range: HEADERS, flags: self.flags | message::GSO }
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
                    Message::Answer { errno: 0, .. } | Message::Other => {}
                    Message::Answer { errno, .. } => {
                        if self.answers.len() < ANSWERS {
                            self.answers.push(errno);
                        }
                    }
                }
            }
            let last = packets.pop();
            // The kernel sends one packet in each datagram; nothing says that it has to.
            batch.extend(
                packets.into_iter().map(|packet| BatchPacket { buffer: buffer.clone(), packet }),
            );
            match last {
                Some(packet) => batch.push(BatchPacket { buffer, packet }),
                None => spare.push(buffer),
            }
        }
        drop(used);
        self.pool.append(&mut spare);
        Ok(answer)
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

    fn again(&mut self, packet: BatchPacket, stay: bool) -> io::Result<()> {
        let sequence = self.next_sequence();
        self.verdicts.again(packet.packet.id, sequence, self.manner(true));
        if stay {
            self.whole = true;
        } else if !self.whole {
            self.verdicts.change(sequence, self.manner(false));
        }
        self.done(packet)
    }

    fn relax(&mut self) -> io::Result<()> {
        if self.headers && self.whole {
            self.whole = false;
            let sequence = self.next_sequence();
            self.verdicts.change(sequence, self.manner(false));
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let octets = self.verdicts.finish();
        if octets.is_empty() {
            return Ok(());
        }
        let sent = self.socket.send(octets);
        self.verdicts.clear();
        sent
    }
}
