//! Recorded runs of daemons on real packets, run again by the engine of today (`docs/recording.md`).

#![allow(clippy::unwrap_used)]

use shim6::daemon::record::replay;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

fn recordings() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/recordings");
    let mut all: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

#[test]
fn the_engine_does_what_it_did_in_the_field() {
    let all = recordings();
    assert!(!all.is_empty());
    for path in all {
        let done = replay(BufReader::new(File::open(&path).unwrap()), None).unwrap();
        assert!(done.differences.is_empty(), "{}: {:#?}", path.display(), done.differences);
        assert!(done.steps > 20 && done.sent > 2, "{}", path.display());
    }
}

#[test]
fn the_failover_is_in_it() {
    let path = recordings().into_iter().find(|p| p.ends_with("blackhole-A.jsonl")).unwrap();
    let done = replay(BufReader::new(File::open(path).unwrap()), None).unwrap();
    let at = |what: &str| {
        let place = done.events.iter().position(|e| e.contains(what));
        place.unwrap_or_else(|| panic!("{what}: {:#?}", done.events))
    };
    let order = ["Established", "Operational", "ProbeSent", "Switched"].map(at);
    assert!(order.is_sorted(), "{:#?}", done.events);
}
