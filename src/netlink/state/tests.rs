use super::*;
use crate::netlink::{AddressFlags, Lifetimes, NextHop, Reachability};
use std::net::Ipv6Addr;

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

// req-test: RP-3.1-02
#[test]
fn deprecated_and_optimistic_addresses_come_last() {
    let none = AddressFlags::default();
    let last = |flags| info(1, flags).is_last_choice();
    assert!(!last(none));
    assert!(last(AddressFlags { deprecated: true, ..none }));
    assert!(last(AddressFlags { tentative: true, optimistic: true, ..none }));
    // The search for duplicates is over.
    assert!(!last(AddressFlags { optimistic: true, ..none }));
}

// req-test: RP-3.2-03
#[test]
fn a_link_works_with_carrier_and_unless_it_is_said_to_be_down() {
    for (bad, works) in [
        (link(), true),
        (LinkInfo { oper: OperState::Unknown, ..link() }, true),
        (LinkInfo { oper: OperState::Dormant, ..link() }, true),
        (LinkInfo { admin_up: false, ..link() }, false),
        (LinkInfo { lower_up: false, ..link() }, false),
        (LinkInfo { oper: OperState::Down, ..link() }, false),
    ] {
        assert_eq!(bad.works(), works, "{bad:?}");
    }
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
