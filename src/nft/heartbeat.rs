//! Signs of life, which keep the kernel queueing plain packets.
//!
//! A rule can wait for a listener no longer than the listener's socket exists: a process that hangs keeps its queues,
//! and packets wait in them. So the rules for plain packets look up an element that runs out by itself, and queue
//! only while it is there:
//!
//! ```text
//!  Heartbeat ── datagram to ::1, our mark ──► chain beat:   update @alive { element, 500 ms }
//!                                             chain input:  drop it (or it comes back: our table is missing)
//!  any packet ──────────────────────────────► last rule of input, output:  @alive ? queue : pass
//! ```
//!
//! The element is renewed by a packet and not over netlink, because a transaction eight times a second would harm the
//! host: each begins a new generation of the whole rule set, at which everybody who is listing rules starts over (a
//! list that takes longer than the interval never ends), wakes everybody who watches rules, and waits for whoever is
//! loading a large rule set. A rule renews elements since Linux 4.1, and none of that happens.

use super::error::NftError;
use super::spec::RuleSpec;
use super::teller::Teller;

/// What renews the element.
#[derive(Debug)]
pub struct Heartbeat {
    teller: Teller,
}

impl Heartbeat {
    /// Opens the sockets, in the network namespace of the calling thread. Needs CAP_NET_ADMIN here, and nothing later.
    ///
    /// # Errors
    /// [`NftError::BadSpec`] if the specification asks for no heartbeat; [`NftError::Permission`];
    /// [`NftError::Io`], above all EADDRNOTAVAIL where the loopback interface is down.
    pub fn open(spec: &RuleSpec) -> Result<Heartbeat, NftError> {
        if !spec.heartbeat {
            return Err(NftError::BadSpec("the rules ask for no heartbeat"));
        }
        Ok(Heartbeat { teller: Teller::open(spec.mark)? })
    }

    /// Gives one sign of life, good for [`HEARTBEAT_TIMEOUT`](super::HEARTBEAT_TIMEOUT). Never waits, and allocates
    /// nothing: one datagram of no octets over the loopback interface, some five microseconds.
    ///
    /// # Errors
    /// [`NftError::TableMissing`] if the rules did not take the datagram: harmless, and over once they are back.
    /// [`NftError::Io`] if it could not be sent.
    pub fn beat(&mut self) -> Result<(), NftError> {
        self.teller.tell(&[])
    }
}
