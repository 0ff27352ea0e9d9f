//! The daemon's side of the control socket.
//!
//! [`link`] makes the pair that joins server and driver: the server sends [`Incoming`] calls through a bounded
//! channel, the driver answers each once and spreads events with [`EventSender`]. Either end works without a
//! socket, so tests drive the driver through [`Caller`] directly.

mod link;

pub use link::{Caller, Driver, EventSender, Events, Incoming, Peer, Reply, link};
