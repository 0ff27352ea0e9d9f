//! The rules as data: what an installation asks for, and the list of chains and rules that follows from it.
//!
//! Everything that speaks about rules (the transaction, the text, the read-back check, the files in
//! `nft-rules/`) is derived from [`RuleSpec::chains`], so they cannot drift apart.

/// The protocol number of Shim6 (RFC 5533, 5).
pub const SHIM6: u8 = 140;

/// Where inbound packets with next header 140 leave the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TaggedHook {
    /// Prerouting, priority -250: after defragmentation, before conntrack, so that stateful firewalls see the
    /// flow between the ULIDs.
    #[default]
    Prerouting,
    /// Local-in, priority -150: for kernels without `fib`, and hosts whose reverse-path rules need it.
    Input,
}

/// How the kernel is told to queue a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueKind {
    /// nf_tables' own `queue` statement (module nft_queue).
    Native,
    /// The xt target `NFQUEUE`, revision 3, through nft_compat.
    XtCompat,
}

/// What is to be installed.
///
/// Queues are numbered without gaps: first those for protocol 140, then those for plain packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RuleSpec {
    /// Number of the first queue.
    pub queue_first: u16,
    /// Number of queues for inbound protocol 140; at least 1.
    pub queues_140: u16,
    /// Number of queues for all other IPv6 unicast; at least 1.
    pub queues_plain: u16,
    /// Where inbound protocol 140 is taken.
    pub tagged_hook: TaggedHook,
    /// Value that our own packets, and packets we restored, carry in the masked bits of their mark; not 0.
    pub mark: u32,
    /// The bits of the mark that are ours.
    pub mark_mask: u32,
    /// Whether `fib` may be used; without it, `tagged_hook` must be [`TaggedHook::Input`].
    pub fib: bool,
}

impl Default for RuleSpec {
    fn default() -> RuleSpec {
        RuleSpec {
            queue_first: 5533,
            queues_140: 1,
            queues_plain: 2,
            tagged_hook: TaggedHook::Prerouting,
            mark: 0x5533_0000,
            mark_mask: 0xffff_0000,
            fib: true,
        }
    }
}
