//! What a run of the suite found.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::case::Clause;
use crate::outcome::Outcome;

/// One case of a run.
#[derive(Clone, Debug)]
pub struct Row {
    /// The clause that it proves.
    pub clause: Clause,
    /// The name of the case.
    pub case: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
    /// The seed to repeat it with.
    pub seed: u64,
}

/// What a run of the suite found.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was tested.
    pub subject: String,
    /// The cases, in the order of the contract.
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether no case failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Row> {
        self.rows
            .iter()
            .filter(|row| matches!(row.outcome, Outcome::Failed(_)))
    }

    /// A Markdown table with a line per clause.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut clauses: Vec<(Clause, Vec<&Row>)> = Vec::new();
        for row in &self.rows {
            match clauses.last_mut() {
                Some((clause, rows)) if *clause == row.clause => rows.push(row),
                _ => clauses.push((row.clause, vec![row])),
            }
        }
        let mut out = format!("| clause | {} | cases |\n|---|---|---|\n", self.subject);
        for (clause, rows) in clauses {
            let mut counts = BTreeMap::from([("passed", 0), ("failed", 0), ("not run", 0)]);
            for row in &rows {
                *counts.entry(word(&row.outcome)).or_default() += 1;
            }
            let sum = counts
                .iter()
                .filter(|(_, count)| **count > 0)
                .map(|(word, count)| format!("{count} {word}"))
                .collect::<Vec<_>>()
                .join(", ");
            let names = rows
                .iter()
                .map(|row| format!("`{}`", row.case))
                .collect::<Vec<_>>()
                .join(" ");
            let _ = writeln!(out, "| {clause} | {sum} | {names} |");
        }
        out
    }

    /// JUnit XML, for machines that collect test results.
    #[must_use]
    pub fn junit(&self) -> String {
        let (failed, not_run) =
            self.rows
                .iter()
                .fold((0, 0), |(failed, not_run), row| match row.outcome {
                    Outcome::Passed => (failed, not_run),
                    Outcome::Failed(_) => (failed + 1, not_run),
                    Outcome::NotRun(_) => (failed, not_run + 1),
                });
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" skipped=\"{not_run}\">\n",
            escape(&self.subject),
            self.rows.len(),
        );
        for row in &self.rows {
            let _ = write!(
                out,
                "  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
                row.clause,
                row.case,
                row.took.as_secs_f64()
            );
            let _ = match &row.outcome {
                Outcome::Passed => writeln!(out, "/>"),
                Outcome::Failed(text) => {
                    writeln!(out, "><failure message=\"{}\"/></testcase>", escape(text))
                }
                Outcome::NotRun(text) => {
                    writeln!(out, "><skipped message=\"{}\"/></testcase>", escape(text))
                }
            };
        }
        out.push_str("</testsuite>\n");
        out
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed(_) => "failed",
        Outcome::NotRun(_) => "not run",
    }
}

/// Text as XML takes it: the five named entities, and no control characters.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
