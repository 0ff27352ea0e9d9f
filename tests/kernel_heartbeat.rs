//! Signs of life against the running kernel: a daemon that hangs must not stop traffic that it leaves alone.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod netns;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use netns::{Host, drain, eventually, isolated, listen, send_140, set_mark, sh, two_hosts, within};
use shim6::nft::{
    self, HEARTBEAT_TIMEOUT, Heartbeat, NftError, Presence, QueueKind, RuleSpec, RuleWatch,
};

const SPEC: RuleSpec = RuleSpec {
    queue_first: 100,
    queues_140: 1,
    queues_plain: 1,
    tagged_hook: nft::TaggedHook::Prerouting,
    mark: 0x5533_0000,
    mark_mask: 0xffff_0000,
    fib: true,
    heartbeat: true,
    passing: false,
};
/// As often as the daemon.
const INTERVAL: Duration = Duration::from_millis(125);

fn kind() -> QueueKind {
    nft::probe().expect("probe").queue_kind().expect("a way to queue")
}

fn install() {
    nft::install(&SPEC, kind()).expect("install");
}

fn alive() -> bool {
    sh("nft list set ip6 shim6 alive").contains("ip6 expires")
}

/// A socket here and one on the other host that send to each other and do not wait.
fn talkers(peer: &Host) -> (UdpSocket, UdpSocket) {
    let theirs = peer.run(|| UdpSocket::bind("[2001:db8::2]:7").unwrap());
    let ours = UdpSocket::bind("[2001:db8::1]:7").unwrap();
    ours.connect("[2001:db8::2]:7").unwrap();
    theirs.connect("[2001:db8::1]:7").unwrap();
    for socket in [&ours, &theirs] {
        socket.set_nonblocking(true).unwrap();
    }
    (ours, theirs)
}

/// Sends until something arrives; says when.
fn first_arrival(from: &UdpSocket, to: &UdpSocket, what: &str) -> Instant {
    eventually(what, || {
        from.send(b"x").unwrap();
        to.recv(&mut [0; 8]).is_ok()
    });
    Instant::now()
}

/// The number of the rule set's generation, which every transaction of anybody raises.
fn generation() -> u32 {
    use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType};
    use std::os::fd::AsRawFd;
    const GET: u16 = 10 << 8 | 16;
    const REQUEST: u16 = 1;
    let socket = socket::socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )
    .unwrap();
    let mut message = 20u32.to_ne_bytes().to_vec();
    message.extend(GET.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 12]);
    let kernel = socket::NetlinkAddr::new(0, 0);
    socket::sendto(socket.as_raw_fd(), &message, &kernel, MsgFlags::empty()).unwrap();
    let mut answer = [0; 256];
    let len = socket::recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).unwrap();
    // Header 16, family 4, attribute header 4, then the number.
    assert!(len >= 28 && answer[22..24] == 1u16.to_ne_bytes(), "{:?}", &answer[..len]);
    u32::from_be_bytes(*answer[24..].first_chunk().unwrap())
}

#[test]
fn plain_packets_are_queued_only_while_it_beats() {
    isolated("plain_packets_are_queued_only_while_it_beats", || {
        let peer = two_hosts();
        let (ours, theirs) = talkers(&peer);
        install();
        // From here on nobody reads the queues unless told to: a listener that hangs.
        let (mut q140, mut plain) = (listen(100), listen(101));
        let mut heart = Heartbeat::open(&SPEC).expect("heartbeat");

        for round in 0..2 {
            heart.beat().unwrap();
            assert!(drain(&mut plain).iter().all(|_| round > 0), "nothing before the first");
            for (from, way) in [(&ours, "out"), (&theirs, "in")] {
                let mut seen = 0;
                eventually("it beats: packets are queued", || {
                    heart.beat().unwrap();
                    from.send(b"queued").unwrap();
                    seen += drain(&mut plain).len();
                    seen > 0
                });
                eventually("what was queued arrives", || {
                    let to = if way == "out" { &theirs } else { &ours };
                    drain(&mut plain);
                    to.recv(&mut [0; 8]).is_ok()
                });
            }
            drain(&mut plain);
            for socket in [&ours, &theirs] {
                while socket.recv(&mut [0; 8]).is_ok() {}
            }

            heart.beat().unwrap();
            let last = Instant::now();
            let out = first_arrival(&ours, &theirs, "packets out pass a listener that hangs");
            let gap = out - last;
            eprintln!("packets pass {gap:?} after the last sign of life");
            assert!(gap > HEARTBEAT_TIMEOUT / 2, "too early: {gap:?}");
            assert!(gap < HEARTBEAT_TIMEOUT * 2, "too late: {gap:?}");
            first_arrival(&theirs, &ours, "so do packets in");

            // Protocol 140 waits, whoever lives.
            peer.run(|| send_140("2001:db8::1", &[7; 16])).unwrap();
            let mut tagged = 0;
            eventually("protocol 140 is queued", || {
                tagged += drain(&mut q140).len();
                tagged == 1
            });
            assert!(!alive());
            assert_eq!(nft::verify(&SPEC, kind()).unwrap(), Presence::Intact);
        }
    });
}

/// Packets that wait in the queue for plain packets.
fn waiting() -> u64 {
    sh("awk '$1 == 101 { print $3 }' /proc/thread-self/net/netfilter/nfnetlink_queue")
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn what_waits_in_a_queue_is_thrown_out_and_tcp_goes_on() {
    isolated("what_waits_in_a_queue_is_thrown_out_and_tcp_goes_on", || {
        use std::io::{Read, Write};
        let peer = two_hosts();
        let listener = peer.run(|| std::net::TcpListener::bind("[2001:db8::2]:7").unwrap());
        let mut ours = std::net::TcpStream::connect("[2001:db8::2]:7").unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        theirs.set_nonblocking(true).unwrap();
        install();
        let before = sh("nft list tables");
        let _hung = listen(101);
        Heartbeat::open(&SPEC).expect("heartbeat").beat().unwrap();
        ours.write_all(b"waits").unwrap();
        eventually("the segment waits", || waiting() > 0);
        eventually("the rules queue no more", || !alive());
        let mut arrived = || theirs.read(&mut [0; 8]).is_ok();
        assert!(!within(Duration::from_secs(1), &mut arrived), "TCP waits for its own copy");
        nft::release_queued().unwrap();
        assert_eq!(waiting(), 0);
        eventually("TCP sends it again", arrived);
        assert_eq!(sh("nft list tables"), before);
        assert_eq!(nft::verify(&SPEC, kind()).unwrap(), Presence::Intact);
    });
}

#[test]
fn beats_disturb_nobody_and_tell_when_the_table_is_gone() {
    isolated("beats_disturb_nobody_and_tell_when_the_table_is_gone", || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            install();
            assert!(alive(), "the first element comes with the rules");
            // Probing makes transactions of its own, so it is done once.
            let kind = kind();
            let mut heart = Heartbeat::open(&SPEC).expect("heartbeat");
            let mut watch = RuleWatch::open().expect("watch");
            let before = generation();
            for _ in 0..8 {
                heart.beat().unwrap();
                let event = tokio::time::timeout(INTERVAL, watch.changed()).await;
                assert!(event.is_err(), "the watch stays silent");
                assert!(alive());
                assert_eq!(nft::verify(&SPEC, kind).unwrap(), Presence::Intact);
            }
            assert_eq!(generation(), before, "no transaction");
            // Elements are not rules, whoever touches them.
            sh("nft flush set ip6 shim6 alive; nft add element ip6 shim6 alive '{ ip6 }'");
            assert!(tokio::time::timeout(INTERVAL, watch.changed()).await.is_err());
            assert_eq!(nft::verify(&SPEC, kind).unwrap(), Presence::Intact);

            sh("nft flush ruleset");
            let change = tokio::time::timeout(Duration::from_secs(5), watch.changed()).await;
            assert_eq!(change.expect("in time").expect("no error"), nft::Change::Deleted);
            eventually("it is missed", || matches!(heart.beat(), Err(NftError::TableMissing)));
            install();
            eventually("it is back", || heart.beat().is_ok());
            assert!(alive());
        });
    });
}

#[test]
fn a_beat_is_cheap() {
    isolated("a_beat_is_cheap", || {
        const BEATS: u32 = 2000;
        install();
        let mut heart = Heartbeat::open(&SPEC).expect("heartbeat");
        let start = Instant::now();
        for _ in 0..BEATS {
            heart.beat().unwrap();
        }
        let each = start.elapsed() / BEATS;
        eprintln!("a beat takes {each:?}");
        assert!(each < Duration::from_millis(1), "{each:?}");
        // None is held up, dropped with an error, or lost on its way.
        let spent = nft::counters().unwrap();
        let count = |comment: &str| spent.iter().find(|c| c.comment == comment).unwrap().packets;
        assert_eq!(count("shim6d is alive"), u64::from(BEATS));
        assert_eq!(count("sign of life, spent"), u64::from(BEATS));
        let discards =
            "awk '/Discards/ { n += $2 } END { print n + 0 }' /proc/thread-self/net/snmp6";
        assert_eq!(sh(discards).trim(), "0");
    });
}

#[test]
fn other_people_s_rules_do_not_stop_the_heart() {
    isolated("other_people_s_rules_do_not_stop_the_heart", || {
        for hook in ["output", "input"] {
            sh(&format!(
                "nft -f - <<'EOF'
table inet firewall
delete table inet firewall
table inet firewall {{
    chain c {{ type filter hook {hook} priority 0; policy drop; }}
}}
EOF"
            ));
            install();
            sh("nft flush set ip6 shim6 alive");
            assert!(!alive());
            let mut heart = Heartbeat::open(&SPEC).expect("heartbeat");
            heart.beat().unwrap();
            assert!(alive(), "{hook}");
        }
    });
}

#[test]
fn only_the_mark_is_a_sign_of_life() {
    isolated("only_the_mark_is_a_sign_of_life", || {
        install();
        sh("nft flush set ip6 shim6 alive");
        let to = UdpSocket::bind("[::1]:0").unwrap();
        let from = UdpSocket::bind("[::1]:0").unwrap();
        from.send_to(b"x", to.local_addr().unwrap()).unwrap();
        to.recv(&mut [0; 8]).unwrap();
        assert!(!alive());
        set_mark(&from, SPEC.mark);
        from.send_to(b"x", to.local_addr().unwrap()).unwrap();
        assert!(alive());
    });
}

#[test]
fn without_a_loopback_interface_there_is_none_and_the_probe_says_so() {
    isolated("without_a_loopback_interface_there_is_none_and_the_probe_says_so", || {
        assert!(nft::probe().unwrap().heartbeat);
        sh("ip link set lo down");
        assert!(!nft::probe().unwrap().heartbeat);
        let error = Heartbeat::open(&SPEC).expect_err("no ::1");
        assert!(matches!(error, NftError::Io(_)), "{error}");
        let without = RuleSpec { heartbeat: false, ..SPEC };
        assert!(matches!(Heartbeat::open(&without), Err(NftError::BadSpec(_))));
    });
}

#[test]
fn the_text_is_what_is_installed() {
    isolated("the_text_is_what_is_installed", || {
        // The chain of the signs of life as it is installed, without numbers that move.
        let listed = || {
            sh("nft list set ip6 shim6 alive; nft list chain ip6 shim6 beat")
                .split_whitespace()
                .filter(|word| !word.ends_with("ms") || *word == "500ms")
                .collect::<Vec<_>>()
                .join(" ")
        };
        install();
        let installed = listed();
        assert!(within(Duration::from_secs(5), || nft::remove().unwrap()));
        let mut text = nft::render_file(&SPEC);
        if !nft::probe().unwrap().native_queue {
            eprintln!("SKIPPED in part: no nft_queue here, the queue statements are left out");
            text = text
                .lines()
                .map(|l| match (l.find("queue num"), l.find("comment")) {
                    (Some(from), Some(to)) => format!("{}{}\n", &l[..from], &l[to..]),
                    _ => format!("{l}\n"),
                })
                .collect();
        }
        sh(&format!("nft -f - <<'EOF'\n{text}\nEOF"));
        assert_eq!(listed(), installed);
        assert!(matches!(nft::render_ip6tables(&SPEC), Err(NftError::BadSpec(_))));
    });
}
