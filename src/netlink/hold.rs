//! Keeps ULIDs alive whose link is down.
//!
//! An administrative link-down takes all addresses and routes of the link along. A transport connection bound to
//! such an address then finds no route, its packets never reach LOCAL_OUT, and what the peer sends to the
//! address is not for us any more. So a held ULID has
//!
//! - the address as /128 on `lo`, deprecated, so that nobody picks it for something new;
//! - a rule `from ULID lookup 5533`, behind the tables main and default;
//! - in table 5533 a default route into an interface of our own that leads nowhere.
//!
//! The interface cannot be `lo`: IPv6 turns unicast routes through it into reject routes. It is a dummy, or a veth
//! whose other end stays down where the kernel has no dummy. What the daemon rewrites is routed anew and never
//! gets there; the rest ends there.

use std::net::Ipv6Addr;

use super::attr::{Request, attr, text, u32_at};
use super::client::Client;
use super::parse::{self, FAMILY, LOOPBACK, PROTO_OURS};
use super::types::Lifetime;
use super::types::Lifetimes;
use super::{NetlinkError, address_request};

/// The interface that leads nowhere.
pub(super) const DEVICE: &str = "shim6-hold";
/// Its other end, where it is a veth.
pub(super) const DEVICE_PEER: &str = "shim6-hold1";

/// The number of our routing table.
pub(super) const TABLE: u32 = 5533;
/// Behind main (32766) and default (32767).
const RULE_PRIORITY: u32 = 32800;
/// Least MTU of IPv6.
const MTU_MIN: u32 = 1280;
/// MTU of a fallback route if no link says otherwise.
const MTU_USUAL: u32 = 1500;
/// Octets of the payload extension header (RFC 5533, 5.1).
const PAYLOAD_HEADER: u32 = 8;

const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_TABLE: u16 = 15;
const FRA_PROTOCOL: u16 = 21;
const FR_ACT_TO_TBL: u8 = 1;

const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_NONE: u8 = 1;

/// One attribute as octets, for nesting.
fn nested(list: &[(u16, &[u8])]) -> Vec<u8> {
    let mut request = Request::new(0, 0, 0);
    for (kind, value) in list {
        request = request.attr(*kind, value);
    }
    request.finish().split_off(super::attr::HEADER)
}

/// The octets of an interface header.
fn ifinfo(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut head = [0; 16];
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8..12].copy_from_slice(&flags.to_ne_bytes());
    head[12..16].copy_from_slice(&change.to_ne_bytes());
    head
}

fn c_text(name: &str) -> Vec<u8> {
    let mut octets = name.as_bytes().to_vec();
    octets.push(0);
    octets
}

/// The index of our interface, if it is there.
fn find_device(client: &mut Client) -> Result<Option<u32>, NetlinkError> {
    let all = client.list(libc::RTM_GETLINK, "list links", &ifinfo(0, 0, 0), |m| {
        let name = text(attr(m.payload.get(16..)?, parse::IFLA_IFNAME)?);
        (name == DEVICE).then(|| u32_at(m.payload, 4))?
    })?;
    Ok(all.first().copied())
}

fn make_device(client: &mut Client, mtu: u32) -> Result<u32, NetlinkError> {
    if let Some(index) = find_device(client)? {
        return Ok(index);
    }
    let mut peer = ifinfo(0, 0, 0).to_vec();
    peer.extend(nested(&[(parse::IFLA_IFNAME, &c_text(DEVICE_PEER))]));
    let dummy = nested(&[(IFLA_INFO_KIND, &c_text("dummy"))]);
    let veth = nested(&[
        (IFLA_INFO_KIND, &c_text("veth")),
        (IFLA_INFO_DATA, &nested(&[(VETH_INFO_PEER, &peer)])),
    ]);
    let mut make = |kind: &[u8]| {
        let create = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        client.change(libc::RTM_NEWLINK, create, "make interface shim6-hold", |request| {
            request
                .head(&ifinfo(0, 0, 0))
                .attr(parse::IFLA_IFNAME, &c_text(DEVICE))
                .attr(IFLA_MTU, &mtu.to_ne_bytes())
                .attr(IFLA_LINKINFO, kind)
        })
    };
    match make(&dummy) {
        Err(e) if matches!(e.errno(), Some(libc::EOPNOTSUPP | libc::ENODEV)) => make(&veth)?,
        other => other?,
    }
    let index = find_device(client)?.ok_or(NetlinkError::Garbled("new interface"))?;
    let no_addresses = nested(&[(
        libc::AF_INET6 as u16,
        &nested(&[(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_NONE])]),
    )]);
    let what = "set up interface shim6-hold";
    client.change(libc::RTM_SETLINK, 0, what, |request| {
        request.head(&ifinfo(index, 0, 0)).attr(IFLA_AF_SPEC, &no_addresses)
    })?;
    // Without neighbour resolution, so that nothing waits there.
    let flags = (libc::IFF_UP | libc::IFF_NOARP).cast_unsigned();
    client
        .change(libc::RTM_SETLINK, 0, what, |request| request.head(&ifinfo(index, flags, flags)))?;
    Ok(index)
}

fn remove_device(client: &mut Client) -> Result<(), NetlinkError> {
    // Its route goes with it.
    match find_device(client)? {
        None => Ok(()),
        Some(index) => {
            client.change(libc::RTM_DELLINK, 0, "remove interface shim6-hold", |request| {
                request.head(&ifinfo(index, 0, 0))
            })
        }
    }
}

/// The MTU for packets on the fallback route: that of the narrowest link, less the header that they will get.
fn fallback_mtu(client: &mut Client) -> Result<u32, NetlinkError> {
    let links = client.links()?;
    let least = links.iter().filter(|l| !l.loopback && l.admin_up).map(|l| l.mtu).min();
    Ok(least.unwrap_or(MTU_USUAL).saturating_sub(PAYLOAD_HEADER).max(MTU_MIN))
}

fn make_route(client: &mut Client, device: u32, mtu: u32) -> Result<(), NetlinkError> {
    let metrics = nested(&[(parse::RTAX_MTU, &mtu.to_ne_bytes())]);
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    client.change(libc::RTM_NEWROUTE, flags, "add the fallback route", |request| {
        request
            .head(&[FAMILY, 0, 0, 0, 0, PROTO_OURS, 0, libc::RTN_UNICAST, 0, 0, 0, 0])
            .attr(parse::RTA_TABLE, &TABLE.to_ne_bytes())
            .attr(parse::RTA_OIF, &device.to_ne_bytes())
            .attr(parse::RTA_METRICS, &metrics)
    })
}

fn change_rule(
    client: &mut Client,
    kind: u16,
    flags: i32,
    addr: Ipv6Addr,
) -> Result<(), NetlinkError> {
    let what = format!("change the fallback rule of {addr}");
    client.change(kind, flags, &what, |request| {
        request
            .head(&[FAMILY, 0, 128, 0, 0, 0, 0, FR_ACT_TO_TBL, 0, 0, 0, 0])
            .attr(FRA_SRC, &addr.octets())
            .attr(FRA_PRIORITY, &RULE_PRIORITY.to_ne_bytes())
            .attr(FRA_TABLE, &TABLE.to_ne_bytes())
            .attr(FRA_PROTOCOL, &[PROTO_OURS])
    })
}

/// The ULIDs that rules of ours are there for.
pub(super) fn held(client: &mut Client) -> Result<Vec<Ipv6Addr>, NetlinkError> {
    let mut head = [0; 12];
    head[0] = FAMILY;
    let rules = client.list(libc::RTM_GETRULE, "list rules", &head, |m| {
        let attributes = m.payload.get(12..)?;
        let ours = attr(attributes, FRA_PROTOCOL) == Some(&[PROTO_OURS]);
        let source = attr(attributes, FRA_SRC).and_then(parse::ipv6)?;
        ours.then_some(source)
    })?;
    Ok(rules)
}

/// Holds an address for the rest of its valid lifetime; tells whether it was not held before.
pub(super) fn hold(
    client: &mut Client,
    addr: Ipv6Addr,
    valid: Lifetime,
) -> Result<bool, NetlinkError> {
    let fresh = !held(client)?.contains(&addr);
    let foreign =
        client.all_addresses()?.iter().any(|a| a.addr == addr && a.ifindex == LOOPBACK && !a.ours);
    if !foreign {
        let lifetimes = Lifetimes { valid, preferred: Lifetime::Seconds(0) };
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        client.change(libc::RTM_NEWADDR, flags, &format!("hold {addr} on lo"), |request| {
            let flags = libc::IFA_F_NODAD | super::IFA_F_NOPREFIXROUTE;
            address_request(request, addr, 128, LOOPBACK, flags, lifetimes)
        })?;
    }
    let mtu = fallback_mtu(client)?;
    let device = make_device(client, mtu)?;
    make_route(client, device, mtu)?;
    if fresh {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        change_rule(client, libc::RTM_NEWRULE, flags, addr)?;
    }
    Ok(fresh)
}

/// Ends holding an address; tells whether it was held. The interface goes with the last one.
pub(super) fn release(client: &mut Client, addr: Ipv6Addr) -> Result<bool, NetlinkError> {
    let before = held(client)?;
    if before.contains(&addr) {
        match change_rule(client, libc::RTM_DELRULE, 0, addr) {
            Err(e) if e.errno() == Some(libc::ENOENT) => {}
            other => other?,
        }
    }
    let on_lo = client
        .all_addresses()?
        .into_iter()
        .any(|a| a.addr == addr && a.ifindex == LOOPBACK && a.ours);
    if on_lo {
        super::delete_address(client, addr, 128, LOOPBACK)?;
    }
    if before.iter().all(|a| *a == addr) {
        remove_device(client)?;
    }
    Ok(on_lo || before.contains(&addr))
}

/// Ends holding anything, also what an earlier run left.
pub(super) fn release_all(client: &mut Client) -> Result<usize, NetlinkError> {
    let mut all = held(client)?;
    let on_lo = client.all_addresses()?;
    all.extend(on_lo.iter().filter(|a| a.ifindex == LOOPBACK && a.ours).map(|a| a.addr));
    all.sort_unstable();
    all.dedup();
    for addr in &all {
        release(client, *addr)?;
    }
    remove_device(client)?;
    Ok(all.len())
}
