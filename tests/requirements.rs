//! Ties code and tests to the tables in `docs/requirements/`.

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

/// Exceptions that are accepted at most.
const EXCEPTIONS: usize = 15;

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
    let mut done = 0;
    for row in &rows {
        let id = &row[0];
        let (code, test) = (cited.code.contains(id), cited.tests.contains(id));
        done += usize::from(code && test);
        if exceptions.contains_key(id) && code && test {
            wrong.push(format!("{id}: cited and tested, yet listed as an exception"));
        }
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
        "requirements: {done} of {} are cited in code and tested, {} excepted",
        rows.len(),
        exceptions.len()
    );
    assert!(exceptions.len() <= EXCEPTIONS, "{} exceptions", exceptions.len());
    assert!(wrong.is_empty(), "{} problems:\n{}", wrong.len(), wrong.join("\n"));
}

/// The file that has the test of this name, as `cargo test` and `docs/implementation-report.md` call it: the crate or the
/// file of tests, the modules, the function.
fn file_of_test(name: &str) -> Option<PathBuf> {
    let (krate, rest) = name.split_once("::")?;
    let (modules, _) = rest.rsplit_once("::").unwrap_or(("", rest));
    let path = modules.replace("::", "/");
    let (member, krate) = krate.split_once('/').map_or((None, krate), |(m, k)| (Some(m), k));
    let top = member.map_or_else(root, |m| root().join(m));
    let candidates = match krate {
        "shim6" | "libshim" => {
            let src = if krate == "shim6" { root() } else { root().join(krate) }.join("src");
            let outer = path.strip_suffix("/tests").unwrap_or(&path).to_owned();
            vec![
                src.join(format!("{path}.rs")),
                src.join(&path).join("mod.rs"),
                src.join(format!("{outer}.rs")),
                src.join(outer).join("mod.rs"),
            ]
        }
        _ if path.is_empty() => vec![top.join("tests").join(format!("{krate}.rs"))],
        _ => vec![top.join("tests").join(krate).join(format!("{path}.rs"))],
    };
    let function = format!("fn {}(", name.rsplit("::").next()?);
    candidates
        .into_iter()
        .find(|f| fs::read_to_string(f).is_ok_and(|text| text.contains(&function)))
}

/// Every row of a table names tests, in its last column, and all of them are there.
fn assert_shown(name: &str, rows: usize) {
    let table = table(name);
    assert_eq!(table.len(), rows, "rows of {name}");
    let mut wrong = Vec::new();
    for row in &table {
        let tests = row.last().map_or("", String::as_str);
        if tests.trim().is_empty() {
            wrong.push(format!("no test: {row:?}"));
        }
        for test in tests.split(", ").filter(|t| file_of_test(t).is_none()) {
            wrong.push(format!("{test}: no such test"));
        }
    }
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
}

#[test]
fn every_trap_names_the_tests_of_its_decision() {
    assert_shown("traps.tsv", 117);
    let numbers: Vec<String> = table("traps.tsv").into_iter().map(|r| r[0].clone()).collect();
    assert!(numbers.iter().map(|n| n.parse()).eq((1..=117).map(Ok::<u32, _>)));
}

#[test]
fn every_lesson_names_its_tests() {
    assert_shown("lessons.tsv", 48);
}

#[test]
fn every_line_of_the_implementation_report_names_its_tests() {
    assert_shown("linshim6.tsv", 103);
    let report =
        fs::read_to_string(root().join("docs/implementation-report.md")).unwrap_or_default();
    for row in table("linshim6.tsv") {
        let line = format!("| {} | {} |", row[0], row[2].replace('|', "\\|"));
        assert!(report.contains(&line), "line {} is not in the report: make it anew", row[0]);
    }
}

#[test]
fn tests_that_are_not_there_are_noticed() {
    for there in [
        "sim::refuse::errors_are_limited",
        "shim6::wire::tests::traps::trap_02_p_one_is_payload",
        "shim6::daemon::journal::tests::the_file_is_private_and_stays_small",
        "requirements::tests_that_are_not_there_are_noticed",
        "libshim/c_programs::the_options_of_rfc_6316",
    ] {
        assert!(file_of_test(there).is_some(), "{there}");
    }
    for missing in ["sim::refuse::nothing", "sim::nowhere::errors_are_limited", "x", "shim6::x::y"]
    {
        assert!(file_of_test(missing).is_none(), "{missing}");
    }
}
