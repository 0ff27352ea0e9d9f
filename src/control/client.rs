//! The calling side: a blocking client that never waits longer than it is told to.

use super::api::{
    ApiError, Call, ContextSummary, DEFAULT_SOCKET, Event, EventKind, MAX_PACKET, Packet, Request,
    Response, VERSION,
};
use super::seqpacket::{SeqPacket, is_privileged_exec};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Events kept while an answer is awaited; older ones give way and are counted.
const KEPT_EVENTS: usize = 4096;

/// Where the daemon's socket is: the given path, else `SHIM6_SOCKET` (unless the program runs with more power than
/// its caller), else [`DEFAULT_SOCKET`].
pub fn socket_path(given: Option<&Path>) -> PathBuf {
    if let Some(path) = given {
        return path.to_owned();
    }
    match std::env::var_os("SHIM6_SOCKET") {
        Some(path) if !path.is_empty() && !is_privileged_exec() => path.into(),
        _ => DEFAULT_SOCKET.into(),
    }
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    socket: SeqPacket,
    path: PathBuf,
    timeout: Duration,
    last_id: u64,
    events: VecDeque<Event>,
    events_lost: u64,
    buffer: Vec<u8>,
}

/// Why a call failed.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody listens.
    NoDaemon {
        /// Where nobody listens.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The daemon took longer than allowed. The request may still be carried out.
    Timeout(Duration),
    /// The daemon has closed the connection: it was stopped, or we were too slow.
    Closed,
    /// The socket failed.
    Io(io::Error),
    /// The request is longer than [`MAX_PACKET`].
    TooLarge,
    /// What came back is not of this protocol.
    Protocol(String),
    /// The daemon refused.
    Api(ApiError),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::NoDaemon { path, source } => {
                write!(f, "no shim6d answers at {}: {source}", path.display())
            }
            ClientError::Timeout(limit) => {
                write!(f, "shim6d gave no answer within {} s", limit.as_secs_f64())
            }
            ClientError::Closed => f.write_str("shim6d has closed the connection"),
            ClientError::Io(e) => write!(f, "control socket: {e}"),
            ClientError::TooLarge => write!(f, "the request exceeds {MAX_PACKET} octets"),
            ClientError::Protocol(what) => write!(f, "answer of shim6d not understood: {what}"),
            ClientError::Api(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ClientError::NoDaemon { source, .. } | ClientError::Io(source) => Some(source),
            ClientError::Api(e) => Some(e),
            _ => None,
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(e: io::Error) -> ClientError {
        match e.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientError::Closed,
            _ => ClientError::Io(e),
        }
    }
}

impl Client {
    /// Connects. `timeout` bounds this and every later call.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Client, ClientError> {
        let socket = SeqPacket::connect(path, timeout).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => ClientError::Timeout(timeout),
            io::ErrorKind::InvalidInput => ClientError::Io(e),
            _ => ClientError::NoDaemon { path: path.to_owned(), source: e },
        })?;
        Ok(Client { path: path.to_owned(), ..Client::over(socket, timeout) })
    }

    /// A client over a socket that is already connected.
    pub fn over(socket: SeqPacket, timeout: Duration) -> Client {
        Client {
            socket,
            path: PathBuf::new(),
            timeout,
            last_id: 0,
            events: VecDeque::new(),
            events_lost: 0,
            buffer: vec![0; MAX_PACKET],
        }
    }

    /// Where the daemon was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long calls wait for their answers.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks, and waits for the answer for at most the timeout given to [`Client::connect`].
    pub fn call(&mut self, request: Request) -> Result<Response, ClientError> {
        self.call_with(request, None, self.timeout)
    }

    /// Asks, with a descriptor passed along and a timeout for this call alone.
    pub fn call_with(
        &mut self,
        request: Request,
        fd: Option<BorrowedFd<'_>>,
        timeout: Duration,
    ) -> Result<Response, ClientError> {
        let deadline = Deadline::after(Some(timeout));
        self.last_id += 1;
        let id = self.last_id;
        let call = Call { v: VERSION, id, request };
        let bytes = serde_json::to_vec(&call).map_err(|e| ClientError::Protocol(e.to_string()))?;
        if bytes.len() > MAX_PACKET {
            return Err(ClientError::TooLarge);
        }
        self.send(&bytes, fd, deadline)?;
        loop {
            match self.receive(deadline)?.ok_or(ClientError::Timeout(timeout))? {
                Packet::Event { event, .. } => self.keep(event),
                Packet::Response { id: of, response, .. } if of == id => return Ok(response),
                Packet::Error { id: Some(of), error, .. } if of == id => {
                    return Err(ClientError::Api(error));
                }
                // The daemon could not even read the number, or it sends us away.
                Packet::Error { id: None, error, .. } => return Err(ClientError::Api(error)),
                // Late answers to calls that have timed out.
                Packet::Response { .. } | Packet::Error { .. } => {}
            }
        }
    }

    /// All contexts, over as many pages as it takes. The timeout holds for each page.
    pub fn contexts(&mut self) -> Result<Vec<ContextSummary>, ClientError> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let request = Request::ContextList { after, limit: None };
            let (contexts, next) = match self.call(request)? {
                Response::Contexts { contexts, next } => (contexts, next),
                other => return Err(unexpected(&other)),
            };
            all.extend(contexts);
            match next {
                // A page that does not lead on would be asked for again and again.
                Some(next) if after.is_none_or(|after| next > after) => after = Some(next),
                _ => return Ok(all),
            }
        }
    }

    /// The next event of a subscription; `None` when `timeout` is over (`None`: wait for ever).
    pub fn next_event(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, ClientError> {
        let deadline = Deadline::after(timeout);
        loop {
            if self.events_lost > 0 {
                let count = std::mem::take(&mut self.events_lost);
                let first = self.events.front();
                return Ok(Some(Event {
                    seq: first.map_or(0, |e| e.seq),
                    at_ms: first.map_or(0, |e| e.at_ms),
                    context: None,
                    kind: EventKind::EventsLost { count },
                }));
            }
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            match self.receive(deadline)? {
                None => return Ok(None),
                Some(Packet::Event { event, .. }) => return Ok(Some(event)),
                Some(Packet::Error { id: None, error, .. }) => return Err(ClientError::Api(error)),
                Some(Packet::Response { .. } | Packet::Error { .. }) => {}
            }
        }
    }

    /// Events as they come; ends when the daemon closes the connection.
    pub fn events(&mut self) -> impl Iterator<Item = Result<Event, ClientError>> {
        let mut ended = false;
        std::iter::from_fn(move || {
            if ended {
                return None;
            }
            match self.next_event(None) {
                Ok(event) => event.map(Ok),
                Err(ClientError::Closed) => None,
                Err(e) => {
                    ended = true;
                    Some(Err(e))
                }
            }
        })
    }

    fn keep(&mut self, event: Event) {
        if self.events.len() == KEPT_EVENTS {
            self.events.pop_front();
            self.events_lost += 1;
        }
        self.events.push_back(event);
    }

    fn send(
        &self,
        bytes: &[u8],
        fd: Option<BorrowedFd<'_>>,
        deadline: Deadline,
    ) -> Result<(), ClientError> {
        loop {
            match self.socket.send(bytes, fd) {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if !deadline.wait(&self.socket, true)? {
                        return Err(ClientError::Timeout(self.timeout));
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// The next packet, or `None` when the deadline has passed.
    fn receive(&mut self, deadline: Deadline) -> Result<Option<Packet>, ClientError> {
        loop {
            match self.socket.recv(&mut self.buffer) {
                Ok(got) if got.len == 0 => return Err(ClientError::Closed),
                Ok(got) if got.truncated => {
                    return Err(ClientError::Protocol("a packet longer than allowed".into()));
                }
                Ok(got) => {
                    let bytes = self.buffer.get(..got.len).unwrap_or_default();
                    return serde_json::from_slice(bytes)
                        .map(Some)
                        .map_err(|e| ClientError::Protocol(e.to_string()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if !deadline.wait(&self.socket, false)? {
                        return Ok(None);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl AsFd for Client {
    /// Readable when an event or an answer waits in the socket. Events that came in during a call are kept in the
    /// client: empty it with `next_event(Some(Duration::ZERO))` before waiting on the descriptor.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// An answer of the wrong kind.
pub fn unexpected(response: &Response) -> ClientError {
    let text = serde_json::to_value(response).ok();
    let kind = text.as_ref().and_then(|v| v.get("type")?.as_str()).unwrap_or("?");
    ClientError::Protocol(format!("unexpected answer `{kind}`"))
}

/// A point in time that no wait goes beyond.
#[derive(Clone, Copy)]
struct Deadline(Option<Instant>);

impl Deadline {
    fn after(timeout: Option<Duration>) -> Deadline {
        Deadline(timeout.and_then(|t| now().checked_add(t)))
    }

    /// Waits for the socket; false when time is up.
    fn wait(self, socket: &SeqPacket, write: bool) -> io::Result<bool> {
        let left = self.0.map(|end| end.saturating_duration_since(now()));
        match socket.wait(write, left) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(left != Some(Duration::ZERO)),
            other => other,
        }
    }
}

/// The client lives in other programs, outside the daemon and its clock.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}
