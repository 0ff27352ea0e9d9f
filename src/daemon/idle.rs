//! Default contexts that carry nothing: they live as long as a socket is connected between their ULIDs.
//!
//! A connection may be silent for hours and still be wanted. Several times within the time after which the engine discards
//! a context, the kernel's sockets are compared with those that come near it. The list is made by a thread of its own,
//! because a host may have very many sockets and REAP must not wait for them.

use super::driver::Driver;
use crate::addr::UlidPair;
use crate::netlink::NetlinkError;
use crate::netlink::sockdiag::connected;
use crate::proto::{Command, Time};
use std::collections::BTreeSet;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Comparisons in the time after which an unused context ends. The first one that concerns a context comes after half of
/// it, so that a list which takes long is there in time.
const PER_TEARDOWN: u32 = 4;
/// Bounds of the time between comparisons.
const GAP: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(150));
/// How often a list that is being made is asked for.
const ASK: Duration = Duration::from_millis(50);

/// The comparison: the one that runs, and when the next step is due.
#[derive(Debug)]
pub struct Idle {
    list: Option<JoinHandle<Result<BTreeSet<UlidPair>, NetlinkError>>>,
    next: Time,
    /// The last list could not be had, which was told.
    failed: bool,
}

impl Idle {
    /// Nothing was compared yet.
    pub fn new(now: Time) -> Idle {
        Idle { list: None, next: now, failed: false }
    }

    /// When something is to be done.
    pub fn next(&self) -> Time {
        self.next
    }
}

impl Driver {
    /// Begins a comparison, or does what follows from it.
    // req: S6-9-02
    pub(super) fn sweep_idle(&mut self, now: Time) {
        if self.idle.next > now {
            return;
        }
        let teardown = self.config.establish.idle_teardown;
        self.idle.next = now + (teardown / PER_TEARDOWN).clamp(GAP.0, GAP.1);
        match self.idle.list.take() {
            Some(list) if !list.is_finished() => {
                self.idle.list = Some(list);
                self.idle.next = now + ASK;
            }
            Some(list) => match list.join() {
                Ok(Ok(connected)) => {
                    self.idle.failed = false;
                    self.keep_connected(now, &connected);
                }
                Ok(Err(e)) => self.no_list(&e.to_string()),
                Err(_) => self.no_list("internal error; see the panic message above"),
            },
            None => self.begin_list(now),
        }
    }

    /// When a default context has to be looked at: it has carried nothing since then.
    fn near_end(&self, now: Time) -> Time {
        let half = self.config.establish.idle_teardown / 2;
        Time::from_nanos(now.nanos().saturating_sub(half.as_nanos().try_into().unwrap_or(u64::MAX)))
    }

    fn begin_list(&mut self, now: Time) {
        let pairs: BTreeSet<UlidPair> =
            self.engine.unused(self.near_end(now)).map(|(_, ulids, _)| ulids).collect();
        if pairs.is_empty() {
            return;
        }
        match Builder::new().name("shim6-sockets".into()).spawn(move || connected(&pairs)) {
            Ok(list) => {
                self.idle.list = Some(list);
                self.idle.next = now + ASK;
            }
            Err(e) => self.no_list(&e.to_string()),
        }
    }

    /// Contexts of connections are kept, others may end.
    fn keep_connected(&mut self, now: Time, connected: &BTreeSet<UlidPair>) {
        let changed: Vec<_> = self
            .engine
            .unused(self.near_end(now))
            .filter(|(_, ulids, in_use)| connected.contains(ulids) != *in_use)
            .map(|(id, _, in_use)| (id, !in_use))
            .collect();
        for (id, in_use) in changed {
            if let Err(e) = self.command(Command::InUse(id, in_use)) {
                log::debug!("context {id}: {e}");
            }
        }
    }

    fn no_list(&mut self, why: &str) {
        if !std::mem::replace(&mut self.idle.failed, true) {
            log::warn!("idle connections may lose their contexts: sockets are not listed: {why}");
        }
    }
}
