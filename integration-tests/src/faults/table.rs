//! What was done and counted, as a table.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::ledger::Verdict;

/// One scenario.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) fault: String,
    pub(super) times: u32,
    /// Confirmed publishes a second, before each fault.
    pub(super) rates: Vec<f64>,
    pub(super) confirmed: u64,
    pub(super) indeterminate: u64,
    pub(super) rejected: u64,
    pub(super) settled: u64,
    pub(super) fenced: u64,
    /// Why publishes were not confirmed.
    pub(super) refusals: BTreeMap<String, u64>,
    /// The longest time from the end of a fault until messages were confirmed and settled again.
    pub(super) resumed: Duration,
    pub(super) took: Duration,
    pub(super) verdict: Verdict,
}

/// The message that aborts its process.
#[derive(Debug)]
pub(super) struct AbortRow {
    pub(super) others: usize,
    pub(super) runs: u32,
    pub(super) processes: u32,
    pub(super) dead_letters: usize,
    pub(super) took: Duration,
    pub(super) violations: Vec<String>,
}

/// The scenarios as a Markdown table, with a line on what the columns mean.
pub(super) fn rows(rows: &[Row]) -> String {
    let mut out = String::from(
        "| fault | times | msg/s (least) | confirmed | unknown | refused | settled | again unsettled | fenced | \
         crossed | young acks again | resumed within | took | violations |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let mean = row.rates.iter().sum::<f64>() / row.rates.len().max(1) as f64;
        let least = row.rates.iter().copied().fold(mean, f64::min);
        let _ = writeln!(
            out,
            "| {} | {} | {mean:.0} ({least:.0}) | {} | {} | {} | {} | {} | {} | {} | {} | {:.1} s | {:.0} s | {} |",
            row.fault,
            row.times,
            row.confirmed,
            row.indeterminate,
            row.rejected,
            row.settled,
            row.verdict.redelivered,
            row.fenced,
            row.verdict.crossed,
            row.verdict.young,
            row.resumed.as_secs_f64(),
            row.took.as_secs_f64(),
            row.verdict.violations.len()
        );
    }
    for row in rows {
        for (why, count) in &row.refusals {
            let _ = writeln!(out, "\n{}: {count} publishes failed with {why}", row.fault);
        }
    }
    out
}

/// The runs of the aborting message as a Markdown table.
pub(super) fn abort_rows(rows: &[AbortRow]) -> String {
    let mut out = String::from(
        "| aborting message | processes | its runs | others handled | dead letters | took | violations |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for (index, row) in (1..).zip(rows) {
        let _ = writeln!(
            out,
            "| {index} | {} | {} | {} | {} | {:.0} s | {} |",
            row.processes,
            row.runs,
            row.others,
            row.dead_letters,
            row.took.as_secs_f64(),
            row.violations.len()
        );
    }
    out
}
