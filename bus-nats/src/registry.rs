//! The records of durable subscriptions in the stream of bookkeeping.

use std::time::Duration;

use async_nats::HeaderMap;
use bus_api::{Error, ErrorKind, Group, Pattern, Result, SubscriptionId, split_version};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{nanos, pub_ack, time};
use crate::core::Core;
use crate::error::{UNDECIDED, WRONG_LAST_SEQUENCE, is_refusal};
use crate::link::Lost;
use crate::start::StoredStart;
use crate::wire::{EXPECTED, put};

const VERSION: u8 = 1;
const WHAT: &str = "the record of a durable subscription";
/// How long one try to store a record waits for its answer.
const TRY: Duration = Duration::from_millis(1_500);
/// How long to wait for another write in the same place to be decided.
const REST: Duration = Duration::from_millis(20);

/// What all members of a durable subscription agree upon. Stored as a version byte and JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubRecord {
    pub(crate) group: String,
    pub(crate) pattern: String,
    /// The log that the start is about.
    pub(crate) log: String,
    pub(crate) start: StoredStart,
    /// Names the consumer: raised whenever a new one takes the place of the old.
    pub(crate) generation: u64,
    /// Names the records of messages: raised by every reset and lost log.
    pub(crate) era: u64,
    pub(crate) lease_millis: u64,
    /// It was deleted on purpose: members end.
    pub(crate) deleted: bool,
    /// Messages that retention dropped before they were settled.
    pub(crate) dropped: u64,
    /// An operator has paused it.
    #[serde(default)]
    pub(crate) paused: bool,
}

impl SubRecord {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        out.extend(serde_json::to_vec(self).unwrap_or_default());
        out.into()
    }

    pub(crate) fn decode(stored: &[u8]) -> Result<Self> {
        let (_, json) = split_version(stored, VERSION, WHAT)?;
        serde_json::from_slice(json)
            .map_err(|_| Error::new(ErrorKind::Decode, format!("{WHAT} is damaged")))
    }

    pub(crate) fn id(&self) -> Result<SubscriptionId> {
        Ok(SubscriptionId::new(
            Group::new(&self.group)?,
            Pattern::new(&self.pattern)?,
        ))
    }

    /// The name of its consumer.
    pub(crate) fn consumer(&self, sub: &str) -> String {
        format!("{sub}-{}", self.generation)
    }

    /// The settings of its consumer.
    pub(crate) fn consumer_config(&self, core: &Core, sub: &str) -> Result<Value> {
        let id = self.id()?;
        let mut config = json!({
            "durable_name": self.consumer(sub), "ack_policy": "explicit", "replay_policy": "instant",
            "ack_wait": nanos(std::time::Duration::from_millis(self.lease_millis)),
            "max_deliver": -1, "max_ack_pending": -1, "max_waiting": 4096,
            "filter_subject": core.keys.pattern(&id.pattern),
            "metadata": {"bus-version": "1", "bus-group": self.group, "bus-pattern": self.pattern},
        });
        match &self.start {
            StoredStart::Sequence(sequence) => {
                config["deliver_policy"] = "by_start_sequence".into();
                config["opt_start_seq"] = (*sequence).max(1).into();
            }
            StoredStart::Time(millis) => {
                config["deliver_policy"] = "by_start_time".into();
                config["opt_start_time"] = time(*millis).into();
            }
        }
        Ok(config)
    }
}

/// A record with its place, which must be the same when it is replaced.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) record: SubRecord,
    pub(crate) revision: u64,
}

impl Core {
    /// Stores something in the stream of bookkeeping; with `expected` only when what lies there has this
    /// sequence, 0 for nothing. Says where it lies now.
    ///
    /// # Errors
    /// `Fenced` when something else lies there.
    pub(crate) async fn put(
        &self,
        subject: String,
        payload: Bytes,
        expected: Option<u64>,
    ) -> Result<u64> {
        let headers = match expected {
            None => None,
            Some(sequence) => {
                let mut headers = HeaderMap::new();
                put(&mut headers, EXPECTED, &sequence.to_string())?;
                Some(headers)
            }
        };
        let deadline = Instant::now() + self.patience();
        let mut unanswered = false;
        loop {
            let patience = deadline.saturating_duration_since(Instant::now()).min(TRY);
            let (headers, payload) = (headers.clone(), payload.clone());
            let answer = self
                .link
                .ask_once(subject.clone(), headers, payload.clone(), patience)
                .await;
            match answer {
                Ok(message) => match pub_ack(&message.payload) {
                    // An earlier try may have been stored.
                    Err(refused) if unanswered && is_refusal(&refused, WRONG_LAST_SEQUENCE) => {
                        return self.own(&subject, &payload).await?.ok_or(refused);
                    }
                    // It may be an earlier try of this one.
                    Err(refused)
                        if is_refusal(&refused, UNDECIDED) && Instant::now() + REST < deadline =>
                    {
                        tokio::time::sleep(REST).await;
                    }
                    answered => return Ok(answered?.seq),
                },
                Err(Lost::Unanswered | Lost::Unsent) if Instant::now() < deadline => {
                    unanswered = true;
                }
                Err(Lost::NoResponders) => {
                    self.streams.doubt();
                    return Err(Lost::NoResponders.error());
                }
                Err(lost) => return Err(lost.error()),
            }
        }
    }

    /// Where this payload lies, when it is what lies there.
    async fn own(&self, subject: &str, payload: &Bytes) -> Result<Option<u64>> {
        let question = json!({"last_by_subj": subject});
        let stored = self.get(&self.keys.books(), &question).await?;
        Ok(stored
            .filter(|stored| stored.payload() == payload)
            .map(|stored| stored.seq))
    }

    /// The record of a subscription.
    pub(crate) async fn load(&self, sub: &str) -> Result<Option<Known>> {
        let question = json!({"last_by_subj": self.keys.subscription(sub)});
        match self.get(&self.keys.books(), &question).await? {
            None => Ok(None),
            Some(stored) => Ok(Some(Known {
                record: SubRecord::decode(&stored.payload())?,
                revision: stored.seq,
            })),
        }
    }

    /// Replaces the record of a subscription.
    ///
    /// # Errors
    /// `Fenced` when someone else has replaced it.
    pub(crate) async fn store(&self, sub: &str, record: SubRecord, revision: u64) -> Result<Known> {
        let subject = self.keys.subscription(sub);
        let revision = self.put(subject, record.encode(), Some(revision)).await?;
        Ok(Known { record, revision })
    }

    /// All durable subscriptions, in order.
    pub(crate) async fn subscriptions(&self) -> Result<Vec<(SubscriptionId, Known)>> {
        let books = self.keys.books();
        let prefix = self.keys.subscription("");
        let subjects = self.subjects(&books, &self.keys.subscription("*")).await?;
        let asked: Vec<_> = subjects
            .keys()
            .filter_map(|subject| subject.strip_prefix(&prefix))
            .map(|sub| {
                let question = json!({"last_by_subj": self.keys.subscription(sub)});
                self.get_later(&books, &question)
            })
            .collect();
        let mut found = Vec::new();
        for slot in asked {
            let Some(stored) = Self::got(slot.answer(self.patience()).await)? else {
                continue;
            };
            let record = SubRecord::decode(&stored.payload())?;
            if !record.deleted {
                let revision = stored.seq;
                found.push((record.id()?, Known { record, revision }));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_leads_back_and_a_newer_one_is_unsupported() {
        let record = SubRecord {
            group: "g".into(),
            pattern: "a.>".into(),
            log: "bus-t:7".into(),
            start: StoredStart::Sequence(7),
            generation: 3,
            era: 2,
            lease_millis: 30_000,
            deleted: false,
            dropped: 0,
            paused: false,
        };
        let mut stored = record.encode().to_vec();
        assert_eq!(SubRecord::decode(&stored).unwrap(), record);
        assert_eq!(record.consumer("g-1"), "g-1-3");
        stored[0] = VERSION + 1;
        assert_eq!(
            SubRecord::decode(&stored).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
    }
}
