//! The events: three with a struct of their own, and one for all the others.

use anyhow::{Context, Result};
use bus::Event;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a struct does not name; kept, so that nothing is lost on the way.
pub type Rest = Map<String, Value>;

/// Commits were pushed to a branch or a tag.
#[derive(Clone, Debug, Serialize, Deserialize, Event)]
#[event(
    type = "github.push",
    topic = "github.push",
    key = "repository.full_name"
)]
pub struct Push {
    /// Such as `refs/heads/main`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// What was pushed.
    pub commits: Vec<Value>,
    pub repository: Repository,
    #[serde(flatten)]
    pub rest: Rest,
}

/// Something happened to a pull request.
#[derive(Clone, Debug, Serialize, Deserialize, Event)]
#[event(
    type = "github.pull_request",
    topic = "github.pull_request.{action}",
    key = "repository.full_name"
)]
pub struct PullRequest {
    /// Such as `opened`.
    pub action: String,
    pub number: u64,
    pub repository: Repository,
    #[serde(flatten)]
    pub rest: Rest,
}

/// Something happened to a check.
#[derive(Clone, Debug, Serialize, Deserialize, Event)]
#[event(
    type = "github.check_run",
    topic = "github.check_run.{action}",
    key = "repository.full_name"
)]
pub struct CheckRun {
    /// Such as `completed`.
    pub action: String,
    pub check_run: Check,
    pub repository: Repository,
    #[serde(flatten)]
    pub rest: Rest,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    pub status: String,
    #[serde(flatten)]
    pub rest: Rest,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Repository {
    /// Such as `octo-org/octo-repo`.
    pub full_name: String,
    pub private: bool,
    #[serde(flatten)]
    pub rest: Rest,
}

/// Everything else, as GitHub sent it.
#[derive(Clone, Debug, Serialize, Deserialize, Event)]
#[event(
    type = "github.webhook",
    topic = "github.{event}.{action?}",
    key = "repository"
)]
pub struct Webhook {
    pub event: String,
    pub action: Option<String>,
    /// The full name, when the payload is about a repository.
    pub repository: Option<String>,
    pub payload: Rest,
}

/// Any webhook: one type of event per variant, with the variant's own payload on the wire.
#[derive(Clone, Debug, Serialize, Deserialize, Event)]
pub enum GitHub {
    #[event(type = "github.push")]
    Push(Push),
    #[event(type = "github.pull_request")]
    PullRequest(PullRequest),
    #[event(type = "github.check_run")]
    CheckRun(CheckRun),
    #[event(type = "github.webhook")]
    Other(Webhook),
}

impl GitHub {
    /// The event that GitHub calls `event`.
    pub fn new(event: String, action: Option<String>, payload: Rest) -> Result<Self> {
        Ok(match event.as_str() {
            "push" => Self::Push(read(&event, payload)?),
            "pull_request" => Self::PullRequest(read(&event, payload)?),
            "check_run" => Self::CheckRun(read(&event, payload)?),
            _ => Self::Other(Webhook {
                repository: full_name(&payload),
                event,
                action,
                payload,
            }),
        })
    }

    /// GitHub's name of the event.
    pub fn kind(&self) -> &str {
        match self {
            Self::Push(_) => "push",
            Self::PullRequest(_) => "pull_request",
            Self::CheckRun(_) => "check_run",
            Self::Other(webhook) => &webhook.event,
        }
    }

    /// The full name of the repository, when it is about one.
    pub fn repository(&self) -> Option<&str> {
        match self {
            Self::Push(push) => Some(&push.repository.full_name),
            Self::PullRequest(pull) => Some(&pull.repository.full_name),
            Self::CheckRun(check) => Some(&check.repository.full_name),
            Self::Other(webhook) => webhook.repository.as_deref(),
        }
    }

    /// Whether the repository is private.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Push(push) => push.repository.private,
            Self::PullRequest(pull) => pull.repository.private,
            Self::CheckRun(check) => check.repository.private,
            Self::Other(webhook) => webhook
                .payload
                .get("repository")
                .is_some_and(|repository| repository["private"] == true),
        }
    }

    /// Whether a program caused it.
    pub fn is_by_bot(&self) -> bool {
        let rest = match self {
            Self::Push(push) => &push.rest,
            Self::PullRequest(pull) => &pull.rest,
            Self::CheckRun(check) => &check.rest,
            Self::Other(webhook) => &webhook.payload,
        };
        rest.get("sender")
            .is_some_and(|sender| sender["type"] == "Bot")
    }
}

fn read<T: DeserializeOwned>(event: &str, payload: Rest) -> Result<T> {
    serde_json::from_value(Value::Object(payload))
        .with_context(|| format!("no payload of a {event} event"))
}

fn full_name(payload: &Rest) -> Option<String> {
    Some(
        payload
            .get("repository")?
            .get("full_name")?
            .as_str()?
            .to_owned(),
    )
}
