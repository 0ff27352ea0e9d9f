use super::*;
use crate::netlink::{AddressFlags, Lifetimes, NextHop};

fn addr(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, last)
}

fn router() -> Ipv6Addr {
    "fe80::1".parse().expect("an address")
}

fn info(last: u16, flags: AddressFlags) -> AddressInfo {
    let lifetimes = Lifetimes::FOREVER;
    AddressInfo { addr: addr(last), ifindex: 2, prefix_len: 64, flags, lifetimes, ours: false }
}

fn link() -> LinkInfo {
    LinkInfo {
        ifindex: 2,
        name: "eth0".into(),
        admin_up: true,
        lower_up: true,
        oper: OperState::Up,
        mtu: 1500,
        loopback: false,
    }
}

fn default_route(gateway: Ipv6Addr) -> RouteInfo {
    RouteInfo {
        dst: (Ipv6Addr::UNSPECIFIED, 0),
        src: None,
        hops: vec![NextHop { gateway: Some(gateway), ifindex: Some(2) }],
        table: 254,
        metric: 1024,
    }
}

fn neighbour(addr: Ipv6Addr, state: Reachability) -> NeighbourInfo {
    NeighbourInfo { ifindex: 2, addr, state, router: true }
}

fn working() -> Snapshot {
    Snapshot {
        addresses: vec![info(1, AddressFlags::default())],
        links: vec![link()],
        routes: vec![default_route(router())],
        neighbours: vec![neighbour(router(), Reachability::Reachable)],
    }
}

// req-test: RP-3.1-01, RP-3.1-02
#[test]
fn availability_needs_every_property() {
    let none = AddressFlags::default();
    assert!(info(1, none).is_available());
    assert!(info(1, AddressFlags { deprecated: true, ..none }).is_available());
    assert!(!info(1, AddressFlags { tentative: true, ..none }).is_available());
    assert!(info(1, AddressFlags { tentative: true, optimistic: true, ..none }).is_available());
    assert!(!info(1, AddressFlags { dad_failed: true, ..none }).is_available());
    let mut over = info(1, none);
    over.lifetimes.valid = Lifetime::Seconds(0);
    assert!(!over.is_available());
    over.lifetimes.valid = Lifetime::Seconds(1);
    assert!(over.is_available());
    assert_eq!(working().usability(addr(9)), Usability::NotAssigned);
}

// req-test: RP-3.1-01
#[test]
fn only_global_and_unique_local_addresses_count() {
    use crate::netlink::parse::is_locator;
    for (text, good) in [
        ("2001:db8::1", true),
        ("fd00::1", true),
        ("fe80::1", false),
        ("fec0::1", false),
        ("ff0e::1", false),
        ("::", false),
        ("::1", false),
        ("::ffff:192.0.2.1", false),
    ] {
        assert_eq!(is_locator(text.parse().expect("an address")), good, "{text}");
    }
}

// req-test: RP-3.2-01, RP-3.2-02, RP-3.2-03
#[test]
fn operational_needs_link_router_and_reachability() {
    let good = working();
    assert_eq!(good.usability(addr(1)), Usability::Operational);

    let mut bad = good.clone();
    for broken in [
        LinkInfo { admin_up: false, ..link() },
        LinkInfo { lower_up: false, ..link() },
        LinkInfo { oper: OperState::Down, ..link() },
        LinkInfo { oper: OperState::Dormant, ..link() },
    ] {
        bad.apply(&KernelEvent::Link(broken));
        assert_eq!(bad.usability(addr(1)), Usability::LinkDown);
    }
    bad.apply(&KernelEvent::Link(LinkInfo { oper: OperState::Unknown, ..link() }));
    assert_eq!(bad.usability(addr(1)), Usability::Operational);
    bad.apply(&KernelEvent::LinkGone(link()));
    assert_eq!(bad.usability(addr(1)), Usability::LinkDown);

    let mut bad = good.clone();
    bad.apply(&KernelEvent::Neighbour(neighbour(router(), Reachability::Failed)));
    assert_eq!(bad.usability(addr(1)), Usability::RouterFailed);
    // A second router that is not known to be dead suffices.
    bad.apply(&KernelEvent::Route(default_route(addr(0xff))));
    assert_eq!(bad.usability(addr(1)), Usability::Operational);
    bad.apply(&KernelEvent::RouteGone(default_route(addr(0xff))));
    bad.apply(&KernelEvent::Neighbour(neighbour(router(), Reachability::Unsure)));
    assert_eq!(bad.usability(addr(1)), Usability::Operational);
    bad.apply(&KernelEvent::RouteGone(default_route(router())));
    assert_eq!(bad.usability(addr(1)), Usability::NoRouter);
}

// req-test: AS-7-01
#[test]
fn a_route_for_another_source_does_not_help() {
    let mut state = working();
    let elsewhere = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 0);
    state.routes[0].src = Some((elsewhere, 64));
    assert_eq!(state.usability(addr(1)), Usability::NoRouter);
    state.routes[0].src = Some((addr(0), 64));
    assert_eq!(state.usability(addr(1)), Usability::Operational);
    state.routes[0].src = Some((Ipv6Addr::UNSPECIFIED, 0));
    assert_eq!(state.usability(addr(1)), Usability::Operational);
}

#[test]
fn events_replace_and_remove() {
    let mut state = working();
    let changed = info(1, AddressFlags { deprecated: true, ..AddressFlags::default() });
    state.apply(&KernelEvent::Address(changed));
    assert_eq!(state.addresses, [changed]);
    state.apply(&KernelEvent::Address(info(2, AddressFlags::default())));
    assert_eq!(state.addresses.len(), 2);
    state.apply(&KernelEvent::AddressGone(changed));
    assert_eq!(state.addresses.len(), 1);
    state.apply(&KernelEvent::Route(default_route(addr(0xff))));
    assert_eq!(state.routes.len(), 2);
    state.apply(&KernelEvent::RouteReplaced(default_route(router())));
    assert_eq!(state.routes, [default_route(router())]);
    state.apply(&KernelEvent::Overrun);
    assert_eq!(state.routes_through(&state.neighbours[0]).count(), 1);
}
