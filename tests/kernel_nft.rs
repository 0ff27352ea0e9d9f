//! The rules against the running kernel, each test in a network namespace of its own.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod netns;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use netns::{Host, drain, eventually, isolated, listen, send_140, set_mark, sh, try_sh, two_hosts};
use shim6::nft::{
    self, NftError, Presence, QueueKind, RuleSpec, RuleWatch, TaggedHook, render_file,
    render_ip6tables,
};

const SPEC: RuleSpec = RuleSpec {
    queue_first: 100,
    queues_140: 1,
    queues_plain: 2,
    tagged_hook: TaggedHook::Prerouting,
    mark: 0x5533_0000,
    mark_mask: 0xffff_0000,
    fib: true,
    heartbeat: false,
    passing: false,
};

/// The same with signs of life, which only the tests of those give.
const LIVING: RuleSpec = RuleSpec { heartbeat: true, ..SPEC };

fn kind() -> QueueKind {
    nft::probe().expect("probe").queue_kind().expect("a way to queue")
}

fn install(spec: &RuleSpec) {
    nft::install(spec, kind()).expect("install");
}

fn count(chain: &str, comment: &str) -> u64 {
    let counters = nft::counters().expect("counters");
    let found = counters.iter().find(|c| c.chain == chain && c.comment == comment);
    found.unwrap_or_else(|| panic!("no rule \"{comment}\" in {chain}")).packets
}

/// Somebody else's rules.
const FOREIGN: &str = "nft -f - <<'EOF'
table inet firewall {
    set friends { type ipv6_addr; elements = { 2001:db8::1 }; }
    chain input {
        type filter hook input priority 0; policy accept;
        ip6 saddr @friends accept comment \"friends\"
    }
}
table ip6 shim6-alike {
    chain c { type filter hook output priority 10; policy accept; }
}
EOF";

#[test]
fn probing_leaves_nothing_behind() {
    isolated("probing_leaves_nothing_behind", || {
        sh(FOREIGN);
        let before = sh("nft list ruleset");
        let found = nft::probe().expect("probe");
        assert!(found.native_queue || found.xt_queue);
        assert_eq!(sh("nft list ruleset"), before);
        let refused = !found.native_queue;
        assert_eq!(
            refused,
            !try_sh("nft add table ip6 t; nft add chain ip6 t c; nft add rule ip6 t c queue num 1")
                .status
                .success()
        );
    });
}

#[test]
fn without_privilege_the_error_names_the_remedy() {
    isolated("without_privilege_the_error_names_the_remedy", || {
        drop_net_admin();
        let error = nft::probe().expect_err("not permitted");
        assert!(matches!(error, NftError::Permission), "{error}");
        assert!(error.to_string().contains("CAP_NET_ADMIN"));
        assert!(matches!(nft::install(&SPEC, QueueKind::XtCompat), Err(NftError::Permission)));
    });
}

/// Gives up CAP_NET_ADMIN in this thread alone.
#[allow(unsafe_code)]
fn drop_net_admin() {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let none = [0u32; 6];
    // SAFETY: header and data have the layout of version 3, which is two sets of three words.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    assert_eq!(done, 0);
}

#[test]
fn install_verify_remove_leave_the_ruleset_as_before() {
    isolated("install_verify_remove_leave_the_ruleset_as_before", || {
        sh(FOREIGN);
        let before = sh("nft list ruleset");
        assert_eq!(nft::verify(&SPEC, kind()).expect("verify"), Presence::Missing);
        assert!(!nft::remove().expect("remove"));
        assert!(!nft::table_exists().expect("answer"));
        for _ in 0..2 {
            install(&SPEC);
            assert_eq!(nft::verify(&SPEC, kind()).expect("verify"), Presence::Intact);
        }
        let listed = sh("nft list ruleset");
        assert!(listed.contains("table ip6 shim6 {"));
        assert!(
            listed
                .replace(
                    "# Warning: table ip6 shim6 is managed by iptables-nft, do not touch!\n",
                    ""
                )
                .starts_with(&before),
            "{listed}"
        );
        let rules = nft::counters().expect("counters");
        assert!(rules.iter().all(|r| !r.comment.is_empty()), "{rules:?}");
        assert!(nft::remove().expect("remove"));
        assert_eq!(sh("nft list ruleset"), before);
        assert!(nft::counters().expect("counters").is_empty());
    });
}

#[test]
fn every_specification_installs() {
    isolated("every_specification_installs", || {
        for tagged_hook in [TaggedHook::Prerouting, TaggedHook::Input] {
            for fib in [true, false] {
                for (queues_140, heartbeat, passing) in
                    [(1, false, false), (4, false, false), (1, true, false), (1, true, true)]
                {
                    let spec =
                        RuleSpec { tagged_hook, fib, queues_140, heartbeat, passing, ..SPEC };
                    if spec.check().is_ok() {
                        install(&spec);
                        assert_eq!(nft::verify(&spec, kind()).unwrap(), Presence::Intact);
                    }
                }
            }
        }
        let bad = RuleSpec { queues_plain: 0, ..SPEC };
        assert!(matches!(nft::install(&bad, kind()), Err(NftError::BadSpec(_))));
    });
}

#[test]
fn tampering_is_found() {
    isolated("tampering_is_found", || {
        let tampers = [
            ("nft flush table ip6 shim6", "has 0 rules"),
            (
                "nft flush chain ip6 shim6 tagged; nft delete chain ip6 shim6 tagged",
                "tagged is missing",
            ),
            ("nft insert rule ip6 shim6 output accept", "has"),
            ("nft add chain ip6 shim6 other", "other is foreign"),
            ("nft 'add set ip6 shim6 other { type mark; }'", "set other is foreign"),
            (
                "nft 'flush table ip6 shim6; delete set ip6 shim6 alive;
                 add set ip6 shim6 alive { type ether_type; size 16; flags dynamic,timeout; timeout 5s; }'",
                "set alive is changed",
            ),
            ("nft 'add table ip6 shim6 { flags dormant; }'", "flags"),
            ("nft 'add chain ip6 shim6 input { policy drop; }'", "input is changed"),
            (
                "h=$(nft -a list chain ip6 shim6 input | sed -n 's/.*restored by.*handle //p')
                 nft replace rule ip6 shim6 input handle $h \
                 meta mark and 0xffff0000 == 0x11110000 counter accept \
                 comment '\"restored by shim6d\"'",
                "rule \"restored by shim6d\" in input differs",
            ),
        ];
        for (tamper, trace) in tampers {
            install(&LIVING);
            sh(tamper);
            match nft::verify(&LIVING, kind()).expect("verify") {
                Presence::Altered(how) => {
                    assert!(how.iter().any(|line| line.contains(trace)), "{tamper}: {how:?}");
                }
                other => panic!("{tamper}: {other:?}"),
            }
        }
        install(&SPEC);
        let other = RuleSpec { queue_first: 300, ..SPEC };
        assert!(matches!(nft::verify(&other, kind()).unwrap(), Presence::Altered(_)));
    });
}

#[test]
fn a_flush_is_noticed_and_mended_within_a_second() {
    isolated("a_flush_is_noticed_and_mended_within_a_second", || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            install(&SPEC);
            let mut watch = RuleWatch::open().expect("watch");
            sh("nft add table ip6 somebody; nft add chain ip6 somebody c");
            let quiet = tokio::time::timeout(Duration::from_millis(100), watch.changed()).await;
            assert!(quiet.is_err(), "other tables are not our business");
            for _ in 0..3 {
                sh("nft flush ruleset");
                let start = Instant::now();
                while nft::verify(&SPEC, kind()).unwrap() != Presence::Missing {}
                let change = tokio::time::timeout(Duration::from_secs(1), watch.changed())
                    .await
                    .expect("within a second")
                    .expect("no error");
                assert_eq!(change, nft::Change::Deleted);
                install(&SPEC);
                assert!(start.elapsed() < Duration::from_secs(1));
                // Our own installation is reported as well, and found intact.
                watch.changed().await.expect("no error");
                assert_eq!(nft::verify(&SPEC, kind()).unwrap(), Presence::Intact);
            }
            sh("nft flush chain ip6 shim6 output");
            assert_eq!(watch.changed().await.expect("no error"), nft::Change::Touched);
        });
    });
}

#[test]
fn packets_reach_the_right_queue_and_a_flow_stays_on_one() {
    isolated("packets_reach_the_right_queue_and_a_flow_stays_on_one", || {
        let peer = two_hosts();
        install(&SPEC);
        let (mut q140, mut q1, mut q2) = (listen(100), listen(101), listen(102));
        peer.run(|| send_140("2001:db8::1", &[59, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
            .unwrap();
        let mut control = Vec::new();
        eventually("protocol 140 is queued", || {
            control.extend(drain(&mut q140));
            !control.is_empty()
        });
        assert_eq!(control.len(), 1);
        assert_eq!(control[0][6], 140);

        // Both directions of one address pair end in one queue, whatever their ports.
        let theirs = peer.run(|| UdpSocket::bind("[2001:db8::2]:7").unwrap());
        for port in 4000..4008 {
            let ours = UdpSocket::bind(("2001:db8::1", port)).unwrap();
            ours.send_to(b"ping", "[2001:db8::2]:7").unwrap();
        }
        let (mut first, mut second) = (0, 0);
        eventually("eight datagrams out are queued", || {
            first += drain(&mut q1).len();
            second += drain(&mut q2).len();
            first + second == 8
        });
        assert!(first == 0 || second == 0, "{first} and {second}");
        let theirs = peer.run(move || {
            theirs.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            for _ in 0..8 {
                let mut buf = [0; 16];
                let (_, from) = theirs.recv_from(&mut buf).unwrap();
                theirs.send_to(b"pong", from).unwrap();
            }
            theirs
        });
        let (mut first_in, mut second_in) = (0, 0);
        eventually("eight datagrams in are queued", || {
            first_in += drain(&mut q1).len();
            second_in += drain(&mut q2).len();
            first_in + second_in >= 8
        });
        assert_eq!((first > 0, second > 0), (first_in > 0, second_in > 0));
        drop(theirs);
        assert!(drain(&mut q140).is_empty());
    });
}

#[test]
fn the_input_hook_takes_protocol_140_as_well() {
    isolated("the_input_hook_takes_protocol_140_as_well", || {
        let peer = two_hosts();
        install(&RuleSpec { tagged_hook: TaggedHook::Input, fib: false, ..SPEC });
        let mut q140 = listen(100);
        peer.run(|| send_140("2001:db8::1", &[9; 16])).unwrap();
        let mut seen = Vec::new();
        eventually("it is queued", || {
            seen.extend(drain(&mut q140));
            !seen.is_empty()
        });
        assert_eq!(seen[0][40..], [9; 16]);
        // Given back as it is, it does not reach the kernel's own answer.
        eventually("it is dropped", || count("input", "Shim6 not for a local address") == 1);
        peer.run(|| send_140("ff02::1", &[9; 16])).unwrap();
        eventually("a group's is dropped", || {
            count("tagged", "Shim6 to a group is never valid") == 1
        });
        assert!(drain(&mut q140).is_empty());
        sh("ping -c1 -W2 ::1");
        assert!(count("output", "to this host") >= 1);
    });
}

#[test]
fn many_address_pairs_use_all_queues() {
    isolated("many_address_pairs_use_all_queues", || {
        let peer = two_hosts();
        install(&SPEC);
        let (mut q1, mut q2) = (listen(101), listen(102));
        peer.run(|| {
            for host in 0x10..0x30 {
                sh(&format!("ip addr add 2001:db8::{host:x}/64 dev eth0 nodad"));
            }
        });
        let socket = UdpSocket::bind("[2001:db8::1]:0").unwrap();
        for host in 0x10..0x30 {
            socket.send_to(b"x", format!("[2001:db8::{host:x}]:9")).unwrap();
        }
        let (mut first, mut second) = (0, 0);
        eventually("all datagrams are queued", || {
            first += drain(&mut q1).len();
            second += drain(&mut q2).len();
            first + second >= 32
        });
        assert!(first > 0 && second > 0, "{first} and {second}");
    });
}

#[test]
fn with_nobody_listening_plain_packets_pass_and_140_is_dropped() {
    isolated("with_nobody_listening_plain_packets_pass_and_140_is_dropped", || {
        let peer = two_hosts();
        let problems = |peer: &Host| {
            let line = peer.sh("grep Icmp6InParmProblems /proc/net/snmp6");
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        peer.run(|| send_140("2001:db8::1", &[0; 16])).unwrap();
        eventually("without rules the kernel answers protocol 140", || problems(&peer) == 1);
        install(&SPEC);
        sh("ping -c2 -i0.2 -W2 2001:db8::2");
        assert!(count("output", "plain packets out") >= 2);
        assert!(count("input", "plain packets in") >= 2);
        let tagged = "Shim6 messages and tagged packets for us; no bypass";
        peer.run(|| send_140("2001:db8::1", &[0; 16])).unwrap();
        eventually("the rule sees it", || count("tagged", tagged) == 1);
        // A ping after it has the kernel's answer overtake nothing: it would be there by now.
        peer.sh("ping -c1 -W2 2001:db8::1");
        assert_eq!(problems(&peer), 1);
        nft::remove().unwrap();
        peer.run(|| send_140("2001:db8::1", &[0; 16])).unwrap();
        eventually("without rules it answers again", || problems(&peer) == 2);
    });
}

// req-test: S6-1.4-01, S6-12.3-03
#[test]
fn groups_local_and_marked_packets_are_left_alone() {
    isolated("groups_local_and_marked_packets_are_left_alone", || {
        let peer = two_hosts();
        install(&SPEC);
        let (mut q140, mut q1, mut q2) = (listen(100), listen(101), listen(102));
        let socket = UdpSocket::bind("[2001:db8::1]:0").unwrap();
        set_mark(&socket, SPEC.mark | 0x77);
        socket.send_to(b"own", "[2001:db8::2]:9").unwrap();
        sh("ping -c1 -W2 ff02::1%eth0; ping -c1 -W2 ::1; ping -c1 -W2 2001:db8::1");
        send_140("2001:db8::2", &[0; 16]).unwrap();
        peer.run(|| send_140("ff02::1", &[0; 16])).unwrap();
        eventually("a group's packet is dropped at input", || {
            count("input", "Shim6 not for a local address") >= 1
        });
        assert_eq!(count("output", "sent by shim6d"), 1);
        assert_eq!(count("output", "Shim6 messages of this host"), 1);
        assert!(count("output", "to this host") >= 2);
        assert!(count("output", "multicast") >= 1);
        assert!(count("input", "from this host") >= 2);
        assert!(drain(&mut q140).is_empty());
        // The peer has port 9 closed and no Shim6: its two ICMPv6 errors are all there is to see.
        for packet in drain(&mut q1).into_iter().chain(drain(&mut q2)) {
            assert!(packet[6] == 58 && packet[40] < 128, "{packet:02x?}");
        }
    });
}

#[test]
fn a_default_drop_firewall_does_not_see_protocol_140() {
    isolated("a_default_drop_firewall_does_not_see_protocol_140", || {
        let peer = two_hosts();
        sh("nft -f - <<'EOF'
table inet firewall {
    chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        meta l4proto ipv6-icmp accept
        counter comment \"end\"
    }
}
EOF");
        install(&SPEC);
        let mut q140 = listen(100);
        peer.run(|| send_140("2001:db8::1", &[0; 16])).unwrap();
        let mut seen = 0;
        eventually("it is queued", || {
            seen += drain(&mut q140).len();
            seen == 1
        });
        // Accepted as it is, it runs into the firewall: only now.
        eventually("the firewall drops it", || {
            sh("nft list chain inet firewall input").contains("counter packets 1")
        });
    });
}

// req-test: S6-3-04
#[test]
fn a_rewritten_packet_is_routed_anew() {
    isolated("a_rewritten_packet_is_routed_anew", || {
        let peer = Host::new();
        peer.connect("eth0", "eth0");
        peer.connect("eth1", "eth1");
        sh(
            "ip addr add 2001:db8:a::1/64 dev eth0 nodad; ip addr add 2001:db8:b::1/64 dev eth1 nodad",
        );
        peer.sh("ip addr add 2001:db8:a::2/64 dev eth0 nodad; ip addr add 2001:db8:b::2/64 dev eth1 nodad");
        sh("ping -c1 -W2 2001:db8:a::2; ping -c1 -W2 2001:db8:b::2");
        install(&SPEC);
        let mut queues = [listen(101), listen(102)];
        // Both addresses of the peer listen; only packets that went out on eth1 may arrive on its eth1.
        peer.sh("nft -f - <<'EOF'
table ip6 watch {
    chain input {
        type filter hook input priority 0;
        iifname eth1 udp dport 9 ip6 daddr 2001:db8:b::2 ip6 saddr 2001:db8:b::1 counter
    }
}
EOF");
        let socket = UdpSocket::bind("[2001:db8:a::1]:5000").unwrap();
        socket.send_to(b"hello", "[2001:db8:a::2]:9").unwrap();
        let mut done = false;
        eventually("the datagram is queued and rewritten", || {
            for queue in &mut queues {
                while let Ok(mut message) = queue.recv() {
                    let mut packet = message.get_payload().to_vec();
                    // 2001:db8:a:: becomes 2001:db8:b:: in both addresses; the sum changes by twice that.
                    packet[13] = 0xb;
                    packet[29] = 0xb;
                    message.set_payload(packet);
                    message.set_verdict(nfq::Verdict::Accept);
                    queue.verdict(message).unwrap();
                    done = true;
                }
            }
            done
        });
        eventually("it left by the other link", || {
            peer.sh("nft list chain ip6 watch input").contains("counter packets 1")
        });
    });
}

fn file(name: &str) -> String {
    let path = format!("{}/nft-rules/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("a rules file")
}

/// A rules file without its leading comment lines.
fn content(text: &str) -> &str {
    let mut rest = text;
    while rest.starts_with('#') || rest.starts_with('\n') {
        rest = rest.split_once('\n').map_or("", |(_, tail)| tail);
    }
    rest
}

#[test]
fn the_files_are_what_the_daemon_would_install() {
    let spec = RuleSpec::default();
    let wanted =
        [("shim6.nft", render_file(&spec)), ("shim6.ip6tables", render_ip6tables(&spec).unwrap())];
    for (name, text) in wanted {
        let have = file(name);
        let old = content(&have);
        if std::env::var_os("SHIM6_UPDATE_RULES").is_some() {
            let head = have.strip_suffix(old).unwrap();
            let path = format!("{}/nft-rules/{name}", env!("CARGO_MANIFEST_DIR"));
            std::fs::write(path, format!("{}\n\n{text}", head.trim_end())).unwrap();
        } else {
            assert_eq!(old, text, "{name}: run this test with SHIM6_UPDATE_RULES=1 to renew it");
        }
    }
}

#[test]
fn the_nft_file_loads_twice_and_equals_the_installed_rules() {
    isolated("the_nft_file_loads_twice_and_equals_the_installed_rules", || {
        let spec = RuleSpec::default();
        let native = nft::probe().unwrap().native_queue;
        let mut text = file("shim6.nft");
        if !native {
            eprintln!("SKIPPED in part: no nft_queue here, the queue statements are left out");
            text = text
                .lines()
                .map(|l| match (l.find("queue num"), l.find("comment")) {
                    (Some(from), Some(to)) => format!("{}{}\n", &l[..from], &l[to..]),
                    _ => format!("{l}\n"),
                })
                .collect();
        }
        let path = std::env::temp_dir().join(format!("shim6-{}.nft", std::process::id()));
        std::fs::write(&path, &text).unwrap();
        for _ in 0..2 {
            sh(&format!("nft -f {}", path.display()));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(nft::table_exists().unwrap());
        let loaded = nft::counters().unwrap();
        install(&spec);
        let installed = nft::counters().unwrap();
        let names = |list: &[nft::RuleCounter]| {
            list.iter().map(|r| (r.chain.clone(), r.comment.clone())).collect::<Vec<_>>()
        };
        assert_eq!(names(&loaded), names(&installed));
    });
}

#[test]
fn the_ip6tables_twin_does_the_same() {
    isolated("the_ip6tables_twin_does_the_same", || {
        let peer = two_hosts();
        let path = format!("{}/nft-rules/shim6.ip6tables", env!("CARGO_MANIFEST_DIR"));
        for _ in 0..2 {
            sh(&format!("ip6tables-restore --noflush {path}"));
        }
        let saved = sh("ip6tables-save -t security");
        assert_eq!(saved.matches("-j NFQUEUE").count(), 2, "{saved}");
        let rules: Vec<_> = saved.lines().filter(|l| l.starts_with("-A")).collect();
        assert!(rules.iter().all(|l| l.contains("--comment")), "{rules:?}");
        // Nobody listens: plain packets pass, 140 does not reach the kernel's own answer.
        sh("ping -c1 -W2 2001:db8::2");
        peer.run(|| send_140("2001:db8::1", &[0; 16])).unwrap();
        eventually("the rule counts it", || {
            sh("ip6tables -t raw -vnL SHIM6-TAGGED")
                .lines()
                .any(|l| l.contains("NFQUEUE") && l.split_whitespace().next() == Some("1"))
        });
        let spec = RuleSpec::default();
        let mut q140 = listen(spec.queues_140().start);
        peer.run(|| send_140("2001:db8::1", &[7; 16])).unwrap();
        let mut seen = Vec::new();
        eventually("the queue gets it", || {
            seen.extend(drain(&mut q140));
            !seen.is_empty()
        });
        assert_eq!(seen[0][40..], [7; 16]);
        let mut plain: Vec<_> = spec.queues_plain().map(listen).collect();
        let socket = UdpSocket::bind("[2001:db8::1]:0").unwrap();
        socket.send_to(b"x", "[2001:db8::2]:9").unwrap();
        eventually("a plain queue gets the datagram", || {
            plain.iter_mut().any(|q| !drain(q).is_empty())
        });
        let unload: String = file("shim6.ip6tables")
            .lines()
            .filter_map(|l| l.strip_prefix("#   unload: "))
            .map(|l| format!("{l}\n"))
            .collect();
        assert!(!unload.is_empty());
        sh(&unload);
        let after = sh("ip6tables-save");
        assert!(after.lines().all(|l| l.starts_with(['#', '*', ':', 'C'])), "{after}");
        assert!(!after.contains("SHIM6"), "{after}");
    });
}
