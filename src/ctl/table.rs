//! Calm tables: columns aligned by two spaces, a header, no lines.

use std::fmt::Write;

/// A table that is filled row by row.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
    right: &'static [usize],
}

impl Table {
    /// A table with this header; the columns with these numbers are aligned to the right.
    pub fn new(header: &[&str], right: &'static [usize]) -> Table {
        Table { rows: vec![header.iter().map(|&s| s.to_owned()).collect()], right }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Whether there is only the header.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The text, every line ended.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths.get(column).copied().unwrap_or(0);
                let gap = if column == 0 { "" } else { "  " };
                // Writing to a String does not fail.
                let _ = match self.right.contains(&column) {
                    true => write!(line, "{gap}{cell:>width$}"),
                    false => write!(line, "{gap}{cell:<width$}"),
                };
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }
}

/// Names and values, one a line; empty values are left out.
pub fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let mut lines = value.lines();
        let _ = writeln!(text, "{name:<width$}  {}", lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(text, "{:<width$}  {line}", "");
        }
    }
    text
}

/// A span of time as people say it: `850 ms`, `4.2 s`, `3 min`, `2 h 5 min`, `4 d`.
pub fn span(ms: u64) -> String {
    let s = ms / 1000;
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{s}.{} s", ms % 1000 / 100),
        60_000..3_600_000 => format!("{} min", s / 60),
        3_600_000..172_800_000 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d", s / 86_400),
    }
}

/// A span, or a dash.
pub fn maybe_span(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".to_owned(), span)
}

/// A round trip in milliseconds, or a dash.
pub fn rtt(us: Option<u64>) -> String {
    us.map_or_else(|| "-".to_owned(), |us| format!("{}.{:02} ms", us / 1000, us % 1000 / 10))
}

/// Octets with a binary unit.
pub fn octets(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{value:.1} {}", units.get(unit).copied().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["ID", "STATE", "OUT"], &[0, 2]);
        table.row(vec!["7".into(), "ESTABLISHED".into(), "9 B".into()]);
        table.row(vec!["128".into(), "IDLE".into(), "10.0 KiB".into()]);
        assert_eq!(
            table.text(),
            " ID  STATE             OUT\n  7  ESTABLISHED       9 B\n128  IDLE         10.0 KiB\n"
        );
    }

    #[test]
    fn spans_and_octets_are_short() {
        let spans: Vec<_> =
            [5, 4200, 59_999, 60_000, 7_500_000, 400_000_000].into_iter().map(span).collect();
        assert_eq!(spans, ["5 ms", "4.2 s", "59.9 s", "1 min", "2 h 5 min", "4 d"]);
        let sizes: Vec<_> = [0, 1023, 1024, 1_048_575, 1 << 40, u64::MAX].map(octets).into();
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.0 TiB", "16.0 EiB"]);
        assert_eq!(rtt(Some(20_450)), "20.45 ms");
        assert_eq!(
            pairs(&[("a", "x\ny".into()), ("bcd", "z".into()), ("e", String::new())]),
            "a    x\n     y\nbcd  z\n"
        );
    }
}
