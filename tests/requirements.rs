//! Ties code and tests to the requirement matrix in `docs/requirements/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Default)]
struct Cited {
    code: BTreeSet<String>,
    tests: BTreeSet<String>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.expect("readable entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == "target" || name == "data" || name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            files(&path, into);
        } else {
            into.push(path);
        }
    }
}

fn citations() -> Cited {
    let mut cited = Cited::default();
    let mut all = Vec::new();
    for dir in ["src", "tests", "libshim", "testbed", "nft-rules"] {
        files(&root().join(dir), &mut all);
    }
    for file in all {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        if file.ends_with("tests/requirements.rs") {
            continue;
        }
        for line in text.lines() {
            for (mark, into) in [("req: ", &mut cited.code), ("req-test: ", &mut cited.tests)] {
                let Some((before, list)) = line.split_once(mark) else { continue };
                if !before.contains("//") && !before.contains('#') {
                    continue;
                }
                into.extend(
                    list.split(|c: char| c == ',' || c.is_whitespace() || c == '(' || c == ';')
                        .map(|s| s.trim_end_matches(['.', ')', ':']))
                        .filter(|s| looks_like_id(s))
                        .map(str::to_owned),
                );
            }
        }
    }
    cited
}

fn looks_like_id(s: &str) -> bool {
    let prefixes = ["S6-", "RP-", "HB-", "CG-", "CG4581-", "CG4982-", "AP-", "AL-", "AS-"];
    prefixes.iter().any(|p| s.starts_with(p)) && s.matches('-').count() == 2
}

fn table(name: &str) -> Vec<Vec<String>> {
    let path = root().join("docs/requirements").join(name);
    fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .lines()
        .skip(1)
        .filter(|l| !l.is_empty())
        .map(|l| l.split('\t').map(str::to_owned).collect())
        .collect()
}

/// Whether a section belongs to what has to be covered by now: of RFC 5533 sections 5, 6, 7.1 to 7.16, 12 and 14,
/// and all of RFC 5534 and RFC 5535.
fn in_scope(rfc: &str, section: &str) -> bool {
    match rfc {
        "RFC5534" | "RFC5535" => true,
        "RFC5533" => {
            let mut parts = section.split('.').map(|p| p.parse::<u32>().unwrap_or(0));
            match (parts.next(), parts.next()) {
                (Some(5 | 6 | 12 | 14), _) => true,
                (Some(7), Some(minor)) => (1..=16).contains(&minor),
                _ => false,
            }
        }
        _ => false,
    }
}

#[test]
fn every_requirement_is_cited_and_tested_or_excepted() {
    let rows = table("requirements.tsv");
    assert!(rows.len() > 500, "only {} requirements were read", rows.len());
    let known: BTreeMap<&str, &Vec<String>> = rows.iter().map(|r| (r[0].as_str(), r)).collect();
    let cited = citations();
    let exceptions: BTreeMap<String, (String, String)> = table("exceptions.tsv")
        .into_iter()
        .map(|r| {
            assert!(r.len() >= 3 && !r[2].trim().is_empty(), "exception without a reason: {r:?}");
            assert!(
                ["open", "untested", "never"].contains(&r[1].as_str()),
                "exception with unknown status: {r:?}"
            );
            (r[0].clone(), (r[1].clone(), r[2].clone()))
        })
        .collect();

    let mut wrong = Vec::new();
    for id in cited.code.iter().chain(&cited.tests).chain(exceptions.keys()) {
        if !known.contains_key(id.as_str()) {
            wrong.push(format!("{id}: cited, but no such requirement"));
        }
    }
    let (mut scope, mut done, mut all_done) = (0, 0, 0);
    for row in &rows {
        let id = &row[0];
        let (code, test) = (cited.code.contains(id), cited.tests.contains(id));
        all_done += usize::from(code && test);
        if exceptions.contains_key(id) && code && test {
            wrong.push(format!("{id}: cited and tested, yet listed as an exception"));
        }
        if !in_scope(&row[1], &row[2]) {
            continue;
        }
        scope += 1;
        done += usize::from(code && test);
        let done_with = code && test || exceptions.contains_key(id);
        if !done_with {
            let missing = match (code, test) {
                (false, false) => "neither code nor test cites it",
                (true, false) => "no test cites it",
                _ => "no code cites it",
            };
            wrong.push(format!("{id} ({} {}): {missing}: {}", row[3], row[4], row[5]));
        }
    }
    println!(
        "requirements: {done} of {scope} in scope are cited in code and tested, {} excepted; \
         {all_done} of {} in all",
        exceptions.len(),
        rows.len()
    );
    assert!(wrong.is_empty(), "{} problems:\n{}", wrong.len(), wrong.join("\n"));
}
