//! Our sockets in tokio's reactor.
#![allow(unsafe_code)]

use super::closing::Handed;
use crate::control::seqpacket::{Listener, SeqPacket};
use std::io;
use std::os::fd::AsRawFd;
use tokio::io::unix::AsyncFd;

/// Types that own one descriptor from birth to drop and always name that one.
pub(super) trait OwnsFd: AsRawFd {}

impl OwnsFd for Handed<SeqPacket> {}
impl OwnsFd for Handed<Listener> {}

/// Registers a socket with the current reactor.
pub(super) fn watch<T: OwnsFd>(socket: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the type owns its descriptor, so it is open and the same for as long as the `AsyncFd` holds it.
    unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)
}
