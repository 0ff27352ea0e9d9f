//! Source text with edits, which may lie in one another.

use std::fmt::Write as _;
use std::ops::Range;

/// One change of the text. Edits are in the order of the syntax tree: an outer one before those inside it.
pub struct Edit {
    /// What of the source text it replaces; empty where it only inserts.
    pub range: Range<usize>,
    /// What it puts there.
    pub kind: Kind,
}

/// The number of a mutant and the text it brings.
pub type Switch = (usize, String);

/// What an edit does.
pub enum Kind {
    /// At the start of a body: other values returned.
    Body(Vec<Switch>),
    /// `left op right`, other operators.
    Binary {
        /// The left operand.
        left: Range<usize>,
        /// The right operand.
        right: Range<usize>,
        /// The operator as it stands.
        op: String,
        /// The operators in its place.
        switches: Vec<Switch>,
    },
    /// `op operand` without its operator.
    Unary {
        /// What the operator applies to.
        operand: Range<usize>,
        /// The operator and all between it and the operand.
        op: String,
        /// The mutant.
        id: usize,
    },
    /// A match arm that does not match: behind the pattern of an arm without a guard.
    Arm(usize),
    /// A guard: always true, always false, or its arm deleted.
    Guard {
        /// The mutants that make it true.
        yes: Vec<usize>,
        /// The mutants that make it false.
        no: Vec<usize>,
    },
    /// The value of a field: that of the base instead.
    Field {
        /// `name: ` where the source has the short form, else nothing.
        name: String,
        /// The base expression with the field.
        base: String,
        /// The mutant.
        id: usize,
    },
}

/// The text with all edits.
pub fn splice(source: &str, edits: &[Edit]) -> String {
    Splicer { source, edits }.text(0..source.len(), 0)
}

struct Splicer<'a> {
    source: &'a str,
    edits: &'a [Edit],
}

fn on(id: usize) -> String {
    format!("crate::mutant::on({id})")
}

fn marked(id: usize, text: &str) -> String {
    format!("/*<{id}*/ {text} /*>{id}*/")
}

fn any(ids: &[usize]) -> String {
    let list: Vec<String> = ids.iter().map(|id| on(*id)).collect();
    if list.is_empty() { "false".into() } else { list.join(" || ") }
}

impl Splicer<'_> {
    /// A piece of the source with the edits from number `from` on.
    fn text(&self, range: Range<usize>, from: usize) -> String {
        let mut inside: Vec<usize> = (from..self.edits.len())
            .filter(|i| {
                let r = &self.edits[*i].range;
                range.start <= r.start && r.end <= range.end
            })
            .collect();
        // Of two that begin at one place an inserted text comes first; then the outer one.
        inside.sort_by_key(|i| (self.edits[*i].range.start, !self.edits[*i].range.is_empty(), *i));
        let mut out = String::new();
        let mut at = range.start;
        for i in inside {
            let r = self.edits[i].range.clone();
            if r.start < at {
                continue;
            }
            out.push_str(&self.source[at..r.start]);
            out.push_str(&self.edit(i));
            at = r.end;
        }
        out.push_str(&self.source[at..range.end]);
        out
    }

    fn edit(&self, i: usize) -> String {
        let edit = &self.edits[i];
        let inner = |r: &Range<usize>| self.text(r.clone(), i + 1);
        let mut out = String::new();
        match &edit.kind {
            Kind::Body(switches) => {
                for (id, value) in switches {
                    let value = marked(*id, value);
                    write!(out, "if {} {{ return {value}; }} ", on(*id)).expect("a string");
                }
            }
            Kind::Binary { left, right, op, switches } => {
                let (l, r) = (inner(left), inner(right));
                if let ([(id, _)], "==" | "!=") = (switches.as_slice(), op.as_str()) {
                    return format!("((({l}) {op} ({r})) ^ {})", on(*id));
                }
                if let ([(id, to)], "&&" | "||") = (switches.as_slice(), op.as_str()) {
                    // The left operand once: long chains would grow without bound.
                    let both = marked(*id, &format!("mutant_left {to} ({r})"));
                    return format!(
                        "({{ let mutant_left: bool = {l}; if {} {{ {both} }} else {{ mutant_left {op} ({r}) }} }})",
                        on(*id)
                    );
                }
                out.push('(');
                for (id, to) in switches {
                    let other = marked(*id, &format!("({l}) {to} ({r})"));
                    write!(out, "if {} {{ {other} }} else ", on(*id)).expect("a string");
                }
                write!(out, "{{ ({l}) {op} ({r}) }})").expect("a string");
            }
            Kind::Unary { operand, op, id } => {
                let x = inner(operand);
                let other = marked(*id, &x);
                write!(out, "(if {} {{ {other} }} else {{ {op}{x} }})", on(*id)).expect("a string");
            }
            Kind::Arm(id) => write!(out, " if !{}", on(*id)).expect("a string"),
            Kind::Guard { yes, no } => {
                let guard = inner(&edit.range);
                write!(out, "({}) || (!({}) && ({guard}))", any(yes), any(no)).expect("a string");
            }
            Kind::Field { name, base, id } => {
                let value = inner(&edit.range);
                let other = marked(*id, base);
                write!(out, "{name}if {} {{ {other} }} else {{ {value} }}", on(*id))
                    .expect("a string");
            }
        }
        out
    }
}
