//! Every constant of the protocol, with the RFC's value as default.

use crate::addr::AddressRange;
use std::time::Duration;

/// All settings of the engine.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Config {
    /// Context establishment and recovery.
    pub establish: EstablishConfig,
    /// Failure detection and exploration.
    pub reap: ReapConfig,
    /// When to negotiate.
    pub heuristic: HeuristicConfig,
    /// Bounds on what a peer can make us keep or send.
    pub limits: Limits,
    /// For finding faults: whoever sends what is dropped silently otherwise is told by an Error with a code from 120 to
    /// 127 (RFC 5533, 5.14).
    pub debug_errors: bool,
}

/// RFC 5533, section 14.
#[derive(Clone, Debug, PartialEq)]
pub struct EstablishConfig {
    /// I1_TIMEOUT, first wait for an answer to I1.
    pub i1_timeout: Duration,
    /// I1_RETRIES_MAX, retransmissions after the first I1.
    pub i1_retries_max: u32,
    /// NO_R1_HOLDDOWN_TIME, no new attempt to a ULID pair that did not answer.
    pub no_r1_holddown: Duration,
    /// ICMP_HOLDDOWN_TIME, no new attempt to a peer whose kernel refused protocol 140.
    pub icmp_holddown: Duration,
    /// I2_TIMEOUT.
    pub i2_timeout: Duration,
    /// I2_RETRIES_MAX.
    pub i2_retries_max: u32,
    /// I2bis_TIMEOUT.
    pub i2bis_timeout: Duration,
    /// I2bis_RETRIES_MAX.
    pub i2bis_retries_max: u32,
    /// VALIDATOR_MIN_LIFETIME, how long an R1 or R1bis stays answerable at least.
    pub validator_min_lifetime: Duration,
    /// How old a validator may be at most.
    pub validator_max_age: Duration,
    /// How often the validator's secret changes; the previous one stays valid for one more period.
    pub secret_rotation: Duration,
    /// UPDATE_TIMEOUT.
    pub update_timeout: Duration,
    /// MAX_UPDATE_TIMEOUT.
    pub max_update_timeout: Duration,
    /// A context without traffic for so long is discarded (never under 5 minutes in normal use).
    pub idle_teardown: Duration,
    /// Only these low bits of a context tag are random (47 normally; fewer only to test collisions).
    pub tag_bits: u32,
}

impl Default for EstablishConfig {
    fn default() -> Self {
        // req: S6-14-01, S6-14-02, S6-14-03, S6-14-04, S6-14-05, S6-14-06, S6-14-07, S6-14-08
        EstablishConfig {
            i1_timeout: Duration::from_secs(4),
            i1_retries_max: 4,
            no_r1_holddown: Duration::from_secs(60),
            icmp_holddown: Duration::from_secs(600),
            i2_timeout: Duration::from_secs(4),
            i2_retries_max: 2,
            i2bis_timeout: Duration::from_secs(4),
            i2bis_retries_max: 2,
            validator_min_lifetime: Duration::from_secs(30),
            validator_max_age: Duration::from_secs(60),
            secret_rotation: Duration::from_secs(600),
            update_timeout: Duration::from_secs(4),
            max_update_timeout: Duration::from_secs(120),
            idle_teardown: Duration::from_secs(600),
            tag_bits: 47,
        }
    }
}

/// How a failure is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Detection {
    /// By Send Timeout and Keepalive Timeout (RFC 5534).
    #[default]
    Rfc,
    /// Also by the silence of the flow itself, which leads to a test of the pair in use.
    Fast,
}

impl Detection {
    /// As the configuration spells it.
    pub fn name(self) -> &'static str {
        match self {
            Detection::Rfc => "rfc",
            Detection::Fast => "fast",
        }
    }
}

/// RFC 5534, section 7.
#[derive(Clone, Debug, PartialEq)]
pub struct ReapConfig {
    /// How a failure is noticed.
    pub detection: Detection,
    /// Send Timeout in whole seconds, at least 2 (the Keepalive Timeout option carries it to the peer).
    pub send_timeout_secs: u16,
    /// Keepalive Timeout as long as the peer has not told its own Send Timeout.
    pub default_keepalive_timeout: Duration,
    /// Keepalive Interval as a part of the Keepalive Timeout, 1/3 to 1/2.
    pub keepalive_fraction: f64,
    /// Initial Probe Timeout.
    pub initial_probe_timeout: Duration,
    /// Number of Initial Probes.
    pub initial_probes: u32,
    /// Max Probe Timeout.
    pub max_probe_timeout: Duration,
    /// Probe gaps vary by this part of themselves in both directions.
    pub probe_jitter: f64,
    /// Send Timeout varies downwards by at most this part of itself.
    pub send_jitter: f64,
    /// Immediate answers (InboundOk, Operational) per second and context.
    pub replies_per_second: u32,
    /// Received probes are remembered for so long after an exploration ended.
    pub report_lifetime: Duration,
    /// A second pair is kept tested while payload passes, and an exploration begins with it.
    pub hot_standby: bool,
    /// The wait between two tests of the standby.
    pub standby_interval: Duration,
    /// Payload goes back to the preferred pair once that has passed all tests for so long; `None`: never.
    pub return_to_preferred: Option<Duration>,
}

impl Default for ReapConfig {
    fn default() -> Self {
        ReapConfig {
            detection: Detection::Rfc,
            send_timeout_secs: 15,
            default_keepalive_timeout: Duration::from_secs(15),
            keepalive_fraction: 1.0 / 3.0,
            initial_probe_timeout: Duration::from_millis(500),
            initial_probes: 4,
            max_probe_timeout: Duration::from_secs(60),
            probe_jitter: 0.2,
            send_jitter: 0.05,
            replies_per_second: 10,
            report_lifetime: Duration::from_secs(10),
            hot_standby: false,
            standby_interval: Duration::from_secs(10),
            return_to_preferred: None,
        }
    }
}

/// When the data plane's first sight of an address pair leads to a negotiation.
#[derive(Clone, Debug, PartialEq)]
pub struct HeuristicConfig {
    /// Octets on an address pair, both directions together.
    pub octets: u64,
    /// Age of an address pair that still carries packets.
    pub age: Duration,
    /// First match wins; without a match the action is `Shim`.
    pub policy: Vec<PolicyRule>,
}

impl Default for HeuristicConfig {
    fn default() -> Self {
        HeuristicConfig { octets: 2048, age: Duration::from_secs(60), policy: Vec::new() }
    }
}

/// What to do for some peers.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyRule {
    /// Those with these addresses.
    pub peers: AddressRange,
    /// What applies to them.
    pub action: PolicyAction,
}

/// How eagerly a context is negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyAction {
    /// By the heuristic.
    Shim,
    /// At the first packet.
    Immediate,
    /// Not at all; a peer's I1 is not answered either.
    Never,
}

/// Bounds; every one sheds with a counter when it is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Contexts in all.
    pub contexts: usize,
    /// Contexts per peer prefix.
    pub contexts_per_prefix: usize,
    /// Locators accepted in one list.
    pub locators: usize,
    /// R1bis messages per second in all, and the burst.
    pub r1bis_per_second: u32,
    /// Burst of R1bis messages.
    pub r1bis_burst: u32,
    /// R1bis messages per second to one /64.
    pub r1bis_per_prefix: u32,
    /// R1 messages per second in all, and the burst. Peers that share a context with us have as many for themselves.
    pub r1_per_second: u32,
    /// R1 messages per second to one /64.
    pub r1_per_prefix: u32,
    /// R2 messages per second in answer to I1s in all, and the burst.
    pub r2_per_second: u32,
    /// R2 messages per second in answer to I1s to one /64.
    pub r2_per_prefix: u32,
    /// Error messages per second in all.
    pub errors_per_second: u32,
    /// Probes per second of all contexts together, and the burst.
    pub probes_per_second: u32,
    /// Entries in each hold-down table.
    pub holddowns: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            contexts: 1_048_576,
            contexts_per_prefix: 4096,
            locators: 16,
            r1bis_per_second: 100,
            r1bis_burst: 50,
            r1bis_per_prefix: 5,
            r1_per_second: 1000,
            r1_per_prefix: 50,
            r2_per_second: 500,
            r2_per_prefix: 100,
            errors_per_second: 10,
            probes_per_second: 20_000,
            holddowns: 65_536,
        }
    }
}

impl HeuristicConfig {
    /// The action for a peer.
    pub fn action(&self, peer: std::net::Ipv6Addr) -> PolicyAction {
        let rule = self.policy.iter().find(|r| r.peers.contains(peer));
        rule.map_or(PolicyAction::Shim, |r| r.action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_matching_policy_wins() {
        let rule = |peers: &str, action| PolicyRule { peers: peers.parse().unwrap(), action };
        let c = HeuristicConfig {
            policy: vec![
                rule("2001:db8:1::/48", PolicyAction::Never),
                rule("::/0", PolicyAction::Immediate),
            ],
            ..Default::default()
        };
        let one = "2001:db8:1::".parse().unwrap();
        assert_eq!(c.action("2001:db8:1:2::3".parse().unwrap()), PolicyAction::Never);
        assert_eq!(c.action("2001:db8:2::3".parse().unwrap()), PolicyAction::Immediate);
        assert_eq!(HeuristicConfig::default().action(one), PolicyAction::Shim);
    }
}
