use super::message::tests::{answer_message, packet_message};
use super::*;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The kernel's end of the socket.
struct Kernel(OwnedFd);

impl Kernel {
    fn new() -> (Kernel, Socket) {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        )
        .unwrap();
        (Kernel(theirs), Socket::from_fd(ours))
    }

    /// Binds a queue and answers its requests with these error numbers, one by one; with what was requested.
    fn binding(
        &self,
        socket: Socket,
        depth: Depth,
        answers: &[i32],
    ) -> (io::Result<BatchQueue>, Vec<Vec<u8>>) {
        std::thread::scope(|s| {
            let kernel = s.spawn(|| {
                let mut requests = Vec::new();
                for (n, errno) in answers.iter().enumerate() {
                    poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], 10_000u16).unwrap();
                    requests.extend(self.heard());
                    self.says(&answer_message(n as u32 + 1, *errno));
                }
                requests
            });
            let queue = BatchQueue::bind(socket, 5533, depth != Depth::Cut, depth);
            (queue, kernel.join().unwrap())
        })
    }

    fn says(&self, octets: &[u8]) {
        send(self.0.as_raw_fd(), octets, MsgFlags::empty()).unwrap();
    }

    fn packet(&self, id: u32, octets: &[u8]) {
        self.cut(id, octets, octets.len(), 0);
    }

    fn cut(&self, id: u32, octets: &[u8], len: usize, info: u32) {
        let packet = Packet { id, hook: 1, mark: 0x42, info, len, payload: 0..0 };
        self.says(&packet_message(&packet, octets));
    }

    /// What was sent in one go, if anything was.
    fn heard(&self) -> Option<Vec<u8>> {
        let mut octets = vec![0; 1 << 20];
        let len = recv(self.0.as_raw_fd(), &mut octets, MsgFlags::empty()).ok()?;
        octets.truncate(len);
        Some(octets)
    }
}

/// A queue that is set up, with headers where they suffice.
fn queue() -> (Kernel, BatchQueue) {
    let (kernel, socket) = Kernel::new();
    let (queue, requests) = kernel.binding(socket, Depth::Headers, &[0, 0]);
    let mut bind = Vec::new();
    message::bind(&mut bind, 5533, 1);
    let mut set_up = Vec::new();
    let manner = Manner { range: HEADERS, flags: message::FAIL_OPEN | message::GSO };
    message::set_up(&mut set_up, 5533, 2, QUEUE_LENGTH, manner);
    assert_eq!(requests, [bind, set_up]);
    (kernel, queue.unwrap())
}

fn received(queue: &mut BatchQueue) -> Vec<BatchPacket> {
    let mut batch = Vec::new();
    queue.receive(&mut batch, false).unwrap();
    batch
}

fn verdicts(write: impl FnOnce(&mut Verdicts)) -> Option<Vec<u8>> {
    let mut v = Verdicts::new(5533);
    write(&mut v);
    Some(v.finish().to_vec())
}

#[test]
fn refusals_and_silence_fail_the_start() {
    for answers in [&[libc::EBUSY][..], &[0, libc::EOPNOTSUPP]] {
        let (kernel, socket) = Kernel::new();
        let e = kernel.binding(socket, Depth::Cut, answers).0.unwrap_err();
        assert_eq!(e.raw_os_error(), answers.last().copied());
    }
    let (kernel, socket) = Kernel::new();
    assert!(kernel.binding(socket, Depth::Cut, &[]).0.is_err(), "nobody answers");
}

#[test]
fn protocol_140_comes_whole_and_never_passes_a_full_queue() {
    let (kernel, socket) = Kernel::new();
    let (queue, requests) = kernel.binding(socket, Depth::Cut, &[0, 0]);
    let mut set_up = Vec::new();
    let manner = Manner { range: 65_531, flags: 0 };
    message::set_up(&mut set_up, 5533, 2, QUEUE_LENGTH, manner);
    assert_eq!(requests[1], set_up);
    let mut queue = queue.unwrap();
    queue.relax().unwrap();
    assert_eq!(kernel.heard(), None);
}

#[test]
fn packets_come_in_batches_and_leave_with_one_message() {
    let (kernel, mut queue) = queue();
    assert!(received(&mut queue).is_empty());
    for id in 1..=70 {
        kernel.packet(id, format!("packet {id}").as_bytes());
    }
    let batch = received(&mut queue);
    assert_eq!(batch.len(), BATCH);
    for (n, packet) in batch.iter().enumerate() {
        assert_eq!(packet.packet(), format!("packet {}", n + 1).as_bytes());
        assert_eq!((packet.hook(), packet.mark(), packet.whole()), (1, 0x42, true));
    }
    for packet in batch {
        queue.accept(packet).unwrap();
    }
    queue.flush().unwrap();
    let one = verdicts(|v| (1..=64).for_each(|id| v.add(Kind::Accept, id)));
    assert_eq!(kernel.heard(), one);
    assert!(one.is_some_and(|octets| octets.len() == 32));
    let rest = received(&mut queue);
    assert_eq!(rest.len(), 6);
    for packet in rest {
        queue.drop(packet).unwrap();
    }
    queue.flush().unwrap();
    assert_eq!(kernel.heard(), verdicts(|v| (65..=70).for_each(|id| v.add(Kind::Drop, id))));
    queue.flush().unwrap();
    assert_eq!(kernel.heard(), None, "nothing to say, nothing said");
}

#[test]
fn packets_that_come_before_the_set_up_is_done_are_not_lost() {
    let (kernel, socket) = Kernel::new();
    kernel.packet(1, b"early");
    let mut queue = kernel.binding(socket, Depth::Headers, &[0, 0]).0.unwrap();
    assert_eq!(received(&mut queue)[0].packet(), b"early");
}

#[test]
fn large_verdicts_do_not_pile_up() {
    let (kernel, mut queue) = queue();
    for id in 1..=3 {
        kernel.packet(id, b"x");
    }
    let octets = vec![7; 40_000];
    for packet in received(&mut queue) {
        queue.replace(packet, octets.clone(), Some(9)).unwrap();
    }
    let two = verdicts(|v| (1..=2).for_each(|id| v.replace(id, &octets, Some(9))));
    assert_eq!(kernel.heard(), two);
    queue.flush().unwrap();
    assert_eq!(kernel.heard(), verdicts(|v| v.replace(3, &octets, Some(9))));
    // What no verdict can carry is an error, and the packet does not stay in the kernel for ever.
    kernel.packet(4, b"x");
    let packet = received(&mut queue).remove(0);
    assert!(queue.replace(packet, vec![0; 65_532], None).is_err());
    queue.flush().unwrap();
    assert_eq!(kernel.heard(), verdicts(|v| v.add(Kind::Drop, 4)));
}

#[test]
fn headers_are_told_from_whole_packets() {
    let (kernel, mut queue) = queue();
    kernel.cut(1, b"headers", 4000, 0);
    kernel.cut(2, b"all", 3, message::TO_BE_SEGMENTED);
    kernel.cut(3, b"all", 3, message::CHECKSUM_NOT_READY);
    // Not verified: that is for the receiver to do.
    kernel.cut(4, b"all", 3, 4);
    let batch = received(&mut queue);
    let got: Vec<_> = batch.iter().map(|p| (p.full_len(), p.whole(), p.large())).collect();
    let want = [(4000, false, false), (3, false, true), (3, false, false), (3, true, false)];
    assert_eq!(got, want);
}

#[test]
fn a_packet_comes_again_whole_alone() {
    let (kernel, mut queue) = queue();
    let (cut, headers) = (queue.manner(Depth::Cut), queue.manner(Depth::Headers));
    assert_eq!(cut, Manner { range: 65_531, flags: message::FAIL_OPEN });
    kernel.cut(1, b"headers", 4000, 0);
    let packet = received(&mut queue).remove(0);
    queue.again(packet, Wanted::Once).unwrap();
    queue.flush().unwrap();
    let alone = verdicts(|v| {
        v.change(3, cut, false);
        v.add(Kind::Repeat, 1);
        v.change(3, headers, false);
    });
    assert_eq!(kernel.heard(), alone);
    queue.relax().unwrap();
    assert_eq!(kernel.heard(), None);
}

#[test]
fn packets_come_again_with_those_behind_them_in_their_order() {
    let (kernel, mut queue) = queue();
    let manner = |queue: &BatchQueue, depth| queue.manner(depth);
    let large = manner(&queue, Depth::Large);
    assert_eq!(large, Manner { range: 65_531, flags: message::FAIL_OPEN | message::GSO });
    let all_again = |queue: &mut BatchQueue, wanted| {
        for packet in received(queue) {
            assert!(!packet.whole() && !packet.large());
            queue.again(packet, wanted).unwrap();
        }
        queue.flush().unwrap();
    };
    kernel.cut(1, b"headers", 4000, 0);
    kernel.cut(2, b"headers", 4000, 0);
    all_again(&mut queue, Wanted::Large);
    let two = verdicts(|v| {
        v.change(3, large, true);
        v.add(Kind::Repeat, 1);
        v.add(Kind::Repeat, 2);
    });
    assert_eq!(kernel.heard(), two);
    // What was queued before the change comes again, even if all of it is there.
    kernel.packet(3, b"all");
    all_again(&mut queue, Wanted::Large);
    assert_eq!(kernel.heard(), verdicts(|v| v.add(Kind::Repeat, 3)));
    kernel.says(&answer_message(3, 0));
    kernel.cut(4, b"uncut", 5, message::TO_BE_SEGMENTED | message::CHECKSUM_NOT_READY);
    kernel.packet(5, b"all");
    let batch = received(&mut queue);
    let got: Vec<_> = batch.iter().map(|p| (p.whole(), p.large())).collect();
    assert_eq!(got, [(false, true), (true, false)]);
    // There is one that only the kernel can cut.
    let cut = manner(&queue, Depth::Cut);
    for (n, packet) in batch.into_iter().enumerate() {
        queue.again(packet, [Wanted::Cut, Wanted::Large][n]).unwrap();
    }
    queue.flush().unwrap();
    let both = verdicts(|v| {
        v.change(6, cut, true);
        v.add(Kind::Repeat, 4);
        v.add(Kind::Repeat, 5);
    });
    assert_eq!(kernel.heard(), both);
    kernel.says(&answer_message(6, 0));
    kernel.packet(6, b"all");
    assert!(received(&mut queue)[0].whole());
    queue.relax().unwrap();
    let headers = manner(&queue, Depth::Headers);
    assert_eq!(kernel.heard(), verdicts(|v| v.change(8, headers, false)));
    queue.relax().unwrap();
    assert_eq!(kernel.heard(), None);
}

#[test]
fn an_answer_that_got_lost_is_not_waited_for() {
    let (kernel, mut queue) = queue();
    kernel.cut(1, b"headers", 4000, 0);
    let packet = received(&mut queue).remove(0);
    queue.again(packet, Wanted::Large).unwrap();
    queue.flush().unwrap();
    kernel.packet(1 + QUEUE_LENGTH, b"all");
    assert!(!received(&mut queue)[0].whole());
    kernel.packet(2 + QUEUE_LENGTH, b"all");
    assert!(received(&mut queue)[0].whole());
    // Neither is one for a change that was refused.
    let packet = received_cut(&kernel, &mut queue);
    queue.again(packet, Wanted::Cut).unwrap();
    kernel.says(&answer_message(queue.sequence, libc::EPERM));
    kernel.packet(4 + QUEUE_LENGTH, b"all");
    let mut batch = received(&mut queue);
    assert!(batch.remove(0).whole());
    let mut none = Vec::new();
    let e = queue.receive(&mut none, false).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::EPERM));
}

fn received_cut(kernel: &Kernel, queue: &mut BatchQueue) -> BatchPacket {
    kernel.cut(3 + QUEUE_LENGTH, b"uncut", 5, message::TO_BE_SEGMENTED);
    received(queue).remove(0)
}

#[test]
fn a_checksum_that_is_missing_is_filled_in() {
    use crate::dataplane::testing::{PEER, US, udp};
    let (kernel, mut queue) = queue();
    let packet = udp(US, PEER, b"data");
    let mut without = packet.clone();
    without[46..48].fill(0);
    kernel.cut(1, &without, without.len(), message::CHECKSUM_NOT_READY);
    kernel.cut(2, &without[..60.min(without.len() - 1)], 4000, message::CHECKSUM_NOT_READY);
    let mut batch = received(&mut queue);
    for packet in &mut batch {
        assert!(!packet.whole());
        packet.complete();
    }
    assert!(batch[0].whole() && !batch[1].whole());
    assert_eq!(batch[0].packet(), packet);
}

#[test]
fn a_packet_that_cannot_come_whole_does_not_come_again() {
    let (kernel, mut queue) = queue();
    let shown = vec![7; 65_531];
    // By its headers, and in the whole manner.
    for (id, len, octets, info, can) in [
        (1, 65_531, 256, 0, true),
        (2, 65_532, 256, 0, false),
        (3, 65_548, 65_531, 0, false),
        (4, 65_548, 256, 0, false),
        (5, 70_000, 256, message::TO_BE_SEGMENTED, true),
        (6, 65_532, 65_531, 0, false),
    ] {
        kernel.cut(id, &shown[..octets], len, info);
        let packet = received(&mut queue).remove(0);
        assert_eq!((packet.full_len(), packet.whole(), packet.can_come_whole()), (len, false, can));
        let once = id % 2 == 0;
        queue.again(packet, if once { Wanted::Once } else { Wanted::Large }).unwrap();
        if !can {
            queue.flush().unwrap();
            let kind = if once { Kind::Accept } else { Kind::Drop };
            assert_eq!(kernel.heard(), verdicts(|v| v.add(kind, id)));
        }
        queue.verdicts.clear();
    }
}

#[test]
fn errors_about_verdicts_are_told_one_by_one() {
    let (kernel, mut queue) = queue();
    kernel.says(&answer_message(0, libc::ENOENT));
    kernel.packet(1, b"x");
    kernel.says(&answer_message(0, libc::EPERM));
    assert_eq!(received(&mut queue).len(), 1, "packets first");
    let mut told = Vec::new();
    for _ in 0..2 {
        let mut batch = Vec::new();
        told.push(queue.receive(&mut batch, false).unwrap_err().raw_os_error().unwrap());
        assert!(batch.is_empty());
    }
    told.sort_unstable();
    assert_eq!(told, [libc::EPERM, libc::ENOENT]);
    assert!(received(&mut queue).is_empty());
}

#[test]
fn what_is_no_message_is_passed_over() {
    let (kernel, mut queue) = queue();
    kernel.says(b"rubbish");
    kernel.says(&vec![0xff; socket::DATAGRAM + 1]);
    kernel.packet(1, b"x");
    assert_eq!(received(&mut queue)[0].packet(), b"x");
    let mut batch = Vec::new();
    assert_eq!(queue.receive(&mut batch, false).unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
}

#[test]
fn several_packets_in_one_datagram_are_several_packets() {
    let (kernel, mut queue) = queue();
    let packet = |id, octets: &[u8]| {
        let packet = Packet { id, hook: 3, mark: 0, info: 0, len: 0, payload: 0..0 };
        packet_message(&packet, octets)
    };
    kernel.says(&[packet(1, b"one"), packet(2, b"two")].concat());
    let got = received(&mut queue);
    assert_eq!(got.iter().map(|p| p.packet()).collect::<Vec<_>>(), [b"one", b"two"]);
}

/// Talks until the kernel takes no more.
fn choke(queue: &BatchQueue) {
    while queue.socket.send(&[0; 4096]).is_ok() {}
}

#[test]
fn verdicts_that_cannot_be_sent_are_sent_once_more() {
    let (kernel, mut queue) = queue();
    kernel.packet(1, b"x");
    let packet = received(&mut queue).remove(0);
    choke(&queue);
    queue.accept(packet).unwrap();
    queue.send_verdicts(|| while kernel.heard().is_some() {}).unwrap();
    assert_eq!(kernel.heard(), verdicts(|v| v.add(Kind::Accept, 1)));
    queue.flush().unwrap();
    assert_eq!(kernel.heard(), None);
}

#[test]
fn what_got_lost_is_not_decided_by_a_later_batch() {
    let (kernel, mut queue) = queue();
    (1..=5).for_each(|id| kernel.packet(id, b"x"));
    let mut batch = received(&mut queue).into_iter();
    let mut next = || batch.next().unwrap();
    choke(&queue);
    queue.drop(next()).unwrap();
    queue.replace(next(), b"other".to_vec(), None).unwrap();
    assert!(queue.flush().is_err());
    // Still no room.
    queue.again(next(), Wanted::Large).unwrap();
    assert!(queue.flush().is_err());
    while kernel.heard().is_some() {}
    let mut none = Vec::new();
    queue.receive(&mut none, true).unwrap();
    assert!(none.is_empty(), "does not wait while there is something to be said");
    queue.accept(next()).unwrap();
    queue.accept(next()).unwrap();
    queue.flush().unwrap();
    let lost = {
        let mut v = Verdicts::new(5533);
        v.add(Kind::Drop, 2);
        v.add(Kind::Drop, 3);
        v.finish().to_vec()
    };
    let large = queue.manner(Depth::Large);
    let rest = verdicts(|v| {
        v.change(queue.sequence, large, true);
        v.add(Kind::Accept, 4);
        v.add(Kind::Accept, 5);
    });
    assert_eq!(kernel.heard(), Some([lost, rest.unwrap()].concat()));
    // The change is answered in the end.
    kernel.says(&answer_message(queue.sequence, 0));
    kernel.packet(6, b"all");
    assert!(received(&mut queue)[0].whole());
}
