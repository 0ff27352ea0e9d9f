//! rtnetlink messages into our types.
//!
//! Only the attributes that matter are read; a message with others, new or odd, is understood all the same.

use std::net::Ipv6Addr;

use super::attr::{Message, attr, text, u16_at, u32_at};
use super::hold;
use super::types::{
    AddressFlags, AddressInfo, KernelEvent, Lifetime, Lifetimes, LinkInfo, NeighbourInfo, NextHop,
    OperState, Reachability, RouteInfo,
};

/// Marks what we add, where the kernel has a field for the originator: addresses, routes, rules.
pub(super) const PROTO_OURS: u8 = 140;
/// The index of the loopback interface, the same in every network namespace.
pub(super) const LOOPBACK: u32 = 1;
/// AF_INET6.
pub(super) const FAMILY: u8 = libc::AF_INET6 as u8;

pub(super) const IFA_ADDRESS: u16 = 1;
pub(super) const IFA_LOCAL: u16 = 2;
pub(super) const IFA_CACHEINFO: u16 = 6;
pub(super) const IFA_FLAGS: u16 = 8;
pub(super) const IFA_PROTO: u16 = 11;

pub(super) const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_OPERSTATE: u16 = 16;

pub(super) const RTA_DST: u16 = 1;
pub(super) const RTA_SRC: u16 = 2;
pub(super) const RTA_OIF: u16 = 4;
pub(super) const RTA_GATEWAY: u16 = 5;
pub(super) const RTA_PRIORITY: u16 = 6;
pub(super) const RTA_PREFSRC: u16 = 7;
pub(super) const RTA_METRICS: u16 = 8;
const RTA_MULTIPATH: u16 = 9;
pub(super) const RTA_TABLE: u16 = 15;
pub(super) const RTAX_MTU: u16 = 2;

pub(super) const NDA_DST: u16 = 1;

/// "Without end" in the kernel's lifetimes.
pub(super) const INFINITY: u32 = u32::MAX;

pub(super) fn ipv6(value: &[u8]) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(*value.first_chunk::<16>()?))
}

fn lifetime(seconds: u32) -> Lifetime {
    if seconds == INFINITY { Lifetime::Forever } else { Lifetime::Seconds(seconds) }
}

/// Global unicast or unique local: what may be a locator at all.
// req: RP-3.1-01 (RFC 5534, 3.1): link-local and site-local addresses never count.
pub(super) fn is_locator(addr: Ipv6Addr) -> bool {
    let first = addr.segments()[0];
    !(addr.is_multicast()
        || addr.is_unspecified()
        || addr.is_loopback()
        || addr.to_ipv4_mapped().is_some()
        || (0xfe80..=0xfeff).contains(&first))
}

/// An address, unless it is no possible locator or one that we merely hold.
///
/// ```text
///  0        1           2       3       4           8
/// +--------+-----------+-------+-------+-----------+--
/// | family | prefix len| flags | scope | ifindex   | attributes
/// +--------+-----------+-------+-------+-----------+--
/// ```
pub(super) fn address(body: &[u8]) -> Option<AddressInfo> {
    let info = any_address(body)?;
    (!(info.ifindex == LOOPBACK && info.ours)).then_some(info)
}

/// The same, with held addresses.
pub(super) fn any_address(body: &[u8]) -> Option<AddressInfo> {
    let [FAMILY, prefix_len, low_flags, _, ..] = *body else { return None };
    let attributes = body.get(8..)?;
    let addr = attr(attributes, IFA_LOCAL).or_else(|| attr(attributes, IFA_ADDRESS))?;
    let addr = ipv6(addr).filter(|a| is_locator(*a))?;
    let flags = attr(attributes, IFA_FLAGS).and_then(|v| u32_at(v, 0));
    let flags = flags.unwrap_or(u32::from(low_flags));
    let has = |bit: u32| flags & bit != 0;
    let cache = attr(attributes, IFA_CACHEINFO);
    let lifetimes = cache.and_then(|v| {
        Some(Lifetimes { preferred: lifetime(u32_at(v, 0)?), valid: lifetime(u32_at(v, 4)?) })
    });
    Some(AddressInfo {
        addr,
        ifindex: u32_at(body, 4)?,
        prefix_len,
        flags: AddressFlags {
            tentative: has(libc::IFA_F_TENTATIVE),
            dad_failed: has(libc::IFA_F_DADFAILED),
            deprecated: has(libc::IFA_F_DEPRECATED),
            optimistic: has(libc::IFA_F_OPTIMISTIC),
            temporary: has(libc::IFA_F_TEMPORARY),
            permanent: has(libc::IFA_F_PERMANENT),
        },
        lifetimes: lifetimes.unwrap_or(Lifetimes::FOREVER),
        ours: attr(attributes, IFA_PROTO) == Some(&[PROTO_OURS]),
    })
}

/// An interface, unless it is our own.
///
/// ```text
///  0        1     2          4           8           12          16
/// +--------+-----+----------+-----------+-----------+-----------+--
/// | family |  0  | hw type  | ifindex   | flags     | changed   | attributes
/// +--------+-----+----------+-----------+-----------+-----------+--
/// ```
pub(super) fn link(body: &[u8]) -> Option<LinkInfo> {
    // Bridges speak of their ports in messages of family AF_BRIDGE, which are not about interfaces.
    if i32::from(*body.first()?) != libc::AF_UNSPEC {
        return None;
    }
    let flags = u32_at(body, 8)?;
    let has = |bit: i32| flags & bit.cast_unsigned() != 0;
    let attributes = body.get(16..)?;
    let name = text(attr(attributes, IFLA_IFNAME)?);
    if name == hold::DEVICE || name == hold::DEVICE_PEER {
        return None;
    }
    let oper = match attr(attributes, IFLA_OPERSTATE).and_then(|v| v.first().copied()) {
        Some(6) => OperState::Up,
        Some(5) => OperState::Dormant,
        Some(1..=4) => OperState::Down,
        _ => OperState::Unknown,
    };
    Some(LinkInfo {
        ifindex: u32_at(body, 4)?,
        name,
        admin_up: has(libc::IFF_UP),
        lower_up: has(libc::IFF_LOWER_UP),
        oper,
        mtu: attr(attributes, IFLA_MTU).and_then(|v| u32_at(v, 0)).unwrap_or(0),
        loopback: has(libc::IFF_LOOPBACK),
    })
}

/// A unicast route that packets to other hosts may take, unless it is our own.
///
/// ```text
///  0        1       2       3     4       5       6       7      8         12
/// +--------+-------+-------+-----+-------+-------+-------+------+---------+--
/// | family |dst len|src len| tos | table | proto | scope | type | flags   | attributes
/// +--------+-------+-------+-----+-------+-------+-------+------+---------+--
/// ```
pub(super) fn route(body: &[u8]) -> Option<RouteInfo> {
    const CLONED: u32 = 0x200;
    let [FAMILY, dst_len, src_len, _, table, proto, _, kind, ..] = *body else { return None };
    let cloned = u32_at(body, 8)? & CLONED != 0;
    if cloned || kind != libc::RTN_UNICAST || proto == PROTO_OURS {
        return None;
    }
    let attributes = body.get(12..)?;
    let number = |kind| attr(attributes, kind).and_then(|v| u32_at(v, 0));
    let table = number(RTA_TABLE).unwrap_or(u32::from(table));
    let dst = attr(attributes, RTA_DST).and_then(ipv6).unwrap_or(Ipv6Addr::UNSPECIFIED);
    if table == u32::from(libc::RT_TABLE_LOCAL) || (dst_len > 0 && !is_locator(dst)) {
        return None;
    }
    let mut hops = Vec::new();
    if let Some(several) = attr(attributes, RTA_MULTIPATH) {
        hops.extend(next_hops(several));
    } else {
        let gateway = attr(attributes, RTA_GATEWAY).and_then(ipv6);
        hops.push(NextHop { gateway, ifindex: number(RTA_OIF) });
    }
    Some(RouteInfo {
        dst: (dst, dst_len),
        src: attr(attributes, RTA_SRC).and_then(ipv6).map(|a| (a, src_len)),
        hops,
        table,
        metric: number(RTA_PRIORITY).unwrap_or(0),
    })
}

/// The parts of a multipath route: length, flags and weight, ifindex, attributes.
fn next_hops(mut buf: &[u8]) -> impl Iterator<Item = NextHop> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(buf, 0)?);
        let hop = NextHop {
            ifindex: Some(u32_at(buf, 4)?),
            gateway: attr(buf.get(8..len)?, RTA_GATEWAY).and_then(ipv6),
        };
        buf = buf.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(hop)
    })
}

/// A neighbour.
///
/// ```text
///  0        1            4           8        10      11     12
/// +--------+------------+-----------+--------+-------+------+--
/// | family | 0          | ifindex   | state  | flags | type | attributes
/// +--------+------------+-----------+--------+-------+------+--
/// ```
pub(super) fn neighbour(body: &[u8]) -> Option<NeighbourInfo> {
    const REACHABLE: u16 = libc::NUD_REACHABLE | libc::NUD_PERMANENT | libc::NUD_NOARP;
    if *body.first()? != FAMILY {
        return None;
    }
    let state = u16_at(body, 8)?;
    let state = if state & libc::NUD_FAILED != 0 {
        Reachability::Failed
    } else if state & REACHABLE != 0 {
        Reachability::Reachable
    } else if state & libc::NUD_INCOMPLETE != 0 {
        Reachability::Resolving
    } else {
        Reachability::Unsure
    };
    let addr = attr(body.get(12..)?, NDA_DST).and_then(ipv6)?;
    if addr.is_multicast() || addr.is_loopback() {
        return None;
    }
    Some(NeighbourInfo {
        ifindex: u32_at(body, 4)?,
        addr,
        state,
        router: body.get(10)? & libc::NTF_ROUTER != 0,
    })
}

/// What a message of the kernel means for us, if anything.
// req: RP-3.1-03, RP-3.2-02, RP-3.2-03
pub(super) fn event(message: Message<'_>) -> Option<KernelEvent> {
    let body = message.payload;
    match message.kind {
        libc::RTM_NEWADDR => address(body).map(KernelEvent::Address),
        libc::RTM_DELADDR => address(body).map(KernelEvent::AddressGone),
        libc::RTM_NEWLINK => link(body).map(KernelEvent::Link),
        libc::RTM_DELLINK => link(body).map(KernelEvent::LinkGone),
        libc::RTM_NEWROUTE if i32::from(message.flags) & libc::NLM_F_REPLACE != 0 => {
            route(body).map(KernelEvent::RouteReplaced)
        }
        libc::RTM_NEWROUTE => route(body).map(KernelEvent::Route),
        libc::RTM_DELROUTE => route(body).map(KernelEvent::RouteGone),
        libc::RTM_NEWNEIGH => neighbour(body).map(KernelEvent::Neighbour),
        libc::RTM_DELNEIGH => neighbour(body).map(|n| {
            // Forgotten is not the same as dead, unless it died before.
            let state = match n.state {
                Reachability::Failed => Reachability::Failed,
                Reachability::Reachable | Reachability::Resolving | Reachability::Unsure => {
                    Reachability::Unsure
                }
            };
            KernelEvent::Neighbour(NeighbourInfo { state, ..n })
        }),
        _ => None,
    }
}

/// The label of an address prefix (RFC 6724, 2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Label {
    pub addr: Ipv6Addr,
    pub prefix_len: u8,
    pub ifindex: u32,
    pub label: u32,
}

/// ```text
///  0        1     2           3       4           8           12
/// +--------+-----+-----------+-------+-----------+-----------+--
/// | family |  0  | prefix len| flags | ifindex   | sequence  | attributes
/// +--------+-----+-----------+-------+-----------+-----------+--
/// ```
pub(super) fn label(body: &[u8]) -> Option<Label> {
    let [FAMILY, _, prefix_len, _, ..] = *body else { return None };
    let attributes = body.get(12..)?;
    Some(Label {
        addr: attr(attributes, super::labels::IFAL_ADDRESS).and_then(ipv6)?,
        prefix_len,
        ifindex: u32_at(body, 4)?,
        label: attr(attributes, super::labels::IFAL_LABEL).and_then(|v| u32_at(v, 0))?,
    })
}
