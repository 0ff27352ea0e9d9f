//! include/shim.h and the list of exported symbols are what the sources say. `SHIM6_UPDATE=1 cargo test -p libshim --test
//! header` writes them anew.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The shared library as it is installed. What cargo has built beside this test will not do: the tests want the daemon's
/// features of `shim6`, and some linkers then name the daemon's libraries in it, too.
fn installed_library() -> &'static Path {
    static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("as-installed");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--package", "libshim", "--target-dir"]);
        let status = cargo.arg(&target).current_dir(here()).status().unwrap();
        assert!(status.success(), "libshim builds by itself");
        target.join("debug/libshim.so")
    });
    &LIBRARY
}

/// Compares a committed file with what it ought to be, or writes it.
fn is_committed(path: &Path, now: &str) {
    if std::env::var_os("SHIM6_UPDATE").is_some() {
        fs::write(path, now).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    for (n, (old, new)) in committed.lines().zip(now.lines()).enumerate() {
        assert_eq!(old, new, "{}:{}: SHIM6_UPDATE=1 writes it anew", path.display(), n + 1);
    }
    assert_eq!(committed.len(), now.len(), "{}: SHIM6_UPDATE=1 writes it anew", path.display());
}

/// What Rust's convention calls "Safety" says nothing that C does not assume anyway.
fn without_safety(header: &str) -> String {
    let mut out = String::new();
    let mut skipping = false;
    for line in header.lines() {
        skipping = (skipping || line.trim() == "* # Safety") && line.trim() != "*/";
        if skipping {
            continue;
        }
        if line.trim() == "*/" && out.ends_with(" *\n") {
            out.truncate(out.len() - " *\n".len());
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[test]
fn the_header_is_what_the_sources_say() {
    let config = cbindgen::Config::from_file(here().join("cbindgen.toml")).unwrap();
    let mut octets = Vec::new();
    cbindgen::Builder::new()
        .with_crate(here())
        .with_config(config)
        .generate()
        .unwrap()
        .write(&mut octets);
    let text = without_safety(&String::from_utf8(octets).unwrap());
    is_committed(&here().join("../include/shim.h"), &text);
}

#[test]
fn exactly_the_listed_symbols_are_exported() {
    let library = installed_library();
    let mut nm = Command::new("nm");
    nm.args(["-D", "--defined-only", "--format=posix"]).arg(library);
    let out = nm.output().expect("nm (binutils) is installed");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let mut symbols: Vec<_> =
        text.lines().filter_map(|line| line.split_ascii_whitespace().next()).collect();
    symbols.sort_unstable();
    let list = symbols.join("\n") + "\n";
    is_committed(&here().join("libshim.symbols"), &list);
    // Every one of them is declared for C.
    let header = fs::read_to_string(here().join("../include/shim.h")).unwrap();
    for symbol in symbols {
        assert!(header.contains(&format!("{symbol}(")), "{symbol} is not in shim.h");
    }
}

#[test]
fn the_library_has_its_name_and_needs_no_more_than_the_c_library() {
    let out = Command::new("readelf").arg("-d").arg(installed_library()).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("Library soname: [libshim.so.0]"), "{text}");
    for needed in text.lines().filter(|line| line.contains("(NEEDED)")) {
        let known = ["libc.so", "libgcc_s.so", "ld-linux"];
        assert!(known.iter().any(|k| needed.contains(k)), "{needed}");
    }
}
