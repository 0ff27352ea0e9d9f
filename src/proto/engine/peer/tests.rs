use super::*;
use std::collections::BTreeSet;

// req-test: RP-3.1-01
#[test]
fn locators_are_global_or_unique_local_unicast() {
    for (address, expected) in [
        ("2001:db8::1", true),
        ("fd00::1", true),
        ("100::1", true),
        ("fe7f::1", true),
        ("fe80::1", false),
        ("febf::1", false),
        ("fec0::1", false),
        ("feff::1", false),
        ("ff02::1", false),
        ("::", false),
        ("::1", false),
        ("::ffff:192.0.2.1", false),
    ] {
        assert_eq!(is_unicast(address.parse().unwrap()), expected, "{address}");
    }
}

#[test]
fn each_distrust_has_a_name_of_its_own() {
    let ulid = Ulid("2001:db8::1".parse().unwrap());
    let all = [
        Distrust::PdsUnreadable,
        Distrust::NoPds,
        Distrust::Method(1),
        Distrust::TooMany,
        Distrust::BadLocator(1),
        Distrust::Generation,
        Distrust::Count,
    ];
    let names: BTreeSet<String> = all.iter().map(Distrust::to_string).collect();
    assert_eq!(names.len(), all.len());
    assert!(all.iter().all(|d| d.to_string() == d.reason() && d.reason().len() > 5));
    let own = PeerSet::of_ulid(ulid);
    assert!(own.contains(ulid.locator()) && !own.has_preferences);
    let candidates = own.candidates();
    assert_eq!((candidates.len(), candidates[0].usable), (1, true));
}
