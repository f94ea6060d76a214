//! A scripted adapter: it records calls, stores what the script lets it, and answers when the script says.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bus_api::*;
use tokio::time::Instant;

/// What becomes of one message of one call.
pub(crate) enum Step {
    /// Stored and confirmed after the delay.
    Store(Duration),
    /// Not stored; this error after the delay.
    Refuse(Error, Duration),
    /// Stored, but this error, marked indeterminate, after the delay.
    Lose(Error, Duration),
    /// Never answered.
    Hang,
}

/// Decides by the message and how often it was seen before.
type Script = Box<dyn FnMut(&Message, u32) -> Step + Send>;

#[derive(Default)]
pub(crate) struct State {
    /// The payloads of every call.
    pub(crate) calls: Vec<Vec<String>>,
    /// What is stored, in order.
    pub(crate) stored: Vec<Arc<Message>>,
    seen: HashMap<String, u32>,
    dedup: HashSet<(Topic, Box<str>)>,
    pub(crate) letters: Vec<DeadLetter>,
    pub(crate) removals_fail: bool,
    pub(crate) requests: Vec<Message>,
    pub(crate) reply: Option<Result<Message>>,
    pub(crate) closed: bool,
    script: Option<Script>,
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) capabilities: Capabilities,
    state: Arc<Mutex<State>>,
    notices: Notices,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            capabilities: Capabilities {
                dedup: true,
                ack_durability: AckDurability::Process,
                exact_attempts: true,
                immediate_no_responders: true,
                reject_when_full: true,
                ordered_members: OrderedMembers::Many,
                min_lease: Duration::from_millis(10),
                max_payload: 1024,
            },
            state: Arc::default(),
            notices: Notices::new(),
        }
    }

    pub(crate) fn scripted(script: impl FnMut(&Message, u32) -> Step + Send + 'static) -> Self {
        let fake = Self::new();
        fake.state().script = Some(Box::new(script));
        fake
    }

    pub(crate) fn without_dedup(mut self) -> Self {
        self.capabilities.dedup = false;
        self
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn client(&self) -> BusClient {
        self.client_with(Settings::default())
    }

    pub(crate) fn client_with(&self, settings: Settings) -> BusClient {
        BusClient::new(Arc::new(self.clone()), settings)
    }

    /// The payloads of what is stored, in order.
    pub(crate) fn stored(&self) -> Vec<String> {
        self.state()
            .stored
            .iter()
            .map(|message| text(message))
            .collect()
    }

    pub(crate) fn calls(&self) -> Vec<Vec<String>> {
        self.state().calls.clone()
    }
}

pub(crate) fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.payload).into_owned()
}

/// A message with this payload, on the topic `t`.
pub(crate) fn event(payload: &str) -> Raw {
    let topic = Topic::new("t").unwrap();
    Raw::new(topic, "test.happened", "text/plain", payload.to_owned())
}

pub(crate) fn keyed(payload: &str, key: &str) -> Raw {
    event(payload).with_key(key.to_owned())
}

pub(crate) fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "scripted")
}

impl State {
    /// Returns the answer and when it comes; `None` is never.
    fn publish(&mut self, message: Arc<Message>) -> (Result<Published>, Option<Duration>) {
        let seen = self.seen.entry(text(&message)).or_default();
        let step = match &mut self.script {
            Some(script) => script(&message, *seen),
            None => Step::Store(Duration::ZERO),
        };
        *seen += 1;
        match step {
            Step::Store(delay) => (Ok(self.store(message)), Some(delay)),
            Step::Refuse(error, delay) => (Err(error), Some(delay)),
            Step::Lose(error, delay) => {
                self.store(message);
                (Err(error.indeterminate()), Some(delay))
            }
            Step::Hang => (Err(unavailable()), None),
        }
    }

    fn store(&mut self, message: Arc<Message>) -> Published {
        let dedup_id = message.dedup_id.clone();
        let duplicate = dedup_id.is_some_and(|id| !self.dedup.insert((message.topic.clone(), id)));
        let now = SystemTime::now();
        let offset = Offset(self.stored.len() as u64, 0);
        if !duplicate {
            self.stored.push(message);
        }
        Published {
            position: Some(Position::new("log".into(), offset, now)),
            stored_at: Some(now),
            duplicate,
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Bus for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn publish(&self, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        if self.state().closed {
            return batch.iter().map(|_| Err(closed())).collect();
        }
        let (mut results, mut latest) = (Vec::new(), Some(Duration::ZERO));
        {
            let mut state = self.state();
            state
                .calls
                .push(batch.iter().map(|message| text(message)).collect());
            for message in batch {
                let (result, delay) = state.publish(message);
                results.push(result);
                latest = latest.zip(delay).map(|(latest, delay)| latest.max(delay));
            }
        }
        match latest {
            Some(Duration::ZERO) => {}
            Some(delay) => tokio::time::sleep(delay).await,
            None => std::future::pending().await,
        }
        results
    }

    async fn subscribe(&self, _spec: SubscriptionSpec) -> Result<Inbound> {
        Err(unsupported())
    }

    async fn request(&self, message: Message, deadline: Instant) -> Result<Message> {
        let reply = {
            let mut state = self.state();
            state.requests.push(message);
            state.reply.clone()
        };
        match reply {
            Some(reply) => reply,
            None => {
                tokio::time::sleep_until(deadline + Duration::from_secs(60)).await;
                Err(unavailable())
            }
        }
    }

    async fn respond(&self, _spec: ResponderSpec) -> Result<Requests> {
        Err(unsupported())
    }

    fn dead_letters(&self) -> &dyn DeadLetterStore {
        self
    }

    fn admin(&self) -> &dyn Admin {
        self
    }

    fn notices(&self) -> &Notices {
        &self.notices
    }

    async fn close(&self, _deadline: Instant) -> Result<()> {
        self.state().closed = true;
        Ok(())
    }
}

#[async_trait]
impl DeadLetterStore for Fake {
    async fn groups(&self) -> Result<Vec<Group>> {
        Ok(vec![Group::new("mail")?])
    }

    async fn count(&self, _group: &Group) -> Result<u64> {
        Ok(self.state().letters.len() as u64)
    }

    async fn page(
        &self,
        _group: &Group,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<DeadLetterPage> {
        // The cursor is the id of the last entry that was seen, by its generation of writing: here the
        // number of attempts, which the tests make unique.
        let after: u32 = cursor.map_or(0, |cursor| cursor.0.parse().unwrap());
        let state = self.state();
        let mut rest = state.letters.iter().filter(|entry| entry.attempts > after);
        let entries: Vec<_> = rest.by_ref().take(limit).cloned().collect();
        let more = rest.next().is_some();
        let last = entries
            .last()
            .map(|entry| entry.attempts.to_string().into());
        Ok(DeadLetterPage {
            next: last.filter(|_| more).map(Cursor),
            entries,
        })
    }

    async fn get(&self, _group: &Group, id: DeadLetterId) -> Result<Option<DeadLetter>> {
        let state = self.state();
        Ok(state.letters.iter().find(|entry| entry.id == id).cloned())
    }

    async fn remove(&self, _group: &Group, ids: &[DeadLetterId]) -> Result<u64> {
        let mut state = self.state();
        if state.removals_fail {
            return Err(unavailable());
        }
        let before = state.letters.len();
        state.letters.retain(|entry| !ids.contains(&entry.id));
        Ok((before - state.letters.len()) as u64)
    }
}

#[async_trait]
impl Admin for Fake {
    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        Ok(Vec::new())
    }

    async fn add_topic(&self, _topic: &Topic) -> Result<()> {
        Ok(())
    }

    async fn subscriptions(&self) -> Result<Vec<SubscriptionInfo>> {
        Ok(Vec::new())
    }

    async fn reset(&self, id: &SubscriptionId, _start: &Start, force: bool) -> Result<()> {
        Err(Error::new(ErrorKind::NotFound, format!("{id} {force}")))
    }

    async fn delete(&self, id: &SubscriptionId, force: bool) -> Result<()> {
        Err(Error::new(ErrorKind::NotFound, format!("{id} {force}")))
    }

    async fn pause(&self, id: &SubscriptionId) -> Result<()> {
        Err(Error::new(ErrorKind::NotFound, id.to_string()))
    }

    async fn resume(&self, id: &SubscriptionId) -> Result<()> {
        Err(Error::new(ErrorKind::NotFound, id.to_string()))
    }

    async fn health(&self) -> Health {
        Health {
            status: HealthStatus::Up,
            connected: true,
            writable: true,
            problems: Vec::new(),
            unprotected: Vec::new(),
            notices: self.notices.recent(),
            subscriptions: Vec::new(),
            details: BTreeMap::new(),
        }
    }
}

fn unsupported() -> Error {
    Error::new(ErrorKind::Unsupported, "not scripted")
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the fake was closed")
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

/// Every test has its own time-out; under the paused clock this is virtual time.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    let hour = Duration::from_secs(3600);
    tokio::time::timeout(hour, work).await.expect("in time")
}
