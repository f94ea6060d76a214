//! A worker that follows a script.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bus_api::{Error, Expired, HandlerError, Jitter, Report, Retry, Running};

use crate::context::Client;
use crate::outcome::{Violation, ensure_eq};
use crate::probe::diary::{Diary, Run};
use crate::probe::gate::Gate;
use crate::probe::note::Note;
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
    pub(crate) concurrency: u32,
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
    pub(crate) fn concurrency(self, concurrency: u32) -> Self {
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

/// A running worker or responder.
#[derive(Debug)]
pub(crate) struct Crew {
    running: Running,
}

impl Client {
    /// Starts a worker that enters every call in `diary` and does what `script` says.
    pub(crate) async fn employ(
        &self,
        job: Job,
        diary: &Diary,
        script: impl Fn(&Run) -> Act + Send + Sync + 'static,
    ) -> Result<Crew, Error> {
        let (diary, script, name) = (diary.clone(), Arc::new(script), job.worker);
        let handler = move |note: Note, context: bus_api::Context| {
            let (diary, script) = (diary.clone(), script.clone());
            async move {
                if let Err(damage) = Note::of(context.message()) {
                    diary.damaged(damage);
                }
                let run = Run::new(name, note.number, &context);
                diary.begin(run.clone());
                perform(script(&run)).await?;
                diary.done(run.number);
                Ok::<(), HandlerError>(())
            }
        };
        let want = job.want;
        let worker = match &want.group {
            Some(group) => self.worker(group),
            None => self.broadcast_worker(name),
        };
        let expired = if job.keeps_expired {
            Expired::DeadLetter
        } else {
            Expired::Drop
        };
        let running = worker
            .pattern(&want.pattern)
            .on(handler)
            .retry(job.retry)
            .timeout(job.timeout)
            .concurrency(job.concurrency)
            .max_in_flight(want.max_in_flight)
            .lease(want.lease)
            .order(want.order)
            .start_at(want.start)
            .expired(expired)
            .start()
            .await?;
        Ok(Crew::new(running))
    }
}

async fn perform(act: Act) -> Result<(), HandlerError> {
    let error = |text: String| HandlerError::new(Scripted(text));
    match act {
        Act::Done => Ok(()),
        Act::Take(long) => {
            tokio::time::sleep(long).await;
            Ok(())
        }
        Act::Wait(gate) => {
            gate.passed().await;
            Ok(())
        }
        Act::Hang => std::future::pending().await,
        Act::Fail(text) => Err(error(text)),
        Act::Refuse(text) => Err(error(text).dead_letter()),
        Act::RetryAfter(delay) => Err(error("later".into()).retry_after(delay)),
        Act::Defer(delay) => Err(error("not now".into()).defer(delay)),
        Act::Panic => scripted_panic(),
    }
}

/// Unwinds as `panic!` does, which is what the case is about, without the hook that prints.
pub(crate) fn scripted_panic<T>() -> T {
    std::panic::resume_unwind(Box::new("scripted panic"))
}

impl Crew {
    pub(crate) fn new(running: Running) -> Self {
        Self { running }
    }

    /// Drains with all the time that it needs; nothing may be left over.
    pub(crate) async fn shutdown(self) -> Result<(), Violation> {
        let report = self.drain(PATIENCE).await?;
        ensure_eq!(
            report.unsettled,
            0,
            "what a drain with time enough left unsettled"
        );
        Ok(())
    }

    /// Drains: waits for handlers up to `deadline`, then hands back what they hold.
    pub(crate) async fn drain(self, deadline: Duration) -> Result<Report, Violation> {
        let mut report = self.running.shutdown(deadline).await;
        match report.error.take() {
            Some(error) => Err(Violation::new("a drain failed").because(error)),
            None => Ok(report),
        }
    }

    /// Leaves it as it is for the rest of the case.
    pub(crate) fn leave_running(self) {
        // Dropping it would drain it.
        std::mem::forget(self.running);
    }
}
