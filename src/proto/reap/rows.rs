//! The tables of RFC 5534, 6.1 to 6.9: one row for every state and event.

use super::ReapState;
use crate::wire::control::ProbeState;

/// Everything the tables know as cause, and [`Event::Failure`] beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// 6.1: payload came in, or a control message other than Keepalive and Probe.
    PayloadIn,
    /// 6.2: payload went out, or a control message other than Keepalive and Probe.
    PayloadOut,
    /// 6.3: the Keepalive Timer ran out.
    KeepaliveTimeout,
    /// 6.4: the Send Timer ran out.
    SendTimeout,
    /// 6.5: the gap after the last Probe is over.
    Retransmission,
    /// 6.6: a Keepalive came in.
    KeepaliveIn,
    /// 6.7.
    ProbeExploringIn,
    /// 6.8.
    ProbeInboundOkIn,
    /// 6.9.
    ProbeOperationalIn,
    /// Beside the tables: something other than silence says that the current pair does not work, or somebody asks
    /// for an exploration.
    Failure,
}

/// What happens to a timer. A running timer is left alone by START; that keeps a stream of unanswered packets from
/// putting its own detection off for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerOp {
    /// "-"
    Keep,
    /// Start if it does not run.
    Start,
    /// Start afresh.
    Restart,
    /// Stop.
    Stop,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// "-"
    Nothing,
    /// A Keepalive on the current pair.
    Keepalive,
    /// A Probe; its State field equals the row's next state.
    Probe(ProbeState),
}

/// One field of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// SEND.
    pub(super) message: Sent,
    /// The Send Timer.
    pub(super) send: TimerOp,
    /// The Keepalive Timer.
    pub(super) keepalive: TimerOp,
    /// GOTO, or the same state.
    pub(super) next: ReapState,
}

/// The field for a state and an event.
// req: RP-6-01, RP-6-02, RP-4.1-08 (RFC 5534, 6 and 4.1)
pub(super) fn row(state: ReapState, event: Event) -> Row {
    use Event::*;
    use ReapState::*;
    use TimerOp::*;

    let to = |message, send, keepalive, next| Row { message, send, keepalive, next };
    let probe = Sent::Probe;
    match (event, state) {
        // req: RP-6.1-01, RP-6.1-02, RP-6.1-03, RP-6.1-06, RP-4.1-07 (RFC 5534, 6.1)
        (PayloadIn, Operational) => to(Sent::Nothing, Stop, Start, Operational),
        (PayloadIn, Exploring) => to(probe(ProbeState::InboundOk), Start, Keep, InboundOk),
        (PayloadIn, InboundOk) => to(Sent::Nothing, Stop, Keep, InboundOk),

        // req: RP-6.2-01, RP-6.2-02, RP-6.2-03, RP-6.2-04, RP-4.1-05, RP-4.1-06 (RFC 5534, 6.2)
        (PayloadOut, Operational) => to(Sent::Nothing, Start, Stop, Operational),
        (PayloadOut, Exploring) => to(Sent::Nothing, Keep, Keep, Exploring),
        (PayloadOut, InboundOk) => to(Sent::Nothing, Start, Keep, InboundOk),

        // req: RP-6.3-01 (RFC 5534, 6.3)
        (KeepaliveTimeout, Operational) => to(Sent::Keepalive, Keep, Stop, Operational),
        (KeepaliveTimeout, Exploring) => to(Sent::Nothing, Keep, Keep, Exploring),
        (KeepaliveTimeout, InboundOk) => to(Sent::Nothing, Keep, Keep, InboundOk),

        // req: RP-6.4-01, RP-6.4-02, RP-4.1-14 (RFC 5534, 6.4)
        (SendTimeout, Operational) => to(probe(ProbeState::Exploring), Stop, Keep, Exploring),
        (SendTimeout, Exploring) => to(Sent::Nothing, Keep, Keep, Exploring),
        (SendTimeout, InboundOk) => to(probe(ProbeState::Exploring), Stop, Keep, Exploring),

        // req: RP-6.5-01, RP-6.5-02 (RFC 5534, 6.5)
        (Retransmission, Operational) => to(Sent::Nothing, Keep, Keep, Operational),
        (Retransmission, Exploring) => to(probe(ProbeState::Exploring), Keep, Keep, Exploring),
        (Retransmission, InboundOk) => to(probe(ProbeState::InboundOk), Start, Keep, InboundOk),

        // req: RP-6.6-01, RP-6.6-02, RP-6.6-03, RP-4.1-09 (RFC 5534, 6.6)
        (KeepaliveIn, Operational) => to(Sent::Nothing, Stop, Keep, Operational),
        (KeepaliveIn, Exploring) => to(probe(ProbeState::InboundOk), Start, Keep, InboundOk),
        (KeepaliveIn, InboundOk) => to(Sent::Nothing, Stop, Keep, InboundOk),

        // req: RP-6.7-01, RP-6.7-02, RP-6.7-03 (RFC 5534, 6.7)
        (ProbeExploringIn, Operational) => {
            to(probe(ProbeState::InboundOk), Restart, Stop, InboundOk)
        }
        (ProbeExploringIn, Exploring) => to(probe(ProbeState::InboundOk), Start, Keep, InboundOk),
        (ProbeExploringIn, InboundOk) => to(probe(ProbeState::InboundOk), Restart, Keep, InboundOk),

        // req: RP-6.8-01, RP-6.8-02 (RFC 5534, 6.8)
        (ProbeInboundOkIn, Operational | Exploring | InboundOk) => {
            to(probe(ProbeState::Operational), Restart, Stop, Operational)
        }

        // No Probe answers a Probe Operational: the two sides would never come to an end.
        // req: RP-6.9-01, RP-6.9-02, RP-6.9-03 (RFC 5534, 6.9)
        (ProbeOperationalIn, Operational | Exploring | InboundOk) => {
            to(Sent::Nothing, Stop, Start, Operational)
        }

        // Beside the tables. In Exploring the schedule starts again, and its next Probe comes soon.
        // req: RP-3.2-03, RP-3.3-03 (RFC 5534, 3.2 and 3.3)
        (Failure, Operational | InboundOk) => {
            to(probe(ProbeState::Exploring), Stop, Stop, Exploring)
        }
        (Failure, Exploring) => to(Sent::Nothing, Keep, Keep, Exploring),
    }
}
