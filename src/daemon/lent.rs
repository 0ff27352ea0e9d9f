//! Default contexts that serve one user alone, and by his settings.
//!
//! A default context serves every flow between two ULIDs. Somebody without privileges may steer it while all sockets
//! between them are his own; what he has set ends when that does: with his last socket, or when somebody else opens one.

use super::clock;
use super::driver::Driver;
use super::sockets::descriptor::Proven;
use super::turns::Turns;
use crate::addr::{Fii, Ulid, UlidPair};
use crate::control::api::{ApiError, ErrorCode};
use crate::control::server::Peer;
use crate::netlink::sockdiag::{HeldSocket, sockets_between};
use crate::proto::{Command, ContextId, ContextView, Settings, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// Contexts with settings of a user, in all and of one.
const MOST: usize = 4096;
const PER_USER: usize = 256;
/// How often the kernel is asked whose sockets there are.
const SWEEP: Duration = Duration::from_secs(2);
/// Contexts that are looked at each time: on a large host each costs some milliseconds.
const CONTEXTS_PER_SWEEP: usize = 8;
/// First octet of a record in the journal; none that a saved context, a fork or a locator rule begins with.
const RECORD: u8 = 0xf2;
/// Octets of a record.
const RECORD_LEN: usize = 1 + 4 + 16 + 16;
/// Keys of records in the journal begin with these bits. Those of forks hold socket cookies, which are counted from 1.
const JOURNAL_KEY: u64 = 3 << 62;

/// One of them.
#[derive(Clone, PartialEq, Debug)]
struct Loan {
    ulids: UlidPair,
    uid: u32,
    /// What it goes back to. After a restart of the daemon: to no settings.
    before: Settings,
}

impl Loan {
    /// Whether these are all sockets that there are between the ULIDs, and the user's.
    fn goes_on(&self, sockets: &[HeldSocket]) -> bool {
        let mut held = sockets.iter().filter(|s| s.held).peekable();
        held.peek().is_some() && held.all(|s| s.uid == self.uid)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Lent {
    by_context: BTreeMap<ContextId, Loan>,
    next_sweep: Option<Time>,
    swept: Turns<ContextId>,
}

impl Lent {
    fn check_room(&self, uid: u32, id: ContextId) -> Result<(), ApiError> {
        let of_user = self.by_context.values().filter(|l| l.uid == uid).count();
        if self.by_context.contains_key(&id) || (self.by_context.len() < MOST && of_user < PER_USER)
        {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::Busy, "too many contexts have settings of users")
            .remedy("they end with their sockets"))
    }

    /// Another's settings replace those of an earlier user, and go back to what was before him.
    fn add(&mut self, id: ContextId, loan: Loan, now: Time) {
        let before = self.by_context.get(&id).map(|old| old.before.clone());
        let before = before.unwrap_or_else(|| loan.before.clone());
        self.by_context.insert(id, Loan { before, ..loan });
        self.next_sweep.get_or_insert(now + SWEEP);
    }

    fn remove(&mut self, id: ContextId) -> Option<Loan> {
        let loan = self.by_context.remove(&id)?;
        if self.by_context.is_empty() {
            self.next_sweep = None;
        }
        Some(loan)
    }

    /// When the kernel is to be asked next.
    pub fn next(&self) -> Option<Time> {
        self.next_sweep
    }

    /// Those whose turn it is.
    fn turn(&mut self) -> Vec<(ContextId, Loan)> {
        let turn = self.swept.next(self.by_context.keys().copied(), CONTEXTS_PER_SWEEP);
        turn.into_iter().filter_map(|id| Some((id, self.by_context.get(&id)?.clone()))).collect()
    }
}

impl Driver {
    /// Somebody is about to change settings of the context of his socket, and may. To be called before they change.
    ///
    /// # Errors
    /// `busy`.
    pub(super) fn lend(
        &mut self,
        who: &Peer,
        proven: &Proven,
        c: &ContextView,
    ) -> Result<(), ApiError> {
        if self.forks.of(proven).is_some_and(|fork| fork.context == c.id) {
            return Ok(());
        }
        if who.privileged {
            self.settle(c.id);
            return Ok(());
        }
        self.lent.check_room(who.uid, c.id)?;
        self.note_loan(c.id, Loan { ulids: c.ulids, uid: who.uid, before: c.settings.clone() });
        Ok(())
    }

    fn note_loan(&mut self, id: ContextId, loan: Loan) {
        let now = clock::now();
        let record = record(&loan);
        self.lent.add(id, loan, now);
        self.journal_do(|j| j.put(JOURNAL_KEY | id.0, now, record));
    }

    /// The settings are an administrator's from now on, or the context has ended: they last.
    pub(super) fn settle(&mut self, id: ContextId) {
        if self.lent.remove(id).is_some() {
            let now = clock::now();
            self.journal_do(|j| j.remove(JOURNAL_KEY | id.0, now));
        }
    }

    /// Takes settings back that were for one user's sockets.
    pub(super) fn sweep_lent(&mut self, now: Time) {
        if self.lent.next_sweep.is_none_or(|t| t > now) {
            return;
        }
        self.lent.next_sweep = Some(now + SWEEP);
        for (id, loan) in self.lent.turn() {
            match sockets_between(loan.ulids) {
                Ok(sockets) if loan.goes_on(&sockets) => {}
                Ok(_) => {
                    self.settle(id);
                    self.take_back(id, loan);
                }
                Err(e) => log::warn!("sockets between {} are not listed: {e}", loan.ulids),
            }
        }
    }

    fn take_back(&mut self, id: ContextId, loan: Loan) {
        log::info!("context {id}: settings of user {} end with his being alone there", loan.uid);
        let back = self.command(Command::Configure(id, Box::new(loan.before)));
        // Locators that were named before may have gone.
        let none = |_| self.command(Command::Configure(id, Box::default()));
        if let Err(e) = back.or_else(none) {
            log::debug!("context {id}: {e}");
        }
    }

    /// Knows again whose settings these are, once the contexts are back.
    pub(super) fn restore_lent(&mut self, saved: &[Vec<u8>]) {
        for (ulids, uid) in saved.iter().filter_map(|bytes| read(bytes)).take(MOST) {
            if let Some(id) = self.engine.find(ulids, Fii::DEFAULT) {
                self.note_loan(id, Loan { ulids, uid, before: Settings::default() });
            }
        }
    }
}

/// Whether this is a record of such a context, not a saved context.
pub fn is_record(bytes: &[u8]) -> bool {
    bytes.first() == Some(&RECORD)
}

fn record(loan: &Loan) -> Vec<u8> {
    let mut o = vec![RECORD];
    o.extend(loan.uid.to_be_bytes());
    o.extend(loan.ulids.local.0.octets());
    o.extend(loan.ulids.peer.0.octets());
    o
}

fn read(bytes: &[u8]) -> Option<(UlidPair, u32)> {
    let record: &[u8; RECORD_LEN] = bytes.try_into().ok().filter(|_| is_record(bytes))?;
    let address = |at: usize| Some(Ulid((*record.get(at..)?.first_chunk::<16>()?).into()));
    let uid = u32::from_be_bytes(*record.get(1..)?.first_chunk()?);
    Some((UlidPair { local: address(5)?, peer: address(21)? }, uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loan(n: u16, uid: u32) -> Loan {
        let at = |last| Ulid([0x2001, 0xdb8, 0, 0, 0, 0, n, last].into());
        let ulids = UlidPair { local: at(1), peer: at(2) };
        Loan { ulids, uid, before: Settings::default() }
    }

    #[test]
    fn settings_last_while_their_user_is_alone() {
        let socket = |uid| HeldSocket { uid, cookie: Some(1), ports: (1, 2), held: true };
        let mine = loan(1, 1000);
        assert!(mine.goes_on(&[socket(1000)]) && mine.goes_on(&[socket(1000), socket(1000)]));
        assert!(!mine.goes_on(&[]), "his sockets are gone");
        assert!(!mine.goes_on(&[socket(1000), socket(1001)]), "somebody else is there");
        assert!(!mine.goes_on(&[socket(1001)]));
        let closed = HeldSocket { held: false, uid: 0, ..socket(0) };
        assert!(mine.goes_on(&[socket(1000), closed]), "nobody holds that one");
        assert!(!mine.goes_on(&[closed]));
    }

    #[test]
    fn what_was_before_the_first_user_comes_back() {
        let mut lent = Lent::default();
        let before = Settings { send_timeout_secs: Some(9), ..Settings::default() };
        lent.add(ContextId(1), Loan { before: before.clone(), ..loan(1, 1000) }, Time::ZERO);
        assert_eq!(lent.next(), Some(Time::ZERO + SWEEP));
        lent.add(ContextId(1), loan(1, 1001), Time::ZERO);
        let last = lent.remove(ContextId(1)).unwrap();
        assert_eq!((last.uid, last.before), (1001, before));
        assert_eq!((lent.next(), lent.remove(ContextId(1))), (None, None));
    }

    #[test]
    fn each_has_its_turn_and_no_user_has_them_all() {
        let mut lent = Lent::default();
        assert_eq!(lent.turn(), []);
        for n in 0..PER_USER as u16 {
            assert_eq!(lent.check_room(1000, ContextId(n.into())), Ok(()));
            lent.add(ContextId(n.into()), loan(n, 1000), Time::ZERO);
        }
        let more = ContextId(PER_USER as u64);
        assert_eq!(lent.check_room(1000, more).unwrap_err().code, ErrorCode::Busy);
        assert_eq!(lent.check_room(1000, ContextId(3)), Ok(()), "has it already");
        assert_eq!(lent.check_room(1001, more), Ok(()));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..PER_USER / CONTEXTS_PER_SWEEP {
            seen.extend(lent.turn().into_iter().map(|(id, _)| id));
        }
        assert_eq!(seen.len(), PER_USER);
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let record = record(&loan(7, 1000));
        assert_eq!(read(&record), Some((loan(7, 1000).ulids, 1000)));
        assert!(crate::proto::SavedContext::from_bytes(&record).is_err());
        assert!(!super::super::forks::is_record(&record));
        for cut in 0..record.len() {
            assert_eq!(read(&record[..cut]), None);
        }
    }
}
