//! The switch of mutant schemata: which mutant is on, named by the environment; see docs/mutants.md.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const UNREAD: usize = usize::MAX;
const RECORD: usize = usize::MAX - 1;
const NONE: usize = usize::MAX - 2;

static ACTIVE: AtomicUsize = AtomicUsize::new(UNREAD);

/// Whether the mutant of this number is on; never while the compiler evaluates a constant.
#[inline]
pub const fn on(id: usize) -> bool {
    core::intrinsics::const_eval_select((id,), off, on_now)
}

const fn off(_: usize) -> bool {
    false
}

#[inline]
fn on_now(id: usize) -> bool {
    match ACTIVE.load(Ordering::Relaxed) {
        active if active < NONE => active == id,
        NONE => false,
        _ => rare(id),
    }
}

#[cold]
fn rare(id: usize) -> bool {
    if ACTIVE.load(Ordering::Relaxed) == UNREAD {
        let active = match std::env::var("SHIM6_MUTANT").ok().and_then(|v| v.parse().ok()) {
            Some(active) => active,
            None if std::env::var_os("SHIM6_MUTANT_RECORD").is_some() => RECORD,
            None => NONE,
        };
        if active < NONE {
            // The first failed assertion decides: no later test needs to run.
            std::panic::set_hook(Box::new(|info| {
                eprintln!("{}: {info}", std::thread::current().name().unwrap_or("?"));
                std::process::exit(101);
            }));
        }
        ACTIVE.store(active, Ordering::Relaxed);
        return on_now(id);
    }
    let _ = SEEN.try_with(|seen| seen.borrow_mut().ids.insert(id));
    false
}

/// What a thread reached; libtest gives every test a thread of its name.
struct Seen {
    since: Instant,
    ids: BTreeSet<usize>,
}

thread_local! {
    static SEEN: RefCell<Seen> = RefCell::new(Seen { since: Instant::now(), ids: BTreeSet::new() });
}

impl Drop for Seen {
    fn drop(&mut self) {
        let Some(path) = std::env::var_os("SHIM6_MUTANT_RECORD") else { return };
        let thread = std::thread::current();
        let ids: Vec<String> = self.ids.iter().map(usize::to_string).collect();
        let millis = self.since.elapsed().as_millis();
        let line = format!("{}\t{millis}\t{}\n", thread.name().unwrap_or(""), ids.join(" "));
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        if let Ok(mut file) = file {
            let _ = file.write_all(line.as_bytes());
        }
    }
}
