//! Keys of `[reap]`: failure detection and exploration (RFC 5534, section 7).

use super::LONG;
use crate::daemon::config::keys::{Key, Kind};
use crate::daemon::config::values::{decimal, quoted, seconds};
use crate::proto::config::Detection;

/// The keys of the section.
pub const KEYS: &[Key] = &[
    // req: RP-7-03, RP-7-06
    Key {
        section: "reap",
        name: "send_timeout",
        kind: Kind::Seconds {
            min: 2.0,
            max: 65535.0,
            whole: true,
            set: |c, v| {
                c.engine.reap.send_timeout_secs = u16::try_from(v.as_secs()).unwrap_or(u16::MAX)
            },
        },
        get: |c| c.engine.reap.send_timeout_secs.to_string(),
        recommended: Some((10.0, 100.0, "RFC 5534, 7")),
        restart: false,
        about: "Send Timeout: a pair of locators on which nothing comes back for so long, \
              though something was sent, has failed. Whole seconds, as the peer is told this \
              value.",
    },
    Key {
        section: "reap",
        name: "keepalive_timeout",
        kind: Kind::Seconds {
            min: 1.0,
            max: 65535.0,
            whole: false,
            set: |c, v| c.engine.reap.default_keepalive_timeout = v,
        },
        get: |c| seconds(c.engine.reap.default_keepalive_timeout),
        recommended: Some((10.0, 100.0, "the peer's Send Timeout, 15 seconds by default")),
        restart: false,
        about: "Keepalive Timeout, as long as a peer has not said what its Send Timeout is.",
    },
    // req: RP-4.1-04, RP-7-05
    Key {
        section: "reap",
        name: "keepalive_fraction",
        kind: Kind::Fraction {
            min: 0.1,
            max: 0.9,
            set: |c, v| c.engine.reap.keepalive_fraction = v,
        },
        get: |c| decimal(c.engine.reap.keepalive_fraction),
        recommended: Some((0.3333, 0.5, "RFC 5534, 4.1: one third to one half")),
        restart: false,
        about: "Keepalive Interval, as a part of the Keepalive Timeout.",
    },
    // req: RP-7-01
    Key {
        section: "reap",
        name: "initial_probe_timeout",
        kind: Kind::Seconds {
            min: 0.01,
            max: LONG,
            whole: false,
            set: |c, v| c.engine.reap.initial_probe_timeout = v,
        },
        get: |c| seconds(c.engine.reap.initial_probe_timeout),
        recommended: Some((0.1, 5.0, "RFC 5534 says 0.5 seconds")),
        restart: false,
        about: "Initial Probe Timeout: the wait between the first probes of an exploration.",
    },
    // req: RP-7-02
    Key {
        section: "reap",
        name: "initial_probes",
        kind: Kind::Number { min: 1, max: 64, set: |c, v| c.engine.reap.initial_probes = v as u32 },
        get: |c| c.engine.reap.initial_probes.to_string(),
        recommended: Some((1.0, 10.0, "RFC 5534 says 4")),
        restart: false,
        about: "Number of Initial Probes, before the wait doubles each time.",
    },
    Key {
        section: "reap",
        name: "max_probe_timeout",
        kind: Kind::Seconds {
            min: 0.01,
            max: LONG,
            whole: false,
            set: |c, v| c.engine.reap.max_probe_timeout = v,
        },
        get: |c| seconds(c.engine.reap.max_probe_timeout),
        recommended: Some((10.0, 600.0, "RFC 5534 says 60 seconds")),
        restart: false,
        about: "Max Probe Timeout: longest wait between two probes (RFC 5534, 4.3).",
    },
    Key {
        section: "reap",
        name: "probe_jitter",
        kind: Kind::Fraction { min: 0.0, max: 0.5, set: |c, v| c.engine.reap.probe_jitter = v },
        get: |c| decimal(c.engine.reap.probe_jitter),
        recommended: Some((0.05, 0.5, "without it hosts probe in step")),
        restart: false,
        about: "Waits between probes vary at random by this part of themselves.",
    },
    Key {
        section: "reap",
        name: "send_jitter",
        kind: Kind::Fraction { min: 0.0, max: 0.5, set: |c, v| c.engine.reap.send_jitter = v },
        get: |c| decimal(c.engine.reap.send_jitter),
        recommended: None,
        restart: false,
        about: "Send Timeout varies downwards at random by at most this part of itself.",
    },
    Key {
        section: "reap",
        name: "replies_per_second",
        kind: Kind::Number {
            min: 1,
            max: 1000,
            set: |c, v| c.engine.reap.replies_per_second = v as u32,
        },
        get: |c| c.engine.reap.replies_per_second.to_string(),
        recommended: Some((2.0, 100.0, "too few delay the recovery")),
        restart: false,
        about: "Immediate answers to a peer's probes, per second and context.",
    },
    Key {
        section: "reap",
        name: "report_lifetime",
        kind: Kind::Seconds {
            min: 0.0,
            max: LONG,
            whole: false,
            set: |c, v| c.engine.reap.report_lifetime = v,
        },
        get: |c| seconds(c.engine.reap.report_lifetime),
        recommended: Some((1.0, 60.0, "older reports mislead the peer")),
        restart: false,
        about: "For so long after an exploration late probes are still reported with those \
              received in it.",
    },
    Key {
        section: "reap",
        name: "hot_standby",
        kind: Kind::Flag { set: |c, v| c.engine.reap.hot_standby = v },
        get: |c| c.engine.reap.hot_standby.to_string(),
        recommended: None,
        restart: false,
        about: "Hot standby: whether a second pair, one that shares no locator with the current one \
              if possible, is kept tested while payload passes. An exploration begins with it. \
              Costs three messages per test.",
    },
    Key {
        section: "reap",
        name: "standby_interval",
        kind: Kind::Seconds {
            min: 1.0,
            max: LONG,
            whole: false,
            set: |c, v| c.engine.reap.standby_interval = v,
        },
        get: |c| seconds(c.engine.reap.standby_interval),
        recommended: Some((5.0, 300.0, "each test is three messages per context")),
        restart: false,
        about: "Hot standby: the wait between two tests.",
    },
    Key {
        section: "reap",
        name: "return_to_preferred",
        kind: Kind::Seconds {
            min: 0.0,
            max: LONG,
            whole: false,
            set: |c, v| c.engine.reap.return_to_preferred = (!v.is_zero()).then_some(v),
        },
        get: |c| seconds(c.engine.reap.return_to_preferred.unwrap_or_default()),
        recommended: None,
        restart: false,
        about: "For how long the preferred pair (by preferences and RFC 6724, among equals that of \
              the ULIDs) has to pass four tests in a row until payload goes back to it after a \
              repair. Twice as many after a return that did not last. 0: payload stays where \
              it is.",
    },
    Key {
        section: "reap",
        name: "detection",
        kind: Kind::Choice {
            words: &["rfc", "fast"],
            set: |c, v| {
                c.engine.reap.detection = if v == "fast" { Detection::Fast } else { Detection::Rfc }
            },
        },
        get: |c| quoted(c.engine.reap.detection.name()),
        recommended: None,
        restart: false,
        about: "How failures are noticed. `rfc`: by the two timeouts. `fast`: also by the silence \
              of the flow itself. When nothing comes back for longer than a round trip, probes \
              test the pair in use; if they stay unanswered as well, other pairs are tried, the \
              first four at short intervals. A flow that nobody answers is tested \
              once a second. The peer needs no such setting.",
    },
];
