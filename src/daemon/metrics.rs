//! The metrics listener: answers `GET /metrics` with what `status` and `stats` say, and nothing else.
//!
//! Off unless configured. It reads at most one small request per connection, for at most a few seconds, on at most a few
//! connections at a time, and asks the driver as any client of the control socket does: whoever scrapes too often waits.

use crate::control::api::{ApiError, ErrorCode, Request, Response};
use crate::control::prometheus;
use crate::control::server::{Caller, Peer};
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

/// Connections at a time; others wait in the kernel's queue.
const CONNECTIONS: usize = 8;
/// Octets of a request.
const REQUEST: usize = 4096;
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        if text.starts_with('/') {
            return Ok(Listen::Unix(text.into()));
        }
        text.parse().map(Listen::Tcp).map_err(|_| {
            format!(
                "`{text}`: an address with a port, as [::1]:9633, or an absolute path is wanted"
            )
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(addr) => addr.fmt(f),
            Listen::Unix(path) => path.display().fmt(f),
        }
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// A listener that answers nobody yet. Dropping it removes the file of a Unix socket.
#[derive(Debug)]
pub struct Metrics(Socket);

impl Metrics {
    /// Listens. A Unix socket that an earlier daemon has left is replaced.
    ///
    /// # Errors
    /// Those of the kernel, and a file in the way that is no socket or that somebody listens on.
    pub fn bind(at: &Listen) -> io::Result<Metrics> {
        let socket = match at {
            Listen::Tcp(addr) => {
                let listener = std::net::TcpListener::bind(addr)?;
                listener.set_nonblocking(true)?;
                Socket::Tcp(TcpListener::from_std(listener)?)
            }
            Listen::Unix(path) => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
                Socket::Unix(listener, path.clone())
            }
        };
        Ok(Metrics(socket))
    }

    /// Answers until the driver's end of the link is gone.
    pub async fn run(self, caller: Caller) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = room.clone().acquire_owned().await else { return };
            let caller = caller.clone();
            let accepted = tokio::select! {
                () = caller.closed() => return,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok(stream) => drop(tokio::task::spawn(async move {
                    let served = tokio::time::timeout(PATIENCE, serve(stream, &caller)).await;
                    if !matches!(served, Ok(Ok(()))) {
                        log::debug!("metrics: a connection came to no good end");
                    }
                    drop(place);
                })),
                Err(e) => {
                    log::warn!("metrics: accept: {e}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.0 {
            Socket::Tcp(listener) => Box::new(listener.accept().await?.0),
            Socket::Unix(listener, _) => Box::new(listener.accept().await?.0),
        })
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        if let Socket::Unix(_, path) = &self.0 {
            // It may be gone already.
            let _ = fs::remove_file(path);
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(meta) if !meta.file_type().is_socket() => {
            let text = format!("{} exists and is no socket", path.display());
            Err(io::Error::new(io::ErrorKind::AlreadyExists, text))
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there")),
        },
    }
}

async fn serve(mut stream: Box<dyn Stream>, caller: &Caller) -> io::Result<()> {
    let mut request = Vec::with_capacity(512);
    let mut chunk = [0; 512];
    while !request.windows(4).any(|w| w == b"\r\n\r\n") && request.len() < REQUEST {
        match stream.read(&mut chunk).await? {
            0 => break,
            n => request.extend_from_slice(chunk.get(..n).unwrap_or_default()),
        }
    }
    let line = request.split(|&o| o == b'\r' || o == b'\n').next().unwrap_or_default();
    let (status, body) = answer(&String::from_utf8_lossy(line), caller).await;
    let head = format!(
        "HTTP/1.0 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if !line.starts_with(b"HEAD ") {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

/// Status line and body for the first line of a request.
async fn answer(line: &str, caller: &Caller) -> (&'static str, String) {
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !words.next().is_some_and(|version| version.starts_with("HTTP/")) {
        return ("400 Bad Request", "this is HTTP: GET /metrics\n".to_owned());
    }
    if !matches!(method, "GET" | "HEAD") {
        return ("405 Method Not Allowed", "only GET and HEAD are answered\n".to_owned());
    }
    if target.split('?').next() != Some("/metrics") {
        return ("404 Not Found", "it is at /metrics\n".to_owned());
    }
    match ask(caller).await {
        Ok(text) => ("200 OK", text),
        Err(e) => ("503 Service Unavailable", format!("{e}\n")),
    }
}

async fn ask(caller: &Caller) -> Result<String, ApiError> {
    let pid = i32::try_from(std::process::id()).unwrap_or_default();
    let who = Peer { pid, uid: 0, gid: 0, privileged: true };
    let wrong = || ApiError::new(ErrorCode::Internal, "an answer of the wrong kind");
    let status = match caller.call(who, Request::Status {}, None).await? {
        Response::Status { status } => status,
        _ => return Err(wrong()),
    };
    match caller.call(who, Request::Stats {}, None).await? {
        Response::Stats { stats } => Ok(prometheus::text(&status, &stats)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{StatsInfo, StatusInfo};
    use crate::control::server::{Driver, link};
    use std::io::{Read, Write};

    fn asked(path: &Path, text: &str) -> String {
        let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        all
    }

    async fn drive(driver: &mut Driver, calls: usize) {
        for _ in 0..calls {
            let call = driver.calls.recv().await.unwrap();
            assert!(call.peer.privileged);
            call.reply.send(Ok(match call.request {
                Request::Status {} => {
                    let status = StatusInfo { version: "9.9".into(), ..StatusInfo::default() };
                    Response::Status { status: Box::new(status) }
                }
                _ => {
                    let counters = [("rx_i1".to_owned(), 5)].into();
                    Response::Stats { stats: StatsInfo { counters, ..StatsInfo::default() } }
                }
            }));
        }
    }

    #[test]
    fn one_page_is_served_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.sock");
        // An earlier daemon has left its socket.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let clients = {
            let path = path.clone();
            std::thread::spawn(move || {
                while !path.exists() || std::os::unix::net::UnixStream::connect(&path).is_err() {
                    std::thread::yield_now();
                }
                let page = asked(&path, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
                let head = asked(&path, "HEAD /metrics HTTP/1.1\r\n\r\n");
                let other = asked(&path, "GET / HTTP/1.1\r\n\r\n");
                let post = asked(&path, "POST /metrics HTTP/1.1\r\n\r\n");
                let noise = asked(&path, &format!("{}\r\n\r\n", "x".repeat(3 * REQUEST / 4)));
                [page, head, other, post, noise]
            })
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let texts = runtime.block_on(async {
            let (caller, mut driver) = link();
            let metrics = Metrics::bind(&Listen::Unix(path.clone())).unwrap();
            let running = tokio::task::spawn(metrics.run(caller));
            drive(&mut driver, 4).await;
            // The rest asks it nothing. Without a driver the listener ends.
            let texts = tokio::task::spawn_blocking(|| clients.join().unwrap());
            let texts = texts.await.unwrap();
            drop(driver);
            running.await.unwrap();
            texts
        });
        let [page, head, other, post, noise] = texts;
        assert!(page.starts_with("HTTP/1.0 200 OK\r\n"), "{page}");
        assert!(page.contains("shim6_messages_received_total{type=\"i1\"} 5\n"), "{page}");
        assert!(head.starts_with("HTTP/1.0 200") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(other.contains("404") && post.contains("405") && noise.contains("400"));
        assert!(!path.exists(), "its file goes with it");
    }

    #[test]
    fn places_are_addresses_or_paths() {
        for text in ["[::1]:9633", "127.0.0.1:9633", "/run/shim6/metrics.sock"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for text in ["9633", "localhost:9633", "run/metrics.sock", "[::1]"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "precious").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        assert!(Metrics::bind(&Listen::Unix(path.clone())).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
