//! A table, for Markdown and for a terminal.

use std::ops::Range;

/// Rows of cells under a head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Table {
    pub(in super::super) head: Vec<String>,
    pub(in super::super) rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { head: head.map(str::to_owned).into(), rows: Vec::new() }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// As Markdown; the columns in `numbers` stand right.
    pub(super) fn markdown(&self, numbers: &Range<usize>) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let rule = |place: usize| if numbers.contains(&place) { "---:" } else { "---" }.to_owned();
        let mut out = line(self.head.iter().map(|cell| escape(cell)).collect());
        out.push_str(&line((0..self.head.len()).map(rule).collect()));
        for row in &self.rows {
            out.push_str(&line(row.iter().map(|cell| escape(cell)).collect()));
        }
        out
    }

    /// The first columns as aligned text.
    pub(in super::super) fn plain(&self, columns: usize) -> String {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let width = |place: usize| {
            let cells = lines().filter_map(|row| row.get(place)).map(|cell| cell.chars().count());
            cells.max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for row in lines() {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            out.push('\n');
        }
        out
    }
}

/// A cell can't hold what ends it.
fn escape(cell: &str) -> String {
    cell.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_for_both() {
        let mut table = Table::new(["server", "CPU, µs"]);
        table.row(["hubbub".into(), "3.7".into()]);
        table.row(["ws".into(), "failed: a | b\nc".into()]);
        assert_eq!(
            table.markdown(&(1..2)),
            "| server | CPU, µs |\n| --- | ---: |\n| hubbub | 3.7 |\n| ws | failed: a \\| b c |\n"
        );
        assert!(table.plain(2).starts_with("server  CPU, µs\nhubbub  3.7\nws      failed"));
    }
}
