//! Datagrams to ourselves over the loopback interface, which rules of our table take as orders.
//!
//! They change sets without a transaction, and what they order is done when the call returns, because the loopback
//! interface carries a datagram through the chains at once. The rules drop them; one that comes out at the other socket
//! has met no rule of ours.

use std::io;
use std::net::{Ipv6Addr, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};

use super::error::NftError;

/// Sends them.
#[derive(Debug)]
pub(super) struct Teller {
    from: UdpSocket,
    /// Where a datagram comes out if no rule of ours takes it.
    to: UdpSocket,
}

impl Teller {
    /// Opens the sockets, in the network namespace of the calling thread; packets carry this mark. Needs CAP_NET_ADMIN
    /// here, and nothing later.
    ///
    /// # Errors
    /// [`NftError::Permission`]; [`NftError::Io`], above all EADDRNOTAVAIL where the loopback interface is down.
    pub(super) fn open(mark: u32) -> Result<Teller, NftError> {
        let (from, to) = (local()?, local()?);
        setsockopt(&from, sockopt::Mark, &mark).map_err(io::Error::from)?;
        from.connect(to.local_addr()?)?;
        // Nobody else's datagrams come in.
        to.connect(from.local_addr()?)?;
        Ok(Teller { from, to })
    }

    /// Sends one. Never waits, and allocates nothing.
    ///
    /// # Errors
    /// [`NftError::TableMissing`] if the rules did not take it; [`NftError::Io`] if it could not be sent.
    pub(super) fn tell(&mut self, datagram: &[u8]) -> Result<(), NftError> {
        match self.from.send(datagram) {
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

fn local() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
