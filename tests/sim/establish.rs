//! Establishment, with and without losses.

use crate::craft::Craft;
use crate::world::{World, present};
use shim6::addr::{Fii, Generation};
use shim6::proto::engine::State;
use shim6::proto::input::AddressEvent;
use shim6::proto::reap::ReapState;
use shim6::proto::{Command, Event};
use shim6::wire::Message;
use shim6::wire::option::{LocatorPreference, LocatorPreferences, PreferenceFlags};
use std::time::Duration;

// req-test: S6-7.3-01, S6-7.13-06, S6-7.16-04, S6-7.10-01, S6-16-03, S6-7.7-01, S6-1.6-02, S6-11-02
#[test]
fn four_messages_establish_a_context() {
    let mut w = World::new(1, &[2, 2]);
    let ulids = w.ulids(0, 1);
    w.establish(0, 1);
    assert_eq!(w.hosts[0].only().state, State::I1Sent);
    w.millis(15);
    assert_eq!(w.hosts[1].engine.context_count(), 0, "an I1 leaves no state");
    w.millis(10);
    assert_eq!(w.hosts[0].only().state, State::I2Sent);
    w.millis(10);
    assert_eq!(w.hosts[1].only().state, State::Established);
    w.millis(10);
    w.assert_established(0, 1);
    let kinds: Vec<String> =
        w.hosts.iter().flat_map(|h| h.sent.iter().map(|s| s.2.kind().to_string())).collect();
    assert_eq!(kinds, ["I1", "I2", "R1", "R2"]);
    for i in 0..2 {
        let c = w.hosts[i].only();
        assert_eq!(c.peer_locators.len(), 2);
        assert!(c.peer_locators.iter().all(|l| l.verified));
        assert!(!c.tagged, "ULIDs are the locators");
        assert_eq!(c.initiator, i == 0);
        assert!(c.local_locators.iter().all(|l| l.acknowledged));
    }
    let id = w.hosts[0].only().id;
    assert!(w.hosts[0].events.iter().any(|(_, e)| *e == Event::Established { context: id, ulids }));
    assert_eq!(w.hosts[0].engine.find(ulids, Fii(0)), Some(id));
}

// req-test: S6-7.8-01, S6-7.12-01, S6-7.12-02, S6-7.14-04, S6-7.9-06
#[test]
fn loss_of_each_single_message_is_repaired() {
    for (kind, within) in [("I1", 7), ("R1", 7), ("I2", 7), ("R2", 7)] {
        for seed in 0..20 {
            let mut w = World::new(seed, &[2, 2]);
            let mut lost = false;
            w.lose = Some(Box::new(move |_, m| {
                let hit = !lost && m.kind().to_string() == kind;
                lost |= hit;
                hit
            }));
            w.establish(0, 1);
            w.secs(within);
            w.assert_established(0, 1);
        }
    }
}

// req-test: S6-7.4-01
#[test]
fn crossing_i1s_end_established_on_both_sides() {
    for seed in 0..20 {
        let mut w = World::new(seed, &[2, 2]);
        w.establish(0, 1);
        w.establish(1, 0);
        w.secs(1);
        w.assert_established(0, 1);
        for h in &w.hosts {
            let c = h.only();
            assert_eq!(c.peer_locators.len(), 2, "R2 carries the list");
            assert_eq!(h.sent_of("I2").len(), 0);
        }
    }
}

// req-test: S6-7.4-02
#[test]
fn crossing_i1_and_i2_end_established_on_both_sides() {
    for seed in 0..20 {
        for lag in [12, 22, 28, 32, 38] {
            let mut w = World::new(seed, &[2, 2]);
            w.establish(0, 1);
            w.millis(lag);
            w.establish(1, 0);
            w.secs(1);
            w.assert_established(0, 1);
        }
    }
}

// req-test: S6-7.4-01, S6-7.4-02, S6-7.8-01, S6-7.12-02
#[test]
fn heavy_loss_with_crossing_attempts_ends_well() {
    for seed in 0..60 {
        let mut w = World::new(seed, &[2, 2]);
        let (a, b) = (w.hosts[0].addrs[0], w.hosts[1].addrs[0]);
        w.link(a, b).loss = 0.4;
        w.link(b, a).loss = 0.4;
        w.establish(0, 1);
        w.at(Duration::from_millis(seed % 50), move |w| {
            w.establish(1, 0);
        });
        w.secs(60);
        w.link(a, b).loss = 0.0;
        w.link(b, a).loss = 0.0;
        w.secs(120);
        // One side may have given up while the other has the context: the first failure or test heals that.
        for i in 0..2 {
            let context = w.hosts[i].engine.contexts().next();
            if let Some(c) = context {
                w.on(i, |e, cx| e.handle_command(cx, Command::Explore(c.id))).unwrap();
                w.secs(10);
                w.assert_established(0, 1);
            }
        }
    }
}

/// The peer has taken our I2, and its R2 was lost; when we begin again with I1 it answers by R2 at once. What the I2
/// said is all that it knows.
// req-test: S6-10.1-01, S6-7.12-03
#[test]
fn what_changed_after_an_i2_that_the_peer_took_is_told_at_the_end() {
    for change in [false, true] {
        let mut c = Craft::new(48);
        let second = c.us(1);
        c.w.address(0, AddressEvent::Unusable(second));
        c.w.address(0, AddressEvent::Gone(second));
        let first = c.reach_i2_sent();
        let mut nonce = first;
        while nonce == first {
            c.w.secs(1);
            for (_, m) in c.sent() {
                match m {
                    Message::I1(i1) => nonce = i1.init_nonce,
                    Message::I2(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(c.state(), State::I1Sent);
        // No later I2 can tell this.
        if change {
            c.w.address(0, present(second));
        }
        let r2 = c.r2(nonce);
        let out = c.hear(&Message::R2(r2));
        let told = out.iter().find_map(|(_, m)| match m {
            Message::UpdateRequest(u) => u.options.locator_list.as_ref().map(|l| l.entries.len()),
            _ => None,
        });
        assert_eq!(told, change.then_some(2));
        assert_eq!(c.state(), State::Established);
    }
}

/// The pair of an I2 is proven, whichever of our locators it came to.
// req-test: S6-7.14-01
#[test]
fn an_i2_to_another_locator_than_the_ulid_begins_no_exploration() {
    for (i, j) in [(0, 0), (1, 1)] {
        let mut c = Craft::new(47);
        let i2 = c.i2_on(i, j, c.tag, 5);
        c.hear_on(i, j, &Message::I2(i2));
        c.w.secs(1);
        let now = c.context().unwrap();
        assert_eq!((now.state, now.pair), (State::Established, c.pair(i, j)));
        assert_eq!(now.reap, Some(ReapState::Operational));
        assert!(c.sent().iter().all(|(_, m)| !matches!(m, Message::Probe(_))));
    }
}

/// The list of the I2 says that the pair on which it came is no good.
// req-test: S6-10.4-14, S6-5.15.3-04
#[test]
fn an_i2_that_calls_its_own_locator_broken_begins_an_exploration() {
    for broken in [false, true] {
        let mut c = Craft::new(49);
        let mut i2 = c.i2(c.tag, 5);
        let flags = if broken { PreferenceFlags::BROKEN } else { PreferenceFlags::default() };
        let first = LocatorPreference { flags, ..LocatorPreference::default() };
        let elements = vec![first, LocatorPreference::default()];
        let generation = Generation(1);
        i2.options.preferences = Some(LocatorPreferences { generation, element_len: 3, elements });
        c.hear(&Message::I2(i2));
        let now = c.context().unwrap();
        let expected = if broken { ReapState::Exploring } else { ReapState::Operational };
        assert_eq!((now.state, now.reap), (State::Established, Some(expected)));
    }
}
