//! The least that a data plane does, as a model.

use crate::world::Segment;
use shim6::addr::{Fii, UlidPair};
use shim6::dataplane::signs::SignCells;
use shim6::proto::{Activity, ContextId, Forward, ForwardChange, Time, WakeOn};
use std::collections::BTreeMap;

/// The data plane's entry of a context.
pub struct Entry {
    pub forward: Forward,
    pub activity: Activity,
    pub wake: WakeOn,
    pub held: Option<Segment>,
    signs: SignCells,
    /// The newest segment sent of each flow.
    newest: BTreeMap<usize, u64>,
    /// The most that a flow had under way.
    pub densest: u32,
}

/// Octets of a TCP segment.
const SEGMENT: u64 = 1400;
/// Sequence numbers begin here, so that they wrap around before long.
const BEGIN: u32 = u32::MAX - 1_000_000;

/// The least a data plane does: it honours entries, keeps activity cells, wakes the engine, holds copies.
#[derive(Default)]
pub struct DataPlane {
    pub entries: BTreeMap<ContextId, Entry>,
}

impl DataPlane {
    pub fn change(&mut self, change: ForwardChange) -> Option<(UlidPair, Segment)> {
        match change {
            ForwardChange::Set(forward) => {
                let wake = forward.wake;
                match self.entries.get_mut(&forward.id) {
                    Some(e) => {
                        assert_ne!(
                            (&e.forward, e.wake),
                            (&forward, wake),
                            "a forwarding entry was published twice"
                        );
                        e.forward = forward;
                        e.wake = wake;
                    }
                    None => {
                        let entry = Entry {
                            forward,
                            activity: Activity::default(),
                            wake,
                            held: None,
                            signs: SignCells::default(),
                            newest: BTreeMap::new(),
                            densest: 0,
                        };
                        self.entries.insert(entry.forward.id, entry);
                    }
                }
                None
            }
            ForwardChange::Wake(id, wake) => {
                self.entries.get_mut(&id).expect("an entry to arm").wake = wake;
                None
            }
            ForwardChange::ResendHeld(id) => {
                let e = self.entries.get_mut(&id).expect("an entry with copies");
                e.held.take().map(|s| (e.forward.ulids, s))
            }
            ForwardChange::Remove(id) => {
                self.entries.remove(&id).expect("an entry to remove");
                None
            }
        }
    }

    pub fn by_ulids(&mut self, ulids: UlidPair) -> Option<&mut Entry> {
        self.entries.values_mut().find(|e| e.forward.ulids == ulids && e.forward.fii == Fii(0))
    }
}

/// What a watched context notes of a packet beside its activity.
pub fn watch(e: &mut Entry, now: Time, inbound: bool, segment: Segment, tcp: bool) {
    if !e.forward.watch {
        return;
    }
    // The flow's number stands for its ports.
    let ports = (segment.flow as u16, 1);
    let seq = BEGIN.wrapping_add((segment.seq * SEGMENT) as u32);
    match inbound {
        true => {
            e.signs.packet_in(now);
            if tcp && segment.ack && e.signs.measures() {
                e.signs.acknowledged(now, ports, seq);
            }
        }
        false => {
            e.signs.packet_out(now);
            if tcp && !segment.ack {
                let newest = e.newest.entry(segment.flow).or_default();
                let repeated = *newest >= segment.seq;
                *newest = segment.seq.max(*newest);
                e.signs.segment_out(now, ports, seq, repeated);
            }
        }
    }
    e.activity.signs = e.signs.look();
    e.densest = e.densest.max(e.activity.signs.in_flight);
}

/// A packet passes; true if it has to be told.
pub fn touch(e: &mut Entry, now: Time, inbound: bool) -> bool {
    let a = &mut e.activity;
    if inbound {
        a.last_in = Some(now);
        a.pending_out = None;
        a.pending_in = a.pending_in.or(Some(now));
        a.packets_in += 1;
        a.octets_in += 1000;
    } else {
        a.last_out = Some(now);
        a.pending_in = None;
        a.pending_out = a.pending_out.or(Some(now));
        a.packets_out += 1;
        a.octets_out += 1000;
    }
    let wake = match e.wake {
        WakeOn::Nothing => false,
        WakeOn::Any => true,
        WakeOn::Inbound => inbound,
    };
    if wake {
        e.wake = WakeOn::Nothing;
    }
    wake
}
