//! How often every state met every event.

use shim6::proto::engine::State;
use shim6::proto::reap::ReapState;
use std::fmt::Write;

macro_rules! events {
    ($(#[$doc:meta])* $name:ident { $($event:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($event,)* }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$event,)*];
        }
    };
}

events! {
    /// What can happen to a context, or to a ULID pair without one (RFC 5533). A message counts as what the engine took it
    /// for; one that it could not read, or refused for what it holds, is an event of its own.
    On {
        I1Same, I1Other, R1, I2, R2, R1bis, I2bis, UpdateRequest, UpdateAck, Keepalive, ProbeExploring,
        ProbeInboundOk, ProbeOperational, Error, TaggedPayload, PlainPayload, PayloadOut, Heuristic, Active,
        PayloadInSetup, ControlRefused, PayloadRefused, SendFailed, AddressPresent, AddressLost, AddressGone,
        Establish, Explore, Test, Switch, GiveUpSwitch, Release, Configure, InUse, Discard, Locator, Unreadable,
        Refused, Timer,
    }
}

events! {
    /// The causes of RFC 5534, section 6, and local failures beside them.
    Cause {
        PayloadIn, PayloadOut, KeepaliveTimer, SendTimer, Retransmission, KeepaliveIn, ProbeExploringIn,
        ProbeInboundOkIn, ProbeOperationalIn, Failure,
    }
}

pub const STATES: [State; 7] = [
    State::Idle,
    State::I1Sent,
    State::I2Sent,
    State::Established,
    State::I2bisSent,
    State::EFailed,
    State::NoSupport,
];
pub const REAP: [ReapState; 3] =
    [ReapState::Operational, ReapState::Exploring, ReapState::InboundOk];

/// Cells that nothing can hit, with the reason.
fn unreachable(state: State, on: On) -> Option<&'static str> {
    use State::*;
    match (on, state) {
        (On::I1Same, Idle | I1Sent | I2Sent | EFailed | NoSupport) => {
            Some("CT(peer) is known in ESTABLISHED and I2BIS-SENT only; any tag is another one")
        }
        (On::Timer, Idle | EFailed | NoSupport) => {
            Some("there is no context, hence no timer: a hold-down runs out without an event")
        }
        _ => None,
    }
}

/// Cells that chance hardly ever hits; tests/sim hits them (`table::i2_ends_a_hold_down`).
fn seldom(state: State, on: On) -> Option<&'static str> {
    match (on, state) {
        (On::I2, State::EFailed | State::NoSupport) => Some(
            "seldom: an I1 ends a hold-down, so the I2 has to answer an R1 that is older than that, and not a minute old",
        ),
        _ => None,
    }
}

fn reap_unreachable(state: ReapState, cause: Cause) -> Option<&'static str> {
    use ReapState::*;
    match (cause, state) {
        (Cause::KeepaliveTimer, Exploring | InboundOk) => {
            Some("the timer is stopped on leaving Operational and started in Operational only")
        }
        (Cause::SendTimer, Exploring) => Some("the timer is stopped on entering Exploring"),
        (Cause::Retransmission, Operational) => {
            Some("the Probe timer runs outside Operational only")
        }
        _ => None,
    }
}

/// Counts of a run; those of several threads add up.
#[derive(Clone)]
pub struct Matrix {
    on: Vec<[u64; 7]>,
    cause: Vec<[u64; 3]>,
}

impl Default for Matrix {
    fn default() -> Matrix {
        Matrix { on: vec![[0; 7]; On::ALL.len()], cause: vec![[0; 3]; Cause::ALL.len()] }
    }
}

impl Matrix {
    pub fn hit(&mut self, state: State, on: On) {
        let s = match state {
            State::Idle => 0,
            State::I1Sent => 1,
            State::I2Sent => 2,
            State::Established => 3,
            State::I2bisSent => 4,
            State::EFailed => 5,
            State::NoSupport => 6,
        };
        self.on[on as usize][s] += 1;
    }

    pub fn reap(&mut self, state: ReapState, cause: Cause) {
        let s = match state {
            ReapState::Operational => 0,
            ReapState::Exploring => 1,
            ReapState::InboundOk => 2,
        };
        self.cause[cause as usize][s] += 1;
    }

    pub fn add(&mut self, other: &Matrix) {
        for (a, b) in self.on.iter_mut().zip(&other.on) {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        }
        for (a, b) in self.cause.iter_mut().zip(&other.cause) {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        }
    }

    /// Cells that were hit although nothing should, and reachable cells hit less often than `least`.
    pub fn faults(&self, least: u64) -> Vec<String> {
        let mut faults = Vec::new();
        let mut judge = |name: String, n: u64, reason: Option<&str>| match reason {
            Some(reason) if n > 0 => faults.push(format!("{name}: {n} hits, but {reason}")),
            None if n < least => faults.push(format!("{name}: {n} hits, at least {least} wanted")),
            _ => {}
        };
        for (on, row) in On::ALL.iter().zip(&self.on) {
            for (state, n) in STATES.iter().zip(row).filter(|(s, _)| seldom(**s, *on).is_none()) {
                judge(format!("{state} x {on:?}"), *n, unreachable(*state, *on));
            }
        }
        for (cause, row) in Cause::ALL.iter().zip(&self.cause) {
            for (state, n) in REAP.iter().zip(row) {
                judge(
                    format!("{} x {cause:?}", state.name()),
                    *n,
                    reap_unreachable(*state, *cause),
                );
            }
        }
        faults
    }

    /// The reachable cell that was hit least.
    pub fn least(&self) -> (String, u64) {
        let mut cells = Vec::new();
        for (on, row) in On::ALL.iter().zip(&self.on) {
            for (s, n) in STATES.iter().zip(row) {
                if unreachable(*s, *on).is_none() && seldom(*s, *on).is_none() {
                    cells.push((format!("{s} x {on:?}"), *n));
                }
            }
        }
        for (cause, row) in Cause::ALL.iter().zip(&self.cause) {
            for (s, n) in REAP.iter().zip(row) {
                if reap_unreachable(*s, *cause).is_none() {
                    cells.push((format!("{} x {cause:?}", s.name()), *n));
                }
            }
        }
        cells.into_iter().min_by_key(|(_, n)| *n).unwrap_or_default()
    }

    /// Both tables; `-` marks a cell that cannot be hit.
    pub fn table(&self) -> String {
        let mut o = String::new();
        let cell = |n: u64, reason: Option<&str>| match reason {
            Some(_) => "-".to_owned(),
            None => n.to_string(),
        };
        let _ = write!(o, "{:<16}", "");
        for s in STATES {
            let _ = write!(o, "{:>12}", s.name());
        }
        for (on, row) in On::ALL.iter().zip(&self.on) {
            let _ = write!(o, "\n{:<16}", format!("{on:?}"));
            for (s, n) in STATES.iter().zip(row) {
                let _ = write!(o, "{:>12}", cell(*n, unreachable(*s, *on)));
            }
        }
        let _ = write!(o, "\n\n{:<20}", "");
        for s in REAP {
            let _ = write!(o, "{:>12}", s.name());
        }
        for (cause, row) in Cause::ALL.iter().zip(&self.cause) {
            let _ = write!(o, "\n{:<20}", format!("{cause:?}"));
            for (s, n) in REAP.iter().zip(row) {
                let _ = write!(o, "{:>12}", cell(*n, reap_unreachable(*s, *cause)));
            }
        }
        o.push('\n');
        o
    }

    /// The reasons for the cells that cannot be hit.
    pub fn reasons() -> String {
        let mut o = String::new();
        for on in On::ALL {
            for s in STATES {
                if let Some(reason) = unreachable(s, *on).or(seldom(s, *on)) {
                    let _ = writeln!(o, "{s} x {on:?}: {reason}");
                }
            }
        }
        for cause in Cause::ALL {
            for s in REAP {
                if let Some(reason) = reap_unreachable(s, *cause) {
                    let _ = writeln!(o, "{} x {cause:?}: {reason}", s.name());
                }
            }
        }
        o
    }
}
