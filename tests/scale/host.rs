//! A host: its engine, the least that a data plane does, its addresses, and what the judge has to know of it.

use crate::pool::{ADDRESSES, HOSTS};
use crate::rng::Chance;
use crate::signs::Watched;
use shim6::addr::LocatorPair;
use shim6::addr::{ContextTag, Fii, UlidPair};
use shim6::cga::Identity;
use shim6::proto::engine::{Engine, State};
use shim6::proto::input::LocatorRule;
use shim6::proto::reap::ReapState;
use shim6::proto::{Activity, Config, ContextId, Forward, Output, Time, WakeOn};
use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

/// A payload packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub flow: u16,
    pub seq: u32,
    pub ack: bool,
    /// It was sent before.
    pub again: bool,
}

/// A context as the world around the engine sees it.
#[derive(Debug)]
pub struct Ctx {
    pub id: ContextId,
    pub ulids: UlidPair,
    pub fii: Fii,
    pub state: State,
    pub reap: ReapState,
    /// Since when REAP is in that state, in world time.
    pub reap_since: Time,
    pub local_tag: ContextTag,
    pub peer_tag: Option<ContextTag>,
    /// The data plane's entry.
    pub forward: Option<Forward>,
    pub activity: Activity,
    pub wake: WakeOn,
    pub held: Option<Segment>,
    pub probes: Window,
    pub signs: Watched,
    /// World time at which its last exploration ended; what only answered a test of the peer's is none.
    pub calm_since: Time,
    /// It was in Exploring since it was last Operational.
    pub explored: bool,
    /// Somebody has asked for pairs of it; which one last.
    pub steered: bool,
    pub asked: Option<LocatorPair>,
    /// Pairs that were shown to work while Operational: how often in a row, and when first.
    pub passed: Vec<(LocatorPair, u32, Time)>,
}

/// Probes of a context within ten seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    pub index: u64,
    /// Probes sent.
    pub sent: u32,
    /// Probes received.
    pub heard: u32,
    /// Reasons to begin the schedule of RFC 5534 afresh.
    pub fresh: u32,
    /// Tests asked for.
    pub tests: u32,
}

/// What the kernel and the administrator say about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Not (or no longer) configured.
    Absent,
    Present,
    /// Its link is down.
    Unusable,
    /// No way out.
    Unreachable,
}

#[derive(Clone, Copy, Debug)]
pub struct Address {
    pub ip: Ipv6Addr,
    pub presence: Presence,
    pub deprecated: bool,
    pub temporary: bool,
    /// What the administrator has decided.
    pub rule: LocatorRule,
}

pub struct Host {
    /// `None` while the daemon does not run.
    pub engine: Option<Engine>,
    /// Counts daemons: what an old one left behind is void.
    pub boot: u32,
    /// While there is no daemon the kernel refuses protocol 140 aloud.
    pub refuses: bool,
    pub rng: Chance,
    /// The host's clock minus the world's.
    pub offset: Duration,
    pub config: Config,
    pub identity: Option<Arc<Identity>>,
    pub addresses: Vec<Address>,
    pub ctxs: Vec<Ctx>,
    /// Contexts that ended lately, with their ULIDs: commands may come too late for them.
    pub graves: VecDeque<(ContextId, UlidPair, Fii)>,
    pub out: VecDeque<Output>,
    /// The timer event that is queued.
    pub timer: Option<Time>,
    /// Nothing runs until then.
    pub frozen: Option<Time>,
    /// When a control message of ours first came to a foreign address.
    pub reached: [[Option<Time>; ADDRESSES]; HOSTS],
    /// A message that its owner sent after that has come here.
    pub confirmed: [[bool; ADDRESSES]; HOSTS],
    /// What was last received, by type, for those who repeat it.
    pub archive: Vec<Heard>,
    /// World time of the last change of a locator list.
    pub lists_changed: Time,
    pub transmitted: u64,
}

/// A message that was received.
#[derive(Clone, Debug)]
pub struct Heard {
    pub packet: Vec<u8>,
    pub about: Option<(UlidPair, Fii)>,
}

impl Host {
    pub fn clock(&self, now: Time) -> Time {
        now + self.offset
    }

    pub fn world(&self, host_time: Time) -> Time {
        host_time - self.offset
    }

    pub fn ctx(&mut self, id: ContextId) -> Option<&mut Ctx> {
        self.ctxs.iter_mut().find(|c| c.id == id)
    }

    pub fn find(&self, ulids: UlidPair, fii: Fii) -> Option<usize> {
        self.ctxs.iter().position(|c| c.fii == fii && c.ulids == ulids)
    }

    /// Packets come and go there.
    pub fn works(&self, at: usize) -> bool {
        self.addresses.get(at).is_some_and(|a| a.presence == Presence::Present)
    }

    /// State of a ULID pair, with or without context.
    pub fn state_of(&self, ulids: UlidPair, fii: Fii, now: Time) -> State {
        self.engine.as_ref().map_or(State::Idle, |e| e.state_of(ulids, fii, self.clock(now)))
    }

    /// Reads the tags of all contexts again.
    pub fn refresh(&mut self) {
        let Some(e) = &self.engine else { return };
        for c in &mut self.ctxs {
            if let Some(v) = e.context(c.id) {
                c.peer_tag = v.peer_tag;
            }
        }
    }

    pub fn is_frozen(&self, now: Time) -> bool {
        self.frozen.is_some_and(|until| now < until)
    }
}

/// A packet passes the entry; true if it has to be told.
pub fn touch(c: &mut Ctx, now: Time, inbound: bool) -> bool {
    if c.forward.as_ref().is_some_and(|f| f.watch) {
        c.signs.packet(now, inbound);
        c.signs.show(&mut c.activity);
    }
    let a = &mut c.activity;
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
    let wake = match c.wake {
        WakeOn::Nothing => false,
        WakeOn::Any => true,
        WakeOn::Inbound => inbound,
    };
    if wake {
        c.wake = WakeOn::Nothing;
    }
    wake
}
