//! One context as workers see it, in four cache lines of which a decision needs two or three.
//!
//! The treatment is there twice. The writer fills the copy that is not in use and then says that it is; a reader that was
//! overtaken by that looks again. So nobody waits for a writer that has lost its processor in the middle.

use super::cells::Cells;
use super::slab::{Counted, Refs};
use crate::addr::{ContextTag, Fii, Locator, LocatorPair, Ulid, UlidPair};
use crate::proto::{ContextId, Forward, Inbound, Outbound, WakeOn};
use std::net::Ipv6Addr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

/// One context as workers see it.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Entry {
    /// Grows with every change; its lowest bit tells which treatment holds.
    sequence: AtomicU32,
    fii: AtomicU32,
    ulids: [AtomicU64; 4],
    id: AtomicU64,
    even: Treatment,
    /// Activity; survives every change of the treatment.
    pub cells: Cells,
    odd: Treatment,
}

const _: () = assert!(size_of::<Entry>() == 256);

/// What a change replaces.
///
/// `local`, from the lowest bit: 47 bits of our tag, 2 of [`Inbound`], 2 of [`WakeOn`], then hold, watch, tagged.
#[derive(Debug, Default)]
struct Treatment {
    local: AtomicU64,
    /// The peer's tag and the pair; meaningless if not tagged.
    peer: AtomicU64,
    pair: [AtomicU64; 4],
}

const INBOUND: u32 = 47;
const WAKE: u32 = 49;
const HOLD: u64 = 1 << 51;
const WATCH: u64 = 1 << 52;
const TAGGED: u64 = 1 << 53;

fn write_pair(cells: &[AtomicU64; 4], local: Ipv6Addr, peer: Ipv6Addr) {
    let (local, peer) = (local.to_bits(), peer.to_bits());
    let halves = [(local >> 64) as u64, local as u64, (peer >> 64) as u64, peer as u64];
    for (cell, half) in cells.iter().zip(halves) {
        cell.store(half, Relaxed);
    }
}

fn read_pair(cells: &[AtomicU64; 4]) -> (Ipv6Addr, Ipv6Addr) {
    let [a, b, c, d] = cells.each_ref().map(|cell| u128::from(cell.load(Relaxed)));
    (Ipv6Addr::from_bits(a << 64 | b), Ipv6Addr::from_bits(c << 64 | d))
}

impl Treatment {
    fn write(&self, forward: &Forward) {
        let inbound: u64 = match forward.inbound {
            Inbound::Unmap => 0,
            Inbound::UnmapAndNotify => 1,
            Inbound::Drop => 2,
        };
        let wake: u64 = match forward.wake {
            WakeOn::Nothing => 0,
            WakeOn::Any => 1,
            WakeOn::Inbound => 2,
        };
        let mut local = forward.local_tag.value() | inbound << INBOUND | wake << WAKE;
        local |= if forward.hold { HOLD } else { 0 };
        local |= if forward.watch { WATCH } else { 0 };
        if let Outbound::Tagged(pair, tag) = forward.outbound {
            local |= TAGGED;
            self.peer.store(tag.value(), Relaxed);
            write_pair(&self.pair, pair.local.0, pair.peer.0);
        }
        self.local.store(local, Relaxed);
    }

    fn outbound(&self) -> Outbound {
        if self.local.load(Relaxed) & TAGGED == 0 {
            return Outbound::Plain;
        }
        let (local, peer) = read_pair(&self.pair);
        let pair = LocatorPair { local: Locator(local), peer: Locator(peer) };
        Outbound::Tagged(pair, ContextTag::from_masked(self.peer.load(Relaxed)))
    }
}

impl Entry {
    /// What `read` makes of the present treatment, all of it of one change.
    fn present<R>(&self, read: impl Fn(&Treatment) -> R) -> R {
        loop {
            let before = self.sequence.load(Acquire);
            let result = read(if before.is_multiple_of(2) { &self.even } else { &self.odd });
            fence(Acquire);
            // The copy is written again only after the next change has been announced here.
            if self.sequence.load(Relaxed) == before {
                return result;
            }
        }
    }

    /// Fills an entry that nobody uses.
    pub(super) fn begin(&self, forward: &Forward) {
        self.cells.reset();
        self.cells.arm(forward.wake);
        write_pair(&self.ulids, forward.ulids.local.0, forward.ulids.peer.0);
        self.fii.store(forward.fii.0, Relaxed);
        self.id.store(forward.id.0, Relaxed);
        self.publish(forward);
    }

    /// Replaces the treatment. One writer at a time.
    pub(super) fn publish(&self, forward: &Forward) {
        let before = self.sequence.load(Relaxed);
        // Whoever sees any of what is written now also sees that the last change was announced.
        fence(Release);
        if before.is_multiple_of(2) { &self.odd } else { &self.even }.write(forward);
        self.sequence.store(before.wrapping_add(1), Release);
    }

    /// The context.
    pub fn id(&self) -> ContextId {
        ContextId(self.id.load(Relaxed))
    }

    /// What the upper layers see.
    pub fn ulids(&self) -> UlidPair {
        let (local, peer) = read_pair(&self.ulids);
        UlidPair { local: Ulid(local), peer: Ulid(peer) }
    }

    /// Which instance of the ULID pair.
    pub fn fii(&self) -> Fii {
        Fii(self.fii.load(Relaxed))
    }

    /// Inbound payload headers carry this tag.
    pub fn local_tag(&self) -> ContextTag {
        ContextTag::from_masked(self.present(|t| t.local.load(Relaxed)))
    }

    /// Whether signs of the context are to be kept.
    pub fn watch(&self) -> bool {
        self.present(|t| t.local.load(Relaxed)) & WATCH != 0
    }

    /// What happens to outbound packets.
    pub fn outbound(&self) -> Outbound {
        self.present(Treatment::outbound)
    }

    /// The present treatment.
    pub fn forward(&self) -> Forward {
        let (local, outbound) = self.present(|t| (t.local.load(Relaxed), t.outbound()));
        Forward {
            id: self.id(),
            ulids: self.ulids(),
            fii: self.fii(),
            local_tag: ContextTag::from_masked(local),
            outbound,
            inbound: match local >> INBOUND & 3 {
                0 => Inbound::Unmap,
                1 => Inbound::UnmapAndNotify,
                _ => Inbound::Drop,
            },
            hold: local & HOLD != 0,
            watch: local & WATCH != 0,
            wake: match local >> WAKE & 3 {
                0 => WakeOn::Nothing,
                1 => WakeOn::Any,
                _ => WakeOn::Inbound,
            },
        }
    }
}

// SAFETY: always the field of the entry's own cells, which nobody can replace through `&Entry`.
#[allow(unsafe_code)]
unsafe impl Counted for Entry {
    fn refs(&self) -> &Refs {
        &self.cells.refs
    }
}

#[cfg(test)]
mod tests;
