//! The states of a context (RFC 5533, 6.2) and which of them may follow which.

use std::fmt;

/// Establishment state.
// req: S6-6.2-01
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum State {
    /// No context.
    Idle,
    /// An I1 was sent; waits for R1 or R2.
    I1Sent,
    /// An I2 was sent; waits for R2.
    I2Sent,
    /// Both tags are known.
    Established,
    /// The peer had lost the context; an I2bis was sent; waits for R2.
    I2bisSent,
    /// Nobody answered; no new attempt for a while.
    EFailed,
    /// The peer's kernel refused protocol 140; no new attempt for a longer while.
    NoSupport,
}

impl State {
    /// The RFC's spelling.
    pub fn name(self) -> &'static str {
        match self {
            State::Idle => "IDLE",
            State::I1Sent => "I1-SENT",
            State::I2Sent => "I2-SENT",
            State::Established => "ESTABLISHED",
            State::I2bisSent => "I2BIS-SENT",
            State::EFailed => "E-FAILED",
            State::NoSupport => "NO-SUPPORT",
        }
    }

    /// Whether CT(peer) and Ls(peer) are held.
    // req: S6-6.2-02
    pub fn has_peer(self) -> bool {
        matches!(self, State::Established | State::I2bisSent)
    }

    /// Whether the RFC knows a step from `self` to `next`. Every pair of states is named.
    pub fn may_become(self, next: State) -> bool {
        use State::*;
        match (self, next) {
            (Idle, I1Sent | Established) => true,
            (Idle, Idle | I2Sent | I2bisSent | EFailed | NoSupport) => false,
            (I1Sent, I2Sent | Established | EFailed | NoSupport | Idle) => true,
            (I1Sent, I1Sent | I2bisSent) => false,
            (I2Sent, I1Sent | Established | EFailed | Idle) => true,
            (I2Sent, I2Sent | I2bisSent | NoSupport) => false,
            (Established, I2bisSent | I1Sent | Idle) => true,
            (Established, Established | I2Sent | EFailed | NoSupport) => false,
            (I2bisSent, Established | I1Sent | Idle) => true,
            (I2bisSent, I2bisSent | I2Sent | EFailed | NoSupport) => false,
            (EFailed | NoSupport, Idle | I1Sent | Established) => true,
            (EFailed | NoSupport, I2Sent | I2bisSent | EFailed | NoSupport) => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::State::{self, *};

    const ALL: [State; 7] = [Idle, I1Sent, I2Sent, Established, I2bisSent, EFailed, NoSupport];

    // req-test: S6-6.2-01
    #[test]
    fn steps_are_those_of_the_rfc() {
        for (from, next) in [
            (Idle, &[I1Sent, Established][..]),
            (I1Sent, &[Idle, I2Sent, Established, EFailed, NoSupport]),
            (I2Sent, &[Idle, I1Sent, Established, EFailed]),
            (Established, &[Idle, I1Sent, I2bisSent]),
            (I2bisSent, &[Idle, I1Sent, Established]),
            (EFailed, &[Idle, I1Sent, Established]),
            (NoSupport, &[Idle, I1Sent, Established]),
        ] {
            for to in ALL {
                assert_eq!(from.may_become(to), next.contains(&to), "{from} to {to}");
            }
        }
        let with_peer: Vec<State> = ALL.into_iter().filter(|s| s.has_peer()).collect();
        assert_eq!(with_peer, [Established, I2bisSent]);
        let names: Vec<String> = ALL.iter().map(|s| format!("{s:>11}")).collect();
        assert_eq!(names[1], "    I1-SENT");
        let mut unequal = names.clone();
        unequal.sort();
        unequal.dedup();
        assert_eq!(unequal.len(), ALL.len());
    }
}
