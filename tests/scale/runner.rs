//! Many scenarios on all processors; a failing one is run again with everything recorded, and made smaller.

use crate::judge::{Outcome, scenario};
use crate::matrix::Matrix;
use crate::plan::{Plan, TESTING, testing};
use crate::pool::pool;

use crate::record::Recorder;
use crate::world::{Tally, Violation};
use shim6::proto::engine::TABLES;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Each reachable cell of state and event is hit so often in a run that is long enough to ask for it.
const LEAST_HITS: u64 = 100;
/// From so many scenarios on.
const ENOUGH: u64 = 100_000;
/// One scenario of so many is run twice and has to give the same.
const TWICE: u64 = 64;

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.replace('_', "").parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// One scenario; a panic is a violation like any other.
fn run(plan: Plan, record: Option<Box<Recorder>>) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| scenario(plan, record))).unwrap_or_else(|_| Outcome {
        violation: Some(Violation { rule: "no panic", detail: PANIC.take() }),
        tally: Tally::default(),
        digest: 0,
        record: None,
    })
}

fn folder() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/sim-failures");
    std::env::var_os("SHIM6_SIM_OUT").map_or_else(default, PathBuf::from)
}

fn command(seed: u64, without: &[usize]) -> String {
    let list: Vec<String> = without.iter().map(usize::to_string).collect();
    let without = match list.is_empty() {
        true => String::new(),
        false => format!("SHIM6_SIM_WITHOUT={} ", list.join(",")),
    };
    // A seed is another scenario with another share.
    let share = match testing() {
        TESTING => String::new(),
        share => format!("SHIM6_SIM_TESTING={share} "),
    };
    format!(
        "SHIM6_SIM_SEED={seed} {without}{share}cargo test --profile sim --no-default-features --features \
         engine --test scale one_seed -- --nocapture"
    )
}

/// Leaves out operations as long as the same rule is broken without them.
fn shrink(seed: u64, rule: &str) -> Vec<usize> {
    let mut without: Vec<usize> = Vec::new();
    for n in 0..Plan::of(seed).ops.len() {
        without.push(n);
        let outcome = run(Plan::of(seed).without(&without), None);
        if outcome.violation.is_none_or(|v| v.rule != rule) {
            without.pop();
        }
    }
    without
}

/// Keeps everything about a scenario that failed.
fn keep(seed: u64, without: &[usize]) -> String {
    let plan = Plan::of(seed).without(without);
    let head = format!("{}\n{plan:#?}", command(seed, without));
    let outcome = run(plan, Some(Box::new(Recorder::new())));
    let name = format!("seed-{seed}");
    let saved = outcome.record.map(|r| r.save(&folder(), &name, &head));
    let v = outcome.violation.map(|v| format!("{}: {}", v.rule, v.detail)).unwrap_or_default();
    format!("{v}\n{} ({saved:?})\n{}", folder().join(name).display(), command(seed, without))
}

struct Sum {
    tally: Tally,
    failures: Vec<(u64, Violation)>,
}

impl Sum {
    fn add(&mut self, t: &Tally) {
        let s = &mut self.tally;
        s.matrix.add(&t.matrix);
        s.scenarios += t.scenarios;
        s.events += t.events;
        s.seconds += t.seconds;
        s.faults += t.faults;
        s.control += t.control;
        s.payload += t.payload;
        s.established += t.established;
        s.explorations += t.explorations;
        s.switches += t.switches;
        s.restarts += t.restarts;
        s.attacks += t.attacks;
        s.judged += t.judged;
        s.tests += t.tests;
        s.calm_tests += t.calm_tests;
        s.returns += t.returns;
        s.pinned += t.pinned;
        for (a, b) in s.fresh.iter_mut().zip(t.fresh) {
            *a = (a.0 + b.0, a.1 + b.1);
        }
        s.full.iter_mut().zip(t.full).for_each(|(a, b)| *a += b);
        s.slowest = s.slowest.max(t.slowest);
    }
}

#[allow(clippy::disallowed_methods, reason = "the rate is measured in real time")]
fn now() -> Instant {
    Instant::now()
}

/// From a count and a sum of thousandths.
fn mean((n, sum): (u64, u64)) -> f64 {
    sum as f64 / n.max(1) as f64 / 1000.0
}

fn report(t: &Tally, took: Duration, threads: usize) -> String {
    let rate = t.scenarios as f64 / took.as_secs_f64().max(1e-9) / threads as f64;
    let (cell, least) = t.matrix.least();
    format!(
        "{} scenarios, {:.0} per second and thread, {} threads; {:.1} virtual years; {} events, {} control \
         messages, {} payload packets; {} faults, {} restarts, {} forged or repeated messages, {} tests, {} of \
         them judged; {} \
         establishments, {} explorations, {} switches; {} contexts judged, the slowest took {:.1} % of its \
         bound; {} returns to the preferred pair, {} contexts with pins; fresh failures left after part of \
         the Send Timeout: {} by the RFC's detection {:.2}, {} by fast detection {:.2}; tables found full: {:?}; \
         least hit: {cell}, {least}",
        t.scenarios,
        rate,
        threads,
        t.seconds as f64 / 31_557_600.0,
        t.events,
        t.control,
        t.payload,
        t.faults,
        t.restarts,
        t.attacks,
        t.tests,
        t.calm_tests,
        t.established,
        t.explorations,
        t.switches,
        t.judged,
        t.slowest as f64 / 10.0,
        t.returns,
        t.pinned,
        t.fresh[0].0,
        mean(t.fresh[0]),
        t.fresh[1].0,
        mean(t.fresh[1]),
        t.full,
    )
}

/// Runs the seeds from `from` on; the figures, and what failed.
fn many(from: u64, seeds: u64, threads: usize) -> Sum {
    pool();
    let next = AtomicU64::new(from);
    let sum = Mutex::new(Sum { tally: Tally::default(), failures: Vec::new() });
    let start = now();
    let loud = seeds >= 20_000;
    std::panic::set_hook(Box::new(|info| PANIC.set(info.to_string())));
    std::thread::scope(|s| {
        for _ in 0..threads {
            s.spawn(|| {
                loop {
                    let first = next.fetch_add(100, Ordering::Relaxed);
                    let last = (first + 100).min(from + seeds);
                    if first >= last || sum.lock().unwrap().failures.len() > 20 {
                        return;
                    }
                    let mut part = Sum { tally: Tally::default(), failures: Vec::new() };
                    for seed in first..last {
                        one(seed, &mut part);
                    }
                    let mut all = sum.lock().unwrap();
                    all.add(&part.tally);
                    all.failures.append(&mut part.failures);
                    let done = all.tally.scenarios;
                    if loud && done % 20_000 < 100 {
                        let rate = done as f64 / now().duration_since(start).as_secs_f64();
                        eprintln!("{done} of {seeds}, {rate:.0}/s, up to seed {last}");
                    }
                }
            });
        }
    });
    drop(std::panic::take_hook());
    let sum = sum.into_inner().unwrap();
    eprintln!("{}", report(&sum.tally, now().duration_since(start), threads));
    sum
}

fn one(seed: u64, part: &mut Sum) {
    let outcome = run(Plan::of(seed), None);
    part.add(&outcome.tally);
    if let Some(v) = outcome.violation {
        part.failures.push((seed, v));
    } else if seed.is_multiple_of(TWICE) && run(Plan::of(seed), None).digest != outcome.digest {
        let detail = String::new();
        part.failures.push((seed, Violation { rule: "a seed is a run", detail }));
    }
}

// req-test: S6-7.1-01, S6-7.2-03, S6-7.2-04, S6-16-02, S6-16-03, S6-5.1-02, S6-1.6-02, S6-7.5-01, S6-12.2-02
// req-test: RP-3.3-01, RP-3.3-02, RP-3.3-04, RP-4.3-04, RP-4.3-05, RP-4.3-08, RP-6-01, RP-6-02, RP-8-01, RP-8-02, HB-11-01
/// Debug builds run a few scenarios; `testbed/check sim` runs many in an optimised one.
#[test]
fn scenarios_keep_all_rules() {
    if number("SHIM6_SIM_SEED").is_some() {
        return;
    }
    let seeds = number("SHIM6_SIM_SEEDS").unwrap_or(200);
    let from = number("SHIM6_SIM_FROM").unwrap_or(0);
    let cores = std::thread::available_parallelism().map_or(2, |n| n.get());
    let threads = number("SHIM6_SIM_THREADS").map_or(cores, |n| n as usize);
    let sum = many(from, seeds, threads);
    if seeds >= 1000 {
        println!("{}\n{}", sum.tally.matrix.table(), Matrix::reasons());
    }
    let mut text = String::new();
    for (seed, v) in sum.failures.iter().take(3) {
        let without = shrink(*seed, v.rule);
        text += &format!("\nseed {seed}: {}: {}\n{}\n", v.rule, v.detail, keep(*seed, &without));
    }
    let rules: Vec<String> =
        sum.failures.iter().map(|(seed, v)| format!("{seed}: {}", v.rule)).collect();
    assert!(sum.failures.is_empty(), "{} failed: {rules:?}{text}", sum.failures.len());
    assert!(sum.tally.faults >= 2 * seeds, "{} faults", sum.tally.faults);
    if seeds >= 10_000 {
        let t = &sum.tally;
        assert!(t.pinned > 0, "no context with a pin");
        // All but the last one, the prefixes of answers: 16,384.
        let tight = &t.full[..TABLES - 1];
        assert!(
            tight.iter().all(|n| *n > 0),
            "no bound says anything that is never reached: {tight:?}"
        );
        if testing() > 0 {
            assert!(t.returns > 0, "nothing returned to its preferred pair");
            let [rfc, fast] = t.fresh.map(mean);
            assert!(fast < rfc / 2.0, "fast detection: {fast:.2} of a Send Timeout, else {rfc:.2}");
        }
    }
    if seeds >= ENOUGH {
        let faults = sum.tally.matrix.faults(LEAST_HITS);
        assert!(faults.is_empty(), "{faults:#?}");
    }
}

/// One scenario in all detail: see `SHIM6_SIM_SEED`.
#[test]
fn one_seed() {
    let Some(seed) = number("SHIM6_SIM_SEED") else { return };
    let list = std::env::var("SHIM6_SIM_WITHOUT").unwrap_or_default();
    let without: Vec<usize> =
        list.split(',').filter(|s| !s.is_empty()).map(|s| s.parse().unwrap()).collect();
    let outcome = run(Plan::of(seed).without(&without), None);
    println!("{}", keep(seed, &without));
    assert_eq!(outcome.violation, None);
}
