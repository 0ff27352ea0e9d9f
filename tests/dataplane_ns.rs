//! The data plane against the real kernel: two network namespaces, two links, rules that queue, and forwarding entries
//! written by hand in place of a protocol engine.
//!
//! Wants root and the kernel's NFQUEUE; says loudly when it is skipped.

#![cfg(feature = "daemon")]

mod twohosts;

use nix::unistd::geteuid;
use shim6::addr::{ContextTag, Fii, Locator, LocatorPair, Ulid, UlidPair};
use shim6::dataplane::inject::{Inject, RawPackets};
use shim6::dataplane::rewrite;
use shim6::dataplane::{
    Backend, Channels, Dataplane, DataplaneConfig, HeldConfig, ReassemblyConfig, Tier,
};
use shim6::proto::config::HeuristicConfig;
use shim6::proto::input::ControlPacket;
use shim6::proto::{ContextId, Forward, ForwardChange, Inbound, Notice, Outbound, Time, WakeOn};
use shim6::wire::icmpv6::{IcmpError, IcmpErrorKind};
use shim6::wire::ipv6::{Ipv6Header, protocol, walk};
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::channel;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, channel as bounded};
use twohosts::{Namespace, capture, now, until};

const A1: &str = "2001:db8:1::a";
const B1: &str = "2001:db8:1::b";
const A2: &str = "2001:db8:2::a";
const B2: &str = "2001:db8:2::b";
const MARK: u32 = 0x5533_0000;
const MASK: u32 = 0xffff_0000;
const PORT: u16 = 5001;
const CLOSED_PORT: u16 = 5999;
const DEADLINE: Duration = Duration::from_secs(20);

fn addr(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

/// One of the two hosts.
struct Host {
    ns: Namespace,
    dataplane: Dataplane,
    notices: Receiver<Notice>,
    control: Receiver<ControlPacket>,
    forward: Forward,
    other_pair: LocatorPair,
    peer_tag: ContextTag,
}

/// A firewall that drops what conntrack does not know, and below it the rules that queue.
fn rules(ns: &Namespace) {
    for rule in [
        "-P INPUT DROP",
        "-A INPUT -i lo -j ACCEPT",
        "-A INPUT -p icmpv6 -j ACCEPT",
        "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        "-A INPUT -m conntrack --ctstate NEW -p tcp --dport 5001 -j ACCEPT",
        "-A INPUT -m conntrack --ctstate NEW -p udp --dport 5001 -j ACCEPT",
        "-A INPUT -j DROP",
        "-t raw -A PREROUTING -p 140 -m addrtype --dst-type LOCAL -j NFQUEUE --queue-num 140",
        "-t mangle -A INPUT -m mark --mark 0x55330000/0xffff0000 -j RETURN",
        "-t mangle -A INPUT -i lo -j RETURN",
        "-t mangle -A INPUT -d 2000::/3 -j NFQUEUE --queue-balance 141:142 --queue-bypass",
        "-t mangle -A OUTPUT -m mark --mark 0x55330000/0xffff0000 -j RETURN",
        "-t mangle -A OUTPUT -o lo -j RETURN",
        "-t mangle -A OUTPUT -d 2000::/3 -j NFQUEUE --queue-balance 141:142 --queue-bypass",
    ] {
        ns.run(&format!("ip6tables {rule}"));
    }
}

impl Host {
    fn new(
        ns: Namespace,
        backend: Backend,
        us: [&str; 2],
        peer: [&str; 2],
        tags: [u64; 2],
    ) -> Host {
        rules(&ns);
        let (notice_sender, notices) = bounded(1024);
        let (control_sender, control) = bounded(1024);
        let config = DataplaneConfig {
            queues_140: 140..141,
            queues_plain: 141..143,
            mark: MARK,
            mark_mask: MASK,
            leave_alone: shim6::nft::leave_alone(MARK, MASK),
            heuristic: HeuristicConfig::default(),
            heuristic_pairs: 1024,
            held: HeldConfig::default(),
            reassembly: ReassemblyConfig::default(),
            deliver_all_icmp: false,
            clock: now,
            backend,
            tier: Tier::Headers,
        };
        let channels = Channels { notices: notice_sender, control: control_sender };
        let dataplane = ns.enter(|| Dataplane::start(config, channels).expect("data plane"));
        let [local, other_local] = us.map(addr);
        let [remote, other_remote] = peer.map(addr);
        let forward = Forward {
            id: ContextId(1),
            ulids: UlidPair { local: Ulid(local), peer: Ulid(remote) },
            fii: Fii::DEFAULT,
            local_tag: ContextTag::from_masked(tags[0]),
            outbound: Outbound::Plain,
            inbound: Inbound::Unmap,
            hold: false,
            watch: false,
            wake: WakeOn::Nothing,
        };
        Host {
            ns,
            dataplane,
            notices,
            control,
            forward,
            other_pair: LocatorPair { local: Locator(other_local), peer: Locator(other_remote) },
            peer_tag: ContextTag::from_masked(tags[1]),
        }
    }

    fn set(&mut self, outbound: Outbound) {
        self.forward.outbound = outbound;
        self.dataplane.apply(&ForwardChange::Set(self.forward.clone()));
    }

    fn tagged(&self) -> Outbound {
        Outbound::Tagged(self.other_pair, self.peer_tag)
    }

    fn stat(&self, name: &str) -> u64 {
        self.ns.enter(|| *self.dataplane.stats().get(name).unwrap_or_else(|| panic!("no {name}")))
    }

    fn notice(&mut self, what: &str, wanted: impl Fn(&Notice) -> bool) {
        until(DEADLINE, what, || match self.notices.try_recv() {
            Ok(notice) if wanted(&notice) => Some(()),
            _ => None,
        });
    }
}

/// Octets that are never the same twice.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    (0..len)
        .map(|_| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 56) as u8
        })
        .collect()
}

/// An echo server for TCP and UDP in the namespace; ends with the process.
fn echo_server(ns: &Namespace) {
    let (ready, is_ready) = channel();
    let (listener, udp) = ns.enter(|| {
        let at = SocketAddr::new(addr(B1).into(), PORT);
        (TcpListener::bind(at).expect("listen"), UdpSocket::bind(at).expect("bind"))
    });
    std::thread::spawn(move || {
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok((len, from)) = udp.recv_from(&mut buffer) {
                udp.send_to(&buffer[..len], from).expect("send");
            }
        });
        ready.send(()).expect("main waits");
        for stream in listener.incoming() {
            let mut stream = stream.expect("accept");
            std::thread::spawn(move || {
                let mut reader = stream.try_clone().expect("clone");
                let mut buffer = vec![0; 65_536];
                while let Ok(len @ 1..) = reader.read(&mut buffer) {
                    if stream.write_all(&buffer[..len]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    is_ready.recv().expect("server");
}

/// Sends octets and compares what comes back.
fn exchange(stream: &mut TcpStream, len: usize, seed: u64) {
    let sent = pattern(len, seed);
    let mut writer = stream.try_clone().expect("clone");
    let outgoing = sent.clone();
    let sender = std::thread::spawn(move || writer.write_all(&outgoing));
    let mut got = vec![0; len];
    stream.read_exact(&mut got).expect("all octets come back");
    sender.join().expect("sender").expect("write");
    assert!(got == sent, "octets differ");
}

fn datagram(socket: &UdpSocket, len: usize) {
    let sent = pattern(len, len as u64);
    let to = SocketAddr::new(addr(B1).into(), PORT);
    let mut got = vec![0; 65_536];
    // Lost ones are sent again: this is about what arrives, not about losses.
    for _ in 0..3 {
        socket.send_to(&sent, to).expect("send");
        if let Ok((n, from)) = socket.recv_from(&mut got) {
            assert_eq!(from, to);
            assert!(got[..n] == sent[..], "datagram of {len} octets differs");
            return;
        }
    }
    panic!("datagram of {len} octets does not come back");
}

fn block(host: &Host, interface: &str, on: bool) {
    let what = if on { "-I" } else { "-D" };
    host.ns.run(&format!("ip6tables -t raw {what} PREROUTING -i {interface} -s 2000::/3 -j DROP"));
}

/// How many octets the kernel copies of each packet on these queues.
fn copied(ns: &Namespace) -> Vec<(u16, u32)> {
    let figures = ns.run("cat /proc/net/netfilter/nfnetlink_queue");
    let line = |line: &str| {
        let fields: Vec<u32> = line.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
        (fields[0] as u16, fields[4])
    };
    figures.lines().map(line).collect()
}

// req-test: S6-1.6-01, S6-1.6-04, S6-4.6-01, S6-11.1-01, S6-11.1-02, S6-12.2-01, S6-12.2-02, S6-12.2-04, S6-16.1-03
// req-test: S6-1.6-02, S6-4-03, S6-11-02, S6-15.4-02, S6-4-01
#[test]
fn flows_run_over_other_locators_and_applications_see_ulids() {
    flows_run(Backend::Batch, "dp");
}

// req-test: S6-1.6-01, S6-1.6-04, S6-11.1-01, S6-12.2-04, S6-16.1-03
#[test]
fn they_do_so_through_the_plain_queue_reader() {
    flows_run(Backend::Nfq, "dq");
}

fn flows_run(backend: Backend, name: &str) {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: dataplane_ns needs root (network namespaces, netfilter queues)");
        return;
    }
    let (a, b) = twohosts::pair(name);
    for (ns, side) in [(&a, "a"), (&b, "b")] {
        for link in [1, 2] {
            ns.run(&format!("ip -6 addr add 2001:db8:{link}::{side}/64 dev link{link} nodad"));
        }
    }
    let mut a = Host::new(a, backend, [A1, A2], [B1, B2], [0x1111, 0x7222_2222_2222]);
    let mut b = Host::new(b, backend, [B1, B2], [A1, A2], [0x7222_2222_2222, 0x1111]);
    echo_server(&b.ns);
    let at = SocketAddr::new(addr(B1).into(), PORT);
    let wire = capture(&b.ns, "link2");

    // Without a context: the heuristic sees the traffic, on both sides.
    let mut stream = a.ns.enter(|| TcpStream::connect(at).expect("connect"));
    stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
    exchange(&mut stream, 100_000, 1);
    let (ulids_a, ulids_b) = (a.forward.ulids, b.forward.ulids);
    a.notice("heuristic at a", |n| *n == Notice::Heuristic(ulids_a));
    b.notice("heuristic at b", |n| *n == Notice::Heuristic(ulids_b));

    // A context on its ULIDs: packets stay as they are and count as activity.
    a.set(Outbound::Plain);
    b.set(Outbound::Plain);
    exchange(&mut stream, 100_000, 2);
    let activity = a.dataplane.activity(ContextId(1)).expect("context");
    assert!(activity.octets_out > 100_000 && activity.octets_in > 100_000, "{activity:?}");
    assert_eq!((a.stat("tagged"), b.stat("stripped")), (0, 0));
    if backend == Backend::Batch {
        // Of packets that stay as they are only the headers come, in whole segments of the transport.
        assert_eq!(copied(&a.ns), [(140, 65_531), (141, 256), (142, 256)]);
        assert_eq!(a.stat("packets_asked_whole"), 0);
    }

    // The first link dies; both sides use the second. The old connection goes on, new ones can be made.
    block(&a, "link1", true);
    block(&b, "link1", true);
    a.set(a.tagged());
    b.set(b.tagged());
    exchange(&mut stream, 4_000_000, 3);
    let mut second = a.ns.enter(|| TcpStream::connect(at).expect("connect"));
    second.set_read_timeout(Some(DEADLINE)).expect("timeout");
    assert_eq!(second.peer_addr().expect("peer").ip(), addr(B1));
    exchange(&mut second, 500_000, 4);
    assert!(a.stat("tagged") > 1000 && b.stat("stripped") > 1000);
    assert!(a.stat("packet_too_big_made") > 0, "the transport is told to send smaller segments");
    let cut = a.stat("tcp_cut");
    exchange(&mut stream, 1_000_000, 5);
    assert!(a.stat("tcp_cut") < cut + 20, "segments shrink, so that next to none is cut");

    let udp = a.ns.enter(|| UdpSocket::bind((addr(A1), 0)).expect("bind"));
    udp.set_read_timeout(Some(Duration::from_secs(2))).expect("timeout");
    for len in [1, 1000, 1443, 1444, 1445, 1452, 1453, 3000, 9000, 30_000, 65_000] {
        datagram(&udp, len);
    }
    // More than the kernel shows of a packet: dropped by name, and not asked for again and again.
    for (dropped, len) in [(1, 65_484), (2, 65_527)] {
        udp.send_to(&pattern(len, 1), at).expect("send");
        until(DEADLINE, "a datagram that is too long to be dropped", || {
            (a.stat("drop_too_big") == dropped).then_some(())
        });
    }
    assert!(a.stat("fragmented") > 0 && b.stat("reassembled") > 0);

    // The firewall sees ULIDs and ports, not protocol 140: a closed port stays closed.
    let dropped = |host: &Host| host.ns.counter("filter", "INPUT", "DROP");
    let before = dropped(&b);
    let to_closed = SocketAddr::new(addr(B1).into(), CLOSED_PORT);
    udp.send_to(b"knock", to_closed).expect("send");
    until(DEADLINE, "the firewall to drop", || (dropped(&b) > before).then_some(()));

    // A tag that nobody knows.
    a.set(Outbound::Tagged(a.other_pair, ContextTag::from_masked(0x99)));
    udp.send_to(b"who is it", at).expect("send");
    let unknown = Notice::UnknownTag {
        src: Locator(addr(A2)),
        dst: Locator(addr(B2)),
        tag: ContextTag::from_masked(0x99),
    };
    b.notice("unknown tag", |n| *n == unknown);
    a.set(a.tagged());

    icmp_errors(&mut a, &b);
    control_messages(&mut a, &mut b);
    held_copies(&mut a, &mut b, &mut stream);
    if backend == Backend::Batch {
        assert!(copied(&a.ns).contains(&(141, 65_531)) || copied(&a.ns).contains(&(142, 65_531)));
        let asked = a.stat("packets_asked_whole");
        assert!((1..1000).contains(&asked), "{asked} of {} packets", a.stat("packets_out"));
    }

    // Back on the ULIDs, nothing is tagged any more.
    block(&a, "link1", false);
    block(&b, "link1", false);
    a.set(Outbound::Plain);
    b.set(Outbound::Plain);
    // What was in the workers' hands at that moment has left them once this came back.
    exchange(&mut stream, 100, 5);
    let tagged = (a.stat("tagged"), b.stat("tagged"));
    exchange(&mut stream, 100_000, 6);
    assert_eq!((a.stat("tagged"), b.stat("tagged")), tagged);
    until(DEADLINE, "headers to suffice again", || {
        exchange(&mut stream, 100, 7);
        let plain = |(queue, octets): &(u16, u32)| *queue == 140 || *octets == 256;
        (backend == Backend::Nfq || copied(&a.ns).iter().any(plain)).then_some(())
    });

    for host in [&a, &b] {
        for name in ["queue_error", "pass_internal_error", "drop_internal_error", "drop_send"] {
            assert_eq!(host.stat(name), 0, "{name}");
        }
        for queue in 140..143 {
            assert_eq!(host.stat(&format!("queue_{queue}_dropped")), 0);
        }
    }
    on_the_wire(&wire.stop());
    let began = now();
    a.dataplane.stop();
    b.dataplane.stop();
    assert!(now().since(began) < Duration::from_secs(1), "stops promptly");
}

/// An ICMPv6 error about a tagged packet reaches the socket that sent it, in terms that the kernel understands.
// req-test: S6-8-01, S6-8-06, S6-8-09
fn icmp_errors(a: &mut Host, b: &Host) {
    let socket = a.ns.enter(|| UdpSocket::bind((addr(A1), 0)).expect("bind"));
    socket.connect(SocketAddr::new(addr(B1).into(), CLOSED_PORT)).expect("connect");
    socket.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let port = socket.local_addr().expect("address").port();
    // What the socket would have sent, as it looks between the locators.
    let udp = [&port.to_be_bytes()[..], &CLOSED_PORT.to_be_bytes(), &[0, 9, 0, 0, 77]].concat();
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: 0,
        payload_length: 9,
        next_header: protocol::UDP,
        hop_limit: 64,
        src: addr(A1),
        dst: addr(B1),
    };
    let packet = [&header.emit()[..], &udp].concat();
    let place = walk(&packet).expect("headers").insert;
    let quote = rewrite::tag(&packet, place, a.other_pair, a.peer_tag).expect("tagged");
    let mut raw = b.ns.enter(|| RawPackets::open(MARK, true).expect("raw socket"));
    let mut send = |kind| {
        let error = IcmpError { kind, quote: &quote, extensions: &[] };
        raw.inject(&error.emit_packet(addr(B2), addr(A2), 64)).expect("send");
    };
    send(IcmpErrorKind::PacketTooBig { mtu: 1400 });
    let route = format!("ip -6 route get {B1} from {A1}");
    until(DEADLINE, "the route's MTU", || a.ns.run(&route).contains("mtu 1392").then_some(()));
    let told = |what| socket.recv(&mut [0; 1]).expect_err(what).raw_os_error();
    assert_eq!(told("too big"), Some(nix::libc::EMSGSIZE));
    send(IcmpErrorKind::DestinationUnreachable { code: 4 });
    assert_eq!(told("the port is unreachable"), Some(nix::libc::ECONNREFUSED));
    let refused = |icmp_type, icmp_code| {
        move |n: &Notice| {
            *n == Notice::PayloadRefused { context: ContextId(1), icmp_type, icmp_code }
        }
    };
    a.notice("Packet Too Big", refused(2, 0));
    assert_eq!(a.stat("icmp_translated"), 2);
}

/// Control messages go out by the raw socket and end in the other side's channel, never in the kernel.
fn control_messages(a: &mut Host, b: &mut Host) {
    // Type 127: not a message that exists, but one that everybody has to hand to the engine.
    let mut message = [59, 1, 127, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let sum = shim6::wire::checksum::internet(&message);
    message[4..6].copy_from_slice(&sum.to_be_bytes());
    let (src, dst) = (Locator(addr(A2)), Locator(addr(B2)));
    a.dataplane.send_control(src, dst, &message).expect("send");
    let got = until(DEADLINE, "the control message", || b.control.try_recv().ok());
    assert_eq!((got.src, got.dst), (src, dst));
    assert_eq!(&got.packet[got.offset..], message);
    let gone = Locator(addr("2001:db8:2::dead"));
    assert!(a.dataplane.send_control(gone, dst, &message).is_err(), "not an address of ours");
    message[5] ^= 1;
    a.dataplane.send_control(src, dst, &message).expect("send");
    until(DEADLINE, "the bad checksum to be counted", || {
        (b.stat("drop_shim6_checksum") == 1).then_some(())
    });
}

/// Both paths dead, TCP backs off; with the copy it goes on at once when a path is back.
fn held_copies(a: &mut Host, b: &mut Host, stream: &mut TcpStream) {
    block(b, "link2", true);
    stream.write_all(b"into the void").expect("write");
    // The copy exists once the send has been unanswered for half a second and TCP has sent again; wait until the
    // back-off is long enough to be told from a resend.
    let since = now();
    until(DEADLINE, "back-off", || {
        (a.stat("held_flows") == 1 && now().since(since) > Duration::from_millis(2200))
            .then_some(())
    });
    block(b, "link2", false);
    let began = now();
    a.ns.enter(|| a.dataplane.apply(&ForwardChange::ResendHeld(ContextId(1))));
    let mut got = [0; 13];
    stream.read_exact(&mut got).expect("echo");
    let took = now().since(began);
    assert_eq!(&got, b"into the void");
    assert!(took < Duration::from_millis(200), "took {took:?}");
    assert_eq!((a.stat("held_flows"), a.stat("held_resent")), (0, 1));
}

/// Everything between the locators carries a payload header, and Fragment headers come behind it.
fn on_the_wire(packets: &[Vec<u8>]) {
    let (mut tagged, mut fragments) = (0, 0);
    for packet in packets {
        let walk = walk(packet).expect("IPv6");
        assert!(packet.len() <= 1500, "{} octets", packet.len());
        if walk.is(protocol::ICMPV6) && walk.shim6.is_none() {
            continue;
        }
        let shim6 = walk.shim6.expect("a Shim6 header");
        assert!(!walk.fragment_precedes_shim6());
        tagged += usize::from(shim6.payload);
        fragments += usize::from(walk.fragment.is_some());
    }
    assert!(tagged > 1000 && fragments > 10, "{tagged} tagged, {fragments} fragments");
}

#[test]
fn time_of_the_tests_runs() {
    let then = now();
    assert!(then > Time::ZERO && now() >= then);
}
