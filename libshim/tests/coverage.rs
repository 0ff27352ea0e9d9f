//! `coverage.tsv` says which cases the C programs try with each function; this test says whether they do, and whether all
//! functions and all codes are there.
//!
//! A case is a code that some program expects of the function, or one of the words:
//!
//! | Word | Meaning |
//! |---|---|
//! | `every`, `steering`, `failing` | called by that function of `failures.c`, so with closed descriptors, a silent, a faulty and an absent daemon |
//! | `options` | the same, by the function of that name; `options.c` has the matrix of RFC 6316 |
//! | `ancillary` | in `ancillary.c` |
//! | `null` | called with NULL, or without arguments, in `api.c` |
//! | `rust` | has unit tests beside its code |

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A function of a C program.
fn body(program: &str, function: &str) -> String {
    let begin = program.find(&format!("static void {function}(")).expect(function);
    let end = program[begin..].find("\n}").unwrap();
    program[begin..begin + end].to_owned()
}

#[test]
fn every_function_is_tried_in_every_case_of_the_list() {
    let names = ["api", "ancillary", "failures", "options", "sharing"];
    let programs: String = names.map(|n| read(&format!("tests/c/{n}.c"))).concat();
    let (failures, rust) = (read("tests/c/failures.c"), read("src/result.rs"));
    let list = read("tests/coverage.tsv");
    let mut listed = BTreeSet::new();
    let mut missing = Vec::new();
    for (function, cases) in list.lines().skip(1).map(|line| line.split_once('\t').unwrap()) {
        listed.insert(function);
        assert!(!cases.is_empty(), "{function}");
        for case in cases.split(' ') {
            let call = format!("{function}(");
            let tried = match case {
                "every" | "steering" | "failing" => {
                    body(&failures, case).contains(&format!("EXPECT(wanted, {call}"))
                }
                "options" => body(&failures, case).contains(&call),
                "ancillary" => read("tests/c/ancillary.c").contains(&call),
                "null" => read("tests/c/api.c").contains(&call),
                "rust" => rust.split("mod tests").nth(1).unwrap().contains(&call),
                code => programs.contains(&format!("EXPECT({code}, {call}")),
            };
            if !tried {
                missing.push(format!("{function}: {case}"));
            }
        }
    }
    assert!(missing.is_empty(), "not tried: {missing:?}");
    let symbols = read("libshim.symbols");
    let symbols: BTreeSet<&str> = symbols.lines().collect();
    assert_eq!(listed, symbols, "functions of the list and of the library");
}

/// Codes that no C program can bring about, and why.
const OUT_OF_REACH: [(&str, &str); 6] = [
    ("SHIM_ERR_IO", "the kernel would have to fail"),
    (
        "SHIM_ERR_BUSY",
        "needs the limits of a real daemon: tests of src/control/server and of its authority",
    ),
    ("SHIM_ERR_NOT_FOUND", "no call about a socket names anything that may be missing"),
    ("SHIM_ERR_TOO_MANY_LOCATORS", "by its errno ETOOMANYLOCATORS in options.c"),
    ("SHIM_ERR_INTERNAL", "a panic: unit test of src/boundary.rs"),
    ("SHIM_ERR_KERNEL", "the daemon's kernel would have to fail"),
];

#[test]
fn every_code_is_expected_somewhere() {
    let programs = ["api", "failures", "sharing"].map(|n| read(&format!("tests/c/{n}.c"))).concat();
    let source = read("src/result.rs");
    let codes =
        source.lines().filter_map(|l| l.strip_prefix("pub const SHIM_ERR_")?.split_once(':'));
    let mut seen = 0;
    for (code, _) in codes {
        let code = format!("SHIM_ERR_{code}");
        seen += 1;
        let expected = programs.contains(&code);
        let excused = OUT_OF_REACH.iter().any(|(c, _)| *c == code);
        assert!(expected != excused, "{code}: expected {expected}, out of reach {excused}");
    }
    assert!(seen > 20);
}
