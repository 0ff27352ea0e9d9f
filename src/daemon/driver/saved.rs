//! Contexts in the journal, and back from it.

use super::super::journal::Journal;
use super::super::record::{Step, hex};
use super::super::{forks, lent, locators};
use super::surroundings::is_ulid;
use super::{Driver, clock};
use crate::proto::input::AddressEvent;
use crate::proto::{Input, SavedContext};
use std::collections::BTreeSet;
use std::net::Ipv6Addr;

impl Driver {
    /// Saves the contexts that may have changed.
    pub(in crate::daemon) fn write_journal(&mut self) {
        let now = clock::now();
        for id in std::mem::take(&mut self.touched) {
            let saved = self.engine.saved_context(id).map(|s| s.to_bytes());
            self.journal_do(|j| match saved {
                Some(bytes) => j.put(id.0, now, bytes),
                None => j.remove(id.0, now),
            });
        }
    }

    /// A journal that cannot be written is given up: flows do not depend on it.
    pub(in crate::daemon) fn journal_do(
        &mut self,
        f: impl FnOnce(&mut Journal) -> std::io::Result<()>,
    ) {
        if let Some(journal) = &mut self.journal
            && let Err(e) = f(journal)
        {
            let text =
                format!("the context journal cannot be written ({e}): a restart loses contexts");
            log::error!("{text}");
            self.warnings.push(text);
            self.journal = None;
        }
    }

    /// Puts saved contexts back, before any packet is read. Their ULIDs may have no interface at the moment: the link is
    /// down, or the address is being checked for duplicates.
    pub fn restore(&mut self, saved: &[Vec<u8>]) {
        self.keeper.adopt();
        self.restore_locator_rules(saved);
        let contexts = saved.iter().filter(|bytes| {
            !forks::is_record(bytes) && !lent::is_record(bytes) && !locators::is_record(bytes)
        });
        for bytes in contexts {
            let Ok(saved) = SavedContext::from_bytes(bytes) else {
                log::warn!("a saved context cannot be read");
                continue;
            };
            let ulids = saved.ulids;
            if self.keeper.expects(ulids.local.0) {
                for event in self.host.expect(ulids.local.0) {
                    self.feed(Input::Address(event));
                }
            }
            self.say(|| Step::Restore(hex(bytes)));
            match self.with_engine(|engine, cx| engine.restore_context(cx, saved)) {
                Ok(id) => log::info!("context {id} ({ulids}) restored"),
                Err(e) => log::warn!("context {ulids} cannot be restored: {e}"),
            }
        }
        let unusable: BTreeSet<Ipv6Addr> = self.host.unusable().collect();
        for addr in unusable.iter().filter(|a| is_ulid(&self.engine, **a)) {
            self.keeper.follow(&AddressEvent::Unusable(*addr), |_| true);
        }
        let held: Vec<Ipv6Addr> = self.keeper.held().collect();
        for addr in held.into_iter().filter(|a| !unusable.contains(a)) {
            self.keeper.let_go(addr);
        }
        self.write_journal();
        self.restore_forks(saved);
        self.restore_lent(saved);
        let now = clock::now();
        self.journal_do(|j| j.begin(now));
    }
}
