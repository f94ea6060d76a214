//! Publishing: a few pipelines at a time, each filled with whatever waits.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bus_api::cloudevents::Extent;
use bus_api::{Error, ErrorKind, Message, Position, Provision, Published, Result, Topic};
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, poll};
use redis::{Cmd, Pipeline, Value};
use tokio::sync::{mpsc, oneshot};

use crate::core::Core;
use crate::error::{closed, error, too_large};
use crate::hints::{self, Hint};
use crate::link::{self, Numbered};
use crate::retention::Limits;
use crate::script::{self, PUBLISH_DEDUP};
use crate::value::{Take, offset};
use crate::wire;

/// Pipelines on their way at the same time: while the server works on one, the next is made.
const FLIGHTS: usize = 4;
/// No job is added to a flush of so many messages.
const FLUSH_MESSAGES: usize = 256;
/// A flush is full beyond this many bytes.
const FLUSH_BYTES: usize = 1 << 20;
/// What a message usually takes beside its payload, so that the buffers of a command seldom grow.
const ITEMS: usize = 24;
const ITEM_BYTES: usize = 320;

/// A batch on its way, and who waits for it.
pub(crate) struct Job {
    batch: Vec<Arc<Message>>,
    done: oneshot::Sender<Vec<Result<Published>>>,
}

/// Queues batches in the order of first polls.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    jobs: mpsc::UnboundedSender<Job>,
}

impl Publisher {
    /// Starts the task that publishes.
    pub(crate) fn start(core: &Arc<Core>) -> Self {
        // The core of the bus bounds what is outstanding; waiting here would break the order.
        let (jobs, queue) = mpsc::unbounded_channel();
        core.life.spawn(work(Arc::clone(core), queue));
        Self { jobs }
    }

    /// Stores messages; one result each.
    pub(crate) async fn publish(&self, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        let count = batch.len();
        let (done, waiting) = oneshot::channel();
        if self.jobs.send(Job { batch, done }).is_err() {
            return vec![Err(closed()); count];
        }
        match waiting.await {
            Ok(results) => results,
            // The task ended with what it had: nobody knows what the server has seen.
            Err(_) => vec![Err(closed().indeterminate()); count],
        }
    }
}

async fn work(core: Arc<Core>, mut queue: mpsc::UnboundedReceiver<Job>) {
    let mut flusher = Flusher {
        limits: Limits::new(&core),
        known: HashSet::new(),
        core,
    };
    // What is on its way is not in a measurement of the namespace: a limit is kept by one at a time.
    let most = if flusher.limits.is_limited() {
        1
    } else {
        FLIGHTS
    };
    let mut flying = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(flown) = flying.next() => flusher.land(flown).await,
            first = queue.recv(), if flying.len() < most => {
                let Some(first) = first else { break };
                let Some(mut flight) = flusher.take_off(gather(first, &mut queue)).await else {
                    continue;
                };
                // Polled before the next one is made: that fixes the order.
                match poll!(flight.as_mut()) {
                    Poll::Ready(flown) => flusher.land(flown).await,
                    Poll::Pending => flying.push(flight),
                }
            }
        }
    }
    while let Some(flown) = flying.next().await {
        flusher.land(flown).await;
    }
}

/// Everything that waits, up to a flush.
fn gather(first: Job, queue: &mut mpsc::UnboundedReceiver<Job>) -> Vec<Job> {
    let (mut messages, mut bytes) = (first.batch.len(), size(&first));
    let mut jobs = vec![first];
    while messages < FLUSH_MESSAGES && bytes < FLUSH_BYTES {
        let Ok(next) = queue.try_recv() else { break };
        messages += next.batch.len();
        bytes += size(&next);
        jobs.push(next);
    }
    jobs
}

fn size(job: &Job) -> usize {
    job.batch.iter().map(|message| message.size()).sum()
}

/// Outcomes that are known already; `None`: the server decides.
type Open = Vec<Option<Result<Published>>>;

/// A pipeline on its way.
type Flight = Pin<Box<dyn Future<Output = Flown> + Send>>;

/// A pipeline that was answered.
struct Flown {
    jobs: Vec<Job>,
    results: Open,
    hints: Vec<Hint>,
    replies: Result<Vec<Value>>,
}

struct Flusher {
    core: Arc<Core>,
    limits: Limits,
    /// Topics that this process has made known.
    known: HashSet<Topic>,
}

impl Flusher {
    /// Sends everything at once; `None`: it is answered already.
    async fn take_off(&mut self, jobs: Vec<Job>) -> Option<Flight> {
        let messages: Vec<&Message> = jobs
            .iter()
            .flat_map(|job| job.batch.iter().map(Arc::as_ref))
            .collect();
        let mut results: Open = messages
            .iter()
            .map(|message| self.admit(message).err().map(Err))
            .collect();
        let connection = match self.prepare(&messages, &mut results).await {
            Ok(connection) => connection,
            Err(failed) => {
                answer(jobs, fail_open(results, &failed));
                return None;
            }
        };
        let (pipeline, hints) = self.pipeline(&messages, &results);
        if hints.is_empty() {
            answer(jobs, fail_open(results, &closed()));
            return None;
        }
        let link = Arc::clone(&self.core.publishing);
        Some(Box::pin(async move {
            Flown {
                jobs,
                results,
                hints,
                replies: link.run_all_over(connection, &pipeline).await,
            }
        }))
    }

    /// What comes before sending. All of it is done before the next messages are looked at, and the connection
    /// is known: nothing can overtake.
    async fn prepare(&mut self, messages: &[&Message], results: &mut Open) -> Result<Numbered> {
        self.make_known(messages, results).await?;
        let wanted = results.iter().filter(|result| result.is_none()).count();
        let room = self.limits.room(&self.core, wanted).await?;
        let open = results.iter_mut().filter(|result| result.is_none());
        for result in open.skip(room) {
            *result = Some(Err(self.limits.full()));
        }
        self.core.publishing.connection().await
    }

    /// Takes the replies, and answers whoever waits.
    async fn land(&mut self, flown: Flown) {
        let Flown {
            jobs,
            mut results,
            hints,
            replies,
        } = flown;
        let mut replies = match replies {
            Ok(replies) => replies,
            Err(failed) => {
                answer(jobs, fail_open(results, &failed));
                return;
            }
        };
        let commands: usize = hints.iter().map(Hint::commands).sum();
        let hinted = replies.split_off(replies.len().saturating_sub(commands));
        if hints::look(&self.core, &hints, &hinted).await {
            // The registry has lost a topic, and perhaps others: all are made known again.
            self.known.clear();
        }
        let mut replies = replies.into_iter();
        let mut places = Places::default();
        let mut stored = 0;
        let messages = jobs.iter().flat_map(|job| &job.batch);
        for (message, result) in messages.zip(&mut results) {
            if result.is_none() {
                let reply = replies.next().unwrap_or(Value::Nil);
                let outcome = places.published(message, reply);
                stored += usize::from(outcome.is_ok());
                *result = Some(outcome);
            }
        }
        self.limits.stored(&self.core, stored).await;
        answer(jobs, fail_open(results, &closed()));
    }

    fn admit(&self, message: &Message) -> Result<()> {
        let most = self.core.config.max_payload;
        if message.payload.len() > most {
            return Err(too_large(message.payload.len(), most));
        }
        Ok(())
    }

    /// Registers topics before their first message of this process, so that a lost hint is found.
    async fn make_known(&mut self, messages: &[&Message], results: &mut Open) -> Result<()> {
        let mut unknown = BTreeSet::new();
        let mut last = None;
        for (message, _) in messages
            .iter()
            .zip(results.iter())
            .filter(|(_, r)| r.is_none())
        {
            // Often all of a flush are of one topic.
            if last.replace(&message.topic) != Some(&message.topic)
                && !self.known.contains(&message.topic)
            {
                unknown.insert(&message.topic);
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let topics: Vec<&Topic> = unknown.into_iter().collect();
        let provision = self.core.config.settings.provision;
        if provision != Provision::Verify {
            if provision == Provision::Create {
                self.core.registry.add(&self.core, &topics).await?;
            }
            self.known.extend(topics.into_iter().cloned());
            return Ok(());
        }
        for topic in topics {
            let key = self.core.keys.topics(topic.root());
            let command = redis::cmd("ZSCORE").arg(key).arg(topic.as_str()).take();
            if !matches!(self.core.control.run(&command).await?, Value::Nil) {
                self.known.insert(topic.clone());
                continue;
            }
            for (message, result) in messages.iter().zip(results.iter_mut()) {
                if message.topic == *topic && result.is_none() {
                    *result = Some(Err(error(
                        ErrorKind::NotFound,
                        "the topic does not exist and `provision` forbids to create it",
                    )
                    .with("topic", topic)));
                }
            }
        }
        Ok(())
    }

    /// The commands of what is still open, and a hint for each root at the end.
    fn pipeline(&self, messages: &[&Message], results: &Open) -> (Pipeline, Vec<Hint>) {
        let mut pipeline = Pipeline::with_capacity(messages.len() + 2);
        let mut written: BTreeMap<&str, BTreeSet<&Topic>> = BTreeMap::new();
        let keys = &self.core.keys;
        let mut last: Option<(&Topic, String)> = None;
        for (message, _) in messages.iter().zip(results).filter(|(_, r)| r.is_none()) {
            let topic = &message.topic;
            let stream = match last.take() {
                Some((same, stream)) if same == topic => stream,
                _ => {
                    written.entry(topic.root()).or_default().insert(topic);
                    keys.stream(topic)
                }
            };
            let command = match &message.dedup_id {
                Some(dedup) => {
                    let seen = keys.dedup(topic, dedup);
                    let mut call = script::call(&PUBLISH_DEDUP, [stream.as_str(), seen.as_str()]);
                    let window = self.core.config.settings.dedup_window.as_millis().max(1);
                    call.arg(u64::try_from(window).unwrap_or(u64::MAX));
                    wire::write(message, Extent::Usual, &mut call);
                    call
                }
                None => {
                    let mut add = Cmd::with_capacity(ITEMS, ITEM_BYTES + message.size());
                    add.arg("XADD").arg(&stream).arg("*");
                    wire::write(message, Extent::Usual, &mut add);
                    add
                }
            };
            pipeline.add_command(command);
            last = Some((topic, stream));
        }
        let hints = written
            .into_iter()
            .map(|(root, topics)| Hint::say(&self.core, root, &topics, &mut pipeline))
            .collect();
        (pipeline, hints)
    }
}

/// The logs of the messages of one flush: most often it is one.
#[derive(Default)]
struct Places(Option<(Topic, Arc<str>)>);

impl Places {
    fn log(&mut self, topic: &Topic) -> Arc<str> {
        match &self.0 {
            Some((same, log)) if same == topic => Arc::clone(log),
            _ => {
                let log: Arc<str> = Arc::from(topic.as_str());
                self.0 = Some((topic.clone(), Arc::clone(&log)));
                log
            }
        }
    }

    fn published(&mut self, message: &Message, reply: Value) -> Result<Published> {
        const WHAT: &str = "storing a message";
        let (id, duplicate) = match link::ok(reply)? {
            Value::Array(parts) => {
                let duplicate = parts
                    .get(1)
                    .is_some_and(|part| matches!(part.int(WHAT), Ok(1)));
                let id = parts.into_iter().next().unwrap_or(Value::Nil);
                (id.text(WHAT)?, duplicate)
            }
            id => (id.text(WHAT)?, false),
        };
        let offset = offset(&id).ok_or_else(|| crate::error::senseless(WHAT).indeterminate())?;
        let stored_at = wire::stored_at(offset);
        Ok(Published {
            position: Some(Position::new(self.log(&message.topic), offset, stored_at)),
            stored_at: Some(stored_at),
            duplicate,
        })
    }
}

/// Gives every job its part of the results.
fn answer(jobs: Vec<Job>, results: Vec<Result<Published>>) {
    let mut results = results.into_iter();
    for job in jobs {
        let own = results.by_ref().take(job.batch.len()).collect();
        // Whoever does not wait any more does not want to know.
        let _ = job.done.send(own);
    }
}

/// What is still open failed with `failed`.
fn fail_open(results: Open, failed: &Error) -> Vec<Result<Published>> {
    results
        .into_iter()
        .map(|result| result.unwrap_or_else(|| Err(failed.clone())))
        .collect()
}
