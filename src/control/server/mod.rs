//! The daemon's side of the control socket.
//!
//! [`link()`] makes the pair that joins server and driver: the server sends [`Incoming`] calls through a bounded
//! channel, the driver answers each once and spreads events with [`EventSender`]. Either end works without a
//! socket, so tests drive the driver through [`Caller`] directly.
//!
//! [`Server`] listens, finds out who connects, and runs one task per connection. What one client can take is
//! bounded by [`Limits`]: a client above its rate, or with too many requests in flight, is simply not read from for
//! a while, one that does not read its answers is sent away, and connections are counted per user. Whatever a client
//! has passed is closed by other threads, as are the connections: that may take as long as the client likes.

mod closing;
mod connection;
mod limits;
mod link;
#[cfg(test)]
mod tests;
mod ticks;
mod watch;

pub use closing::{Handed, Passed};
pub use limits::{Limits, ServerCounters};
pub use link::{Caller, Driver, EventSender, Events, Incoming, Peer, Reply, link};

use super::api::{ApiError, ErrorCode, Packet, VERSION};
use super::seqpacket::{Listener, SeqPacket};
use closing::{Closers, Owner};
use connection::Connection;
use limits::{Clients, Refusal};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;
use watch::watch;

/// How long connections may take to pass on the last events when the daemon stops.
const FAREWELL: Duration = Duration::from_millis(200);

/// Listens on the control socket. Dropping it removes the socket's file.
#[derive(Debug)]
pub struct Server {
    listener: AsyncFd<Handed<Listener>>,
    path: PathBuf,
    /// Device and inode of the file we made, so that only that one is removed.
    file: (u64, u64),
    access: Arc<Access>,
    limits: Limits,
    counters: Arc<ServerCounters>,
    closers: Arc<Closers>,
}

/// Who is privileged. The group can be changed while the server runs.
#[derive(Debug)]
pub struct Access {
    /// Members may do everything; -1 if there is no such group.
    group: AtomicI64,
}

impl Access {
    /// Root and members of the group with this name.
    pub fn new(group: &str) -> Access {
        let access = Access { group: AtomicI64::new(-1) };
        access.set_group(group);
        access
    }

    /// Takes another group for connections to come. An empty name means root alone; so does, with a warning, a
    /// group that does not exist.
    pub fn set_group(&self, name: &str) {
        let gid = match name {
            "" => None,
            name => match nix::unistd::Group::from_name(name) {
                Ok(Some(group)) => Some(group.gid.as_raw()),
                Ok(None) => {
                    log::info!("control: there is no group {name}, only root has access");
                    None
                }
                Err(e) => {
                    log::warn!("control: group {name} not found ({e}), only root has access");
                    None
                }
            },
        };
        self.group.store(gid.map_or(-1, i64::from), Ordering::Relaxed);
    }

    /// Who is at the other end, and whether that is enough.
    fn peer(&self, socket: &SeqPacket) -> io::Result<Peer> {
        let cred = socket.credentials()?;
        let group = u32::try_from(self.group.load(Ordering::Relaxed)).ok();
        let member = |gid| cred.gid == gid || socket.groups().is_ok_and(|all| all.contains(&gid));
        let privileged = cred.uid == 0 || group.is_some_and(member);
        Ok(Peer { pid: cred.pid, uid: cred.uid, gid: cred.gid, privileged })
    }
}

impl Server {
    /// Binds the socket. A file left behind by a daemon that is gone is replaced; if somebody answers there, or if
    /// the file is no socket, this fails. Everybody may connect, what they may ask is decided per request.
    pub fn bind(path: &Path, access: Arc<Access>, limits: Limits) -> io::Result<Server> {
        let listener = match Listener::bind(path) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path)?;
                Listener::bind(path)?
            }
            other => other?,
        };
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        let meta = fs::symlink_metadata(path)?;
        let closers = Closers::new(limits.descriptors);
        Ok(Server {
            listener: watch(closers.end(Owner::DAEMON, listener))?,
            path: path.to_owned(),
            file: (meta.dev(), meta.ino()),
            access,
            limits,
            counters: Arc::default(),
            closers,
        })
    }

    /// What the server has counted: refused connections, denied requests, slow readers.
    pub fn counters(&self) -> Arc<ServerCounters> {
        self.counters.clone()
    }

    /// Serves until the driver's end of the link is dropped, then lets connections read the last events.
    pub async fn run(&self, caller: Caller) {
        let clients = Clients::new(self.limits.clone());
        let mut tasks = JoinSet::new();
        loop {
            let socket = tokio::select! {
                () = caller.closed() => break,
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                    if let Err(e) = ended {
                        log::error!("control: a connection failed: {e}");
                    }
                    continue;
                }
                socket = self.accept() => socket,
            };
            match self.admit(socket, &clients, &caller) {
                Ok(connection) => drop(tasks.spawn(connection.run())),
                Err(e) => log::trace!("control: connection refused: {e}"),
            }
        }
        let farewell = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            log::debug!("control: some connections did not read their last events");
        }
    }

    /// The next connection. From here on nothing of it is closed in this thread: it may already hold packets with
    /// descriptors.
    async fn accept(&self) -> Handed<SeqPacket> {
        loop {
            self.closers.room_for_ends().await;
            let read = tokio::io::Interest::READABLE;
            match self.listener.async_io(read, |listener| listener.accept()).await {
                Ok(socket) => return self.closers.end(Owner::UNKNOWN, socket),
                Err(e) => {
                    // Mostly a lack of descriptors or memory, which would fail at once again.
                    log::warn!("control: accept: {e}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn admit(
        &self,
        mut socket: Handed<SeqPacket>,
        clients: &Arc<Clients>,
        caller: &Caller,
    ) -> io::Result<Connection> {
        let peer = self.access.peer(&socket)?;
        socket.belongs_to(Owner::from(&peer));
        let slot = match clients.admit(peer.uid, peer.privileged) {
            Ok(slot) => slot,
            Err(refusal) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                // Who comes too fast is not worth an answer.
                if refusal == Refusal::TooMany {
                    let Peer { pid, uid, .. } = peer;
                    let text = format_args!("too many connections, pid {pid} uid {uid} refused");
                    clients.complain(uid, &text);
                    let error = ApiError::new(ErrorCode::Busy, "too many connections")
                        .remedy("close some, or try again later");
                    let packet = Packet::Error { v: VERSION, id: None, error };
                    if let Ok(bytes) = serde_json::to_vec(&packet) {
                        socket.send(&bytes, None)?;
                    }
                }
                return Err(io::Error::other("too many connections"));
            }
        };
        let (closers, counters) = (self.closers.clone(), self.counters.clone());
        Connection::new(socket, peer, slot, caller.clone(), closers, counters)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == self.file);
        if ours && let Err(e) = fs::remove_file(&self.path) {
            log::warn!("control: {} not removed: {e}", self.path.display());
        }
    }
}

/// Removes the socket of a daemon that is gone.
fn remove_stale(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        let text = format!("{} exists and is no socket", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match SeqPacket::connect(path, Duration::from_millis(500)) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => {
            let text = format!("another daemon listens on {}", path.display());
            Err(io::Error::new(io::ErrorKind::AddrInUse, text))
        }
    }
}
