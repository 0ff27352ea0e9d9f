use std::os::unix::fs::MetadataExt;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

fn prefix(n: u8) -> Prefix {
    Prefix([0x20, 1, 0x0d, 0xb8, 0, n, 0, 1])
}

fn params(method: Method) -> GenerateParams {
    let pem = include_bytes!("../../../tests/data/vectors/keys/rsa1024.pem");
    let mut params = GenerateParams::new(method, vec![prefix(1), prefix(2)]);
    params.key = method.has_key().then(|| SigningKey::from_pem(pem).unwrap());
    params
}

/// A state directory with an identity in it.
fn stored(method: Method, seed: u64) -> (tempfile::TempDir, Identity) {
    let state = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let stop = AtomicBool::new(false);
    let own = generate(state.path(), params(method), &mut rng, &stop, &mut |_| ()).unwrap();
    (state, own)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn words(e: &IdentityError) -> String {
    e.to_string()
}

const METHODS: [Method; 3] = [Method::Hba, Method::Cga, Method::HbaCga];

#[test]
fn what_is_stored_is_loaded() {
    let empty = tempfile::tempdir().unwrap();
    assert!(load(empty.path()).unwrap().is_none());
    assert!(load(&empty.path().join("not/there")).unwrap().is_none());
    for method in METHODS {
        let (state, own) = stored(method, 1);
        let again = load(state.path()).unwrap().unwrap();
        assert_eq!(again.method(), method);
        assert_eq!(again.pds(), own.pds());
        assert_eq!(again.prefixes(), own.prefixes());
        assert_eq!(again.members(), own.members());
        assert_eq!(again.can_sign(), method.has_key());
        assert_eq!(describe(&again), describe(&own));
    }
}

// req-test: CG-7.4-01
#[test]
fn only_the_owner_can_read_what_is_stored_and_exported() {
    let state = tempfile::tempdir().unwrap();
    let deep = state.path().join("a/b");
    let (source, own) = stored(Method::HbaCga, 2);
    store(&deep, &own).unwrap();
    assert_eq!(mode(&deep), 0o700);
    assert_eq!(mode(&deep.join(DIR)), 0o700);
    for file in [PDS_FILE, KEY_FILE, META_FILE] {
        assert_eq!(mode(&deep.join(DIR).join(file)), 0o600, "{file}");
    }
    let (pds, key) = (state.path().join("out.pds"), state.path().join("out.pem"));
    export(source.path(), &pds, Some(&key)).unwrap();
    assert_eq!((mode(&pds), mode(&key)), (0o600, 0o600));
}

// req-test: CG-7.4-01
#[test]
fn a_key_that_others_can_read_is_refused_with_the_remedy() {
    for bad in [0o640, 0o604, 0o610] {
        let (state, _) = stored(Method::HbaCga, 3);
        let key = state.path().join(DIR).join(KEY_FILE);
        fs::set_permissions(&key, fs::Permissions::from_mode(bad)).unwrap();
        let error = load(state.path()).unwrap_err();
        assert!(matches!(&error, IdentityError::Exposed(p, m) if *p == key && *m == bad));
        assert!(words(&error).contains(&format!("chmod 600 {}", key.display())));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(load(state.path()).is_ok());
    }
}

// req-test: CG-7.1-01, HB-8.1-02
#[test]
fn a_new_identity_replaces_the_old_one_and_keeps_it() {
    let (state, first) = stored(Method::HbaCga, 4);
    let mut rng = StdRng::seed_from_u64(40);
    let mut anew = params(Method::HbaCga);
    anew.key = None;
    anew.key_bits = 1024;
    let mut lines = Vec::new();
    let stop = AtomicBool::new(false);
    let second =
        generate(state.path(), anew, &mut rng, &stop, &mut |l| lines.push(l.to_owned())).unwrap();
    assert_eq!(lines, ["making an RSA key of 1024 bits"]);
    assert_ne!(second.pds().public_key(), first.pds().public_key());
    assert!(second.members().iter().all(|m| !first.members().contains(m)));
    let members = |i: Option<Identity>| i.map(|i| i.members().to_vec());
    assert_eq!(members(load(state.path()).unwrap()), Some(second.members().to_vec()));
    let old = fs::read(state.path().join(OLD).join(PDS_FILE)).unwrap();
    assert_eq!(old, first.pds().as_bytes());

    // An HBA-only one takes the place of one with a key; no stray key is left beside it.
    let (_, third) = stored(Method::Hba, 5);
    store(state.path(), &third).unwrap();
    assert_eq!(members(load(state.path()).unwrap()), Some(third.members().to_vec()));
    assert!(!state.path().join(DIR).join(KEY_FILE).exists());
    let mut names: Vec<_> =
        fs::read_dir(state.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [DIR, OLD]);
}

#[test]
fn a_crash_before_the_exchange_leaves_the_old_identity() {
    let (state, own) = stored(Method::HbaCga, 6);
    let left = state.path().join(NEW);
    fs::create_dir(&left).unwrap();
    fs::write(left.join(PDS_FILE), b"half").unwrap();
    assert_eq!(load(state.path()).unwrap().unwrap().members(), own.members());
    let (_, next) = stored(Method::Hba, 7);
    store(state.path(), &next).unwrap();
    assert_eq!(load(state.path()).unwrap().unwrap().members(), next.members());
    assert!(!left.exists());
}

#[test]
fn missing_files_are_named() {
    for file in [PDS_FILE, KEY_FILE, META_FILE] {
        let (state, _) = stored(Method::Cga, 8);
        let path = state.path().join(DIR).join(file);
        fs::remove_file(&path).unwrap();
        let error = load(state.path()).unwrap_err();
        assert!(matches!(&error, IdentityError::Incomplete(p) if *p == path), "{error}");
        assert!(words(&error).contains("identity generate"));
    }
    // A set goes on without its private key.
    let (state, own) = stored(Method::HbaCga, 8);
    fs::remove_file(state.path().join(DIR).join(KEY_FILE)).unwrap();
    let keyless = load(state.path()).unwrap().unwrap();
    assert_eq!(keyless.members(), own.members());
    assert!(!keyless.can_sign());
}

#[test]
fn corrupt_files_are_named() {
    let spoil = |file: &str, with: &[u8]| {
        let (state, _) = stored(Method::HbaCga, 9);
        let path = state.path().join(DIR).join(file);
        fs::write(&path, with).unwrap();
        let error = load(state.path()).unwrap_err();
        assert!(words(&error).contains(&state.path().display().to_string()), "{error}");
        error
    };
    assert!(matches!(spoil(PDS_FILE, b""), IdentityError::Pds(_, PdsError::Truncated)));
    assert!(matches!(spoil(PDS_FILE, &[0x30; 200]), IdentityError::Pds(_, PdsError::Key(_))));
    assert!(matches!(spoil(PDS_FILE, &[0; MAX_LEN + 1]), IdentityError::Read(..)));
    assert!(matches!(spoil(KEY_FILE, b"no key"), IdentityError::Key(_, KeyError::Pem)));
    let other = include_bytes!("../../../tests/data/vectors/keys/rsa1024b.pem");
    let foreign = spoil(KEY_FILE, other);
    assert!(matches!(foreign, IdentityError::Parts(_, cga::IdentityError::ForeignKey)));
    for text in [
        &b"\xff\xfe"[..],
        b"",
        b"format = 2\nmethod = \"hba-cga\"\nsec = 0\nprefixes = []\n",
        b"format = 1\nmethod = \"hba\"\nsec = 0\nprefixes = []\n",
        b"format = 1\nmethod = \"nonsense\"\nsec = 0\nprefixes = []\n",
        b"format = 1\nmethod = \"hba-cga\"\nsec = 3\nprefixes = []\n",
        b"format = 1\nmethod = \"hba-cga\"\nsec = 0\nprefixes = [\"2001:db8::/48\"]\n",
    ] {
        let error = spoil(META_FILE, text);
        assert!(matches!(error, IdentityError::Description(..)), "{error}");
    }
    let foreign =
        b"format = 1\nmethod = \"hba-cga\"\nsec = 0\nprefixes = [\"2001:db8:9:9::/64\"]\n";
    let error = spoil(META_FILE, foreign);
    assert!(matches!(error, IdentityError::Parts(_, cga::IdentityError::PrefixNotInSet(_))));
}

#[test]
fn an_exported_identity_is_imported_elsewhere_as_it_was() {
    for method in METHODS {
        let (state, own) = stored(method, 10);
        let out = tempfile::tempdir().unwrap();
        let (pds, key) = (out.path().join("a.pds"), out.path().join("a.pem"));
        let with_key = method.has_key().then_some(key.as_path());
        export(state.path(), &pds, with_key).unwrap();
        assert_eq!(fs::read(&pds).unwrap(), own.pds().as_bytes());

        let elsewhere = out.path().join("state");
        let imported = import(&elsewhere, &pds, with_key, own.prefixes()).unwrap();
        assert_eq!(imported.members(), own.members());
        assert_eq!(load(&elsewhere).unwrap().unwrap().members(), own.members());
        // One of the prefixes is enough, and without any the parameters themselves name them.
        let one = import(&elsewhere, &pds, with_key, &[prefix(2)]).unwrap();
        assert_eq!(one.members(), &own.members()[1..]);
        let all = import(&elsewhere, &pds, with_key, &[]).unwrap();
        assert_eq!(all.members().len(), if method.is_set() { 2 } else { 1 });
    }
}

#[test]
fn export_overwrites_nothing() {
    let (state, _) = stored(Method::HbaCga, 11);
    let out = tempfile::tempdir().unwrap();
    let (pds, key) = (out.path().join("a.pds"), out.path().join("a.pem"));
    fs::write(&key, b"somebody's").unwrap();
    let error = export(state.path(), &pds, Some(&key)).unwrap_err();
    assert!(matches!(&error, IdentityError::Exists(p) if *p == key));
    assert!(!pds.exists());
    assert_eq!(fs::read(&key).unwrap(), b"somebody's");

    let nothing = tempfile::tempdir().unwrap();
    let error = export(nothing.path(), &pds, None).unwrap_err();
    assert!(matches!(error, IdentityError::None(_)));
    assert!(words(&error).contains("identity generate"));
    let (hba, _) = stored(Method::Hba, 11);
    let error = export(hba.path(), &pds, Some(&out.path().join("b.pem"))).unwrap_err();
    assert!(matches!(error, IdentityError::NoKey));
    assert!(!pds.exists());
}

#[test]
fn a_failed_import_changes_nothing() {
    let (state, own) = stored(Method::HbaCga, 12);
    let out = tempfile::tempdir().unwrap();
    let (pds, absent) = (out.path().join("a.pds"), out.path().join("absent"));
    export(state.path(), &pds, None).unwrap();
    let unread = import(state.path(), &absent, None, &[]).unwrap_err();
    assert!(matches!(&unread, IdentityError::Read(p, _) if *p == absent));
    let unread = import(state.path(), &pds, Some(&absent), &[]).unwrap_err();
    assert!(matches!(&unread, IdentityError::Read(p, _) if *p == absent));
    let foreign = import(state.path(), &pds, None, &[prefix(9)]).unwrap_err();
    assert!(words(&foreign).contains("2001:db8:9:1::/64"), "{foreign}");
    fs::write(&absent, b"nonsense").unwrap();
    let bad = import(state.path(), &absent, None, &[]).unwrap_err();
    assert!(matches!(&bad, IdentityError::Pds(p, _) if *p == absent));
    assert!(load(state.path()).unwrap().unwrap().can_sign());
    assert_eq!(load(state.path()).unwrap().unwrap().members(), own.members());
}

#[test]
fn a_stopped_generation_stores_nothing() {
    let state = tempfile::tempdir().unwrap();
    let mut params = params(Method::Hba);
    params.sec = Sec::TWO;
    let stop = AtomicBool::new(false);
    let mut lines = Vec::new();
    let mut rng = StdRng::seed_from_u64(13);
    let stopped = generate(state.path(), params, &mut rng, &stop, &mut |l| {
        lines.push(l.to_owned());
        stop.store(true, Ordering::Relaxed);
    });
    assert!(matches!(stopped, Err(IdentityError::Generate(GenerateError::Stopped))));
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("searching: "), "{lines:?}");
    assert!(load(state.path()).unwrap().is_none());
}

#[test]
fn without_sha1_signatures_an_identity_is_made_by_hash_alone() {
    let forbidden = GenerateError::Sign(SignError::Sha1Forbidden);
    for method in [Method::Cga, Method::HbaCga] {
        let instead = without_signatures(&params(method), &forbidden).unwrap();
        assert_eq!(instead.method, Method::Hba);
        assert_eq!(instead.prefixes, params(method).prefixes);
        let mut rng = StdRng::seed_from_u64(14);
        let go_on = &mut |_| ControlFlow::Continue(());
        assert!(Identity::generate(instead, &mut rng, go_on).is_ok());
    }
    for other in [GenerateError::Stopped, GenerateError::Sign(SignError::NoKey)] {
        assert!(without_signatures(&params(Method::HbaCga), &other).is_none());
    }
}

#[test]
fn a_description_has_all_but_the_private_key() {
    let (_, own) = stored(Method::HbaCga, 15);
    let description = describe(&own);
    let json = serde_json::to_value(&description).unwrap();
    assert_eq!(json["method"], "hba-cga");
    assert_eq!(json["sec"], 0);
    assert_eq!(json["key"]["bits"], 1024);
    assert_eq!(json["key"]["private"], true);
    assert_eq!(json["can_sign"], true);
    assert_eq!(json["cannot_sign_because"], serde_json::Value::Null);
    assert_eq!(json["addresses"][1]["prefix"], "2001:db8:2:1::/64");
    assert_eq!(json["addresses"][1]["address"], own.members()[1].to_string());
    let text = description.to_string();
    for member in own.members() {
        assert!(text.contains(&member.to_string()), "{text}");
    }
    assert!(text.contains("signing          possible"), "{text}");

    let (_, own) = stored(Method::Hba, 15);
    let json = serde_json::to_value(describe(&own)).unwrap();
    assert_eq!(json["key"], serde_json::Value::Null);
    assert_eq!(json["can_sign"], false);
    assert!(json["cannot_sign_because"].is_string());
}

// req-test: HB-7.1-01, HB-7.2-01
#[test]
fn verify_says_by_which_method_an_address_is_bound() {
    let (state, own) = stored(Method::HbaCga, 16);
    let pds = state.path().join(DIR).join(PDS_FILE);
    let report = |address| verify(&pds, address).unwrap();
    let first = report(own.members()[0]);
    assert!(first.bound && first.cga_failure.is_none() && first.hba_failure.is_none());
    let second = report(own.members()[1]);
    assert!(second.bound && second.cga_failure.is_some() && second.hba_failure.is_none());
    let stranger = report("2001:db8:9::1".parse().unwrap());
    assert!(!stranger.bound && stranger.cga_failure.is_some() && stranger.hba_failure.is_some());
    assert!(stranger.to_string().contains("NOT bound"));
    let json = serde_json::to_value(&second).unwrap();
    assert_eq!((&json["bound"], &json["hba_failure"]), (&true.into(), &().into()));
    let missing = verify(&state.path().join("absent"), own.members()[0]).unwrap_err();
    assert!(matches!(missing, IdentityError::Read(..)));
}

// req-test: CG-4-03
#[test]
fn a_cga_goes_on_with_other_prefixes_by_its_key_and_modifier() {
    let (state, own) = stored(Method::Cga, 16);
    let new = moved(&own, (Method::Cga, own.sec()), &[prefix(9)]).unwrap();
    assert_eq!(new.pds().modifier(), own.pds().modifier());
    assert_eq!((new.prefixes(), new.members().len()), (&[prefix(9)][..], 1));
    assert!(crate::cga::verify_cga(new.pds(), new.members()[0]).is_ok());
    store(state.path(), &new).unwrap();
    assert_eq!(load(state.path()).unwrap().unwrap().members(), new.members());
    // Something else is asked for by now, or the prefixes are part of it.
    assert!(moved(&own, (Method::HbaCga, own.sec()), &[prefix(9)]).is_none());
    let other = if own.sec() == Sec::ZERO { Sec::ONE } else { Sec::ZERO };
    assert!(moved(&own, (Method::Cga, other), &[prefix(9)]).is_none());
    for method in [Method::Hba, Method::HbaCga] {
        let (_, own) = stored(method, 16);
        assert!(moved(&own, (method, own.sec()), &[prefix(9)]).is_none());
    }
}
