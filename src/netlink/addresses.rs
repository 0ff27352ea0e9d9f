//! The changes that we make, each undoable.
//!
//! The ledger of what is ours is kept by the kernel: addresses, routes and rules carry our originator number,
//! labels a value of their own. So an instance that was killed leaves nothing that the next one would not know
//! as ours. Kernels before 5.18 have no originator for addresses; for those, this instance remembers by itself.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use super::attr::{Request, attr, u32_at};
use super::client::Client;
use super::parse::{self, FAMILY, INFINITY, LOOPBACK, PROTO_OURS};
use super::types::{Added, AddressInfo, Lifetime, Lifetimes, PrefixOwner, RouteAnswer, Snapshot};
use super::{NetlinkError, hold, labels};
use crate::addr::Prefix;

/// No on-link route comes or goes with the address.
pub(super) const IFA_F_NOPREFIXROUTE: u32 = 0x200;
/// Lifetimes run while we look: a difference of so many seconds is none.
const SLACK: u32 = 2;

/// What [`Addresses::undo`] shall take away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Undo {
    /// The identity addresses that we added; without it they stay, and flows on them live on.
    pub addresses: bool,
}

/// Changes of the kernel's addresses, labels, rules and routes.
///
/// Acts in the network namespace of the thread that opened it. Everything but [`wait_dad`](super::wait_dad) is
/// synchronous and takes well under a millisecond.
#[derive(Debug)]
pub struct Addresses {
    client: Client,
    added: BTreeSet<(u32, Ipv6Addr)>,
}

/// A request about an address.
pub(super) fn address_request(
    request: Request,
    addr: Ipv6Addr,
    prefix_len: u8,
    ifindex: u32,
    flags: u32,
    lifetimes: Lifetimes,
) -> Request {
    let seconds = |l| match l {
        Lifetime::Forever => INFINITY,
        Lifetime::Seconds(s) => s,
    };
    let mut head = [FAMILY, prefix_len, 0, 0, 0, 0, 0, 0];
    head[4..].copy_from_slice(&ifindex.to_ne_bytes());
    let mut cache = [0; 16];
    cache[..4].copy_from_slice(&seconds(lifetimes.preferred).to_ne_bytes());
    cache[4..8].copy_from_slice(&seconds(lifetimes.valid).to_ne_bytes());
    request
        .head(&head)
        .attr(parse::IFA_LOCAL, &addr.octets())
        .attr(parse::IFA_ADDRESS, &addr.octets())
        .attr(parse::IFA_FLAGS, &flags.to_ne_bytes())
        .attr(parse::IFA_CACHEINFO, &cache)
        .attr(parse::IFA_PROTO, &[PROTO_OURS])
}

/// Deletes an address; that it is gone already is fine.
pub(super) fn delete_address(
    client: &mut Client,
    addr: Ipv6Addr,
    prefix_len: u8,
    ifindex: u32,
) -> Result<bool, NetlinkError> {
    let mut head = [FAMILY, prefix_len, 0, 0, 0, 0, 0, 0];
    head[4..].copy_from_slice(&ifindex.to_ne_bytes());
    let done = client.change(libc::RTM_DELADDR, 0, &format!("delete {addr}"), |request| {
        request.head(&head).attr(parse::IFA_LOCAL, &addr.octets())
    });
    match done {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.errno(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => Ok(false),
        Err(e) => Err(e),
    }
}

fn differs(a: Lifetime, b: Lifetime) -> bool {
    match (a, b) {
        (Lifetime::Forever, Lifetime::Forever) => false,
        (Lifetime::Seconds(a), Lifetime::Seconds(b)) => a.abs_diff(b) > SLACK,
        (Lifetime::Forever, Lifetime::Seconds(_)) | (Lifetime::Seconds(_), Lifetime::Forever) => {
            true
        }
    }
}

impl Addresses {
    /// Opens the socket.
    ///
    /// # Errors
    /// [`NetlinkError::Io`] if it cannot be had.
    pub fn open() -> Result<Addresses, NetlinkError> {
        Ok(Addresses { client: Client::open()?, added: BTreeSet::new() })
    }

    /// The present state.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel cannot be asked; so for all other functions here.
    pub fn snapshot(&mut self) -> Result<Snapshot, NetlinkError> {
        let mut now = self.client.snapshot()?;
        self.mark_ours(&mut now);
        Ok(now)
    }

    /// The present state without the routes: their number may be large, and each list takes its time.
    pub fn surroundings(&mut self) -> Result<Snapshot, NetlinkError> {
        let mut now = self.client.surroundings()?;
        self.mark_ours(&mut now);
        Ok(now)
    }

    fn mark_ours(&self, now: &mut Snapshot) {
        for a in &mut now.addresses {
            a.ours |= self.added.contains(&(a.ifindex, a.addr));
        }
    }

    /// The interface that has an address of the prefix which is not ours, and that address's lifetimes; the one
    /// that lives longest if there are several.
    pub fn owner_of(&mut self, prefix: Prefix) -> Result<Option<PrefixOwner>, NetlinkError> {
        Ok(owner(&self.surroundings()?, prefix))
    }

    /// Adds an identity address as /64 to the interface that owns its prefix, with the prefix's lifetimes.
    ///
    /// The on-link route is left to whoever has it. Duplicate address detection starts:
    /// [`wait_dad`](super::wait_dad). An address that is on the interface already is left as it is.
    ///
    /// # Errors
    /// [`NetlinkError::NoOwner`] if no interface has an address of that prefix.
    // req: AL-3.2-01 (RFC 6629, 3.2): only whole /64 prefixes are used.
    pub fn add_identity(&mut self, addr: Ipv6Addr) -> Result<Added, NetlinkError> {
        let now = self.surroundings()?;
        let there = now.addresses.iter().find(|a| a.addr == addr && a.ifindex != LOOPBACK);
        if let Some(a) = there {
            return Ok(added(a));
        }
        let prefix = Prefix::of(addr);
        let owner = owner(&now, prefix).ok_or(NetlinkError::NoOwner(prefix))?;
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let what = format!("add {addr}");
        self.client.change(libc::RTM_NEWADDR, flags, &what, |request| {
            let flags = IFA_F_NOPREFIXROUTE;
            address_request(request, addr, 64, owner.ifindex, flags, owner.lifetimes)
        })?;
        self.added.insert((owner.ifindex, addr));
        Ok(Added::New { ifindex: owner.ifindex })
    }

    /// Gives our addresses the lifetimes that their prefixes have now; to be called when an address changed,
    /// because each router advertisement renews the prefix. Gives the number of addresses renewed.
    // req: S6-1.5-01 (RFC 5533, 1.5): an identity address becomes invalid together with its prefix.
    pub fn renew_lifetimes(&mut self) -> Result<usize, NetlinkError> {
        let now = self.surroundings()?;
        let mut renewed = 0;
        for a in now.addresses.iter().filter(|a| a.ours && !a.flags.dad_failed) {
            let Some(owner) = owner(&now, a.prefix()).filter(|o| o.ifindex == a.ifindex) else {
                continue;
            };
            if differs(owner.lifetimes.valid, a.lifetimes.valid)
                || differs(owner.lifetimes.preferred, a.lifetimes.preferred)
            {
                let what = format!("renew {}", a.addr);
                let flags = libc::NLM_F_REPLACE;
                self.client.change(libc::RTM_NEWADDR, flags, &what, |request| {
                    let (flags, index) = (IFA_F_NOPREFIXROUTE, a.ifindex);
                    address_request(request, a.addr, a.prefix_len, index, flags, owner.lifetimes)
                })?;
                renewed += 1;
            }
        }
        Ok(renewed)
    }

    /// Deletes an identity address if it is ours; tells whether it did.
    pub fn delete(&mut self, addr: Ipv6Addr) -> Result<bool, NetlinkError> {
        let mut deleted = false;
        for a in self.surroundings()?.addresses.iter().filter(|a| a.addr == addr && a.ours) {
            deleted |= delete_address(&mut self.client, a.addr, a.prefix_len, a.ifindex)?;
            self.added.remove(&(a.ifindex, a.addr));
        }
        Ok(deleted)
    }

    /// Makes the given addresses the preferred sources among those of their prefixes, by address labels; to be
    /// called again when an address came or went. With an empty list, all our labels go. Gives the number of
    /// labels that are now there.
    pub fn prefer(&mut self, identities: &[Ipv6Addr]) -> Result<usize, NetlinkError> {
        labels::prefer(&mut self.client, identities)
    }

    /// Keeps a ULID alive without its link, as /128 on `lo` with a fallback route, so that packets from and to
    /// it go on to pass through the hooks of this host. Harmless while the link is up: the fallback comes
    /// behind every other route, and the address is not picked for new communication.
    ///
    /// `valid` is what is left of the ULID's valid lifetime; the address goes when it is over. Calling again
    /// renews it. Tells whether the ULID was not held before.
    pub fn hold_ulid(&mut self, addr: Ipv6Addr, valid: Lifetime) -> Result<bool, NetlinkError> {
        hold::hold(&mut self.client, addr, valid)
    }

    /// Ends [`hold_ulid`](Self::hold_ulid); tells whether the ULID was held.
    pub fn release_ulid(&mut self, addr: Ipv6Addr) -> Result<bool, NetlinkError> {
        hold::release(&mut self.client, addr)
    }

    /// The ULIDs that are held, by this run or an earlier one.
    pub fn held_ulids(&mut self) -> Result<Vec<Ipv6Addr>, NetlinkError> {
        hold::held(&mut self.client)
    }

    /// Ends the kernel's attempt to find a neighbour, and frees the packets that wait for it. TCP does not send a segment
    /// again while an earlier copy waits somewhere in the host, and for a neighbour that is three seconds.
    pub fn stop_resolving(&mut self, ifindex: u32, addr: Ipv6Addr) -> Result<(), NetlinkError> {
        let what = format!("give up the neighbour {addr}");
        let failed = (libc::NUD_FAILED, 0);
        match self.change_neighbour(libc::NLM_F_REPLACE, &what, (ifindex, addr), failed) {
            Err(e) if matches!(e.errno(), Some(libc::ENOENT | libc::ENODEV)) => Ok(()),
            done => done,
        }
    }

    /// Has the kernel ask for a neighbour that has not answered, as the next packet to it would.
    pub fn resolve(&mut self, ifindex: u32, addr: Ipv6Addr) -> Result<(), NetlinkError> {
        let what = format!("ask for the neighbour {addr}");
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        self.change_neighbour(flags, &what, (ifindex, addr), (libc::NUD_NONE, libc::NTF_USE))
    }

    /// `state` and `how` are those of a neighbour's header (NUD_*, NTF_*).
    fn change_neighbour(
        &mut self,
        flags: i32,
        what: &str,
        (ifindex, addr): (u32, Ipv6Addr),
        (state, how): (u16, u8),
    ) -> Result<(), NetlinkError> {
        let mut head = [0; 12];
        head[0] = FAMILY;
        head[4..8].copy_from_slice(&ifindex.to_ne_bytes());
        head[8..10].copy_from_slice(&state.to_ne_bytes());
        head[10] = how;
        self.client.change(libc::RTM_NEWNEIGH, flags, what, |request| {
            request.head(&head).attr(parse::NDA_DST, &addr.octets())
        })
    }

    /// What the kernel would do with a packet: interface, path MTU as known now, router, and the source it would
    /// take if `src` is `None`.
    ///
    /// # Errors
    /// [`NetlinkError::Kernel`] with ENETUNREACH if there is no route; the fallback of a held ULID counts as none.
    pub fn route_get(
        &mut self,
        src: Option<Ipv6Addr>,
        dst: Ipv6Addr,
    ) -> Result<RouteAnswer, NetlinkError> {
        let src_len = if src.is_some() { 128 } else { 0 };
        let (mut answer, mtu, table) = self.client.ask(
            libc::RTM_GETROUTE,
            "find a route",
            |request| {
                let request = request
                    .head(&[FAMILY, 128, src_len, 0, 0, 0, 0, 0, 0, 0, 0, 0])
                    .attr(parse::RTA_DST, &dst.octets());
                match src {
                    Some(src) => request.attr(parse::RTA_SRC, &src.octets()),
                    None => request,
                }
            },
            |message| {
                let attributes = message.payload.get(12..)?;
                let table = attr(attributes, parse::RTA_TABLE).and_then(|v| u32_at(v, 0));
                let metrics = attr(attributes, parse::RTA_METRICS).unwrap_or_default();
                let mtu = attr(metrics, parse::RTAX_MTU).and_then(|v| u32_at(v, 0));
                let answer = RouteAnswer {
                    oif: attr(attributes, parse::RTA_OIF).and_then(|v| u32_at(v, 0))?,
                    mtu: 0,
                    gateway: attr(attributes, parse::RTA_GATEWAY).and_then(parse::ipv6),
                    src: attr(attributes, parse::RTA_PREFSRC).and_then(parse::ipv6).or(src),
                };
                Some((answer, mtu, table))
            },
        )?;
        if table == Some(hold::TABLE) {
            return Err(NetlinkError::kernel("find a route", libc::ENETUNREACH));
        }
        answer.mtu = match mtu {
            Some(mtu) => mtu,
            None => self.link_mtu(answer.oif)?,
        };
        Ok(answer)
    }

    /// The MTU that IPv6 uses on a link: the interface's, or less if a router advertised less.
    fn link_mtu(&mut self, ifindex: u32) -> Result<u32, NetlinkError> {
        let links = self.client.links()?;
        let link = links.iter().find(|l| l.ifindex == ifindex);
        let link = link.ok_or(NetlinkError::Garbled("interface of a route"))?;
        let path = format!("/proc/sys/net/ipv6/conf/{}/mtu", link.name);
        let advertised = std::fs::read_to_string(path).ok().and_then(|s| s.trim().parse().ok());
        Ok(advertised.unwrap_or(link.mtu).min(link.mtu))
    }

    /// Takes away what is ours: labels, held ULIDs with their rules, route and interface, and, if asked, the
    /// identity addresses. Goes on after an error and gives all of them.
    pub fn undo(&mut self, what: Undo) -> Vec<NetlinkError> {
        let mut errors = Vec::new();
        errors.extend(labels::remove_all(&mut self.client).err());
        errors.extend(hold::release_all(&mut self.client).err());
        if what.addresses {
            match self.surroundings() {
                Err(e) => errors.push(e),
                Ok(now) => {
                    for a in now.addresses.iter().filter(|a| a.ours) {
                        let (client, len) = (&mut self.client, a.prefix_len);
                        errors.extend(delete_address(client, a.addr, len, a.ifindex).err());
                    }
                    self.added.clear();
                }
            }
        }
        errors
    }
}

fn added(a: &AddressInfo) -> Added {
    if a.ours {
        Added::New { ifindex: a.ifindex }
    } else {
        Added::AlreadyThere { ifindex: a.ifindex }
    }
}

fn owner(now: &Snapshot, prefix: Prefix) -> Option<PrefixOwner> {
    now.addresses
        .iter()
        .filter(|a| a.prefix() == prefix && !a.ours && a.ifindex != LOOPBACK && a.prefix_len == 64)
        .filter(|a| !a.flags.dad_failed && a.lifetimes.valid != Lifetime::Seconds(0))
        // A privacy address outlives its prefix's announcement, but never the other way round.
        .max_by_key(|a| (!a.flags.temporary, a.lifetimes.valid, a.lifetimes.preferred))
        .map(|a| PrefixOwner { ifindex: a.ifindex, lifetimes: a.lifetimes })
}
