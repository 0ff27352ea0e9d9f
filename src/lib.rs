//! Shim6 (RFC 5533), REAP (RFC 5534), HBA (RFC 5535) and CGA (RFC 3972) for Linux, in user space.
//!
//! Bytes become typed messages at the edge ([`wire`]), one pure engine decides (`proto`), effects leave as
//! values. Dependencies point upward in this list only: [`addr`], [`wire`], `cga`, `proto` (feature `engine`), then,
//! with the `client` and `daemon` features, the control protocol, the data plane, the kernel edges and the daemon.

pub mod addr;
#[cfg(feature = "engine")]
pub mod cga;
#[cfg(feature = "engine")]
pub mod proto;
pub mod wire;

#[cfg(feature = "client")]
pub mod control;
#[cfg(feature = "daemon")]
pub mod ctl;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "daemon")]
pub mod dataplane;
#[cfg(feature = "daemon")]
pub mod netlink;
#[cfg(feature = "daemon")]
pub mod nft;
