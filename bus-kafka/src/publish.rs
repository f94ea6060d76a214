//! Publishing: one idempotent producer per connection.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bus_api::{Error, ErrorKind, Message, Published, Result, Topic};
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::{mpsc, oneshot};

use crate::core::Core;
use crate::error::{closed, code_of, too_large};
use crate::gather::Gather;
use crate::producer::{Batch, Producer, Stored, Tickets};
use crate::sys::Outgoing;
use crate::topics::{Known, Purpose};
use crate::wire::{self, Record};

/// Most topics that a connection remembers to have registered; beyond them it registers again.
const MOST_REGISTERED: usize = 100_000;

/// Messages whose topics have to be looked at first.
struct Job {
    messages: Vec<Arc<Message>>,
    /// Where each of them belongs.
    logs: Vec<Arc<str>>,
    batch: Batch,
}

/// Decides who may queue records next: batches are not interleaved.
#[derive(Default)]
struct Lane {
    /// Jobs that wait for the task; until there is none, everybody waits behind them.
    waiting: usize,
    /// With their logs.
    registered: HashMap<Topic, Arc<str>>,
}

/// The producer of a connection.
pub(crate) struct Publisher {
    producer: Mutex<Arc<Producer>>,
    tickets: Arc<Tickets>,
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
        let tickets = Arc::default();
        let publisher = Self {
            producer: Mutex::new(Arc::new(Producer::start(core, &tickets)?)),
            tickets,
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

    /// Queues records with their places in `batch`, whose results tell what became of them.
    fn send<'a>(
        &self,
        core: &Core,
        mut records: impl Iterator<Item = (usize, Outgoing<'a>)>,
        batch: &Batch,
    ) {
        loop {
            let current = Arc::clone(&self.producer());
            if current.send(&mut records, batch, &self.tickets) {
                return;
            }
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
        match Producer::start(core, &self.tickets) {
            Ok(fresh) => *current = Arc::new(fresh),
            Err(error) => tracing::error!(%error, "the Kafka producer cannot be replaced"),
        }
    }

    /// Writes records whose topics are there; one result each.
    pub(crate) async fn write(&self, core: &Core, mut records: Vec<Record>) -> Vec<Result<Stored>> {
        let topics: Vec<Arc<str>> = records
            .iter()
            .map(|record| Arc::clone(&record.topic))
            .collect();
        let (results, answered) = Gather::new(records.len());
        let batch = self.tickets.issue(results);
        let outgoing = records.iter_mut().map(Record::outgoing);
        self.send(core, outgoing.enumerate(), &batch);
        drop(records);
        let answers = outcome(core, answered, topics.len()).await;
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
        messages: Vec<Arc<Message>>,
    ) -> Vec<Result<Published>> {
        let (results, answered) = Gather::new(messages.len());
        let batch = self.tickets.issue(results);
        let logs = {
            let mut lane = self.lane();
            let (logs, are_ready) = lane.logs(core, &messages);
            if are_ready && lane.waiting == 0 {
                self.queue(core, messages.iter().zip(&logs).enumerate(), &batch);
            } else {
                lane.waiting += 1;
                // The task ends with the connection only, which `outcome` sees.
                let _ = self.jobs.send(Job {
                    messages,
                    logs: logs.clone(),
                    batch,
                });
            }
            logs
        };
        let answers = outcome(core, answered, logs.len()).await;
        let mut last = None;
        answers
            .into_iter()
            .zip(&logs)
            .map(|(answer, log)| {
                note_missing(core, log, &answer);
                answer.map(|stored| published(core, log, &mut last, stored))
            })
            .collect()
    }

    /// Queues messages, each for its log and with its place in `batch`, except what is too large.
    fn queue<'a>(
        &self,
        core: &Core,
        messages: impl Iterator<Item = (usize, (&'a Arc<Message>, &'a Arc<str>))>,
        batch: &Batch,
    ) {
        let most = core.max_payload();
        let fitting = messages.filter_map(|(index, (message, log))| {
            let size = message.payload.len();
            if size > most {
                self.tickets.set(batch, index, Err(too_large(size, most)));
                return None;
            }
            Some((index, wire::outgoing(log, message)))
        });
        self.send(core, fitting, batch);
    }
}

impl Lane {
    /// The logs of messages, and whether all can be published to at once.
    fn logs(&self, core: &Core, messages: &[Arc<Message>]) -> (Vec<Arc<str>>, bool) {
        let mut logs: Vec<Arc<str>> = Vec::with_capacity(messages.len());
        let mut are_ready = true;
        let mut before: Option<&Topic> = None;
        for message in messages {
            // Neighbours are often of one topic.
            let log = match logs.last() {
                Some(log) if before == Some(&message.topic) => Arc::clone(log),
                _ => {
                    let known = self.registered.get(&message.topic);
                    let is_new = known.is_none_or(|log| core.topics.led(log).is_none());
                    are_ready &= !is_new;
                    known
                        .cloned()
                        .unwrap_or_else(|| core.names.log(&message.topic).into())
                }
            };
            before = Some(&message.topic);
            logs.push(log);
        }
        (logs, are_ready)
    }
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

/// What a publish is answered with. `last` is what is known of the log before, which is often the same.
fn published<'a>(
    core: &Core,
    log: &'a Arc<str>,
    last: &mut Option<(&'a Arc<str>, Option<Known>)>,
    stored: Stored,
) -> Published {
    let (_, known) = match last {
        Some(last) if last.0 == log => last,
        _ => last.insert((log, core.topics.known(log))),
    };
    let position = known
        .as_ref()
        .and_then(|known| known.log(stored.partition))
        .map(|log| wire::position(log, stored.offset, stored.at));
    Published {
        position,
        stored_at: Some(stored.at),
        duplicate: false,
    }
}

async fn outcome(
    core: &Core,
    answered: oneshot::Receiver<Vec<Result<Stored>>>,
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
        let messages = job.messages.iter().zip(&job.logs).enumerate();
        let messages = messages.filter(|(index, (_, log))| {
            let error = failed.get(&***log);
            if let Some(error) = error {
                let refused = Err(error.clone());
                publisher.tickets.set(&job.batch, *index, refused);
            }
            error.is_none()
        });
        publisher.queue(&core, messages, &job.batch);
    }
}

/// Returns the logs that cannot be published to.
async fn prepare<'a>(
    core: &Arc<Core>,
    publisher: &Publisher,
    job: &'a Job,
) -> HashMap<&'a str, Error> {
    let logs: BTreeSet<&str> = job.logs.iter().map(|log| &**log).collect();
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
    let fresh: BTreeMap<Topic, Arc<str>> = {
        let lane = publisher.lane();
        job.messages
            .iter()
            .zip(&job.logs)
            .filter(|(message, log)| {
                !failed.contains_key(&***log) && !lane.registered.contains_key(&message.topic)
            })
            .map(|(message, log)| (message.topic.clone(), Arc::clone(log)))
            .collect()
    };
    if fresh.is_empty() {
        return failed;
    }
    let topics: Vec<Topic> = fresh.keys().cloned().collect();
    // Who may not write the registry publishes all the same; its topics are listed by their roots.
    if let Err(error) = core.register_topics(&topics).await {
        tracing::debug!(%error, "topics were not registered");
    }
    let mut lane = publisher.lane();
    if lane.registered.len() + fresh.len() > MOST_REGISTERED {
        lane.registered.clear();
    }
    lane.registered.extend(fresh);
    failed
}
