//! The rules as text: nft's syntax, and the same for `ip6tables-restore`.

use std::fmt::Write;

use super::spec::{
    ALIVE, ALIVE_SIZE, Action, ChainHook, ChainSpec, HEARTBEAT_TIMEOUT, Match, PASSING,
    PASSING_SIZE, QueueKind, RuleLine, RuleSpec,
};
use super::{NftError, TABLE};

/// The installed rules in nft's syntax, as `nft -f` takes them on a kernel with native queueing.
pub fn render(spec: &RuleSpec, kind: QueueKind) -> String {
    let mut out = String::new();
    if kind == QueueKind::XtCompat {
        out += "# queue statements are installed as xt NFQUEUE, revision 3 (nft_compat)\n";
    }
    let _ = writeln!(out, "table ip6 {TABLE} {{");
    if spec.heartbeat {
        let _ = writeln!(
            out,
            "\tset {ALIVE} {{\n\t\ttype ether_type\n\t\tsize {ALIVE_SIZE}\n\t\tflags dynamic,timeout\n\
             \t\ttimeout {}ms\n\t\telements = {{ ip6 }}\n\t}}\n",
            HEARTBEAT_TIMEOUT.as_millis()
        );
    }
    if spec.passing {
        let _ = writeln!(
            out,
            "\tset {PASSING} {{\n\t\ttype ipv6_addr . ipv6_addr . inet_proto\n\t\tsize {PASSING_SIZE}\n\t\t\
             flags dynamic\n\t\tcounter\n\t}}\n",
        );
    }
    for (i, chain) in spec.chains().iter().enumerate() {
        let gap = if i > 0 { "\n" } else { "" };
        let _ = writeln!(out, "{gap}\tchain {} {{", chain.name);
        let _ = writeln!(
            out,
            "\t\ttype filter hook {} priority {}; policy accept;",
            chain.hook.name(),
            chain.priority
        );
        for rule in &chain.rules {
            let _ = writeln!(out, "\t\t{}", nft_rule(rule));
        }
        out += "\t}\n";
    }
    out += "}\n";
    out
}

/// What a datagram about the set of pairs that pass tells.
const TOLD_KEY: &str = "@th,96,128 . @th,224,128 . @th,352,8";

fn nft_rule(rule: &RuleLine) -> String {
    let mut line = String::new();
    for m in &rule.matches {
        let _ = match *m {
            Match::Mark { value, mask } => {
                write!(line, "meta mark & {mask:#010x} == {value:#010x} ")
            }
            Match::MarkNot { value, mask } => {
                write!(line, "meta mark & {mask:#010x} != {value:#010x} ")
            }
            Match::L4Proto(proto) => write!(line, "meta l4proto {proto} "),
            Match::DaddrLocal => write!(line, "fib daddr type local "),
            Match::IifLoopback => write!(line, "iif lo "),
            Match::OifLoopback => write!(line, "oif lo "),
            Match::Saddr(prefix, 128) => write!(line, "ip6 saddr {prefix} "),
            Match::Daddr(prefix, 128) => write!(line, "ip6 daddr {prefix} "),
            Match::Saddr(prefix, len) => write!(line, "ip6 saddr {prefix}/{len} "),
            Match::Daddr(prefix, len) => write!(line, "ip6 daddr {prefix}/{len} "),
            Match::Icmpv6Type(from, to) => write!(line, "icmpv6 type {from}-{to} "),
            Match::Alive => write!(line, "meta protocol @{ALIVE} "),
            Match::Passing => {
                write!(line, "ip6 saddr . ip6 daddr . meta l4proto @{PASSING} ")
            }
            Match::Told(kind) => write!(line, "@th,64,8 {kind} "),
        };
    }
    line += "counter ";
    let _ = match rule.action {
        Action::Accept => write!(line, "accept"),
        Action::Drop => write!(line, "drop"),
        Action::ShowLife => write!(line, "update @{ALIVE} {{ meta protocol }} accept"),
        Action::Enter => write!(line, "add @{PASSING} {{ {TOLD_KEY} }} accept"),
        Action::Leave => write!(line, "delete @{PASSING} {{ {TOLD_KEY} }} accept"),
        Action::Queue { first, count, bypass } => {
            let bypass = if bypass { " bypass" } else { "" };
            write!(line, "queue num {}{bypass}", queues(first, count, '-'))
        }
    };
    let _ = write!(line, " comment \"{}\"", rule.comment);
    line
}

fn queues(first: u16, count: u16, dash: char) -> String {
    if count == 1 {
        first.to_string()
    } else {
        format!("{first}{dash}{}", first.saturating_add(count - 1))
    }
}

/// The complete `nft -f` file: replaces an older table of ours in the same transaction.
pub fn render_file(spec: &RuleSpec) -> String {
    format!("table ip6 {TABLE}\ndelete table ip6 {TABLE}\n{}", render(spec, QueueKind::Native))
}

const NO_HEARTBEAT: NftError = NftError::BadSpec("the ip6tables rules know no heartbeat");

/// The same rules for `ip6tables-restore --noflush`.
///
/// The table `security` takes the place of our priority behind the filter, `raw` that of the one before
/// conntrack. Exemptions end in ACCEPT: what remains of a built-in chain after our jump is skipped for that
/// packet, in that table only, and a second jump left by loading twice is never reached.
///
/// # Errors
/// [`NftError::BadSpec`] for [`TaggedHook::Input`](super::TaggedHook::Input): ip6tables' raw table has no such
/// hook; and for [`RuleSpec::heartbeat`]: ip6tables has no sets.
pub fn render_ip6tables(spec: &RuleSpec) -> Result<String, NftError> {
    let chains = spec.chains();
    if chains.iter().any(|c| c.name == "tagged" && c.hook != ChainHook::Prerouting) {
        return Err(NftError::BadSpec("the ip6tables rules exist for the prerouting hook only"));
    }
    let (raw, security): (Vec<_>, Vec<_>) =
        chains.iter().partition(|c| c.hook == ChainHook::Prerouting);
    let mut out = String::new();
    for (table, chains) in [("raw", raw), ("security", security)] {
        let _ = writeln!(out, "*{table}");
        for chain in &chains {
            let _ = writeln!(out, ":{} - [0:0]", ip6tables_name(chain));
        }
        for chain in &chains {
            for rule in &chain.rules {
                for line in ip6tables_rules(chain, rule)? {
                    let _ = writeln!(out, "{line}");
                }
            }
        }
        for chain in &chains {
            let _ = writeln!(
                out,
                "-A {} -m comment --comment \"shim6\" -j {}",
                chain.hook.name().to_uppercase(),
                ip6tables_name(chain)
            );
        }
        out += "COMMIT\n";
    }
    Ok(out)
}

fn ip6tables_name(chain: &ChainSpec) -> String {
    format!("SHIM6-{}", chain.name.to_uppercase())
}

/// One line, or one per ICMPv6 type, because ip6tables knows no ranges of types.
fn ip6tables_rules(chain: &ChainSpec, rule: &RuleLine) -> Result<Vec<String>, NftError> {
    let mut head = format!("-A {}", ip6tables_name(chain));
    let mut types = None;
    for m in &rule.matches {
        let _ = match *m {
            Match::Mark { value, mask } => {
                write!(head, " -m mark --mark {value:#010x}/{mask:#010x}")
            }
            Match::MarkNot { value, mask } => {
                write!(head, " -m mark ! --mark {value:#010x}/{mask:#010x}")
            }
            Match::L4Proto(proto) => write!(head, " -p {proto}"),
            Match::DaddrLocal => write!(head, " -m addrtype --dst-type LOCAL"),
            Match::IifLoopback => write!(head, " -i lo"),
            Match::OifLoopback => write!(head, " -o lo"),
            Match::Saddr(prefix, len) => write!(head, " -s {prefix}/{len}"),
            Match::Daddr(prefix, len) => write!(head, " -d {prefix}/{len}"),
            Match::Icmpv6Type(from, to) => {
                types = Some(from..=to);
                write!(head, " -p ipv6-icmp")
            }
            Match::Alive | Match::Passing | Match::Told(_) => return Err(NO_HEARTBEAT),
        };
    }
    let tail = format!(" -m comment --comment \"{}\" -j {}", rule.comment, ip6tables_target(rule)?);
    Ok(match types {
        None => vec![head + &tail],
        Some(types) => types.map(|t| format!("{head} -m icmp6 --icmpv6-type {t}{tail}")).collect(),
    })
}

fn ip6tables_target(rule: &RuleLine) -> Result<String, NftError> {
    Ok(match rule.action {
        Action::Accept => "ACCEPT".into(),
        Action::Drop => "DROP".into(),
        Action::ShowLife | Action::Enter | Action::Leave => return Err(NO_HEARTBEAT),
        Action::Queue { first, count, bypass } => {
            let option = if count == 1 { "--queue-num" } else { "--queue-balance" };
            let bypass = if bypass { " --queue-bypass" } else { "" };
            format!("NFQUEUE {option} {}{bypass}", queues(first, count, ':'))
        }
    })
}
