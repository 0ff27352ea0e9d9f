//! Addresses, labels, held ULIDs and the monitor against the running kernel, each test in a network namespace of
//! its own.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod netns;

use std::future::Future;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use netns::{Host, eventually, isolated, sh, within};
use shim6::addr::Prefix;
use shim6::netlink::{
    Added, Addresses, KernelEvent, Lifetime, Lifetimes, Monitor, NeighbourInfo, NetlinkError,
    Reachability, Snapshot, Undo, wait_dad,
};
use shim6::nft::{self, RuleSpec};

fn ip(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

fn run<T>(task: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        tokio::time::timeout(Duration::from_secs(20), task).await.expect("in time")
    })
}

/// Everything this module may change.
fn everything() -> String {
    sh("ip -6 addr; ip -6 rule; ip -6 route show table all; ip -o link; ip -6 addrlabel")
        .lines()
        .map(|l| match l.find("valid_lft").or_else(|| l.find("expires")) {
            Some(at) => &l[..at],
            None => l,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// A host at the other end of eth0, which is 2001:db8:a::/64; it is ::2, we are ::1.
fn one_link() -> Host {
    let peer = Host::new();
    peer.connect("eth0", "eth0");
    sh("ip addr add 2001:db8:a::1/64 dev eth0 nodad");
    peer.sh("ip addr add 2001:db8:a::2/64 dev eth0 nodad");
    sh("echo 1 > /proc/sys/net/ipv6/conf/eth0/accept_dad");
    peer
}

fn lifetimes_of(addr: &str, kernel: &mut Addresses) -> Lifetimes {
    let now = kernel.snapshot().unwrap();
    now.addresses.iter().find(|a| a.addr == ip(addr)).expect("the address").lifetimes
}

// req-test: CG-4-01, RP-3.1-03, AL-3.2-01
#[test]
fn an_identity_address_joins_its_prefix_and_leaves_no_trace() {
    isolated("an_identity_address_joins_its_prefix_and_leaves_no_trace", || {
        let _peer = one_link();
        let before = everything();
        let mut kernel = Addresses::open().unwrap();
        let eth0 = kernel.owner_of(Prefix::of(ip("2001:db8:a::1"))).unwrap().expect("an owner");
        assert_eq!(eth0.lifetimes, Lifetimes::FOREVER);
        let added = kernel.add_identity(ip("2001:db8:a::1d")).unwrap();
        assert_eq!(added, Added::New { ifindex: eth0.ifindex });
        run(wait_dad(ip("2001:db8:a::1d"), added.ifindex(), Duration::from_secs(10))).unwrap();
        let shown = sh("ip -6 addr show dev eth0");
        assert!(shown.contains("2001:db8:a::1d/64 scope global noprefixroute"), "{shown}");
        // One of our own, also after a restart, and one of somebody else.
        let mut restarted = Addresses::open().unwrap();
        let again = restarted.add_identity(ip("2001:db8:a::1d")).unwrap();
        assert_eq!(again, Added::New { ifindex: eth0.ifindex });
        let other = restarted.add_identity(ip("2001:db8:a::1")).unwrap();
        assert_eq!(other, Added::AlreadyThere { ifindex: eth0.ifindex });
        assert!(!restarted.delete(ip("2001:db8:a::1")).unwrap());
        assert!(matches!(
            restarted.add_identity(ip("2001:db8:ffff::1")),
            Err(NetlinkError::NoOwner(_))
        ));
        assert!(restarted.undo(Undo { addresses: false }).is_empty());
        assert_ne!(everything(), before);
        assert!(restarted.undo(Undo { addresses: true }).is_empty());
        assert_eq!(everything(), before);
        assert!(!kernel.delete(ip("2001:db8:a::1d")).unwrap());
    });
}

// req-test: HB-6-11
#[test]
fn a_duplicate_is_a_typed_failure() {
    isolated("a_duplicate_is_a_typed_failure", || {
        let peer = one_link();
        peer.sh("ip addr add 2001:db8:a::d0/64 dev eth0 nodad; ip addr add 2001:db8:a::d1/64 dev eth0 nodad");
        let mut kernel = Addresses::open().unwrap();
        let limit = Duration::from_secs(10);
        // Without end the kernel keeps and marks it, with an end it deletes it.
        let added = kernel.add_identity(ip("2001:db8:a::d0")).unwrap();
        let ended = run(wait_dad(ip("2001:db8:a::d0"), added.ifindex(), limit));
        assert!(matches!(ended, Err(NetlinkError::DadFailed(_))), "{ended:?}");
        sh("ip addr change 2001:db8:a::1/64 dev eth0 valid_lft 3000 preferred_lft 2000");
        let ended = run(async {
            let added = kernel.add_identity(ip("2001:db8:a::d1")).unwrap();
            wait_dad(ip("2001:db8:a::d1"), added.ifindex(), limit).await
        });
        assert!(matches!(ended, Err(NetlinkError::DadFailed(_))), "{ended:?}");
        let now = kernel.snapshot().unwrap();
        let listed = |addr| now.addresses.iter().find(|a| a.addr == ip(addr));
        assert!(listed("2001:db8:a::d0").is_some_and(|a| !a.is_available()));
        assert_eq!(listed("2001:db8:a::d1"), None);
        let gone = run(wait_dad(ip("2001:db8:a::77"), added.ifindex(), limit));
        assert!(matches!(gone, Err(NetlinkError::AddressGone(_))), "{gone:?}");
        peer.sh("ip link set eth0 down");
        let added = kernel.add_identity(ip("2001:db8:a::d2")).unwrap();
        let late = run(wait_dad(ip("2001:db8:a::d2"), added.ifindex(), Duration::from_millis(200)));
        assert!(matches!(late, Err(NetlinkError::DadTimeout(_))), "{late:?}");
    });
}

// req-test: S6-1.5-01
#[test]
fn an_identity_address_lives_as_long_as_its_prefix() {
    isolated("an_identity_address_lives_as_long_as_its_prefix", || {
        let _peer = one_link();
        sh("ip addr change 2001:db8:a::1/64 dev eth0 valid_lft 3000 preferred_lft 2000");
        let mut kernel = Addresses::open().unwrap();
        let near = |life: Lifetime, want: u32| match life {
            Lifetime::Seconds(s) => s <= want && s + 5 >= want,
            Lifetime::Forever => false,
        };
        kernel.add_identity(ip("2001:db8:a::1d")).unwrap();
        let life = lifetimes_of("2001:db8:a::1d", &mut kernel);
        assert!(near(life.valid, 3000) && near(life.preferred, 2000), "{life:?}");
        assert_eq!(kernel.renew_lifetimes().unwrap(), 0);
        sh("ip addr change 2001:db8:a::1/64 dev eth0 valid_lft 9000 preferred_lft 8000");
        assert_eq!(kernel.renew_lifetimes().unwrap(), 1);
        let life = lifetimes_of("2001:db8:a::1d", &mut kernel);
        assert!(near(life.valid, 9000) && near(life.preferred, 8000), "{life:?}");
        sh("ip addr change 2001:db8:a::1/64 dev eth0 valid_lft 2 preferred_lft 0");
        assert_eq!(kernel.renew_lifetimes().unwrap(), 1);
        assert!(kernel.snapshot().unwrap().addresses.iter().any(|a| a.flags.deprecated && a.ours));
        run(async {
            let mut monitor = Monitor::open().unwrap();
            loop {
                match monitor.next().await.unwrap() {
                    KernelEvent::AddressGone(a) if a.addr == ip("2001:db8:a::1d") => break,
                    _ => {}
                }
            }
        });
        let left = kernel.snapshot().unwrap().addresses;
        assert!(left.iter().all(|a| a.addr != ip("2001:db8:a::1d")));
    });
}

/// The source address that the kernel picks.
fn source_towards(dst: &str) -> Ipv6Addr {
    let socket = UdpSocket::bind("[::]:0").unwrap();
    socket.connect((dst, 9)).unwrap();
    match socket.local_addr().unwrap() {
        SocketAddr::V6(a) => *a.ip(),
        SocketAddr::V4(a) => panic!("{a}"),
    }
}

#[test]
fn labels_make_identity_addresses_preferred_and_go_again() {
    isolated("labels_make_identity_addresses_preferred_and_go_again", || {
        let _peer = one_link();
        sh("ip route add default via 2001:db8:a::2
            echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
            ip addr del 2001:db8:a::1/64 dev eth0
            ip addr add 2001:db8:a:0:8000::1/64 dev eth0
            ip addrlabel add prefix 2001:db8:a::77/128 label 50");
        let before = everything();
        let mut kernel = Addresses::open().unwrap();
        // Whichever of two addresses is the identity is picked, wherever the destination is.
        let added = kernel.add_identity(ip("2001:db8:a::1d")).unwrap();
        let limit = Duration::from_secs(5);
        run(wait_dad(ip("2001:db8:a::1d"), added.ifindex(), limit)).unwrap();
        let (identity, other) = ("2001:db8:a::1d", "2001:db8:a:0:8000::1");
        for wanted in [identity, other, identity] {
            assert_eq!(kernel.prefer(&[ip(wanted)]).unwrap(), 1);
            for dst in ["2001:db8:a:0:8000::ff", "2001:db8:c::1", "2001:db8:a::2"] {
                assert_eq!(source_towards(dst), ip(wanted), "{dst}");
            }
        }
        // Another address comes, and one for which somebody has an entry: that entry stays.
        sh("ip addr add 2001:db8:a:0:8000::2/64 dev eth0; ip addr add 2001:db8:a::77/64 dev eth0");
        for _ in 0..2 {
            assert_eq!(kernel.prefer(&[ip(identity)]).unwrap(), 2);
        }
        assert_eq!(source_towards("2001:db8:c::1"), ip(identity));
        sh("ip addr del 2001:db8:a:0:8000::2/64 dev eth0; ip addr del 2001:db8:a::77/64 dev eth0");
        assert_eq!(kernel.prefer(&[ip(identity)]).unwrap(), 1);
        assert_eq!(kernel.prefer(&[]).unwrap(), 0);
        assert_eq!(kernel.prefer(&[ip(identity)]).unwrap(), 1);
        // Another instance knows what is ours.
        assert!(Addresses::open().unwrap().undo(Undo { addresses: true }).is_empty());
        assert_eq!(everything(), before);
    });
}

/// Two links to one peer: eth0 is 2001:db8:a::/64, eth1 is 2001:db8:b::/64, the peer serves 2001:db8:c::2. Only
/// eth0 leads there.
fn two_links() -> Host {
    let peer = Host::new();
    peer.connect("eth0", "eth0");
    peer.connect("eth1", "eth1");
    sh("ip addr add 2001:db8:a::1/64 dev eth0 nodad; ip addr add 2001:db8:b::1/64 dev eth1 nodad
        ip route add default via 2001:db8:a::2");
    peer.sh(
        "ip addr add 2001:db8:a::2/64 dev eth0 nodad; ip addr add 2001:db8:b::2/64 dev eth1 nodad
         ip addr add 2001:db8:c::2/128 dev lo",
    );
    sh("ping -c1 -W2 2001:db8:c::2; ping -c1 -W2 2001:db8:b::2");
    peer
}

fn connect(peer: &Host) -> (TcpStream, TcpStream) {
    let listener = peer.run(|| TcpListener::bind("[2001:db8:c::2]:7000").unwrap());
    let ours = TcpStream::connect("[2001:db8:c::2]:7000").unwrap();
    assert_eq!(ours.local_addr().unwrap().ip(), ip("2001:db8:a::1"));
    let theirs = listener.accept().unwrap().0;
    (ours, theirs)
}

fn packets_out() -> u64 {
    let counters = nft::counters().unwrap();
    counters.iter().find(|c| c.comment == "plain packets out").expect("the rule").packets
}

fn install_rules() {
    let kind = nft::probe().unwrap().queue_kind().unwrap();
    nft::install(&RuleSpec::default(), kind).unwrap();
}

#[test]
fn without_holding_a_dead_link_silences_its_flows() {
    isolated("without_holding_a_dead_link_silences_its_flows", || {
        let peer = two_links();
        let (mut ours, _theirs) = connect(&peer);
        install_rules();
        sh("ip link set eth0 down");
        let before = packets_out();
        ours.write_all(b"lost").unwrap();
        assert!(!within(Duration::from_secs(2), || packets_out() > before));
    });
}

// req-test: S6-4-04
#[test]
fn a_held_ulid_lives_on_without_its_link() {
    isolated("a_held_ulid_lives_on_without_its_link", || {
        let peer = two_links();
        let before = everything();
        let (mut ours, mut theirs) = connect(&peer);
        install_rules();
        let mut kernel = Addresses::open().unwrap();
        let ulid = ip("2001:db8:a::1");
        assert!(kernel.hold_ulid(ulid, Lifetime::Forever).unwrap());
        assert!(!kernel.hold_ulid(ulid, Lifetime::Seconds(5000)).unwrap());
        assert_eq!(kernel.held_ulids().unwrap(), [ulid]);
        // While the link is up nothing changes, and nobody sees what we hold.
        sh("ping -c1 -W2 2001:db8:c::2");
        assert_eq!(source_towards("2001:db8:c::2"), ulid);
        let now = kernel.snapshot().unwrap();
        assert_eq!(now.addresses.iter().filter(|a| a.addr == ulid).count(), 1);
        assert!(now.links.iter().all(|l| !l.name.starts_with("shim6")), "{:?}", now.links);
        assert!(now.routes.iter().all(|r| r.table != 5533));
        let eth0 = now.links.iter().find(|l| l.name == "eth0").unwrap().ifindex;
        assert_eq!(kernel.route_get(Some(ulid), ip("2001:db8:c::2")).unwrap().oif, eth0);

        sh("ip link set eth0 down");
        let count = packets_out();
        ours.write_all(b"survivor").unwrap();
        eventually("retransmissions pass LOCAL_OUT", || packets_out() >= count + 3);
        let fallback = sh("ip -6 route get 2001:db8:c::2 from 2001:db8:a::1");
        assert!(fallback.contains("dev shim6-hold") && fallback.contains("mtu 1492"), "{fallback}");
        for src in [Some(ulid), None] {
            let none = kernel.route_get(src, ip("2001:db8:c::2")).unwrap_err();
            assert_eq!(none.errno(), Some(libc::ENETUNREACH));
        }

        // What the peer sends to it by the other link is accepted, and the flow goes on.
        peer.sh("ip route add 2001:db8:a::1/128 via 2001:db8:b::1");
        sh("ip route add 2001:db8:c::/64 via 2001:db8:b::2");
        let mut buf = [0; 8];
        theirs.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        theirs.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"survivor");
        theirs.write_all(b"welcome!").unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        ours.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"welcome!");

        // Another instance finds it, and takes it away; then all is as before.
        drop(kernel);
        let mut restarted = Addresses::open().unwrap();
        assert_eq!(restarted.held_ulids().unwrap(), [ulid]);
        sh("ip link set eth0 up; ip addr add 2001:db8:a::1/64 dev eth0 nodad
            ip route add default via 2001:db8:a::2; ip route del 2001:db8:c::/64");
        assert!(restarted.release_ulid(ulid).unwrap());
        assert!(!restarted.release_ulid(ulid).unwrap());
        nft::remove().unwrap();
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        };
        eventually("all is as before", || sorted(&everything()) == sorted(&before));
    });
}

// req-test: S6-4-04
#[test]
fn a_ulid_that_is_held_too_late_revives_its_flows() {
    isolated("a_ulid_that_is_held_too_late_revives_its_flows", || {
        let peer = two_links();
        let (mut ours, _theirs) = connect(&peer);
        let udp = UdpSocket::bind("[2001:db8:a::1]:0").unwrap();
        udp.connect("[2001:db8:c::2]:9").unwrap();
        install_rules();
        sh("ip link set eth0 down");
        ours.write_all(b"late").unwrap();
        assert_eq!(udp.send(b"lost").unwrap_err().raw_os_error(), Some(libc::ENETUNREACH));
        let before = packets_out();
        let mut kernel = Addresses::open().unwrap();
        assert!(kernel.hold_ulid(ip("2001:db8:a::1"), Lifetime::Forever).unwrap());
        eventually("retransmissions pass LOCAL_OUT", || packets_out() > before);
        let before = packets_out();
        udp.send(b"seen").unwrap();
        eventually("a datagram passes LOCAL_OUT", || packets_out() > before);
    });
}

#[test]
fn holding_several_ulids_shares_one_fallback() {
    isolated("holding_several_ulids_shares_one_fallback", || {
        let before = everything();
        let mut kernel = Addresses::open().unwrap();
        let ulids = [ip("2001:db8:a::1"), ip("2001:db8:b::1")];
        for ulid in ulids {
            assert!(kernel.hold_ulid(ulid, Lifetime::Seconds(600)).unwrap());
        }
        assert_eq!(sh("ip -6 route show table 5533").lines().count(), 1);
        assert!(kernel.release_ulid(ulids[0]).unwrap());
        assert_eq!(kernel.held_ulids().unwrap(), [ulids[1]]);
        assert_eq!(sh("ip -6 route show table 5533").lines().count(), 1);
        assert!(kernel.undo(Undo { addresses: false }).is_empty());
        assert_eq!(everything(), before);
        assert!(kernel.undo(Undo { addresses: true }).is_empty());
    });
}

async fn next_that<T>(
    monitor: &mut Monitor,
    mut wanted: impl FnMut(&KernelEvent) -> Option<T>,
) -> T {
    loop {
        let event = monitor.next().await.expect("an event");
        if let Some(found) = wanted(&event) {
            return found;
        }
    }
}

// req-test: RP-3.1-03, RP-3.2-02, RP-3.2-03
#[test]
fn the_monitor_reports_and_the_mirror_stays_true() {
    isolated("the_monitor_reports_and_the_mirror_stays_true", || {
        let _peer = one_link();
        run(async {
            let mut monitor = Monitor::open().unwrap();
            let mut kernel = Addresses::open().unwrap();
            let mut mirror = kernel.snapshot().unwrap();
            let addr = ip("2001:db8:a::1");
            let routers =
                |s: &Snapshot| -> usize { s.routes.iter().filter(|r| r.is_default()).count() };
            assert_eq!(routers(&mirror), 0);

            sh("ip route add default via 2001:db8:a::2; ping -c1 -W2 2001:db8:a::2");
            next_that(&mut monitor, |e| {
                mirror.apply(e);
                matches!(e, KernelEvent::Route(r) if r.is_default()).then_some(())
            })
            .await;
            assert_eq!(routers(&mirror), 1);

            sh("ip addr add 2001:db8:a::5/128 dev eth0");
            let (mut tentative, mut settled) = (false, false);
            next_that(&mut monitor, |e| {
                mirror.apply(e);
                if let KernelEvent::Address(a) = e
                    && a.addr == ip("2001:db8:a::5")
                {
                    assert!(a.flags.permanent && !a.ours);
                    tentative |= a.flags.tentative;
                    settled = !a.flags.tentative;
                }
                settled.then_some(())
            })
            .await;
            assert!(mirror.addresses.iter().any(|a| a.addr == ip("2001:db8:a::5")));
            assert!(tentative || settled);

            sh("ip addr change 2001:db8:a::5/128 dev eth0 valid_lft 100 preferred_lft 0");
            let changed = next_that(&mut monitor, |e| match e {
                KernelEvent::Address(a) if a.addr == ip("2001:db8:a::5") => Some(*a),
                _ => None,
            })
            .await;
            assert!(changed.flags.deprecated && !changed.flags.permanent, "{changed:?}");
            assert!(matches!(changed.lifetimes.valid, Lifetime::Seconds(90..=100)));

            // The router stops answering.
            sh("ip route replace default via 2001:db8:a::9; ping -c1 -W1 2001:db8:c::1 || true");
            let failed = next_that(&mut monitor, |e| {
                mirror.apply(e);
                match e {
                    KernelEvent::Neighbour(n) if n.state == Reachability::Failed => Some(*n),
                    _ => None,
                }
            })
            .await;
            assert_eq!(failed.addr, ip("2001:db8:a::9"));
            assert_eq!(mirror.routes_through(&failed).count(), 1);
            for state in [&mirror, &kernel.snapshot().unwrap()] {
                let is = |n: &&NeighbourInfo| n.addr == failed.addr;
                let seen = state.neighbours.iter().find(is).map(|n| n.state);
                assert_eq!(seen, Some(Reachability::Failed));
            }

            sh("ip link set eth0 down");
            let mut seen = [false; 3];
            next_that(&mut monitor, |e| {
                mirror.apply(e);
                match e {
                    KernelEvent::Link(l) if l.name == "eth0" => seen[0] |= !l.admin_up,
                    KernelEvent::AddressGone(a) => seen[1] |= a.addr == addr,
                    KernelEvent::RouteGone(r) => seen[2] |= r.is_default(),
                    _ => {}
                }
                (seen == [true; 3]).then_some(())
            })
            .await;
            assert!(mirror.addresses.iter().all(|a| a.addr != addr) && routers(&mirror) == 0);
        });
    });
}

// req-test: RP-3.2-03
#[test]
fn loss_of_carrier_is_seen() {
    isolated("loss_of_carrier_is_seen", || {
        let peer = one_link();
        run(async {
            let mut monitor = Monitor::open().unwrap();
            let mut mirror = Addresses::open().unwrap().snapshot().unwrap();
            peer.sh("ip link set eth0 down");
            next_that(&mut monitor, |e| {
                mirror.apply(e);
                mirror.links.iter().any(|l| l.name == "eth0" && !l.works()).then_some(())
            })
            .await;
        });
    });
}

#[test]
fn a_flood_of_changes_ends_in_an_overrun_not_in_memory() {
    isolated("a_flood_of_changes_ends_in_an_overrun_not_in_memory", || {
        run(async {
            let mut monitor = Monitor::open().unwrap();
            // More than the socket's buffer holds.
            let adds: String =
                (0..20000).map(|n| format!("route add 2001:db8:{n:x}::/64 dev lo\n")).collect();
            std::fs::write("/dev/shm/shim6-flood", adds).unwrap();
            sh("ip -6 -batch /dev/shm/shim6-flood; rm /dev/shm/shim6-flood");
            next_that(&mut monitor, |e| (*e == KernelEvent::Overrun).then_some(())).await;
            // It goes on after that.
            sh("ip -6 addr add 2001:db8::2/64 dev lo");
            next_that(&mut monitor, |e| match e {
                KernelEvent::Address(a) if a.addr == ip("2001:db8::2") => Some(()),
                _ => None,
            })
            .await;
        });
    });
}

// req-test: S6-3-04
#[test]
fn a_route_depends_on_the_source_and_tells_the_path_mtu() {
    isolated("a_route_depends_on_the_source_and_tells_the_path_mtu", || {
        let _peer = two_links();
        sh("ip -6 rule add from 2001:db8:b::/64 lookup 102
            ip -6 route add default via 2001:db8:b::2 table 102
            ip -6 route add 2001:db8:d::/64 via 2001:db8:a::2 mtu 1400
            ip link set eth1 mtu 1450");
        let mut kernel = Addresses::open().unwrap();
        let far = ip("2001:db8:c::2");
        let a = kernel.route_get(Some(ip("2001:db8:a::1")), far).unwrap();
        let b = kernel.route_get(Some(ip("2001:db8:b::1")), far).unwrap();
        assert_eq!(a.gateway, Some(ip("2001:db8:a::2")));
        assert_eq!(b.gateway, Some(ip("2001:db8:b::2")));
        assert_ne!(a.oif, b.oif);
        assert_eq!((a.mtu, b.mtu), (1500, 1450));
        assert_eq!(kernel.route_get(None, ip("2001:db8:d::1")).unwrap().mtu, 1400);
        let near = kernel.route_get(None, ip("2001:db8:b::2")).unwrap();
        assert_eq!((near.gateway, near.src), (None, Some(ip("2001:db8:b::1"))));
    });
}

#[test]
fn a_neighbour_is_asked_for_although_no_packet_goes_there() {
    isolated("a_neighbour_is_asked_for_although_no_packet_goes_there", || {
        let _peer = one_link();
        let mut kernel = Addresses::open().unwrap();
        let now = kernel.surroundings().unwrap();
        let eth0 = now.addresses.iter().find(|a| a.addr == ip("2001:db8:a::1")).unwrap().ifindex;
        let state = |kernel: &mut Addresses, addr: &str| {
            let now = kernel.surroundings().unwrap();
            now.neighbours.into_iter().find(|n| n.addr == ip(addr)).map(|n| n.state)
        };
        for (addr, becomes) in
            [("2001:db8:a::2", Reachability::Reachable), ("2001:db8:a::77", Reachability::Failed)]
        {
            assert_eq!(state(&mut kernel, addr), None);
            kernel.resolve(eth0, ip(addr)).unwrap();
            eventually(addr, || state(&mut kernel, addr) == Some(becomes));
        }
        // One that has failed is asked for again.
        kernel.resolve(eth0, ip("2001:db8:a::77")).unwrap();
        assert_eq!(state(&mut kernel, "2001:db8:a::77"), Some(Reachability::Resolving));
        assert!(kernel.resolve(9999, ip("2001:db8:a::2")).is_err());
    });
}

#[test]
fn packets_that_wait_for_a_neighbour_beyond_a_dead_link_are_freed() {
    isolated("packets_that_wait_for_a_neighbour_beyond_a_dead_link_are_freed", || {
        let peer = one_link();
        let mut kernel = Addresses::open().unwrap();
        let resolving = |kernel: &mut Addresses| {
            let now = kernel.surroundings().unwrap();
            now.neighbours.into_iter().find(|n| n.addr == ip("2001:db8:a::2")).map(|n| n.state)
        };
        peer.sh("ip link set eth0 down");
        let socket = UdpSocket::bind("[2001:db8:a::1]:0").unwrap();
        let waiting = || {
            let port = format!(":{:04X} ", socket.local_addr().unwrap().port());
            let table = std::fs::read_to_string("/proc/thread-self/net/udp6").unwrap();
            let line = table.lines().find(|l| l.contains(&port)).unwrap();
            let queues = line.split_whitespace().nth(4).unwrap();
            u64::from_str_radix(queues.split(':').next().unwrap(), 16).unwrap()
        };
        socket.send_to(b"wait", "[2001:db8:a::2]:9".parse::<SocketAddr>().unwrap()).unwrap();
        assert_eq!(resolving(&mut kernel), Some(Reachability::Resolving));
        assert!(waiting() > 0, "the datagram waits for the neighbour");
        let now = kernel.surroundings().unwrap();
        let eth0 = now.addresses.iter().find(|a| a.addr == ip("2001:db8:a::1")).unwrap().ifindex;
        kernel.stop_resolving(eth0, ip("2001:db8:a::2")).unwrap();
        assert_eq!(waiting(), 0);
        assert_eq!(resolving(&mut kernel), Some(Reachability::Failed));
        kernel.stop_resolving(eth0, ip("2001:db8:a::77")).expect("nobody waits for this one");
        assert!(kernel.stop_resolving(9999, ip("2001:db8:a::2")).is_ok(), "nor on that link");
    });
}
