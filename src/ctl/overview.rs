//! `shim6ctl status`, `stats` and `reload`.

use super::table::{Table, pairs, span};
use super::{Failure, Output, Session};
use crate::control::api::{FailuresInfo, Request, Response, StatsInfo, StatusInfo};
use crate::control::client::unexpected;
use crate::control::prometheus;
use serde_json::json;
use std::collections::BTreeMap;

pub(super) fn status(session: &mut Session, output: &mut Output<'_>) -> Result<(), Failure> {
    match session.call(Request::Status {})? {
        Response::Status { status } => output.result(&*status, status_text),
        other => Err(unexpected(&other).into()),
    }
}

fn counted(map: &BTreeMap<String, u64>) -> String {
    if map.is_empty() {
        return "none".to_owned();
    }
    map.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

/// How failures are noticed; empty if the daemon does not tell.
fn failures(f: &FailuresInfo) -> String {
    let mut text = match f.detection.as_str() {
        "" => return String::new(),
        "rfc" => format!("detected as RFC 5534 says, Send Timeout {}", span(f.send_timeout_ms)),
        other => format!("{other} detection, Send Timeout {}", span(f.send_timeout_ms)),
    };
    text += if f.hot_standby { ", hot standby" } else { ", no hot standby" };
    if let Some(ms) = f.return_to_preferred_ms {
        text += &format!(", preferred pairs are returned to after {}", span(ms));
    }
    text
}

pub(super) fn status_text(status: &StatusInfo) -> String {
    let rules = &status.rules;
    let plane = &status.dataplane;
    let identity = match &status.identity {
        None => "none: this host has no global IPv6 prefix yet".to_owned(),
        Some(id) => {
            let mut text = format!("{} with Sec {}", id.method, id.sec);
            if id.key_bits > 0 {
                text += &format!(", RSA-{}", id.key_bits);
            }
            for address in &id.addresses {
                let place = address.interface.as_deref().unwrap_or("no interface");
                text += &format!("\n{}  {place}, {}", address.address, address.state.name());
            }
            text
        }
    };
    let mut text = pairs(&[
        (
            "daemon",
            format!("shim6d {}, pid {}, up {}", status.version, status.pid, span(status.uptime_ms)),
        ),
        ("identity", identity),
        (
            "rules",
            format!(
                "{}{}{}",
                if rules.present { "present" } else { "MISSING" },
                if rules.managed { "" } else { ", managed by hand" },
                match rules.reinstalled {
                    0 => String::new(),
                    n => format!(", reinstalled {n} times"),
                }
            ),
        ),
        (
            "data plane",
            format!(
                "{} queues from {} ({}{}), tier {}, tagged packets at {}",
                plane.workers,
                plane.queue_first,
                plane.queue_backend,
                match plane.queue_driver.as_str() {
                    "" => String::new(),
                    driver => format!(", read by {driver}"),
                },
                plane.tier,
                plane.tagged_hook
            ),
        ),
        ("failures", failures(&status.failures)),
        ("contexts", counted(&status.contexts)),
        ("REAP", if status.reap.is_empty() { String::new() } else { counted(&status.reap) }),
        ("drops", counted(&status.drops)),
    ]);
    for warning in &status.warnings {
        text += &format!("warning: {warning}\n");
    }
    text
}

pub(super) fn stats(
    session: &mut Session,
    output: &mut Output<'_>,
    as_prometheus: bool,
) -> Result<(), Failure> {
    if as_prometheus {
        let status = match session.call(Request::Status {})? {
            Response::Status { status } => status,
            other => return Err(unexpected(&other).into()),
        };
        return match session.call(Request::Stats {})? {
            Response::Stats { stats } => output.text(&prometheus::text(&status, &stats)),
            other => Err(unexpected(&other).into()),
        };
    }
    match session.call(Request::Stats {})? {
        Response::Stats { stats } => output.result(&stats, stats_text),
        other => Err(unexpected(&other).into()),
    }
}

fn stats_text(stats: &StatsInfo) -> String {
    let mut counters = Table::new(&["COUNTER", "VALUE"], &[1]);
    for (name, value) in &stats.counters {
        counters.row(vec![name.clone(), value.to_string()]);
    }
    let mut text = counters.text();
    let mut queues =
        Table::new(&["QUEUE", "WAITING", "DROPPED", "USER-DROPPED", "PACKETS"], &[0, 1, 2, 3, 4]);
    for queue in &stats.queues {
        let numbers = [queue.waiting, queue.dropped, queue.user_dropped, queue.packets];
        let mut row = vec![queue.queue.to_string()];
        row.extend(numbers.map(|n| n.to_string()));
        queues.row(row);
    }
    if !queues.is_empty() {
        text += "\n";
        text += &queues.text();
    }
    text
}

pub(super) fn reload(session: &mut Session, output: &mut Output<'_>) -> Result<(), Failure> {
    match session.call(Request::Reload {})? {
        Response::Reloaded { warnings } => output.result(&json!({ "warnings": warnings }), |_| {
            let mut text = "configuration read again\n".to_owned();
            for warning in &warnings {
                text += &format!("warning: {warning}\n");
            }
            text
        }),
        other => Err(unexpected(&other).into()),
    }
}
