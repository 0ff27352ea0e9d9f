//! The engine: owner of all contexts, and the only place where one changes.
//!
//! | Module | What it holds |
//! |---|---|
//! | [`state`] | states and their successors |
//! | [`context`], [`table`] | one context; all of them and their indexes |
//! | [`peer`], [`locals`] | locators: checking the peer's, announcing ours |
//! | [`validator`], [`holddown`], [`ratelimit`] | what protects the responder, the peer and the network |
//! | `dispatch` | a control message finds its context |
//! | `initiate`, `respond`, `recover` | I1 and I2 out; I1 and I2 in; lost contexts |
//! | `message` | control messages out, with the options they need |
//! | `confusion` | two contexts with one tag |
//! | [`update`], `errors` | Update Requests, Error messages |
//! | `failure` | REAP: inputs translated, actions carried out |
//! | `steer` | pairs and settings that somebody asks for |
//! | `address` | our addresses come and go |
//! | `publish` | forwarding entries |
//! | [`view`], [`journal`] | values for the outside |

pub mod context;
pub mod holddown;
pub mod journal;
pub mod locals;
pub mod peer;
pub mod ratelimit;
pub mod state;
pub mod table;
pub mod tables;
pub mod update;
pub mod validator;
pub mod view;

mod address;
mod confusion;
mod dispatch;
mod errors;
mod failure;
mod initiate;
mod message;
mod publish;
mod recover;
mod respond;
mod steer;

pub use journal::SavedContext;
pub use state::State;
pub use tables::TABLES;
pub use view::ContextView;

use super::{
    Activity, Command, Config, ContextId, Cx, DropReason, Event, ForwardChange, Input, Output, Time,
};
use crate::addr::{Fii, Generation, LocatorPair, Prefix, Ulid, UlidPair};
use crate::cga::Identity;
use context::Context;
use holddown::Holddowns;
use locals::Locals;
use ratelimit::RateLimits;
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;
use table::Table;
use validator::Validator;

/// A context whose cells were asked for, but not handed in, is named again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why a command was not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// No context has this name.
    NoSuchContext,
    /// The local ULID is not one of our addresses.
    NotOurs,
    /// An address that cannot be a ULID, or both ULIDs are the same.
    BadUlid,
    /// The policy for this peer is `never`.
    Policy,
    /// The pair is held down: E-FAILED or NO-SUPPORT.
    HeldDown(State),
    /// A limit on contexts or tags is reached.
    Full,
    /// The context is not in a state that allows it.
    State(State),
    /// Not a pair of usable locators of the context.
    BadPair,
    /// An exploration runs, and chooses the pair.
    Exploring,
    /// One of the locators is out of order, or too many tests of this context wait.
    NotTestable,
    /// The pair is pinned.
    Pinned,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::NoSuchContext => f.write_str("no such context"),
            CommandError::NotOurs => f.write_str("the local ULID is not an address of this host"),
            CommandError::BadUlid => f.write_str("not a pair of unicast addresses of two hosts"),
            CommandError::Policy => f.write_str("the policy for this peer is `never`"),
            CommandError::HeldDown(s) => write!(f, "no new attempt yet: {s}"),
            CommandError::Full => f.write_str("the limit on contexts is reached"),
            CommandError::State(s) => write!(f, "not possible in state {s}"),
            CommandError::BadPair => f.write_str("not a pair of usable locators of the context"),
            CommandError::Exploring => f.write_str("an exploration runs, which chooses the pair"),
            CommandError::NotTestable => f.write_str(
                "the pair cannot be used at the moment, or too many tests of this context wait",
            ),
            CommandError::Pinned => f.write_str("the pair in use is pinned"),
        }
    }
}

impl std::error::Error for CommandError {}

/// The protocol engine. See [the module above](super) for how it is driven.
pub struct Engine {
    config: Config,
    table: Table,
    locals: Locals,
    validator: Validator,
    holddowns: Holddowns,
    rates: RateLimits,
    counters: BTreeMap<&'static str, u64>,
    drops: BTreeMap<&'static str, u64>,
    /// Pairs on which a failed send was acted on lately.
    send_failures: Vec<(LocatorPair, Time)>,
}

impl Engine {
    /// An engine without contexts, addresses and identities. Draws the validator's secret and the first list
    /// generation from `rng`.
    pub fn new(config: Config, now: Time, rng: &mut dyn rand::RngCore) -> Engine {
        let e = &config.establish;
        let validator = Validator::new(
            now,
            rng,
            e.secret_rotation,
            e.validator_max_age,
            e.validator_min_lifetime,
        );
        Engine {
            table: Table::default(),
            locals: Locals::new(Generation(rng.next_u32()), config.limits.locators),
            validator,
            holddowns: Holddowns::default(),
            rates: RateLimits::new(now, &config.limits),
            counters: BTreeMap::new(),
            drops: BTreeMap::new(),
            send_failures: Vec::new(),
            config,
        }
    }

    /// The settings in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes over new settings. Running timers keep their times; a new Send Timeout is told to the peers.
    pub fn set_config(&mut self, cx: &mut Cx<'_>, config: Config) {
        let e = &config.establish;
        self.validator.set_times(e.secret_rotation, e.validator_max_age, e.validator_min_lifetime);
        let told = self.config.reap.send_timeout_secs != config.reap.send_timeout_secs;
        let lists = self.config.limits.locators != config.limits.locators;
        let watched = self.config.reap.detection != config.reap.detection;
        self.locals.set_max_locators(config.limits.locators);
        self.config = config;
        if lists {
            self.refresh_local_sets(cx);
        }
        if told {
            self.announce_send_timeout(cx);
        }
        if watched {
            // Their entries say whether the data plane watches them, and their silence may have to be watched.
            for id in self.table.ids() {
                self.with(cx, id, |e, cx, c| {
                    let (read, activity) = (c.looked, c.activity.activity());
                    e.reap(cx, c, |reap, rcx| reap.on_watched(rcx, read, &activity));
                });
            }
        }
    }

    /// Replaces all identities. Contexts whose locator lists change thereby send Update Requests.
    pub fn set_identities(&mut self, cx: &mut Cx<'_>, identities: Vec<Arc<Identity>>) {
        self.locals.set_identities(identities);
        self.refresh_local_sets(cx);
    }

    /// Handles one input. The result of a command is lost; use [`Engine::handle_command`] to see it.
    pub fn handle(&mut self, cx: &mut Cx<'_>, input: Input) {
        match input {
            Input::Message(packet) => self.handle_message(cx, &packet),
            Input::Notice(notice) => self.handle_notice(cx, notice),
            Input::Activity(id, activity) => self.handle_activity(cx, id, activity),
            Input::Address(event) => self.handle_address(cx, event),
            Input::Command(command) => {
                if self.handle_command(cx, command).is_err() {
                    self.count(cx, "command_refused");
                }
            }
            Input::Timeout => self.handle_timeout(cx),
        }
    }

    /// Carries out a command. `Establish` yields the new context, or the one that exists already; the others
    /// the context they were about, and 0 if it was about none. Poll timeout and activity again afterwards.
    ///
    /// # Errors
    /// See [`CommandError`]; nothing has changed then.
    pub fn handle_command(
        &mut self,
        cx: &mut Cx<'_>,
        command: Command,
    ) -> Result<ContextId, CommandError> {
        match command {
            Command::Establish(ulids) => self.establish(cx, ulids, Fii::DEFAULT),
            Command::Fork(ulids) => self.fork(cx, ulids),
            Command::Explore(id) => self.explore(cx, id),
            Command::Switch(id, pair, keep) => self.switch_to(cx, id, pair, keep),
            Command::GiveUpSwitch(id, pair) => self.give_up_switch(cx, id, pair),
            Command::Release(id) => self.release(cx, id),
            Command::Configure(id, settings) => self.configure(cx, id, *settings),
            Command::Test(id, pair) => self.test_pair(cx, id, pair),
            Command::Locator(addr, rule) => {
                self.set_locator_rule(cx, addr, rule);
                Ok(ContextId(0))
            }
            Command::InUse(id, in_use) => self.of(cx, id, |_, _, c| c.in_use = in_use),
            // req: RP-3.3-03
            Command::Progress(id) => {
                self.of(cx, id, |e, cx, c| e.reap(cx, c, |reap, rcx| reap.on_progress(rcx)))
            }
            Command::Discard(id) => self.of(cx, id, |_, _, c| c.end = Some("requested")),
        }
    }

    /// Does what a command wants of one context, if there is that.
    fn of(
        &mut self,
        cx: &mut Cx<'_>,
        id: ContextId,
        f: impl FnOnce(&mut Engine, &mut Cx<'_>, &mut Context),
    ) -> Result<ContextId, CommandError> {
        self.with(cx, id, f).map(|()| id).ok_or(CommandError::NoSuchContext)
    }

    /// Runs all timers that are due. Poll timeout and activity again afterwards.
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        // Every run moves the timer of its context ahead; the bound only guards against a fault in that.
        for _ in 0..self.table.count().saturating_mul(4) + 16 {
            let Some(id) = self.table.due_timer(cx.now) else { return };
            if self.with(cx, id, Self::on_timer).is_none() {
                return;
            }
        }
        self.count(cx, "timer_overrun");
    }

    /// When [`Engine::handle_timeout`], or first [`Engine::due_activity`], is wanted next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.table.next_time()
    }

    /// A context whose activity cells are wanted now, or `None` when all have been named. To be asked until it
    /// answers `None` before each [`Engine::handle_timeout`]; each answer is followed by
    /// [`Engine::handle_activity`].
    pub fn due_activity(&mut self, now: Time) -> Option<ContextId> {
        self.table.due_look(now, now + LOOK_AGAIN)
    }

    /// The activity cells of a context, as [`Engine::due_activity`] asked for them.
    pub fn handle_activity(&mut self, cx: &mut Cx<'_>, id: ContextId, activity: Activity) {
        self.with(cx, id, |e, cx, c| e.on_activity(cx, c, activity));
    }

    /// All contexts in the order of their names.
    pub fn contexts(&self) -> impl Iterator<Item = ContextView> + '_ {
        self.table.iter().map(|c| ContextView::of(c, &self.config.reap))
    }

    /// One context.
    pub fn context(&self, id: ContextId) -> Option<ContextView> {
        self.table.get(id).map(|c| ContextView::of(c, &self.config.reap))
    }

    /// Default contexts that end for idleness unless somebody uses them: those that have carried nothing since then as
    /// far as is known, and those that live on by [`Command::InUse`] alone; with their ULIDs, and whether they do.
    pub fn unused(&self, since: Time) -> impl Iterator<Item = (ContextId, UlidPair, bool)> + '_ {
        self.table
            .iter()
            .filter(move |c| {
                c.fii == Fii::DEFAULT && c.state().has_peer() && (c.in_use || c.last_use() <= since)
            })
            .map(|c| (c.id, c.ulids, c.in_use))
    }

    /// The ULIDs and the current pair of every context, for questions about all of them.
    pub fn pairs(&self) -> impl Iterator<Item = (UlidPair, LocatorPair)> + '_ {
        self.table.iter().map(|c| (c.ulids, c.pair))
    }

    /// The context of a ULID pair.
    pub fn find(&self, ulids: UlidPair, fii: Fii) -> Option<ContextId> {
        self.table.find(ulids, fii)
    }

    /// Number of contexts.
    pub fn context_count(&self) -> usize {
        self.table.count()
    }

    /// State of a ULID pair, with or without context.
    pub fn state_of(&self, ulids: UlidPair, fii: Fii, now: Time) -> State {
        match self.table.find(ulids, fii).and_then(|id| self.table.get(id)) {
            Some(c) => c.state(),
            None => self.holddowns.state(ulids, now),
        }
    }

    /// Counters by name: messages in and out by type, and what else was counted.
    pub fn counters(&self) -> &BTreeMap<&'static str, u64> {
        &self.counters
    }

    /// Dropped packets by reason.
    pub fn drops(&self) -> &BTreeMap<&'static str, u64> {
        &self.drops
    }

    /// Our addresses as the engine knows them.
    pub fn locals(&self) -> &Locals {
        &self.locals
    }

    /// How many entries the tables beside the contexts hold; each is bounded by [`super::config::Limits`].
    pub fn holddown_count(&self) -> usize {
        self.holddowns.count()
    }

    /// Whether all indexes agree with the contexts. Looks at everything: for tests and fault finding.
    pub fn is_consistent(&self) -> bool {
        self.table.is_consistent()
    }

    // ---- what all parts share ----

    /// Adds one to a counter, here and at the driver.
    fn count(&mut self, cx: &mut Cx<'_>, name: &'static str) {
        *self.counters.entry(name).or_default() += 1;
        cx.push(Output::Count(name));
    }

    /// Counts a dropped packet.
    fn drop(&mut self, cx: &mut Cx<'_>, reason: &'static str) {
        *self.drops.entry(reason).or_default() += 1;
        cx.drop(DropReason(reason));
    }

    /// Takes a context out, lets `f` change it, and puts it back with everything that follows from the change.
    /// `None` if there is no such context, or it is being changed already.
    fn with<R>(
        &mut self,
        cx: &mut Cx<'_>,
        id: ContextId,
        f: impl FnOnce(&mut Engine, &mut Cx<'_>, &mut Context) -> R,
    ) -> Option<R> {
        let mut context = self.table.take(id)?;
        let result = f(self, cx, &mut context);
        self.settle(cx, context);
        Some(result)
    }

    /// Puts a context (back) into the table: publishes what the data plane has to know, sets the timer, keeps the
    /// indexes in step; or discards it if its end was decided.
    fn settle(&mut self, cx: &mut Cx<'_>, mut context: Box<Context>) {
        if let Some(reason) = context.end {
            self.discard(cx, context, reason);
            return;
        }
        context.look = self.next_look(&context);
        self.publish(cx, &mut context);
        context.tidy(cx.now);
        self.locals.share(&mut context.local.entries);
        let timer = next_timer(&context);
        self.table.put(context, timer);
    }

    // req: S6-4-05, S6-9-01
    fn discard(&mut self, cx: &mut Cx<'_>, mut context: Box<Context>, reason: &'static str) {
        let id = context.id;
        if matches!(
            context.state(),
            State::I1Sent | State::I2Sent | State::Established | State::I2bisSent
        ) {
            self.transition(cx, &mut context, State::Idle);
        }
        if context.forwarded.is_some() {
            cx.push(Output::Forward(ForwardChange::Remove(id)));
        }
        cx.push(Output::Event(Event::Discarded { context: id, ulids: context.ulids, reason }));
        let space = self.tag_space();
        self.table.remove(id, cx.now, space);
    }

    /// Number of tags in use for this host: 2^47 but in tests.
    fn tag_space(&self) -> u64 {
        1 << self.config.establish.tag_bits.clamp(2, 47)
    }

    /// A context for a ULID pair that has none, not yet in the table.
    // req: S6-7.1-01, S6-7.1-02, S6-4.2-01
    fn new_context(
        &mut self,
        cx: &mut Cx<'_>,
        ulids: UlidPair,
        fii: Fii,
    ) -> Result<Box<Context>, CommandError> {
        let limits = &self.config.limits;
        if self.table.count() >= limits.contexts
            || self.table.in_prefix(Prefix::of(ulids.peer.0)) >= limits.contexts_per_prefix
        {
            self.count(cx, "contexts_full");
            return Err(CommandError::Full);
        }
        let space = self.tag_space();
        let Some(tag) = self.table.new_tag(cx.now, space, cx.rng) else {
            self.count(cx, "tags_full");
            return Err(CommandError::Full);
        };
        let id = self.table.new_id();
        Ok(Box::new(Context::new(id, ulids, fii, tag, cx.now)))
    }

    /// Whether an address is one of ours, present or with its link down.
    fn is_ours(&self, addr: Ipv6Addr) -> bool {
        self.locals.status(addr).is_some()
    }

    /// Whether two addresses can be the ULIDs of a context: ours and somebody else's, both unicast.
    // req: S6-1.4-01
    fn are_ulids(&self, ulids: UlidPair) -> Result<(), CommandError> {
        let Ulid(peer_addr) = ulids.peer;
        if !peer::is_unicast(ulids.local.0)
            || !peer::is_unicast(peer_addr)
            || self.is_ours(peer_addr)
        {
            return Err(CommandError::BadUlid);
        }
        if !self.is_ours(ulids.local.0) || self.locals.withholds_all(ulids.local) {
            return Err(CommandError::NotOurs);
        }
        Ok(())
    }

    /// The only place where a context's state changes, with what always goes with a change.
    fn transition(&mut self, cx: &mut Cx<'_>, c: &mut Context, next: State) {
        let from = c.state();
        if from == next {
            return;
        }
        if !from.may_become(next) {
            debug_assert!(false, "{from} to {next}");
            self.count(cx, "bad_transition");
        }
        c.enter(next);
        // req: S6-6.2-02
        if !next.has_peer() {
            c.peer_tag = None;
            c.reap = None;
            c.local.stale |= c.update.is_some();
            c.update = None;
            c.exploring_since = None;
            c.approaching.put_to_rest();
            c.steer_at = None;
        }
        if next == State::Established {
            c.setup = None;
            // A new machine knows nothing of the test that ran on the old one.
            self.steering_interrupted(cx, c);
            c.steer_at = (!c.settings.is_default()).then_some(cx.now);
            c.established = Some(cx.now);
        }
        cx.push(Output::Event(Event::State { context: c.id, from: from.name(), to: next.name() }));
    }
}

/// When a context wants [`Engine::handle_timeout`] next.
fn next_timer(c: &Context) -> Option<Time> {
    let common = Time::earlier(c.setup.as_ref().map(|s| s.timer), c.doomed);
    if c.state() != State::Established {
        return common;
    }
    let reap = c.reap.as_ref().and_then(|r| r.poll_timeout());
    let update = c.update.as_ref().map(|u| u.timer);
    Time::earlier(common, Time::earlier(Time::earlier(update, reap), c.steer_at))
}

#[cfg(test)]
mod tests;
