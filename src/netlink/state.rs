//! A mirror of the kernel's state, kept up to date by events, and what each part of it says by itself.

use super::types::{
    AddressInfo, KernelEvent, Lifetime, LinkInfo, NeighbourInfo, OperState, RouteInfo, Snapshot,
};

impl AddressInfo {
    /// Whether the address is available as a locator (RFC 5534, 3.1): on an interface, valid, and not tentative
    /// unless optimistic. Addresses of other scopes never become an `AddressInfo`.
    // req: RP-3.1-01, RP-3.1-02
    pub fn is_available(&self) -> bool {
        let over = self.lifetimes.valid == Lifetime::Seconds(0);
        let waits = self.flags.tentative && !self.flags.optimistic;
        !(self.flags.dad_failed || over || waits)
    }

    /// Whether others are to be preferred to it: its preferred lifetime is over, or it is still optimistic, which counts as
    /// the same (RFC 4429, 3).
    // req: RP-3.1-02
    pub fn is_last_choice(&self) -> bool {
        self.flags.deprecated || self.flags.tentative && self.flags.optimistic
    }
}

impl LinkInfo {
    /// Whether packets can pass, as far as this host can tell.
    // req: RP-3.2-03
    pub fn works(&self) -> bool {
        self.admin_up && self.lower_up && self.oper != OperState::Down
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
}

fn put<T>(list: &mut Vec<T>, item: T, same: impl Fn(&T) -> bool) {
    match list.iter_mut().find(|old| same(old)) {
        Some(old) => *old = item,
        None => list.push(item),
    }
}

#[cfg(test)]
mod tests;
