//! Update Requests and Acknowledgements (RFC 5533, 10): locators and preferences change while a context lives.

use super::dispatch::Envelope;
use super::initiate::backoff;
use super::locals::is_telling;
use super::peer::{self, Occasion};
use super::steer::steer_later;
use super::{Context, Engine, State};
use crate::addr::{Locator, LocatorPair, RequestNonce};
use crate::proto::reap::ReapState;
use crate::proto::{Cx, Event, Output, Time};
use crate::wire::control::{Message, UpdateAck, UpdateRequest};
use crate::wire::option::{Options, PreferenceFlags};
use std::time::Duration;

/// Requests remembered that another one has followed.
const FOLLOWED: usize = 8;
/// After late acknowledgements all is told again at most this often.
const RETELL_GAP: Duration = Duration::from_secs(1);

/// What an Update Request has to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The locator list.
    pub list: bool,
    /// An Error has asked for everything: this is a correction.
    pub full: bool,
    /// Preferences.
    pub preferences: bool,
    /// Our Send Timeout.
    pub keepalive_timeout: bool,
}

impl Wanted {
    /// A new list, and preferences if there are any.
    pub fn list() -> Wanted {
        Wanted { list: true, preferences: true, ..Wanted::default() }
    }

    /// Everything there is to tell.
    pub fn all() -> Wanted {
        Wanted { list: true, preferences: true, keepalive_timeout: true, full: false }
    }

    /// Both together.
    fn and(self, other: Wanted) -> Wanted {
        Wanted {
            list: self.list || other.list,
            full: self.full || other.full,
            preferences: self.preferences || other.preferences,
            keepalive_timeout: self.keepalive_timeout || other.keepalive_timeout,
        }
    }
}

/// An Update Request that is out, or waits for a pair that works.
// req: S6-10.3-01
#[derive(Clone, Debug)]
pub struct Update {
    /// Request Nonce, the same for all retransmissions.
    pub nonce: RequestNonce,
    /// What it tells.
    pub wanted: Wanted,
    /// Transmissions so far.
    pub tries: u32,
    /// When to send (again).
    pub timer: Time,
    /// It is time to send, but no pair works.
    pub waiting: bool,
    /// How often an Error made us ask anew.
    pub corrections: u32,
}

impl Update {
    /// Whether everything is sent along because an Error asked for it.
    pub fn full(&self) -> bool {
        self.wanted.full
    }
}

impl Engine {
    /// Tells the peer something new. What is outstanding is abandoned and told again together with it, under a new
    /// nonce.
    // req: S6-10.1-01, S6-10.1-03, S6-10.3-01, S6-10.3-02
    pub(super) fn want_update(&mut self, cx: &mut Cx<'_>, c: &mut Context, wanted: Wanted) {
        let outstanding = c.update.as_ref().map_or(Wanted::default(), |u| u.wanted);
        let before = c.update.as_ref().filter(|u| u.tries > 0).map(|u| u.nonce);
        for nonce in c.requests.acknowledged.take().into_iter().chain(before) {
            if c.requests.followed.len() >= FOLLOWED {
                c.requests.followed.remove(0);
            }
            c.requests.followed.push(nonce);
        }
        c.update = Some(Box::new(Update {
            nonce: RequestNonce(cx.rng.next_u32()),
            wanted: outstanding.and(wanted),
            tries: 0,
            timer: cx.now,
            waiting: false,
            corrections: 0,
        }));
        self.on_update_timeout(cx, c);
    }

    /// Sends the Update Request (again), without end until it is acknowledged. While no pair works it waits.
    // req: S6-10.2-01, S6-10.2-02, S6-14-08
    pub(super) fn on_update_timeout(&mut self, cx: &mut Cx<'_>, c: &mut Context) {
        let e = &self.config.establish;
        let (first, cap) = (e.update_timeout, e.max_update_timeout);
        let works = c.state() == State::Established
            && c.reap.as_ref().is_some_and(|r| r.state() == ReapState::Operational);
        let pair = self.update_pair(c).filter(|_| works);
        let Some(u) = &mut c.update else { return };
        let Some(pair) = pair else {
            u.timer = cx.now + first;
            u.waiting = true;
            return;
        };
        u.timer = backoff(cx, first, u.tries, cap);
        u.waiting = false;
        u.tries = u.tries.saturating_add(1);
        self.send_update(cx, c, pair);
    }

    /// A pair from a locator that the peer knows already: the request is checked against the old list.
    // req: S6-7.2-02, S6-10.4-03
    fn update_pair(&self, c: &Context) -> Option<LocatorPair> {
        let known = |l: Locator| {
            let status = self.locals.status(l.0);
            let acknowledged = c.local.get(l).is_some_and(|e| e.acknowledged);
            (acknowledged || c.local.former.contains(&l)) && status.is_some_and(|s| !s.is_broken())
        };
        let local = if known(c.pair.local) {
            c.pair.local
        } else {
            c.local.entries.iter().map(|e| e.locator).find(|l| known(*l))?
        };
        Some(LocatorPair { local, peer: c.pair.peer })
    }

    // req: S6-5.10-04, S6-10.1-02, S6-10.1-04, S6-5.15.2-04, RP-5.3-02
    fn send_update(&mut self, cx: &mut Cx<'_>, c: &mut Context, pair: LocatorPair) {
        let (Some(tag), Some(u)) = (c.peer_tag, c.update.clone()) else { return };
        let mut options = Options::default();
        let list = self.list_for(c, 16, &options);
        // Preferences go by index, so they are sent with their list if the peer does not have it.
        let with_list =
            u.wanted.list || u.wanted.preferences && c.local.generation != Some(list.generation);
        if with_list && list.pds.is_some() {
            options.locator_list = Some(list.list());
            options.pds = list.pds.clone();
            options.signature = list.signature.clone();
            self.adopt_list(c, &list, true);
        }
        let preferences = self.locals.preferences(&list, &c.settings.local);
        let has_list = c.local.generation == Some(list.generation);
        // A new list ends those before it, so they go with it; unless it is them that the peer does not understand.
        if has_list && u.wanted.preferences && (!u.wanted.list || is_telling(&preferences)) {
            options.preferences = Some(preferences);
        }
        if u.wanted.keepalive_timeout || c.told_send_timeout.is_none() {
            options.keepalive_timeout = Some(self.send_timeout_secs(c));
            c.told_send_timeout = options.keepalive_timeout;
        }
        c.note_tagged(pair, cx.now);
        let m = UpdateRequest { receiver_tag: tag, request_nonce: u.nonce, options };
        self.transmit(cx, pair, &Message::UpdateRequest(m));
        self.note_out(cx, c, pair);
    }

    /// What goes out elsewhere tells nothing of the pair in use, and need not arrive.
    fn note_out(&mut self, cx: &mut Cx<'_>, c: &mut Context, pair: LocatorPair) {
        if pair == c.pair {
            self.reap(cx, c, |reap, rcx| reap.on_control_out(rcx));
        }
    }

    /// An Update Request whose tag and addresses are in order: applied as a whole or not at all, then acknowledged.
    // req: S6-10.4-05, S6-10.4-07, S6-10.4-08, S6-10.4-09, S6-10.4-10, S6-10.4-11, S6-10.4-12, S6-10.4-13,
    // req: S6-10.4-14, S6-5.10-03, S6-7.2-01, S6-6.1-02
    pub(super) fn on_update_request(
        &mut self,
        cx: &mut Cx<'_>,
        c: &mut Context,
        env: &Envelope<'_>,
        m: &UpdateRequest,
    ) {
        self.alive(c);
        let max = self.config.limits.locators;
        let checked =
            match peer::check(c.ulids.peer, Some(&c.peer), &m.options, max, Occasion::Update) {
                Ok(checked) => checked,
                Err(why) => return self.refuse(cx, env, why),
            };
        let before: Vec<Locator> = c.peer.entries.iter().map(|e| e.locator).collect();
        c.peer = checked.peer;
        if let Some(accepted) = &mut c.accepted {
            accepted.outdated = true;
        }
        self.learn_send_timeout(c, m.options.keepalive_timeout);
        self.reap(cx, c, |reap, rcx| reap.on_control_in(rcx));
        let Some(tag) = c.peer_tag else { return };
        let ack = UpdateAck {
            receiver_tag: tag,
            request_nonce: m.request_nonce,
            options: Options::default(),
        };
        c.note_tagged(env.pair, cx.now);
        self.transmit(cx, env.pair, &Message::UpdateAck(ack));
        self.note_out(cx, c, env.pair);
        // The lists of two contexts may have come to overlap.
        self.resolve_confusion(cx, c);
        self.check_current(cx, c);
        let new: Vec<Locator> =
            c.peer.entries.iter().map(|e| e.locator).filter(|l| !before.contains(l)).collect();
        for locator in new {
            self.reap(cx, c, |reap, rcx| reap.on_locator_usable(rcx, locator));
        }
        // The settings may want one of them.
        steer_later(cx, c);
        cx.push(Output::Event(Event::Locators { context: c.id, peer: true }));
    }

    /// Explores if the current pair is no longer offered, or known not to work. Until another pair is confirmed payload
    /// stays on the old one.
    // req: S6-10.4-14
    pub(super) fn check_current(&mut self, cx: &mut Cx<'_>, c: &mut Context) {
        let peer_ok =
            c.peer.get(c.pair.peer).is_some_and(|e| !e.flags.contains(PreferenceFlags::BROKEN));
        let local = c.pair.local;
        let local_ok =
            c.offers(local) && self.locals.status(local.0).is_some_and(|s| !s.is_broken());
        if !peer_ok {
            self.reap(cx, c, |reap, rcx| reap.on_peer_withdrew(rcx));
        }
        if !local_ok {
            self.reap(cx, c, |reap, rcx| reap.on_local_failure(rcx, local));
        }
    }

    /// An Update Acknowledgement: only that of the last request counts.
    // req: S6-10.3-03, S6-10.5-05, S6-5.11-03, S6-7.2-02
    pub(super) fn on_update_ack(&mut self, cx: &mut Cx<'_>, c: &mut Context, m: &UpdateAck) {
        self.alive(c);
        self.reap(cx, c, |reap, rcx| reap.on_control_in(rcx));
        if c.update.as_ref().is_none_or(|u| u.nonce != m.request_nonce) {
            self.drop(cx, "update_ack_unmatched");
            return self.on_late_ack(cx, c, m.request_nonce);
        }
        c.update = None;
        c.requests.acknowledged = Some(m.request_nonce);
        let new: Vec<Locator> =
            c.local.entries.iter().filter(|e| !e.acknowledged).map(|e| e.locator).collect();
        self.acknowledge_list(c);
        self.check_current(cx, c);
        let awaited = c.settings.pin.local.is_some_and(|l| new.contains(&l));
        for locator in new {
            self.reap(cx, c, |reap, rcx| reap.on_locator_usable(rcx, locator));
        }
        if awaited {
            self.pursue(cx, c);
        }
        cx.push(Output::Event(Event::Locators { context: c.id, peer: false }));
        if std::mem::take(&mut c.requests.retell) {
            self.want_update(cx, c, Wanted::all());
        }
    }

    /// An acknowledgement of a request that another one has followed. It completes nothing; but requests that overtake
    /// each other on the way leave the peer with the older list, and generations have no order by which it could
    /// tell. So the newest is told again.
    fn on_late_ack(&mut self, cx: &mut Cx<'_>, c: &mut Context, nonce: RequestNonce) {
        let at = c.requests.followed.iter().position(|n| *n == nonce);
        let Some(at) = at else { return };
        c.requests.followed.remove(at);
        if c.update.is_some() {
            c.requests.retell = true;
        } else if c.requests.retold.is_none_or(|t| cx.now.since(t) >= RETELL_GAP) {
            c.requests.retold = Some(cx.now);
            self.count(cx, "update_told_again");
            self.want_update(cx, c, Wanted::all());
        }
    }
}
