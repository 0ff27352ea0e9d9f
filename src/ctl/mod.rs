//! `shim6ctl`: everything an administrator does from the command line.
//!
//! [`args`] says what can be typed, one module per command does it, [`Failure`] carries the exit code. All output
//! goes through [`Output`], so that every command speaks JSON as well as tables.

pub mod args;
mod contexts;
pub mod doctor;
mod failure;
mod generate;
mod identity;
mod monitor;
mod overview;
mod peer;
mod policy;
mod replay;
mod rules;
mod table;
#[cfg(test)]
mod tests;
mod top;

pub use failure::{Exit, Failure};

use crate::control::api::{Request, Response};
use crate::control::client::{Client, socket_path};
use args::{Cli, Command};
use serde::Serialize;
use std::io::{self, Write};
use std::time::Duration;

/// Runs one command and gives the exit code.
pub fn run(cli: &Cli) -> Exit {
    let mut stdout = io::stdout().lock();
    let mut output = Output { to: &mut stdout, json: cli.json };
    let result = dispatch(cli, &mut output).and_then(|()| output.to.flush().map_err(Failure::from));
    match result {
        Ok(()) => Exit::Done,
        // Whoever reads has seen enough: `shim6ctl context list | head`.
        Err(failure) if failure.is_broken_pipe() => Exit::Done,
        Err(failure) => {
            if cli.json && failure.say {
                let error = serde_json::json!({ "error": failure.as_json() });
                // Standard output may be what has failed; standard error still tells.
                let _ = writeln!(stdout, "{error}");
            }
            if failure.say {
                eprintln!("shim6ctl: {}", failure.message);
                if let Some(remedy) = &failure.remedy {
                    eprintln!("  {remedy}");
                }
            }
            failure.exit
        }
    }
}

fn dispatch(cli: &Cli, output: &mut Output<'_>) -> Result<(), Failure> {
    match &cli.command {
        Command::Status => overview::status(&mut Session::open(cli)?, output),
        Command::Stats { prometheus } => {
            overview::stats(&mut Session::open(cli)?, output, *prometheus)
        }
        Command::Policy(options) => policy::run(&mut Session::open(cli)?, output, options),
        Command::Peer(command) => peer::run(&mut Session::open(cli)?, output, command),
        Command::Top(options) => top::run(&mut Session::open(cli)?, output, options),
        Command::Completions { shell } => generate::completions(output, *shell),
        Command::Reload => overview::reload(&mut Session::open(cli)?, output),
        Command::Context(command) => contexts::run(&mut Session::open(cli)?, output, command),
        Command::Locator(command) => contexts::locators(&mut Session::open(cli)?, output, command),
        Command::Path(command) => contexts::paths(&mut Session::open(cli)?, output, command),
        Command::Monitor(options) => monitor::run(&mut Session::open(cli)?, output, options),
        Command::Doctor(options) => doctor::run(cli, output, options),
        Command::Rules(options) => rules::run(cli, output, options),
        Command::Identity(command) => identity::run(output, command),
        Command::Replay { file, key } => replay::run(output, file, key.as_deref()),
        Command::Generate(what) => generate::run(output, what),
    }
}

/// A connection to the daemon.
pub struct Session {
    client: Client,
}

impl Session {
    fn open(cli: &Cli) -> Result<Session, Failure> {
        let path = socket_path(cli.socket.as_deref());
        let timeout = Duration::from_secs_f64(cli.timeout);
        Ok(Session { client: Client::connect(&path, timeout)? })
    }

    fn call(&mut self, request: Request) -> Result<Response, Failure> {
        Ok(self.client.call(request)?)
    }
}

/// Where results go, and in which form.
pub struct Output<'a> {
    to: &'a mut dyn Write,
    json: bool,
}

impl Output<'_> {
    /// Writes a result: as JSON if that was asked for, else as `text` says.
    fn result<T: Serialize>(
        &mut self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.json { self.json(value) } else { self.text(&text(value)) }
    }

    fn json<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        Ok(writeln!(self.to, "{text}")?)
    }

    fn text(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.to.write_all(text.as_bytes())?)
    }
}
