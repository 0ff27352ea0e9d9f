//! What somebody asked for one context beyond the settings of the host.

use super::config::ReapConfig;
use super::seldom::{Initial, Rest};
use crate::addr::{Locator, LocatorPair};
use std::borrow::Cow;
use std::time::Duration;

/// Settings of one context. The default leaves everything to the host's configuration and to REAP.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "client", serde(default))]
pub struct Settings {
    /// Send Timeout in seconds, at least 2; the peer is told.
    pub send_timeout_secs: Option<u16>,
    /// Keepalive Interval; at most half of the peer's Send Timeout has an effect.
    pub keepalive_interval: Option<Duration>,
    /// Number of Initial Probes.
    pub initial_probes: Option<u16>,
    /// Initial Probe Timeout.
    pub initial_probe_timeout: Option<Duration>,
    /// Whether a second pair is kept tested.
    pub hot_standby: Option<bool>,
    /// Locators to use whenever a pair with them works.
    pub pin: Ends,
    /// The pair that exploration tries first and takes if it works.
    pub prefer: Option<LocatorPair>,
    /// Preferences among our locators; not empty: those that are not named come last.
    pub local: Vec<Preference>,
    /// Addresses of ours to offer although they are not by themselves: temporary ones.
    pub extra: Vec<Locator>,
    /// The same for the peer's; they supersede what the peer says itself.
    pub peer: Vec<Preference>,
}

/// One or both ends of a pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
pub struct Ends {
    /// Our end, if it matters.
    pub local: Option<Locator>,
    /// The peer's end, if it matters.
    pub peer: Option<Locator>,
}

/// A locator with its preference: the lowest priority first, among equals a share by weight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "client", derive(serde::Serialize, serde::Deserialize))]
pub struct Preference {
    /// The locator.
    pub locator: Locator,
    /// Lower first.
    pub priority: u8,
    /// Share among those of equal priority.
    pub weight: u8,
}

impl Ends {
    /// Both ends.
    pub fn of(pair: LocatorPair) -> Ends {
        Ends { local: Some(pair.local), peer: Some(pair.peer) }
    }

    /// Whether neither end matters.
    pub fn is_free(self) -> bool {
        self == Ends::default()
    }

    /// Whether a pair has these ends.
    pub fn fit(self, pair: LocatorPair) -> bool {
        self.local.is_none_or(|l| l == pair.local) && self.peer.is_none_or(|p| p == pair.peer)
    }

    /// The pair with these ends, the others taken from `rest`.
    pub fn with(self, rest: LocatorPair) -> LocatorPair {
        LocatorPair {
            local: self.local.unwrap_or(rest.local),
            peer: self.peer.unwrap_or(rest.peer),
        }
    }
}

impl Initial for Settings {
    const REST: &'static Settings = &Settings {
        send_timeout_secs: None,
        keepalive_interval: None,
        initial_probes: None,
        initial_probe_timeout: None,
        hot_standby: None,
        pin: Ends { local: None, peer: None },
        prefer: None,
        local: Vec::new(),
        extra: Vec::new(),
        peer: Vec::new(),
    };
}

impl Rest for Settings {
    fn rests(&self) -> bool {
        self.is_default()
    }
}

impl Settings {
    /// Whether nothing was asked for.
    pub fn is_default(&self) -> bool {
        *self == *Settings::REST
    }

    /// REAP's values for the context: the host's, but for those that were asked for. `keepalive_timeout` is the peer's
    /// Send Timeout, of which the Keepalive Interval is a part.
    pub fn reap<'a>(
        &self,
        host: &'a ReapConfig,
        keepalive_timeout: Duration,
    ) -> Cow<'a, ReapConfig> {
        let own = (
            self.send_timeout_secs,
            self.keepalive_interval,
            self.initial_probes,
            self.initial_probe_timeout,
            self.hot_standby,
        );
        if own == (None, None, None, None, None) {
            return Cow::Borrowed(host);
        }
        let mut config = host.clone();
        config.send_timeout_secs = self.send_timeout_secs.unwrap_or(config.send_timeout_secs);
        config.hot_standby = self.hot_standby.unwrap_or(config.hot_standby);
        config.initial_probes = self.initial_probes.map_or(config.initial_probes, u32::from);
        config.initial_probe_timeout =
            self.initial_probe_timeout.unwrap_or(config.initial_probe_timeout);
        if let Some(interval) = self.keepalive_interval {
            let part = interval.as_secs_f64() / keepalive_timeout.as_secs_f64().max(0.001);
            config.keepalive_fraction = part.clamp(0.1, 0.5);
        }
        Cow::Owned(config)
    }

    /// Priority and weight of a locator by one of the lists; `None` where the list says nothing at all.
    pub fn rank(list: &[Preference], locator: Locator) -> Option<(u8, u8)> {
        if list.is_empty() {
            return None;
        }
        let found = list.iter().find(|p| p.locator == locator);
        Some(found.map_or((u8::MAX, 0), |p| (p.priority, p.weight)))
    }
}

/// Sets the preference of one locator in a list.
pub fn set_preference(list: &mut Vec<Preference>, one: Preference) {
    match list.iter_mut().find(|p| p.locator == one.locator) {
        Some(known) => *known = one,
        None => list.push(one),
    }
}

#[cfg(test)]
mod tests;
