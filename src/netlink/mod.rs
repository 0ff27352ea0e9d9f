//! The kernel's addresses, links, routes, neighbours and address labels: what it reports, and the little that
//! we change. Kernel types stop here.
//!
//! `Monitor::open()`, `next(&mut self).await -> Result<KernelEvent>` (cancel-safe) reports changes;
//! `Addresses::open()` makes them and keeps the ledger of what is to be undone: `snapshot`, `owner_of(Prefix)`,
//! `add_identity(Ipv6Addr) -> Added`, `wait_dad(addr, ifindex, Duration).await`, `renew_lifetimes`,
//! `delete(addr)`, `prefer(&[Ipv6Addr])`, `hold_ulid(addr, valid)`, `release_ulid(addr)`,
//! `route_get(Option<src>, dst) -> RouteAnswer`, `undo(Undo)`. All but `wait_dad` are synchronous: the kernel
//! answers rtnetlink requests while they are being sent.

mod addresses;
pub(crate) mod attr;
mod client;
mod error;
mod hold;
mod labels;
mod monitor;
mod parse;
pub mod sockdiag;
pub(crate) mod socket;
mod state;
mod types;
pub mod unixdiag;

use addresses::{IFA_F_NOPREFIXROUTE, address_request, delete_address};

pub use addresses::{Addresses, Undo};
pub use error::NetlinkError;
pub use monitor::{Monitor, wait_dad};
pub use types::{
    Added, AddressFlags, AddressInfo, KernelEvent, Lifetime, Lifetimes, LinkInfo, NeighbourInfo,
    NextHop, OperState, PrefixOwner, Reachability, RouteAnswer, RouteInfo, Snapshot,
};
