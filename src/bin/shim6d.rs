//! The daemon's command line.

use clap::Parser;
use shim6::daemon::args::DaemonArgs;
use shim6::daemon::{logging, start};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = DaemonArgs::parse();
    // A configuration that cannot be read is complained about below, by the part that needs it.
    let level = start::load_config(&args).map_or(log::LevelFilter::Info, |c| c.log.level);
    logging::start(level);
    if args.check {
        return match start::check(&args) {
            Ok(found) => {
                found.iter().for_each(|line| println!("{line}"));
                ExitCode::SUCCESS
            }
            Err(e) => complain(&e),
        };
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("shim6d: {e}");
            return ExitCode::from(1);
        }
    };
    match runtime.block_on(start::run(args)) {
        Ok(()) => leave(0),
        Err(e) => {
            complain(&e);
            leave(e.exit_code())
        }
    }
}

/// Ends the process without the exit handlers of libraries: OpenSSL's frees what a thread that still makes a key (which
/// takes seconds and cannot be stopped) goes on using.
#[allow(unsafe_code)]
fn leave(code: u8) -> ! {
    log::logger().flush();
    // SAFETY: _exit takes any status, touches no memory of ours and does not return.
    unsafe { libc::_exit(code.into()) }
}

fn complain(e: &start::StartFailure) -> ExitCode {
    eprintln!("shim6d: {e}");
    ExitCode::from(e.exit_code())
}
