//! Every state with every event.

use super::side::*;
use crate::proto::Time;
use crate::proto::reap::rows::{Event, Row, Sent, TimerOp, row};
use crate::proto::reap::{Action, ReapState};
use crate::wire::control::ProbeState;
use std::fmt::Write;

const STATES: [ReapState; 3] = [ReapState::Operational, ReapState::Exploring, ReapState::InboundOk];
const EVENTS: [Event; 10] = [
    Event::PayloadIn,
    Event::PayloadOut,
    Event::KeepaliveTimeout,
    Event::SendTimeout,
    Event::Retransmission,
    Event::KeepaliveIn,
    Event::ProbeExploringIn,
    Event::ProbeInboundOkIn,
    Event::ProbeOperationalIn,
    Event::Failure,
];

fn words(from: ReapState, r: Row) -> String {
    let mut parts = Vec::new();
    match r.message {
        Sent::Nothing => {}
        Sent::Keepalive => parts.push("SEND Keepalive".to_string()),
        Sent::Probe(s) => parts.push(format!("SEND Probe {s:?}")),
    }
    for (op, name) in [(r.send, "Send"), (r.keepalive, "Keepalive")] {
        match op {
            TimerOp::Keep => {}
            TimerOp::Start => parts.push(format!("START {name}")),
            TimerOp::Restart => parts.push(format!("RESTART {name}")),
            TimerOp::Stop => parts.push(format!("STOP {name}")),
        }
    }
    if r.next != from {
        parts.push(format!("GOTO {}", r.next.name()));
    }
    if parts.is_empty() { "-".to_string() } else { parts.join(", ") }
}

const TABLE: &str = "\
PayloadIn          Operational: STOP Send, START Keepalive
PayloadIn          Exploring: SEND Probe InboundOk, START Send, GOTO InboundOk
PayloadIn          InboundOk: STOP Send
PayloadOut         Operational: START Send, STOP Keepalive
PayloadOut         Exploring: -
PayloadOut         InboundOk: START Send
KeepaliveTimeout   Operational: SEND Keepalive, STOP Keepalive
KeepaliveTimeout   Exploring: -
KeepaliveTimeout   InboundOk: -
SendTimeout        Operational: SEND Probe Exploring, STOP Send, GOTO Exploring
SendTimeout        Exploring: -
SendTimeout        InboundOk: SEND Probe Exploring, STOP Send, GOTO Exploring
Retransmission     Operational: -
Retransmission     Exploring: SEND Probe Exploring
Retransmission     InboundOk: SEND Probe InboundOk, START Send
KeepaliveIn        Operational: STOP Send
KeepaliveIn        Exploring: SEND Probe InboundOk, START Send, GOTO InboundOk
KeepaliveIn        InboundOk: STOP Send
ProbeExploringIn   Operational: SEND Probe InboundOk, RESTART Send, STOP Keepalive, GOTO InboundOk
ProbeExploringIn   Exploring: SEND Probe InboundOk, START Send, GOTO InboundOk
ProbeExploringIn   InboundOk: SEND Probe InboundOk, RESTART Send
ProbeInboundOkIn   Operational: SEND Probe Operational, RESTART Send, STOP Keepalive
ProbeInboundOkIn   Exploring: SEND Probe Operational, RESTART Send, STOP Keepalive, GOTO Operational
ProbeInboundOkIn   InboundOk: SEND Probe Operational, RESTART Send, STOP Keepalive, GOTO Operational
ProbeOperationalIn Operational: STOP Send, START Keepalive
ProbeOperationalIn Exploring: STOP Send, START Keepalive, GOTO Operational
ProbeOperationalIn InboundOk: STOP Send, START Keepalive, GOTO Operational
Failure            Operational: SEND Probe Exploring, STOP Send, STOP Keepalive, GOTO Exploring
Failure            Exploring: -
Failure            InboundOk: SEND Probe Exploring, STOP Send, STOP Keepalive, GOTO Exploring
";

// req-test: RP-6-01, RP-6-02
#[test]
fn table_is_the_rfcs() {
    let mut text = String::new();
    for event in EVENTS {
        for state in STATES {
            let name = format!("{event:?}");
            writeln!(text, "{name:18} {}: {}", state.name(), words(state, row(state, event)))
                .unwrap();
        }
    }
    assert_eq!(text, TABLE);
}

// req-test: RP-6.1-04
#[test]
fn every_row_tells_the_state_it_leads_to() {
    for event in EVENTS {
        for state in STATES {
            let r = row(state, event);
            if let Sent::Probe(told) = r.message {
                assert_eq!(format!("{told:?}"), r.next.name());
            }
        }
    }
}

/// Which timer runs before the event.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Runs {
    Neither,
    Send,
    Keepalive,
}

/// A machine in this state whose timers run since second 101, at second 103.
fn prepared(state: ReapState, runs: Runs) -> Option<Side> {
    let mut s = in_state(state, exact());
    s.now = secs(101.0);
    match (state, runs) {
        (ReapState::Operational, Runs::Neither) | (ReapState::Exploring, Runs::Neither) => {}
        (ReapState::InboundOk, Runs::Neither) => s.call(|r, rcx| r.on_keepalive(rcx)),
        (ReapState::Operational, Runs::Send) => s.call(|r, rcx| r.on_control_out(rcx)),
        (ReapState::InboundOk, Runs::Send) => {
            s.probe_in(&probe_of_peer(ProbeState::Exploring, (0, 0), 1, Vec::new()))
        }
        (ReapState::Operational, Runs::Keepalive) => s.call(|r, rcx| r.on_control_in(rcx)),
        (ReapState::Exploring, Runs::Send | Runs::Keepalive)
        | (ReapState::InboundOk, Runs::Keepalive) => return None,
    }
    let running = match s.reap.timers() {
        (None, None) => Runs::Neither,
        (Some(t), None) => {
            assert_eq!(t, secs(101.0));
            Runs::Send
        }
        (None, Some(t)) => {
            assert_eq!(t, secs(101.0));
            Runs::Keepalive
        }
        (Some(_), Some(_)) => unreachable!("checked after each call"),
    };
    assert_eq!(running, runs, "{state:?}");
    s.now = secs(103.0);
    s.take();
    Some(s)
}

fn happened(s: &mut Side, what: &str, state: ReapState, runs: Runs) -> String {
    let mut parts = Vec::new();
    for (_, a) in s.take() {
        match a {
            Action::SendKeepalive => parts.push("Keepalive".to_string()),
            Action::SendProbe { state, .. } => parts.push(format!("Probe {state:?}")),
            Action::State { to, .. } => parts.push(format!("-> {}", to.name())),
            Action::Switch(_)
            | Action::Answered { .. }
            | Action::TestFailed { .. }
            | Action::Tested { .. }
            | Action::Exhausted
            | Action::Ignored(_)
            | Action::Dropped(_) => parts.push(format!("{a:?}")),
        }
    }
    let since = |t: Option<Time>| t.map_or("-".into(), |t| (t.millis() / 1000).to_string());
    let (send, keepalive) = s.reap.timers();
    format!(
        "{what} in {} with {runs:?}: [{}] send {} keepalive {}\n",
        state.name(),
        parts.join(", "),
        since(send),
        since(keepalive)
    )
}

type Input = (&'static str, fn(&mut Side));

const INPUTS: [Input; 10] = [
    ("payload in", |s| s.payload_in_read()),
    ("payload out", |s| s.payload_out_read()),
    ("control in", |s| s.call(|r, rcx| r.on_control_in(rcx))),
    ("control out", |s| s.call(|r, rcx| r.on_control_out(rcx))),
    ("keepalive", |s| s.call(|r, rcx| r.on_keepalive(rcx))),
    ("probe exploring", |s| s.probe_in(&probe_of_peer(ProbeState::Exploring, (1, 1), 2, vec![]))),
    ("probe inboundok", |s| s.probe_in(&probe_of_peer(ProbeState::InboundOk, (1, 1), 2, vec![]))),
    ("probe operational", |s| {
        s.probe_in(&probe_of_peer(ProbeState::Operational, (1, 1), 2, vec![]))
    }),
    ("peer withdrew", |s| s.call(|r, rcx| r.on_peer_withdrew(rcx))),
    ("reset", |s| s.call(|r, rcx| r.reset_operational(rcx))),
];

impl Side {
    fn payload_in_read(&mut self) {
        self.payload_in();
        self.read();
    }

    fn payload_out_read(&mut self) {
        self.payload_out();
        self.read();
    }
}

// A Probe Operational without reports that ends what a Probe Exploring began was the end of a test: the timers are as before.
// The machine as a whole, at second 103, its timers (if they run) started at 101: START keeps 101, RESTART makes 103.
// req-test: RP-6.1-01, RP-6.1-02, RP-6.1-03, RP-6.1-06, RP-6.2-01, RP-6.2-02, RP-6.2-03, RP-6.2-04, RP-6.6-01
// req-test: RP-6.6-02, RP-6.6-03, RP-6.7-01, RP-6.7-02, RP-6.7-03, RP-6.8-01, RP-6.8-02, RP-6.9-01, RP-6.9-02
// req-test: RP-6.9-03, RP-4.1-05, RP-4.1-06, RP-4.1-07, RP-4.1-09
#[test]
fn inputs_do_what_their_rows_say() {
    let mut text = String::new();
    for (what, input) in INPUTS {
        for state in STATES {
            for runs in [Runs::Neither, Runs::Send, Runs::Keepalive] {
                let Some(mut s) = prepared(state, runs) else { continue };
                input(&mut s);
                text += &happened(&mut s, what, state, runs);
            }
        }
    }
    if text != BEHAVIOUR {
        println!("{text}");
    }
    assert_eq!(text, BEHAVIOUR);
}

const BEHAVIOUR: &str = include_str!("matrix.txt");

// req-test: RP-6.3-01, RP-6.4-01, RP-6.4-02, RP-6.5-01, RP-6.5-02
#[test]
fn timers_do_what_their_rows_say() {
    // Keepalive Timer, Operational: the last Keepalive, then silence.
    let mut s = prepared(ReapState::Operational, Runs::Keepalive).unwrap();
    s.now = secs(116.0);
    s.tick();
    assert_eq!(s.take(), [(secs(116.0), Action::SendKeepalive)]);
    assert_eq!(s.reap.timers(), (None, None));

    // Send Timer, Operational.
    let mut s = prepared(ReapState::Operational, Runs::Send).unwrap();
    s.run_to(secs(115.9));
    assert_eq!(s.take(), []);
    s.run_to(secs(116.0));
    let probes = s.take_probes();
    assert_eq!(probes, [(secs(116.0), pair(0, 1, 1), ProbeState::Exploring)]);
    assert_eq!(s.reap.state(), ReapState::Exploring);

    // Send Timer, InboundOk; retransmissions of InboundOk until then.
    let mut s = prepared(ReapState::InboundOk, Runs::Send).unwrap();
    s.run_to(secs(115.9));
    assert!(s.take_probes().iter().all(|p| p.2 == ProbeState::InboundOk));
    s.run_to(secs(116.0));
    let last = s.take_probes();
    assert_eq!(last.len(), 1);
    assert_eq!((last[0].0, last[0].2), (secs(116.0), ProbeState::Exploring));
    assert_eq!(s.reap.state(), ReapState::Exploring);

    // Retransmission, Exploring: no timer of the two starts.
    let mut s = prepared(ReapState::Exploring, Runs::Neither).unwrap();
    s.tick();
    assert!(matches!(s.take_probes()[..], [(_, _, ProbeState::Exploring)]));
    assert_eq!(s.reap.timers(), (None, None));

    // Retransmission, InboundOk: starts the Send Timer if it does not run.
    for (runs, since) in [(Runs::Neither, secs(103.0)), (Runs::Send, secs(101.0))] {
        let mut s = prepared(ReapState::InboundOk, runs).unwrap();
        s.tick();
        assert!(matches!(s.take_probes()[..], [(_, _, ProbeState::InboundOk)]));
        assert_eq!(s.reap.timers(), (Some(since), None));
    }
}

#[test]
fn failure_while_exploring_only_starts_the_schedule_again() {
    let mut s = in_state(ReapState::Exploring, exact());
    s.run_to(secs(130.0));
    s.take();
    let before = s.reap.poll_timeout().unwrap();
    s.call(|r, rcx| r.explore_now(rcx));
    assert_eq!(s.take(), []);
    assert!(s.reap.poll_timeout().unwrap() < before);
    s.run_to(secs(131.2));
    assert_eq!(s.take_probes().len(), 3);
}
