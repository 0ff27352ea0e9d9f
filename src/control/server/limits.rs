//! What one client, and one user with many clients, can take from the daemon.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Users remembered at a time; those without connections and with a full bucket are forgotten first.
const USERS: usize = 1024;

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
    /// How long a client may leave its answers and events unread when its socket is full.
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
            stall: Duration::from_secs(10),
        }
    }
}

/// What the server counts.
#[derive(Debug, Default)]
pub struct ServerCounters {
    /// Connections refused because there were too many.
    pub refused: AtomicU64,
    /// Requests denied for lack of privilege.
    pub denied: AtomicU64,
    /// Packets that were no valid request.
    pub invalid: AtomicU64,
    /// Events that slow subscribers did not get.
    pub events_lost: AtomicU64,
    /// Connections closed because their client did not read.
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
    tokens: f64,
    at: Instant,
}

impl User {
    fn refill(&mut self, limits: &Limits, now: Instant) {
        let gained = now.duration_since(self.at).as_secs_f64() * limits.rate;
        self.tokens = (self.tokens + gained).min(limits.burst);
        self.at = now;
    }
}

impl Clients {
    pub(super) fn new(limits: Limits) -> Arc<Clients> {
        Arc::new(Clients { limits, users: Mutex::default() })
    }

    /// A place for one more connection of this user, if there is one.
    pub(super) fn admit(self: &Arc<Clients>, uid: u32, privileged: bool) -> Option<Slot> {
        let now = Instant::now();
        let limits = &self.limits;
        let mut users = self.lock();
        let mine = users.by_uid.get(&uid).map_or(0, |user| user.connections);
        let reserved = if privileged { 0 } else { limits.reserved };
        if users.total + reserved >= limits.connections || (!privileged && mine >= limits.per_user)
        {
            return None;
        }
        if users.by_uid.len() >= USERS && !users.by_uid.contains_key(&uid) {
            users.by_uid.retain(|_, user| {
                user.refill(limits, now);
                user.connections > 0 || user.tokens < limits.burst
            });
            if users.by_uid.len() >= USERS {
                return None;
            }
        }
        users.total += 1;
        users
            .by_uid
            .entry(uid)
            .or_insert(User { connections: 0, tokens: limits.burst, at: now })
            .connections += 1;
        drop(users);
        Some(Slot { clients: self.clone(), uid })
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
