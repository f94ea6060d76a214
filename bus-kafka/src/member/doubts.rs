//! Topics that were deleted, and perhaps made anew, below a member.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bus_api::Notice;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::Offset;
use tokio::time::Instant;

use super::context::Context;
use super::metadata::Statement;
use super::partition::Part;
use super::poll::QUESTION;
use super::shared::Shared;
use super::silence::Silence;
use crate::sys;
use crate::topics::incarnation;

/// Topics that may have been deleted and made anew: nothing is taken of them until that is known.
pub(super) struct Doubts {
    pub(super) topics: HashSet<String>,
    silence: Silence,
    asked: Option<Instant>,
}

impl Doubts {
    /// How often the brokers are asked.
    const SPACING: Duration = Duration::from_millis(100);

    pub(super) fn new() -> Self {
        Self {
            topics: HashSet::new(),
            silence: Silence::new(),
            asked: None,
        }
    }

    /// Looks at those of `heard`, the topics of a batch, that were silent for long before anything of them is taken.
    pub(super) fn listen<'a>(&mut self, shared: &Shared, heard: impl Iterator<Item = &'a str>) {
        let broken = self.silence.broken(heard);
        if broken.is_empty() {
            return;
        }
        let found = sys::describe_topics(shared.core.client(), &broken, QUESTION);
        let same: HashSet<String> = {
            let inner = shared.lock();
            let is_same = |topic: &sys::Described| {
                let mark = topic.found.map(|(id, _)| incarnation(id));
                let mut parts = inner.parts.values().filter(|part| part.topic == topic.name);
                parts.all(|part| Some(part.incarnation) == mark)
            };
            let found = found.into_iter().flatten();
            found.filter(is_same).map(|topic| topic.name).collect()
        };
        self.topics
            .extend(broken.into_iter().filter(|topic| !same.contains(topic)));
    }

    /// There was nothing to hear.
    pub(super) fn heard_nothing(&mut self) {
        self.silence.goes_on();
    }

    /// Finds out, and lets reading go on.
    pub(super) fn settle(&mut self, shared: &Shared, consumer: &BaseConsumer<Context>) {
        let soon = self.asked.is_some_and(|at| at.elapsed() < Self::SPACING);
        if self.topics.is_empty() || soon {
            return;
        }
        self.asked = Some(Instant::now());
        let names: Vec<String> = self.topics.iter().cloned().collect();
        let Ok(found) = sys::describe_topics(shared.core.client(), &names, QUESTION) else {
            return;
        };
        for topic in found {
            // One that is gone may come back.
            let Some((id, partitions)) = topic.found else {
                continue;
            };
            let known = shared.core.topics.note(&topic.name, id, partitions);
            shared.todo().recreated.push((topic.name.clone(), known));
            self.go_on(shared, consumer, &topic.name, incarnation(id));
        }
    }

    /// Reading goes on where it was left of what is the same log; as long as that is not possible, nothing is
    /// taken: what comes next would skip what was thrown away.
    fn go_on(&mut self, shared: &Shared, consumer: &BaseConsumer<Context>, topic: &str, mark: u32) {
        let places: Vec<(i32, i64)> = {
            let inner = shared.lock();
            inner
                .parts
                .values()
                .filter(|part| part.topic == topic && part.incarnation == mark)
                .filter(|part| !part.is_away())
                .map(|part| (part.partition, part.fetched))
                .collect()
        };
        for (partition, next) in places {
            if let Err(native) = consumer.seek(topic, partition, Offset::Offset(next), QUESTION) {
                tracing::debug!(error = %native, "seeking in a log that was in doubt");
                return;
            }
        }
        self.topics.remove(topic);
    }

    /// All topics of the member are in doubt.
    pub(super) fn all(&mut self, shared: &Shared) {
        let inner = shared.lock();
        self.topics
            .extend(inner.parts.values().map(|part| part.topic.clone()));
    }
}

/// Starts topics anew that were deleted and made again.
pub(super) fn start_recreated(
    shared: &Shared,
    consumer: &BaseConsumer<Context>,
    doubts: &mut Doubts,
) {
    let recreated = std::mem::take(&mut shared.todo().recreated);
    for (topic, known) in recreated {
        let Some(root) = shared.root(&topic) else {
            continue;
        };
        for partition in 0..known.partitions {
            let mark = incarnation(known.id);
            let mut inner = shared.lock();
            match inner.part(&topic, partition) {
                Some(part) if part.incarnation != mark && !part.is_away() => {}
                _ => continue,
            }
            inner.remove(&topic, partition, true);
            let log = shared.core.log_name(&topic, partition, known.id);
            let statement = Statement::plain(mark, 0);
            let epoch = inner.epoch();
            let (name, window) = (topic.clone(), shared.max_in_flight);
            let mut part = Part::new(
                name,
                partition,
                root.clone(),
                Arc::clone(&log),
                epoch,
                statement,
                window,
            );
            // What the broker kept of the old log must not count for the new one.
            part.touch();
            inner.add(part);
            drop(inner);
            shared.core.life.notices().report(Notice::LogLost { log });
            if let Err(native) = consumer.seek(&topic, partition, Offset::Beginning, QUESTION) {
                tracing::debug!(error = %native, "seeking to the start of a new log");
                doubts.topics.insert(topic.clone());
            }
        }
        shared.receiver.notify_one();
    }
}
