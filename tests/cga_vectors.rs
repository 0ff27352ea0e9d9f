//! HBA sets, CGAs and signatures made by another implementation (`tests/data/vectors/`).

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::net::Ipv6Addr;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::Value;
use shim6::addr::{ContextTag, Generation, Locator, Prefix, RequestNonce, Ulid};
use shim6::cga::hash::{address, hash1, hash2};
use shim6::cga::search::find_modifier;
use shim6::cga::signature::signed_octets;
use shim6::cga::{
    Identity, IdentityError, ListError, Method, MultiPrefix, Pds, Proof, Sec, SigningKey,
    VerifyError, sign_locators, verify_binding, verify_cga, verify_hba, verify_list,
    verify_locator_signature,
};
use shim6::wire::control::{Message, UpdateRequest};
use shim6::wire::option::{Options, VerificationMethod};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/vectors").join(name)
}

fn read(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path(name)).unwrap()).unwrap()
}

fn text<'a>(v: &'a Value, key: &str) -> &'a str {
    v[key].as_str().unwrap_or_else(|| panic!("{key} is no string in {}", v["id"]))
}

fn hex(v: &Value, key: &str) -> Vec<u8> {
    unhex(text(v, key))
}

fn unhex(s: &str) -> Vec<u8> {
    assert_eq!(s.len() % 2, 0);
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
}

fn list<'a>(v: &'a Value, key: &str) -> &'a [Value] {
    v[key].as_array().unwrap()
}

fn sec(v: &Value) -> Sec {
    Sec::new(v["sec"].as_u64().unwrap() as u8).unwrap()
}

fn addr(v: &Value) -> Ipv6Addr {
    text(v, "address").parse().unwrap()
}

fn key(pem_file: &Value) -> Option<SigningKey> {
    let file = pem_file.as_str()?;
    Some(SigningKey::from_pem(&std::fs::read(path(file)).unwrap()).unwrap())
}

/// Runs the search from the vector's start, where it has one and the search decides.
fn assert_search(v: &Value, key_and_extensions: &[u8]) -> bool {
    if v["modifier_mode"] != "start" || sec(v) != Sec::ONE {
        return false;
    }
    let start = hex(v, "modifier_start_hex").try_into().unwrap();
    for threads in [1, 3] {
        let threads = NonZeroUsize::new(threads).unwrap();
        let found = find_modifier(start, key_and_extensions, sec(v), threads, &mut |_| {
            ControlFlow::Continue(())
        });
        assert_eq!(found.unwrap().to_vec(), hex(v, "modifier_hex"), "{}", v["id"]);
    }
    true
}

// req-test: HB-4-01, HB-5-01, HB-5-02, HB-5-03, HB-6-02, HB-6-03, HB-6-04, HB-6-06, HB-6-07, HB-6-08, HB-6-09
// req-test: HB-6-10, HB-6-12, HB-7.1-01, HB-7.2-02, HB-8-01, HB-8-02, HB-9-01, S6-3-01
#[test]
fn hba_sets_of_another_implementation_verify_and_are_made_alike() {
    let file = read("hba.json");
    let vectors = list(&file, "vectors");
    assert_eq!(vectors.len(), 20);
    let (mut members, mut searches) = (0, 0);
    for v in vectors {
        let id = text(v, "id");
        let spki = hex(&v["key"], "spki_hex");
        let prefixes: Vec<Prefix> = list(v, "prefixes_hex")
            .iter()
            .map(|p| Prefix(unhex(p.as_str().unwrap()).try_into().unwrap()))
            .collect();
        // Two vectors have the P flag in what is Reserved: to a receiver they are HBA-only sets.
        let misplaced_flag = id.ends_with("LS6PBIT");
        let p_flag = v["p_flag"] == 1 && !misplaced_flag;
        let set = MultiPrefix { p_flag, prefixes: prefixes.clone() };
        assert_eq!(set.emit() == hex(v, "multiprefix_ext_hex"), !misplaced_flag, "{id}");

        let addresses = list(v, "addresses");
        for (i, a) in addresses.iter().enumerate() {
            let octets = hex(a, "pds_hex");
            let pds = Pds::parse(&octets).unwrap_or_else(|e| panic!("{id}: {e}"));
            assert_eq!(pds.as_bytes(), octets, "{id}");
            assert_eq!(pds.multi_prefix(), Some(&set), "{id}");
            assert_eq!(pds.public_key(), spki, "{id}");
            assert_eq!(pds.extensions(), hex(v, "multiprefix_ext_hex"), "{id}");
            assert_eq!(pds.prefix(), prefixes[i], "{id}");
            assert_eq!(u64::from(pds.collision_count()), v["collision_count"], "{id}");
            assert_eq!(hash1(&pds, pds.prefix()).to_be_bytes().to_vec(), hex(a, "hash1_hex"));
            assert_eq!(hash2(&pds).to_vec(), hex(v, "hash2_hex"), "{id}");
            assert_eq!(address(&pds, prefixes[i], sec(v)), addr(a), "{id}");
            if !misplaced_flag {
                let modifier = hex(v, "modifier_hex").try_into().unwrap();
                let count = pds.collision_count();
                let made = Pds::assemble(modifier, prefixes[i], count, &spki, Some(&set)).unwrap();
                assert_eq!(made, pds, "{id}");
            }
            assert_eq!(verify_binding(&pds, addr(a)), Ok(()), "{id}");
            for b in addresses {
                assert_eq!(verify_hba(&pds, addr(b)), Ok(()), "{id}");
                assert_eq!(pds.with_prefix(Prefix::of(addr(b))), hex(b, "pds_hex"), "{id}");
                members += 1;
            }
            let outside = "2001:db8:ffff:1::1".parse().unwrap();
            assert_eq!(verify_hba(&pds, outside), Err(VerifyError::PrefixNotInSet), "{id}");
        }

        let first = Pds::parse(&hex(&addresses[0], "pds_hex")).unwrap();
        searches += usize::from(assert_search(v, first.key_and_extensions()));

        // The same set as an identity of our own.
        let key = key(&v["key"]["pem_file"]).filter(|_| p_flag);
        let own = Identity::from_parts(first.as_bytes(), key, &[], Some(sec(v))).unwrap();
        assert_eq!(own.method(), if p_flag { Method::HbaCga } else { Method::Hba }, "{id}");
        assert_eq!(own.can_sign(), p_flag, "{id}");
        assert_eq!(own.members(), addresses.iter().map(addr).collect::<Vec<_>>(), "{id}");
        for a in addresses {
            assert_eq!(own.contains(addr(a)), Some(Proof::Hba), "{id}");
            assert_eq!(own.pds_for(addr(a)), Some(hex(a, "pds_hex")), "{id}");
        }
    }
    assert_eq!((members, searches), (182, 10));
}

// req-test: CG-3-01, CG-3-03, CG-3-05, CG-4-01, CG-5-03, CG-2-01, CG4982-5-01, S6-16-01, AL-7.2-01
#[test]
fn cgas_of_another_implementation_verify_and_are_made_alike() {
    let file = read("cga.json");
    let vectors = list(&file, "vectors");
    assert_eq!(vectors.len(), 12);
    let mut searches = 0;
    for v in vectors {
        let id = text(v, "id");
        let octets = hex(v, "pds_hex");
        let pds = Pds::parse(&octets).unwrap_or_else(|e| panic!("{id}: {e}"));
        let prefix: Ipv6Addr = text(v, "prefix").strip_suffix("/64").unwrap().parse().unwrap();
        let prefix = Prefix::of(prefix);
        let modifier = hex(v, "modifier_hex").try_into().unwrap();
        let spki = hex(v, "spki_hex");
        let made = Pds::assemble(modifier, prefix, pds.collision_count(), &spki, None).unwrap();
        assert_eq!(made.as_bytes(), octets, "{id}");
        assert_eq!(hash1(&pds, prefix).to_be_bytes().to_vec(), hex(v, "hash1_hex"), "{id}");
        assert_eq!(hash2(&pds).to_vec(), hex(v, "hash2_hex"), "{id}");
        assert_eq!(address(&pds, prefix, sec(v)), addr(v), "{id}");
        assert_eq!(Sec::of(addr(v)), Ok(sec(v)), "{id}");
        assert_eq!(verify_binding(&pds, addr(v)), Ok(()), "{id}");
        assert_eq!(verify_hba(&pds, addr(v)), Err(VerifyError::NoMultiPrefix), "{id}");
        searches += usize::from(assert_search(v, pds.key_and_extensions()));

        if spki.len() < 128 {
            // Good CGAs by RFC 3972, but their keys are below what RFC 5533 asks for.
            assert_eq!(verify_cga(&pds, addr(v)), Err(VerifyError::KeyTooShort(512)));
        } else {
            assert_eq!(verify_cga(&pds, addr(v)), Ok(()), "{id}");
        }
        if let Some(key) = key(&v["pem_file"]) {
            let own = Identity::from_parts(&octets, Some(key), &[], Some(sec(v))).unwrap();
            assert_eq!(own.members(), [addr(v)], "{id}");
            assert_eq!(own.contains(addr(v)), Some(Proof::Cga), "{id}");
            assert!(own.can_sign(), "{id}");
        }
    }
    assert_eq!(searches, 5);
}

// req-test: CG-5-01, CG-2-02, CG-3-02
#[test]
fn cga_verification_cases() {
    let file = read("cga.json");
    let cases = list(&file, "verification_cases");
    assert_eq!(cases.len(), 7);
    for v in cases {
        let pds = Pds::parse(&hex(v, "pds_hex")).unwrap();
        let expected = match text(v, "id") {
            "neg-coll3" => Err(VerifyError::CollisionCount(3)),
            "neg-prefix" => Err(VerifyError::PrefixMismatch),
            "neg-iid" | "neg-modifier" => Err(VerifyError::Hash1Mismatch),
            "neg-sec-raised" => Err(VerifyError::Hash2Mismatch),
            "pos-ubit-set" | "pos-sec-lowered" => Ok(()),
            other => panic!("unknown case {other}"),
        };
        assert_eq!(expected.is_ok(), v["expect_accept"] == true);
        assert_eq!(verify_cga(&pds, addr(v)), expected, "{}", v["id"]);
        assert_eq!(verify_binding(&pds, addr(v)), expected, "{}", v["id"]);
    }
}

// req-test: S6-5.15.5-01, S6-5.15.5-02, S6-5.15.5-03, CG-6-01, CG-7.4-02
#[test]
fn signatures_of_another_implementation_are_made_alike() {
    let file = read("signatures.json");
    let vectors = list(&file, "vectors");
    assert_eq!(vectors.len(), 7);
    for v in vectors {
        let id = text(v, "id");
        let generation = Generation(u32::try_from(v["generation"].as_u64().unwrap()).unwrap());
        let signed: Vec<Locator> = list(v, "locators")
            .iter()
            .filter(|l| l["method"] == 2)
            .map(|l| Locator(addr(l)))
            .collect();
        assert_eq!(signed_octets(generation, &signed), hex(v, "signed_octets_hex"), "{id}");

        let key = key(&v["pem_file"]).unwrap();
        let spki = hex(v, "spki_hex");
        assert_eq!(key.public_key().unwrap(), spki, "{id}");
        let signature = hex(v, "signature_hex");
        assert_eq!(sign_locators(&key, generation, &signed).unwrap(), signature, "{id}");

        let pds = Pds::assemble([0; 16], Prefix([0; 8]), 0, &spki, None).unwrap();
        let verify = |generation, locators: &[Locator], signature: &[u8]| {
            verify_locator_signature(&pds, generation, locators, signature)
        };
        assert_eq!(verify(generation, &signed, &signature), Ok(()), "{id}");
        // One bit in each part, and the order.
        assert!(verify(Generation(generation.0 ^ 1), &signed, &signature).is_err(), "{id}");
        for octet in [0, signature.len() / 2, signature.len() - 1] {
            let mut flipped = signature.clone();
            flipped[octet] ^= 1;
            assert!(verify(generation, &signed, &flipped).is_err(), "{id}");
        }
        for i in 0..signed.len() {
            let mut flipped = signed.clone();
            flipped[i].0 = Ipv6Addr::from(u128::from(flipped[i].0) ^ 1);
            assert!(verify(generation, &flipped, &signature).is_err(), "{id}");
        }
        if signed.len() > 1 {
            let mut swapped = signed.clone();
            swapped.swap(0, 1);
            assert!(verify(generation, &swapped, &signature).is_err(), "{id}");
        }
        assert!(verify(generation, &signed[1..], &signature).is_err(), "{id}");
        assert!(verify(generation, &signed, &signature[1..]).is_err(), "{id}");
        assert!(verify(generation, &signed, &[]).is_err(), "{id}");
    }
}

/// Type and content of an option (RFC 5533, 5.15).
fn option(octets: &[u8]) -> (u16, &[u8]) {
    let len = usize::from(u16::from_be_bytes([octets[2], octets[3]]));
    (u16::from_be_bytes([octets[0], octets[1]]) >> 1, &octets[4..4 + len])
}

/// A locator list's generation and entries (RFC 5533, 5.15.2).
fn locator_list(content: &[u8]) -> (Generation, Vec<(u8, Locator)>) {
    let n = usize::from(content[4]);
    let locators = content[content.len() - 16 * n..].chunks(16);
    let locators = locators.map(|l| Locator(<[u8; 16]>::try_from(l).unwrap().into()));
    let generation = u32::from_be_bytes(content[..4].try_into().unwrap());
    (Generation(generation), content[5..5 + n].iter().copied().zip(locators).collect())
}

// req-test: HB-4-02, HB-9-01, CG-6-02, S6-3-02, S6-5.15.5-02, HB-5-04
#[test]
fn receiver_cases() {
    let file = read("signatures.json");
    let cases = list(&file, "receiver_cases");
    assert_eq!(cases.len(), 10);
    for v in cases {
        let id = text(v, "id");
        let octets = hex(v, "pds_option_hex");
        let (4, pds) = option(&octets) else { panic!("{id}") };
        let pds = Pds::parse(pds).unwrap();
        let octets = hex(v, "loclist_option_hex");
        let (2, content) = option(&octets) else { panic!("{id}") };
        let (generation, entries) = locator_list(content);
        let signature = v["signature_option_hex"].as_str().map(unhex);
        let signature = signature.as_deref().map(|o| option(o).1);
        // The ULID is the address that the PDS itself makes; the sets here are of Sec 1, or else of Sec 0.
        let ulid = [Sec::ONE, Sec::ZERO]
            .map(|sec| address(&pds, pds.prefix(), sec))
            .into_iter()
            .find(|&a| verify_binding(&pds, a).is_ok())
            .unwrap();

        let methods: Option<Vec<(Proof, Locator)>> = entries
            .iter()
            .map(|&(m, l)| Some((VerificationMethod::from(m).try_into().ok()?, l)))
            .collect();
        let Some(methods) = methods else {
            assert_eq!((id, text(v, "rfc_expect")), ("rx-method0", "REJECT"));
            continue;
        };
        let verdict = verify_list(&pds, Ulid(ulid), generation, &methods, signature);
        match text(v, "rfc_expect") {
            "ACCEPT" => assert_eq!(verdict, Ok(()), "{id}"),
            "REJECT" => {
                let expected = match id {
                    "rx-cga-nosig" => matches!(verdict, Err(ListError::NoSignature(0))),
                    "rx-cga-badsig" | "rx-cga-othergen" => {
                        matches!(verdict, Err(ListError::Signature(0, _)))
                    }
                    "rx-hba-foreign" => {
                        matches!(verdict, Err(ListError::Entry(_, VerifyError::PrefixNotInSet)))
                    }
                    _ => false,
                };
                assert!(expected, "{id}: {verdict:?}");
            }
            // The P flag in a Reserved bit: read as P = 0, so the key is not one that may sign.
            _ => {
                assert_eq!(id, "rx-mixed-ls6-pbit");
                let first_cga = methods.iter().position(|m| m.0 == Proof::Cga).unwrap();
                let expected = ListError::Entry(first_cga, VerifyError::NoPublicKey);
                assert_eq!(verdict, Err(expected));
            }
        }
    }
}

// req-test: S6-5.15.4-01
#[test]
fn the_pds_option_holds_the_parameters_and_end_padding_only() {
    let file = read("signatures.json");
    for v in list(&file, "receiver_cases") {
        let golden = hex(v, "pds_option_hex");
        let (4, pds) = option(&golden) else { panic!("{}", v["id"]) };
        let parsed = Pds::parse(pds).unwrap();
        let key = parsed.has_real_key().then(|| key(&Value::from("keys/rsa1024.pem")).unwrap());
        let own = Identity::from_parts(pds, key, &[parsed.prefix()], None).unwrap();
        let ulid = own.members()[0];
        let message = Message::UpdateRequest(UpdateRequest {
            receiver_tag: ContextTag::from_masked(1),
            request_nonce: RequestNonce(2),
            options: Options { pds: own.pds_for(ulid), ..Options::default() },
        });
        // The fixed part of an Update Request takes 16 octets.
        assert_eq!(message.emit()[16..], golden, "{}", v["id"]);
    }
}

// req-test: HB-6-11, CG-3-02, CG-4-03
#[test]
fn collisions_and_new_prefixes_keep_the_modifier() {
    let file = read("hba.json");
    let set = |id: &str| list(&file, "vectors").iter().find(|v| v["id"] == id).unwrap();
    let pds = hex(&list(set("hba-only-3p-sec1-rfcnonce"), "addresses")[0], "pds_hex");
    let own = Identity::from_parts(&pds, None, &[], None).unwrap();
    assert_eq!((own.sec(), own.collision_count()), (Sec::ONE, 0));
    for count in [1, 2] {
        let expected = set(&format!("hba-only-3p-sec1-rfcnonce-coll{count}"));
        let next = own.with_collision_count(count).unwrap();
        let addresses: Vec<_> = list(expected, "addresses").iter().map(addr).collect();
        assert_eq!(next.members(), addresses);
        assert!(own.members().iter().all(|a| !addresses.contains(a)));
    }
    assert!(own.with_collision_count(3).is_err());

    let file = read("cga.json");
    let cga = |id: &str| list(&file, "vectors").iter().find(|v| v["id"] == id).unwrap();
    let (old, new) = (cga("cga-2-rsa1024-sec1"), cga("cga-sameparams-otherprefix"));
    let own = Identity::from_parts(&hex(old, "pds_hex"), key(&old["pem_file"]), &[], None).unwrap();
    assert_eq!(own.members(), [addr(old)]);
    let next = own.with_prefixes(&[Prefix::of(addr(new)), Prefix::of(addr(old))]).unwrap();
    assert_eq!(next.members(), [addr(new), addr(old)]);
    assert_eq!(next.pds_for(addr(new)), Some(hex(new, "pds_hex")));
    assert_eq!(next.pds_for(addr(old)), Some(hex(old, "pds_hex")));
}

// req-test: S6-16-01
#[test]
fn parts_that_do_not_fit_make_no_identity() {
    let hba = read("hba.json");
    let find = |id: &str| list(&hba, "vectors").iter().find(|v| v["id"] == id).unwrap();
    let own = find("hba-cga-2p-sec1");
    let pds = hex(&list(own, "addresses")[0], "pds_hex");
    let other = key(&Value::from("keys/rsa1024b.pem"));
    let make = |pds: &[u8], key, prefixes: &[Prefix], sec| {
        Identity::from_parts(pds, key, prefixes, sec).map(|i| i.members().to_vec())
    };
    assert_eq!(make(&pds, other.clone(), &[], None), Err(IdentityError::ForeignKey));
    assert_eq!(make(&pds, None, &[], Some(Sec::TWO)), Err(IdentityError::Sec(Sec::TWO)));
    let foreign = Prefix([0x20; 8]);
    let expected = IdentityError::PrefixNotInSet(foreign);
    assert_eq!(make(&pds, None, &[foreign], None), Err(expected));
    let b = Prefix::of(addr(&list(own, "addresses")[1]));
    assert_eq!(make(&pds, None, &[b], None), Ok(vec![addr(&list(own, "addresses")[1])]));
    assert_eq!(make(&pds, None, &[b, b], None), Err(IdentityError::DuplicatePrefix(b)));

    let hba_only = find("hba-only-2p-sec0-rfcnonce");
    let pds = hex(&list(hba_only, "addresses")[0], "pds_hex");
    assert_eq!(make(&pds, other, &[], None), Err(IdentityError::UnexpectedKey));

    let cga = read("cga.json");
    let appendix_a = hex(&list(&cga, "vectors")[0], "pds_hex");
    assert_eq!(make(&appendix_a, None, &[], None), Err(IdentityError::MissingKey));
}
