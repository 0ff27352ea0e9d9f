//! What the data plane is told at its start, and why a start can fail.

use crate::proto::Time;
use crate::proto::config::HeuristicConfig;
use std::fmt;
use std::io;
use std::ops::Range;
use std::time::Duration;

/// Settings of the data plane.
#[derive(Clone, Debug)]
pub struct DataplaneConfig {
    /// Queues on which inbound packets of protocol 140 come; may be empty only in tests.
    pub queues_140: Range<u16>,
    /// Queues on which all other unicast packets come, in both directions.
    pub queues_plain: Range<u16>,
    /// Value in the masked bits of the mark of packets that the rules have to let pass: those we send, and those we
    /// have restored.
    pub mark: u32,
    /// The bits of the mark that are ours.
    pub mark_mask: u32,
    /// Value in the masked bits of the mark of packets whose sockets have left the shim: unlike our own, it does not keep
    /// the rules from showing us a packet, so that we learn which flow it is. `None` if our bits leave no room for it.
    pub leave_alone: Option<u32>,
    /// When to ask for a context.
    pub heuristic: HeuristicConfig,
    /// Address pairs without a context that are watched at a time (56 octets each).
    pub heuristic_pairs: usize,
    /// Bounds of the held copies.
    pub held: HeldConfig,
    /// Bounds of the reassembly of tagged fragments.
    pub reassembly: ReassemblyConfig,
    /// Deliver every ICMPv6 error to the transports, even those on which an exploration already acts.
    // req: S6-8-02
    pub deliver_all_icmp: bool,
    /// The time; never runs backwards.
    pub clock: fn() -> Time,
    /// How packets come from the kernel.
    pub backend: Backend,
    /// How little is to be done for packets that stay as they are.
    pub tier: Tier,
}

impl DataplaneConfig {
    /// Whether a mark says "leave alone".
    pub(super) fn is_leave_alone(&self, mark: u32) -> bool {
        self.leave_alone == Some(mark & self.mark_mask)
    }

    /// The mark of a packet with our value in it.
    pub(super) fn marked(&self, mark: u32) -> u32 {
        mark & !self.mark_mask | self.mark & self.mark_mask
    }
}

/// How little is done for packets that stay as they are. Less is faster; what happens to packets is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Tier {
    /// Fast flows of established contexts pass in the kernel, where it can do that.
    #[default]
    Kernel,
    /// All packets are queued, but only their headers are read.
    Headers,
    /// All packets are read whole.
    Whole,
}

impl Tier {
    /// The number in configuration and status.
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The one of that number.
    pub fn numbered(number: u8) -> Option<Tier> {
        [Tier::Kernel, Tier::Headers, Tier::Whole].into_iter().find(|t| t.number() == number)
    }
}

/// Ways to talk to the kernel's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Backend {
    /// Our own driver: many packets and verdicts for each call, headers only where they suffice.
    #[default]
    Batch,
    /// The `nfq` crate: one message for each packet and verdict.
    Nfq,
}

impl Backend {
    /// The name in configuration and status.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Batch => "batch",
            Backend::Nfq => "nfq",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Backend> {
        [Backend::Batch, Backend::Nfq].into_iter().find(|b| b.name() == name)
    }
}

/// Bounds of the held copies (TCP segments that are sent again when a new pair is confirmed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldConfig {
    /// A context without any answer for so long has its segments held.
    pub after: Duration,
    /// The same under fast detection, counted from the last packet in: tail loss probes come early.
    pub after_watched: Duration,
    /// Copies in all; one per TCP flow.
    pub flows: usize,
    /// Copies per context.
    pub flows_per_context: usize,
    /// Octets in all.
    pub octets: usize,
}

impl Default for HeldConfig {
    fn default() -> Self {
        HeldConfig {
            after: Duration::from_millis(500),
            after_watched: Duration::from_millis(30),
            flows: 8192,
            flows_per_context: 512,
            octets: 16 << 20,
        }
    }
}

/// Bounds of the reassembly, for each queue of protocol 140.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReassemblyConfig {
    /// Datagrams under reassembly.
    pub datagrams: usize,
    /// Octets of fragments kept.
    pub octets: usize,
    /// How long a datagram may stay incomplete (RFC 8200: 60 s).
    pub timeout: Duration,
}

impl Default for ReassemblyConfig {
    fn default() -> Self {
        ReassemblyConfig { datagrams: 1024, octets: 4 << 20, timeout: Duration::from_secs(60) }
    }
}

/// Why the data plane did not start.
#[derive(Debug)]
pub enum StartError {
    /// No right to open raw or netlink sockets.
    Permission,
    /// A raw socket could not be opened or set up.
    RawSocket(io::Error),
    /// A queue could not be bound: no nfnetlink_queue, or another program has it.
    Queue {
        /// Its number.
        queue: u16,
        /// The kernel's answer.
        error: io::Error,
    },
    /// A worker thread could not be started.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Permission => {
                write!(
                    f,
                    "not permitted to open raw sockets (remedy: CAP_NET_ADMIN and CAP_NET_RAW)"
                )
            }
            StartError::RawSocket(e) => write!(f, "raw socket: {e}"),
            StartError::Queue { queue, error } => write!(
                f,
                "netfilter queue {queue}: {error} (remedy: modprobe nfnetlink_queue; end other \
                 programs that use this queue, see /proc/net/netfilter/nfnetlink_queue)"
            ),
            StartError::Thread(e) => write!(f, "worker thread: {e}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Permission => None,
            StartError::RawSocket(e) | StartError::Thread(e) => Some(e),
            StartError::Queue { error, .. } => Some(error),
        }
    }
}
