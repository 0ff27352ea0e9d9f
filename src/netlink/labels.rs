//! Address labels (RFC 6724, 2.1) that make identity addresses the preferred sources.
//!
//! Rule 6 of source address selection prefers a source whose label equals that of the destination. Identity
//! addresses keep the label they have by the host's table; each *other* address of the same prefix gets a /128
//! entry with a label that no destination has. Nobody's address and nobody's entry is changed, and every entry
//! of ours is known by its label.

use std::net::Ipv6Addr;

use super::NetlinkError;
use super::client::Client;
use super::parse::{self, Label};
use crate::addr::Prefix;

/// The label that marks an entry as ours.
pub(super) const OURS: u32 = 0x5533_5534;

const RTM_NEWADDRLABEL: u16 = 72;
const RTM_DELADDRLABEL: u16 = 73;
const RTM_GETADDRLABEL: u16 = 74;
pub(super) const IFAL_ADDRESS: u16 = 1;
pub(super) const IFAL_LABEL: u16 = 2;

fn list(client: &mut Client) -> Result<Vec<Label>, NetlinkError> {
    let mut head = [0; 12];
    head[0] = parse::FAMILY;
    client.list(RTM_GETADDRLABEL, "list address labels", &head, |m| parse::label(m.payload))
}

fn change(
    client: &mut Client,
    kind: u16,
    flags: i32,
    what: &str,
    addr: Ipv6Addr,
) -> Result<(), NetlinkError> {
    client.change(kind, flags, what, |request| {
        request
            .head(&[parse::FAMILY, 0, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            .attr(IFAL_ADDRESS, &addr.octets())
            .attr(IFAL_LABEL, &OURS.to_ne_bytes())
    })
}

/// Makes our entries exactly those that the given identities need now; gives their number.
pub(super) fn prefer(client: &mut Client, identities: &[Ipv6Addr]) -> Result<usize, NetlinkError> {
    let prefixes: Vec<Prefix> = identities.iter().map(|a| Prefix::of(*a)).collect();
    let mut wanted: Vec<Ipv6Addr> = client
        .addresses()?
        .iter()
        .filter(|a| prefixes.contains(&a.prefix()) && !identities.contains(&a.addr))
        .map(|a| a.addr)
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let have = list(client)?;
    for old in have.iter().filter(|l| l.label == OURS && !wanted.contains(&l.addr)) {
        remove_one(client, old.addr)?;
    }
    // Somebody's own entry for that very address stands.
    wanted.retain(|a| !have.iter().any(|l| l.prefix_len == 128 && l.addr == *a && l.label != OURS));
    for addr in &wanted {
        if !have.iter().any(|l| l.label == OURS && l.addr == *addr) {
            let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
            let what = format!("label {addr}");
            match change(client, RTM_NEWADDRLABEL, flags, &what, *addr) {
                Err(e) if e.errno() == Some(libc::EEXIST) => {}
                other => other?,
            }
        }
    }
    Ok(wanted.len())
}

fn remove_one(client: &mut Client, addr: Ipv6Addr) -> Result<(), NetlinkError> {
    match change(client, RTM_DELADDRLABEL, 0, &format!("remove the label of {addr}"), addr) {
        // Gone already.
        Err(e) if e.errno() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}

/// Removes all entries of ours; gives their number.
pub(super) fn remove_all(client: &mut Client) -> Result<usize, NetlinkError> {
    let ours: Vec<_> = list(client)?.into_iter().filter(|l| l.label == OURS).collect();
    for label in &ours {
        remove_one(client, label.addr)?;
    }
    Ok(ours.len())
}
