//! Judges addresses and routes as `ip -6 -j` prints them.

use crate::addr::Prefix;
use crate::control::api::{Check, CheckResult};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::Ipv6Addr;

/// An address of this host that may serve as a locator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    /// The address.
    pub address: Ipv6Addr,
    /// Its interface.
    pub interface: String,
    /// What keeps it from being used: `deprecated`, `tentative`, `dadfailed`.
    pub trouble: Option<&'static str>,
    /// A privacy address.
    pub temporary: bool,
}

/// Where packets from a source go.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Way {
    /// Interface out.
    pub interface: String,
    /// Router, if any.
    pub gateway: Option<String>,
}

/// Global unicast and unique local addresses out of `ip -6 -j addr show`.
pub fn addresses(value: &Value) -> Vec<Address> {
    let mut found = Vec::new();
    for link in value.as_array().into_iter().flatten() {
        let name = link["ifname"].as_str().unwrap_or_default();
        for info in link["addr_info"].as_array().into_iter().flatten() {
            let Some(address) = info["local"].as_str().and_then(|text| text.parse().ok()) else {
                continue;
            };
            let global = info["scope"] == "global";
            if !global || info["family"] != "inet6" || name == "lo" {
                continue;
            }
            let set = |flag: &str| info[flag] == true;
            let trouble = ["dadfailed", "tentative", "deprecated"].into_iter().find(|f| set(f));
            let temporary = set("temporary");
            found.push(Address { address, interface: name.to_owned(), trouble, temporary });
        }
    }
    found
}

/// Whether the host is multihomed at all.
pub fn prefixes(all: &[Address]) -> Check {
    let prefixes: BTreeSet<Prefix> = all.iter().map(|a| Prefix::of(a.address)).collect();
    let list: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
    match prefixes.len() {
        0 => Check::new("prefixes", CheckResult::Failed, "this host has no global IPv6 address")
            .remedy("look at `ip -6 addr`, and at the router advertisements"),
        1 => Check::new("prefixes", CheckResult::Warning, format!("only one: {}", list.join(", ")))
            .remedy("with one prefix this host answers peers, but has no second path of its own"),
        _ => Check::new("prefixes", CheckResult::Ok, list.join(", ")),
    }
}

/// Whether the identity's addresses are configured and usable.
pub fn members(members: &[Ipv6Addr], all: &[Address]) -> Check {
    let mut bad = Vec::new();
    for member in members {
        match all.iter().find(|a| a.address == *member) {
            None => bad.push(format!("{member} is on no interface")),
            Some(Address { trouble: Some(trouble), .. }) => {
                bad.push(format!("{member} is {trouble}"))
            }
            Some(_) => {}
        }
    }
    match bad.is_empty() {
        true => {
            let text = format!("all {} are there", members.len());
            Check::new("identity_configured", CheckResult::Ok, text)
        }
        false => Check::new("identity_configured", CheckResult::Warning, bad.join(", "))
            .remedy("shim6d adds them when it starts, where the prefix is"),
    }
}

/// Whether new flows take an identity address, which is the work of the daemon's address labels.
pub fn selection(members: &[Ipv6Addr], route: &Result<Value, String>) -> Check {
    let name = "source_selection";
    let source = match route {
        Ok(value) => value[0]["prefsrc"].as_str().and_then(|text| text.parse::<Ipv6Addr>().ok()),
        Err(why) => return Check::new(name, CheckResult::Skipped, why),
    };
    match source {
        Some(source) if members.contains(&source) => {
            Check::new(name, CheckResult::Ok, format!("new flows leave from {source}"))
        }
        Some(source) => {
            let text = format!("new flows leave from {source}, which is not of the identity");
            Check::new(name, CheckResult::Warning, text).remedy(
                "the daemon's address labels (`ip addrlabel`) are missing, or a route names a source",
            )
        }
        None => Check::new(name, CheckResult::Skipped, "no source address in the route"),
    }
}

/// The answer of `ip -6 -j route get … from …`.
pub fn route(value: Result<Value, String>) -> Result<Way, String> {
    let value = value?;
    let route = &value[0];
    if let Some(kind) = route["type"].as_str().filter(|kind| *kind != "unicast") {
        return Err(format!("the route is {kind}"));
    }
    match route["dev"].as_str() {
        Some("lo") | None => Err("there is no route".to_owned()),
        Some(dev) => Ok(Way {
            interface: dev.to_owned(),
            gateway: route["gateway"].as_str().map(str::to_owned),
        }),
    }
}

/// Whether packets leave by the provider whose prefix their source has.
pub fn routing(routes: &[(&Address, Result<Way, String>)]) -> Check {
    let name = "source_routing";
    if routes.is_empty() {
        return Check::new(name, CheckResult::Skipped, "no address to route from");
    }
    let mut failed = Vec::new();
    let mut odd = Vec::new();
    for (from, way) in routes {
        match way {
            Err(why) => failed.push(format!("from {}: {why}", from.address)),
            Ok(way) if way.interface != from.interface => odd.push(format!(
                "from {} (on {}) packets leave by {}",
                from.address, from.interface, way.interface
            )),
            Ok(_) => {}
        }
    }
    // Two prefixes behind one router are fine if that router sorts by source; it cannot be seen from here.
    let ways: BTreeSet<_> = routes.iter().filter_map(|(_, way)| way.as_ref().ok()).collect();
    let prefixes: BTreeSet<_> = routes.iter().map(|(from, _)| Prefix::of(from.address)).collect();
    let remedy = "give each prefix a table of its own: `ip -6 rule add from PREFIX lookup N`, \
                  `ip -6 route add default via ROUTER table N`";
    if !failed.is_empty() {
        Check::new(name, CheckResult::Failed, failed.join("; ")).remedy(remedy)
    } else if !odd.is_empty() {
        Check::new(name, CheckResult::Failed, odd.join("; ")).remedy(remedy)
    } else if prefixes.len() > 1 && ways.len() == 1 {
        let text = "all prefixes leave by one router: it has to choose the provider by the source";
        Check::new(name, CheckResult::Warning, text).remedy(remedy)
    } else {
        Check::new(name, CheckResult::Ok, format!("{} ways out", ways.len()))
    }
}
