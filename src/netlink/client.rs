//! Requests to rtnetlink. The kernel works on a request while it is being sent, so the answers are there when
//! sending returns, and nothing here blocks.

use super::NetlinkError;
use super::attr::{HEADER, Message, Request, messages};
use super::parse;
use super::socket::{NlSocket, Protocol};
use super::types::{AddressInfo, LinkInfo, Snapshot};

const BUFFER: usize = 1 << 17;
/// A list is read anew if the kernel says that it changed meanwhile.
const ATTEMPTS: u32 = 10;

/// A socket for requests.
#[derive(Debug)]
pub(super) struct Client {
    socket: NlSocket,
    seq: u32,
    buf: Vec<u8>,
}

impl Client {
    pub fn open() -> Result<Client, NetlinkError> {
        let socket = NlSocket::open(Protocol::Route, 0)?;
        Ok(Client { socket, seq: 0, buf: vec![0; BUFFER] })
    }

    fn start(&mut self, kind: u16, flags: i32) -> Request {
        self.seq = self.seq.wrapping_add(1);
        Request::new(kind, flags, self.seq)
    }

    /// A change; `build` adds what follows the header.
    pub fn change(
        &mut self,
        kind: u16,
        flags: i32,
        what: &str,
        build: impl FnOnce(Request) -> Request,
    ) -> Result<(), NetlinkError> {
        let request = build(self.start(kind, flags | libc::NLM_F_ACK)).finish();
        self.socket.send(&request)?;
        loop {
            let len = self.socket.receive(&mut self.buf)?;
            for message in messages(self.buf.get(..len).unwrap_or_default()) {
                if message.seq != self.seq {
                    continue;
                }
                match message.error() {
                    Some(0) => return Ok(()),
                    Some(errno) => return Err(NetlinkError::kernel(what, errno)),
                    None => {}
                }
            }
        }
    }

    /// A question with one answer.
    pub fn ask<T>(
        &mut self,
        kind: u16,
        what: &'static str,
        build: impl FnOnce(Request) -> Request,
        mut read: impl FnMut(Message<'_>) -> Option<T>,
    ) -> Result<T, NetlinkError> {
        let request = build(self.start(kind, 0)).finish();
        self.socket.send(&request)?;
        loop {
            let len = self.socket.receive(&mut self.buf)?;
            for message in messages(self.buf.get(..len).unwrap_or_default()) {
                if message.seq != self.seq {
                    continue;
                }
                return match message.error() {
                    Some(errno) => Err(NetlinkError::kernel(what, errno)),
                    None => read(message).ok_or(NetlinkError::Garbled(what)),
                };
            }
        }
    }

    /// Everything of a kind, in the reader's form; messages it does not want are left out.
    pub fn list<T>(
        &mut self,
        kind: u16,
        what: &'static str,
        head: &[u8],
        mut read: impl FnMut(Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..ATTEMPTS {
            let request = self.start(kind, libc::NLM_F_DUMP).head(head).finish();
            self.socket.send(&request)?;
            if let Some(all) = self.collect(what, &mut read)? {
                return Ok(all);
            }
        }
        Err(NetlinkError::kernel(what, libc::EINTR))
    }

    fn collect<T>(
        &mut self,
        what: &'static str,
        read: &mut impl FnMut(Message<'_>) -> Option<T>,
    ) -> Result<Option<Vec<T>>, NetlinkError> {
        let mut all = Vec::new();
        let mut changed = false;
        loop {
            let len = self.socket.receive(&mut self.buf)?;
            for message in messages(self.buf.get(..len).unwrap_or_default()) {
                if message.seq != self.seq {
                    continue;
                }
                changed |= i32::from(message.flags) & libc::NLM_F_DUMP_INTR != 0;
                if let Some(errno) = message.error().filter(|e| *e != 0) {
                    return Err(NetlinkError::kernel(what, errno));
                }
                if message.is_done() {
                    return Ok((!changed).then_some(all));
                }
                all.extend(read(message));
            }
        }
    }

    /// Addresses, with those that we hold on the loopback interface.
    pub fn all_addresses(&mut self) -> Result<Vec<AddressInfo>, NetlinkError> {
        let mut head = [0; 8];
        head[0] = parse::FAMILY;
        self.list(libc::RTM_GETADDR, "list addresses", &head, |m| parse::any_address(m.payload))
    }

    /// Interfaces.
    pub fn links(&mut self) -> Result<Vec<LinkInfo>, NetlinkError> {
        let head = [0; HEADER];
        self.list(libc::RTM_GETLINK, "list links", &head, |m| parse::link(m.payload))
    }

    /// Addresses, without those that we hold on the loopback interface.
    pub fn addresses(&mut self) -> Result<Vec<AddressInfo>, NetlinkError> {
        let mut head = [0; 8];
        head[0] = parse::FAMILY;
        self.list(libc::RTM_GETADDR, "list addresses", &head, |m| parse::address(m.payload))
    }

    /// Everything but the routes, of which a router may have a million.
    pub fn surroundings(&mut self) -> Result<Snapshot, NetlinkError> {
        let (links, addresses) = (self.links()?, self.addresses()?);
        let mut head = [0; 12];
        head[0] = parse::FAMILY;
        let neighbours = self
            .list(libc::RTM_GETNEIGH, "list neighbours", &head, |m| parse::neighbour(m.payload))?;
        Ok(Snapshot { addresses, links, routes: Vec::new(), neighbours })
    }

    /// Everything that the monitor reports on, as it is now.
    pub fn snapshot(&mut self) -> Result<Snapshot, NetlinkError> {
        let mut now = self.surroundings()?;
        let mut head = [0; 12];
        head[0] = parse::FAMILY;
        now.routes =
            self.list(libc::RTM_GETROUTE, "list routes", &head, |m| parse::route(m.payload))?;
        Ok(now)
    }
}
