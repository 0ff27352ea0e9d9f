//! One host of a test: a machine with the cells, the wake-up and the locators that its surroundings would have.

use crate::addr::{ContextTag, Locator, LocatorPair, ProbeNonce};
use crate::proto::config::{Detection, ReapConfig};
use crate::proto::reap::{Action, Candidate, Reap, ReapCx, ReapState};
use crate::proto::settings::Ends;
use crate::proto::{Activity, Time, WakeOn};
use crate::wire::control::{Probe, ProbeReport, ProbeState};
use crate::wire::option::Options;
use std::time::Duration;

/// A small generator with a printable seed (splitmix64): fast without optimisation.
pub struct Chance(pub u64);

impl rand::RngCore for Chance {
    fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill_bytes(&mut self, dst: &mut [u8]) {
        for chunk in dst.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

impl Chance {
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        rand::RngCore::next_u64(self) % n
    }

    /// True in so many of a thousand cases.
    pub fn permille(&mut self, n: u64) -> bool {
        self.below(1000) < n
    }
}

/// Address number `i` of side `side`, each in a prefix of its own.
pub fn addr(side: usize, i: usize) -> Locator {
    Locator(format!("2001:db8:{:x}::1", (side + 1) * 0x100 + i + 1).parse().unwrap())
}

/// Pair of a host of side `side`: its locator `l`, the peer's locator `p`.
pub fn pair(side: usize, l: usize, p: usize) -> LocatorPair {
    LocatorPair { local: addr(side, l), peer: addr(1 - side, p) }
}

pub fn candidate(a: Locator) -> Candidate {
    Candidate { addr: a.0, usable: true, broken: false, priority: 0, weight: 0 }
}

pub fn secs(s: f64) -> Time {
    Time::from_nanos((s * 1e9) as u64)
}

pub fn for_secs(s: f64) -> Duration {
    Duration::from_secs_f64(s)
}

/// A configuration without any jitter: exact times.
pub fn exact() -> ReapConfig {
    ReapConfig { probe_jitter: 0.0, send_jitter: 0.0, ..ReapConfig::default() }
}

pub struct Side {
    pub reap: Reap,
    pub config: ReapConfig,
    pub local: Vec<Candidate>,
    pub peer: Vec<Candidate>,
    pub current: LocatorPair,
    pub ulids: LocatorPair,
    /// Ends that somebody wants to be used.
    pub wanted: Ends,
    pub cells: Activity,
    pub rng: Chance,
    pub now: Time,
    pub log: Vec<(Time, Action)>,
    armed: WakeOn,
    /// Wake-ups that get lost, of a thousand.
    pub lost_wakes: u64,
    /// Readings of the cells.
    pub readings: u64,
    /// How much of `log` was handed out.
    taken: usize,
    /// A Probe came in since Exploring was entered.
    heard: bool,
    last_keepalive: Option<Time>,
    /// Last Probe sent because its time had come, or because the state changed.
    last_probe: Option<Time>,
}

impl Side {
    /// Host `side` with `n` locators whose peer has `m`; the current pair is the first of both.
    pub fn new(side: usize, n: usize, m: usize, config: ReapConfig, seed: u64) -> Side {
        Side {
            reap: Reap::new(Time::ZERO),
            config,
            local: (0..n).map(|i| candidate(addr(side, i))).collect(),
            peer: (0..m).map(|i| candidate(addr(1 - side, i))).collect(),
            current: pair(side, 0, 0),
            ulids: pair(side, 0, 0),
            wanted: Ends::default(),
            cells: Activity::default(),
            rng: Chance(seed),
            now: Time::ZERO,
            log: Vec::new(),
            armed: WakeOn::Nothing,
            lost_wakes: 0,
            readings: 0,
            taken: 0,
            heard: false,
            last_keepalive: None,
            last_probe: None,
        }
    }

    /// One input, at `self.now`; the effects go to the log.
    pub fn call<R>(&mut self, f: impl FnOnce(&mut Reap, &mut ReapCx<'_>) -> R) -> R {
        let before = self.reap.state();
        let mut actions = Vec::new();
        let mut rcx = ReapCx {
            now: self.now,
            rng: &mut self.rng,
            config: &self.config,
            local: &self.local,
            peer: &self.peer,
            current: self.current,
            wanted: self.wanted,
            ulids: self.ulids,
            actions: &mut actions,
        };
        let r = f(&mut self.reap, &mut rcx);
        self.check(before, &actions);
        for a in actions {
            if let Action::Switch(pair) = a {
                self.current = pair;
            }
            self.log.push((self.now, a));
        }
        let wake = self.reap.wake();
        if wake != WakeOn::Nothing {
            self.armed = wake;
        }
        r
    }

    /// What holds after every input.
    // req-test: RP-4.1-08, RP-4.1-11, RP-6-02, RP-6.1-04, RP-5.2-06, RP-5.2-09, RP-5.2-14
    fn check(&mut self, before: ReapState, actions: &[Action]) {
        let (send, keepalive) = self.reap.timers();
        assert!(send.is_none() || keepalive.is_none(), "both timers run");
        match self.reap.state() {
            ReapState::Operational => {}
            ReapState::Exploring => assert!(send.is_none() && keepalive.is_none()),
            ReapState::InboundOk => assert!(keepalive.is_none()),
        }
        let mut state = before;
        for a in actions {
            match a {
                Action::State { from, to, .. } => {
                    assert_eq!(*from, state);
                    assert_ne!(from, to);
                    state = *to;
                    self.heard &= state != ReapState::Exploring;
                    self.last_probe = Some(self.now);
                }
                Action::SendProbe { pair, state: told, sent, received } => {
                    let same = matches!(
                        (told, state),
                        (ProbeState::Operational, ReapState::Operational)
                            | (ProbeState::Exploring, ReapState::Exploring)
                            | (ProbeState::InboundOk, ReapState::InboundOk)
                    );
                    let test = *told == ProbeState::Exploring && state == ReapState::Operational;
                    assert!(same || test, "{told:?} sent in {state:?}");
                    assert_eq!((sent[0].src, sent[0].dst), (pair.local, pair.peer));
                    assert!(sent.len() <= 15 && received.len() <= 15);
                    let must_report = self.heard && *told == ProbeState::InboundOk;
                    assert!(!must_report || !received.is_empty());
                    assert!(self.local.iter().any(|c| c.usable && c.addr == pair.local.0));
                    assert!(self.peer.iter().any(|c| c.usable && c.addr == pair.peer.0));
                }
                Action::SendKeepalive => {
                    assert_eq!(state, ReapState::Operational);
                    let gap = self.last_keepalive.map_or(Duration::MAX, |t| self.now.since(t));
                    assert!(gap >= for_secs(1.0), "{gap:?} between Keepalives");
                    self.last_keepalive = Some(self.now);
                }
                Action::Switch(_) => assert_eq!(state, ReapState::Operational),
                Action::Answered { .. }
                | Action::TestFailed { .. }
                | Action::Tested { .. }
                | Action::Exhausted
                | Action::Ignored(_)
                | Action::Dropped(_) => {}
            }
        }
        assert_eq!(state, self.reap.state());
    }

    pub fn payload_out(&mut self) {
        let c = &mut self.cells;
        c.last_out = Some(self.now);
        c.pending_out = c.pending_out.or(Some(self.now));
        c.pending_in = None;
        c.packets_out += 1;
        c.signs.unanswered += 1;
        c.signs.recent_out += 1;
        self.woken(WakeOn::Any);
    }

    pub fn payload_in(&mut self) {
        let c = &mut self.cells;
        c.last_in = Some(self.now);
        c.pending_in = c.pending_in.or(Some(self.now));
        c.pending_out = None;
        c.packets_in += 1;
        c.signs.unanswered = 0;
        c.signs.recent_in += 1;
        self.woken(WakeOn::Inbound);
    }

    fn woken(&mut self, by: WakeOn) {
        if self.armed == WakeOn::Any || self.armed == by {
            self.armed = WakeOn::Nothing;
            if !self.rng.permille(self.lost_wakes) {
                self.read();
            }
        }
    }

    pub fn read(&mut self) {
        let cells = self.cells;
        self.readings += 1;
        self.call(|r, rcx| r.on_activity(rcx, &cells));
    }

    /// When the machine wants to be called.
    pub fn next(&self) -> Option<Time> {
        [self.reap.poll_timeout(), self.reap.activity_due()].into_iter().flatten().min()
    }

    /// What a driver does at that time.
    // req-test: RP-4.3-04
    pub fn tick(&mut self) {
        if self.reap.activity_due().is_some_and(|t| t <= self.now) {
            self.read();
        }
        let (before, last) = (self.log.len(), self.last_probe);
        self.call(|r, rcx| r.on_timer(rcx));
        let new = &self.log[before..];
        if new.iter().any(|(_, a)| matches!(a, Action::SendProbe { .. })) {
            let changed = new.iter().any(|(_, a)| matches!(a, Action::State { .. }));
            let gap = last.map_or(Duration::MAX, |t| self.now.since(t));
            let shortest = match self.config.detection {
                Detection::Rfc => {
                    self.config.initial_probe_timeout.mul_f64(1.0 - self.config.probe_jitter)
                }
                Detection::Fast => Duration::from_millis(10),
            };
            assert!(changed || gap >= shortest, "{gap:?} between Probes");
            self.last_probe = Some(self.now);
        }
    }

    /// Lets time pass, without traffic.
    pub fn run_to(&mut self, end: Time) {
        let mut steps = 0;
        while let Some(t) = self.next().filter(|t| *t <= end) {
            self.now = self.now.max(t);
            self.tick();
            steps += 1;
            assert!(steps < 100_000, "busy loop at {:?}", self.now);
        }
        self.now = self.now.max(end);
    }

    /// A Probe comes in.
    pub fn probe_in(&mut self, probe: &Probe) {
        self.probe_from(probe.sent[0].src, probe.sent[0].dst, probe);
    }

    /// A Probe comes in with these addresses in its header.
    pub fn probe_from(&mut self, src: Locator, dst: Locator, probe: &Probe) {
        self.heard = true;
        self.call(|r, rcx| r.on_probe(rcx, src, dst, probe));
    }

    /// Actions since the last call.
    pub fn take(&mut self) -> Vec<(Time, Action)> {
        let new = self.log[self.taken..].to_vec();
        self.taken = self.log.len();
        new
    }

    /// Probes since the last call of `take`: time, pair, state.
    pub fn take_probes(&mut self) -> Vec<(Time, LocatorPair, ProbeState)> {
        self.take()
            .into_iter()
            .filter_map(|(t, a)| match a {
                Action::SendProbe { pair, state, .. } => Some((t, pair, state)),
                _ => None,
            })
            .collect()
    }

    /// The Probe that was sent last.
    pub fn last_probe(&self) -> Probe {
        self.log
            .iter()
            .rev()
            .find_map(|(_, a)| match a {
                Action::SendProbe { state, sent, received, .. } => {
                    Some(message(*state, sent.clone(), received.clone()))
                }
                _ => None,
            })
            .expect("no Probe was sent")
    }
}

pub fn message(state: ProbeState, sent: Vec<ProbeReport>, received: Vec<ProbeReport>) -> Probe {
    let receiver_tag = ContextTag::from_masked(1);
    Probe { receiver_tag, state, sent, received, options: Options::default() }
}

/// A Probe of the peer of side 0: from its locator `p` to ours `l`.
pub fn probe_of_peer(
    state: ProbeState,
    (l, p): (usize, usize),
    nonce: u32,
    received: Vec<ProbeReport>,
) -> Probe {
    let (src, dst) = (addr(1, p), addr(0, l));
    message(state, vec![ProbeReport { src, dst, nonce: ProbeNonce(nonce), data: 0 }], received)
}

/// The state without a wait for timers, in a side that has just entered it.
pub fn in_state(state: ReapState, config: ReapConfig) -> Side {
    let mut s = Side::new(0, 2, 2, config, 7);
    s.now = secs(100.0);
    match state {
        ReapState::Operational => {}
        ReapState::Exploring => s.call(|r, rcx| r.explore_now(rcx)),
        ReapState::InboundOk => {
            s.probe_in(&probe_of_peer(ProbeState::Exploring, (0, 0), 1, Vec::new()))
        }
    }
    assert_eq!(s.reap.state(), state);
    s
}
