//! Keys of `[log]`, `[control]` and `[metrics]`.

use crate::daemon::config::keys::{Key, Kind};
use crate::daemon::config::values::{listen_text, quoted, set_group, set_listen};

/// The keys of `[log]`.
pub const LOG: &[Key] = &[
    Key {
        section: "log",
        name: "level",
        kind: Kind::Choice {
            words: &["off", "error", "warn", "info", "debug", "trace"],
            set: |c, v| c.log.level = v.parse().unwrap_or(log::LevelFilter::Info),
        },
        get: |c| quoted(&c.log.level.to_string().to_lowercase()),
        recommended: None,
        restart: false,
        about: "Most detailed level that is written. `SHIM6_LOG` in the environment takes \
              precedence.",
    },
    Key {
        section: "log",
        name: "debug_errors",
        kind: Kind::Flag { set: |c, v| c.engine.debug_errors = v },
        get: |c| c.engine.debug_errors.to_string(),
        recommended: None,
        restart: false,
        about: "Whether the sender of a control message that is dropped silently otherwise is told why, by an Error with a \
              code from 120 to 127 (RFC 5533, 5.14). For finding faults.",
    },
];

/// The keys of `[control]`.
pub const CONTROL: &[Key] = &[Key {
    section: "control",
    name: "group",
    kind: Kind::Text { set: set_group },
    get: |c| quoted(&c.control.group),
    recommended: None,
    restart: false,
    about: "Members of this group may do with `shim6ctl` what root may. An empty text, or \
              a group that does not exist, means root alone.",
}];

/// The keys of `[metrics]`.
pub const METRICS: &[Key] = &[Key {
    section: "metrics",
    name: "listen",
    kind: Kind::Text { set: set_listen },
    get: listen_text,
    recommended: None,
    restart: true,
    about: "Where `GET /metrics` (HTTP) is answered: an address with a port, such as \
              `[::1]:9633`, or the absolute path of a Unix socket, which root and its group may use. \
              Whoever reaches the address may read. An empty text: nowhere. `shim6ctl stats \
              --prometheus` prints the same.",
}];
