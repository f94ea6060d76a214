//! What people and programs get to see.

mod plot;
mod table;

use serde::Serialize;

pub(crate) use plot::draw;
pub(crate) use table::table;

use crate::measured::Measured;
use crate::place::Place;

/// Everything about a run, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) place: Place,
    pub(crate) rounds: usize,
    pub(crate) threads: usize,
    pub(crate) sides: Vec<Guarantee>,
    pub(crate) measured: Vec<Measured>,
}

/// What a side has guaranteed when its call returns.
#[derive(Debug, Serialize)]
pub(crate) struct Guarantee {
    pub(crate) side: String,
    pub(crate) guarantees: String,
}
