//! What a worker needs of the kernel's packet queues, whoever speaks netlink for it.

use std::fmt::{self, Debug};
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

/// The hook at which packets for this host are taken (NF_INET_LOCAL_IN).
pub const HOOK_LOCAL_IN: u8 = 1;
/// The hook at which packets of this host are taken (NF_INET_LOCAL_OUT).
pub const HOOK_LOCAL_OUT: u8 = 3;
/// The longest packet that a verdict can carry: the attribute's 16-bit length counts its own header of 4.
pub const MAX_VERDICT_PACKET: usize = 65_531;
/// Packets that the kernel keeps waiting for us, at most.
pub const QUEUE_LENGTH: u32 = 65_536;

/// A packet taken from a queue.
pub trait Queued {
    /// Its octets from the IPv6 header on.
    fn packet(&self) -> &[u8];
    /// The netfilter hook.
    fn hook(&self) -> u8;
    /// Its mark.
    fn mark(&self) -> u32;

    /// How many octets it has in all; [`Queued::packet`] may be the first of them only.
    fn full_len(&self) -> usize {
        self.packet().len()
    }

    /// Whether its octets are those that would go on: all of them, cut to size, with their checksum.
    fn whole(&self) -> bool {
        true
    }

    /// Whether all octets are there, but still to be cut into segments, which have no checksums yet.
    fn large(&self) -> bool {
        false
    }

    /// Fills in a checksum, if nothing else is missing; the packet is whole then.
    fn complete(&mut self) {}

    /// Whether it would come whole if it came again. Of what is longer than a verdict can carry the kernel never shows
    /// the end.
    fn can_come_whole(&self) -> bool {
        true
    }
}

/// How a packet that is not whole is wanted instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Whole, this once.
    Once,
    /// With all its octets, and so those behind it, until [`QueueBackend::relax`]; segments may be uncut.
    Large,
    /// Whole, and so those behind it, until [`QueueBackend::relax`].
    Cut,
}

/// Ends a wait.
pub struct Waker(Box<dyn Fn() + Send + Sync>);

impl Waker {
    /// By this.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Waker {
        Waker(Box::new(wake))
    }

    /// Does it.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").finish_non_exhaustive()
    }
}

/// One queue, bound.
///
/// Verdicts may be batched by an implementation; [`QueueBackend::flush`] ends a batch.
pub trait QueueBackend: Send {
    /// Its packets.
    type Packet: Queued + Debug + Send;

    /// The descriptor that becomes readable when packets are there.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// What ends a wait in [`QueueBackend::receive`], from any thread; `None` if this queue does not wait by itself.
    fn waker(&self) -> Option<Waker> {
        None
    }

    /// Takes packets that are there, in order; leaves the batch empty if there are none. With `wait`, only told to queues
    /// that have a waker, it first waits for packets or for that.
    ///
    /// # Errors
    /// The kernel's answer to this call or to an earlier verdict.
    fn receive(&mut self, batch: &mut Vec<Self::Packet>, wait: bool) -> io::Result<()>;

    /// Lets a packet go on as it is.
    ///
    /// # Errors
    /// The kernel's answer.
    fn accept(&mut self, packet: Self::Packet) -> io::Result<()>;

    /// Lets other octets go on in its place, at most [`MAX_VERDICT_PACKET`], if told with another mark.
    ///
    /// # Errors
    /// The kernel's answer.
    fn replace(
        &mut self,
        packet: Self::Packet,
        octets: Vec<u8>,
        mark: Option<u32>,
    ) -> io::Result<()>;

    /// Ends a packet's life.
    ///
    /// # Errors
    /// The kernel's answer.
    fn drop(&mut self, packet: Self::Packet) -> io::Result<()>;

    /// Has a packet that did not come whole come again. One that cannot goes on as it is if it was wanted once, and else
    /// ends here.
    ///
    /// # Errors
    /// The kernel's answer.
    fn again(&mut self, packet: Self::Packet, wanted: Wanted) -> io::Result<()>;

    /// Whole packets have not been needed for a while.
    ///
    /// # Errors
    /// The kernel's answer.
    fn relax(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Ends a batch of verdicts.
    ///
    /// # Errors
    /// The kernel's answer.
    fn flush(&mut self) -> io::Result<()>;
}

/// What the kernel counts for one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStats {
    /// The queue's number.
    pub queue: u16,
    /// Netlink port of the program that bound it.
    pub port: u32,
    /// Packets that wait for a verdict.
    pub waiting: u64,
    /// Packets dropped because the queue was full.
    pub dropped: u64,
    /// Packets dropped because the socket's buffer was full.
    pub user_dropped: u64,
}

/// The kernel's figures about queues. The file is opened once, while we have the right to.
#[derive(Debug)]
pub struct KernelFigures(File);

impl KernelFigures {
    /// The figures of this thread's network namespace.
    ///
    /// # Errors
    /// The kernel has no nfnetlink_queue, or root's rights are gone already.
    pub fn open() -> io::Result<KernelFigures> {
        File::open("/proc/thread-self/net/netfilter/nfnetlink_queue").map(KernelFigures)
    }

    /// The same where one can do without them.
    pub fn open_or_warn() -> Option<KernelFigures> {
        KernelFigures::open()
            .inspect_err(|e| log::warn!("figures of the kernel's queues: {e}"))
            .ok()
    }

    /// The present figures of these queues.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn read(&self, ours: impl Fn(u16) -> bool) -> io::Result<Vec<QueueStats>> {
        let mut text = Vec::new();
        let mut part = [0; 4096];
        loop {
            match self.0.read_at(&mut part, text.len() as u64) {
                Ok(0) => break,
                Ok(n) => text.extend_from_slice(&part[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(parse_stats(&String::from_utf8_lossy(&text), ours))
    }
}

/// Columns: queue, port, waiting, copy mode, copy range, dropped, user dropped, last id, 1.
fn parse_stats(text: &str, ours: impl Fn(u16) -> bool) -> Vec<QueueStats> {
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace().map(str::parse::<u64>);
        let mut next = || fields.next()?.ok();
        let (queue, port, waiting) = (next()?, next()?, next()?);
        let (_mode, _range) = (next()?, next()?);
        Some(QueueStats {
            queue: u16::try_from(queue).ok()?,
            port: u32::try_from(port).ok()?,
            waiting,
            dropped: next()?,
            user_dropped: next()?,
        })
    };
    text.lines().filter_map(line).filter(|s| ours(s.queue)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_figures_are_read_for_our_queues_only() {
        let text =
            " 5533   4711     3 2 65531     7     2      100  1\n 9 1 0 2 0 1 1 1 1\nrubbish\n";
        let got = parse_stats(text, |queue| queue == 5533);
        let want = QueueStats { queue: 5533, port: 4711, waiting: 3, dropped: 7, user_dropped: 2 };
        assert_eq!(got, vec![want]);
    }
}
