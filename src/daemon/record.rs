//! Recording of a run, and running it again: every input of the engine with its time and the randomness it drew, and what
//! the engine wanted done.
//!
//! A file of JSON lines, as described in `docs/recording.md`. The first line is the start with the configuration, each
//! further one a [`Step`]. The engine is deterministic, so the same steps give the same effects; where they do not, the
//! engine has changed or the file is damaged.
//!
//! A recording holds secrets of its time: nonces, context tags, and the validator's secret, which the engine drew. No
//! private key is in it. Files are made with mode 0600 and never over an existing one.

use crate::addr::Prefix;
use crate::cga::{Identity, SigningKey};
use crate::proto::{Activity, Config, Cx, DropReason, Engine, Input, Output, SavedContext, Time};
use rand::RngCore;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// Counts up when the form of the file changes.
pub const VERSION: u32 = 1;
/// A recording ends, loudly, before it gets larger.
pub const MAX_OCTETS: u64 = 64 << 20;
/// Longest line that is read.
const MAX_LINE: usize = 1 << 22;
/// Differences that are kept; what follows the first one seldom means anything.
const MAX_DIFFERENCES: usize = 20;

/// One thing that happened to the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The engine was made.
    Start {
        /// Form of the file.
        version: u32,
        /// The whole configuration.
        config: String,
    },
    /// An input.
    Input(Input),
    /// New settings.
    Config(String),
    /// The identities are these now.
    Identities(Vec<PublicIdentity>),
    /// A context came out of the journal: its octets in hexadecimal.
    Restore(String),
    /// Something that this version does not record in a form that can be run again.
    Other,
}

/// An identity without its private key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublicIdentity {
    /// The CGA Parameters data structure in hexadecimal.
    pub pds: String,
    /// The prefixes in use.
    pub prefixes: Vec<Prefix>,
    /// The security parameter.
    pub sec: u8,
}

impl From<&Identity> for PublicIdentity {
    fn from(id: &Identity) -> PublicIdentity {
        PublicIdentity {
            pds: hex(id.pds().as_bytes()),
            prefixes: id.prefixes().to_vec(),
            sec: id.sec().value(),
        }
    }
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    /// When it happened.
    at: Time,
    /// What happened.
    step: Step,
    /// What was drawn from the random generator, in hexadecimal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    drawn: String,
    /// What the engine wanted done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    out: Vec<String>,
}

/// An effect as a line of text.
fn told(output: &Output) -> String {
    match output {
        Output::Transmit(t) => format!("send {} {} {}", t.src, t.dst, hex(&t.message)),
        Output::Forward(change) => format!("map {change:?}"),
        Output::Event(event) => format!("event {event:?}"),
        Output::Drop(DropReason(name)) => format!("drop {name}"),
        Output::Count(name) => format!("count {name}"),
    }
}

/// Octets in hexadecimal.
pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, o| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{o:02x}");
        text
    })
}

fn octets(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) {
        return None;
    }
    (0..hex.len() / 2).map(|i| u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()).collect()
}

/// Whether a difference in this effect is one: messages and events are what others see. The rest is there to be read.
fn counts(told: &str) -> bool {
    told.starts_with("send ") || told.starts_with("event ")
}

/// Passes randomness through, and notes it.
struct Tap<'a> {
    inner: &'a mut dyn RngCore,
    drawn: Vec<u8>,
}

impl RngCore for Tap<'_> {
    fn next_u32(&mut self) -> u32 {
        let n = self.inner.next_u32();
        self.drawn.extend(n.to_be_bytes());
        n
    }

    fn next_u64(&mut self) -> u64 {
        let n = self.inner.next_u64();
        self.drawn.extend(n.to_be_bytes());
        n
    }

    fn fill_bytes(&mut self, dst: &mut [u8]) {
        self.inner.fill_bytes(dst);
        self.drawn.extend_from_slice(dst);
    }
}

/// Gives the noted randomness again.
#[derive(Default)]
struct Given {
    octets: Vec<u8>,
    at: usize,
    /// More was wanted than was noted.
    short: bool,
}

impl RngCore for Given {
    fn next_u32(&mut self) -> u32 {
        let mut n = [0; 4];
        self.fill_bytes(&mut n);
        u32::from_be_bytes(n)
    }

    fn next_u64(&mut self) -> u64 {
        let mut n = [0; 8];
        self.fill_bytes(&mut n);
        u64::from_be_bytes(n)
    }

    fn fill_bytes(&mut self, dst: &mut [u8]) {
        match self.octets.get(self.at..self.at + dst.len()) {
            Some(noted) => {
                dst.copy_from_slice(noted);
                self.at += dst.len();
            }
            None => {
                self.short = true;
                self.at = self.octets.len();
                // Not all the same, or whoever draws until something is free would never end.
                for (i, o) in dst.iter_mut().enumerate() {
                    *o = (i as u8).wrapping_mul(151) ^ self.at as u8;
                }
                self.octets.extend_from_slice(&[0; 1]);
            }
        }
    }
}

/// Writes a recording.
#[derive(Debug)]
pub struct Recorder {
    file: Option<File>,
    written: u64,
    limit: u64,
    next: Option<Step>,
    trouble: Option<String>,
}

impl Recorder {
    /// A recording in a new file of at most so many octets.
    ///
    /// # Errors
    /// If the file exists already, or cannot be made.
    pub fn create(path: &Path, limit: u64) -> io::Result<Recorder> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Recorder { file: Some(file), written: 0, limit, next: None, trouble: None })
    }

    /// Says what the next [`Recorder::run`] is about.
    pub fn say(&mut self, step: Step) {
        self.next = Some(step);
    }

    /// Lets `f` do something with the engine, and records it.
    pub fn run<R>(
        &mut self,
        now: Time,
        rng: &mut dyn RngCore,
        out: &mut VecDeque<Output>,
        f: impl FnOnce(&mut Cx<'_>) -> R,
    ) -> R {
        let step = self.next.take().unwrap_or(Step::Other);
        let before = out.len();
        let mut tap = Tap { inner: rng, drawn: Vec::new() };
        let result = f(&mut Cx { now, rng: &mut tap, out });
        let drawn = hex(&tap.drawn);
        let out = out.iter().skip(before).map(told).collect();
        self.write(&Line { at: now, step, drawn, out });
        result
    }

    /// Why the recording has ended, once.
    pub fn trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }

    fn write(&mut self, line: &Line) {
        let Some(file) = &mut self.file else { return };
        let done = serde_json::to_string(line).map_err(io::Error::from).and_then(|mut text| {
            text.push('\n');
            if self.written + text.len() as u64 > self.limit {
                return Err(io::Error::other(format!("it reached {} octets", self.written)));
            }
            self.written += text.len() as u64;
            file.write_all(text.as_bytes())
        });
        if let Err(e) = done {
            self.file = None;
            self.trouble = Some(format!("the recording has ended: {e}"));
        }
    }
}

/// Why a recording cannot be run again.
#[derive(Debug)]
pub enum ReplayError {
    /// It cannot be read.
    Io(io::Error),
    /// A line (counted from 1) is not as it should be.
    Line(usize, String),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplayError::Io(e) => e.fmt(f),
            ReplayError::Line(n, why) => write!(f, "line {n}: {why}"),
        }
    }
}

impl std::error::Error for ReplayError {}

/// Where the engine did something else than in the recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Line of the file, from 1.
    pub line: usize,
    /// What was recorded, and is missing now.
    pub missing: Vec<String>,
    /// What is new.
    pub unexpected: Vec<String>,
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// Steps that were run.
    pub steps: usize,
    /// Messages that were sent.
    pub sent: usize,
    /// Events of the recording, in its own words.
    pub events: Vec<String>,
    /// The first differences; none if the engine did the same.
    pub differences: Vec<Difference>,
}

/// Runs a recording again. `key` is the private key of its identities, without which nothing can be signed.
///
/// # Errors
/// If the file is not a recording of this form; differences are no errors.
pub fn replay(from: impl BufRead, key: Option<&SigningKey>) -> Result<Replayed, ReplayError> {
    let mut engine = None;
    let mut done = Replayed::default();
    for (index, text) in from.lines().enumerate() {
        let number = index + 1;
        let wrong = |why: &str| ReplayError::Line(number, why.to_owned());
        let text = text.map_err(ReplayError::Io)?;
        if text.len() > MAX_LINE {
            return Err(wrong("too long"));
        }
        let line: Line =
            serde_json::from_str(&text).map_err(|e| ReplayError::Line(number, e.to_string()))?;
        let drawn = octets(&line.drawn).ok_or_else(|| wrong("not hexadecimal"))?;
        let mut rng = Given { octets: drawn, ..Given::default() };
        let mut out = VecDeque::new();
        let mut cx = Cx { now: line.at, rng: &mut rng, out: &mut out };
        match (&line.step, &mut engine) {
            (Step::Start { version: VERSION, config }, None) => {
                let config = settings(config).map_err(|e| ReplayError::Line(number, e))?;
                engine = Some(Engine::new(config, line.at, cx.rng));
            }
            (Step::Start { version, .. }, _) => {
                return Err(wrong(&format!("a start in form {version}")));
            }
            (_, None) => return Err(wrong("a recording begins with its start")),
            (step, Some(engine)) => {
                run_again(engine, &mut cx, step, key).map_err(|e| ReplayError::Line(number, e))?;
            }
        }
        done.steps += 1;
        let now: Vec<String> = out.iter().map(told).filter(|o| counts(o)).collect();
        let then: Vec<String> = line.out.into_iter().filter(|o| counts(o)).collect();
        done.sent += now.iter().filter(|o| o.starts_with("send ")).count();
        let events = then.iter().filter_map(|o| o.strip_prefix("event "));
        done.events.extend(events.map(str::to_owned));
        if (now != then || rng.short) && done.differences.len() < MAX_DIFFERENCES {
            let lacks = |a: &[String], b: &[String]| -> Vec<String> {
                a.iter().filter(|o| !b.contains(o)).cloned().collect()
            };
            done.differences.push(Difference {
                line: number,
                missing: lacks(&then, &now),
                unexpected: lacks(&now, &then),
            });
        }
    }
    match engine {
        Some(_) => Ok(done),
        None => Err(ReplayError::Line(1, "empty".to_owned())),
    }
}

fn settings(text: &str) -> Result<Config, String> {
    super::config::Config::parse(text).map(|c| c.engine).map_err(|e| e.to_string())
}

fn run_again(
    engine: &mut Engine,
    cx: &mut Cx<'_>,
    step: &Step,
    key: Option<&SigningKey>,
) -> Result<(), String> {
    match step {
        Step::Input(Input::Activity(id, activity)) => {
            // The driver was asked for it.
            engine.due_activity(cx.now);
            let activity: Activity = *activity;
            engine.handle_activity(cx, *id, activity);
        }
        Step::Input(input) => engine.handle(cx, input.clone()),
        Step::Config(text) => engine.set_config(cx, settings(text)?),
        Step::Identities(list) => {
            let made = list.iter().map(|id| {
                let pds = octets(&id.pds).ok_or("not hexadecimal")?;
                let sec = crate::cga::Sec::new(id.sec);
                Identity::from_parts(&pds, key.cloned(), &id.prefixes, sec)
                    .map(Arc::new)
                    .map_err(|e| e.to_string())
            });
            engine.set_identities(cx, made.collect::<Result<_, String>>()?);
        }
        Step::Restore(text) => {
            let saved = octets(text).and_then(|o| SavedContext::from_bytes(&o).ok());
            let saved = saved.ok_or("not a saved context")?;
            // That it could not be restored is part of the run.
            let _ = engine.restore_context(cx, saved);
        }
        Step::Start { .. } => return Err("a second start".to_owned()),
        Step::Other => return Err("a step that cannot be run again".to_owned()),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
