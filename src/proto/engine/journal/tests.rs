use super::*;

fn locator(n: u16) -> Locator {
    Locator(Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1))
}

fn entry(n: u16, proof: Option<Proof>) -> LocalEntry {
    LocalEntry {
        locator: locator(n),
        proof,
        acknowledged: false,
        broken: false,
        deprecated: false,
        transient: false,
    }
}

fn peer(n: u16, proof: Option<Proof>) -> PeerEntry {
    PeerEntry {
        locator: locator(n),
        proof,
        verified: false,
        probed: false,
        flags: PreferenceFlags::NONE,
        priority: 0,
        weight: 0,
    }
}

fn plain() -> SavedContext {
    SavedContext {
        ulids: UlidPair { local: Ulid(locator(1).0), peer: Ulid(locator(2).0) },
        fii: Fii(0),
        local_tag: ContextTag::from_masked(0x1234_5678_9abc),
        peer_tag: ContextTag::from_masked(7),
        initiator: false,
        local: vec![entry(1, None)],
        updating: false,
        local_generation: None,
        peer: vec![peer(2, None)],
        peer_generation: None,
        peer_pds: None,
        peer_preferences: false,
        pair: LocatorPair { local: locator(3), peer: locator(4) },
        told_send_timeout: None,
        keepalive_secs: None,
        settings: Settings::default(),
    }
}

type Change = fn(&mut SavedContext);

/// Each of them alone has to come back, so that none can take the place of another.
const CHANGES: [Change; 37] = [
    |_| {},
    |s| s.fii = Fii(0x0102_0304),
    |s| s.initiator = true,
    |s| s.updating = true,
    |s| s.peer_preferences = true,
    |s| s.local_generation = Some(Generation(0x0102_0304)),
    |s| s.peer_generation = Some(Generation(5)),
    |s| s.told_send_timeout = Some(0x0102),
    |s| s.keepalive_secs = Some(3),
    |s| s.peer_pds = Some(vec![1, 2, 3]),
    |s| s.local = Vec::new(),
    |s| s.peer = Vec::new(),
    |s| s.local = vec![entry(1, Some(Proof::Hba)), entry(5, Some(Proof::Cga))],
    |s| s.local[0].acknowledged = true,
    |s| s.local[0].broken = true,
    |s| s.local[0].deprecated = true,
    |s| s.local[0].transient = true,
    |s| s.peer = vec![peer(2, Some(Proof::Cga)), peer(6, Some(Proof::Hba))],
    |s| s.peer[0].verified = true,
    |s| s.peer[0].probed = true,
    |s| s.peer[0].flags = PreferenceFlags::BROKEN,
    |s| s.peer[0].priority = 9,
    |s| s.peer[0].weight = 8,
    |s| s.settings.send_timeout_secs = Some(0x0304),
    |s| s.settings.keepalive_interval = Some(Duration::from_millis(0x0102_0304)),
    |s| s.settings.initial_probes = Some(0x0506),
    |s| s.settings.initial_probe_timeout = Some(Duration::from_millis(70)),
    |s| s.settings.pin.local = Some(locator(11)),
    |s| s.settings.pin.peer = Some(locator(12)),
    |s| s.settings.prefer = Some(LocatorPair { local: locator(13), peer: locator(14) }),
    |s| s.settings.local = vec![Preference { locator: locator(15), priority: 1, weight: 2 }],
    |s| s.settings.peer = vec![Preference { locator: locator(16), priority: 3, weight: 4 }],
    |s| s.settings.hot_standby = Some(false),
    |s| s.settings.hot_standby = Some(true),
    |s| s.settings.extra = vec![locator(17), locator(18)],
    |s| s.peer = (0..255).map(|n| peer(n, None)).collect(),
    |s| s.local = (0..255).map(|n| entry(n, None)).collect(),
];

#[test]
fn every_field_comes_back_alone_and_together() {
    let mut all = plain();
    for (i, change) in CHANGES.iter().enumerate() {
        let mut one = plain();
        change(&mut one);
        assert!(i == 0 || one != plain(), "change {i} changes nothing");
        assert_eq!(SavedContext::from_bytes(&one.to_bytes()).as_ref(), Ok(&one), "change {i}");
        change(&mut all);
        assert_eq!(SavedContext::from_bytes(&all.to_bytes()).as_ref(), Ok(&all), "up to {i}");
    }
}

#[test]
fn octets_that_nobody_wrote_are_malformed() {
    let mut saved = plain();
    saved.settings.send_timeout_secs = Some(3);
    let octets = saved.to_bytes();
    for n in 0..octets.len() {
        let cut = SavedContext::from_bytes(&octets[..n]);
        assert_eq!(cut, Err(RestoreError::Malformed), "cut to {n} octets");
    }
    let with = |at: usize, value: u8| {
        let mut o = octets.clone();
        o[at] = value;
        SavedContext::from_bytes(&o)
    };
    // Version, addresses, FII, tags, flags; four optional values; then the lists.
    let (flags, values) = (1 + 64 + 4 + 16, 1 + 64 + 4 + 16 + 1);
    let local = values + 5 + 5 + 3 + 3 + 1;
    assert_eq!(octets[local - 1], 1, "number of our locators");
    let peer = local + 16 + 2 + 1;
    assert_eq!(octets[peer - 1], 1, "number of the peer's locators");
    for (at, value, fits) in [
        (0, 0, false),
        (0, VERSION + 1, false),
        (flags, 0b111, true),
        (values, 2, false),
        (local + 16, 200, false),
        (local + 17, 15, true),
        (local + 17, 16, false),
        (peer + 17, 3, true),
        (peer + 17, 4, false),
    ] {
        assert_eq!(with(at, value).is_ok(), fits, "{value} at {at}");
    }
    // The first form ends where the settings begin, the second before hot standby and further locators.
    let mut former = octets[..peer + 21].to_vec();
    former[0] = WITHOUT_SETTINGS;
    assert_eq!(SavedContext::from_bytes(&former), Ok(plain()));
    let end = octets.len() - 3;
    let mut former = octets[..end].to_vec();
    former[0] = SHORT_SETTINGS;
    assert_eq!(SavedContext::from_bytes(&former), Ok(saved));
    for (value, fits) in [([1, 1], true), ([1, 2], false), ([2, 0], false), ([0, 0], true)] {
        let mut o = octets.clone();
        o[end..end + 2].copy_from_slice(&value);
        assert_eq!(SavedContext::from_bytes(&o).is_ok(), fits, "{value:?} for hot standby");
    }
}

#[test]
fn each_refusal_says_why() {
    let all =
        [RestoreError::Malformed, RestoreError::Ulids, RestoreError::Exists, RestoreError::Full];
    let words: std::collections::BTreeSet<String> = all.iter().map(|e| e.to_string()).collect();
    assert_eq!(words.len(), all.len());
    assert!(words.iter().all(|w| w.len() > 10));
}
