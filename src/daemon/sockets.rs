//! Requests about one socket of a program: what its descriptor proves, which context serves it, what its holder may do.
//!
//! Reading takes the descriptor alone. So does what cannot harm other flows between the same ULIDs: asking for a context,
//! testing a pair, telling how content the program is. Steering a context takes [`authority`], too.

pub mod authority;
pub mod descriptor;
pub mod options;

use super::clock;
use super::driver::Driver;
use super::view;
use super::waits::Awaited;
use crate::addr::{Fii, LocatorPair, UlidPair};
use crate::control::api::{
    self, ApiError, Direction, ErrorCode, Request, Response, Satisfaction, SocketChanges, Support,
};
use crate::control::server::Peer;
use crate::proto::engine::State;
use crate::proto::{Command, ContextId, ContextView, Keep, Settings};
use authority::Authority;
use descriptor::Proven;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long a check of a peer takes if the caller does not say.
const CHECK_MS: u32 = 5_000;
/// Added to the time that the probes of a test take.
const SLACK: Duration = Duration::from_millis(100);

/// An answer now, or something to wait for.
#[derive(Debug)]
pub enum Outcome {
    /// The answer.
    Now(Result<Response, ApiError>),
    /// The network will tell.
    Later(Awaited),
}

impl From<Result<Outcome, ApiError>> for Outcome {
    fn from(result: Result<Outcome, ApiError>) -> Outcome {
        result.unwrap_or_else(|e| Outcome::Now(Err(e)))
    }
}

/// What the driver keeps for these requests.
#[derive(Debug)]
pub struct Sockets {
    /// Cookie of our network namespace; `None` if this kernel has no such thing.
    netns: Option<u64>,
    authority: Authority,
}

impl Default for Sockets {
    fn default() -> Sockets {
        let netns = descriptor::own_netns();
        if let Err(e) = &netns {
            log::warn!(
                "requests about sockets are refused, network namespaces have no cookie: {e}"
            );
        }
        Sockets { netns: netns.ok(), authority: Authority::default() }
    }
}

impl Sockets {
    fn prove(&self, fd: &OwnedFd) -> Result<Proven, ApiError> {
        let netns = self.netns.ok_or_else(|| {
            ApiError::new(ErrorCode::NotSupported, "this kernel cannot tell network namespaces")
                .remedy("Linux 5.14 or newer can")
        })?;
        descriptor::prove(fd, netns)
    }
}

impl Driver {
    /// Answers a request that came with a descriptor.
    pub(super) fn about_socket(&mut self, who: &Peer, request: &Request, fd: &OwnedFd) -> Outcome {
        let result = self.sockets.prove(fd).and_then(|proven| match request {
            Request::SocketTest { pair } => {
                let c = self.context_of(&proven)?;
                self.begin_test(who, &c, (*pair).into())
            }
            Request::SocketSwitch { pair, keep } => {
                let c = self.steered(who, &proven)?;
                if *keep != api::Keep::No {
                    self.lend(who, &proven, &c)?;
                }
                self.begin_switch(who, &c, (*pair).into(), *keep)
            }
            Request::PeerCheck { wait_ms, .. } => self.begin_check(who, proven.ulids()?, *wait_ms),
            _ => self.about_proven(who, request, fd, &proven).map(|r| Outcome::Now(Ok(r))),
        });
        result.into()
    }

    fn about_proven(
        &mut self,
        who: &Peer,
        request: &Request,
        fd: &OwnedFd,
        proven: &Proven,
    ) -> Result<Response, ApiError> {
        match request {
            Request::SocketStatus {} => {
                let socket = Box::new(self.socket_info(fd, proven));
                Ok(Response::Socket { socket })
            }
            Request::SocketSet {} => self.negotiate(who, proven.ulids()?).map(accepted),
            Request::SocketFork {} => {
                self.sockets.authority.pace(who, clock::now())?;
                self.fork_socket(who, proven, Settings::default()).map(accepted)
            }
            Request::SocketLocators {} => {
                let c = self.context_of(proven)?;
                let (local, peer) = view::locators(&c);
                Ok(Response::ContextLocators { context: api::ContextId(c.id.0), local, peer })
            }
            Request::SocketConfigure { changes } => {
                self.configure(who, fd, proven, changes).map(|()| Response::Done {})
            }
            Request::SocketUnpin {} => {
                let c = self.steered(who, proven)?;
                self.command(Command::Release(c.id)).map(|_| Response::Done {})
            }
            Request::SocketExplore {} => {
                let c = self.steered(who, proven)?;
                self.command(Command::Explore(c.id)).map(accepted)
            }
            Request::SocketFeedback { direction, satisfaction } => {
                let c = self.context_of(proven)?;
                // Whoever claims that all is well puts failure detection off, for all flows of the context.
                let content = *satisfaction == Satisfaction::Satisfactory
                    && self.may_steer(who, proven, &c).is_ok();
                self.feedback(&c, *direction, *satisfaction, content);
                Ok(Response::Done {})
            }
            _ => Err(ApiError::new(ErrorCode::Internal, "not a request about a socket")),
        }
    }

    /// The context of a connected socket: its own, else the default one.
    // req: AP-9-01
    fn context_of(&self, proven: &Proven) -> Result<ContextView, ApiError> {
        let ulids = proven.ulids()?;
        let own = self.forks.of(proven).map(|fork| fork.context);
        own.or_else(|| self.engine.find(ulids, Fii::DEFAULT))
            .and_then(|id| self.engine.context(id))
            .ok_or_else(|| {
                ApiError::new(ErrorCode::NoContext, format!("no context between {ulids}"))
                    .remedy("ask for one (shim_set), and wait for the event that it is established")
            })
    }

    /// The context of a connected socket, if the caller may steer it.
    fn steered(&mut self, who: &Peer, proven: &Proven) -> Result<ContextView, ApiError> {
        let c = self.context_of(proven)?;
        self.may_steer(who, proven, &c)?;
        Ok(c)
    }

    fn may_steer(&mut self, who: &Peer, proven: &Proven, c: &ContextView) -> Result<(), ApiError> {
        if self.forks.of(proven).is_some_and(|fork| fork.context == c.id) {
            return self.sockets.authority.pace(who, clock::now());
        }
        self.sockets.authority.check(who, proven, c.ulids, clock::now())
    }

    fn socket_info(&self, fd: &OwnedFd, proven: &Proven) -> api::SocketInfo {
        let now = clock::now();
        let context = self.context_of(proven).ok();
        let of_pair = |ulids| self.engine.state_of(ulids, Fii::DEFAULT, now);
        let state = match &context {
            Some(c) => Some(view::state(c.state)),
            None => proven.ulids().ok().map(|ulids| view::state(of_pair(ulids))),
        };
        api::SocketInfo {
            protocol: proven.protocol,
            local: proven.local,
            local_port: proven.local_port,
            peer: proven.peer.map(|(peer, _)| peer),
            peer_port: proven.peer.map(|(_, port)| port),
            state,
            context: context.as_ref().map(|c| self.socket_context(c)),
            options: api::SocketOptions {
                dont_shim: self
                    .dataplane
                    .leave_alone_mark()
                    .is_some_and(|mark| descriptor::left_shim(fd, mark).unwrap_or(false)),
                ..options::of(context.as_ref())
            },
        }
    }

    fn socket_context(&self, c: &ContextView) -> api::SocketContext {
        let activity = self.activity(c);
        let line = view::summary(c, activity, clock::now());
        let reap = &c.config;
        let keepalive = f64::from(reap.send_timeout_secs) * reap.keepalive_fraction;
        api::SocketContext {
            id: line.id,
            fii: line.fii,
            state: line.state,
            reap_state: line.reap_state,
            current: line.current,
            received: Some(self.received(c)),
            tagged: line.tagged,
            age_ms: line.age_ms,
            last_out_ms: line.last_out_ms,
            last_in_ms: line.last_in_ms,
            rtt_us: line.rtt_us,
            packets_out: activity.packets_out,
            packets_in: activity.packets_in,
            octets_out: line.octets_out,
            octets_in: line.octets_in,
            probes_out: c.counters.probes_out.into(),
            probes_in: c.counters.probes_in.into(),
            switches: c.counters.switches.into(),
            local_locators: c.local_locators.len() as u32,
            peer_locators: c.peer_locators.len() as u32,
            send_timeout_ms: u64::from(reap.send_timeout_secs) * 1000,
            explore: api::ExploreSettings {
                probes: u16::try_from(reap.initial_probes).unwrap_or(u16::MAX),
                keepalive_timeout_secs: reap.send_timeout_secs,
                keepalive_interval_secs: keepalive as u16,
                initial_probe_timeout_ms: u16::try_from(reap.initial_probe_timeout.as_millis())
                    .unwrap_or(u16::MAX),
            },
        }
    }

    /// The locators of the newest packet in.
    // req: AP-6.6-01, AP-6.7-01, AP-7.4-01
    fn received(&self, c: &ContextView) -> api::Pair {
        let plain = || match self.activity(c).last_in {
            Some(_) => c.ulids.locators(),
            None => c.pair,
        };
        self.dataplane.received(c.id).unwrap_or_else(plain).into()
    }

    fn configure(
        &mut self,
        who: &Peer,
        fd: &OwnedFd,
        proven: &Proven,
        changes: &SocketChanges,
    ) -> Result<(), ApiError> {
        options::possible(changes, proven.peer.is_some())?;
        if options::needs_context(changes) {
            self.configure_of_socket(who, proven, changes)?;
        }
        if let Some(left) = changes.dont_shim {
            let failed = |e| ApiError::new(ErrorCode::Kernel, format!("the socket's mark: {e}"));
            match self.dataplane.leave_alone_mark() {
                Some(mark) => descriptor::set_left_shim(fd, mark, left).map_err(failed)?,
                None if left => {
                    let text = "the configured mark leaves no room for sockets without the shim";
                    return Err(ApiError::new(ErrorCode::NotSupported, text));
                }
                None => {}
            }
        }
        Ok(())
    }

    fn configure_of_socket(
        &mut self,
        who: &Peer,
        proven: &Proven,
        changes: &SocketChanges,
    ) -> Result<(), ApiError> {
        let c = self.context_of(proven)?;
        let ulid = c.ulids.local;
        let locals = self.engine.locals();
        options::check(changes, &c, |locator| locals.may_offer(ulid, locator.0))?;
        options::may(who, changes)?;
        let settings = options::settings(changes, &c);
        if settings == c.settings {
            return Ok(());
        }
        let own = self.forks.of(proven).is_some_and(|fork| fork.context == c.id);
        let now = clock::now();
        if own {
            self.sockets.authority.pace(who, now)?;
        } else if self.sockets.authority.alone(who, proven, c.ulids, now)? {
            self.lend(who, proven, &c)?;
        } else {
            // req: AP-11.1-01
            return self.fork_socket(who, proven, settings).map(drop);
        }
        self.command(Command::Configure(c.id, Box::new(settings))).map(drop)
    }

    /// Changes settings of a context.
    ///
    /// # Errors
    /// The first value that makes no sense; nothing has changed then.
    pub(super) fn configure_context(
        &mut self,
        c: &ContextView,
        changes: &SocketChanges,
    ) -> Result<(), ApiError> {
        if changes.dont_shim.is_some() {
            let text = "dont_shim is a setting of a socket, not of a context";
            return Err(ApiError::new(ErrorCode::InvalidArgument, text));
        }
        options::possible(changes, true)?;
        let ulid = c.ulids.local;
        let locals = self.engine.locals();
        options::check(changes, c, |locator| locals.may_offer(ulid, locator.0))?;
        let settings = options::settings(changes, c);
        self.command(Command::Configure(c.id, Box::new(settings))).map(drop)
    }

    /// Discontent is a reason to test the current pair, no more: the path may be as good as there is. Content counts as
    /// an answer to what was sent until now, if it comes from somebody who may steer the context (`believed`).
    // req: RP-3.3-03
    fn feedback(
        &mut self,
        c: &ContextView,
        direction: Direction,
        satisfaction: Satisfaction,
        believed: bool,
    ) {
        let name = match (direction, satisfaction) {
            (_, Satisfaction::Satisfactory) => "event_feedback_positive",
            (Direction::Outbound, _) => "event_feedback_outbound",
            (Direction::Inbound, _) => "event_feedback_inbound",
        };
        *self.counters.entry(name.to_owned()).or_default() += 1;
        let command = match satisfaction {
            Satisfaction::Satisfactory if believed => Command::Progress(c.id),
            Satisfaction::Satisfactory => return,
            _ => Command::Test(c.id, c.pair),
        };
        if let Err(e) = self.command(command) {
            // While exploration runs, the pair is being tested anyway.
            log::debug!("feedback on context {}: {e}", c.id);
        }
    }

    /// Starts the test of a pair of a context.
    ///
    /// # Errors
    /// `invalid_locator` for a pair that is not of the context, `busy`, `not_possible` while exploration runs.
    pub(super) fn begin_test(
        &mut self,
        who: &Peer,
        c: &ContextView,
        pair: LocatorPair,
    ) -> Result<Outcome, ApiError> {
        options::local_entry(c, pair.local)?;
        options::peer_entry(c, pair.peer)?;
        self.waits.check_room(who, Some(c.id))?;
        // An answer cannot come before the next turn of the loop.
        self.command(Command::Test(c.id, pair))?;
        let longest = self.longest_test(c);
        Ok(Outcome::Later(Awaited::Test { context: c.id, pair, longest }))
    }

    /// How long a test takes until it counts as failed, at most.
    fn longest_test(&self, c: &ContextView) -> Duration {
        let reap = &c.config;
        let probes = reap.initial_probe_timeout * (reap.initial_probes + 1);
        probes.mul_f64(1.0 + reap.probe_jitter) + SLACK
    }

    /// Sends by another pair of a context, after a test if need be.
    ///
    /// # Errors
    /// `invalid_locator` for a pair that is not of the context, `busy`, `not_possible` while exploration runs or another
    /// pair is pinned.
    pub(super) fn begin_switch(
        &mut self,
        who: &Peer,
        c: &ContextView,
        pair: LocatorPair,
        keep: api::Keep,
    ) -> Result<Outcome, ApiError> {
        options::local_entry(c, pair.local)?;
        options::peer_entry(c, pair.peer)?;
        self.waits.check_room(who, Some(c.id))?;
        let keep = match keep {
            api::Keep::No => Keep::No,
            api::Keep::Prefer => Keep::Prefer,
            api::Keep::Pin => Keep::Pin,
        };
        self.command(Command::Switch(c.id, pair, keep))?;
        if self.engine.context(c.id).is_some_and(|c| c.pair == pair) {
            let (context, pair) = (api::ContextId(c.id.0), pair.into());
            return Ok(Outcome::Now(Ok(Response::PathInUse { context, pair })));
        }
        let longest = self.longest_test(c);
        Ok(Outcome::Later(Awaited::Switch { context: c.id, pair, longest }))
    }

    /// Finds out whether a peer knows Shim6, by negotiating a context if there is none.
    ///
    /// # Errors
    /// Those of establishing, but for a peer that is known not to answer.
    pub(super) fn begin_check(
        &mut self,
        who: &Peer,
        ulids: UlidPair,
        wait_ms: Option<u32>,
    ) -> Result<Outcome, ApiError> {
        let wait_ms = wait_ms.unwrap_or(CHECK_MS);
        if wait_ms > api::MAX_WAIT_MS {
            return Err(ApiError::new(
                ErrorCode::InvalidArgument,
                format!("wait_ms is at most {}", api::MAX_WAIT_MS),
            ));
        }
        let known = |support| {
            let context = self.engine.find(ulids, Fii::DEFAULT).map(|id| api::ContextId(id.0));
            Ok(Outcome::Now(Ok(Response::PeerSupport { support, context })))
        };
        match self.engine.state_of(ulids, Fii::DEFAULT, clock::now()) {
            State::Established | State::I2bisSent => return known(Support::Yes),
            State::NoSupport => return known(Support::No),
            State::EFailed => return known(Support::Unknown),
            State::Idle | State::I1Sent | State::I2Sent => {}
        }
        self.waits.check_room(who, self.engine.find(ulids, Fii::DEFAULT))?;
        let context = self.negotiate(who, ulids)?;
        let longest = Duration::from_millis(wait_ms.into());
        Ok(Outcome::Later(Awaited::Check { ulids, context, longest }))
    }

    /// Asks for the context between two ULIDs; each user gets only so many new ones in a second.
    fn negotiate(&mut self, who: &Peer, ulids: UlidPair) -> Result<ContextId, ApiError> {
        if self.engine.find(ulids, Fii::DEFAULT).is_none() {
            self.sockets.authority.pace(who, clock::now())?;
        }
        self.command(Command::Establish(ulids))
    }
}

fn accepted(id: ContextId) -> Response {
    Response::Accepted { context: api::ContextId(id.0) }
}

#[cfg(test)]
mod tests;
