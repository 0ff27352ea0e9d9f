//! The one loop: everything that happens becomes an input of the engine, and everything the engine wants is carried
//! out here, in order.
//!
//! ```text
//! 140 queues ── control messages ─┐                      ┌─► raw socket (Transmit)
//! workers ── notices ─────────────┤                      ├─► data plane map (Forward)
//! rtnetlink ── host view ─────────┼─► Engine ─► outputs ─┼─► log and subscribers (Event)
//! control socket ── requests ─────┤                      ├─► counters (Drop, Count)
//! clock ── timers, activity ──────┘                      └─► journal (contexts touched)
//! ```

use super::addresses::Keeper;
use super::clock;
use super::forks::Forks;
use super::guard::Guard;
use super::heartbeat::Pacemaker;
use super::host::{HostView, Silent};
use super::idle::Idle;
use super::journal::Journal;
use super::lent::Lent;
use super::record::{Recorder, Step};
use super::rules::RuleKeeper;
use super::sockets::Sockets;
use super::view;
use super::waits::Waits;
use crate::control::api;
use crate::control::server::EventSender;
use crate::dataplane::{Dataplane, SendError, StartError};
use crate::netlink::Monitor;
use crate::nft::{Heartbeat, RuleWatch};
use crate::proto::config::HeuristicConfig;
use crate::proto::input::ControlPacket;
use crate::proto::{
    Command, Config, ContextId, Cx, DropReason, Engine, Event, ForwardChange, Input, Notice,
    Output, Time, Transmit,
};
use futures_util::FutureExt;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;

mod saved;
mod surroundings;

/// Inputs of one kind that are taken before another kind gets its turn.
const BURST: usize = 256;
/// The journal gets a sign of life this often while there are contexts, and the data plane is swept.
const ALIVE: Duration = Duration::from_secs(60);

/// What the loop listens to.
#[allow(missing_debug_implementations)]
pub struct Sources {
    /// Shim6 control messages from the data plane.
    pub control: mpsc::Receiver<ControlPacket>,
    /// Notices from the data plane.
    pub notices: mpsc::Receiver<Notice>,
    /// Requests from the control socket.
    pub calls: mpsc::Receiver<crate::control::server::Incoming>,
    /// The kernel's reports.
    pub monitor: Monitor,
    /// Changes of packet filter tables; absent when the rules are not ours to keep.
    pub rule_watch: Option<RuleWatch>,
}

/// Why the loop ended.
#[derive(Debug)]
pub enum Ended {
    /// Somebody asked.
    Stopped,
    /// A part failed for good.
    Failed(String),
}

/// The engine and everything it works on.
pub struct Driver {
    pub(super) engine: Engine,
    pub(super) rng: StdRng,
    pub(super) dataplane: Dataplane,
    pub(super) keeper: Keeper,
    pub(super) host: HostView,
    silent: Silent,
    /// When routers that do not answer were last asked for.
    asked: Option<Time>,
    pub(super) rules: RuleKeeper,
    pub(super) journal: Option<Journal>,
    pub(super) events: EventSender,
    pub(super) counters: BTreeMap<String, u64>,
    /// Control messages that the engine dropped, by its reason.
    pub(super) drops: BTreeMap<&'static str, u64>,
    pub(super) started: Time,
    pub(super) warnings: Vec<String>,
    /// About the configuration in force.
    pub(super) config_warnings: Vec<String>,
    pub(super) reload: Box<dyn FnMut() -> Result<Reloaded, String>>,
    pub(super) config: Config,
    /// When to negotiate, by the configuration as it was read last.
    pub(super) configured_heuristic: HeuristicConfig,
    pub(super) sockets: Sockets,
    pub(super) waits: Waits,
    pub(super) forks: Forks,
    pub(super) idle: Idle,
    pub(super) lent: Lent,
    recorder: Option<Recorder>,
    heart: Option<(Heartbeat, Option<Guard>)>,
    pacemaker: Option<Pacemaker>,
    out: VecDeque<Output>,
    pub(super) touched: BTreeSet<ContextId>,
    /// Contexts of which `exploring` was told, and `recovered` has to be.
    exploring: BTreeSet<ContextId>,
    next_alive: Time,
    look_at: Option<Time>,
    next_look: Time,
    last_look: Time,
}

/// What a reload brought.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// New settings of the engine.
    pub engine: Config,
    /// The whole configuration as a file.
    pub text: String,
    /// New settings of the identity.
    pub identity: super::addresses::IdentitySettings,
    /// What an administrator ought to know.
    pub warnings: Vec<String>,
}

/// The parts of a driver, made at start.
pub struct Parts {
    /// The protocol.
    pub engine: Engine,
    /// Randomness for it.
    pub rng: StdRng,
    /// The packets.
    pub dataplane: Dataplane,
    /// The identity and its addresses.
    pub keeper: Keeper,
    /// The packet filter.
    pub rules: RuleKeeper,
    /// Signs of life, if the rules ask for them, and who misses them.
    pub heart: Option<(Heartbeat, Option<Guard>)>,
    /// The journal, unless it could not be opened.
    pub journal: Option<Journal>,
    /// The recording, if one was asked for.
    pub recorder: Option<Recorder>,
    /// Subscribers.
    pub events: EventSender,
    /// Found at start, about the host.
    pub warnings: Vec<String>,
    /// Found at start, about the configuration.
    pub config_warnings: Vec<String>,
    /// Reads the configuration again.
    pub reload: Box<dyn FnMut() -> Result<Reloaded, String>>,
}

impl Driver {
    /// A driver; nothing runs yet.
    pub fn new(parts: Parts, now: Time) -> Driver {
        let config = parts.engine.config().clone();
        Driver {
            engine: parts.engine,
            rng: parts.rng,
            dataplane: parts.dataplane,
            keeper: parts.keeper,
            host: HostView::default(),
            silent: Silent::default(),
            asked: None,
            rules: parts.rules,
            journal: parts.journal,
            events: parts.events,
            counters: BTreeMap::new(),
            drops: BTreeMap::new(),
            started: now,
            warnings: parts.warnings,
            config_warnings: parts.config_warnings,
            reload: parts.reload,
            configured_heuristic: config.heuristic.clone(),
            config,
            sockets: Sockets::default(),
            waits: Waits::default(),
            forks: Forks::default(),
            idle: Idle::new(now),
            lent: Lent::default(),
            recorder: parts.recorder,
            heart: parts.heart,
            pacemaker: None,
            out: VecDeque::new(),
            touched: BTreeSet::new(),
            exploring: BTreeSet::new(),
            next_alive: now + ALIVE,
            look_at: None,
            next_look: now + surroundings::LOOK,
            last_look: now,
        }
    }

    /// Runs `f` on the engine and carries out what it wants.
    pub(super) fn with_engine<R>(&mut self, f: impl FnOnce(&mut Engine, &mut Cx<'_>) -> R) -> R {
        let result = self.on_engine(f);
        self.drain();
        result
    }

    /// Runs `f` on the engine and leaves what it wants in `out`; recorded, if a recording runs.
    fn on_engine<R>(&mut self, f: impl FnOnce(&mut Engine, &mut Cx<'_>) -> R) -> R {
        let mut out = std::mem::take(&mut self.out);
        let now = clock::now();
        let engine = &mut self.engine;
        let result = match &mut self.recorder {
            None => f(engine, &mut Cx { now, rng: &mut self.rng, out: &mut out }),
            Some(recorder) => recorder.run(now, &mut self.rng, &mut out, |cx| f(engine, cx)),
        };
        self.out = out;
        if let Some(text) = self.recorder.as_mut().and_then(Recorder::trouble) {
            log::error!("{text}");
            self.warnings.push(text);
            self.recorder = None;
        }
        result
    }

    /// Says what the next use of the engine is about, if a recording runs.
    pub(super) fn say(&mut self, step: impl FnOnce() -> Step) {
        if let Some(recorder) = &mut self.recorder {
            recorder.say(step());
        }
    }

    /// Hands an input to the engine and carries out what it wants.
    fn feed(&mut self, input: Input) {
        self.say(|| Step::Input(input.clone()));
        self.with_engine(|engine, cx| engine.handle(cx, input));
    }

    /// Until somebody ends it.
    pub async fn run(
        &mut self,
        sources: &mut Sources,
        mut stop: mpsc::Receiver<()>,
        mut reload: mpsc::Receiver<()>,
    ) -> Ended {
        loop {
            let wake = self.next_wake();
            tokio::select! {
                _ = stop.recv() => return Ended::Stopped,
                _ = reload.recv() => match self.reload_now() {
                    Ok(warnings) => {
                        warnings.iter().for_each(|w| log::warn!("configuration: {w}"));
                    }
                    Err(e) => log::error!("nothing was changed: {e}"),
                },
                packet = sources.control.recv() => {
                    let Some(packet) = packet else { return Ended::Failed("the data plane ended".into()) };
                    self.control_burst(packet, &mut sources.control);
                }
                notice = sources.notices.recv() => {
                    let Some(notice) = notice else { return Ended::Failed("the data plane ended".into()) };
                    self.notice_burst(notice, &mut sources.notices);
                }
                call = sources.calls.recv() => {
                    let Some(call) = call else { return Ended::Failed("the control server ended".into()) };
                    self.request(call);
                }
                event = sources.monitor.next() => match event {
                    Ok(event) => {
                        self.on_kernel(&event);
                        self.kernel_burst(&mut sources.monitor);
                    }
                    Err(e) => return Ended::Failed(format!("the kernel's reports ended: {e}")),
                },
                change = watched(&mut sources.rule_watch) => match change {
                    Ok(()) => self.tend_rules(),
                    Err(e) => {
                        log::error!("changes of the packet filter are not seen any more: {e}");
                        sources.rule_watch = None;
                    }
                },
                () = sleep_until(wake) => {}
            }
            self.on_time();
        }
    }

    fn control_burst(&mut self, first: ControlPacket, more: &mut mpsc::Receiver<ControlPacket>) {
        let mut next = Some(first);
        for _ in 0..BURST {
            let Some(packet) = next else { return };
            self.feed(Input::Message(packet));
            next = more.try_recv().ok();
        }
        if let Some(packet) = next {
            self.feed(Input::Message(packet));
        }
    }

    fn notice_burst(&mut self, first: Notice, more: &mut mpsc::Receiver<Notice>) {
        let mut next = Some(first);
        for _ in 0..BURST {
            let Some(notice) = next else { return };
            self.feed(Input::Notice(notice));
            next = more.try_recv().ok();
        }
        if let Some(notice) = next {
            self.feed(Input::Notice(notice));
        }
    }

    /// A link that goes down reports every address that it takes along: one look for all of them.
    fn kernel_burst(&mut self, monitor: &mut Monitor) {
        for _ in 0..BURST {
            let Some(Ok(event)) = monitor.next().now_or_never() else { return };
            self.on_kernel(&event);
        }
    }

    /// When the loop has to turn although nothing happened.
    fn next_wake(&self) -> Time {
        [
            self.engine.poll_timeout(),
            self.look_at,
            self.rules.retry_at(),
            self.waits.next(),
            self.forks.next(),
            Some(self.idle.next()),
            self.lent.next(),
            self.keeper.wants_look(clock::now()),
        ]
        .into_iter()
        .flatten()
        .fold(self.next_alive.min(self.next_look), Time::min)
    }

    /// Everything that is due by now.
    fn on_time(&mut self) {
        let now = clock::now();
        if self.engine.poll_timeout().is_some_and(|t| t <= now) {
            while let Some(id) = self.engine.due_activity(now) {
                let activity = self.dataplane.activity(id).unwrap_or_default();
                self.feed(Input::Activity(id, activity));
            }
            self.feed(Input::Timeout);
        }
        for (id, pair) in self.waits.late_switches(now) {
            // The context may have ended.
            let _ = self.command(Command::GiveUpSwitch(id, pair));
        }
        self.waits.expire(now);
        self.sweep_forks(now);
        self.sweep_idle(now);
        self.sweep_lent(now);
        if self.next_look <= now {
            // Events about the rules may be lost as well.
            self.tend_rules();
        }
        if self.look_at.is_some_and(|t| t <= now) || self.next_look <= now || self.keeper.is_ready()
        {
            self.look_at_host();
        }
        if self.rules.retry_at().is_some_and(|t| t <= now) {
            self.tend_rules();
        }
        if self.next_alive <= now {
            self.next_alive = now + ALIVE;
            self.dataplane.sweep();
            self.journal_do(|j| if j.is_empty() { Ok(()) } else { j.alive(now) });
        }
    }

    pub(super) fn tend_rules(&mut self) {
        let now = clock::now();
        if let Some(gap) = self.rules.tend(now) {
            let after_ms = gap.as_millis() as u64;
            self.events.send(now.millis(), None, api::EventKind::RulesReinstalled { after_ms });
        }
    }

    /// Reads the configuration again.
    pub(super) fn reload_now(&mut self) -> Result<Vec<String>, String> {
        let new = (self.reload)()?;
        self.config_warnings = new.warnings.clone();
        self.config = new.engine.clone();
        self.configured_heuristic = new.engine.heuristic.clone();
        self.dataplane.configure_heuristic(new.engine.heuristic.clone());
        self.keeper.set_settings(new.identity);
        self.say(|| Step::Config(new.text));
        self.with_engine(|engine, cx| engine.set_config(cx, new.engine));
        self.look_at = Some(clock::now());
        self.events.send(clock::now().millis(), None, api::EventKind::Reloaded {});
        log::info!("configuration read again");
        Ok(new.warnings)
    }

    /// Carries out what the engine wants. What a peer concludes from our messages must hold for our packets by then,
    /// so the map changes before they leave: its next packet may already be on the way when a message arrives. Held
    /// copies go last, when the peer has been told where to answer.
    fn drain(&mut self) {
        while !self.out.is_empty() {
            let (changes, rest): (Vec<_>, Vec<_>) = self.out.drain(..).partition(|output| {
                matches!(output, Output::Forward(c) if !matches!(c, ForwardChange::ResendHeld(_)))
            });
            let (last, rest): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|output| matches!(output, Output::Forward(_)));
            for output in changes.into_iter().chain(rest).chain(last) {
                match output {
                    Output::Transmit(t) => self.transmit(&t),
                    Output::Forward(change) => self.forward(&change),
                    Output::Event(event) => self.tell(&event),
                    Output::Drop(DropReason(name)) => {
                        *self.drops.entry(name).or_default() += 1;
                    }
                    Output::Count(name) => {
                        *self.counters.entry(name.to_owned()).or_default() += 1;
                    }
                }
            }
        }
        if !self.touched.is_empty() {
            self.write_journal();
        }
    }

    fn transmit(&mut self, t: &Transmit) {
        if let Err(e) = self.dataplane.send_control(t.src, t.dst, &t.message) {
            log::debug!("{} -> {}: {e}", t.src, t.dst);
            *self.counters.entry("tx_failed".to_owned()).or_default() += 1;
            if matches!(e, SendError::Unreachable(_)) {
                let notice = Notice::SendFailed { src: t.src, dst: t.dst };
                self.say(|| Step::Input(Input::Notice(notice.clone())));
                self.on_engine(|engine, cx| engine.handle_notice(cx, notice));
            }
        }
    }

    fn forward(&mut self, change: &ForwardChange) {
        self.dataplane.apply(change);
        match change {
            ForwardChange::Set(f) => self.touched.insert(f.id),
            ForwardChange::Remove(id) => self.touched.insert(*id),
            ForwardChange::Wake(..) | ForwardChange::ResendHeld(_) => false,
        };
    }

    fn tell(&mut self, event: &Event) {
        let now = clock::now();
        // Nobody has to be told that an exploration goes on, or that one is over of which nobody was told.
        let old = match event {
            Event::Reap { context, to: "Exploring", .. } => !self.exploring.insert(*context),
            Event::Recovered { context, .. } => !self.exploring.remove(context),
            Event::Discarded { context, .. } => {
                self.exploring.remove(context);
                false
            }
            _ => false,
        };
        match event {
            Event::ProbeSent { .. }
            | Event::ProbeAnswered { .. }
            | Event::Tested { .. }
            | Event::Overtaken { .. } => {
                log::debug!("{event:?}");
            }
            // The peer may only test a pair, and does so every second where nobody answers.
            Event::Reap { from: "Operational", to: "InboundOk", .. }
            | Event::Reap { from: "InboundOk", to: "Operational", .. } => log::debug!("{event:?}"),
            Event::Recovered { .. } if old => log::debug!("{event:?}"),
            _ => log::info!("{event:?}"),
        }
        self.waits.on_event(event);
        if let Event::Discarded { context, .. } = event {
            self.fork_discarded(*context);
            self.settle(*context);
        }
        if let Event::Locators { context, .. } | Event::State { context, .. } = event {
            self.touched.insert(*context);
        }
        for (context, kind) in view::event(event, |id| self.engine.context(id)) {
            let repeated = old
                && matches!(
                    kind,
                    api::EventKind::Exploring { .. } | api::EventKind::Recovered { .. }
                );
            if !repeated && (self.events.has_listeners() || !kind.is_verbose()) {
                self.events.send(now.millis(), context, kind);
            }
        }
    }

    /// Starts the workers: from now on packets are read.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn run_workers(&mut self) -> Result<(), StartError> {
        self.dataplane.run()?;
        if let Some((heart, guard)) = self.heart.take() {
            let pacemaker = Pacemaker::start(heart, guard, self.dataplane.liveness());
            self.pacemaker = Some(pacemaker.map_err(StartError::Thread)?);
        }
        Ok(())
    }

    /// The clean end: nothing of ours stays in the kernel.
    pub fn finish(mut self) {
        self.events.send(clock::now().millis(), None, api::EventKind::Stopping {});
        self.waits.finish();
        self.rules.finish();
        self.pacemaker = None;
        self.dataplane.stop();
        self.keeper.finish();
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("contexts", &self.engine.context_count())
            .finish_non_exhaustive()
    }
}

async fn sleep_until(at: Time) {
    tokio::time::sleep(at.since(clock::now())).await;
}

async fn watched(watch: &mut Option<RuleWatch>) -> Result<(), crate::nft::NftError> {
    match watch {
        Some(watch) => watch.changed().await.map(|_| ()),
        None => std::future::pending().await,
    }
}
