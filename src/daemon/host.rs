//! What the kernel says about our addresses, links and routes, boiled down to what the engine wants to know.
//!
//! Pure: every look takes a whole snapshot, compares it with what was reported before, and answers with the
//! differences. Nothing is lost when events come in another order, twice, or not at all.

use crate::netlink::{AddressInfo, LinkInfo, NeighbourInfo, Reachability, Snapshot};
use crate::proto::Time;
use crate::proto::input::{AddressEvent, LocalAddress};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

/// How long an address that its link took along may take to come back once the link works again. Then it counts as
/// removed. As long as contexts live without traffic.
const RETURN: Duration = Duration::from_secs(600);

/// Neighbours that failed between two looks; as many as the kernel keeps by default.
const MOST_SILENT: usize = 1024;

/// What the kernel would do with packets from a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// Out of this interface.
    Out(u32),
    /// There is no way, or its router does not answer.
    None,
}

/// Routers, and other neighbours, that do not answer.
///
/// The kernel forgets at once: the next packet to a neighbour that has failed makes it ask again, so that while traffic
/// goes on the failure is to be seen in its reports only. The neighbour stays failed here until it shows itself, or its entry
/// is dropped.
#[derive(Debug, Default)]
pub struct Silent(BTreeSet<(u32, Ipv6Addr)>);

impl Silent {
    /// Takes note of the neighbours as they are now. Holds no more than the kernel's own table.
    // req: RP-3.2-02
    pub fn look(&mut self, neighbours: &[NeighbourInfo]) {
        let before = std::mem::take(&mut self.0);
        let silent = |n: &&NeighbourInfo| match n.state {
            Reachability::Failed => true,
            Reachability::Resolving => before.contains(&(n.ifindex, n.addr)),
            Reachability::Reachable | Reachability::Unsure => false,
        };
        self.0 = neighbours.iter().filter(silent).map(|n| (n.ifindex, n.addr)).collect();
    }

    /// Takes note of what the kernel reports of a neighbour.
    // req: RP-3.2-02
    pub fn hear(&mut self, neighbour: &NeighbourInfo) {
        if neighbour.state == Reachability::Failed && self.0.len() < MOST_SILENT {
            self.0.insert((neighbour.ifindex, neighbour.addr));
        }
    }

    /// Whether this neighbour does not answer.
    pub fn contains(&self, ifindex: u32, addr: Ipv6Addr) -> bool {
        self.0.contains(&(ifindex, addr))
    }
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
    /// Addresses whose link was down since they were last seen, be it for a moment.
    bounced: BTreeSet<Ipv6Addr>,
    /// Since when an address that its link took along could be back, but is not.
    overdue: BTreeMap<Ipv6Addr, Time>,
}

impl HostView {
    /// Looks at the host again; `route` says where packets from a source would go, `in_use` whether an address is a
    /// ULID of a context.
    // req: RP-4.1-01, RP-3.2-01, RP-3.2-03
    pub fn look(
        &mut self,
        now: &Snapshot,
        at: Time,
        mut route: impl FnMut(Ipv6Addr) -> Route,
        in_use: impl Fn(Ipv6Addr) -> bool,
    ) -> Vec<AddressEvent> {
        let mut events = Vec::new();
        let mut seen = BTreeMap::new();
        for info in now.addresses.iter().filter(|a| a.is_available()) {
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
            self.overdue.remove(addr);
            if *state != Reported::Unusable {
                self.bounced.remove(addr);
            }
            if self.reported.get(addr) != Some(state) {
                events.push(event(*addr, state));
                self.reported.insert(*addr, *state);
            }
        }
        let missing: Vec<Ipv6Addr> =
            self.reported.keys().filter(|a| !seen.contains_key(a)).copied().collect();
        for addr in missing {
            if self.is_gone(addr, now, at, &in_use) {
                self.forget(addr);
                events.push(AddressEvent::Gone(addr));
            } else if self.reported.insert(addr, Reported::Unusable) != Some(Reported::Unusable) {
                events.push(AddressEvent::Unusable(addr));
            }
        }
        events
    }

    /// Whether an address that is on no interface any more will not come back. One that its link took along may: when
    /// the link is up again, addresses have to be configured and checked for duplicates first.
    fn is_gone(
        &mut self,
        addr: Ipv6Addr,
        now: &Snapshot,
        at: Time,
        in_use: impl Fn(Ipv6Addr) -> bool,
    ) -> bool {
        let checked = |a: &AddressInfo| a.addr == addr && !a.flags.dad_failed;
        if now.addresses.iter().any(|a| checked(a) && !on_loopback(now, a)) {
            self.overdue.remove(&addr);
            return false;
        }
        let link =
            self.interface.get(&addr).and_then(|i| now.links.iter().find(|l| l.ifindex == *i));
        let taken_along = self.reported.get(&addr) == Some(&Reported::Unusable)
            || self.bounced.contains(&addr)
            || link.is_none();
        match link {
            Some(link) if !link.works() => {
                self.overdue.remove(&addr);
                false
            }
            _ if !taken_along => true,
            Some(_) => self.is_overdue(addr, at),
            // Its interface does not even exist.
            None => self.is_overdue(addr, at) && !in_use(addr),
        }
    }

    fn is_overdue(&mut self, addr: Ipv6Addr, at: Time) -> bool {
        at.since(*self.overdue.entry(addr).or_insert(at)) >= RETURN
    }

    /// A link is down, or was so a moment ago: what is missing on it was not removed by anybody.
    pub fn link_down(&mut self, ifindex: u32) {
        let there = self.interface.iter().filter(|(_, i)| **i == ifindex).map(|(a, _)| *a);
        self.bounced.extend(there);
    }

    /// An address of ours that is on no interface yet, but will be. What to report of it first.
    pub fn expect(&mut self, addr: Ipv6Addr) -> Vec<AddressEvent> {
        if self.reported.contains_key(&addr) {
            return Vec::new();
        }
        self.reported.insert(addr, Reported::Unusable);
        let local = LocalAddress { addr, deprecated: false, temporary: false };
        vec![AddressEvent::Present(local), AddressEvent::Unusable(addr)]
    }

    /// Addresses that are on no interface, or on one that does not work.
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

    fn forget(&mut self, addr: Ipv6Addr) {
        self.reported.remove(&addr);
        self.interface.remove(&addr);
        self.bounced.remove(&addr);
        self.overdue.remove(&addr);
    }
}

fn on_loopback(now: &Snapshot, a: &AddressInfo) -> bool {
    now.links.iter().any(|l| l.ifindex == a.ifindex && l.loopback)
}

fn judge(
    info: &AddressInfo,
    link: &LinkInfo,
    route: &mut impl FnMut(Ipv6Addr) -> Route,
) -> Reported {
    if !link.works() {
        return Reported::Unusable;
    }
    match route(info.addr) {
        Route::Out(_) => Reported::Present(LocalAddress {
            addr: info.addr,
            deprecated: info.is_last_choice(),
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
    use crate::netlink::{AddressFlags, Lifetimes, OperState};

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
        assert_eq!(look(&mut host, &up, 1), [present(1), present(2)]);
        assert_eq!(look(&mut host, &up, 1), [], "no change, no report");
        let flushed = snapshot(vec![info(2, 3)], vec![link(2, false), link(3, true)]);
        assert_eq!(look(&mut host, &flushed, 1), [AddressEvent::Unusable(addr(1))]);
        // Held on lo meanwhile, which must not count as a locator.
        let held = snapshot(
            vec![info(1, 1), info(2, 3)],
            vec![link(1, true), link(2, false), link(3, true)],
        );
        assert_eq!(look(&mut host, &held, 1), []);
        assert_eq!(look(&mut host, &up, 1), [present(1)], "back again");
    }

    /// Looks at a moment in seconds; addresses are not in use.
    fn look(host: &mut HostView, now: &Snapshot, secs: u64) -> Vec<AddressEvent> {
        host.look(now, Time::from_secs(secs), out, |_| false)
    }

    #[test]
    fn an_address_removed_from_a_working_link_is_gone() {
        let mut host = HostView::default();
        let up = snapshot(vec![info(1, 2)], vec![link(2, true)]);
        look(&mut host, &up, 1);
        let removed = snapshot(vec![], vec![link(2, true)]);
        assert_eq!(look(&mut host, &removed, 1), [AddressEvent::Gone(addr(1))]);
        assert_eq!(look(&mut host, &removed, 1), []);
    }

    #[test]
    fn a_lost_route_is_reported_and_so_is_its_return() {
        let mut host = HostView::default();
        let up = snapshot(vec![info(1, 2)], vec![link(2, true)]);
        look(&mut host, &up, 1);
        assert_eq!(
            host.look(&up, Time::from_secs(1), |_| Route::None, |_| false),
            [AddressEvent::Unreachable(addr(1))]
        );
        assert_eq!(host.all().next(), Some((addr(1), 2, false)));
        assert_eq!(look(&mut host, &up, 1), [present(1)]);
    }

    #[test]
    fn tentative_addresses_wait_and_duplicates_never_count() {
        let mut host = HostView::default();
        let mut a = info(1, 2);
        a.flags.tentative = true;
        let links = vec![link(2, true)];
        assert_eq!(look(&mut host, &snapshot(vec![a], links.clone()), 1), []);
        a.flags.dad_failed = true;
        assert_eq!(look(&mut host, &snapshot(vec![a], links.clone()), 1), []);
        assert_eq!(look(&mut host, &snapshot(vec![info(1, 2)], links), 1), [present(1)]);
    }

    #[test]
    fn deprecation_is_reported_as_a_change() {
        let mut host = HostView::default();
        let links = vec![link(2, true)];
        look(&mut host, &snapshot(vec![info(1, 2)], links.clone()), 1);
        let mut a = info(1, 2);
        a.flags.deprecated = true;
        let events = look(&mut host, &snapshot(vec![a], links), 1);
        assert_eq!(
            events,
            [AddressEvent::Present(LocalAddress {
                addr: addr(1),
                deprecated: true,
                temporary: false
            })]
        );
    }

    // req-test: RP-3.2-02
    #[test]
    fn a_router_that_has_failed_counts_as_failed_while_it_is_asked_again() {
        let mut silent = Silent::default();
        let mut is = |state| {
            let router = NeighbourInfo { ifindex: 2, addr: addr(9), state, router: true };
            silent.look(&[router]);
            silent.contains(2, addr(9))
        };
        assert!(!is(Reachability::Resolving), "asked for the first time");
        assert!(!is(Reachability::Reachable));
        assert!(!is(Reachability::Unsure));
        assert!(is(Reachability::Failed));
        assert!(is(Reachability::Resolving));
        assert!(is(Reachability::Failed));
        assert!(!is(Reachability::Unsure), "it has sent something itself");
        assert!(!is(Reachability::Resolving));
        assert!(is(Reachability::Failed));
        silent.look(&[]);
        assert!(!silent.contains(2, addr(9)), "forgotten by the kernel");
        // Between two looks it has failed and is asked again already.
        let router = |state| NeighbourInfo { ifindex: 2, addr: addr(9), state, router: true };
        silent.hear(&router(Reachability::Resolving));
        silent.hear(&router(Reachability::Failed));
        silent.hear(&router(Reachability::Resolving));
        silent.look(&[router(Reachability::Resolving)]);
        assert!(silent.contains(2, addr(9)));
        assert!(!silent.contains(3, addr(9)));
    }

    #[test]
    fn an_address_that_its_link_took_along_has_time_to_come_back() {
        let mut host = HostView::default();
        let up = snapshot(vec![info(1, 2)], vec![link(2, true)]);
        look(&mut host, &up, 1);
        let down = snapshot(vec![], vec![link(2, false)]);
        assert_eq!(look(&mut host, &down, 2), [AddressEvent::Unusable(addr(1))]);
        let bare = snapshot(vec![], vec![link(2, true)]);
        assert_eq!(look(&mut host, &bare, 1000), [], "the link is up, the address not there yet");
        let mut checked = info(1, 2);
        checked.flags.tentative = true;
        let checked = snapshot(vec![checked], vec![link(2, true)]);
        assert_eq!(look(&mut host, &checked, 1001), [], "looked at for duplicates");
        assert_eq!(look(&mut host, &up, 1002), [present(1)]);
        // And one that never comes back.
        look(&mut host, &down, 1003);
        assert_eq!(look(&mut host, &bare, 2000), []);
        assert_eq!(look(&mut host, &bare, 2599), []);
        assert_eq!(look(&mut host, &bare, 2600), [AddressEvent::Gone(addr(1))]);
        assert_eq!(look(&mut host, &up, 2601), [present(1)]);
        assert_eq!(look(&mut host, &bare, 2602), [AddressEvent::Gone(addr(1))], "taken by hand");
    }

    #[test]
    fn a_link_that_bounces_between_two_looks_removes_nothing() {
        let mut host = HostView::default();
        let up = snapshot(vec![info(1, 2), info(2, 3)], vec![link(2, true), link(3, true)]);
        look(&mut host, &up, 1);
        host.link_down(2);
        let flushed = snapshot(vec![], vec![link(2, true), link(3, true)]);
        let events = look(&mut host, &flushed, 2);
        assert_eq!(events, [AddressEvent::Unusable(addr(1)), AddressEvent::Gone(addr(2))]);
        look(&mut host, &up, 3);
        assert_eq!(
            look(&mut host, &flushed, 4),
            [AddressEvent::Gone(addr(1)), AddressEvent::Gone(addr(2))],
            "the bounce is over"
        );
    }

    #[test]
    fn an_interface_that_vanishes_takes_unused_addresses_along_at_last() {
        let mut host = HostView::default();
        look(&mut host, &snapshot(vec![info(1, 2)], vec![link(2, true)]), 1);
        let none = snapshot(vec![], vec![]);
        assert_eq!(look(&mut host, &none, 2), [AddressEvent::Unusable(addr(1))]);
        let later = Time::from_secs(9000);
        assert_eq!(host.look(&none, later, out, |_| true), [], "a context needs it");
        assert_eq!(look(&mut host, &none, 9001), [AddressEvent::Gone(addr(1))]);
        assert_eq!(host.all().count(), 0);
    }

    #[test]
    fn an_expected_address_is_ours_before_it_is_there() {
        let mut host = HostView::default();
        assert_eq!(host.expect(addr(1)), [present(1), AddressEvent::Unusable(addr(1))]);
        assert_eq!(host.expect(addr(1)), []);
        assert_eq!(look(&mut host, &snapshot(vec![], vec![link(2, true)]), 1), []);
        let up = snapshot(vec![info(1, 2)], vec![link(2, true)]);
        assert_eq!(look(&mut host, &up, 2), [present(1)]);
        assert_eq!(host.expect(addr(1)), []);
    }
}
