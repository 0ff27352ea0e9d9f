//! What happens to one context beneath the engine's inputs.

use super::context::LocalEntry;
use super::locals::Announced;
use super::message::MAX_MESSAGE;
use super::peer::{PeerEntry, PeerSet};
use super::*;
use crate::addr::{ContextTag, InitNonce, Locator, ResponderNonce};
use crate::wire::control::{Message, R1};
use crate::wire::option::Options;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::VecDeque;

const NOW: Time = Time::from_secs(1000);

/// An engine without contexts and addresses does something with one; what it wants done.
fn alone(f: impl FnOnce(&mut Engine, &mut Cx<'_>)) -> VecDeque<Output> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut out = VecDeque::new();
    let mut e = Engine::new(Config::default(), NOW, &mut rng);
    f(&mut e, &mut Cx { now: NOW, rng: &mut rng, out: &mut out });
    out
}

fn locator(n: u16) -> Locator {
    Locator(Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1))
}

fn pair(local: u16, peer: u16) -> LocatorPair {
    LocatorPair { local: locator(local), peer: locator(peer) }
}

fn ours(n: u16, acknowledged: bool) -> LocalEntry {
    LocalEntry {
        locator: locator(n),
        proof: None,
        acknowledged,
        broken: false,
        deprecated: false,
        transient: false,
    }
}

/// Its ULIDs are 1 and 2.
fn context() -> Context {
    let ulids = UlidPair { local: Ulid(locator(1).0), peer: Ulid(locator(2).0) };
    Context::new(ContextId(1), ulids, Fii::DEFAULT, ContextTag::from_masked(1), NOW)
}

/// A peer with these locators, which are verified or not.
fn peer<const N: usize>(all: [(u16, bool); N]) -> PeerSet {
    let ulid = PeerSet::of_ulid(Ulid(locator(2).0));
    let entry = |(n, verified)| PeerEntry { locator: locator(n), verified, ..ulid.entries[0] };
    PeerSet { entries: all.map(entry).into(), ..ulid }
}

// req-test: S6-7.2-02, S6-7.2-03
#[test]
fn payload_goes_to_verified_locators_from_the_ulid_and_from_those_that_the_peer_knows() {
    for (local, to, taken) in [
        (1, 2, true),
        (3, 2, true),
        (4, 2, false),
        (5, 2, false),
        (1, 6, false),
        (3, 6, false),
        (1, 7, false),
    ] {
        let mut c = context();
        c.local.entries = [ours(3, true), ours(4, false)].into();
        c.peer = peer([(2, true), (6, false)]);
        c.pair = pair(8, 9);
        alone(|e, cx| e.switch(cx, &mut c, pair(local, to)));
        let expected = if taken { pair(local, to) } else { pair(8, 9) };
        assert_eq!(c.pair, expected, "{local} to {to}");
    }
}

#[test]
fn a_pair_that_carried_an_exchange_is_used_if_it_is_the_peers_or_that_of_the_ulids() {
    for (local, to, taken) in [(1, 2, true), (3, 2, false), (1, 6, false), (3, 7, true)] {
        let mut c = context();
        c.peer = peer([(6, false), (7, true)]);
        c.pair = pair(8, 9);
        alone(|e, _| e.prove_pair(&mut c, pair(local, to)));
        let expected = if taken { pair(local, to) } else { pair(8, 9) };
        assert_eq!(c.pair, expected, "{local} to {to}");
    }
}

// req-test: S6-7.2-02
#[test]
fn an_acknowledgement_is_for_the_whole_list_and_a_second_one_copies_nothing() {
    let mut c = context();
    c.local.entries = [ours(3, false), ours(4, false)].into();
    alone(|e, _| e.acknowledge_list(&mut c));
    assert_eq!(*c.local.entries, [ours(3, true), ours(4, true)]);
    let list = Arc::clone(&c.local.entries);
    alone(|e, _| e.acknowledge_list(&mut c));
    assert!(Arc::ptr_eq(&list, &c.local.entries));
}

#[test]
fn what_the_peer_knew_of_us_is_remembered_once_until_it_knows_the_new_list() {
    let mut c = context();
    c.local.entries = [ours(1, true), ours(3, true), ours(4, false), ours(5, true)].into();
    c.local.generation = Some(Generation(1));
    c.local.former = vec![locator(5)].into();
    let mut adopt = |generation, all: &[u16], sent| {
        let list = Announced {
            generation: Generation(generation),
            entries: all.iter().map(|n| (locator(*n), None)).collect(),
            alone: false,
            pds: None,
            signature: None,
        };
        alone(|e, _| e.adopt_list(&mut c, &list, sent));
        (c.local.entries.len(), c.local.former.to_vec())
    };
    let former = vec![locator(5), locator(3)];
    assert_eq!(adopt(2, &[1, 6], true), (2, former.clone()));
    assert_eq!(adopt(3, &[6], false), (1, former.clone()), "not told");
    assert_eq!(adopt(2, &[1], true), (1, former.clone()), "told again");
    assert_eq!(adopt(4, &[6], true), (1, [former, vec![locator(1)]].concat()));
    assert_eq!(c.local.generation, Some(Generation(4)));
}

// req-test: S6-5.1-02
#[test]
fn what_is_longer_than_a_packet_is_not_sent() {
    let mut lengths = std::collections::BTreeSet::new();
    for n in 1180..1230 {
        let options = Options { validator: Some(vec![0; n]), ..Options::default() };
        let (init_nonce, responder_nonce) = (InitNonce(1), ResponderNonce(2));
        let message = Message::R1(R1 { init_nonce, responder_nonce, options });
        let out = alone(|e, cx| e.transmit(cx, pair(1, 2), &message));
        let sent = out.iter().any(|o| matches!(o, Output::Transmit(_)));
        assert_eq!(sent, message.emitted_len() <= MAX_MESSAGE, "{} octets", message.emitted_len());
        lengths.insert(message.emitted_len());
    }
    assert!(lengths.contains(&MAX_MESSAGE) && lengths.contains(&(MAX_MESSAGE + 8)));
}

#[test]
fn only_packets_in_that_are_news_show_that_the_peer_is_there() {
    let mut c = context();
    for (last_in, shown) in
        [(Some(1001), true), (Some(1001), false), (Some(1000), false), (None, false)]
    {
        c.doomed = Some(NOW);
        let a = Activity { last_in: last_in.map(Time::from_secs), ..Activity::NONE };
        alone(|e, cx| e.on_activity(cx, &mut c, a));
        assert_eq!(c.doomed.is_none(), shown, "{last_in:?}");
    }
}
