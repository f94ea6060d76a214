//! Taking partitions as their last owner left them, and giving them away in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bus_api::{ErrorKind, Notice};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::context::Context;
use super::metadata::Statement;
use super::partition::{Part, Sent};
use super::poll::QUESTION;
use super::shared::{Shared, Stage};
use crate::error::{from_client, from_number, is_final, no_answer};
use crate::flow::Flow;
use crate::rebalance::{self, unassign};
use crate::sys::{self, Commit, Element};
use crate::topics::incarnation;

/// How long other members have to tell how far they had come, after the group was lost.
const OTHERS: Duration = Duration::from_secs(2);
/// How long the group has to give back what it has shut a member out of: a heartbeat, by default.
const UNHEARD: Duration = Duration::from_secs(5);

/// Reads what is committed of new partitions, and lets them fetch from there.
pub(super) fn finish_assigning(shared: &Shared, consumer: &BaseConsumer<Context>, flow: &Flow<'_>) {
    let mut assigned = std::mem::take(&mut shared.todo().assigned).into_iter();
    while let Some(partitions) = assigned.next() {
        // At once: reading what is committed may take long, and others handle the rest meanwhile.
        let is_kept =
            |topic: &str, partition| partitions.find_partition(topic, partition).is_some();
        shared.lock().lose_suspended(is_kept);
        shared.receiver.notify_one();
        match assign(shared, consumer, flow, &partitions) {
            Ok(()) => shared.advance(Stage::Joined),
            Err(failed) if is_final(&failed) => {
                shared.fail(failed);
            }
            Err(failed) => {
                tracing::debug!(error = %failed, "what is committed cannot be read yet");
                let mut todo = shared.todo();
                todo.assigned.push(partitions);
                todo.assigned.extend(assigned);
                return;
            }
        }
    }
}

/// Gives up what the group has shut the member out of. In the newer protocol a member that has joined again and is
/// given nothing does not hear of it, and whoever waits for its acks would wait for the handlers of the others.
pub(super) fn stop_waiting(shared: &Shared) {
    let mut todo = shared.todo();
    let waits = todo.lost_at.is_none_or(|at| at.elapsed() < UNHEARD);
    if waits || !shared.core.config.has_consumer_protocol() {
        return;
    }
    todo.lost_at = None;
    drop(todo);
    shared.lock().lose_suspended(|_, _| false);
    shared.receiver.notify_one();
}

fn assign(
    shared: &Shared,
    consumer: &BaseConsumer<Context>,
    flow: &Flow<'_>,
    partitions: &TopicPartitionList,
) -> bus_api::Result<()> {
    let core = &shared.core;
    let registry = core.names.registry();
    let committed: Vec<Element> = positions(shared, consumer, partitions)?
        .into_iter()
        .filter(|element| {
            let (topic, partition) = (&element.topic, element.partition);
            partitions.find_partition(topic, partition).is_some()
        })
        .collect();
    let mut start = TopicPartitionList::new();
    let mut names: Vec<String> = committed
        .iter()
        .map(|element| element.topic.clone())
        .filter(|name| *name != registry)
        .collect();
    names.dedup();
    let topics: HashMap<String, u128> = if names.is_empty() {
        HashMap::new()
    } else {
        sys::describe_topics(core.client(), &names, QUESTION)?
            .into_iter()
            .filter_map(|topic| Some((topic.name, topic.found?.0)))
            .collect()
    };
    let (mut fresh, mut kept) = (Vec::new(), Vec::new());
    for element in committed {
        if element.topic == registry {
            add(&mut start, &element.topic, element.partition, Offset::End)?;
            continue;
        }
        let id = topics.get(&element.topic).copied().unwrap_or(0);
        let from = match kept_until(shared, &element, id) {
            Some(fetched) => {
                kept.push((element.topic.clone(), element.partition));
                fetched
            }
            None => {
                let part = part(shared, &element, id, partitions.count())?;
                let from = part.as_ref().map_or(0, |part| part.fetched);
                fresh.extend(part);
                from
            }
        };
        let from = match from {
            1.. => Offset::Offset(from),
            _ => Offset::Beginning,
        };
        add(&mut start, &element.topic, element.partition, from)?;
    }
    flow.add(consumer, &start)?;
    rebalance::assign(consumer, &start).map_err(|native| from_client(&native))?;
    let mut inner = shared.lock();
    for (topic, partition) in kept {
        if let Some(part) = inner.part(&topic, partition) {
            part.go_on();
        }
    }
    for mut part in fresh {
        inner.remove(&part.topic.clone(), part.partition, true);
        part.epoch = inner.epoch();
        inner.add(part);
    }
    inner.forget_suspended();
    if let Some(heard_at) = consumer.context().rebalanced() {
        inner.prove(heard_at, shared.proof_counts());
    }
    drop(inner);
    shared.receiver.notify_one();
    shared.work.notify_all();
    Ok(())
}

/// How far a partition was read that nobody else had while the member was shut out of its group: then what
/// the member has of it is still its own.
fn kept_until(shared: &Shared, committed: &Element, id: u128) -> Option<i64> {
    let mut inner = shared.lock();
    let part = inner.part(&committed.topic, committed.partition)?;
    let found = Sent {
        offset: committed.offset,
        metadata: committed.metadata.clone(),
    };
    let is_kept = part.suspended && part.incarnation == incarnation(id) && part.is_as_left(&found);
    is_kept.then_some(part.fetched)
}

/// What is committed; of a group that was lost, what its members last knew.
fn positions(
    shared: &Shared,
    consumer: &BaseConsumer<Context>,
    partitions: &TopicPartitionList,
) -> bus_api::Result<Vec<Element>> {
    let registry = shared.core.names.registry();
    let remembered = shared.lock().suspended();
    let committed = committed(shared, consumer, partitions, &remembered)?;
    let is_missing = |element: &&Element| element.offset < 0;
    let mut items = Vec::new();
    for element in committed.iter().filter(is_missing) {
        let place = (element.topic.clone(), element.partition);
        if let Some(statement) = remembered.get(&place) {
            items.push(told_again(shared, place, statement));
        }
    }
    // `subscribe` commits it when it makes a subscription.
    let is_lost = !committed
        .iter()
        .any(|element| element.topic == registry && element.offset >= 0);
    if is_lost {
        items.push(Element {
            topic: registry.clone(),
            ..Element::default()
        });
    }
    if !items.is_empty() {
        let sent = Commit::send(consumer, &items)?;
        let answer = sent.wait(QUESTION).ok_or_else(no_answer)??;
        if let Some(failed) = answer.iter().find(|element| element.error != 0) {
            return Err(from_number(failed.error));
        }
    }
    if is_lost {
        let subscription = shared.id.clone();
        let notice = Notice::SubscriptionRecreated { subscription };
        shared.core.life.notices().report(notice);
    }
    let unknown = committed.iter().filter(is_missing).any(|element| {
        element.topic != registry
            && !remembered.contains_key(&(element.topic.clone(), element.partition))
    });
    let lost_at = shared.todo().lost_at;
    if unknown && lost_at.is_some_and(|at| at.elapsed() < OTHERS) {
        // Another member may know how far it had come.
        return Err(no_answer());
    }
    if items.is_empty() {
        return Ok(committed);
    }
    self::committed(shared, consumer, partitions, &HashMap::new())
}

/// What a member last knew to be committed, to be committed once more.
fn told_again(shared: &Shared, place: (String, i32), statement: &Statement) -> Element {
    let most = shared.core.limits().metadata;
    let (metadata, _) = statement.encode(most, SystemTime::now());
    let sent = Sent {
        offset: statement.base,
        metadata: metadata.into_bytes(),
    };
    let (topic, partition) = place;
    if let Some(part) = shared.lock().part(&topic, partition) {
        part.note_sent(sent.clone());
    }
    Element {
        topic,
        partition,
        offset: sent.offset,
        metadata: sent.metadata,
        error: 0,
    }
}

/// What is committed of these partitions, of the registry, and of what the member had before.
fn committed(
    shared: &Shared,
    consumer: &BaseConsumer<Context>,
    partitions: &TopicPartitionList,
    before: &HashMap<(String, i32), Statement>,
) -> bus_api::Result<Vec<Element>> {
    let mut asked = partitions.clone();
    let registry = (shared.core.names.registry(), 0);
    for (topic, partition) in before.keys().chain([&registry]) {
        if asked.find_partition(topic, *partition).is_none() {
            asked.add_partition(topic, *partition);
        }
    }
    sys::committed(consumer, asked, QUESTION)
}

fn add(
    list: &mut TopicPartitionList,
    topic: &str,
    partition: i32,
    offset: Offset,
) -> bus_api::Result<()> {
    list.add_partition_offset(topic, partition, offset)
        .map_err(|native| from_client(&native))
}

/// A partition as its last owner left it.
fn part(
    shared: &Shared,
    committed: &Element,
    id: u128,
    partitions: usize,
) -> bus_api::Result<Option<Part>> {
    let Some(root) = shared.root(&committed.topic) else {
        return Ok(None);
    };
    let mark = incarnation(id);
    let mut statement = if committed.offset < 0 {
        Statement::plain(mark, 0)
    } else if committed.metadata.is_empty() {
        Statement::plain(mark, committed.offset)
    } else {
        match Statement::decode(committed.offset, &committed.metadata) {
            Ok(statement) => statement,
            Err(failed) if failed.kind() == ErrorKind::Unsupported => return Err(failed),
            // Another tool has set the offset, with a note of its own.
            Err(_) => Statement::plain(mark, committed.offset),
        }
    };
    let log = shared
        .core
        .log_name(&committed.topic, committed.partition, id);
    let is_another = statement.incarnation != mark;
    // A group may give the new topic as if there had never been another.
    if is_another || shared.lock().knew_another(&committed.topic, mark) {
        let log = Arc::clone(&log);
        shared.core.life.notices().report(Notice::LogLost { log });
    }
    if is_another {
        statement = Statement::plain(mark, 0);
    }
    let window = shared.max_in_flight / partitions.max(1);
    let (topic, partition) = (committed.topic.clone(), committed.partition);
    let mut part = Part::new(topic, partition, root, log, 0, statement, window);
    part.note_sent(Sent {
        offset: committed.offset,
        metadata: committed.metadata.clone(),
    });
    Ok(Some(part))
}

/// Gives partitions away whose handlers have ended and whose settles are committed, or which took too long.
pub(super) fn finish_revoking(shared: &Shared, consumer: &BaseConsumer<Context>) {
    let revoked = std::mem::take(&mut shared.todo().revoked);
    for (partitions, by) in revoked {
        let elements = sys::elements(&partitions);
        let mut inner = shared.lock();
        let mut is_busy = false;
        for element in &elements {
            if let Some(part) = inner.part(&element.topic, element.partition) {
                is_busy |= !part.is_given_up();
            }
        }
        if is_busy && Instant::now() < by {
            drop(inner);
            shared.todo().revoked.push((partitions, by));
            continue;
        }
        for element in &elements {
            inner.remove(&element.topic, element.partition, true);
        }
        drop(inner);
        shared.receiver.notify_one();
        unassign(consumer, &partitions);
    }
}
