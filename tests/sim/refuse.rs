//! What is not believed, not answered, or answered with an Error.

use crate::craft::{Craft, PEER_TAG};
use crate::world::{World, identity};
use shim6::addr::{ContextTag, Fii, Generation, InitNonce, Locator, LocatorPair, Ulid};
use shim6::cga::Method;
use shim6::proto::Command;
use shim6::proto::config::{PolicyAction, PolicyRule};
use shim6::proto::engine::{CommandError, State};
use shim6::wire::Message;
use shim6::wire::control::{ErrorCode, ErrorMessage};
use shim6::wire::option::{
    LocatorPreference, LocatorPreferences, Options, UlidPairOption, UnknownOption,
    VerificationMethod,
};
use std::net::Ipv6Addr;

fn tag(n: u64) -> ContextTag {
    ContextTag::from_masked(PEER_TAG + n)
}

fn only_error(out: &[(LocatorPair, Message)]) -> &ErrorMessage {
    match out {
        [(_, Message::Error(e))] => e,
        other => panic!("{other:?}"),
    }
}

// req-test: HB-11.4-01, S6-7.13-03, S6-7.10.1-01, S6-5.6-08, S6-7.13-05, S6-16-03
#[test]
fn i2_that_returns_anything_else_than_its_r1_said_is_dropped_silently() {
    let mut c = Craft::new(1);
    let good = c.i2(tag(0), 5);
    let mut bad = Vec::new();
    let mut m = good.clone();
    m.initiator_tag = tag(1);
    bad.push(m);
    let mut m = good.clone();
    m.responder_nonce.0 += 1;
    bad.push(m);
    let mut m = good.clone();
    m.options.validator.as_mut().unwrap()[3] ^= 1;
    bad.push(m);
    let mut m = good.clone();
    m.options.validator.as_mut().unwrap().push(0);
    bad.push(m);
    let mut m = good.clone();
    m.options.validator = None;
    bad.push(m);
    let mut m = good.clone();
    m.options.fii = Some(Fii(3));
    bad.push(m);
    let mut m = good.clone();
    m.options.ulid_pair = Some(UlidPairOption { sender: Ulid(c.them(1)), receiver: Ulid(c.us(0)) });
    bad.push(m);
    for m in bad {
        assert!(c.hear(&Message::I2(m)).is_empty());
        assert_eq!(c.w.hosts[0].engine.context_count(), 0);
    }
    // Another pair than that of the R1.
    assert!(c.hear_on(1, 0, &Message::I2(good.clone())).is_empty());
    assert!(c.hear_on(0, 1, &Message::I2(good.clone())).is_empty());
    assert_eq!(c.w.hosts[0].engine.context_count(), 0);
    // The Initiator Nonce may be another one than that of the I1.
    let mut other = good;
    other.init_nonce = InitNonce(6);
    assert_eq!(c.hear(&Message::I2(other)).len(), 1);
}

// req-test: S6-7.13-02, S6-7.13-03, S6-7.20-02, S6-7.20-03
#[test]
fn i2_and_i2bis_are_good_for_half_a_minute_and_dead_after_two() {
    for (age, good) in [(0, true), (29, true), (30, true), (120, false)] {
        for bis in [false, true] {
            let mut c = Craft::new(2);
            let m =
                if bis { Message::I2bis(c.i2bis(tag(0), 5)) } else { Message::I2(c.i2(tag(0), 5)) };
            c.w.secs(age);
            assert_eq!(c.hear(&m).len(), usize::from(good), "age {age}");
            assert_eq!(c.w.hosts[0].engine.context_count(), usize::from(good));
        }
    }
}

// req-test: S6-7.13-04, S6-7.20-04, S6-7.16-03
#[test]
fn a_pds_of_somebody_else_is_dropped_silently() {
    let stranger = identity(99, 2, 2, Method::Hba);
    for kind in 0..3 {
        let mut c = Craft::new(3);
        let foreign = c.locators_of(&stranger, Generation(1));
        let out = match kind {
            0 => {
                let mut m = c.i2(tag(0), 5);
                m.options.pds = foreign.pds;
                c.hear(&Message::I2(m))
            }
            1 => {
                let mut m = c.i2bis(tag(0), 5);
                m.options.pds = foreign.pds;
                c.hear(&Message::I2bis(m))
            }
            _ => {
                let nonce = c.reach_i2_sent();
                let mut m = c.r2(nonce);
                m.options.pds = foreign.pds;
                c.hear(&Message::R2(m))
            }
        };
        assert!(out.is_empty());
        assert_ne!(c.state(), State::Established);
        assert!(c.w.hosts[0].drops.contains_key("pds_foreign"));
    }
}

// req-test: S6-7.2-01, S6-7.2-05, S6-7.2-06, S6-5.6-11, S6-5.6-13, S6-7.13-07, S6-7.13-12, S6-7.16-05, S6-7.20-07
// req-test: S6-5.15.2-06
#[test]
fn one_bad_locator_condemns_the_whole_message() {
    type Spoil = fn(&mut Options);
    let spoils: [(&str, Spoil, Option<usize>); 6] = [
        (
            "foreign address",
            |o| list(o)[1].locator = Locator("2001:db8:66::1".parse().unwrap()),
            Some(1),
        ),
        ("unknown method", |o| list(o)[1].method = VerificationMethod::Unknown(7), Some(1)),
        ("reserved method", |o| list(o)[0].method = VerificationMethod::Unknown(0), Some(0)),
        ("CGA without key", |o| list(o)[1].method = VerificationMethod::Cga, Some(1)),
        ("twice", |o| list(o)[1] = list(o)[0], Some(1)),
        ("no PDS", |o| o.pds = None, None),
    ];
    fn list(o: &mut Options) -> &mut Vec<shim6::wire::option::LocatorEntry> {
        &mut o.locator_list.as_mut().unwrap().entries
    }
    for (name, spoil, entry) in spoils {
        for kind in 0..3 {
            let mut c = Craft::new(4);
            let (m, options_at) = match kind {
                0 => {
                    let mut m = c.i2(tag(0), 5);
                    spoil(&mut m.options);
                    (Message::I2(m), 24)
                }
                1 => {
                    let mut m = c.i2bis(tag(0), 5);
                    spoil(&mut m.options);
                    (Message::I2bis(m), 32)
                }
                _ => {
                    let nonce = c.reach_i2_sent();
                    let mut m = c.r2(nonce);
                    spoil(&mut m.options);
                    (Message::R2(m), 16)
                }
            };
            let before = c.context();
            let out = c.hear(&m);
            let error = only_error(&out);
            assert_eq!(error.code, ErrorCode::VerificationFailed, "{name}");
            assert_eq!(out[0].0, c.pair(0, 0));
            // From the start of the IPv6 header; the validator option stands first in I2 and I2bis.
            let validator = if kind == 2 { 0 } else { 24 };
            let at = 40 + options_at + validator;
            let want = entry.map_or(at, |i| at + 4 + 5 + i);
            assert_eq!(usize::from(error.pointer), want, "{name} {}", m.kind());
            assert_eq!(c.context(), before, "{name}");
        }
    }
}

// req-test: S6-7.2-05, S6-5.15.5-01, S6-5.6-14, S6-3-02
#[test]
fn cga_locators_need_their_signature() {
    for spoil in 0..3 {
        let mut c = Craft::with(5, 2, Method::HbaCga, 2, |_| {});
        let mut m = c.i2(tag(0), 5);
        let plain: Ipv6Addr = "2001:db8:77::1".parse().unwrap();
        let entries = &mut m.options.locator_list.as_mut().unwrap().entries;
        entries.push(shim6::wire::option::LocatorEntry {
            locator: Locator(plain),
            method: VerificationMethod::Cga,
        });
        let signature = c.peer.sign(Generation(1), &[Locator(plain)]).unwrap();
        m.options.signature = match spoil {
            0 => Some(signature),
            1 => None,
            _ => Some(c.peer.sign(Generation(2), &[Locator(plain)]).unwrap()),
        };
        let out = c.hear(&Message::I2(m));
        if spoil == 0 {
            assert!(matches!(out[0].1, Message::R2(_)));
            let peer = c.context().unwrap().peer_locators;
            assert_eq!(peer.len(), 3, "a plain address is fine when a CGA ULID signs for it");
            assert!(peer.iter().all(|l| l.verified));
        } else {
            assert_eq!(only_error(&out).code, ErrorCode::VerificationFailed);
            assert_eq!(c.w.hosts[0].engine.context_count(), 0);
        }
    }
}

// req-test: S6-7.13-08, S6-7.13-10, S6-7.20-08, S6-7.20-10
#[test]
fn i2_from_a_source_that_is_not_the_peers_is_dropped_silently() {
    let stranger: Ipv6Addr = "2001:db8:66::66".parse().unwrap();
    for state in [State::Idle, State::I1Sent, State::I2Sent, State::I2bisSent, State::Established] {
        let mut c = Craft::new(6);
        let mut i1 = c.i1(tag(2), 5);
        i1.options.ulid_pair = Some(c.ulid_option());
        let us = c.us(0);
        let out = c.hear_from(stranger, us, &Message::I1(i1.clone()));
        let Message::R1(r1) = &out[0].1 else { panic!() };
        let m = shim6::wire::control::I2 {
            initiator_tag: i1.initiator_tag,
            init_nonce: i1.init_nonce,
            responder_nonce: r1.responder_nonce,
            options: Options {
                validator: r1.options.validator.clone(),
                ulid_pair: i1.options.ulid_pair,
                ..c.locators()
            },
        };
        match state {
            State::I1Sent => drop(c.reach_i1_sent()),
            State::I2Sent => drop(c.reach_i2_sent()),
            State::I2bisSent => drop(c.reach_i2bis_sent()),
            State::Established => c.reach_established(),
            _ => {}
        }
        let before = c.context();
        let out = c.hear_from(stranger, us, &Message::I2(m));
        assert!(out.is_empty(), "{state}");
        assert_eq!(c.context(), before);
        assert_eq!(c.w.hosts[0].drops["i2_source"], 1);
    }
}

// req-test: S6-7.13-08, S6-7.13-10
#[test]
fn i2_from_a_verified_locator_of_its_own_list_is_fine() {
    for state in [State::Idle, State::I1Sent, State::I2Sent, State::I2bisSent, State::Established] {
        let mut c = Craft::new(7);
        let m = c.i2_on(1, 1, tag(2), 5);
        match state {
            State::I1Sent => drop(c.reach_i1_sent()),
            State::I2Sent => drop(c.reach_i2_sent()),
            State::I2bisSent => drop(c.reach_i2bis_sent()),
            State::Established => c.reach_established(),
            _ => {}
        }
        let out = c.hear_on(1, 1, &Message::I2(m));
        assert!(
            matches!(&out[..], [(p, Message::R2(_))] if *p == c.pair(1, 1)),
            "{state}: {out:?}"
        );
        let now = c.context().unwrap();
        assert_eq!(now.peer_tag, Some(tag(2)));
        if now.state == State::Established {
            assert_eq!(now.pair, c.pair(1, 1), "the pair that is just proven");
        }
    }
}

// req-test: S6-7.9-02, S6-1.4-01, S6-12.3-03
#[test]
fn addresses_that_cannot_be_ulids_are_dropped_silently() {
    let mut c = Craft::new(8);
    let (us, them) = (Ulid(c.us(0)), Ulid(c.them(0)));
    let ulid = |s: &str| Ulid(s.parse().unwrap());
    let pairs = [
        (them, ulid("2001:db8:9::9")),
        (ulid("fe80::1"), us),
        (ulid("ff02::1"), us),
        (ulid("::"), us),
        (ulid("::1"), us),
        (ulid("::ffff:192.0.2.1"), us),
        (us, us),
        (them, ulid("ff02::1")),
    ];
    for (sender, receiver) in pairs {
        let mut i1 = c.i1(tag(0), 5);
        i1.options.ulid_pair = Some(UlidPairOption { sender, receiver });
        assert!(c.hear(&Message::I1(i1)).is_empty(), "{sender} {receiver}");
    }
    let good = c.i1(tag(0), 5);
    let (us, them) = (us.0, them.0);
    let any: Ipv6Addr = "2001:db8:9::9".parse().unwrap();
    for (src, dst) in [
        ("ff02::1".parse().unwrap(), us),
        ("::".parse().unwrap(), us),
        (us, us),
        (them, "ff02::1".parse().unwrap()),
        (them, "::".parse().unwrap()),
        (them, any),
    ] {
        assert!(c.hear_from(src, dst, &Message::I1(good.clone())).is_empty());
    }
    assert_eq!(c.hear(&Message::I1(good)).len(), 1);
}

#[test]
fn policy_never_means_silence_in_both_directions() {
    let rule =
        PolicyRule { peers: "2001:db8:2::/48".parse().unwrap(), action: PolicyAction::Never };
    let mut c = Craft::with(9, 2, Method::Hba, 2, |cfg| cfg.heuristic.policy = vec![rule.clone()]);
    let i1 = c.i1(tag(0), 5);
    assert!(c.hear(&Message::I1(i1)).is_empty());
    let ulids = c.ulids();
    let refused = c.w.on(0, |e, cx| e.handle_command(cx, Command::Establish(ulids)));
    assert_eq!(refused, Err(CommandError::Policy));
}

// req-test: S6-12.3-04, S6-5.14-01, S6-5.14-02, S6-5.14-05, S6-17-01
#[test]
fn unknown_types_get_error_0_and_nothing_else() {
    let mut c = Craft::new(10);
    for kind in [0u8, 7, 63, 69, 127] {
        let mut octets = Message::Keepalive(c.keepalive()).emit();
        octets[2] = kind;
        octets[4..6].fill(0);
        let sum = shim6::wire::checksum::internet(&octets);
        octets[4..6].copy_from_slice(&sum.to_be_bytes());
        let (src, dst) = (c.them(0), c.us(0));
        c.w.inject_octets(0, src, dst, &octets);
        let out = c.sent();
        let error = only_error(&out);
        assert_eq!(error.code, ErrorCode::UnknownMessageType);
        assert_eq!(error.pointer, 42);
        assert_eq!(error.quoted[40..], octets[..]);
    }
}

// req-test: S6-12.3-06, S6-5.15-08, S6-5.15-09, S6-12.3-05, S6-5.15-07
#[test]
fn critical_options_get_error_1_and_stop_the_message_others_are_ignored() {
    let mut c = Craft::new(11);
    let mut i1 = c.i1(tag(0), 5);
    i1.options.unknown = vec![UnknownOption { option_type: 77, contents: vec![1, 2, 3] }];
    let mut octets = Message::I1(i1).emit();
    let (src, dst) = (c.them(0), c.us(0));
    c.w.inject_octets(0, src, dst, &octets);
    assert!(matches!(&c.sent()[..], [(_, Message::R1(_))]), "C = 0: ignored");
    octets[17] |= 1;
    octets[4..6].fill(0);
    let sum = shim6::wire::checksum::internet(&octets);
    octets[4..6].copy_from_slice(&sum.to_be_bytes());
    c.w.inject_octets(0, src, dst, &octets);
    let out = c.sent();
    assert_eq!(only_error(&out).code, ErrorCode::CriticalOption);
    assert_eq!(only_error(&out).pointer, 40 + 16);
}

// req-test: S6-12.3-01, S6-12.3-02, S6-5.3-04, S6-7.9-01, S6-7.11-01, S6-7.13-01, S6-7.16-01, S6-7.18-01, S6-7.20-01
// req-test: S6-10.4-01, S6-10.5-01
#[test]
fn bad_checksums_lengths_and_hip_are_dropped_silently() {
    let mut c = Craft::new(12);
    let i2 = c.i2(tag(2), 5);
    let nonce = c.reach_i2bis_sent();
    // With the octets of each that are fixed.
    let messages = [
        (16, Message::I1(c.i1(tag(0), 5))),
        (16, Message::R1(c.r1(nonce))),
        (24, Message::I2(i2)),
        (16, Message::R2(c.r2(nonce))),
        (16, Message::R1bis(c.r1bis())),
        (32, Message::I2bis(c.i2bis(tag(2), 5))),
        (16, Message::UpdateRequest(c.update_request(1, Options::default()))),
        (16, Message::UpdateAck(c.update_ack(1))),
        (16, Message::Keepalive(c.keepalive())),
    ];
    let before = c.context();
    let (src, dst) = (c.them(0), c.us(0));
    for (fixed, m) in messages {
        let good = m.emit();
        let mut bad = good.clone();
        bad[15] ^= 0x40;
        c.w.inject_octets(0, src, dst, &bad);
        c.w.inject_octets(0, src, dst, &good[..good.len() - 1]);
        for length in (8..fixed).step_by(8) {
            let dropped =
                |c: &Craft| c.w.hosts[0].drops.get("message_too_short").copied().unwrap_or(0);
            let n = dropped(&c);
            let mut short = good[..length].to_vec();
            short[1] = (length / 8 - 1) as u8;
            short[4..6].fill(0);
            let sum = shim6::wire::checksum::internet(&short);
            short[4..6].copy_from_slice(&sum.to_be_bytes());
            c.w.inject_octets(0, src, dst, &short);
            assert_eq!(dropped(&c), n + 1, "{}, {length} octets", m.kind());
        }
        let mut hip = good.clone();
        hip[3] |= 1;
        hip[4..6].fill(0);
        let sum = shim6::wire::checksum::internet(&hip);
        hip[4..6].copy_from_slice(&sum.to_be_bytes());
        c.w.inject_octets(0, src, dst, &hip);
        assert!(c.sent().is_empty(), "{}", m.kind());
        assert_eq!(c.context(), before);
    }
}

// req-test: S6-5.14-06, S6-17-02, S6-12.4-06
#[test]
fn errors_are_never_answered() {
    let mut c = Craft::new(13);
    c.reach_established();
    let before = c.context();
    for code in [0u8, 1, 2, 3, 4, 5, 119, 127] {
        let quoted = vec![0xff; 200];
        let m = ErrorMessage { code: code.into(), pointer: 42, quoted };
        assert!(c.hear(&Message::Error(m)).is_empty());
    }
    assert_eq!(c.context(), before);
}

// req-test: S6-7.11-02, S6-7.16-02, S6-12.4-02
#[test]
fn r1_and_r2_need_the_nonce_and_a_pair_that_was_used() {
    let mut c = Craft::new(14);
    let nonce = c.reach_i1_sent();
    let other = InitNonce(nonce.0 ^ 1);
    for (i, j, n) in [(0, 0, other), (1, 0, nonce), (0, 1, nonce), (1, 1, nonce)] {
        let (r1, r2) = (Message::R1(c.r1(n)), Message::R2(c.r2(n)));
        assert!(c.hear_on(i, j, &r1).is_empty());
        assert!(c.hear_on(i, j, &r2).is_empty());
        assert_eq!(c.state(), State::I1Sent);
    }
    let mut r1 = c.r1(nonce);
    r1.options.validator = None;
    assert!(c.hear(&Message::R1(r1)).is_empty());
    assert_eq!(c.state(), State::I1Sent);
}

// req-test: S6-5.5-06, S6-5.6-07, S6-5.6-08, S6-5.6-06, S6-5.15.1-01
#[test]
fn i2_returns_validators_of_any_length_octet_for_octet() {
    for len in [0, 1, 20, 500] {
        let mut c = Craft::new(15);
        let nonce = c.reach_i1_sent();
        let mut r1 = c.r1(nonce);
        let validator: Vec<u8> = (0..len).map(|n| n as u8).collect();
        r1.options.validator = Some(validator.clone());
        // An R1 with an option more than we know is as good.
        r1.options.unknown = vec![UnknownOption { option_type: 99, contents: vec![] }];
        let out = c.hear(&Message::R1(r1));
        let Message::I2(i2) = &out[0].1 else { panic!() };
        assert_eq!(i2.options.validator.as_ref(), Some(&validator));
        assert_eq!(i2.responder_nonce.0, 99);
    }
}

// req-test: S6-5.1-02, S6-5.1-03, S6-7.6-01
#[test]
fn no_message_exceeds_1280_octets_however_many_locators_there_are() {
    let mut w = World::with(16, &[(2, Method::HbaCga), (2, Method::HbaCga)], |_| {});
    for n in 0..40u16 {
        let addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0x100 + n, 0, 0, 0, 1);
        w.hosts[0].addrs.push(addr);
        w.address(0, crate::world::present(addr));
    }
    // Every message sent is checked by the world.
    w.establish(0, 1);
    w.secs(1);
    w.assert_established(0, 1);
    let n = w.hosts[1].only().peer_locators.len();
    assert!((8..=16).contains(&n), "{n}");
    let ours = w.hosts[0].only().local_locators;
    assert_eq!(ours.len(), n, "announced and explored are the same");
    w.restart(1);
    let id = w.hosts[0].only().id;
    w.on(0, |e, cx| e.handle_command(cx, Command::Explore(id))).unwrap();
    w.secs(5);
    w.assert_established(0, 1);
    // A huge validator leaves less room.
    let mut c = Craft::with(17, 16, Method::Hba, 2, |_| {});
    let nonce = c.reach_i1_sent();
    let mut r1 = c.r1(nonce);
    r1.options.validator = Some(vec![1; 700]);
    let out = c.hear(&Message::R1(r1));
    let Message::I2(i2) = &out[0].1 else { panic!() };
    let sent = i2.options.locator_list.as_ref().unwrap();
    assert!(sent.entries.len() < 16 && sent.entries.len() > 2);
    assert_eq!(c.context().unwrap().local_locators.len(), sent.entries.len());
}

// req-test: S6-3-03, AL-2-01
#[test]
fn single_addresses_take_part_but_do_not_begin() {
    for method in [Method::Hba, Method::Cga] {
        let mut w = World::with(18, &[(1, method), (2, Method::Hba)], |_| {});
        let ulids = w.ulids(0, 1);
        w.notice(0, shim6::proto::Notice::Heuristic(ulids));
        assert_eq!(w.hosts[0].engine.context_count(), 0);
        assert_eq!(w.hosts[0].counter("heuristic_single_locator"), 1);
        let ulids = w.ulids(1, 0);
        w.notice(1, shim6::proto::Notice::Heuristic(ulids));
        w.secs(1);
        w.assert_established(0, 1);
        // Exactly one locator, so no list, PDS or signature.
        let Message::R2(r2) = &w.hosts[0].sent_of("R2")[0].2 else { panic!() };
        assert!(r2.options.locator_list.is_none() && r2.options.pds.is_none());
        assert_eq!(w.hosts[1].only().peer_locators.len(), 1);
        assert_eq!(w.hosts[0].only().peer_locators.len(), 2);
        // If asked it begins, too.
        let mut w = World::with(18, &[(1, method), (2, Method::Hba)], |_| {});
        w.establish(0, 1);
        w.secs(1);
        w.assert_established(0, 1);
    }
}

// req-test: S6-7.2-05
#[test]
fn preferences_that_do_not_fit_cost_an_i2_nothing_but_an_error() {
    for (generation, n, want) in [
        (Generation(1), 2, None),
        (Generation(2), 2, Some(ErrorCode::GenerationOutOfSync)),
        (Generation(1), 3, Some(ErrorCode::PreferencesCount)),
    ] {
        let mut c = Craft::new(19);
        let mut m = c.i2(tag(0), 5);
        let elements = vec![LocatorPreference { priority: 9, ..Default::default() }; n];
        let p = LocatorPreferences { generation, element_len: 3, elements };
        m.options.preferences = Some(p);
        let out = c.hear(&Message::I2(m));
        let error = out.iter().find_map(|(_, m)| match m {
            Message::Error(e) => Some(e.code),
            _ => None,
        });
        assert_eq!(error, want);
        assert!(out.iter().any(|(_, m)| matches!(m, Message::R2(_))));
        let applied = c.context().unwrap().peer_locators[0].priority;
        assert_eq!(applied, if want.is_none() { 9 } else { 0 });
    }
}

// req-test: S6-5.14-03
#[test]
fn errors_are_limited() {
    let mut c = Craft::new(20);
    let mut i1 = c.i1(tag(0), 5);
    i1.options.unknown = vec![UnknownOption { option_type: 77, contents: vec![] }];
    let mut octets = Message::I1(i1).emit();
    octets[17] |= 1;
    octets[4..6].fill(0);
    let sum = shim6::wire::checksum::internet(&octets);
    octets[4..6].copy_from_slice(&sum.to_be_bytes());
    let (src, dst) = (c.them(0), c.us(0));
    for _ in 0..100 {
        c.w.inject_octets(0, src, dst, &octets);
    }
    assert_eq!(c.sent().len(), 10);
}

#[test]
fn a_flood_of_i1s_from_elsewhere_takes_no_r1_from_a_peer_with_a_context() {
    let mut c = Craft::with(22, 2, Method::Hba, 2, |c| c.limits.r1_per_second = 3);
    c.reach_established();
    let us = c.us(0);
    let r1s = |c: &mut Craft, from: Ipv6Addr| {
        let i1 = c.i1(tag(9), 50);
        c.hear_from(from, us, &Message::I1(i1)).len()
    };
    let strangers = (0..10).map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0x66, n, 0, 0, 0, 1));
    assert_eq!(strangers.map(|from| r1s(&mut c, from)).sum::<usize>(), 3);
    let peer = c.them(0);
    assert_eq!(r1s(&mut c, peer), 1);
}
