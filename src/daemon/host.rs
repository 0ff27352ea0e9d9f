//! What the kernel says about our addresses, links and routes, boiled down to what the engine wants to know.
//!
//! Pure: every look takes a whole snapshot, compares it with what was reported before, and answers with the
//! differences. Nothing is lost when events come in another order, twice, or not at all.

use crate::netlink::{AddressInfo, LinkInfo, OperState, Snapshot};
use crate::proto::input::{AddressEvent, LocalAddress};
use std::collections::BTreeMap;
use std::net::Ipv6Addr;

/// What the kernel would do with packets from a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// Out of this interface.
    Out(u32),
    /// There is no way, or its router does not answer.
    None,
}

/// What was last reported of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reported {
    Present(LocalAddress),
    Unreachable,
    Unusable,
}

/// The addresses as last reported.
#[derive(Debug, Default)]
pub struct HostView {
    reported: BTreeMap<Ipv6Addr, Reported>,
    interface: BTreeMap<Ipv6Addr, u32>,
}

impl HostView {
    /// Looks at the host again; `route` says where packets from a source would go.
    // req: RP-4.1-01, RP-3.2-01, RP-3.2-03
    pub fn look(
        &mut self,
        now: &Snapshot,
        mut route: impl FnMut(Ipv6Addr) -> Route,
    ) -> Vec<AddressEvent> {
        let mut events = Vec::new();
        let mut seen = BTreeMap::new();
        for info in now.addresses.iter().filter(|a| counts(a)) {
            let Some(link) = now.links.iter().find(|l| l.ifindex == info.ifindex) else { continue };
            if link.loopback {
                continue;
            }
            let state = judge(info, link, &mut route);
            // The same address on two links: the better one counts.
            let better = match seen.get(&info.addr) {
                Some(old) => rank(&state) > rank(old),
                None => true,
            };
            if better {
                seen.insert(info.addr, state);
                self.interface.insert(info.addr, info.ifindex);
            }
        }
        for (addr, state) in &seen {
            if self.reported.get(addr) != Some(state) {
                events.push(event(*addr, state));
                self.reported.insert(*addr, *state);
            }
        }
        let missing: Vec<Ipv6Addr> =
            self.reported.keys().filter(|a| !seen.contains_key(a)).copied().collect();
        for addr in missing {
            self.lost(addr, now, &mut events);
        }
        events
    }

    /// An address is on no interface any more: with its link down it may come back, else it is gone for good.
    fn lost(&mut self, addr: Ipv6Addr, now: &Snapshot, events: &mut Vec<AddressEvent>) {
        let link =
            self.interface.get(&addr).and_then(|i| now.links.iter().find(|l| l.ifindex == *i));
        if link.is_some_and(works) {
            self.reported.remove(&addr);
            self.interface.remove(&addr);
            events.push(AddressEvent::Gone(addr));
        } else if self.reported.insert(addr, Reported::Unusable) != Some(Reported::Unusable) {
            events.push(AddressEvent::Unusable(addr));
        }
    }

    /// Whether packets can leave from this address now.
    pub fn usable(&self, addr: Ipv6Addr) -> bool {
        matches!(self.reported.get(&addr), Some(Reported::Present(_)))
    }

    /// Addresses whose link is down.
    pub fn unusable(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        self.reported.iter().filter(|(_, s)| **s == Reported::Unusable).map(|(a, _)| *a)
    }

    /// Every address known, with the interface where it is or was.
    pub fn all(&self) -> impl Iterator<Item = (Ipv6Addr, u32, bool)> + '_ {
        self.reported.iter().map(|(a, s)| {
            let index = self.interface.get(a).copied().unwrap_or(0);
            (*a, index, matches!(s, Reported::Present(_)))
        })
    }

    /// Forgets an address, as if it had never been there.
    pub fn forget(&mut self, addr: Ipv6Addr) {
        self.reported.remove(&addr);
        self.interface.remove(&addr);
    }
}

/// Whether the address can serve at all: detection of duplicates has to be over.
fn counts(info: &AddressInfo) -> bool {
    !info.flags.dad_failed && (!info.flags.tentative || info.flags.optimistic)
}

fn works(link: &LinkInfo) -> bool {
    link.admin_up && link.lower_up && link.oper != OperState::Down
}

fn judge(
    info: &AddressInfo,
    link: &LinkInfo,
    route: &mut impl FnMut(Ipv6Addr) -> Route,
) -> Reported {
    if !works(link) {
        return Reported::Unusable;
    }
    match route(info.addr) {
        Route::Out(_) => Reported::Present(LocalAddress {
            addr: info.addr,
            deprecated: info.flags.deprecated,
            temporary: info.flags.temporary,
        }),
        Route::None => Reported::Unreachable,
    }
}

fn rank(state: &Reported) -> u8 {
    match state {
        Reported::Present(_) => 2,
        Reported::Unreachable => 1,
        Reported::Unusable => 0,
    }
}

fn event(addr: Ipv6Addr, state: &Reported) -> AddressEvent {
    match state {
        Reported::Present(local) => AddressEvent::Present(*local),
        Reported::Unreachable => AddressEvent::Unreachable(addr),
        Reported::Unusable => AddressEvent::Unusable(addr),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{AddressFlags, Lifetimes};

    fn addr(n: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1)
    }

    fn link(ifindex: u32, up: bool) -> LinkInfo {
        LinkInfo {
            ifindex,
            name: format!("eth{ifindex}"),
            admin_up: up,
            lower_up: up,
            oper: if up { OperState::Up } else { OperState::Down },
            mtu: 1500,
            loopback: ifindex == 1,
        }
    }

    fn info(n: u16, ifindex: u32) -> AddressInfo {
        AddressInfo {
            addr: addr(n),
            ifindex,
            prefix_len: 64,
            flags: AddressFlags::default(),
            lifetimes: Lifetimes::FOREVER,
            ours: false,
        }
    }

    fn snapshot(addresses: Vec<AddressInfo>, links: Vec<LinkInfo>) -> Snapshot {
        Snapshot { addresses, links, ..Snapshot::default() }
    }

    fn present(n: u16) -> AddressEvent {
        AddressEvent::Present(LocalAddress { addr: addr(n), deprecated: false, temporary: false })
    }

    fn out(_: Ipv6Addr) -> Route {
        Route::Out(2)
    }

    // req-test: RP-4.1-01, RP-3.2-01, RP-3.2-03
    #[test]
    fn a_link_that_goes_down_makes_its_addresses_unusable_even_when_they_are_flushed() {
        let mut host = HostView::default();
        let up = snapshot(vec![info(1, 2), info(2, 3)], vec![link(2, true), link(3, true)]);
        assert_eq!(host.look(&up, out), [present(1), present(2)]);
        assert_eq!(host.look(&up, out), [], "no change, no report");
        let flushed = snapshot(vec![info(2, 3)], vec![link(2, false), link(3, true)]);
        assert_eq!(host.look(&flushed, out), [AddressEvent::Unusable(addr(1))]);
        // Held on lo meanwhile, which must not count as a locator.
        let held = snapshot(
            vec![info(1, 1), info(2, 3)],
            vec![link(1, true), link(2, false), link(3, true)],
        );
        assert_eq!(host.look(&held, out), []);
        assert_eq!(host.look(&up, out), [present(1)], "back again");
    }

    #[test]
    fn an_address_removed_from_a_working_link_is_gone() {
        let mut host = HostView::default();
        let up = snapshot(vec![info(1, 2)], vec![link(2, true)]);
        host.look(&up, out);
        let removed = snapshot(vec![], vec![link(2, true)]);
        assert_eq!(host.look(&removed, out), [AddressEvent::Gone(addr(1))]);
        assert_eq!(host.look(&removed, out), []);
    }

    #[test]
    fn a_lost_route_is_reported_and_so_is_its_return() {
        let mut host = HostView::default();
        let up = snapshot(vec![info(1, 2)], vec![link(2, true)]);
        host.look(&up, out);
        assert_eq!(host.look(&up, |_| Route::None), [AddressEvent::Unreachable(addr(1))]);
        assert!(!host.usable(addr(1)));
        assert_eq!(host.look(&up, out), [present(1)]);
    }

    #[test]
    fn tentative_addresses_wait_and_duplicates_never_count() {
        let mut host = HostView::default();
        let mut a = info(1, 2);
        a.flags.tentative = true;
        let links = vec![link(2, true)];
        assert_eq!(host.look(&snapshot(vec![a], links.clone()), out), []);
        a.flags.dad_failed = true;
        assert_eq!(host.look(&snapshot(vec![a], links.clone()), out), []);
        assert_eq!(host.look(&snapshot(vec![info(1, 2)], links), out), [present(1)]);
    }

    #[test]
    fn deprecation_is_reported_as_a_change() {
        let mut host = HostView::default();
        let links = vec![link(2, true)];
        host.look(&snapshot(vec![info(1, 2)], links.clone()), out);
        let mut a = info(1, 2);
        a.flags.deprecated = true;
        let events = host.look(&snapshot(vec![a], links), out);
        assert_eq!(
            events,
            [AddressEvent::Present(LocalAddress {
                addr: addr(1),
                deprecated: true,
                temporary: false
            })]
        );
    }
}
