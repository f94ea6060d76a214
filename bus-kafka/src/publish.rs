//! Publishing: one idempotent producer per connection.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bus_api::cloudevents::Extent;
use bus_api::{Error, Message, Published, Result, Topic};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::Message as _;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, NoCustomPartitioner, Producer as _, ProducerContext,
    ThreadedProducer,
};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::core::Core;
use crate::error::{closed, code_of, from_client, too_large};
use crate::gather::Gather;
use crate::link::{Link, as_link};
use crate::sys::{self, Aside};
use crate::topics::Purpose;
use crate::wire::{Record, stored_at};

/// Most topics that a connection remembers to have registered; beyond them it registers again.
const MOST_REGISTERED: usize = 100_000;

/// Where a record lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) at: SystemTime,
}

type Results = Gather<Result<Stored>>;
type Producer = ThreadedProducer<Reports>;

/// The result of one record goes here.
struct Ticket {
    results: Arc<Results>,
    index: usize,
}

/// Takes the delivery reports.
struct Reports(Link);

as_link!(Reports, 0);

impl ProducerContext<NoCustomPartitioner> for Reports {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, report: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let result = match report {
            Ok(record) => {
                self.0.life.reached();
                Ok(Stored {
                    partition: record.partition(),
                    offset: record.offset(),
                    at: stored_at(record.timestamp()),
                })
            }
            Err((native, record)) => {
                let failed = from_client(native);
                Err(if sys::may_be_stored(record) {
                    failed.indeterminate()
                } else {
                    failed
                })
            }
        };
        ticket.results.set(ticket.index, result);
    }
}

/// Messages whose topics have to be looked at first.
struct Job {
    batch: Vec<Arc<Message>>,
    results: Arc<Results>,
}

/// Decides who may queue records next: batches are not interleaved.
#[derive(Default)]
struct Lane {
    /// Jobs that wait for the task; until there is none, everybody waits behind them.
    waiting: usize,
    registered: HashSet<Topic>,
}

/// The producer of a connection.
pub(crate) struct Publisher {
    producer: Mutex<Arc<Aside<Producer>>>,
    lane: Mutex<Lane>,
    jobs: mpsc::UnboundedSender<Job>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

fn producer(core: &Core) -> Result<Producer> {
    let mut client = core.config.client();
    let timeout = core.config.settings.publish_timeout.as_millis().max(100);
    let most = core
        .limits()
        .message
        .saturating_add(Config::DEAD_LETTER_ROOM)
        .min(1_000_000_000);
    client
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set(
            "message.timeout.ms",
            timeout.min(i32::MAX as u128).to_string(),
        )
        .set("message.max.bytes", most.to_string())
        // The core bounds what is outstanding.
        .set("queue.buffering.max.messages", "0")
        .set("queue.buffering.max.kbytes", "2147483647")
        .set("topic.metadata.propagation.max.ms", "2000")
        .set("partitioner", "murmur2_random");
    core.config.finish(&mut client);
    client
        .create_with_context(Reports(core.link()))
        .map_err(|native| from_client(&native))
}

impl Publisher {
    /// Starts the producer.
    ///
    /// # Errors
    /// `InvalidConfig` for properties that the client library refuses.
    pub(crate) fn start(core: &Arc<Core>) -> Result<()> {
        let (jobs, inbox) = mpsc::unbounded_channel();
        let publisher = Self {
            producer: Mutex::new(Arc::new(Aside::new(producer(core)?))),
            lane: Mutex::default(),
            jobs,
        };
        if core.publisher.set(publisher).is_ok() {
            core.life.spawn(drive(Arc::clone(core), inbox));
        }
        Ok(())
    }

    fn lane(&self) -> MutexGuard<'_, Lane> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn producer(&self) -> MutexGuard<'_, Arc<Aside<Producer>>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a record; what became of it is the result at `index`.
    fn send(&self, core: &Core, record: &Record, results: &Arc<Results>, index: usize) {
        let ticket = Box::new(Ticket {
            results: Arc::clone(results),
            index,
        });
        let mut base = BaseRecord::<[u8], [u8], Box<Ticket>>::with_opaque_to(&record.topic, ticket)
            .headers(record.headers.clone());
        if let Some(key) = &record.key {
            base = base.key(&key[..]);
        }
        if let Some(payload) = &record.payload {
            base = base.payload(&payload[..]);
        }
        if let Some(partition) = record.partition {
            base = base.partition(partition);
        }
        let current = Arc::clone(&self.producer());
        if let Err((native, refused)) = current.send(base) {
            if native.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
                self.start_anew(core, &current);
            }
            refused
                .delivery_opaque
                .results
                .set(index, Err(from_client(&native)));
        }
    }

    /// Replaces a producer that failed for good.
    fn start_anew(&self, core: &Core, failed: &Arc<Aside<Producer>>) {
        let mut current = self.producer();
        if !Arc::ptr_eq(&current, failed) {
            return;
        }
        tracing::warn!("the Kafka producer failed and is replaced");
        match producer(core) {
            Ok(fresh) => *current = Arc::new(Aside::new(fresh)),
            Err(error) => tracing::error!(%error, "the Kafka producer cannot be replaced"),
        }
    }

    /// Writes records whose topics are there; one result each.
    pub(crate) async fn write(&self, core: &Core, records: Vec<Record>) -> Vec<Result<Stored>> {
        let count = records.len();
        let (results, answered) = Gather::new(count);
        for (index, record) in records.iter().enumerate() {
            self.send(core, record, &results, index);
        }
        let answers = outcome(core, answered, count).await;
        for (record, answer) in records.iter().zip(&answers) {
            note_missing(core, &record.topic, answer);
        }
        answers
    }

    /// Waits until everything that was queued before has its outcome.
    pub(crate) async fn flush(&self) {
        const STEP: std::time::Duration = std::time::Duration::from_millis(2);
        while self.lane().waiting > 0 || self.in_flight() > 0 {
            tokio::time::sleep(STEP).await;
        }
    }

    fn in_flight(&self) -> i32 {
        let current = Arc::clone(&self.producer());
        current.in_flight_count()
    }

    /// Stores messages; one result each.
    pub(crate) async fn publish(
        &self,
        core: &Arc<Core>,
        batch: Vec<Arc<Message>>,
    ) -> Vec<Result<Published>> {
        let count = batch.len();
        let logs: Vec<String> = batch
            .iter()
            .map(|message| core.names.log(message.topic.root()))
            .collect();
        let (results, answered) = Gather::new(count);
        {
            let mut lane = self.lane();
            if lane.waiting == 0 && is_ready(core, &lane, &batch, &logs) {
                for (index, message) in batch.iter().enumerate() {
                    self.queue(core, message, &results, index);
                }
            } else {
                lane.waiting += 1;
                // The task ends with the connection only, which `outcome` sees.
                let _ = self.jobs.send(Job { batch, results });
            }
        }
        let answers = outcome(core, answered, count).await;
        answers
            .into_iter()
            .zip(logs)
            .map(|(answer, log)| {
                note_missing(core, &log, &answer);
                answer.map(|stored| published(core, &log, stored))
            })
            .collect()
    }

    /// Queues a message unless it is too large.
    fn queue(&self, core: &Core, message: &Message, results: &Arc<Results>, index: usize) {
        let most = core.max_payload();
        if message.payload.len() > most {
            results.set(index, Err(too_large(message.payload.len(), most)));
            return;
        }
        let log = core.names.log(message.topic.root());
        let record = Record::of(log, message, Extent::Usual);
        self.send(core, &record, results, index);
    }
}

fn is_ready(core: &Core, lane: &Lane, batch: &[Arc<Message>], logs: &[String]) -> bool {
    batch.iter().zip(logs).all(|(message, log)| {
        lane.registered.contains(&message.topic) && core.topics.known(log).is_some()
    })
}

/// A topic that is gone is looked at anew.
fn note_missing(core: &Core, topic: &str, answer: &Result<Stored>) {
    let missing = answer.as_ref().err().and_then(code_of).is_some_and(|code| {
        matches!(
            code,
            RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopicId
        )
    });
    if missing {
        core.topics.forget(topic);
    }
}

fn published(core: &Core, log: &str, stored: Stored) -> Published {
    let position = core
        .topics
        .known(log)
        .and_then(|known| known.log(stored.partition).cloned())
        .map(|log| crate::wire::position(&log, stored.offset, stored.at));
    Published {
        position,
        stored_at: Some(stored.at),
        duplicate: false,
    }
}

async fn outcome(
    core: &Core,
    answered: tokio::sync::oneshot::Receiver<Vec<Result<Stored>>>,
    count: usize,
) -> Vec<Result<Stored>> {
    let unknown = || vec![Err(closed().indeterminate()); count];
    tokio::select! {
        biased;
        answers = answered => answers.unwrap_or_else(|_| unknown()),
        () = core.life.ended() => unknown(),
    }
}

/// Makes and registers topics before the first message; one job after the other.
async fn drive(core: Arc<Core>, mut inbox: mpsc::UnboundedReceiver<Job>) {
    while let Some(job) = inbox.recv().await {
        let Some(publisher) = core.publisher.get() else {
            return;
        };
        let failed = prepare(&core, publisher, &job.batch).await;
        let mut lane = publisher.lane();
        lane.waiting -= 1;
        for (index, message) in job.batch.iter().enumerate() {
            match failed.iter().find(|(root, _)| root == message.topic.root()) {
                Some((_, error)) => job.results.set(index, Err(error.clone())),
                None => publisher.queue(&core, message, &job.results, index),
            }
        }
    }
}

/// Returns the roots that cannot be published to.
async fn prepare(
    core: &Arc<Core>,
    publisher: &Publisher,
    batch: &[Arc<Message>],
) -> Vec<(String, Error)> {
    let roots: BTreeSet<&str> = batch.iter().map(|message| message.topic.root()).collect();
    let mut failed = Vec::new();
    for root in roots {
        let log = core.names.log(root);
        if core.topics.known(&log).is_none()
            && let Err(error) = core.ensure(&[(log, Purpose::Log)]).await
        {
            failed.push((root.to_owned(), error));
        }
    }
    let fresh: Vec<Topic> = {
        let lane = publisher.lane();
        let topics: BTreeSet<&Topic> = batch.iter().map(|message| &message.topic).collect();
        topics
            .into_iter()
            .filter(|topic| !lane.registered.contains(*topic))
            .filter(|topic| failed.iter().all(|(root, _)| root != topic.root()))
            .cloned()
            .collect()
    };
    if fresh.is_empty() {
        return failed;
    }
    // Who may not write the registry publishes all the same; its topics are listed by their roots.
    if let Err(error) = core.register_topics(&fresh).await {
        tracing::debug!(%error, "topics were not registered");
    }
    let mut lane = publisher.lane();
    if lane.registered.len() + fresh.len() > MOST_REGISTERED {
        lane.registered.clear();
    }
    lane.registered.extend(fresh);
    failed
}
