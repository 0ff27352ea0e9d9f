//! One daemon per network namespace, whatever its directories and queues: two would take turns in replacing each other's
//! table. An abstract socket belongs to a network namespace, and goes with the process that bound it.

use super::privilege;
use crate::netlink::unixdiag::owners_of_name;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// Takes the name by which daemons of this network namespace find each other; it is held as long as the listener is.
///
/// Such names are free for all: one that a stranger's program has taken is done without, as that must not keep a daemon
/// from starting, whether it listens, answers, or is full.
///
/// # Errors
/// When another daemon has it, or the operating system refuses.
pub fn only_one(name: &str) -> io::Result<Option<UnixListener>> {
    match UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?) {
        Ok(held) => Ok(Some(held)),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
            let holder = holder(name);
            // What the kernel says of the socket holds whatever its owner does.
            let owners = owners_of_name(name).unwrap_or_else(|e| {
                log::debug!("whose {name} is: {e}");
                holder.map(|(_, user)| user).into_iter().collect()
            });
            let process = holder.map_or(String::new(), |(pid, _)| format!(" (process {pid})"));
            if owners.iter().any(|owner| privilege::may_be_a_daemon(*owner)) {
                return Err(io::Error::other(format!(
                    "another shim6d{process} runs in it; one serves the whole namespace"
                )));
            }
            let user = owners.first().map_or("somebody".to_owned(), |user| format!("user {user}"));
            log::warn!(
                "{user}{process} holds the name by which daemons find each other: if that is another \
                 shim6d, end it, for two take turns in replacing each other's rules"
            );
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// Process and user that listen, if that can be had without waiting.
fn holder(name: &str) -> Option<(i32, u32)> {
    let who = getsockopt(&visit(name)?, PeerCredentials).ok()?;
    Some((who.pid(), who.uid()))
}

/// A connection, if there is one at once.
fn visit(name: &str) -> Option<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let ours = socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    connect(ours.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes()).ok()?).ok()?;
    Some(ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::Backlog;

    #[test]
    fn the_name_of_a_daemon_is_held_once_and_let_go_with_it() {
        let name = format!("shim6d-test-{}", std::process::id());
        let held = only_one(&name).unwrap();
        assert!(held.is_some());
        let second = only_one(&name).unwrap_err().to_string();
        assert!(second.contains("another shim6d"), "{second}");
        assert!(second.contains(&format!("process {}", std::process::id())), "{second}");
        // Somebody fills it up: it is held all the same, and nobody waits.
        nix::sys::socket::listen(&held.as_ref().unwrap(), Backlog::new(0).unwrap()).unwrap();
        let guests: Vec<_> = std::iter::from_fn(|| visit(&name)).collect();
        assert!(guests.len() < 10);
        assert!(only_one(&name).unwrap_err().to_string().contains("another shim6d runs"));
        drop(held);
        assert!(only_one(&name).unwrap().is_some());
    }
}
