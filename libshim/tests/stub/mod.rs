//! A daemon as far as libshim sees it: the real control server and the real checks of descriptors and options, with a
//! driver of a few lines. Between any two addresses there is a context once somebody has asked for it.
//!
//! Some ports of peers make it behave badly, see [`SILENT`] and the others.

#![allow(clippy::unwrap_used, dead_code)]

use shim6::addr::{ContextTag, Fii, Locator, LocatorPair, UlidPair};
use shim6::cga::Proof;
use shim6::control::api::*;
use shim6::control::server::{Access, Driver, EventSender, Incoming, Limits, Reply, Server, link};
use shim6::daemon::sockets::descriptor::{Proven, own_netns, prove};
use shim6::daemon::sockets::options;
use shim6::daemon::view;
use shim6::proto::engine::context::LocalEntry;
use shim6::proto::engine::peer::PeerEntry;
use shim6::proto::reap::{PairStatus, ReapState as Reap};
use shim6::proto::{Activity, ContextId as Id, ContextView, State, Time};
use shim6::wire::option::PreferenceFlags;
use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Requests about sockets with this peer port are never answered.
pub const SILENT: u16 = 4001;
/// Steering is denied.
pub const DENIED: u16 = 4002;
/// The daemon's reply is lost, as by a fault of the daemon.
pub const FAULTY: u16 = 4003;
/// Peer port at which the daemon can steer nothing.
pub const UNABLE: u16 = 4019;
/// Locators may be chosen for the socket; every look at its status counts as a packet out.
pub const PINNING: u16 = 4004;
/// Praise of the inbound direction ends the context.
pub const FORGETTING: u16 = 4005;

const NOW: Time = Time::from_secs(100);

fn at(network: u16, last: u16) -> Locator {
    Locator([0x2001, 0xdb8, network, 0, 0, 0, 0, last].into())
}

/// The context between two ULIDs. Ls(local): the ULID and 2:a. Ls(peer): the ULID, 2:b which works, 3:b which was never
/// probed, 4:b which does not answer.
fn context(ulids: UlidPair) -> ContextView {
    let local = |locator, proof| LocalEntry {
        locator,
        proof,
        acknowledged: true,
        broken: false,
        deprecated: false,
        transient: false,
    };
    let peer = |locator, probed, priority| PeerEntry {
        locator,
        proof: Some(Proof::Hba),
        verified: true,
        probed,
        flags: PreferenceFlags::NONE,
        priority,
        weight: 10,
    };
    let status = |locator, answered: bool| PairStatus {
        pair: LocatorPair { local: ulids.local.locator(), peer: locator },
        probed: Some(Time::from_secs(50)),
        answered: answered.then_some(Time::from_secs(50)),
        rtt: None,
        unanswered: u32::from(!answered),
        heard: None,
    };
    ContextView {
        id: Id(7),
        ulids,
        fii: Fii::DEFAULT,
        state: State::Established,
        reap: Some(Reap::Operational),
        initiator: true,
        pair: ulids.locators(),
        tagged: false,
        local_tag: ContextTag::from_masked(1),
        peer_tag: None,
        local_locators: vec![
            local(ulids.local.locator(), Some(Proof::Hba)),
            local(at(2, 0xa), Some(Proof::Cga)),
        ],
        peer_locators: vec![
            peer(ulids.peer.locator(), true, 2),
            peer(at(2, 0xb), true, 1),
            peer(at(3, 0xb), false, 3),
            peer(at(4, 0xb), true, 4),
        ],
        peer_preferences: true,
        local_generation: None,
        peer_generation: None,
        settings: Default::default(),
        config: Default::default(),
        keepalive_timeout: Default::default(),
        keepalive_told: false,
        rtt: None,
        standby: None,
        pairs: vec![status(at(2, 0xb), true), status(at(4, 0xb), false)],
        probe_at: None,
        created: Time::from_secs(40),
        established: Some(Time::from_secs(40)),
        exploring_since: None,
        retransmit_at: None,
        activity: Activity::default(),
        counters: Default::default(),
        restored: false,
        updating: false,
    }
}

fn socket_context(c: &ContextView) -> SocketContext {
    let line = view::summary(c, c.activity, NOW);
    SocketContext {
        id: line.id,
        fii: line.fii,
        state: line.state,
        reap_state: line.reap_state,
        current: line.current,
        received: Some(Pair { local: at(2, 0xa), peer: at(3, 0xb) }),
        tagged: line.tagged,
        age_ms: line.age_ms,
        last_out_ms: line.last_out_ms,
        last_in_ms: line.last_in_ms,
        rtt_us: Some(20_450),
        packets_out: 11,
        packets_in: 12,
        octets_out: 13,
        octets_in: 14,
        probes_out: 15,
        probes_in: 16,
        switches: 17,
        local_locators: 2,
        peer_locators: 4,
        send_timeout_ms: 15_000,
        explore: ExploreSettings {
            probes: 4,
            keepalive_timeout_secs: 15,
            keepalive_interval_secs: 5,
            initial_probe_timeout_ms: 500,
        },
    }
}

#[derive(Default)]
struct Behaviour {
    contexts: BTreeSet<(Ipv6Addr, Ipv6Addr)>,
    held: Vec<Reply>,
    pinned: SocketOptions,
    hot_standby: bool,
    looks: u64,
    forgotten: BTreeSet<u64>,
}

impl Behaviour {
    fn find(&self, proven: &Proven) -> Result<ContextView, ApiError> {
        let ulids = proven.ulids()?;
        match self.contexts.contains(&(ulids.local.0, ulids.peer.0)) {
            true if !self.forgotten.contains(&proven.cookie) => Ok(context(ulids)),
            _ => Err(ApiError::new(ErrorCode::NoContext, "no context")),
        }
    }

    fn about(
        &mut self,
        request: Request,
        proven: &Proven,
        events: &EventSender,
    ) -> Result<Response, ApiError> {
        let pinning = proven.peer.is_some_and(|p| p.1 == PINNING);
        let accepted = Response::Accepted { context: ContextId(7) };
        let tell = |kind| events.send(1, Some(ContextId(7)), kind);
        Ok(match request {
            Request::SocketStatus {} => {
                let context = self.find(proven).ok();
                let state = match (&context, proven.peer) {
                    (_, None) => None,
                    (Some(_), _) => Some(ContextState::Established),
                    (None, _) => Some(ContextState::Idle),
                };
                let mut socket = SocketInfo {
                    protocol: proven.protocol,
                    local: proven.local,
                    local_port: proven.local_port,
                    peer: proven.peer.map(|p| p.0),
                    peer_port: proven.peer.map(|p| p.1),
                    state,
                    context: context.as_ref().map(socket_context),
                    options: SocketOptions {
                        hot_standby: self.hot_standby,
                        ..SocketOptions::default()
                    },
                };
                if pinning {
                    self.looks += 1;
                    socket.options = self.pinned.clone();
                    if let Some(c) = &mut socket.context {
                        c.packets_out += self.looks;
                        c.current.local = self.pinned.source.unwrap_or(c.current.local);
                        c.current.peer = self.pinned.destination.unwrap_or(c.current.peer);
                    }
                }
                Response::Socket { socket: Box::new(socket) }
            }
            Request::SocketSet {} => {
                let UlidPair { local, peer } = proven.ulids()?;
                self.contexts.insert((local.0, peer.0));
                let fii = Fii::DEFAULT;
                tell(EventKind::ContextEstablished { ulid_local: local, ulid_peer: peer, fii });
                accepted
            }
            Request::SocketLocators {} => {
                let (local, peer) = view::locators(&self.find(proven)?);
                Response::ContextLocators { context: ContextId(7), local, peer }
            }
            Request::SocketConfigure { changes } => {
                if options::needs_context(&changes) {
                    options::check(&changes, &self.find(proven)?, |_| false)?;
                }
                if let Some(on) = changes.hot_standby {
                    self.hot_standby = on;
                }
                if pinning {
                    let chosen = |l: Option<Locator>, before| match l {
                        Some(l) => Some(l).filter(|l| !l.0.is_unspecified()),
                        None => before,
                    };
                    self.pinned.source = chosen(changes.source, self.pinned.source);
                    self.pinned.destination = chosen(changes.destination, self.pinned.destination);
                    return Ok(Response::Done {});
                }
                options::possible(&changes, proven.peer.is_some())?;
                Response::Done {}
            }
            Request::SocketTest { pair } => {
                let c = self.find(proven)?;
                options::local_entry(&c, pair.local)?;
                options::peer_entry(&c, pair.peer)?;
                let reachable = pair.peer != at(4, 0xb);
                Response::PathTested { pair, reachable, rtt_us: reachable.then_some(20_450) }
            }
            Request::SocketSwitch { pair, .. } => {
                let c = self.find(proven)?;
                options::local_entry(&c, pair.local)?;
                options::peer_entry(&c, pair.peer)?;
                if pair.peer == at(4, 0xb) {
                    let text = "does not answer";
                    return Err(ApiError::new(ErrorCode::UnreachableLocator, text));
                }
                Response::PathInUse { context: ContextId(7), pair }
            }
            Request::SocketExplore {} => {
                let c = self.find(proven)?;
                let from = Pair::from(c.pair);
                let to = Pair { local: at(2, 0xa), peer: at(2, 0xb) };
                tell(EventKind::Exploring { reason: ExploreReason::Requested, pair: from });
                tell(EventKind::PathSwitched { from, to, after_ms: 21 });
                tell(EventKind::Recovered { pair: to, gap_ms: 22 });
                accepted
            }
            Request::SocketFeedback { direction, satisfaction } => {
                self.find(proven)?;
                if proven.peer.is_some_and(|p| p.1 == FORGETTING)
                    && (direction, satisfaction) == (Direction::Inbound, Satisfaction::Satisfactory)
                {
                    self.forgotten.insert(proven.cookie);
                }
                Response::Done {}
            }
            Request::SocketFork {} => {
                proven.ulids()?;
                accepted
            }
            Request::PeerCheck { .. } => {
                proven.ulids()?;
                Response::PeerSupport { support: Support::Yes, context: Some(ContextId(7)) }
            }
            _ => return Err(ApiError::new(ErrorCode::Internal, "not about a socket")),
        })
    }

    fn answer(&mut self, call: Incoming, netns: u64, events: &EventSender) {
        let Incoming { request, fd, reply, .. } = call;
        let Some(fd) = fd else {
            let answer = match request {
                Request::ContextList { after, limit } => {
                    let ulids = UlidPair { local: at(1, 0xa).ulid(), peer: at(1, 0xb).ulid() };
                    let first = after.map_or(1, |a| a.0 + 1);
                    let last = (first + u64::from(limit.unwrap_or(64))).min(6);
                    let one = |id| ContextView { id: Id(id), ..context(ulids) };
                    let line = |c: ContextView| view::summary(&c, c.activity, NOW);
                    let contexts = (first..last).map(one).map(line).collect();
                    Ok(Response::Contexts { contexts, next: None })
                }
                Request::PeerCheck { .. } => {
                    Ok(Response::PeerSupport { support: Support::No, context: None })
                }
                Request::LocatorList { context: None } => {
                    Ok(Response::HostLocators { locators: host_locators() })
                }
                Request::PolicyShow {} => Ok(Response::Policy { policy: policy() }),
                _ => Err(ApiError::new(ErrorCode::NotPossible, "not here")),
            };
            return reply.send(answer);
        };
        let proven = match prove(&fd, netns) {
            Ok(proven) => proven,
            Err(e) => return reply.send(Err(e)),
        };
        let steers = matches!(
            request,
            Request::SocketExplore {}
                | Request::SocketSwitch { .. }
                | Request::SocketConfigure { .. }
        );
        match proven.peer.map(|p| p.1) {
            Some(SILENT) => self.held.push(reply),
            Some(FAULTY) => drop(reply),
            Some(UNABLE) if steers => {
                reply.send(Err(ApiError::new(ErrorCode::NotSupported, "not by this one")));
            }
            Some(DENIED) if steers => {
                let text = "permission denied: other users have flows";
                reply.send(Err(ApiError::new(ErrorCode::PermissionDenied, text)));
            }
            _ => reply.send(self.about(request, &proven, events)),
        }
    }
}

async fn drive(
    mut driver: Driver,
    contexts: BTreeSet<(Ipv6Addr, Ipv6Addr)>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut state = Behaviour { contexts, ..Behaviour::default() };
    let netns = own_netns().unwrap();
    loop {
        tokio::select! {
            Some(call) = driver.calls.recv() => state.answer(call, netns, &driver.events),
            _ = &mut stopped => return driver.events.send(99, None, EventKind::Stopping {}),
        }
    }
}

/// A running stub.
pub struct Stub {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stub {
    /// Listens at a path, in the network namespace of the calling thread.
    pub fn start(path: &Path) -> Stub {
        Stub::start_with(path, &[])
    }

    /// The same, with contexts between these pairs of addresses already.
    pub fn start_with(path: &Path, contexts: &[(&str, &str)]) -> Stub {
        let parse = |text: &str| text.parse().unwrap();
        let contexts: BTreeSet<_> =
            contexts.iter().map(|(local, peer)| (parse(local), parse(peer))).collect();
        let path = PathBuf::from(path);
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let access = Arc::new(Access::new(""));
                let limits = Limits { rate: 1e6, burst: 1e6, ..Limits::default() };
                let server = Server::bind(&path, access, limits).unwrap();
                let (caller, driver) = link();
                ready.send(()).unwrap();
                tokio::join!(server.run(caller), drive(driver, contexts, stopped));
            });
        });
        started.recv().unwrap();
        Stub { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the stub failed");
        }
    }
}

/// What the daemon would say of the host's own locators.
fn host_locators() -> Vec<HostLocator> {
    let first = HostLocator {
        locator: at(1, 0xa),
        interface: Some("eth0".to_owned()),
        state: AddressState::Preferred,
        method: Verification::Hba,
        offered: true,
        operational: true,
        reason: None,
        offer: Offer::default(),
        broken: false,
        preference: Some(LocatorPreference { priority: 2, weight: 7 }),
    };
    let second = HostLocator {
        locator: at(2, 0xa),
        method: Verification::Other,
        offered: false,
        operational: false,
        broken: true,
        preference: None,
        ..first.clone()
    };
    vec![first, second]
}

/// The rules of the host: the unspecified address, loopback, all others.
fn policy() -> PolicyInfo {
    let rule = |prefix: &str, action| PolicyRule { prefix: prefix.to_owned(), action };
    let rules = vec![
        rule("::", PolicyAction::Immediate),
        rule("::1/128", PolicyAction::Shim),
        rule("::/0", PolicyAction::Never),
    ];
    PolicyInfo { rules, ..PolicyInfo::default() }
}
