//! What the table of keys says, as documentation: `docs/config.md` and the body of `shim6d.toml(5)`.

use super::Config;
use super::keys::{Key, Kind, NO_LIMIT, SECTIONS};
use std::fmt::Write;

/// What a key takes, in words.
fn takes(kind: &Kind) -> String {
    match kind {
        Kind::Seconds { min, max, whole: true, .. } => format!("whole seconds, {min} to {max}"),
        Kind::Seconds { min, .. } if *min <= 0.001 => "seconds, fractions allowed".to_owned(),
        Kind::Seconds { min, .. } => format!("seconds, fractions allowed, at least {min}"),
        Kind::Number { min, max, .. } if *max > u64::from(u32::MAX) => {
            format!("a whole number, at least {min}")
        }
        Kind::Number { min, max, .. } => format!("a whole number, {min} to {max}"),
        Kind::Fraction { min, max, .. } => format!("a number, {min} to {max}"),
        Kind::Flag { .. } => "true or false".to_owned(),
        Kind::Choice { words, .. } => format!("one of \"{}\"", words.join("\", \"")),
        Kind::Text { .. } => "a text".to_owned(),
        Kind::Texts { .. } => "a list of texts".to_owned(),
        Kind::Tables { columns, .. } => {
            format!("a list of tables with the keys {}", columns.join(" and "))
        }
    }
}

/// The range beyond which a warning is given, in words.
fn recommended(key: &Key) -> Option<String> {
    let (low, high, why) = key.recommended?;
    Some(match (low, high) {
        (low, high) if low == high => format!("Recommended: {low} ({why})."),
        (low, high) if high >= NO_LIMIT => format!("Recommended: at least {low} ({why})."),
        (low, high) => format!("Recommended: {low} to {high} ({why})."),
    })
}

/// The text of `docs/config.md`.
pub fn markdown() -> String {
    let default = Config::default();
    let mut text = String::from(
        "# Configuration\n\n\
         `/etc/shim6/shim6d.toml` (another file with `shim6d --config`). All keys are optional, the file\n\
         too; an unknown key is an error that names the nearest right one. Every constant of the protocol\n\
         has the RFC's value as its default. A value outside a recommended range is accepted with a\n\
         warning. Durations are seconds, with a fraction unless noted otherwise. `shim6d --check` checks\n\
         the file; `SIGHUP` or `shim6ctl reload` reads it again.\n\n\
         This page is generated from the table of keys in `src/daemon/config/table.rs`:\n\
         `shim6ctl generate docs`.\n",
    );
    for section in SECTIONS {
        // Writing to a String does not fail.
        let _ = write!(text, "\n## [{}]\n\n{}\n", section.name, section.about);
        for key in section.keys {
            let _ = write!(
                text,
                "\n### {} = {}\n\n{} Takes {}.",
                key.name,
                (key.get)(&default),
                key.about,
                takes(&key.kind)
            );
            if let Some(range) = recommended(key) {
                let _ = write!(text, " {range}");
            }
            text.push_str(if key.restart { " Needs a restart.\n" } else { "\n" });
        }
    }
    text
}

/// The manual page `shim6d.toml(5)`.
pub fn manual(version: &str) -> String {
    let default = Config::default();
    let mut text = format!(
        ".TH shim6d.toml 5 \"\" \"shim6 {version}\" \"File formats\"\n\
         .SH NAME\nshim6d.toml \\- configuration of the Shim6 daemon\n\
         .SH SYNOPSIS\n/etc/shim6/shim6d.toml\n\
         .SH DESCRIPTION\n\
         All keys are optional, the file too; an unknown key is an error that names the nearest right one. \
         Every constant of the protocol has the RFC\\(aqs value as its default. A value outside a \
         recommended range is accepted with a warning. Durations are seconds, with a fraction unless noted \
         otherwise. \\fBshim6d \\-\\-check\\fR checks the file; SIGHUP or \\fBshim6ctl reload\\fR reads it \
         again.\n"
    );
    for section in SECTIONS {
        let _ = write!(
            text,
            ".SH SECTION [{}]\n{}\n",
            section.name.to_uppercase(),
            escape(section.about)
        );
        for key in section.keys {
            let _ = write!(
                text,
                ".TP\n\\fB{}\\fR = {}\n{} Takes {}.",
                key.name,
                escape(&(key.get)(&default)),
                escape(key.about),
                escape(&takes(&key.kind))
            );
            if let Some(range) = recommended(key) {
                let _ = write!(text, " {}", escape(&range));
            }
            text.push_str(if key.restart { " Needs a restart.\n" } else { "\n" });
        }
    }
    text.push_str(".SH SEE ALSO\n\\fBshim6d\\fR(8), \\fBshim6ctl\\fR(8)\n");
    text
}

/// Text for roff: no escape sequences, no requests by accident, `code` in bold.
fn escape(text: &str) -> String {
    let mut out = String::new();
    let mut bold = false;
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '`' => {
                out.push_str(if bold { "\\fR" } else { "\\fB" });
                bold = !bold;
            }
            c => out.push(c),
        }
    }
    out
}
