//! Questions, and who answers them.

use std::borrow::Cow;

use bus_api::{Codec, Event, EventType, Pattern, Request, Result, Topic};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::context::Client;
use crate::outcome::Violation;
use crate::probe::crew::{Crew, Scripted};
use crate::probe::diary::{Diary, Run};
use crate::probe::gate::Gate;

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
    pub(crate) concurrency: usize,
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
    pub(crate) fn concurrency(self, concurrency: usize) -> Self {
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
        _post: Post,
        _diary: &Diary,
        _script: impl Fn(&Run) -> Say + Send + Sync + 'static,
    ) -> std::result::Result<Crew, Violation> {
        let _ = |text| Scripted(text);
        Err(Violation::new("responders are not wired yet"))
    }

    /// Asks a question and returns the answer, which has to come and to be its own.
    pub(crate) async fn ask(&self, number: u64) -> std::result::Result<Answer, Violation> {
        let answer = self
            .request(&Question { number })
            .timeout(crate::probe::PATIENCE)
            .await?
            .map_err(Violation::new)?;
        crate::outcome::ensure_eq!(answer.number, number, "the number in the reply");
        Ok(answer)
    }
}
