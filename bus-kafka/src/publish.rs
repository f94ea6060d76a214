//! Publishing: one idempotent producer per connection.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bus_api::cloudevents::Extent;
use bus_api::{Error, ErrorKind, Message, Published, Result, Topic};
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::mpsc;

use crate::core::Core;
use crate::error::{closed, code_of, too_large};
use crate::gather::Gather;
use crate::producer::{Producer, Results, Stored};
use crate::topics::Purpose;
use crate::wire::Record;

/// Most topics that a connection remembers to have registered; beyond them it registers again.
const MOST_REGISTERED: usize = 100_000;

/// Messages whose topics have to be looked at first.
struct Job {
    batch: Vec<Arc<Message>>,
    /// Where each of the batch belongs.
    logs: Vec<String>,
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
    producer: Mutex<Arc<Producer>>,
    lane: Mutex<Lane>,
    jobs: mpsc::UnboundedSender<Job>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

impl Publisher {
    /// Starts the producer.
    ///
    /// # Errors
    /// `InvalidConfig` for properties that the client library refuses.
    pub(crate) fn start(core: &Arc<Core>) -> Result<()> {
        let (jobs, inbox) = mpsc::unbounded_channel();
        let publisher = Self {
            producer: Mutex::new(Arc::new(Producer::start(core)?)),
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

    fn producer(&self) -> MutexGuard<'_, Arc<Producer>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a record; what became of it is the result at `index`.
    fn send(&self, core: &Core, record: Record, results: &Arc<Results>, index: usize) {
        let current = Arc::clone(&self.producer());
        if !current.send(record, results, index) {
            self.start_anew(core, &current);
        }
    }

    /// Replaces a producer that failed for good.
    fn start_anew(&self, core: &Core, failed: &Arc<Producer>) {
        let mut current = self.producer();
        if !Arc::ptr_eq(&current, failed) {
            return;
        }
        tracing::warn!("the Kafka producer failed and is replaced");
        match Producer::start(core) {
            Ok(fresh) => *current = Arc::new(fresh),
            Err(error) => tracing::error!(%error, "the Kafka producer cannot be replaced"),
        }
    }

    /// Writes records whose topics are there; one result each.
    pub(crate) async fn write(&self, core: &Core, records: Vec<Record>) -> Vec<Result<Stored>> {
        let count = records.len();
        let (results, answered) = Gather::new(count);
        let topics: Vec<String> = records.iter().map(|record| record.topic.clone()).collect();
        for (index, record) in records.into_iter().enumerate() {
            self.send(core, record, &results, index);
        }
        let answers = outcome(core, answered, count).await;
        for (topic, answer) in topics.iter().zip(&answers) {
            note_missing(core, topic, answer);
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
        current.in_flight()
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
            .map(|message| core.names.log(&message.topic))
            .collect();
        let (results, answered) = Gather::new(count);
        {
            let mut lane = self.lane();
            if lane.waiting == 0 && is_ready(core, &lane, &batch, &logs) {
                for (index, (message, log)) in batch.iter().zip(&logs).enumerate() {
                    self.queue(core, message, log, &results, index);
                }
            } else {
                lane.waiting += 1;
                // The task ends with the connection only, which `outcome` sees.
                let _ = self.jobs.send(Job {
                    batch,
                    logs: logs.clone(),
                    results,
                });
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
    fn queue(
        &self,
        core: &Core,
        message: &Message,
        log: &str,
        results: &Arc<Results>,
        index: usize,
    ) {
        let most = core.max_payload();
        if message.payload.len() > most {
            results.set(index, Err(too_large(message.payload.len(), most)));
            return;
        }
        let record = Record::of(log.to_owned(), message, Extent::Usual);
        self.send(core, record, results, index);
    }
}

fn is_ready(core: &Core, lane: &Lane, batch: &[Arc<Message>], logs: &[String]) -> bool {
    batch.iter().zip(logs).all(|(message, log)| {
        lane.registered.contains(&message.topic) && core.topics.led(log).is_some()
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
        let failed = prepare(&core, publisher, &job).await;
        let mut lane = publisher.lane();
        lane.waiting -= 1;
        for (index, (message, log)) in job.batch.iter().zip(&job.logs).enumerate() {
            match failed.get(log.as_str()) {
                Some(error) => job.results.set(index, Err(error.clone())),
                None => publisher.queue(&core, message, log, &job.results, index),
            }
        }
    }
}

/// Returns the logs that cannot be published to.
async fn prepare<'a>(
    core: &Arc<Core>,
    publisher: &Publisher,
    job: &'a Job,
) -> HashMap<&'a str, Error> {
    let logs: BTreeSet<&str> = job.logs.iter().map(String::as_str).collect();
    // Who may not look at the registry publishes all the same.
    if let Err(error) = core.check_depth().await
        && error.kind() == ErrorKind::InvalidConfig
    {
        return logs.into_iter().map(|log| (log, error.clone())).collect();
    }
    let mut failed = HashMap::new();
    for log in logs {
        if core.topics.led(log).is_none()
            && let Err(error) = core.ensure(&[(log.to_owned(), Purpose::Log)]).await
        {
            failed.insert(log, error);
        }
    }
    let fresh: Vec<Topic> = {
        let lane = publisher.lane();
        let topics: BTreeSet<&Topic> = job
            .batch
            .iter()
            .zip(&job.logs)
            .filter(|(_, log)| !failed.contains_key(log.as_str()))
            .map(|(message, _)| &message.topic)
            .filter(|topic| !lane.registered.contains(*topic))
            .collect();
        topics.into_iter().cloned().collect()
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
