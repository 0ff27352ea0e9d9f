//! The data plane: payload packets, between the kernel's queues and the map that the engine publishes.
//!
//! Workers read packets, decide what each of them is ([`decide`]), rewrite it if its context is on other locators than
//! its ULIDs, and give it back ([`process`]). They never wait for the engine; what it may want to know goes over bounded
//! channels, and is counted when it does not fit.
//!
//! ```text
//! queue → worker → decide → process ─┬→ rewrite, segment, fragment → verdict, inject (pieces)
//!                                    ├→ cells, heuristic → notices ──┐
//!                                    ├→ held copies                  ├→ control thread
//!                                    └→ control messages ────────────┘
//! ```

mod batch;
pub mod block;
pub mod bulk;
pub mod cells;
pub mod coalesce;
pub mod config;
pub mod counters;
pub mod decide;
pub mod entry;
pub mod flows;
pub mod fragment;
pub mod held;
pub mod heuristic;
pub mod icmp;
pub mod index;
pub mod inject;
pub mod kernel_path;
pub mod liveness;
pub mod map;
mod nfq_backend;
pub mod outgoing;
pub mod pathmtu;
pub mod process;
pub mod queue;
pub mod reassemble;
pub mod received;
pub mod rewrite;
pub mod segment;
pub mod sharded;
pub mod shared;
pub mod signs;
pub mod slab;
#[cfg(test)]
mod testing;
pub mod worker;

pub use config::{Backend, DataplaneConfig, HeldConfig, ReassemblyConfig, StartError, Tier};
pub use counters::{Counter, Counters};
pub use entry::Entry;
pub use inject::SendError;
pub use liveness::Liveness;
pub use map::{EntryRef, Map};
pub use queue::KernelFigures;

use crate::addr::{Flow, Locator, LocatorPair, UlidPair};
use crate::proto::config::HeuristicConfig;
use crate::proto::input::ControlPacket;
use crate::proto::{Activity, ContextId, Forward, ForwardChange, Notice};
use batch::{BatchQueue, Depth};
use inject::{ControlSocket, RawPackets};
use kernel_path::{KernelPath, PairSet};
use nfq_backend::NfqQueue;
use outgoing::Outgoing;
use pathmtu::KernelRoutes;
use process::Processor;
use queue::{QueueBackend, QueueStats};
use shared::Shared;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use worker::{Kind, Stop, Worker};

/// Where workers leave what the engine may want to know. Both channels are bounded; when one is full, its newest
/// item is dropped and counted.
#[derive(Clone, Debug)]
pub struct Channels {
    /// Notices.
    pub notices: Sender<Notice>,
    /// Shim6 control messages.
    pub control: Sender<ControlPacket>,
}

/// How long a worker may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Starts a worker's thread, which gets this name.
type Spawn = Box<dyn FnOnce(String) -> Result<JoinHandle<()>, StartError> + Send>;

/// A worker that does not run yet, its queue bound already.
struct Waiting {
    name: String,
    spawn: Spawn,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a worker consists of beside its queue.
struct Parts<'a> {
    queue: u16,
    kind: Kind,
    processor: Processor<KernelRoutes, RawPackets>,
    shared: &'a Arc<Shared>,
    stop: &'a Arc<Stop>,
}

impl Parts<'_> {
    fn join<B: QueueBackend + 'static>(self, backend: B, liveness: &mut Liveness) -> Waiting {
        let (shared, stop) = (Arc::clone(self.shared), Arc::clone(self.stop));
        let worker = Worker::new(backend, self.kind, self.processor, shared, stop);
        let name = format!("queue-{}", self.queue);
        liveness.add(name.clone(), self.kind, worker.pulse());
        Waiting { name, spawn: Box::new(move |name| worker.spawn(name)) }
    }
}

/// The running data plane. Everything in here may be called from the control thread.
#[derive(Debug)]
pub struct Dataplane {
    shared: Arc<Shared>,
    control: ControlSocket,
    outgoing: Mutex<Outgoing<KernelRoutes, RawPackets>>,
    figures: Option<KernelFigures>,
    stop: Arc<Stop>,
    liveness: Liveness,
    waiting: Mutex<Vec<Waiting>>,
    running: Vec<JoinHandle<()>>,
}

impl Dataplane {
    /// Opens the sockets and binds the queues. Packets queue up from now on; none is read before
    /// [`Dataplane::run`], so contexts of an earlier life can be put back first. Nothing but [`Backend::Nfq`] depends
    /// on the figures.
    ///
    /// # Errors
    /// The reason, with its remedy in words.
    pub fn open(
        config: DataplaneConfig,
        channels: Channels,
        figures: Option<KernelFigures>,
    ) -> Result<Dataplane, StartError> {
        let mark = config.mark & config.mark_mask;
        let control = ControlSocket::open(mark)?;
        let shared = Arc::new(Shared::new(config, channels));
        let stop = Arc::new(Stop::new().map_err(StartError::Thread)?);
        let mut waiting = Vec::new();
        let mut liveness = Liveness::default();
        let queues_140 = shared.config.queues_140.clone().map(|q| (q, Kind::Shim6));
        let queues_plain = shared.config.queues_plain.clone().map(|q| (q, Kind::Plain));
        for (queue, kind) in queues_140.chain(queues_plain) {
            // Protocol 140 never passes unseen: the kernel would deny it to the peer.
            let fail_open = kind == Kind::Plain;
            let routes = KernelRoutes::new(mark);
            let processor =
                Processor::new(Arc::clone(&shared), routes, RawPackets::open(mark, true)?);
            let parts = Parts { queue, kind, processor, shared: &shared, stop: &stop };
            waiting.push(match shared.config.backend {
                Backend::Batch => {
                    let depth = match (kind, shared.config.tier) {
                        // Nothing of protocol 140 stays as it is, and nothing of it is uncut.
                        (Kind::Shim6, _) => Depth::Cut,
                        (Kind::Plain, Tier::Whole) => Depth::Large,
                        (Kind::Plain, Tier::Kernel | Tier::Headers) => Depth::Headers,
                    };
                    parts.join(BatchQueue::open(queue, fail_open, depth)?, &mut liveness)
                }
                Backend::Nfq => {
                    parts.join(NfqQueue::open(queue, fail_open, figures.as_ref())?, &mut liveness)
                }
            });
        }
        let waiting = Mutex::new(waiting);
        let socket = RawPackets::open(mark, false)?;
        let outgoing = Outgoing::new(Arc::clone(&shared), KernelRoutes::new(mark), socket);
        let outgoing = Mutex::new(outgoing);
        let running = Vec::new();
        Ok(Dataplane { shared, control, outgoing, figures, stop, liveness, waiting, running })
    }

    /// What reads the queues.
    pub fn driver(&self) -> &'static str {
        self.shared.config.backend.name()
    }

    /// Has the kernel pass fast flows of contexts on their ULIDs by itself, through this set: at most once, and before
    /// [`Dataplane::run`].
    pub fn let_pass(&self, set: Box<dyn PairSet>) {
        if self.shared.kernel_path.set(KernelPath::new(set)).is_err() {
            log::error!("there is a set of pairs that pass already");
        }
    }

    /// The best that happens to packets: 1, flows pass in the kernel; 2, headers are looked at; 3, whole packets are.
    pub fn tier(&self) -> u8 {
        match self.shared.config.tier {
            Tier::Kernel if self.shared.kernel_path.get().is_some() => 1,
            Tier::Kernel | Tier::Headers if self.shared.config.backend == Backend::Batch => 2,
            _ => 3,
        }
    }

    /// The workers' signs of life.
    pub fn liveness(&self) -> Liveness {
        self.liveness.clone()
    }

    /// Starts one thread per queue, in the network namespace of the caller.
    ///
    /// # Errors
    /// [`StartError::Thread`]; what was started is stopped again when the data plane is dropped.
    pub fn run(&mut self) -> Result<(), StartError> {
        let waiting = self.waiting.get_mut().unwrap_or_else(PoisonError::into_inner);
        for Waiting { name, spawn } in waiting.drain(..) {
            self.running.push(spawn(name)?);
        }
        if self.shared.kernel_path.get().is_some() {
            let shared = Arc::clone(&self.shared);
            let work = move || {
                if let Some(kernel_path) = shared.kernel_path.get() {
                    kernel_path.run(&shared);
                }
            };
            let thread = std::thread::Builder::new().name("passing".to_owned()).spawn(work);
            self.running.push(thread.map_err(StartError::Thread)?);
        }
        Ok(())
    }

    /// [`Dataplane::open`] and [`Dataplane::run`] in one, where there are no contexts to be put back.
    ///
    /// # Errors
    /// The reason, with its remedy in words.
    pub fn start(config: DataplaneConfig, channels: Channels) -> Result<Dataplane, StartError> {
        let mut dataplane = Dataplane::open(config, channels, KernelFigures::open_or_warn())?;
        dataplane.run()?;
        Ok(dataplane)
    }

    /// Carries out a change of the map that the engine wants. Call it in the queues' network namespace: held copies
    /// are sent from here.
    pub fn apply(&self, change: &ForwardChange) {
        let ulids = match change {
            ForwardChange::Set(forward) => Some(forward.ulids),
            ForwardChange::Wake(id, _) | ForwardChange::Remove(id) => {
                self.shared.map.entry(*id).map(|entry| entry.ulids())
            }
            ForwardChange::ResendHeld(_) => None,
        };
        // What has passed is counted before somebody waits for what comes next.
        if let ForwardChange::Wake(..) = change {
            self.review(ulids, true);
        }
        let told = self.shared.map.apply(change);
        self.review(ulids, false);
        match change {
            ForwardChange::Set(Forward { id, wake, .. }) | ForwardChange::Wake(id, wake) => {
                if let Some(activity) = told
                    && !self.shared.notice(Notice::Active(*id, activity))
                    && let Some(entry) = self.shared.map.entry(*id)
                {
                    entry.cells.rearm(*wake);
                }
            }
            ForwardChange::Remove(id) => drop(self.shared.held.take(*id)),
            ForwardChange::ResendHeld(id) => {
                self.sweep();
                let copies = self.shared.held.take(*id);
                let Some(entry) = self.shared.map.entry(*id) else { return };
                entry.cells.set_held(0);
                let now = (self.shared.config.clock)();
                let mut outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
                outgoing.resend(&entry, copies, now);
            }
        }
    }

    /// Has flows between these ULIDs looked at again that must not pass in the kernel, or `whatever` they are.
    fn review(&self, ulids: Option<UlidPair>, whatever: bool) {
        if let (Some(kernel_path), Some(ulids)) = (self.shared.kernel_path.get(), ulids) {
            kernel_path.review(&self.shared, ulids, whatever);
        }
    }

    /// Has one flow served by a context other than the default one of its ULIDs, until [`Dataplane::release_flow`] or the
    /// end of the context. False if there is no such context.
    pub fn bind_flow(&self, flow: Flow, id: ContextId) -> bool {
        let bound = self.shared.map.bind_flow(flow, id);
        self.review(Some(flow.ulids), false);
        bound
    }

    /// Treats a flow as all others between its ULIDs again.
    pub fn release_flow(&self, flow: &Flow) {
        self.shared.map.flows.release(flow);
    }

    /// The mark by which packets of a socket say that they have nothing to do with the shim; `None` if our bits of the
    /// mark leave no room for it.
    pub fn leave_alone_mark(&self) -> Option<(u32, u32)> {
        self.shared.config.leave_alone.map(|mark| (mark, self.shared.config.mark_mask))
    }

    /// What has been counted for a context, to be handed to the engine: a wake-up that it arms afterwards counts from
    /// what it has seen here.
    pub fn activity(&self, id: ContextId) -> Option<Activity> {
        self.count_passed(id);
        self.shared.map.look(id)
    }

    /// What has been counted for a context, for people to see.
    pub fn peek_activity(&self, id: ContextId) -> Option<Activity> {
        self.count_passed(id);
        self.shared.map.activity(id)
    }

    /// Brings the cells of a context up to date.
    fn count_passed(&self, id: ContextId) {
        if let Some(kernel_path) = self.shared.kernel_path.get()
            && let Some(entry) = self.shared.map.entry(id)
        {
            kernel_path.refresh(&self.shared, &entry);
        }
    }

    /// By which locators the newest payload packet of a context came in; `None` for its ULIDs, also before the first.
    pub fn received(&self, id: ContextId) -> Option<LocatorPair> {
        self.shared.map.entry(id)?.cells.received()
    }

    /// What the kernel counts for our queues.
    pub fn queue_stats(&self) -> Vec<QueueStats> {
        let config = &self.shared.config;
        let ours = |q| config.queues_140.contains(&q) || config.queues_plain.contains(&q);
        self.figures.as_ref().and_then(|f| f.read(ours).ok()).unwrap_or_default()
    }

    /// Sends a Shim6 control message from one of our locators. Never waits.
    ///
    /// # Errors
    /// The kernel's answer; [`SendError::Unreachable`] is worth a [`Notice::SendFailed`].
    pub fn send_control(
        &self,
        src: Locator,
        dst: Locator,
        message: &[u8],
    ) -> Result<(), SendError> {
        self.control.send(src.0, dst.0, message)
    }

    /// Uses other thresholds and policies for address pairs without a context.
    pub fn configure_heuristic(&self, config: HeuristicConfig) {
        self.shared.heuristic.configure(config);
    }

    /// Frees what has been held for too long. Once a minute is often enough.
    pub fn sweep(&self) {
        let Shared { held, map, counters, config, .. } = &*self.shared;
        held.sweep((config.clock)(), map, counters);
    }

    /// All counters by name, with what the kernel counts for our queues.
    pub fn stats(&self) -> BTreeMap<String, u64> {
        let mut stats: BTreeMap<_, _> =
            self.shared.counters.all().map(|(name, n)| (name.to_owned(), n)).collect();
        let (flows, octets) = self.shared.held.size();
        stats.insert("held_flows".to_owned(), flows as u64);
        stats.insert("held_octets".to_owned(), octets as u64);
        let (bound, learned, alone) = self.shared.map.flows.count();
        stats.insert("flows_bound".to_owned(), bound as u64);
        stats.insert("flows_learned".to_owned(), learned as u64);
        stats.insert("flows_left_alone".to_owned(), alone as u64);
        stats.insert("contexts".to_owned(), self.shared.map.len() as u64);
        if let Some(kernel_path) = self.shared.kernel_path.get() {
            let (flows, packets) = kernel_path.figures();
            stats.insert("passing_flows".to_owned(), flows as u64);
            stats.insert("packets_passed_in_kernel".to_owned(), packets);
        }
        for q in self.queue_stats() {
            stats.insert(format!("queue_{}_waiting", q.queue), q.waiting);
            stats.insert(format!("queue_{}_dropped", q.queue), q.dropped);
            stats.insert(format!("queue_{}_user_dropped", q.queue), q.user_dropped);
        }
        stats
    }

    /// Ends the workers when their queues are empty, and unbinds the queues. Take the rules away first, or packets
    /// that keep coming keep it from ending for a while. A worker that hangs is left behind after two seconds, to end
    /// with the process.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.stop();
        if let Some(kernel_path) = self.shared.kernel_path.get() {
            kernel_path.stop();
        }
        let left = join_within(self.running.drain(..).collect(), PATIENCE);
        if left > 0 {
            log::error!("{left} workers hang; going on without them");
        }
    }
}

/// Waits for threads to end, but no longer than `patience` for the next one; how many have not ended.
fn join_within(threads: Vec<JoinHandle<()>>, patience: Duration) -> usize {
    let all = threads.len();
    let (tell, ended) = std::sync::mpsc::channel();
    for thread in threads {
        let tell = tell.clone();
        let wait = move || {
            if thread.join().is_err() {
                log::error!("a worker ended with an internal error");
            }
            // Nobody listens any more once patience is over.
            let _ = tell.send(());
        };
        if let Err(e) = std::thread::Builder::new().name("join".to_owned()).spawn(wait) {
            log::warn!("nobody waits for a worker: {e}");
        }
    }
    drop(tell);
    (0..all).find(|_| ended.recv_timeout(patience).is_err()).map_or(0, |joined| all - joined)
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_hangs_does_not_hold_up_the_end() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let hung = std::thread::spawn(move || assert!(stopped.recv().is_err()));
        let good = || std::thread::spawn(|| ());
        let long = Duration::from_secs(60);
        assert_eq!(join_within(vec![good(), good()], long), 0);
        // On a busy machine the good ones may not be seen to end in time, either.
        let left = join_within(vec![good(), hung, good()], Duration::from_millis(50));
        assert!((1..=3).contains(&left), "{left}");
        drop(stop);
        let broken = std::thread::spawn(|| panic!("on purpose"));
        assert_eq!(join_within(vec![broken], long), 0, "ended all the same");
    }
}
