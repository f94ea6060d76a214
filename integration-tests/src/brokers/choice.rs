//! The choice between containers and local processes.

use anyhow::{Result, bail};

const VARIABLE: &str = "BUS_TEST_BROKERS";

/// Where brokers are to come from, when it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Containers,
    Local,
}

impl Choice {
    /// What `BUS_TEST_BROKERS` says: `containers`, `local`, or nothing.
    pub(super) fn of_environment() -> Result<Option<Self>> {
        match std::env::var(VARIABLE).as_deref() {
            Err(_) | Ok("") => Ok(None),
            Ok("containers") => Ok(Some(Self::Containers)),
            Ok("local") => Ok(Some(Self::Local)),
            Ok(other) => bail!("{VARIABLE} is {other:?}; it can be `containers` or `local`"),
        }
    }
}
