//! Medians and ratios of the rounds.

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use crate::side::Sample;
use crate::work::Work;

/// What both sides did of one kind of work.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) work: Work,
    /// Messages of a round.
    pub(crate) messages: usize,
    /// Nanoseconds for each message, with the bus.
    pub(crate) ours: Spread,
    /// Nanoseconds for each message, without it; nothing where there is no such thing.
    pub(crate) raw: Option<Spread>,
    /// Messages that should have been received, and were not, with the bus.
    pub(crate) lost: u64,
    /// Messages that were received more than once, with the bus.
    pub(crate) duplicated: u64,
}

/// The middle of some rounds, and the least and the most.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    fn of(samples: &[Sample], messages: usize) -> Option<Self> {
        let mut each: Vec<f64> = samples
            .iter()
            .map(|sample| sample.took.as_secs_f64() * 1e9 / messages as f64)
            .collect();
        each.sort_by(f64::total_cmp);
        Some(Self {
            median: *each.get(each.len() / 2)?,
            least: *each.first()?,
            most: *each.last()?,
        })
    }
}

impl Outcome {
    pub(crate) fn of(work: Work, messages: usize, ours: &[Sample], raw: &[Sample]) -> Option<Self> {
        let lost = ours
            .iter()
            .map(|s| s.expected.saturating_sub(s.received))
            .sum();
        let duplicated = ours
            .iter()
            .map(|s| s.received.saturating_sub(s.expected))
            .sum();
        Some(Self {
            work,
            messages,
            ours: Spread::of(ours, messages)?,
            raw: Spread::of(raw, messages),
            lost,
            duplicated,
        })
    }
}

/// The outcomes as a table for people.
pub(crate) fn table(outcomes: &[Outcome], ours: &str, raw: Option<&str>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    let raw = raw.unwrap_or("–");
    table.set_header([
        "ns per message",
        ours,
        raw,
        "added",
        "rate of raw",
        "lost",
        "dup.",
    ]);
    for outcome in outcomes {
        let shown = |spread: Spread| {
            format!(
                "{:.0} ({:.0}–{:.0})",
                spread.median, spread.least, spread.most
            )
        };
        let (raw, added, ratio) = match outcome.raw {
            Some(raw) => (
                shown(raw),
                format!("{:+.0}", outcome.ours.median - raw.median),
                format!("{:.3}", raw.median / outcome.ours.median),
            ),
            None => ("–".to_owned(), "–".to_owned(), "–".to_owned()),
        };
        let cells = [
            outcome.work.to_string(),
            shown(outcome.ours),
            raw,
            added,
            ratio,
            outcome.lost.to_string(),
            outcome.duplicated.to_string(),
        ];
        table.add_row(cells.into_iter().enumerate().map(|(column, text)| {
            let cell = Cell::new(text);
            if column == 0 {
                cell
            } else {
                cell.set_alignment(CellAlignment::Right)
            }
        }));
    }
    table
}
