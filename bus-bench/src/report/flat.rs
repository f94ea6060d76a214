//! What many topics, many subscriptions and long backlogs cost, as a table for people.

use comfy_table::{Table, presets};

use super::table::{row_of, spread};
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
            let texts = [
                cost.shape.to_string(),
                flat.payload.to_string(),
                spread(cost.nanos, 0),
                cost.ratio.map(|ratio| spread(ratio, 2)).unwrap_or_default(),
                cost.lost.to_string(),
                cost.duplicated.to_string(),
            ];
            table.add_row(row_of(texts, &[0]));
        }
    }
    table
}
