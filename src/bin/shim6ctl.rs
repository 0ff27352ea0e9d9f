//! The command line.

use clap::Parser;
use shim6::ctl::{self, args::Cli};
use std::process::ExitCode;

fn main() -> ExitCode {
    ctl::run(&Cli::parse()).into()
}
