//! What workers and the control thread share.

use super::Channels;
use super::config::DataplaneConfig;
use super::counters::{Counter, Counters};
use super::entry::Entry;
use super::held::Held;
use super::heuristic::Heuristic;
use super::kernel_path::KernelPath;
use super::map::Map;
use super::pathmtu::LoweredMtus;
use crate::addr::LocatorPair;
use crate::proto::input::ControlPacket;
use crate::proto::{Notice, Time, WakeOn};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc::error::TrySendError;

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// The settings.
    pub config: DataplaneConfig,
    /// The map.
    pub map: Map,
    /// The counters.
    pub counters: Counters,
    /// Address pairs without a context.
    pub heuristic: Heuristic,
    /// Held copies.
    pub held: Held,
    /// Path MTUs below the route's.
    pub lowered: Arc<LoweredMtus>,
    /// Flows that the kernel passes by itself, where that is wanted and possible.
    pub kernel_path: OnceLock<KernelPath>,
    /// To the engine.
    pub channels: Channels,
    /// The next Identification of a Fragment header.
    pub fragment_id: AtomicU32,
}

impl Shared {
    /// Shared state of a data plane without contexts.
    pub fn new(config: DataplaneConfig, channels: Channels) -> Shared {
        Shared {
            map: Map::default(),
            counters: Counters::default(),
            heuristic: Heuristic::new(config.heuristic.clone(), config.heuristic_pairs),
            held: Held::new(config.held),
            lowered: Arc::default(),
            kernel_path: OnceLock::new(),
            channels,
            // Hard to guess where it starts (RFC 7739 wants no more between hosts that fragment this rarely).
            fragment_id: AtomicU32::new(RandomState::new().hash_one(0) as u32),
            config,
        }
    }

    /// Leaves a notice, or counts it if there is no room. Whether there was room.
    pub fn notice(&self, notice: Notice) -> bool {
        let left = self.channels.notices.try_send(notice).is_ok();
        if !left {
            self.counters.count(Counter::NoticeShed);
        }
        left
    }

    /// Tells the engine of the packet for which this wake-up was armed; if that fails, the next packet tries again.
    pub(super) fn active(&self, entry: &Entry, wake: Option<WakeOn>) {
        if let Some(wake) = wake
            && !self.notice(Notice::Active(entry.id(), entry.cells.look()))
        {
            entry.cells.rearm(wake);
        }
    }

    pub(super) fn control(&self, packet: ControlPacket) {
        match self.channels.control.try_send(packet) {
            Ok(()) => self.counters.count(Counter::Control),
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                self.counters.count(Counter::DropControlShed);
            }
        }
    }

    pub(super) fn failed(&self, entry: &Entry, pair: LocatorPair, now: Time) {
        if entry.cells.may_tell_failed(now) {
            self.notice(Notice::SendFailed { src: pair.local, dst: pair.peer });
        }
    }
}
