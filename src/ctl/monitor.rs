//! `shim6ctl monitor`, and waiting for one event.

use super::args::MonitorOptions;
use super::table::span;
use super::{Failure, Output, Session};
use crate::control::api::{ContextId, Event, EventKind, Request};
use crate::control::client::ClientError;
use crate::daemon::clock;
use std::io;
use std::time::Duration;

pub(super) fn run(
    session: &mut Session,
    output: &mut Output<'_>,
    options: &MonitorOptions,
) -> Result<(), Failure> {
    let events = match options.verbose {
        true => EventKind::NAMES.iter().map(|&name| name.to_owned()).collect(),
        false => options.events.clone(),
    };
    session.call(Request::Subscribe { events, context: options.context.map(ContextId) })?;
    // Who waits for this line knows that nothing will be missed from here on.
    eprintln!("shim6ctl: waiting for events");
    let mut left = options.count.unwrap_or(u64::MAX);
    for event in session.client.events() {
        let event = event?;
        if output.json {
            let line = serde_json::to_string(&event).map_err(io::Error::from)?;
            writeln!(output.to, "{line}")?;
        } else {
            output.text(&format!("{}\n", line(&event)))?;
        }
        output.to.flush()?;
        left = left.saturating_sub(1);
        if left == 0 || event.kind == (EventKind::Stopping {}) {
            return Ok(());
        }
    }
    Err(ClientError::Closed.into())
}

/// Waits for an event of a context, or one without a context that `wanted` takes; `None` when time is up.
pub(super) fn wait_for(
    session: &mut Session,
    context: ContextId,
    timeout: Duration,
    mut wanted: impl FnMut(&EventKind) -> bool,
) -> Result<Option<EventKind>, Failure> {
    let end = clock::now() + timeout;
    loop {
        let left = end.since(clock::now());
        let Some(event) = session.client.next_event(Some(left))? else { return Ok(None) };
        if event.context.is_none_or(|id| id == context) && wanted(&event.kind) {
            return Ok(Some(event.kind));
        }
    }
}

/// One event in one line: seconds since boot, context, what happened.
pub(super) fn line(event: &Event) -> String {
    let context = event.context.map_or_else(|| "-".to_owned(), |id| format!("#{id}"));
    let at = format!("{}.{:03}", event.at_ms / 1000, event.at_ms % 1000);
    format!("{at:>12}  {context:>6}  {}", words(&event.kind))
}

fn words(kind: &EventKind) -> String {
    match kind {
        EventKind::ContextEstablished { ulid_local, ulid_peer, fii } => match fii.0 {
            0 => format!("established {ulid_local} -> {ulid_peer}"),
            fii => format!("established {ulid_local} -> {ulid_peer} fii {fii}"),
        },
        EventKind::ContextDiscarded { ulid_local, ulid_peer, reason } => {
            format!("discarded {ulid_local} -> {ulid_peer}: {reason}")
        }
        EventKind::EstablishFailed { ulid_local, ulid_peer, state } => {
            format!("not established {ulid_local} -> {ulid_peer}: {state}")
        }
        EventKind::StateChanged { from, to } => format!("state {from} -> {to}"),
        EventKind::ReapStateChanged { from, to } => format!("REAP {from} -> {to}"),
        EventKind::Exploring { reason, pair } => format!("exploring, {}: {pair}", reason.words()),
        EventKind::ProbeSent { pair, state } => format!("probe {state} sent on {pair}"),
        EventKind::ProbeAnswered { pair, rtt_us } => {
            format!("probe answered on {pair} after {}.{:03} ms", rtt_us / 1000, rtt_us % 1000)
        }
        EventKind::PathTested { pair, reachable: true, rtt_us } => {
            let us = rtt_us.unwrap_or(0);
            format!("works, {}.{:03} ms: {pair}", us / 1000, us % 1000)
        }
        EventKind::PathTested { pair, .. } => format!("does not work: {pair}"),
        EventKind::PathSwitched { from, to, after_ms } => {
            format!("switched to {to} after {}, from {from}", span(*after_ms))
        }
        EventKind::Recovered { pair, gap_ms } => {
            format!("recovered on {pair}, silent for {}", span(*gap_ms))
        }
        EventKind::Lost { after_ms } => format!("no pair works, {} so far", span(*after_ms)),
        EventKind::LocatorsChanged { peer, locators } => {
            let whose = if *peer { "peer's" } else { "our" };
            let all: Vec<_> = locators.iter().map(ToString::to_string).collect();
            format!("{whose} locators are now {}", all.join(", "))
        }
        EventKind::RulesReinstalled { after_ms } => {
            format!("rules were removed by somebody, back after {}", span(*after_ms))
        }
        EventKind::AddressAdded { address, interface } => {
            format!("locator {address} on {interface}")
        }
        EventKind::AddressRemoved { address, interface, reason } => {
            format!("locator {address} on {interface} lost: {reason}")
        }
        EventKind::Reloaded {} => "configuration read again".to_owned(),
        EventKind::Stopping {} => "the daemon stops".to_owned(),
        EventKind::EventsLost { count } => format!("{count} events lost, reading was too slow"),
        EventKind::Unknown => "an event that this version does not know".to_owned(),
    }
}
