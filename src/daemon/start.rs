//! From the command line to a running daemon, and back to nothing.

use super::addresses::IdentitySettings;
use super::addresses::Keeper;
use super::args::DaemonArgs;
use super::config::Config;
use super::driver::{Driver, Ended, Parts, Reloaded, Sources};
use super::guard::Guard;
use super::heartbeat::NO_GUARD;
use super::journal::{Binding, Journal};
use super::metrics::Metrics;
use super::only::only_one;
use super::passing::KernelSet;
use super::privilege;
use super::record::{self, Recorder, Step};
use super::rules::RuleKeeper;
use super::{clock, entropy, logging};
use crate::cga::Sec;
use crate::control::server::{Access, Limits, Server, link};
use crate::dataplane::{Channels, Dataplane, KernelFigures};
use crate::dataplane::{DataplaneConfig, HeldConfig, ReassemblyConfig};
use crate::netlink::{Addresses, Monitor};
use crate::nft::{self, Heartbeat, Passing, RuleSpec, RuleWatch};
use crate::proto::Engine;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Notices from the workers that may wait.
const NOTICES: usize = 4096;
/// Address pairs without a context that are watched at a time.
const HEURISTIC_PAIRS: usize = 16_384;
/// Control messages that may wait.
const MESSAGES: usize = 1024;

/// Descriptors that the process may have open.
const DESCRIPTORS: u64 = 16_384;

/// The abstract socket that a daemon holds in its network namespace.
const NAME: &str = "shim6d";

/// How long clients may take to read that the daemon stops.
const FAREWELL: std::time::Duration = std::time::Duration::from_millis(500);

/// Why the daemon does not run, by whose turn it is.
#[derive(Debug)]
pub enum StartFailure {
    /// Usage or configuration: exit code 2.
    Config(String),
    /// The kernel lacks something, or we lack the right to it: exit code 3.
    Kernel(String),
    /// Anything else: exit code 1.
    Failed(String),
}

impl StartFailure {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartFailure::Failed(_) => 1,
            StartFailure::Config(_) => 2,
            StartFailure::Kernel(_) => 3,
        }
    }
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartFailure::Config(s) | StartFailure::Kernel(s) | StartFailure::Failed(s) => {
                f.write_str(s)
            }
        }
    }
}

fn failed(what: &str, e: &dyn fmt::Display) -> StartFailure {
    StartFailure::Failed(format!("{what}: {e}"))
}

/// Validates configuration and kernel, changes nothing, and tells what it found.
pub fn check(args: &DaemonArgs) -> Result<Vec<String>, StartFailure> {
    let file = load_config(args)?;
    let mut found: Vec<String> = file.warnings().iter().map(|w| format!("warning: {w}")).collect();
    found.push("configuration: ok".to_owned());
    privilege::check().map_err(|e| StartFailure::Kernel(e.to_string()))?;
    let can = nft::probe().map_err(|e| StartFailure::Kernel(with_remedy(&e)))?;
    let kind = can.queue_kind().map_err(|e| StartFailure::Kernel(with_remedy(&e)))?;
    found.push(format!(
        "kernel: ok, queueing by {kind:?}, fib {}, dead man's switch {}",
        can.fib, can.heartbeat
    ));
    if let Err(e) = super::identity::load(&args.state_dir) {
        return Err(StartFailure::Config(e.to_string()));
    }
    Ok(found)
}

fn with_remedy(e: &nft::NftError) -> String {
    format!("{e} (remedy: {})", e.remedy())
}

/// Reads the configuration.
///
/// # Errors
/// [`StartFailure::Config`] with all that is wrong with it.
pub fn load_config(args: &DaemonArgs) -> Result<Config, StartFailure> {
    let mut config = Config::load_or_default(args.config.as_deref())
        .map_err(|e| StartFailure::Config(e.to_string()))?;
    if let Some(backend) = args.queue_backend {
        config.rules.queue_driver = backend;
    }
    if let Some(tier) = args.tier {
        config.rules.tier = tier;
    }
    Ok(config)
}

/// What the configuration says about the identity, in the keeper's terms.
fn identity_settings(file: &Config) -> Result<IdentitySettings, String> {
    let sec = Sec::new(file.identity.sec).ok_or_else(|| format!("sec {}", file.identity.sec))?;
    Ok(IdentitySettings {
        method: file.identity.method,
        sec,
        key_bits: file.identity.key_bits,
        prefixes: file.identity.prefixes.clone(),
        remove_at_exit: file.identity.remove_addresses_at_exit,
    })
}

/// What the data plane is told.
fn dataplane_config(file: &Config, spec: &RuleSpec) -> DataplaneConfig {
    let plain = spec.queue_first + spec.queues_140;
    DataplaneConfig {
        queues_140: spec.queue_first..plain,
        queues_plain: plain..plain + spec.queues_plain,
        mark: spec.mark,
        mark_mask: spec.mark_mask,
        leave_alone: nft::leave_alone(spec.mark, spec.mark_mask),
        heuristic: file.engine.heuristic.clone(),
        heuristic_pairs: HEURISTIC_PAIRS,
        held: HeldConfig::default(),
        reassembly: ReassemblyConfig::default(),
        deliver_all_icmp: file.rules.deliver_all_icmp,
        clock: clock::now,
        backend: file.rules.queue_driver,
        tier: file.rules.tier,
    }
}

/// Runs the daemon until it is told to stop.
pub async fn run(args: DaemonArgs) -> Result<(), StartFailure> {
    let file = load_config(&args)?;
    for warning in file.warnings() {
        log::warn!("configuration: {warning}");
    }
    privilege::check().map_err(|e| StartFailure::Kernel(e.to_string()))?;
    let can = nft::probe().map_err(|e| StartFailure::Kernel(with_remedy(&e)))?;
    raise_descriptors();

    own_dir(&args.state_dir, 0o700)?;
    own_dir(&args.runtime_dir, 0o755)?;
    let _lock = lock(&args.runtime_dir)?;
    let only = only_one(NAME).map_err(|e| failed("network namespace", &e))?;

    let identity = identity_settings(&file).map_err(StartFailure::Config)?;
    let mut warnings = Vec::new();
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut spec = file.rules.spec(processors, can);
    if spec.tagged_hook != file.rules.tagged_hook {
        let text = "this kernel has no nft fib: tagged packets are taken at input, so a stateful \
                    firewall does not see their ULIDs";
        log::warn!("{text}");
        warnings.push(text.to_owned());
    }
    let heart = open_heart(&mut spec, file.rules.manage, &mut warnings);
    let passing = open_passing(&mut spec);
    let mut rules = RuleKeeper::new(spec, can, file.rules.queue_backend, file.rules.manage)
        .map_err(|e| StartFailure::Kernel(with_remedy(&e)))?;

    let mut recorder = match &args.record {
        None => None,
        Some(path) => Some(
            Recorder::create(path, record::MAX_OCTETS)
                .map_err(|e| failed(&path.display().to_string(), &e))?,
        ),
    };
    // Whatever needs more than the network capabilities comes before they are all that is left.
    let (caller, link) = link();
    let access = Arc::new(Access::new(&file.control.group));
    let socket = args.socket();
    let metrics = match &file.metrics.listen {
        Some(at) => Some(Metrics::bind(at).map_err(|e| failed(&format!("metrics at {at}"), &e))?),
        None => None,
    };
    let server = Server::bind(&socket, access.clone(), Limits::default())
        .map_err(|e| failed(&format!("control socket {}", socket.display()), &e))?;
    let figures = KernelFigures::open_or_warn();
    if let Some(user) = privilege::drop_all_but_network(&[&args.state_dir, &args.runtime_dir])
        .map_err(|e| StartFailure::Kernel(e.to_string()))?
    {
        log::info!("running as user {user}");
    }
    let heart = heart.map(|heart| (heart, start_guard(&mut warnings)));
    // From now on a signal is dealt with once the start is over, so that nothing stays behind half done.
    let (stop, reload) = signals().map_err(|e| failed("signals", &e))?;
    let now = clock::now();
    let (journal, saved) = open_journal(&args.runtime_dir, &mut warnings);

    let mut rng = entropy::rng();
    let engine = match &mut recorder {
        None => Engine::new(file.engine.clone(), now, &mut rng),
        Some(recorder) => {
            recorder.say(Step::Start { version: record::VERSION, config: file.to_string() });
            let engine = file.engine.clone();
            recorder.run(now, &mut rng, &mut VecDeque::new(), |cx| Engine::new(engine, now, cx.rng))
        }
    };
    let (notices_in, notices) = mpsc::channel(NOTICES);
    let (control_in, control) = mpsc::channel(MESSAGES);
    let channels = Channels { notices: notices_in, control: control_in };
    let dataplane = Dataplane::open(dataplane_config(&file, &spec), channels, figures)
        .map_err(|e| StartFailure::Kernel(e.to_string()))?;
    if let Some(passing) = passing {
        dataplane.let_pass(Box::new(KernelSet(passing)));
    }
    let kernel = Addresses::open().map_err(|e| failed("rtnetlink", &e))?;
    let monitor = Monitor::open().map_err(|e| failed("rtnetlink", &e))?;
    let rule_watch = match RuleWatch::open() {
        Ok(watch) => Some(watch),
        Err(e) => {
            log::warn!("changes of the packet filter are not seen: {e}");
            None
        }
    };
    let keeper = Keeper::new(kernel, identity, args.state_dir.clone());
    rules.start().map_err(|e| StartFailure::Kernel(with_remedy(&e)))?;

    let read_again = {
        let args = args.clone();
        let running = file.clone();
        Box::new(move || {
            let file = load_config(&args).map_err(|e| e.to_string())?;
            let identity = identity_settings(&file)?;
            logging::set_level(file.log.level);
            access.set_group(&file.control.group);
            let mut warnings = file.warnings().to_vec();
            warnings.extend(
                file.needs_restart(&running)
                    .iter()
                    .map(|key| format!("{key} changes at a restart")),
            );
            let text = file.to_string();
            Ok(Reloaded { engine: file.engine, text, identity, warnings })
        })
    };
    let parts = Parts {
        engine,
        rng,
        dataplane,
        keeper,
        rules,
        heart,
        journal,
        recorder,
        events: link.events.clone(),
        warnings,
        config_warnings: file.warnings().to_vec(),
        reload: read_again,
    };
    let mut driver = Driver::new(parts, now);
    driver.look_at_host();
    driver.announce_identity();
    driver.restore(&saved);
    if let Err(e) = driver.run_workers() {
        driver.finish();
        return Err(StartFailure::Kernel(e.to_string()));
    }

    let mut sources = Sources { control, notices, calls: link.calls, monitor, rule_watch };
    if let Some(metrics) = metrics {
        drop(tokio::task::spawn(metrics.run(caller.clone())));
    }
    let serving = tokio::task::spawn(async move { server.run(caller).await });
    notify_ready();
    log::info!("shim6d {} is ready", env!("CARGO_PKG_VERSION"));
    let ended = driver.run(&mut sources, stop, reload).await;
    driver.finish();
    // The server ends with our end of the link, once subscribers know that we stop. It takes its socket along.
    drop(sources);
    if tokio::time::timeout(FAREWELL, serving).await.is_err() {
        log::debug!("some clients did not read their last events");
        let _ = fs::remove_file(&socket);
    }
    // It may be full of connections with descriptors that take long to close, which those of a process that ends do not.
    std::mem::forget(only);
    match ended {
        Ended::Stopped => {
            log::info!("stopped");
            Ok(())
        }
        Ended::Failed(why) => Err(StartFailure::Failed(why)),
    }
}

/// Makes a directory, or makes sure that nobody else can change what is in it.
fn own_dir(dir: &Path, mode: u32) -> Result<(), StartFailure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(dir)
        .map_err(|e| failed(&dir.display().to_string(), &e))?;
    privilege::check_directory(dir).map_err(StartFailure::Config)
}

/// Lets the process have as many descriptors as it can use: clients pass some, and half of the limit is for those.
fn raise_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(now, hard)| {
        let wanted = hard.min(DESCRIPTORS);
        if now < wanted { setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) } else { Ok(()) }
    });
    if let Err(e) = raised {
        log::warn!("the limit of open descriptors stays as it is: {e}");
    }
}

/// One daemon per runtime directory.
fn lock(dir: &Path) -> Result<Flock<File>, StartFailure> {
    let path = dir.join("shim6d.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(|e| failed(&path.display().to_string(), &e))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| {
        StartFailure::Failed(format!(
            "{}: {e}: another shim6d uses this directory (--runtime-dir names another one)",
            path.display()
        ))
    })
}

/// The signs of life that the rules ask for. Without them the rules do their work, but nobody notices a daemon that hangs.
fn open_heart(spec: &mut RuleSpec, managed: bool, warnings: &mut Vec<String>) -> Option<Heartbeat> {
    if !managed {
        // Nobody would beat for rules that `rules install` puts there.
        spec.heartbeat = false;
        return None;
    }
    let why = if spec.heartbeat {
        match Heartbeat::open(spec) {
            Ok(heart) => return Some(heart),
            Err(e) => e.to_string(),
        }
    } else {
        "this kernel's rules know no dynamic sets, or there is no ::1 on the loopback interface"
            .to_owned()
    };
    spec.heartbeat = false;
    let text = format!("{why}: if shim6d hangs, it holds up all IPv6 traffic that it looks at");
    log::warn!("{text}");
    warnings.push(text);
    None
}

/// The set of pairs that pass in the kernel, if the rules have one; it is changed by the way that signs of life take.
fn open_passing(spec: &mut RuleSpec) -> Option<Passing> {
    spec.passing &= spec.heartbeat;
    if !spec.passing {
        return None;
    }
    match Passing::open(spec) {
        Ok(passing) => Some(passing),
        Err(e) => {
            log::warn!("all packets are queued, also those of fast flows: {e}");
            spec.passing = false;
            None
        }
    }
}

/// Must come before the first thread, and before anything that the guard must not hold.
fn start_guard(warnings: &mut Vec<String>) -> Option<Guard> {
    match Guard::start() {
        Ok(guard) => Some(guard),
        Err(e) => {
            let text = format!("shim6d-guard: {e}: {NO_GUARD}");
            log::warn!("{text}");
            warnings.push(text);
            None
        }
    }
}

/// A journal is worth having, but nothing depends on it.
fn open_journal(dir: &Path, warnings: &mut Vec<String>) -> (Option<Journal>, Vec<Vec<u8>>) {
    let path = dir.join("contexts.journal");
    let opened = Binding::current().and_then(|b| Journal::open(&path, b, clock::now()));
    match opened {
        Ok((journal, saved)) => (Some(journal), saved),
        Err(e) => {
            let text = format!("{}: {e}: a restart loses contexts", path.display());
            log::warn!("{text}");
            warnings.push(text);
            (None, Vec::new())
        }
    }
}

/// SIGTERM and SIGINT stop, SIGHUP reloads.
fn signals() -> std::io::Result<(mpsc::Receiver<()>, mpsc::Receiver<()>)> {
    let (stop_in, stop) = mpsc::channel(1);
    let (reload_in, reload) = mpsc::channel(1);
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signal = signal(kind)?;
        let stop_in = stop_in.clone();
        tokio::task::spawn(async move {
            while signal.recv().await.is_some() {
                let _ = stop_in.try_send(());
            }
        });
    }
    let mut hup = signal(SignalKind::hangup())?;
    tokio::task::spawn(async move {
        while hup.recv().await.is_some() {
            let _ = reload_in.try_send(());
        }
    });
    Ok((stop, reload))
}

/// Tells the service manager that we are up (`Type=notify`).
fn notify_ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = std::os::unix::net::UnixDatagram::unbound().and_then(|s| {
        let name = path.to_string_lossy().into_owned();
        match name.strip_prefix('@') {
            Some(abstract_name) => {
                use std::os::linux::net::SocketAddrExt;
                let addr = std::os::unix::net::SocketAddr::from_abstract_name(abstract_name)?;
                s.send_to_addr(b"READY=1", &addr)
            }
            None => s.send_to(b"READY=1", &path),
        }
    });
    if let Err(e) = sent {
        log::warn!("the service manager could not be told that we are ready: {e}");
    }
}
