//! Planted bugs: the suite is tested by what it has to catch.
//!
//! Each [`Plant`] is a decorator that makes any bus wrong in one way, and names the case that catches it.
//! A plant that survives its case is a defect of the suite.

mod admin;
pub(crate) mod bug;
mod dead;
pub(crate) mod decorator;
mod factory;
mod publish;
mod receive;
mod requests;
mod settle;
mod subscribe;

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::case::find;
use crate::factory::Factory;
use crate::outcome::Outcome;
pub(crate) use crate::planted::bug::Bug;
pub(crate) use crate::planted::decorator::Planted;
use crate::planted::factory::PlantedFactory;
use crate::runner::execute;

/// A bug to plant, and the case that has to catch it.
#[derive(Clone)]
pub struct Plant {
    name: &'static str,
    caught_by: &'static str,
    bug: fn() -> Arc<dyn Bug>,
}

impl Plant {
    /// What is wrong, in a few words.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The case that has to catch it.
    #[must_use]
    pub fn caught_by(&self) -> &'static str {
        self.caught_by
    }

    /// Plants the bug into the connections of `factory`.
    #[must_use]
    pub fn into_factory(&self, factory: Arc<dyn Factory>) -> Arc<dyn Factory> {
        Arc::new(PlantedFactory {
            inner: factory,
            bug: (self.bug)(),
        })
    }

    /// Runs the case against the bug; `Ok` holds what the case complained about.
    ///
    /// # Errors
    /// What went wrong with the suite: no such case, or the bug survived.
    pub fn check(&self, factory: Arc<dyn Factory>) -> Result<String, String> {
        let case =
            find(self.caught_by).ok_or_else(|| format!("there is no case {}", self.caught_by))?;
        let row = execute(&case, &self.into_factory(factory), None);
        match row.outcome {
            Outcome::Failed(complaint) => Ok(complaint),
            Outcome::Passed => Err(format!(
                "{} did not notice it, seed {}",
                self.caught_by, row.seed
            )),
            Outcome::NotRun(why) => Err(format!("{} was not run: {why}", self.caught_by)),
        }
    }
}

impl std::fmt::Debug for Plant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plant({})", self.name)
    }
}

/// Every planted bug.
#[must_use]
pub fn plants() -> Vec<Plant> {
    [
        publish::plants(),
        subscribe::plants(),
        receive::plants(),
        settle::plants(),
        dead::plants(),
        requests::plants(),
        admin::plants(),
    ]
    .concat()
}

/// Runs every planted bug against its case as the `main` of a test target without harness: a line each,
/// which says the bug and the case that caught it.
pub fn main(factory: &Arc<dyn Factory>) -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let trials = plants()
        .into_iter()
        .map(|plant| {
            let factory = factory.clone();
            let line = format!("{}: {}", plant.name, plant.caught_by);
            Trial::test(line, move || {
                plant.check(factory).map(drop).map_err(Failed::from)
            })
            .with_kind("planted")
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Makes a [`Plant`] of a bug that has a default value.
macro_rules! plant {
    ($bug:ty, $name:literal, $caught_by:literal) => {
        $crate::planted::Plant {
            name: $name,
            caught_by: $caught_by,
            bug: || std::sync::Arc::new(<$bug>::default()),
        }
    };
}
pub(crate) use plant;
