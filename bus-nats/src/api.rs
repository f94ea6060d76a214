//! The JetStream API: questions and answers in JSON.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bus_api::Result;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::core::Core;
use crate::error::{NO_CONSUMER, NO_MESSAGE, NO_STREAM, NOTHING_TO_DELETE};
use crate::error::{Refusal, is_refusal, refused, senseless};
use crate::link::{Line, Lost, Slot};
use crate::reading::{Copies, First};
use crate::stored::Stored;

#[derive(Deserialize)]
struct Reply<T> {
    error: Option<ApiError>,
    #[serde(flatten)]
    body: Option<T>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ApiError {
    #[serde(default)]
    pub(crate) err_code: u64,
    #[serde(default)]
    pub(crate) description: String,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self {
            code: error.err_code,
            description: error.description,
        }
    }
}

/// A stream as the server sees it.
#[derive(Debug, Deserialize)]
pub(crate) struct StreamInfo {
    pub(crate) config: Value,
    pub(crate) created: Timestamp,
    pub(crate) state: StreamState,
    /// The server's clock when it answered.
    pub(crate) ts: Option<Timestamp>,
    pub(crate) cluster: Option<Copies>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct StreamState {
    #[serde(default)]
    pub(crate) messages: u64,
    #[serde(default)]
    pub(crate) bytes: u64,
    #[serde(default)]
    pub(crate) first_seq: u64,
    #[serde(default)]
    pub(crate) last_seq: u64,
    pub(crate) subjects: Option<BTreeMap<String, u64>>,
}

/// A consumer as the server sees it.
#[derive(Debug, Deserialize)]
pub(crate) struct ConsumerInfo {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) config: Value,
    pub(crate) delivered: Pair,
    pub(crate) ack_floor: Pair,
    #[serde(default)]
    pub(crate) num_ack_pending: u64,
    #[serde(default)]
    pub(crate) num_pending: u64,
    pub(crate) cluster: Option<Copies>,
}

/// Sequences of a consumer's own deliveries and of its stream.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Pair {
    #[serde(default)]
    pub(crate) consumer_seq: u64,
    #[serde(default)]
    pub(crate) stream_seq: u64,
    /// When they changed last, since the server was started.
    #[serde(default)]
    pub(crate) last_active: Option<String>,
}

#[derive(Deserialize)]
struct Page<T> {
    total: u64,
    #[serde(default = "Vec::new")]
    consumers: Vec<T>,
}

#[derive(Deserialize)]
struct Purged {
    #[serde(default)]
    purged: u64,
}

#[derive(Deserialize)]
struct Done {}

/// What the server says about a stored message.
#[derive(Debug, Deserialize)]
pub(crate) struct PubAck {
    pub(crate) error: Option<ApiError>,
    #[serde(default)]
    pub(crate) seq: u64,
    #[serde(default)]
    pub(crate) duplicate: bool,
}

/// Reads the answer to a stored message.
pub(crate) fn pub_ack(payload: &[u8]) -> Result<PubAck> {
    let mut ack: PubAck = serde_json::from_slice(payload)
        .map_err(|_| senseless("storing a message").indeterminate())?;
    match ack.error.take() {
        Some(error) => Err(refused(error.into())),
        None => Ok(ack),
    }
}

/// `Ok(None)` for what the server says is not there.
pub(crate) fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if [NO_STREAM, NO_CONSUMER, NO_MESSAGE, NOTHING_TO_DELETE]
                .iter()
                .any(|code| is_refusal(&error, *code)) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn body(value: &Value) -> Bytes {
    if value.is_null() {
        Bytes::new()
    } else {
        value.to_string().into()
    }
}

pub(crate) fn parse<T: DeserializeOwned>(what: &'static str, payload: &[u8]) -> Result<T> {
    let reply: Reply<T> = serde_json::from_slice(payload).map_err(|_| senseless(what))?;
    match (reply.error, reply.body) {
        (Some(error), _) => Err(refused(error.into())),
        (None, Some(body)) => Ok(body),
        (None, None) => Err(senseless(what)),
    }
}

impl Core {
    /// A subject of the API.
    pub(crate) fn api_subject(&self, rest: &str) -> String {
        match &self.config.domain {
            Some(domain) => format!("$JS.{domain}.API.{rest}"),
            None => format!("$JS.API.{rest}"),
        }
    }

    /// Asks the API.
    pub(crate) async fn api<T: DeserializeOwned>(
        &self,
        what: &'static str,
        rest: &str,
        question: &Value,
    ) -> Result<T> {
        self.usable()?;
        let answer = self
            .link
            .ask(self.api_subject(rest), body(question), self.patience())
            .await;
        match answer {
            Ok(message) => parse(what, &message.payload),
            // Nobody serves the API: the account has no JetStream, or its leader is not elected yet.
            Err(lost) => Err(lost.error()),
        }
    }

    /// Asks the API at once; the answer is read by whoever waits for it.
    pub(crate) fn api_later(&self, rest: &str, question: &Value) -> Slot {
        self.link
            .send(Line::Control, self.api_subject(rest), None, body(question))
    }

    pub(crate) async fn stream_info(&self, stream: &str) -> Result<Option<StreamInfo>> {
        let rest = format!("STREAM.INFO.{stream}");
        let asked = Instant::now();
        let info: Option<StreamInfo> =
            found(self.api("looking at a stream", &rest, &Value::Null).await)?;
        // One stream for all, because its leader's clock is then the same for all.
        let time = info.as_ref().filter(|_| stream == self.keys.data());
        if let Some(time) = time.and_then(|info| info.ts) {
            self.clock.read(time.into(), asked, Instant::now());
        }
        Ok(info)
    }

    /// The subjects of a stream that match, with their counts of messages.
    pub(crate) async fn subjects(
        &self,
        stream: &str,
        filter: &str,
    ) -> Result<BTreeMap<String, u64>> {
        const MOST: usize = 100_000;
        let rest = format!("STREAM.INFO.{stream}");
        let mut all = BTreeMap::new();
        loop {
            let question = json!({"subjects_filter": filter, "offset": all.len()});
            let info: StreamInfo = self.api("looking at subjects", &rest, &question).await?;
            let part = info.state.subjects.unwrap_or_default();
            let full = part.len() >= MOST;
            all.extend(part);
            if !full {
                return Ok(all);
            }
        }
    }

    /// Removes messages; says how many.
    pub(crate) async fn purge(&self, stream: &str, question: &Value) -> Result<u64> {
        let rest = format!("STREAM.PURGE.{stream}");
        let purged: Purged = self.api("removing messages", &rest, question).await?;
        Ok(purged.purged)
    }

    pub(crate) async fn consumer_info(
        &self,
        stream: &str,
        consumer: &str,
    ) -> Result<Option<ConsumerInfo>> {
        let rest = format!("CONSUMER.INFO.{stream}.{consumer}");
        found(self.api("looking at a consumer", &rest, &Value::Null).await)
    }

    /// Creates a consumer; one that exists with the same settings is as good.
    pub(crate) async fn create_consumer(
        &self,
        stream: &str,
        name: &str,
        config: &Value,
    ) -> Result<ConsumerInfo> {
        let rest = format!("CONSUMER.CREATE.{stream}.{name}");
        let question = json!({"stream_name": stream, "action": "create", "config": config});
        self.api("creating a consumer", &rest, &question).await
    }

    /// Deletes a consumer; one that is not there is as good.
    pub(crate) async fn delete_consumer(&self, stream: &str, name: &str) -> Result<()> {
        let rest = format!("CONSUMER.DELETE.{stream}.{name}");
        found::<Done>(self.api("deleting a consumer", &rest, &Value::Null).await).map(|_| ())
    }

    /// Deletes a consumer that the server would forget by itself a little later; nobody waits for the answer.
    pub(crate) fn let_consumer_go(&self, stream: &str, name: &str) {
        drop(self.api_later(&format!("CONSUMER.DELETE.{stream}.{name}"), &Value::Null));
    }

    /// All consumers of a stream.
    pub(crate) async fn consumers(&self, stream: &str) -> Result<Vec<ConsumerInfo>> {
        let rest = format!("CONSUMER.LIST.{stream}");
        let mut all = Vec::new();
        loop {
            let question = json!({"offset": all.len()});
            let page: Page<ConsumerInfo> = self.api("listing consumers", &rest, &question).await?;
            let read = page.consumers.len();
            all.extend(page.consumers);
            if read == 0 || all.len() as u64 >= page.total {
                return Ok(all);
            }
        }
    }

    /// How many messages of a stream match, without reading them.
    pub(crate) async fn count(&self, stream: &str, filter: &str) -> Result<u64> {
        let counting = self
            .reading_consumer(stream, Some(filter), First::Message(1), true)
            .await?;
        self.let_consumer_go(stream, &counting.name);
        Ok(counting.num_pending)
    }

    /// Asks for a stored message; `question` says which one.
    pub(crate) fn get_later(&self, stream: &str, question: &Value) -> Slot {
        self.api_later(&format!("STREAM.MSG.GET.{stream}"), question)
    }

    /// Reads the answer of [`get_later`](Self::get_later).
    pub(crate) fn got(
        answer: std::result::Result<async_nats::Message, Lost>,
    ) -> Result<Option<Stored>> {
        #[derive(Deserialize)]
        struct Got {
            message: Stored,
        }
        let message = answer.map_err(Lost::error)?;
        let got: Option<Got> = found(parse("reading a message", &message.payload))?;
        Ok(got.map(|got| got.message))
    }

    /// Reads a stored message.
    pub(crate) async fn get(&self, stream: &str, question: &Value) -> Result<Option<Stored>> {
        self.usable()?;
        self.link
            .socket
            .until_up(Instant::now() + self.patience())
            .await?;
        Self::got(
            self.get_later(stream, question)
                .answer(self.patience())
                .await,
        )
    }
}

/// A length of time as the API takes it.
pub(crate) fn nanos(length: std::time::Duration) -> u64 {
    u64::try_from(length.as_nanos())
        .unwrap_or(u64::MAX >> 1)
        .min(u64::MAX >> 1)
}

/// A time as the API takes it.
pub(crate) fn time(time: SystemTime) -> String {
    Timestamp::try_from(time)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}
