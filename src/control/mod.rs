//! The control protocol: what `shim6ctl`, libshim and any other program say to the daemon over its Unix socket.
//!
//! One JSON message per `SOCK_SEQPACKET` packet, described for foreign programs in `docs/control-protocol.md`.
//! [`api`] is the schema, [`client`] the calling side (both build without the `daemon` feature), [`server`] the
//! daemon's side: it hands typed calls to the driver and spreads the driver's events.

pub mod api;
pub mod client;
pub mod forms;
pub mod nearest;
#[cfg(feature = "daemon")]
pub mod prometheus;
pub mod seqpacket;

#[cfg(feature = "daemon")]
pub mod server;
