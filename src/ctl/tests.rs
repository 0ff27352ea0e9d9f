use super::args::{self, Cli};
use super::doctor::{host, ruleset};
use super::*;
use crate::addr::{Fii, Ulid};
use crate::control::api::{CheckResult, ContextId, ContextRef};
use crate::nft::TaggedHook;
use clap::{CommandFactory, Parser, ValueEnum};
use serde_json::{Value, json};
use std::net::Ipv6Addr;
use std::path::Path;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
    crate::daemon::args::DaemonArgs::command().debug_assert();
}

#[test]
fn a_wrong_word_gets_the_nearest_right_one() {
    let said = |words: &[&str]| {
        let words = std::iter::once(&"shim6ctl").chain(words);
        Cli::try_parse_from(words).unwrap_err().to_string()
    };
    assert!(said(&["contxt", "list"]).contains("'context'"));
    assert!(said(&["rules", "instal"]).contains("'install'"));
    assert!(said(&["status", "--jsn"]).contains("'--json'"));
    assert!(said(&["context", "show", "x"]).contains("LOCAL,PEER"));
    assert!(said(&["identity", "generate"]).contains("--prefix"));
    assert!(said(&["identity", "generate", "--prefix", "2001:db8::/48"]).contains("64"));
    assert!(said(&["--timeout", "0", "status"]).contains("a number of seconds"));
}

#[test]
fn a_context_is_named_by_id_or_by_ulids() {
    let ulid = |text: &str| Ulid(text.parse().unwrap());
    assert_eq!(args::context("7"), Ok(ContextRef::Id { id: ContextId(7) }));
    let (local, peer) = (ulid("2001:db8::1"), ulid("2001:db8::2"));
    let fii = Fii::DEFAULT;
    assert_eq!(
        args::context("2001:db8::1,2001:db8::2"),
        Ok(ContextRef::Ulids { local, peer, fii })
    );
    assert_eq!(
        args::context("2001:db8::1,2001:db8::2,9"),
        Ok(ContextRef::Ulids { local, peer, fii: Fii(9) })
    );
    for wrong in ["", "-1", "x", "2001:db8::1", "2001:db8::1,2001:db8::2,x", "::1,::2,3,4"] {
        assert!(args::context(wrong).is_err(), "{wrong}");
    }
}

/// Committed files follow from the code: `shim6ctl generate …` writes them.
#[test]
fn manual_pages_and_the_list_of_keys_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    for (name, text) in generate::manuals().unwrap() {
        let path = format!("docs/man/{name}");
        assert!(read(&path) == text, "{path} is stale: run `shim6ctl generate man docs/man`");
    }
    let text = crate::daemon::config::document::markdown();
    let stale = "docs/config.md is stale: run `shim6ctl generate docs >docs/config.md`";
    assert!(read("docs/config.md") == text, "{stale}");
}

/// Every word that can be typed, with those before it: `path switch`, `context list`.
fn words(command: &clap::Command, before: &str, all: &mut Vec<String>) {
    for sub in command.get_subcommands().filter(|s| !s.is_hide_set() && s.get_name() != "help") {
        let path = format!("{before}{}", sub.get_name());
        words(sub, &format!("{path} "), all);
        all.push(path);
    }
}

#[test]
fn every_word_is_in_the_manual_page_and_in_the_completions() {
    let mut all = Vec::new();
    words(&Cli::command(), "", &mut all);
    assert!(all.iter().any(|w| w == "path explore") && all.len() > 30, "{all:?}");
    let pages = generate::manuals().unwrap();
    let (_, page) = pages.iter().find(|(name, _)| *name == "shim6ctl.8").unwrap();
    let page = page.replace('\\', "");
    for word in &all {
        // Words that only lead to others stand before those.
        let there = [format!(".TP\nfB{word}fR"), format!(".TP\nfB{word} ")];
        assert!(there.iter().any(|t| page.contains(t)), "{word} is not in shim6ctl.8");
    }
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
    for shell in clap_complete::Shell::value_variants() {
        let script = generate::script(*shell);
        for word in all.iter().flat_map(|w| w.rsplit(' ').next()) {
            assert!(script.split(ends).any(|s| s == word), "{shell}: {word} is not completed");
        }
    }
    // One arm of the script for bash is what may follow that word.
    let bash = generate::script(clap_complete::Shell::Bash).replace("__subcmd__", "__");
    for word in &all {
        let arm = format!("shim6ctl__{})\n", word.replace(' ', "__"));
        assert!(bash.contains(&arm), "{word}: nothing may follow it in bash");
    }
}

fn ip_addr() -> Value {
    json!([
        { "ifname": "lo", "addr_info": [
            { "family": "inet6", "local": "2001:db8:9::1", "scope": "global" }] },
        {},
        { "ifname": "eth0", "addr_info": [
            { "family": "inet6", "local": "2001:db8:1::a", "scope": "global" },
            { "family": "inet6", "local": "fe80::1", "scope": "link" },
            { "family": "inet6", "local": "2001:db8:1::f", "scope": "global", "temporary": true }] },
        { "ifname": "eth1", "addr_info": [
            { "family": "inet6", "local": "2001:db8:2::a", "scope": "global", "deprecated": true },
            { "family": "inet6", "local": "garbage", "scope": "global" }] }
    ])
}

#[test]
fn the_doctor_judges_addresses() {
    let all = host::addresses(&ip_addr());
    let names: Vec<_> = all.iter().map(|a| (a.interface.as_str(), a.trouble)).collect();
    assert_eq!(names, [("eth0", None), ("eth0", None), ("eth1", Some("deprecated"))]);
    assert_eq!(host::prefixes(&all).result, CheckResult::Ok);
    assert_eq!(host::prefixes(&all[..2]).result, CheckResult::Warning);
    assert_eq!(host::prefixes(&[]).result, CheckResult::Failed);
    let member = |text: &str| -> Ipv6Addr { text.parse().unwrap() };
    let check = |members: &[Ipv6Addr]| host::members(members, &all);
    assert_eq!(check(&[member("2001:db8:1::a")]).result, CheckResult::Ok);
    assert!(check(&[member("2001:db8:2::a")]).detail.contains("deprecated"));
    assert!(check(&[member("2001:db8:3::a")]).detail.contains("on no interface"));
    let route = |source: &str| Ok(json!([{ "dev": "eth0", "prefsrc": source }]));
    let members = [member("2001:db8:1::a")];
    let chosen = |source: &str| host::selection(&members, &route(source)).result;
    assert_eq!(chosen("2001:db8:1::a"), CheckResult::Ok);
    assert_eq!(chosen("2001:db8:1::f"), CheckResult::Warning);
    assert_eq!(host::selection(&members, &Err("no".into())).result, CheckResult::Skipped);
}

#[test]
fn the_doctor_judges_source_routing() {
    let all = host::addresses(&ip_addr());
    let (a, b) = (&all[0], &all[2]);
    let way = |dev: &str, gateway: &str| {
        host::route(Ok(json!([{ "dst": "2000::1", "dev": dev, "gateway": gateway }])))
    };
    let result = |first, second| host::routing(&[(a, first), (b, second)]).result;
    assert_eq!(result(way("eth0", "fe80::1"), way("eth1", "fe80::2")), CheckResult::Ok);
    assert_eq!(result(way("eth0", "fe80::1"), way("eth0", "fe80::1")), CheckResult::Failed);
    let none = || host::route(Err("RTNETLINK answers: Network is unreachable".into()));
    assert_eq!(result(way("eth0", "fe80::1"), none()), CheckResult::Failed);
    let blackhole = host::route(Ok(json!([{ "type": "unreachable", "dev": "lo" }])));
    assert_eq!(result(way("eth0", "fe80::1"), blackhole), CheckResult::Failed);
    assert_eq!(host::routing(&[]).result, CheckResult::Skipped);
    // Two prefixes on one interface, one router.
    let mut second = b.clone();
    second.interface = "eth0".into();
    let routes = [(a, way("eth0", "fe80::1")), (&second, way("eth0", "fe80::1"))];
    assert_eq!(host::routing(&routes).result, CheckResult::Warning);
}

/// A ruleset as `nft -j` prints it: chains as (name, hook, priority, policy), rules as (chain, statements).
fn nft(chains: &[(&str, &str, i64, &str)], rules: &[(&str, Value)]) -> Value {
    let mut all = vec![json!({ "metainfo": {} }), json!({ "table": {} })];
    for (name, hook, prio, policy) in chains {
        let mut chain = json!({ "family": "inet", "table": "filter", "name": name });
        if !hook.is_empty() {
            chain["hook"] = json!(hook);
            chain["prio"] = json!(prio);
            chain["policy"] = json!(policy);
        }
        all.push(json!({ "chain": chain }));
    }
    for (handle, (chain, expr)) in rules.iter().enumerate() {
        all.push(json!({ "rule": {
            "family": "inet", "table": "filter", "chain": chain, "handle": handle, "expr": expr } }));
    }
    json!({ "nftables": all })
}

fn protocol(op: &str, right: Value) -> Value {
    json!({ "match": { "op": op, "left": { "meta": { "key": "l4proto" } }, "right": right } })
}

fn judged(chains: &[(&str, &str, i64, &str)], rules: &[(&str, Value)]) -> CheckResult {
    ruleset::checks(&nft(chains, rules), TaggedHook::Prerouting)[0].result
}

#[test]
fn the_doctor_sees_who_drops_protocol_140() {
    use CheckResult::{Failed, Ok, Warning};
    let drop = json!({ "drop": null });
    let accept = json!({ "accept": null });
    let output = [("out", "output", 0, "accept")];
    let closed = [("out", "output", 0, "drop")];
    assert_eq!(judged(&[], &[]), Ok);
    assert_eq!(judged(&output, &[]), Ok);
    assert_eq!(judged(&closed, &[]), Failed);
    let one = |statements: Value| judged(&output, &[("out", statements)]);
    assert_eq!(one(json!([protocol("==", json!("shim6")), drop])), Failed);
    assert_eq!(one(json!([protocol("==", json!(140)), { "counter": {} }, drop])), Failed);
    assert_eq!(one(json!([protocol("==", json!(140)), { "reject": {} }])), Failed);
    assert_eq!(one(json!([protocol("==", json!({ "range": [100, 150] })), drop])), Failed);
    assert_eq!(one(json!([protocol("!=", json!({ "set": ["tcp", "udp"] })), drop])), Failed);
    assert_eq!(one(json!([protocol("==", json!({ "set": ["tcp", "udp"] })), drop])), Ok);
    assert_eq!(one(json!([protocol("==", json!("@protocols")), drop])), Ok);
    let state =
        json!({ "match": { "op": "in", "left": { "ct": { "key": "state" } }, "right": ["new"] } });
    assert_eq!(one(json!([state, drop])), Ok);
    let port = json!({ "match": { "op": "==", "left":
        { "payload": { "protocol": "tcp", "field": "dport" } }, "right": 22 } });
    assert_eq!(one(json!([port, drop])), Ok);
    let map = json!({ "vmap": { "key": { "meta": { "key": "l4proto" } },
        "data": { "set": [["tcp", { "accept": null }], ["shim6", { "drop": null }]] } } });
    assert_eq!(one(json!([map])), Failed);
    assert_eq!(judged(&closed, &[("out", json!([protocol("==", json!("shim6")), accept]))]), Ok);
    assert_eq!(judged(&closed, &[("out", json!([state, accept]))]), Warning);
    let loopback =
        json!({ "match": { "op": "==", "left": { "meta": { "key": "oifname" } }, "right": "lo" } });
    assert_eq!(judged(&closed, &[("out", json!([loopback, accept]))]), Failed);
    // The first certain verdict counts, also through a jump; a chain that jumps to itself ends.
    let chains = [output[0], ("more", "", 0, "")];
    let jump = ("out", json!([{ "jump": { "target": "more" } }]));
    let dropping = ("more", json!([drop]));
    assert_eq!(judged(&chains, &[jump.clone(), dropping.clone()]), Failed);
    let first = ("out", json!([protocol("==", json!(140)), accept]));
    assert_eq!(judged(&chains, &[first, jump.clone(), dropping]), Ok);
    assert_eq!(judged(&chains, &[jump.clone(), ("more", json!([{ "return": null }]))]), Ok);
    assert_eq!(judged(&chains, &[jump, ("more", json!([{ "jump": { "target": "more" } }]))]), Ok);
}

#[test]
fn the_doctor_looks_at_the_hooks_that_see_protocol_140() {
    use CheckResult::{Failed, Ok};
    let drop = |chain| [(chain, json!([{ "drop": null }]))];
    let judge = |hook: &str, prio, taken| {
        let set = nft(&[("c", hook, prio, "accept")], &drop("c"));
        ruleset::checks(&set, taken)[0].result
    };
    assert_eq!(judge("input", 0, TaggedHook::Prerouting), Ok);
    assert_eq!(judge("prerouting", 0, TaggedHook::Prerouting), Ok);
    assert_eq!(judge("prerouting", -300, TaggedHook::Prerouting), Failed);
    assert_eq!(judge("prerouting", 0, TaggedHook::Input), Failed);
    assert_eq!(judge("input", -200, TaggedHook::Input), Failed);
    assert_eq!(judge("forward", 0, TaggedHook::Input), Ok);
    // Our own table is not somebody else's.
    let mut ours = nft(&[("c", "output", 0, "accept")], &drop("c"));
    for object in ours["nftables"].as_array_mut().unwrap() {
        for kind in ["chain", "rule"] {
            if object.get(kind).is_some() {
                object[kind]["family"] = json!("ip6");
                object[kind]["table"] = json!("shim6");
            }
        }
    }
    assert_eq!(ruleset::checks(&ours, TaggedHook::Prerouting)[0].result, Ok);
}

#[test]
fn the_doctor_sees_strict_reverse_paths() {
    let fib = |flags: &[&str]| {
        json!([{ "match": { "op": "==", "left": { "fib": { "result": "oif", "flags": flags } },
            "right": false } }, { "drop": null }])
    };
    let judge = |rule: Value| {
        let set = nft(&[("pre", "prerouting", -300, "accept")], &[("pre", rule)]);
        ruleset::checks(&set, TaggedHook::Prerouting)[1].result
    };
    assert_eq!(judge(fib(&["saddr", "iif"])), CheckResult::Warning);
    assert_eq!(judge(fib(&["saddr"])), CheckResult::Ok);
    assert_eq!(
        judge(json!([{ "xt": { "type": "match", "name": "rpfilter" } }, { "drop": null }])),
        CheckResult::Warning
    );
}
