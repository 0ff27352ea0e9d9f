//! What `cargo mutants --list --json` says of a mutant.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One mutant. Lines and columns count from 1, columns in characters.
#[derive(Deserialize)]
pub struct Mutant {
    /// The source file, from the package's root.
    pub file: String,
    /// What kind of change it is.
    pub genre: Genre,
    /// What stands in the place of `span`.
    pub replacement: String,
    /// What is replaced.
    pub span: Span,
    /// `FILE:LINE:COLUMN: what it does in FUNCTION`.
    pub name: String,
}

/// cargo-mutants' kinds of mutants.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

/// A piece of source text.
#[derive(Deserialize, Clone, Copy)]
pub struct Span {
    /// Where it begins.
    pub start: Point,
    /// Where it ends; not of it.
    pub end: Point,
}

/// A place in a source file.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct Point {
    pub line: usize,
    pub column: usize,
}

/// Names that do not change when lines above the mutant do.
#[derive(Default)]
pub struct Name {
    seen: BTreeMap<String, usize>,
}

impl Name {
    /// `FILE: what it does in FUNCTION`, and ` #N` for the second and later ones of the same words.
    pub fn of(&mut self, mutant: &Mutant) -> String {
        let words = mutant.name.splitn(4, ':').nth(3).unwrap_or(&mutant.name).trim();
        let name = format!("{}: {words}", mutant.file);
        let nth = self.seen.entry(name.clone()).or_default();
        *nth += 1;
        if *nth == 1 { name } else { format!("{name} #{nth}") }
    }
}
