//! The data plane: payload packets, between the kernel's queues and the map that the engine publishes.
//!
//! Workers read packets, [`decide`] what each of them is, rewrite it if its context is on other locators than its
//! ULIDs, and give it back. They never wait for the engine; what it may want to know goes over bounded channels,
//! and is counted when it does not fit.

pub mod cells;
pub mod config;
pub mod counters;
pub mod inject;
pub mod map;
pub mod pathmtu;

pub use config::{Backend, DataplaneConfig, HeldConfig, ReassemblyConfig, StartError};
pub use counters::{Counter, Counters};
pub use inject::SendError;
pub use map::{Entry, Map};

use crate::addr::Locator;
use crate::proto::input::ControlPacket;
use crate::proto::{Activity, ContextId, ForwardChange, Notice};
use inject::ControlSocket;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc::Sender;

/// Where workers leave what the engine may want to know. Both channels are bounded; when one is full, its newest
/// item is dropped and counted.
#[derive(Clone, Debug)]
pub struct Channels {
    /// Notices.
    pub notices: Sender<Notice>,
    /// Shim6 control messages.
    pub control: Sender<ControlPacket>,
}

/// The running data plane. Everything in here may be called from the control thread; nothing waits.
#[derive(Debug)]
pub struct Dataplane {
    map: Arc<Map>,
    counters: Arc<Counters>,
    control: ControlSocket,
    config: DataplaneConfig,
    channels: Channels,
}

impl Dataplane {
    /// Opens the sockets and binds the queues. Packets queue up from now on; none is read before
    /// [`Dataplane::run`], so contexts of an earlier life can be put back first.
    ///
    /// # Errors
    /// The reason, with its remedy in words.
    pub fn open(config: DataplaneConfig, channels: Channels) -> Result<Dataplane, StartError> {
        let control = ControlSocket::open(config.mark & config.mark_mask)?;
        Ok(Dataplane { map: Arc::default(), counters: Arc::default(), control, config, channels })
    }

    /// Carries out a change of the map that the engine wants.
    pub fn apply(&self, change: &ForwardChange) {
        self.map.apply(change);
    }

    /// What has been counted for a context.
    pub fn activity(&self, id: ContextId) -> Option<Activity> {
        self.map.activity(id)
    }

    /// Sends a Shim6 control message from one of our locators. Never waits.
    ///
    /// # Errors
    /// The kernel's answer; [`SendError::Unreachable`] is worth a [`Notice::SendFailed`].
    pub fn send_control(
        &self,
        src: Locator,
        dst: Locator,
        message: &[u8],
    ) -> Result<(), SendError> {
        self.control.send(src.0, dst.0, message)
    }

    /// All counters by name.
    pub fn stats(&self) -> BTreeMap<String, u64> {
        self.counters.all().map(|(name, n)| (name.to_owned(), n)).collect()
    }
}
