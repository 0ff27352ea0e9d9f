//! The rules as data: what an installation asks for, and the list of chains and rules that follows from it.
//!
//! Everything that speaks about rules (the transaction, the text, the read-back check, the files in
//! `nft-rules/`) is derived from [`RuleSpec::chains`], so they cannot drift apart.

use std::net::Ipv6Addr;
use std::time::Duration;

use super::error::NftError;

/// The protocol number of Shim6 (RFC 5533, 5).
pub const SHIM6: u8 = 140;

/// The set that holds one element for as long as the daemon shows life.
pub(super) const ALIVE: &str = "alive";
/// How long a sign of life lasts: so long after the last one the kernel stops queueing plain packets.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(500);
/// The element of that set: the Ethernet type of IPv6, which rules can look up for any packet of this family.
pub(super) const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Elements that have run out stay until the kernel sweeps them up, about once a second.
pub(super) const ALIVE_SIZE: u32 = 16;
/// The protocol number of UDP, of which signs of life are made.
pub(super) const UDP: u8 = 17;

/// The set of address pairs that the kernel passes by itself.
pub(super) const PASSING: &str = "passing";
/// Its elements, at most: two for each pair and protocol.
pub const PASSING_SIZE: u32 = 8192;

/// Where inbound packets with next header 140 leave the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TaggedHook {
    /// Prerouting, priority -250: after defragmentation, before conntrack, so that stateful firewalls see the
    /// flow between the ULIDs.
    #[default]
    Prerouting,
    /// Local-in, priority -150: for kernels without `fib`, and hosts whose reverse-path rules need it.
    Input,
}

/// How the kernel is told to queue a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueKind {
    /// nf_tables' own `queue` statement (module nft_queue).
    Native,
    /// The xt target `NFQUEUE`, revision 3, through nft_compat.
    XtCompat,
}

/// What is to be installed.
///
/// Queues are numbered without gaps: first those for protocol 140, then those for plain packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RuleSpec {
    /// Number of the first queue.
    pub queue_first: u16,
    /// Number of queues for inbound protocol 140; at least 1.
    pub queues_140: u16,
    /// Number of queues for all other IPv6 unicast; at least 1.
    pub queues_plain: u16,
    /// Where inbound protocol 140 is taken.
    pub tagged_hook: TaggedHook,
    /// Value that our own packets, and packets we restored, carry in the masked bits of their mark; not 0.
    pub mark: u32,
    /// The bits of the mark that are ours.
    pub mark_mask: u32,
    /// Whether `fib` may be used; without it, `tagged_hook` must be [`TaggedHook::Input`].
    pub fib: bool,
    /// Whether plain packets are queued only while a [`Heartbeat`](super::Heartbeat) beats. Without one that
    /// beats, such rules let all plain packets pass [`HEARTBEAT_TIMEOUT`] after they were installed.
    pub heartbeat: bool,
    /// Whether there is a set of pairs that pass without being queued: see [`Passing`](super::Passing). Takes a
    /// heartbeat, by whose chain the set is changed.
    pub passing: bool,
}

impl Default for RuleSpec {
    fn default() -> RuleSpec {
        RuleSpec {
            queue_first: 5533,
            queues_140: 1,
            queues_plain: 2,
            tagged_hook: TaggedHook::Prerouting,
            mark: 0x5533_0000,
            mark_mask: 0xffff_0000,
            fib: true,
            heartbeat: false,
            passing: false,
        }
    }
}

/// The value of the bits of `mask` in the mark that says "leave alone": unlike `mark`, our own, it does not keep the rules
/// from showing us a packet, so that we learn which flow it is. `None` if the bits leave no room for it.
pub fn leave_alone(mark: u32, mask: u32) -> Option<u32> {
    let lowest = 1_u32.checked_shl(mask.trailing_zeros())?;
    Some((mark & mask) ^ lowest).filter(|mark| *mark != 0)
}

/// A condition of a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Match {
    /// The masked bits of the packet mark have this value.
    Mark { value: u32, mask: u32 },
    /// The masked bits of the packet mark have another value.
    MarkNot { value: u32, mask: u32 },
    /// The last header's protocol, all extension headers skipped.
    L4Proto(u8),
    /// The destination is an address of this host.
    DaddrLocal,
    /// The packet came in through the loopback interface.
    IifLoopback,
    /// The packet is about to leave through the loopback interface.
    OifLoopback,
    /// The source lies in a prefix.
    Saddr(Ipv6Addr, u8),
    /// The destination lies in a prefix.
    Daddr(Ipv6Addr, u8),
    /// ICMPv6 with a type in this range, both ends included.
    Icmpv6Type(u8, u8),
    /// The last sign of life has not run out.
    Alive,
    /// Source, destination and last header's protocol are in the set of pairs that pass.
    Passing,
    /// A datagram of ours about the set of pairs that pass, of this kind.
    Told(u8),
}

/// What a rule does with the packets it matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// Ends this chain only; other tables still decide.
    Accept,
    /// Ends the packet.
    Drop,
    /// Renews the element of the set of signs of life, then ends this chain.
    ShowLife,
    /// Puts what a datagram of ours tells into the set of pairs that pass, then ends this chain.
    Enter,
    /// Takes it out of there, then ends this chain.
    Leave,
    /// Hands the packet to one of `count` queues from `first` on, by a hash of the address pair.
    Queue { first: u16, count: u16, bypass: bool },
}

/// One rule; each has a counter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RuleLine {
    /// All have to hold.
    pub matches: Vec<Match>,
    /// What happens then.
    pub action: Action,
    /// Says what the rule is for; unique in its chain.
    pub comment: &'static str,
}

/// Where a chain is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ChainHook {
    Prerouting,
    Input,
    Output,
}

impl ChainHook {
    /// The name in nft's syntax.
    pub fn name(self) -> &'static str {
        match self {
            ChainHook::Prerouting => "prerouting",
            ChainHook::Input => "input",
            ChainHook::Output => "output",
        }
    }
}

/// One chain of type filter, policy accept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ChainSpec {
    /// Its name.
    pub name: &'static str,
    /// Its hook.
    pub hook: ChainHook,
    /// Its priority: lower runs earlier.
    pub priority: i32,
    /// Its rules in order.
    pub rules: Vec<RuleLine>,
}

/// Kinds of datagrams about the set of pairs that pass.
pub(super) const TOLD_ENTER: u8 = 1;
/// See [`TOLD_ENTER`].
pub(super) const TOLD_LEAVE: u8 = 2;

/// Before anything of anybody else: a sign of life must not depend on other people's rules.
const FIRST: i32 = -450;
/// After defragmentation (-400) and raw (-300), before conntrack (-200).
const BEFORE_CONNTRACK: i32 = -250;
/// After conntrack and mangle at local-in, before the filter (0).
const BEFORE_FILTER: i32 = -150;
/// After the filter (0), so that what it drops costs us nothing.
const AFTER_FILTER: i32 = 10;

const ICMPV6_MLD_TO_REDIRECT: (u8, u8) = (130, 137);
const ICMPV6_INVERSE_ND_TO_MLD2: (u8, u8) = (141, 143);
const MULTICAST: (Ipv6Addr, u8) = (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8);
const LINK_LOCAL: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);

fn rule(matches: &[Match], action: Action, comment: &'static str) -> RuleLine {
    RuleLine { matches: matches.to_vec(), action, comment }
}

impl RuleSpec {
    /// The queues for protocol 140.
    pub fn queues_140(&self) -> std::ops::Range<u16> {
        self.queue_first..self.queue_first.saturating_add(self.queues_140)
    }

    /// The queues for everything else.
    pub fn queues_plain(&self) -> std::ops::Range<u16> {
        let first = self.queues_140().end;
        first..first.saturating_add(self.queues_plain)
    }

    /// Checks the ranges that the fields' docs give.
    ///
    /// # Errors
    /// [`NftError::BadSpec`] with the reason.
    pub fn check(&self) -> Result<(), NftError> {
        let last =
            u32::from(self.queue_first) + u32::from(self.queues_140) + u32::from(self.queues_plain);
        if self.queues_140 == 0 || self.queues_plain == 0 {
            return Err(NftError::BadSpec("at least one queue of each kind is needed"));
        }
        if last > 0x1_0000 {
            return Err(NftError::BadSpec("queue numbers end at 65535"));
        }
        if self.mark == 0 || self.mark & !self.mark_mask != 0 {
            return Err(NftError::BadSpec("the mark must not be 0 and must lie within its mask"));
        }
        if self.passing && !self.heartbeat {
            return Err(NftError::BadSpec("pairs pass only where there is a heartbeat"));
        }
        if !self.fib && self.tagged_hook == TaggedHook::Prerouting {
            return Err(NftError::BadSpec("the prerouting hook needs fib; take the input hook"));
        }
        Ok(())
    }

    /// The chains and rules that this specification stands for.
    ///
    /// The last rule of the chains `input` and `output` queues what no rule before it took, with
    /// [`RuleSpec::heartbeat`] only while the daemon shows life; else it passes. Sets of pairs that
    /// the kernel passes by itself come first: each is a pair of addresses and a protocol.
    pub(super) fn chains(&self) -> Vec<ChainSpec> {
        let tagged = match self.tagged_hook {
            TaggedHook::Prerouting => ChainSpec {
                name: "tagged",
                hook: ChainHook::Prerouting,
                priority: BEFORE_CONNTRACK,
                rules: vec![rule(
                    &[Match::L4Proto(SHIM6), Match::DaddrLocal],
                    self.queue_140(),
                    "Shim6 messages and tagged packets for us; no bypass",
                )],
            },
            TaggedHook::Input => ChainSpec {
                name: "tagged",
                hook: ChainHook::Input,
                priority: BEFORE_FILTER,
                rules: vec![
                    rule(
                        &[Match::L4Proto(SHIM6), Match::Daddr(MULTICAST.0, MULTICAST.1)],
                        Action::Drop,
                        "Shim6 to a group is never valid",
                    ),
                    rule(
                        &[Match::L4Proto(SHIM6)],
                        self.queue_140(),
                        "Shim6 messages and tagged packets for us; no bypass",
                    ),
                ],
            },
        };
        let mut chains = vec![tagged, self.input(), self.output()];
        if self.heartbeat {
            let from_us = [&[Match::OifLoopback][..], &self.sign_of_life()].concat();
            let told = |kind| [&from_us[..], &[Match::Told(kind)]].concat();
            let mut rules = Vec::new();
            if self.passing {
                rules.push(rule(&told(TOLD_ENTER), Action::Enter, "shim6d lets a pair pass"));
                rules.push(rule(&told(TOLD_LEAVE), Action::Leave, "shim6d wants to see a pair"));
            }
            rules.push(rule(&from_us, Action::ShowLife, "shim6d is alive"));
            let hook = ChainHook::Output;
            chains.push(ChainSpec { name: "beat", hook, priority: FIRST, rules });
        }
        chains
    }

    /// Packets of pairs that pass, but for those that show us a socket which has left the shim.
    fn passing(&self) -> Option<RuleLine> {
        self.passing.then(|| {
            let alone = leave_alone(self.mark, self.mark_mask);
            let not_alone = alone.map(|value| Match::MarkNot { value, mask: self.mark_mask });
            let matches: Vec<_> = not_alone.into_iter().chain([Match::Passing]).collect();
            rule(&matches, Action::Accept, "pairs that pass")
        })
    }

    /// What only the daemon's [`Heartbeat`](super::Heartbeat) sends: the mark takes CAP_NET_ADMIN or CAP_NET_RAW.
    fn sign_of_life(&self) -> [Match; 3] {
        [self.ours(), Match::L4Proto(UDP), Match::Daddr(Ipv6Addr::LOCALHOST, 128)]
    }

    /// What the last rule of a chain of plain packets asks for.
    fn queued(&self) -> &'static [Match] {
        if self.heartbeat { &[Match::Alive] } else { &[] }
    }

    fn queue_140(&self) -> Action {
        // While nobody listens these packets are dropped: passed on, they would make the kernel answer
        // Parameter Problem, and the peer would give the context up.
        Action::Queue { first: self.queue_first, count: self.queues_140, bypass: false }
    }

    fn queue_plain(&self) -> Action {
        let first = self.queues_plain().start;
        Action::Queue { first, count: self.queues_plain, bypass: true }
    }

    fn ours(&self) -> Match {
        Match::Mark { value: self.mark, mask: self.mark_mask }
    }

    // req: S6-1.4-01 (RFC 5533, 1.4): groups are never looked at, hence never remapped.
    fn exempt() -> impl Iterator<Item = RuleLine> {
        [
            rule(&[Match::Daddr(MULTICAST.0, MULTICAST.1)], Action::Accept, "multicast"),
            rule(&[Match::Saddr(LINK_LOCAL.0, LINK_LOCAL.1)], Action::Accept, "from link-local"),
            rule(&[Match::Daddr(LINK_LOCAL.0, LINK_LOCAL.1)], Action::Accept, "to link-local"),
            rule(
                &[Match::Icmpv6Type(ICMPV6_MLD_TO_REDIRECT.0, ICMPV6_MLD_TO_REDIRECT.1)],
                Action::Accept,
                "neighbour discovery, multicast listener discovery",
            ),
            rule(
                &[Match::Icmpv6Type(ICMPV6_INVERSE_ND_TO_MLD2.0, ICMPV6_INVERSE_ND_TO_MLD2.1)],
                Action::Accept,
                "inverse neighbour discovery, MLDv2",
            ),
        ]
        .into_iter()
    }

    fn input(&self) -> ChainSpec {
        let mut rules = Vec::new();
        if self.heartbeat {
            // It has done its work on its way out. One that arrives tells its sender that these rules are gone.
            rules.push(rule(
                &[&[Match::IifLoopback][..], &self.sign_of_life()].concat(),
                Action::Drop,
                "sign of life, spent",
            ));
        }
        rules.push(rule(&[self.ours()], Action::Accept, "restored by shim6d"));
        rules.extend(self.passing());
        rules.push(rule(&[Match::IifLoopback], Action::Accept, "from this host"));
        // req: S6-12.3-03 (RFC 5533, 12.3): what is left of protocol 140 here is for a group or an anycast
        // address; silently dropped, so that the kernel does not answer it either.
        rules.push(rule(&[Match::L4Proto(SHIM6)], Action::Drop, "Shim6 not for a local address"));
        rules.extend(Self::exempt());
        rules.push(rule(self.queued(), self.queue_plain(), "plain packets in"));
        ChainSpec { name: "input", hook: ChainHook::Input, priority: AFTER_FILTER, rules }
    }

    fn output(&self) -> ChainSpec {
        let mut rules = vec![rule(&[self.ours()], Action::Accept, "sent by shim6d")];
        rules.extend(self.passing());
        let shim6 = "Shim6 messages of this host";
        rules.push(rule(&[Match::L4Proto(SHIM6)], Action::Accept, shim6));
        if self.fib {
            let local = [Match::OifLoopback, Match::DaddrLocal];
            rules.push(rule(&local, Action::Accept, "to this host"));
        } else {
            rules.push(rule(
                &[Match::Daddr(Ipv6Addr::LOCALHOST, 128)],
                Action::Accept,
                "to this host",
            ));
        }
        rules.extend(Self::exempt());
        rules.push(rule(self.queued(), self.queue_plain(), "plain packets out"));
        ChainSpec { name: "output", hook: ChainHook::Output, priority: AFTER_FILTER, rules }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_out_of_range_are_refused() {
        let good = RuleSpec::default();
        assert!(good.check().is_ok());
        for bad in [
            RuleSpec { queues_140: 0, ..good },
            RuleSpec { queues_plain: 0, ..good },
            RuleSpec { queue_first: 65534, ..good },
            RuleSpec { mark: 0, ..good },
            RuleSpec { mark: 1, ..good },
            RuleSpec { passing: true, ..good },
            RuleSpec { fib: false, ..good },
        ] {
            assert!(matches!(bad.check(), Err(NftError::BadSpec(_))), "{bad:?}");
        }
        assert!(RuleSpec { queue_first: 65533, ..good }.check().is_ok());
        let input = RuleSpec { fib: false, tagged_hook: TaggedHook::Input, ..good };
        assert!(input.check().is_ok());
    }

    // req-test: S6-1.4-01
    #[test]
    fn groups_pass_before_anything_is_queued() {
        for spec in [
            RuleSpec::default(),
            RuleSpec { tagged_hook: TaggedHook::Input, ..RuleSpec::default() },
        ] {
            for chain in spec.chains().iter().filter(|c| c.name == "input" || c.name == "output") {
                let place = |wanted: &dyn Fn(&RuleLine) -> bool| {
                    chain.rules.iter().position(wanted).expect("present")
                };
                let group = place(&|r| r.matches == [Match::Daddr(MULTICAST.0, 8)]);
                let queue = place(&|r| matches!(r.action, Action::Queue { .. }));
                assert!(group < queue, "{}", chain.name);
                assert_eq!(chain.rules[group].action, Action::Accept);
            }
        }
    }

    #[test]
    fn comments_tell_the_rules_of_a_chain_apart() {
        for chain in (RuleSpec { heartbeat: true, passing: true, ..RuleSpec::default() }).chains() {
            let mut seen = std::collections::BTreeSet::new();
            assert!(chain.rules.iter().all(|r| seen.insert(r.comment)), "{}", chain.name);
        }
    }

    #[test]
    fn protocol_140_and_nothing_else_is_queued_whoever_lives() {
        for chain in (RuleSpec { heartbeat: true, passing: true, ..RuleSpec::default() }).chains() {
            for rule in &chain.rules {
                if let Action::Queue { bypass, .. } = rule.action {
                    let shim6 = rule.matches.contains(&Match::L4Proto(SHIM6));
                    assert_eq!(bypass, !shim6, "{}", rule.comment);
                    assert_eq!(rule.matches.contains(&Match::Alive), !shim6, "{}", rule.comment);
                }
            }
        }
    }
}
