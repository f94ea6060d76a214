//! Answering: responders of a group share the requests of the namespace by partitions.
//!
//! A request is handed out at most once. Positions are therefore not committed after the handling but when a
//! partition changes hands in order: "clean", with the next request. While a responder has a partition, its
//! commit says "open", and who has it; whoever else finds that, after a crash, goes on with what comes later, and
//! the requests in between time out.

mod partition;
mod poll;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bus_api::adapter::{Leave, Leaving};
use bus_api::cloudevents::Extent;
use bus_api::{
    Error, ErrorKind, IncomingRequest, Message, Pattern, Replier, ReplyTo, RequestReceiver,
    Requests, ResponderSpec, Result,
};
use rdkafka::consumer::Consumer;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use self::partition::Partition;
use crate::core::{Anchor, Core};
use crate::ending::Ending;
use crate::error::{closed, error, from_client};
use crate::member::close;
use crate::request::Address;
use crate::thread;
use crate::topics::Purpose;
use crate::wire::{self, Record};

/// How long joining may take.
const JOINING: Duration = Duration::from_secs(15);
/// Records that are looked at before other tasks have their turn.
const AT_ONCE: usize = 500;

#[derive(Default)]
struct Inner {
    /// The partitions that are this responder's.
    partitions: Vec<Partition>,
    /// The next request of each partition that was this responder's until its session ended.
    kept: HashMap<i32, i64>,
    ended: Option<Error>,
}

struct Shared {
    core: Arc<Core>,
    /// Of this responder alone.
    id: Uuid,
    group: String,
    pattern: Pattern,
    requests: String,
    inner: Mutex<Inner>,
    receiver: Arc<Notify>,
    joined: watch::Sender<bool>,
    ending: Ending,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.ending.is_over() || self.core.life.is_over()
    }

    fn fail(&self, error: Error) {
        self.lock().ended.get_or_insert(error);
        self.ending.end();
        self.joined.send_replace(true);
        self.receiver.notify_one();
    }

    /// Takes partitions back: where each goes on.
    fn give_up(&self, is_given: impl Fn(i32) -> bool) -> Vec<(i32, i64)> {
        let mut given = Vec::new();
        self.lock().partitions.retain(|partition| {
            let stays = !is_given(partition.number);
            if !stays {
                given.push((partition.number, partition.goes_on_at()));
            }
            stays
        });
        given
    }

    /// Up to `max` requests that are for this responder, the oldest first; nothing is a reason to wait.
    fn take(&self, max: usize) -> Result<Option<Vec<IncomingRequest>>> {
        let (mut requests, mut most) = (Vec::new(), AT_ONCE);
        let mut inner = self.lock();
        if let Some(ended) = &inner.ended {
            return Err(ended.clone());
        }
        if self.is_over() {
            return Err(closed());
        }
        let (partitions, now) = (&mut inner.partitions, Instant::now());
        for partition in &mut *partitions {
            partition.look(&self.pattern, &mut most)?;
        }
        while requests.len() < max {
            let oldest = partitions
                .iter_mut()
                .filter_map(|partition| Some((partition.first()?.stored_at, partition)))
                .min_by_key(|(stored_at, _)| *stored_at);
            let Some((_, partition)) = oldest else {
                break;
            };
            let in_time = partition
                .take()
                .filter(|first| first.request.deadline > now);
            requests.extend(in_time.map(|first| first.request));
            partition.look(&self.pattern, &mut most)?;
        }
        Ok((!requests.is_empty() || most == 0).then_some(requests))
    }
}

pub(crate) async fn respond(
    anchor: &Arc<Anchor>,
    leaving: &Leaving,
    spec: ResponderSpec,
) -> Result<Requests> {
    let core = &anchor.0;
    let wanted = [
        (core.names.registry(), Purpose::Registry),
        (core.names.requests(), Purpose::Requests),
        (core.names.replies(), Purpose::Requests),
    ];
    core.ensure(&wanted).await?;
    let group = core.names.responders(&spec.group, &spec.pattern);
    core.register_responder(&group, &spec.group, &spec.pattern)
        .await?;
    let shared = Arc::new(Shared {
        core: Arc::clone(core),
        id: Uuid::new_v4(),
        group,
        pattern: spec.pattern,
        requests: core.names.requests(),
        inner: Mutex::default(),
        receiver: Arc::default(),
        joined: watch::Sender::new(false),
        ending: Ending::default(),
    });
    let consumer = Arc::new(poll::consumer(&shared)?);
    consumer
        .subscribe(&[&shared.requests])
        .map_err(|native| from_client(&native))?;
    let handle = Arc::new(Handle {
        shared: Arc::clone(&shared),
        _anchor: Arc::clone(anchor),
    });
    let thread = Arc::clone(&shared);
    thread::start("requests", move || {
        poll::run(&thread, &consumer);
        let unclosed = close(&thread.core.life, consumer);
        thread.ending.finished();
        thread.receiver.notify_one();
        drop(thread);
        drop(unclosed);
    })?;
    let mut joined = shared.joined.subscribe();
    tokio::select! {
        _ = joined.wait_for(|joined| *joined) => {}
        () = core.life.ended() => return Err(closed()),
        () = tokio::time::sleep(JOINING) => {
            return Err(error(
                ErrorKind::Unavailable,
                "the group has not taken the responder in; its coordinator may be away",
            ));
        }
    }
    if let Some(ended) = shared.lock().ended.clone() {
        return Err(ended);
    }
    leaving.add(&shared);
    Ok(Requests {
        receiver: Box::new(Receives {
            shared: Arc::clone(&shared),
            _handle: Arc::clone(&handle),
        }),
        replier: Arc::new(Replies {
            shared,
            _handle: handle,
        }),
    })
}

/// When both halves are dropped, the responder leaves.
struct Handle {
    shared: Arc<Shared>,
    _anchor: Arc<Anchor>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.ending.end();
    }
}

struct Receives {
    shared: Arc<Shared>,
    _handle: Arc<Handle>,
}

#[async_trait]
impl RequestReceiver for Receives {
    async fn receive(&mut self, max: usize) -> Result<Vec<IncomingRequest>> {
        loop {
            let woken = self.shared.receiver.notified();
            let taken = self.shared.take(max);
            match taken.inspect_err(|failed| self.shared.fail(failed.clone()))? {
                Some(requests) if !requests.is_empty() => return Ok(requests),
                Some(_) => {
                    // All were for others; so may be many more.
                    tokio::task::yield_now().await;
                    continue;
                }
                None => {}
            }
            tokio::select! {
                () = woken => {}
                () = self.shared.core.life.ended() => {}
            }
        }
    }
}

struct Replies {
    shared: Arc<Shared>,
    _handle: Arc<Handle>,
}

#[async_trait]
impl Replier for Replies {
    async fn reply(&self, batch: Vec<(ReplyTo, Message)>) -> Vec<Result<()>> {
        let core = &self.shared.core;
        let topic: Arc<str> = core.names.replies().into();
        let partitions = core
            .topics
            .known(&topic)
            .map_or(0, |known| known.partitions);
        let (mut records, mut results) = (Vec::new(), Vec::new());
        for (reply_to, message) in &batch {
            let Some(address) = Address::read(reply_to, &topic, partitions) else {
                tracing::warn!("a reply to an address outside of the namespace was refused");
                results.push(Err(error(
                    ErrorKind::InvalidArgument,
                    "the address of the requester is not one of this namespace; nothing was sent",
                )));
                continue;
            };
            records.push(Record {
                topic: Arc::clone(&topic),
                partition: Some(address.partition),
                key: Some(address.id.to_owned().into()),
                headers: wire::headers(message, Extent::Whole),
                payload: Some(message.payload.clone()),
            });
            results.push(Ok(()));
        }
        let Some(publisher) = core.publisher.get() else {
            return vec![Err(closed()); batch.len()];
        };
        let mut written = publisher.write(core, records).await.into_iter();
        for result in results.iter_mut().filter(|result| result.is_ok()) {
            *result = written.next().unwrap_or_else(|| Err(closed())).map(drop);
        }
        results
    }

    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.shared.leave(deadline).await
    }
}

#[async_trait]
impl Leave for Shared {
    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.ending.end();
        self.receiver.notify_one();
        self.ending.wait(&self.core.life, deadline).await
    }
}
