//! Keeps this host's identity on its interfaces: loads or makes it, adds its addresses where the prefixes are, prefers
//! them for new connections, holds identifiers whose link is down, and undoes all of it at the end.

use super::{clock, entropy, identity};
use crate::addr::Prefix;
use crate::cga::{GenerateParams, Identity, Method, Sec};
use crate::netlink::{Added, Addresses, Lifetime, NetlinkError, Snapshot, Undo};
use crate::proto::Time;
use crate::proto::input::AddressEvent;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread::Builder;
use std::time::Duration;

/// What failed is not tried again sooner: every change of the host asks for it.
const RETRY: Duration = Duration::from_secs(30);
/// How long the host may be without any prefix of its identity before it gets another one: prefixes come one after the
/// other at boot, and for a while they are all gone when links bounce.
const HOMELESS: Duration = Duration::from_secs(60);
/// The same once the identity has been in use: its loss ends flows.
const HOMELESS_IN_USE: Duration = Duration::from_secs(600);
/// How often to look whether a new identity is ready.
const PROGRESS: Duration = Duration::from_millis(20);

/// What the configuration says about the identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdentitySettings {
    /// How a new identity is made.
    pub method: Method,
    /// Security parameter of a new identity.
    pub sec: Sec,
    /// Bits of the RSA key of a new identity.
    pub key_bits: u32,
    /// The prefixes to use; empty for every global /64 of the host.
    pub prefixes: Vec<Prefix>,
    /// Whether the addresses that the daemon added go when it stops.
    pub remove_at_exit: bool,
}

/// Why there is no usable identity.
#[derive(Debug)]
pub enum KeeperError {
    /// The stored identity cannot be used, or a new one could not be made or stored.
    Identity(identity::IdentityError),
    /// The kernel refused.
    Netlink(NetlinkError),
    /// The thread that makes an identity could not be started, or failed.
    Thread(std::io::Error),
}

impl fmt::Display for KeeperError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeeperError::Identity(e) => e.fmt(f),
            KeeperError::Netlink(e) => e.fmt(f),
            KeeperError::Thread(e) => write!(f, "making an identity: {e}"),
        }
    }
}

impl std::error::Error for KeeperError {}

impl From<NetlinkError> for KeeperError {
    fn from(e: NetlinkError) -> KeeperError {
        KeeperError::Netlink(e)
    }
}

/// The keeper.
pub struct Keeper {
    kernel: Addresses,
    settings: IdentitySettings,
    dir: PathBuf,
    identity: Option<Arc<Identity>>,
    /// Where each identity address is, and whether we added it.
    placed: BTreeMap<Ipv6Addr, Added>,
    /// Addresses that the kernel did not take, and why.
    refused: BTreeMap<Ipv6Addr, String>,
    held: BTreeSet<Ipv6Addr>,
    /// Valid lifetimes as last seen, for addresses whose link goes down.
    valid: BTreeMap<Ipv6Addr, Lifetime>,
    warnings: BTreeMap<&'static str, String>,
    making: Option<Making>,
    /// No attempt to load or make an identity before this time.
    not_before: Option<Time>,
    /// All addresses of the identity are other hosts', whatever the collision count.
    given_up: bool,
    /// Since when no prefix of the identity is on this host.
    homeless: Option<Time>,
}

/// An identity in the making, by a thread of its own: with a higher Sec that takes minutes, and the loop must go on.
struct Making {
    wanted: Method,
    stop: Arc<AtomicBool>,
    finished: Arc<AtomicBool>,
    done: Receiver<Result<Identity, identity::IdentityError>>,
}

impl Drop for Making {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Says that the thread is over, be it by a panic.
struct Finished(Arc<AtomicBool>);

impl Drop for Finished {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Keeper {
    /// A keeper of the identity under the state directory `dir`.
    pub fn new(kernel: Addresses, settings: IdentitySettings, dir: PathBuf) -> Keeper {
        Keeper {
            kernel,
            settings,
            dir,
            identity: None,
            placed: BTreeMap::new(),
            refused: BTreeMap::new(),
            held: BTreeSet::new(),
            valid: BTreeMap::new(),
            warnings: BTreeMap::new(),
            making: None,
            not_before: None,
            given_up: false,
            homeless: None,
        }
    }

    /// The identity, once there is one.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// Whether the daemon has added this address.
    pub fn added(&self, addr: Ipv6Addr) -> bool {
        matches!(self.placed.get(&addr), Some(Added::New { .. }))
    }

    /// Identifiers that are held on the loopback interface.
    pub fn held(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        self.held.iter().copied()
    }

    /// What an administrator ought to know.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.warnings.values().map(String::as_str)
    }

    /// The kernel's present state, without its routes.
    pub fn snapshot(&mut self) -> Result<Snapshot, NetlinkError> {
        self.kernel.surroundings()
    }

    /// The kernel's tool for questions about routes.
    pub fn kernel(&mut self) -> &mut Addresses {
        &mut self.kernel
    }

    /// Takes new settings; the identity itself stays as it is until the state directory holds another.
    pub fn set_settings(&mut self, settings: IdentitySettings) {
        self.settings = settings;
        self.not_before = None;
        self.given_up = false;
    }

    /// The global /64 prefixes that this host has on its interfaces, or those of the configuration.
    fn wanted_prefixes(&self, host: &Snapshot) -> Vec<Prefix> {
        if !self.settings.prefixes.is_empty() {
            return self.settings.prefixes.clone();
        }
        let mut prefixes = Vec::new();
        for a in &host.addresses {
            let link = host.links.iter().find(|l| l.ifindex == a.ifindex);
            let global = a.addr.segments()[0] & 0xe000 == 0x2000;
            if global
                && a.prefix_len == 64
                && !a.flags.deprecated
                && link.is_some_and(|l| !l.loopback)
                && !prefixes.contains(&a.prefix())
            {
                prefixes.push(a.prefix());
            }
        }
        prefixes.sort();
        prefixes
    }

    /// When to ask whether a new identity is ready, while one is being made.
    pub fn wants_look(&self, now: Time) -> Option<Time> {
        self.making.as_ref().map(|_| now + PROGRESS)
    }

    /// Whether an identity was being made, and it is done or has failed: [`Keeper::establish`] takes it over.
    pub fn is_ready(&self) -> bool {
        self.making.as_ref().is_some_and(|m| m.finished.load(Ordering::Acquire))
    }

    /// Loads the identity, or begins to make one if there is none yet or the stored one was made for other prefixes.
    /// Without any prefix there is nothing to make one for.
    ///
    /// # Errors
    /// It is tried again after a while.
    pub fn establish(&mut self, host: &Snapshot) -> Result<(), KeeperError> {
        let now = clock::now();
        if self.making.is_some() {
            return self.collect().inspect_err(|_| self.not_before = Some(now + RETRY));
        }
        if self.given_up || self.not_before.is_some_and(|t| t > now) {
            return Ok(());
        }
        self.not_before = None;
        self.load_or_begin(host, now).inspect_err(|_| self.not_before = Some(now + RETRY))
    }

    fn load_or_begin(&mut self, host: &Snapshot, now: Time) -> Result<(), KeeperError> {
        let prefixes = self.wanted_prefixes(host);
        if self.identity.is_none() {
            self.identity = identity::load(&self.dir).map_err(KeeperError::Identity)?.map(Arc::new);
        }
        if let Some(old) = self.identity.clone() {
            let new: Vec<Prefix> =
                prefixes.iter().filter(|p| !old.prefixes().contains(p)).copied().collect();
            let other = match self.settings.prefixes.is_empty() {
                true => self.is_homeless(&old, &prefixes, now),
                false => !new.is_empty(),
            };
            if !other {
                // Addresses of other prefixes are offered by signature.
                self.warn_about(if old.can_sign() { &[] } else { &new });
                return Ok(());
            }
        }
        if prefixes.is_empty() {
            return Ok(());
        }
        if let Some(old) = &self.identity {
            let asked = (self.settings.method, self.settings.sec);
            if let Some(moved) = identity::moved(old, asked, &prefixes) {
                log::info!("the identity goes on with other prefixes");
                identity::store(&self.dir, &moved).map_err(KeeperError::Identity)?;
                self.homeless = None;
                self.identity = Some(Arc::new(moved));
                return Ok(());
            }
            log::info!("the stored identity is for other prefixes: making a new one");
        }
        self.begin(prefixes)
    }

    /// Whether none of the identity's prefixes has been on this host for so long that it must have moved.
    fn is_homeless(&mut self, identity: &Identity, prefixes: &[Prefix], now: Time) -> bool {
        if !new_host(identity, prefixes) {
            self.homeless = None;
            return false;
        }
        let patience = if self.placed.is_empty() { HOMELESS } else { HOMELESS_IN_USE };
        now.since(*self.homeless.get_or_insert(now)) >= patience
    }

    /// A prefix that came later is not in the set; say so instead of renumbering a running host.
    fn warn_about(&mut self, new: &[Prefix]) {
        if new.is_empty() {
            self.warnings.remove("prefixes");
            return;
        }
        let list: Vec<String> = new.iter().map(ToString::to_string).collect();
        let text = format!(
            "{} not in the identity: its addresses are no locators; `shim6ctl identity generate` \
             makes a new identity",
            list.join(", ")
        );
        if self.warnings.insert("prefixes", text.clone()).as_deref() != Some(&text) {
            log::warn!("{text}");
        }
    }

    fn begin(&mut self, prefixes: Vec<Prefix>) -> Result<(), KeeperError> {
        let list: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
        log::info!("making an identity ({}) for {}", self.settings.method, list.join(", "));
        let wanted = self.settings.method;
        let mut params = GenerateParams::new(wanted, prefixes);
        params.sec = self.settings.sec;
        params.key_bits = self.settings.key_bits;
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, done) = mpsc::sync_channel(1);
        let finished = Arc::new(AtomicBool::new(false));
        let (dir, stopped) = (self.dir.clone(), Arc::clone(&stop));
        let guard = Finished(Arc::clone(&finished));
        let work = move || {
            let mut rng = entropy::rng();
            let mut progress = |line: &str| log::info!("{line}");
            let made = identity::generate(&dir, params, &mut rng, &stopped, &mut progress);
            // Nobody waits any more if the daemon stops.
            let _ = tell.send(made);
            drop((tell, guard));
        };
        Builder::new().name("identity".to_owned()).spawn(work).map_err(KeeperError::Thread)?;
        self.making = Some(Making { wanted, stop, finished, done });
        Ok(())
    }

    /// Takes the new identity over, if it is ready.
    fn collect(&mut self) -> Result<(), KeeperError> {
        let Some(making) = &self.making else { return Ok(()) };
        let (made, wanted) = match making.done.try_recv() {
            Err(TryRecvError::Empty) => return Ok(()),
            Err(TryRecvError::Disconnected) => {
                self.making = None;
                return Err(KeeperError::Thread(std::io::Error::other("ended early")));
            }
            Ok(made) => (made, making.wanted),
        };
        self.making = None;
        let made = made.map_err(KeeperError::Identity)?;
        if made.method() != wanted {
            let text =
                "this host's crypto policy forbids SHA-1 signatures: the identity is hba only";
            log::warn!("{text}");
            self.warnings.insert("sha1", text.to_owned());
        }
        self.homeless = None;
        self.identity = Some(Arc::new(made));
        Ok(())
    }

    /// Adds what is missing of the identity's addresses, answers duplicates, prefers what works. Wanted at start and
    /// after every change of addresses or links.
    ///
    /// One that somebody removed by hand is put back, too, like the rules: network managers flush addresses that they do
    /// not know. Contexts with it as ULID have ended by then. To be without it, stop the daemon or make an identity for
    /// other prefixes.
    pub fn place(&mut self, host: &Snapshot) -> Result<(), KeeperError> {
        let Some(identity) = self.identity.clone() else { return Ok(()) };
        let duplicate = host
            .addresses
            .iter()
            .find(|a| a.flags.dad_failed && identity.members().contains(&a.addr));
        if let Some(twice) = duplicate {
            log::warn!("{}: another host on the link has this address", twice.addr);
            return self.collision(&identity);
        }
        for &addr in identity.members() {
            let there =
                host.addresses.iter().find(|a| a.addr == addr && !loopback(host, a.ifindex));
            if there.is_some() && self.placed.contains_key(&addr) {
                continue;
            }
            if self.kernel.owner_of(Prefix::of(addr)).ok().flatten().is_none() {
                continue;
            }
            match self.kernel.add_identity(addr) {
                Ok(added) => {
                    self.refused.remove(&addr);
                    // What we added once stays ours, also when it is found there again.
                    if !self.added(addr) {
                        self.placed.insert(addr, added);
                    }
                }
                // Every look at the host tries again; only what is new is told.
                Err(e) => {
                    let text = e.to_string();
                    if self.refused.insert(addr, text.clone()).as_ref() != Some(&text) {
                        log::warn!("{addr}: {text}");
                    }
                }
            }
        }
        // Lifetimes follow those of the prefix, and addresses that came since (privacy addresses) get their label.
        self.kernel.renew_lifetimes()?;
        self.kernel.prefer(identity.members())?;
        self.valid = host.addresses.iter().map(|a| (a.addr, a.lifetimes.valid)).collect();
        Ok(())
    }

    /// The kernel took an address away while it was looking for duplicates: it found one.
    pub fn duplicate(&mut self, addr: Ipv6Addr) -> Result<(), KeeperError> {
        match self.identity.clone() {
            Some(identity) if self.added(addr) => {
                log::warn!("{addr}: another host on the link has this address");
                self.collision(&identity)
            }
            _ => Ok(()),
        }
    }

    /// Duplicate address detection failed: the next collision count gives the whole set new addresses.
    // req: HB-6-11, CG-4-01
    fn collision(&mut self, identity: &Identity) -> Result<(), KeeperError> {
        for addr in identity.members() {
            if self.added(*addr) {
                let _ = self.kernel.delete(*addr);
            }
            self.placed.remove(addr);
        }
        match identity.with_collision_count(identity.collision_count() + 1) {
            Ok(next) => {
                identity::store(&self.dir, &next).map_err(KeeperError::Identity)?;
                self.identity = Some(Arc::new(next));
                let host = self.kernel.surroundings()?;
                self.place(&host)
            }
            Err(e) => {
                self.warnings.insert("duplicates", e.to_string());
                log::error!("{e}");
                self.identity = None;
                self.given_up = true;
                Ok(())
            }
        }
    }

    /// Holds an identifier whose link is down, or which has no route of its own left, so that its packets still reach us
    /// instead of being refused; lets go of it when all is back.
    /// `in_use` says whether a context has the address as its ULID.
    pub fn follow(&mut self, event: &AddressEvent, in_use: impl Fn(Ipv6Addr) -> bool) {
        match event {
            AddressEvent::Unusable(addr) | AddressEvent::Unreachable(addr) => {
                let member = self.identity.as_ref().is_some_and(|i| i.members().contains(addr));
                if (member || in_use(*addr)) && self.held.insert(*addr) {
                    let valid = self.valid.get(addr).copied().unwrap_or(Lifetime::Forever);
                    match self.kernel.hold_ulid(*addr, valid) {
                        Ok(_) => log::info!("{addr}: link down or no route, held as identifier"),
                        Err(e) => {
                            self.held.remove(addr);
                            log::warn!("{addr}: cannot be held as identifier: {e}");
                        }
                    }
                }
            }
            AddressEvent::Present(local) => self.let_go(local.addr),
            AddressEvent::Gone(addr) => {
                self.let_go(*addr);
                if self.placed.remove(addr).is_some() {
                    log::info!(
                        "{addr}: an address of the identity was removed; added again if its prefix is still there"
                    );
                }
            }
        }
    }

    /// Takes over the identifiers that an earlier run holds.
    pub fn adopt(&mut self) {
        match self.kernel.held_ulids() {
            Ok(held) => self.held.extend(held),
            Err(e) => log::warn!("identifiers held by an earlier run cannot be listed: {e}"),
        }
    }

    /// Whether the address is ours although it may be on no interface: held, or of the identity.
    pub fn expects(&self, addr: Ipv6Addr) -> bool {
        self.held.contains(&addr)
            || self.identity.as_ref().is_some_and(|i| i.members().contains(&addr))
    }

    /// Ends holding an identifier.
    pub fn let_go(&mut self, addr: Ipv6Addr) {
        if self.held.remove(&addr)
            && let Err(e) = self.kernel.release_ulid(addr)
        {
            log::warn!("{addr}: cannot be released: {e}");
        }
    }

    /// Undoes what is ours to undo.
    pub fn finish(&mut self) {
        for problem in self.kernel.undo(Undo { addresses: self.settings.remove_at_exit }) {
            log::warn!("clean-up: {problem}");
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("placed", &self.placed)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

fn loopback(host: &Snapshot, ifindex: u32) -> bool {
    host.links.iter().any(|l| l.ifindex == ifindex && l.loopback)
}

/// Whether none of the identity's prefixes is on this host any more.
fn new_host(identity: &Identity, prefixes: &[Prefix]) -> bool {
    !prefixes.is_empty() && !identity.prefixes().iter().any(|p| prefixes.contains(p))
}
