//! Whatever happens before: once a pair works in each direction and stays so, both sides end Operational on pairs
//! that work, within a bound.

use super::side::*;
use super::sim::Sim;
use crate::proto::config::ReapConfig;
use std::time::Duration;

struct Case {
    sim: Sim,
    n: usize,
    m: usize,
    send_timeout: u16,
}

/// A random history; afterwards the paths stay as they are.
fn history(seed: u64) -> Case {
    let mut c = Chance(seed.wrapping_mul(0x1234_5678_9abc_def1));
    let (n, m) = (1 + c.below(3) as usize, 1 + c.below(3) as usize);
    let send_timeout = [15, 15, 10, 2][c.below(4) as usize];
    let config = ReapConfig { send_timeout_secs: send_timeout, ..ReapConfig::default() };
    let mut sim = Sim::new(n, m, config, seed);
    sim.delay = Duration::from_millis(1 + c.below(150));
    // At least one side sends; the other may.
    let gap = |c: &mut Chance| Some(Duration::from_millis(300 + c.below(1200)));
    match c.below(3) {
        0 => sim.traffic[0] = gap(&mut c),
        1 => sim.traffic[1] = gap(&mut c),
        _ => sim.traffic = [gap(&mut c), gap(&mut c)],
    }
    sim.loss = [0, 0, 50, 300][c.below(4) as usize];
    for s in &mut sim.sides {
        s.lost_wakes = [0, 0, 0, 200][c.below(4) as usize];
    }
    let mut at = 0;
    for _ in 0..=c.below(3) {
        let most = if c.permille(300) { 90_000 } else { 12_000 };
        at += 1 + c.below(most);
        sim.run_to(crate::proto::Time::from_millis(at));
        let up = [0, 150, 500, 800][c.below(4) as usize];
        for from in 0..2 {
            for path in sim.up[from].iter_mut().flatten() {
                *path = c.permille(up);
            }
        }
        if c.permille(100) {
            let side = c.below(2) as usize;
            let lost = addr(side, 0);
            sim.sides[side].now = sim.now;
            sim.sides[side].call(|r, rcx| r.on_local_failure(rcx, lost));
            sim.flush();
        }
    }
    // From now on one pair at least works in each direction.
    for from in 0..2 {
        let (l, p) = (c.below(sim.up[from].len() as u64), c.below(sim.up[from][0].len() as u64));
        sim.set(from, l as usize, p as usize, true);
    }
    sim.loss = 0;
    Case { sim, n, m, send_timeout }
}

/// How long it may take. One search in Exploring comes round to every pair within `pairs` of the longest gaps. It puts
/// the peer into InboundOk for a Send Timeout at least, in which it sends 4 Probes at least, and goes on where it
/// was the last time: after `pairs / 4` such turns it has hit the pair that works. What was in the lists before the
/// paths became stable may be wrong once, and is found out by the Send Timer.
fn bound(case: &Case) -> Duration {
    let pairs = (case.n * case.m) as u32;
    let longest = Duration::from_secs(60);
    let turns = pairs.div_ceil(4) + 1;
    let detect = Duration::from_secs(2 * u64::from(case.send_timeout) + 60);
    (detect + longest * (pairs + 1) * turns) * 2
}

fn check(seed: u64) -> Duration {
    let mut case = history(seed);
    let stable = case.sim.now;
    let end = stable + bound(&case);
    let mut since = None;
    // Operational on working pairs is stable: nothing happens that could end it. But it must not be a moment
    // between two wrong beliefs, so it has to last.
    let lasting = Duration::from_secs(u64::from(case.send_timeout) + 6);
    let done = case.sim.run_until(end + lasting, |s| {
        if s.fine() {
            let from = *since.get_or_insert(s.now);
            s.now.since(from) > lasting
        } else {
            since = None;
            false
        }
    });
    if done.is_none() {
        panic!("seed {seed}: not repaired in {:?}\n{}", bound(&case), told(seed));
    }
    // No storm: initial Probes are half a second apart, answers few.
    for side in 0..2 {
        let times = case.sim.probes_of(side);
        for w in times.windows(25) {
            let span = w[24].since(w[0]);
            if span <= Duration::from_millis(1500) {
                panic!("seed {seed}: 25 Probes in {span:?}\n{}", told(seed));
            }
        }
    }
    since.map_or(Duration::ZERO, |t| t.since(stable))
}

// req-test: RP-6-01, RP-3.3-01, RP-3.3-02, RP-4.2-01, RP-4.3-03, RP-4.3-04
#[test]
fn a_working_pair_in_each_direction_is_always_found() {
    let seeds = std::env::var("REAP_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(20_000u64);
    let threads = 2;
    let work = |t: u64| {
        let mut took: Vec<Duration> = (t..seeds).step_by(threads).map(check).collect();
        took.sort();
        took
    };
    let took = std::thread::scope(|s| {
        let other = s.spawn(|| work(1));
        let mut all = work(0);
        all.extend(other.join().unwrap());
        all.sort();
        all
    });
    println!(
        "{seeds} seeds: median {:?}, 99 % {:?}, longest {:?}",
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        took[took.len() - 1]
    );
}

/// One history for people: all that both sides do in 150 s from the moment on at which the paths stay as they are.
fn told(seed: u64) -> String {
    let mut case = history(seed);
    let s = &mut case.sim;
    let mut text = format!(
        "stable from {:?}: {:?} traffic {:?} wakes lost {:?}\n",
        s.now,
        s.up,
        s.traffic,
        s.sides.each_ref().map(|s| s.lost_wakes)
    );
    s.trace = true;
    let end = s.now + Duration::from_secs(150);
    s.run_to(end);
    let mut lines: Vec<_> = Vec::new();
    for side in 0..2 {
        for (t, a) in &s.sides[side].log {
            lines.push((*t, side, format!("{a:?}")));
        }
    }
    lines.sort();
    for (t, side, what) in lines {
        let what = what.replace("Locator(2001:db8:", "").replace("::1)", "");
        let at = t.millis() as f64 / 1000.0;
        text += &format!("{at:9.3} {} {what:.200}\n", ["A", "B"][side]);
    }
    text
}
