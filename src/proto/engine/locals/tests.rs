use super::*;
use crate::addr::Prefix;
use crate::cga::{GenerateParams, Method};
use crate::wire::option::Options;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::ops::ControlFlow;

fn at(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1)
}

fn announced(n: u16, pds: Option<usize>, signature: Option<usize>) -> Announced {
    Announced {
        generation: Generation(1),
        entries: (0..n).map(|i| (Locator(at(i)), Some(Proof::Hba))).collect(),
        alone: false,
        pds: pds.map(|n| vec![0; n]),
        signature: signature.map(|n| vec![0; n]),
    }
}

#[test]
fn the_octets_of_a_list_are_those_of_its_options() {
    let locals = Locals::new(Generation(0), 16);
    for n in [1, 2, 3, 7, 16] {
        for (pds, signature) in [(None, None), (Some(93), None), (Some(200), Some(128))] {
            let list = announced(n, pds, signature);
            let options = Options {
                locator_list: Some(list.list()),
                preferences: Some(locals.preferences(&list, &[])),
                pds: list.pds.clone(),
                signature: list.signature.clone(),
                ..Options::default()
            };
            assert_eq!(
                list.octets(),
                options.emitted_len(),
                "{n} locators, {pds:?}, {signature:?}"
            );
        }
    }
}

#[test]
fn a_list_is_sent_if_it_says_more_than_the_ulid() {
    assert!(announced(2, Some(93), None).is_sent());
    assert!(!announced(2, None, None).is_sent());
    assert!(!Announced { alone: true, ..announced(1, Some(93), None) }.is_sent());
}

#[test]
fn addresses_are_told_once() {
    let mut locals = Locals::new(Generation(0), 16);
    let address = |deprecated, temporary| LocalAddress { addr: at(1), deprecated, temporary };
    assert!(locals.present(address(false, false)));
    assert!(!locals.present(address(false, false)));
    assert!(locals.present(address(true, false)));
    assert!(locals.present(address(true, true)));
    assert!(locals.unusable(at(1)) && !locals.unusable(at(1)));
    assert!(locals.status(at(1)).is_some_and(|s| s.is_broken()));
    assert!(locals.present(address(true, true)));
    assert!(locals.status(at(1)).is_some_and(|s| !s.is_broken()));
    assert!(locals.unreachable(at(1)) && !locals.unreachable(at(1)));
    assert!(locals.status(at(1)).is_some_and(|s| s.is_broken()));
    assert!(!locals.unusable(at(2)) && !locals.unreachable(at(2)) && !locals.gone(at(2)));
    assert_eq!(locals.addresses().map(|(a, _)| a).collect::<Vec<_>>(), [at(1)]);
    assert!(locals.gone(at(1)) && !locals.gone(at(1)));
    assert_eq!(locals.addresses().count(), 0);
}

// req-test: S6-10.1-02
#[test]
fn the_same_contents_keep_their_generation_and_only_those_of_just_now() {
    let mut locals = Locals::new(Generation(7), 16);
    let address = |n| LocalAddress { addr: at(n), deprecated: false, temporary: false };
    let generation = |l: &mut Locals, n| l.announced(Ulid(at(n)), &[], 1000).generation;
    locals.present(address(1));
    let first = generation(&mut locals, 1);
    assert_eq!(generation(&mut locals, 1), first, "nothing has happened");
    locals.present(address(2));
    assert_eq!(generation(&mut locals, 1), first, "something that is not in the list");
    assert_ne!(generation(&mut locals, 2), first);
    locals.present(address(3));
    locals.present(address(4));
    assert_ne!(generation(&mut locals, 1), first, "not announced between two changes");
    let again = generation(&mut locals, 1);
    locals.set_max_locators(16);
    assert_eq!(generation(&mut locals, 1), again);
    locals.gone(at(1));
    locals.present(address(1));
    assert_ne!(generation(&mut locals, 1), again, "its ULID was gone");
}

/// Addresses of one set, all of them there.
fn members(n: u16) -> (Locals, Vec<Ipv6Addr>) {
    let params = GenerateParams::new(Method::Hba, (1..=n).map(|p| Prefix::of(at(p))).collect());
    let mut rng = StdRng::seed_from_u64(1);
    let identity = Identity::generate(params, &mut rng, &mut |_| ControlFlow::Continue(()));
    let identity = identity.unwrap();
    let all = identity.members().to_vec();
    let mut locals = Locals::new(Generation(0), 16);
    locals.set_identities(vec![Arc::new(identity)]);
    for addr in &all {
        locals.present(LocalAddress { addr: *addr, deprecated: false, temporary: false });
    }
    (locals, all)
}

fn rule(offer: Offer) -> LocatorRule {
    LocatorRule { offer, ..LocatorRule::default() }
}

#[test]
fn locators_that_somebody_asked_for_follow_the_ulid() {
    let (mut locals, all) = members(3);
    let order = |l: &mut Locals, extra: &[Locator]| -> Vec<Ipv6Addr> {
        l.announced(Ulid(all[0]), extra, 1000).entries.iter().map(|(a, _)| a.0).collect()
    };
    assert_eq!(order(&mut locals, &[]), all);
    let asked = [all[0], all[2], all[1]];
    assert_eq!(order(&mut locals, &[Locator(all[2])]), asked);
    assert_eq!(order(&mut locals, &[]), all);
    locals.set_rule(all[2], rule(Offer::Always));
    assert_eq!(order(&mut locals, &[]), asked, "the rule makes another list");
}

#[test]
fn only_proven_unicast_addresses_of_ours_that_nobody_objects_to_may_be_offered() {
    let (mut locals, all) = members(2);
    let (strange, link_local) = (at(9), "fe80::1".parse().unwrap());
    for addr in [strange, link_local] {
        locals.present(LocalAddress { addr, deprecated: false, temporary: false });
    }
    let may = |l: &Locals, addr| l.may_offer(Ulid(all[0]), addr);
    assert!(may(&locals, all[1]));
    assert!(!may(&locals, strange) && !may(&locals, link_local));
    locals.set_rule(all[1], rule(Offer::Never));
    assert!(!may(&locals, all[1]));
    locals.set_rule(all[1], LocatorRule::default());
    locals.gone(all[1]);
    assert!(!may(&locals, all[1]));
}

#[test]
fn contexts_with_the_same_locators_have_one_list_for_all() {
    let list = |n: u16| -> Arc<[LocalEntry]> {
        let entry = LocalEntry {
            locator: Locator(at(n)),
            proof: None,
            acknowledged: true,
            broken: false,
            deprecated: false,
            transient: false,
        };
        Arc::new([entry])
    };
    let mut locals = Locals::new(Generation(0), 16);
    let (mut a, mut b, mut c) = (list(1), list(1), list(2));
    for list in [&mut a, &mut b, &mut c] {
        locals.share(list);
    }
    assert!(Arc::ptr_eq(&a, &b) && !Arc::ptr_eq(&a, &c));
    // Others may push it out; who has it then keeps it, and nothing is looked for.
    for n in 3..30 {
        locals.share(&mut list(n));
    }
    assert_eq!(locals.shared.len(), SHARED);
    locals.share(&mut a);
    assert!(!locals.shared.iter().any(|s| Arc::ptr_eq(s, &a)));
}
