//! A worker that follows a script.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bus_api::{Jitter, Retry};

use crate::context::Client;
use crate::outcome::Violation;
use crate::probe::diary::{Diary, Run};
use crate::probe::gate::Gate;
use crate::probe::time::{PATIENCE, ms};
use crate::probe::want::Want;

/// What a handler does with a message.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Returns at once: handled.
    Done,
    /// Returns this much later: handled.
    Take(Duration),
    /// Returns once the gate is open: handled.
    Wait(Gate),
    /// Never returns.
    Hang,
    /// Fails with this text; the policy decides.
    Fail(String),
    /// Fails for good.
    Refuse(String),
    /// Fails and asks for this delay.
    RetryAfter(Duration),
    /// Asks for this delay without failing.
    Defer(Duration),
    /// Panics.
    Panic,
}

impl Act {
    /// Fails with a text that nothing depends on.
    pub(crate) fn fail() -> Self {
        Self::Fail("scripted failure".to_owned())
    }

    /// Fails for good with a text that nothing depends on.
    pub(crate) fn refuse() -> Self {
        Self::Refuse("scripted refusal".to_owned())
    }
}

/// The error of a handler that fails as it was told.
#[derive(Clone, Debug)]
pub(crate) struct Scripted(pub(crate) String);

impl fmt::Display for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Scripted {}

/// What a handler does, by the call.
pub(crate) type Script = Arc<dyn Fn(&Run) -> Act + Send + Sync>;

/// What a case asks of a worker.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// How the diary names it.
    pub(crate) worker: &'static str,
    /// The subscription; its attempts and its backoff are the policy's.
    pub(crate) want: Want,
    /// The policy.
    pub(crate) retry: Retry,
    /// How long a handler may take.
    pub(crate) timeout: Duration,
    /// Handlers at a time.
    pub(crate) concurrency: usize,
    /// Whether expired messages become dead letters.
    pub(crate) keeps_expired: bool,
}

/// A worker for `want`: 3 attempts with 20 ms between them, 16 handlers at a time.
pub(crate) fn job(want: Want) -> Job {
    Job {
        worker: "one",
        want,
        retry: Retry::exponential(ms(20), ms(20))
            .attempts(3)
            .jitter(Jitter::None),
        timeout: Duration::from_secs(600),
        concurrency: 16,
        keeps_expired: false,
    }
}

impl Job {
    /// Has another name in the diary.
    pub(crate) fn named(self, worker: &'static str) -> Self {
        Self { worker, ..self }
    }

    /// Has another policy.
    pub(crate) fn retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// Has the usual policy with another number of attempts.
    pub(crate) fn attempts(self, attempts: u32) -> Self {
        Self {
            retry: self.retry.attempts(attempts),
            ..self
        }
    }

    /// Ends a handler after this long.
    pub(crate) fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Runs this many handlers at a time.
    pub(crate) fn concurrency(self, concurrency: usize) -> Self {
        Self {
            concurrency,
            ..self
        }
    }

    /// Makes dead letters of expired messages.
    pub(crate) fn keeping_expired(self) -> Self {
        Self {
            keeps_expired: true,
            ..self
        }
    }
}

/// A running worker.
#[derive(Debug)]
pub(crate) struct Crew {}

impl Client {
    /// Starts a worker that enters every call in `diary` and does what `script` says.
    pub(crate) async fn employ(
        &self,
        _job: Job,
        _diary: &Diary,
        _script: impl Fn(&Run) -> Act + Send + Sync + 'static,
    ) -> Result<Crew, Violation> {
        Err(Violation::new("workers are not wired yet"))
    }
}

impl Crew {
    /// Drains with all the time that it needs; nothing may be left over.
    pub(crate) async fn shutdown(self) -> Result<(), Violation> {
        self.drain(PATIENCE).await
    }

    /// Drains: waits for handlers up to `deadline`, then hands back what they hold.
    pub(crate) async fn drain(self, _deadline: Duration) -> Result<(), Violation> {
        Ok(())
    }

    /// Leaves it running for the rest of the case.
    pub(crate) fn leave_running(self) {}
}
