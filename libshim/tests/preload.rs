//! Programs under shimrun: those that use RFC 6316 by the C library's own calls, and those that have nothing to do with it.

#![allow(clippy::unwrap_used)]

mod place;
mod stub;

use place::{Place, expect_success, has, here};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use stub::Stub;

const CONTEXTS: &[(&str, &str)] = &[("2001:db8:1::a", "2001:db8:1::b")];

/// A program under shimrun.
fn shimrun(place: &Place, program: impl AsRef<Path>) -> Command {
    place.link("libshim.so", "libshim.so.0");
    place.link("libshim_preload.so", "libshim_preload.so");
    let mut command = place.command(here().join("shimrun"));
    command.env("SHIM6_LIB_DIR", place.dir.path()).arg(program.as_ref());
    command
}

fn text(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A place as root, with two addresses.
fn run(test: impl FnOnce(&mut Place) + Send + 'static) {
    Place::run(|place| {
        if place.here == place.there || !has("gcc") {
            eprintln!("SKIPPED: needs root and a C compiler");
            return;
        }
        place.contexts = CONTEXTS;
        test(place);
    });
}

// req-test: AP-6-01, AP-6-03, AP-7-01
#[test]
fn an_unmodified_program_of_rfc_6316_works() {
    run(|place| {
        let options = ["-std=gnu11", "-DUNMODIFIED"];
        let program = place.compile_alone("gcc", "tests/c/ancillary.c", &options, &[]);
        place.check(shimrun(place, &program));
        if has("valgrind") {
            let mut command = shimrun(place, "valgrind");
            command.args(["--quiet", "--error-exitcode=9", "--child-silent-after-fork=yes"]);
            command.arg(&program).env("UNDER_VALGRIND", "1");
            place.check(command);
        }
        // Without shimrun, and without a daemon, the level is as unknown as ever.
        let _stub = Stub::start_with(&place.socket(), CONTEXTS);
        let mut alone = place.command(&program);
        let out = alone.args([place.here, place.there]).output().unwrap();
        assert!(!out.status.success(), "{out:?}");
    });
}

#[test]
fn a_program_that_knows_nothing_of_the_shim_sees_no_difference() {
    run(|place| {
        let program = place.compile_alone("gcc", "tests/c/ordinary.c", &["-std=gnu11"], &["-ldl"]);
        let shared = ["-shared", "-fPIC"];
        let plugin = place.compile_alone("gcc", "tests/c/plugin.c", &shared, &[]);
        let with = |mut command: Command, wanted: i32| {
            command.arg(wanted.to_string()).arg(&plugin).args([place.here, place.there]);
            let out = command.output().unwrap();
            expect_success(&format!("{command:?}"), &out);
            assert_eq!(text(&out), "done\n");
        };
        // The plugin is told that there is no such option, unless the library and a daemon are there.
        with(place.command(&program), -libc::ENOPROTOOPT);
        with(shimrun(place, &program), -libc::ENOPROTOOPT);
        let _stub = Stub::start_with(&place.socket(), CONTEXTS);
        with(shimrun(place, &program), 1);
    });
}

/// What a server and a client in one process say, and which libraries they have loaded.
const WEB: &str = "
import http.server, threading, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'octets' * 50000)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = 'http://127.0.0.1:%d/' % server.server_port
print([len(urllib.request.urlopen(url).read()) for _ in range(5)])
maps = open('/proc/self/maps').read()
print('preloaded' if 'libshim_preload.so' in maps else 'alone', 'libshim.so' in maps)
";

#[test]
fn ordinary_programs_are_left_alone_and_load_no_more_than_the_wrappers() {
    run(|place| {
        let plain = |program: &str, args: &[&str]| {
            text(&Command::new(program).args(args).output().unwrap())
        };
        let under = |program: &str, args: &[&str]| {
            let out = shimrun(place, program).args(args).output().unwrap();
            expect_success(program, &out);
            assert!(out.stderr.is_empty(), "{out:?}");
            text(&out)
        };
        for (program, args) in [("ls", &["/", "/etc"][..]), ("uname", &["-a"]), ("id", &[])] {
            assert_eq!(under(program, args), plain(program, args), "{program}");
        }
        if has("python3") {
            let fetched = "[300000, 300000, 300000, 300000, 300000]\n";
            assert_eq!(plain("python3", &["-c", WEB]), format!("{fetched}alone False\n"));
            assert_eq!(under("python3", &["-c", WEB]), format!("{fetched}preloaded False\n"));
        }
    });
}

#[test]
fn programs_with_more_power_than_their_caller_do_not_load_it() {
    run(|place| {
        let program: PathBuf = place.dir.path().join("grep");
        std::fs::copy("/bin/grep", &program).unwrap();
        std::os::unix::fs::chown(&program, Some(65534), Some(65534)).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o4755)).unwrap();
        let loaded = |user: &str| {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--clear-groups"]);
            // What cargo has built may be where that user cannot look.
            std::fs::remove_file(place.dir.path().join("libshim_preload.so")).ok();
            let library = place::libraries().join("libshim_preload.so");
            std::fs::copy(library, place.dir.path().join("libshim_preload.so")).unwrap();
            let script = place.dir.path().join("shimrun");
            std::fs::copy(here().join("shimrun"), &script).unwrap();
            command.arg(script).arg(&program).args(["-c", "libshim_preload", "/proc/self/maps"]);
            command.env("SHIM6_LIB_DIR", place.dir.path());
            text(&command.output().unwrap())
        };
        assert_ne!(loaded("65534"), "0\n", "who runs it as himself gets the library");
        assert_eq!(loaded("64101"), "0\n");
    });
}

#[test]
fn shimrun_says_what_is_wrong() {
    let code = |args: &[&str], libraries: &str| {
        let mut command = Command::new(here().join("shimrun"));
        let out = command.args(args).env("SHIM6_LIB_DIR", libraries).output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    assert_eq!(code(&["--help"], "/").0, Some(0));
    assert_eq!(code(&[], "/").0, Some(2));
    assert_eq!(code(&["--socket"], "/").0, Some(2));
    assert_eq!(code(&["--sockte", "x"], "/").0, Some(2));
    let (status, error) = code(&["ls"], "/nonexistent");
    assert_eq!(status, Some(2));
    assert!(error.contains("/nonexistent/libshim_preload.so"), "{error}");
}
