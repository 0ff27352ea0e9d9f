//! Somebody asks for pairs, and what has to be true when a context leaves its own.

use crate::matrix::On;
use crate::net::Spot;
use crate::plan::Wish;
use crate::world::World;
use shim6::addr::{Fii, Locator, LocatorPair};
use shim6::proto::engine::ContextView;
use shim6::proto::settings::Ends;
use shim6::proto::{Command, ContextId, Settings};
use shim6::wire::option::PreferenceFlags;
use std::time::Duration;

/// Tests that the preferred pair passes before payload returns to it.
const RETURN_TESTS: u32 = 4;
/// Answers to tests may take so much longer or shorter than others.
const JITTER: Duration = Duration::from_secs(1);

impl World {
    /// Somebody wants something of a context's pair; of a forked one's, where there is one.
    pub fn steer(&mut self, h: usize, pick: usize, wish: Wish) {
        let ctxs = &self.hosts[h].ctxs;
        let forked: Vec<usize> = (0..ctxs.len()).filter(|i| ctxs[*i].fii != Fii::DEFAULT).collect();
        let i = match forked.get(pick % forked.len().max(1)) {
            Some(i) if pick.is_multiple_of(2) => *i,
            _ if ctxs.is_empty() => return,
            _ => pick % ctxs.len(),
        };
        self.steer_for(h, ctxs[i].id, pick, wish);
    }

    /// The same for a certain context, or one that is no more.
    pub fn steer_for(&mut self, h: usize, id: ContextId, pick: usize, wish: Wish) {
        let host = &self.hosts[h];
        let known = host.ctxs.iter().find(|c| c.id == id).map(|c| (c.ulids, c.state));
        let grave = || {
            let (_, ulids, fii) = host.graves.iter().find(|g| g.0 == id)?;
            Some((*ulids, host.state_of(*ulids, *fii, self.now)))
        };
        let Some((ulids, state)) = known.or_else(grave) else { return };
        let Some(peer) = Spot::of(ulids.peer.0).and_then(|s| self.hosts.get(s.host)) else {
            return;
        };
        let (ours, theirs) = (&self.hosts[h].addresses, &peer.addresses);
        let local = Locator(ours[(pick / 3) % ours.len()].ip);
        let peer = Locator(theirs[(pick / 11) % theirs.len()].ip);
        let pair = LocatorPair { local, peer };
        let configure = |settings| (On::Configure, Command::Configure(id, Box::new(settings)));
        let pin = |pin: Ends| configure(Settings { pin, ..Settings::default() });
        let asked = self.hosts[h].ctx(id).and_then(|c| c.asked);
        let (on, command) = match wish {
            Wish::Switch(keep) => (On::Switch, Command::Switch(id, pair, keep)),
            Wish::PinLocal => pin(Ends { local: Some(local), peer: None }),
            Wish::PinPeer => pin(Ends { local: None, peer: Some(peer) }),
            Wish::Release => (On::Release, Command::Release(id)),
            Wish::GiveUp => (On::GiveUpSwitch, Command::GiveUpSwitch(id, asked.unwrap_or(pair))),
            Wish::Settings => {
                let initial_probes = Some(1 + pick as u16 % 4);
                configure(Settings { initial_probes, ..Settings::default() })
            }
        };
        self.tally.matrix.hit(state, on);
        if let Some(c) = self.hosts[h].ctx(id) {
            c.steered = true;
            c.asked = if on == On::Switch { Some(pair) } else { c.asked };
        }
        self.on(h, None, |e, cx| e.handle_command(cx, command).is_ok());
        self.arm(h);
    }

    /// Payload of a context has changed its pair.
    pub fn judge_switch(&mut self, h: usize, id: ContextId, from: LocatorPair, to: LocatorPair) {
        let now = self.now;
        let wait = self.hosts[h].config.reap.return_to_preferred;
        let Some(c) = self.hosts[h].ctx(id) else { return };
        let passed = std::mem::take(&mut c.passed).into_iter().find(|(pair, _, _)| *pair == to);
        let text = move || format!("host {h}, context {id}: {from} to {to}, {passed:?}");
        if self.no_switch {
            let proved = |wait: Duration| {
                passed.is_some_and(|(_, n, first)| {
                    n >= RETURN_TESTS && now.since(first) + JITTER >= wait * 3 / 4
                })
            };
            match wait {
                None => self.broken("a test of a pair changes no current pair", |_| text()),
                Some(wait) if proved(wait) => self.tally.returns += 1,
                Some(_) => {
                    self.broken("payload returns to the preferred pair after tests", |_| text());
                }
            }
        }
    }
}

/// Nothing but a failure speaks against a pair.
fn is_good(v: &ContextView, pair: LocatorPair) -> bool {
    let ours = v.local_locators.iter().find(|l| l.locator == pair.local);
    let theirs = v.peer_locators.iter().find(|p| p.locator == pair.peer);
    ours.is_some_and(|l| l.acknowledged && !l.broken && !l.deprecated)
        && theirs.is_some_and(|p| p.verified && !p.flags.contains(PreferenceFlags::BROKEN))
}

/// A context is on the pair that was asked for, or cannot be.
pub fn is_obeyed(v: &ContextView) -> bool {
    let pin = v.settings.pin;
    pin.fit(v.pair) || !is_good(v, pin.with(v.pair))
}
