//! What joins the server and the driver.

use super::closing::Passed;
use crate::control::api::{ApiError, ContextId, ErrorCode, Event, EventKind, Request, Response};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{broadcast, mpsc, oneshot};

/// Calls that wait for the driver, of all clients together.
const CALLS: usize = 64;

/// Events kept for subscribers that have not read them yet, shared by all of them.
const EVENTS: usize = 1024;

/// Who calls, as the kernel says (`SO_PEERCRED`, `SO_PEERGROUPS`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Process that opened the connection.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// Whether it is root or a member of the control group.
    pub privileged: bool,
}

/// One request on its way to the driver. [`Request::Hello`], subscriptions and everything that the caller may not
/// ask are dealt with by the server and never come here.
#[derive(Debug)]
pub struct Incoming {
    /// Who asks.
    pub peer: Peer,
    /// What.
    pub request: Request,
    /// A descriptor passed along, not yet looked at.
    pub fd: Option<Passed>,
    /// To be answered once.
    pub reply: Reply,
}

/// The right to answer one request. Dropping it unanswered tells the caller that the daemon failed.
#[derive(Debug)]
pub struct Reply(oneshot::Sender<Result<Response, ApiError>>);

impl Reply {
    /// Answers. A caller that has left in the meantime is no error.
    pub fn send(self, result: Result<Response, ApiError>) {
        if self.0.send(result).is_err() {
            log::debug!("control: the caller has left before its answer");
        }
    }

    /// Whether the caller has left, so that nobody waits for the answer.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// The driver's end.
#[derive(Debug)]
pub struct Driver {
    /// Requests to answer; `recv` is cancel safe, so it fits in a `select!`. Gives `None` when the server is gone.
    pub calls: mpsc::Receiver<Incoming>,
    /// Where to put events.
    pub events: EventSender,
}

/// The server's end, one per connection.
#[derive(Clone, Debug)]
pub struct Caller {
    calls: mpsc::Sender<Incoming>,
    events: EventSender,
}

/// Joins a server and a driver.
pub fn link() -> (Caller, Driver) {
    let (calls, incoming) = mpsc::channel(CALLS);
    let (sender, _) = broadcast::channel(EVENTS);
    let events = EventSender { sender, seq: Arc::new(AtomicU64::new(0)) };
    (Caller { calls, events: events.clone() }, Driver { calls: incoming, events })
}

impl Caller {
    /// Hands a request to the driver and waits for its answer. Waits also while the driver has many others
    /// before it, so that a burst slows its senders down and nobody else.
    pub async fn call(
        &self,
        peer: Peer,
        request: Request,
        fd: Option<Passed>,
    ) -> Result<Response, ApiError> {
        let (reply, answer) = oneshot::channel();
        let incoming = Incoming { peer, request, fd, reply: Reply(reply) };
        if self.calls.send(incoming).await.is_err() {
            return Err(ApiError::stopping());
        }
        answer.await.unwrap_or_else(|_| {
            // The driver does not live to answer what waits for it when it ends.
            if self.calls.is_closed() {
                return Err(ApiError::stopping());
            }
            Err(ApiError::new(ErrorCode::Internal, "the daemon gave no answer")
                .remedy("its log says more"))
        })
    }

    /// Waits until the driver's end is gone.
    pub async fn closed(&self) {
        self.calls.closed().await;
    }

    /// The stream of events from now on.
    pub fn subscribe(&self) -> Events {
        self.events.sender.subscribe()
    }
}

/// Events of one subscriber: `recv` gives `Lagged(n)` when it was too slow and `n` events are lost to it.
pub type Events = broadcast::Receiver<Event>;

/// Spreads events to all subscribers; never waits.
#[derive(Clone, Debug)]
pub struct EventSender {
    sender: broadcast::Sender<Event>,
    seq: Arc<AtomicU64>,
}

impl EventSender {
    // req: S6-15.1-01
    /// Tells all subscribers. `at_ms` is CLOCK_BOOTTIME in milliseconds.
    pub fn send(&self, at_ms: u64, context: Option<ContextId>, kind: EventKind) {
        let seq = self.seq.fetch_add(1, Ordering::Relaxed);
        // An error only says that nobody listens.
        let _ = self.sender.send(Event { seq, at_ms, context, kind });
    }

    /// Whether anybody listens, to spare the making of verbose events.
    pub fn has_listeners(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Events sent so far.
    pub fn count(&self) -> u64 {
        self.seq.load(Ordering::Relaxed)
    }
}
