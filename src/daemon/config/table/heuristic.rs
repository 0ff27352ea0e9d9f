//! Keys of `[heuristic]`: when to negotiate.

use super::LONG;
use crate::daemon::config::keys::{Key, Kind};
use crate::daemon::config::values::{policy_text, seconds, set_policy};

/// The keys of the section.
pub const KEYS: &[Key] = &[
    Key {
        section: "heuristic",
        name: "octets",
        kind: Kind::Number {
            min: 0,
            max: u64::MAX >> 1,
            set: |c, v| c.engine.heuristic.octets = v,
        },
        get: |c| c.engine.heuristic.octets.to_string(),
        recommended: None,
        restart: false,
        about: "Octets between two addresses, both directions together, after which a context \
              is negotiated.",
    },
    Key {
        section: "heuristic",
        name: "age",
        kind: Kind::Seconds {
            min: 0.0,
            max: LONG,
            whole: false,
            set: |c, v| c.engine.heuristic.age = v,
        },
        get: |c| seconds(c.engine.heuristic.age),
        recommended: None,
        restart: false,
        about: "Age of traffic between two addresses after which a context is negotiated, \
              however little it is.",
    },
    Key {
        section: "heuristic",
        name: "policy",
        kind: Kind::Tables { columns: &["prefix", "action"], set: set_policy },
        get: policy_text,
        recommended: None,
        restart: false,
        about: "What applies to which peers, first match first: `{ prefix = \"2001:db8::/32\", \
              action = \"never\" }`. `shim` negotiates by the two keys above, `immediate` at \
              the first packet, `never` not at all, not even when the peer asks. Peers \
              without a match: `shim`.",
    },
];
