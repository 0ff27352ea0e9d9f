//! Hash tables whose readers never wait: a fixed number of shards, each an immutable table behind an atomic pointer.

use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

/// Shards per table; a power of two.
const SHARDS: usize = 4096;

/// One immutable part of a table, and the pointer that publishes it.
type Shard<K, V> = ArcSwap<HashMap<K, V, RandomState>>;

/// A hash table whose readers never wait. Writers have to take turns by other means.
#[derive(Debug)]
pub struct Sharded<K, V> {
    hasher: RandomState,
    shards: Box<[Shard<K, V>]>,
}

impl<K: Hash + Eq + Copy, V: Clone> Default for Sharded<K, V> {
    /// An empty table.
    fn default() -> Self {
        let hasher = RandomState::new();
        // All empty shards are one and the same table.
        let empty = Arc::new(HashMap::with_hasher(hasher.clone()));
        let shards = (0..SHARDS).map(|_| ArcSwap::new(Arc::clone(&empty))).collect();
        Sharded { hasher, shards }
    }
}

impl<K: Hash + Eq + Copy, V: Clone> Sharded<K, V> {
    fn shard(&self, key: &K) -> &Shard<K, V> {
        // Bits from the middle: the tables inside use the lowest and the highest of the same hash.
        let index = (self.hasher.hash_one(key) >> 32) as usize % SHARDS;
        &self.shards[index]
    }

    /// The present value.
    pub fn get(&self, key: &K) -> Option<V> {
        self.shard(key).load().get(key).cloned()
    }

    /// Inserts or replaces a value; copies one shard.
    pub fn insert(&self, key: K, value: V) {
        let shard = self.shard(&key);
        let mut table = HashMap::clone(&shard.load());
        table.insert(key, value);
        shard.store(Arc::new(table));
    }

    /// Removes a key if its value is the one in question; copies one shard.
    pub fn remove_if(&self, key: &K, is_it: impl FnOnce(&V) -> bool) {
        let shard = self.shard(key);
        let present = shard.load();
        if present.get(key).is_some_and(is_it) {
            let mut table = HashMap::clone(&present);
            table.remove(key);
            shard.store(Arc::new(table));
        }
    }
}
