//! Publishing: one pipeline at a time, filled with whatever waits.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use bus_api::cloudevents::Extent;
use bus_api::{Error, ErrorKind, Message, Provision, Published, Result, Topic};
use redis::{Pipeline, Value};
use tokio::sync::{mpsc, oneshot};

use crate::core::Core;
use crate::error::{closed, error, too_large};
use crate::link;
use crate::retention::Limits;
use crate::script::{self, HINT, PUBLISH_DEDUP};
use crate::value::{Take, offset};
use crate::wire;

/// Most messages of one flush.
const FLUSH_MESSAGES: usize = 1_024;
/// A flush is full beyond this many bytes.
const FLUSH_BYTES: usize = 1 << 20;

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
    while let Some(first) = queue.recv().await {
        let (mut messages, mut bytes) = (first.batch.len(), size(&first));
        let mut jobs = vec![first];
        while messages < FLUSH_MESSAGES && bytes < FLUSH_BYTES {
            let Ok(next) = queue.try_recv() else { break };
            messages += next.batch.len();
            bytes += size(&next);
            jobs.push(next);
        }
        flusher.flush(jobs).await;
    }
}

fn size(job: &Job) -> usize {
    job.batch.iter().map(|message| message.size()).sum()
}

struct Flusher {
    core: Arc<Core>,
    limits: Limits,
    /// Topics that this process has made known.
    known: HashSet<Topic>,
}

impl Flusher {
    async fn flush(&mut self, jobs: Vec<Job>) {
        let messages: Vec<&Message> = jobs
            .iter()
            .flat_map(|job| job.batch.iter().map(Arc::as_ref))
            .collect();
        let mut results = Vec::with_capacity(messages.len());
        // A batch of any size: in parts, each after the one before, so that the order stays.
        let mut from = 0;
        while from < messages.len() {
            let mut bytes = 0;
            let part = messages[from..]
                .iter()
                .take(FLUSH_MESSAGES)
                .take_while(|message| {
                    let fits = bytes < FLUSH_BYTES;
                    bytes += message.size();
                    fits
                })
                .count();
            results.extend(self.store(&messages[from..from + part]).await);
            from += part;
        }
        let mut results = results.into_iter();
        for job in jobs {
            let own = results.by_ref().take(job.batch.len()).collect();
            // Whoever does not wait any more does not want to know.
            let _ = job.done.send(own);
        }
    }

    async fn store(&mut self, messages: &[&Message]) -> Vec<Result<Published>> {
        let mut results: Vec<Option<Result<Published>>> = vec![None; messages.len()];
        for (message, result) in messages.iter().zip(&mut results) {
            if let Err(refused) = self.admit(message) {
                *result = Some(Err(refused));
            }
        }
        if let Err(failed) = self.make_known(messages, &mut results).await {
            return fail_open(results, &failed);
        }
        let wanted = results.iter().filter(|result| result.is_none()).count();
        match self.limits.room(&self.core, wanted).await {
            Ok(room) => {
                let open = results.iter_mut().filter(|result| result.is_none());
                for result in open.skip(room) {
                    *result = Some(Err(self.limits.full()));
                }
            }
            Err(failed) => return fail_open(results, &failed),
        }
        let (pipeline, hints) = self.pipeline(messages, &results);
        if hints == 0 {
            return fail_open(results, &closed());
        }
        match self.core.publishing.run_all(&pipeline).await {
            Ok(mut replies) => {
                let hinted = replies.split_off(replies.len().saturating_sub(hints));
                self.look_at_hints(&hinted);
                let mut replies = replies.into_iter();
                let mut stored = 0;
                for (message, result) in messages.iter().zip(&mut results) {
                    if result.is_none() {
                        let reply = replies.next().unwrap_or(Value::Nil);
                        let outcome = published(message, reply);
                        stored += usize::from(outcome.is_ok());
                        *result = Some(outcome);
                    }
                }
                self.limits.stored(&self.core, stored).await;
                fail_open(results, &closed())
            }
            Err(failed) => fail_open(results, &failed),
        }
    }

    fn admit(&self, message: &Message) -> Result<()> {
        let most = self.core.config.max_payload;
        if message.payload.len() > most {
            return Err(too_large(message.payload.len(), most));
        }
        Ok(())
    }

    /// Registers topics before their first message of this process, so that a lost hint is found.
    async fn make_known(
        &mut self,
        messages: &[&Message],
        results: &mut [Option<Result<Published>>],
    ) -> Result<()> {
        let unknown: BTreeSet<&Topic> = messages
            .iter()
            .zip(results.iter())
            .filter(|(message, result)| result.is_none() && !self.known.contains(&message.topic))
            .map(|(message, _)| &message.topic)
            .collect();
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

    /// The commands of what is still open, and one hint per root at the end.
    fn pipeline(
        &self,
        messages: &[&Message],
        results: &[Option<Result<Published>>],
    ) -> (Pipeline, usize) {
        let mut pipeline = Pipeline::with_capacity(messages.len() + 1);
        let mut written: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let keys = &self.core.keys;
        for (message, _) in messages.iter().zip(results).filter(|(_, r)| r.is_none()) {
            let stream = keys.stream(&message.topic);
            let command = match &message.dedup_id {
                Some(dedup) => {
                    let seen = keys.dedup(&message.topic, dedup);
                    let mut call = script::call(&PUBLISH_DEDUP, [stream.as_str(), seen.as_str()]);
                    let window = self.core.config.settings.dedup_window.as_millis().max(1);
                    call.arg(u64::try_from(window).unwrap_or(u64::MAX));
                    wire::write(message, Extent::Usual, &mut call);
                    call
                }
                None => {
                    let mut add = redis::cmd("XADD");
                    add.arg(stream).arg("*");
                    wire::write(message, Extent::Usual, &mut add);
                    add
                }
            };
            pipeline.add_command(command);
            written
                .entry(message.topic.root())
                .or_default()
                .insert(message.topic.as_str());
        }
        let hints = written.len();
        for (root, topics) in written {
            let hint = if self.core.config.settings.provision == Provision::Create {
                let registry = keys.topics(root);
                let mut hint = script::call(&HINT, [registry.as_str()]);
                hint.arg(keys.channel(root)).arg(&topics);
                hint
            } else {
                // Without the right to create, the registry is only read.
                let words: Vec<&str> = std::iter::once("t").chain(topics).collect();
                let mut hint = redis::cmd("PUBLISH");
                hint.arg(keys.channel(root)).arg(words.join(" "));
                hint
            };
            pipeline.add_command(hint);
        }
        (pipeline, hints)
    }

    /// A registry that did not know a topic has lost it: everything is made known again.
    fn look_at_hints(&mut self, replies: &[Value]) {
        let lost = self.core.config.settings.provision == Provision::Create
            && replies
                .iter()
                .any(|reply| matches!(reply, Value::Int(new) if *new > 0));
        if lost {
            self.known.clear();
        }
    }
}

fn published(message: &Message, reply: Value) -> Result<Published> {
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
    Ok(Published {
        position: Some(wire::position(&message.topic, offset)),
        stored_at: Some(wire::stored_at(offset)),
        duplicate,
    })
}

/// What is still open failed with `failed`.
fn fail_open(results: Vec<Option<Result<Published>>>, failed: &Error) -> Vec<Result<Published>> {
    results
        .into_iter()
        .map(|result| result.unwrap_or_else(|| Err(failed.clone())))
        .collect()
}
