//! What the kernel tells of the host's links, addresses, routes and neighbours, and what the engine is told of it.

use super::super::host::{Route, Silent};
use super::super::record::Step;
use super::{Driver, clock};
use crate::netlink::{Addresses, KernelEvent, Reachability, Snapshot};
use crate::proto::input::AddressEvent;
use crate::proto::{Engine, Input, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

/// Kernel events come in swarms; the host is looked at once per swarm.
const SETTLE: Duration = Duration::from_millis(5);
/// Between two looks, unless an address or a link was lost.
const GAP: Duration = Duration::from_millis(100);
/// A look at the host even when nobody reported a change: events can be lost.
pub(super) const LOOK: Duration = Duration::from_secs(30);
/// Routers that do not answer are asked for so often: without packets to them nobody else does.
const ASK: Duration = Duration::from_secs(5);
/// Peers of one address of ours whose routes are looked at. An address counts as cut off only if none of them, nor the
/// Internet at large, is to be reached from it.
const PEERS_ASKED: usize = 8;
/// Where a default route must lead when no peer is known yet.
const SOMEWHERE: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1);

impl Driver {
    pub(super) fn on_kernel(&mut self, event: &KernelEvent) {
        let now = clock::now();
        let urgent = matches!(
            event,
            KernelEvent::Link(_) | KernelEvent::LinkGone(_) | KernelEvent::AddressGone(_)
        );
        if let KernelEvent::Link(link) = event
            && !link.works()
        {
            self.host.link_down(link.ifindex);
        }
        if let KernelEvent::Neighbour(neighbour) = event {
            self.silent.hear(neighbour);
        }
        // A link that goes down takes tentative addresses along, too: only this flag tells of a duplicate.
        if let KernelEvent::AddressGone(info) = event
            && info.flags.dad_failed
        {
            match self.keeper.duplicate(info.addr) {
                Ok(()) => self.announce_identity(),
                Err(e) => log::error!("{e}"),
            }
        }
        // A router with a full table, or a host with many neighbours, has something to report all the time.
        let at = if urgent { now } else { (now + SETTLE).max(self.last_look + GAP) };
        self.look_at = Time::earlier(self.look_at, Some(at));
    }

    /// Compares the host with what the engine knows of it.
    // req: RP-4.1-01, RP-3.1-03, RP-3.2-02
    pub(in crate::daemon) fn look_at_host(&mut self) {
        let now = clock::now();
        self.look_at = None;
        self.next_look = now + LOOK;
        self.last_look = now;
        let snapshot = match self.keeper.snapshot() {
            Ok(snapshot) => snapshot,
            Err(e) => {
                log::error!("the kernel's addresses cannot be read: {e}");
                return;
            }
        };
        self.tend_identity(&snapshot);
        let peers = self.peer_locators();
        let kernel = self.keeper.kernel();
        self.silent.look(&snapshot.neighbours);
        let silent = &self.silent;
        let mut dead = BTreeSet::new();
        let way = |addr| {
            let peers = peers.get(&addr).map_or(&[][..], Vec::as_slice);
            way_out(peers, |dst| route(kernel, &snapshot, silent, &mut dead, addr, dst))
        };
        let engine = &self.engine;
        let events = self.host.look(&snapshot, now, way, |addr| is_ulid(engine, addr));
        // Packets that leave before all flows have switched are caught by another look.
        if events.iter().any(|event| matches!(event, AddressEvent::Unusable(_))) {
            self.look_at = Some(now + GAP);
        }
        for event in events {
            log::info!("{event:?}");
            self.keeper.follow(&event, |addr| is_ulid(&self.engine, addr));
            self.feed(Input::Address(event));
        }
        self.free_waiting(&snapshot);
        self.ask_for(&dead, now);
    }

    /// A dead router is in nobody's way any more, so that no packet of the host's would find out that it is back.
    fn ask_for(&mut self, routers: &BTreeSet<(u32, Ipv6Addr)>, now: Time) {
        if routers.is_empty() {
            return;
        }
        let mut due = self.asked.map_or(now, |asked| asked + ASK);
        if due <= now {
            self.asked = Some(now);
            due = now + ASK;
            for (ifindex, addr) in routers {
                if let Err(e) = self.keeper.kernel().resolve(*ifindex, *addr) {
                    log::debug!("{e}");
                }
            }
        }
        self.look_at = Time::earlier(self.look_at, Some(due));
    }

    /// Packets that wait for a neighbour beyond a dead link would keep TCP from sending them elsewhere.
    fn free_waiting(&mut self, snapshot: &Snapshot) {
        let dead = |ifindex| snapshot.links.iter().any(|l| l.ifindex == ifindex && !l.works());
        let waited_for = snapshot
            .neighbours
            .iter()
            .filter(|n| n.state == Reachability::Resolving && dead(n.ifindex));
        for neighbour in waited_for {
            if let Err(e) = self.keeper.kernel().stop_resolving(neighbour.ifindex, neighbour.addr) {
                log::debug!("{e}");
            }
        }
    }

    /// Makes the identity once there are prefixes, and puts its addresses where they belong.
    fn tend_identity(&mut self, snapshot: &Snapshot) {
        let before = self.keeper.identity().cloned();
        if let Err(e) = self.keeper.establish(snapshot) {
            log::error!("{e}");
        }
        if let Err(e) = self.keeper.place(snapshot) {
            log::error!("{e}");
        }
        let after = self.keeper.identity().cloned();
        if before.map(|i| i.members().to_vec()) != after.as_ref().map(|i| i.members().to_vec()) {
            self.announce_identity();
        }
    }

    /// Tells the engine which identity is ours.
    pub(in crate::daemon) fn announce_identity(&mut self) {
        let identities: Vec<_> = self.keeper.identity().cloned().into_iter().collect();
        self.say(|| Step::Identities(identities.iter().map(|id| (&**id).into()).collect()));
        self.with_engine(|engine, cx| engine.set_identities(cx, identities));
    }

    /// A few locators of peers per own address, to ask the routing table about.
    fn peer_locators(&self) -> BTreeMap<Ipv6Addr, Vec<Ipv6Addr>> {
        let mut peers: BTreeMap<Ipv6Addr, Vec<Ipv6Addr>> = BTreeMap::new();
        for (_, pair) in self.engine.pairs() {
            let some = peers.entry(pair.local.0).or_default();
            if some.len() < PEERS_ASKED && !some.contains(&pair.peer.0) {
                some.push(pair.peer.0);
            }
        }
        peers
    }
}

/// Where packets from an address would go: to one of its peers, else to the Internet at large. A peer alone may be
/// unreachable without the address being cut off; finding that out is the exploration's task.
fn way_out(peers: &[Ipv6Addr], mut route: impl FnMut(Ipv6Addr) -> Route) -> Route {
    let mut all = peers.iter().copied().chain([SOMEWHERE]);
    all.find_map(|dst| Some(route(dst)).filter(|r| *r != Route::None)).unwrap_or(Route::None)
}

/// Where packets from one address to another would go. A router that does not answer neighbour solicitations counts as
/// none, and is noted in `dead`.
fn route(
    kernel: &mut Addresses,
    snapshot: &Snapshot,
    silent: &Silent,
    dead: &mut BTreeSet<(u32, Ipv6Addr)>,
    addr: Ipv6Addr,
    dst: Ipv6Addr,
) -> Route {
    let Ok(answer) = kernel.route_get(Some(addr), dst) else { return Route::None };
    if snapshot.links.iter().any(|l| l.ifindex == answer.oif && l.loopback) {
        return Route::None;
    }
    match answer.gateway.map(|gateway| (answer.oif, gateway)) {
        Some(router) if silent.contains(router.0, router.1) => {
            dead.insert(router);
            Route::None
        }
        Some(_) | None => Route::Out(answer.oif),
    }
}

/// Whether a context has the address as its ULID.
pub(super) fn is_ulid(engine: &Engine, addr: Ipv6Addr) -> bool {
    engine.pairs().any(|(ulids, _)| ulids.local.0 == addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_cut_off_only_if_it_reaches_nobody() {
        let peer = |n: u16| Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1);
        let some = [peer(1), peer(2)];
        let only =
            |alive: Ipv6Addr| move |dst| if dst == alive { Route::Out(3) } else { Route::None };
        assert_eq!(way_out(&some, only(peer(2))), Route::Out(3), "the first peer is arbitrary");
        assert_eq!(way_out(&some, only(SOMEWHERE)), Route::Out(3));
        assert_eq!(way_out(&[], only(SOMEWHERE)), Route::Out(3));
        assert_eq!(way_out(&some, only(peer(3))), Route::None);
        let mut asked = Vec::new();
        way_out(&some, |dst| {
            asked.push(dst);
            Route::Out(1)
        });
        assert_eq!(asked, [peer(1)], "one that answers is enough");
    }
}
