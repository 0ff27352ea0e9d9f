mod rounds;

use super::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn candidate(addr: &str, weight: u8) -> Candidate {
    Candidate { addr: addr.parse().unwrap(), usable: true, broken: false, priority: 0, weight }
}

/// Against figures of an independent calculation.
#[test]
fn a_draw_is_splitmix_of_both_addresses_and_exponential_by_weight() {
    for (salt, local, peer, peer_weight, weight, expected) in [
        (7, "2001:db8:1::1", "2001:db8:2::1", 5, 3, 0.053_578_831_343_770_36),
        (7, "2001:db8:1::1", "2001:db8:2::1", 5, 0, 1.607_364_940_313_110_7),
        (8, "2001:db8:1::1", "2001:db8:2::2", 0, 3, 3.999_834_110_451_728_5),
    ] {
        let drawn = draw(salt, &candidate(local, weight), &candidate(peer, peer_weight));
        let drawn = f64::from_bits(drawn);
        assert!((drawn / expected - 1.0).abs() < 1e-12, "{drawn} instead of {expected}");
    }
}

// req-test: AS-4-01
#[test]
fn scopes_are_those_of_the_policy_table() {
    for (addr, expected) in [
        ("::", None),
        ("::1", None),
        ("ff0e::1", None),
        ("fe80::1", None),
        ("feff::1", None),
        ("fec0::1", None),
        ("::ffff:192.0.2.1", None),
        ("::192.0.2.1", None),
        ("0:1::1", Some((40, 1))),
        ("fc00::1", Some((3, 13))),
        ("fdff::1", Some((3, 13))),
        ("2002:c000:201::1", Some((30, 2))),
        ("2001::1", Some((5, 5))),
        ("2001:db8::1", Some((40, 1))),
        ("3ffe::1", Some((1, 12))),
    ] {
        let scope = Scope::of(addr.parse().unwrap()).map(|s| (s.precedence, s.label));
        assert_eq!(scope, expected, "{addr}");
    }
}

#[test]
fn common_prefixes_end_with_the_subnet() {
    let a: Ipv6Addr = "2001:db8:1:2::1".parse().unwrap();
    for (b, length) in
        [("2001:db8:1:2::1", 64), ("2001:db8:1:3::1", 63), ("2001:db9::", 31), ("fd00::1", 0)]
    {
        assert_eq!(common_prefix(a, b.parse().unwrap()), length, "{b}");
    }
}

#[test]
fn gaps_double_after_the_initial_probes_up_to_the_limit() {
    let mut rng = StdRng::seed_from_u64(3);
    let config = ReapConfig { probe_jitter: 0.0, ..ReapConfig::default() };
    let (initial, first) = (config.initial_probes, config.initial_probe_timeout);
    let gaps: Vec<_> = (1..60).map(|n| gap(n, &config, &mut rng)).collect();
    let mut expected = first;
    for (i, g) in gaps.iter().enumerate() {
        if i as u32 + 1 >= initial {
            expected =
                (first * (1 << (i as u32 + 2 - initial).min(20))).min(config.max_probe_timeout);
        }
        assert_eq!(*g, expected, "after {} Probes", i + 1);
    }
    assert_eq!(gaps.last(), Some(&config.max_probe_timeout));
    // At the limit gaps vary downwards only, before it to both sides.
    let config = ReapConfig { probe_jitter: 0.2, ..ReapConfig::default() };
    let spread = |n: u32, rng: &mut StdRng| {
        let gaps: Vec<_> = (0..500).map(|_| gap(n, &config, rng).as_secs_f64()).collect();
        let nominal = if n == 1 { first } else { config.max_probe_timeout }.as_secs_f64();
        let (min, max) =
            gaps.iter().fold((f64::MAX, 0.0), |(a, b): (f64, f64), g| (a.min(*g), b.max(*g)));
        (min / nominal, max / nominal)
    };
    let (low, high) = spread(1, &mut rng);
    assert!((0.8..0.81).contains(&low) && (1.19..1.2).contains(&high), "{low} {high}");
    let (low, high) = spread(59, &mut rng);
    assert!((0.8..0.81).contains(&low) && (0.99..=1.0).contains(&high), "{low} {high}");
}

#[test]
fn short_gaps_come_first_and_hurrying_keeps_its_distance() {
    let mut rng = StdRng::seed_from_u64(4);
    let config = ReapConfig { probe_jitter: 0.0, ..ReapConfig::default() };
    let first = config.initial_probe_timeout;
    let short = Duration::from_millis(50);
    let start = Time::from_secs(10);
    let mut s = Schedule::begin(start, Some(short), &config, &mut rng);
    let mut now = start;
    for n in 1..=SHORT_GAPS {
        assert!(s.is_short(), "gap {n}");
        assert_eq!(s.next(), now + short, "gap {n}");
        now = s.next();
        s.advance(now, &config, &mut rng);
    }
    assert!(!s.is_short());
    // Then the usual ones, as after the first Probes.
    for n in 1..6 {
        assert_eq!(s.next(), now + gap(n, &config, &mut rng), "gap {n}");
        now = s.next();
        s.advance(now, &config, &mut rng);
    }
    // Not shorter than what is usual: no short gaps at all.
    let s = Schedule::begin(start, Some(first), &config, &mut rng);
    assert!(!s.is_short() && s.next() == start + first);

    let mut s = Schedule::begin(start, None, &config, &mut rng);
    let mut now = start;
    for _ in 0..20 {
        now = s.next();
        s.advance(now, &config, &mut rng);
    }
    assert_eq!(s.next(), now + config.max_probe_timeout);
    let mut early = s;
    early.hurry(now, &config, &mut rng);
    assert_eq!(early.next(), now + first);
    let late = now + config.max_probe_timeout - Duration::from_secs(1);
    s.hurry(late, &config, &mut rng);
    assert_eq!(s.next(), late);
    s.advance(late, &config, &mut rng);
    assert_eq!(s.next(), late + first, "the gaps are short again");
}

#[test]
fn a_probe_out_of_turn_keeps_the_next_at_a_distance_and_brings_none_nearer() {
    let mut rng = StdRng::seed_from_u64(4);
    let config = ReapConfig { probe_jitter: 0.0, ..ReapConfig::default() };
    let first = config.initial_probe_timeout;
    let mut s = Schedule::begin(Time::from_secs(10), None, &config, &mut rng);
    let soon = Time::from_secs(10) + first / 2;
    s.out_of_turn(soon, &config, &mut rng);
    assert_eq!(s.next(), soon + first);
    for _ in 0..20 {
        s.advance(s.next(), &config, &mut rng);
    }
    let (planned, early) = (s.next(), s.next() - config.max_probe_timeout / 2);
    s.out_of_turn(early, &config, &mut rng);
    assert_eq!(s.next(), planned);
    s.hurry(early, &config, &mut rng);
    assert_eq!(s.next(), early + first);
}

#[test]
fn worn_counts_subnets_at_both_ends() {
    let pair = |l: &str, p: &str| LocatorPair {
        local: Locator(l.parse().unwrap()),
        peer: Locator(p.parse().unwrap()),
    };
    let tried = [
        pair("2001:db8:1::7", "2001:db8:a::7"),
        pair("2001:db8:1::1", "2001:db8:b::1"),
        pair("2001:db8:2::1", "2001:db8:a::1"),
        pair("2001:db8:2::1", "2001:db8:b::1"),
    ];
    let one = pair("2001:db8:1::1", "2001:db8:a::1");
    let worn = Worn::of(one, &tried, None);
    assert_eq!((worn.between, worn.ends), (1, 4));
    let worn = Worn::of(one, &tried, Some(one));
    assert_eq!((worn.between, worn.ends), (2, 6));
}

#[test]
fn no_more_locators_are_remembered_as_lost_than_a_context_has() {
    let mut e = Explorer::default();
    let at = |n: u16| Locator(Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1));
    for n in 0..20 {
        e.lose(at(n));
        e.lose(at(n));
    }
    assert_eq!(e.rounds.lost, (0..16).map(at).collect::<Vec<_>>());
    assert!(e.is_lost(LocatorPair { local: at(15), peer: at(99) }));
    assert!(e.is_lost(LocatorPair { local: at(99), peer: at(0) }));
    assert!(!e.is_lost(LocatorPair { local: at(99), peer: at(16) }));
}
