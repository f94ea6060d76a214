//! `repository info`: a request and its reply, and what happens when the reply is late or nobody is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus::{BusClient, Event, Request, State, Worker};
use serde::{Deserialize, Serialize};

use crate::events::GitHub;

/// What is known about a repository?
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "repository.info", topic = "repository.info")]
pub struct RepositoryInfo {
    full_name: String,
}

/// The answer; not knowing a repository is one, too.
impl Request for RepositoryInfo {
    type Reply = Result<Facts, UnknownRepository>;
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub private: bool,
    /// How many of the payloads are about it.
    pub webhooks: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownRepository;

/// What happened in a repository so far? Takes longer to answer than anybody waits.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "repository.history", topic = "repository.history")]
pub struct RepositoryHistory {
    full_name: String,
}

impl Request for RepositoryHistory {
    type Reply = Vec<String>;
}

/// Who visits a repository? Nobody answers this one.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "repository.traffic", topic = "repository.traffic")]
pub struct RepositoryTraffic {
    full_name: String,
}

impl Request for RepositoryTraffic {
    type Reply = u64;
}

macro_rules! of {
    ($($question:ident),*) => {
        $(impl $question {
            pub fn of(full_name: &str) -> Self {
                let full_name = full_name.to_owned();
                Self { full_name }
            }
        })*
    };
}

of!(RepositoryInfo, RepositoryHistory, RepositoryTraffic);

/// What is known about each repository, by its full name.
pub type Known = BTreeMap<String, Facts>;

/// What the webhooks say about repositories.
pub fn known(events: &[GitHub]) -> Known {
    let mut known = Known::new();
    for event in events {
        if let Some(name) = event.repository() {
            let facts = known.entry(name.to_owned()).or_default();
            facts.private = event.is_private();
            facts.webhooks += 1;
        }
    }
    known
}

/// How long the history takes.
pub const HISTORY_TAKES: Duration = Duration::from_millis(250);

pub fn worker(bus: &BusClient, known: Arc<Known>) -> Worker<Arc<Known>> {
    bus.worker("repositories")
        .state(known)
        .respond(info)
        .respond(history)
}

async fn info(
    question: RepositoryInfo,
    State(known): State<Arc<Known>>,
) -> Result<Facts, UnknownRepository> {
    known
        .get(&question.full_name)
        .cloned()
        .ok_or(UnknownRepository)
}

async fn history(_: RepositoryHistory) -> Vec<String> {
    tokio::time::sleep(HISTORY_TAKES).await;
    Vec::new()
}
