//! What can be typed behind `shim6d`.

use crate::dataplane::{Backend, Tier};
use clap::Parser;
use std::path::PathBuf;

/// Multihoming for IPv6 by Shim6: keeps flows alive when a provider fails.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "shim6d",
    version,
    about = "Multihoming for IPv6 by Shim6: keeps flows alive when a provider fails",
    long_about = "Watches IPv6 flows between this host and peers that speak Shim6 (RFC 5533), and moves them to other \
                  addresses of both hosts when the path in use fails (RFC 5534). Applications notice nothing: they go \
                  on with the addresses they began with. Without any configuration, on a host with global IPv6 \
                  prefixes, it makes an identity, adds the identity's addresses, installs its packet filter rules, \
                  and removes them when it stops.",
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 kernel or privilege lacking."
)]
pub struct DaemonArgs {
    /// Configuration [default: /etc/shim6/shim6d.toml, if there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the identity
    #[arg(long, value_name = "DIR", default_value = "/var/lib/shim6")]
    pub state_dir: PathBuf,
    /// Directory of the control socket and the journal
    #[arg(long, value_name = "DIR", default_value = "/run/shim6")]
    pub runtime_dir: PathBuf,
    /// How the queues are read: batch or nfq [default: `queue_driver` of the configuration]
    #[arg(long, value_name = "NAME", value_parser = queue_backend)]
    pub queue_backend: Option<Backend>,
    /// How little is done for packets that stay as they are: 1, 2 or 3 [default: `tier` of the configuration]
    #[arg(long, value_name = "N", value_parser = tier)]
    pub tier: Option<Tier>,
    /// Record every input of the protocol engine to a new file, for `shim6ctl replay`; it holds secrets of the contexts
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Check configuration and kernel, then exit
    #[arg(long)]
    pub check: bool,
}

fn queue_backend(name: &str) -> Result<Backend, String> {
    Backend::named(name).ok_or_else(|| "batch or nfq".to_owned())
}

fn tier(number: &str) -> Result<Tier, String> {
    number.parse().ok().and_then(Tier::numbered).ok_or_else(|| "1, 2 or 3".to_owned())
}

impl DaemonArgs {
    /// Where the control socket is.
    pub fn socket(&self) -> PathBuf {
        self.runtime_dir.join("control.sock")
    }
}
