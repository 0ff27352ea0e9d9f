//! Writes mutant schemata: a tree in which every mutant of cargo-mutants' list sits behind a run-time switch.
//!
//! `mutants LIST DROPPED TREE OUT` reads `cargo mutants --list --json` (LIST), the numbers of mutants to leave out
//! (DROPPED, one a line, text after the number ignored), rewrites the files of TREE in place and writes to OUT one line
//! per mutant: its number in the list, `in`, `const`, `let` or `place` (why it is not in), and its name without line numbers.
//! Every mutated piece of text stands between `/*<N*/` and `/*>N*/`, by which a compiler's message is traced to it.

mod list;
mod place;
mod splice;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use list::{Mutant, Name};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [list, dropped, tree, out] = args.as_slice() else {
        return Err("usage: mutants LIST DROPPED TREE OUT".into());
    };
    let mutants: Vec<Mutant> = serde_json::from_str(&fs::read_to_string(list)?)?;
    let dropped: BTreeSet<usize> = fs::read_to_string(dropped)?
        .lines()
        .filter_map(|l| l.split_whitespace().next()?.parse().ok())
        .collect();
    let mut files: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
    for (id, mutant) in mutants.iter().enumerate() {
        files.entry(&mutant.file).or_default().push((id, mutant));
    }
    let mut fates = BTreeMap::new();
    for (file, mutants) in files {
        let path = Path::new(tree).join(file);
        let source = fs::read_to_string(&path)?;
        let wanted = mutants.iter().filter(|(id, _)| !dropped.contains(id)).copied();
        let placed = place::place(&source, wanted)?;
        fs::write(&path, splice::splice(&source, &placed.edits))?;
        fates.extend(placed.fates);
    }
    let mut lines = String::new();
    let mut names = Name::default();
    for (id, mutant) in mutants.iter().enumerate() {
        let fate = match fates.get(&id) {
            Some(fate) => fate,
            None if dropped.contains(&id) => "dropped",
            None => "place",
        };
        writeln!(lines, "{id}\t{fate}\t{}", names.of(mutant))?;
    }
    fs::write(out, lines)?;
    Ok(())
}
