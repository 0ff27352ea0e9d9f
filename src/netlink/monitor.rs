//! The kernel's reports of changes, as a stream of typed events.

use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::Duration;

use tokio::io::unix::AsyncFd;

use super::NetlinkError;
use super::attr::messages;
use super::client::Client;
use super::parse;
use super::socket::{NlSocket, Protocol};
use super::types::KernelEvent;

/// Multicast groups of rtnetlink, as bits of a bind address.
const fn group(number: u32) -> u32 {
    1 << (number - 1)
}

const LINK: u32 = group(1);
const NEIGHBOUR: u32 = group(3);
const IPV6_ADDRESS: u32 = group(9);
const IPV6_ROUTE: u32 = group(11);

const BUFFER: usize = 1 << 16;

/// A subscription to changes of addresses, links, routes and neighbours in the network namespace of the thread
/// that opened it.
///
/// Open it first, take the [`snapshot`](super::Addresses::snapshot) then, and apply the events to it: so none is
/// missed between the two.
pub struct Monitor {
    socket: AsyncFd<NlSocket>,
    buf: Vec<u8>,
    ready: VecDeque<KernelEvent>,
}

impl Monitor {
    /// Subscribes. Must be called within a tokio run time.
    ///
    /// # Errors
    /// [`NetlinkError::Io`] if the socket cannot be had.
    pub fn open() -> Result<Monitor, NetlinkError> {
        Self::with(LINK | NEIGHBOUR | IPV6_ADDRESS | IPV6_ROUTE)
    }

    fn with(groups: u32) -> Result<Monitor, NetlinkError> {
        let socket = NlSocket::open(Protocol::Route, groups)?.into_async()?;
        Ok(Monitor { socket, buf: vec![0; BUFFER], ready: VecDeque::new() })
    }

    /// The next change. Cancel-safe. The number of events waiting is bounded by the socket's buffer; when it
    /// overflows, [`KernelEvent::Overrun`] says so.
    ///
    /// # Errors
    /// [`NetlinkError::Io`] if the socket fails.
    pub async fn next(&mut self) -> Result<KernelEvent, NetlinkError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let mut guard = self.socket.readable().await?;
            match guard.get_inner().try_receive(&mut self.buf) {
                Ok(Some(len)) => {
                    let octets = self.buf.get(..len).unwrap_or_default();
                    self.ready.extend(messages(octets).filter_map(parse::event));
                }
                Ok(None) => guard.clear_ready(),
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    // The kernel discards events until the buffer has been emptied. Only what is looked up
                    // after that is certain, so what is left in it is not worth having.
                    discard_all(guard.get_inner(), &mut self.buf)?;
                    return Ok(KernelEvent::Overrun);
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
}

fn discard_all(socket: &NlSocket, buf: &mut [u8]) -> Result<(), NetlinkError> {
    loop {
        match socket.try_receive(buf) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Waits until duplicate address detection of an address ended well, or `limit` is over.
///
/// # Errors
/// [`NetlinkError::DadFailed`] if another host has the address (the set it belongs to has to be made anew, RFC
/// 5535, 6), [`NetlinkError::DadTimeout`] after `limit`, [`NetlinkError::AddressGone`] if there is no such
/// address on that interface.
// req: CG-4-01, HB-6-11
pub async fn wait_dad(addr: Ipv6Addr, ifindex: u32, limit: Duration) -> Result<(), NetlinkError> {
    // Subscribed before looking, so that the end of detection cannot fall between.
    let mut monitor = Monitor::with(IPV6_ADDRESS)?;
    tokio::time::timeout(limit, dad_ended(&mut monitor, addr, ifindex))
        .await
        .unwrap_or(Err(NetlinkError::DadTimeout(addr)))
}

async fn dad_ended(
    monitor: &mut Monitor,
    addr: Ipv6Addr,
    ifindex: u32,
) -> Result<(), NetlinkError> {
    let mut client = Client::open()?;
    loop {
        let found = client.all_addresses()?;
        let found = found.iter().find(|a| a.addr == addr && a.ifindex == ifindex);
        let Some(found) = found else { return Err(NetlinkError::AddressGone(addr)) };
        if found.flags.dad_failed {
            return Err(NetlinkError::DadFailed(addr));
        }
        if !found.flags.tentative {
            return Ok(());
        }
        loop {
            match monitor.next().await? {
                KernelEvent::Address(a) if a.addr == addr && a.ifindex == ifindex => break,
                // An address with an end is deleted when detection finds another owner; one without is kept
                // and marked.
                KernelEvent::AddressGone(a) if a.addr == addr && a.ifindex == ifindex => {
                    return Err(if a.flags.tentative || a.flags.dad_failed {
                        NetlinkError::DadFailed(addr)
                    } else {
                        NetlinkError::AddressGone(addr)
                    });
                }
                KernelEvent::Overrun => break,
                _ => {}
            }
        }
    }
}
