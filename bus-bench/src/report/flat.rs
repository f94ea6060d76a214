//! What many topics, many subscriptions and long backlogs cost, as a table for people.

use comfy_table::{Table, presets};

use super::table::{row_of, texts};
use crate::flat::Flat;

/// A line for each shape.
pub(super) fn table(flat: &[Flat]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "shape",
        "payload",
        "ns per message",
        "to the small one",
        "lost",
        "twice",
    ]);
    for flat in flat {
        for cost in &flat.costs {
            let what = [cost.shape.to_string(), flat.payload.to_string()];
            table.add_row(row_of(what.into_iter().chain(texts(cost.figures)), &[0]));
        }
    }
    table
}
