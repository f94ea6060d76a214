//! What people and programs get to see.

mod plot;
mod table;

use std::fmt;

use anyhow::{Result, ensure};
use serde::Serialize;

pub(crate) use plot::draw;

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
}

impl Report {
    /// Whether every side has received what it should, once.
    ///
    /// # Errors
    /// Messages were lost or came twice.
    pub fn verify(&self) -> Result<()> {
        let wrong: u64 = self.measured.iter().map(Measured::wrong).sum();
        ensure!(wrong == 0, "{wrong} messages were lost or came twice");
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", table::table(&self.measured))?;
        writeln!(
            f,
            "{} rounds of all sides in turn, {} thread(s); medians (least–most); above 1 the bus is faster",
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
