//! The nearest right word for a wrong one.

/// The candidate that most likely was meant, if any is near enough: at most a third of its letters differ, at
/// least one, where a swap of neighbours counts once.
pub fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody mistypes a novel; this bounds the work on hostile input.
    if wrong.len() > 64 {
        return None;
    }
    let wrong = wrong.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|c| (distance(&wrong, &c.to_ascii_lowercase().replace('-', "_")), c))
        .filter(|&(d, c)| d <= (c.chars().count().max(wrong.chars().count()) / 3).max(1))
        .min_by_key(|&(d, _)| d)
        .map(|(_, c)| c)
}

/// Edits that turn one word into the other: insertions, deletions, replacements, swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distance_counts_edits_and_swaps() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("staus", "status"), 1);
        assert_eq!(distance("sattus", "status"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn nearest_finds_the_word_meant_and_nothing_far_away() {
        let words = ["send_timeout", "keepalive_timeout", "hot_standby"];
        assert_eq!(nearest("send-timeout", words), Some("send_timeout"));
        assert_eq!(nearest("sendtimeout", words), Some("send_timeout"));
        assert_eq!(nearest("hot_stanby", words), Some("hot_standby"));
        assert_eq!(nearest("colour", words), None);
        assert_eq!(nearest("", words), None);
        assert_eq!(nearest(&"send_timeout".repeat(1000), words), None);
    }
}
