//! Edges of the engine's rules: one moment, one condition or one field more or less.

use crate::craft::Craft;
use crate::world::{World, control_packet, present};
use shim6::addr::{ContextTag, Fii, InitNonce, Locator, LocatorPair};
use shim6::cga::Method;
use shim6::proto::engine::State;
use shim6::proto::input::{AddressEvent, LocalAddress, LocatorRule};
use shim6::proto::settings::Settings;
use shim6::proto::{Command, Cx, Output};
use shim6::wire::Message;
use shim6::wire::control::{ErrorMessage, I1, I2, Keepalive, R2, UpdateRequest};
use shim6::wire::option::Options;
use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::Duration;

fn kinds(out: &[(LocatorPair, Message)]) -> Vec<String> {
    out.iter().map(|(_, m)| m.kind().to_string()).collect()
}

fn update_of(out: &[(LocatorPair, Message)]) -> Option<(LocatorPair, UpdateRequest)> {
    out.iter().find_map(|(p, m)| match m {
        Message::UpdateRequest(u) => Some((*p, u.clone())),
        _ => None,
    })
}

// req-test: RP-5.3-03
#[test]
fn a_new_send_timeout_of_the_host_is_told_where_it_is_in_force() {
    let mut w = World::new(1, &[2, 2]);
    let id = w.establish(0, 1);
    w.secs(1);
    let change = |w: &mut World, secs| {
        w.hosts[0].sent.clear();
        let mut config = w.hosts[0].engine.config().clone();
        config.reap.send_timeout_secs = secs;
        w.on(0, |e, cx| e.set_config(cx, config));
        let told = w.hosts[0].sent_of("Update Request").len();
        w.secs(1);
        told
    };
    assert_eq!((change(&mut w, 20), change(&mut w, 20)), (1, 0));
    let own = Settings { send_timeout_secs: Some(4), ..Settings::default() };
    w.on(0, |e, cx| e.handle_command(cx, Command::Configure(id, Box::new(own)))).unwrap();
    w.secs(1);
    assert_eq!(change(&mut w, 25), 0, "it has one of its own");
    // Nobody can be told before the context is established.
    let mut c = Craft::new(1);
    c.reach_i2_sent();
    let mut config = c.w.hosts[0].engine.config().clone();
    config.reap.send_timeout_secs = 20;
    c.w.on(0, |e, cx| e.set_config(cx, config));
    assert!(c.sent().is_empty() && !c.context().unwrap().updating);
}

#[test]
fn addresses_that_come_before_the_peer_is_known_are_no_update() {
    let mut c = Craft::new(2);
    c.reach_i1_sent();
    let new = "2001:db8:1:99::1".parse().unwrap();
    c.w.address(0, present(new));
    let gone = c.us(1);
    c.w.address(0, AddressEvent::Gone(gone));
    assert!(c.sent().is_empty() && !c.context().unwrap().updating);
}

// req-test: S6-7.15-06
#[test]
fn a_confused_context_is_renewed_if_it_was_used_within_the_last_minute() {
    for (after, renewed) in [(59_999, true), (60_000, false), (61_000, false)] {
        let mut c = Craft::new(3);
        c.reach_established();
        let made = c.context().unwrap().created;
        let age = c.w.now.since(made).as_millis() as u64;
        c.w.millis(after - age);
        let i2 = c.i2_that_confuses();
        c.hear_on(0, 1, &Message::I2(i2));
        assert_eq!(c.w.hosts[0].counter("context_confusion"), 1);
        assert_eq!(c.context().map(|c| c.state), renewed.then_some(State::I1Sent), "{after} ms");
        assert_eq!(c.w.hosts[0].counter("confusion_not_renewed"), 0);
    }
}

// req-test: S6-B-04
#[test]
fn keepalives_and_probes_say_nothing_while_an_i2bis_is_out() {
    let mut c = Craft::new(4);
    c.reach_i2bis_sent();
    let before = c.context().unwrap().counters;
    let m = c.keepalive();
    c.hear(&Message::Keepalive(m));
    let m = c.probe(0, 0, shim6::wire::control::ProbeState::Exploring);
    c.hear(&Message::Probe(m));
    assert_eq!(c.w.hosts[0].drops.get("reap_in_i2bis_sent"), Some(&2));
    assert_eq!(c.context().unwrap().counters, before);
}

#[test]
fn messages_from_an_address_of_ours_are_dropped() {
    let mut c = Craft::new(5);
    let (src, dst) = (c.us(1), c.us(0));
    let i1 = c.i1(c.tag, 50);
    assert!(c.hear_from(src, dst, &Message::I1(i1.clone())).is_empty());
    assert_eq!(c.w.hosts[0].drops.get("from_ourselves"), Some(&1));
    let elsewhere = "2001:db8:77::1".parse().unwrap();
    let from = c.them(0);
    assert!(c.hear_from(from, elsewhere, &Message::I1(i1)).is_empty());
    assert_eq!(c.w.hosts[0].drops.get("not_ours"), Some(&1));
}

/// An Error about our Update Request, whose quote may have been changed.
fn error(pair: LocatorPair, u: &UpdateRequest, code: u8, change: impl Fn(&mut Vec<u8>)) -> Message {
    let octets = Message::UpdateRequest(u.clone()).emit();
    let mut packet = control_packet(pair.local.0, pair.peer.0, &octets);
    change(&mut packet.packet);
    Message::Error(ErrorMessage::about(&packet.packet, 40, (code.into(), 16)))
}

fn updating() -> (Craft, LocatorPair, UpdateRequest) {
    let mut c = Craft::with(6, 3, Method::Hba, 2, |_| {});
    c.reach_established();
    let lost = c.us(2);
    c.w.address(0, AddressEvent::Gone(lost));
    let (pair, u) = update_of(&c.sent()).expect("an Update Request");
    (c, pair, u)
}

// req-test: S6-12.4-06
#[test]
fn an_update_is_corrected_twice_at_most_and_once_where_that_was_all_there_is() {
    for (code, corrections) in [(0, 0), (1, 2), (2, 1), (3, 2), (4, 2), (119, 0)] {
        let (mut c, _, _) = updating();
        // Something that preferences have to tell.
        let back = c.us(2);
        c.w.address(
            0,
            AddressEvent::Present(LocalAddress { addr: back, deprecated: true, temporary: false }),
        );
        let (mut pair, mut u) = update_of(&c.sent()).expect("an Update Request");
        assert!(u.options.preferences.is_some());
        let mut sent = 0;
        loop {
            let out = c.hear(&error(pair, &u, code, |_| {}));
            match update_of(&out) {
                Some(next) => (pair, u) = next,
                None => break,
            }
            sent += 1;
            // Put right as a whole; what may be unknown to the peer is left out.
            assert!(u.options.locator_list.is_some());
            assert_eq!(u.options.keepalive_timeout.is_some(), code != 1, "code {code}");
            assert_eq!(u.options.preferences.is_some(), code != 1, "code {code}");
        }
        assert_eq!(sent, corrections, "code {code}");
        assert_eq!(c.w.hosts[0].counter("update_given_up"), 1);
        assert!(!c.context().unwrap().updating);
    }
}

// req-test: S6-12.4-06, S6-17-02
#[test]
fn errors_count_only_if_they_quote_what_was_sent_where_they_come_from() {
    let drops = |c: &Craft, name: &str| c.w.hosts[0].drops.get(name).copied().unwrap_or(0);
    type Damage = fn(&mut Vec<u8>);
    let quotes: [(Damage, &str); 5] = [
        (|p| p[0] = 0x40, "error_quote"),
        (|p| p[6] = 17, "error_quote"),
        (|p| p[23] ^= 1, "error_unmatched"),
        (|p| p[39] ^= 1, "error_unmatched"),
        (|p| p[51] ^= 1, "error_unmatched"),
    ];
    for (change, reason) in quotes {
        let (mut c, pair, u) = updating();
        assert!(c.hear(&error(pair, &u, 3, change)).is_empty());
        assert_eq!(drops(&c, reason), 1);
        assert!(c.context().unwrap().updating);
    }
    // One that comes on, and quotes, a pair on which nothing went out.
    let (mut c, _, u) = updating();
    let elsewhere = c.pair(1, 1);
    assert!(c.hear_on(1, 1, &error(elsewhere, &u, 3, |_| {})).is_empty());
    assert_eq!(drops(&c, "error_unmatched"), 1);
    // About a message that is no Update Request there is nothing to put right.
    let (mut c, pair, u) = updating();
    let m = Keepalive { receiver_tag: u.receiver_tag, options: Options::default() };
    let octets = Message::Keepalive(m).emit();
    let packet = control_packet(pair.local.0, pair.peer.0, &octets);
    let about = Message::Error(ErrorMessage::about(&packet.packet, 40, (3.into(), 16)));
    assert!(c.hear(&about).is_empty());
    assert_eq!((drops(&c, "error_unmatched"), c.w.hosts[0].counter("error_generation")), (0, 1));
}

/// Numbers to be drawn one after the other, then others.
struct Given(Vec<u32>, u64);

impl rand::RngCore for Given {
    fn next_u32(&mut self) -> u32 {
        match self.0.is_empty() {
            false => self.0.remove(0),
            true => self.next_u64() as u32,
        }
    }

    fn next_u64(&mut self) -> u64 {
        self.1 = self.1.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.1 ^ self.1 >> 32
    }

    fn fill_bytes(&mut self, dst: &mut [u8]) {
        dst.fill(1);
    }
}

// req-test: S6-4.2-01
#[test]
fn a_fork_has_an_identifier_that_is_neither_0_nor_in_use() {
    let mut c = Craft::new(7);
    c.reach_established();
    let ulids = c.ulids();
    let now = c.w.now;
    let mut fork = |numbers: &[u32]| {
        let mut out = VecDeque::new();
        let mut rng = Given(numbers.to_vec(), u64::from(numbers[0]) << 8);
        let e = &mut c.w.hosts[0].engine;
        let id = e.fork(&mut Cx { now, rng: &mut rng, out: &mut out }, ulids).unwrap();
        e.context(id).unwrap().fii
    };
    assert_eq!(fork(&[0, 0, 17]), Fii(17));
    assert_eq!(fork(&[17, 0, 17, 18]), Fii(18));
}

// req-test: S6-12.2-03
#[test]
fn traffic_of_the_peer_brings_an_i2_forward_once_a_second() {
    let mut c = Craft::new(8);
    c.reach_i2_sent();
    let m = Message::Keepalive(c.keepalive());
    assert_eq!(kinds(&c.hear(&m)), ["I2"]);
    c.w.millis(999);
    c.sent();
    assert_eq!(kinds(&c.hear(&m)), Vec::<String>::new());
    c.w.millis(1);
    assert_eq!(kinds(&c.hear(&m)), ["I2"]);
}

/// An I2 is repeated as long as the validator in it has to be accepted.
// req-test: S6-7.12-02, S6-7.12-03
#[test]
fn an_i2_whose_validator_may_have_run_out_is_not_repeated() {
    for (nanos, expected) in [(0, "I2"), (1, "I1")] {
        let mut c = Craft::new(9);
        c.reach_i2_sent();
        let now = c.w.now + Duration::from_secs(30) + Duration::from_nanos(nanos);
        let h = &mut c.w.hosts[0];
        let mut out = VecDeque::new();
        h.engine.handle_timeout(&mut Cx { now, rng: &mut h.rng, out: &mut out });
        let sent: Vec<String> = out
            .iter()
            .filter_map(|o| match o {
                Output::Transmit(t) => Some(Message::parse(&t.message).unwrap().kind().to_string()),
                _ => None,
            })
            .collect();
        assert_eq!(sent, [expected]);
    }
}

/// A peer that is known already need not send its parameters again, and locators where it was not reached stay unproven.
// req-test: S6-7.13-12, S6-7.2-03
#[test]
fn what_is_known_of_the_peer_helps_to_check_its_next_i2() {
    let mut c = Craft::with(10, 2, Method::Hba, 3, |_| {});
    let i2 = c.i2(ContextTag::from_masked(0x77), 5);
    c.hear(&Message::I2(i2));
    assert_eq!(c.state(), State::Established);
    c.w.secs(11);
    let mut again = c.i2(ContextTag::from_masked(0x78), 6);
    again.options.pds = None;
    assert_eq!(kinds(&c.hear(&Message::I2(again))), ["R2"]);
    let context = c.context().unwrap();
    assert_eq!(context.peer_tag, Some(ContextTag::from_masked(0x78)));
    let probed: Vec<bool> = context.peer_locators.iter().map(|l| l.probed).collect();
    assert_eq!(probed, [true, false, false]);
}

// req-test: S6-10.2-02
#[test]
fn an_update_waits_while_an_i2bis_is_out() {
    let mut c = Craft::with(11, 3, Method::Hba, 2, |_| {});
    let nonce = c.reach_i2bis_sent();
    let lost = c.us(2);
    c.w.address(0, AddressEvent::Gone(lost));
    assert_eq!(kinds(&c.sent()), Vec::<String>::new());
    let r2 = c.r2(nonce);
    assert_eq!(kinds(&c.hear(&Message::R2(r2))), ["Update Request"]);
    assert_eq!(c.w.hosts[0].counter("timer_overrun"), 0);
}

/// After late acknowledgements all is told again, but not for each.
// req-test: S6-10.3-03
#[test]
fn late_acknowledgements_make_us_tell_all_again_once_a_second() {
    let mut c = Craft::with(12, 6, Method::Hba, 2, |_| {});
    c.reach_established();
    let mut nonces = Vec::new();
    for i in (2..6).rev() {
        let lost = c.us(i);
        c.w.address(0, AddressEvent::Gone(lost));
        nonces.push(update_of(&c.sent()).unwrap().1.request_nonce.0);
    }
    let ack = |c: &mut Craft, nonce: u32| {
        let m = c.update_ack(nonce);
        let out = c.hear(&Message::UpdateAck(m));
        update_of(&out).map(|(_, u)| u.request_nonce.0)
    };
    assert_eq!(ack(&mut c, nonces[3]), None, "the last one");
    let again = ack(&mut c, nonces[0]).expect("told again");
    assert_eq!(ack(&mut c, again), None);
    c.w.millis(999);
    assert_eq!(ack(&mut c, nonces[1]), None, "within the second");
    c.w.millis(1);
    let again = ack(&mut c, nonces[2]).expect("told again");
    assert_eq!(ack(&mut c, again), None);
    assert_eq!(c.w.hosts[0].counter("update_told_again"), 2);
    assert!(!c.context().unwrap().updating);
}

/// The first Probe after an input and what it brings about at once: how much later, and on which pair.
fn next_probe(c: &mut Craft, m: &Message) -> (Duration, LocatorPair) {
    c.hear(m);
    let from = c.w.now;
    loop {
        c.w.millis(1);
        if let Some((p, _)) = c.sent().iter().find(|(_, m)| matches!(m, Message::Probe(_))) {
            return (c.w.now.since(from), *p);
        }
        assert!(c.w.now.since(from) < Duration::from_secs(100), "no Probe");
    }
}

/// A context that has explored for so long that Probes are far apart.
fn exploring(c: &mut Craft) {
    let id = c.context().unwrap().id;
    c.w.on(0, |e, cx| e.handle_command(cx, Command::Explore(id))).unwrap();
    c.w.secs(36);
    c.sent();
}

/// A locator that the peer has just acknowledged, or has just told, is the next to be tried by a running exploration.
#[test]
fn new_locators_join_a_running_exploration_at_once() {
    let mut c = Craft::with(13, 3, Method::Hba, 2, |_| {});
    c.reach_established();
    let back = c.us(2);
    c.w.address(0, AddressEvent::Gone(back));
    let (_, gone) = update_of(&c.sent()).unwrap();
    let ack = c.update_ack(gone.request_nonce.0);
    c.hear(&Message::UpdateAck(ack));
    c.w.address(0, present(back));
    let (_, again) = update_of(&c.sent()).unwrap();
    exploring(&mut c);
    let ack = c.update_ack(again.request_nonce.0);
    let (after, pair) = next_probe(&mut c, &Message::UpdateAck(ack));
    assert_eq!(pair.local, Locator(back));
    assert!(after <= Duration::from_millis(600), "{after:?}");

    let mut c = Craft::with(14, 2, Method::Hba, 3, |_| {});
    c.reach_established();
    let new = c.them(2);
    let all = c.locators();
    let mut two = all.clone();
    two.locator_list.as_mut().unwrap().entries.pop();
    let m = c.update_request(1, two);
    assert_eq!(kinds(&c.hear(&Message::UpdateRequest(m))), ["Update Acknowledgement"]);
    exploring(&mut c);
    let m = c.update_request(2, all);
    let (after, pair) = next_probe(&mut c, &Message::UpdateRequest(m));
    assert_eq!(pair.peer, Locator(new));
    assert!(after <= Duration::from_millis(600), "{after:?}");
}

/// Only what was out of order is tried at once when it is reported to be there.
#[test]
fn an_address_that_was_there_all_along_hurries_no_exploration() {
    let mut c = Craft::new(15);
    c.reach_established();
    exploring(&mut c);
    let spare = c.us(1);
    let before = c.context().unwrap().probe_at;
    c.w.address(0, present(spare));
    assert_eq!(c.context().unwrap().probe_at, before);
    c.w.address(0, AddressEvent::Unreachable(spare));
    c.w.address(0, present(spare));
    assert!(c.context().unwrap().probe_at < before);
}

// req-test: S6-10.1-01
#[test]
fn a_preference_decided_while_an_exchange_runs_is_told_at_its_end() {
    let mut c = Craft::new(16);
    let nonce = c.reach_i2_sent();
    let rule = LocatorRule { preference: Some((7, 3)), ..LocatorRule::default() };
    let spare = c.us(1);
    c.w.on(0, |e, cx| e.handle_command(cx, Command::Locator(spare, rule))).unwrap();
    assert!(!c.context().unwrap().updating);
    let r2 = c.r2(nonce);
    let out = c.hear(&Message::R2(r2));
    let (_, told) = update_of(&out).expect("an Update Request");
    assert_eq!(told.options.preferences.unwrap().elements[1].priority, 7);
}

#[test]
fn an_r2_before_the_context_is_established_acknowledges_nothing() {
    let mut c = Craft::new(17);
    c.reach_i1_sent();
    let i1 = c.i1(c.tag, 42);
    assert_eq!(kinds(&c.hear(&Message::I1(i1))), ["R2"]);
    let ours = c.context().unwrap().local_locators;
    assert_eq!(ours.iter().map(|l| l.acknowledged).collect::<Vec<_>>(), [true, false]);
}

/// The I2 of a peer with a single address, for a tag that it has chosen.
fn plain_i2(c: &mut Craft, host: u16, tag: ContextTag) -> (Ipv6Addr, Message) {
    let (from, to) = (Ipv6Addr::new(0x2001, 0xdb8, 0x77, host, 0, 0, 0, 1), c.us(0));
    let nonce = InitNonce(host.into());
    let i1 = I1 { initiator_tag: tag, init_nonce: nonce, options: Options::default() };
    let out = c.hear_from(from, to, &Message::I1(i1));
    let Some((_, Message::R1(r1))) = out.into_iter().next() else { panic!("no R1") };
    let i2 = I2 {
        initiator_tag: tag,
        init_nonce: nonce,
        responder_nonce: r1.responder_nonce,
        options: Options { validator: r1.options.validator, ..Options::default() },
    };
    (from, Message::I2(i2))
}

// req-test: S6-16-03
#[test]
fn no_more_than_sixteen_contexts_have_one_tag_of_the_peer() {
    let mut c = Craft::new(18);
    let drops = |c: &Craft| c.w.hosts[0].drops.get("peer_tag_crowded").copied().unwrap_or(0);
    let (tag, to) = (c.tag, c.us(0));
    let first = plain_i2(&mut c, 1, tag);
    for host in 1..=16 {
        let (from, i2) = plain_i2(&mut c, host, tag);
        assert_eq!(c.hear_from(from, to, &i2).len(), 1, "R2 for host {host}");
    }
    let (from, i2) = plain_i2(&mut c, 17, tag);
    assert!(c.hear_from(from, to, &i2).is_empty());
    assert_eq!((drops(&c), c.w.hosts[0].engine.context_count()), (1, 16));
    // Neither is one taken from a responder that we asked.
    let nonce = c.reach_i2_sent();
    let r2 = c.r2(nonce);
    assert!(c.hear(&Message::R2(r2.clone())).is_empty());
    assert_eq!((drops(&c), c.state()), (2, State::I2Sent));
    // Whoever has a context may repeat its I2, and others take tags of their own.
    assert_eq!(c.hear_from(first.0, to, &first.1).len(), 1);
    let own = ContextTag::from_masked(tag.value() + 1);
    let (from, i2) = plain_i2(&mut c, 17, own);
    assert_eq!(c.hear_from(from, to, &i2).len(), 1);
    c.hear(&Message::R2(R2 { responder_tag: ContextTag::from_masked(9), ..r2 }));
    assert_eq!((drops(&c), c.state()), (2, State::Established));
}

// req-test: S6-5.14-07
#[test]
fn with_the_debugging_option_silence_has_a_code() {
    for debug in [false, true] {
        let mut c = Craft::with(19, 2, Method::Hba, 2, |config| config.debug_errors = debug);
        let (src, dst) = (c.them(0), c.us(0));
        // An I1 whose option is longer than the message.
        let mut octets = Message::I1(c.i1(c.tag, 5)).emit();
        octets.extend([0, 40, 0, 80, 0, 0, 0, 0]);
        octets[1] += 1;
        octets[4..6].fill(0);
        let sum = shim6::wire::checksum::internet(&octets);
        octets[4..6].copy_from_slice(&sum.to_be_bytes());
        c.w.inject_octets(0, src, dst, &octets);
        let codes: Vec<u8> = c
            .sent()
            .iter()
            .map(|(_, m)| match m {
                Message::Error(e) => e.code.value(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(codes, if debug { vec![124] } else { vec![] });
    }
}
