//! A mirror of the kernel's state, kept up to date by events, and the judgement on addresses that REAP needs.

use std::net::Ipv6Addr;

use super::types::{
    AddressInfo, KernelEvent, Lifetime, LinkInfo, NeighbourInfo, OperState, Reachability,
    RouteInfo, Snapshot,
};

/// Why a local address cannot be used now (RFC 5534, 3.1 and 3.2), or that it can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Usability {
    /// Available and locally operational.
    Operational,
    /// On no interface.
    NotAssigned,
    /// Detection of duplicates has not ended, and the address is not optimistic.
    Tentative,
    /// Another host has it, or its valid lifetime is over.
    Invalid,
    /// Its interface is down or has no carrier.
    LinkDown,
    /// No default route leads out of its interface.
    NoRouter,
    /// All routers of its interface are known to be unreachable.
    RouterFailed,
}

impl AddressInfo {
    /// Whether the address is available as a locator (RFC 5534, 3.1): on an interface, valid, and not tentative
    /// unless optimistic. Addresses of other scopes never become an `AddressInfo`.
    // req: RP-3.1-01, RP-3.1-02
    pub fn is_available(&self) -> bool {
        matches!(self.availability(), Usability::Operational)
    }

    fn availability(&self) -> Usability {
        let over = self.lifetimes.valid == Lifetime::Seconds(0);
        if self.flags.dad_failed || over {
            Usability::Invalid
        } else if self.flags.tentative && !self.flags.optimistic {
            Usability::Tentative
        } else {
            Usability::Operational
        }
    }
}

impl LinkInfo {
    /// Whether packets can pass, as far as this host can tell.
    // req: RP-3.2-03
    pub fn is_up(&self) -> bool {
        self.admin_up && self.lower_up && matches!(self.oper, OperState::Up | OperState::Unknown)
    }
}

impl RouteInfo {
    fn same(&self, other: &RouteInfo) -> bool {
        self.dst == other.dst
            && self.src == other.src
            && self.table == other.table
            && self.metric == other.metric
    }
}

impl Snapshot {
    /// Makes an event's change. [`KernelEvent::Overrun`] changes nothing: take a new snapshot.
    pub fn apply(&mut self, event: &KernelEvent) {
        match event {
            KernelEvent::Address(a) => {
                put(&mut self.addresses, *a, |b| (b.addr, b.ifindex) == (a.addr, a.ifindex))
            }
            KernelEvent::AddressGone(a) => {
                self.addresses.retain(|b| (b.addr, b.ifindex) != (a.addr, a.ifindex));
            }
            KernelEvent::Link(l) => put(&mut self.links, l.clone(), |b| b.ifindex == l.ifindex),
            KernelEvent::LinkGone(l) => self.links.retain(|b| b.ifindex != l.ifindex),
            KernelEvent::RouteReplaced(r) => {
                self.routes.retain(|b| !b.same(r));
                self.routes.push(r.clone());
            }
            // Routes that differ in their next hop alone stand side by side, until the last is taken away.
            KernelEvent::Route(r) => {
                put(&mut self.routes, r.clone(), |b| b.same(r) && b.hops == r.hops);
            }
            KernelEvent::RouteGone(r) => {
                self.routes.retain(|b| !(b.same(r) && b.hops == r.hops));
            }
            KernelEvent::Neighbour(n) => {
                put(&mut self.neighbours, *n, |b| (b.ifindex, b.addr) == (n.ifindex, n.addr))
            }
            KernelEvent::Overrun => {}
        }
    }

    /// The routes whose next hop is this neighbour.
    pub fn routes_through(&self, n: &NeighbourInfo) -> impl Iterator<Item = &RouteInfo> {
        let (ifindex, addr) = (n.ifindex, n.addr);
        self.routes.iter().filter(move |r| {
            r.hops.iter().any(|h| h.gateway == Some(addr) && h.ifindex == Some(ifindex))
        })
    }

    /// Whether packets from a local address can leave, as far as this host can tell (RFC 5534, 3.2).
    ///
    /// [`Usability::NoRouter`] is for the caller to weigh: where no interface has a router, all peers are on
    /// the link.
    // req: RP-3.2-01, RP-3.2-02
    pub fn usability(&self, addr: Ipv6Addr) -> Usability {
        let Some(info) = self.addresses.iter().find(|a| a.addr == addr) else {
            return Usability::NotAssigned;
        };
        let available = info.availability();
        if available != Usability::Operational {
            return available;
        }
        match self.links.iter().find(|l| l.ifindex == info.ifindex) {
            // An address of the loopback interface goes out by whatever link there is.
            Some(l) if l.loopback => return Usability::Operational,
            Some(l) if l.is_up() => {}
            _ => return Usability::LinkDown,
        }
        let mut routers = self
            .routes
            .iter()
            .filter(|r| r.is_default() && r.src.is_none_or(|src| covers(src, addr)))
            .flat_map(|r| &r.hops)
            .filter(|h| h.ifindex == Some(info.ifindex))
            .peekable();
        if routers.peek().is_none() {
            return Usability::NoRouter;
        }
        let failed = |gateway: Ipv6Addr| {
            self.neighbours.iter().any(|n| {
                n.addr == gateway && n.ifindex == info.ifindex && n.state == Reachability::Failed
            })
        };
        if routers.all(|h| h.gateway.is_some_and(failed)) {
            Usability::RouterFailed
        } else {
            Usability::Operational
        }
    }
}

fn covers((prefix, len): (Ipv6Addr, u8), addr: Ipv6Addr) -> bool {
    let shift = 128 - u32::from(len.min(128));
    let upper = |a: Ipv6Addr| a.to_bits().checked_shr(shift).unwrap_or(0);
    upper(prefix) == upper(addr)
}

fn put<T>(list: &mut Vec<T>, item: T, same: impl Fn(&T) -> bool) {
    match list.iter_mut().find(|old| same(old)) {
        Some(old) => *old = item,
        None => list.push(item),
    }
}

#[cfg(test)]
mod tests;
