//! What one client, and one user with many clients, can take from the daemon.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Users remembered at a time; those without connections and with a full bucket are forgotten first.
const USERS: usize = 1024;

/// Lines about one user that are logged in a burst, and how long it takes until one more is.
const LINES: f64 = 5.0;
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Bounds on clients.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections of all users together.
    pub connections: usize,
    /// Of those, kept free for root and the control group.
    pub reserved: usize,
    /// Connections of one user who is neither.
    pub per_user: usize,
    /// Packets per second of one user, all connections together.
    pub rate: f64,
    /// Packets of one user in a burst.
    pub burst: f64,
    /// Requests of one connection without an answer yet.
    pub in_flight: usize,
    /// Connects per second of one user who is neither root nor of the control group. A client that calls once and leaves
    /// is slowed down by the rate of its packets before it comes here.
    pub connect_rate: f64,
    /// Connects of such a user in a burst.
    pub connect_burst: f64,
    /// Descriptors that one such user has passed and that are not closed yet, before nothing more is read from him.
    pub descriptors: usize,
    /// How long a client may leave its answers and events unread when its socket is full, and how long it may wait for
    /// the descriptors of its user to be closed.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 256,
            reserved: 32,
            per_user: 64,
            rate: 500.0,
            burst: 500.0,
            in_flight: 16,
            connect_rate: 1000.0,
            connect_burst: 1000.0,
            descriptors: 64,
            stall: Duration::from_secs(10),
        }
    }
}

/// What the server counts.
#[derive(Debug, Default)]
pub struct ServerCounters {
    /// Connections refused because there were too many, or too many in a short time.
    pub refused: AtomicU64,
    /// Requests denied for lack of privilege.
    pub denied: AtomicU64,
    /// Packets that were no valid request.
    pub invalid: AtomicU64,
    /// Events that slow subscribers did not get.
    pub events_lost: AtomicU64,
    /// Connections closed because their client did not read, or had passed descriptors that are slow to close.
    pub slow: AtomicU64,
}

/// Connections and rates, by user.
#[derive(Debug)]
pub(super) struct Clients {
    limits: Limits,
    users: Mutex<Users>,
}

#[derive(Debug, Default)]
struct Users {
    total: usize,
    by_uid: HashMap<u32, User>,
}

#[derive(Debug)]
struct User {
    connections: usize,
    /// Packets that may come now.
    tokens: f64,
    /// Connects that may come now.
    connects: f64,
    /// Lines about this user that may be logged now.
    lines: f64,
    /// Lines that were not.
    unsaid: u64,
    at: Instant,
}

/// Why there is no place for a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// There are too many.
    TooMany,
    /// This user connects too often to be told so.
    TooFast,
}

impl User {
    fn new(limits: &Limits, now: Instant) -> User {
        User {
            connections: 0,
            tokens: limits.burst,
            connects: limits.connect_burst,
            lines: LINES,
            unsaid: 0,
            at: now,
        }
    }

    fn refill(&mut self, limits: &Limits, now: Instant) {
        let seconds = now.duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + seconds * limits.rate).min(limits.burst);
        self.connects = (self.connects + seconds * limits.connect_rate).min(limits.connect_burst);
        self.lines = (self.lines + seconds / LINE_EVERY.as_secs_f64()).min(LINES);
        self.at = now;
    }

    /// Whether one that is made anew would be treated the same way.
    fn is_blank(&self, limits: &Limits) -> bool {
        self.connections == 0
            && self.tokens >= limits.burst
            && self.connects >= limits.connect_burst
    }
}

impl Clients {
    pub(super) fn new(limits: Limits) -> Arc<Clients> {
        Arc::new(Clients { limits, users: Mutex::default() })
    }

    /// A place for one more connection of this user.
    pub(super) fn admit(self: &Arc<Clients>, uid: u32, privileged: bool) -> Result<Slot, Refusal> {
        let now = Instant::now();
        let limits = &self.limits;
        let mut users = self.lock();
        let users = &mut *users;
        if users.by_uid.len() >= USERS && !users.by_uid.contains_key(&uid) {
            users.by_uid.retain(|_, user| {
                user.refill(limits, now);
                !user.is_blank(limits)
            });
            if users.by_uid.len() >= USERS {
                return Err(Refusal::TooMany);
            }
        }
        let user = users.by_uid.entry(uid).or_insert_with(|| User::new(limits, now));
        user.refill(limits, now);
        if !privileged {
            if user.connects < 1.0 {
                return Err(Refusal::TooFast);
            }
            user.connects -= 1.0;
        }
        let reserved = if privileged { 0 } else { limits.reserved };
        if users.total + reserved >= limits.connections
            || (!privileged && user.connections >= limits.per_user)
        {
            return Err(Refusal::TooMany);
        }
        users.total += 1;
        user.connections += 1;
        Ok(Slot { clients: self.clone(), uid })
    }

    /// Logs what was refused to a user, but only so much about one of them; the rest is counted.
    pub(super) fn complain(&self, uid: u32, what: &dyn Display) {
        match self.may_log(uid, Instant::now()) {
            None => {}
            Some(0) => log::warn!("control: {what}"),
            Some(unsaid) => log::warn!("control: {what} (and {unsaid} more of this user)"),
        }
    }

    /// Whether a line about this user may be logged, and how many were not since the last one.
    fn may_log(&self, uid: u32, now: Instant) -> Option<u64> {
        let mut users = self.lock();
        // Whoever is not known is one of very many.
        let user = users.by_uid.get_mut(&uid)?;
        user.refill(&self.limits, now);
        if user.lines < 1.0 {
            user.unsaid += 1;
            return None;
        }
        user.lines -= 1.0;
        Some(std::mem::take(&mut user.unsaid))
    }

    fn lock(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    clients: Arc<Clients>,
    uid: u32,
}

impl Slot {
    /// Logs what was refused to the client.
    pub(super) fn complain(&self, what: &dyn Display) {
        self.clients.complain(self.uid, what);
    }

    /// For those who go on when the connection has ended.
    pub(super) fn clients(&self) -> Arc<Clients> {
        self.clients.clone()
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.clients.limits
    }

    /// Waits until the user may send one more packet, and takes nothing yet, so that it can be given up.
    pub(super) async fn ready(&self) {
        loop {
            let missing = {
                let mut users = self.clients.lock();
                let Some(user) = users.by_uid.get_mut(&self.uid) else { return };
                user.refill(&self.clients.limits, Instant::now());
                1.0 - user.tokens
            };
            if missing <= 0.0 {
                return;
            }
            let wait = Duration::from_secs_f64(missing / self.clients.limits.rate);
            tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        }
    }

    /// Takes the right to send one packet. Several connections of a user may have been told at once that they are
    /// ready, so the balance can go below zero; the next one then waits longer.
    pub(super) fn take(&self) {
        if let Some(user) = self.clients.lock().by_uid.get_mut(&self.uid) {
            user.tokens -= 1.0;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut users = self.clients.lock();
        users.total = users.total.saturating_sub(1);
        if let Some(user) = users.by_uid.get_mut(&self.uid) {
            user.connections = user.connections.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connects_are_paced_and_those_with_privileges_are_not_refused() {
        let limits = Limits { connect_burst: 3.0, connect_rate: 0.001, ..Limits::default() };
        let clients = Clients::new(limits);
        for _ in 0..3 {
            assert!(clients.admit(1000, false).is_ok());
        }
        assert_eq!(clients.admit(1000, false).unwrap_err(), Refusal::TooFast);
        assert!(clients.admit(1001, false).is_ok());
        for _ in 0..10 {
            assert!(clients.admit(1000, true).is_ok());
        }
    }

    #[test]
    fn lines_about_one_user_are_bounded_and_counted() {
        let clients = Clients::new(Limits::default());
        let _place = clients.admit(1000, false).unwrap();
        let now = Instant::now();
        let lines = (0..100).filter_map(|_| clients.may_log(1000, now)).collect::<Vec<_>>();
        assert_eq!(lines, [0; LINES as usize]);
        assert_eq!(clients.may_log(1000, now + LINE_EVERY), Some(95));
        assert_eq!(clients.may_log(1000, now + LINE_EVERY), None);
        let _place = clients.admit(1001, false).unwrap();
        assert_eq!(clients.may_log(1001, now), Some(0));
        assert_eq!(clients.may_log(7, now), None, "not known");
    }

    #[test]
    fn users_are_remembered_until_they_are_as_new() {
        let clients = Clients::new(Limits { connections: 10_000, ..Limits::default() });
        for uid in 0..2 * USERS as u32 {
            drop(clients.admit(uid, false));
            assert!(clients.lock().by_uid.len() <= USERS);
        }
    }
}
