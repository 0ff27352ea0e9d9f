//! What a program may ask for its socket beyond what happens anyway, checked value by value.

use crate::addr::Locator;
use crate::control::api::{
    ApiError, ErrorCode, ExploreSettings, MAX_LOCATORS, Preference, SocketChanges, SocketOptions,
};
use crate::control::server::Peer;
use crate::proto::ContextView;
use crate::proto::engine::context::LocalEntry;
use crate::proto::engine::peer::PeerEntry;
use crate::proto::settings::{self, Settings, set_preference};
use crate::wire::option::PreferenceFlags;
use std::time::Duration;

/// The smallest Send Timeout that can be told to a peer, in seconds.
const MIN_SEND_TIMEOUT: u32 = 2;
/// The shortest gap between Initial Probes for callers without privileges, in milliseconds.
const MIN_GAP_MS: u16 = 50;

fn invalid(text: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidArgument, text)
}

/// All but SHIM_DONTSHIM is about a context.
// req: AP-6.15-01
pub fn needs_context(changes: &SocketChanges) -> bool {
    *changes != SocketChanges { dont_shim: changes.dont_shim, ..SocketChanges::default() }
}

/// The entry of one of our locators.
///
/// # Errors
/// `invalid_locator`.
// req: AP-14.1.1-01
pub fn local_entry(c: &ContextView, locator: Locator) -> Result<&LocalEntry, ApiError> {
    c.local_locators.iter().find(|e| e.locator == locator).ok_or_else(|| not_of(locator, "our"))
}

/// The entry of one of the peer's locators.
///
/// # Errors
/// `invalid_locator`.
// req: AP-14.1.2-01
pub fn peer_entry(c: &ContextView, locator: Locator) -> Result<&PeerEntry, ApiError> {
    let found = c.peer_locators.iter().find(|e| e.locator == locator && e.verified);
    found.ok_or_else(|| not_of(locator, "the peer's"))
}

fn not_of(locator: Locator, whose: &str) -> ApiError {
    let text = format!("{locator} is not one of {whose} locators in this context");
    ApiError::new(ErrorCode::InvalidLocator, text)
}

/// A locator of the peer that is known to answer.
fn reachable(c: &ContextView, locator: Locator) -> Result<(), ApiError> {
    let entry = peer_entry(c, locator)?;
    let silent = |p: &&crate::proto::reap::PairStatus| {
        p.pair.peer == locator && p.unanswered > 0 && p.answered.is_none()
    };
    let answers =
        |p: &crate::proto::reap::PairStatus| p.pair.peer == locator && p.answered.is_some();
    let broken = entry.flags.contains(PreferenceFlags::BROKEN);
    if broken || (c.pairs.iter().any(|p| silent(&p)) && !c.pairs.iter().any(answers)) {
        let text = format!("{locator} does not answer");
        return Err(ApiError::new(ErrorCode::UnreachableLocator, text));
    }
    Ok(())
}

/// A locator of the peer that was shown to be reachable.
fn verified(c: &ContextView, locator: Locator) -> Result<(), ApiError> {
    reachable(c, locator)?;
    if peer_entry(c, locator)?.probed {
        return Ok(());
    }
    let text = format!("{locator} has not been shown to be reachable yet");
    Err(ApiError::new(ErrorCode::UnverifiedLocator, text).remedy("test a pair with it first"))
}

fn list(list: &Option<Vec<Preference>>) -> Result<&[Preference], ApiError> {
    let list = list.as_deref().unwrap_or_default();
    if list.len() > MAX_LOCATORS {
        let text = format!("{} locators, at most {MAX_LOCATORS} are possible", list.len());
        return Err(ApiError::new(ErrorCode::TooManyLocators, text));
    }
    Ok(list)
}

/// Whether all values make sense for a context.
///
/// # Errors
/// The first that does not.
// req: AP-6.4-02, AP-6.5-02, AP-6.8-02, AP-6.9-02, AP-6.10-03, AP-6.11-03, AP-8.2-02
pub fn check(
    changes: &SocketChanges,
    c: &ContextView,
    may_offer: impl Fn(Locator) -> bool,
) -> Result<(), ApiError> {
    // req: AP-14.1.1-02
    let local = |locator| match local_entry(c, locator) {
        Err(_) if may_offer(locator) => Ok(()),
        other => other.map(drop),
    };
    if let Some(secs) = changes.send_timeout_secs
        && secs != 0
        && !(MIN_SEND_TIMEOUT..=u32::from(u16::MAX)).contains(&secs)
    {
        return Err(invalid("a Send Timeout is 0 (the default) or 2 to 65535 seconds"));
    }
    if let Some(explore) = &changes.explore {
        check_explore(explore)?;
    }
    for locator in changes.source.iter().filter(|l| !l.0.is_unspecified()) {
        local(*locator)?;
    }
    for locator in changes.destination.iter().filter(|l| !l.0.is_unspecified()) {
        verified(c, *locator)?;
    }
    for p in list(&changes.local_list)?.iter().chain(&changes.local_preference) {
        local(p.locator)?;
    }
    if let Some(p) = &changes.peer_preference {
        reachable(c, p.locator)?;
    }
    for p in list(&changes.peer_list)? {
        verified(c, p.locator)?;
    }
    Ok(())
}

fn check_explore(e: &ExploreSettings) -> Result<(), ApiError> {
    if e.probes == 0 || e.initial_probe_timeout_ms == 0 {
        return Err(invalid(
            "exploration needs at least one Initial Probe and a time between them",
        ));
    }
    if u32::from(e.keepalive_timeout_secs) < MIN_SEND_TIMEOUT {
        return Err(invalid("a Keepalive Timeout is at least 2 seconds"));
    }
    if e.keepalive_interval_secs == 0 || e.keepalive_interval_secs > e.keepalive_timeout_secs / 2 {
        return Err(invalid("a Keepalive Interval is 1 second to half of the timeout"));
    }
    Ok(())
}

/// Whether somebody may ask for that: the Probes of all contexts together have one limit, and are for failures.
///
/// # Errors
/// `permission_denied`.
pub fn may(who: &Peer, changes: &SocketChanges) -> Result<(), ApiError> {
    let gap = changes.explore.as_ref().map(|e| e.initial_probe_timeout_ms);
    if !who.privileged && gap.is_some_and(|gap| gap < MIN_GAP_MS) {
        let text = format!("permission denied: Initial Probes less than {MIN_GAP_MS} ms apart");
        return Err(ApiError::new(ErrorCode::PermissionDenied, text)
            .remedy("ask root or a member of the control group"));
    }
    Ok(())
}

/// Whether this daemon can do such a thing for a socket at all.
///
/// # Errors
/// `not_possible` for SHIM_DONTSHIM on a connected socket.
// req: AP-6.2-03
pub fn possible(changes: &SocketChanges, connected: bool) -> Result<(), ApiError> {
    if changes.dont_shim == Some(true) && connected {
        return Err(ApiError::new(
            ErrorCode::NotPossible,
            "a socket can leave the shim only before it is connected",
        ));
    }
    Ok(())
}

/// Settings of a context with the changes in them. Addresses of ours that it does not offer yet are offered with it.
// req: AP-6.3-01, AP-6.4-01, AP-6.5-01, AP-6.8-01, AP-6.9-01, AP-6.12-01, AP-6.13-01, AP-14.1.1-02
pub fn settings(changes: &SocketChanges, c: &ContextView) -> Settings {
    let mut s = c.settings.clone();
    let named = changes.source.filter(|l| !l.0.is_unspecified()).into_iter().chain(
        changes.local_list.iter().flatten().chain(&changes.local_preference).map(|p| p.locator),
    );
    for locator in named {
        if local_entry(c, locator).is_err() && !s.extra.contains(&locator) {
            s.extra.push(locator);
        }
    }
    if changes.hot_standby.is_some_and(|on| on != c.config.hot_standby) {
        s.hot_standby = changes.hot_standby;
    }
    if let Some(secs) = changes.send_timeout_secs {
        // Checked: 0 or a number of 16 bits.
        s.send_timeout_secs = u16::try_from(secs).ok().filter(|secs| *secs > 0);
    }
    let chosen = |locator: Locator| (!locator.0.is_unspecified()).then_some(locator);
    if let Some(source) = changes.source {
        s.pin.local = chosen(source);
    }
    if let Some(destination) = changes.destination {
        s.pin.peer = chosen(destination);
    }
    if let Some(list) = &changes.local_list {
        s.local = list.iter().map(preference).collect();
    }
    if let Some(list) = &changes.peer_list {
        s.peer = list.iter().map(preference).collect();
    }
    if let Some(one) = &changes.local_preference {
        set_preference(&mut s.local, preference(one));
    }
    if let Some(one) = &changes.peer_preference {
        set_preference(&mut s.peer, preference(one));
    }
    if let Some(e) = &changes.explore {
        s.initial_probes = Some(e.probes);
        s.initial_probe_timeout = Some(Duration::from_millis(e.initial_probe_timeout_ms.into()));
        s.keepalive_interval = Some(Duration::from_secs(e.keepalive_interval_secs.into()));
        s.send_timeout_secs = Some(e.keepalive_timeout_secs);
    }
    s
}

/// The engine's numbers are those of the protocol, of 8 bits: larger ones are as good as the largest.
fn preference(p: &Preference) -> settings::Preference {
    let byte = |n: u16| u8::try_from(n).unwrap_or(u8::MAX);
    settings::Preference { locator: p.locator, priority: byte(p.priority), weight: byte(p.weight) }
}

/// What was asked for, as RFC 6316 names it.
pub fn of(context: Option<&ContextView>) -> SocketOptions {
    context.map_or(SocketOptions::default(), |c| SocketOptions {
        dont_shim: false,
        hot_standby: c.config.hot_standby,
        send_timeout_secs: c.settings.send_timeout_secs.unwrap_or(0).into(),
        source: c.settings.pin.local,
        destination: c.settings.pin.peer,
    })
}
