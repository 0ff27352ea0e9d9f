//! C, C++ and Python programs against libshim and a daemon stub: gcc and clang, with sanitizers and valgrind.
//!
//! As root they run in a network namespace of their own, with addresses from 2001:db8::/32 on its loopback interface; else
//! on the host's loopback. A tool that is missing is named loudly and is a failure if SHIM6_EXPECT_ALL=1.

#![allow(clippy::unwrap_used)]

mod place;
mod stub;

use place::{Place, STRICT, expect_success, has, here, libraries};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use stub::Stub;

#[test]
fn every_function_and_every_error() {
    Place::run(|place| place.check_everywhere("tests/c/api.c"));
}

#[test]
fn the_options_of_rfc_6316() {
    Place::run(|place| {
        if place.here == place.there {
            eprintln!("SKIPPED: two addresses need root");
            return;
        }
        place.check_everywhere("tests/c/options.c");
    });
}

#[test]
fn ancillary_data() {
    Place::run(|place| {
        if place.here == place.there {
            eprintln!("SKIPPED: two addresses need root");
            return;
        }
        place.contexts = &[("2001:db8:1::a", "2001:db8:1::b")];
        place.check_everywhere("tests/c/ancillary.c");
    });
}

/// Runs a program that says when the daemon is to be restarted ("restart"), killed ("kill"), and waits for that ("killed").
fn with_restarts(place: &Place, source: &str, options: &[&str]) {
    let program = place.compile("gcc", source, options);
    let mut stub = Some(Stub::start(&place.socket()));
    let mut command = place.command(program);
    command.args([place.here, place.there]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        match line.unwrap().as_str() {
            "restart" => {
                drop(stub.take());
                stub = Some(Stub::start(&place.socket()));
                input.write_all(b"go\n").unwrap();
            }
            "kill" => drop(stub.take()),
            "killed" => input.write_all(b"go\n").unwrap(),
            other => panic!("{other}"),
        }
    }
    let out = child.wait_with_output().unwrap();
    expect_success(source, &out);
}

const SANITIZED: [&str; 2] = ["-std=gnu11", "-fsanitize=address"];

#[test]
fn threads_children_many_sockets_and_restarts() {
    Place::run(|place| {
        for options in [&["-std=gnu11"][..], &SANITIZED] {
            with_restarts(place, "tests/c/sharing.c", options);
        }
    });
}

#[test]
fn every_call_fails_cleanly() {
    Place::run(|place| {
        for options in [&["-std=gnu11"][..], &SANITIZED] {
            with_restarts(place, "tests/c/failures.c", options);
        }
    });
}

#[test]
fn a_program_that_is_linked_with_the_static_library_works() {
    Place::run(|place| {
        if !has("gcc") {
            return;
        }
        // The archive is built beside the shared library.
        let archive = libraries().join("libshim.a");
        let archive = archive.to_str().unwrap();
        // Sections that nothing needs are left out, and with them what only tests of the workspace bring in.
        let system = ["-Wl,--gc-sections", "-lpthread", "-ldl", "-lm"];
        let link = [&[archive][..], &system].concat();
        let program = place.compile_alone("gcc", "tests/c/api.c", &["-std=gnu11"], &link);
        let needed = Command::new("readelf").arg("-d").arg(&program).output().unwrap();
        assert!(!String::from_utf8_lossy(&needed.stdout).contains("libshim"), "{needed:?}");
        place.check(place.command(program));
    });
}

// req-test: AP-8.1-01, AP-8.2-01, AP-8.3-01
#[test]
fn the_header_stands_alone_in_c_and_cpp() {
    Place::run(|place| {
        for (compiler, standard) in [("g++", "-std=c++17"), ("clang++", "-std=c++17")] {
            if has(compiler) {
                let program = place.compile(compiler, "tests/c/header.cpp", &[standard]);
                expect_success("header.cpp", &place.command(program).output().unwrap());
            }
        }
        let header = here().join("../include/shim.h");
        for compiler in ["gcc", "clang"].into_iter().filter(|c| has(c)) {
            let out = Command::new(compiler)
                .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"])
                .args(["-x", "c"])
                .arg(&header)
                .output()
                .unwrap();
            expect_success(compiler, &out);
        }
    });
}

#[test]
fn an_installed_library_is_found_by_pkg_config_and_works() {
    Place::run(|place| {
        let stage = place.dir.path().join("stage");
        let out = Command::new(here().join("install"))
            .args(["--prefix", "/usr"])
            .env("DESTDIR", &stage)
            .env("SHIM6_LIB_DIR", libraries())
            .output()
            .unwrap();
        expect_success("install", &out);
        if !has("pkg-config") || !has("gcc") {
            return;
        }
        let out = Command::new("pkg-config")
            .args(["--cflags", "--libs", "shim"])
            .env("PKG_CONFIG_PATH", stage.join("usr/lib/pkgconfig"))
            .env("PKG_CONFIG_SYSROOT_DIR", &stage)
            .output()
            .unwrap();
        expect_success("pkg-config", &out);
        let flags = String::from_utf8(out.stdout).unwrap();
        let program = place.dir.path().join("steer");
        let out = Command::new("gcc")
            .args(STRICT)
            .arg(here().join("examples/steer.c"))
            .args(flags.split_ascii_whitespace())
            .args(["-pthread", "-o"])
            .arg(&program)
            .output()
            .unwrap();
        expect_success("steer.c", &out);
        for page in ["usr/share/man/man3/shim.3", "usr/include/shim.h", "usr/lib/libshim.a"] {
            assert!(stage.join(page).exists(), "{page}");
        }
        for symbol in std::fs::read_to_string(here().join("libshim.symbols")).unwrap().lines() {
            let page = stage.join(format!("usr/share/man/man3/{symbol}.3"));
            let text = std::fs::read_to_string(&page).unwrap();
            let real =
                text.strip_prefix(".so ").map(|p| stage.join("usr/share/man").join(p.trim()));
            let real = std::fs::read_to_string(real.unwrap_or(page)).unwrap();
            assert!(real.contains(symbol), "{symbol}");
        }
        // What is installed finds its library itself; the linker complains about one that is not there.
        let script = std::fs::read_to_string(stage.join("usr/bin/shimrun")).unwrap();
        let script =
            script.replace("'/usr/lib'", &format!("'{}'", stage.join("usr/lib").display()));
        let moved = place.dir.path().join("shimrun");
        std::fs::write(&moved, script).unwrap();
        let out = Command::new("sh").arg(&moved).arg("true").output().unwrap();
        expect_success("shimrun true", &out);
        assert!(out.stderr.is_empty(), "{out:?}");

        let _stub = Stub::start(&place.socket());
        let with_library = |name: &Path| {
            let mut command = place.command(name);
            command.env("LD_LIBRARY_PATH", stage.join("usr/lib")).stdin(Stdio::null());
            command
        };
        let said = |out: Output| {
            expect_success("an example", &out);
            String::from_utf8(out.stdout).unwrap()
        };
        let mut python = with_library(&here().join("examples/shim_status.py"));
        let text = said(python.args([place.there, "9"]).output().unwrap());
        assert!(text.contains("knows Shim6: yes") && text.contains("ULIDs"), "{text}");
        let mut denied = with_library(&program);
        denied.args(["-u", "-l", place.here, "explore", place.there]);
        let text = said(denied.arg(stub::DENIED.to_string()).output().unwrap());
        assert!(text.contains("result 80") && text.contains("other users"), "{text}");
    });
}

#[test]
fn the_manual_pages_show_every_call_and_no_constant_that_is_not_there() {
    let read = |path: &str| std::fs::read_to_string(here().join(path)).unwrap();
    let page = read("../docs/man/shim.3") + &read("../docs/man/shim_setsockopt.3");
    for symbol in read("libshim.symbols").lines() {
        assert!(page.contains(&format!("{symbol}(")), "{symbol} is in no manual page");
    }
    // Constants that the documentation names exist.
    let header = read("../include/shim.h");
    for text in [page, read("../docs/libshim.md")] {
        let lines = text.lines().filter(|line| !line.starts_with(".TH"));
        let text = lines.collect::<Vec<_>>().join("\n");
        let words =
            text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        for word in words.filter(|w| w.starts_with("SHIM_") && !w.ends_with('_')) {
            let known = header.contains(&format!("#define {word} "));
            assert!(known || word == "SHIM_ERR", "{word}");
        }
    }
}
