//! Answers of the daemon to requests on the control socket.

use super::clock;
use super::doctor;
use super::driver::Driver;
use super::record::Step;
use super::sockets::Outcome;
use super::view;
use crate::addr::{Ulid, UlidPair};
use crate::control::api::{
    self, ApiError, Check, CheckResult, ContextRef, ErrorCode, Request, Response,
};
use crate::control::server::Incoming;
use crate::dataplane::queue::QueueStats;
use crate::nft::{QueueKind, TaggedHook};
use crate::proto::{Command, CommandError, ContextId, ContextView, Input};
use std::collections::BTreeMap;

impl Driver {
    /// Answers one request, now or when the network has answered.
    pub(super) fn request(&mut self, call: Incoming) {
        let Incoming { peer, request, fd, reply } = call;
        let outcome = match (&request, fd) {
            (_, Some(fd)) => self.about_socket(&peer, &request, &fd),
            (Request::PathTest { context, pair }, None) => self
                .resolve(context)
                .and_then(|c| self.begin_test(&peer, &c, (*pair).into()))
                .into(),
            (Request::PathSwitch { context, pair, keep }, None) => self
                .resolve(context)
                .and_then(|c| self.begin_switch(&peer, &c, (*pair).into(), *keep))
                .into(),
            (Request::PeerCheck { peer: Some(host), wait_ms }, None) => self
                .source_for(*host)
                .and_then(|local| {
                    self.begin_check(&peer, UlidPair { local, peer: *host }, *wait_ms)
                })
                .into(),
            (_, None) => Outcome::Now(self.answer(&request)),
        };
        match outcome {
            Outcome::Now(result) => {
                if let Err(e) = &result {
                    log::debug!("{} of pid {}: {e}", request.name(), peer.pid);
                }
                reply.send(result);
            }
            Outcome::Later(what) => self.waits.add(what, &peer, reply, clock::now()),
        }
    }

    fn answer(&mut self, request: &Request) -> Result<Response, ApiError> {
        match request {
            Request::Status {} => Ok(Response::Status { status: Box::new(self.status()) }),
            Request::ContextList { after, limit } => Ok(self.context_page(*after, *limit)),
            Request::ContextShow { context } => {
                let c = self.resolve(context)?;
                let now = clock::now();
                let info = view::info(&c, self.activity(&c), now);
                Ok(Response::Context { context: Box::new(info) })
            }
            Request::Establish { local, peer } => self.establish(*local, *peer),
            Request::ContextDiscard { context } => {
                let id = self.resolve(context)?.id;
                self.command(Command::Discard(id)).map(|_| Response::Done {})
            }
            Request::LocatorList { context: None } => {
                Ok(Response::HostLocators { locators: self.host_locators() })
            }
            Request::LocatorList { context: Some(context) } => {
                let c = self.resolve(context)?;
                let (local, peer) = view::locators(&c);
                Ok(Response::ContextLocators { context: api::ContextId(c.id.0), local, peer })
            }
            Request::LocatorSet { locator, changes } => self.set_locator(*locator, changes),
            Request::PolicyShow {} => Ok(Response::Policy { policy: self.policy() }),
            Request::PolicyChange { changes } => self.change_policy(changes),
            Request::PathUnpin { context } => {
                let id = self.resolve(context)?.id;
                self.settle(id);
                self.command(Command::Release(id)).map(|_| Response::Done {})
            }
            Request::ContextConfigure { context, changes } => {
                let c = self.resolve(context)?;
                self.settle(c.id);
                self.configure_context(&c, changes).map(|()| Response::Done {})
            }
            Request::PathExplore { context } => {
                let id = self.resolve(context)?.id;
                self.command(Command::Explore(id))
                    .map(|id| Response::Accepted { context: api::ContextId(id.0) })
            }
            Request::Stats {} => Ok(Response::Stats { stats: self.stats() }),
            Request::RulesShow {} => Ok(Response::Rules { rules: self.rules.info() }),
            Request::RulesInstall {} => {
                self.rules.install().map_err(kernel_error)?;
                Ok(Response::Rules { rules: self.rules.info() })
            }
            Request::RulesRemove {} => {
                self.rules.remove().map_err(kernel_error)?;
                Ok(Response::Rules { rules: self.rules.info() })
            }
            Request::Doctor {} => Ok(Response::Doctor { checks: self.checks() }),
            Request::Reload {} => match self.reload_now() {
                Ok(warnings) => Ok(Response::Reloaded { warnings }),
                Err(e) => Err(ApiError::new(ErrorCode::InvalidArgument, e)
                    .remedy("nothing was changed; `shim6d --check` says more")),
            },
            Request::Hello {}
            | Request::Subscribe { .. }
            | Request::Unsubscribe {}
            | Request::SocketSubscribe { .. } => {
                Err(ApiError::new(ErrorCode::Internal, "answered by the server"))
            }
            Request::PathTest { .. }
            | Request::PathSwitch { .. }
            | Request::PeerCheck { .. }
            | Request::SocketStatus {}
            | Request::SocketSet {}
            | Request::SocketFork {}
            | Request::SocketLocators {}
            | Request::SocketConfigure { .. }
            | Request::SocketTest { .. }
            | Request::SocketSwitch { .. }
            | Request::SocketUnpin {}
            | Request::SocketExplore {}
            | Request::SocketFeedback { .. } => {
                Err(ApiError::new(ErrorCode::Internal, "needs a descriptor or the network"))
            }
        }
    }

    fn resolve(&self, which: &ContextRef) -> Result<ContextView, ApiError> {
        let id = match which {
            ContextRef::Id { id } => Some(ContextId(id.0)),
            ContextRef::Ulids { local, peer, fii } => {
                self.engine.find(UlidPair { local: *local, peer: *peer }, *fii)
            }
        };
        id.and_then(|id| self.engine.context(id)).ok_or_else(|| ApiError::no_context(which))
    }

    pub(super) fn activity(&self, c: &ContextView) -> crate::proto::Activity {
        self.dataplane.peek_activity(c.id).unwrap_or(c.activity)
    }

    fn context_page(&self, after: Option<api::ContextId>, limit: Option<u32>) -> Response {
        let limit = limit.unwrap_or(api::MAX_PAGE).clamp(1, api::MAX_PAGE) as usize;
        let now = clock::now();
        let mut page: Vec<api::ContextSummary> = self
            .engine
            .contexts()
            .filter(|c| after.is_none_or(|a| c.id.0 > a.0))
            .take(limit + 1)
            .map(|c| view::summary(&c, self.activity(&c), now))
            .collect();
        let more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().map(|c| c.id).filter(|_| more);
        Response::Contexts { contexts: page, next }
    }

    pub(super) fn command(&mut self, command: Command) -> Result<ContextId, ApiError> {
        self.say(|| Step::Input(Input::Command(command.clone())));
        let kept =
            matches!(command, Command::Configure(..) | Command::Switch(..) | Command::Release(_));
        let id = self
            .with_engine(|engine, cx| engine.handle_command(cx, command))
            .map_err(command_error)?;
        if kept {
            self.touched.insert(id);
            self.write_journal();
        }
        Ok(id)
    }

    /// The address that the kernel would use towards a peer.
    fn source_for(&mut self, peer: Ulid) -> Result<Ulid, ApiError> {
        let answer = self.keeper.kernel().route_get(None, peer.0).map_err(kernel_error)?;
        let source = answer.src.ok_or_else(|| {
            ApiError::new(ErrorCode::NotPossible, format!("no source address for {peer}"))
                .remedy("name one with --local")
        })?;
        Ok(Ulid(source))
    }

    fn establish(&mut self, local: Option<Ulid>, peer: Ulid) -> Result<Response, ApiError> {
        let local = match local {
            Some(local) => local,
            None => self.source_for(peer)?,
        };
        let id = self.command(Command::Establish(UlidPair { local, peer }))?;
        Ok(Response::Accepted { context: api::ContextId(id.0) })
    }

    fn status(&mut self) -> api::StatusInfo {
        let now = clock::now();
        let mut contexts = BTreeMap::new();
        let mut reap = BTreeMap::new();
        for c in self.engine.contexts() {
            *contexts.entry(c.state.name().to_owned()).or_insert(0) += 1;
            if let Some(r) = c.reap {
                *reap.entry(r.name().to_owned()).or_insert(0) += 1;
            }
        }
        let drops = self
            .all_counters()
            .into_iter()
            .filter(|(name, n)| name.starts_with("drop_") && *n > 0)
            .collect();
        let mut warnings = self.config_warnings.clone();
        warnings.extend(self.warnings.iter().cloned());
        warnings.extend(self.keeper.warnings().map(str::to_owned));
        let spec = *self.rules.spec();
        api::StatusInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ms: now.since(self.started).as_millis() as u64,
            identity: self.identity_info(),
            dataplane: api::DataplaneInfo {
                queue_backend: match self.rules.kind() {
                    QueueKind::Native => "native".to_owned(),
                    QueueKind::XtCompat => "xt".to_owned(),
                },
                queue_driver: self.dataplane.driver().to_owned(),
                tier: self.dataplane.tier(),
                queue_first: spec.queue_first,
                workers: spec.queues_140 + spec.queues_plain,
                tagged_hook: match spec.tagged_hook {
                    TaggedHook::Prerouting => "prerouting".to_owned(),
                    TaggedHook::Input => "input".to_owned(),
                },
            },
            rules: self.rules.state(),
            failures: {
                let reap = &self.config.reap;
                api::FailuresInfo {
                    detection: reap.detection.name().to_owned(),
                    send_timeout_ms: u64::from(reap.send_timeout_secs) * 1000,
                    hot_standby: reap.hot_standby,
                    return_to_preferred_ms: reap.return_to_preferred.map(|d| d.as_millis() as u64),
                }
            },
            contexts,
            reap,
            drops,
            warnings,
        }
    }

    fn identity_info(&mut self) -> Option<api::IdentityInfo> {
        let identity = self.keeper.identity()?.clone();
        let snapshot = self.keeper.snapshot().unwrap_or_default();
        let name =
            |index: u32| snapshot.links.iter().find(|l| l.ifindex == index).map(|l| l.name.clone());
        let addresses = identity
            .members()
            .iter()
            .map(|&addr| {
                let found = snapshot.addresses.iter().find(|a| a.addr == addr);
                api::IdentityAddress {
                    address: crate::addr::Locator(addr),
                    interface: found.and_then(|a| name(a.ifindex)),
                    state: address_state(found, self.keeper.held().any(|h| h == addr)),
                    added_by_daemon: self.keeper.added(addr),
                }
            })
            .collect();
        Some(api::IdentityInfo {
            method: identity.method().name().to_owned(),
            sec: identity.sec().value(),
            key_bits: identity.key().map_or(0, |k| k.bits()),
            collision_count: identity.collision_count(),
            prefixes: identity.prefixes().to_vec(),
            addresses,
        })
    }

    /// The engine's counters, the data plane's and our own in one map.
    fn all_counters(&self) -> BTreeMap<String, u64> {
        let mut all = self.dataplane.stats();
        for (name, n) in &self.counters {
            let name = if self.dataplane_name(name) { name.clone() } else { counter_name(name) };
            *all.entry(name).or_default() += n;
        }
        // Of one name are a control message here and a packet with payload there.
        for (reason, n) in &self.drops {
            *all.entry(format!("drop_{reason}")).or_default() += n;
        }
        all.insert("event_sent".to_owned(), self.events.count());
        all
    }

    fn dataplane_name(&self, name: &str) -> bool {
        ["rx_", "tx_", "drop_", "verify_", "event_"].iter().any(|p| name.starts_with(p))
    }

    /// The kernel's figures for our queues.
    fn kernel_queues(&self) -> Vec<QueueStats> {
        self.dataplane.queue_stats()
    }

    fn stats(&self) -> api::StatsInfo {
        let queues = self
            .kernel_queues()
            .into_iter()
            .map(|q| api::QueueStats {
                queue: q.queue,
                waiting: q.waiting,
                dropped: q.dropped,
                user_dropped: q.user_dropped,
                ..api::QueueStats::default()
            })
            .collect();
        api::StatsInfo { counters: self.all_counters(), queues }
    }

    /// What only the daemon can check.
    fn checks(&mut self) -> Vec<Check> {
        let mut checks = doctor::checks(&self.status(), &self.stats());
        for (addr, _, works) in self.host.all() {
            let member = self.keeper.identity().is_some_and(|i| i.members().contains(&addr));
            if member && !works {
                checks.push(
                    Check::new(
                        "locator_operational",
                        CheckResult::Failed,
                        format!("{addr}: its link is down or packets from it find no route"),
                    )
                    .remedy(
                        "each prefix needs its own route: ip -6 rule add from PREFIX lookup TABLE",
                    ),
                );
            }
        }
        checks
    }
}

/// Engine counters carry no family of their own.
fn counter_name(name: &str) -> String {
    format!("event_{name}")
}

pub(super) fn address_state(
    found: Option<&crate::netlink::AddressInfo>,
    held: bool,
) -> api::AddressState {
    match found {
        None if held => api::AddressState::Parked,
        None => api::AddressState::Missing,
        Some(a) if a.flags.dad_failed => api::AddressState::DadFailed,
        Some(a) if a.flags.tentative && a.flags.optimistic => api::AddressState::Optimistic,
        Some(a) if a.flags.tentative => api::AddressState::Tentative,
        Some(_) if held => api::AddressState::Parked,
        Some(a) if a.flags.deprecated => api::AddressState::Deprecated,
        Some(_) => api::AddressState::Preferred,
    }
}

pub(super) fn kernel_error(e: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::Kernel, e.to_string())
}

pub(super) fn command_error(e: CommandError) -> ApiError {
    let code = match e {
        CommandError::NoSuchContext => ErrorCode::NotFound,
        CommandError::NotOurs | CommandError::BadUlid => ErrorCode::InvalidArgument,
        CommandError::Policy
        | CommandError::HeldDown(_)
        | CommandError::State(_)
        | CommandError::Exploring
        | CommandError::NotTestable
        | CommandError::Pinned => ErrorCode::NotPossible,
        CommandError::BadPair => ErrorCode::InvalidLocator,
        CommandError::Full => ErrorCode::Busy,
    };
    let error = ApiError::new(code, e.to_string());
    match e {
        CommandError::NotOurs => {
            error.remedy("`shim6ctl locator list` shows this host's addresses")
        }
        CommandError::Pinned => error.remedy("unpin it first"),
        CommandError::Exploring => error.remedy("wait for the event `recovered`"),
        CommandError::Policy => error.remedy("see [heuristic] policy in the configuration"),
        _ => error,
    }
}
