//! Descriptors of real sockets, and values against a context made up for it. Nothing leaves the host.

use super::descriptor::{cookie, own_netns, prove};
use super::options;
use crate::addr::{Locator, LocatorPair, Ulid, UlidPair};
use crate::control::api::{ErrorCode, ExploreSettings, MAX_LOCATORS, Preference, SocketChanges};
use crate::netlink::sockdiag::{HeldSocket, sockets_between};
use crate::proto::engine::context::LocalEntry;
use crate::proto::engine::peer::PeerEntry;
use crate::proto::reap::PairStatus;
use crate::proto::{Activity, ContextId, ContextView, State, Time};
use crate::wire::option::PreferenceFlags;
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};

fn code<T: std::fmt::Debug>(r: Result<T, crate::control::api::ApiError>) -> ErrorCode {
    r.unwrap_err().code
}

#[test]
fn a_descriptor_shows_its_addresses_itself() {
    let netns = own_netns().unwrap();
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stream = TcpStream::connect(address).unwrap();
    let proven = prove(&stream, netns).unwrap();
    let lo = Ulid(Ipv6Addr::LOCALHOST);
    assert_eq!(proven.ulids().unwrap(), UlidPair { local: lo, peer: lo });
    assert_eq!(proven.protocol, 6);
    assert_eq!(proven.peer, Some((lo, address.port())));
    assert_eq!(proven.local_port, stream.local_addr().unwrap().port());
    // The kernel's list of sockets knows it by the same number.
    let listed = sockets_between(UlidPair { local: lo, peer: lo }).unwrap();
    let uid = nix::unistd::geteuid().as_raw();
    let ports = (proven.local_port, address.port());
    let ours = HeldSocket { uid, cookie: Some(cookie(&stream).unwrap()), ports, held: true };
    assert!(listed.contains(&ours), "{listed:?}");
    let listening = prove(&listener, netns).unwrap();
    assert_eq!(code(listening.ulids()), ErrorCode::NotConnected);
}

#[test]
fn only_ipv6_sockets_of_this_namespace_prove_anything() {
    let netns = own_netns().unwrap();
    let udp = UdpSocket::bind("[::1]:0").unwrap();
    assert_eq!(prove(&udp, netns).unwrap().protocol, 17);
    assert_eq!(code(prove(&udp, netns ^ 1)), ErrorCode::PermissionDenied);
    let ipv4 = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(code(prove(&ipv4, netns)), ErrorCode::InvalidArgument);
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(code(prove(&file, netns)), ErrorCode::InvalidArgument);
    let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert_eq!(code(prove(&unix, netns)), ErrorCode::InvalidArgument);
    // IPv4 in the clothes of IPv6.
    let mapped = UdpSocket::bind("[::ffff:127.0.0.1]:0").unwrap();
    assert_eq!(code(prove(&mapped, netns)), ErrorCode::InvalidArgument);
}

fn at(network: u16, last: u16) -> Locator {
    Locator([0x2001, 0xdb8, network, 0, 0, 0, 0, last].into())
}

/// Our locators 1:a and 2:a; the peer's 1:b (works), 2:b (never probed), 3:b (silent), 4:b (BROKEN).
fn context() -> ContextView {
    let local = |network| LocalEntry {
        locator: at(network, 0xa),
        proof: None,
        acknowledged: true,
        broken: false,
        deprecated: false,
        transient: false,
    };
    let peer = |network, probed, flags| PeerEntry {
        locator: at(network, 0xb),
        proof: None,
        verified: true,
        probed,
        flags,
        priority: 0,
        weight: 0,
    };
    let status = |network, answered: bool| PairStatus {
        pair: LocatorPair { local: at(1, 0xa), peer: at(network, 0xb) },
        probed: Some(Time::ZERO),
        answered: answered.then_some(Time::ZERO),
        rtt: None,
        unanswered: u32::from(!answered),
        heard: None,
    };
    let ulids = UlidPair { local: at(1, 0xa).ulid(), peer: at(1, 0xb).ulid() };
    ContextView {
        id: ContextId(7),
        ulids,
        fii: Default::default(),
        state: State::Established,
        reap: None,
        initiator: true,
        pair: ulids.locators(),
        tagged: false,
        local_tag: crate::addr::ContextTag::from_masked(1),
        peer_tag: None,
        local_locators: vec![local(1), local(2)],
        peer_locators: vec![
            peer(1, true, PreferenceFlags::NONE),
            peer(2, false, PreferenceFlags::NONE),
            peer(3, true, PreferenceFlags::NONE),
            peer(4, true, PreferenceFlags::BROKEN),
        ],
        peer_preferences: false,
        local_generation: None,
        peer_generation: None,
        settings: Default::default(),
        config: Default::default(),
        keepalive_timeout: Default::default(),
        keepalive_told: false,
        rtt: None,
        standby: None,
        pairs: vec![status(1, true), status(3, false)],
        probe_at: None,
        created: Time::ZERO,
        established: None,
        exploring_since: None,
        retransmit_at: None,
        activity: Activity::default(),
        counters: Default::default(),
        restored: false,
        updating: false,
    }
}

/// The outcome of asking for something on a connected socket with that context.
fn ask(changes: SocketChanges) -> Result<(), ErrorCode> {
    // 3:a is ours, too, but not in the context; 4:a is not.
    let checked = options::check(&changes, &context(), |l| l == at(3, 0xa));
    checked.and_then(|()| options::possible(&changes, true)).map_err(|e| e.code)
}

fn ask_with(change: impl FnOnce(&mut SocketChanges)) -> Result<(), ErrorCode> {
    let mut changes = SocketChanges::default();
    change(&mut changes);
    ask(changes)
}

// req-test: AP-14.1.1-01, AP-14.1.2-01
#[test]
fn locators_are_checked_before_anything_else() {
    use ErrorCode::*;
    let preference = |locator| Some(Preference { locator, priority: 1, weight: 10 });
    for (locator, send, pref) in [
        (at(1, 0xb), Ok(()), Ok(())),
        (at(2, 0xb), Err(UnverifiedLocator), Ok(())),
        (at(3, 0xb), Err(UnreachableLocator), Err(UnreachableLocator)),
        (at(4, 0xb), Err(UnreachableLocator), Err(UnreachableLocator)),
        (at(5, 0xb), Err(InvalidLocator), Err(InvalidLocator)),
    ] {
        assert_eq!(ask_with(|c| c.destination = Some(locator)), send, "{locator}");
        assert_eq!(ask_with(|c| c.peer_preference = preference(locator)), pref, "{locator}");
        let list = Some(preference(at(1, 0xb)).into_iter().chain(preference(locator)).collect());
        assert_eq!(ask_with(|c| c.peer_list = list), send, "{locator}");
    }
    for (locator, wanted) in
        [(at(2, 0xa), Ok(())), (at(3, 0xa), Ok(())), (at(4, 0xa), Err(InvalidLocator))]
    {
        assert_eq!(ask_with(|c| c.source = Some(locator)), wanted);
        assert_eq!(ask_with(|c| c.local_preference = preference(locator)), wanted);
        let list = Some(vec![Preference { locator, priority: 0, weight: 0 }]);
        assert_eq!(ask_with(|c| c.local_list = list), wanted);
    }
    let many =
        Some(vec![Preference { locator: at(1, 0xa), priority: 0, weight: 0 }; MAX_LOCATORS + 1]);
    assert_eq!(ask_with(|c| c.local_list = many.clone()), Err(TooManyLocators));
    assert_eq!(ask_with(|c| c.peer_list = many), Err(TooManyLocators));
}

#[test]
fn what_is_so_anyway_can_be_asked_for() {
    let any = Some(Locator(Ipv6Addr::UNSPECIFIED));
    assert_eq!(ask_with(|_| ()), Ok(()));
    assert_eq!(ask_with(|c| c.source = any), Ok(()));
    assert_eq!(ask_with(|c| c.destination = any), Ok(()));
    assert_eq!(ask_with(|c| c.hot_standby = Some(false)), Ok(()));
    assert_eq!(ask_with(|c| c.send_timeout_secs = Some(0)), Ok(()));
    assert_eq!(ask_with(|c| c.dont_shim = Some(false)), Ok(()));
    assert_eq!(ask_with(|c| c.hot_standby = Some(true)), Ok(()));
    assert_eq!(ask_with(|c| c.send_timeout_secs = Some(20)), Ok(()));
    assert_eq!(ask_with(|c| c.send_timeout_secs = Some(1)), Err(ErrorCode::InvalidArgument));
    assert_eq!(ask_with(|c| c.send_timeout_secs = Some(70_000)), Err(ErrorCode::InvalidArgument));
    let unconnected = SocketChanges { dont_shim: Some(true), ..SocketChanges::default() };
    assert!(!options::needs_context(&unconnected));
    assert_eq!(options::possible(&unconnected, false), Ok(()));
    assert_eq!(code(options::possible(&unconnected, true)), ErrorCode::NotPossible);
}

#[test]
fn exploration_settings_are_those_of_the_rfc() {
    let good = ExploreSettings {
        probes: 6,
        keepalive_timeout_secs: 10,
        keepalive_interval_secs: 5,
        initial_probe_timeout_ms: 200,
    };
    let wrong = Err(ErrorCode::InvalidArgument);
    for (explore, wanted) in [
        (good, Ok(())),
        (ExploreSettings { probes: 0, ..good }, wrong),
        (ExploreSettings { initial_probe_timeout_ms: 0, ..good }, wrong),
        (ExploreSettings { keepalive_timeout_secs: 1, ..good }, wrong),
        (ExploreSettings { keepalive_interval_secs: 6, ..good }, wrong),
        (ExploreSettings { keepalive_interval_secs: 0, ..good }, wrong),
    ] {
        assert_eq!(ask_with(|c| c.explore = Some(explore)), wanted, "{explore:?}");
    }
}

// req-test: AP-6.12-01, AP-6.13-01, AP-11.1-03
#[test]
fn changes_become_settings_and_settings_are_shown() {
    let mut c = context();
    let some = |network, last| Some(at(network, last));
    let changes = SocketChanges {
        send_timeout_secs: Some(20),
        source: some(2, 0xa),
        peer_preference: Some(Preference { locator: at(1, 0xb), priority: 700, weight: 10 }),
        ..SocketChanges::default()
    };
    c.settings = options::settings(&changes, &c);
    let shown = options::of(Some(&c));
    assert_eq!((shown.send_timeout_secs, shown.source), (20, some(2, 0xa)));
    assert_eq!(shown.destination, None);
    assert_eq!(c.settings.peer[0].priority, 255, "as many bits as the protocol has");
    let again = SocketChanges {
        peer_preference: Some(Preference { locator: at(1, 0xb), priority: 1, weight: 10 }),
        send_timeout_secs: Some(0),
        source: Some(Locator(Ipv6Addr::UNSPECIFIED)),
        explore: None,
        ..SocketChanges::default()
    };
    c.settings = options::settings(&again, &c);
    assert_eq!((c.settings.peer.len(), c.settings.peer[0].priority), (1, 1));
    assert_eq!(options::of(Some(&c)).send_timeout_secs, 0);
    let none = SocketChanges { peer_list: Some(vec![]), ..SocketChanges::default() };
    assert!(options::settings(&none, &c).is_default());
    let explore = ExploreSettings {
        probes: 6,
        keepalive_timeout_secs: 10,
        keepalive_interval_secs: 4,
        initial_probe_timeout_ms: 200,
    };
    let explore = SocketChanges { explore: Some(explore), ..SocketChanges::default() };
    c.settings = Default::default();
    let settings = options::settings(&explore, &c);
    let host = crate::proto::config::ReapConfig::default();
    let config = settings.reap(&host, std::time::Duration::from_secs(10));
    assert_eq!((config.initial_probes, config.send_timeout_secs), (6, 10));
    assert_eq!(config.initial_probe_timeout.as_millis(), 200);
    assert!((config.keepalive_fraction - 0.4).abs() < 1e-9);
}

// req-test: AP-6.3-01
#[test]
fn hot_standby_is_a_setting_only_where_it_changes_something() {
    let mut c = context();
    let ask = |on| SocketChanges { hot_standby: Some(on), ..SocketChanges::default() };
    assert!(options::settings(&ask(false), &c).is_default(), "as it is anyway");
    let settings = options::settings(&ask(true), &c);
    assert_eq!(settings.hot_standby, Some(true));
    let host = crate::proto::config::ReapConfig::default();
    c.config = settings.reap(&host, std::time::Duration::from_secs(10)).into_owned();
    c.settings = settings;
    assert!(c.config.hot_standby && options::of(Some(&c)).hot_standby);
    assert_eq!(options::settings(&ask(true), &c), c.settings);
    assert_eq!(options::settings(&ask(false), &c).hot_standby, Some(false));
}

// req-test: AP-14.1.1-02
#[test]
fn an_address_of_ours_that_is_asked_for_is_offered_with_the_context() {
    let mut c = context();
    let source = SocketChanges { source: Some(at(3, 0xa)), ..SocketChanges::default() };
    c.settings = options::settings(&source, &c);
    assert_eq!((&c.settings.extra[..], c.settings.pin.local), (&[at(3, 0xa)][..], source.source));
    assert_eq!(options::settings(&source, &c).extra.len(), 1, "once is enough");
    let known = SocketChanges { source: Some(at(2, 0xa)), ..SocketChanges::default() };
    assert!(options::settings(&known, &context()).extra.is_empty());
}

// req-test: AP-6.2-02
#[test]
fn leaving_the_shim_changes_our_bits_of_the_mark_alone() {
    use super::descriptor::{left_shim, set_left_shim};
    let socket = UdpSocket::bind("[::1]:0").unwrap();
    let ours = (0x5532_0000, 0xffff_0000);
    assert!(!left_shim(&socket, ours).unwrap());
    let changed = set_left_shim(&socket, ours, true);
    if nix::unistd::geteuid().is_root() {
        changed.unwrap();
        assert!(left_shim(&socket, ours).unwrap());
        assert!(!left_shim(&socket, (0x5533_0000, 0xffff_0000)).unwrap());
        set_left_shim(&socket, ours, false).unwrap();
        assert!(!left_shim(&socket, ours).unwrap());
    } else {
        assert!(changed.is_err(), "takes CAP_NET_ADMIN");
    }
}
