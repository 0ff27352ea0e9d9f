//! One connection: reads packets, has them answered, passes on events.

use super::closing::{Closers, Handed, Owner, Passed};
use super::limits::{Clients, ServerCounters, Slot};
use super::link::{Caller, Events, Peer};
use super::watch::watch;
use crate::addr::{Fii, Ulid};
use crate::control::api::{
    ApiError, Call, ContextId, ErrorCode, Event, EventKind, MAX_PACKET, Packet, Request, Response,
    VERSION,
};
use crate::control::nearest::nearest;
use crate::control::seqpacket::SeqPacket;
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinSet;

/// Further events that a subscriber which has lost some is spared, to get ahead of the sender again.
const LAG_SKIP: usize = 512;
/// Times in a row that a subscriber may have lost events before it is sent away.
const LAG_STRIKES: u32 = 8;

/// An answer on its way out.
struct Answer {
    id: u64,
    result: Result<Response, ApiError>,
    /// Begins with this answer.
    subscription: Option<Subscription>,
}

pub(super) struct Connection {
    socket: AsyncFd<Handed<SeqPacket>>,
    peer: Peer,
    slot: Slot,
    caller: Caller,
    closers: Arc<Closers>,
    counters: Arc<ServerCounters>,
    subscription: Option<Subscription>,
    in_flight: JoinSet<Answer>,
    strikes: u32,
}

struct Subscription {
    events: Events,
    filter: Filter,
}

/// Which events a subscriber has asked for.
struct Filter {
    /// Empty: all that are not verbose.
    names: Vec<&'static str>,
    scope: Scope,
}

/// Whose events a subscriber gets.
enum Scope {
    /// Everybody's.
    All,
    /// Those of one context.
    Context(ContextId),
    /// Those of the next context between two ULIDs; turns into `Context` with its first event.
    Next(Ulid, Ulid),
}

impl Filter {
    fn wants(&mut self, event: &Event) -> bool {
        if let Scope::Next(local, peer) = self.scope
            && let EventKind::ContextEstablished { ulid_local, ulid_peer, fii: Fii::DEFAULT } =
                event.kind
            && (ulid_local, ulid_peer) == (local, peer)
            && let Some(id) = event.context
        {
            self.scope = Scope::Context(id);
        }
        let named = match self.names.as_slice() {
            [] => !event.kind.is_verbose(),
            names => names.contains(&event.kind.name()),
        };
        let concerned = match self.scope {
            Scope::All => true,
            Scope::Context(wanted) => event.context == Some(wanted),
            Scope::Next(local, peer) => matches!(
                event.kind,
                EventKind::EstablishFailed { ulid_local, ulid_peer, .. }
                    if (ulid_local, ulid_peer) == (local, peer)
            ),
        };
        named && concerned
    }
}

/// Why a connection ends.
enum End {
    /// The client has left or the socket failed.
    Left,
    /// The client does not read.
    Slow,
    /// What its user has passed is not closed.
    Clogged,
    /// The daemon stops.
    Stopping,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Left
    }
}

impl Connection {
    pub(super) fn new(
        socket: Handed<SeqPacket>,
        peer: Peer,
        slot: Slot,
        caller: Caller,
        closers: Arc<Closers>,
        counters: Arc<ServerCounters>,
    ) -> io::Result<Connection> {
        Ok(Connection {
            socket: watch(socket)?,
            peer,
            slot,
            caller,
            closers,
            counters,
            subscription: None,
            in_flight: JoinSet::new(),
            strikes: 0,
        })
    }

    /// Serves the client until it leaves, is sent away, or the daemon stops.
    pub(super) async fn run(mut self) {
        let mut buffer = vec![0; MAX_PACKET];
        loop {
            match self.step(&mut buffer).await {
                Ok(()) => {}
                Err(End::Left) => return,
                Err(End::Slow) => {
                    self.counters.slow.fetch_add(1, Ordering::Relaxed);
                    let Peer { pid, uid, .. } = self.peer;
                    let what = format_args!("pid {pid} uid {uid} does not read, connection closed");
                    self.slot.complain(&what);
                    return;
                }
                Err(End::Clogged) => {
                    self.counters.slow.fetch_add(1, Ordering::Relaxed);
                    let text = "too many passed descriptors of this user are slow to close";
                    let Peer { pid, uid, .. } = self.peer;
                    self.slot.complain(&format_args!("pid {pid} uid {uid}: {text}"));
                    let _ = self.answer(None, Err(ApiError::new(ErrorCode::Busy, text))).await;
                    return;
                }
                Err(End::Stopping) => return self.farewell().await,
            }
        }
    }

    /// Waits for the first thing to do, and does it.
    async fn step(&mut self, buffer: &mut [u8]) -> Result<(), End> {
        let may_read = self.in_flight.len() < self.slot.limits().in_flight;
        let received = tokio::select! {
            // Answers first: what a client has been promised comes before what it asks next.
            biased;
            Some(answer) = self.in_flight.join_next(), if !self.in_flight.is_empty() => {
                return match answer {
                    Ok(Answer { id, result, subscription }) => {
                        if subscription.is_some() {
                            self.subscription = subscription;
                        }
                        self.answer(Some(id), result).await
                    }
                    Err(e) => {
                        log::error!("control: a request failed: {e}");
                        Ok(())
                    }
                };
            }
            () = self.caller.closed() => return Err(End::Stopping),
            event = next_event(&mut self.subscription) => return self.pass_on(event).await,
            received = receive(&self.socket, &self.slot, &self.closers, (&self.peer).into(), buffer),
                if may_read => received?,
        };
        if received.len == 0 && !received.truncated {
            return Err(End::Left);
        }
        self.slot.take();
        let bytes = buffer.get(..received.len).unwrap_or_default();
        self.on_packet(bytes, received).await
    }

    async fn on_packet(&mut self, bytes: &[u8], received: Received) -> Result<(), End> {
        let Received { truncated, descriptors_lost, mut fds, .. } = received;
        let fd = if fds.len() == 1 && !descriptors_lost && !truncated { fds.pop() } else { None };
        let refusal = if truncated {
            Some(ApiError::new(ErrorCode::TooLarge, format!("over {MAX_PACKET} octets")))
        } else if descriptors_lost || !fds.is_empty() {
            Some(ApiError::new(ErrorCode::BadRequest, "more than one descriptor in a packet"))
        } else {
            None
        };
        drop(fds);
        if let Some(error) = refusal {
            self.counters.invalid.fetch_add(1, Ordering::Relaxed);
            return self.answer(None, Err(error)).await;
        }
        let (id, request) = match parse(bytes) {
            Ok(call) => (call.id, call.request),
            Err((id, error)) => {
                self.counters.invalid.fetch_add(1, Ordering::Relaxed);
                return self.answer(id, Err(error)).await;
            }
        };
        if request.needs_privilege() && !self.peer.privileged {
            self.counters.denied.fetch_add(1, Ordering::Relaxed);
            let Peer { pid, uid, .. } = self.peer;
            let name = request.name();
            self.slot.complain(&format_args!("{name} denied to pid {pid} uid {uid}"));
            let error = ApiError::new(
                ErrorCode::PermissionDenied,
                format!("permission denied: {} needs root or the control group", request.name()),
            )
            .remedy("use sudo, or join the group that `[control] group` names (default: shim6)");
            return self.answer(Some(id), Err(error)).await;
        }
        let fd = match (request.needs_descriptor(), fd) {
            (true, None) => {
                self.counters.invalid.fetch_add(1, Ordering::Relaxed);
                let text = format!("{} needs the descriptor of a socket", request.name());
                let error = ApiError::new(ErrorCode::BadRequest, text)
                    .remedy("pass it along with the packet (SCM_RIGHTS)");
                return self.answer(Some(id), Err(error)).await;
            }
            (true, fd) => fd,
            // Superfluous.
            (false, _) => None,
        };
        match request {
            Request::Hello {} => {
                let hello = Response::Hello {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    protocol: VERSION,
                    privileged: self.peer.privileged,
                };
                self.answer(Some(id), Ok(hello)).await
            }
            Request::Subscribe { events, context } => {
                let result = names_of(&events).map(|names| {
                    let scope = context.map_or(Scope::All, Scope::Context);
                    let filter = Filter { names, scope };
                    let events = self.caller.subscribe();
                    self.subscription = Some(Subscription { events, filter });
                    Response::Done {}
                });
                self.answer(Some(id), result).await
            }
            Request::Unsubscribe {} => {
                self.subscription = None;
                self.answer(Some(id), Ok(Response::Done {})).await
            }
            Request::SocketSubscribe { events } => match names_of(&events) {
                Ok(names) => {
                    // Listens before it asks, so that no event falls between the two.
                    let (listening, caller) = (self.caller.subscribe(), self.caller.clone());
                    let (peer, counters) = (self.peer, self.counters.clone());
                    let clients = self.slot.clients();
                    self.in_flight.spawn(async move {
                        let status = Request::SocketStatus {};
                        let asked = ask(&caller, peer, status, fd, &counters, &clients).await;
                        match asked.and_then(|r| scope_of(&r).map(|scope| (r, scope))) {
                            Ok((response, scope)) => {
                                let filter = Filter { names, scope };
                                let subscription = Some(Subscription { events: listening, filter });
                                Answer { id, result: Ok(response), subscription }
                            }
                            Err(error) => Answer { id, result: Err(error), subscription: None },
                        }
                    });
                    Ok(())
                }
                Err(error) => self.answer(Some(id), Err(error)).await,
            },
            request => {
                let (caller, peer) = (self.caller.clone(), self.peer);
                let (counters, clients) = (self.counters.clone(), self.slot.clients());
                self.in_flight.spawn(async move {
                    let result = ask(&caller, peer, request, fd, &counters, &clients).await;
                    Answer { id, result, subscription: None }
                });
                Ok(())
            }
        }
    }

    async fn answer(
        &mut self,
        id: Option<u64>,
        result: Result<Response, ApiError>,
    ) -> Result<(), End> {
        // Room for the envelope.
        let result = result.and_then(|response| {
            response.fit(MAX_PACKET - 128).ok_or_else(|| {
                ApiError::new(ErrorCode::Internal, "the answer does not fit in a packet")
            })
        });
        let packet = match (id, result) {
            (Some(id), Ok(response)) => Packet::Response { v: VERSION, id, response },
            (None, Ok(_)) => return Ok(()),
            (id, Err(error)) => Packet::Error { v: VERSION, id, error },
        };
        self.write(&packet).await
    }

    async fn pass_on(&mut self, event: Result<Event, RecvError>) -> Result<(), End> {
        let event = match event {
            Ok(event) => {
                self.strikes = 0;
                event
            }
            Err(RecvError::Closed) => return Err(End::Stopping),
            Err(RecvError::Lagged(count)) => {
                let count = count + self.skip_ahead();
                self.counters.events_lost.fetch_add(count, Ordering::Relaxed);
                self.strikes += 1;
                if self.strikes > LAG_STRIKES {
                    return Err(End::Slow);
                }
                Event { seq: 0, at_ms: 0, context: None, kind: EventKind::EventsLost { count } }
            }
        };
        self.write(&Packet::Event { v: VERSION, event }).await
    }

    /// Gives up some more of the oldest events, and says how many: at the very end of the buffer a subscriber would
    /// lose the next event again with every new one, however fast it reads.
    fn skip_ahead(&mut self) -> u64 {
        let Some(subscription) = &mut self.subscription else { return 0 };
        let mut skipped = 0;
        for _ in 0..LAG_SKIP {
            match subscription.events.try_recv() {
                Ok(_) => skipped += 1,
                Err(TryRecvError::Lagged(more)) => skipped += more,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        skipped
    }

    /// Passes on the events that were sent before the end.
    async fn farewell(mut self) {
        while let Some(answer) = self.in_flight.join_next().await {
            if let Ok(Answer { id, result, .. }) = answer
                && self.answer(Some(id), result).await.is_err()
            {
                return;
            }
        }
        let Some(mut subscription) = self.subscription.take() else { return };
        loop {
            match subscription.events.try_recv() {
                Ok(event) if subscription.filter.wants(&event) => {
                    if self.write(&Packet::Event { v: VERSION, event }).await.is_err() {
                        return;
                    }
                }
                Ok(_) | Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    async fn write(&self, packet: &Packet) -> Result<(), End> {
        let bytes = serde_json::to_vec(packet).map_err(|e| {
            log::error!("control: packet not written: {e}");
            End::Left
        })?;
        let write = self.socket.async_io(Interest::WRITABLE, |socket| socket.send(&bytes, None));
        match tokio::time::timeout(self.slot.limits().stall, write).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(End::Slow),
        }
    }
}

/// The names of events that a subscriber has asked for.
fn names_of(wanted: &[String]) -> Result<Vec<&'static str>, ApiError> {
    let mut names = Vec::new();
    for word in wanted {
        match EventKind::NAMES.into_iter().find(|name| name == word) {
            Some(name) if names.contains(&name) => {}
            Some(name) => names.push(name),
            None => {
                let error = ApiError::new(
                    ErrorCode::InvalidArgument,
                    format!("there is no event `{}`", shortened(word)),
                );
                return Err(match nearest(word, EventKind::NAMES) {
                    Some(name) => error.remedy(format!("did you mean `{name}`?")),
                    None => error.remedy(format!("events are {}", EventKind::NAMES.join(", "))),
                });
            }
        }
    }
    Ok(names)
}

/// Whose events the holder of a socket gets, from the answer about that socket.
fn scope_of(response: &Response) -> Result<Scope, ApiError> {
    match response {
        Response::Socket { socket } => match (&socket.context, socket.peer) {
            (Some(context), _) => Ok(Scope::Context(context.id)),
            (None, Some(peer)) => Ok(Scope::Next(socket.local, peer)),
            (None, None) => {
                Err(ApiError::new(ErrorCode::NotConnected, "the socket is not connected"))
            }
        },
        _ => Err(ApiError::new(ErrorCode::Internal, "not an answer about a socket")),
    }
}

/// Lets the driver answer. What it denies is logged and counted like what is denied here.
async fn ask(
    caller: &Caller,
    peer: Peer,
    request: Request,
    fd: Option<Passed>,
    counters: &ServerCounters,
    clients: &Clients,
) -> Result<Response, ApiError> {
    let name = request.name();
    let result = caller.call(peer, request, fd).await;
    if let Err(ApiError { code: ErrorCode::PermissionDenied, message, .. }) = &result {
        counters.denied.fetch_add(1, Ordering::Relaxed);
        let Peer { pid, uid, .. } = peer;
        clients.complain(uid, &format_args!("{name} denied to pid {pid} uid {uid}: {message}"));
    }
    result
}

/// The next event that the subscriber wants; never, without a subscription. Cancel safe.
async fn next_event(subscription: &mut Option<Subscription>) -> Result<Event, RecvError> {
    let Some(Subscription { events, filter }) = subscription else {
        return std::future::pending().await;
    };
    loop {
        match events.recv().await {
            Ok(event) if !filter.wants(&event) => {}
            other => return other,
        }
    }
}

/// A packet as it arrived.
struct Received {
    /// Octets; 0 means that the client has left, or has sent an empty packet, which is as good.
    len: usize,
    truncated: bool,
    descriptors_lost: bool,
    fds: Vec<Passed>,
}

/// The next packet, once the user may send one and there is room for what it may bring. Cancel safe.
async fn receive(
    socket: &AsyncFd<Handed<SeqPacket>>,
    slot: &Slot,
    closers: &Arc<Closers>,
    owner: Owner,
    buffer: &mut [u8],
) -> Result<Received, End> {
    loop {
        let mut ready = socket.readable().await?;
        slot.ready().await;
        if !closers.has_room(owner) {
            let room = tokio::time::timeout(slot.limits().stall, closers.room(owner));
            room.await.map_err(|_| End::Clogged)?;
        }
        let received = ready.try_io(|socket| {
            let received = socket.get_ref().recv(buffer)?;
            let fds = received.fds.into_iter().map(|fd| closers.passed(owner, fd)).collect();
            let (len, truncated) = (received.len, received.truncated);
            Ok(Received { len, truncated, descriptors_lost: received.descriptors_lost, fds })
        });
        // Nothing was there after all, unless there is a result.
        if let Ok(received) = received {
            return Ok(received?);
        }
    }
}

/// Reads an envelope, step by step, so that what is wrong can be named and the answer carries the caller's number
/// whenever that could be read.
fn parse(bytes: &[u8]) -> Result<Call, (Option<u64>, ApiError)> {
    let bad = |text: String| ApiError::new(ErrorCode::BadRequest, text);
    let value: Value = serde_json::from_slice(bytes).map_err(|e| {
        (
            None,
            bad(format!("not JSON: {e}"))
                .remedy("one packet is one JSON object, see docs/control-protocol.md"),
        )
    })?;
    let id = value.get("id").and_then(Value::as_u64);
    let fail = |error| Err((id, error));
    match value.get("v").and_then(Value::as_u64) {
        Some(v) if v == u64::from(VERSION) => {}
        Some(v) => {
            let text = format!("protocol version {v} is not spoken here");
            let error = ApiError::new(ErrorCode::UnsupportedVersion, text);
            return fail(error.remedy(format!("use version {VERSION}")));
        }
        None => return fail(bad(format!("`v` is missing: \"v\":{VERSION}"))),
    }
    let kind = value.pointer("/request/type").and_then(Value::as_str);
    if let Some(kind) = kind
        && !Request::NAMES.contains(&kind)
    {
        let text = format!("there is no request `{}`", shortened(kind));
        let error = ApiError::new(ErrorCode::UnknownRequest, text);
        return fail(match nearest(kind, Request::NAMES) {
            Some(name) => error.remedy(format!("did you mean `{name}`?")),
            None => error.remedy(format!("requests are {}", Request::NAMES.join(", "))),
        });
    }
    serde_json::from_value(value).map_err(|e| (id, bad(shortened(&e.to_string()))))
}

/// The beginning of a text that a caller has chosen, so that messages stay short.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
