//! Sockets with a context of their own: which flow goes by which forked context, for as long as the socket lives.
//!
//! A socket is known by its cookie, which the kernel never gives to another one. Every few seconds the kernel's list of
//! sockets is compared: where a socket is gone, or talks to somebody else, its context ends and its flow is treated as all
//! others again. Bounds: in all, and for one user without privileges.

use super::clock;
use super::driver::Driver;
use super::sockets::descriptor::Proven;
use super::turns::Turns;
use crate::addr::{Fii, Flow, Ulid, UlidPair};
use crate::control::api::{ApiError, ErrorCode};
use crate::control::server::Peer;
use crate::netlink::sockdiag::{HeldSocket, sockets_between};
use crate::proto::{Command, ContextId, Settings, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Sockets with a context of their own, in all and of one user without privileges.
const MOST: usize = 4096;
const PER_USER: usize = 64;
/// How often the kernel is asked which sockets live.
const SWEEP: Duration = Duration::from_secs(2);
/// Pairs of ULIDs that are looked at each time: on a large host each costs some milliseconds.
const PAIRS_PER_SWEEP: usize = 8;
/// First octet of a record in the journal; none that a saved context begins with.
const RECORD: u8 = 0xf0;
/// Octets of a record.
const RECORD_LEN: usize = 1 + 1 + 16 + 16 + 2 + 2 + 4 + 8 + 4;
/// Keys of records in the journal have this bit; those of contexts do not.
const JOURNAL_KEY: u64 = 1 << 63;

/// A socket with a context of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fork {
    /// The context.
    pub context: ContextId,
    /// What its packets are known by.
    pub flow: Flow,
    /// Who asked.
    pub uid: u32,
}

/// All of them, by the cookies of their sockets.
#[derive(Debug, Default)]
pub struct Forks {
    by_cookie: BTreeMap<u64, Fork>,
    by_context: BTreeMap<ContextId, u64>,
    next_sweep: Option<Time>,
    swept: Turns<UlidPair>,
}

impl Forks {
    /// The fork of a socket, if it still talks to whom it talked to then.
    pub fn of(&self, proven: &Proven) -> Option<Fork> {
        self.by_cookie.get(&proven.cookie).copied().filter(|f| proven.flow() == Some(f.flow))
    }

    /// Whether one more of this user is possible.
    fn check_room(&self, who: &Peer) -> Result<(), ApiError> {
        let of_user = self.by_cookie.values().filter(|f| f.uid == who.uid).count();
        if self.by_cookie.len() < MOST && (who.privileged || of_user < PER_USER) {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::Busy, "too many sockets have contexts of their own")
            .remedy("they end with their sockets"))
    }

    fn add(&mut self, cookie: u64, fork: Fork, now: Time) {
        self.by_cookie.insert(cookie, fork);
        self.by_context.insert(fork.context, cookie);
        self.next_sweep.get_or_insert(now + SWEEP);
    }

    fn remove(&mut self, cookie: u64) -> Option<Fork> {
        let fork = self.by_cookie.remove(&cookie)?;
        self.by_context.remove(&fork.context);
        if self.by_cookie.is_empty() {
            self.next_sweep = None;
        }
        Some(fork)
    }

    /// When the kernel is to be asked next.
    pub fn next(&self) -> Option<Time> {
        self.next_sweep
    }

    /// The pairs of ULIDs whose turn it is.
    fn next_pairs(&mut self) -> Vec<UlidPair> {
        let all: BTreeSet<UlidPair> = self.by_cookie.values().map(|f| f.flow.ulids).collect();
        self.swept.next(all.iter().copied(), PAIRS_PER_SWEEP)
    }

    /// Sockets between the two addresses that are gone, by what the kernel lists there.
    fn gone(&self, ulids: UlidPair, listed: &[HeldSocket]) -> Vec<u64> {
        let lives = |cookie: u64, fork: &Fork| {
            listed.iter().any(|s| {
                let ports = (fork.flow.local_port, fork.flow.peer_port);
                // Where the kernel does not tell cookies, its owner has to do.
                s.ports == ports && s.cookie.map_or(s.uid == fork.uid, |c| c == cookie)
            })
        };
        self.by_cookie
            .iter()
            .filter(|(cookie, fork)| fork.flow.ulids == ulids && !lives(**cookie, fork))
            .map(|(cookie, _)| *cookie)
            .collect()
    }
}

impl Driver {
    /// Gives a socket a context of its own with these settings, or yields the one it has.
    ///
    /// # Errors
    /// `not_connected`, `invalid_argument` for a socket without ports, `busy`, and those of establishing.
    // req: S6-7.7-03, S6-12.4-07, AP-9-01
    pub(super) fn fork_socket(
        &mut self,
        who: &Peer,
        proven: &Proven,
        settings: Settings,
    ) -> Result<ContextId, ApiError> {
        let ulids = proven.ulids()?;
        if let Some(fork) = self.forks.of(proven) {
            return Ok(fork.context);
        }
        let flow = proven.flow().ok_or_else(|| {
            ApiError::new(ErrorCode::InvalidArgument, "a flow of this protocol has no ports")
        })?;
        self.forks.check_room(who)?;
        self.end_fork(proven.cookie);
        let context = self.command(Command::Fork(ulids))?;
        if !settings.is_default() {
            self.command(Command::Configure(context, Box::new(settings)))?;
        }
        self.begin_fork(proven.cookie, Fork { context, flow, uid: who.uid });
        Ok(context)
    }

    fn begin_fork(&mut self, cookie: u64, fork: Fork) {
        let now = clock::now();
        if !self.dataplane.bind_flow(fork.flow, fork.context) {
            return;
        }
        // It lives as long as the socket, however quiet that is.
        if let Err(e) = self.command(Command::InUse(fork.context, true)) {
            log::debug!("context {}: {e}", fork.context);
        }
        self.forks.add(cookie, fork, now);
        log::info!("context {} serves {} alone", fork.context, fork.flow);
        self.journal_fork(cookie, &fork);
    }

    /// The socket is gone, or gives its context up.
    // req: AP-11.1-02
    fn end_fork(&mut self, cookie: u64) {
        let Some(fork) = self.forks.remove(cookie) else { return };
        self.dataplane.release_flow(&fork.flow);
        if let Err(e) = self.command(Command::Discard(fork.context)) {
            log::debug!("context {}: {e}", fork.context);
        }
        self.forget_fork_record(cookie);
    }

    /// A context has ended by itself: its flow goes by the default one again.
    pub(super) fn fork_discarded(&mut self, context: ContextId) {
        if let Some(cookie) = self.forks.by_context.get(&context).copied() {
            self.forks.remove(cookie);
            self.forget_fork_record(cookie);
        }
    }

    /// Ends the contexts of sockets that are gone.
    // req: AP-11.1-02
    pub(super) fn sweep_forks(&mut self, now: Time) {
        if self.forks.next_sweep.is_none_or(|t| t > now) {
            return;
        }
        self.forks.next_sweep = Some(now + SWEEP);
        for ulids in self.forks.next_pairs() {
            match sockets_between(ulids) {
                Ok(listed) => {
                    for cookie in self.forks.gone(ulids, &listed) {
                        self.end_fork(cookie);
                    }
                }
                Err(e) => log::warn!("sockets between {ulids} are not listed: {e}"),
            }
        }
    }

    fn journal_fork(&mut self, cookie: u64, fork: &Fork) {
        let Some(context) = self.engine.context(fork.context) else { return };
        let record = record(cookie, fork, context.fii);
        let now = clock::now();
        self.journal_do(|j| j.put(JOURNAL_KEY | cookie, now, record));
    }

    fn forget_fork_record(&mut self, cookie: u64) {
        let now = clock::now();
        self.journal_do(|j| j.remove(JOURNAL_KEY | cookie, now));
    }

    /// Binds the flows of an earlier daemon's forks again, once its contexts are back. Sockets that have gone meanwhile are
    /// found by the next comparison.
    pub(super) fn restore_forks(&mut self, saved: &[Vec<u8>]) {
        for (cookie, fii, mut fork) in saved.iter().filter_map(|bytes| read(bytes)) {
            if self.forks.by_cookie.len() >= MOST {
                return;
            }
            if let Some(context) = self.engine.find(fork.flow.ulids, fii) {
                fork.context = context;
                self.begin_fork(cookie, fork);
            }
        }
    }
}

/// Whether this is a record of a fork, not a saved context.
pub fn is_record(bytes: &[u8]) -> bool {
    bytes.first() == Some(&RECORD)
}

fn record(cookie: u64, fork: &Fork, fii: Fii) -> Vec<u8> {
    let f = &fork.flow;
    let mut o = vec![RECORD, f.protocol];
    o.extend(f.ulids.local.0.octets());
    o.extend(f.ulids.peer.0.octets());
    o.extend(f.local_port.to_be_bytes());
    o.extend(f.peer_port.to_be_bytes());
    o.extend(fii.0.to_be_bytes());
    o.extend(cookie.to_be_bytes());
    o.extend(fork.uid.to_be_bytes());
    o
}

/// Cookie, instance and fork of a record; the context is still to be found.
fn read(bytes: &[u8]) -> Option<(u64, Fii, Fork)> {
    let record: &[u8; RECORD_LEN] = bytes.try_into().ok().filter(|_| is_record(bytes))?;
    fn part<const N: usize>(record: &[u8; RECORD_LEN], at: usize) -> Option<[u8; N]> {
        record.get(at..at + N)?.try_into().ok()
    }
    let address = |at| Some(Ulid(part::<16>(record, at)?.into()));
    let flow = Flow {
        protocol: record[1],
        ulids: UlidPair { local: address(2)?, peer: address(18)? },
        local_port: u16::from_be_bytes(part(record, 34)?),
        peer_port: u16::from_be_bytes(part(record, 36)?),
    };
    let fii = Fii(u32::from_be_bytes(part(record, 38)?));
    let cookie = u64::from_be_bytes(part(record, 42)?);
    let uid = u32::from_be_bytes(part(record, 50)?);
    Some((cookie, fii, Fork { context: ContextId(0), flow, uid }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Peer = Peer { pid: 1, uid: 1000, gid: 1000, privileged: false };

    fn fork(n: u16) -> Fork {
        let at = |last| Ulid([0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into());
        let ulids = UlidPair { local: at(1), peer: at(2) };
        let flow = Flow { protocol: 6, ulids, local_port: n, peer_port: 80 };
        Fork { context: ContextId(n.into()), flow, uid: 1000 }
    }

    fn proven(n: u16) -> Proven {
        let f = fork(n).flow;
        Proven {
            protocol: f.protocol,
            local: f.ulids.local,
            local_port: f.local_port,
            peer: Some((f.ulids.peer, f.peer_port)),
            cookie: n.into(),
        }
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let record = record(77, &fork(5), Fii(9));
        assert_eq!(record.len(), RECORD_LEN);
        let restored = Fork { context: ContextId(0), ..fork(5) };
        assert_eq!(read(&record), Some((77, Fii(9), restored)));
        assert!(crate::proto::SavedContext::from_bytes(&record).is_err());
        for cut in 0..record.len() {
            assert_eq!(read(&record[..cut]), None);
        }
        assert_eq!(read(&[1; RECORD_LEN]), None);
    }

    #[test]
    fn every_pair_has_its_turn() {
        let mut forks = Forks::default();
        assert_eq!(forks.next_pairs(), []);
        for n in 1..=20 {
            let mut fork = fork(n);
            fork.flow.ulids.peer = Ulid([0x2001, 0xdb8, n, 0, 0, 0, 0, 2].into());
            forks.add(n.into(), fork, Time::ZERO);
        }
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            let turn = forks.next_pairs();
            assert_eq!(turn.len(), PAIRS_PER_SWEEP);
            seen.extend(turn);
        }
        assert_eq!(seen.len(), 20);
    }

    // req-test: AP-11.1-02
    #[test]
    fn forks_end_with_their_sockets() {
        let mut forks = Forks::default();
        assert_eq!(forks.next(), None);
        for n in 1..=4 {
            forks.add(n.into(), fork(n), Time::ZERO);
        }
        assert_eq!(forks.next(), Some(Time::ZERO + SWEEP));
        assert_eq!(forks.of(&proven(1)), Some(fork(1)));
        assert_eq!(forks.of(&Proven { peer: None, ..proven(1) }), None, "talks to nobody now");
        assert_eq!(forks.of(&Proven { local_port: 9, ..proven(1) }), None);
        let socket = |cookie: u64, port| HeldSocket {
            uid: 1000,
            cookie: Some(cookie),
            ports: (port, 80),
            held: true,
        };
        // 1 is closed but still sends, 2 is gone, 3 has other ports, 4's ports belong to another socket.
        let sending = HeldSocket { held: false, uid: 0, ..socket(1, 1) };
        let listed = [sending, socket(3, 33), socket(44, 4)];
        assert_eq!(forks.gone(fork(1).flow.ulids, &listed), [2, 3, 4]);
        let elsewhere = UlidPair { local: fork(1).flow.ulids.peer, ..fork(1).flow.ulids };
        assert!(forks.gone(elsewhere, &[]).is_empty());
        for n in 1..=4 {
            assert_eq!(forks.remove(n), Some(fork(n as u16)));
        }
        assert_eq!((forks.next(), forks.by_context.len()), (None, 0));
    }

    #[test]
    fn one_user_cannot_have_them_all() {
        let mut forks = Forks::default();
        for n in 0..PER_USER as u16 {
            assert_eq!(forks.check_room(&WHO), Ok(()));
            forks.add(n.into(), fork(n), Time::ZERO);
        }
        assert_eq!(forks.check_room(&WHO).unwrap_err().code, ErrorCode::Busy);
        assert_eq!(forks.check_room(&Peer { uid: 1001, ..WHO }), Ok(()));
        assert_eq!(forks.check_room(&Peer { privileged: true, ..WHO }), Ok(()));
    }
}
