use super::*;
use crate::addr::{Ulid, UlidPair};
use crate::cga::{GenerateParams, Method};
use crate::proto::input::{AddressEvent, Command, LocalAddress};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;

/// A run in which a context is asked for, and nobody answers.
fn recorded(path: &Path, limit: u64) -> (Recorder, usize) {
    let mut recorder = Recorder::create(path, limit).unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    let mut out = VecDeque::new();
    let config = super::super::config::Config::default();
    let mut now = Time::from_secs(100);
    recorder.say(Step::Start { version: VERSION, config: config.to_string() });
    let mut engine = recorder
        .run(now, &mut rng, &mut out, |cx| Engine::new(config.engine.clone(), cx.now, cx.rng));
    let prefixes = ["2001:db8:1:1::", "2001:db8:1:2::"];
    let prefixes = prefixes.map(|p| Prefix::of(p.parse().unwrap())).to_vec();
    let params = GenerateParams::new(Method::Hba, prefixes);
    let identity =
        Identity::generate(params, &mut rng, &mut |_| ControlFlow::Continue(())).unwrap();
    let local = identity.members()[0];
    recorder.say(Step::Identities(vec![(&identity).into()]));
    let identities = vec![Arc::new(identity)];
    recorder.run(now, &mut rng, &mut out, |cx| engine.set_identities(cx, identities));
    let address = LocalAddress { addr: local, deprecated: false, temporary: false };
    let peer = Ulid("2001:db8:2::1".parse().unwrap());
    let ulids = UlidPair { local: Ulid(local), peer };
    let mut steps = 2;
    for input in
        [Input::Address(AddressEvent::Present(address)), Input::Command(Command::Establish(ulids))]
    {
        recorder.say(Step::Input(input.clone()));
        recorder.run(now, &mut rng, &mut out, |cx| engine.handle(cx, input));
        steps += 1;
    }
    while let Some(at) = engine.poll_timeout() {
        now = at;
        recorder.say(Step::Input(Input::Timeout));
        recorder.run(now, &mut rng, &mut out, |cx| engine.handle(cx, Input::Timeout));
        steps += 1;
    }
    (recorder, steps)
}

fn read(path: &Path) -> Result<Replayed, ReplayError> {
    replay(io::BufReader::new(File::open(path).unwrap()), None)
}

#[test]
fn a_recorded_run_goes_the_same_way_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let (_, steps) = recorded(&path, MAX_OCTETS);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let done = read(&path).unwrap();
    assert_eq!((done.steps, done.differences.len()), (steps, 0), "{:?}", done.differences);
    assert_eq!(done.sent, 5, "I1s");
    assert!(done.events.iter().any(|e| e.contains("EstablishFailed")));
    assert!(Recorder::create(&path, 1).is_err(), "nothing is overwritten");
}

#[test]
fn another_engine_or_another_past_shows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    recorded(&path, MAX_OCTETS);
    let text = std::fs::read_to_string(&path).unwrap();
    for (what, by) in [("i1_timeout = 4", "i1_timeout = 5"), ("\"send 2001", "\"send 2002")] {
        let changed = text.replacen(what, by, 1);
        assert_ne!(changed, text, "{what}");
        std::fs::write(&path, changed).unwrap();
        assert!(!read(&path).unwrap().differences.is_empty(), "{what}");
    }
    for bad in ["", "{}", "nonsense", &text.lines().skip(1).collect::<Vec<_>>().join("\n")] {
        std::fs::write(&path, bad).unwrap();
        assert!(read(&path).is_err(), "{bad}");
    }
    std::fs::write(&path, text.replacen("\"version\":1", "\"version\":2", 1)).unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("form 2"));
}

#[test]
fn a_recording_that_is_full_ends_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (path, whole) = (dir.path().join("run"), dir.path().join("whole"));
    recorded(&whole, MAX_OCTETS);
    let limit = std::fs::metadata(&whole).unwrap().len() - 1;
    let (mut recorder, _) = recorded(&path, limit);
    assert!(std::fs::metadata(&path).unwrap().len() <= limit);
    assert!(recorder.trouble().unwrap().contains("has ended"));
    assert_eq!(recorder.trouble(), None, "once");
    // What there is can be run.
    assert!(read(&path).unwrap().differences.is_empty());
}
