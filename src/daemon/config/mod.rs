//! The configuration file, `/etc/shim6/shim6d.toml`.
//!
//! Every key is described once, in [`keys::SECTIONS`]: its type, its range, what it sets, what it means. Reading, checking,
//! the manual page and `docs/config.md` all follow that table.

pub mod document;
pub mod keys;
mod read;
mod table;
#[cfg(test)]
mod tests;
mod values;

pub use read::{ConfigError, Problem};
pub use values::{policy_rule, policy_words};

use super::metrics::Listen;
use crate::addr::Prefix;
use crate::cga::Method;
use crate::dataplane::{Backend, Tier};
use crate::nft::{Capabilities, QueueKind, RuleSpec, TaggedHook};
use crate::proto;
use std::fmt;
use std::io;
use std::path::Path;

/// Where the file is unless `--config` says otherwise. It need not exist.
pub const DEFAULT_PATH: &str = "/etc/shim6/shim6d.toml";

/// All settings of the daemon.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Config {
    /// `[identity]`
    pub identity: IdentityConfig,
    /// `[establish]`, `[reap]`, `[heuristic]` and `[limits]`: what the engine wants to know.
    pub engine: proto::config::Config,
    /// `[rules]`
    pub rules: RulesConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[control]`
    pub control: ControlConfig,
    /// `[metrics]`
    pub metrics: MetricsConfig,
    warnings: Vec<String>,
}

/// Who this host is.
#[derive(Clone, Debug, PartialEq)]
pub struct IdentityConfig {
    /// Kind of a new identity.
    pub method: Method,
    /// Sec of a new identity, 0 to 2.
    pub sec: u8,
    /// Bits of a new key.
    pub key_bits: u32,
    /// The prefixes of the set; empty means every global /64 that the host has.
    pub prefixes: Vec<Prefix>,
    /// Whether addresses that the daemon alone has added go when it stops.
    pub remove_addresses_at_exit: bool,
}

impl Default for IdentityConfig {
    fn default() -> IdentityConfig {
        IdentityConfig {
            method: Method::HbaCga,
            sec: 0,
            key_bits: 2048,
            prefixes: Vec::new(),
            remove_addresses_at_exit: false,
        }
    }
}

/// The packet filter rules.
#[derive(Clone, Debug, PartialEq)]
pub struct RulesConfig {
    /// Whether the daemon installs and removes them.
    pub manage: bool,
    /// How to queue; `None` to find out.
    pub queue_backend: Option<QueueKind>,
    /// What reads the queues.
    pub queue_driver: Backend,
    /// How little is done for packets that stay as they are.
    pub tier: Tier,
    /// Where tagged packets are taken.
    pub tagged_hook: TaggedHook,
    /// Whether transports see also the ICMPv6 errors on which the daemon acts itself.
    pub deliver_all_icmp: bool,
    /// Queues for plain packets, each with a thread; `None` for one per processor, at most 8.
    pub queues: Option<u16>,
    /// Number of the first queue.
    pub queue_first: u16,
    /// Mark of our own packets.
    pub mark: u32,
    /// The bits of the mark that are ours.
    pub mark_mask: u32,
}

impl Default for RulesConfig {
    fn default() -> RulesConfig {
        let spec = RuleSpec::default();
        RulesConfig {
            manage: true,
            queue_backend: None,
            queue_driver: Backend::default(),
            tier: Tier::default(),
            tagged_hook: spec.tagged_hook,
            deliver_all_icmp: false,
            queues: None,
            queue_first: spec.queue_first,
            mark: spec.mark,
            mark_mask: spec.mark_mask,
        }
    }
}

impl RulesConfig {
    /// What to install, on a machine with so many processors and a kernel of such abilities. Rules that somebody
    /// loads by hand know no heartbeat, and no pairs that pass.
    pub fn spec(&self, processors: usize, can: Capabilities) -> RuleSpec {
        let fib = can.fib;
        let automatic = u16::try_from(processors.clamp(1, 8)).unwrap_or(8);
        RuleSpec {
            queue_first: self.queue_first,
            queues_140: 1,
            queues_plain: self.queues.unwrap_or(automatic),
            tagged_hook: if fib { self.tagged_hook } else { TaggedHook::Input },
            mark: self.mark,
            mark_mask: self.mark_mask,
            fib,
            heartbeat: self.manage && can.heartbeat,
            passing: self.manage && can.heartbeat && can.passing && self.tier == Tier::Kernel,
        }
    }
}

/// What is logged.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// Most detailed level that is written.
    pub level: log::LevelFilter,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { level: log::LevelFilter::Info }
    }
}

/// The control socket.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlConfig {
    /// Members of this group may do what root may; empty for root alone.
    pub group: String,
}

impl Default for ControlConfig {
    fn default() -> ControlConfig {
        ControlConfig { group: "shim6".to_owned() }
    }
}

/// Counters for a monitoring system.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct MetricsConfig {
    /// Where they are to be had; nowhere if absent.
    pub listen: Option<Listen>,
}

impl Config {
    /// These settings of the engine, and defaults for everything else.
    pub fn of_engine(engine: proto::config::Config) -> Config {
        Config { engine, ..Config::default() }
    }

    /// Reads a file, which must exist.
    ///
    /// # Errors
    /// All that is wrong with it, each with its line and, where one can be guessed, the remedy.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        Config::of_file(path, std::fs::read_to_string(path))
    }

    /// Reads the file that was asked for, or else the default one if it exists.
    ///
    /// # Errors
    /// As [`Config::load`]. A file of which we may not even know whether it is there is not an absent one.
    pub fn load_or_default(path: Option<&Path>) -> Result<Config, ConfigError> {
        match path {
            Some(path) => Config::load(path),
            None => Config::load_if_there(Path::new(DEFAULT_PATH)),
        }
    }

    fn load_if_there(path: &Path) -> Result<Config, ConfigError> {
        match std::fs::read_to_string(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Config::default()),
            read => Config::of_file(path, read),
        }
    }

    fn of_file(path: &Path, read: io::Result<String>) -> Result<Config, ConfigError> {
        let text = read.map_err(|e| {
            let mut message = e.to_string();
            if e.kind() == io::ErrorKind::PermissionDenied {
                let me = nix::unistd::Uid::effective();
                message +=
                    &format!(": user {me} has to be able to read it and to enter its directories");
            }
            ConfigError::from(Problem::new(None, message))
        });
        text.and_then(|text| Config::parse(&text)).map_err(|e| e.in_file(path))
    }

    /// Reads a configuration from text.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        read::parse(text)
    }

    /// What is accepted but not wise, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Keys that differ from `other` and take effect only at a restart, for a reload to name.
    pub fn needs_restart(&self, other: &Config) -> Vec<String> {
        keys::keys()
            .filter(|key| key.restart && (key.get)(self) != (key.get)(other))
            .map(|key| key.to_string())
            .collect()
    }
}

impl fmt::Display for Config {
    /// The whole configuration as a file that says the same, defaults included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut section = "";
        for key in keys::keys() {
            if key.section != section {
                let gap = if section.is_empty() { "" } else { "\n" };
                writeln!(f, "{gap}[{}]", key.section)?;
                section = key.section;
            }
            writeln!(f, "{} = {}", key.name, (key.get)(self))?;
        }
        Ok(())
    }
}
