//! From TOML to [`Config`], with every problem named by line, and by the remedy where one can be guessed.

use super::Config;
use super::keys::{Key, Kind, SECTIONS, keys};
use crate::control::nearest::nearest;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// All that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, if it was one.
    pub path: Option<PathBuf>,
    /// At least one.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, counted from 1.
    pub line: Option<usize>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Problem {
    pub(super) fn new(line: Option<usize>, message: impl Into<String>) -> Problem {
        Problem { line, message: message.into() }
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> ConfigError {
        ConfigError { path: None, problems: vec![problem] }
    }
}

impl ConfigError {
    pub(super) fn in_file(self, path: &Path) -> ConfigError {
        ConfigError { path: Some(path.to_owned()), ..self }
    }
}

impl fmt::Display for ConfigError {
    /// One problem a line, as compilers do: `file:line: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            match &self.path {
                Some(path) => write!(f, "{}:", path.display())?,
                None => f.write_str("configuration:")?,
            }
            if let Some(line) = problem.line {
                write!(f, "{line}:")?;
            }
            write!(f, " {}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Reads a whole file and goes on after a problem, so that all of them are reported at once.
pub(super) fn parse(text: &str) -> Result<Config, ConfigError> {
    let line = |span: Range<usize>| {
        let before = text.as_bytes().get(..span.start).unwrap_or_default();
        Some(1 + before.iter().filter(|&&octet| octet == b'\n').count())
    };
    let root = DeTable::parse(text).map_err(|e| {
        let at = e.span().and_then(line);
        Problem::new(at, e.message().to_owned())
    })?;
    let mut config = Config::default();
    let mut problems = Vec::new();
    for (name, value) in root.get_ref() {
        let at = line(name.span());
        let section = name.get_ref().as_ref();
        match value.get_ref() {
            DeValue::Table(table) if SECTIONS.iter().any(|known| known.name == section) => {
                for (name, value) in table {
                    match find(section, name.get_ref()) {
                        Ok(key) => {
                            if let Err(message) = set(&mut config, key, value) {
                                let at = line(value.span());
                                problems.push(Problem::new(at, format!("{key}: {message}")));
                            }
                        }
                        Err(message) => problems.push(Problem::new(line(name.span()), message)),
                    }
                }
            }
            _ => problems.push(Problem::new(at, unknown_section(section))),
        }
    }
    if problems.is_empty() {
        problems.extend(contradictions(&config).into_iter().map(|m| Problem::new(None, m)));
    }
    if !problems.is_empty() {
        return Err(ConfigError { path: None, problems });
    }
    warn(&mut config);
    Ok(config)
}

fn find(section: &str, name: &str) -> Result<&'static Key, String> {
    let mut here = keys().filter(|key| key.section == section);
    if let Some(key) = here.clone().find(|key| key.name == name) {
        return Ok(key);
    }
    if let Some(key) = keys().find(|key| key.name == name) {
        return Err(format!("`{name}` belongs into [{}], not [{section}]", key.section));
    }
    if let Some(name_meant) = nearest(name, here.clone().map(|key| key.name)) {
        return Err(format!("unknown key `{name}` in [{section}]: did you mean `{name_meant}`?"));
    }
    if let Some(meant) = nearest(name, keys().map(|key| key.name))
        && let Some(key) = keys().find(|key| key.name == meant)
    {
        return Err(format!("unknown key `{name}` in [{section}]: did you mean {key}?"));
    }
    let first = here.next().map_or("", |key| key.name);
    let others: String = here.map(|key| format!(", {}", key.name)).collect();
    Err(format!("unknown key `{name}` in [{section}]; keys are {first}{others}"))
}

fn unknown_section(name: &str) -> String {
    let sections = || SECTIONS.iter().map(|section| section.name);
    if sections().any(|section| section == name) {
        return format!("`{name}` is a section: write [{name}]");
    }
    if let Some(key) = keys().find(|key| key.name == name) {
        return format!("`{name}` belongs into a section: [{}]", key.section);
    }
    match nearest(name, sections()) {
        Some(section) => format!("unknown section [{name}]: did you mean [{section}]?"),
        None => {
            let all: Vec<_> = sections().map(|section| format!("[{section}]")).collect();
            format!("unknown section [{name}]; sections are {}", all.join(", "))
        }
    }
}

/// Checks one value and puts it in its place.
fn set(config: &mut Config, key: &Key, value: &Spanned<DeValue<'_>>) -> Result<(), String> {
    let value = value.get_ref();
    match key.kind {
        Kind::Seconds { min, max, whole, set } => {
            let seconds = number(value).ok_or("a number of seconds is wanted")?;
            if whole && seconds.fract() != 0.0 {
                return Err(format!(
                    "{seconds} s: whole seconds only, the peer is told this value"
                ));
            }
            in_range(seconds, min, max, " s")?;
            set(config, Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())?);
        }
        Kind::Number { min, max, set } => {
            let number = integer(value).ok_or("a whole number is wanted")?;
            if !(min..=max).contains(&number) {
                return Err(format!("{number} is not within {min} to {max}"));
            }
            set(config, number);
        }
        Kind::Fraction { min, max, set } => {
            let fraction = number(value).ok_or("a number is wanted")?;
            in_range(fraction, min, max, "")?;
            set(config, fraction);
        }
        Kind::Flag { set } => match value {
            DeValue::Boolean(flag) => set(config, *flag),
            _ => return Err("true or false is wanted".to_owned()),
        },
        Kind::Choice { words, set } => {
            let word = string(value).ok_or_else(|| choices(words))?;
            if !words.contains(&word) {
                return Err(match nearest(word, words.iter().copied()) {
                    Some(meant) => format!("`{word}`: did you mean \"{meant}\"?"),
                    None => format!("`{word}`: {}", choices(words)),
                });
            }
            set(config, word);
        }
        Kind::Text { set } => {
            set(config, string(value).ok_or("a text in quotes is wanted")?)?;
        }
        Kind::Texts { set } => {
            let DeValue::Array(items) = value else {
                return Err("a list of texts is wanted: [\"…\"]".to_owned());
            };
            let texts: Option<Vec<&str>> =
                items.iter().map(|item| string(item.get_ref())).collect();
            set(config, &texts.ok_or("a list of texts is wanted: [\"…\"]")?)?;
        }
        Kind::Tables { columns, set } => {
            let DeValue::Array(items) = value else {
                return Err("a list of tables is wanted".to_owned());
            };
            let rows: Result<Vec<_>, String> =
                items.iter().map(|item| row(item.get_ref(), columns)).collect();
            set(config, &rows?)?;
        }
    }
    Ok(())
}

/// One inline table with exactly these text columns, in their order.
fn row<'a>(value: &'a DeValue<'_>, columns: &[&str]) -> Result<Vec<&'a str>, String> {
    let wanted = || format!("each entry has exactly the keys {}", columns.join(", "));
    let DeValue::Table(table) = value else { return Err(wanted()) };
    for (name, _) in table {
        let name: &str = name.get_ref();
        if !columns.contains(&name) {
            return Err(match nearest(name, columns.iter().copied()) {
                Some(meant) => format!("unknown key `{name}`: did you mean `{meant}`?"),
                None => format!("unknown key `{name}`; {}", wanted()),
            });
        }
    }
    columns
        .iter()
        .map(|column| table.get(*column).and_then(|v| string(v.get_ref())).ok_or_else(wanted))
        .collect()
}

fn choices(words: &[&str]) -> String {
    format!("one of \"{}\" is wanted", words.join("\", \""))
}

fn in_range(value: f64, min: f64, max: f64, unit: &str) -> Result<(), String> {
    if value.is_finite() && (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(format!("{value}{unit} is not within {min} to {max}{unit}"))
    }
}

fn string<'a>(value: &'a DeValue<'_>) -> Option<&'a str> {
    match value {
        DeValue::String(text) => Some(text),
        _ => None,
    }
}

fn integer(value: &DeValue<'_>) -> Option<u64> {
    match value {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n as f64)
        }
        DeValue::Float(number) => number.as_str().parse().ok(),
        _ => None,
    }
}

/// Values that are right one by one but not together.
fn contradictions(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let mut unless = |right: bool, text: &str| {
        if !right {
            found.push(text.to_owned());
        }
    };
    let (establish, reap, rules) = (&config.engine.establish, &config.engine.reap, &config.rules);
    unless(
        establish.validator_min_lifetime <= establish.validator_max_age,
        "[establish] validator_max_age is below validator_min_lifetime",
    );
    unless(
        establish.update_timeout <= establish.max_update_timeout,
        "[establish] max_update_timeout is below update_timeout",
    );
    unless(
        reap.initial_probe_timeout <= reap.max_probe_timeout,
        "[reap] max_probe_timeout is below initial_probe_timeout",
    );
    unless(
        rules.mark & rules.mark_mask != 0 && rules.mark & !rules.mark_mask == 0,
        "[rules] mark has to have bits, and only bits, that mark_mask has",
    );
    unless(
        u32::from(rules.queue_first) + u32::from(rules.queues.unwrap_or(8)) < 65536,
        "[rules] queue_first plus queues exceeds 65535",
    );
    found
}

/// Notes what is accepted but not wise.
fn warn(config: &mut Config) {
    let mut warnings = Vec::new();
    for key in keys() {
        let Some((low, high, why)) = key.recommended else { continue };
        let Ok(value) = (key.get)(config).parse::<f64>() else { continue };
        // The tolerance lets 0.333 pass for a third.
        if value < low - 0.001 || value > high + 0.001 {
            let range = match (low, high) {
                (low, high) if high >= super::keys::NO_LIMIT => format!("at least {low}"),
                (low, high) if low <= 0.0 => format!("at most {high}"),
                (low, high) => format!("{low} to {high}"),
            };
            warnings.push(format!("{key} = {value}: {range} is recommended ({why})"));
        }
    }
    config.warnings = warnings;
}
