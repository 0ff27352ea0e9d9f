//! What the daemon can tell about its own health, from its status and its counters.

use crate::control::api::{
    AddressState, Check, CheckResult, IdentityInfo, QueueStats, StatsInfo, StatusInfo,
};

/// All checks, for the answer to `Request::Doctor`.
pub fn checks(status: &StatusInfo, stats: &StatsInfo) -> Vec<Check> {
    let mut checks = vec![rules(status)];
    match &status.identity {
        Some(identity) => {
            checks.push(identity_addresses(identity));
            checks.push(identity_signs(identity));
        }
        None => checks.push(
            Check::new("identity", CheckResult::Failed, "this host has no identity yet")
                .remedy("it is made as soon as an interface has a global IPv6 prefix"),
        ),
    }
    checks.extend(stats.queues.iter().filter(|q| lossy(q)).map(queue));
    if !stats.queues.is_empty() && !stats.queues.iter().any(lossy) {
        let text = format!("{} queues, no packet lost", stats.queues.len());
        checks.push(Check::new("queues", CheckResult::Ok, text));
    }
    checks.extend(status.warnings.iter().map(|w| Check::new("daemon", CheckResult::Warning, w)));
    checks
}

fn rules(status: &StatusInfo) -> Check {
    let rules = &status.rules;
    match (rules.present, rules.managed) {
        (true, _) => {
            let text = format!("table {} is in place", rules.table);
            Check::new("rules_present", CheckResult::Ok, text)
        }
        (false, true) => {
            let text = format!("table {} is missing or was changed", rules.table);
            Check::new("rules_present", CheckResult::Failed, text)
                .remedy("`shim6ctl rules show` says what differs, `shim6ctl rules install` repairs")
        }
        (false, false) => {
            let text = "the rules are managed by hand and not in place";
            Check::new("rules_present", CheckResult::Failed, text)
                .remedy("load nft-rules/shim6.nft, or set [rules] manage = true")
        }
    }
}

fn identity_addresses(identity: &IdentityInfo) -> Check {
    let bad: Vec<_> = identity
        .addresses
        .iter()
        .filter(|a| !matches!(a.state, AddressState::Preferred | AddressState::Parked))
        .map(|a| format!("{} is {}", a.address, a.state.name()))
        .collect();
    let duplicate = identity.addresses.iter().any(|a| a.state == AddressState::DadFailed);
    match bad.is_empty() {
        true => {
            let text = format!("{} addresses, all usable", identity.addresses.len());
            Check::new("identity_addresses", CheckResult::Ok, text)
        }
        false if duplicate => Check::new("identity_addresses", CheckResult::Failed, bad.join(", "))
            .remedy("another host has the address: was the identity copied?"),
        false => Check::new("identity_addresses", CheckResult::Warning, bad.join(", "))
            .remedy("look at `ip -6 addr`: the prefix may be gone or deprecated"),
    }
}

fn identity_signs(identity: &IdentityInfo) -> Check {
    match identity.method.as_str() {
        "hba" => Check::new(
            "identity_signs",
            CheckResult::Warning,
            "the identity has no key: locators that come later cannot be offered",
        )
        .remedy("`shim6ctl identity generate --method hba-cga`, if SHA-1 signatures are allowed"),
        method => {
            let text = format!("{method} with RSA-{}", identity.key_bits);
            Check::new("identity_signs", CheckResult::Ok, text)
        }
    }
}

fn lossy(queue: &QueueStats) -> bool {
    queue.dropped + queue.user_dropped > 0
}

fn queue(queue: &QueueStats) -> Check {
    let text = format!(
        "queue {}: {} of {} packets lost because it was full, {} because of the socket's buffer",
        queue.queue, queue.dropped, queue.packets, queue.user_dropped
    );
    Check::new("queues", CheckResult::Warning, text)
        .remedy("more queues ([rules] queues) spread the load over more processors")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Locator;
    use crate::control::api::{IdentityAddress, RulesState};

    fn healthy() -> StatusInfo {
        let address = IdentityAddress {
            address: Locator("2001:db8::1".parse().unwrap()),
            interface: Some("eth0".into()),
            state: AddressState::Preferred,
            added_by_daemon: true,
        };
        StatusInfo {
            identity: Some(IdentityInfo {
                method: "hba-cga".into(),
                key_bits: 2048,
                addresses: vec![address],
                ..IdentityInfo::default()
            }),
            rules: RulesState { managed: true, present: true, ..RulesState::default() },
            ..StatusInfo::default()
        }
    }

    fn worst(status: &StatusInfo, stats: &StatsInfo) -> CheckResult {
        checks(status, stats).iter().map(|c| c.result).max().unwrap()
    }

    #[test]
    fn each_trouble_is_found() {
        let calm = StatsInfo::default();
        assert_eq!(worst(&healthy(), &calm), CheckResult::Ok);
        let mut status = healthy();
        status.rules.present = false;
        assert_eq!(worst(&status, &calm), CheckResult::Failed);
        status.rules.managed = false;
        assert!(checks(&status, &calm)[0].remedy.as_ref().unwrap().contains("shim6.nft"));
        let mut status = healthy();
        status.identity = None;
        assert_eq!(worst(&status, &calm), CheckResult::Failed);
        let mut status = healthy();
        status.identity.as_mut().unwrap().addresses[0].state = AddressState::DadFailed;
        assert_eq!(worst(&status, &calm), CheckResult::Failed);
        status.identity.as_mut().unwrap().addresses[0].state = AddressState::Tentative;
        assert_eq!(worst(&status, &calm), CheckResult::Warning);
        let lossy = StatsInfo {
            queues: vec![QueueStats { queue: 5533, dropped: 3, packets: 9, ..Default::default() }],
            ..StatsInfo::default()
        };
        assert_eq!(worst(&healthy(), &lossy), CheckResult::Warning);
    }
}
