//! The search for a modifier whose Hash2 begins with enough zero bits (RFC 3972, 4; RFC 5535, 6).
//!
//! The modifier counts up from a random start, so the result is the first one at or after the start that fits. Several
//! threads take turns at chunks of that count and the lowest hit wins: however many work on it, the outcome is
//! the same as that of one.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use openssl::sha::Sha1;

use super::hash::{Sec, hash2_satisfies};
use super::pds::MODIFIER_LEN;

/// Modifiers that a thread takes at a time: a few milliseconds of work, so that stopping is prompt.
const CHUNK: u64 = 4096;

/// The search was stopped by its caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped;

/// One thread's copy of Hash2's input, of which only the modifier changes.
struct Hash2Input {
    octets: Vec<u8>,
    start: u128,
}

impl Hash2Input {
    fn new(start: u128, key_and_extensions: &[u8]) -> Hash2Input {
        let mut octets = vec![0; MODIFIER_LEN + 9];
        octets.extend_from_slice(key_and_extensions);
        Hash2Input { octets, start }
    }

    /// Whether the modifier `offset` steps after the start fits.
    #[inline]
    fn fits(&mut self, offset: u64, sec: Sec) -> bool {
        // req: HB-6-07
        let modifier = self.start.wrapping_add(u128::from(offset));
        self.octets[..MODIFIER_LEN].copy_from_slice(&modifier.to_be_bytes());
        let mut sha = Sha1::new();
        sha.update(&self.octets);
        hash2_satisfies(&sha.finish(), sec)
    }
}

/// What the threads of a search share.
struct Shared {
    /// The next chunk nobody has taken.
    next_chunk: AtomicU64,
    /// Modifiers tried so far, for the progress display.
    tried: AtomicU64,
    /// The lowest fitting offset so far; `u64::MAX` while there is none.
    best: AtomicU64,
    stop: AtomicBool,
}

impl Shared {
    /// Takes chunks until one thread's hit lies before everything that is left, or the search is stopped.
    fn work(&self, mut input: Hash2Input, sec: Sec, mut after_chunk: impl FnMut()) {
        while !self.stop.load(Ordering::Relaxed) {
            let first = self.next_chunk.fetch_add(1, Ordering::Relaxed).saturating_mul(CHUNK);
            if first >= self.best.load(Ordering::Relaxed) {
                return;
            }
            match (first..first.saturating_add(CHUNK)).find(|&offset| input.fits(offset, sec)) {
                Some(hit) => {
                    self.tried.fetch_add(hit - first + 1, Ordering::Relaxed);
                    self.best.fetch_min(hit, Ordering::Relaxed);
                }
                None => {
                    self.tried.fetch_add(CHUNK, Ordering::Relaxed);
                }
            }
            after_chunk();
        }
    }
}

/// Finds the first modifier, counting up from `start` and wrapping past 2^128, that satisfies `sec`.
///
/// `progress` is called on the calling thread every few milliseconds with the number of modifiers tried so far
/// (about 2^(16 Sec) are to be expected) and may stop the search. With Sec 0 the start itself is the result.
///
/// # Errors
/// [`Stopped`] if `progress` breaks.
// req: HB-6-07, CG-4-01
pub fn find_modifier(
    start: [u8; MODIFIER_LEN],
    key_and_extensions: &[u8],
    sec: Sec,
    threads: NonZeroUsize,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<[u8; MODIFIER_LEN], Stopped> {
    if sec == Sec::ZERO {
        return Ok(start);
    }
    let start = u128::from_be_bytes(start);
    let shared = Shared {
        next_chunk: AtomicU64::new(0),
        tried: AtomicU64::new(0),
        best: AtomicU64::new(u64::MAX),
        stop: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.get() {
            let input = Hash2Input::new(start, key_and_extensions);
            // A thread that cannot be had only makes the search slower.
            let _ = std::thread::Builder::new()
                .name("cga-search".into())
                .spawn_scoped(scope, || shared.work(input, sec, || ()));
        }
        let input = Hash2Input::new(start, key_and_extensions);
        shared.work(input, sec, || {
            if progress(shared.tried.load(Ordering::Relaxed)).is_break() {
                shared.stop.store(true, Ordering::Relaxed);
            }
        });
    });
    match shared.best.into_inner() {
        // A hit that was found while others were stopped may not be the first one: it does not count.
        _ if shared.stop.into_inner() => Err(Stopped),
        best => Ok(start.wrapping_add(u128::from(best)).to_be_bytes()),
    }
}

#[cfg(test)]
mod tests;
