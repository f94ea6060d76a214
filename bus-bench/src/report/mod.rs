//! What people and programs get to see.

mod flat;
mod plot;
mod table;

use std::fmt;

use anyhow::{Result, ensure};
use serde::Serialize;

pub(crate) use plot::draw;

use crate::flat::Flat;
use crate::measured::Measured;
use crate::place::Place;

/// Everything about a run: a table with `Display`, JSON with serde.
#[derive(Debug, Serialize)]
pub struct Report {
    pub(crate) place: Place,
    pub(crate) rounds: usize,
    pub(crate) threads: usize,
    pub(crate) sides: Vec<Guarantee>,
    pub(crate) measured: Vec<Measured>,
    /// By size of payload.
    pub(crate) flat: Vec<Flat>,
}

impl Report {
    /// Whether every side has received what it should, once.
    ///
    /// # Errors
    /// Messages were lost or came twice.
    pub fn verify(&self) -> Result<()> {
        let compared: u64 = self.measured.iter().map(Measured::wrong).sum();
        let wrong = compared + self.flat.iter().map(Flat::wrong).sum::<u64>();
        ensure!(wrong == 0, "{wrong} messages were lost or came twice");
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let above = if self.flat.is_empty() {
            writeln!(f, "{}", table::table(&self.measured))?;
            "the bus is faster"
        } else {
            writeln!(f, "{}", flat::table(&self.flat))?;
            for flat in self.flat.iter().filter_map(|flat| flat.resident) {
                writeln!(f, "{flat}")?;
            }
            "it costs more than the small one"
        };
        writeln!(
            f,
            "{} rounds of all in turn, {} thread(s); medians (least–most); above 1 {above}",
            self.rounds, self.threads
        )?;
        write!(f, "{}", self.place)?;
        for side in &self.sides {
            write!(f, "\n{}: {}", side.side, side.guarantees)?;
        }
        Ok(())
    }
}

/// What a side has guaranteed when its call returns.
#[derive(Debug, Serialize)]
pub(crate) struct Guarantee {
    pub(crate) side: String,
    pub(crate) guarantees: String,
}
