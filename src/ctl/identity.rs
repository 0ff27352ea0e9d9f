//! `shim6ctl identity …`: the stored identity, without the daemon.

use super::args::IdentityCommand;
use super::{Exit, Failure, Output};
use crate::cga::{GenerateError, GenerateParams, Identity, Sec};
use crate::daemon::identity::{
    IdentityError, VerifyReport, describe, export, generate, import, load, verify,
};
use crate::daemon::{clock, entropy};
use serde_json::json;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

impl From<IdentityError> for Failure {
    fn from(e: IdentityError) -> Failure {
        let denied = |e: &io::Error| e.kind() == io::ErrorKind::PermissionDenied;
        let (exit, code) = match &e {
            IdentityError::Read(_, source) | IdentityError::Write(_, source) if denied(source) => {
                (Exit::Lacking, "permission_denied")
            }
            IdentityError::None(_) => (Exit::Failed, "not_found"),
            IdentityError::Exists(_) => (Exit::Failed, "exists"),
            IdentityError::Generate(
                GenerateError::NoPrefix
                | GenerateError::TooManyPrefixes(_)
                | GenerateError::DuplicatePrefix(_)
                | GenerateError::UnexpectedKey,
            ) => (Exit::Usage, "usage"),
            _ => (Exit::Failed, "identity"),
        };
        Failure::new(exit, code, e)
    }
}

pub(super) fn run(output: &mut Output<'_>, command: &IdentityCommand) -> Result<(), Failure> {
    match command {
        IdentityCommand::Generate { prefixes, method, sec, key_bits, state_dir, force } => {
            keep(state_dir, *force)?;
            let params = GenerateParams {
                sec: Sec::new(*sec).ok_or_else(|| Failure::usage("--sec is 0, 1 or 2"))?,
                key_bits: *key_bits,
                ..GenerateParams::new(*method, prefixes.clone())
            };
            let mut meter = Meter::new();
            let made = generate(
                state_dir,
                params,
                &mut entropy::rng(),
                &AtomicBool::new(false),
                &mut |line| meter.show(line),
            );
            meter.end();
            show(output, &made?)
        }
        IdentityCommand::Show { state_dir } => show(output, &stored(state_dir)?),
        IdentityCommand::Verify { state_dir, pds, addresses } => {
            let (file, all) = match pds {
                Some(file) => (file.clone(), addresses.clone()),
                None => {
                    let identity = stored(state_dir)?;
                    let all = match addresses.as_slice() {
                        [] => identity.members().to_vec(),
                        some => some.to_vec(),
                    };
                    (state_dir.join("identity/pds"), all)
                }
            };
            let reports: Result<Vec<VerifyReport>, IdentityError> =
                all.into_iter().map(|address| verify(&file, address)).collect();
            let reports = reports?;
            output.result(&json!({ "addresses": reports }), |_| {
                reports.iter().map(ToString::to_string).collect()
            })?;
            match reports.iter().all(|report| report.bound) {
                true => Ok(()),
                false => Err(Failure::silent(Exit::Failed)),
            }
        }
        IdentityCommand::Import { pds, key, prefixes, state_dir, force } => {
            keep(state_dir, *force)?;
            show(output, &import(state_dir, pds, key.as_deref(), prefixes)?)
        }
        IdentityCommand::Export { pds, key, state_dir } => {
            export(state_dir, pds, key.as_deref())?;
            output.result(&json!({ "pds": pds, "key": key }), |_| {
                let mut text = format!("parameters written to {}\n", pds.display());
                if let Some(key) = key {
                    text +=
                        &format!("private key written to {}: keep it to yourself\n", key.display());
                }
                text
            })
        }
    }
}

fn show(output: &mut Output<'_>, identity: &Identity) -> Result<(), Failure> {
    output.result(&describe(identity), ToString::to_string)
}

fn stored(state_dir: &Path) -> Result<Identity, Failure> {
    load(state_dir)?.ok_or_else(|| Failure::from(IdentityError::None(state_dir.to_owned())))
}

/// An identity that is there is not replaced by accident: peers know the host by it.
fn keep(state_dir: &Path, force: bool) -> Result<(), Failure> {
    // One that cannot be read counts as being there.
    if force || matches!(load(state_dir), Ok(None)) {
        return Ok(());
    }
    let text = format!("there is an identity in {}", state_dir.display());
    Err(Failure::new(Exit::Failed, "exists", text)
        .remedy("--force replaces it (the old one is kept beside it); all addresses change"))
}

/// Progress on standard error: one line that changes, or now and then a line if nobody watches.
struct Meter {
    terminal: bool,
    next: Option<crate::proto::Time>,
    shown: usize,
}

impl Meter {
    fn new() -> Meter {
        Meter { terminal: io::stderr().is_terminal(), next: None, shown: 0 }
    }

    fn show(&mut self, line: &str) {
        let now = clock::now();
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        if self.terminal {
            self.next = Some(now + Duration::from_millis(100));
            let width = self.shown;
            eprint!("\r{line:<width$}");
            self.shown = line.chars().count();
            // Progress that cannot be shown is no reason to stop.
            let _ = io::stderr().flush();
        } else {
            self.next = Some(now + Duration::from_secs(10));
            eprintln!("{line}");
        }
    }

    fn end(&mut self) {
        if self.terminal && self.shown > 0 {
            eprintln!();
        }
    }
}
