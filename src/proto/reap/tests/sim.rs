//! Two machines, n×m paths in two directions, each with its own fate.

use super::side::*;
use crate::addr::{Locator, LocatorPair};
use crate::proto::Time;
use crate::proto::config::ReapConfig;
use crate::proto::reap::{Action, ReapState};
use crate::wire::control::Probe;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

#[derive(Clone, Debug)]
pub enum Packet {
    Payload,
    Keepalive,
    Probe(Box<Probe>),
}

enum What {
    Arrives { to: usize, src: Locator, dst: Locator, packet: Packet },
    Sends { side: usize },
}

struct Due {
    at: Time,
    number: u64,
    what: What,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Due) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What crossed or died on a path, for tests that compare whole runs.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Time,
    pub from: usize,
    pub pair: LocatorPair,
    pub packet: Packet,
    pub arrived: bool,
}

pub struct Sim {
    pub sides: [Side; 2],
    pub now: Time,
    /// `up[from][l][p]`: packets of side `from` from its locator `l` to the peer's `p` arrive.
    pub up: [Vec<Vec<bool>>; 2],
    /// One way, the same for all paths; each packet takes up to half as much longer.
    pub delay: Duration,
    /// Of a thousand packets.
    pub loss: u64,
    /// How often each side sends payload; `None` if it does not.
    pub traffic: [Option<Duration>; 2],
    pub rng: Chance,
    pub seen: Vec<Seen>,
    /// Keep everything in `seen`.
    pub trace: bool,
    pub probes: u64,
    pub keepalives: u64,
    queue: BinaryHeap<Reverse<Due>>,
    number: u64,
    drained: [usize; 2],
    sending: [bool; 2],
}

impl Sim {
    pub fn new(n: usize, m: usize, config: ReapConfig, seed: u64) -> Sim {
        let a = Side::new(0, n, m, config.clone(), seed ^ 0xa);
        let b = Side::new(1, m, n, config.clone(), seed ^ 0xb0);
        let mut sides = [a, b];
        for s in &mut sides {
            s.reap.set_peer_send_timeout(Some(config.send_timeout_secs), &config);
        }
        Sim {
            sides,
            now: Time::ZERO,
            up: [vec![vec![true; m]; n], vec![vec![true; n]; m]],
            delay: for_secs(0.02),
            loss: 0,
            traffic: [None, None],
            rng: Chance(seed),
            seen: Vec::new(),
            trace: false,
            probes: 0,
            keepalives: 0,
            queue: BinaryHeap::new(),
            number: 0,
            drained: [0, 0],
            sending: [false, false],
        }
    }

    fn push(&mut self, at: Time, what: What) {
        self.number += 1;
        self.queue.push(Reverse(Due { at, number: self.number, what }));
    }

    fn index(&self, side: usize, l: Locator) -> Option<usize> {
        self.sides[side].local.iter().position(|c| c.addr == l.0)
    }

    /// Whether packets of a side arrive on this pair.
    pub fn works(&self, from: usize, pair: LocatorPair) -> bool {
        match (self.index(from, pair.local), self.index(1 - from, pair.peer)) {
            (Some(l), Some(p)) => self.up[from][l][p],
            _ => false,
        }
    }

    /// Cuts or repairs a path of side `from`.
    pub fn set(&mut self, from: usize, l: usize, p: usize, up: bool) {
        self.up[from][l][p] = up;
    }

    fn send(&mut self, from: usize, pair: LocatorPair, packet: Packet) {
        let arrived = self.works(from, pair) && !self.rng.permille(self.loss);
        if self.trace {
            let packet = packet.clone();
            self.seen.push(Seen { at: self.now, from, pair, packet, arrived });
        }
        if arrived {
            let more = self.rng.below(self.delay.as_nanos() as u64 / 2 + 1);
            let at = self.now + self.delay + Duration::from_nanos(more);
            let (src, dst) = (pair.local, pair.peer);
            self.push(at, What::Arrives { to: 1 - from, src, dst, packet });
        }
    }

    /// Sends what the machines have asked for since the last time.
    fn drain(&mut self, side: usize) {
        while let Some((_, a)) = self.sides[side].log.get(self.drained[side]).cloned() {
            self.drained[side] += 1;
            match a {
                Action::SendKeepalive => {
                    self.keepalives += 1;
                    self.send(side, self.sides[side].current, Packet::Keepalive);
                }
                Action::SendProbe { pair, state, sent, received } => {
                    self.probes += 1;
                    self.send(side, pair, Packet::Probe(Box::new(message(state, sent, received))));
                }
                Action::Switch(_)
                | Action::State { .. }
                | Action::Answered { .. }
                | Action::TestFailed { .. }
                | Action::Tested { .. }
                | Action::Exhausted
                | Action::Ignored(_)
                | Action::Dropped(_) => {}
            }
        }
    }

    /// Sends what inputs given from outside have asked for.
    pub fn flush(&mut self) {
        self.drain(0);
        self.drain(1);
    }

    /// One thing that happens next, not later than `end`. False if there is none.
    fn step(&mut self, end: Time) -> bool {
        for side in 0..2 {
            if self.traffic[side].is_some() && !self.sending[side] {
                self.sending[side] = true;
                self.push(self.now, What::Sends { side });
            }
        }
        let queued = self.queue.peek().map(|d| d.0.at);
        let timers = [self.sides[0].next(), self.sides[1].next()];
        let next = [queued, timers[0], timers[1]].into_iter().flatten().min();
        let Some(at) = next.filter(|t| *t <= end) else { return false };
        self.now = self.now.max(at);
        if queued.is_some_and(|t| t <= self.now) {
            match self.queue.pop().map(|d| d.0.what) {
                Some(What::Arrives { to, src, dst, packet }) => self.arrives(to, src, dst, packet),
                Some(What::Sends { side }) => self.sends(side),
                None => {}
            }
        } else {
            for (side, due) in timers.into_iter().enumerate() {
                if due.is_some_and(|t| t <= self.now) {
                    self.sides[side].now = self.now;
                    self.sides[side].tick();
                    self.drain(side);
                }
            }
        }
        true
    }

    fn arrives(&mut self, to: usize, src: Locator, dst: Locator, packet: Packet) {
        let s = &mut self.sides[to];
        s.now = self.now;
        match packet {
            Packet::Payload => s.payload_in(),
            Packet::Keepalive => s.call(|r, rcx| r.on_keepalive(rcx)),
            Packet::Probe(p) => s.probe_from(src, dst, &p),
        }
        self.drain(to);
    }

    fn sends(&mut self, side: usize) {
        self.sending[side] = false;
        let Some(gap) = self.traffic[side] else { return };
        self.sides[side].now = self.now;
        self.sides[side].payload_out();
        self.drain(side);
        self.send(side, self.sides[side].current, Packet::Payload);
        self.sending[side] = true;
        let more = self.rng.below(gap.as_nanos() as u64 / 4 + 1);
        self.push(self.now + gap + Duration::from_nanos(more), What::Sends { side });
    }

    pub fn run_to(&mut self, end: Time) {
        while self.step(end) {}
        self.now = self.now.max(end);
    }

    /// Runs until the condition holds; `None` if it does not before `end`.
    pub fn run_until(&mut self, end: Time, mut done: impl FnMut(&Sim) -> bool) -> Option<Time> {
        while !done(self) {
            if !self.step(end) {
                return None;
            }
        }
        Some(self.now)
    }

    /// Both Operational, both sending on pairs that work.
    pub fn fine(&self) -> bool {
        (0..2).all(|i| {
            self.sides[i].reap.state() == ReapState::Operational
                && self.works(i, self.sides[i].current)
        })
    }

    pub fn probes_of(&self, side: usize) -> Vec<Time> {
        self.sides[side]
            .log
            .iter()
            .filter(|(_, a)| matches!(a, Action::SendProbe { .. }))
            .map(|a| a.0)
            .collect()
    }
}
