//! Where a subscription starts: an offset of every partition.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use bus_api::{ErrorKind, Pattern, Position, Result, Start};

use crate::core::Core;
use crate::error::error;
use crate::sys::{self, When};
use crate::topics::{Known, incarnation, parse_log};

/// An offset of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct From {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) id: u128,
}

impl Core {
    /// The logs that may hold messages of `pattern`, by Kafka topic.
    pub(crate) async fn logs_of(
        self: &Arc<Self>,
        pattern: &Pattern,
    ) -> Result<Vec<(String, Known)>> {
        let names = match self.names.only_log(pattern) {
            Some(log) => vec![log],
            None => {
                let mut names: Vec<String> = self
                    .all_topics()
                    .await?
                    .into_iter()
                    .filter(|name| self.names.reaches(pattern, name))
                    .collect();
                names.sort();
                names
            }
        };
        let known = self.look_up(&names).await?;
        Ok(names
            .into_iter()
            .zip(known)
            .filter_map(|(name, known)| Some((name, known?)))
            .collect())
    }

    /// Resolves `start` now, for every partition of `logs`.
    ///
    /// # Errors
    /// `NotFound` for a position whose log is gone.
    pub(crate) async fn resolve(
        self: &Arc<Self>,
        start: &Start,
        logs: &[(String, Known)],
    ) -> Result<Vec<From>> {
        let (when, own) = match start {
            Start::Earliest => (When::Earliest, None),
            Start::Latest => (When::Latest, None),
            Start::Time(time) => (When::At(millis(*time)), None),
            Start::Position(position) => {
                let own = self.own_log(position).await?;
                (When::At(millis(position.stored_at())), Some(own))
            }
            other => {
                return Err(error(
                    ErrorKind::Unsupported,
                    format!("this release does not know the start {other:?}"),
                ));
            }
        };
        let latest = self.offsets(logs, When::Latest).await?;
        let wanted = match when {
            When::Latest => HashMap::new(),
            _ => self.offsets(logs, when).await?,
        };
        let earliest = match own {
            Some(_) => self.offsets(logs, When::Earliest).await?,
            None => HashMap::new(),
        };
        let mut found = Vec::new();
        for (topic, known) in logs {
            for partition in 0..known.partitions {
                let key = (topic.clone(), partition);
                let end = latest.get(&key).copied().unwrap_or(0);
                // Nothing was stored then or later.
                let mut offset = wanted
                    .get(&key)
                    .copied()
                    .filter(|offset| *offset >= 0)
                    .unwrap_or(end);
                if let Some((own_topic, own_partition, own_offset)) = &own
                    && *own_topic == *topic
                    && *own_partition == partition
                {
                    let first = earliest.get(&key).copied().unwrap_or(0);
                    offset = (*own_offset).clamp(first, end.max(first));
                }
                found.push(From {
                    topic: topic.clone(),
                    partition,
                    offset,
                    id: known.id,
                });
            }
        }
        Ok(found)
    }

    /// Topic, partition and offset of a position whose log is still the same.
    async fn own_log(self: &Arc<Self>, position: &Position) -> Result<(String, i32, i64)> {
        let gone = || {
            error(
                ErrorKind::NotFound,
                "the log of the position does not exist (any more)",
            )
            .with("position", position)
        };
        let (topic, partition, mark) = parse_log(position.log()).ok_or_else(gone)?;
        let known = self.look_up(&[topic.to_owned()]).await?;
        let same = known
            .into_iter()
            .flatten()
            .any(|known| incarnation(known.id) == mark && partition < known.partitions);
        if !same {
            return Err(gone());
        }
        let offset = i64::try_from(position.offset().0).unwrap_or(i64::MAX);
        Ok((topic.to_owned(), partition, offset))
    }

    /// One offset of every partition of `logs`.
    pub(crate) async fn offsets(
        self: &Arc<Self>,
        logs: &[(String, Known)],
        when: When,
    ) -> Result<HashMap<(String, i32), i64>> {
        let partitions: Vec<(String, i32, When)> = logs
            .iter()
            .flat_map(|(topic, known)| {
                (0..known.partitions).map(|partition| (topic.clone(), partition, when))
            })
            .collect();
        let found = self
            .ask(move |core, patience| {
                sys::list_offsets(core.client(), partitions.clone(), patience)
            })
            .await?;
        Ok(found
            .into_iter()
            .map(|element| ((element.topic, element.partition), element.offset))
            .collect())
    }
}

fn millis(time: SystemTime) -> i64 {
    i64::try_from(crate::registry::millis(time)).unwrap_or(i64::MAX)
}
