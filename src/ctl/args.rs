//! What can be typed.

use crate::addr::{Fii, Locator, Prefix, Ulid};
use crate::cga::Method;
use crate::control::api::{ContextId, ContextRef, EventKind, MAX_WAIT_MS, Pair};
use crate::control::forms::parse_prefix;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Looks at and steers the Shim6 daemon of this host.
#[derive(Parser, Debug)]
#[command(
    name = "shim6ctl",
    version,
    about = "Looks at and steers the Shim6 daemon of this host",
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 kernel or privilege lacking.",
    infer_subcommands = false,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Socket of the daemon [default: $SHIM6_SOCKET, else /run/shim6/control.sock]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Wait at most so long for each answer
    #[arg(long, global = true, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub timeout: f64,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// The daemon at a glance
    Status,
    /// Contexts: list, show, establish, discard
    #[command(subcommand)]
    Context(ContextCommand),
    /// Locators of this host or of a context
    #[command(subcommand)]
    Locator(LocatorCommand),
    /// Pairs of locators: test, explore, switch, pin, unpin
    #[command(subcommand)]
    Path(PathCommand),
    /// When contexts are negotiated: show, change until the next reload
    Policy(PolicyOptions),
    /// Whether a host knows Shim6
    #[command(subcommand)]
    Peer(PeerCommand),
    /// All counters
    Stats {
        /// In Prometheus' text form
        #[arg(long, conflicts_with = "json")]
        prometheus: bool,
    },
    /// Events as they happen
    Monitor(MonitorOptions),
    /// Contexts, paths and events, kept up to date on the screen
    Top(TopOptions),
    /// Checks this host and says what is in the way
    Doctor(DoctorOptions),
    /// The packet filter rules: show, install, remove
    Rules(RulesOptions),
    /// The host's identity: generate, show, verify, import, export
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Has the daemon read its configuration again
    Reload,
    /// Runs a recording of `shim6d --record` again, without any daemon; 1 if the engine does something else now
    Replay {
        /// The recording
        file: PathBuf,
        /// Private key of the recorded identity, in PEM, where locators were signed
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Prints the completions for a shell: `source <(shim6ctl completions bash)`
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Writes documentation
    #[command(subcommand, hide = true)]
    Generate(GenerateCommand),
}

/// `shim6ctl context …`
#[derive(Subcommand, Debug)]
pub enum ContextCommand {
    /// All contexts
    List,
    /// Everything about one context
    Show {
        /// Id, or ULIDs as LOCAL,PEER or LOCAL,PEER,FII
        #[arg(value_parser = context)]
        context: ContextRef,
    },
    /// Negotiates a context with a peer now
    Establish {
        /// Address of the peer
        #[arg(value_parser = ulid)]
        peer: Ulid,
        /// Address of this host [default: as the daemon selects]
        #[arg(long, value_parser = ulid, value_name = "ADDRESS")]
        local: Option<Ulid>,
        /// Wait until it is established or has failed
        #[arg(long, value_name = "SECONDS", value_parser = seconds)]
        wait: Option<f64>,
    },
    /// Forgets a context; the peer is not told
    Discard {
        /// Id, or ULIDs as LOCAL,PEER or LOCAL,PEER,FII
        #[arg(value_parser = context)]
        context: ContextRef,
    },
}

/// `shim6ctl locator …`
#[derive(Subcommand, Debug)]
pub enum LocatorCommand {
    /// The host's own locators, or both lists of a context
    List {
        /// Id, or ULIDs as LOCAL,PEER or LOCAL,PEER,FII
        #[arg(value_parser = context)]
        context: Option<ContextRef>,
    },
    /// Offers an address to peers, also a temporary one, or one that was removed
    Add {
        /// An address of this host
        #[arg(value_parser = locator)]
        address: Locator,
    },
    /// Withdraws an address: peers are told, flows leave it; it stays on its interface
    Remove {
        /// An address of this host
        #[arg(value_parser = locator)]
        address: Locator,
    },
    /// Tells peers, and this host, how much an address is preferred
    Prefer {
        /// An address of this host
        #[arg(value_parser = locator)]
        address: Locator,
        /// 0 to 255, lower first
        #[arg(default_value_t = 0)]
        priority: u8,
        /// Share among those of equal priority
        #[arg(long, default_value_t = 0)]
        weight: u8,
        /// Take back what was said before
        #[arg(long, conflicts_with_all = ["priority", "weight"])]
        clear: bool,
    },
    /// Marks an address as out of order: peers are told, flows leave it
    Broken {
        /// An address of this host
        #[arg(value_parser = locator)]
        address: Locator,
        /// It is in order again
        #[arg(long)]
        clear: bool,
    },
}

/// `shim6ctl policy …`
#[derive(Args, Debug)]
pub struct PolicyOptions {
    /// What to do; `show` if nothing is said.
    #[command(subcommand)]
    pub command: Option<PolicyCommand>,
}

/// `shim6ctl policy …`
#[derive(Subcommand, Clone, Debug)]
pub enum PolicyCommand {
    /// Thresholds and rules in force
    Show,
    /// Adds a rule before those for larger prefixes, or changes the one for this prefix
    Set {
        /// Peers, as 2001:db8::/32 or an address
        prefix: String,
        /// When to negotiate: by the thresholds, at the first packet, or not at all
        action: PolicyAction,
    },
    /// Removes the rule for a prefix
    Remove {
        /// As `show` prints it
        prefix: String,
    },
    /// Changes the thresholds
    Threshold {
        /// Octets between two addresses that are worth a context
        #[arg(long, value_name = "N")]
        octets: Option<u64>,
        /// Age of traffic that is worth a context
        #[arg(long, value_name = "SECONDS", value_parser = seconds)]
        age: Option<f64>,
    },
    /// What applies to one peer
    Test {
        /// Its address
        #[arg(value_parser = ulid)]
        peer: Ulid,
    },
}

/// How eagerly a context is negotiated, as a word.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum PolicyAction {
    /// When the thresholds are crossed
    Shim,
    /// At the first packet
    Immediate,
    /// Not at all, not even when the peer asks
    Never,
}

/// `shim6ctl peer …`
#[derive(Subcommand, Debug)]
pub enum PeerCommand {
    /// Asks a host by negotiating a context: yes, no, or unknown if it does not answer; 1 unless it says yes
    Check {
        /// Its address
        #[arg(value_parser = ulid)]
        address: Ulid,
        /// How long to wait for its answer
        #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = check_wait)]
        wait: f64,
    },
}

/// `shim6ctl top`
#[derive(Args, Clone, Debug)]
pub struct TopOptions {
    /// Time between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub interval: f64,
    /// Print the screen once, as text, after the second look
    #[arg(long)]
    pub once: bool,
    /// Columns of that text
    #[arg(long, value_name = "N", default_value_t = 120, requires = "once",
          value_parser = clap::value_parser!(u16).range(40..=400))]
    pub width: u16,
    /// Lines of that text
    #[arg(long, value_name = "N", default_value_t = 30, requires = "once",
          value_parser = clap::value_parser!(u16).range(10..=200))]
    pub height: u16,
}

/// `shim6ctl path …`
#[derive(Subcommand, Debug)]
pub enum PathCommand {
    /// Sends probes on one pair, changing nothing
    Test {
        /// Id, or ULIDs as LOCAL,PEER or LOCAL,PEER,FII
        #[arg(value_parser = context)]
        context: ContextRef,
        /// Locators as LOCAL,PEER
        #[arg(value_parser = pair)]
        pair: Pair,
    },
    /// Sends by another pair, after a test unless it answered lately
    Switch {
        /// Id, or ULIDs as LOCAL,PEER or LOCAL,PEER,FII
        #[arg(value_parser = context)]
        context: ContextRef,
        /// Locators as LOCAL,PEER
        #[arg(value_parser = pair)]
        pair: Pair,
        /// Take it before others after a failure, too
        #[arg(long)]
        prefer: bool,
    },
    /// Sends by this pair whenever it works
    Pin {
        /// Id, or ULIDs as LOCAL,PEER or LOCAL,PEER,FII
        #[arg(value_parser = context)]
        context: ContextRef,
        /// Locators as LOCAL,PEER
        #[arg(value_parser = pair)]
        pair: Pair,
    },
    /// Leaves the choice of the pair to failure detection again
    Unpin {
        /// Id, or ULIDs as LOCAL,PEER or LOCAL,PEER,FII
        #[arg(value_parser = context)]
        context: ContextRef,
    },
    /// Tries all pairs of locators of a context, as after a failure
    Explore {
        /// Id, or ULIDs as LOCAL,PEER or LOCAL,PEER,FII
        #[arg(value_parser = context)]
        context: ContextRef,
        /// Wait until a pair works
        #[arg(long, value_name = "SECONDS", value_parser = seconds)]
        wait: Option<f64>,
    },
}

/// `shim6ctl monitor`
#[derive(Args, Debug)]
pub struct MonitorOptions {
    /// Only these events; a comma separates names
    #[arg(long = "event", value_name = "NAME", value_delimiter = ',', hide_possible_values = true,
          value_parser = clap::builder::PossibleValuesParser::new(EventKind::NAMES))]
    pub events: Vec<String>,
    /// Only events of this context
    #[arg(long, value_name = "ID")]
    pub context: Option<u64>,
    /// Every single probe, too
    #[arg(long, short, conflicts_with = "events")]
    pub verbose: bool,
    /// Stop after so many events
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

/// `shim6ctl doctor`
#[derive(Args, Debug)]
pub struct DoctorOptions {
    /// Directory of the identity
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE)]
    pub state_dir: PathBuf,
    /// Configuration of the daemon [default: /etc/shim6/shim6d.toml, if there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `shim6ctl rules …`
#[derive(Args, Debug)]
pub struct RulesOptions {
    /// What to do.
    #[command(subcommand)]
    pub command: RulesCommand,
    /// Configuration of the daemon, needed only when it does not run
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `shim6ctl rules …`
#[derive(Subcommand, Clone, Copy, PartialEq, Eq, Debug)]
pub enum RulesCommand {
    /// Whether they are in place, what differs, the rules and their counters
    Show,
    /// Puts them in place
    Install,
    /// Takes them away
    Remove,
}

/// Where the identity is unless told otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/shim6";

/// `shim6ctl identity …`
#[derive(Subcommand, Debug)]
pub enum IdentityCommand {
    /// Makes a new identity
    Generate {
        /// A /64 prefix of this host; once for each provider
        #[arg(long = "prefix", value_name = "PREFIX", required = true, value_parser = parse_prefix)]
        prefixes: Vec<Prefix>,
        /// hba, cga or hba-cga
        #[arg(long, default_value = "hba-cga")]
        method: Method,
        /// Security parameter: 0 at once, 1 takes seconds, 2 takes days
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
        sec: u8,
        /// Bits of the RSA key
        #[arg(long, value_name = "BITS", default_value_t = 2048,
              value_parser = clap::value_parser!(u32).range(1024..=3072))]
        key_bits: u32,
        /// Directory of the identity
        #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE)]
        state_dir: PathBuf,
        /// Replace an identity that is there
        #[arg(long)]
        force: bool,
    },
    /// Shows the identity
    Show {
        /// Directory of the identity
        #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE)]
        state_dir: PathBuf,
    },
    /// Checks that addresses follow from the parameters
    Verify {
        /// Directory of the identity
        #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE)]
        state_dir: PathBuf,
        /// Parameters data structure to check against [default: the identity's own]
        #[arg(long, value_name = "FILE", requires = "addresses")]
        pds: Option<PathBuf>,
        /// What to check [default: all addresses of the identity]
        #[arg(value_name = "ADDRESS")]
        addresses: Vec<std::net::Ipv6Addr>,
    },
    /// Takes over an identity from files
    Import {
        /// CGA parameters data structure, octets as in RFC 3972
        #[arg(long, value_name = "FILE")]
        pds: PathBuf,
        /// Private key in PEM; not for an HBA-only identity
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Prefixes of a CGA-only identity other than the one in the parameters
        #[arg(long = "prefix", value_name = "PREFIX", value_parser = parse_prefix)]
        prefixes: Vec<Prefix>,
        /// Directory of the identity
        #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE)]
        state_dir: PathBuf,
        /// Replace an identity that is there
        #[arg(long)]
        force: bool,
    },
    /// Writes the identity to files that `import` takes
    Export {
        /// Where to write the parameters data structure
        #[arg(long, value_name = "FILE")]
        pds: PathBuf,
        /// Where to write the private key, readable by the owner alone
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Directory of the identity
        #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE)]
        state_dir: PathBuf,
    },
}

/// `shim6ctl generate …`
#[derive(Subcommand, Debug)]
pub enum GenerateCommand {
    /// Manual pages
    Man {
        /// Where to write them
        dir: PathBuf,
    },
    /// docs/config.md, to standard output
    Docs,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.001..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds, 0.001 to 86400".to_owned()),
    }
}

fn check_wait(text: &str) -> Result<f64, String> {
    let most = f64::from(MAX_WAIT_MS) / 1000.0;
    seconds(text).ok().filter(|s| *s <= most).ok_or(format!("0.001 to {most} seconds"))
}

fn locator(text: &str) -> Result<Locator, String> {
    text.parse().map(Locator).map_err(|_| "an IPv6 address".to_owned())
}

fn ulid(text: &str) -> Result<Ulid, String> {
    text.parse().map(Ulid).map_err(|_| "an IPv6 address".to_owned())
}

/// A context as people type it: `7`, or `2001:db8:1::a,2001:db8:9::b`, or with a forked instance as third part.
pub fn context(text: &str) -> Result<ContextRef, String> {
    if let Ok(id) = text.parse() {
        return Ok(ContextRef::Id { id: ContextId(id) });
    }
    let wrong = || "an id as `context list` shows it, or LOCAL,PEER or LOCAL,PEER,FII".to_owned();
    let mut parts = text.split(',');
    let mut address = || parts.next().and_then(|a| a.parse().ok()).map(Ulid).ok_or_else(wrong);
    let (local, peer) = (address()?, address()?);
    let fii = match parts.next() {
        None => Fii::DEFAULT,
        Some(number) => Fii(number.parse().map_err(|_| wrong())?),
    };
    if parts.next().is_some() { Err(wrong()) } else { Ok(ContextRef::Ulids { local, peer, fii }) }
}

/// A pair of locators as people type it: `2001:db8:1::a,2001:db8:9::b`.
fn pair(text: &str) -> Result<Pair, String> {
    let parts = text.split_once(',');
    let both = parts.and_then(|(l, p)| Some((l.trim().parse().ok()?, p.trim().parse().ok()?)));
    let (local, peer) = both.ok_or("two IPv6 addresses, LOCAL,PEER")?;
    Ok(Pair { local: Locator(local), peer: Locator(peer) })
}
