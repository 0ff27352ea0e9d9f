//! Judges other people's packet filters, as `nft -j list ruleset` prints them (ip6tables-nft included): whether
//! protocol 140 gets through, and whether reverse paths are checked strictly.
//!
//! Best effort: a rule whose conditions are not about the protocol may or may not match, and is then not held
//! against anybody. What is certain to drop a packet with next header 140 is named.

use crate::control::api::{Check, CheckResult};
use crate::nft::{TABLE, TaggedHook};
use serde_json::Value;

/// Jumps followed before giving up, as the kernel does.
const DEPTH: usize = 16;

/// All rules of all tables that see IPv6, except ours.
struct Ruleset<'a> {
    chains: Vec<&'a Value>,
    rules: Vec<&'a Value>,
}

/// What becomes of a packet in a chain.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It goes on behind the chain.
    Through,
    /// Accepted for good in this base chain.
    Accepted,
    /// Dropped or rejected, by what.
    Dropped(String),
}

/// The checks of other people's rules. `hook` is where we take tagged packets: what comes later does not see them.
pub fn checks(value: &Value, hook: TaggedHook) -> Vec<Check> {
    let set = Ruleset::new(value);
    let mut blocked = Vec::new();
    let mut doubtful = Vec::new();
    for chain in set.chains.iter().filter(|chain| concerns(chain, hook)) {
        match set.walk(chain, 0) {
            Fate::Accepted => {}
            Fate::Dropped(by) => blocked.push(by),
            Fate::Through if chain["policy"] == "drop" => {
                let text = format!("chain {} drops by default", name(chain));
                // A rule of which we cannot say whether it matches may let it pass.
                match set.may_accept(chain) {
                    true => doubtful.push(text),
                    false => blocked.push(text),
                }
            }
            Fate::Through => {}
        }
    }
    let remedy = "accept it there: `meta l4proto 140 accept`";
    let mut checks = vec![if !blocked.is_empty() {
        Check::new("protocol_140", CheckResult::Failed, blocked.join("; ")).remedy(remedy)
    } else if !doubtful.is_empty() {
        let text = format!("{}, unless a rule accepts protocol 140", doubtful.join("; "));
        Check::new("protocol_140", CheckResult::Warning, text).remedy(remedy)
    } else {
        Check::new("protocol_140", CheckResult::Ok, "no other table blocks it")
    }];
    let strict = set.strict_reverse_paths();
    checks.push(if strict.is_empty() {
        Check::new("reverse_path", CheckResult::Ok, "no strict check of reverse paths")
    } else {
        Check::new("reverse_path", CheckResult::Warning, strict.join("; ")).remedy(
            "packets of a peer may come in by any provider: check loosely (`fib saddr oif`, \
             `rpfilter --loose`; firewalld: IPv6_rpfilter=loose)",
        )
    });
    checks
}

impl<'a> Ruleset<'a> {
    fn new(value: &'a Value) -> Ruleset<'a> {
        let objects = value["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
        let of = |kind: &str| -> Vec<&'a Value> {
            let ours = |object: &Value| object["family"] == "ip6" && object["table"] == TABLE;
            let ipv6 = |object: &Value| object["family"] == "ip6" || object["family"] == "inet";
            objects
                .iter()
                .filter_map(|object| object.get(kind))
                .filter(|object| ipv6(object) && !ours(object))
                .collect()
        };
        Ruleset { chains: of("chain"), rules: of("rule") }
    }

    fn rules_of(&self, chain: &Value) -> impl Iterator<Item = &'a Value> {
        let [family, table, name] = ["family", "table", "name"].map(|key| chain[key].clone());
        self.rules.iter().copied().filter(move |rule| {
            rule["family"] == family && rule["table"] == table && rule["chain"] == name
        })
    }

    fn target(&self, rule: &Value, target: &Value) -> Option<&'a Value> {
        self.chains.iter().copied().find(|chain| {
            chain["family"] == rule["family"]
                && chain["table"] == rule["table"]
                && chain["name"] == target["target"]
        })
    }

    /// What certainly happens to a packet with next header 140.
    fn walk(&self, chain: &Value, depth: usize) -> Fate {
        for rule in self.rules_of(chain) {
            let statements = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
            for statement in statements {
                let Some((kind, body)) = statement.as_object().and_then(|s| s.iter().next()) else {
                    break;
                };
                let by = || format!("chain {} handle {}", name(chain), rule["handle"]);
                let fate = match kind.as_str() {
                    "match" if matches(body) == Some(true) => continue,
                    "counter" | "log" | "mangle" => continue,
                    "accept" => Fate::Accepted,
                    "drop" => Fate::Dropped(format!("{} drops it", by())),
                    "reject" => Fate::Dropped(format!("{} rejects it", by())),
                    "return" => return Fate::Through,
                    "vmap" => match mapped(body) {
                        Some("accept") => Fate::Accepted,
                        Some("drop") => Fate::Dropped(format!("{} drops it", by())),
                        _ => break,
                    },
                    "jump" | "goto" if depth < DEPTH => match self.target(rule, body) {
                        Some(target) => match self.walk(target, depth + 1) {
                            Fate::Through if kind == "goto" => return Fate::Through,
                            Fate::Through => continue,
                            fate => fate,
                        },
                        None => break,
                    },
                    // Another condition, or something that we do not know: no certainty beyond this point.
                    _ => break,
                };
                return fate;
            }
        }
        Fate::Through
    }

    /// Whether some rule of the chain, or of a chain that it may jump to, accepts protocol 140 under conditions
    /// that cannot be judged.
    fn may_accept(&self, chain: &Value) -> bool {
        self.may_accept_within(chain, 0)
    }

    fn may_accept_within(&self, chain: &Value, depth: usize) -> bool {
        self.rules_of(chain).any(|rule| {
            let statements = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
            // `iifname "lo" accept` and the like say nothing about packets from outside.
            let excluded = statements.iter().any(|s| {
                s.get("match").is_some_and(|m| matches(m) == Some(false) || is_loopback(m))
            });
            !excluded
                && statements.iter().any(|s| {
                    let jump = s.get("jump").or_else(|| s.get("goto"));
                    s.get("accept").is_some()
                        || jump.and_then(|j| self.target(rule, j)).is_some_and(|target| {
                            depth < DEPTH && self.may_accept_within(target, depth + 1)
                        })
                })
        })
    }

    /// Rules that drop what comes in by another interface than answers would leave by.
    fn strict_reverse_paths(&self) -> Vec<String> {
        let strict = |rule: &&&Value| {
            let statements = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
            let drops = statements.iter().any(|s| s.get("drop").is_some());
            let checks = statements.iter().any(|s| {
                let fib = &s["match"]["left"]["fib"];
                let flags = fib["flags"].as_array().map(Vec::as_slice).unwrap_or_default();
                let has = |flag: &str| flags.iter().any(|f| f == flag);
                (has("saddr") && has("iif")) || s["xt"]["name"] == "rpfilter"
            });
            drops && checks
        };
        let found = self.rules.iter().filter(strict).map(|rule| {
            let text = |key: &str| rule[key].as_str().unwrap_or("?").to_owned();
            format!(
                "{} {} {} handle {} checks reverse paths",
                text("family"),
                text("table"),
                text("chain"),
                rule["handle"]
            )
        });
        found.collect()
    }
}

/// Whether a base chain sees our packets with next header 140: those that leave always, those that come in only
/// before the hook at which we take them.
fn concerns(chain: &Value, hook: TaggedHook) -> bool {
    let priority = chain["prio"].as_i64().unwrap_or(0);
    match (chain["hook"].as_str(), hook) {
        (Some("output" | "postrouting"), _) => true,
        (Some("prerouting"), TaggedHook::Prerouting) => priority < -250,
        (Some("prerouting"), TaggedHook::Input) => true,
        (Some("input"), TaggedHook::Prerouting) => false,
        (Some("input"), TaggedHook::Input) => priority < -150,
        _ => false,
    }
}

fn name(chain: &Value) -> String {
    let text = |key: &str| chain[key].as_str().unwrap_or("?");
    format!("{} {} {}", text("family"), text("table"), text("name"))
}

/// Whether an expression is the protocol of the packet.
fn is_protocol(expr: &Value) -> bool {
    expr["meta"]["key"] == "l4proto"
        || (expr["payload"]["protocol"] == "ip6" && expr["payload"]["field"] == "nexthdr")
}

/// Whether a match holds for an IPv6 packet with next header 140; `None` if that depends on other things.
fn matches(condition: &Value) -> Option<bool> {
    let left = &condition["left"];
    let holds = if is_protocol(left) {
        is_140(&condition["right"])?
    } else if left["meta"]["key"] == "nfproto" {
        condition["right"] == "ipv6"
    } else if left["payload"]["protocol"]
        .as_str()
        .is_some_and(|p| !["ip6", "ether", "vlan"].contains(&p))
    {
        // The header of another protocol is not there.
        return Some(false);
    } else {
        return None;
    };
    match condition["op"].as_str() {
        Some("==" | "in") | None => Some(holds),
        Some("!=") => Some(!holds),
        Some(_) => None,
    }
}

/// Whether a value, set or range contains 140.
fn is_140(value: &Value) -> Option<bool> {
    match value {
        Value::Number(number) => Some(number.as_u64() == Some(140)),
        // A named set cannot be looked into from here.
        Value::String(text) if text.starts_with('@') => None,
        Value::String(text) => Some(text == "shim6"),
        Value::Array(items) => any_140(items),
        Value::Object(_) => match (&value["set"], &value["range"]) {
            (Value::Array(items), _) => any_140(items),
            (_, Value::Array(ends)) => match (ends.first()?.as_u64(), ends.get(1)?.as_u64()) {
                (Some(low), Some(high)) => Some((low..=high).contains(&140)),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

fn any_140(items: &[Value]) -> Option<bool> {
    let found: Vec<_> = items.iter().map(is_140).collect();
    if found.contains(&Some(true)) {
        Some(true)
    } else if found.contains(&None) {
        None
    } else {
        Some(false)
    }
}

fn is_loopback(condition: &Value) -> bool {
    let key = &condition["left"]["meta"]["key"];
    ["iif", "oif", "iifname", "oifname"].iter().any(|k| key == k)
        && condition["op"] != "!="
        && condition["right"] == "lo"
}

/// The verdict of a verdict map for protocol 140.
fn mapped(map: &Value) -> Option<&str> {
    if !is_protocol(&map["key"]) {
        return None;
    }
    let entries = map["data"]["set"].as_array()?;
    let entry = entries.iter().find(|entry| is_140(&entry[0]) == Some(true))?;
    entry[1].as_object()?.keys().next().map(String::as_str)
}
