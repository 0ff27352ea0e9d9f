use super::*;
use crate::addr::ContextTag;
use crate::dataplane::inject::SendError;
use crate::dataplane::kernel_path::{KernelPath, PairCount, PairKey, PairSet, SetError};
use crate::dataplane::testing::*;
use crate::dataplane::{Channels, DataplaneConfig};
use crate::proto::{Forward, ForwardChange, Inbound, Outbound, WakeOn};
use crate::wire::checksum;
use crate::wire::icmpv6::{IcmpError, IcmpErrorKind};
use nix::errno::Errno;
use std::cell::Cell;
use tokio::sync::mpsc::{Receiver, channel};

thread_local!(static NOW: Cell<u64> = const { Cell::new(1000) });

fn clock() -> Time {
    Time::from_millis(NOW.get())
}

/// A processor between a kernel and an engine that are not there.
struct Case {
    shared: Arc<Shared>,
    processor: Processor<TestRoutes, TestSocket>,
    routes: TestRoutes,
    socket: TestSocket,
    notices: Receiver<Notice>,
    control: Receiver<ControlPacket>,
}

impl Case {
    fn new(forward: Forward) -> Case {
        Self::with(forward, config(clock))
    }

    fn with(forward: Forward, config: DataplaneConfig) -> Case {
        let (notice_sender, notices) = channel(8);
        let (control_sender, control) = channel(2);
        let channels = Channels { notices: notice_sender, control: control_sender };
        let shared = Arc::new(Shared::new(config, channels));
        let (routes, socket) = (TestRoutes::new(1500), TestSocket::default());
        let processor = Processor::new(Arc::clone(&shared), routes.clone(), socket.clone());
        shared.map.apply(&ForwardChange::Set(forward));
        Case { shared, processor, routes, socket, notices, control }
    }

    fn count(&self, counter: Counter) -> u64 {
        self.shared.counters.get(counter)
    }

    fn out(&mut self, packet: &[u8]) -> Verdict {
        self.processor.process(packet, Way::Out)
    }
}

/// What the peer's side makes of packets.
fn peer() -> Case {
    let pair = LocatorPair { local: locators().peer, peer: locators().local };
    Case::new(Forward {
        ulids: UlidPair { local: ulids().peer, peer: ulids().local },
        local_tag: peer_tag(),
        outbound: Outbound::Tagged(pair, local_tag()),
        ..plain()
    })
}

fn pieces(verdict: Verdict) -> Vec<Vec<u8>> {
    match verdict {
        Verdict::Replace { packet, mark: false, then } => {
            std::iter::once(packet).chain(then).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn delivered(verdict: Verdict) -> Option<Vec<u8>> {
    match verdict {
        Verdict::Replace { packet, mark: true, then } => {
            assert!(then.is_empty());
            Some(packet)
        }
        Verdict::Drop => None,
        other => panic!("{other:?}"),
    }
}

// req-test: S6-11-01, S6-11-02, S6-12.1-01
#[test]
fn packets_on_their_ulids_pass_untouched_and_count() {
    let mut c = Case::new(plain());
    assert_eq!(c.out(&udp(US, PEER, b"x")), Verdict::Accept);
    assert_eq!(c.processor.process(&udp(PEER, US, b"yy"), Way::In), Verdict::Accept);
    let activity = c.shared.map.activity(plain().id).unwrap();
    assert_eq!((activity.octets_out, activity.octets_in), (49, 50));
    assert!(c.notices.try_recv().is_err());
    c.shared.map.look(plain().id);
    c.shared.map.apply(&ForwardChange::Wake(plain().id, WakeOn::Any));
    c.out(&udp(US, PEER, b"x"));
    c.out(&udp(US, PEER, b"x"));
    assert!(
        matches!(c.notices.try_recv(), Ok(Notice::Active(id, a)) if id == plain().id && a.packets_out == 2)
    );
    assert!(c.notices.try_recv().is_err());
}

// req-test: S6-1.6-04, S6-12.2-04, S6-1.6-01
#[test]
fn every_size_and_kind_arrives_as_it_was_sent() {
    for mtu in [1280, 1400, 1500] {
        let (mut us, mut them) = (Case::new(tagged()), peer());
        *us.routes.0.lock().unwrap() = Ok(mtu);
        let sizes = [0, 1, mtu - 57, mtu - 56, mtu - 55, mtu - 48, mtu, 5000, 65_400];
        for len in sizes {
            let sent = udp(US, PEER, &pattern(len));
            let wire = pieces(us.out(&sent));
            assert!(wire.iter().all(|p| p.len() <= mtu), "{len}");
            let mut got = None;
            for packet in &wire {
                assert!(got.is_none());
                got = delivered(them.processor.process(packet, Way::Shim6));
            }
            assert_eq!(got.expect("delivered"), sent, "{len} octets at MTU {mtu}");
        }
        let segment = tcp(US, PEER, 100, 0x18, &[], &pattern(mtu - 60));
        let wire = pieces(us.out(&segment));
        assert_eq!(wire.len(), 2);
        let mut stream = Vec::new();
        for packet in &wire {
            let got = delivered(them.processor.process(packet, Way::Shim6)).unwrap();
            assert_eq!(checksum::transport(a(US), a(PEER), 6, &got[40..]), 0);
            stream.extend_from_slice(&got[60..]);
        }
        assert_eq!(stream, pattern(mtu - 60));
        assert_eq!(us.count(Counter::TcpCut), 1);
        assert_eq!(them.count(Counter::Reassembled), us.count(Counter::Fragmented));
    }
}

// req-test: AP-6.6-01, AP-6.7-01
#[test]
fn the_locators_of_the_newest_packet_in_are_known() {
    let (mut us, mut them) = (Case::new(tagged()), peer());
    let received = |c: &Case| c.shared.map.entry(tagged().id).unwrap().cells.received();
    assert_eq!(received(&them), None);
    let wire = pieces(us.out(&udp(US, PEER, b"x")));
    delivered(them.processor.process(&wire[0], Way::Shim6)).unwrap();
    let pair = LocatorPair { local: locators().peer, peer: locators().local };
    assert_eq!(received(&them), Some(pair));
    assert_eq!(them.processor.process(&udp(US, PEER, b"y"), Way::In), Verdict::Accept);
    assert_eq!(received(&them), None, "that one came in on the ULIDs");
    assert_eq!(received(&us), None, "what goes out does not count");
}

#[test]
fn a_datagram_too_large_for_a_verdict_is_dropped_by_name() {
    let (mut us, mut them) = (Case::new(tagged()), peer());
    let sent = udp(US, PEER, &pattern(65_527));
    for packet in pieces(us.out(&sent)) {
        assert_eq!(them.processor.process(&packet, Way::Shim6), Verdict::Drop);
    }
    assert_eq!(them.count(Counter::DropReassembledSize), 1);
}

// req-test: S6-15.4-02
#[test]
fn the_transport_is_told_once_per_second_to_send_less() {
    let mut c = Case::new(tagged());
    let full = tcp(US, PEER, 1, 0x10, &[], &pattern(1440));
    c.out(&full);
    c.out(&full);
    let told = c.socket.take();
    assert_eq!(told.len(), 1);
    let header = crate::wire::ipv6::Ipv6Header::parse(&told[0]).unwrap();
    assert_eq!((header.src, header.dst), (a(US), a(US)));
    NOW.set(NOW.get() + 1000);
    c.out(&full);
    assert_eq!(c.socket.take().len(), 1);
    assert_eq!(c.count(Counter::PacketTooBigMade), 2);
}

#[test]
fn without_a_route_the_packet_is_dropped_and_the_engine_told_now_and_then() {
    let mut c = Case::new(tagged());
    *c.routes.0.lock().unwrap() = Err(Errno::ENETUNREACH);
    for _ in 0..3 {
        assert_eq!(c.out(&udp(US, PEER, b"x")), Verdict::Drop);
    }
    let failed = Notice::SendFailed { src: locators().local, dst: locators().peer };
    assert_eq!(c.notices.try_recv(), Ok(failed.clone()));
    assert!(c.notices.try_recv().is_err());
    assert_eq!(c.count(Counter::DropNoRoute), 3);
    // It was a payload packet all the same: the Send Timer runs.
    assert!(c.shared.map.activity(plain().id).unwrap().pending_out.is_some());
    *c.socket.fails.lock().unwrap() = Some(SendError::Unreachable(Errno::EADDRNOTAVAIL));
    let wire = {
        let mut ok = Case::new(tagged());
        pieces(ok.out(&udp(US, PEER, b"x")))
    };
    c.processor.send(wire);
    assert_eq!(c.notices.try_recv(), Ok(failed));
    assert_eq!(c.count(Counter::DropSend), 1);
}

// req-test: S6-12.2-02
#[test]
fn unknown_tags_are_reported_within_limits() {
    let mut c = Case::new(plain());
    let plain_packet = udp(PEER, US, b"x");
    let place = walk(&plain_packet).unwrap().insert;
    let pair = LocatorPair { local: locators().peer, peer: locators().local };
    let stranger = rewrite::tag(&plain_packet, place, pair, ContextTag::from_masked(5)).unwrap();
    for _ in 0..1000 {
        assert_eq!(c.processor.process(&stranger, Way::Shim6), Verdict::Drop);
    }
    assert_eq!(c.count(Counter::DropUnknownTag), 1000);
    // 20 were allowed, of which 8 fit.
    assert_eq!(c.count(Counter::NoticeShed), 12);
    while c.notices.try_recv().is_ok() {}
    NOW.set(NOW.get() + 100);
    c.processor.process(&stranger, Way::Shim6);
    assert!(matches!(c.notices.try_recv(), Ok(Notice::UnknownTag { .. })));
}

// req-test: S6-12.2-03
#[test]
fn payload_during_establishment_is_delivered_and_reported_once_per_second() {
    let mut them = peer();
    let forward = Forward {
        inbound: Inbound::UnmapAndNotify,
        ..them.shared.map.entry(plain().id).unwrap().forward()
    };
    them.shared.map.apply(&ForwardChange::Set(forward));
    let sent = udp(US, PEER, b"x");
    let wire = pieces(Case::new(tagged()).out(&sent));
    for _ in 0..3 {
        assert_eq!(delivered(them.processor.process(&wire[0], Way::Shim6)), Some(sent.clone()));
    }
    assert_eq!(them.notices.try_recv(), Ok(Notice::PayloadInSetup(plain().id)));
    assert!(them.notices.try_recv().is_err());
}

#[test]
fn control_messages_go_to_the_engine_or_are_counted() {
    let mut c = Case::new(plain());
    let mut message = [59, 1, 64, 0, 0, 0, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    let sum = checksum::internet(&message);
    message[4..6].copy_from_slice(&sum.to_be_bytes());
    let mut packet = packet(PEER_TOO, US_TOO, 140, &message);
    // Padding of the link layer is not part of the packet.
    packet.extend([0; 6]);
    for _ in 0..3 {
        assert_eq!(c.processor.process(&packet, Way::Shim6), Verdict::Drop);
    }
    let got = c.control.try_recv().unwrap();
    assert_eq!((got.src, got.dst), (locators().peer, locators().local));
    assert_eq!(got.packet[got.offset..], message);
    assert_eq!((c.count(Counter::Control), c.count(Counter::DropControlShed)), (2, 1));
}

// req-test: S6-8-01, S6-8-02, S6-8-03, S6-8-04, S6-8-09
#[test]
fn icmp_errors_are_delivered_unless_an_exploration_acts_on_them() {
    let wire = pieces(Case::new(tagged()).out(&udp(US, PEER, &pattern(1200))));
    let error = |kind| {
        IcmpError { kind, quote: &wire[0], extensions: &[] }.emit_packet(a(ROUTER), a(US_TOO), 9)
    };
    let unreachable = error(IcmpErrorKind::DestinationUnreachable { code: 0 });
    let port = error(IcmpErrorKind::DestinationUnreachable { code: 4 });
    let acting = Forward { hold: true, ..tagged() };
    let mut c = Case::new(tagged());
    assert!(matches!(c.processor.process(&unreachable, Way::In), Verdict::Replace { .. }));
    let told = Notice::PayloadRefused { context: plain().id, icmp_type: 1, icmp_code: 0 };
    assert_eq!(c.notices.try_recv(), Ok(told));
    let mut c = Case::new(acting.clone());
    assert_eq!(c.processor.process(&unreachable, Way::In), Verdict::Drop);
    assert!(matches!(c.processor.process(&port, Way::In), Verdict::Replace { .. }));
    assert_eq!(c.count(Counter::IcmpConsumed), 1);
    let mut c = Case::with(acting, DataplaneConfig { deliver_all_icmp: true, ..config(clock) });
    assert!(matches!(c.processor.process(&unreachable, Way::In), Verdict::Replace { .. }));
    // A Packet Too Big is for the transport, and for us: the next packet is cut to the new size.
    let mut c = Case::new(tagged());
    assert_eq!(pieces(c.out(&udp(US, PEER, &pattern(1300)))).len(), 1);
    let too_big = error(IcmpErrorKind::PacketTooBig { mtu: 1300 });
    let Verdict::Replace { packet, mark: false, .. } = c.processor.process(&too_big, Way::In)
    else {
        panic!("not delivered");
    };
    assert_eq!(u32::from_be_bytes(packet[44..48].try_into().unwrap()), 1292);
    let wire = pieces(c.out(&udp(US, PEER, &pattern(1300))));
    assert_eq!(wire.len(), 2);
    assert!(wire.iter().all(|p| p.len() <= 1300));
}

#[test]
fn errors_about_control_messages_end_here() {
    let mut c = Case::new(plain());
    let message = [59, 1, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let quote = packet(US_TOO, PEER_TOO, 140, &message);
    let kind = IcmpErrorKind::ParameterProblem { code: 1, pointer: 6 };
    let error =
        IcmpError { kind, quote: &quote, extensions: &[] }.emit_packet(a(PEER_TOO), a(US_TOO), 9);
    assert_eq!(c.processor.process(&error, Way::In), Verdict::Drop);
    assert!(matches!(
        c.notices.try_recv(),
        Ok(Notice::ControlRefused { icmp_type: 4, icmp_code: 1, quoted, .. }) if quoted == message
    ));
}

#[test]
fn errors_about_control_messages_are_reported_within_limits() {
    let mut c = Case::new(plain());
    let quote =
        packet(US_TOO, PEER_TOO, 140, &[59, 1, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let kind = IcmpErrorKind::DestinationUnreachable { code: 0 };
    let error =
        IcmpError { kind, quote: &quote, extensions: &[] }.emit_packet(a(PEER_TOO), a(US_TOO), 9);
    for _ in 0..1000 {
        assert_eq!(c.processor.process(&error, Way::In), Verdict::Drop);
    }
    assert_eq!((c.count(Counter::IcmpControl), c.count(Counter::IcmpControlShed)), (1000, 980));
    // Of the 20 others 8 fit.
    assert_eq!(c.count(Counter::NoticeShed), 12);
    while c.notices.try_recv().is_ok() {}
    NOW.set(NOW.get() + 100);
    c.processor.process(&error, Way::In);
    assert!(matches!(c.notices.try_recv(), Ok(Notice::ControlRefused { .. })));
}

/// Flows in the kernel, as many as were let in.
#[derive(Debug)]
struct Letting(Arc<std::sync::atomic::AtomicUsize>);

impl PairSet for Letting {
    fn enter(&mut self, _: PairKey) -> Result<PairCount, SetError> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(PairCount::default())
    }
    fn leave(&mut self, _: PairKey) -> Result<(), SetError> {
        Ok(())
    }
    fn read(&mut self, _: &mut dyn FnMut(PairKey, PairCount)) -> Result<(), SetError> {
        Ok(())
    }
}

#[test]
fn one_fast_flow_passes_for_each_look_at_the_empty_queue() {
    let mut c = Case::new(plain());
    let entered = Arc::default();
    let set = Letting(Arc::clone(&entered));
    c.shared.kernel_path.set(KernelPath::new(Box::new(set))).unwrap();
    for n in 0..64 {
        c.out(&udp(US, PEER, b"x"));
        c.out(&tcp(US, PEER, n, 0x18, &[], b"x"));
    }
    let entered = || entered.load(std::sync::atomic::Ordering::Relaxed);
    c.processor.let_pass(false);
    assert_eq!(entered(), 0, "there is more in the queue");
    c.processor.let_pass(true);
    assert_eq!((entered(), c.processor.has_fast()), (2, true));
    c.processor.let_pass(true);
    assert_eq!((entered(), c.processor.has_fast()), (4, false));
}

#[test]
fn a_reset_frees_what_is_held_though_nothing_is_in_doubt_any_more() {
    let mut c = Case::new(plain());
    let segment = tcp(US, PEER, 1, 0x18, &[], b"into the void");
    c.out(&segment);
    c.out(&segment);
    let held = |c: &Case| c.shared.map.entry(plain().id).unwrap().cells.held();
    assert_eq!(held(&c), 1);
    assert_eq!(c.out(&tcp(US, PEER, 14, flag::RST, &[], b"")), Verdict::Accept);
    assert_eq!((held(&c), c.shared.held.size()), (0, (0, 0)));
}

#[test]
fn held_copies_are_sent_on_the_present_pair() {
    let mut c = Case::new(Forward { hold: true, ..plain() });
    let segment = tcp(US, PEER, 1, 0x18, &[], &pattern(1440));
    assert_eq!(c.out(&segment), Verdict::Accept);
    assert_eq!(c.out(&udp(US, PEER, b"x")), Verdict::Accept);
    let entry = c.shared.map.entry(plain().id).unwrap();
    assert_eq!(entry.cells.held(), 1);
    let copies = c.shared.held.take(plain().id);
    let outgoing = &mut c.processor.outgoing;
    outgoing.resend(&entry, copies.clone(), clock());
    assert_eq!(c.socket.take(), std::slice::from_ref(&segment), "on the ULIDs: as it was");
    c.shared.map.apply(&ForwardChange::Set(tagged()));
    c.processor.outgoing.resend(&entry, copies, clock());
    let sent = c.socket.take();
    // A Packet Too Big for TCP, and the two pieces.
    assert_eq!(sent.len(), 3);
    let mut them = peer();
    let got: Vec<u8> = sent[1..]
        .iter()
        .flat_map(|p| delivered(them.processor.process(p, Way::Shim6)).unwrap()[60..].to_vec())
        .collect();
    assert_eq!(got, pattern(1440));
    assert_eq!(c.count(Counter::HeldResent), 2);
}

// req-test: S6-4-01
#[test]
fn traffic_without_a_context_is_watched_in_both_directions() {
    let mut c = Case::new(Forward {
        ulids: UlidPair { local: ulids().peer, peer: ulids().local },
        ..plain()
    });
    assert_eq!(c.out(&udp(US, PEER, &pattern(1000))), Verdict::Accept);
    assert!(c.notices.try_recv().is_err());
    assert_eq!(c.processor.process(&udp(PEER, US, &pattern(1000)), Way::In), Verdict::Accept);
    assert_eq!(c.notices.try_recv(), Ok(Notice::Heuristic(ulids())));
}

/// Whole processors, with rewriting, cutting and reassembly, on packets made from good ones.
#[test]
fn mutated_packets_never_panic_nor_grow_memory() {
    let (mut us, mut them) = (Case::new(tagged()), peer());
    *us.routes.0.lock().unwrap() = Ok(1280);
    let seeds = [
        udp(US, PEER, &pattern(2500)),
        tcp(US, PEER, 9, 0x18, &[1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0], &pattern(1400)),
        packet(US, PEER, 0, &[44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]),
    ];
    let mut x = 0x5533_0001_u64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as usize
    };
    let mut mutate = |packet: &mut Vec<u8>, keep: std::ops::Range<usize>| {
        for _ in 0..1 + next() % 3 {
            let at = next() % 72 % packet.len();
            if !keep.contains(&at) {
                packet[at] = next() as u8;
            }
        }
    };
    let mut rewritten = 0u32;
    for n in 0..30_000 {
        let mut packet = seeds[n % seeds.len()].clone();
        mutate(&mut packet, 8..40);
        if let Verdict::Replace { packet, then, .. } = us.out(&packet) {
            for mut wire in std::iter::once(packet).chain(then) {
                assert!(wire.len() <= 1280);
                mutate(&mut wire, 40..48);
                rewritten += 1;
                if let Verdict::Replace { packet, .. } = them.processor.process(&wire, Way::Shim6) {
                    assert!(packet.len() <= MAX_VERDICT_PACKET);
                }
            }
        }
    }
    assert!(rewritten > 10_000, "{rewritten}");
}

#[test]
fn a_repeated_segment_is_held_though_the_peer_is_heard() {
    let mut c = Case::new(plain());
    let segment = tcp(US, PEER, 1, 0x18, &[], b"into the void");
    let peers = tcp(PEER, US, 1, 0x18, &[], b"heard");
    for held in [0, 1] {
        c.out(&segment);
        assert_eq!(c.shared.map.entry(plain().id).unwrap().cells.held(), held);
        NOW.set(NOW.get() + 300);
        c.processor.process(&peers, Way::In);
    }
}

/// The first octets of a packet, as they come where headers suffice.
fn start(packet: &[u8], octets: usize) -> Seen<'_> {
    let octets = &packet[..packet.len().min(octets)];
    Seen { octets, len: packet.len(), whole: false, large: false }
}

/// A packet that the kernel has not cut into segments yet.
fn large(packet: &[u8]) -> Seen<'_> {
    Seen { octets: packet, len: packet.len(), whole: false, large: true }
}

fn headers(packet: &[u8]) -> Seen<'_> {
    start(packet, 100)
}

#[test]
fn headers_suffice_for_what_stays_as_it_is() {
    let mut c = Case::new(plain());
    let segment = tcp(US, PEER, 1, 0x18, &[], &pattern(9000));
    assert_eq!(c.processor.process(headers(&segment), Way::Out), Verdict::Accept);
    let answer = tcp(PEER, US, 1, 0x18, &[], &pattern(8000));
    assert_eq!(c.processor.process(headers(&answer), Way::In), Verdict::Accept);
    let activity = c.shared.map.activity(plain().id).unwrap();
    assert_eq!((activity.octets_out, activity.octets_in), (9060, 8060));
    // Nor does the heuristic need more.
    let other = udp(PEER, ROUTER, &pattern(5000));
    assert_eq!(c.processor.process(headers(&other), Way::Out), Verdict::Accept);
    assert!(matches!(c.notices.try_recv(), Ok(Notice::Heuristic(_))));
    assert_eq!((c.count(Counter::RxOut), c.count(Counter::RxIn)), (2, 1));
}

#[test]
fn what_is_rewritten_kept_or_translated_is_asked_for_whole() {
    let asks = |c: &mut Case, packet: &[u8], way, wanted| {
        let before = (c.shared.map.activity(plain().id), c.count(Counter::RxOut));
        let verdict = c.processor.process(headers(packet), way);
        assert_eq!(verdict, Verdict::Again(wanted));
        let after = (c.shared.map.activity(plain().id), c.count(Counter::RxOut));
        assert_eq!(before, after, "counts once it has come whole");
        assert!(!matches!(c.processor.process(packet, way), Verdict::Again(_)));
    };
    let segment = tcp(US, PEER, 1, 0x18, &[], &pattern(1200));
    let mut c = Case::new(tagged());
    asks(&mut c, &segment, Way::Out, Wanted::Large);
    assert_eq!((c.count(Counter::AskedWhole), c.count(Counter::Tagged)), (1, 1));
    // A segment sent again, and any while the engine explores.
    let mut c = Case::new(plain());
    assert_eq!(c.processor.process(headers(&segment), Way::Out), Verdict::Accept);
    asks(&mut c, &segment, Way::Out, Wanted::Once);
    assert_eq!(c.count(Counter::HeldKept), 1);
    let mut c = Case::new(Forward { hold: true, ..plain() });
    asks(&mut c, &segment, Way::Out, Wanted::Once);
    assert_eq!(c.count(Counter::HeldKept), 1);
    // Datagrams are never kept.
    let datagram = udp(US, PEER, &pattern(1200));
    assert_eq!(c.processor.process(headers(&datagram), Way::Out), Verdict::Accept);
    // Errors about tagged packets, not others.
    let wire = pieces(Case::new(tagged()).out(&udp(US, PEER, &pattern(1200))));
    let error = |quote: &[u8]| {
        let kind = IcmpErrorKind::DestinationUnreachable { code: 4 };
        IcmpError { kind, quote, extensions: &[] }.emit_packet(a(ROUTER), a(US_TOO), 9)
    };
    let mut c = Case::new(tagged());
    let packet = error(&wire[0]);
    assert!(packet.len() > 1000);
    let verdict = c.processor.process(start(&packet, 200), Way::In);
    assert_eq!(verdict, Verdict::Again(Wanted::Once));
    assert!(matches!(c.processor.process(&packet, Way::In), Verdict::Replace { .. }));
    let packet = error(&udp(US_TOO, PEER_TOO, &pattern(1200)));
    assert_eq!(c.processor.process(start(&packet, 200), Way::In), Verdict::Accept);
    // Headers that go on behind what is there.
    let options = [&[17u8, 12][..], &[1, 100], &[0; 100]].concat();
    let far = packet_with(60, &options);
    assert_eq!(c.processor.process(headers(&far), Way::Out), Verdict::Again(Wanted::Once));
}

/// What the peer's side delivers of packets that were sent.
fn stream(them: &mut Case, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut all = Vec::new();
    for packet in packets {
        let got = delivered(them.processor.process(packet, Way::Shim6)).unwrap();
        assert_eq!(checksum::transport(a(US), a(PEER), 6, &got[40..]), 0);
        all.extend_from_slice(&got[usize::from(got[52] >> 4) * 4 + 40..]);
    }
    all
}

fn sent(verdict: Verdict) -> Vec<Vec<u8>> {
    let Verdict::Send(pieces) = verdict else { panic!("{verdict:?}") };
    pieces.iter().map(<[u8]>::to_vec).collect()
}

#[test]
fn what_the_kernel_has_not_cut_is_cut_and_sent_by_us() {
    const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
    let (mut c, mut them) = (Case::new(tagged()), peer());
    let mut packet = tcp(US, PEER, 1, 0x98, &TIMESTAMPS, &pattern(20_000));
    // The kernel leaves the checksum to the device.
    packet[56..58].fill(0x55);
    // The first of its flow takes a verdict along, so that connection tracking sees it through.
    let wire = pieces(c.processor.process(large(&packet), Way::Out));
    assert_eq!(stream(&mut them, &wire), pattern(20_000));
    assert!(wire.iter().all(|p| p.len() <= 1500));
    assert_eq!(wire[..14].iter().map(Vec::len).collect::<Vec<_>>(), [1500; 14]);
    assert_eq!(c.socket.take().len(), 1, "TCP is told that its segments have to be shorter");
    let next = tcp(US, PEER, 20_001, 0x18, &TIMESTAMPS, &pattern(9_000));
    let wire = sent(c.processor.process(large(&next), Way::Out));
    assert_eq!(stream(&mut them, &wire), pattern(9_000));
    // Whatever comes behind these goes the same way, for as long as the flow is busy; other flows do not.
    let last = tcp(US, PEER, 29_001, 0x11, &TIMESTAMPS, b"the end");
    let wire = sent(c.out(&last));
    assert_eq!(stream(&mut them, &wire), b"the end");
    let mut other = tcp(US, PEER, 1, 0x18, &[], b"other");
    other[41] ^= 1;
    assert!(matches!(c.out(&other), Verdict::Replace { .. }));
    NOW.set(NOW.get() + 1000);
    assert!(matches!(c.out(&last), Verdict::Replace { .. }));
    assert_eq!((c.count(Counter::Segmented), c.count(Counter::TcpCut)), (2, 0));
    let activity = c.shared.map.activity(tagged().id).unwrap();
    assert_eq!(activity.packets_out, 5, "uncut packets count once, as everywhere");
}

#[test]
fn segments_are_no_longer_than_tcp_makes_them() {
    let mut c = Case::new(tagged());
    *c.routes.0.lock().unwrap() = Ok(9000);
    // Selective acknowledgements take their room from the data.
    let sack = [&[1u8, 1, 5, 18][..], &[7; 16]].concat();
    for (options, len) in [(&[][..], 1508), (&sack[..], 1508)] {
        NOW.set(NOW.get() + 1000);
        let packet = tcp(US, PEER, 1, 0x18, options, &pattern(10_000));
        let wire = pieces(c.processor.process(large(&packet), Way::Out));
        assert_eq!(wire[0].len(), len);
        assert_eq!(c.socket.take(), Vec::<Vec<u8>>::new());
    }
}

#[test]
fn what_only_the_kernel_can_cut_it_is_asked_to_cut() {
    let mut c = Case::new(tagged());
    let mut asks = |packet: &[u8]| {
        let verdict = c.processor.process(large(packet), Way::Out);
        assert_eq!(verdict, Verdict::Again(Wanted::Cut));
        assert_eq!(c.shared.map.activity(tagged().id).unwrap().packets_out, 0);
    };
    asks(&udp(US, PEER, &pattern(5000)));
    asks(&tcp(US, PEER, 1, 0x02, &[], &pattern(5000)));
    let md5 = [&[1u8, 1, 19, 18][..], &[7; 16]].concat();
    asks(&tcp(US, PEER, 1, 0x18, &md5, &pattern(5000)));
    // A flow of which nobody knows the segment size.
    let mut unknown = tcp(US, PEER, 1, 0x18, &[], &pattern(5000));
    unknown[41] ^= 1;
    asks(&unknown);
    // On their ULIDs all of them stay as they are.
    let mut c = Case::new(plain());
    assert_eq!(c.processor.process(large(&unknown), Way::Out), Verdict::Accept);
}

#[test]
fn of_an_uncut_packet_the_first_segment_is_held() {
    let mut c = Case::new(Forward { hold: true, ..tagged() });
    let packet = tcp(US, PEER, 1, 0x18, &[], &pattern(30_000));
    c.processor.process(large(&packet), Way::Out);
    let copies = c.shared.held.take(tagged().id);
    assert_eq!(copies, [tcp(US, PEER, 1, 0x10, &[], &pattern(1432))]);
    // The same again is a repetition.
    let mut c = Case::new(tagged());
    c.processor.process(large(&packet), Way::Out);
    assert_eq!(c.count(Counter::HeldKept), 0);
    c.processor.process(large(&packet), Way::Out);
    assert_eq!(c.count(Counter::HeldKept), 1);
    *c.routes.0.lock().unwrap() = Err(Errno::ENETUNREACH);
    NOW.set(NOW.get() + 10_000);
    assert_eq!(c.processor.process(large(&packet), Way::Out), Verdict::Drop);
    assert_eq!(c.count(Counter::DropNoRoute), 1);
}

#[test]
fn a_packet_that_no_verdict_can_carry_is_not_asked_for_for_ever() {
    let mut c = Case::new(tagged());
    let packet = udp(US, PEER, &pattern(65_500));
    let shown = Seen { whole: true, ..start(&packet, 65_531) };
    assert_eq!(c.processor.process(shown, Way::Out), Verdict::Drop);
    assert_eq!(c.count(Counter::DropTooBig), 1);
}

proptest::proptest! {
    #[test]
    fn segmenting_and_coalescing_leave_the_stream_as_it_is(
        len in 1usize..65_000,
        mtu in 1280usize..2000,
        seq: u32,
        flags in 0u8..=255,
        timestamps: bool,
    ) {
        use crate::dataplane::coalesce::Train;
        let flags = flags & !0x26 | 0x10;
        let options: &[u8] = if timestamps { &[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8] } else { &[] };
        let packet = tcp(US, PEER, seq, flags, options, &pattern(len));
        let (mut us, mut them) = (Case::new(tagged()), peer());
        *us.routes.0.lock().unwrap() = Ok(mtu);
        let mut trains: Vec<Vec<u8>> = Vec::new();
        let mut train: Option<Train> = None;
        for wire in pieces(us.processor.process(large(&packet), Way::Out)) {
            proptest::prop_assert!(wire.len() <= mtu);
            let got = delivered(them.processor.process(&wire, Way::Shim6)).unwrap();
            if train.as_mut().is_some_and(|t| t.add(&got)) {
                continue;
            }
            trains.extend(train.take().map(Train::finish));
            match Train::start(got) {
                Ok(new) => train = Some(new),
                Err(alone) => trains.push(alone),
            }
        }
        trains.extend(train.take().map(Train::finish));
        let headers = 60 + options.len();
        let mut all = Vec::new();
        let count = trains.len();
        for (n, got) in trains.into_iter().enumerate() {
            proptest::prop_assert_eq!(checksum::transport(a(US), a(PEER), 6, &got[40..]), 0);
            let at = seq.wrapping_add(all.len() as u32);
            proptest::prop_assert_eq!(&got[44..48], at.to_be_bytes());
            proptest::prop_assert_eq!(&got[48..53], &packet[48..53]);
            proptest::prop_assert_eq!(&got[60..headers], options);
            let mut want = flags;
            if n > 0 { want &= !0x80; }
            if n + 1 < count { want &= !0x09; }
            proptest::prop_assert_eq!(got[53], want);
            all.extend_from_slice(&got[headers..]);
        }
        proptest::prop_assert_eq!(all, pattern(len));
    }
}

fn packet_with(next_header: u8, payload: &[u8]) -> Vec<u8> {
    packet(US, PEER, next_header, payload)
}

/// Both hosts with a forked context beside the default one; ours is on other locators than the peer's.
fn forked() -> (Case, Case) {
    let tag = |n| ContextTag::from_masked(n);
    let fork = |f: Forward| Forward { id: crate::proto::ContextId(8), fii: Fii(9), ..f };
    let us = Case::new(plain());
    us.shared.map.apply(&ForwardChange::Set(fork(Forward {
        local_tag: tag(100),
        outbound: Outbound::Tagged(locators(), tag(200)),
        ..plain()
    })));
    let back = UlidPair { local: ulids().peer, peer: ulids().local };
    let them = Case::new(Forward { ulids: back, local_tag: peer_tag(), ..plain() });
    them.shared.map.apply(&ForwardChange::Set(fork(Forward {
        ulids: back,
        local_tag: tag(200),
        outbound: Outbound::Tagged(back.locators(), tag(100)),
        ..plain()
    })));
    (us, them)
}

fn answer(data: &[u8]) -> Vec<u8> {
    let mut packet = udp(PEER, US, data);
    packet[40..44].copy_from_slice(&[0x10, 2, 0x10, 1]);
    let sum = u16::from_be_bytes([packet[46], packet[47]]);
    // The ports have only changed places.
    assert_ne!(sum, 0);
    packet
}

fn flow() -> crate::addr::Flow {
    let packet = udp(US, PEER, b"x");
    flow_of(&packet, &walk(&packet).unwrap(), Way::Out).unwrap()
}

// req-test: AP-A-01, S6-4.2-02, S6-12.4-07
#[test]
fn answers_go_by_the_context_that_the_peers_packets_came_by() {
    let (mut us, mut them) = forked();
    assert_eq!(them.out(&answer(b"early")), Verdict::Accept, "the default context");
    assert!(us.shared.map.bind_flow(flow(), crate::proto::ContextId(8)));
    // Fragments of a datagram too: the flow is known when it is whole.
    let sent = udp(US, PEER, &pattern(3000));
    let wire = pieces(us.out(&sent));
    assert_eq!(wire.len(), 3);
    let got: Vec<_> =
        wire.iter().filter_map(|p| delivered(them.processor.process(p, Way::Shim6))).collect();
    assert_eq!(got, [sent]);
    assert_eq!(them.shared.map.flows.count(), (0, 1, 0));
    let back = pieces(them.out(&answer(b"now")));
    assert_eq!(walk(&back[0]).unwrap().header.src, a(PEER), "on the pair that the peer chose");
    assert_eq!(delivered(us.processor.process(&back[0], Way::Shim6)), Some(answer(b"now")));
    // Other flows stay where they are.
    assert_eq!(them.out(&udp(PEER, US, b"other")), Verdict::Accept);
    // The socket gave up its context: so do the answers.
    us.shared.map.flows.release(&flow());
    assert_eq!(us.out(&udp(US, PEER, b"plain")), Verdict::Accept);
    assert_eq!(them.processor.process(&udp(US, PEER, b"plain"), Way::In), Verdict::Accept);
    assert!(them.shared.map.flows.is_empty());
    assert_eq!(them.out(&answer(b"default")), Verdict::Accept);
}

#[test]
fn an_own_choice_is_not_overruled_by_the_peers_packets() {
    let (mut us, mut them) = forked();
    us.shared.map.bind_flow(flow(), crate::proto::ContextId(8));
    let back = crate::addr::Flow {
        ulids: UlidPair { local: ulids().peer, peer: ulids().local },
        local_port: 0x1002,
        peer_port: 0x1001,
        protocol: 17,
    };
    them.shared.map.bind_flow(back, plain().id);
    let wire = pieces(us.out(&udp(US, PEER, b"x")));
    assert!(delivered(them.processor.process(&wire[0], Way::Shim6)).is_some());
    assert_eq!(them.shared.map.flows.count(), (1, 0, 0));
    assert_eq!(them.out(&answer(b"y")), Verdict::Accept, "by the default context as told");
}

// req-test: AP-6.2-02, S6-4.3-01
#[test]
fn a_socket_that_left_the_shim_counts_for_nothing() {
    let mut c = Case::new(tagged());
    for _ in 0..100 {
        assert_eq!(c.processor.leave_alone(&udp(US, ROUTER, &pattern(1000))), Verdict::Accept);
        let mut back = udp(ROUTER, US, &pattern(1000));
        back[40..44].copy_from_slice(&[0x10, 2, 0x10, 1]);
        assert_eq!(c.processor.process(&back, Way::In), Verdict::Accept);
    }
    assert!(c.notices.try_recv().is_err(), "no heuristic");
    assert_eq!(c.count(Counter::LeftAlone), 200);
    assert_eq!(c.processor.leave_alone(&udp(US, PEER, b"x")), Verdict::Accept, "not rewritten");
    assert_eq!(c.shared.map.activity(tagged().id).unwrap().packets_out, 0);
    // Its port has another owner now.
    assert_eq!(pieces(c.out(&udp(US, PEER, b"x"))).len(), 1);
    assert_eq!(c.shared.map.flows.count(), (0, 0, 1));
}

// req-test: AL-5.2-01, AS-4-02
#[test]
fn all_flows_of_a_context_take_its_one_pair_and_keep_their_ulids() {
    let (mut us, mut them) = (Case::new(tagged()), peer());
    for n in 0..20 {
        let sent = match n % 2 {
            0 => udp(US, PEER, &pattern(n)),
            _ => tcp(US, PEER, n as u32, 0x18, &[], &pattern(n)),
        };
        let wire = pieces(us.out(&sent));
        assert_eq!(wire.len(), 1);
        let header = walk(&wire[0]).unwrap().header;
        assert_eq!((header.src, header.dst), (a(US_TOO), a(PEER_TOO)));
        assert_eq!(delivered(them.processor.process(&wire[0], Way::Shim6)), Some(sent));
    }
    // A source that an application has chosen and that is no context's ULID is nobody else's business.
    let bound = udp(US_TOO, PEER, b"x");
    assert_eq!(us.out(&bound), Verdict::Accept);
}

// req-test: S6-16.1-01, S6-16.1-02
#[test]
fn ipsec_above_the_shim_is_carried_unchanged_and_below_it_is_not_ours() {
    const ESP: u8 = 50;
    const AH: u8 = 51;
    for protocol in [ESP, AH] {
        let (mut us, mut them) = (Case::new(tagged()), peer());
        // Between the ULIDs: the security association never sees a locator.
        let mut payload = pattern(200);
        // An AH of 24 octets before a transport.
        payload[..2].copy_from_slice(&[17, 4]);
        let sent = packet(US, PEER, protocol, &payload);
        let wire = pieces(us.out(&sent));
        assert_eq!(wire.len(), 1);
        let found = walk(&wire[0]).unwrap();
        assert_eq!((found.header.src, found.header.dst), (a(US_TOO), a(PEER_TOO)));
        let shim6 = found.shim6.unwrap().place.offset;
        // Shim6 outside, IPsec inside.
        assert_eq!((shim6, wire[0][shim6]), (40, protocol));
        assert_eq!(&wire[0][48..], &payload[..]);
        assert_eq!(delivered(them.processor.process(&wire[0], Way::Shim6)), Some(sent));
        // Between locators, with the Shim6 header inside: whoever ends the association takes it off first.
        let outside = packet(PEER_TOO, US_TOO, ESP, &wire[0][40..]);
        assert_eq!(us.processor.process(&outside, Way::In), Verdict::Accept);
        assert_eq!(us.out(&packet(US_TOO, PEER_TOO, ESP, &wire[0][40..])), Verdict::Accept);
    }
}

// req-test: S6-8-05
#[test]
fn icmp_errors_about_packets_without_a_shim6_header_stay_as_they_are() {
    let mut c = Case::new(tagged());
    for quoted in [udp(US, PEER, &pattern(60)), udp(US, "2001:db8:77::1", b"x")] {
        let kind = IcmpErrorKind::DestinationUnreachable { code: 0 };
        let error = IcmpError { kind, quote: &quoted, extensions: &[] };
        let about = error.emit_packet(a(ROUTER), a(US), 9);
        assert_eq!(c.processor.process(&about, Way::In), Verdict::Accept);
    }
    assert_eq!(c.count(Counter::IcmpTranslated), 0);
}
