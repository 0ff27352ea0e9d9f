//! The packet filter rules that bring packets to the daemon: one table `ip6 shim6` of our own.
//!
//! The table is installed in one transaction, read back, and removed at exit. Nobody else's rules are touched,
//! and nothing in here decides about packets beyond "ours to look at" or not.
//!
//! In order: `probe() -> Result<Capabilities>`, `install(&RuleSpec, QueueKind) -> Result<()>`,
//! `verify(&RuleSpec, QueueKind) -> Result<Presence>`, `counters() -> Result<Vec<RuleCounter>>`,
//! `render(&RuleSpec, QueueKind) -> String`, `remove() -> Result<bool>`; all of them are synchronous and take
//! well under a millisecond of kernel time. `RuleWatch::open()`, then `changed(&mut self).await` until somebody
//! touches our table; then `verify`, and `install` again unless [`Presence::Intact`].

mod error;
mod spec;

pub use error::NftError;
pub use spec::{QueueKind, RuleSpec, SHIM6, TaggedHook};

/// The name of our table, in family `ip6`.
pub const TABLE: &str = "shim6";

/// What this kernel can do for us, found by trying.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// nf_tables has its own `queue` statement.
    pub native_queue: bool,
    /// The xt target NFQUEUE works through nft_compat.
    pub xt_queue: bool,
    /// `fib daddr type` works.
    pub fib: bool,
}

impl Capabilities {
    /// The way to queue: native where there is a choice.
    ///
    /// # Errors
    /// [`NftError::NoQueue`] if the kernel has neither.
    pub fn queue_kind(&self) -> Result<QueueKind, NftError> {
        match (self.native_queue, self.xt_queue) {
            (true, _) => Ok(QueueKind::Native),
            (false, true) => Ok(QueueKind::XtCompat),
            (false, false) => Err(NftError::NoQueue),
        }
    }
}

/// How our table stands in the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Presence {
    /// All chains and rules are there, as specified.
    Intact,
    /// There is no such table.
    Missing,
    /// The table is there but differs; each line says how.
    Altered(Vec<String>),
}

/// The counter of one rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleCounter {
    /// Name of the chain.
    pub chain: String,
    /// The rule's comment.
    pub comment: String,
    /// Packets that matched.
    pub packets: u64,
    /// Octets of those packets, from the IPv6 header on.
    pub bytes: u64,
}
