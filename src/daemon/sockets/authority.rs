//! Who may steer a context that others may be using, too.
//!
//! A default context serves every flow between two ULIDs. Somebody without privileges may steer it only if every socket
//! between them is his own; looking that up costs the kernel a walk through its tables, and the loop that waits for it
//! the same time, so each user gets only so many of them, and all users together.

use super::descriptor::Proven;
use crate::addr::UlidPair;
use crate::control::api::{ApiError, ErrorCode};
use crate::control::server::Peer;
use crate::netlink::sockdiag::{HeldSocket, sockets_between};
use crate::proto::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// Look-ups of one user in a burst, and how long it takes until one more is allowed.
const BURST: u32 = 20;
const REFILL: Duration = Duration::from_millis(100);
/// The same for all users together: what the control loop spends on it is bounded whoever asks.
const BURST_ALL: u32 = 50;
const REFILL_ALL: Duration = Duration::from_millis(20);
/// Users remembered.
const USERS: usize = 1024;

/// Decides about steering, and remembers how often each user has asked.
#[derive(Debug, Default)]
pub struct Authority {
    /// Per user: when the burst is free again in whole.
    spent: BTreeMap<u32, Time>,
    /// When the burst of all users is free again in whole.
    spent_all: Option<Time>,
}

impl Authority {
    /// Whether `peer` may ask for one more thing that costs the host something.
    ///
    /// # Errors
    /// `busy`.
    pub fn pace(&mut self, peer: &Peer, now: Time) -> Result<(), ApiError> {
        if peer.privileged || self.take(peer.uid, now) {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::Busy, "too many requests of this user, or of all")
            .remedy("ten in a second are answered, fifty of all users together"))
    }

    /// Whether `peer`, who holds the socket `proven`, may steer the default context between `ulids`.
    ///
    /// # Errors
    /// `permission_denied` with the reason, `busy` if this user asks too often, `kernel` if nobody can say.
    pub fn check(
        &mut self,
        peer: &Peer,
        proven: &Proven,
        ulids: UlidPair,
        now: Time,
    ) -> Result<(), ApiError> {
        if peer.privileged {
            return Ok(());
        }
        self.pace(peer, now)?;
        decide(peer.uid, proven.cookie, &list(ulids)?)
    }

    /// Whether `proven` is the only socket between `ulids`; if it is, `peer`, who holds it, may steer their context.
    ///
    /// # Errors
    /// As [`check`](Self::check), where it is the only one.
    pub fn alone(
        &mut self,
        peer: &Peer,
        proven: &Proven,
        ulids: UlidPair,
        now: Time,
    ) -> Result<bool, ApiError> {
        self.pace(peer, now)?;
        let sockets = list(ulids)?;
        if sockets.len() > 1 {
            return Ok(false);
        }
        if !peer.privileged {
            decide(peer.uid, proven.cookie, &sockets)?;
        }
        Ok(true)
    }

    /// A leaky bucket: each look-up moves the time at which the burst is whole again.
    fn take(&mut self, uid: u32, now: Time) -> bool {
        self.spent.retain(|_, whole| *whole > now);
        let whole = self.spent.get(&uid).copied().unwrap_or(now).max(now) + REFILL;
        if whole.since(now) > REFILL * BURST
            || (self.spent.len() >= USERS && !self.spent.contains_key(&uid))
        {
            return false;
        }
        let all = self.spent_all.unwrap_or(now).max(now) + REFILL_ALL;
        if all.since(now) > REFILL_ALL * BURST_ALL {
            return false;
        }
        self.spent_all = Some(all);
        self.spent.insert(uid, whole);
        true
    }
}

fn list(ulids: UlidPair) -> Result<Vec<HeldSocket>, ApiError> {
    let mut all = sockets_between(ulids)
        .map_err(|e| ApiError::new(ErrorCode::Kernel, format!("sockets not listed: {e}")))?;
    // A closed one is nobody's.
    all.retain(|s| s.held);
    Ok(all)
}

/// The rule itself.
fn decide(uid: u32, cookie: u64, sockets: &[HeldSocket]) -> Result<(), ApiError> {
    let denied = |text: &str| {
        ApiError::new(ErrorCode::PermissionDenied, format!("permission denied: {text}"))
    };
    // Where the kernel does not tell cookies (raw sockets), owning all sockets has to do.
    if sockets.iter().all(|s| s.cookie.is_some_and(|c| c != cookie)) {
        return Err(denied("the kernel does not list this socket between these addresses"));
    }
    if sockets.iter().any(|s| s.uid != uid) {
        return Err(denied("other users have flows between the same addresses")
            .remedy("ask root or a member of the control group"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(uid: u32, cookie: u64) -> HeldSocket {
        HeldSocket { uid, cookie: Some(cookie), ports: (1, 2), held: true }
    }

    #[test]
    fn only_the_owner_of_all_sockets_steers() {
        let code = |r: Result<(), ApiError>| r.unwrap_err().code;
        assert_eq!(decide(1000, 7, &[socket(1000, 7)]), Ok(()));
        assert_eq!(decide(1000, 7, &[socket(1000, 6), socket(1000, 7)]), Ok(()));
        let denied = ErrorCode::PermissionDenied;
        assert_eq!(code(decide(1000, 7, &[socket(1000, 7), socket(1001, 8)])), denied);
        assert_eq!(code(decide(1001, 7, &[socket(1000, 7)])), denied);
        assert_eq!(code(decide(1000, 9, &[socket(1000, 7)])), denied, "not that socket");
        assert_eq!(code(decide(1000, 9, &[])), denied);
        assert_eq!(decide(1000, 9, &[HeldSocket { cookie: None, ..socket(1000, 0) }]), Ok(()));
    }

    #[test]
    fn look_ups_are_bounded_per_user() {
        let mut authority = Authority::default();
        let now = Time::from_nanos(1_000_000_000);
        for _ in 0..BURST {
            assert!(authority.take(1000, now));
        }
        assert!(!authority.take(1000, now));
        assert!(authority.take(1001, now));
        assert!(authority.take(1000, now + REFILL));
        assert!(!authority.take(1000, now + REFILL));
        for n in 0..2 * USERS as u32 {
            authority.take(2000 + n, now + REFILL + REFILL_ALL * n);
        }
        assert!(authority.spent.len() <= USERS);
    }

    #[test]
    fn look_ups_are_bounded_in_all() {
        let mut authority = Authority::default();
        let now = Time::from_nanos(1_000_000_000);
        // A user that is refused for others' sake has spent nothing of his own.
        let answered = (0..200).filter(|n| authority.take(1000 + n % 100, now)).count();
        assert_eq!(answered, BURST_ALL as usize);
        let later = now + Duration::from_secs(1);
        assert_eq!((0..200).filter(|n| authority.take(2000 + n, later)).count(), 50);
    }
}
