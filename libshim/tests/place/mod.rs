//! Where C programs are compiled and run: a directory, two addresses, a daemon stub.

#![allow(clippy::unwrap_used, dead_code)]

use crate::stub::Stub;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What every C program is compiled with.
pub const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-g"];

/// The folder of the crate.
pub fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo has put libshim.so.
pub fn libraries() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// Whether a tool is there. One that is missing is named loudly, and is a failure if SHIM6_EXPECT_ALL=1.
pub fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|out| out.status.success());
    if !found {
        assert!(std::env::var_os("SHIM6_EXPECT_ALL").is_none(), "{tool} is missing");
        eprintln!("SKIPPED: no {tool} here");
    }
    found
}

/// A program has to end well; what it said otherwise.
pub fn expect_success(what: &str, out: &Output) {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let (stdout, stderr) = (text(&out.stdout), text(&out.stderr));
    assert!(out.status.success(), "{what}: {}\n{stdout}{stderr}", out.status);
}

/// A directory for programs and the socket, and the addresses to use.
pub struct Place {
    /// Everybody may enter it.
    pub dir: tempfile::TempDir,
    /// Our address.
    pub here: &'static str,
    /// The peer's, also of this host.
    pub there: &'static str,
    /// Pairs of addresses that the stub has a context for from the start.
    pub contexts: &'static [(&'static str, &'static str)],
}

impl Place {
    /// Runs a test in its place, in a thread whose network namespace is nobody else's.
    pub fn run(test: impl FnOnce(&mut Place) + Send + 'static) {
        let thread = std::thread::spawn(move || {
            let dir = tempfile::tempdir().unwrap();
            std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
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
            test(&mut Place { dir, here, there, contexts: &[] });
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }

    /// Where the daemon listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    /// Compiles a program against the header and the shared library.
    pub fn compile(&self, compiler: &str, source: &str, options: &[&str]) -> PathBuf {
        let libraries = format!("-L{}", libraries().display());
        let rpath = format!("-Wl,-rpath,{}", self.dir.path().display());
        let program =
            self.compile_alone(compiler, source, options, &[&libraries, &rpath, "-lshim"]);
        self.link("libshim.so", "libshim.so.0");
        program
    }

    /// Makes a library of the build known by a name in our directory: programs look for it by its soname.
    pub fn link(&self, library: &str, name: &str) {
        let name = self.dir.path().join(name);
        if !name.exists() {
            std::os::unix::fs::symlink(libraries().join(library), name).unwrap();
        }
    }

    /// Compiles a program against the header, and links it with what is given.
    pub fn compile_alone(
        &self,
        compiler: &str,
        source: &str,
        options: &[&str],
        link: &[&str],
    ) -> PathBuf {
        let name = source.rsplit('/').next().unwrap();
        let number = options.len() + 10 * link.len();
        let program = self.dir.path().join(format!("{name}-{compiler}-{number}"));
        let out = Command::new(compiler)
            .args(STRICT)
            .args(options)
            .arg(here().join(source))
            .arg(format!("-I{}", here().join("../include").display()))
            .args(link)
            .args(["-pthread", "-o"])
            .arg(&program)
            .output()
            .unwrap();
        expect_success(&format!("{compiler} {source}"), &out);
        program
    }

    /// A program that finds the daemon.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("SHIM6_SOCKET", self.socket()).env("RUST_BACKTRACE", "1");
        command.env("ASAN_OPTIONS", "detect_leaks=1");
        command
    }

    /// Runs a program with both addresses against a fresh stub.
    pub fn check(&self, mut command: Command) {
        let _stub = Stub::start_with(&self.socket(), self.contexts);
        let out = command.args([self.here, self.there]).output().unwrap();
        expect_success(&format!("{command:?}"), &out);
    }

    /// With both compilers, sanitizers and valgrind.
    pub fn check_everywhere(&self, source: &str) {
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
            command.arg(program).env("UNDER_VALGRIND", "1");
            self.check(command);
        }
    }
}
