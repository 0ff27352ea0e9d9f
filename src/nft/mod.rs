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
//!
//! With [`RuleSpec::heartbeat`] the kernel stops queueing plain packets soon after the last
//! [`Heartbeat::beat`], so that a daemon that hangs does not stop traffic: `Heartbeat::open(&RuleSpec)`, then
//! `beat(&mut self) -> Result<()>` several times per [`HEARTBEAT_TIMEOUT`].

mod error;
mod expr;
mod heartbeat;
mod passing;
mod probe;
mod readback;
mod render;
mod spec;
mod teller;
mod transaction;
mod watch;

use std::ffi::CStr;

pub use error::NftError;
pub use heartbeat::Heartbeat;
pub use passing::{Passing, PassingCount, PassingKey};
pub use probe::probe;
pub use render::{render, render_file, render_ip6tables};
pub use spec::{
    HEARTBEAT_TIMEOUT, PASSING_SIZE, QueueKind, RuleSpec, SHIM6, TaggedHook, leave_alone,
};
pub use watch::{Change, RuleWatch};

use transaction::Transaction;

/// The name of our table, in family `ip6`.
pub const TABLE: &str = "shim6";
/// The same for netlink.
const TABLE_C: &CStr = c"shim6";

/// What this kernel can do for us, found by trying.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// nf_tables has its own `queue` statement.
    pub native_queue: bool,
    /// The xt target NFQUEUE works through nft_compat.
    pub xt_queue: bool,
    /// `fib daddr type` works.
    pub fib: bool,
    /// Elements of sets run out, and rules renew them; and there is a loopback interface with ::1 to send the signs of
    /// life over. Without it a daemon that hangs holds up all plain packets that its queues take.
    pub heartbeat: bool,
    /// Elements of sets count the packets that look them up, and rules add and delete them (Linux 5.7). Without it every
    /// packet of a context is queued.
    pub passing: bool,
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

/// Everything that makes our table what the specification says, whether there is one already or not.
fn build(spec: &RuleSpec, kind: QueueKind) -> Result<Transaction, NftError> {
    spec.check()?;
    let mut batch = Transaction::new();
    // To add before deleting makes the deletion succeed in any case.
    batch.add_table(TABLE_C);
    batch.delete_table(TABLE_C);
    let table = batch.add_table(TABLE_C);
    if spec.heartbeat {
        batch.add_alive_set(&table);
    }
    if spec.passing {
        batch.add_passing_set(&table);
    }
    for chain in spec.chains() {
        batch.add_chain(&table, &chain, kind)?;
    }
    Ok(batch)
}

/// Installs the table in one transaction, replacing an older one of ours, and reads it back.
///
/// # Errors
/// [`NftError`]; on [`NftError::Differs`] the table is there but not as wanted, else nothing was changed.
pub fn install(spec: &RuleSpec, kind: QueueKind) -> Result<(), NftError> {
    build(spec, kind)?.commit()?;
    match readback::verify(spec, kind)? {
        Presence::Intact => Ok(()),
        Presence::Missing => Err(NftError::Differs(vec!["the table is gone again".into()])),
        Presence::Altered(how) => Err(NftError::Differs(how)),
    }
}

/// Removes our table and nothing else; tells whether there was one.
///
/// # Errors
/// [`NftError`] if the kernel cannot be asked or refuses.
pub fn remove() -> Result<bool, NftError> {
    if !readback::exists()? {
        return Ok(false);
    }
    let mut batch = Transaction::new();
    batch.delete_table(TABLE_C);
    match batch.commit() {
        Ok(()) => Ok(true),
        // Somebody was faster.
        Err(NftError::Kernel { errno: libc::ENOENT, .. }) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Throws out all packets that wait in packet queues of this network namespace, and nothing else.
///
/// Only the owner of a queue can decide about the packets in it one by one; but when any chain leaves its hook, the
/// kernel empties all queues, lest a packet goes on where that chain was. So a chain of a table of its own comes and
/// goes. Queues of other programs lose what waits in them as well, as with every firewall that loads its rules anew.
///
/// # Errors
/// [`NftError`] if the kernel refuses.
pub fn release_queued() -> Result<(), NftError> {
    const SCRATCH: &CStr = c"shim6-release";
    let chain = spec::ChainSpec {
        name: "release",
        hook: spec::ChainHook::Output,
        priority: 0,
        rules: Vec::new(),
    };
    let mut come = Transaction::new();
    let table = come.add_table(SCRATCH);
    // No rule, so it does not matter how one would queue.
    come.add_chain(&table, &chain, QueueKind::Native)?;
    come.commit()?;
    let mut go = Transaction::new();
    go.delete_table(SCRATCH);
    go.commit()
}

/// Compares what the kernel has with the specification.
///
/// # Errors
/// [`NftError`] if the kernel cannot be asked.
pub fn verify(spec: &RuleSpec, kind: QueueKind) -> Result<Presence, NftError> {
    readback::verify(spec, kind)
}

/// Whether there is a table of our name, whoever loaded it.
///
/// # Errors
/// [`NftError`] if the kernel cannot be asked.
pub fn table_exists() -> Result<bool, NftError> {
    readback::exists()
}

/// The counters of our rules in their order; empty if the table is not there.
///
/// # Errors
/// [`NftError`] if the kernel cannot be asked.
pub fn counters() -> Result<Vec<RuleCounter>, NftError> {
    readback::counters()
}
