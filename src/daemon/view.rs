//! The engine's values in the words of the control protocol.

use crate::addr::{Generation, Locator, LocatorPair};
use crate::cga::Proof;
use crate::control::api;
use crate::proto::engine::State;
use crate::proto::engine::context::LocalEntry;
use crate::proto::engine::peer::PeerEntry;
use crate::proto::reap::{ReapState, keepalive_interval};
use crate::proto::{Activity, ContextView, Event, Time};
use crate::wire::option::PreferenceFlags;

/// Milliseconds from `then` to `now`.
fn ago(now: Time, then: Time) -> u64 {
    now.since(then).as_millis() as u64
}

fn left(now: Time, then: Time) -> u64 {
    then.since(now).as_millis() as u64
}

/// A state by its name in the RFC.
pub fn state(s: State) -> api::ContextState {
    match s {
        State::Idle => api::ContextState::Idle,
        State::I1Sent => api::ContextState::I1Sent,
        State::I2Sent => api::ContextState::I2Sent,
        State::Established => api::ContextState::Established,
        State::I2bisSent => api::ContextState::I2bisSent,
        State::EFailed => api::ContextState::EFailed,
        State::NoSupport => api::ContextState::NoSupport,
    }
}

fn state_by_name(name: &str) -> api::ContextState {
    [
        api::ContextState::Idle,
        api::ContextState::I1Sent,
        api::ContextState::I2Sent,
        api::ContextState::Established,
        api::ContextState::I2bisSent,
        api::ContextState::EFailed,
        api::ContextState::NoSupport,
    ]
    .into_iter()
    .find(|s| s.name() == name)
    .unwrap_or(api::ContextState::Idle)
}

/// A state of REAP.
pub fn reap(s: ReapState) -> api::ReapState {
    match s {
        ReapState::Operational => api::ReapState::Operational,
        ReapState::Exploring => api::ReapState::Exploring,
        ReapState::InboundOk => api::ReapState::InboundOk,
    }
}

fn reap_by_name(name: &str) -> api::ReapState {
    [api::ReapState::Operational, api::ReapState::Exploring, api::ReapState::InboundOk]
        .into_iter()
        .find(|s| s.name() == name)
        .unwrap_or(api::ReapState::Operational)
}

/// How a locator is verified.
pub fn verification(proof: Option<Proof>) -> api::Verification {
    match proof {
        Some(Proof::Hba) => api::Verification::Hba,
        Some(Proof::Cga) => api::Verification::Cga,
        None => api::Verification::None,
    }
}

/// The line of a context in a list. `activity` is the newest that the data plane knows.
pub fn summary(c: &ContextView, activity: Activity, now: Time) -> api::ContextSummary {
    api::ContextSummary {
        id: api::ContextId(c.id.0),
        ulid_local: c.ulids.local,
        ulid_peer: c.ulids.peer,
        fii: c.fii,
        state: state(c.state),
        reap_state: c.reap.map(reap),
        role: if c.initiator { api::Role::Initiator } else { api::Role::Responder },
        current: c.pair.into(),
        tagged: c.tagged,
        local_tag: c.local_tag,
        peer_tag: c.peer_tag,
        age_ms: ago(now, c.created),
        last_out_ms: activity.last_out.map(|t| ago(now, t)),
        last_in_ms: activity.last_in.map(|t| ago(now, t)),
        rtt_us: c.rtt.map(|d| d.as_micros() as u64),
        octets_out: activity.octets_out,
        octets_in: activity.octets_in,
    }
}

fn local_locator(c: &ContextView, e: &LocalEntry) -> api::LocatorInfo {
    api::LocatorInfo {
        locator: e.locator,
        ulid: e.locator == c.ulids.local.locator(),
        current: e.locator == c.pair.local,
        method: verification(e.proof),
        verified: true,
        reachable: Some(!e.broken),
        broken: e.broken,
        transient: e.transient,
        priority: None,
        weight: None,
    }
}

fn peer_locator(c: &ContextView, e: &PeerEntry) -> api::LocatorInfo {
    let told = c.peer_preferences;
    api::LocatorInfo {
        locator: e.locator,
        ulid: e.locator == c.ulids.peer.locator(),
        current: e.locator == c.pair.peer,
        method: verification(e.proof),
        verified: e.verified,
        reachable: e.probed.then_some(true),
        broken: e.flags.contains(PreferenceFlags::BROKEN),
        transient: e.flags.contains(PreferenceFlags::TRANSIENT),
        priority: told.then_some(e.priority),
        weight: told.then_some(e.weight),
    }
}

/// Both locator lists of a context: ours, the peer's.
pub fn locators(c: &ContextView) -> (Vec<api::LocatorInfo>, Vec<api::LocatorInfo>) {
    (
        c.local_locators.iter().map(|e| local_locator(c, e)).collect(),
        c.peer_locators.iter().map(|e| peer_locator(c, e)).collect(),
    )
}

/// The pair that a context is pinned to, `::` for an end that is free.
pub fn pinned(c: &ContextView) -> Option<api::Pair> {
    let any = Locator(std::net::Ipv6Addr::UNSPECIFIED);
    let pin = c.settings.pin;
    (!pin.is_free())
        .then(|| api::Pair { local: pin.local.unwrap_or(any), peer: pin.peer.unwrap_or(any) })
}

/// Everything about a context.
pub fn info(c: &ContextView, activity: Activity, now: Time) -> api::ContextInfo {
    let (local_locators, peer_locators) = locators(c);
    let send_timeout_ms = u64::from(c.config.send_timeout_secs) * 1000;
    let keepalive_ms = c.keepalive_timeout.as_millis() as u64;
    let running = |since: Option<Time>, ms: u64| {
        since
            .map(|t| ms.saturating_sub(ago(now, t)))
            .filter(|_| c.reap == Some(ReapState::Operational))
    };
    api::ContextInfo {
        summary: summary(c, activity, now),
        local_locators,
        peer_locators,
        local_generation: c.local_generation.unwrap_or(Generation(0)),
        peer_generation: c.peer_generation,
        pairs: c
            .pairs
            .iter()
            .map(|p| api::PairInfo {
                pair: p.pair.into(),
                works: p.probed.map(|_| p.answered.is_some() && p.unanswered == 0),
                probed_ms: p.probed.map(|t| ago(now, t)),
                rtt_us: p.rtt.map(|d| d.as_micros() as u64),
            })
            .collect(),
        pinned: pinned(c),
        preferred: c.settings.prefer.map(Into::into),
        standby: c.standby.filter(|_| c.config.hot_standby).map(Into::into),
        timers: api::ContextTimers {
            send_timeout_ms,
            keepalive_timeout_ms: keepalive_ms,
            keepalive_interval_ms: keepalive_interval(c.keepalive_timeout, &c.config).as_millis()
                as u64,
            send_left_ms: running(activity.pending_out, send_timeout_ms),
            keepalive_left_ms: running(activity.pending_in, keepalive_ms),
            probe_left_ms: c.probe_at.map(|t| left(now, t)),
            retransmit_left_ms: c.retransmit_at.map(|t| left(now, t)),
            detection: c.config.detection.name().to_owned(),
        },
        counters: api::ContextCounters {
            packets_out: activity.packets_out,
            packets_in: activity.packets_in,
            probes_out: c.counters.probes_out.into(),
            probes_in: c.counters.probes_in.into(),
            keepalives_out: c.counters.keepalives_out.into(),
            keepalives_in: c.counters.keepalives_in.into(),
            switches: c.counters.switches.into(),
            ..api::ContextCounters::default()
        },
        restored: c.restored,
    }
}

/// An event in the control protocol's words, with the context it concerns. `find` looks a context up.
pub fn event(
    e: &Event,
    find: impl Fn(crate::proto::ContextId) -> Option<ContextView>,
) -> Vec<(Option<api::ContextId>, api::EventKind)> {
    use api::EventKind as K;
    let pair = |p: &LocatorPair| api::Pair::from(*p);
    let (context, kind) = match e {
        Event::Established { context, ulids } => {
            let fii = find(*context).map(|c| c.fii).unwrap_or_default();
            (
                *context,
                K::ContextEstablished { ulid_local: ulids.local, ulid_peer: ulids.peer, fii },
            )
        }
        Event::Discarded { context, ulids, reason } => (
            *context,
            K::ContextDiscarded {
                ulid_local: ulids.local,
                ulid_peer: ulids.peer,
                reason: (*reason).to_owned(),
            },
        ),
        Event::EstablishFailed { context, ulids, state } => (
            *context,
            K::EstablishFailed {
                ulid_local: ulids.local,
                ulid_peer: ulids.peer,
                state: state_by_name(state),
            },
        ),
        Event::State { context, from, to } => {
            (*context, K::StateChanged { from: state_by_name(from), to: state_by_name(to) })
        }
        Event::Reap { context, from, to, reason } => {
            let id = Some(api::ContextId(context.0));
            let mut events =
                vec![(id, K::ReapStateChanged { from: reap_by_name(from), to: reap_by_name(to) })];
            // A host in InboundOk that has not explored answers a peer that does, or that only tests a pair.
            if *to == "Exploring"
                && let Some(c) = find(*context)
            {
                events.push((
                    id,
                    K::Exploring { reason: explore_reason(reason), pair: c.pair.into() },
                ));
            }
            return events;
        }
        Event::ProbeSent { context, pair: p } => {
            let state = find(*context).and_then(|c| c.reap).map_or(api::ReapState::Exploring, reap);
            (*context, K::ProbeSent { pair: pair(p), state })
        }
        Event::ProbeAnswered { context, pair: p, rtt } => {
            (*context, K::ProbeAnswered { pair: pair(p), rtt_us: rtt.as_micros() as u64 })
        }
        // Who asked has his answer.
        Event::Overtaken { .. } => return Vec::new(),
        Event::Tested { context, pair: p, rtt } => {
            let rtt_us = rtt.map(|d| d.as_micros() as u64);
            (*context, K::PathTested { pair: pair(p), reachable: rtt.is_some(), rtt_us })
        }
        Event::Lost { context, after } => {
            (*context, K::Lost { after_ms: after.as_millis() as u64 })
        }
        Event::Switched { context, from, to, after } => (
            *context,
            K::PathSwitched { from: pair(from), to: pair(to), after_ms: after.as_millis() as u64 },
        ),
        Event::Recovered { context, took } => {
            let Some(c) = find(*context) else { return Vec::new() };
            (*context, K::Recovered { pair: c.pair.into(), gap_ms: took.as_millis() as u64 })
        }
        Event::Locators { context, peer } => {
            let list = |c: ContextView| match peer {
                true => c.peer_locators.iter().map(|e| e.locator).collect(),
                false => c.local_locators.iter().map(|e| e.locator).collect(),
            };
            let locators = find(*context).map(list).unwrap_or_default();
            (*context, K::LocatorsChanged { peer: *peer, locators })
        }
    };
    vec![(Some(api::ContextId(context.0)), kind)]
}

/// Why exploration began, from the engine's word for it.
fn explore_reason(reason: &str) -> api::ExploreReason {
    match reason {
        "send timeout" => api::ExploreReason::SendTimeout,
        "local failure" => api::ExploreReason::LocalFailure,
        "peer withdrew its locator" => api::ExploreReason::PeerLocator,
        "peer explores" | "peer hears us" => api::ExploreReason::PeerProbe,
        "test failed" => api::ExploreReason::TestFailed,
        "requested" => api::ExploreReason::Requested,
        _ => api::ExploreReason::Other,
    }
}
