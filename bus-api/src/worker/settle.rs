//! What becomes of deliveries, once it is known how their handling ended.

use std::time::Duration;

use crate::contract::{Failure, Message};
use crate::error::{Error, ErrorKind};
use crate::member::{Decision, Held};
use crate::worker::error::{HandlerError, HandlerResult};
use crate::worker::meters::Ending;
use crate::worker::retry::Class;
use crate::worker::settings::Unknown;
use crate::worker::shared::Shared;

impl Shared {
    /// Whether `error` says that something the handlers need is away.
    pub(crate) fn is_unavailable(&self, error: &HandlerError) -> bool {
        self.settings.retry.classify(error) == Class::Unavailable
    }

    /// Settles a delivery by its handler's outcome. `defer`: the breaker is open, and what fails
    /// for want of something is deferred for so long.
    pub(crate) fn settle(
        &self,
        held: Held,
        outcome: HandlerResult,
        defer: Option<Duration>,
    ) -> Ending {
        match outcome {
            Ok(()) => {
                self.counts.handled.add(1);
                held.done();
                Ending::Ok
            }
            Err(error) if self.stop.is_cancelled() && is_given_up(&error) => self.hand_back(held),
            Err(error) => self.fail(held, &error, defer),
        }
    }

    fn fail(&self, held: Held, error: &HandlerError, defer: Option<Duration>) -> Ending {
        let decision = match defer {
            Some(after) if error.choice().is_none() && self.is_unavailable(error) => {
                Decision::Defer { after }
            }
            _ => self.settings.retry.decide(held.attempt(), error),
        };
        self.settle_failure(held, error.failure(), decision)
    }

    fn settle_failure(&self, held: Held, failure: Failure, decision: Decision) -> Ending {
        let (message, attempt) = (held.message(), held.attempt());
        let (group, topic, id) = (&*self.home.group, &message.topic, &message.metadata.id);
        let ending = match decision {
            Decision::Retry { after } => {
                self.counts.retried.add(1);
                tracing::info!(
                    target: "bus", group, %topic, %id, attempt, error = %failure, ?after,
                    "a message failed and is tried again"
                );
                Ending::Retry
            }
            Decision::DeadLetter => {
                self.counts.dead_lettered.add(1);
                tracing::warn!(
                    target: "bus", group, %topic, %id, attempt, error = %failure,
                    "a message is given up"
                );
                Ending::DeadLetter
            }
            Decision::Defer { after } => {
                self.counts.deferred.add(1);
                tracing::info!(
                    target: "bus", group, %topic, %id, attempt, error = %failure, ?after,
                    "a message is deferred"
                );
                Ending::Defer
            }
        };
        drop(held.fail(failure, decision));
        ending
    }

    /// Hands a delivery back that was not handled; no attempt is used.
    pub(crate) fn hand_back(&self, held: Held) -> Ending {
        self.counts.handed_back.add(1);
        drop(held.hand_back());
        Ending::HandBack
    }

    /// Settles a delivery whose payload no codec can read.
    pub(crate) fn undecodable(&self, held: Held, error: &Error) {
        let failure = Failure::new(Failure::DECODE, error.to_string());
        self.settle_failure(held, failure, Decision::DeadLetter);
    }

    /// Settles a delivery that no handler takes.
    pub(crate) fn unknown(&self, held: Held) {
        self.meters.unknown_types.increment(1);
        let failure = unknown_type(held.message());
        match self.settings.unknown {
            Unknown::Skip => {
                let name = held.message().metadata.event_type.as_deref();
                if self.first_of_type(name.unwrap_or_default()) {
                    let group = &*self.home.group;
                    let topic = &held.message().topic;
                    tracing::warn!(
                        target: "bus", group, %topic,
                        "{}; such messages are skipped", failure.text
                    );
                }
                self.counts.skipped.add(1);
                held.done();
            }
            Unknown::DeadLetter => {
                self.settle_failure(held, failure, Decision::DeadLetter);
            }
        }
    }
}

/// Why a message was not handled: no handler takes it.
pub(crate) fn unknown_type(message: &Message) -> Failure {
    let text = match message.metadata.event_type.as_deref() {
        Some(name) => format!("no handler takes the type {name:?}"),
        None => "the message names no type, and no one handler covers its topic".to_owned(),
    };
    Failure::new(Failure::UNKNOWN_TYPE, text)
}

/// Whether a handler failed because the bus is being closed: that is no failure of the message.
fn is_given_up(error: &HandlerError) -> bool {
    error.choice().is_none()
        && error
            .downcast_ref::<Error>()
            .is_some_and(|error| matches!(error.kind(), ErrorKind::Closed | ErrorKind::Canceled))
}
