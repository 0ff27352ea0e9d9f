//! What the protocol says about the host as a whole: status, identity, locators, rules, counters, checks.

use crate::addr::{AddressRange, Locator, Prefix, Ulid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The daemon at a glance.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusInfo {
    /// Version of the daemon.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Who this host is; `null` while there is no global prefix to make an identity for.
    pub identity: Option<IdentityInfo>,
    /// How packets reach the daemon.
    pub dataplane: DataplaneInfo,
    /// Whether its rules are in place.
    pub rules: RulesState,
    /// How failures are noticed.
    pub failures: FailuresInfo,
    /// Contexts by state, in the RFC's spelling.
    pub contexts: BTreeMap<String, u64>,
    /// Contexts by REAP state, in the RFC's spelling.
    pub reap: BTreeMap<String, u64>,
    /// Packets dropped, by reason; those that are zero are left out.
    pub drops: BTreeMap<String, u64>,
    /// What an administrator ought to know.
    pub warnings: Vec<String>,
}

/// Who this host is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IdentityInfo {
    /// `hba`, `cga` or `hba-cga`.
    pub method: String,
    /// Sec (RFC 3972, 2).
    pub sec: u8,
    /// Length of the key in bits; 0 with `hba`.
    pub key_bits: u32,
    /// Collision count (RFC 3972, 3), common to the set.
    pub collision_count: u8,
    /// The prefixes of the set.
    pub prefixes: Vec<Prefix>,
    /// The addresses of the set, in the order of the prefixes.
    pub addresses: Vec<IdentityAddress>,
}

/// One address of the identity.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct IdentityAddress {
    /// The address.
    pub address: Locator,
    /// Where it is configured; `null` if nowhere.
    pub interface: Option<String>,
    /// What the kernel says of it.
    pub state: AddressState,
    /// Whether the daemon has added it.
    pub added_by_daemon: bool,
}

/// State of an address of this host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressState {
    /// Usable for new flows.
    Preferred,
    /// Usable, but not for new flows.
    Deprecated,
    /// Optimistic duplicate address detection.
    Optimistic,
    /// Duplicate address detection is under way.
    Tentative,
    /// Somebody else has it.
    DadFailed,
    /// Kept on `lo`, because its link is down.
    Parked,
    /// On no interface.
    Missing,
    /// A state of a newer daemon.
    #[serde(other)]
    Unknown,
}

impl AddressState {
    /// As in JSON, with spaces.
    pub fn name(self) -> &'static str {
        match self {
            AddressState::Preferred => "preferred",
            AddressState::Deprecated => "deprecated",
            AddressState::Optimistic => "optimistic",
            AddressState::Tentative => "tentative",
            AddressState::DadFailed => "duplicate",
            AddressState::Parked => "parked on lo",
            AddressState::Missing => "missing",
            AddressState::Unknown => "unknown",
        }
    }
}

/// How packets reach the daemon.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DataplaneInfo {
    /// `native` (nft `queue`) or `xt` (the NFQUEUE target through nft_compat).
    pub queue_backend: String,
    /// What reads the queues: `batch` (our own driver) or `nfq` (the crate); empty from a daemon that does not tell.
    pub queue_driver: String,
    /// Lowest number of the tiers that this host can use: 1 when contexts on their ULIDs are accepted in the
    /// kernel, 2 when they are queued.
    pub tier: u8,
    /// First queue number.
    pub queue_first: u16,
    /// Number of queues, each with its thread.
    pub workers: u16,
    /// Hook that takes tagged packets: `prerouting` or `input`.
    pub tagged_hook: String,
}

/// How failures are noticed on contexts without settings of their own.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FailuresInfo {
    /// `rfc` or `fast`; empty from an older daemon.
    pub detection: String,
    /// Send Timeout.
    pub send_timeout_ms: u64,
    /// Whether a second pair is kept tested.
    pub hot_standby: bool,
    /// After how long a preferred pair that works again is returned to; `null` for never.
    pub return_to_preferred_ms: Option<u64>,
}

/// Whether the rules are in place.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RulesState {
    /// Whether the daemon looks after them (`[rules] manage`).
    pub managed: bool,
    /// Whether they are all there.
    pub present: bool,
    /// Family and name of the table.
    pub table: String,
    /// How often they had to be installed again.
    pub reinstalled: u64,
}

/// The rules in detail.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RulesInfo {
    /// Whether they are in place.
    #[serde(flatten)]
    pub state: RulesState,
    /// What differs from what should be there.
    pub differences: Vec<String>,
    /// The table as `nft list table` prints it; empty if absent.
    pub text: String,
    /// Whether `text` was cut to fit in a packet.
    pub truncated: bool,
}

/// One address of this host that may serve as a locator.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HostLocator {
    /// The address.
    pub locator: Locator,
    /// Its interface.
    pub interface: Option<String>,
    /// What the kernel says of it.
    pub state: AddressState,
    /// How a peer can check that it is ours.
    pub method: super::Verification,
    /// Whether it is offered to peers.
    pub offered: bool,
    /// Locally operational (RFC 5534, 3.2): link up and a default router known.
    pub operational: bool,
    /// Why it is not offered or not operational.
    pub reason: Option<String>,
    /// What an administrator has said about offering it.
    #[serde(default)]
    pub offer: Offer,
    /// Whether an administrator has marked it BROKEN.
    #[serde(default)]
    pub broken: bool,
    /// The preference that an administrator gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preference: Option<LocatorPreference>,
}

/// Whether an address is offered to peers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Offer {
    /// If the identity proves it, and it is not a temporary (privacy) address.
    #[default]
    AsUsual,
    /// Also if it is a temporary address.
    Always,
    /// In no case.
    Never,
}

/// Preference of a locator as RFC 5533 (5.15.3) tells it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocatorPreference {
    /// Lower first.
    pub priority: u8,
    /// Share among those of equal priority.
    #[serde(default)]
    pub weight: u8,
}

/// What to decide about a locator of this host; keys that are absent stay as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocatorChanges {
    /// Whether it is offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offer: Option<Offer>,
    /// Whether it counts as out of order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<bool>,
    /// Its preference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preference: Option<LocatorPreference>,
    /// Takes back the preference that was given.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_preference: bool,
}

/// Most rules of a policy.
pub const MAX_POLICY: usize = 256;

/// When contexts are negotiated.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyInfo {
    /// Octets between two addresses that are worth a context.
    pub octets: u64,
    /// Age of traffic between two addresses that is worth a context.
    pub age_ms: u64,
    /// What applies to which peers, first match first; peers without a match: `shim`.
    pub rules: Vec<PolicyRule>,
    /// Whether it differs from the configuration that was read last.
    pub changed: bool,
}

impl PolicyInfo {
    /// What applies to a peer.
    ///
    /// # Errors
    /// The prefix of a rule that cannot be read.
    pub fn action_for(&self, peer: Ulid) -> Result<PolicyAction, String> {
        for rule in &self.rules {
            let peers: AddressRange = rule.prefix.parse().map_err(|_| rule.prefix.clone())?;
            if peers.contains(peer.0) {
                return Ok(rule.action);
            }
        }
        Ok(PolicyAction::Shim)
    }
}

/// What applies to peers inside a prefix.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    /// `2001:db8::/32`, of any length.
    pub prefix: String,
    /// What applies.
    pub action: PolicyAction,
}

/// How eagerly a context is negotiated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyAction {
    /// By octets and age.
    Shim,
    /// At the first packet.
    Immediate,
    /// Not at all, not even when the peer asks.
    Never,
}

impl PolicyAction {
    /// As in JSON and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            PolicyAction::Shim => "shim",
            PolicyAction::Immediate => "immediate",
            PolicyAction::Never => "never",
        }
    }
}

/// What to change about when contexts are negotiated; keys that are absent stay as they are.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyChanges {
    /// See [`PolicyInfo::octets`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub octets: Option<u64>,
    /// See [`PolicyInfo::age_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// All rules anew, at most [`MAX_POLICY`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<PolicyRule>>,
}

/// All counters.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StatsInfo {
    /// By name: `rx_…`, `tx_…`, `drop_…`, `verify_…`, `event_…`; see `docs/control-protocol.md`.
    pub counters: BTreeMap<String, u64>,
    /// The kernel's counters of our queues.
    pub queues: Vec<QueueStats>,
}

/// The kernel's counters of one queue (`/proc/net/netfilter/nfnetlink_queue`).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueStats {
    /// Queue number.
    pub queue: u16,
    /// Packets waiting for a verdict.
    pub waiting: u64,
    /// Packets that found the queue full.
    pub dropped: u64,
    /// Packets that the socket's buffer could not take.
    pub user_dropped: u64,
    /// Packets that have passed so far.
    pub packets: u64,
}

/// Result of one check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// Short name, stable: `rules_present`.
    pub name: String,
    /// How it went.
    pub result: CheckResult,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    /// A check that went as given.
    pub fn new(name: &str, result: CheckResult, detail: impl Into<String>) -> Check {
        Check { name: name.to_owned(), result, detail: detail.into(), remedy: None }
    }

    /// The same, with words on what to do.
    pub fn remedy(self, remedy: impl Into<String>) -> Check {
        Check { remedy: Some(remedy.into()), ..self }
    }
}

/// How a check went.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    /// As it should be.
    Ok,
    /// Could not be checked.
    Skipped,
    /// Works, but not as well as it could.
    Warning,
    /// Does not work.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_whose_prefix_has_the_peer_applies() {
        let rule = |prefix: &str, action| PolicyRule { prefix: prefix.to_owned(), action };
        let rules = vec![
            rule("2001:db8::1", PolicyAction::Immediate),
            rule("2001:db8:8000::/33", PolicyAction::Never),
            rule("2001:db8::/32", PolicyAction::Shim),
            rule("::/0", PolicyAction::Immediate),
        ];
        let policy = PolicyInfo { rules, ..PolicyInfo::default() };
        let action = |peer: &str| policy.action_for(Ulid(peer.parse().unwrap())).unwrap();
        assert_eq!(action("2001:db8::1"), PolicyAction::Immediate);
        assert_eq!(action("2001:db8::2"), PolicyAction::Shim);
        assert_eq!(action("2001:db8:8000::1"), PolicyAction::Never);
        assert_eq!(action("2001:db9::1"), PolicyAction::Immediate);
        let none = PolicyInfo::default().action_for(Ulid("::1".parse().unwrap()));
        assert_eq!(none, Ok(PolicyAction::Shim));
        for bad in ["", "2001:db8::/129", "2001:db8::/x", "/3"] {
            let rules = vec![rule(bad, PolicyAction::Never)];
            let policy = PolicyInfo { rules, ..PolicyInfo::default() };
            assert_eq!(policy.action_for(Ulid("::1".parse().unwrap())), Err(bad.to_owned()));
        }
    }
}
