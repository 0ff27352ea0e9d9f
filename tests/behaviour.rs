//! Every test and case that `docs/behaviour.md` names exists.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether some file below a path has unit tests.
fn has_tests(path: &Path) -> bool {
    if path.is_file() {
        return fs::read_to_string(path).unwrap().contains("#[cfg(test)]");
    }
    let entries = fs::read_dir(path).into_iter().flatten();
    entries.into_iter().any(|entry| has_tests(&entry.unwrap().path()))
}

/// Whether the name is that of a case, of a module with tests, or of a file of tests.
fn exists(name: &str) -> bool {
    if let Some((member, file)) = name.split_once(": ") {
        return root().join(member).join("tests").join(format!("{file}.rs")).is_file();
    }
    if name.contains("::") {
        let module = name.trim_end_matches("::tests").replace("::", "/");
        let module = root().join("src").join(module);
        return has_tests(&module) || has_tests(&module.with_extension("rs"));
    }
    let files = root().join("tests");
    let starts = name.strip_suffix('*');
    root().join("testbed/cases").join(name).join("run").is_file()
        || files.join(format!("{name}.rs")).is_file()
        || files.join(name).join("main.rs").is_file()
        || name.contains('/') && root().join(name).exists()
        || starts.is_some_and(|start| {
            let names = fs::read_dir(&files).unwrap().map(|e| e.unwrap().file_name());
            names.into_iter().any(|n| n.to_string_lossy().starts_with(start))
        })
}

#[test]
fn what_the_promises_are_shown_by_exists() {
    let text = fs::read_to_string(root().join("docs/behaviour.md")).unwrap();
    let (mut promises, mut missing) = (0, Vec::new());
    for line in text.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| Promise")) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let shown_by = cells.get(1).unwrap_or_else(|| panic!("no second column: {line}"));
        promises += 1;
        let names: Vec<&str> = quoted(shown_by).collect();
        assert!(!names.is_empty() || shown_by.contains("demo"), "nothing shows this: {line}");
        missing.extend(names.into_iter().filter(|n| !exists(n)).map(str::to_owned));
    }
    assert!(promises > 20, "the tables were not found");
    assert!(missing.is_empty(), "named in docs/behaviour.md, but not there: {missing:?}");
}

#[test]
fn names_that_are_not_there_are_noticed() {
    for there in
        ["blackhole", "kernel_nft", "sim", "control_*", "proto::engine", "daemon::journal::tests"]
    {
        assert!(exists(there), "{there}");
    }
    for missing in ["blackholes", "kernel_*x", "daemon::nothing", "nobody: knows", "a/b"] {
        assert!(!exists(missing), "{missing}");
    }
}
