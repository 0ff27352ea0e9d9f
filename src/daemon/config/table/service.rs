//! Keys of `[log]` and `[control]`.

use crate::daemon::config::keys::{Key, Kind};
use crate::daemon::config::values::{quoted, set_group};

/// The keys of `[log]`.
pub const LOG: &[Key] = &[Key {
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
}];

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
