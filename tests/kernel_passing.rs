//! Pairs that pass, in a real kernel: what is in the set is counted and not queued, everything else is queued.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod netns;

use std::collections::HashMap;
use std::net::{Ipv6Addr, UdpSocket};
use std::time::Instant;

use netns::{Host, drain, eventually, isolated, listen, set_mark, two_hosts};
use shim6::nft::{
    self, Heartbeat, NftError, Passing, PassingCount, PassingKey, RuleSpec, TaggedHook,
};

const SPEC: RuleSpec = RuleSpec {
    queue_first: 100,
    queues_140: 1,
    queues_plain: 1,
    tagged_hook: TaggedHook::Prerouting,
    mark: 0x5533_0000,
    mark_mask: 0xffff_0000,
    fib: true,
    heartbeat: true,
    passing: true,
};
const UDP: u8 = 17;

fn install() {
    let can = nft::probe().expect("probe");
    assert!(can.passing, "{can:?}");
    nft::install(&SPEC, can.queue_kind().expect("a way to queue")).expect("install");
}

/// A connected pair of sockets between this host and the other.
fn talkers(peer: &Host) -> (UdpSocket, UdpSocket) {
    let (here, there): (Ipv6Addr, Ipv6Addr) =
        ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    let ours = UdpSocket::bind((here, 7000)).unwrap();
    let theirs = peer.run(move || UdpSocket::bind((there, 7001)).unwrap());
    ours.connect((there, 7001)).unwrap();
    theirs.connect((here, 7000)).unwrap();
    for socket in [&ours, &theirs] {
        socket.set_nonblocking(true).unwrap();
    }
    (ours, theirs)
}

fn keys() -> [PassingKey; 2] {
    let [here, there] = ["2001:db8::1", "2001:db8::2"].map(|a| a.parse().unwrap());
    [
        PassingKey { src: here, dst: there, protocol: UDP },
        PassingKey { src: there, dst: here, protocol: UDP },
    ]
}

fn read(set: &mut Passing) -> HashMap<PassingKey, PassingCount> {
    let mut all = HashMap::new();
    set.read(|key, count| {
        all.insert(key, count);
    })
    .expect("a list");
    all
}

#[test]
fn pairs_in_the_set_are_counted_and_not_queued() {
    isolated("pairs_in_the_set_are_counted_and_not_queued", || {
        let peer = two_hosts();
        let (ours, theirs) = talkers(&peer);
        install();
        let mut heart = Heartbeat::open(&SPEC).expect("heartbeat");
        let (_q140, mut plain) = (listen(100), listen(101));
        let mut set = Passing::open(&SPEC).expect("the set");
        assert!(read(&mut set).is_empty());
        for key in keys() {
            set.enter(key).expect("enters");
        }
        let before = read(&mut set);
        assert_eq!(before, keys().map(|key| (key, PassingCount::FRESH)).into());
        heart.beat().unwrap();
        for n in 0..10 {
            ours.send(&[n; 100]).unwrap();
            theirs.send(&[n; 200]).unwrap();
        }
        for socket in [&ours, &theirs] {
            let mut came = 0;
            eventually("all of it passes", || {
                while socket.recv(&mut [0; 256]).is_ok() {
                    came += 1;
                }
                came == 10
            });
        }
        assert!(drain(&mut plain).is_empty(), "nothing was queued");
        let after = read(&mut set);
        for (key, octets) in keys().into_iter().zip([1480, 2480]) {
            assert_eq!(after[&key].packets - before[&key].packets, 10);
            assert_eq!(after[&key].octets - before[&key].octets, octets);
        }
        // Whoever lists rules can read it.
        assert!(netns::sh("nft list table ip6 shim6").contains("set passing"));
        // Another protocol, and a socket that has left the shim, are still looked at.
        heart.beat().unwrap();
        set_mark(&ours, nft::leave_alone(SPEC.mark, SPEC.mark_mask).unwrap());
        ours.send(b"alone").unwrap();
        eventually("it is queued", || {
            heart.beat().unwrap();
            !drain(&mut plain).is_empty()
        });
        set_mark(&ours, 0);
        for key in keys() {
            set.leave(key).expect("leaves");
        }
        assert!(read(&mut set).is_empty());
        ours.send(b"queued").unwrap();
        eventually("it is queued again", || {
            heart.beat().unwrap();
            !drain(&mut plain).is_empty()
        });
        // It can come and go. The kernel keeps what was deleted for about a second, and may refuse the same key if there
        // are many such: then its packets are queued until it is entered again.
        for _ in 0..20 {
            eventually("it is entered", || {
                set.enter(keys()[0]).unwrap();
                read(&mut set).len() == 1
            });
            set.leave(keys()[0]).unwrap();
            assert_eq!(read(&mut set).len(), 0);
        }
        nft::remove().unwrap();
        assert!(matches!(set.enter(keys()[0]), Err(NftError::TableMissing)));
        assert!(matches!(set.read(|_, _| ()), Err(NftError::TableMissing)));
    });
}

#[test]
fn a_set_of_many_is_read_whole_and_changed_quickly() {
    isolated("a_set_of_many_is_read_whole_and_changed_quickly", || {
        install();
        let mut set = Passing::open(&SPEC).expect("the set");
        let key = |n: u16| {
            let at = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, n, last);
            PassingKey { src: at(1), dst: at(2), protocol: UDP }
        };
        let began = Instant::now();
        (0..2048).for_each(|n| set.enter(key(n)).expect("enters"));
        let entered = began.elapsed() / 2048;
        let began = Instant::now();
        assert_eq!(read(&mut set).len(), 2048);
        let listed = began.elapsed();
        (0..2048).for_each(|n| set.leave(key(n)).expect("leaves"));
        assert!(read(&mut set).is_empty());
        eprintln!("{entered:?} for each change, {listed:?} to read 2048 elements");
    });
}
