//! The table of all keys, from which everything about the file follows.

use super::keys::{Key, Kind, NO_LIMIT, Section};
use super::values::{
    decimal, list, policy_text, quoted, seconds, set_group, set_policy, set_prefixes,
};
use crate::cga::Method;
use crate::dataplane::Backend;
use crate::nft::{QueueKind, TaggedHook};
use crate::proto::config::Detection;

/// A year in seconds: longer than any timer makes sense, short enough for all arithmetic.
const LONG: f64 = 31_536_000.0;

/// All sections, in the order of [`KEYS`].
pub const SECTIONS: &[Section] = &[
    Section {
        name: "identity",
        about: "The addresses by which peers know this host. All but the last key matter only \
              when an identity is made; `shim6ctl identity` makes, shows and imports one by \
              hand.",
    },
    Section {
        name: "establish",
        about: "Timers and limits of context establishment, recovery and updates (RFC 5533, \
              section 14, unless noted otherwise).",
    },
    Section { name: "heuristic", about: "When traffic between two addresses is worth a context." },
    Section {
        name: "reap",
        about: "Failure detection and exploration (RFC 5534, section 7, unless noted \
              otherwise).",
    },
    Section {
        name: "limits",
        about: "Bounds on what others can make this host keep or send. What exceeds a bound is \
              counted and dropped.",
    },
    Section { name: "rules", about: "The packet filter rules that bring packets to the daemon." },
    Section { name: "log", about: "The log, on standard error." },
    Section { name: "control", about: "The control socket." },
];

/// All keys, section by section.
pub const KEYS: &[Key] = &[
    Key {
        section: "identity",
        name: "method",
        kind: Kind::Choice {
            words: &["hba", "cga", "hba-cga"],
            set: |c, v| {
                c.identity.method = match v {
                    "hba" => Method::Hba,
                    "cga" => Method::Cga,
                    _ => Method::HbaCga,
                }
            },
        },
        get: |c| quoted(c.identity.method.name()),
        recommended: None,
        restart: true,
        about: "Kind of a new identity: `hba` (RFC 5535: the addresses vouch for each other, \
              no key), `cga` (RFC 3972: one key vouches for all), `hba-cga` (both: members \
              of the set by hash, locators that come later by signature). Where the host's \
              crypto policy forbids SHA-1 signatures, `hba` is used instead.",
    },
    Key {
        section: "identity",
        name: "sec",
        kind: Kind::Number { min: 0, max: 2, set: |c, v| c.identity.sec = v as u8 },
        get: |c| c.identity.sec.to_string(),
        recommended: None,
        restart: true,
        about: "Security parameter of a new identity (RFC 3972, 2), 0 to 2. Each step makes \
              forging an address, and making one, 65536 times harder: 1 takes seconds, 2 \
              takes days.",
    },
    Key {
        section: "identity",
        name: "key_bits",
        kind: Kind::Number { min: 1024, max: 3072, set: |c, v| c.identity.key_bits = v as u32 },
        get: |c| c.identity.key_bits.to_string(),
        recommended: Some((2048.0, 2048.0, "RSA-2048 leaves room for the locators")),
        restart: true,
        about: "Bits of a new RSA key. Larger ones leave too little room for locators in a \
              packet of 1280 octets.",
    },
    Key {
        section: "identity",
        name: "prefixes",
        kind: Kind::Texts { set: set_prefixes },
        get: |c| list(c.identity.prefixes.iter().map(|p| quoted(&p.to_string()))),
        recommended: None,
        restart: true,
        about: "The /64 prefixes of a new identity, as in `[\"2001:db8:1:2::/64\"]`. Empty \
              means every global /64 that the host has when the identity is made.",
    },
    Key {
        section: "identity",
        name: "remove_addresses_at_exit",
        kind: Kind::Flag { set: |c, v| c.identity.remove_addresses_at_exit = v },
        get: |c| c.identity.remove_addresses_at_exit.to_string(),
        recommended: None,
        restart: false,
        about: "Whether the addresses that the daemon has added go when it stops. Flows that \
              use them end then.",
    },
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
        about: "A context that has carried nothing for so long is discarded (RFC 5533, 9).",
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
            min: 0.05,
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
              of the flow itself. When nothing comes back within a few round trips (0.1 seconds \
              at least), probes test the pair in use; if they stay unanswered as well, other \
              pairs are tried, the first four at short intervals. A flow that nobody answers is \
              tested once a second. The peer needs no such setting.",
    },
    Key {
        section: "limits",
        name: "contexts",
        kind: Kind::Number {
            min: 1,
            max: 16777216,
            set: |c, v| c.engine.limits.contexts = v as usize,
        },
        get: |c| c.engine.limits.contexts.to_string(),
        recommended: None,
        restart: false,
        about: "Contexts in all.",
    },
    Key {
        section: "limits",
        name: "contexts_per_prefix",
        kind: Kind::Number {
            min: 1,
            max: 16777216,
            set: |c, v| c.engine.limits.contexts_per_prefix = v as usize,
        },
        get: |c| c.engine.limits.contexts_per_prefix.to_string(),
        recommended: None,
        restart: false,
        about: "Contexts with peers of one /64.",
    },
    Key {
        section: "limits",
        name: "locators",
        kind: Kind::Number { min: 1, max: 32, set: |c, v| c.engine.limits.locators = v as usize },
        get: |c| c.engine.limits.locators.to_string(),
        recommended: None,
        restart: false,
        about: "Locators that are accepted in one list.",
    },
    Key {
        section: "limits",
        name: "r1bis_per_second",
        kind: Kind::Number {
            min: 1,
            max: 100000,
            set: |c, v| c.engine.limits.r1bis_per_second = v as u32,
        },
        get: |c| c.engine.limits.r1bis_per_second.to_string(),
        recommended: None,
        restart: false,
        about: "R1bis messages per second in all.",
    },
    Key {
        section: "limits",
        name: "r1bis_burst",
        kind: Kind::Number {
            min: 1,
            max: 100000,
            set: |c, v| c.engine.limits.r1bis_burst = v as u32,
        },
        get: |c| c.engine.limits.r1bis_burst.to_string(),
        recommended: None,
        restart: false,
        about: "R1bis messages at once.",
    },
    Key {
        section: "limits",
        name: "r1bis_per_prefix",
        kind: Kind::Number {
            min: 1,
            max: 100000,
            set: |c, v| c.engine.limits.r1bis_per_prefix = v as u32,
        },
        get: |c| c.engine.limits.r1bis_per_prefix.to_string(),
        recommended: None,
        restart: false,
        about: "R1bis messages per second to one /64.",
    },
    Key {
        section: "limits",
        name: "errors_per_second",
        kind: Kind::Number {
            min: 0,
            max: 100000,
            set: |c, v| c.engine.limits.errors_per_second = v as u32,
        },
        get: |c| c.engine.limits.errors_per_second.to_string(),
        recommended: None,
        restart: false,
        about: "Shim6 Error messages per second in all.",
    },
    Key {
        section: "limits",
        name: "holddowns",
        kind: Kind::Number {
            min: 1,
            max: 16777216,
            set: |c, v| c.engine.limits.holddowns = v as usize,
        },
        get: |c| c.engine.limits.holddowns.to_string(),
        recommended: None,
        restart: false,
        about: "Peers that are remembered for not having answered.",
    },
    Key {
        section: "rules",
        name: "manage",
        kind: Kind::Flag { set: |c, v| c.rules.manage = v },
        get: |c| c.rules.manage.to_string(),
        recommended: None,
        restart: true,
        about: "Whether the daemon installs its table `ip6 shim6`, puts it back when somebody \
              flushes it, and removes it when it stops. With `false` load \
              `nft-rules/shim6.nft` or its ip6tables twin by hand.",
    },
    Key {
        section: "rules",
        name: "queue_backend",
        kind: Kind::Choice {
            words: &["auto", "native", "xt"],
            set: |c, v| {
                c.rules.queue_backend = match v {
                    "native" => Some(QueueKind::Native),
                    "xt" => Some(QueueKind::XtCompat),
                    _ => None,
                }
            },
        },
        get: |c| {
            quoted(match c.rules.queue_backend {
                None => "auto",
                Some(QueueKind::Native) => "native",
                Some(QueueKind::XtCompat) => "xt",
            })
        },
        recommended: None,
        restart: true,
        about: "How packets are queued: by nftables itself (`native`), or by the xt target \
              NFQUEUE through nft_compat (`xt`). `auto` tries the first, then the second.",
    },
    Key {
        section: "rules",
        name: "queue_driver",
        kind: Kind::Choice {
            words: &["batch", "nfq"],
            set: |c, v| c.rules.queue_driver = Backend::named(v).unwrap_or_default(),
        },
        get: |c| quoted(c.rules.queue_driver.name()),
        recommended: None,
        restart: true,
        about: "How the daemon reads the queues: many packets and verdicts for each call, and \
              headers only where they suffice (`batch`), or one by one through the `nfq` \
              crate (`nfq`). `shim6d --queue-backend` takes precedence.",
    },
    Key {
        section: "rules",
        name: "tagged_hook",
        kind: Kind::Choice {
            words: &["prerouting", "input"],
            set: |c, v| {
                c.rules.tagged_hook =
                    if v == "input" { TaggedHook::Input } else { TaggedHook::Prerouting }
            },
        },
        get: |c| {
            quoted(if c.rules.tagged_hook == TaggedHook::Input { "input" } else { "prerouting" })
        },
        recommended: None,
        restart: true,
        about: "Where packets with the Shim6 header are taken: before connection tracking \
              (`prerouting`), so that stateful firewalls see the flow between the ULIDs, or \
              at local-in (`input`).",
    },
    Key {
        section: "rules",
        name: "queues",
        kind: Kind::Number {
            min: 0,
            max: 64,
            set: |c, v| c.rules.queues = u16::try_from(v).ok().filter(|&n| n > 0),
        },
        get: |c| c.rules.queues.unwrap_or(0).to_string(),
        recommended: None,
        restart: true,
        about: "Queues for plain packets, each with its thread. 0 means one per processor, at \
              most 8.",
    },
    Key {
        section: "rules",
        name: "queue_first",
        kind: Kind::Number { min: 0, max: 65534, set: |c, v| c.rules.queue_first = v as u16 },
        get: |c| c.rules.queue_first.to_string(),
        recommended: None,
        restart: true,
        about: "Number of the first queue: that of packets with next header 140. The others \
              follow.",
    },
    Key {
        section: "rules",
        name: "mark",
        kind: Kind::Number { min: 1, max: 0xffff_ffff, set: |c, v| c.rules.mark = v as u32 },
        get: |c| format!("{:#x}", c.rules.mark),
        recommended: None,
        restart: true,
        about: "Packet mark of our own packets, so that they are not queued again.",
    },
    Key {
        section: "rules",
        name: "mark_mask",
        kind: Kind::Number { min: 1, max: 0xffff_ffff, set: |c, v| c.rules.mark_mask = v as u32 },
        get: |c| format!("{:#x}", c.rules.mark_mask),
        recommended: None,
        restart: true,
        about: "The bits of the packet mark that are ours.",
    },
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
        section: "control",
        name: "group",
        kind: Kind::Text { set: set_group },
        get: |c| quoted(&c.control.group),
        recommended: None,
        restart: false,
        about: "Members of this group may do with `shim6ctl` what root may. An empty text, or \
              a group that does not exist, means root alone.",
    },
];
