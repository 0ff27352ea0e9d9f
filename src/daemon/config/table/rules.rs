//! Keys of `[rules]`: the packet filter.

use crate::daemon::config::keys::{Key, Kind};
use crate::daemon::config::values::quoted;
use crate::dataplane::{Backend, Tier};
use crate::nft::{QueueKind, TaggedHook};

/// The keys of the section.
pub const KEYS: &[Key] = &[
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
        name: "tier",
        kind: Kind::Number {
            min: 1,
            max: 3,
            set: |c, v| {
                c.rules.tier = u8::try_from(v).ok().and_then(Tier::numbered).unwrap_or_default();
            },
        },
        get: |c| c.rules.tier.number().to_string(),
        recommended: None,
        restart: true,
        about: "How little is done for packets that stay as they are. 1: fast flows of \
              established contexts pass in the kernel, where the daemon keeps the rules \
              itself and the kernel can count (Linux 5.7); 2: of every packet the headers \
              are read; 3: every packet is read whole. Flows fare the same with each; 2 and \
              3 are for finding faults. `shim6d --tier` takes precedence.",
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
    // req: S6-8-02
    Key {
        section: "rules",
        name: "deliver_all_icmp",
        kind: Kind::Flag { set: |c, v| c.rules.deliver_all_icmp = v },
        get: |c| c.rules.deliver_all_icmp.to_string(),
        recommended: None,
        restart: true,
        about: "Whether transports see, translated, also those ICMPv6 errors about rewritten \
              packets on which the daemon acts itself by testing or leaving the pair. \
              Packet Too Big is always delivered.",
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
];
