//! What a run found out: the object that `--json` prints.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::checks::Checks;
use crate::dead_letters::Reason;
use crate::input::Skipped;
use crate::table::{Cell, Table};

#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether every count is right.
    pub right: bool,
    pub transport: &'static str,
    /// Lines of the input that were no webhooks.
    pub skipped: Vec<Skipped>,
    /// What the transport confirmed.
    pub published: u64,
    pub topics: u64,
    /// How many of each kind `audit` has counted.
    pub kinds: BTreeMap<String, u64>,
    pub groups: Vec<Group>,
    /// Builds by each member of `ci`.
    pub members: Vec<u64>,
    /// Why `notify` gave up.
    pub dead_letters: Vec<Reason>,
    pub questions: Vec<Question>,
    pub checks: Checks,
    pub seconds: f64,
}

/// The counts of one subscriber.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Group {
    pub name: &'static str,
    pub expected: u64,
    pub delivered: u64,
    pub retried: u64,
    pub dead_lettered: u64,
    pub redriven: u64,
    pub lost: u64,
    pub duplicated: u64,
}

/// A request and how it ended.
#[derive(Clone, Debug, Serialize)]
pub struct Question {
    pub question: String,
    pub answer: String,
}

impl Question {
    pub fn new(what: &str, name: &str, answer: String) -> Self {
        let question = format!("{what} of {name}?");
        Self { question, answer }
    }
}

impl Report {
    pub fn table(&self) -> Table {
        let heading = [
            "",
            "published",
            "delivered",
            "retried",
            "dead-lettered",
            "redriven",
            "lost",
            "duplicated",
        ];
        let mut table = Table::new(&heading);
        for group in &self.groups {
            // A broadcast has no dead letters.
            let of_groups = |count| {
                if group.name == "audit" {
                    Cell::Nothing
                } else {
                    Cell::Count(count)
                }
            };
            table.row(vec![
                Cell::Name(group.name.to_owned()),
                Cell::Count(group.expected),
                Cell::Count(group.delivered),
                Cell::Count(group.retried),
                of_groups(group.dead_lettered),
                of_groups(group.redriven),
                Cell::Fault(group.lost),
                Cell::Fault(group.duplicated),
            ]);
        }
        table
    }
}
