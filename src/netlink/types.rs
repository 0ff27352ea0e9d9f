//! What the kernel knows about addresses, links, routes and neighbours, in our own types.

use std::net::Ipv6Addr;

use crate::addr::Prefix;

/// How long something stays as it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lifetime {
    /// Seconds from the moment of reading.
    Seconds(u32),
    /// Without end.
    Forever,
}

/// The two lifetimes of an address (RFC 4862, 5.5.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetimes {
    /// Until then the address may be used.
    pub valid: Lifetime,
    /// Until then it may be chosen for new communication.
    pub preferred: Lifetime,
}

impl Lifetimes {
    /// Both without end.
    pub const FOREVER: Lifetimes =
        Lifetimes { valid: Lifetime::Forever, preferred: Lifetime::Forever };
}

/// The kernel's flags of an address, as far as they matter here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AddressFlags {
    /// Duplicate address detection has not ended.
    pub tentative: bool,
    /// Duplicate address detection found another owner.
    pub dad_failed: bool,
    /// The preferred lifetime is over.
    pub deprecated: bool,
    /// Usable while detection runs (RFC 4429).
    pub optimistic: bool,
    /// A privacy address (RFC 8981).
    pub temporary: bool,
    /// Without lifetime limits.
    pub permanent: bool,
}

/// One global unicast (or unique local) IPv6 address on one interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressInfo {
    /// The address.
    pub addr: Ipv6Addr,
    /// The interface it is on.
    pub ifindex: u32,
    /// Length of its on-link prefix in bits.
    pub prefix_len: u8,
    /// Its flags.
    pub flags: AddressFlags,
    /// Its lifetimes, as they stood when the kernel spoke.
    pub lifetimes: Lifetimes,
    /// Whether this program (or an earlier run of it) added it.
    pub ours: bool,
}

impl AddressInfo {
    /// The upper 64 bits.
    pub fn prefix(&self) -> Prefix {
        Prefix::of(self.addr)
    }
}

/// The operational state of a link (RFC 2863).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OperState {
    /// The driver does not say; judge by `lower_up`.
    Unknown,
    /// Ready to pass packets.
    Up,
    /// Waiting for an outside event, such as authentication.
    Dormant,
    /// Not able to pass packets, for whatever reason.
    Down,
}

/// One interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkInfo {
    /// Its index.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Set up by the administrator (IFF_UP).
    pub admin_up: bool,
    /// The layer below has carrier (IFF_LOWER_UP).
    pub lower_up: bool,
    /// Operational state.
    pub oper: OperState,
    /// MTU in octets.
    pub mtu: u32,
    /// The loopback interface.
    pub loopback: bool,
}

/// One IPv6 unicast route outside the local table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteInfo {
    /// Destination prefix and its length in bits; `::`/0 is the default route.
    pub dst: (Ipv6Addr, u8),
    /// Source prefix, for source-specific routes.
    pub src: Option<(Ipv6Addr, u8)>,
    /// Next hops; more than one for multipath routes.
    pub hops: Vec<NextHop>,
    /// Routing table number.
    pub table: u32,
    /// Metric: lower wins.
    pub metric: u32,
}

/// One next hop of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextHop {
    /// The router, if any.
    pub gateway: Option<Ipv6Addr>,
    /// The interface out.
    pub ifindex: Option<u32>,
}

impl RouteInfo {
    /// Whether the route is for every destination.
    pub fn is_default(&self) -> bool {
        self.dst.1 == 0
    }
}

/// Reachability of a neighbour (RFC 4861, 7.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reachability {
    /// Confirmed lately, or configured so.
    Reachable,
    /// Resolution or probing ended without an answer.
    Failed,
    /// The kernel asks for its link-layer address.
    Resolving,
    /// Neither shown nor disproved.
    Unsure,
}

/// One neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NeighbourInfo {
    /// The interface.
    pub ifindex: u32,
    /// The neighbour's address on that link.
    pub addr: Ipv6Addr,
    /// What the kernel's unreachability detection says.
    pub state: Reachability,
    /// The neighbour says it is a router.
    pub router: bool,
}

/// A change that the kernel reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KernelEvent {
    /// An address came, or its flags or lifetimes changed.
    Address(AddressInfo),
    /// An address went.
    AddressGone(AddressInfo),
    /// An interface came or changed.
    Link(LinkInfo),
    /// An interface was removed.
    LinkGone(LinkInfo),
    /// A route came.
    Route(RouteInfo),
    /// A route took the place of the one with the same destination, source, table and metric.
    RouteReplaced(RouteInfo),
    /// A route went.
    RouteGone(RouteInfo),
    /// A neighbour's reachability changed.
    Neighbour(NeighbourInfo),
    /// The kernel had to discard events: take a new snapshot.
    Overrun,
}

/// The present state of everything that [`KernelEvent`] reports on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// Addresses: global and unique local ones only.
    pub addresses: Vec<AddressInfo>,
    /// Interfaces.
    pub links: Vec<LinkInfo>,
    /// Routes outside the local table.
    pub routes: Vec<RouteInfo>,
    /// Neighbours.
    pub neighbours: Vec<NeighbourInfo>,
}

/// What the kernel would do with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteAnswer {
    /// Interface out.
    pub oif: u32,
    /// MTU of the path as the kernel knows it now, in octets.
    pub mtu: u32,
    /// The router, if the destination is not on the link.
    pub gateway: Option<Ipv6Addr>,
    /// The source address that the kernel would take.
    pub src: Option<Ipv6Addr>,
}

/// Who owns a prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrefixOwner {
    /// The interface that has an address of that prefix.
    pub ifindex: u32,
    /// The lifetimes of that address.
    pub lifetimes: Lifetimes,
}

/// What adding an address did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// Ours to remove: it was not there, or an earlier run of ours left it.
    New {
        /// The interface it went to.
        ifindex: u32,
    },
    /// It was there already, added by somebody else.
    AlreadyThere {
        /// The interface it is on.
        ifindex: u32,
    },
}

impl Added {
    /// The interface.
    pub fn ifindex(self) -> u32 {
        match self {
            Added::New { ifindex } | Added::AlreadyThere { ifindex } => ifindex,
        }
    }
}
