//! How often, how long, and when to give up.

use crate::craft::Craft;
use crate::world::World;
use shim6::addr::InitNonce;
use shim6::proto::engine::{CommandError, State};
use shim6::proto::{Command, Config, Event, Notice, Time};
use shim6::wire::Message;
use std::time::Duration;

fn times(c: &Craft, kind: &str) -> Vec<Time> {
    c.w.hosts[0].sent_of(kind).iter().map(|(t, _, _)| *t).collect()
}

/// Asserts that the gaps are first, 2 first, 4 first ... each times 0.5 to 1.5.
fn assert_backoff(times: &[Time], first: u64) {
    for (n, w) in times.windows(2).enumerate() {
        let nominal = Duration::from_secs(first << n);
        let gap = w[1].since(w[0]);
        assert!(gap >= nominal / 2 && gap <= nominal * 3 / 2, "gap {n}: {gap:?}");
    }
}

// req-test: S6-14-01, S6-14-02, S6-14-03, S6-14-04, S6-14-05, S6-14-06, S6-14-07, S6-14-08
#[test]
fn constants_are_those_of_the_rfc() {
    let e = Config::default().establish;
    let s = Duration::from_secs;
    assert_eq!((e.i1_timeout, e.i1_retries_max), (s(4), 4));
    assert_eq!((e.no_r1_holddown, e.icmp_holddown), (s(60), s(600)));
    assert_eq!((e.i2_timeout, e.i2_retries_max), (s(4), 2));
    assert_eq!((e.i2bis_timeout, e.i2bis_retries_max), (s(4), 2));
    assert_eq!(e.validator_min_lifetime, s(30));
    assert_eq!((e.update_timeout, e.max_update_timeout), (s(4), s(120)));
}

// req-test: S6-7.8-01, S6-7.8-02, S6-7.8-03, S6-7.8-04, S6-14-01, S6-14-02, S6-14-03, S6-14-09, S6-4-02
#[test]
fn i1_is_sent_five_times_then_the_pair_is_held_down_for_a_minute() {
    let mut all = Vec::new();
    for seed in 0..30 {
        let mut c = Craft::new(seed);
        let ulids = c.ulids();
        c.w.on(0, |e, cx| e.handle_command(cx, Command::Establish(ulids))).unwrap();
        let begin = c.w.now;
        while c.state() == State::I1Sent {
            c.w.millis(100);
        }
        let i1s = times(&c, "I1");
        assert_eq!(i1s.len(), 5);
        assert_backoff(&i1s, 4);
        all.push(i1s[1].since(i1s[0]).as_secs_f64());
        assert!(c.w.now.since(begin) >= Duration::from_secs(62));
        assert_eq!(c.state(), State::EFailed);
        assert!(c.w.hosts[0].plane.entries.is_empty());
        let failed = |e: &Event| matches!(e, Event::EstablishFailed { ulids: of, state: "E-FAILED", .. } if *of == ulids);
        assert!(c.w.hosts[0].events.iter().any(|(_, e)| failed(e)));
        // All messages of an attempt have the same nonce and tag.
        let first = &c.w.hosts[0].sent[0].2;
        assert!(c.w.hosts[0].sent.iter().all(|(_, _, m)| m == first));
        let again =
            |c: &mut Craft| c.w.on(0, |e, cx| e.handle_command(cx, Command::Establish(ulids)));
        assert_eq!(again(&mut c), Err(CommandError::HeldDown(State::EFailed)));
        c.w.notice(0, Notice::Heuristic(ulids));
        assert_eq!(c.w.hosts[0].engine.context_count(), 0);
        c.w.secs(59);
        assert_eq!(again(&mut c), Err(CommandError::HeldDown(State::EFailed)));
        c.w.secs(1);
        assert!(again(&mut c).is_ok());
    }
    let (min, max) = all.iter().fold((9.0f64, 0.0f64), |(a, b), &x| (a.min(x), b.max(x)));
    assert!(min < 3.0 && max > 5.0, "spread {min} to {max}");
}

// req-test: S6-7.8-05, S6-7.8-06, S6-14-04
#[test]
fn unrecognized_next_header_means_no_support_for_ten_minutes() {
    let mut c = Craft::new(1);
    c.reach_no_support();
    let ulids = c.ulids();
    let again = |c: &mut Craft| c.w.on(0, |e, cx| e.handle_command(cx, Command::Establish(ulids)));
    c.w.secs(599);
    assert_eq!(again(&mut c), Err(CommandError::HeldDown(State::NoSupport)));
    c.w.secs(1);
    assert!(again(&mut c).is_ok());
}

// req-test: S6-7.8-07
#[test]
fn icmp_errors_that_do_not_quote_an_outstanding_i1_do_nothing() {
    let mut c = Craft::new(2);
    let nonce = c.reach_i1_sent();
    let tag = c.context().unwrap().local_tag;
    let mut good = c.i1(tag, nonce.0);
    for (t, code) in [(4, 0), (4, 2), (1, 0), (1, 1), (3, 0), (128, 0)] {
        c.refused(t, code, &good);
    }
    good.init_nonce = InitNonce(nonce.0 ^ 1);
    c.refused(4, 1, &good);
    good.init_nonce = nonce;
    good.initiator_tag = shim6::addr::ContextTag::from_masked(tag.value() ^ 1);
    c.refused(4, 1, &good);
    assert_eq!(c.state(), State::I1Sent);
    // Other addresses than those of the I1.
    good.initiator_tag = tag;
    let quoted = Message::I1(good).emit();
    let (src, dst) = (c.pair(1, 0).local, c.pair(0, 0).peer);
    let notice =
        Notice::ControlRefused { icmp_type: 4, icmp_code: 1, src, dst, quoted: quoted.clone() };
    c.w.notice(0, notice);
    for n in 0..quoted.len().min(16) {
        let (src, dst) = (c.pair(0, 0).local, c.pair(0, 0).peer);
        let quoted = quoted[..n].to_vec();
        c.w.notice(0, Notice::ControlRefused { icmp_type: 4, icmp_code: 1, src, dst, quoted });
    }
    assert_eq!(c.state(), State::I1Sent);
    // After the answer the I1 is no longer outstanding.
    let r1 = c.r1(nonce);
    c.hear(&Message::R1(r1));
    let i1 = c.i1(tag, nonce.0);
    c.refused(4, 1, &i1);
    assert_eq!(c.state(), State::I2Sent);
}

// req-test: S6-7.12-01, S6-7.12-02, S6-7.12-03, S6-14-05, S6-14-09
#[test]
fn i2_is_sent_three_times_then_i1_again_and_after_two_rounds_no_more() {
    for seed in 0..10 {
        let mut c = Craft::new(seed);
        let mut nonce = c.reach_i2_sent();
        for round in 0..3 {
            c.w.hosts[0].sent.clear();
            let tag = c.context().unwrap().local_tag;
            let start = c.w.now;
            while c.state() == State::I2Sent {
                c.w.millis(50);
            }
            let i2s = times(&c, "I2");
            assert_eq!(i2s.len(), 2, "two retransmissions");
            assert_backoff(&[&[start], &i2s[..]].concat(), 4);
            assert!(i2s[1].since(start) <= Duration::from_secs(30));
            if round == 2 {
                assert_eq!(c.state(), State::EFailed);
                break;
            }
            assert_eq!(c.state(), State::I1Sent);
            assert_eq!(c.context().unwrap().local_tag, tag);
            let out = c.sent();
            let Message::I1(i1) = &out.last().unwrap().1 else { panic!("{out:?}") };
            nonce = i1.init_nonce;
            let r1 = c.r1(nonce);
            let out = c.hear(&Message::R1(r1));
            assert!(matches!(out[0].1, Message::I2(_)));
        }
        let _ = nonce;
    }
}

// req-test: S6-7.19-01, S6-7.19-02, S6-14-06, S6-11-01
#[test]
fn i2bis_is_sent_three_times_then_i1_on_the_same_pair() {
    let mut c = Craft::new(3);
    c.reach_i2bis_sent();
    let start = c.w.now;
    while c.state() == State::I2bisSent {
        c.w.millis(50);
    }
    let again = times(&c, "I2bis");
    assert_eq!(again.len(), 2);
    assert_backoff(&[&[start], &again[..]].concat(), 4);
    assert_eq!(c.state(), State::I1Sent);
    assert_eq!(times(&c, "I1").len(), 1);
    assert_eq!(c.context().unwrap().peer_tag, None);
    // Nobody answers those either.
    c.w.secs(300);
    assert_eq!(c.w.hosts[0].engine.context_count(), 0);
}

// req-test: S6-9-01, S6-9-03, S6-9-04, S6-9-05, S6-4-05
#[test]
fn idle_contexts_go_after_ten_minutes_used_ones_stay() {
    let mut w = World::new(4, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    let f = w.flow(0, 1, crate::world::Traffic::Echo(Duration::from_secs(100)));
    w.secs(2000);
    w.assert_established(0, 1);
    w.stop(f);
    w.secs(500);
    w.assert_established(0, 1);
    w.secs(200);
    for h in &w.hosts {
        assert_eq!(h.engine.context_count(), 0);
        assert!(h.plane.entries.is_empty());
        assert!(h.events.iter().any(|(_, e)| matches!(e, Event::Discarded { reason: "idle", .. })));
    }
    assert_eq!(w.hosts[0].sent_of("I1").len(), 1);
}

// req-test: S6-7.1-01, S6-7.1-03, S6-9-06, S6-C.4-01, S6-7.1-02
#[test]
fn tags_are_unique_random_and_rest_after_use() {
    let mut w = World::with(5, &[(2, shim6::cga::Method::Hba)], |c| c.establish.tag_bits = 7);
    let local = w.hosts[0].ulid(0);
    let ulids = |n: u16| shim6::addr::UlidPair {
        local,
        peer: shim6::addr::Ulid(std::net::Ipv6Addr::new(0x2001, 0xdb8, 9, n, 0, 0, 0, 1)),
    };
    let mut made = Vec::new();
    for n in 0..127 {
        made.push(w.on(0, |e, cx| e.handle_command(cx, Command::Establish(ulids(n)))).unwrap());
    }
    let mut tags: Vec<u64> = w.hosts[0].engine.contexts().map(|c| c.local_tag.value()).collect();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags, (1..128).collect::<Vec<_>>(), "all but 0, each once");
    let full = w.on(0, |e, cx| e.handle_command(cx, Command::Establish(ulids(200))));
    assert_eq!(full, Err(CommandError::Full));
    w.on(0, |e, cx| e.handle_command(cx, Command::Discard(made[3]))).unwrap();
    let resting = w.on(0, |e, cx| e.handle_command(cx, Command::Establish(ulids(200))));
    assert_eq!(resting, Err(CommandError::Full), "its tag rests");
    // With the whole space every bit is used.
    let mut w = World::new(5, &[2]);
    for n in 0..64 {
        w.on(0, |e, cx| e.handle_command(cx, Command::Establish(ulids(n)))).unwrap();
    }
    let tags: Vec<u64> = w.hosts[0].engine.contexts().map(|c| c.local_tag.value()).collect();
    let (or, and) = tags.iter().fold((0, u64::MAX), |(o, a), t| (o | t, a & t));
    assert_eq!((or, and), ((1 << 47) - 1, 0));
}

// req-test: S6-4-01, AL-5.1.2-01, S6-1.6-03
#[test]
fn the_heuristic_starts_one_context_per_pair() {
    let mut w = World::new(7, &[2, 2]);
    let ulids = w.ulids(0, 1);
    for _ in 0..5 {
        w.notice(0, Notice::Heuristic(ulids));
    }
    assert_eq!(w.hosts[0].engine.context_count(), 1);
    assert_eq!(w.hosts[0].sent_of("I1").len(), 1);
    w.secs(1);
    w.notice(0, Notice::Heuristic(ulids));
    let back = w.ulids(1, 0);
    w.notice(1, Notice::Heuristic(back));
    w.secs(1);
    w.assert_established(0, 1);
    assert_eq!(w.hosts.iter().map(|h| h.sent.len()).sum::<usize>(), 4);
}

#[test]
fn the_end_of_an_attempt_says_whether_the_peer_has_refused_or_kept_silent() {
    let reason = |c: &Craft| {
        c.w.hosts[0].events.iter().find_map(|(_, e)| match e {
            Event::Discarded { reason, .. } => Some(*reason),
            _ => None,
        })
    };
    let mut c = Craft::new(2);
    c.reach_e_failed();
    assert_eq!(reason(&c), Some("no answer"));
    let mut c = Craft::new(2);
    c.reach_no_support();
    assert_eq!(reason(&c), Some("not supported"));
}
