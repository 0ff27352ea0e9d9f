use super::*;

fn locator(n: u16) -> Locator {
    Locator(std::net::Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1))
}

fn pair(l: u16, p: u16) -> LocatorPair {
    LocatorPair { local: locator(l), peer: locator(p) }
}

#[test]
fn ends_that_do_not_matter_fit_all_pairs() {
    let free = Ends::default();
    assert!(free.is_free() && free.fit(pair(1, 2)));
    let both = Ends::of(pair(1, 2));
    assert!(!both.is_free());
    let local = Ends { peer: None, ..both };
    let peer = Ends { local: None, ..both };
    for (ends, of_12, of_13, of_32) in
        [(both, true, false, false), (local, true, true, false), (peer, true, false, true)]
    {
        assert!(!ends.is_free());
        let fits = (ends.fit(pair(1, 2)), ends.fit(pair(1, 3)), ends.fit(pair(3, 2)));
        assert_eq!(fits, (of_12, of_13, of_32), "{ends:?}");
    }
    assert_eq!(both.with(pair(5, 6)), pair(1, 2));
    assert_eq!(local.with(pair(5, 6)), pair(1, 6));
    assert_eq!(peer.with(pair(5, 6)), pair(5, 2));
}

#[test]
fn each_setting_takes_the_place_of_the_hosts() {
    let host = ReapConfig::default();
    let timeout = Duration::from_secs(20);
    let none = Settings::default();
    assert!(none.rests());
    assert!(none.is_default());
    assert!(matches!(none.reap(&host, timeout), Cow::Borrowed(_)));

    let one = Settings { send_timeout_secs: Some(7), ..none.clone() };
    assert!(!one.is_default());
    let config = one.reap(&host, timeout);
    assert_eq!(config.send_timeout_secs, 7);
    assert_eq!(config.initial_probes, host.initial_probes);
    assert_eq!(config.initial_probe_timeout, host.initial_probe_timeout);
    assert_eq!(config.keepalive_fraction, host.keepalive_fraction);

    let one = Settings { initial_probes: Some(9), ..none.clone() };
    let config = one.reap(&host, timeout);
    assert_eq!((config.initial_probes, config.send_timeout_secs), (9, host.send_timeout_secs));

    let one = Settings { initial_probe_timeout: Some(Duration::from_millis(77)), ..none.clone() };
    assert_eq!(one.reap(&host, timeout).initial_probe_timeout, Duration::from_millis(77));

    let one = Settings { hot_standby: Some(!host.hot_standby), ..none.clone() };
    assert_eq!(one.reap(&host, timeout).hot_standby, !host.hot_standby);

    for (interval, fraction) in [(5, 0.25), (1, 0.1), (10, 0.5), (19, 0.5)] {
        let interval = Some(Duration::from_secs(interval));
        let one = Settings { keepalive_interval: interval, ..none.clone() };
        assert_eq!(one.reap(&host, timeout).keepalive_fraction, fraction, "{interval:?}");
    }
}

#[test]
fn a_list_ranks_what_it_names_before_the_rest() {
    let named = |n, priority, weight| Preference { locator: locator(n), priority, weight };
    let mut list = Vec::new();
    assert_eq!(Settings::rank(&list, locator(1)), None);
    set_preference(&mut list, named(1, 3, 4));
    set_preference(&mut list, named(2, 5, 6));
    set_preference(&mut list, named(1, 7, 8));
    assert_eq!(list, [named(1, 7, 8), named(2, 5, 6)]);
    assert_eq!(Settings::rank(&list, locator(1)), Some((7, 8)));
    assert_eq!(Settings::rank(&list, locator(2)), Some((5, 6)));
    assert_eq!(Settings::rank(&list, locator(3)), Some((u8::MAX, 0)));
}
