use super::*;
use proptest::prelude::*;

/// A packet message as the kernel writes it.
pub fn packet_message(packet: &Packet, octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, PACKET, 0, 0, 7, |out| {
        let header = [&packet.id.to_be_bytes()[..], &[0x86, 0xdd, packet.hook, 0]].concat();
        // The kernel's header is 7 octets long.
        put_attribute(out, attribute::PACKET_HDR, &header[..7]);
        put_attribute(out, attribute::MARK, &packet.mark.to_be_bytes());
        // Something that we do not look at.
        put_attribute(out, 5, &[0, 0, 0, 2]);
        put_attribute(out, attribute::SKB_INFO, &packet.info.to_be_bytes());
        if packet.len > octets.len() {
            put_attribute(out, attribute::CAP_LEN, &(packet.len as u32).to_be_bytes());
        }
        put_attribute(out, attribute::PAYLOAD, octets);
    });
    out
}

/// An answer as the kernel writes it.
pub fn answer_message(sequence: u32, errno: i32) -> Vec<u8> {
    let about = [&0u32.to_ne_bytes()[..], &[0; 4], &sequence.to_ne_bytes(), &[0; 4]].concat();
    let len = (HEADER + 4 + about.len()) as u32;
    let header = [&len.to_ne_bytes()[..], &NLMSG_ERROR.to_ne_bytes(), &[0; 2], &[0; 8]].concat();
    [header, (-errno).to_ne_bytes().to_vec(), about].concat()
}

fn all(datagram: &[u8]) -> Vec<Message> {
    messages(datagram).collect()
}

fn some_packet(len: usize) -> Packet {
    Packet { id: 0x0102_0304, hook: 3, mark: 0x5533_0001, info: 3, len, payload: 0..0 }
}

#[test]
fn packets_and_answers_are_read() {
    let first = packet_message(&some_packet(5000), b"headers");
    let datagram = [first.clone(), answer_message(9, 2), answer_message(10, 0)].concat();
    let got = all(&datagram);
    let Message::Packet(p) = &got[0] else { panic!("{got:?}") };
    assert_eq!(&datagram[p.payload.clone()], b"headers");
    assert_eq!(*p, Packet { payload: p.payload.clone(), ..some_packet(5000) });
    assert_eq!(got[1], Message::Answer { sequence: 9, errno: 2 });
    assert_eq!(got[2], Message::Answer { sequence: 10, errno: 0 });
    // What was not cut has the length that it has.
    let got = all(&packet_message(&some_packet(3), b"abc"));
    assert!(matches!(&got[..], [Message::Packet(p)] if p.len == 3 && p.payload.len() == 3));
}

#[test]
fn malformed_messages_are_no_packets() {
    let good = packet_message(&some_packet(8), b"12345678");
    assert_eq!(all(&good[..good.len() - 1]), [], "longer than the datagram");
    assert_eq!(all(&[0; 16]), [], "length 0");
    assert_eq!(all(b"short"), []);
    // Without the header that says its number a packet cannot be answered.
    let mut out = Vec::new();
    put(&mut out, PACKET, 0, 0, 7, |out| put_attribute(out, attribute::PAYLOAD, b"12345678"));
    assert_eq!(all(&out), [Message::Other]);
    // An attribute that is longer than its message, and one that is shorter than its header.
    for len in [200u16, 3] {
        let mut bad = good.clone();
        bad[20..22].copy_from_slice(&len.to_ne_bytes());
        assert_eq!(all(&bad), [Message::Other]);
    }
}

/// A message's type and its attributes.
type Written = (u16, Vec<(u16, Vec<u8>)>);

/// Reads back what was written.
fn written(mut octets: &[u8]) -> Vec<Written> {
    let mut messages = Vec::new();
    while !octets.is_empty() {
        let len = host32(octets, 0).unwrap() as usize;
        assert_eq!(len % 4, 0);
        let (message, rest) = octets.split_at(len);
        octets = rest;
        let mut attributes = Vec::new();
        let mut at = HEADER + FAMILY_HEADER;
        while at < len {
            let of = usize::from(host16(message, at).unwrap());
            let value = message[at + ATTRIBUTE..at + of].to_vec();
            attributes.push((host16(message, at + 2).unwrap(), value));
            at += aligned(of);
        }
        assert_eq!(message[18..20], [0x15, 0x9d], "queue 5533");
        messages.push((host16(message, 4).unwrap(), attributes));
    }
    messages
}

fn verdict(kind: Kind, id: u32) -> (u16, Vec<u8>) {
    (attribute::VERDICT_HDR, [(kind as u32).to_be_bytes(), id.to_be_bytes()].concat())
}

#[test]
fn verdicts_that_are_alike_become_one_message() {
    let mut v = Verdicts::new(5533);
    for id in 1..=5 {
        v.add(Kind::Accept, id);
    }
    v.add(Kind::Drop, 6);
    v.add(Kind::Drop, 7);
    v.replace(8, b"other", Some(0x42));
    v.add(Kind::Accept, 9);
    let got = written(v.finish());
    let want = [
        (VERDICT_BATCH, vec![verdict(Kind::Accept, 5)]),
        (VERDICT_BATCH, vec![verdict(Kind::Drop, 7)]),
        (
            VERDICT,
            vec![
                verdict(Kind::Accept, 8),
                (attribute::MARK, 0x42u32.to_be_bytes().to_vec()),
                (attribute::PAYLOAD, b"other".to_vec()),
            ],
        ),
        (VERDICT, vec![verdict(Kind::Accept, 9)]),
    ];
    assert_eq!(got, want);
    v.clear();
    assert!(v.finish().is_empty());
}

#[test]
fn a_packet_comes_again_behind_the_change_that_makes_it_whole() {
    let mut v = Verdicts::new(5533);
    v.add(Kind::Accept, 1);
    v.change(77, Manner { range: 65_531, flags: FAIL_OPEN }, true);
    v.add(Kind::Repeat, 2);
    v.change(77, Manner { range: 256, flags: FAIL_OPEN | GSO }, false);
    v.add(Kind::Accept, 3);
    let got = written(v.finish());
    let manner = |range: u32, flags: u32| {
        let params = [&range.to_be_bytes()[..], &[setting::COPY_PACKET]].concat();
        vec![
            (setting::PARAMS, params),
            (setting::FLAGS, flags.to_be_bytes().to_vec()),
            (setting::MASK, 5u32.to_be_bytes().to_vec()),
        ]
    };
    let want = [
        (VERDICT, vec![verdict(Kind::Accept, 1)]),
        (CONFIG, manner(65_531, 1)),
        (VERDICT, vec![verdict(Kind::Repeat, 2)]),
        (CONFIG, manner(256, 5)),
        (VERDICT, vec![verdict(Kind::Accept, 3)]),
    ];
    assert_eq!(got, want);
}

/// The kernel's part: which verdict each of the packets it holds gets.
fn carried_out(octets: &[u8], mut held: Vec<u32>) -> Vec<(u32, Kind)> {
    let mut done = Vec::new();
    for (kind, attributes) in written(octets) {
        let value = &attributes[0].1;
        let what = match be32(value).unwrap() {
            0 => Kind::Drop,
            1 => Kind::Accept,
            _ => Kind::Repeat,
        };
        let last = be32(&value[4..]).unwrap();
        let concerned = |id: &u32| match kind {
            VERDICT_BATCH => (id.wrapping_sub(last) as i32) <= 0,
            _ => *id == last,
        };
        done.extend(held.iter().filter(|id| concerned(id)).map(|id| (*id, what)));
        held.retain(|id| !concerned(id));
    }
    assert!(held.is_empty(), "without a verdict: {held:?}");
    done
}

proptest! {
    #[test]
    fn every_packet_gets_its_own_verdict(
        first: u32,
        wanted in proptest::collection::vec(0u8..3, 0..100),
    ) {
        let ids: Vec<u32> = (0..wanted.len()).map(|n| first.wrapping_add(n as u32)).collect();
        let mut v = Verdicts::new(5533);
        let mut want = Vec::new();
        for (id, kind) in ids.iter().zip(wanted) {
            match kind {
                0 => v.add(Kind::Drop, *id),
                1 => v.add(Kind::Accept, *id),
                _ => v.replace(*id, &[1; 13], None),
            }
            want.push((*id, if kind == 0 { Kind::Drop } else { Kind::Accept }));
        }
        prop_assert_eq!(carried_out(v.finish(), ids), want);
    }

    #[test]
    fn no_octets_make_the_reader_panic_or_read_beyond_them(
        octets in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        for message in messages(&octets) {
            if let Message::Packet(p) = message {
                prop_assert!(octets.get(p.payload).is_some());
            }
        }
    }

    #[test]
    fn nor_do_damaged_messages(
        data in proptest::collection::vec(any::<u8>(), 0..64),
        damage in proptest::collection::vec((0usize..200, any::<u8>()), 0..6),
        cut in 0usize..200,
    ) {
        let mut datagram = packet_message(&some_packet(data.len() + 7), &data);
        for (at, octet) in damage {
            if let Some(place) = datagram.get_mut(at) {
                *place = octet;
            }
        }
        datagram.truncate(datagram.len().saturating_sub(cut).max(cut.min(datagram.len())));
        for message in messages(&datagram) {
            if let Message::Packet(p) = message {
                prop_assert!(datagram.get(p.payload.clone()).is_some());
                prop_assert!(p.len >= p.payload.len());
            }
        }
    }
}
