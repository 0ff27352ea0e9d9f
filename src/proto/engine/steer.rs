//! Steering: somebody outside wants another pair, or other settings, for one context.
//!
//! Only our own sending pair is chosen here; the peer chooses its own (RFC 5534, 3.3). No packet goes to a pair that was
//! not shown to work: one that did not answer lately is tested first, and the switch follows the answer.

use super::update::Wanted;
use super::{CommandError, Context, ContextId, Engine, State};
use crate::addr::{Locator, LocatorPair};
use crate::proto::input::Keep;
use crate::proto::reap::{Candidate, ReapState};
use crate::proto::settings::{Ends, Preference, Settings};
use crate::proto::{Cx, Event, Output, Time};
use std::time::Duration;

/// A pair that answered so lately needs no test before it is used.
const FRESH: Duration = Duration::from_secs(10);
/// A wanted pair that does not work is tested again after this time.
const TEST_AGAIN: Duration = Duration::from_secs(30);
/// And up to so much later: where both sides want another pair, and test theirs at the same moments, each test ends the
/// other one.
const TEST_APART: Duration = Duration::from_secs(6);

/// When a wanted pair is tested again.
fn test_again(cx: &mut Cx<'_>) -> Time {
    let share = f64::from(cx.rng.next_u32()) / f64::from(u32::MAX);
    cx.now + TEST_AGAIN + TEST_APART.mul_f64(share)
}

/// REAP has gone where it found a pair: what the settings want is looked at some time later.
pub(super) fn steer_later(cx: &mut Cx<'_>, c: &mut Context) {
    if c.steer_at.is_none() && !c.settings.is_default() {
        c.steer_at = Some(test_again(cx));
    }
}

/// What the settings say about candidates comes before what their owners say.
// req: AP-11.1-04
pub(super) fn ranked(mut list: Vec<Candidate>, asked: &[Preference]) -> Vec<Candidate> {
    for c in &mut list {
        if let Some((priority, weight)) = Settings::rank(asked, Locator(c.addr)) {
            (c.priority, c.weight) = (priority, weight);
        }
    }
    list
}

/// The ends that exploration should look for first.
// req: AP-11.1-03
pub(super) fn wanted(c: &Context) -> Ends {
    match (c.settings.pin.is_free(), c.settings.prefer) {
        (true, Some(pair)) => Ends::of(pair),
        (_, _) => c.settings.pin,
    }
}

/// The pair that a context should be on by its settings, if they say anything.
fn target(c: &Context) -> Option<LocatorPair> {
    if !c.settings.pin.is_free() {
        return Some(c.settings.pin.with(c.pair));
    }
    if c.settings.local.is_empty() && c.settings.peer.is_empty() {
        return None;
    }
    let (local, peer) = (
        ranked(c.local.candidates(), &c.settings.local),
        ranked(c.peer.candidates(), &c.settings.peer),
    );
    let rank = |l: &Candidate, p: &Candidate| {
        let broken = u8::from(l.broken) + u8::from(p.broken);
        (broken, u16::from(l.priority) + u16::from(p.priority))
    };
    let all = local.iter().flat_map(|l| peer.iter().map(move |p| (l, p)));
    let usable = all.filter(|(l, p)| l.usable && p.usable);
    let of = |l: &Candidate, p: &Candidate| LocatorPair {
        local: Locator(l.addr),
        peer: Locator(p.addr),
    };
    // Among equals the one in use stays.
    usable.min_by_key(|(l, p)| (rank(l, p), of(l, p) != c.pair)).map(|(l, p)| of(l, p))
}

impl Engine {
    /// Sends by another pair.
    pub(super) fn switch_to(
        &mut self,
        cx: &mut Cx<'_>,
        id: ContextId,
        pair: LocatorPair,
        keep: Keep,
    ) -> Result<ContextId, CommandError> {
        self.with(cx, id, |e, cx, c| {
            match (c.state(), c.reap.as_ref().map(|r| r.state())) {
                (State::Established, Some(ReapState::Operational)) => {}
                (State::Established, _) => return Err(CommandError::Exploring),
                (state, _) => return Err(CommandError::State(state)),
            }
            if keep != Keep::Pin && !c.settings.pin.fit(pair) {
                return Err(CommandError::Pinned);
            }
            e.approach(cx, c, pair, keep).map(|()| id)
        })
        .unwrap_or(Err(CommandError::NoSuchContext))
    }

    /// Goes to a pair at once if it is known to work, else after a test. REAP is Operational.
    // req: S6-7.2-04, S6-16-02, RP-3.3-04
    fn approach(
        &mut self,
        cx: &mut Cx<'_>,
        c: &mut Context,
        pair: LocatorPair,
        keep: Keep,
    ) -> Result<(), CommandError> {
        check_ends(c, Ends::of(pair))?;
        if pair == c.pair {
            give_way(cx, c, pair);
            self.keep(c, pair, keep);
            return Ok(());
        }
        let fresh = c.reap.as_ref().is_some_and(|r| {
            r.pairs().iter().any(|p| {
                let lately = p.answered.is_some_and(|t| cx.now.since(t) <= FRESH);
                p.pair == pair && lately && p.unanswered == 0
            })
        });
        if fresh {
            self.take_over(cx, c, pair, keep);
            return Ok(());
        }
        let mut begun = false;
        self.reap(cx, c, |reap, rcx| begun = reap.test_pair(rcx, pair));
        if !begun {
            return Err(CommandError::BadPair);
        }
        give_way(cx, c, pair);
        *c.approaching = Some((pair, keep, cx.now));
        Ok(())
    }

    fn take_over(&mut self, cx: &mut Cx<'_>, c: &mut Context, pair: LocatorPair, keep: Keep) {
        self.switch(cx, c, pair);
        give_way(cx, c, pair);
        if c.pair == pair {
            self.keep(c, pair, keep);
        } else {
            steer_later(cx, c);
        }
    }

    fn keep(&self, c: &mut Context, pair: LocatorPair, keep: Keep) {
        match keep {
            Keep::No => {}
            Keep::Prefer => c.settings.prefer = Some(pair),
            Keep::Pin => c.settings.pin = Ends::of(pair),
        }
    }

    /// A test is over; `rtt` if the pair works.
    pub(super) fn tested(
        &mut self,
        cx: &mut Cx<'_>,
        c: &mut Context,
        pair: LocatorPair,
        rtt: Option<Duration>,
    ) {
        cx.push(Output::Event(Event::Tested { context: c.id, pair, rtt }));
        let Some((awaited, keep, _)) = c.approaching.filter(|(p, _, _)| *p == pair) else { return };
        match rtt {
            Some(_) => self.take_over(cx, c, awaited, keep),
            None => {
                c.approaching.put_to_rest();
                c.steer_at = target(c).map(|_| test_again(cx));
            }
        }
    }

    /// An exploration begins, which ends all tests.
    pub(super) fn steering_interrupted(&mut self, cx: &mut Cx<'_>, c: &mut Context) {
        c.steer_at = None;
        if let Some((pair, _, _)) = c.approaching.take() {
            cx.push(Output::Event(Event::Tested { context: c.id, pair, rtt: None }));
        }
    }

    /// Looks whether the settings want another pair than the one in use.
    pub(super) fn pursue(&mut self, cx: &mut Cx<'_>, c: &mut Context) {
        c.steer_at = None;
        let operational = c.reap.as_ref().is_some_and(|r| r.state() == ReapState::Operational);
        if c.state() != State::Established || !operational || c.approaching.is_some() {
            return;
        }
        if let Some(pair) = target(c).filter(|p| *p != c.pair)
            && self.approach(cx, c, pair, Keep::No).is_err()
        {
            c.steer_at = Some(test_again(cx));
        }
    }

    /// Takes over other settings.
    // req: AP-6.12-01, AP-6.13-01
    pub(super) fn configure(
        &mut self,
        cx: &mut Cx<'_>,
        id: ContextId,
        settings: Settings,
    ) -> Result<ContextId, CommandError> {
        self.with(cx, id, |e, cx, c| {
            if c.state().has_peer() {
                let later = |l: Locator| settings.extra.contains(&l);
                let local = settings.pin.local.filter(|l| !later(*l));
                check_ends(c, Ends { local, ..settings.pin })?;
            }
            let told = c.settings.send_timeout_secs != settings.send_timeout_secs;
            let list = c.settings.extra != settings.extra;
            let preferences = c.settings.local != settings.local && c.local.generation.is_some();
            c.settings = settings.into();
            overtaken(cx, c);
            // req: RP-5.3-01, RP-5.3-03, AP-6.10-01
            if (told || preferences) && c.state() == State::Established {
                let wanted = Wanted { keepalive_timeout: told, preferences, ..Wanted::default() };
                e.want_update(cx, c, wanted);
            }
            // req: AP-14.1.1-02
            if list {
                e.refresh_local_set(cx, c);
            }
            e.pursue(cx, c);
            Ok(id)
        })
        .unwrap_or(Err(CommandError::NoSuchContext))
    }

    /// Leaves the choice of the pair to REAP again.
    pub(super) fn release(
        &mut self,
        cx: &mut Cx<'_>,
        id: ContextId,
    ) -> Result<ContextId, CommandError> {
        self.with(cx, id, |_, cx, c| {
            c.settings.pin = Ends::default();
            c.settings.prefer = None;
            overtaken(cx, c);
            c.steer_at = None;
        })
        .map(|()| id)
        .ok_or(CommandError::NoSuchContext)
    }

    /// Whoever asked for this pair waits no longer: whatever its test shows, it changes nothing.
    pub(super) fn give_up_switch(
        &mut self,
        cx: &mut Cx<'_>,
        id: ContextId,
        pair: LocatorPair,
    ) -> Result<ContextId, CommandError> {
        self.with(cx, id, |_, cx, c| {
            if c.approaching.is_some_and(|(p, _, _)| p == pair) {
                c.approaching.put_to_rest();
                c.steer_at = target(c).map(|_| test_again(cx));
            }
        })
        .map(|()| id)
        .ok_or(CommandError::NoSuchContext)
    }

    /// The Send Timeout of a context, in seconds.
    pub(super) fn send_timeout_secs(&self, c: &Context) -> u16 {
        c.settings.send_timeout_secs.unwrap_or(self.config.reap.send_timeout_secs)
    }
}

/// Another pair than this one is not wanted any more, if one was.
fn give_way(cx: &mut Cx<'_>, c: &mut Context, to: LocatorPair) {
    if c.approaching.is_some_and(|(pair, _, _)| pair == to) {
        c.approaching.put_to_rest();
    } else {
        overtaken(cx, c);
    }
}

/// Who asked for another pair does not get it: something else was asked for before its test was over.
fn overtaken(cx: &mut Cx<'_>, c: &mut Context) {
    if let Some((pair, _, _)) = c.approaching.take() {
        cx.push(Output::Event(Event::Overtaken { context: c.id, pair }));
    }
}

/// Only locators of the context, and of the peer's only verified ones.
// req: S6-7.2-02, S6-7.2-03
fn check_ends(c: &Context, ends: Ends) -> Result<(), CommandError> {
    let theirs = |l: Locator| c.peer.get(l).is_some_and(|e| e.verified);
    if ends.local.is_none_or(|l| c.offers(l)) && ends.peer.is_none_or(theirs) {
        Ok(())
    } else {
        Err(CommandError::BadPair)
    }
}
