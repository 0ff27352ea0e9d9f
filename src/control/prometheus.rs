//! Status and counters in Prometheus' text form (version 0.0.4).

use super::api::{StatsInfo, StatusInfo};
use std::fmt::Write;

/// Counters by the beginning of their names: family, label, what it counts.
const FAMILIES: &[(&str, &str, &str, &str)] = &[
    ("rx_", "messages_received", "type", "Shim6 messages received"),
    ("tx_", "messages_sent", "type", "Shim6 messages sent"),
    ("drop_", "dropped_packets", "reason", "Packets that went no further"),
    ("verify_", "verifications", "result", "Locators of peers verified"),
    ("event_", "events", "event", "What else the engine counted"),
];

/// What goes up and down.
const GAUGES: &[(&str, &str)] = &[
    ("flows_bound", "Flows with a context of their own, by this host's sockets"),
    ("flows_learned", "Flows with a context of their own, by the peer's packets"),
    ("flows_left_alone", "Flows of sockets that have left the shim"),
    ("held_flows", "TCP flows of which a segment is kept"),
    ("held_octets", "Octets of the segments kept"),
];

/// A family of samples.
fn family(o: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String does not fail.
    let _ = write!(o, "# HELP shim6_{name} {help}\n# TYPE shim6_{name} {kind}\n");
}

fn sample(o: &mut String, name: &str, label: Option<(&str, &str)>, value: impl std::fmt::Display) {
    let _ = match label {
        Some((label, text)) => {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            writeln!(o, "shim6_{name}{{{label}=\"{text}\"}} {value}")
        }
        None => writeln!(o, "shim6_{name} {value}"),
    };
}

fn gauge(o: &mut String, name: &str, help: &str, value: impl std::fmt::Display) {
    family(o, name, "gauge", help);
    sample(o, name, None, value);
}

/// The whole page.
pub fn text(status: &StatusInfo, stats: &StatsInfo) -> String {
    let mut o = String::new();
    family(&mut o, "build_info", "gauge", "Always 1; the label tells the version");
    sample(&mut o, "build_info", Some(("version", &status.version)), 1);
    let uptime = status.uptime_ms as f64 / 1000.0;
    gauge(&mut o, "uptime_seconds", "Since the daemon started", uptime);
    let present = u8::from(status.rules.present);
    gauge(&mut o, "rules_present", "Whether the packet filter rules are in place", present);
    family(&mut o, "rules_reinstalled_total", "counter", "Times that the rules had to be put back");
    sample(&mut o, "rules_reinstalled_total", None, status.rules.reinstalled);
    let lists = [
        ("contexts", "Contexts by state", &status.contexts),
        ("reap_contexts", "Contexts by state of REAP", &status.reap),
    ];
    for (name, help, counts) in lists {
        family(&mut o, name, "gauge", help);
        for (state, count) in counts {
            sample(&mut o, name, Some(("state", state)), count);
        }
    }
    for (prefix, name, label, help) in FAMILIES {
        let name = format!("{name}_total");
        family(&mut o, &name, "counter", help);
        for (counter, value) in &stats.counters {
            if let Some(rest) = counter.strip_prefix(prefix) {
                sample(&mut o, &name, Some((label, rest)), value);
            }
        }
    }
    family(&mut o, "dataplane_total", "counter", "What the data plane did with packets");
    for (counter, value) in &stats.counters {
        let elsewhere = FAMILIES.iter().any(|(prefix, ..)| counter.starts_with(prefix))
            || GAUGES.iter().any(|(name, _)| name == counter)
            || counter == "contexts";
        if !elsewhere {
            sample(&mut o, "dataplane_total", Some(("action", counter)), value);
        }
    }
    for (name, help) in GAUGES {
        if let Some(value) = stats.counters.get(*name) {
            gauge(&mut o, name, help, value);
        }
    }
    let queues = [
        ("queue_waiting", "gauge", "Packets that wait for a verdict"),
        ("queue_dropped_total", "counter", "Packets that found the queue full"),
        ("queue_user_dropped_total", "counter", "Packets that the socket's buffer could not take"),
    ];
    for (i, (name, kind, help)) in queues.into_iter().enumerate() {
        family(&mut o, name, kind, help);
        for q in &stats.queues {
            let value = [q.waiting, q.dropped, q.user_dropped].get(i).copied().unwrap_or_default();
            sample(&mut o, name, Some(("queue", &q.queue.to_string())), value);
        }
    }
    o
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::QueueStats;
    use std::collections::BTreeSet;

    #[test]
    fn every_counter_is_a_sample_of_one_declared_family() {
        let names = ["rx_i1", "tx_probe", "drop_hip", "event_sent", "tcp_cut", "held_flows"];
        let status = StatusInfo {
            version: "1\"2".into(),
            contexts: [("ESTABLISHED".to_owned(), 3)].into(),
            ..StatusInfo::default()
        };
        let stats = StatsInfo {
            counters: names.iter().map(|n| ((*n).to_owned(), 7)).collect(),
            queues: vec![QueueStats { queue: 5533, dropped: 2, ..QueueStats::default() }],
        };
        let text = text(&status, &stats);
        let mut declared = BTreeSet::new();
        let mut samples = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(["gauge", "counter"].contains(&kind) && declared.insert(name), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(declared.contains(name.split('{').next().unwrap()), "{line}");
                assert!(samples.insert(name), "{line} twice");
            }
        }
        for sample in [
            "shim6_build_info{version=\"1\\\"2\"} 1",
            "shim6_contexts{state=\"ESTABLISHED\"} 3",
            "shim6_messages_sent_total{type=\"probe\"} 7",
            "shim6_dropped_packets_total{reason=\"hip\"} 7",
            "shim6_dataplane_total{action=\"tcp_cut\"} 7",
            "shim6_held_flows 7",
            "shim6_queue_dropped_total{queue=\"5533\"} 2",
        ] {
            assert!(text.contains(&format!("{sample}\n")), "{sample} in\n{text}");
        }
    }
}
