//! Fragmenting a packet that does not fit its path once it is tagged.
//!
//! Fragmentation belongs above the shim: the Fragment header comes behind the payload header, and every fragment has a
//! payload header of its own. So the packet is fragmented first, with its ULIDs, and each fragment is tagged after that.

use crate::wire::ipv6::{Fragment, HEADER_LEN, PAYLOAD_LENGTH, Walk, protocol};

/// Fragments of at most `max` octets each, the IPv6 header included. `id` is used unless the packet is a fragment
/// itself, which is then cut further under its own identification.
///
/// `None` if `max` leaves no room for data, or the packet holds a Fragment header elsewhere than where ours belongs.
// req: S6-1.6-01
pub fn fragment(packet: &[u8], walk: &Walk, max: usize, id: u32) -> Option<Vec<Vec<u8>>> {
    let place = walk.insert;
    let (headers, rest) = packet.split_at_checked(place.offset)?;
    let (whole, data) = match walk.fragment {
        None => {
            let next_header = *packet.get(place.next_header_at)?;
            (Fragment { next_header, offset: 0, more: false, id }, rest)
        }
        Some((at, fragment)) if at == place => (fragment, rest.get(Fragment::LEN..)?),
        Some(_) => return None,
    };
    let room = max.checked_sub(headers.len() + Fragment::LEN)? / 8 * 8;
    if room == 0 || data.is_empty() {
        return None;
    }
    let mut fragments = Vec::with_capacity(data.len().div_ceil(room));
    for (n, chunk) in data.chunks(room).enumerate() {
        let at = n * room;
        let last = at + chunk.len() == data.len();
        let header = Fragment {
            offset: u16::try_from(usize::from(whole.offset) + at).ok()?,
            more: whole.more || !last,
            ..whole
        };
        let mut out = Vec::with_capacity(headers.len() + Fragment::LEN + chunk.len());
        out.extend_from_slice(headers);
        out.extend_from_slice(&header.emit());
        out.extend_from_slice(chunk);
        *out.get_mut(place.next_header_at)? = protocol::FRAGMENT;
        let length = u16::try_from(out.len() - HEADER_LEN).ok()?;
        out.get_mut(PAYLOAD_LENGTH)?.copy_from_slice(&length.to_be_bytes());
        fragments.push(out);
    }
    Some(fragments)
}

#[cfg(test)]
mod tests;
