//! Keys of `[establish]`: context establishment, recovery and updates (RFC 5533, section 14).

use super::LONG;
use crate::daemon::config::keys::{Key, Kind, NO_LIMIT};
use crate::daemon::config::values::seconds;

/// The keys of the section.
pub const KEYS: &[Key] = &[
    // req: S6-14-01
    Key {
        section: "establish",
        name: "i1_timeout",
        kind: Kind::Seconds {
            min: 0.01,
            max: LONG,
            whole: false,
            set: |c, v| c.engine.establish.i1_timeout = v,
        },
        get: |c| seconds(c.engine.establish.i1_timeout),
        recommended: Some((
            1.0,
            30.0,
            "shorter waits burden the network, longer ones delay the context",
        )),
        restart: false,
        about: "I1_TIMEOUT: first wait for the answer to an I1. Every further wait is twice as \
              long, varied at random by 0.5 to 1.5.",
    },
    // req: S6-14-02
    Key {
        section: "establish",
        name: "i1_retries_max",
        kind: Kind::Number {
            min: 0,
            max: 16,
            set: |c, v| c.engine.establish.i1_retries_max = v as u32,
        },
        get: |c| c.engine.establish.i1_retries_max.to_string(),
        recommended: Some((1.0, 8.0, "RFC 5533 says 4")),
        restart: false,
        about: "I1_RETRIES_MAX: how often an I1 is sent again.",
    },
    // req: S6-14-03
    Key {
        section: "establish",
        name: "no_r1_holddown",
        kind: Kind::Seconds {
            min: 0.0,
            max: LONG,
            whole: false,
            set: |c, v| c.engine.establish.no_r1_holddown = v,
        },
        get: |c| seconds(c.engine.establish.no_r1_holddown),
        recommended: Some((10.0, 3600.0, "RFC 5533 says 1 minute")),
        restart: false,
        about: "NO_R1_HOLDDOWN_TIME: no new attempt between two addresses for so long after \
              one stayed without an answer.",
    },
    // req: S6-14-04
    Key {
        section: "establish",
        name: "icmp_holddown",
        kind: Kind::Seconds {
            min: 0.0,
            max: LONG,
            whole: false,
            set: |c, v| c.engine.establish.icmp_holddown = v,
        },
        get: |c| seconds(c.engine.establish.icmp_holddown),
        recommended: Some((60.0, 86400.0, "RFC 5533 says 10 minutes")),
        restart: false,
        about: "ICMP_HOLDDOWN_TIME: no new attempt to a peer for so long after its kernel has \
              refused protocol 140.",
    },
    // req: S6-14-05
    Key {
        section: "establish",
        name: "i2_timeout",
        kind: Kind::Seconds {
            min: 0.01,
            max: LONG,
            whole: false,
            set: |c, v| c.engine.establish.i2_timeout = v,
        },
        get: |c| seconds(c.engine.establish.i2_timeout),
        recommended: Some((
            1.0,
            30.0,
            "shorter waits burden the network, longer ones delay the context",
        )),
        restart: false,
        about: "I2_TIMEOUT: first wait for the answer to an I2.",
    },
    Key {
        section: "establish",
        name: "i2_retries_max",
        kind: Kind::Number {
            min: 0,
            max: 16,
            set: |c, v| c.engine.establish.i2_retries_max = v as u32,
        },
        get: |c| c.engine.establish.i2_retries_max.to_string(),
        recommended: Some((1.0, 8.0, "RFC 5533 says 2")),
        restart: false,
        about: "I2_RETRIES_MAX: how often an I2 is sent again.",
    },
    // req: S6-14-06
    Key {
        section: "establish",
        name: "i2bis_timeout",
        kind: Kind::Seconds {
            min: 0.01,
            max: LONG,
            whole: false,
            set: |c, v| c.engine.establish.i2bis_timeout = v,
        },
        get: |c| seconds(c.engine.establish.i2bis_timeout),
        recommended: Some((
            1.0,
            30.0,
            "shorter waits burden the network, longer ones delay the context",
        )),
        restart: false,
        about: "I2bis_TIMEOUT: first wait for the answer to an I2bis.",
    },
    Key {
        section: "establish",
        name: "i2bis_retries_max",
        kind: Kind::Number {
            min: 0,
            max: 16,
            set: |c, v| c.engine.establish.i2bis_retries_max = v as u32,
        },
        get: |c| c.engine.establish.i2bis_retries_max.to_string(),
        recommended: Some((1.0, 8.0, "RFC 5533 says 2")),
        restart: false,
        about: "I2bis_RETRIES_MAX: how often an I2bis is sent again.",
    },
    // req: S6-14-07
    Key {
        section: "establish",
        name: "validator_min_lifetime",
        kind: Kind::Seconds {
            min: 1.0,
            max: LONG,
            whole: false,
            set: |c, v| c.engine.establish.validator_min_lifetime = v,
        },
        get: |c| seconds(c.engine.establish.validator_min_lifetime),
        recommended: Some((30.0, 300.0, "RFC 5533 says at least 30 seconds")),
        restart: false,
        about: "VALIDATOR_MIN_LIFETIME: how long a peer may take at least to answer our R1 or \
              R1bis.",
    },
    Key {
        section: "establish",
        name: "validator_max_age",
        kind: Kind::Seconds {
            min: 1.0,
            max: LONG,
            whole: false,
            set: |c, v| c.engine.establish.validator_max_age = v,
        },
        get: |c| seconds(c.engine.establish.validator_max_age),
        recommended: Some((30.0, 300.0, "longer ones help replay")),
        restart: false,
        about: "How old an answer to our R1 or R1bis may be at most.",
    },
    Key {
        section: "establish",
        name: "secret_rotation",
        kind: Kind::Seconds {
            min: 60.0,
            max: LONG,
            whole: false,
            set: |c, v| c.engine.establish.secret_rotation = v,
        },
        get: |c| seconds(c.engine.establish.secret_rotation),
        recommended: Some((300.0, 86400.0, "validators live up to a minute")),
        restart: false,
        about: "How often the secret behind our validators changes (RFC 5533, 16.2). The \
              previous one stays valid for one more period.",
    },
    // req: S6-14-08
    Key {
        section: "establish",
        name: "update_timeout",
        kind: Kind::Seconds {
            min: 0.01,
            max: LONG,
            whole: false,
            set: |c, v| c.engine.establish.update_timeout = v,
        },
        get: |c| seconds(c.engine.establish.update_timeout),
        recommended: Some((
            1.0,
            30.0,
            "shorter waits burden the network, longer ones delay the context",
        )),
        restart: false,
        about: "UPDATE_TIMEOUT: first wait for the answer to an Update Request.",
    },
    Key {
        section: "establish",
        name: "max_update_timeout",
        kind: Kind::Seconds {
            min: 0.01,
            max: LONG,
            whole: false,
            set: |c, v| c.engine.establish.max_update_timeout = v,
        },
        get: |c| seconds(c.engine.establish.max_update_timeout),
        recommended: Some((30.0, 600.0, "RFC 5533 says 120 seconds")),
        restart: false,
        about: "MAX_UPDATE_TIMEOUT: longest wait between two Update Requests.",
    },
    // req: S6-9-04
    Key {
        section: "establish",
        name: "idle_teardown",
        kind: Kind::Seconds {
            min: 1.0,
            max: LONG,
            whole: false,
            set: |c, v| c.engine.establish.idle_teardown = v,
        },
        get: |c| seconds(c.engine.establish.idle_teardown),
        recommended: Some((300.0, NO_LIMIT, "RFC 5533, 9: at least 5 minutes")),
        restart: false,
        about: "A context that has carried nothing for so long is discarded, unless a socket is connected between its ULIDs \
                (RFC 5533, 9).",
    },
    Key {
        section: "establish",
        name: "tag_bits",
        kind: Kind::Number { min: 4, max: 47, set: |c, v| c.engine.establish.tag_bits = v as u32 },
        get: |c| c.engine.establish.tag_bits.to_string(),
        recommended: Some((47.0, 47.0, "fewer are for tests")),
        restart: false,
        about: "Random bits of a context tag. Fewer than 47 only to provoke collisions in a \
              test (RFC 5533, C.4).",
    },
];
