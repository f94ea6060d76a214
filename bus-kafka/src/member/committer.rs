//! The thread that commits: one commit at a time for everything that has changed.

use std::sync::Arc;
use std::time::Duration;

use bus_api::{Error, ErrorKind};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use tokio::time::Instant;

use super::context::Context;
use super::partition::Snapshot;
use super::shared::{Rejoin, Shared};
use crate::error::{code_of, from_number, is_final};
use crate::sys::{Commit, Element};

/// The least time between two commits while handlers run: what gathers acks.
const SPACING: Duration = Duration::from_millis(5);
/// The least time after a commit that failed.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// How long a leaving member waits for its last commit.
const LAST_COMMIT: Duration = Duration::from_secs(3);
/// How often a waiting thread looks whether it is still wanted.
const STEP: Duration = Duration::from_millis(100);

/// What is in one commit.
struct Piece {
    epoch: u64,
    snapshot: Snapshot,
}

/// When the next commit may be sent.
enum Next {
    At(Instant),
    /// Then, or once nothing is left to be gathered: no handler has anything.
    Gathers(Instant),
}

/// Runs until the member leaves.
pub(super) fn run(shared: &Shared, consumer: &Arc<BaseConsumer<Context>>) {
    let mut next = Next::At(Instant::now());
    while !consumer.context().is_halted() && !shared.core.life.is_over() {
        {
            let mut inner = shared.lock();
            inner.seek_proof(shared.session);
            let waits = match next {
                _ if !inner.is_dirty() => STEP,
                Next::Gathers(_) if inner.is_idle() => Duration::ZERO,
                Next::At(at) | Next::Gathers(at) => at.saturating_duration_since(Instant::now()),
            };
            if !waits.is_zero() {
                drop(shared.wait_for_work(inner, waits));
                continue;
            }
        }
        let began = Instant::now();
        next = if commit(shared, consumer, false) {
            Next::Gathers(began + SPACING)
        } else {
            Next::At(began + AFTER_FAILURE)
        };
    }
}

/// Commits what has changed; `false`: something failed and stays to be committed. With `release`, everything,
/// and nothing more is handed out.
///
/// Never called by two threads at once: the older of two commits might be the last to take effect.
pub(super) fn commit(shared: &Shared, consumer: &BaseConsumer<Context>, release: bool) -> bool {
    let most = shared.core.limits().metadata;
    let (mut pieces, mut items) = (Vec::new(), Vec::new());
    {
        let mut inner = shared.lock();
        for part in inner.parts.values_mut() {
            if part.suspended || !(release || part.dirty) {
                continue;
            }
            let snapshot = part.snapshot(release || part.revoked.is_some(), most);
            items.push(Element {
                topic: part.topic.clone(),
                partition: part.partition,
                offset: snapshot.sent.offset,
                metadata: snapshot.sent.metadata.clone(),
                error: 0,
            });
            pieces.push(Piece {
                epoch: part.epoch,
                snapshot,
            });
        }
    }
    if items.is_empty() {
        return true;
    }
    let sent_at = Instant::now();
    let mut answer = send(shared, consumer, &items);
    if items.len() > 1 && matches!(&answer, Err(failed) if is_about_one(failed)) {
        // One partition makes all look failed: each alone.
        let each = items
            .iter()
            .map(|item| send(shared, consumer, std::slice::from_ref(item)))
            .map(Result::err)
            .collect::<Vec<_>>();
        answer = Ok(each);
    }
    conclude(shared, pieces, sent_at, &answer)
}

/// One error, or none, for each item.
fn send(
    shared: &Shared,
    consumer: &BaseConsumer<Context>,
    items: &[Element],
) -> Result<Vec<Option<Error>>, Error> {
    let commit = Commit::send(consumer, items)?;
    // It may take effect until it is answered, so nothing else is committed before; only whoever leaves gives
    // up, when the group is held up by others.
    let began = Instant::now();
    let answer = loop {
        if let Some(answer) = commit.wait(STEP) {
            break answer?;
        }
        if shared.core.life.is_over() {
            return Err(crate::error::closed());
        }
        if consumer.context().is_halted() && began.elapsed() > LAST_COMMIT {
            return Err(crate::error::no_answer());
        }
    };
    let each: Vec<Option<Error>> = items
        .iter()
        .map(|item| {
            answer
                .iter()
                .find(|other| other.topic == item.topic && other.partition == item.partition)
                .filter(|other| other.error != 0)
                .map(|other| from_number(other.error))
        })
        .collect();
    match each.iter().flatten().next() {
        Some(first) if items.len() > 1 => Err(first.clone()),
        _ => Ok(each),
    }
}

/// Whether the error may be that of a single partition, which the client library reports for all of them.
fn is_about_one(failed: &Error) -> bool {
    matches!(
        code_of(failed),
        Some(
            RDKafkaErrorCode::OffsetMetadataTooLarge
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopicId
                | RDKafkaErrorCode::TopicAuthorizationFailed
        )
    )
}

fn conclude(
    shared: &Shared,
    pieces: Vec<Piece>,
    sent_at: Instant,
    answer: &Result<Vec<Option<Error>>, Error>,
) -> bool {
    let (mut ok, mut proved, mut group_lost) = (true, false, false);
    let mut fatal = None;
    let mut inner = shared.lock();
    for (index, piece) in pieces.into_iter().enumerate() {
        let Some(part) = inner.parts.get_mut(&piece.epoch) else {
            continue;
        };
        let failed = match answer {
            Ok(each) => each.get(index).cloned().flatten(),
            Err(failed) => Some(failed.clone()),
        };
        match failed {
            None => {
                part.committed(piece.snapshot);
                proved = true;
            }
            Some(failed) => {
                ok = false;
                part.dirty = true;
                tracing::debug!(
                    group = %shared.group, partition = part.partition, error = %failed,
                    "a commit failed and is tried again"
                );
                group_lost |= code_of(&failed) == Some(RDKafkaErrorCode::GroupIdNotFound);
                if is_final(&failed) && failed.kind() != ErrorKind::Closed {
                    fatal = Some(failed);
                }
            }
        }
    }
    if proved {
        inner.prove(sent_at, shared.proof_counts());
    }
    drop(inner);
    shared.receiver.notify_one();
    // In the older protocol the client library joins anew by itself, and in order.
    if group_lost && shared.core.config.has_consumer_protocol() {
        shared.todo().rejoin.get_or_insert(Rejoin::GroupLost);
    }
    if ok {
        shared.core.life.reached();
    }
    if let Some(fatal) = fatal {
        shared.fail(fatal);
    }
    ok
}
