//! Questions, and who answers them.

use std::borrow::Cow;
use std::sync::Arc;

use bus_api::{Codec, Event, EventType, HandlerError, Pattern, Request, Result, Topic};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::context::Client;
use crate::outcome::{Violation, ensure_eq};
use crate::probe::crew::{Crew, Scripted, scripted_panic};
use crate::probe::diary::{Diary, Run};
use crate::probe::gate::Gate;
use crate::probe::time::PATIENCE;

/// A numbered question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    /// Unique within the case.
    pub(crate) number: u64,
}

/// The reply to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The number of the question.
    pub(crate) number: u64,
    /// Which responder gave it.
    pub(crate) by: String,
}

impl Question {
    /// Where questions are asked.
    pub(crate) const TOPIC: &'static str = "ask.it";
}

impl Event for Question {
    fn types() -> Result<Vec<EventType>> {
        Ok(vec![EventType::new(
            "conformance.question",
            Pattern::new(Self::TOPIC)?,
        )])
    }

    fn event_type(&self) -> Cow<'static, str> {
        "conformance.question".into()
    }

    fn topic(&self) -> Result<Topic> {
        Topic::new(Self::TOPIC)
    }

    fn key(&self) -> Option<Bytes> {
        None
    }

    fn encode(&self, codec: &dyn Codec) -> Result<Bytes> {
        codec.to_bytes(self)
    }

    fn decode(_: Option<&str>, payload: &Bytes, codec: &dyn Codec) -> Result<Self> {
        codec.from_bytes(payload)
    }
}

impl Request for Question {
    /// The error is one of the domain: data, not a failure.
    type Reply = std::result::Result<Answer, String>;
}

/// What a responder does with a question.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// Answers.
    Answer,
    /// Answers once the gate is open.
    When(Gate),
    /// Answers with an error of the domain.
    No(String),
    /// Fails with this text.
    Fail(String),
    /// Panics.
    Panic,
    /// Never returns.
    Nothing,
}

/// A responder of the group `group`, named `name` in the diary, `concurrency` questions at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Post {
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    pub(crate) concurrency: u32,
}

/// A responder of `group` under the same name.
pub(crate) fn post(group: &'static str) -> Post {
    Post {
        group,
        name: group,
        concurrency: 64,
    }
}

impl Post {
    /// Has another name in the diary and in its answers.
    pub(crate) fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// Answers this many questions at a time.
    pub(crate) fn concurrency(self, concurrency: u32) -> Self {
        Self {
            concurrency,
            ..self
        }
    }
}

impl Client {
    /// Starts a responder that enters every question in `diary` and does what `script` says.
    pub(crate) async fn answer(
        &self,
        post: Post,
        diary: &Diary,
        script: impl Fn(&Run) -> Say + Send + Sync + 'static,
    ) -> Result<Crew> {
        let (diary, script, name) = (diary.clone(), Arc::new(script), post.name);
        let handler = move |question: Question, context: bus_api::Context| {
            let (diary, script) = (diary.clone(), script.clone());
            async move {
                let run = Run::new(name, question.number, &context);
                diary.begin(run.clone());
                let refused = perform(script(&run)).await?;
                diary.done(run.number);
                Ok::<_, HandlerError>(refused.map_or_else(
                    || {
                        Ok(Answer {
                            number: run.number,
                            by: name.to_owned(),
                        })
                    },
                    Err,
                ))
            }
        };
        let running = self
            .worker(post.group)
            .respond(handler)
            .concurrency(post.concurrency)
            .max_in_flight(post.concurrency.max(64) as usize)
            .timeout(PATIENCE)
            .start()
            .await?;
        Ok(Crew::new(running))
    }

    /// Asks a question and returns the answer, which has to come and to be its own.
    pub(crate) async fn ask(&self, number: u64) -> std::result::Result<Answer, Violation> {
        let answer = self
            .request(&Question { number })
            .timeout(PATIENCE)
            .await?
            .map_err(Violation::new)?;
        ensure_eq!(answer.number, number, "the number in the reply");
        Ok(answer)
    }
}

/// The error of the domain, if that is the answer.
async fn perform(say: Say) -> std::result::Result<Option<String>, HandlerError> {
    match say {
        Say::Answer => Ok(None),
        Say::When(gate) => {
            gate.passed().await;
            Ok(None)
        }
        Say::No(text) => Ok(Some(text)),
        Say::Fail(text) => Err(HandlerError::new(Scripted(text))),
        Say::Panic => scripted_panic(),
        Say::Nothing => std::future::pending().await,
    }
}
