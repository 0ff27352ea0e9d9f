//! What a key of the file is: its name, the values it takes, where they go, what it means.

use super::Config;
use std::fmt;
use std::time::Duration;

pub use super::table::SECTIONS;

/// An upper bound that means none.
pub const NO_LIMIT: f64 = 1e9;

/// A section of the file.
#[derive(Debug)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// What its keys are about.
    pub about: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// All keys, section by section.
pub fn keys() -> impl Iterator<Item = &'static Key> + Clone {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// One key of the file.
#[derive(Debug)]
pub struct Key {
    /// The section it stands in.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it takes, and where that goes.
    pub kind: Kind,
    /// Its value as TOML.
    pub get: fn(&Config) -> String,
    /// Lowest and highest value that need no warning, and who says so.
    pub recommended: Option<(f64, f64, &'static str)>,
    /// Whether a change takes effect only when the daemon is started again.
    pub restart: bool,
    /// What it means, in sentences.
    pub about: &'static str,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.section, self.name)
    }
}

/// What a key takes, and the function that puts a checked value in its place.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Seconds, with a fraction unless `whole`.
    Seconds { min: f64, max: f64, whole: bool, set: fn(&mut Config, Duration) },
    /// A whole number.
    Number { min: u64, max: u64, set: fn(&mut Config, u64) },
    /// A number.
    Fraction { min: f64, max: f64, set: fn(&mut Config, f64) },
    /// true or false.
    Flag { set: fn(&mut Config, bool) },
    /// One of these words.
    Choice { words: &'static [&'static str], set: fn(&mut Config, &str) },
    /// Any text that `set` accepts.
    Text { set: fn(&mut Config, &str) -> Result<(), String> },
    /// A list of texts.
    Texts { set: fn(&mut Config, &[&str]) -> Result<(), String> },
    /// A list of inline tables with these columns.
    Tables {
        columns: &'static [&'static str],
        set: fn(&mut Config, &[Vec<&str>]) -> Result<(), String>,
    },
}
