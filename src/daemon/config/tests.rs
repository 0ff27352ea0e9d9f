use super::keys::{Kind, SECTIONS, keys};
use super::*;
use crate::proto::config::{Detection, PolicyAction};
use std::time::Duration;

/// The problems of a text, one a line.
fn problems(text: &str) -> String {
    Config::parse(text).expect_err(text).to_string()
}

// req-test: S6-14-01, S6-14-02, S6-14-03, S6-14-04, S6-14-05, S6-14-06, S6-14-07, S6-14-08
// req-test: RP-7-01, RP-7-02, RP-7-03
#[test]
fn defaults_are_those_of_the_rfcs() {
    let config = Config::parse("").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.warnings(), [""; 0]);
    let text = config.to_string();
    for line in [
        "i1_timeout = 4",
        "i1_retries_max = 4",
        "no_r1_holddown = 60",
        "icmp_holddown = 600",
        "i2_timeout = 4",
        "i2_retries_max = 2",
        "i2bis_timeout = 4",
        "i2bis_retries_max = 2",
        "validator_min_lifetime = 30",
        "update_timeout = 4",
        "max_update_timeout = 120",
        "send_timeout = 15",
        "keepalive_timeout = 15",
        "initial_probe_timeout = 0.5",
        "initial_probes = 4",
        "max_probe_timeout = 60",
        "octets = 2048",
        "age = 60",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}

#[test]
fn the_whole_configuration_reads_back_as_itself() {
    let text = Config::default().to_string();
    assert_eq!(Config::parse(&text).unwrap().to_string(), text);
    for section in SECTIONS {
        assert!(!section.keys.is_empty(), "[{}] is empty", section.name);
        assert!(section.keys.iter().all(|key| key.section == section.name), "[{}]", section.name);
    }
}

/// Sets every key to another value than its default and looks whether it, and nothing else, has changed.
#[test]
fn every_key_sets_what_it_shows_and_nothing_else() {
    let default = Config::default();
    for key in keys() {
        let before = (key.get)(&default);
        let candidates: Vec<String> = match key.kind {
            Kind::Seconds { min, .. } => {
                vec![(min + 2.0).to_string(), (min + 3.0).to_string(), "1000".into()]
            }
            Kind::Number { min, max, .. } => vec![min.to_string(), (max - 1).to_string()],
            Kind::Fraction { max, .. } => vec![max.to_string()],
            Kind::Flag { .. } => vec!["true".into(), "false".into()],
            Kind::Choice { words, .. } => words.iter().map(|w| format!("\"{w}\"")).collect(),
            Kind::Text { .. } => vec!["\"wheel\"".into(), "\"/run/wheel\"".into()],
            Kind::Texts { .. } => vec!["[\"2001:db8:1:2::/64\"]".into()],
            Kind::Tables { .. } => {
                vec!["[{ prefix = \"2001:db8::/32\", action = \"never\" }]".into()]
            }
        };
        let mut differ = false;
        for value in candidates {
            // Some values contradict the defaults of other keys; the mark is one bit for the same reason.
            let value = if key.name == "mark" { "0x10000".to_owned() } else { value };
            let Ok(config) = Config::parse(&format!("[{}]\n{} = {value}", key.section, key.name))
            else {
                continue;
            };
            for other in keys().filter(|other| !std::ptr::eq(*other, key)) {
                assert_eq!((other.get)(&config), (other.get)(&default), "{key} changes {other}");
            }
            differ |= (key.get)(&config) != before;
        }
        assert!(differ, "{key} changes nothing");
    }
}

#[test]
fn a_wrong_key_gets_the_nearest_right_one_and_its_line() {
    assert_eq!(
        problems("\n[reap]\nsend_timout = 10\n"),
        "configuration:3: unknown key `send_timout` in [reap]: did you mean `send_timeout`?"
    );
    assert_eq!(
        problems("[heuristic]\nsend_timeout = 10\n"),
        "configuration:2: `send_timeout` belongs into [reap], not [heuristic]"
    );
    assert_eq!(
        problems("send_timeout = 10\n"),
        "configuration:1: `send_timeout` belongs into a section: [reap]"
    );
    assert_eq!(
        problems("[rule]\nmanage = false\n"),
        "configuration:1: unknown section [rule]: did you mean [rules]?"
    );
    assert!(problems("[zebra]\n").contains("sections are [identity], [establish]"));
    assert!(problems("reap = 3\n").contains("write [reap]"));
    assert!(
        problems("[log]\ncolour = 1\n")
            .ends_with("unknown key `colour` in [log]; keys are level, debug_errors")
    );
}

#[test]
fn a_wrong_value_is_named_with_what_would_be_right() {
    let cases = [
        ("[reap]\nsend_timeout = 10.5", "whole seconds only"),
        ("[reap]\nsend_timeout = 1", "not within 2 to 65535"),
        ("[reap]\nsend_timeout = \"15\"", "a number of seconds is wanted"),
        ("[reap]\ninitial_probe_timeout = -1", "not within"),
        ("[reap]\ninitial_probe_timeout = nan", "not within"),
        ("[reap]\ninitial_probe_timeout = inf", "not within"),
        ("[reap]\ninitial_probes = 4.0", "a whole number is wanted"),
        ("[reap]\ninitial_probes = -4", "a whole number is wanted"),
        ("[reap]\ninitial_probes = 99999999999999999999", "a whole number is wanted"),
        ("[identity]\nmethod = \"hbacga\"", "did you mean \"hba-cga\"?"),
        ("[identity]\nmethod = 3", "one of \"hba\", \"cga\", \"hba-cga\""),
        ("[identity]\nsec = 3", "not within 0 to 2"),
        ("[identity]\nkey_bits = 4096", "not within 1024 to 3072"),
        ("[identity]\nprefixes = [\"2001:db8::/48\"]", "prefix length of 64"),
        ("[identity]\nprefixes = [\"2001:db8::1/64\"]", "lower 64 bits"),
        ("[identity]\nprefixes = [\"2001:db8::/64\", \"2001:db8::/64\"]", "twice"),
        ("[identity]\nprefixes = \"2001:db8::/64\"", "a list of texts"),
        ("[rules]\nmanage = \"yes\"", "true or false"),
        ("[rules]\nmark = 0x10000\nmark_mask = 0xff", "mark has to have bits"),
        ("[rules]\nqueue_first = 65530\nqueues = 10", "exceeds 65535"),
        ("[establish]\nvalidator_max_age = 10", "below validator_min_lifetime"),
        ("[establish]\nmax_update_timeout = 1", "below update_timeout"),
        ("[reap]\nmax_probe_timeout = 0.1", "below initial_probe_timeout"),
        ("[control]\ngroup = \"a b\"", "no name of a group"),
        ("[heuristic]\npolicy = [{ prefix = \"2001:db8::/32\" }]", "exactly the keys"),
        ("[heuristic]\npolicy = [{ prefix = \"x\", action = \"never\" }]", "no IPv6 prefix"),
        ("[heuristic]\npolicy = [{ prefix = \"::/129\", action = \"never\" }]", "no IPv6 prefix"),
        (
            "[heuristic]\npolicy = [{ prefix = \"2001:db8::1/32\", action = \"never\" }]",
            "bits behind",
        ),
        (
            "[heuristic]\npolicy = [{ prefix = \"::/0\", action = \"nver\" }]",
            "did you mean \"never\"?",
        ),
        (
            "[heuristic]\npolicy = [{ prefx = \"::/0\", action = \"never\" }]",
            "did you mean `prefix`?",
        ),
        ("[reap\nsend_timeout = 3", "configuration:1:"),
        ("[reap]\nsend_timeout = 20\nsend_timeout = 30", "duplicate key"),
    ];
    for (text, wanted) in cases {
        let found = problems(text);
        assert!(found.contains(wanted), "{text}\nsays {found}\nwithout {wanted}");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let found =
        Config::parse("[reap]\na = 1\nsend_timeout = 0\n[rules]\nmange = true\n").unwrap_err();
    let lines: Vec<_> = found.problems.iter().map(|p| p.line).collect();
    assert_eq!(lines.len(), 3);
    assert!([2, 3, 5].iter().all(|&n| lines.contains(&Some(n))), "{found}");
}

// req-test: RP-7-06, S6-9-04, RP-4.1-04
#[test]
fn values_outside_a_recommended_range_are_accepted_with_a_warning() {
    let warning = |text: &str| {
        let config = Config::parse(text).unwrap();
        config.warnings().join("\n")
    };
    assert!(warning("[reap]\nsend_timeout = 2").contains("[reap] send_timeout = 2: 10 to 100"));
    assert!(warning("[reap]\nsend_timeout = 101").contains("RFC 5534, 7"));
    assert_eq!(warning("[reap]\nsend_timeout = 10"), "");
    assert_eq!(warning("[reap]\nkeepalive_fraction = 0.5"), "");
    assert_eq!(warning("[reap]\nkeepalive_fraction = 0.333"), "");
    assert!(warning("[reap]\nkeepalive_fraction = 0.6").contains("one third to one half"));
    assert!(warning("[establish]\nidle_teardown = 299").contains("at least 300"));
    assert_eq!(warning("[reap]\nhot_standby = true\nreturn_to_preferred = 60"), "");
    assert!(warning("[reap]\nstandby_interval = 1").contains("three messages"));
}

#[test]
fn values_arrive_in_the_engine() {
    let config = Config::parse(
        "[reap]\nsend_timeout = 20\ninitial_probe_timeout = 0.25\ndetection = \"fast\"\n\
         [establish]\ni1_timeout = 2\n\
         [heuristic]\npolicy = [{ prefix = \"2001:db8::/32\", action = \"never\" },\n\
         { prefix = \"::/0\", action = \"immediate\" }]\n",
    )
    .unwrap();
    assert_eq!(config.engine.reap.send_timeout_secs, 20);
    assert_eq!(config.engine.reap.detection, Detection::Fast);
    assert!(config.warnings().iter().all(|w| !w.contains("detection")));
    assert_eq!(config.engine.reap.initial_probe_timeout, Duration::from_millis(250));
    assert_eq!(config.engine.establish.i1_timeout, Duration::from_secs(2));
    let action = |peer: &str| config.engine.heuristic.action(peer.parse().unwrap());
    assert_eq!(action("2001:db8:5::1"), PolicyAction::Never);
    assert_eq!(action("2001:dead::1"), PolicyAction::Immediate);
    let defaults = Config::default();
    assert_eq!(config.needs_restart(&defaults), [""; 0]);
    let other = Config::parse("[rules]\nqueue_first = 100\nqueues = 3\n").unwrap();
    assert_eq!(other.needs_restart(&defaults), ["[rules] queues", "[rules] queue_first"]);
    let all = Capabilities {
        native_queue: true,
        xt_queue: true,
        fib: true,
        heartbeat: true,
        passing: true,
    };
    let none = Capabilities { fib: false, heartbeat: false, ..all };
    let spec = other.rules.spec(2, all);
    assert!(spec.heartbeat && !other.rules.spec(2, none).heartbeat);
    let by_hand = Config::parse("[rules]\nmanage = false\n").unwrap();
    assert!(!by_hand.rules.spec(2, all).heartbeat, "the files know none");
    assert!(spec.passing && !by_hand.rules.spec(2, all).passing);
    assert!(!other.rules.spec(2, none).passing, "it takes a heartbeat");
    assert!(!other.rules.spec(2, Capabilities { passing: false, ..all }).passing);
    let second = Config::parse("[rules]\ntier = 2\n").unwrap();
    assert!(!second.rules.spec(2, all).passing);
    assert_eq!((spec.queue_first, spec.queues_140, spec.queues_plain), (100, 1, 3));
    assert_eq!(defaults.rules.spec(2, none).tagged_hook, TaggedHook::Input);
    assert_eq!(defaults.rules.spec(2, none).queues_plain, 2);
}

#[test]
fn a_missing_file_is_an_error_only_if_it_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.toml");
    let error = Config::load(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
    assert!(Config::load_or_default(Some(&path)).is_err());
    std::fs::write(&path, "[reap]\nbad = 1\n").unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}:2: ", path.display())), "{error}");
}

#[test]
fn only_a_file_that_is_not_there_is_an_absent_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("etc/shim6d.toml");
    assert_eq!(Config::load_if_there(&path), Ok(Config::default()), "nor its directory");
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    assert_eq!(Config::load_if_there(&path), Ok(Config::default()));
    std::fs::write(&path, "[reap]\nsend_timeout = 4\n").unwrap();
    assert_ne!(Config::load_if_there(&path).unwrap(), Config::default());
    // Neither of them can be read as a file.
    for path in [path.join("shim6d.toml"), dir.path().join("etc")] {
        let text = Config::load_if_there(&path).unwrap_err().to_string();
        assert!(text.starts_with(&format!("{}: ", path.display())), "{text}");
    }
}
