//! The survivors that docs/mutants.md explains are mutants of functions that exist.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rows `| name | explanation |` of the list.
fn rows() -> Vec<(String, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/mutants.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let row = line.strip_prefix("| `src/")?.strip_suffix(" |")?;
        let (name, why) = row.split_once("` | ").unwrap_or((row, ""));
        Some((format!("src/{}", name.replace("\\|", "|")), why.to_owned()))
    });
    rows.collect()
}

/// The last part of the path of the function that a mutant's name speaks of; `None` for one of a constant.
fn function(change: &str) -> Option<&str> {
    let words = match change.rsplit_once(" #") {
        Some((words, n)) if n.parse::<usize>().is_ok() => words,
        _ => change,
    };
    let path = match words.rsplit_once(" in ") {
        Some((_, path)) => path,
        None => {
            let whole = words.strip_prefix("replace ")?;
            let end = whole.find(" -> ").or_else(|| whole.find(" with "))?;
            let path = &whole[..end];
            let is_path = path.starts_with(|c: char| c.is_alphabetic() || c == '<');
            is_path.then_some(path)?
        }
    };
    Some(path.rsplit("::").next().unwrap_or(path))
}

fn holds_function(file: &Path, name: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    let call = format!("fn {name}");
    text.match_indices(&call).any(|(at, _)| text[at + call.len()..].starts_with(['(', '<']))
}

#[test]
fn every_survivor_listed_names_a_function_and_has_a_reason() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut seen = BTreeSet::new();
    let rows = rows();
    assert!(!rows.is_empty(), "docs/mutants.md lists no survivor at all");
    for (name, why) in rows {
        assert!(why.len() > 10, "no reason: {name}");
        assert!(seen.insert(name.clone()), "listed twice: {name}");
        let (file, change) = name.split_once(": ").unwrap();
        assert!(root.join(file).is_file(), "no such file: {name}");
        if let Some(function) = function(change) {
            assert!(holds_function(&root.join(file), function), "no such function: {name}");
        }
    }
}

#[test]
fn functions_are_found_in_names() {
    for (change, expected) in [
        ("replace == with != in Engine::restore_context #2", Some("restore_context")),
        ("replace Table::count -> usize with 0", Some("count")),
        ("replace <impl fmt::Display for ContextId>::fmt -> fmt::Result with Ok(())", Some("fmt")),
        ("replace next_timer with ()", Some("next_timer")),
        ("replace - with +", None),
        ("delete match arm State::Established in next_timer", Some("next_timer")),
        ("replace match guard a == b with true in Locals::list_of", Some("list_of")),
    ] {
        assert_eq!(function(change), expected, "{change}");
    }
}
