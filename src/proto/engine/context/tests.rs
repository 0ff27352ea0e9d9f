use super::*;
use crate::addr::Ulid;
use crate::proto::reap::Candidate;
use std::net::Ipv6Addr;

fn locator(n: u16) -> Locator {
    Locator(Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1))
}

fn pair(l: u16, p: u16) -> LocatorPair {
    LocatorPair { local: locator(l), peer: locator(p) }
}

fn context() -> Context {
    let ulids = UlidPair { local: Ulid(locator(1).0), peer: Ulid(locator(2).0) };
    let tag = ContextTag::from_masked(1);
    Context::new(ContextId(1), ulids, Fii::DEFAULT, tag, Time::from_secs(1000))
}

#[test]
fn locators_of_the_list_and_of_the_one_before_are_accepted() {
    let entry = |n, acknowledged, broken| LocalEntry {
        locator: locator(n),
        proof: None,
        acknowledged,
        broken,
        deprecated: n == 4,
        transient: n == 3,
    };
    let set = LocalSet {
        entries: [entry(1, true, false), entry(3, true, true), entry(4, false, false)].into(),
        former: vec![locator(5)].into(),
        ..LocalSet::default()
    };
    let accepted: Vec<u16> = (0..8).filter(|n| set.accepts(locator(*n))).collect();
    assert_eq!(accepted, [1, 3, 4, 5]);
    let expected = |n, usable, broken, priority| Candidate {
        addr: locator(n).0,
        usable,
        broken,
        priority,
        weight: 0,
    };
    assert_eq!(
        set.candidates(),
        [expected(1, true, false, 0), expected(3, false, false, 1), expected(4, false, true, 0)]
    );
}

#[test]
fn tagged_pairs_are_remembered_for_a_minute_and_32_of_them() {
    let mut c = context();
    let at = Time::from_secs;
    assert!(c.sent_tagged(pair(1, 2), at(1000)), "the current pair always");
    for n in 0..32 {
        c.note_tagged(pair(10, n), at(1000 + u64::from(n)));
    }
    // The oldest but one goes, since the oldest was used again.
    c.note_tagged(pair(10, 0), at(1032));
    c.note_tagged(pair(10, 99), at(1033));
    assert_eq!(c.tagged.len(), 32);
    let now = at(1040);
    assert!(!c.sent_tagged(pair(10, 1), now));
    assert!(c.sent_tagged(pair(10, 0), now) && c.sent_tagged(pair(10, 99), now));
    assert!((2..32).all(|n| c.sent_tagged(pair(10, n), now)));
    assert!(!c.sent_tagged(pair(11, 0), now));
    assert!(c.sent_tagged(pair(10, 2), at(1062)));
    assert!(!c.sent_tagged(pair(10, 2), at(1063)));
    c.tidy(at(1063));
    assert_eq!(c.tagged.len(), 31);
    assert!(c.sent_tagged(pair(10, 3), at(1063)));
    c.tidy(at(2000));
    assert!(c.tagged.is_empty());
}

#[test]
fn only_payload_off_the_ulids_or_of_a_fork_is_tagged() {
    let mut c = context();
    let (ulids, other) = (c.pair, pair(3, 2));
    for (state, fii, at, expected) in [
        (State::Established, Fii(0), ulids, false),
        (State::Established, Fii(0), other, true),
        (State::Established, Fii(1), ulids, true),
        (State::I1Sent, Fii(1), other, false),
    ] {
        c.enter(state);
        (c.fii, c.pair) = (fii, at);
        assert_eq!(c.is_tagged(), expected, "{state:?} {fii:?} {at:?}");
    }
}

#[test]
fn the_last_use_is_the_last_packet_either_way() {
    let mut c = context();
    let at = Time::from_secs;
    assert_eq!(c.last_use(), at(1000));
    c.activity.note(&Activity { last_out: Some(at(1001)), ..Activity::NONE });
    assert_eq!(c.last_use(), at(1001));
    let seen = Activity { last_out: Some(at(1001)), last_in: Some(at(1002)), ..Activity::NONE };
    c.activity.note(&seen);
    assert_eq!(c.activity.activity(), seen);
    assert_eq!(c.last_use(), at(1002));
    let config = ReapConfig::default();
    assert_eq!(c.keepalive_timeout(&config), config.default_keepalive_timeout);
    c.keepalive_secs = Some(3);
    assert_eq!(c.keepalive_timeout(&config), Duration::from_secs(3));
}

#[test]
fn what_is_seen_of_a_path_takes_room_only_under_fast_detection() {
    let mut seen = Seen::default();
    let plain = Activity { last_in: Some(Time::from_secs(5)), packets_in: 7, ..Activity::NONE };
    let watched = Activity { signs: Signs { unanswered: 3, ..Signs::default() }, ..plain };
    for (report, takes_none) in [(plain, true), (watched, false), (watched, false), (plain, true)] {
        seen.note(&report);
        assert_eq!(seen.activity(), report);
        assert_eq!(seen.signs.takes_no_room(), takes_none);
    }
}

#[test]
fn an_exploration_counts_as_just_ended_for_a_second() {
    let mut c = context();
    let (began, ended) = (Time::from_secs(1000), Time::from_secs(1010));
    *c.explored = Some((began, ended));
    let second = ended + JUST_NOW;
    for now in [ended, second] {
        c.tidy(now);
        assert_eq!(c.explored_just_now(now), Some(began));
    }
    let later = second + Duration::from_nanos(1);
    assert_eq!(c.explored_just_now(later), None);
    c.tidy(later);
    assert!(c.explored.takes_no_room());
}

#[test]
fn requests_of_before_rest_once_none_of_them_matters() {
    let nonce = RequestNonce(1);
    assert!(Requests::REST.rests());
    let change: [fn(&mut Requests, RequestNonce); 4] = [
        |r, n| r.followed.push(n),
        |r, n| r.acknowledged = Some(n),
        |r, _| r.retell = true,
        |r, _| r.retold = Some(Time::ZERO),
    ];
    for (i, change) in change.iter().enumerate() {
        let mut requests = Requests::REST.clone();
        change(&mut requests, nonce);
        assert!(!requests.rests(), "{i}");
    }
}
