//! What the surroundings say about a pair: sends that fail, ICMPv6 errors, cells of the data plane.

use crate::craft::Craft;
use crate::world::{Traffic, World};
use shim6::addr::{Locator, LocatorPair};
use shim6::proto::engine::{CommandError, State};
use shim6::proto::input::{AddressEvent, Keep};
use shim6::proto::reap::ReapState;
use shim6::proto::{Activity, Command, ContextId, Event, Notice, Output, Time, WakeOn};
use shim6::wire::Message;
use shim6::wire::control::{Probe, ProbeReport, ProbeState};
use std::collections::VecDeque;
use std::time::Duration;

fn established(seed: u64) -> World {
    let mut w = World::new(seed, &[2, 2]);
    w.establish(0, 1);
    w.secs(1);
    w
}

fn pair(w: &World, l: usize, p: usize) -> LocatorPair {
    LocatorPair { local: Locator(w.hosts[0].addrs[l]), peer: Locator(w.hosts[1].addrs[p]) }
}

fn send_failed(w: &mut World, p: LocatorPair) {
    w.notice(0, Notice::SendFailed { src: p.local, dst: p.peer });
}

fn left_operational(w: &World) -> usize {
    let left = |e: &Event| matches!(e, Event::Reap { from: "Operational", .. });
    w.hosts[0].events.iter().filter(|(_, e)| left(e)).count()
}

// req-test: RP-4.1-01
#[test]
fn a_send_that_fails_is_a_reason_to_explore_for_contexts_on_that_pair_once_a_second() {
    let mut w = established(1);
    let (current, other) = (pair(&w, 0, 0), pair(&w, 1, 1));
    send_failed(&mut w, other);
    assert_eq!(w.hosts[0].only().reap, Some(ReapState::Operational), "not the pair in use");
    send_failed(&mut w, current);
    assert_eq!(w.hosts[0].only().reap, Some(ReapState::Exploring));
    let probes = w.hosts[0].sent_of("Probe").len();
    w.millis(400);
    w.assert_operational(&[0, 1]);
    // The exploration has found it working; failures within the second are known already.
    let now = w.hosts[0].only().pair;
    send_failed(&mut w, current);
    assert_eq!((w.hosts[0].only().pair, left_operational(&w)), (now, 1));
    w.secs(2);
    send_failed(&mut w, now);
    assert_eq!(left_operational(&w), 2);
    assert!(probes >= 1);
    // While it explores it has its own schedule.
    w.lose = Some(Box::new(|_, _| true));
    w.secs(2);
    let sent = w.hosts[0].sent_of("Probe").len();
    send_failed(&mut w, now);
    assert_eq!(w.hosts[0].sent_of("Probe").len(), sent);
    // Nothing is explored before the context is established.
    let mut c = Craft::new(1);
    c.reach_i2_sent();
    let p = c.pair(0, 0);
    c.w.notice(0, Notice::SendFailed { src: p.local, dst: p.peer });
    assert_eq!((c.state(), c.sent().len()), (State::I2Sent, 0));
}

#[test]
fn failures_of_one_pair_are_acted_on_again_after_exactly_a_second() {
    for (millis, expected) in [(999, 1), (1000, 2)] {
        let mut w = established(2);
        let current = pair(&w, 0, 0);
        send_failed(&mut w, current);
        w.millis(300);
        w.assert_operational(&[0, 1]);
        let id = w.hosts[0].only().id;
        if w.hosts[0].only().pair != current {
            let back = Command::Switch(id, current, Keep::No);
            w.on(0, |e, cx| e.handle_command(cx, back)).unwrap();
        }
        w.millis(millis - 300);
        assert_eq!(w.hosts[0].only().pair, current);
        send_failed(&mut w, current);
        assert_eq!(left_operational(&w), expected, "after {millis} ms");
    }
}

#[test]
fn no_more_failing_pairs_are_remembered_than_a_bound() {
    let strange = |n: u16| LocatorPair {
        local: Locator(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0xff, n, 0, 0, 0, 1)),
        peer: Locator(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0xfe, n, 0, 0, 0, 1)),
    };
    for (others, explores) in [(63, true), (64, false)] {
        let mut w = established(3);
        let current = pair(&w, 0, 0);
        (0..others).for_each(|n| send_failed(&mut w, strange(n)));
        send_failed(&mut w, current);
        let expected = if explores { ReapState::Exploring } else { ReapState::Operational };
        assert_eq!(w.hosts[0].only().reap, Some(expected), "{others} others");
    }
}

/// Our context has been told by ICMPv6 that its peer has no Shim6; whether it is there half a minute later, unless the
/// peer shows something before.
fn doomed(icmp: (u8, u8), again: bool, shown: impl Fn(&mut Craft)) -> bool {
    let mut c = Craft::new(4);
    c.reach_established();
    c.w.secs(1);
    let context = c.context().unwrap().id;
    let refused = Notice::PayloadRefused { context, icmp_type: icmp.0, icmp_code: icmp.1 };
    c.w.notice(0, refused.clone());
    shown(&mut c);
    c.w.secs(20);
    if again {
        c.w.notice(0, refused);
    }
    c.w.secs(11);
    c.context().is_some()
}

// req-test: S6-9-02
#[test]
fn a_peer_that_has_no_shim6_any_more_has_half_a_minute_to_show_the_contrary() {
    let nothing = |_: &mut Craft| {};
    assert!(!doomed((4, 1), false, nothing));
    assert!(!doomed((4, 1), true, nothing), "saying it again puts nothing off");
    for icmp in [(4, 0), (4, 2), (1, 1), (1, 4), (3, 1)] {
        assert!(doomed(icmp, false, nothing), "{icmp:?}");
    }
    assert!(doomed((4, 1), false, |c| {
        let m = c.keepalive();
        c.hear(&Message::Keepalive(m));
    }));
    assert!(doomed((4, 1), false, |c| {
        let m = c.probe(0, 0, ProbeState::Operational);
        c.hear(&Message::Probe(m));
    }));
    assert!(doomed((4, 1), false, |c| {
        let m = c.update_request(7, shim6::wire::option::Options::default());
        c.hear(&Message::UpdateRequest(m));
    }));
    assert!(doomed((4, 1), false, |c| {
        let m = c.update_ack(7);
        c.hear(&Message::UpdateAck(m));
    }));
    let activity = |c: &mut Craft, last_in: Option<Time>| {
        let id = c.context().unwrap().id;
        let (packets_in, packets_out) = (u64::from(last_in.is_some()), 1);
        let last_out = Some(c.w.now);
        let a = Activity { last_in, last_out, packets_in, packets_out, ..Activity::default() };
        c.w.on(0, |e, cx| e.handle_activity(cx, id, a));
    };
    assert!(doomed((4, 1), false, |c| activity(c, Some(c.w.now))), "payload is an answer");
    assert!(!doomed((4, 1), false, |c| activity(c, None)), "what we send is none");
}

/// What the engine wants done because of an input.
fn outputs(w: &mut World, activity: Activity) -> Vec<Output> {
    let id = w.hosts[0].only().id;
    let h = &mut w.hosts[0];
    let mut out = VecDeque::new();
    let mut cx = shim6::proto::Cx { now: w.now, rng: &mut h.rng, out: &mut out };
    h.engine.handle_activity(&mut cx, id, activity);
    out.into()
}

/// A wake-up goes off with the first packet, and its notice may get lost.
#[test]
fn cells_that_have_changed_mean_that_the_wake_up_has_gone_off() {
    let mut w = established(5);
    w.secs(100);
    let id = w.hosts[0].only().id;
    let entry = &w.hosts[0].plane.entries[&id];
    assert_eq!((entry.wake, entry.activity), (WakeOn::Any, Activity::default()));
    let armed = |out: &[Output]| {
        let wake =
            |o: &&Output| matches!(o, Output::Forward(shim6::proto::ForwardChange::Wake(..)));
        out.iter().filter(wake).count()
    };
    let nothing = outputs(&mut w, Activity::default());
    assert_eq!(armed(&nothing), 0);
    // A packet in, and long ago the answer to it: no timer runs, and the next packet has to wake again.
    let old = Some(w.now - Duration::from_secs(50));
    for (packets_out, packets_in) in [(1, 0), (1, 1), (2, 2)] {
        let cells = Activity {
            last_out: old,
            last_in: old,
            packets_out,
            packets_in,
            ..Activity::default()
        };
        outputs(&mut w, cells);
        w.secs(100);
        let cells = Activity { packets_out: packets_out + 5, ..cells };
        let out = outputs(&mut w, cells);
        assert_eq!(armed(&out), 1, "{packets_out} out, {packets_in} in: {out:?}");
        assert_eq!(armed(&outputs(&mut w, cells)), 0);
        let cells = Activity { packets_in: packets_in + 5, ..cells };
        assert_eq!(armed(&outputs(&mut w, cells)), 1);
    }
}

#[test]
fn a_context_counts_its_probes_keepalives_and_switches() {
    let mut w = established(6);
    let f = w.flow(0, 1, Traffic::OneWay(Duration::from_millis(500)));
    w.secs(60);
    let there = w.hosts[1].only().counters;
    let keepalives = w.hosts[1].sent_of("Keepalive").len() as u32;
    assert!(keepalives >= 5);
    assert_eq!(there.keepalives_out, keepalives);
    assert_eq!(w.hosts[0].only().counters.keepalives_in, keepalives);
    w.stop(f);
    w.secs(20);
    let id = w.hosts[0].only().id;
    for n in 1..=3 {
        w.on(0, |e, cx| e.handle_command(cx, Command::Explore(id))).unwrap();
        w.secs(5);
        let here = w.hosts[0].only().counters;
        assert_eq!(here.switches, n);
    }
    let (here, there) = (w.hosts[0].only().counters, w.hosts[1].only().counters);
    let (ours, theirs) = (w.hosts[0].sent_of("Probe").len(), w.hosts[1].sent_of("Probe").len());
    assert!(ours >= 3 && theirs >= 3);
    assert_eq!((here.probes_out, there.probes_out), (ours as u32, theirs as u32));
    assert_eq!((here.probes_in, there.probes_in), (theirs as u32, ours as u32));
}

/// An Update Request that waited for a pair that works goes out when one is found.
// req-test: S6-10.2-02
#[test]
fn what_could_not_be_told_during_an_exploration_is_told_at_its_end() {
    let mut w = World::new(7, &[3, 2]);
    w.establish(0, 1);
    w.secs(1);
    w.lose = Some(Box::new(|_, _| true));
    let id = w.hosts[0].only().id;
    w.on(0, |e, cx| e.handle_command(cx, Command::Explore(id))).unwrap();
    let gone = w.hosts[0].addrs[2];
    w.address(0, AddressEvent::Gone(gone));
    w.millis(3900);
    assert_eq!(w.hosts[0].sent_of("Update Request").len(), 0);
    assert!(w.hosts[0].only().updating);
    w.lose = None;
    let before = w.now;
    while w.hosts[0].only().reap != Some(ReapState::Operational) {
        w.millis(1);
    }
    w.millis(1);
    let sent = w.hosts[0].sent_of("Update Request");
    assert_eq!(sent.len(), 1);
    assert!(sent[0].0 >= before);
    w.secs(1);
    assert_eq!(w.hosts[1].only().peer_locators.len(), 2);
}

/// The pair that the settings want is looked for half a minute after an exploration, and some seconds by chance, not before.
#[test]
fn after_an_exploration_the_wanted_pair_is_left_alone_for_half_a_minute() {
    let mut w = established(8);
    let id = w.hosts[0].only().id;
    w.flow(0, 1, Traffic::Echo(Duration::from_millis(200)));
    let pinned = pair(&w, 1, 1);
    let pin = Command::Switch(id, pinned, Keep::Pin);
    w.on(0, |e, cx| e.handle_command(cx, pin)).unwrap();
    w.secs(1);
    assert_eq!(w.hosts[0].only().pair, pinned);
    w.cut(pinned.local.0, pinned.peer.0, true);
    while w.hosts[0].only().reap == Some(ReapState::Operational) {
        w.millis(10);
    }
    while w.hosts[0].only().reap != Some(ReapState::Operational) {
        w.millis(10);
    }
    let recovered = w.now;
    assert_ne!(w.hosts[0].only().pair, pinned);
    w.cut(pinned.local.0, pinned.peer.0, false);
    while w.hosts[0].only().pair != pinned {
        w.millis(10);
    }
    let after = w.now.since(recovered);
    let bounds = Duration::from_millis(29_900)..Duration::from_millis(36_200);
    assert!(bounds.contains(&after), "{after:?}");
}

/// A report that is late names a pair that the exploration before had found. Payload goes there, but the pinned pair is tested.
// req-test: AP-6.12-01
#[test]
fn a_late_report_takes_a_context_from_its_pin_for_half_a_minute_at_most() {
    let mut c = Craft::new(10);
    c.reach_established();
    let id = c.context().unwrap().id;
    let probe_on = |sent: &[(LocatorPair, Message)], on: LocatorPair| {
        sent.iter().rev().find_map(|(pair, m)| match m {
            Message::Probe(p) if *pair == on => Some(p.sent[0]),
            _ => None,
        })
    };
    let answer = |c: &Craft, report: ProbeReport, nonce: u32| {
        let mut probe = c.probe(1, 1, ProbeState::InboundOk);
        probe.sent[0].nonce.0 = nonce;
        Message::Probe(Probe { received: vec![report], ..probe })
    };
    c.w.on(0, |e, cx| e.handle_command(cx, Command::Explore(id))).unwrap();
    c.w.secs(3);
    let sent = c.sent();
    let [found, late] = [(0, 1), (1, 0)].map(|(i, j)| probe_on(&sent, c.pair(i, j)).unwrap());
    c.hear_on(1, 1, &answer(&c, found, 1));
    assert_eq!(c.context().unwrap().pair, c.pair(0, 1));
    let pinned = c.pair(1, 1);
    c.w.on(0, |e, cx| e.handle_command(cx, Command::Switch(id, pinned, Keep::Pin))).unwrap();
    let test = probe_on(&c.sent(), pinned).unwrap();
    c.hear_on(1, 1, &answer(&c, test, 2));
    assert_eq!(c.context().unwrap().pair, pinned);
    c.hear_on(1, 1, &answer(&c, late, 3));
    assert_eq!(c.context().unwrap().pair, c.pair(1, 0));
    c.sent();
    let mut sent = Vec::new();
    for _ in 0..8 {
        c.hear(&Message::Keepalive(c.keepalive()));
        c.w.secs(5);
        sent.extend(c.sent());
    }
    assert_eq!(c.context().unwrap().reap, Some(ReapState::Operational));
    assert!(probe_on(&sent, pinned).is_some(), "the pinned pair is tested");
}

/// The activity cells of an idle context are read each minute, and when it will have been idle for long enough.
// req-test: S6-9-03
#[test]
fn cells_are_read_each_minute_and_when_idleness_is_over() {
    let mut c = Craft::with(9, 2, shim6::cga::Method::Hba, 2, |c| {
        c.establish.idle_teardown = Duration::from_secs(100);
        c.reap.send_timeout_secs = 60;
    });
    c.reach_i2bis_sent();
    // In I2BIS-SENT REAP asks for nothing.
    let now = c.w.now;
    let host = &mut c.w.hosts[0];
    let e = &mut host.engine;
    let id = e.contexts().next().unwrap().id;
    let mut out = VecDeque::new();
    let mut cx = shim6::proto::Cx { now, rng: &mut host.rng, out: &mut out };
    let old = Activity { last_out: Some(now), packets_out: 1, ..Activity::default() };
    e.handle_activity(&mut cx, id, old);
    let looks = |e: &mut shim6::proto::Engine, from: u64, to: u64| {
        (from..to).find(|s| e.due_activity(now + Duration::from_secs(*s)) == Some(id))
    };
    assert_eq!(looks(e, 0, 200), Some(60));
    cx.now = now + Duration::from_secs(60);
    e.handle_activity(&mut cx, id, old);
    assert_eq!(looks(e, 60, 200), Some(100));
    // Not torn down yet, for it is in use: each minute.
    e.handle_command(&mut cx, Command::InUse(id, true)).unwrap();
    cx.now = now + Duration::from_secs(100);
    e.handle_activity(&mut cx, id, old);
    assert_eq!(looks(e, 100, 300), Some(160));
    // Idle for longer, and in use no more: soon, but not at once.
    cx.now = now + Duration::from_secs(150);
    e.handle_activity(&mut cx, id, old);
    e.handle_command(&mut cx, Command::InUse(id, false)).unwrap();
    assert_eq!(looks(e, 150, 300), Some(151));
    e.handle_activity(&mut cx, id, old);
    assert!(e.context(id).is_none());
}

// req-test: RP-3.3-03
#[test]
fn progress_that_an_upper_layer_reports_puts_the_send_timeout_off() {
    let explores = |reports: bool| {
        let mut w = established(11);
        let (id, ulids) = (w.hosts[0].only().id, w.ulids(0, 1));
        for address in w.hosts[1].addrs.clone() {
            w.cut_address(1, address, true);
        }
        w.payload(0, ulids);
        w.secs(10);
        if reports {
            w.on(0, |e, cx| e.handle_command(cx, Command::Progress(id))).unwrap();
        }
        w.secs(10);
        w.hosts[0].only().reap != Some(ReapState::Operational)
    };
    assert_eq!((explores(false), explores(true)), (true, false));
    let mut c = Craft::new(11);
    let nobody = c.w.on(0, |e, cx| e.handle_command(cx, Command::Progress(ContextId(9))));
    assert_eq!(nobody, Err(CommandError::NoSuchContext));
}
