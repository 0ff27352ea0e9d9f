//! The machine itself (RFC 5534, section 6).

use super::{PairStatus, ReapCx, ReapState};
use crate::addr::{Locator, LocatorPair};
use crate::proto::{Activity, Time, WakeOn};
use crate::wire::control::Probe;
use std::time::Duration;

/// REAP for one established context.
#[derive(Clone, Debug)]
pub struct Reap {
    state: ReapState,
    since: Time,
    peer_send_timeout: Option<u16>,
}

impl Reap {
    /// A machine for a context that has just been established: Operational, no timer runs.
    pub fn new(now: Time) -> Reap {
        Reap { state: ReapState::Operational, since: now, peer_send_timeout: None }
    }

    /// The activity cells as they are now: payload that went in or out since they were last read.
    pub fn on_activity(&mut self, _rcx: &mut ReapCx<'_>, _activity: &Activity) {}

    /// A valid control message other than Keepalive and Probe came in: a life sign like payload.
    pub fn on_control_in(&mut self, _rcx: &mut ReapCx<'_>) {}

    /// An Update Request, Update Acknowledgement or Error of this context goes out: counts like payload.
    pub fn on_control_out(&mut self, _rcx: &mut ReapCx<'_>) {}

    /// A valid Keepalive came in.
    pub fn on_keepalive(&mut self, _rcx: &mut ReapCx<'_>) {}

    /// A valid Probe came in with these addresses in its IPv6 header.
    pub fn on_probe(
        &mut self,
        _rcx: &mut ReapCx<'_>,
        _src: Locator,
        _dst: Locator,
        _probe: &Probe,
    ) {
    }

    /// Time has passed.
    pub fn on_timer(&mut self, _rcx: &mut ReapCx<'_>) {}

    /// Our locator `lost` cannot be used: address, link or route is gone. Explores at once if the current pair has it;
    /// pairs with it are skipped until [`Reap::on_locator_usable`] names it.
    pub fn on_local_failure(&mut self, _rcx: &mut ReapCx<'_>, _lost: Locator) {}

    /// A locator of ours or of the peer's has come (back): forgets its loss, and a running exploration tries it
    /// without waiting for the end of a long gap.
    pub fn on_locator_usable(&mut self, _rcx: &mut ReapCx<'_>, _back: Locator) {}

    /// The peer marked its locator of the current pair as broken, or withdrew it.
    pub fn on_peer_withdrew(&mut self, _rcx: &mut ReapCx<'_>) {}

    /// Explore now; one that already runs starts its schedule anew.
    pub fn explore_now(&mut self, _rcx: &mut ReapCx<'_>) {}

    /// Tests one pair beside the normal run, if Operational. Ends with `Action::Answered` or `Action::TestFailed` for
    /// this pair, or without either if an exploration begins meanwhile. Changes no current pair.
    /// False if not Operational or too many tests wait.
    pub fn test_pair(&mut self, _rcx: &mut ReapCx<'_>, _pair: LocatorPair) -> bool {
        false
    }

    /// The peer's Send Timeout in seconds from its Keepalive Timeout option; `None` if it sent none. 0 is ignored.
    pub fn set_peer_send_timeout(&mut self, seconds: Option<u16>) {
        if seconds != Some(0) {
            self.peer_send_timeout = seconds;
        }
    }

    /// The context was established anew by the peer on `ReapCx::current`: Operational, no timer, nothing remembered.
    pub fn reset_operational(&mut self, _rcx: &mut ReapCx<'_>) {}

    /// The present state.
    pub fn state(&self) -> ReapState {
        self.state
    }

    /// When the present state was entered.
    pub fn since(&self) -> Time {
        self.since
    }

    /// When the exploration that runs now left Operational; `None` if none runs.
    pub fn exploring_since(&self) -> Option<Time> {
        None
    }

    /// When `on_timer` is wanted next, apart from `activity_due`.
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }

    /// When the activity cells are to be read next, followed by `on_timer`.
    pub fn activity_due(&self) -> Option<Time> {
        None
    }

    /// Which packet has to be told at once.
    pub fn wake(&self) -> WakeOn {
        WakeOn::Any
    }

    /// Whether copies of unanswered segments are to be kept.
    pub fn hold(&self) -> bool {
        self.state != ReapState::Operational
    }

    /// From the last answered Probe to its report.
    pub fn last_rtt(&self) -> Option<Duration> {
        None
    }

    /// What is known about each pair that was probed or heard, at most 256 pairs.
    pub fn pairs(&self) -> &[PairStatus] {
        &[]
    }
}
