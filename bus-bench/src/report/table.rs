//! A table for people.

use comfy_table::{Cell, CellAlignment, Table, presets};

use crate::measured::{Figures, Measured, Row, Spread};

/// A line for each side of each work.
pub(crate) fn table(measured: &[Measured]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "work",
        "payload",
        "side",
        "ns per message",
        "added by the bus",
        "rate of the bus to it",
        "lost",
        "twice",
    ]);
    for work in measured {
        let ours = work.sides.first();
        for (index, row) in work.sides.iter().enumerate() {
            let (name, payload) = if index == 0 {
                (work.work.to_string(), work.payload.to_string())
            } else {
                (String::new(), String::new())
            };
            let texts = [name, payload].into_iter().chain(cells(row, ours));
            table.add_row(row_of(texts, &[0, 2]));
        }
    }
    table
}

/// Numbers to the right, but in the columns of `words`.
pub(super) fn row_of(texts: impl IntoIterator<Item = String>, words: &[usize]) -> Vec<Cell> {
    let aligned = |(column, text)| match Cell::new(text) {
        cell if words.contains(&column) => cell,
        cell => cell.set_alignment(CellAlignment::Right),
    };
    texts.into_iter().enumerate().map(aligned).collect()
}

fn cells(row: &Row, ours: Option<&Row>) -> [String; 6] {
    let [nanos, ratio, lost, duplicated] = texts(row.figures);
    let more = |ours: &Row| ours.figures.nanos.median - row.figures.nanos.median;
    let added = ours
        .filter(|_| row.figures.ratio.is_some())
        .map(|ours| format!("{:+.0}", more(ours)));
    let added = added.unwrap_or_default();
    [row.side.clone(), nanos, added, ratio, lost, duplicated]
}

/// Nanoseconds, ratio, lost, twice.
pub(super) fn texts(figures: Figures) -> [String; 4] {
    let ratio = figures.ratio.map(|ratio| spread(ratio, 2));
    [
        spread(figures.nanos, 0),
        ratio.unwrap_or_default(),
        figures.lost.to_string(),
        figures.duplicated.to_string(),
    ]
}

fn spread(spread: Spread, digits: usize) -> String {
    format!(
        "{:.digits$} ({:.digits$}–{:.digits$})",
        spread.median, spread.least, spread.most
    )
}
