//! The contract of the bus as a library of cases that runs against any adapter.
//!
//! Every clause of the contract is proved by at least one [`Case`] that carries the clause in its name
//! and runs unchanged on every transport. An adapter joins in by writing a [`Factory`]; it then gets
//! the suite as ordinary tests ([`main`]) or as a call that returns a [`Report`] ([`run`]).

mod case;
mod cases;
mod context;
mod factory;
mod model;
mod outcome;
mod planted;
mod probe;
mod report;
mod runner;
mod severable;
mod spares;

pub use case::{Case, Clause, all, find};
pub use context::Context;
pub use factory::{Connection, Control, Disturb, Factory, Foreign, Transport};
pub use outcome::{Outcome, Violation};
pub use planted::{Plant, main as main_planted, plants};
pub use report::{Report, Row};
pub use runner::{RunOptions, main, main_with_spares, run};
pub use severable::Severable;
