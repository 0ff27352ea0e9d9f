//! The protocol engine: Shim6 (RFC 5533) and REAP (RFC 5534), without input or output of its own.
//!
//! Everything here is deterministic: no clock, no operating-system randomness, no sockets, no threads. The driver
//! hands in one [`Input`] at a time together with a [`Cx`] (the time, a random generator, a place for effects)
//! and carries out the [`Output`]s that are left there. The same inputs give the same outputs, so a recorded run
//! replays exactly.
//!
//! - **Inputs**: `Engine::handle`, or its parts `handle_message`, `handle_notice`, `handle_activity`,
//!   `handle_address`, `handle_timeout`, `handle_command`. Time never runs backwards from one call to the next.
//! - **Outputs**: after each call the driver drains `Cx::out` in order.
//! - **Timers**: after each call `Engine::poll_timeout` says when `handle_timeout` is wanted next. Early calls are
//!   harmless, late ones cost quality only.
//! - **Activity**: before `handle_timeout` the driver asks `Engine::due_activity` which contexts want their
//!   activity cells read, and hands each in with `handle_activity`. So a payload packet costs no message and no
//!   timer operation.

pub mod config;
pub mod engine;
pub mod forward;
pub mod input;
pub mod output;
pub mod reap;
mod seldom;
pub mod settings;
pub mod signs;
pub mod time;

pub use config::Config;
pub use engine::{CommandError, ContextView, Engine, SavedContext, State};
pub use forward::{Forward, ForwardChange, Inbound, Outbound, WakeOn};
pub use input::{Activity, Command, Input, Keep, Notice};
pub use output::{DropReason, Event, Output, Transmit};
pub use settings::Settings;
pub use signs::{Rtt, Signs};
pub use time::Time;

use std::collections::VecDeque;
use std::fmt;

/// Names one context inside one engine; never reused while the engine lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
pub struct ContextId(pub u64);

impl fmt::Display for ContextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What every input needs beside itself: the time, chance, and a place where effects go.
pub struct Cx<'a> {
    /// The present time; never earlier than in the call before.
    pub now: Time,
    /// Source of nonces, tags, secrets and jitter.
    pub rng: &'a mut dyn rand::RngCore,
    /// Effects, in the order in which they have to be carried out.
    pub out: &'a mut VecDeque<Output>,
}

impl Cx<'_> {
    /// Leaves an effect for the driver.
    pub fn push(&mut self, output: Output) {
        self.out.push_back(output);
    }

    /// Counts a dropped packet under its reason.
    pub fn drop(&mut self, reason: DropReason) {
        self.push(Output::Drop(reason));
    }
}
