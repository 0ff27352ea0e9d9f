//! Keeps our table in the packet filter: installed at start, put back when somebody flushes it, removed at the end.

use crate::control::api;
use crate::nft::{self, Capabilities, NftError, Presence, QueueKind, RuleSpec};
use crate::proto::Time;
use std::time::Duration;

/// Reinstalling is not tried more often than this while it fails.
const RETRY: Duration = Duration::from_millis(500);
/// After installing them again, the next look comes so much later: within the second that is promised.
const PAUSE: Duration = Duration::from_millis(250);

/// The keeper of the rules.
#[derive(Debug)]
pub struct RuleKeeper {
    spec: RuleSpec,
    kind: QueueKind,
    managed: bool,
    /// Somebody asked by `rules remove` that they stay away.
    removed: bool,
    installed: bool,
    /// How often they had to be installed again.
    reinstalled: u64,
    /// Since when they are known to be missing, or to be in doubt.
    missing: Option<Time>,
    /// When to look again although nobody reports a change; not before, if somebody does.
    again: Option<Time>,
}

impl RuleKeeper {
    /// A keeper that has installed nothing yet. Unless `managed`, the administrator loads the rules.
    ///
    /// # Errors
    /// [`NftError::NoQueue`] if this kernel cannot queue packets at all.
    pub fn new(
        spec: RuleSpec,
        can: Capabilities,
        wanted: Option<QueueKind>,
        managed: bool,
    ) -> Result<RuleKeeper, NftError> {
        Ok(RuleKeeper {
            spec,
            kind: match wanted {
                Some(kind) => kind,
                None => can.queue_kind()?,
            },
            managed,
            removed: false,
            installed: false,
            reinstalled: 0,
            missing: None,
            again: None,
        })
    }

    /// What is, or would be, installed.
    pub fn spec(&self) -> &RuleSpec {
        &self.spec
    }

    /// How packets are queued.
    pub fn kind(&self) -> QueueKind {
        self.kind
    }

    /// Whether the daemon installs the rules itself.
    pub fn managed(&self) -> bool {
        self.managed
    }

    /// Installs the rules at start, unless the administrator manages them. Leaves nothing behind if that fails.
    pub fn start(&mut self) -> Result<(), NftError> {
        if !self.managed {
            return Ok(());
        }
        self.install().inspect_err(|_| self.finish())
    }

    /// Installs the rules now, whatever is there.
    pub fn install(&mut self) -> Result<(), NftError> {
        nft::install(&self.spec, self.kind)?;
        self.installed = true;
        self.removed = false;
        self.missing = None;
        self.again = None;
        Ok(())
    }

    /// Removes the rules and keeps them away until they are asked for again. Says whether there were any.
    pub fn remove(&mut self) -> Result<bool, NftError> {
        let were = nft::remove()?;
        self.removed = true;
        self.installed = false;
        self.missing = None;
        self.again = None;
        Ok(were)
    }

    /// Somebody may have changed the rules: looks, and installs them again where they should be. Returns for how long
    /// they were known to be missing, if they are back now.
    pub fn tend(&mut self, now: Time) -> Option<Duration> {
        // What we do is reported, too: without a pause, rules that somebody else changes at once, or that the kernel
        // shows in another way, would keep us busy for ever.
        let pausing = self.again.is_some_and(|t| t > now);
        if !self.managed || self.removed || !self.installed || pausing {
            return None;
        }
        self.again = None;
        match nft::verify(&self.spec, self.kind) {
            Ok(Presence::Intact) => {
                self.missing = None;
                None
            }
            Ok(Presence::Missing | Presence::Altered(_)) => self.put_back(now),
            Err(e) => {
                // Above all EINTR, while somebody loads a large rule set: the next look tells.
                log::info!("rules cannot be read, again in a moment: {e}");
                self.missing.get_or_insert(now);
                self.again = Some(now + RETRY);
                None
            }
        }
    }

    fn put_back(&mut self, now: Time) -> Option<Duration> {
        let since = self.missing.unwrap_or(now);
        match self.install() {
            Ok(()) => {
                self.reinstalled += 1;
                self.again = Some(now + PAUSE);
                log::warn!("somebody removed or changed the table ip6 shim6: installed again");
                Some(now.since(since))
            }
            Err(e) => {
                log::error!("rules are missing and cannot be installed: {e}");
                self.missing = Some(since);
                self.again = Some(now + RETRY);
                None
            }
        }
    }

    /// When [`RuleKeeper::tend`] is wanted although nobody reported a change.
    pub fn retry_at(&self) -> Option<Time> {
        self.again
    }

    /// Whether the rules are in place, in the control protocol's words.
    pub fn state(&self) -> api::RulesState {
        // Rules loaded by hand are encoded in other ways: there, the table has to do.
        let present = match self.managed {
            true => matches!(nft::verify(&self.spec, self.kind), Ok(Presence::Intact)),
            false => nft::table_exists().unwrap_or(false),
        };
        api::RulesState {
            managed: self.managed,
            present,
            table: format!("ip6 {}", nft::TABLE),
            reinstalled: self.reinstalled,
        }
    }

    /// Everything there is to say about the rules.
    pub fn info(&self) -> api::RulesInfo {
        let differences = match nft::verify(&self.spec, self.kind) {
            _ if !self.managed => Vec::new(),
            Ok(Presence::Intact) => Vec::new(),
            Ok(Presence::Missing) => vec!["the table is not there".to_owned()],
            Ok(Presence::Altered(lines)) => lines,
            Err(e) => vec![e.to_string()],
        };
        api::RulesInfo {
            state: self.state(),
            differences,
            text: nft::render(&self.spec, self.kind),
            truncated: false,
        }
    }

    /// Leaves the packet filter as it was.
    pub fn finish(&mut self) {
        if self.managed
            && !self.removed
            && let Err(e) = nft::remove()
        {
            log::error!("the table ip6 shim6 could not be removed: {e}");
        }
        self.installed = false;
    }
}
