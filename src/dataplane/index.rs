//! Hash tables from keys to places in the [`super::slab`]; the keys themselves are in the entries.
//!
//! A slot is one word: 32 bits of the hash and the place, so that eight of them are one look at memory, and a table can
//! grow without knowing the keys. Readers never wait. A table that is full gets a larger successor, to which each change
//! copies a few slots; meanwhile both are searched. Changes take turns by a lock of their own.

use super::block::Block;
use arc_swap::ArcSwap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, PoisonError};

/// Slots of the smallest table; all of a page.
const LEAST: usize = 512;
/// Slots that each change copies while there is a successor. The tables are such that 16 would do.
const STEP: usize = 32;
/// Never used: the search ends.
const EMPTY: u64 = 0;
/// Not used any more: the search goes on.
const GONE: u64 = 1;
/// What is added to a place, because of these two.
const SHIFT: u64 = 2;

/// The slots of one table.
type Table = Block<AtomicU64>;

/// Hash and place of a slot in use.
fn parts(slot: u64) -> Option<(u32, u32)> {
    let place = (slot & u64::from(u32::MAX)).checked_sub(SHIFT)?;
    Some(((slot >> 32) as u32, place as u32))
}

fn slot(hash: u32, place: u32) -> u64 {
    u64::from(hash) << 32 | (u64::from(place) + SHIFT)
}

/// The slots in which a hash can be, with their numbers, up to the end of the search.
fn chain(table: &Table, hash: u32) -> impl Iterator<Item = (usize, u64)> {
    let first = ((hash as u64 * table.len() as u64) >> 32) as usize;
    let (before, from) = table.split_at(first);
    let later = from.iter().enumerate().map(move |(n, s)| (first + n, s));
    let all = later.chain(before.iter().enumerate());
    all.map(|(n, s)| (n, s.load(Acquire))).take_while(|(_, s)| *s != EMPTY)
}

/// Places in the table that have this hash.
fn places(table: &Table, hash: u32) -> impl Iterator<Item = (usize, u32)> {
    let same = move |(n, s)| parts(s).filter(|(h, _)| *h == hash).map(|(_, place)| (n, place));
    chain(table, hash).filter_map(same)
}

/// What readers see.
#[derive(Debug)]
struct Tables {
    present: Arc<Table>,
    /// What `present` succeeds, while not all of it has been copied.
    old: Option<Arc<Table>>,
}

/// What writers know.
#[derive(Debug, Default)]
struct Books {
    /// Keys.
    len: usize,
    /// Slots of the present table that are not [`EMPTY`].
    used: usize,
    /// Slots of the old table that have been copied.
    copied: usize,
    /// Tables that a reader may still search; dropped here, so that no reader has to give back memory.
    retired: Vec<Arc<Table>>,
}

/// A table from keys to places. The hash is random, since the peers choose the addresses.
#[derive(Debug)]
pub struct Index {
    hasher: RandomState,
    tables: ArcSwap<Tables>,
    books: Mutex<Books>,
}

impl Default for Index {
    /// An empty table.
    fn default() -> Index {
        let present = Arc::new(Block::new(LEAST));
        Index {
            hasher: RandomState::new(),
            tables: ArcSwap::from_pointee(Tables { present, old: None }),
            books: Mutex::default(),
        }
    }
}

impl Index {
    /// The hash of a key, given by its octets.
    pub fn hash(&self, key: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        (hasher.finish() >> 32) as u32
    }

    /// The first place with this hash of which `look` makes something.
    pub fn find<R>(&self, hash: u32, mut look: impl FnMut(u32) -> Option<R>) -> Option<R> {
        let tables = self.tables.load();
        let mut search = |table| places(table, hash).find_map(|(_, place)| look(place));
        // Nothing leaves the old table before it is out of use, so a copy that comes too late for the first search is
        // found by the second.
        search(&tables.present).or_else(|| search(tables.old.as_deref()?))
    }

    /// Puts a place under a hash, in the stead of those of which `same` says that they are under the same key.
    pub fn insert(&self, hash: u32, place: u32, same: impl Fn(u32) -> bool) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        self.go_on(&mut books);
        let tables = self.tables.load_full();
        let mut replaced = false;
        for table in tables.old.iter().chain([&tables.present]) {
            for (n, present) in places(table, hash) {
                if same(present) {
                    store(table, n, slot(hash, place));
                    replaced = true;
                }
            }
        }
        if !replaced {
            books.used += put(&tables.present, hash, place);
            books.len += 1;
        }
    }

    /// Takes out a place under a hash, if it is there.
    pub fn remove(&self, hash: u32, place: u32) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        self.go_on(&mut books);
        let tables = self.tables.load_full();
        let mut found = false;
        for table in tables.old.iter().chain([&tables.present]) {
            let at = places(table, hash).find(|(_, p)| *p == place);
            if let Some((n, _)) = at {
                store(table, n, GONE);
                found = true;
            }
        }
        books.len -= usize::from(found);
        if tables.old.is_none() {
            books.used -= tidy(&tables.present, hash);
        }
    }

    /// How many keys there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).len
    }

    /// One step of growing: begins, or copies some slots, or ends.
    fn go_on(&self, books: &mut Books) {
        books.retired.retain(|table| Arc::strong_count(table) > 1);
        let tables = self.tables.load_full();
        let (present, len) = (&tables.present, tables.present.len());
        let full = books.used >= len - len / 4;
        let Some(old) = &tables.old else {
            if full {
                // Three fifths full, or half as large if hardly anything is left.
                let size = (books.len * 5 / 3).max(len / 2).max(LEAST);
                (books.used, books.copied) = (0, 0);
                let present = Arc::new(Block::new(size));
                self.tables
                    .store(Arc::new(Tables { present, old: Some(Arc::clone(&tables.present)) }));
            }
            return;
        };
        let end = if full { old.len() } else { old.len().min(books.copied + STEP) };
        for cell in old.get(books.copied..end).unwrap_or_default() {
            if let Some((hash, place)) = parts(cell.load(Relaxed))
                && !places(present, hash).any(|(_, p)| p == place)
            {
                books.used += put(present, hash, place);
            }
        }
        books.copied = end;
        if end == old.len() {
            self.tables.store(Arc::new(Tables { present: Arc::clone(present), old: None }));
            books.retired.push(Arc::clone(old));
        }
    }
}

fn store(table: &Table, n: usize, value: u64) {
    if let Some(cell) = table.get(n) {
        cell.store(value, Release);
    }
}

/// Fills the first slot that is free. How many were empty before: 0 or 1.
fn put(table: &Table, hash: u32, place: u32) -> usize {
    let mut length = 0;
    for (n, present) in chain(table, hash) {
        if present == GONE {
            store(table, n, slot(hash, place));
            return 0;
        }
        length += 1;
    }
    let first = ((hash as u64 * table.len() as u64) >> 32) as usize;
    store(table, (first + length) % table.len(), slot(hash, place));
    1
}

/// Empties slots out of use at the end of a chain: nothing is behind them. How many.
fn tidy(table: &Table, hash: u32) -> usize {
    let ended: Vec<_> = chain(table, hash).collect();
    let gone = ended.iter().rev().take_while(|(_, s)| *s == GONE);
    gone.map(|(n, _)| store(table, *n, EMPTY)).count()
}

#[cfg(test)]
mod tests;
