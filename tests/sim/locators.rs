//! What an administrator decides about our own locators, and what programs ask for beyond those that are offered.

use crate::craft::Craft;
use crate::world::{Traffic, World, prefix, present};
use shim6::addr::Locator;
use shim6::cga::Method;
use shim6::proto::engine::CommandError;
use shim6::proto::input::{AddressEvent, LocalAddress, LocatorRule, Offer};
use shim6::proto::settings::{Ends, Preference, Settings};
use shim6::proto::{Command, ContextId, ContextView};
use shim6::wire::Message;
use shim6::wire::control::Keepalive;
use shim6::wire::option::{Options, PreferenceFlags};
use std::net::Ipv6Addr;
use std::time::Duration;

fn established(seed: u64) -> (World, ContextId, usize) {
    let mut w = World::with(seed, &[(2, Method::HbaCga), (2, Method::HbaCga)], |_| ());
    let id = w.establish(0, 1);
    w.secs(1);
    let f = w.flow(0, 1, Traffic::Echo(Duration::from_millis(200)));
    w.secs(3);
    (w, id, f)
}

fn decide(w: &mut World, addr: Ipv6Addr, rule: LocatorRule) {
    w.on(0, |e, cx| e.handle_command(cx, Command::Locator(addr, rule))).unwrap();
}

fn here(w: &World, id: ContextId) -> ContextView {
    w.hosts[0].engine.context(id).unwrap()
}

/// The peer's entry for one of our locators.
fn told(w: &World, addr: Ipv6Addr) -> Option<(PreferenceFlags, u8, u8)> {
    let there = w.hosts[1].only();
    let found = there.peer_locators.iter().find(|e| e.locator == Locator(addr));
    found.map(|e| (e.flags, e.priority, e.weight))
}

/// Whether a message of the context is taken at this address of ours.
fn is_taken(w: &mut World, at: Ipv6Addr) -> bool {
    let foreign = |w: &World| w.hosts[0].drops.get("foreign_locator").copied().unwrap_or(0);
    let (before, from) = (foreign(w), w.hosts[1].addrs[0]);
    let receiver_tag = w.hosts[0].only().local_tag;
    let keepalives = w.hosts[0].counter("rx_keepalive");
    let keepalive = Message::Keepalive(Keepalive { receiver_tag, options: Options::default() });
    w.inject(0, from, at, &keepalive);
    assert_eq!(w.hosts[0].counter("rx_keepalive"), keepalives + 1);
    foreign(w) == before
}

/// Trap 48: the peer may not have read what we withdraw, and may use at once what we announce.
#[test]
fn until_the_acknowledgement_old_and_new_addresses_are_taken() {
    let (mut w, _, _) = established(7);
    let [old, stays] = [1, 0].map(|i| w.hosts[0].addrs[i]);
    let new: Ipv6Addr = prefix(0, 4).with_iid([2, 0, 0, 0, 0, 0, 0, 9]);
    w.lose = Some(Box::new(|_, m| matches!(m, Message::UpdateAck(_))));
    assert!(is_taken(&mut w, old));
    w.hosts[0].addrs.push(new);
    w.address(0, present(new));
    decide(&mut w, old, LocatorRule { offer: Offer::Never, ..LocatorRule::default() });
    w.secs(3);
    assert!(w.hosts[0].only().updating);
    for at in [old, stays, new] {
        assert!(is_taken(&mut w, at), "{at} before the acknowledgement");
    }
    w.lose = None;
    w.secs(30);
    assert!(!w.hosts[0].only().updating);
    for (at, taken) in [(old, false), (stays, true), (new, true)] {
        assert_eq!(is_taken(&mut w, at), taken, "{at} after it");
    }
}

// req-test: S6-10.1-01, S6-5.15.3-03
#[test]
fn a_withdrawn_locator_is_left_and_the_peer_forgets_it() {
    let (mut w, id, f) = established(1);
    let first = w.hosts[0].addrs[0];
    let since = w.now;
    decide(&mut w, first, LocatorRule { offer: Offer::Never, ..LocatorRule::default() });
    w.secs(5);
    assert_eq!(told(&w, first), None);
    assert_eq!(here(&w, id).pair.local, Locator(w.hosts[0].addrs[1]), "flows leave it at once");
    assert!(here(&w, id).local_locators.iter().all(|e| e.locator != Locator(first)));
    assert!(w.longest_gap(1, f, since) < Duration::from_secs(2));
    // It comes back when it is offered again.
    decide(&mut w, first, LocatorRule::default());
    w.secs(5);
    assert!(told(&w, first).is_some());
    w.assert_operational(&[0, 1]);
}

// req-test: S6-5.15.3-03, S6-10.1-01
#[test]
fn a_locator_marked_broken_is_announced_as_such() {
    let (mut w, id, _) = established(2);
    let first = w.hosts[0].addrs[0];
    decide(&mut w, first, LocatorRule { broken: true, ..LocatorRule::default() });
    w.secs(5);
    assert!(told(&w, first).unwrap().0.contains(PreferenceFlags::BROKEN));
    assert_ne!(here(&w, id).pair.local, Locator(first));
    // That its link reports something does not make it work.
    w.address(0, crate::world::present(first));
    w.secs(2);
    assert!(told(&w, first).unwrap().0.contains(PreferenceFlags::BROKEN));
    decide(&mut w, first, LocatorRule::default());
    w.secs(2);
    assert!(!told(&w, first).unwrap().0.contains(PreferenceFlags::BROKEN));
}

#[test]
fn preferences_are_told_and_followed() {
    let (mut w, id, _) = established(3);
    let (first, second) = (w.hosts[0].addrs[0], w.hosts[0].addrs[1]);
    let rule = LocatorRule { preference: Some((7, 3)), ..LocatorRule::default() };
    decide(&mut w, first, rule);
    w.secs(2);
    let (_, priority, weight) = told(&w, first).unwrap();
    assert_eq!((priority, weight), (7, 3));
    assert_eq!(told(&w, second).map(|(_, p, w)| (p, w)), Some((0, 0)));
    assert!(!here(&w, id).updating);
    decide(&mut w, first, LocatorRule::default());
    w.secs(2);
    assert_eq!(told(&w, first).map(|(_, p, w)| (p, w)), Some((0, 0)), "taken back");
    // An address that is away for the moment is treated so when it comes.
    let third = prefix(0, 2).with_iid([0, 0, 0, 0, 0, 0, 0, 9]);
    decide(&mut w, third, LocatorRule { offer: Offer::Never, ..LocatorRule::default() });
    w.address(
        0,
        AddressEvent::Present(LocalAddress { addr: third, deprecated: false, temporary: false }),
    );
    w.secs(2);
    assert_eq!(told(&w, third), None);
    decide(&mut w, third, LocatorRule::default());
    w.secs(2);
    assert!(told(&w, third).is_some(), "signed with the key");
}

// req-test: AP-14.1.1-02, AP-6.8-01, AP-6.10-01
#[test]
fn a_program_may_have_an_address_of_ours_added_for_its_context() {
    let (mut w, id, f) = established(4);
    let temporary = prefix(0, 1).with_iid([0, 0, 0, 0, 0, 0, 0, 0x77]);
    w.hosts[0].addrs.push(temporary);
    let address = LocalAddress { addr: temporary, deprecated: false, temporary: true };
    w.address(0, AddressEvent::Present(address));
    w.secs(2);
    assert_eq!(told(&w, temporary), None, "nobody is given a temporary address unasked");
    let since = w.now;
    let settings = Settings {
        extra: vec![Locator(temporary)],
        pin: Ends { local: Some(Locator(temporary)), peer: None },
        ..Settings::default()
    };
    let configure = Command::Configure(id, Box::new(settings.clone()));
    w.on(0, |e, cx| e.handle_command(cx, configure)).unwrap();
    w.secs(2);
    let (flags, ..) = told(&w, temporary).expect("an Update Request has told the peer");
    assert!(flags.contains(PreferenceFlags::TRANSIENT));
    assert_eq!(here(&w, id).pair.local, Locator(temporary), "usable once acknowledged and tested");
    assert!(w.longest_gap(1, f, since) < Duration::from_millis(600));
    // Another context does not offer it.
    let fork = w.on(0, |e, cx| e.handle_command(cx, Command::Fork(here_ulids(e, id)))).unwrap();
    w.secs(2);
    assert!(here(&w, fork).local_locators.iter().all(|e| e.locator != Locator(temporary)));
    // A list of preferences for the own locators is news for the peer, too.
    let last = Preference { locator: Locator(temporary), priority: 9, weight: 1 };
    let settings = Settings { local: vec![last], ..settings };
    let configure = Command::Configure(id, Box::new(settings));
    w.on(0, |e, cx| e.handle_command(cx, configure)).unwrap();
    w.secs(2);
    let there = w.hosts[1].engine.contexts().find(|c| c.fii.0 == 0).unwrap();
    let entry = there.peer_locators.iter().find(|e| e.locator == Locator(temporary)).unwrap();
    assert_eq!((entry.priority, entry.weight), (9, 1));
}

fn here_ulids(e: &shim6::proto::Engine, id: ContextId) -> shim6::addr::UlidPair {
    e.context(id).unwrap().ulids
}

const KEPT_BACK: LocatorRule = LocatorRule { offer: Offer::Never, broken: false, preference: None };

/// A context needs at least one locator of ours.
#[test]
fn who_keeps_all_locators_back_has_no_contexts() {
    let mut w = World::new(11, &[2, 2]);
    let addrs = w.hosts[0].addrs.clone();
    for addr in &addrs {
        decide(&mut w, *addr, KEPT_BACK);
    }
    let ulids = w.ulids(0, 1);
    let refused = w.on(0, |e, cx| e.handle_command(cx, Command::Establish(ulids)));
    assert_eq!(refused, Err(CommandError::NotOurs));
    w.establish(1, 0);
    w.secs(1);
    assert_eq!(w.hosts[0].sent, []);
    // One of them is enough, the ULID need not be it.
    decide(&mut w, addrs[1], LocatorRule::default());
    w.establish(0, 1);
    w.secs(1);
    let offered: Vec<Locator> =
        w.hosts[0].only().local_locators.iter().map(|l| l.locator).collect();
    assert_eq!(offered, [Locator(addrs[1])]);
    // Kept back while the peer's answer is on its way.
    let mut c = Craft::new(12);
    let nonce = c.reach_i2_sent();
    for addr in c.w.hosts[0].addrs.clone() {
        decide(&mut c.w, addr, KEPT_BACK);
    }
    let r2 = c.r2(nonce);
    c.hear(&Message::R2(r2));
    assert_eq!(c.w.hosts[0].engine.context_count(), 0);
}

/// As long as no pair works the peer cannot be told, and the old list is what there is to look for one.
#[test]
fn an_address_that_comes_back_works_again_before_the_peer_has_the_new_list() {
    let mut w = World::with(13, &[(3, Method::Hba), (1, Method::Hba)], |_| ());
    let id = w.establish(0, 1);
    w.secs(1);
    let addrs = w.hosts[0].addrs.clone();
    w.cut_address(1, w.hosts[1].addrs[0], true);
    w.on(0, |e, cx| e.handle_command(cx, Command::Explore(id))).unwrap();
    w.secs(1);
    let broken = |w: &World| -> Vec<(Locator, bool)> {
        here(w, id).local_locators.iter().map(|l| (l.locator, l.broken)).collect()
    };
    for gone in [addrs[1], addrs[2]] {
        w.address(0, AddressEvent::Gone(gone));
    }
    w.secs(1);
    w.address(0, present(addrs[1]));
    let there = |n: usize| broken(&w).iter().find(|(l, _)| *l == Locator(addrs[n])).map(|e| e.1);
    assert_eq!((there(0), there(1)), (Some(false), Some(false)));
}
