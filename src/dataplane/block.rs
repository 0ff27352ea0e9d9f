//! Memory for large tables, straight from the kernel: zero until written, in memory only where touched, and in pages of
//! 2 MiB where the kernel has them. With a million contexts most of a look-up would otherwise go into finding out where
//! pages are.
//!
//! The edge to the operating system below [`super::slab`] and [`super::index`].
#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

/// A huge page, in octets.
const HUGE: usize = 2 << 20;

/// A type of which zero octets are a value.
///
/// # Safety
///
/// Zero octets must be a value of the type, and its alignment no more than a page's.
pub unsafe trait Zero {}

// SAFETY: an integer of 8 octets.
unsafe impl Zero for AtomicU64 {}
// SAFETY: any octets are a value, and [`Block::new`] looks at the alignment.
unsafe impl<T> Zero for MaybeUninit<T> {}

/// An array of fixed length. Its elements are not dropped with it.
#[derive(Debug)]
pub struct Block<T> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: the block owns its elements as a boxed slice does.
unsafe impl<T: Send> Send for Block<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Block<T> {}

impl<T: Zero> Block<T> {
    /// So many elements, all zero. Ends the process if there is no memory, as allocating does.
    pub fn new(len: usize) -> Block<T> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= 4096) };
        let layout = Layout::array::<T>(len).ok().filter(|l| l.size() > 0 && l.size() < 1 << 46);
        let Some(layout) = layout else { handle_alloc_error(Layout::new::<T>()) };
        let start = map(layout.size()).unwrap_or_else(|| handle_alloc_error(layout));
        Block { start: start.cast(), len }
    }
}

impl<T> Block<T> {
    /// Where the first element is. Valid as long as the block.
    pub fn start(&self) -> NonNull<T> {
        self.start
    }
}

impl Deref for Block<AtomicU64> {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: so many elements are mapped as long as the block lives, and zero is a value.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for Block<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and nobody borrows from the block any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), mapped(self.len * size_of::<T>())) };
    }
}

/// What is mapped for so many octets.
fn mapped(size: usize) -> usize {
    size.next_multiple_of(if size < HUGE { 4096 } else { HUGE })
}

/// Zeroed memory of [`mapped`] octets, at a multiple of [`HUGE`] if there is room for one of these.
fn map(size: usize) -> Option<NonNull<u8>> {
    let len = mapped(size);
    let spare = if len < HUGE { 0 } else { HUGE };
    // SAFETY: a new mapping where the kernel likes.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len + spare,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return None;
    }
    let start = start.cast::<u8>();
    if spare == 0 {
        return NonNull::new(start);
    }
    let before = start.align_offset(HUGE).min(spare);
    // SAFETY: all within the new mapping; what is unmapped is not used by anybody. Without huge pages the advice fails,
    // which changes nothing.
    unsafe {
        let used = start.add(before);
        for (from, len) in [(start, before), (used.add(len), spare - before)] {
            if len > 0 {
                libc::munmap(from.cast(), len);
            }
        }
        libc::madvise(used.cast(), len, libc::MADV_HUGEPAGE);
        NonNull::new(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn blocks_of_any_size_are_zero_and_can_be_written_to_the_end() {
        for len in [1, 511, 512, 513, HUGE / 8 - 1, HUGE / 8, HUGE / 8 + 1, 3 * HUGE / 8 + 7] {
            let block = Block::<AtomicU64>::new(len);
            assert_eq!(block.len(), len);
            let large = len * 8 >= HUGE;
            assert!(!large || (block.start().as_ptr() as usize).is_multiple_of(HUGE));
            assert!([0, len / 2, len - 1].iter().all(|n| block[*n].load(Relaxed) == 0));
            block[len - 1].store(7, Relaxed);
            block[0].fetch_add(1, Relaxed);
            assert_eq!(block[len - 1].load(Relaxed), if len == 1 { 8 } else { 7 });
        }
    }
}
