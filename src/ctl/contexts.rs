//! `shim6ctl context …`, `locator …` and `path …`.

use super::args::{ContextCommand, LocatorCommand, PathCommand};
use super::monitor;
use super::table::{Table, maybe_span, octets, pairs, rtt, span};
use super::{Exit, Failure, Output, Session};
use crate::addr::Fii;
use crate::control::api::{
    ContextId, ContextInfo, ContextRef, ContextState, ContextSummary, ErrorCode, EventKind,
    HostLocator, Keep, LocatorChanges, LocatorInfo, LocatorPreference, Offer, Pair, ReapState,
    Request, Response,
};
use crate::control::client::{ClientError, unexpected};
use serde_json::json;
use std::time::Duration;

pub(super) fn run(
    session: &mut Session,
    output: &mut Output<'_>,
    command: &ContextCommand,
) -> Result<(), Failure> {
    match command {
        ContextCommand::List => {
            let contexts = session.client.contexts()?;
            output.result(&json!({ "contexts": contexts }), |_| list_text(&contexts))
        }
        ContextCommand::Show { context } => {
            let info = show(session, *context)?;
            output.result(&info, context_text)
        }
        ContextCommand::Establish { peer, local, wait } => {
            if wait.is_some() {
                follow(session)?;
            }
            let id = accepted(session.call(Request::Establish { local: *local, peer: *peer })?)?;
            if let Some(seconds) = wait {
                wait_established(session, id, *seconds)?;
            }
            output.result(&json!({ "context": id }), |_| match wait {
                Some(_) => format!("context {id} is established\n"),
                None => format!("context {id}: negotiation has begun\n"),
            })
        }
        ContextCommand::Discard { context } => {
            match session.call(Request::ContextDiscard { context: *context })? {
                Response::Done {} => {
                    output.result(&json!({}), |_| format!("context {context} is discarded\n"))
                }
                other => Err(unexpected(&other).into()),
            }
        }
    }
}

pub(super) fn locators(
    session: &mut Session,
    output: &mut Output<'_>,
    command: &LocatorCommand,
) -> Result<(), Failure> {
    let (locator, changes) = match command {
        LocatorCommand::List { context } => return list_locators(session, output, *context),
        LocatorCommand::Add { address } => {
            let offer = Some(Offer::Always);
            (*address, LocatorChanges { offer, ..LocatorChanges::default() })
        }
        LocatorCommand::Remove { address } => {
            let offer = Some(Offer::Never);
            (*address, LocatorChanges { offer, ..LocatorChanges::default() })
        }
        LocatorCommand::Prefer { address, priority, weight, clear } => {
            let given = LocatorPreference { priority: *priority, weight: *weight };
            let changes = LocatorChanges {
                preference: (!clear).then_some(given),
                no_preference: *clear,
                ..LocatorChanges::default()
            };
            (*address, changes)
        }
        LocatorCommand::Broken { address, clear } => {
            (*address, LocatorChanges { broken: Some(!clear), ..LocatorChanges::default() })
        }
    };
    match session.call(Request::LocatorSet { locator, changes })? {
        Response::HostLocators { locators } => {
            output.result(&json!({ "locators": locators }), |_| host_text(&locators))
        }
        other => Err(unexpected(&other).into()),
    }
}

fn list_locators(
    session: &mut Session,
    output: &mut Output<'_>,
    context: Option<ContextRef>,
) -> Result<(), Failure> {
    match session.call(Request::LocatorList { context })? {
        Response::HostLocators { locators } => {
            output.result(&json!({ "locators": locators }), |_| host_text(&locators))
        }
        Response::ContextLocators { context, local, peer } => output
            .result(&json!({ "context": context, "local": local, "peer": peer }), |_| {
                format!("local\n{}\npeer\n{}", locator_text(&local), locator_text(&peer))
            }),
        other => Err(unexpected(&other).into()),
    }
}

pub(super) fn paths(
    session: &mut Session,
    output: &mut Output<'_>,
    command: &PathCommand,
) -> Result<(), Failure> {
    let (context, wait) = match command {
        PathCommand::Explore { context, wait } => (context, wait),
        PathCommand::Test { context, pair } => return test(session, output, *context, *pair),
        PathCommand::Switch { context, pair, prefer } => {
            let keep = if *prefer { Keep::Prefer } else { Keep::No };
            return switch(session, output, *context, *pair, keep);
        }
        PathCommand::Pin { context, pair } => {
            return switch(session, output, *context, *pair, Keep::Pin);
        }
        PathCommand::Unpin { context } => {
            return match session.call(Request::PathUnpin { context: *context })? {
                Response::Done {} => output
                    .result(&json!({}), |_| format!("context {context} chooses its pair itself\n")),
                other => Err(unexpected(&other).into()),
            };
        }
    };
    if wait.is_some() {
        follow(session)?;
    }
    let id = accepted(session.call(Request::PathExplore { context: *context })?)?;
    let Some(seconds) = wait else {
        return output.result(&json!({ "context": id }), |_| {
            format!("context {id}: exploration has begun\n")
        });
    };
    let event = monitor::wait_for(session, id, Duration::from_secs_f64(*seconds), |kind| {
        matches!(kind, EventKind::Recovered { .. } | EventKind::ContextDiscarded { .. })
    })?;
    match event {
        Some(EventKind::Recovered { pair, .. }) => output
            .result(&json!({ "context": id, "pair": pair }), |_| {
                format!("context {id} uses {pair}\n")
            }),
        Some(_) => Err(Failure::failed(format!("context {id} is gone"))),
        None => Err(Failure::new(
            Exit::Failed,
            "timeout",
            format!("context {id}: no pair was confirmed within {seconds} s"),
        )),
    }
}

fn test(
    session: &mut Session,
    output: &mut Output<'_>,
    context: ContextRef,
    pair: Pair,
) -> Result<(), Failure> {
    match session.call(Request::PathTest { context, pair })? {
        Response::PathTested { pair, reachable: true, rtt_us } => output
            .result(&json!({ "pair": pair, "reachable": true, "rtt_us": rtt_us }), |_| {
                format!("{pair} works, round trip {}\n", rtt(rtt_us))
            }),
        Response::PathTested { pair, .. } => Err(Failure::new(
            Exit::Failed,
            "unreachable_locator",
            format!("{pair} does not answer"),
        )),
        other => Err(unexpected(&other).into()),
    }
}

fn switch(
    session: &mut Session,
    output: &mut Output<'_>,
    context: ContextRef,
    pair: Pair,
    keep: Keep,
) -> Result<(), Failure> {
    match session.call(Request::PathSwitch { context, pair, keep })? {
        Response::PathInUse { context, pair } => output
            .result(&json!({ "context": context, "pair": pair }), |_| {
                format!("context {context} uses {pair}\n")
            }),
        other => Err(unexpected(&other).into()),
    }
}

/// Subscribes before asking, so that no event is missed in between.
fn follow(session: &mut Session) -> Result<(), Failure> {
    session.call(Request::Subscribe { events: Vec::new(), context: None }).map(drop)
}

fn accepted(response: Response) -> Result<ContextId, Failure> {
    match response {
        Response::Accepted { context } => Ok(context),
        other => Err(unexpected(&other).into()),
    }
}

fn show(session: &mut Session, context: ContextRef) -> Result<ContextInfo, Failure> {
    match session.call(Request::ContextShow { context })? {
        Response::Context { context } => Ok(*context),
        other => Err(unexpected(&other).into()),
    }
}

fn wait_established(session: &mut Session, id: ContextId, seconds: f64) -> Result<(), Failure> {
    // It may have been there already; or be gone again, as a peer that refuses says so at once.
    match session.client.call(Request::ContextShow { context: ContextRef::Id { id } }) {
        Ok(Response::Context { context }) if context.summary.state == ContextState::Established => {
            return Ok(());
        }
        Ok(Response::Context { .. }) => {}
        Ok(other) => return Err(unexpected(&other).into()),
        Err(ClientError::Api(e)) if e.code == ErrorCode::NotFound => {}
        Err(e) => return Err(e.into()),
    }
    let event = monitor::wait_for(session, id, Duration::from_secs_f64(seconds), |kind| {
        matches!(
            kind,
            EventKind::ContextEstablished { .. }
                | EventKind::ContextDiscarded { .. }
                | EventKind::EstablishFailed { .. }
        )
    })?;
    match event {
        Some(EventKind::ContextEstablished { .. }) => Ok(()),
        Some(EventKind::EstablishFailed { ulid_peer, state: ContextState::NoSupport, .. }) => {
            let text = format!("{ulid_peer} does not support Shim6");
            Err(Failure::new(Exit::Failed, "no_support", text))
        }
        Some(EventKind::EstablishFailed { ulid_peer, .. }) => {
            let text = format!("{ulid_peer} gave no answer");
            Err(Failure::new(Exit::Failed, "no_answer", text))
        }
        Some(EventKind::ContextDiscarded { reason, .. }) => {
            let text = format!("context {id} has ended: {reason}");
            Err(Failure::new(Exit::Failed, "no_context", text))
        }
        _ => Err(Failure::new(
            Exit::Failed,
            "timeout",
            format!("context {id} was not established within {seconds} s"),
        )),
    }
}

fn list_text(contexts: &[ContextSummary]) -> String {
    if contexts.is_empty() {
        return "no contexts\n".to_owned();
    }
    let header = ["ID", "ULIDS", "STATE", "REAP", "PATH", "OUT", "IN", "RTT", "AGE"];
    let mut table = Table::new(&header, &[0, 5, 6, 7, 8]);
    for c in contexts {
        let mut ulids = format!("{} -> {}", c.ulid_local, c.ulid_peer);
        if c.fii != Fii::DEFAULT {
            ulids += &format!(" fii {}", c.fii.0);
        }
        table.row(vec![
            c.id.to_string(),
            ulids,
            c.state.name().to_owned(),
            c.reap_state.map_or("-", ReapState::name).to_owned(),
            path(c),
            octets(c.octets_out),
            octets(c.octets_in),
            rtt(c.rtt_us),
            span(c.age_ms),
        ]);
    }
    table.text()
}

/// The pair in use; short when it is the ULIDs themselves.
fn path(c: &ContextSummary) -> String {
    let own = c.current.local == c.ulid_local.locator() && c.current.peer == c.ulid_peer.locator();
    if own { "ULIDs".to_owned() } else { c.current.to_string() }
}

pub(super) fn context_text(info: &ContextInfo) -> String {
    let c = &info.summary;
    let timers = &info.timers;
    let n = &info.counters;
    let left = |name: &str, ms: Option<u64>| ms.map(|ms| format!("{name} in {}", span(ms)));
    let running: Vec<String> = [
        left("send timer", timers.send_left_ms),
        left("keepalive timer", timers.keepalive_left_ms),
        left("probe", timers.probe_left_ms),
        left("retransmission", timers.retransmit_left_ms),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut text = pairs(&[
        ("context", c.id.to_string()),
        ("ULIDs", format!("{} -> {}", c.ulid_local, c.ulid_peer)),
        ("fii", if c.fii == Fii::DEFAULT { String::new() } else { c.fii.0.to_string() }),
        ("state", c.state.name().to_owned()),
        ("REAP", c.reap_state.map_or("-", ReapState::name).to_owned()),
        ("path", format!("{}{}", c.current, if c.tagged { ", tagged" } else { "" })),
        (
            "tags",
            format!(
                "local {}, peer {}",
                c.local_tag,
                c.peer_tag.map_or_else(|| "unknown".to_owned(), |tag| tag.to_string())
            ),
        ),
        (
            "age",
            format!(
                "{}{}, last out {}, last in {}",
                span(c.age_ms),
                if info.restored { " (restored)" } else { "" },
                maybe_span(c.last_out_ms),
                maybe_span(c.last_in_ms)
            ),
        ),
        ("round trip", rtt(c.rtt_us)),
        (
            "timeouts",
            format!(
                "send {}, keepalive {} every {}",
                span(timers.send_timeout_ms),
                span(timers.keepalive_timeout_ms),
                span(timers.keepalive_interval_ms)
            ),
        ),
        ("running", running.join(", ")),
        (
            "out",
            format!("{} packets, {} tagged, {}", n.packets_out, n.tagged_out, octets(c.octets_out)),
        ),
        (
            "in",
            format!("{} packets, {} tagged, {}", n.packets_in, n.tagged_in, octets(c.octets_in)),
        ),
        (
            "probes",
            format!("{} sent, {} received, {} switches", n.probes_out, n.probes_in, n.switches),
        ),
        ("keepalives", format!("{} sent, {} received", n.keepalives_out, n.keepalives_in)),
        ("pinned", info.pinned.map_or_else(String::new, |pair| pair.to_string())),
        ("preferred", info.preferred.map_or_else(String::new, |pair| pair.to_string())),
        ("standby", info.standby.map_or_else(String::new, |pair| pair.to_string())),
    ]);
    text += &format!("\nlocal locators, generation {}\n", info.local_generation.0);
    text += &locator_text(&info.local_locators);
    match info.peer_generation {
        Some(generation) => text += &format!("\npeer locators, generation {}\n", generation.0),
        None => text += "\npeer locators\n",
    }
    text += &locator_text(&info.peer_locators);
    if !info.pairs.is_empty() {
        let mut table = Table::new(&["PAIR", "WORKS", "PROBED", "RTT"], &[2, 3]);
        for p in &info.pairs {
            let works = match p.works {
                Some(true) => "yes",
                Some(false) => "no",
                None => "waiting",
            };
            let row =
                [p.pair.to_string(), works.to_owned(), maybe_span(p.probed_ms), rtt(p.rtt_us)];
            table.row(row.into());
        }
        text += "\npairs tried\n";
        text += &table.text();
    }
    text
}

fn locator_text(locators: &[LocatorInfo]) -> String {
    let header = ["LOCATOR", "METHOD", "VERIFIED", "REACHABLE", "PRIO", "WEIGHT", "NOTES"];
    let mut table = Table::new(&header, &[4, 5]);
    let number = |n: Option<u8>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    for l in locators {
        let notes: Vec<&str> = [
            (l.current, "in use"),
            (l.ulid, "ULID"),
            (l.broken, "broken"),
            (l.transient, "transient"),
        ]
        .into_iter()
        .filter_map(|(is, note)| is.then_some(note))
        .collect();
        let reachable = match l.reachable {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not tried",
        };
        table.row(vec![
            l.locator.to_string(),
            l.method.name().to_owned(),
            if l.verified { "yes" } else { "no" }.to_owned(),
            reachable.to_owned(),
            number(l.priority),
            number(l.weight),
            notes.join(", "),
        ]);
    }
    table.text()
}

fn host_text(locators: &[HostLocator]) -> String {
    if locators.is_empty() {
        return "this host has no global IPv6 address\n".to_owned();
    }
    let header = ["LOCATOR", "INTERFACE", "STATE", "METHOD", "OFFERED", "WORKS", "PRIO", "NOTES"];
    let mut table = Table::new(&header, &[6]);
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    for l in locators {
        table.row(vec![
            l.locator.to_string(),
            l.interface.clone().unwrap_or_else(|| "-".to_owned()),
            l.state.name().to_owned(),
            l.method.name().to_owned(),
            yes_no(l.offered),
            yes_no(l.operational && !l.broken),
            l.preference.map_or_else(|| "-".to_owned(), |p| p.priority.to_string()),
            l.reason.clone().unwrap_or_default(),
        ]);
    }
    table.text()
}
