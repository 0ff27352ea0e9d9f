use super::*;
use crate::addr::Locator;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::net::Ipv6Addr;

const LIFE: Duration = Duration::from_secs(10);
const ASK: Purpose = Purpose::Tell(ProbeState::Exploring);
const ANSWER: Purpose = Purpose::Tell(ProbeState::InboundOk);

fn at(secs: u64) -> Time {
    Time::from_secs(secs)
}

fn locator(n: u16) -> Locator {
    Locator(Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1))
}

fn pair(n: u16) -> LocatorPair {
    LocatorPair { local: locator(n), peer: locator(100 + n) }
}

fn report(n: u16, nonce: u32) -> ProbeReport {
    ProbeReport { src: locator(100 + n), dst: locator(n), nonce: ProbeNonce(nonce), data: 0 }
}

/// Lists of a running exploration.
fn running() -> (Reports, StdRng) {
    let mut r = Reports::REST.clone();
    r.begin();
    (r, StdRng::seed_from_u64(1))
}

/// Every number is the same.
struct Same;

impl RngCore for Same {
    fn next_u32(&mut self) -> u32 {
        u32::MAX
    }

    fn next_u64(&mut self) -> u64 {
        u64::MAX
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        dest.fill(0xff);
    }
}

// req-test: RP-5.2-07, RP-8-02
#[test]
fn no_two_probes_that_are_known_have_one_nonce() {
    let (mut r, _) = running();
    for n in 0..40 {
        r.send(at(1), pair(n), ASK, &mut Same);
    }
    assert_eq!(r.sent.len(), MAX_SENT);
    for (i, s) in r.sent.iter().enumerate() {
        assert!(r.sent.iter().skip(i + 1).all(|o| o.report.nonce != s.report.nonce));
    }
}

// req-test: RP-5.2-09, RP-5.2-14, RP-8-02
#[test]
fn a_probe_carries_what_was_not_reported_yet_newest_first() {
    let (mut r, mut rng) = running();
    let (one, received) = r.send(at(1), pair(1), ASK, &mut rng);
    assert_eq!((one.len(), received.len()), (1, 0));
    assert_eq!((one[0].src, one[0].dst), (pair(1).local, pair(1).peer));
    let (two, _) = r.send(at(2), pair(2), Purpose::Test, &mut rng);
    assert_eq!(two[1..], one[..]);
    // A report counts if it names a Probe by both addresses and the nonce.
    let known = two[0];
    for wrong in [
        ProbeReport { src: locator(9), ..known },
        ProbeReport { dst: locator(9), ..known },
        ProbeReport { nonce: ProbeNonce(known.nonce.0 ^ 1), ..known },
    ] {
        assert_eq!(r.confirm(&wrong), None);
    }
    let (sent, first) = r.confirm(&known).unwrap();
    assert_eq!((sent.pair, sent.at, sent.is_test(), first), (pair(2), at(2), true, true));
    let (_, first) = r.confirm(&known).unwrap();
    assert!(!first, "it was reported before");
    let (three, _) = r.send(at(3), pair(3), ASK, &mut rng);
    assert_eq!(three[1..], one[..], "what was reported is left out");
    for n in 0..40 {
        r.send(at(4), pair(n), ASK, &mut rng);
    }
    assert_eq!(r.send(at(5), pair(1), ASK, &mut rng).0.len(), Probe::MAX_REPORTS);
}

// req-test: RP-5.2-08, RP-5.2-13
#[test]
fn received_probes_are_kept_once_newest_first_and_as_many_as_fit() {
    let (mut r, mut rng) = running();
    for n in 0..20 {
        r.receive(at(1), report(1, n));
    }
    r.receive(at(2), report(1, 7));
    let (_, received) = r.send(at(3), pair(1), ASK, &mut rng);
    let nonces: Vec<u32> = received.iter().map(|r| r.nonce.0).collect();
    assert_eq!(nonces.len(), Probe::MAX_REPORTS);
    assert_eq!(nonces[..3], [7, 19, 18]);
    assert_eq!(nonces.iter().filter(|n| **n == 7).count(), 1);
    r.forget_received();
    assert_eq!(r.send(at(3), pair(1), ASK, &mut rng).1, []);
}

#[test]
fn lists_outlive_their_exploration_by_a_lifetime() {
    let (mut r, mut rng) = running();
    let (sent, _) = r.send(at(10), pair(1), ASK, &mut rng);
    r.receive(at(10), report(1, 7));
    r.prune(at(90), LIFE);
    assert_eq!((r.sent.len(), r.received.len()), (1, 1), "it runs still");
    r.end(at(100));
    r.prune(at(110), LIFE);
    assert_eq!((r.sent.len(), r.received.len()), (1, 1));
    r.send(at(110), pair(2), Purpose::Test, &mut rng);
    r.receive(at(110), report(1, 8));
    r.prune(at(111), LIFE);
    assert_eq!((r.sent.len(), r.received.len()), (1, 1), "only what came after its end");
    assert_eq!(r.confirm(&sent[0]), None);
    // The next failure forgets all but tests.
    r.send(at(111), pair(3), ASK, &mut rng);
    r.begin();
    assert_eq!(r.sent.iter().map(|s| s.pair).collect::<Vec<_>>(), [pair(2)]);
    assert!(r.received.is_empty());
}

#[test]
fn news_are_fresh_or_the_newest_there_is() {
    let (mut r, mut rng) = running();
    let mut sent = |secs, n| {
        let (sent, _) = r.send(at(secs), pair(n), ASK, &mut rng);
        r.confirm(&sent[0]).unwrap().0
    };
    let all = [sent(100, 1), sent(105, 2), sent(106, 3)];
    assert_eq!(news(&all, at(110), LIFE), [pair(1), pair(2), pair(3)]);
    assert_eq!(news(&all, at(115), LIFE), [pair(2), pair(3)]);
    assert_eq!(news(&all, at(200), LIFE), [pair(3)]);
    assert_eq!(news(&[], at(200), LIFE), []);
    assert_eq!(mirror(&report(4, 1)), pair(4));
}

#[test]
fn what_has_expired_takes_no_room_but_tests_stay_for_the_exploration_to_come() {
    let (mut r, mut rng) = running();
    r.send(at(1), pair(1), ASK, &mut rng);
    r.send(at(1), pair(2), Purpose::Test, &mut rng);
    r.receive(at(1), report(1, 7));
    r.expire(at(100), LIFE);
    assert_eq!((r.sent.len(), r.received.len()), (2, 1), "the exploration runs");
    r.end(at(100));
    r.expire(at(110), LIFE);
    assert_eq!((r.sent.len(), r.received.len()), (2, 1));
    r.expire(at(111), LIFE);
    assert_eq!((r.sent.len(), r.received.len(), r.sent.capacity()), (1, 0, 1));
    assert!(r.sent[0].is_test() && !r.rests());
    r.prune(at(111), LIFE);
    assert!(r.rests());
}

#[test]
fn a_word_without_reports_does_not_speak_of_a_pair_that_never_said_inbound_ok() {
    let (mut r, mut rng) = running();
    let elsewhere =
        |r: &Reports, secs, n, way| r.heard_elsewhere(at(secs), LIFE, pair(n), pair(way));
    r.send(at(1), pair(1), ASK, &mut rng);
    r.send(at(1), pair(5), Purpose::Test, &mut rng);
    assert_eq!(elsewhere(&r, 2, 1, 1), None, "nothing of the kind was sent");
    r.send(at(2), pair(2), ANSWER, &mut rng);
    assert_eq!(elsewhere(&r, 4, 1, 5), Some(pair(2)));
    assert_eq!(elsewhere(&r, 4, 2, 5), None);
    r.send(at(4), pair(1), ANSWER, &mut rng);
    assert_eq!(elsewhere(&r, 4, 1, 2), None, "it may be either");
    assert_eq!(elsewhere(&r, 4, 3, 2), Some(pair(2)), "the way of the word");
    assert_eq!(elsewhere(&r, 4, 3, 5), Some(pair(1)), "the last one");
    assert_eq!(elsewhere(&r, 14, 2, 2), Some(pair(1)), "what was said there is old");
    assert_eq!(elsewhere(&r, 15, 2, 2), None);
}
