//! A few of many at a time, each in its turn.

/// Which one was last.
#[derive(Debug)]
pub struct Turns<K>(Option<K>);

impl<K> Default for Turns<K> {
    fn default() -> Turns<K> {
        Turns(None)
    }
}

impl<K: Copy + Ord> Turns<K> {
    /// The next ones of `all`, which is in order: those behind the last turn, then from the beginning again. At most
    /// `most`, and none twice.
    pub fn next(&mut self, all: impl Iterator<Item = K> + Clone, most: usize) -> Vec<K> {
        let last = self.0;
        let behind = all.clone().filter(|k| last.is_none_or(|last| *k > last));
        let turn: Vec<K> = behind.chain(all.clone()).take(most.min(all.count())).collect();
        self.0 = turn.last().copied();
        turn
    }
}
