//! C, C++ and Python programs against libshim and a daemon stub: gcc and clang, with sanitizers and valgrind.
//!
//! As root they run in a network namespace of their own, with addresses from 2001:db8::/32 on its loopback interface; else
//! on the host's loopback. A tool that is missing is named loudly and is a failure if SHIM6_EXPECT_ALL=1.

#![allow(clippy::unwrap_used)]

mod stub;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use stub::Stub;

const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-g"];

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo has put libshim.so.
fn libraries() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|out| out.status.success());
    if !found {
        assert!(std::env::var_os("SHIM6_EXPECT_ALL").is_none(), "{tool} is missing");
        eprintln!("SKIPPED: no {tool} here");
    }
    found
}

fn expect_success(what: &str, out: &Output) {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let (stdout, stderr) = (text(&out.stdout), text(&out.stderr));
    assert!(out.status.success(), "{what}: {}\n{stdout}{stderr}", out.status);
}

/// A directory for programs and the socket, and the addresses to use.
struct Place {
    dir: tempfile::TempDir,
    here: &'static str,
    there: &'static str,
}

impl Place {
    /// Runs a test in its place, in a thread whose network namespace is nobody else's.
    fn run(test: impl FnOnce(&Place) + Send + 'static) {
        let thread = std::thread::spawn(move || {
            let dir = tempfile::tempdir().unwrap();
            let (mut here, mut there) = ("::1", "::1");
            if nix::unistd::geteuid().is_root() {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                let script = "ip link set lo up
                    ip address add 2001:db8:1::a/128 dev lo nodad
                    ip address add 2001:db8:1::b/128 dev lo nodad";
                let out = Command::new("sh").args(["-ec", script]).output().unwrap();
                expect_success("addresses", &out);
                (here, there) = ("2001:db8:1::a", "2001:db8:1::b");
            }
            test(&Place { dir, here, there });
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    /// Compiles a program against the header and the shared library.
    fn compile(&self, compiler: &str, source: &str, options: &[&str]) -> PathBuf {
        let name = source.rsplit('/').next().unwrap();
        let program = self.dir.path().join(format!("{name}-{compiler}-{}", options.len()));
        let out = Command::new(compiler)
            .args(STRICT)
            .args(options)
            .arg(here().join(source))
            .arg(format!("-I{}", here().join("../include").display()))
            .arg(format!("-L{}", libraries().display()))
            .arg(format!("-Wl,-rpath,{}", self.dir.path().display()))
            .args(["-lshim", "-pthread", "-o"])
            .arg(&program)
            .output()
            .unwrap();
        expect_success(&format!("{compiler} {source}"), &out);
        // Programs look for the library by its soname.
        let soname = self.dir.path().join("libshim.so.0");
        if !soname.exists() {
            std::os::unix::fs::symlink(libraries().join("libshim.so"), soname).unwrap();
        }
        program
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("SHIM6_SOCKET", self.socket()).env("RUST_BACKTRACE", "1");
        command.env("ASAN_OPTIONS", "detect_leaks=1");
        command
    }

    /// Runs a program with both addresses against a fresh stub.
    fn check(&self, mut command: Command) {
        let _stub = Stub::start(&self.socket());
        let out = command.args([self.here, self.there]).output().unwrap();
        expect_success(&format!("{command:?}"), &out);
    }

    /// With both compilers, sanitizers and valgrind.
    fn check_everywhere(&self, source: &str) {
        for compiler in ["gcc", "clang"].into_iter().filter(|c| has(c)) {
            let plain = self.compile(compiler, source, &["-std=gnu11"]);
            self.check(self.command(plain));
        }
        if has("gcc") {
            let sanitized =
                ["-std=gnu11", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"];
            let program = self.compile("gcc", source, &sanitized);
            self.check(self.command(program));
        }
        if has("valgrind") && has("gcc") {
            let program = self.compile("gcc", source, &["-std=gnu11"]);
            let mut command = self.command("valgrind");
            command.args(["--quiet", "--error-exitcode=9", "--leak-check=full"]);
            command.args(["--errors-for-leak-kinds=definite", "--child-silent-after-fork=yes"]);
            command.arg(program);
            self.check(command);
        }
    }
}

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
fn threads_children_many_sockets_and_restarts() {
    Place::run(|place| {
        for options in [&["-std=gnu11"][..], &["-std=gnu11", "-fsanitize=address"]] {
            let program = place.compile("gcc", "tests/c/sharing.c", options);
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
            expect_success("sharing", &out);
        }
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
fn the_manual_page_shows_every_call_as_the_header_declares_it() {
    let read = |path: &str| std::fs::read_to_string(here().join(path)).unwrap();
    let page = read("../docs/man/shim.3");
    for symbol in read("libshim.symbols").lines() {
        assert!(page.contains(&format!("{symbol}(")), "{symbol} is not in shim(3)");
    }
    // Constants that the documentation names exist.
    let header = read("../include/shim.h");
    for text in [page, read("../docs/libshim.md")] {
        let words =
            text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        for word in words.filter(|w| w.starts_with("SHIM_") && !w.ends_with('_')) {
            let known = header.contains(&format!("#define {word} "));
            assert!(known || word == "SHIM_ERR", "{word}");
        }
    }
}
