//! The JSON of the control protocol, as foreign programs see it: one example of every packet is compared with
//! `tests/data/control/packets.jsonl` (`SHIM6_UPDATE=1 cargo test --test control_schema` writes it anew).

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use shim6::addr::{ContextTag, Fii, Generation, Locator, Prefix, Ulid};
use shim6::control::api::*;
use std::collections::BTreeSet;
use std::path::Path;

fn ulid(last: u16) -> Ulid {
    Ulid([0x2001, 0xdb8, 1, 0, 0, 0, 0, last].into())
}

fn locator(network: u16, last: u16) -> Locator {
    Locator([0x2001, 0xdb8, network, 0, 0, 0, 0, last].into())
}

fn pair(network: u16) -> Pair {
    Pair { local: locator(network, 0xa), peer: locator(network, 0xb) }
}

fn by_id() -> ContextRef {
    ContextRef::Id { id: ContextId(7) }
}

fn by_ulids() -> ContextRef {
    ContextRef::Ulids { local: ulid(0xa), peer: ulid(0xb), fii: Fii(3) }
}

fn requests() -> Vec<Request> {
    vec![
        Request::Hello {},
        Request::Status {},
        Request::ContextList { after: None, limit: None },
        Request::ContextList { after: Some(ContextId(64)), limit: Some(10) },
        Request::ContextShow { context: by_id() },
        Request::ContextShow { context: by_ulids() },
        Request::Establish { local: None, peer: ulid(0xb) },
        Request::Establish { local: Some(ulid(0xa)), peer: ulid(0xb) },
        Request::ContextDiscard { context: by_id() },
        Request::LocatorList { context: None },
        Request::LocatorList { context: Some(by_id()) },
        Request::LocatorSet {
            locator: locator(1, 0xa),
            changes: LocatorChanges {
                offer: Some(Offer::Never),
                broken: Some(false),
                preference: Some(LocatorPreference { priority: 1, weight: 10 }),
                no_preference: false,
            },
        },
        Request::LocatorSet {
            locator: locator(1, 0xa),
            changes: LocatorChanges { no_preference: true, ..LocatorChanges::default() },
        },
        Request::PolicyShow {},
        Request::PolicyChange {
            changes: PolicyChanges {
                octets: Some(4096),
                age_ms: None,
                rules: Some(vec![policy_rule()]),
            },
        },
        Request::PathExplore { context: by_id() },
        Request::Stats {},
        Request::RulesShow {},
        Request::RulesInstall {},
        Request::RulesRemove {},
        Request::Doctor {},
        Request::Subscribe { events: vec![], context: None },
        Request::Subscribe { events: vec!["recovered".into()], context: Some(ContextId(7)) },
        Request::Unsubscribe {},
        Request::Reload {},
        Request::PathTest { context: by_id(), pair: pair(2) },
        Request::PathSwitch { context: by_id(), pair: pair(2), keep: Keep::No },
        Request::PathSwitch { context: by_id(), pair: pair(2), keep: Keep::Pin },
        Request::PathUnpin { context: by_id() },
        Request::ContextConfigure {
            context: by_id(),
            changes: SocketChanges { send_timeout_secs: Some(20), ..SocketChanges::default() },
        },
        Request::PeerCheck { peer: None, wait_ms: None },
        Request::PeerCheck { peer: Some(ulid(0xb)), wait_ms: Some(3000) },
        Request::SocketStatus {},
        Request::SocketSet {},
        Request::SocketFork {},
        Request::SocketLocators {},
        Request::SocketConfigure { changes: SocketChanges::default() },
        Request::SocketConfigure {
            changes: SocketChanges {
                dont_shim: Some(true),
                hot_standby: Some(false),
                send_timeout_secs: Some(20),
                source: Some(locator(2, 0xa)),
                destination: Some(Locator(std::net::Ipv6Addr::UNSPECIFIED)),
                local_preference: Some(preference(2)),
                peer_preference: Some(preference(3)),
                local_list: Some(vec![preference(1), preference(2)]),
                peer_list: Some(vec![]),
                explore: Some(explore_settings()),
            },
        },
        Request::SocketTest { pair: pair(2) },
        Request::SocketSwitch { pair: pair(2), keep: Keep::Prefer },
        Request::SocketUnpin {},
        Request::SocketExplore {},
        Request::SocketFeedback {
            direction: Direction::Outbound,
            satisfaction: Satisfaction::Unsatisfactory,
        },
        Request::SocketSubscribe { events: vec!["path_switched".into()] },
    ]
}

fn preference(network: u16) -> Preference {
    Preference { locator: locator(network, 0xa), priority: 1, weight: 10 }
}

fn policy_rule() -> PolicyRule {
    PolicyRule { prefix: "2001:db8::/32".into(), action: PolicyAction::Never }
}

fn explore_settings() -> ExploreSettings {
    ExploreSettings {
        probes: 4,
        keepalive_timeout_secs: 15,
        keepalive_interval_secs: 5,
        initial_probe_timeout_ms: 500,
    }
}

fn socket() -> SocketInfo {
    let line = summary();
    SocketInfo {
        protocol: 6,
        local: ulid(0xa),
        local_port: 40_000,
        peer: Some(ulid(0xb)),
        peer_port: Some(80),
        state: Some(ContextState::Established),
        context: Some(SocketContext {
            id: line.id,
            fii: line.fii,
            state: line.state,
            reap_state: line.reap_state,
            current: line.current,
            received: Some(Pair { local: locator(2, 0xa), peer: locator(1, 0xb) }),
            tagged: line.tagged,
            age_ms: line.age_ms,
            last_out_ms: line.last_out_ms,
            last_in_ms: line.last_in_ms,
            rtt_us: line.rtt_us,
            packets_out: 1000,
            packets_in: 500,
            octets_out: line.octets_out,
            octets_in: line.octets_in,
            probes_out: 3,
            probes_in: 2,
            switches: 1,
            local_locators: 2,
            peer_locators: 3,
            send_timeout_ms: 15_000,
            explore: explore_settings(),
        }),
        options: SocketOptions { destination: Some(locator(2, 0xb)), ..SocketOptions::default() },
    }
}

fn summary() -> ContextSummary {
    ContextSummary {
        id: ContextId(7),
        ulid_local: ulid(0xa),
        ulid_peer: ulid(0xb),
        fii: Fii::DEFAULT,
        state: ContextState::Established,
        reap_state: Some(ReapState::Operational),
        role: Role::Initiator,
        current: pair(2),
        tagged: true,
        local_tag: ContextTag::from_masked(0x1234_5678_9abc),
        peer_tag: ContextTag::new(1),
        age_ms: 60_000,
        last_out_ms: Some(12),
        last_in_ms: None,
        rtt_us: Some(20_450),
        octets_out: 1_000_000,
        octets_in: 5,
    }
}

fn listed(locator: Locator) -> LocatorInfo {
    LocatorInfo {
        locator,
        ulid: true,
        current: false,
        method: Verification::Hba,
        verified: true,
        reachable: None,
        broken: false,
        transient: true,
        priority: Some(1),
        weight: None,
    }
}

fn status() -> StatusInfo {
    StatusInfo {
        version: "0.1.0".into(),
        pid: 42,
        uptime_ms: 1000,
        identity: Some(IdentityInfo {
            method: "hba-cga".into(),
            sec: 0,
            key_bits: 2048,
            collision_count: 0,
            prefixes: vec![Prefix::of(ulid(0).0)],
            addresses: vec![IdentityAddress {
                address: locator(1, 0xa),
                interface: Some("eth0".into()),
                state: AddressState::DadFailed,
                added_by_daemon: true,
            }],
        }),
        dataplane: DataplaneInfo {
            queue_backend: "native".into(),
            queue_driver: "batch".into(),
            tier: 2,
            queue_first: 5533,
            workers: 3,
            tagged_hook: "prerouting".into(),
        },
        rules: rules_state(),
        failures: FailuresInfo {
            detection: "rfc".into(),
            send_timeout_ms: 15_000,
            hot_standby: false,
            return_to_preferred_ms: None,
        },
        contexts: [("ESTABLISHED".to_owned(), 1)].into(),
        reap: [("Operational".to_owned(), 1)].into(),
        drops: [("drop_unknown_tag".to_owned(), 4)].into(),
        warnings: vec!["a warning".into()],
    }
}

fn rules_state() -> RulesState {
    RulesState { managed: true, present: true, table: "ip6 shim6".into(), reinstalled: 0 }
}

fn responses() -> Vec<Response> {
    vec![
        Response::Hello { version: "0.1.0".into(), protocol: VERSION, privileged: true },
        Response::Status { status: Box::new(status()) },
        Response::Contexts { contexts: vec![summary()], next: Some(ContextId(7)) },
        Response::Context {
            context: Box::new(ContextInfo {
                summary: summary(),
                local_locators: vec![listed(locator(1, 0xa))],
                peer_locators: vec![listed(locator(1, 0xb))],
                local_generation: Generation(5),
                peer_generation: None,
                pairs: vec![PairInfo {
                    pair: pair(1),
                    works: Some(false),
                    probed_ms: Some(300),
                    rtt_us: None,
                }],
                pinned: Some(pair(2)),
                preferred: None,
                standby: Some(pair(3)),
                timers: ContextTimers { send_timeout_ms: 15_000, ..ContextTimers::default() },
                counters: ContextCounters { switches: 1, ..ContextCounters::default() },
                restored: false,
            }),
        },
        Response::HostLocators {
            locators: vec![HostLocator {
                locator: locator(1, 0xa),
                interface: Some("eth0".into()),
                state: AddressState::Preferred,
                method: Verification::Cga,
                offered: true,
                operational: false,
                reason: Some("no route".into()),
                offer: Offer::AsUsual,
                broken: false,
                preference: Some(LocatorPreference { priority: 1, weight: 10 }),
            }],
        },
        Response::ContextLocators {
            context: ContextId(7),
            local: vec![listed(locator(1, 0xa))],
            peer: vec![],
        },
        Response::Policy {
            policy: PolicyInfo {
                octets: 2048,
                age_ms: 60_000,
                rules: vec![policy_rule()],
                changed: true,
            },
        },
        Response::Accepted { context: ContextId(7) },
        Response::Done {},
        Response::Stats {
            stats: StatsInfo {
                counters: [("rx_i1".to_owned(), 1)].into(),
                queues: vec![QueueStats { queue: 5533, packets: 9, ..QueueStats::default() }],
            },
        },
        Response::Rules {
            rules: RulesInfo {
                state: rules_state(),
                differences: vec!["a rule is missing".into()],
                text: "table ip6 shim6 {}".into(),
                truncated: false,
            },
        },
        Response::Doctor {
            checks: vec![
                Check::new("kernel", CheckResult::Ok, "fine"),
                Check::new("rules_present", CheckResult::Failed, "gone").remedy("install them"),
            ],
        },
        Response::Reloaded { warnings: vec![] },
        Response::Socket { socket: Box::new(socket()) },
        Response::Socket {
            socket: Box::new(SocketInfo {
                peer: None,
                peer_port: None,
                state: None,
                context: None,
                ..socket()
            }),
        },
        Response::PathTested { pair: pair(2), reachable: true, rtt_us: Some(20_450) },
        Response::PathInUse { context: ContextId(7), pair: pair(2) },
        Response::PeerSupport { support: Support::Unknown, context: Some(ContextId(7)) },
    ]
}

fn events() -> Vec<EventKind> {
    let (ulid_local, ulid_peer) = (ulid(0xa), ulid(0xb));
    let (address, interface) = (locator(1, 0xa), "eth0".to_owned());
    vec![
        EventKind::ContextEstablished { ulid_local, ulid_peer, fii: Fii(3) },
        EventKind::ContextDiscarded { ulid_local, ulid_peer, reason: "idle".into() },
        EventKind::EstablishFailed { ulid_local, ulid_peer, state: ContextState::NoSupport },
        EventKind::StateChanged { from: ContextState::I1Sent, to: ContextState::I2Sent },
        EventKind::ReapStateChanged { from: ReapState::Operational, to: ReapState::Exploring },
        EventKind::Exploring { reason: ExploreReason::SendTimeout, pair: pair(1) },
        EventKind::ProbeSent { pair: pair(2), state: ReapState::InboundOk },
        EventKind::ProbeAnswered { pair: pair(2), rtt_us: 20_450 },
        EventKind::PathTested { pair: pair(2), reachable: true, rtt_us: Some(20_450) },
        EventKind::PathSwitched { from: pair(1), to: pair(2), after_ms: 520 },
        EventKind::Recovered { pair: pair(2), gap_ms: 15_600 },
        EventKind::Lost { after_ms: 2000 },
        EventKind::LocatorsChanged { peer: true, locators: vec![locator(1, 0xb)] },
        EventKind::RulesReinstalled { after_ms: 4 },
        EventKind::AddressAdded { address, interface: interface.clone() },
        EventKind::AddressRemoved { address, interface, reason: "link down".into() },
        EventKind::Reloaded {},
        EventKind::Stopping {},
        EventKind::EventsLost { count: 9 },
    ]
}

/// All examples, one JSON text each, after reading each back as what it was.
fn examples() -> Vec<String> {
    let mut lines = Vec::new();
    for (id, request) in (1..).zip(requests()) {
        let call = Call { v: VERSION, id, request };
        let text = serde_json::to_string(&call).unwrap();
        assert_eq!(serde_json::from_str::<Call>(&text).unwrap(), call, "{text}");
        lines.push(text);
    }
    let error = ApiError::no_context(&by_ulids());
    let mut packets = vec![
        Packet::Error { v: VERSION, id: Some(2), error },
        Packet::Error { v: VERSION, id: None, error: ApiError::new(ErrorCode::TooLarge, "…") },
    ];
    let answers = (1..).zip(responses());
    packets.extend(answers.map(|(id, response)| Packet::Response { v: VERSION, id, response }));
    packets.extend((1..).zip(events()).map(|(seq, kind)| {
        let event = Event { seq, at_ms: 812_345, context: Some(ContextId(7)), kind };
        Packet::Event { v: VERSION, event }
    }));
    for packet in packets {
        let text = serde_json::to_string(&packet).unwrap();
        assert_eq!(serde_json::from_str::<Packet>(&text).unwrap(), packet, "{text}");
        lines.push(text);
    }
    lines
}

#[test]
fn every_packet_looks_as_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/control/packets.jsonl");
    let now = examples().join("\n") + "\n";
    if std::env::var_os("SHIM6_UPDATE").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let before = std::fs::read_to_string(&path).unwrap();
    for (before, now) in before.lines().zip(now.lines()) {
        assert_eq!(before, now, "the JSON may only grow; SHIM6_UPDATE=1 accepts the new form");
    }
    assert_eq!(before.lines().count(), now.lines().count(), "SHIM6_UPDATE=1 accepts the new ones");
}

#[test]
fn names_are_those_in_the_json_and_all_have_an_example() {
    let tag = |value: Value| value["type"].as_str().unwrap().to_owned();
    let mut seen = BTreeSet::new();
    for request in requests() {
        assert_eq!(tag(serde_json::to_value(&request).unwrap()), request.name());
        seen.insert(request.name());
        let by_socket = request.name().starts_with("socket_")
            || matches!(request, Request::PeerCheck { peer: None, .. });
        assert_eq!(request.needs_descriptor(), by_socket);
        assert_eq!(request.needs_privilege(), request.name() != "hello" && !by_socket);
    }
    assert_eq!(seen, Request::NAMES.into_iter().collect());
    let mut seen = BTreeSet::new();
    for event in events() {
        assert_eq!(tag(serde_json::to_value(&event).unwrap()), event.name());
        seen.insert(event.name());
    }
    // Lost events are reported to whom they concern, they cannot be asked for.
    assert!(seen.remove("events_lost"));
    assert_eq!(seen, EventKind::NAMES.into_iter().collect());
}

#[test]
fn the_documentation_names_every_request_event_and_error() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/control-protocol.md");
    let text = std::fs::read_to_string(path).unwrap();
    for name in Request::NAMES.into_iter().chain(EventKind::NAMES) {
        assert!(text.contains(&format!("`{name}`")), "{name} is not documented");
    }
    for bound in [format!("{MAX_PACKET}"), format!("1 to {MAX_PAGE}")] {
        assert!(text.replace(',', "").contains(&bound), "{bound}");
    }
}

#[test]
fn newer_daemons_are_understood() {
    let read = |value: Value| serde_json::from_value::<Packet>(value).unwrap();
    let event = json!({ "type": "moon_phase", "seq": 1, "at_ms": 2, "phase": { "full": true } });
    match read(json!({ "v": 1, "event": event, "new": 1 })) {
        Packet::Event { event, .. } => assert_eq!(event.kind, EventKind::Unknown),
        other => panic!("{other:?}"),
    }
    let error = json!({ "code": "moon", "message": "m", "new": [] });
    match read(json!({ "v": 1, "id": 3, "error": error })) {
        Packet::Error { error, .. } => assert_eq!(error.code, ErrorCode::Unknown),
        other => panic!("{other:?}"),
    }
    let mut status = serde_json::to_value(status()).unwrap();
    status["new"] = json!({ "a": 1 });
    status["identity"]["addresses"][0]["state"] = json!("sleeping");
    let response = json!({ "type": "status", "status": status });
    match read(json!({ "v": 1, "id": 3, "response": response })) {
        Packet::Response { response: Response::Status { status }, .. } => {
            let state = status.identity.unwrap().addresses[0].state;
            assert_eq!(state, AddressState::Unknown);
        }
        other => panic!("{other:?}"),
    }
    // An older daemon leaves out what it does not know.
    let old: StatusInfo = serde_json::from_value(json!({ "version": "0.0.1" })).unwrap();
    assert_eq!(old.version, "0.0.1");
}

#[test]
fn requests_with_unknown_keys_are_refused() {
    let read = |value: Value| serde_json::from_value::<Call>(value);
    assert!(read(json!({ "v": 1, "id": 1, "request": { "type": "status" } })).is_ok());
    assert!(read(json!({ "v": 1, "id": 1, "request": { "type": "status", "x": 1 } })).is_err());
    let peer = json!({ "type": "establish", "peer": "2001:db8::1", "whole": true });
    assert!(read(json!({ "v": 1, "id": 1, "request": peer })).is_err());
    for context in [json!(7), json!({}), json!({ "id": "7" }), json!({ "local": "2001:db8::1" })] {
        let request = json!({ "type": "context_show", "context": context });
        let error = read(json!({ "v": 1, "id": 1, "request": request })).unwrap_err().to_string();
        assert!(error.contains("a context is"), "{error}");
    }
}

#[test]
fn long_answers_are_made_to_fit() {
    let contexts: Vec<_> =
        (1..=MAX_PAGE).map(|n| ContextSummary { id: ContextId(n.into()), ..summary() }).collect();
    // A page of the largest size fits as it is.
    let page = Response::Contexts { contexts: contexts.clone(), next: None };
    assert_eq!(page.clone().fit(MAX_PACKET - 128), Some(page.clone()));
    match page.fit(5000) {
        Some(Response::Contexts { contexts: some, next }) => {
            assert!((1..64).contains(&some.len()));
            assert_eq!(next, some.last().map(|c| c.id));
            assert_eq!(some, contexts[..some.len()]);
        }
        other => panic!("{other:?}"),
    }
    let text = "é\n".repeat(100_000);
    let rules = Response::Rules { rules: RulesInfo { text, ..RulesInfo::default() } };
    let cut = rules.fit(MAX_PACKET).unwrap();
    assert!(serde_json::to_vec(&cut).unwrap().len() <= MAX_PACKET);
    assert!(matches!(cut, Response::Rules { rules } if rules.truncated && !rules.text.is_empty()));
    let warnings = vec!["x".repeat(MAX_PACKET)];
    assert_eq!(Response::Reloaded { warnings }.fit(MAX_PACKET), None);
}
