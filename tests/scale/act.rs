//! Operations carried out.

use crate::host::{Ctx, Host, Presence};
use crate::judge::tags_match;
use crate::matrix::{Cause, On};
use crate::net::Spot;
use crate::plan::Op;
use crate::pool::{ADDRESSES, HOSTS, pool};
use crate::rng::Chance;
use crate::world::{Flow, Next, World, reverse};
use shim6::addr::{Fii, Locator, LocatorPair, Ulid, UlidPair};
use shim6::proto::config::{Detection, Limits};
use shim6::proto::engine::{Engine, SavedContext, State};
use shim6::proto::input::{AddressEvent, LocalAddress, LocatorRule};
use shim6::proto::reap::ReapState;
use shim6::proto::{Command, Config, ContextId, Notice, Time};
use std::collections::VecDeque;
use std::time::Duration;

/// Contexts of a host beyond those of the plan.
const SPARE_CONTEXTS: usize = 6;
/// Entries of each hold-down table.
const HOLDDOWNS: usize = 3;

impl World {
    /// Hosts with running daemons, and flows that do not run yet.
    pub fn populate(&mut self) {
        for (h, p) in self.plan.hosts.clone().into_iter().enumerate() {
            let (identity, ips) = pool().of(h, p.kind, p.addresses, p.variant);
            let mut config = Config::default();
            config.reap.send_timeout_secs = p.send_timeout;
            config.reap.max_probe_timeout = self.plan.max_probe_timeout;
            config.establish.tag_bits = self.plan.tag_bits;
            // So tight that floods, and those who disturb, come up against each of them.
            config.limits = Limits {
                contexts: self.plan.contexts + SPARE_CONTEXTS,
                holddowns: HOLDDOWNS,
                r1_per_second: 40,
                r1_per_prefix: 10,
                r2_per_second: 40,
                r2_per_prefix: 20,
                errors_per_second: 8,
                r1bis_burst: 30,
                ..Limits::default()
            };
            config.reap.detection = if p.fast { Detection::Fast } else { Detection::Rfc };
            config.reap.hot_standby = p.hot_standby;
            config.reap.return_to_preferred = p.return_to_preferred;
            let presence = |i| if i < p.present { Presence::Present } else { Presence::Absent };
            let addresses = ips.into_iter().enumerate().map(|(i, ip)| crate::host::Address {
                ip,
                presence: presence(i),
                deprecated: false,
                temporary: false,
                rule: LocatorRule::default(),
            });
            self.hosts.push(Host {
                engine: None,
                boot: 0,
                refuses: false,
                rng: Chance::new(self.plan.seed, 100 + h as u64),
                offset: Duration::from_secs(17_000 * h as u64),
                config,
                identity,
                addresses: addresses.collect(),
                ctxs: Vec::new(),
                graves: VecDeque::new(),
                out: VecDeque::new(),
                timer: None,
                frozen: None,
                reached: [[None; ADDRESSES]; HOSTS],
                confirmed: [[false; ADDRESSES]; HOSTS],
                archive: Vec::new(),
                lists_changed: Time::ZERO,
                transmitted: 0,
            });
        }
        for p in self.plan.flows.clone() {
            let ulids = UlidPair {
                local: Ulid(self.hosts[p.from].addresses[p.ends.0].ip),
                peer: Ulid(self.hosts[p.to].addresses[p.ends.1].ip),
            };
            self.flows.push(Flow {
                from: p.from,
                to: p.to,
                ulids,
                forked: p.forked,
                fii: Fii::DEFAULT,
                echo: p.echo,
                tcp: p.tcp,
                packets: p.packets,
                acked: 0,
                gap: p.gap,
                burst: p.burst,
                pause: p.pause,
                running: false,
                timer: 0,
                seq: 0,
                ticks: 0,
                arrived: None,
                answered: None,
            });
        }
        for h in 0..self.hosts.len() {
            self.boot(h, &[]);
        }
    }

    /// A daemon starts, with what its journal holds.
    pub fn boot(&mut self, h: usize, saved: &[Vec<u8>]) {
        let host = &mut self.hosts[h];
        if host.engine.is_some() {
            return;
        }
        let clock = host.clock(self.now);
        let (config, identity) = (host.config.clone(), host.identity.clone());
        host.engine = Some(Engine::new(config, clock, &mut host.rng));
        // Nobody has told this daemon what was decided before.
        host.addresses.iter_mut().for_each(|a| a.rule = LocatorRule::default());
        let addresses = host.addresses.clone();
        self.on(h, None, |e, cx| {
            e.set_identities(cx, identity.into_iter().collect());
            for a in addresses {
                announce(e, cx, &a);
            }
        });
        for octets in saved {
            match SavedContext::from_bytes(octets) {
                Ok(s) => drop(self.on(h, None, |e, cx| e.restore_context(cx, s))),
                Err(e) => self.broken("the journal can be read", |_| e.to_string()),
            }
        }
        self.arm(h);
    }

    fn stop_daemon(&mut self, h: usize, journal: bool, down: Duration) {
        let host = &mut self.hosts[h];
        let Some(engine) = host.engine.take() else { return };
        let saved = match journal {
            true => engine.export_contexts().iter().map(|(_, s)| s.to_bytes()).collect::<Vec<_>>(),
            false => Vec::new(),
        };
        host.boot += 1;
        host.ctxs.clear();
        host.graves.clear();
        host.timer = None;
        if !journal {
            host.reached = [[None; ADDRESSES]; HOSTS];
            host.confirmed = [[false; ADDRESSES]; HOSTS];
        }
        self.tally.restarts += 1;
        self.schedule(self.now + down, Next::Boot(h, saved.into_boxed_slice()));
    }

    pub fn act(&mut self, op: Op) {
        if op.is_fault() && self.hosts.iter().any(|h| !h.ctxs.is_empty()) {
            self.tally.faults += 1;
        }
        match op {
            Op::Cut(n, place) => self.net.cut(n, place),
            Op::Noise(n, place, q) => self.net.noise(n, place, q),
            Op::Repair(n) => self.net.repair(n),
            Op::Address { spot, to, deprecated, temporary } => {
                self.set_address(spot, to, deprecated, temporary);
            }
            Op::Restart { host, journal, refuses, down } => {
                self.hosts[host].refuses = refuses;
                self.stop_daemon(host, journal, down);
            }
            Op::Freeze { host, time } => {
                let until = self.now + time;
                self.hosts[host].frozen = Some(until);
                self.schedule(until, Next::Thaw(host));
            }
            Op::Rule { spot, rule } => self.decide(spot, rule),
            Op::SendTimeout { host, seconds } => {
                let mut config = self.hosts[host].config.clone();
                config.reap.send_timeout_secs = seconds;
                self.hosts[host].config = config.clone();
                self.fresh(host);
                self.on(host, None, |e, cx| e.set_config(cx, config));
                self.arm(host);
            }
            Op::Steer { host, pick, wish } => self.steer(host, pick, wish),
            Op::Explore { host, pick } => self.command(host, pick, On::Explore),
            Op::Test { host, pick } => self.command(host, pick, On::Test),
            Op::InUse { host, pick, on } => {
                if on || self.hosts[host].ctxs.is_empty() {
                    self.command(host, pick, On::InUse);
                } else {
                    let id = self.hosts[host].ctxs[pick % self.hosts[host].ctxs.len()].id;
                    self.on(host, None, |e, cx| {
                        e.handle_command(cx, Command::InUse(id, false)).is_ok()
                    });
                }
            }
            Op::Discard { host, pick } => self.command(host, pick, On::Discard),
            Op::Drop { flow } => {
                let f = &self.flows[flow];
                let (h, at) = (f.from, self.hosts[f.from].find(f.ulids, f.fii));
                if let Some(i) = at {
                    let id = self.hosts[h].ctxs[i].id;
                    self.command_for(h, id, On::Discard, 0);
                }
            }
            Op::Establish { flow } => self.establish(flow),
            Op::Start(flow) => self.start_flow(flow),
            Op::Stop(flow) => self.flows[flow].running = false,
            Op::Hint { host, pick } => {
                let host_ctxs = &self.hosts[host].ctxs;
                if !host_ctxs.is_empty() {
                    let context = host_ctxs[pick % host_ctxs.len()].id;
                    let icmp_code = (pick % 7) as u8;
                    self.count_tests(host, 1);
                    self.notice(host, Notice::PayloadRefused { context, icmp_type: 1, icmp_code });
                }
            }
            Op::Flood { host, kind, count } => self.flood(host, kind, count),
            Op::Replay { host, count } => {
                for _ in 0..count {
                    self.replay(host, None);
                }
            }
        }
    }

    pub fn count_tests(&mut self, h: usize, n: u32) {
        self.hosts[h].ctxs.iter_mut().for_each(|c| c.probes.tests += n);
    }

    /// Somebody asks for the context of a flow; a forked one gets its own.
    pub fn establish(&mut self, n: usize) {
        let f = self.flows[n].clone();
        let (h, ulids) = (f.from, f.ulids);
        if f.forked && self.hosts[h].find(ulids, f.fii).is_some() && f.fii != Fii::DEFAULT {
            return;
        }
        if self.hosts[h].engine.is_some() {
            let state = self.hosts[h].state_of(ulids, f.fii, self.now);
            self.tally.matrix.hit(state, On::Establish);
        }
        if f.forked {
            let id = self.on(h, None, |e, cx| e.fork(cx, ulids).ok()).flatten();
            let fii = id.and_then(|id| {
                self.hosts[h].engine.as_ref().and_then(|e| e.context(id)).map(|v| v.fii)
            });
            if let Some(fii) = fii {
                self.flows[n].fii = fii;
            }
        } else {
            self.on(h, None, |e, cx| e.handle_command(cx, Command::Establish(ulids)).is_ok());
        }
        self.arm(h);
    }

    /// A command about one of the contexts, or one that is no more.
    fn command(&mut self, h: usize, pick: usize, on: On) {
        let host = &self.hosts[h];
        let all: Vec<ContextId> =
            host.ctxs.iter().map(|c| c.id).chain(host.graves.iter().map(|g| g.0)).collect();
        if !all.is_empty() {
            self.command_for(h, all[pick % all.len()], on, pick);
        }
    }

    pub fn command_for(&mut self, h: usize, id: ContextId, on: On, pick: usize) {
        let host = &self.hosts[h];
        let known = host.ctxs.iter().find(|c| c.id == id);
        let state = match (known, host.graves.iter().find(|g| g.0 == id)) {
            (Some(c), _) => c.state,
            (None, Some(g)) => host.state_of(g.1, g.2, self.now),
            (None, None) => return,
        };
        self.tally.matrix.hit(state, on);
        if let Some(c) = known
            && on == On::Explore
            && c.state == State::Established
        {
            self.tally.matrix.reap(c.reap, Cause::Failure);
        }
        let peer = known.map(|c| c.ulids.peer);
        let command = match on {
            On::Explore => Command::Explore(id),
            On::InUse => Command::InUse(id, true),
            On::Discard => Command::Discard(id),
            _ => {
                let local = &self.hosts[h].addresses;
                let local = Locator(local[pick % local.len()].ip);
                let spot = peer.and_then(|p| Spot::of(p.0));
                let theirs = spot.map_or(&[][..], |s| &self.hosts[s.host].addresses);
                let Some(theirs) = theirs.get((pick / 7) % theirs.len().max(1)) else { return };
                let pair = LocatorPair { local, peer: Locator(theirs.ip) };
                self.tally.tests += 1;
                self.count_tests(h, 1);
                self.expect_no_switch();
                Command::Test(id, pair)
            }
        };
        self.fresh(h);
        self.on(h, None, |e, cx| e.handle_command(cx, command).is_ok());
        self.arm(h);
    }

    /// From now until the next disturbance nothing but tests happens: no pair may change by them. That can be said
    /// only if everything is calm, all pairs in use work, and both sides of every context know each other. A context
    /// that one side has lost is noticed when the other one uses it, and what happened to a packet is noticed within a
    /// Send Timeout.
    fn expect_no_switch(&mut self) {
        let of = |h: &Host| h.config.reap.send_timeout_secs;
        let now = self.hosts.iter().map(of).max().unwrap_or_default();
        let before = self.plan.hosts.iter().map(|h| h.send_timeout).max().unwrap_or_default();
        let calm = Duration::from_secs(u64::from(now.max(before)) + 2);
        // A lost notice can look like a failure, with or without a test.
        let quiet = self.now.since(self.disturbed) > calm && self.plan.deaf == 0;
        let mut good = quiet;
        for h in 0..self.hosts.len() {
            let lists = self.now.since(self.hosts[h].lists_changed) > calm;
            let settled = |c: &Ctx| {
                c.state == State::Established
                    && c.reap == ReapState::Operational
                    && self.now.since(c.reap_since) > calm
            };
            let host = &self.hosts[h];
            good &= lists && host.ctxs.iter().all(settled) && !host.is_frozen(self.now);
            good &= host
                .engine
                .as_ref()
                .is_some_and(|e| e.pairs().all(|(_, p)| self.is_clean(p.local, p.peer)));
            good = good && !host.ctxs.iter().any(|c| c.steered);
            good = good && host.ctxs.iter().all(|c| self.is_shared(h, c));
        }
        self.no_switch = good;
        self.tally.calm_tests += u64::from(good);
    }

    /// Both sides of a context know each other as they are.
    pub fn is_shared(&self, h: usize, c: &Ctx) -> bool {
        let Some(peer) = Spot::of(c.ulids.peer.0).map(|s| s.host) else { return false };
        if peer >= self.hosts.len() {
            return false;
        }
        let both = (self.view(h, c.ulids, c.fii), self.view(peer, reverse(c.ulids), c.fii));
        let (Some(ours), Some(theirs)) = both else { return false };
        self.agree(&ours, &theirs, peer)
            && self.agree(&theirs, &ours, h)
            && tags_match(&ours, &theirs)
    }

    /// Both ends are in order and nothing is lost on the way.
    pub fn is_clean(&self, from: Locator, to: Locator) -> bool {
        let (Some(a), Some(b)) = (Spot::of(from.0), Spot::of(to.0)) else { return false };
        let up = |s: Spot| self.hosts.get(s.host).is_some_and(|h| h.works(s.at));
        up(a) && up(b) && self.net.quality(a, b).is_some_and(|q| q.is_clean())
    }

    /// An administrator decides about an address.
    pub fn decide(&mut self, spot: Spot, rule: LocatorRule) {
        let h = spot.host;
        let Some(a) = self.hosts[h].addresses.get_mut(spot.at) else { return };
        a.rule = rule;
        let addr = a.ip;
        if self.hosts[h].engine.is_none() {
            return;
        }
        self.hit_all(h, On::Locator);
        self.fresh(h);
        self.on(h, None, |e, cx| e.handle_command(cx, Command::Locator(addr, rule)).is_ok());
        self.arm(h);
    }

    pub fn set_address(&mut self, spot: Spot, to: Presence, deprecated: bool, temporary: bool) {
        let h = spot.host;
        let Some(a) = self.hosts[h].addresses.get_mut(spot.at) else { return };
        *a = crate::host::Address { presence: to, deprecated, temporary, ..*a };
        let a = *a;
        let on = match to {
            Presence::Present => On::AddressPresent,
            Presence::Unusable | Presence::Unreachable => On::AddressLost,
            Presence::Absent => On::AddressGone,
        };
        self.hit_all(h, on);
        self.fresh(h);
        self.on(h, None, |e, cx| announce(e, cx, &a));
        self.arm(h);
    }
}

/// Tells an engine what an address is like.
fn announce(e: &mut Engine, cx: &mut shim6::proto::Cx<'_>, a: &crate::host::Address) {
    let (addr, deprecated, temporary) = (a.ip, a.deprecated, a.temporary);
    let present = AddressEvent::Present(LocalAddress { addr, deprecated, temporary });
    match a.presence {
        Presence::Present => e.handle_address(cx, present),
        Presence::Absent => e.handle_address(cx, AddressEvent::Gone(addr)),
        Presence::Unusable | Presence::Unreachable => {
            // What was never there cannot be lost.
            if e.locals().status(addr).is_none() {
                e.handle_address(cx, present);
            }
            let event = match a.presence {
                Presence::Unusable => AddressEvent::Unusable(addr),
                _ => AddressEvent::Unreachable(addr),
            };
            e.handle_address(cx, event);
        }
    }
}
