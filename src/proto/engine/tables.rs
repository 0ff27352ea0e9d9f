//! How full the tables are that others can make us fill: for tests and fault finding.

use super::{Engine, ratelimit, table};

/// Number of such tables.
pub const TABLES: usize = 5;

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fill {
    /// What it holds.
    pub name: &'static str,
    /// How many it holds.
    pub entries: usize,
    /// How many it may hold.
    pub bound: usize,
}

impl Engine {
    /// All of them.
    pub fn tables(&self) -> [Fill; TABLES] {
        let limits = &self.config.limits;
        let [no_answer, no_support] = self.holddowns.counts();
        let fill = |name, entries, bound| Fill { name, entries, bound };
        [
            fill("contexts", self.table.count(), limits.contexts),
            fill("E-FAILED", no_answer, limits.holddowns),
            fill("NO-SUPPORT", no_support, limits.holddowns),
            fill("resting tags", self.table.resting(), table::most_resting(self.tag_space())),
            fill("prefixes", self.rates.prefixes(), ratelimit::MOST_PREFIXES),
        ]
    }
}
