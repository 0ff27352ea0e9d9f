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

use std::io;
use std::net::{Ipv6Addr, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};

use super::error::NftError;
use super::spec::RuleSpec;

/// What renews the element.
#[derive(Debug)]
pub struct Heartbeat {
    from: UdpSocket,
    /// Where a sign of life comes out if no rule of ours takes it.
    to: UdpSocket,
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
        let (from, to) = (local()?, local()?);
        setsockopt(&from, sockopt::Mark, &spec.mark).map_err(io::Error::from)?;
        from.connect(to.local_addr()?)?;
        // Nobody else's datagrams come in.
        to.connect(from.local_addr()?)?;
        Ok(Heartbeat { from, to })
    }

    /// Gives one sign of life, good for [`HEARTBEAT_TIMEOUT`](super::HEARTBEAT_TIMEOUT). Never waits, and allocates
    /// nothing: one datagram of no octets over the loopback interface, some five microseconds.
    ///
    /// # Errors
    /// [`NftError::TableMissing`] if the rules did not take the datagram: harmless, and over once they are back.
    /// [`NftError::Io`] if it could not be sent.
    pub fn beat(&mut self) -> Result<(), NftError> {
        match self.from.send(&[]) {
            Ok(_) => {}
            // Somebody's filter drops it on its way out; it was past our rule, which comes first.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            Err(e) => return Err(NftError::Io(e)),
        }
        let mut missing = false;
        while self.to.recv(&mut []).is_ok() {
            missing = true;
        }
        if missing { Err(NftError::TableMissing) } else { Ok(()) }
    }
}

/// Whether there is an address to send to.
pub(super) fn possible() -> bool {
    local().is_ok()
}

pub(super) fn local() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
