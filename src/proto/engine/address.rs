//! Our addresses come and go.

use super::context::LocalEntry;
use super::update::Wanted;
use super::{Context, Engine, State};
use crate::addr::Locator;
use crate::proto::Cx;
use crate::proto::input::{AddressEvent, LocatorRule};
use crate::wire::option::Options;
use std::net::Ipv6Addr;
use std::sync::Arc;

impl Engine {
    /// Handles a change of one of our addresses. Poll timeout and activity again afterwards.
    // req: S6-1.5-01, S6-4-04, RP-3.1-03, RP-3.2-01, RP-3.2-02, RP-4.1-01, RP-4.1-02
    pub fn handle_address(&mut self, cx: &mut Cx<'_>, event: AddressEvent) {
        match event {
            AddressEvent::Present(address) => {
                let back = self.locals.status(address.addr).is_some_and(|s| s.is_broken());
                if self.locals.present(address) {
                    self.refresh_local_sets(cx);
                }
                let broken = self.locals.status(address.addr).is_some_and(|s| s.is_broken());
                if back && !broken {
                    self.each_with(cx, address.addr, |e, cx, c| {
                        e.refresh_flags(cx, c);
                        let locator = Locator(address.addr);
                        e.reap(cx, c, |reap, rcx| reap.on_locator_usable(rcx, locator));
                    });
                }
            }
            AddressEvent::Unusable(addr) => {
                if self.locals.unusable(addr) {
                    self.lost(cx, addr);
                }
            }
            AddressEvent::Unreachable(addr) => {
                if self.locals.unreachable(addr) {
                    self.lost(cx, addr);
                }
            }
            AddressEvent::Gone(addr) => {
                if self.locals.gone(addr) {
                    self.gone(cx, addr);
                }
            }
        }
    }

    /// An administrator decides about an address: lists and preferences follow, and peers are told of both.
    // req: S6-10.1-01, S6-5.15.3-03
    pub(super) fn set_locator_rule(&mut self, cx: &mut Cx<'_>, addr: Ipv6Addr, rule: LocatorRule) {
        let Some(before) = self.locals.set_rule(addr, rule) else { return };
        let broken = self.locals.status(addr).is_some_and(|s| s.is_broken());
        match (before.is_broken(), broken) {
            (false, true) => self.lost(cx, addr),
            (true, false) => self.each_with(cx, addr, |e, cx, c| {
                e.refresh_flags(cx, c);
                e.reap(cx, c, |reap, rcx| reap.on_locator_usable(rcx, Locator(addr)));
            }),
            (true, true) | (false, false) => {}
        }
        if before.rule.offer != rule.offer {
            self.refresh_local_sets(cx);
        }
        if before.rule.preference != rule.preference {
            self.each_with(cx, addr, |e, cx, c| {
                if c.local.generation.is_some() && c.state().has_peer() {
                    e.want_update(cx, c, Wanted { preferences: true, ..Wanted::default() });
                } else {
                    c.local.stale = true;
                }
            });
        }
    }

    /// An address stays ours but does not work: contexts that use it explore at once, the others tell their peers.
    fn lost(&mut self, cx: &mut Cx<'_>, addr: Ipv6Addr) {
        self.each_with(cx, addr, |e, cx, c| {
            e.refresh_flags(cx, c);
            e.reap(cx, c, |reap, rcx| reap.on_local_failure(rcx, Locator(addr)));
        });
    }

    /// An address is no longer ours: its contexts end, others have a locator less.
    // req: S6-1.5-01
    fn gone(&mut self, cx: &mut Cx<'_>, addr: Ipv6Addr) {
        for id in self.table.ids() {
            let Some(c) = self.table.get(id) else { continue };
            if c.ulids.local.0 == addr {
                self.with(cx, id, |_, _, c| c.end = Some("ULID gone"));
            }
        }
        self.lost(cx, addr);
        self.refresh_local_sets(cx);
    }

    /// Does something with every context that has this locator.
    fn each_with(
        &mut self,
        cx: &mut Cx<'_>,
        addr: Ipv6Addr,
        mut f: impl FnMut(&mut Engine, &mut Cx<'_>, &mut Context),
    ) {
        for id in self.table.ids() {
            let has = self.table.get(id).is_some_and(|c| c.local.get(Locator(addr)).is_some());
            if has {
                self.with(cx, id, &mut f);
            }
        }
    }

    /// Brings the flags of Ls(local) into step with our addresses. Whether they have changed.
    fn bring_flags(&mut self, c: &mut Context) -> bool {
        let flags = |e: &LocalEntry| {
            let status = self.locals.status(e.locator.0);
            (status.is_none_or(|s| s.is_broken()), status.is_some_and(|s| s.deprecated))
        };
        let changed = c.local.entries.iter().any(|e| (e.broken, e.deprecated) != flags(e));
        if changed {
            for e in Arc::make_mut(&mut c.local.entries) {
                (e.broken, e.deprecated) = flags(e);
            }
        }
        changed
    }

    /// The same; the peer is told if they have.
    // req: S6-10.1-01
    fn refresh_flags(&mut self, cx: &mut Cx<'_>, c: &mut Context) {
        let changed = self.bring_flags(c);
        match (changed && c.local.generation.is_some(), c.state().has_peer()) {
            (false, _) => {}
            (true, true) => {
                self.want_update(cx, c, Wanted { preferences: true, ..Wanted::default() });
            }
            // What a running exchange has told already may be what the peer ends with.
            (true, false) => c.local.stale = true,
        }
    }

    /// Compares every context's Ls(local) with what we have now; where they differ the peer is told.
    // req: S6-10.1-01, S6-10-01, RP-3.1-03
    pub(super) fn refresh_local_sets(&mut self, cx: &mut Cx<'_>) {
        for id in self.table.ids() {
            self.with(cx, id, |e, cx, c| e.refresh_local_set(cx, c));
        }
    }

    pub(super) fn refresh_local_set(&mut self, cx: &mut Cx<'_>, c: &mut Context) {
        // Before that the list is made when it is sent.
        if !c.state().has_peer() || c.end.is_some() {
            return;
        }
        let list = self.list_for(c, 0, &Options::default());
        if list.entries.is_empty() {
            c.end = Some("last locator gone");
            return;
        }
        let same = list.entries.len() == c.local.entries.len()
            && list
                .entries
                .iter()
                .zip(c.local.entries.iter())
                .all(|(a, b)| *a == (b.locator, b.proof));
        if same {
            self.refresh_flags(cx, c);
        } else if list.pds.is_some() {
            // Until the new list can be told, which takes a pair that works, those of the old one serve.
            self.bring_flags(c);
            self.want_update(cx, c, Wanted::list());
        } else {
            self.adopt_list(c, &list, false);
        }
    }

    /// Our Send Timeout has changed: every peer is told.
    // req: RP-5.3-01, RP-5.3-03
    pub(super) fn announce_send_timeout(&mut self, cx: &mut Cx<'_>) {
        for id in self.table.ids() {
            self.with(cx, id, |e, cx, c| {
                if c.state() == State::Established && c.settings.send_timeout_secs.is_none() {
                    let wanted = Wanted { keepalive_timeout: true, ..Wanted::default() };
                    e.want_update(cx, c, wanted);
                }
            });
        }
    }
}
