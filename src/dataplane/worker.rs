//! Workers: one queue, one socket, one thread each.

use super::coalesce::Train;
use super::config::StartError;
use super::counters::Counter;
use super::decide::Way;
use super::inject::Inject;
use super::liveness::{EndGuard, Pulse};
use super::pathmtu::Routes;
use super::process::{Processor, Seen, Verdict};
use super::queue::{HOOK_LOCAL_OUT, QUEUE_LENGTH, QueueBackend, Queued, Waker, Wanted};
use super::segment::Pieces;
use super::shared::Shared;
use crate::proto::Time;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// A queue that keeps failing is tried again after this time.
const RETRY_MILLIS: u16 = 100;
/// A queue that gives whole packets goes back to headers when none was needed whole for so long.
const WHOLE_FOR: Duration = Duration::from_secs(2);
/// Octets that wait to be sent in one call, about.
const SEND_AT: usize = 64 << 10;

/// Tells all workers to end.
#[derive(Debug)]
pub struct Stop {
    flag: AtomicBool,
    event: EventFd,
    /// Of workers that wait for their queue alone.
    wakers: Mutex<Vec<Waker>>,
}

impl Stop {
    /// Not stopped.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn new() -> io::Result<Stop> {
        let event =
            EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Stop { flag: AtomicBool::new(false), event, wakers: Mutex::default() })
    }

    /// Stops: once and for all.
    pub fn stop(&self) {
        self.flag.store(true, Ordering::Release);
        if let Err(e) = self.event.write(1) {
            // Nobody reads the counter, so only its overflow could fail, and then it is readable anyway.
            log::warn!("waking up workers: {e}");
        }
        self.wakers().iter().for_each(Waker::wake);
    }

    fn wakers(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }
}

/// What a worker is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Inbound protocol 140.
    Shim6,
    /// Everything else, in both directions.
    Plain,
}

/// One worker's parts.
#[derive(Debug)]
pub struct Worker<B: QueueBackend, R, I> {
    backend: B,
    kind: Kind,
    processor: Processor<R, I>,
    shared: Arc<Shared>,
    stop: Arc<Stop>,
    pulse: Arc<Pulse>,
    /// Restored segments that are to go on in one piece, and the packet of the last of them, which has no verdict yet.
    train: Option<(Train, B::Packet)>,
    /// Packets to be sent in the place of some that have ended, and their mark.
    outbox: Option<(Pieces, u32)>,
    /// Whether there are verdicts that let packets go on, and that the kernel may not know yet.
    unsaid: bool,
    /// When a packet was last needed whole, while the queue gives whole ones for that.
    whole: Option<Time>,
}

impl<B: QueueBackend + 'static, R: Routes + Send + 'static, I: Inject + Send + 'static>
    Worker<B, R, I>
{
    /// A worker that does not run yet.
    pub fn new(
        backend: B,
        kind: Kind,
        processor: Processor<R, I>,
        shared: Arc<Shared>,
        stop: Arc<Stop>,
    ) -> Self {
        Worker {
            backend,
            kind,
            processor,
            shared,
            stop,
            pulse: Arc::default(),
            train: None,
            outbox: None,
            unsaid: false,
            whole: None,
        }
    }

    /// Its sign of life.
    pub(super) fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// [`StartError::Thread`].
    pub fn spawn(mut self, name: String) -> Result<JoinHandle<()>, StartError> {
        Builder::new().name(name).spawn(move || self.run()).map_err(StartError::Thread)
    }

    /// Works until stopped; then empties its queue, so that no packet is lost that waits already.
    fn run(&mut self) {
        let _end = EndGuard(self.pulse());
        let mut batch = Vec::new();
        let mut after_stop = 0;
        // Before the first look at the flag, so that no end is missed.
        let waker = self.backend.waker();
        let waits = waker.is_some();
        self.stop.wakers().extend(waker);
        loop {
            let stopping = self.stop.stopped();
            // What is to be done once the queue is empty takes a look that does not wait.
            let wait = waits && !stopping && !self.processor.has_fast();
            if wait {
                self.pulse.idle();
            }
            match self.backend.receive(&mut batch, wait) {
                Ok(()) if batch.is_empty() && stopping => return,
                Ok(()) if batch.is_empty() => {
                    self.processor.let_pass(true);
                    self.pulse.idle();
                    if !waits {
                        self.wait(None);
                    }
                }
                Ok(()) => self.pulse.busy((self.shared.config.clock)()),
                Err(e) => {
                    self.pulse.blocked((self.shared.config.clock)());
                    if !self.failed(&e) && stopping {
                        return;
                    }
                }
            }
            after_stop += batch.len() * usize::from(stopping);
            let mut again = false;
            for mut packet in batch.drain(..) {
                let packet_of = (self.kind, again);
                let verdict = handle(&mut self.processor, &self.shared, packet_of, &mut packet);
                again |= matches!(verdict, Verdict::Again(Wanted::Large | Wanted::Cut));
                self.answer(packet, verdict);
            }
            // No segment waits for one that is not there yet.
            self.end_train();
            self.send_outbox();
            self.flush();
            self.processor.let_pass(false);
            self.relax();
            if after_stop > QUEUE_LENGTH as usize {
                return;
            }
        }
    }

    /// Tells the kernel all verdicts.
    fn flush(&mut self) {
        self.unsaid = false;
        if let Err(e) = self.backend.flush() {
            self.failed(&e);
        }
    }

    /// Sends what waits for it.
    fn send_outbox(&mut self) {
        if let Some((packets, mark)) = self.outbox.take() {
            self.processor.send_all(&packets, mark);
        }
    }

    /// Has these packets sent behind all that went before them. Verdicts and packets of ours keep the order of the packets
    /// that they are about; what ended in the kernel has room in its socket only when that is told, after its
    /// pieces are sent.
    fn put_out(&mut self, packets: Pieces, mark: u32) {
        if self.unsaid {
            self.flush();
        }
        match &mut self.outbox {
            Some((waiting, of))
                if *of == mark
                    && waiting.octets() + packets.octets() <= SEND_AT
                    && waiting.alike(&packets) =>
            {
                waiting.append(&packets);
            }
            _ => {
                self.send_outbox();
                self.outbox = Some((packets, mark));
            }
        }
    }

    /// Has the queue give headers again when that suffices.
    fn relax(&mut self) {
        let Some(since) = self.whole else { return };
        if (self.shared.config.clock)().since(since) >= WHOLE_FOR {
            self.whole = None;
            if let Err(e) = self.backend.relax() {
                self.failed(&e);
            }
        }
    }

    /// Lets the coalesced segments go on in place of the last of them.
    fn end_train(&mut self) {
        let Some((train, packet)) = self.train.take() else { return };
        self.shared.counters.add(Counter::Coalesced, train.segments() as u64 - 1);
        let mark = self.shared.config.marked(packet.mark());
        self.send_outbox();
        self.unsaid = true;
        if let Err(e) = self.backend.replace(packet, train.finish(), Some(mark)) {
            self.failed(&e);
        }
    }

    /// Puts a restored packet to those before it, if it follows them, or begins anew with it. What is given back goes on
    /// alone. Verdicts keep the order of the packets: those of a train but the last end here.
    fn couple(&mut self, packet: B::Packet, octets: Vec<u8>) -> Option<(B::Packet, Vec<u8>)> {
        if let Some((train, last)) = &mut self.train
            && train.add(&octets)
        {
            let before = std::mem::replace(last, packet);
            if let Err(e) = self.backend.drop(before) {
                self.failed(&e);
            }
            return None;
        }
        self.end_train();
        match Train::start(octets) {
            Ok(train) => {
                self.train = Some((train, packet));
                None
            }
            Err(octets) => Some((packet, octets)),
        }
    }

    fn answer(&mut self, packet: B::Packet, verdict: Verdict) {
        let (packet, verdict) = match verdict {
            // Restored: the only ones that get our mark.
            Verdict::Replace { packet: octets, mark: true, then } if then.is_empty() => {
                let Some((packet, octets)) = self.couple(packet, octets) else { return };
                (packet, Verdict::Replace { packet: octets, mark: true, then })
            }
            other => {
                self.end_train();
                (packet, other)
            }
        };
        if let Verdict::Again(Wanted::Large | Wanted::Cut)
        | Verdict::Replace { mark: false, .. }
        | Verdict::Send(_) = verdict
        {
            self.whole = Some((self.shared.config.clock)());
        }
        if let Verdict::Accept | Verdict::Again(_) | Verdict::Replace { .. } = verdict {
            self.send_outbox();
            self.unsaid = true;
        }
        let done = match verdict {
            Verdict::Accept => self.backend.accept(packet),
            Verdict::Again(wanted) => self.backend.again(packet, wanted),
            Verdict::Drop => self.backend.drop(packet),
            Verdict::Send(packets) => {
                self.put_out(packets, self.shared.config.marked(packet.mark()));
                self.backend.drop(packet)
            }
            Verdict::Replace { packet: octets, mark, then } => {
                let mark = mark.then(|| self.shared.config.marked(packet.mark()));
                let mut done = self.backend.replace(packet, octets, mark);
                if !then.is_empty() {
                    // What is sent behind the packet, and all before it, must not overtake them.
                    self.unsaid = false;
                    done = done.and(self.backend.flush());
                    self.processor.send(then);
                }
                done
            }
        };
        if let Err(e) = done {
            self.failed(&e);
        }
    }

    /// Counts an error of the queue. True if it concerned a single packet only.
    fn failed(&self, e: &io::Error) -> bool {
        match e.raw_os_error().map(Errno::from_raw) {
            // A packet that the kernel has dropped meanwhile: its link went down.
            Some(Errno::ENOENT) => {
                self.shared.counters.count(Counter::VerdictGone);
                true
            }
            Some(Errno::EINTR | Errno::ENOBUFS) => {
                self.shared.counters.count(Counter::QueueError);
                true
            }
            _ => {
                self.shared.counters.count(Counter::QueueError);
                self.wait(Some(RETRY_MILLIS));
                false
            }
        }
    }

    /// Waits for packets (without a time limit) or for the time; in both cases for the end.
    fn wait(&self, millis: Option<u16>) {
        let mut events = vec![PollFd::new(self.stop.event.as_fd(), PollFlags::POLLIN)];
        let timeout = match millis {
            Some(millis) => PollTimeout::from(millis),
            None => {
                events.push(PollFd::new(self.backend.descriptor(), PollFlags::POLLIN));
                PollTimeout::NONE
            }
        };
        if let Err(e) = poll(&mut events, timeout)
            && e != Errno::EINTR
        {
            self.shared.counters.count(Counter::QueueError);
        }
    }
}

/// Processes one packet; `again`, if one before it comes again, which it must not overtake. Should that panic, plain
/// packets pass and those of protocol 140 do not.
fn handle<R: Routes, I: Inject>(
    processor: &mut Processor<R, I>,
    shared: &Shared,
    (kind, again): (Kind, bool),
    packet: &mut impl Queued,
) -> Verdict {
    let way = match (kind, packet.hook()) {
        (Kind::Shim6, _) => Way::Shim6,
        (Kind::Plain, HOOK_LOCAL_OUT) => Way::Out,
        (Kind::Plain, _) => Way::In,
    };
    let alone = way == Way::Out && shared.config.is_leave_alone(packet.mark());
    let work = || {
        if alone {
            return processor.leave_alone(packet.packet());
        }
        let waits = way == Way::Out && again;
        if way == Way::Out && !waits {
            packet.complete();
        }
        let whole = packet.whole() && !waits || !packet.can_come_whole();
        let large = packet.large() && !waits;
        processor
            .process(Seen { octets: packet.packet(), len: packet.full_len(), whole, large }, way)
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(verdict) => verdict,
        Err(_) => {
            log::error!("internal error while handling a packet; see the panic message above");
            let (counter, verdict) = match kind {
                Kind::Shim6 => (Counter::DropPanic, Verdict::Drop),
                Kind::Plain => (Counter::PassPanic, Verdict::Accept),
            };
            shared.counters.count(counter);
            verdict
        }
    }
}

#[cfg(test)]
mod tests;
