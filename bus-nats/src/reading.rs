//! Consumers that only read what is stored.
//!
//! Such a consumer has one replica, which the servers choose by chance, and reads what the copy of the stream there has. A
//! copy that lags behind would show too little, as if it were all. So it is compared with what the leader of the stream
//! says of its copies.

use std::time::SystemTime;

use bus_api::{ErrorKind, Result};
use serde::Deserialize;
use serde_json::json;

use crate::api::{ConsumerInfo, time};
use crate::core::Core;
use crate::error::error;
use crate::subscribe::TRIES;

/// The servers that have copies of something.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Copies {
    pub(crate) leader: Option<String>,
    #[serde(default = "Vec::new")]
    replicas: Vec<Replica>,
}

#[derive(Debug, Deserialize)]
struct Replica {
    name: String,
    #[serde(default)]
    current: bool,
    /// Operations that it has not confirmed to the leader.
    #[serde(default)]
    lag: u64,
}

impl Copies {
    /// Whether the server of this name has everything that the leader has.
    fn is_complete_at(&self, server: &str) -> bool {
        self.leader.as_deref() == Some(server)
            || self
                .replicas
                .iter()
                .any(|copy| copy.name == server && copy.current && copy.lag == 0)
    }
}

/// Where reading begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum First {
    /// At the message with this number.
    Message(u64),
    /// At the first message of this time or later.
    At(SystemTime),
}

impl Core {
    /// Makes a consumer for reading a stream from `first` on, where everything can be read that was confirmed before.
    /// It goes by itself when it is not used for five seconds.
    ///
    /// # Errors
    /// `Unavailable` when no complete copy was found.
    pub(crate) async fn reading_consumer(
        &self,
        stream: &str,
        filter: Option<&str>,
        first: First,
        headers_only: bool,
    ) -> Result<ConsumerInfo> {
        let (policy, key, start) = match first {
            First::Message(number) => ("by_start_sequence", "opt_start_seq", json!(number.max(1))),
            First::At(at) => ("by_start_time", "opt_start_time", json!(time(at))),
        };
        for _ in 0..TRIES {
            // Before it is made: a copy that is complete only afterwards may have been read too early.
            let copies = match self.config.replicas {
                1 => None,
                _ => self
                    .stream_info(stream)
                    .await?
                    .and_then(|info| info.cluster),
            };
            let name = format!("r-{}", uuid::Uuid::new_v4().simple());
            let config = json!({
                "name": name, "ack_policy": "none", "deliver_policy": policy, (key): start,
                "replay_policy": "instant", "headers_only": headers_only,
                "mem_storage": true, "num_replicas": 1, "inactive_threshold": 5_000_000_000_u64,
                "filter_subject": filter,
            });
            let info = self.create_consumer(stream, &name, &config).await?;
            let at = info
                .cluster
                .as_ref()
                .and_then(|copies| copies.leader.as_deref());
            match (&copies, at) {
                (Some(copies), Some(at)) if !copies.is_complete_at(at) => {
                    self.delete_consumer(stream, &name).await?;
                }
                _ => return Ok(info),
            }
        }
        Err(error(
            ErrorKind::Unavailable,
            "the copies of the stream lag behind its leader",
        )
        .with("stream", stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_leader_and_copies_without_lag_are_complete() {
        let copies: Copies = serde_json::from_value(json!({
            "name": "c", "leader": "one",
            "replicas": [
                {"name": "two", "current": true, "active": 5},
                {"name": "three", "current": true, "active": 5, "lag": 7},
                {"name": "four", "current": false, "active": 5},
            ],
        }))
        .unwrap();
        let complete = ["one", "two", "three", "four", "five"].map(|at| copies.is_complete_at(at));
        assert_eq!(complete, [true, true, false, false, false]);
    }
}
