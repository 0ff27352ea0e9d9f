use super::*;
use crate::dataplane::queue::{HOOK_LOCAL_IN, MAX_VERDICT_PACKET};
use crate::dataplane::testing::*;
use crate::dataplane::{Channels, Liveness};
use crate::proto::{ForwardChange, Time};
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU64;
use std::sync::{Barrier, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::channel;

#[derive(Debug)]
struct TestPacket {
    octets: Vec<u8>,
    hook: u8,
    whole: bool,
    large: bool,
}

/// One that came whole.
fn whole(octets: Vec<u8>, hook: u8) -> TestPacket {
    TestPacket { octets, hook, whole: true, large: false }
}

impl Queued for TestPacket {
    fn packet(&self) -> &[u8] {
        assert!(self.octets != b"panic", "a packet that makes the handler panic");
        let all = self.whole || self.large;
        let there = if all { self.octets.len() } else { self.octets.len().min(100) };
        &self.octets[..there]
    }
    fn full_len(&self) -> usize {
        self.octets.len()
    }
    fn whole(&self) -> bool {
        self.whole && self.can_come_whole()
    }
    fn can_come_whole(&self) -> bool {
        self.octets.len() <= MAX_VERDICT_PACKET
    }
    fn large(&self) -> bool {
        self.large
    }
    fn hook(&self) -> u8 {
        self.hook
    }
    fn mark(&self) -> u32 {
        0x0000_0042
    }
}

#[derive(Debug, PartialEq)]
enum Done {
    Accepted,
    Replaced(Vec<u8>, Option<u32>),
    Dropped,
    Again(Wanted),
    Relaxed,
}

/// A queue in memory; readable for as long as it holds packets.
#[derive(Debug, Default)]
struct Inner {
    packets: VecDeque<io::Result<TestPacket>>,
    done: Vec<Done>,
    /// For each time that the kernel was told verdicts: how many, and how many packets had been sent by then.
    flushes: Vec<(usize, usize)>,
}

#[derive(Debug)]
struct TestQueue {
    inner: Arc<Mutex<Inner>>,
    /// What else sends.
    socket: TestSocket,
    event: EventFd,
    /// Met twice before a packet is accepted.
    gate: Option<Arc<Barrier>>,
}

impl QueueBackend for TestQueue {
    type Packet = TestPacket;
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
    fn receive(&mut self, batch: &mut Vec<TestPacket>, _: bool) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap();
        while batch.len() < 4
            && let Some(packet) = inner.packets.pop_front()
        {
            batch.push(packet?);
        }
        Ok(())
    }
    fn accept(&mut self, _: TestPacket) -> io::Result<()> {
        if let Some(gate) = &self.gate {
            gate.wait();
            gate.wait();
        }
        self.inner.lock().unwrap().done.push(Done::Accepted);
        Ok(())
    }
    fn replace(&mut self, _: TestPacket, octets: Vec<u8>, mark: Option<u32>) -> io::Result<()> {
        self.inner.lock().unwrap().done.push(Done::Replaced(octets, mark));
        Ok(())
    }
    fn drop(&mut self, _: TestPacket) -> io::Result<()> {
        self.inner.lock().unwrap().done.push(Done::Dropped);
        Ok(())
    }
    fn again(&mut self, packet: TestPacket, wanted: Wanted) -> io::Result<()> {
        assert!(packet.can_come_whole(), "would come again and again");
        let mut inner = self.inner.lock().unwrap();
        inner.done.push(Done::Again(wanted));
        inner.packets.push_front(Ok(TestPacket { whole: true, ..packet }));
        Ok(())
    }
    fn relax(&mut self) -> io::Result<()> {
        self.inner.lock().unwrap().done.push(Done::Relaxed);
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap();
        let told = inner.done.len();
        if told > inner.flushes.last().map_or(0, |f| f.0) {
            let sent = self.socket.sent.lock().unwrap().len();
            inner.flushes.push((told, sent));
        }
        Ok(())
    }
}

fn clock() -> Time {
    Time::from_secs(1)
}

/// Runs a worker over these packets until it ends by itself.
fn run(kind: Kind, packets: Vec<io::Result<TestPacket>>) -> (Vec<Done>, Arc<Shared>, TestSocket) {
    run_by(clock, kind, packets)
}

/// The same by another clock.
fn run_by(
    clock: fn() -> Time,
    kind: Kind,
    packets: Vec<io::Result<TestPacket>>,
) -> (Vec<Done>, Arc<Shared>, TestSocket) {
    let (notices, _notices) = channel(8);
    let (control, _control) = channel(8);
    let shared = Arc::new(Shared::new(config(clock), Channels { notices, control }));
    shared.map.apply(&ForwardChange::Set(tagged()));
    let socket = TestSocket::default();
    let processor = Processor::new(Arc::clone(&shared), TestRoutes::new(1500), socket.clone());
    let inner = Arc::new(Mutex::new(Inner { packets: packets.into(), ..Inner::default() }));
    let event = EventFd::new().unwrap();
    let queue = TestQueue { inner: Arc::clone(&inner), socket: socket.clone(), event, gate: None };
    let stop = Arc::new(Stop::new().unwrap());
    let worker = Worker::new(queue, kind, processor, Arc::clone(&shared), Arc::clone(&stop));
    let thread = worker.spawn("test".to_owned()).unwrap();
    // What waits already is worked off before the end.
    stop.stop();
    thread.join().unwrap();
    let mut inner = inner.lock().unwrap();
    let done = std::mem::take(&mut inner.done);
    *socket.flushes.lock().unwrap() = std::mem::take(&mut inner.flushes);
    (done, shared, socket)
}

#[test]
fn a_worker_that_hangs_or_ends_is_found_out() {
    let (notices, _notices) = channel(8);
    let (control, _control) = channel(8);
    let shared = Arc::new(Shared::new(config(clock), Channels { notices, control }));
    let socket = TestSocket::default();
    let processor = Processor::new(Arc::clone(&shared), TestRoutes::new(1500), socket);
    let packets = [Ok(whole(udp(PEER, US, b"x"), HOOK_LOCAL_IN))].into();
    let inner = Arc::new(Mutex::new(Inner { packets, ..Inner::default() }));
    let gate = Arc::new(Barrier::new(2));
    let event = EventFd::new().unwrap();
    let socket = TestSocket::default();
    let queue =
        TestQueue { inner: Arc::clone(&inner), socket, event, gate: Some(Arc::clone(&gate)) };
    let stop = Arc::new(Stop::new().unwrap());
    let worker = Worker::new(queue, Kind::Plain, processor, shared, Arc::clone(&stop));
    let mut liveness = Liveness::default();
    liveness.add("here".to_owned(), Kind::Plain, worker.pulse());
    // The worker's clock stands at one second.
    let stuck = || {
        liveness.stuck(Kind::Plain, Time::from_millis(1301), Duration::from_millis(300)).is_some()
    };
    assert!(!stuck(), "not started");
    let thread = worker.spawn("test".to_owned()).unwrap();
    gate.wait();
    assert!(stuck(), "in the midst of a packet");
    gate.wait();
    let (_never, nothing) = std::sync::mpsc::channel::<()>();
    let waits = (0..5000).any(|_| {
        let _ = nothing.recv_timeout(Duration::from_millis(1));
        !stuck()
    });
    assert!(waits, "a worker that waits is well");
    assert_eq!(inner.lock().unwrap().done, [Done::Accepted]);
    stop.stop();
    thread.join().unwrap();
    assert!(stuck(), "ended");
}

#[test]
fn hooks_tell_the_direction_and_verdicts_are_given() {
    let out = udp(US, PEER, b"x");
    let big = udp(US, PEER, &pattern(1452));
    let (done, shared, socket) = run(
        Kind::Plain,
        vec![
            Ok(whole(udp(PEER, US, b"x"), HOOK_LOCAL_IN)),
            Ok(whole(out, HOOK_LOCAL_OUT)),
            Ok(whole(big, HOOK_LOCAL_OUT)),
        ],
    );
    assert_eq!(done.len(), 3);
    assert_eq!(done[0], Done::Accepted);
    assert!(matches!(&done[1], Done::Replaced(p, None) if p[6] == 140));
    assert!(matches!(&done[2], Done::Replaced(p, None) if p.len() <= 1500));
    // The Packet Too Big and the second fragment.
    assert_eq!(socket.take().len(), 2);
    assert_eq!((shared.counters.get(Counter::RxIn), shared.counters.get(Counter::RxOut)), (1, 2));
}

#[test]
fn restored_packets_get_our_mark_beside_other_bits() {
    let plain = udp(PEER, US, b"x");
    let place = crate::wire::ipv6::walk(&plain).unwrap().insert;
    let wire = crate::dataplane::rewrite::tag(&plain, place, locators(), local_tag()).unwrap();
    let (done, ..) = run(Kind::Shim6, vec![Ok(whole(wire, 0))]);
    assert_eq!(done, [Done::Replaced(plain, Some(0x5533_0042))]);
}

#[test]
fn a_panic_costs_one_packet_at_most() {
    let panic = || Ok(whole(b"panic".to_vec(), HOOK_LOCAL_OUT));
    let good = || Ok(whole(udp(US, ROUTER, b"x"), HOOK_LOCAL_OUT));
    let (done, shared, _) = run(Kind::Plain, vec![panic(), good()]);
    assert_eq!(done, [Done::Accepted, Done::Accepted]);
    assert_eq!(shared.counters.get(Counter::PassPanic), 1);
    let (done, shared, _) = run(Kind::Shim6, vec![panic()]);
    assert_eq!(done, [Done::Dropped]);
    assert_eq!(shared.counters.get(Counter::DropPanic), 1);
}

#[test]
fn errors_of_the_queue_are_counted_and_survived() {
    let errno = |e: Errno| Err(io::Error::from_raw_os_error(e as i32));
    let good = || Ok(whole(udp(US, ROUTER, b"x"), HOOK_LOCAL_OUT));
    let (done, shared, _) =
        run(Kind::Plain, vec![errno(Errno::ENOENT), errno(Errno::ENOBUFS), good()]);
    assert_eq!(done, [Done::Accepted]);
    assert_eq!(shared.counters.get(Counter::VerdictGone), 1);
    assert_eq!(shared.counters.get(Counter::QueueError), 1);
    // A queue that is gone does not keep the worker from ending.
    let (done, shared, _) = run(Kind::Plain, vec![errno(Errno::EBADF)]);
    assert_eq!(done, []);
    assert_eq!(shared.counters.get(Counter::QueueError), 1);
}

#[test]
fn a_waiting_worker_is_woken_by_packets_and_by_the_end() {
    let (notices, mut told) = channel(8);
    let (control, _control) = channel(8);
    let mut config = config(clock);
    config.heuristic.octets = 1;
    let shared = Arc::new(Shared::new(config, Channels { notices, control }));
    let processor =
        Processor::new(Arc::clone(&shared), TestRoutes::new(1500), TestSocket::default());
    let inner = Arc::new(Mutex::new(Inner::default()));
    let event = EventFd::new().unwrap();
    let waker = event.as_fd().try_clone_to_owned().unwrap();
    let socket = TestSocket::default();
    let queue = TestQueue { inner: Arc::clone(&inner), socket, event, gate: None };
    let stop = Arc::new(Stop::new().unwrap());
    let worker = Worker::new(queue, Kind::Plain, processor, Arc::clone(&shared), Arc::clone(&stop));
    let thread = worker.spawn("test".to_owned()).unwrap();
    inner.lock().unwrap().packets.push_back(Ok(whole(udp(US, ROUTER, b"x"), HOOK_LOCAL_OUT)));
    nix::unistd::write(&waker, &1u64.to_ne_bytes()).unwrap();
    assert!(told.blocking_recv().is_some());
    stop.stop();
    thread.join().unwrap();
    assert_eq!(inner.lock().unwrap().done, [Done::Accepted]);
}

#[test]
fn packets_that_are_needed_whole_come_again_and_headers_when_that_is_over() {
    static NOW: AtomicU64 = AtomicU64::new(1000);
    fn later() -> Time {
        // Each look takes a tenth of a second.
        Time::from_millis(NOW.fetch_add(100, Ordering::Relaxed))
    }
    let headers = |octets| Ok(TestPacket { whole: false, ..whole(octets, HOOK_LOCAL_OUT) });
    let other = || headers(udp(US, ROUTER, b"x"));
    let first = udp(US, PEER, &pattern(1200));
    let mut packets = vec![headers(first)];
    packets.extend((0..40).map(|_| other()));
    let (done, shared, _) = run_by(later, Kind::Plain, packets);
    assert_eq!(done[0], Done::Again(Wanted::Large));
    let rewritten = done.iter().position(|d| matches!(d, Done::Replaced(..))).unwrap();
    let relaxed = done.iter().position(|d| *d == Done::Relaxed).unwrap();
    assert!(rewritten < relaxed);
    assert_eq!(done.iter().filter(|d| **d == Done::Relaxed).count(), 1);
    assert_eq!(shared.counters.get(Counter::AskedWhole), 1);
}

#[test]
fn what_can_never_come_whole_is_not_asked_for() {
    // A packet may have 65,575 octets, but no more than 65,531 are ever shown.
    for (len, can) in [(65_483, true), (65_484, false), (65_500, false), (65_527, false)] {
        let packet = |src, dst| TestPacket {
            whole: false,
            ..whole(udp(src, dst, &pattern(len)), HOOK_LOCAL_IN)
        };
        let out = TestPacket { hook: HOOK_LOCAL_OUT, ..packet(US, PEER) };
        // An extension header that goes on behind what is there.
        let mut malformed = packet(PEER, US);
        malformed.octets[6] = 60;
        malformed.octets[40..42].copy_from_slice(&[17, 50]);
        let mut error = packet(PEER, US_TOO);
        error.octets[6] = crate::wire::ipv6::protocol::ICMPV6;
        error.octets[40..48].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
        let quote =
            crate::dataplane::testing::packet(US_TOO, PEER_TOO, 140, &[17, 0, 0x80, 0, 0, 0, 0, 1]);
        error.octets[48..96].copy_from_slice(&quote);
        let (done, shared, _) = run(Kind::Plain, vec![Ok(out), Ok(malformed), Ok(error)]);
        let again: Vec<_> = done.iter().filter(|d| matches!(d, Done::Again(_))).collect();
        let count = |counter| shared.counters.get(counter);
        if can {
            assert_eq!(
                again,
                [
                    &Done::Again(Wanted::Large),
                    &Done::Again(Wanted::Once),
                    &Done::Again(Wanted::Once)
                ]
            );
        } else {
            assert_eq!(done, [Done::Dropped, Done::Accepted, Done::Accepted], "{len}");
            assert_eq!((count(Counter::DropTooBig), count(Counter::AskedWhole)), (1, 0));
            let activity = shared.map.activity(tagged().id).unwrap();
            assert_eq!((activity.packets_out, activity.pending_out), (0, None));
        }
    }
}

#[test]
fn restored_segments_of_a_batch_go_on_in_one_piece() {
    let segment = |seq, flags, len| tcp(PEER, US, seq, flags, &[], &pattern(len));
    let wire = |plain: &[u8]| {
        let place = crate::wire::ipv6::walk(plain).unwrap().insert;
        let wire = crate::dataplane::rewrite::tag(plain, place, locators(), local_tag()).unwrap();
        Ok(whole(wire, 0))
    };
    let (one, two, three) =
        (segment(1, 0x10, 1000), segment(1001, 0x10, 1000), segment(2001, 0x18, 500));
    let other = udp(PEER, US, b"x");
    // Batches have four packets.
    let packets = [&one, &two, &three, &one, &two, &other, &three, &other];
    let (done, shared, _) = run(Kind::Shim6, packets.map(|p| wire(p)).into());
    let mark = Some(0x5533_0042);
    let all = tcp(PEER, US, 1, 0x18, &[], &[pattern(1000), pattern(1000), pattern(500)].concat());
    let want = [
        Done::Dropped,
        Done::Dropped,
        Done::Replaced(all, mark),
        Done::Replaced(one, mark),
        Done::Replaced(two, mark),
        Done::Replaced(other.clone(), mark),
        Done::Replaced(three, mark),
        Done::Replaced(other, mark),
    ];
    assert_eq!(done, want);
    assert_eq!(shared.counters.get(Counter::Coalesced), 2);
    assert_eq!(shared.counters.get(Counter::Stripped), 8);
}

#[test]
fn verdicts_and_packets_of_ours_keep_the_order_of_a_flow() {
    let large = |seq| {
        let octets = tcp(US, PEER, seq, 0x10, &[], &pattern(2 * 1432));
        Ok(TestPacket { whole: false, large: true, ..whole(octets, HOOK_LOCAL_OUT) })
    };
    let small = |seq| Ok(whole(tcp(US, PEER, seq, 0x10, &[], b"x"), HOOK_LOCAL_OUT));
    let other = || Ok(whole(udp(US, ROUTER, b"x"), HOOK_LOCAL_OUT));
    // Batches have four packets.
    let packets = vec![
        // Its first piece goes by verdict, the second by us, behind the verdict.
        large(1),
        // By us altogether; no call for each.
        large(2865),
        large(5729),
        small(8593),
        // A verdict behind these, and one before others.
        large(8594),
        other(),
        small(11_458),
        other(),
    ];
    let (done, shared, socket) = run(Kind::Plain, packets);
    let ended: Vec<_> = done.iter().map(|d| matches!(d, Done::Dropped)).collect();
    assert_eq!(ended, [false, true, true, true, true, false, true, false]);
    // The first packet sent is the one that tells TCP to make its segments shorter.
    let flushes = socket.flushes.lock().unwrap().clone();
    assert_eq!(flushes, [(1, 1), (4, 7), (6, 9), (8, 10)]);
    let sent: Vec<_> = socket.take().into_iter().skip(1).collect();
    let seq = |p: &Vec<u8>| u32::from_be_bytes(p[52..56].try_into().unwrap());
    let order: Vec<_> = sent.iter().map(seq).collect();
    let want = [1433, 2865, 4297, 5729, 7161, 8593, 8594, 10_026, 11_458];
    assert_eq!(order, want);
    // One call each, by mark beside other bits, for what goes out together.
    assert_eq!(*socket.marks.lock().unwrap(), [0x5533_0042; 3]);
    assert_eq!(shared.counters.get(Counter::Injected), 9);
}

#[test]
fn nothing_overtakes_a_packet_that_comes_again() {
    let segment = |seq| tcp(US, PEER, seq, 0x10, &[], b"x");
    let headers = TestPacket { whole: false, ..whole(segment(1), HOOK_LOCAL_OUT) };
    let packets = vec![
        Ok(headers),
        Ok(whole(segment(2), HOOK_LOCAL_OUT)),
        Ok(whole(udp(US, ROUTER, b"x"), HOOK_LOCAL_OUT)),
    ];
    let (done, ..) = run(Kind::Plain, packets);
    assert_eq!(done[..2], [Done::Again(Wanted::Large), Done::Again(Wanted::Large)]);
    assert_eq!(done[2], Done::Accepted, "that one is not rewritten");
}
