//! One scenario from its beginning to its end, and what has to be true once nobody disturbs any more.

use crate::host::{Ctx, Host, Presence};
use crate::matrix::On;
use crate::net::{Spot, Where};
use crate::plan::Plan;
use crate::pool::Kind;
use crate::record::Recorder;
use crate::steer::is_obeyed;
use crate::world::{Next, Violation, World, reverse};
use shim6::addr::{Fii, LocatorPair, UlidPair};
use shim6::proto::config::Detection;
use shim6::proto::engine::{ContextView, Engine, State};
use shim6::proto::input::LocatorRule;
use shim6::proto::reap::ReapState;
use shim6::proto::{Command, Time};
use shim6::wire::option::PreferenceFlags;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// A scenario lasts at least so long.
const LEAST: Duration = Duration::from_secs(600);

/// What may be left of the trouble when the network is whole again: an attempt that began before (I1: 124 s and half as
/// much), its hold-down (60 s), and a new attempt.
const REST: Duration = Duration::from_secs(330);

/// The outcome of a scenario.
pub struct Outcome {
    pub violation: Option<Violation>,
    pub tally: crate::world::Tally,
    pub digest: u64,
    pub record: Option<Box<Recorder>>,
}

/// How long a context may take to be Operational on a working pair in both directions, once the network has stopped
/// changing, the peers know each other's lists, and payload flows (see docs/simulator.md).
///
/// - The failure is noticed within the Send Timeout, after it has been noticed that the last exploration ended well.
/// - A round of Exploring comes to each of the P pairs within P gaps of at most Max Probe Timeout, and one that is
///   under way has to end first.
/// - The peer that hears it answers by a round of its own, in InboundOk; Send Timeout ends that state, and with it
///   the round goes on when the next Probe is heard. Within a Send Timeout at least as many Probes go out as fit.
pub fn bound(plan: &Plan, pairs: u32, send_timeout: Duration) -> Duration {
    let gap = plan.max_probe_timeout;
    let mut fit = 0;
    let (mut at, mut step) = (Duration::ZERO, Duration::from_millis(500));
    while at <= send_timeout {
        fit += 1;
        at += step.mul_f64(1.2);
        step = if fit < 4 { step } else { (step * 2).min(gap) };
    }
    let visits = pairs.div_ceil(fit);
    send_timeout * 2 + gap * (2 * pairs) * visits + send_timeout * visits + 10 * SECOND
}

/// How long the first Probes to so many pairs take, with the longest gaps.
fn round(plan: &Plan, pairs: u32) -> Duration {
    let (mut at, mut step) = (Duration::ZERO, Duration::from_millis(500));
    for sent in 1..=pairs {
        step = if sent < 4 { step } else { (step * 2).min(plan.max_probe_timeout) };
        at += step.mul_f64(1.2);
    }
    at
}

/// Runs one scenario.
pub fn scenario(plan: Plan, record: Option<Box<Recorder>>) -> Outcome {
    let mut w = World::empty(plan, record);
    let begin = w.now;
    w.populate();
    w.prologue();
    w.trouble();
    w.partial();
    w.whole(begin);
    w.tally.scenarios = 1;
    w.tally.seconds = w.now.since(begin).as_secs();
    for h in &w.hosts {
        w.digest = w.digest.wrapping_mul(31).wrapping_add(h.transmitted);
    }
    Outcome { violation: w.violation, tally: w.tally, digest: w.digest, record: w.record }
}

impl World {
    /// All contexts of the plan come to be, on a network without faults.
    fn prologue(&mut self) {
        for n in 0..self.flows.len() {
            self.establish(n);
            self.start_flow(n);
        }
        let end = self.now + 20 * SECOND;
        while self.now < end && self.violation.is_none() {
            self.run(self.now + SECOND);
            let made = (0..self.flows.len()).all(|n| {
                let f = &self.flows[n];
                let at = self.hosts[f.from].find(f.ulids, f.fii);
                at.is_some_and(|i| self.hosts[f.from].ctxs[i].state == State::Established)
            });
            if made {
                return;
            }
        }
        let small = self.plan.tag_bits < 47;
        if !small {
            self.broken("contexts are established on a network without faults", |_| String::new());
        }
    }

    /// The plan is carried out.
    fn trouble(&mut self) {
        self.disturb();
        self.peace = false;
        let start = self.now;
        for n in 0..self.plan.ops.len() {
            let at = start + self.plan.ops[n].0;
            self.schedule(at, Next::Op(n));
        }
        self.run(start + self.plan.end() + SECOND);
    }

    /// All flows run without pause from now on.
    fn traffic(&mut self, gap: Duration) {
        for n in 0..self.flows.len() {
            self.flows[n].gap = gap + Duration::from_millis(130 * n as u64);
            self.flows[n].burst = u32::MAX;
            self.start_flow(n);
        }
    }

    /// Nobody disturbs any more, but what is cut stays cut.
    fn partial(&mut self) {
        if self.violation.is_some() {
            return;
        }
        self.peace = true;
        self.net.calm();
        self.no_switch = false;
        self.traffic(2 * SECOND);
        let settle = 45 * SECOND;
        self.run(self.now + settle);
        let since = self.now;
        let longest =
            self.hosts.iter().map(|h| h.config.reap.send_timeout_secs).max().unwrap_or(15);
        let send_timeout = Duration::from_secs(longest.into());
        let pairs = self.plan.pairs();
        let limit = bound(&self.plan, pairs, send_timeout);
        // Once all are in order twice in a row they stay so; only the others get the whole time.
        let mut good = 0;
        while good < 2 && self.now < since + limit && self.violation.is_none() {
            self.run((self.now + 20 * SECOND).min(since + limit));
            let ready = |n| self.judge_partial(n, since).is_none_or(|(_, fault)| fault.is_none());
            good = if (0..self.flows.len()).all(ready) { good + 1 } else { 0 };
        }
        for n in 0..self.flows.len() {
            let Some((took, fault)) = self.judge_partial(n, since) else { continue };
            self.tally.judged += 1;
            let part = (1000.0 * took.as_secs_f64() / limit.as_secs_f64()) as u64;
            self.tally.slowest = self.tally.slowest.max(part);
            if let Some(fault) = fault {
                self.broken("working pairs are found in time", |_| format!("{limit:?}: {fault}"));
            }
        }
    }

    pub fn view(&self, h: usize, u: shim6::addr::UlidPair, fii: Fii) -> Option<ContextView> {
        let e = self.hosts[h].engine.as_ref()?;
        e.find(u, fii).and_then(|id| e.context(id))
    }

    /// Whether payload and Probes from the one can reach the other on some pair, as far as both know.
    fn can_reach(&self, from: &ContextView, to: &ContextView) -> bool {
        let usable = |p: LocatorPair| {
            self.is_clean(p.local, p.peer)
                && to.peer_locators.iter().any(|e| e.locator == p.local)
                && to.local_locators.iter().any(|e| e.locator == p.peer)
        };
        let ours = from.local_locators.iter().filter(|l| l.acknowledged && !l.broken);
        ours.into_iter().any(|l| {
            let theirs = from.peer_locators.iter().filter(|p| p.verified);
            theirs.into_iter().any(|p| usable(LocatorPair { local: l.locator, peer: p.locator }))
        })
    }

    /// Both sides of a flow's context are Operational on a working pair, if there is one in each direction: since
    /// when, and what is wrong. `None` if nothing can be said.
    fn judge_partial(&self, n: usize, since: Time) -> Option<(Duration, Option<String>)> {
        let f = &self.flows[n];
        let (a, b) = (f.from, f.to);
        let (x, y) = (self.view(a, f.ulids, f.fii)?, self.view(b, reverse(f.ulids), f.fii)?);
        let matched = tags_match(&x, &y);
        let both = x.state == State::Established && y.state == State::Established;
        let changed = self.hosts[a].lists_changed.max(self.hosts[b].lists_changed);
        if !both || !matched || changed > since || x.updating || y.updating {
            return None;
        }
        if !self.can_reach(&x, &y) || !self.can_reach(&y, &x) {
            return None;
        }
        let quiet = |h: usize, v: &ContextView| {
            let c = self.hosts[h].ctxs.iter().find(|c| c.id == v.id);
            let calm = |c: &Ctx| if self.is_tested(c.ulids) { c.calm_since } else { c.reap_since };
            c.map_or(Duration::ZERO, |c| calm(c).since(since))
        };
        let good = |h: usize, v: &ContextView| {
            self.is_operational(h, v) && self.is_clean(v.pair.local, v.pair.peer)
        };
        let fault = (!good(a, &x) || !good(b, &y))
            .then(|| format!("hosts {a} and {b}\n{}\n{}", brief(&x), brief(&y)));
        Some((quiet(a, &x).max(quiet(b, &y)), fault))
    }

    /// The network is whole again: everything works as if nothing had been.
    fn whole(&mut self, begin: Time) {
        if self.violation.is_some() {
            return;
        }
        self.net.whole();
        for h in 0..self.hosts.len() {
            for at in 0..self.hosts[h].addresses.len() {
                let a = self.hosts[h].addresses[at];
                if a.presence != Presence::Present || a.deprecated || a.temporary {
                    self.set_address(Spot { host: h, at }, Presence::Present, false, false);
                }
                if a.rule != LocatorRule::default() {
                    self.decide(Spot { host: h, at }, LocatorRule::default());
                }
            }
        }
        let end = self.now + REST;
        self.traffic(3 * SECOND);
        self.run(self.now + 90 * SECOND);
        // From now on nothing but a wish or tests that went well can change a pair.
        self.no_switch = self.plan.tag_bits == 47
            && (0..self.flows.len()).all(|n| self.judge_whole(n).is_none())
            && (0..self.hosts.len())
                .all(|h| self.hosts[h].ctxs.iter().all(|c| self.is_shared(h, c)));
        // What is left of the ten minutes passes with little traffic, so that contexts fall idle and come back.
        let last = 45 * SECOND;
        if begin + LEAST > self.now + last {
            self.traffic(47 * SECOND);
            self.run(begin + LEAST - last);
            self.traffic(3 * SECOND);
            self.run(begin + LEAST);
        }
        // A side on its ULIDs may have found out only now that the other has lost the context.
        self.wait_for_all(end.max(self.now + 60 * SECOND));
        if self.use_tags() {
            self.wait_for_all(self.now + REST);
        }
        if self.violation.is_some() {
            return;
        }
        for n in 0..self.flows.len() {
            if let Some((rule, text)) = self.judge_whole(n) {
                self.broken(rule, |_| text);
            }
        }
        let pins = |h: &Host| h.engine.iter().flat_map(Engine::contexts).filter(is_pinned).count();
        self.tally.pinned = self.hosts.iter().map(|h| pins(h) as u64).sum();
        if self.plan.last && self.plan.tag_bits == 47 {
            self.last_failure();
        }
        for h in 0..self.hosts.len() {
            let per_second = self.hosts[h].transmitted as f64 / self.now.since(begin).as_secs_f64();
            let bound = 5.0 * self.plan.contexts as f64;
            if per_second > bound {
                self.broken("signalling is bounded", |_| format!("host {h}: {per_second}/s"));
            }
        }
    }

    /// All is well; then the pair fails that the first flow uses. Nothing else is broken, so the exploration that follows
    /// begins with short gaps and finds what works in its first round.
    fn last_failure(&mut self) {
        self.no_switch = false;
        self.flows[0].gap = SECOND;
        self.start_flow(0);
        self.run(self.now + 10 * SECOND);
        let f = self.flows[0].clone();
        let ends = [(f.from, f.ulids), (f.to, reverse(f.ulids))];
        let views = |w: &World| -> Option<Vec<ContextView>> {
            ends.iter().map(|(h, ulids)| w.view(*h, *ulids, f.fii)).collect()
        };
        let Some(before) = views(self) else { return };
        let pair = before[0].pair;
        let (Some(a), Some(b)) = (Spot::of(pair.local.0), Spot::of(pair.peer.0)) else { return };
        let calm = before.iter().all(|v| v.reap == Some(ReapState::Operational));
        if !calm || before[0].local_locators.len() * before[0].peer_locators.len() < 2 {
            return;
        }
        self.net.cut(61, Where::Pair(a, b));
        self.disturb();
        let hosts = [f.from, f.to].map(|h| &self.hosts[h].config.reap);
        let seconds = hosts.iter().map(|r| r.send_timeout_secs).max().unwrap_or(15);
        let send_timeout = Duration::from_secs(seconds.into());
        let fast = hosts.iter().all(|r| r.detection == Detection::Fast);
        // Where both directions have pairs of their own, Keepalives for what arrived before go on for a Keepalive Timeout.
        let apart = !f.echo && before[1].pair != LocatorPair { local: pair.peer, peer: pair.local };
        let noticed = if apart { 2 * send_timeout } else { send_timeout };
        let limit = SECOND + noticed + 2 * round(&self.plan, self.plan.pairs()) + 5 * SECOND;
        let began = self.now;
        let good = |w: &World| {
            let found = views(w).unwrap_or_default();
            found.len() == 2
                && found.iter().all(|v| {
                    v.reap == Some(ReapState::Operational) && w.is_clean(v.pair.local, v.pair.peer)
                })
        };
        while self.violation.is_none() && !good(self) && self.now.since(began) <= limit {
            self.run(self.now + SECOND / 4);
        }
        let took = self.now.since(began);
        if took > limit {
            self.broken("a fresh failure is left in time", |w| {
                let after: Vec<String> = views(w).iter().flatten().map(brief).collect();
                format!("{limit:?}: {pair} {}", after.join("\n"))
            });
        }
        let part = (1000.0 * took.as_secs_f64() / send_timeout.as_secs_f64()) as u64;
        self.tally.fresh[usize::from(fast)] = (1, part);
    }

    /// Until nothing is wrong any more, or to the end.
    fn wait_for_all(&mut self, end: Time) {
        while self.violation.is_none()
            && self.now < end
            && (0..self.flows.len()).any(|n| self.judge_whole(n).is_some())
        {
            self.run(self.now + 20 * SECOND);
        }
    }

    /// A side that holds an old tag of its peer cannot know before it uses it: RFC 5533 has no other sign of a context
    /// that was lost. Payload on the ULIDs that is answered by payload uses none, however long it flows. So such a side
    /// is made to use its tag; after that nothing excuses it. Whether there was one.
    fn use_tags(&mut self) -> bool {
        let mut used = false;
        for n in 0..self.flows.len() {
            let f = self.flows[n].clone();
            let ends = [(f.from, f.ulids), (f.to, reverse(f.ulids))];
            let views = ends.map(|(h, ulids)| self.view(h, ulids, f.fii));
            let [Some(x), Some(y)] = views else { continue };
            let both = x.state == State::Established && y.state == State::Established;
            for (h, us, them) in [(f.from, &x, &y), (f.to, &y, &x)] {
                let old = us.peer_tag != Some(them.local_tag) && !us.tagged;
                if both && old && self.plan.tag_bits == 47 {
                    self.no_switch = false;
                    // A pinned pair is not explored on request.
                    self.on(h, None, |e, cx| e.handle_command(cx, Command::Release(us.id)).is_ok());
                    self.command_for(h, us.id, On::Explore, 0);
                    used = true;
                }
            }
        }
        used
    }

    /// One of both hosts tests pairs by itself, which brings the other one to InboundOk for a moment.
    fn is_tested(&self, ulids: UlidPair) -> bool {
        let ends = [ulids.local.0, ulids.peer.0];
        ends.iter().filter_map(|a| self.hosts.get(Spot::of(*a)?.host)).any(|h| {
            let r = &h.config.reap;
            r.detection == Detection::Fast
                || r.hot_standby
                || r.return_to_preferred.is_some()
                || h.ctxs.iter().any(|c| c.steered)
        })
    }

    /// Operational, or about to be so again after a test of the peer's.
    fn is_operational(&self, h: usize, v: &ContextView) -> bool {
        let brief = |c: &Ctx| {
            self.now.since(c.reap_since) < 5 * SECOND && !c.explored && self.is_tested(c.ulids)
        };
        match v.reap {
            Some(ReapState::InboundOk) => {
                self.hosts[h].ctxs.iter().any(|c| c.id == v.id && brief(c))
            }
            state => state == Some(ReapState::Operational),
        }
    }

    /// What is wrong with a flow and its context on a whole network.
    fn judge_whole(&self, n: usize) -> Option<(&'static str, String)> {
        let f = &self.flows[n];
        let late = |t: Option<Time>| t.is_none_or(|t| self.now.since(t) > 8 * SECOND);
        let (x, y) = (self.view(f.from, f.ulids, f.fii), self.view(f.to, reverse(f.ulids), f.fii));
        if late(f.arrived) || f.echo && late(f.answered) {
            let both = [x, y].map(|v| v.map_or("no context".to_owned(), |v| brief(&v)));
            let text = format!("flow {n}: {f:?}\n{}\n{}", both[0], both[1]);
            return Some(("payload arrives on a whole network", text));
        }
        let (Some(x), Some(y)) = (x, y) else {
            return self.judge_missing(n);
        };
        // With tags of few bits contexts may be confused at any time.
        if self.plan.tag_bits < 47 {
            return None;
        }
        let settled = |v: &ContextView, h: usize| {
            let c = self.hosts[h].ctxs.iter().find(|c| c.id == v.id);
            v.state == State::Established
                && self.is_operational(h, v)
                && self.is_clean(v.pair.local, v.pair.peer)
                && !v.updating
                && is_obeyed(v)
                && c.is_some_and(|c| {
                    let since = if self.is_tested(c.ulids) { c.calm_since } else { c.reap_since };
                    self.now.since(since) > 30 * SECOND
                })
        };
        let matched = tags_match(&x, &y);
        let text = || format!("{}\n{}", brief(&x), brief(&y));
        if !settled(&x, f.from) || !settled(&y, f.to) || !matched {
            return Some(("all is well on a whole network", text()));
        }
        // A repeated Update Request cannot be told from a new one (RFC 5533 gives generations no order).
        let agree = self.agree(&x, &y, f.to) && self.agree(&y, &x, f.from);
        (!self.plan.repeats() && !agree).then(|| ("both sides know each other's locators", text()))
    }

    /// What the one holds of the other is what that one has announced: list, flags, Send Timeout.
    pub fn agree(&self, v: &ContextView, other: &ContextView, h: usize) -> bool {
        let known = v.peer_locators.iter().all(|p| {
            let l = other.local_locators.iter().find(|l| l.locator == p.locator);
            l.is_some_and(|l| l.broken == p.flags.contains(PreferenceFlags::BROKEN))
        });
        let timeout = Duration::from_secs(self.hosts[h].config.reap.send_timeout_secs.into());
        known
            && v.peer_locators.len() == other.local_locators.len()
            && v.keepalive_told
            && v.keepalive_timeout == timeout
    }

    /// Where traffic flows there is a context before long, unless the host has nothing to choose from.
    fn judge_missing(&self, n: usize) -> Option<(&'static str, String)> {
        let f = &self.flows[n];
        for (h, ulids) in [(f.from, f.ulids), (f.to, reverse(f.ulids))] {
            let state = self.hosts[h].state_of(ulids, Fii::DEFAULT, self.now);
            let choice = self.plan.hosts[h].kind != Kind::Plain;
            let early = matches!(state, State::Idle | State::EFailed | State::I1Sent);
            if f.fii == Fii::DEFAULT && choice && early && self.plan.tag_bits == 47 {
                return Some(("contexts come back", format!("host {h}, {ulids}: {state}")));
            }
        }
        None
    }
}

fn is_pinned(v: &ContextView) -> bool {
    !v.settings.pin.is_free()
}

/// Each side sends by the other's tag.
pub fn tags_match(x: &ContextView, y: &ContextView) -> bool {
    x.peer_tag == Some(y.local_tag) && y.peer_tag == Some(x.local_tag)
}

/// What a person wants to know of a context first.
fn brief(v: &ContextView) -> String {
    let ours: Vec<String> = v
        .local_locators
        .iter()
        .map(|l| format!("{} acknowledged {} broken {}", l.locator, l.acknowledged, l.broken))
        .collect();
    let theirs: Vec<String> = v
        .peer_locators
        .iter()
        .map(|p| format!("{} probed {} flags {}", p.locator, p.probed, p.flags.0))
        .collect();
    format!(
        "  {} {} {} {:?} on {}, tags {:?} {:?}, updating {}, exploring since {:?}\n    ours {ours:?}\n    theirs \
         {theirs:?}",
        v.id,
        v.ulids,
        v.state,
        v.reap,
        v.pair,
        v.local_tag,
        v.peer_tag,
        v.updating,
        v.exploring_since
    )
}
