//! Where the entries of the map are: an array that grows and never moves, and counted references into it.
//!
//! Entries consist of atomics, so that looking at one that has just been given to another context does no harm; whoever
//! wants to know that it stays what it is takes a reference. No memory is given back before the whole array is: what was
//! retired, and is held by nobody, is used again.
#![allow(unsafe_code)]

use super::block::Block;
use std::alloc::{Layout, handle_alloc_error};
use std::collections::VecDeque;
use std::fmt;
use std::mem::{self, MaybeUninit};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Elements of the first chunk, a power of two; each other one has as many as all before it and these.
const FIRST: u32 = 64;
/// Enough for a thousand million.
const CHUNKS: usize = 24;
/// Retired elements that are looked at before a new one is made.
const TRIES: usize = 8;
/// The element is in use; the other bits count references.
const LIVE: u32 = 1 << 31;

/// The state of an element: in use or not, and how many references there are.
#[derive(Debug, Default)]
pub struct Refs(AtomicU32);

/// An element of a slab.
///
/// # Safety
///
/// `refs` must always return the same field of this very element.
pub unsafe trait Counted: Default + Send + Sync + 'static {
    /// The state.
    fn refs(&self) -> &Refs;
}

/// The array. Making and retiring elements takes a lock; everything else never waits.
pub struct Slab<T: Counted> {
    chunks: [OnceLock<Block<MaybeUninit<T>>>; CHUNKS],
    len: AtomicU32,
    retired: Mutex<VecDeque<u32>>,
}

/// Chunk and place of an element.
fn place(index: u32) -> (usize, usize) {
    // No overflow: there is no chunk for the last numbers.
    let n = index.saturating_add(FIRST);
    let chunk = n.ilog2() - FIRST.ilog2();
    (chunk as usize, (n - (FIRST << chunk)) as usize)
}

impl<T: Counted> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab {
            chunks: [const { OnceLock::new() }; CHUNKS],
            len: AtomicU32::new(0),
            retired: Mutex::default(),
        }
    }
}

impl<T: Counted> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<T: Counted> Slab<T> {
    /// How many elements were ever made; their indices are below that.
    pub fn made(&self) -> u32 {
        self.len.load(Acquire)
    }

    fn pointer(&self, index: u32) -> Option<NonNull<T>> {
        if index >= self.made() {
            return None;
        }
        let (chunk, place) = place(index);
        let block = self.chunks.get(chunk)?.get()?;
        // SAFETY: chunk `n` has `FIRST << n` elements, and `place` is below that.
        Some(unsafe { block.start().cast().add(place) })
    }

    /// An element, whatever it is at this moment.
    pub fn peek(&self, index: u32) -> Option<&T> {
        // SAFETY: below the length every element is initialised, and stays where it is as long as the slab. Nobody has it
        // exclusively: it is changed through its atomics only.
        self.pointer(index).map(|p| unsafe { p.as_ref() })
    }

    /// A reference to an element in use.
    pub fn acquire(&self, index: u32) -> Option<Ref<T>> {
        let element = self.pointer(index)?;
        // SAFETY: as in `peek`.
        let refs = &unsafe { element.as_ref() }.refs().0;
        if refs.fetch_add(1, Acquire) & LIVE == 0 {
            refs.fetch_sub(1, Release);
            return None;
        }
        Some(Ref(element))
    }

    /// An element that nobody uses, to be filled by the caller; a new one is made if need be. It can be referred to when
    /// [`Slab::publish`] has been called.
    pub fn take(&self) -> (u32, &T) {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..retired.len().min(TRIES) {
            let Some(index) = retired.pop_front() else { break };
            match self.peek(index) {
                Some(element) if element.refs().0.load(Acquire) == 0 => return (index, element),
                _ => retired.push_back(index),
            }
        }
        // Only changed under the lock.
        let index = self.len.load(Relaxed);
        let (chunk, place) = place(index);
        let no_memory = || handle_alloc_error(Layout::new::<T>());
        let Some(chunk_cell) = self.chunks.get(chunk) else { no_memory() };
        let block = chunk_cell.get_or_init(|| Block::new((FIRST as usize) << chunk));
        // SAFETY: within the block as in `pointer`. Nobody reads it before the length grows, and nobody else writes it,
        // as the lock is held.
        unsafe { block.start().cast::<T>().add(place).write(T::default()) };
        self.len.store(index + 1, Release);
        match self.peek(index) {
            Some(element) => (index, element),
            None => no_memory(),
        }
    }

    /// From now on there can be references to the element.
    pub fn publish(&self, index: u32) {
        if let Some(element) = self.peek(index) {
            element.refs().0.fetch_or(LIVE, Release);
        }
    }

    /// From now on there are no new references to the element, and it is used again when there is none at all.
    pub fn retire(&self, index: u32) {
        let Some(element) = self.peek(index) else { return };
        if element.refs().0.fetch_and(!LIVE, AcqRel) & LIVE != 0 {
            self.retired.lock().unwrap_or_else(PoisonError::into_inner).push_back(index);
        }
    }

    /// The elements in use.
    pub fn live(&self) -> impl Iterator<Item = &T> {
        let live = |element: &&T| element.refs().0.load(Acquire) & LIVE != 0;
        (0..self.made()).filter_map(|n| self.peek(n)).filter(live)
    }
}

impl<T: Counted> Drop for Slab<T> {
    fn drop(&mut self) {
        let held = |element: &T| element.refs().0.load(Acquire) & !LIVE != 0;
        if (0..self.made()).filter_map(|n| self.peek(n)).any(held) {
            // Somebody will still look at an entry: the memory stays for good. A slab lasts as long as the data plane, so
            // that is at the end of the process.
            self.chunks.iter_mut().for_each(|chunk| mem::forget(chunk.take()));
            return;
        }
        for index in 0..self.made() {
            if let Some(element) = self.pointer(index) {
                // SAFETY: initialised, referred to by nobody, and never looked at again.
                unsafe { element.drop_in_place() };
            }
        }
    }
}

/// A counted reference: what it refers to is not given to another context as long as it lives.
pub struct Ref<T: Counted>(NonNull<T>);

// SAFETY: it gives out `&T` only, and counting is atomic.
unsafe impl<T: Counted> Send for Ref<T> {}
// SAFETY: as above.
unsafe impl<T: Counted> Sync for Ref<T> {}

impl<T: Counted> Ref<T> {
    /// Whether both refer to the same element.
    pub fn same(&self, other: &Ref<T>) -> bool {
        self.0 == other.0
    }
}

impl<T: Counted> Deref for Ref<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the slab frees no element that is counted as referred to, and nobody has one exclusively.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Counted> Clone for Ref<T> {
    fn clone(&self) -> Ref<T> {
        self.refs().0.fetch_add(1, Relaxed);
        Ref(self.0)
    }
}

impl<T: Counted> Drop for Ref<T> {
    fn drop(&mut self) {
        self.refs().0.fetch_sub(1, Release);
    }
}

impl<T: Counted + fmt::Debug> fmt::Debug for Ref<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests;
