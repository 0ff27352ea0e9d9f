//! `shim6ctl replay`: a recorded run of the protocol engine, run again.

use super::{Exit, Failure, Output};
use crate::cga::SigningKey;
use crate::daemon::record::{Replayed, replay};
use std::fmt::Write;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Runs a recording and tells how it went.
pub fn run(output: &mut Output<'_>, file: &Path, key: Option<&Path>) -> Result<(), Failure> {
    let named = |path: &Path, e: &dyn std::fmt::Display| {
        Failure::failed(format!("{}: {e}", path.display()))
    };
    let key = match key {
        None => None,
        Some(path) => {
            let pem = std::fs::read(path).map_err(|e| named(path, &e))?;
            Some(SigningKey::from_pem(&pem).map_err(|e| named(path, &e))?)
        }
    };
    let recording = File::open(file).map_err(|e| named(file, &e))?;
    let done = replay(BufReader::new(recording), key.as_ref()).map_err(|e| named(file, &e))?;
    output.result(&done, text)?;
    match done.differences.is_empty() {
        true => Ok(()),
        false => Err(Failure::silent(Exit::Failed)),
    }
}

fn text(done: &Replayed) -> String {
    let mut text = String::new();
    for event in &done.events {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{event}");
    }
    for d in &done.differences {
        let _ = writeln!(text, "line {}: the engine does something else now", d.line);
        for (sign, list) in [('-', &d.missing), ('+', &d.unexpected)] {
            for o in list {
                let _ = writeln!(text, "  {sign} {o}");
            }
        }
    }
    let how = if done.differences.is_empty() { "as recorded" } else { "NOT as recorded" };
    let _ = writeln!(text, "{} steps, {} messages sent, {how}", done.steps, done.sent);
    text
}
