//! Every state against every event: the state table of RFC 5533, Appendix B, as decided for this implementation.

use crate::craft::{Craft, PEER_TAG};
use crate::world::present;
use shim6::addr::{ContextTag, InitNonce, Locator};
use shim6::proto::Notice;
use shim6::proto::engine::State;
use shim6::wire::Message;
use shim6::wire::control::ProbeState;
use shim6::wire::option::Options;

const STATES: [State; 7] = [
    State::Idle,
    State::EFailed,
    State::NoSupport,
    State::I1Sent,
    State::I2Sent,
    State::I2bisSent,
    State::Established,
];

/// Our engine in a state, and the nonce of its running exchange.
fn in_state(state: State) -> (Craft, InitNonce) {
    let mut c = Craft::new(state as u64 + 100);
    let mut nonce = InitNonce(0);
    match state {
        State::Idle => {}
        State::EFailed => c.reach_e_failed(),
        State::NoSupport => c.reach_no_support(),
        State::I1Sent => nonce = c.reach_i1_sent(),
        State::I2Sent => nonce = c.reach_i2_sent(),
        State::I2bisSent => nonce = c.reach_i2bis_sent(),
        State::Established => c.reach_established(),
    }
    c.sent();
    (c, nonce)
}

fn kinds(out: &[(shim6::addr::LocatorPair, Message)]) -> Vec<String> {
    out.iter().map(|(_, m)| m.kind().to_string()).collect()
}

// req-test: S6-B-01, S6-B-02, S6-B-03, S6-B-04, S6-B-05, S6-B-06, S6-7.9-03, S6-7.9-06, S6-7.9-07, S6-7.9-08
// req-test: S6-7.6-04, S6-7.5-02, S6-7.10-02
#[test]
fn i1_in_every_state() {
    for state in STATES {
        for (tag, name) in [(PEER_TAG, "known"), (PEER_TAG + 1, "other")] {
            let (mut c, _) = in_state(state);
            let before = c.context();
            let i1 = c.i1(ContextTag::from_masked(tag), 42);
            let out = c.hear(&Message::I1(i1));
            let want = match (state, name) {
                (State::Idle | State::EFailed | State::NoSupport, _) => "R1",
                (State::I1Sent | State::I2Sent | State::I2bisSent, _) => "R2",
                (State::Established, "known") => "R2",
                (State::Established, _) => "R1",
            };
            assert_eq!(kinds(&out), [want], "{state}, {name} tag");
            match &out[0].1 {
                Message::R1(r1) => assert_eq!(r1.init_nonce, InitNonce(42)),
                Message::R2(r2) => {
                    assert_eq!(r2.init_nonce, InitNonce(42));
                    assert_eq!(r2.responder_tag, before.as_ref().unwrap().local_tag);
                    assert_eq!(r2.options.locator_list.as_ref().unwrap().entries.len(), 2);
                    assert!(r2.options.pds.is_some());
                }
                other => panic!("{other:?}"),
            }
            // Nothing has changed, but the hold-downs are gone: the peer does speak Shim6.
            let now = match state {
                State::EFailed | State::NoSupport => State::Idle,
                s => s,
            };
            assert_eq!(c.state(), now);
            assert_eq!(c.context().and_then(|c| c.peer_tag), before.and_then(|c| c.peer_tag));
        }
    }
}

// req-test: S6-7.9-04, S6-7.9-05
#[test]
fn i1_for_an_established_context_from_outside_its_locators_gets_r1() {
    let (mut c, _) = in_state(State::Established);
    let mut i1 = c.i1(c.tag, 42);
    i1.options.ulid_pair = Some(c.ulid_option());
    let (stranger, us) = ("2001:db8:bad::1".parse().unwrap(), c.us(0));
    let out = c.hear_from(stranger, us, &Message::I1(i1.clone()));
    assert_eq!(kinds(&out), ["R1"]);
    assert_eq!(out[0].0.peer, Locator(stranger));
    assert_eq!(c.state(), State::Established);
    // To an address of ours that the peer was not told, either.
    let (them, hidden) = (c.them(1), "2001:db8:1:99::1".parse().unwrap());
    c.w.hosts[0].addrs.push(hidden);
    c.w.address(0, present(hidden));
    let out = c.hear_from(them, hidden, &Message::I1(i1.clone()));
    assert_eq!(kinds(&out), ["R1"]);
    // From a locator of the set it is as good as from the ULID.
    let out = c.hear_on(1, 1, &Message::I1(i1));
    assert_eq!(kinds(&out), ["R2"]);
    assert_eq!(out[0].0, c.pair(1, 1));
}

// req-test: S6-7.11-03, S6-7.11-04, S6-B-02, S6-B-03, S6-B-04, S6-B-05
#[test]
fn r1_in_every_state() {
    for state in STATES {
        let (mut c, nonce) = in_state(state);
        let m = Message::R1(c.r1(nonce));
        let out = c.hear(&m);
        if state == State::I1Sent {
            assert_eq!(kinds(&out), ["I2"]);
            assert_eq!(c.state(), State::I2Sent);
        } else {
            assert!(out.is_empty(), "{state}");
            assert_eq!(c.state(), state);
        }
    }
}

// req-test: S6-7.13-06, S6-7.13-08, S6-7.13-09, S6-7.13-10, S6-7.13-11, S6-7.13-12, S6-7.4-02, S6-7.5-02, S6-B-01
// req-test: S6-B-02, S6-B-03, S6-B-04, S6-B-05, S6-B-06, S6-7.14-02, S6-7.20-05, S6-7.20-09, S6-7.20-11
#[test]
fn i2_and_i2bis_in_every_state() {
    for state in STATES {
        for bis in [false, true] {
            // An I2 or I2bis for a context needs an R1 or R1bis that was sent before; both are stateless, so that of
            // another tag serves, got while there was no context.
            let mut c = Craft::new(state as u64 + 200);
            let tag = ContextTag::from_masked(PEER_TAG + 7);
            let (i2, i2bis) = (c.i2(tag, 43), c.i2bis(tag, 43));
            let m = if bis { Message::I2bis(i2bis) } else { Message::I2(i2) };
            match state {
                State::Idle => {}
                State::EFailed | State::NoSupport => continue,
                State::I1Sent => drop(c.reach_i1_sent()),
                State::I2Sent => drop(c.reach_i2_sent()),
                State::I2bisSent => drop(c.reach_i2bis_sent()),
                State::Established => c.reach_established(),
            }
            let before = c.context();
            let out = c.hear(&m);
            assert_eq!(kinds(&out), ["R2"], "{state}");
            let Message::R2(r2) = &out[0].1 else { panic!() };
            let now = c.context().unwrap();
            assert_eq!(r2.init_nonce, InitNonce(43));
            assert_eq!(r2.responder_tag, now.local_tag);
            assert_eq!(now.peer_tag, Some(tag));
            assert_eq!(now.peer_locators.len(), 2);
            let want = match state {
                State::I2Sent | State::I2bisSent => state,
                _ => State::Established,
            };
            assert_eq!(now.state, want, "from {state}");
            if let Some(before) = before {
                assert_eq!((before.id, before.local_tag), (now.id, now.local_tag));
            }
        }
    }
}

// req-test: S6-7.13-06, S6-B-06, S6-7.20-05
#[test]
fn i2_ends_a_hold_down() {
    for held in [State::EFailed, State::NoSupport] {
        let (mut c, _) = in_state(held);
        let m = Message::I2(c.i2(c.tag, 43));
        let out = c.hear(&m);
        assert_eq!(kinds(&out), ["R2"]);
        assert_eq!(c.state(), State::Established);
    }
}

// req-test: S6-7.16-04, S6-7.16-06, S6-B-02, S6-B-03, S6-B-04, S6-B-05
#[test]
fn r2_in_every_state() {
    for state in STATES {
        let (mut c, nonce) = in_state(state);
        let mut r2 = c.r2(nonce);
        r2.responder_tag = ContextTag::from_masked(PEER_TAG + 9);
        let out = c.hear(&Message::R2(r2.clone()));
        assert!(out.is_empty(), "{state}: {out:?}");
        match state {
            State::I1Sent | State::I2Sent | State::I2bisSent => {
                assert_eq!(c.state(), State::Established);
                let now = c.context().unwrap();
                assert_eq!(now.peer_tag, Some(r2.responder_tag));
                assert_eq!(now.peer_locators.len(), 2);
                // A second one changes nothing.
                r2.responder_tag = ContextTag::from_masked(PEER_TAG + 10);
                assert!(c.hear(&Message::R2(r2)).is_empty());
                assert_eq!(c.context().unwrap(), now);
            }
            _ => assert_eq!(c.state(), state),
        }
    }
}

// req-test: S6-7.18-02, S6-7.18-03, S6-7.18-04, S6-B-02, S6-B-03, S6-B-04, S6-B-05
#[test]
fn r1bis_in_every_state() {
    for state in STATES {
        let (mut c, _) = in_state(state);
        c.w.secs(6);
        c.sent();
        if c.state() != state {
            continue;
        }
        let before = c.context().and_then(|c| c.peer_tag);
        let m = Message::R1bis(c.r1bis());
        let out = c.hear(&m);
        if state == State::Established {
            assert_eq!(kinds(&out), ["I2bis"]);
            assert_eq!(c.state(), State::I2bisSent);
        } else {
            assert!(out.is_empty(), "{state}: {out:?}");
            assert_eq!(c.state(), state);
        }
        assert_eq!(c.context().and_then(|c| c.peer_tag), before, "CT(peer) unchanged");
    }
}

// req-test: S6-12.2-03, S6-11-01, S6-B-02, S6-B-03, S6-B-04, S6-B-05
#[test]
fn tagged_payload_in_every_state() {
    use shim6::proto::{Inbound, Outbound};
    for state in STATES {
        let (mut c, _) = in_state(state);
        let inbound = c.w.hosts[0].plane.entries.values().map(|e| e.forward.inbound).next();
        match state {
            State::Idle | State::EFailed | State::NoSupport => {
                assert_eq!(inbound, None);
                let tag = ContextTag::from_masked(77);
                let (src, dst) = (Locator(c.them(0)), Locator(c.us(0)));
                c.w.notice(0, Notice::UnknownTag { src, dst, tag });
                let out = c.sent();
                assert_eq!(kinds(&out), ["R1bis"]);
                let Message::R1bis(m) = &out[0].1 else { panic!() };
                assert_eq!(m.packet_tag, tag);
                assert!(m.options.validator.is_some());
            }
            State::I1Sent => assert_eq!(inbound, Some(Inbound::Drop)),
            State::I2Sent | State::I2bisSent => {
                assert_eq!(inbound, Some(Inbound::UnmapAndNotify));
                let id = c.context().unwrap().id;
                c.w.notice(0, Notice::PayloadInSetup(id));
                let want = if state == State::I2Sent { "I2" } else { "I2bis" };
                assert_eq!(kinds(&c.sent()), [want]);
                // One per second.
                c.w.notice(0, Notice::PayloadInSetup(id));
                assert!(c.sent().is_empty());
            }
            State::Established => assert_eq!(inbound, Some(Inbound::Unmap)),
        }
        for e in c.w.hosts[0].plane.entries.values() {
            assert_eq!(e.forward.outbound, Outbound::Plain, "on the ULIDs nothing is tagged");
        }
    }
}

// req-test: S6-7.17-02, S6-10.4-02, S6-10.4-06, S6-10.5-02, S6-10.5-04, RP-5.1-06, S6-B-01, S6-B-02, S6-B-03
// req-test: S6-B-04, S6-B-05, S6-12.4-05
#[test]
fn update_keepalive_and_probe_in_every_state() {
    for state in STATES {
        for kind in 0..4 {
            let (mut c, _) = in_state(state);
            let m = match kind {
                0 => Message::UpdateRequest(c.update_request(9, Options::default())),
                1 => Message::UpdateAck(c.update_ack(9)),
                2 => Message::Keepalive(c.keepalive()),
                _ => Message::Probe(c.probe(0, 0, ProbeState::Exploring)),
            };
            let out = kinds(&c.hear(&m));
            let want: &[&str] = match (state, kind) {
                (State::Idle | State::EFailed | State::NoSupport, _) => &["R1bis"],
                (State::I1Sent, _) => &[],
                (State::I2Sent, _) => &["I2"],
                (State::I2bisSent, 0) => &["I2bis", "Update Acknowledgement"],
                (State::I2bisSent, _) => &["I2bis"],
                (State::Established, 0) => &["Update Acknowledgement"],
                (State::Established, 1 | 2) => &[],
                (State::Established, _) => &["Probe"],
            };
            assert_eq!(out, want, "{state}, {}", m.kind());
            assert_eq!(c.state(), state);
        }
    }
}
