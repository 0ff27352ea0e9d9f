//! Keys of `[identity]`: who this host is.

use crate::cga::Method;
use crate::daemon::config::keys::{Key, Kind};
use crate::daemon::config::values::{list, quoted, set_prefixes};

/// The keys of the section.
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
];
