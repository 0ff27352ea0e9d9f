//! The table of all keys, from which everything about the file follows: a file per section.

mod establish;
mod heuristic;
mod identity;
mod limits;
mod reap;
mod rules;
mod service;

use super::keys::Section;

/// A year in seconds: longer than any timer makes sense, short enough for all arithmetic.
const LONG: f64 = 31_536_000.0;

/// All sections with their keys, in the order of the documents.
pub const SECTIONS: &[Section] = &[
    Section {
        name: "identity",
        about: "The addresses by which peers know this host. All but the last key matter only \
              when an identity is made; `shim6ctl identity` makes, shows and imports one by \
              hand.",
        keys: identity::KEYS,
    },
    Section {
        name: "establish",
        about: "Timers and limits of context establishment, recovery and updates (RFC 5533, \
              section 14, unless noted otherwise).",
        keys: establish::KEYS,
    },
    Section {
        name: "heuristic",
        about: "When traffic between two addresses is worth a context.",
        keys: heuristic::KEYS,
    },
    Section {
        name: "reap",
        about: "Failure detection and exploration (RFC 5534, section 7, unless noted \
              otherwise).",
        keys: reap::KEYS,
    },
    Section {
        name: "limits",
        about: "Bounds on what others can make this host keep or send. What exceeds a bound is \
              counted and dropped.",
        keys: limits::KEYS,
    },
    Section {
        name: "rules",
        about: "The packet filter rules that bring packets to the daemon.",
        keys: rules::KEYS,
    },
    Section { name: "log", about: "The log, on standard error.", keys: service::LOG },
    Section { name: "control", about: "The control socket.", keys: service::CONTROL },
    Section {
        name: "metrics",
        about: "Counters for a monitoring system, in Prometheus' text form.",
        keys: service::METRICS,
    },
];
