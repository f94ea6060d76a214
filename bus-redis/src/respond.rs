//! Answering.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bus_api::adapter::{Backoff, Leave, Leaving};
use bus_api::{
    IncomingRequest, Message, Replier, ReplyTo, RequestReceiver, Requests, ResponderSpec, Result,
};
use bytes::Bytes;
use redis::{Pipeline, Value};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::core::Core;
use crate::error::{closed, error, invalid_argument, is_final, senseless};
use crate::link::{self, Link};
use crate::request::{REPLY_TO, message, pack, split_address, unpack};
use crate::script::{self, PRESENCE};
use crate::value::Take;
use crate::wire;

/// How often a responder says that it is there.
const PRESENCE_EVERY: Duration = Duration::from_secs(2);
/// How long it counts as being there.
const PRESENCE_FOR: Duration = Duration::from_secs(5);
/// How long one look into the list waits.
const BLOCK: Duration = Duration::from_secs(1);
/// How long a reply is tried.
const REPLY_FOR: Duration = Duration::from_secs(5);
const WHAT: &str = "taking requests";

#[derive(Debug, Default)]
struct State {
    wanted: usize,
    buffer: VecDeque<IncomingRequest>,
    ended: Option<bus_api::Error>,
    /// The server's clock: its milliseconds at an instant of ours, or a little later.
    clock: Option<(i64, Instant)>,
}

/// One responder.
#[derive(Debug)]
struct Responder {
    core: Arc<Core>,
    link: Arc<Link>,
    list: String,
    member: String,
    state: Mutex<State>,
    asked: Notify,
    arrived: Notify,
    leaving: watch::Sender<bool>,
}

impl Responder {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, error: bus_api::Error) {
        self.lock().ended.get_or_insert(error);
        self.arrived.notify_one();
    }

    /// Says that it is there, and learns the server's time.
    async fn be_present(&self) -> Result<()> {
        let keys = &self.core.keys;
        let names = [keys.responders(), keys.responders_version()];
        let mut call = script::call(&PRESENCE, names.iter().map(String::as_str));
        let present = u64::try_from(PRESENCE_FOR.as_millis()).unwrap_or(u64::MAX);
        call.arg(&self.member).arg(present);
        let asked_at = Instant::now();
        let now = self.core.control.run(&call).await?.int(WHAT)?;
        // The server was asked after this instant, and rounds down: no deadline comes out too late.
        self.lock().clock = Some((now.saturating_add(1), asked_at));
        Ok(())
    }

    /// When a deadline of the server's clock is, by ours.
    fn instant(&self, millis: i64) -> Option<Instant> {
        let (server, here) = self.lock().clock?;
        let difference = millis.checked_sub(server)?;
        let length = Duration::from_millis(difference.unsigned_abs());
        if difference < 0 {
            here.checked_sub(length)
        } else {
            here.checked_add(length)
        }
    }
}

#[async_trait]
impl Leave for Responder {
    async fn leave(&self, deadline: Instant) -> Result<()> {
        if self.leaving.send_replace(true) {
            return Ok(());
        }
        self.asked.notify_one();
        self.end(closed());
        let command = redis::cmd("ZREM")
            .arg(self.core.keys.responders())
            .arg(&self.member)
            .take();
        match tokio::time::timeout_at(deadline, self.core.control.run(&command)).await {
            Ok(Ok(_)) => Ok(()),
            // It is forgotten all the same, a few seconds later.
            Ok(Err(failed)) if is_final(&failed) => Err(failed),
            _ => Err(error(
                bus_api::ErrorKind::Timeout,
                "leaving was not confirmed; the responder is forgotten within five seconds",
            )),
        }
    }
}

pub(crate) async fn respond(
    core: &Arc<Core>,
    leaving: &Leaving,
    spec: ResponderSpec,
) -> Result<Requests> {
    if spec.max_in_flight == 0 {
        return Err(invalid_argument("`max_in_flight` is at least 1"));
    }
    let queue = format!("{} {}", spec.group, spec.pattern);
    let responder = Arc::new(Responder {
        core: Arc::clone(core),
        link: core.blocking_link(BLOCK),
        list: core.keys.requests(&queue),
        member: format!("{queue} {}", Uuid::new_v4().simple()),
        state: Mutex::default(),
        asked: Notify::new(),
        arrived: Notify::new(),
        leaving: watch::Sender::new(false),
    });
    responder.be_present().await?;
    leaving.add(&responder);
    let guard = Arc::new(Guard(Arc::clone(&responder)));
    core.life.spawn(presence(Arc::clone(&responder)));
    core.life.spawn(work(responder));
    Ok(Requests {
        receiver: Box::new(Incoming(Arc::clone(&guard))),
        replier: Arc::new(RedisReplier(guard)),
    })
}

async fn presence(responder: Arc<Responder>) {
    let _anchor = responder.core.hold();
    let mut leaving = responder.leaving.subscribe();
    let mut backoff = Backoff::default();
    while !responder.core.life.is_over() && !*leaving.borrow() {
        let wait = match responder.be_present().await {
            Ok(()) => {
                backoff.reset();
                PRESENCE_EVERY
            }
            Err(_) => backoff.next_delay(),
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = leaving.changed() => {}
            () = responder.core.life.ended() => {}
        }
    }
    // One that was on its way while the responder left would bring it back.
    let command = redis::cmd("ZREM")
        .arg(responder.core.keys.responders())
        .arg(&responder.member)
        .take();
    let _ = responder.core.control.run(&command).await;
}

async fn work(responder: Arc<Responder>) {
    let _ends = EndsWith(Arc::clone(&responder));
    let mut backoff = Backoff::default();
    while !responder.core.life.is_over() && !*responder.leaving.borrow() {
        let room = {
            let state = responder.lock();
            state.wanted.saturating_sub(state.buffer.len())
        };
        if room == 0 {
            tokio::select! {
                () = responder.asked.notified() => {}
                () = responder.core.life.ended() => {}
            }
            continue;
        }
        let mut leaving = responder.leaving.subscribe();
        let popped = tokio::select! {
            popped = pop(&responder, room) => popped,
            // Closing the connection ends the waiting: nobody is there to answer what it would take.
            _ = leaving.wait_for(|leaving| *leaving) => {
                responder.link.drop_connection();
                break;
            }
        };
        match popped {
            Ok(()) => backoff.reset(),
            Err(error) if is_final(&error) => {
                responder.end(error);
                return;
            }
            Err(error) => {
                tracing::debug!(%error, "a responder waits for the server");
                backoff.wait(&responder.core.life, None).await;
            }
        }
    }
}

async fn pop(responder: &Responder, room: usize) -> Result<()> {
    let command = redis::cmd("BLMPOP")
        .arg(BLOCK.as_secs())
        .arg(1)
        .arg(&responder.list)
        .arg("LEFT")
        .arg("COUNT")
        .arg(room)
        .take();
    let mut parts = match responder.link.run(&command).await? {
        Value::Nil => return Ok(()),
        reply => reply.array(WHAT)?.into_iter(),
    };
    let items = parts.nth(1).ok_or_else(|| senseless(WHAT))?.array(WHAT)?;
    for item in items {
        let item = item.bytes(WHAT)?;
        match read(responder, &item) {
            Ok(Some(request)) => responder.lock().buffer.push_back(request),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a request cannot be read"),
        }
    }
    responder.arrived.notify_one();
    Ok(())
}

/// The deadline, a space, the record; `None` for one that is too late.
fn read(responder: &Responder, item: &Bytes) -> Result<Option<IncomingRequest>> {
    let space = item
        .iter()
        .position(|byte| *byte == b' ')
        .ok_or_else(|| senseless(WHAT))?;
    let deadline = std::str::from_utf8(&item[..space])
        .ok()
        .and_then(|text| text.parse().ok())
        .and_then(|millis| responder.instant(millis))
        .ok_or_else(|| senseless(WHAT))?;
    if deadline <= Instant::now() {
        return Ok(None);
    }
    let mut fields = unpack(&item.slice(space + 1..))?;
    let reply_to = fields
        .iter()
        .position(|(name, _)| name == REPLY_TO)
        .map(|index| fields.swap_remove(index).1)
        .unwrap_or_default();
    Ok(Some(IncomingRequest {
        message: Arc::new(message(&fields)?),
        deadline,
        reply_to: ReplyTo::new(String::from_utf8_lossy(&reply_to)),
    }))
}

/// Ends a responder whose task is gone.
struct EndsWith(Arc<Responder>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.end(closed());
    }
}

/// Leaves when the last half is dropped.
#[derive(Debug)]
struct Guard(Arc<Responder>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.leaving.send_replace(true);
        self.0.asked.notify_one();
    }
}

#[derive(Debug)]
struct Incoming(Arc<Guard>);

#[async_trait]
impl RequestReceiver for Incoming {
    async fn receive(&mut self, max: usize) -> Result<Vec<IncomingRequest>> {
        let responder = &self.0.0;
        let _wanting = Wanting(responder);
        loop {
            let arrived = responder.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            {
                let mut state = responder.lock();
                let now = Instant::now();
                state.buffer.retain(|request| request.deadline > now);
                if let Some(error) = &state.ended {
                    return Err(error.clone());
                }
                let count = state.buffer.len().min(max.max(1));
                if count > 0 {
                    return Ok(state.buffer.drain(..count).collect());
                }
                state.wanted = max.max(1);
            }
            responder.asked.notify_one();
            arrived.await;
        }
    }
}

/// Whoever stops waiting wants nothing more.
struct Wanting<'a>(&'a Responder);

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.lock().wanted = 0;
    }
}

/// Sends replies, also over a connection that has to be made again: one that comes twice is dropped.
async fn send(core: &Core, pipeline: &Pipeline) -> Result<Vec<Value>> {
    let mut backoff = Backoff::default();
    let deadline = Instant::now() + REPLY_FOR;
    loop {
        match core.control.run_all(pipeline).await {
            Err(error) if error.is_retryable() && Instant::now() < deadline => {
                backoff.wait(&core.life, Some(deadline)).await;
            }
            sent => return sent,
        }
    }
}

#[derive(Debug)]
struct RedisReplier(Arc<Guard>);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Replier for RedisReplier {
    async fn reply(&self, batch: Vec<(ReplyTo, Message)>) -> Vec<Result<()>> {
        let core = &self.0.0.core;
        let mut pipeline = Pipeline::new();
        let mut results: Vec<Result<()>> = Vec::with_capacity(batch.len());
        let mut sent = Vec::new();
        for (index, (address, message)) in batch.iter().enumerate() {
            match split_address(&core.keys, address.as_str()) {
                Some((channel, token)) => {
                    let mut payload = format!("{token} ").into_bytes();
                    payload.extend(pack(&wire::flat(message)));
                    pipeline.cmd("PUBLISH").arg(channel).arg(payload);
                    sent.push(index);
                    results.push(Ok(()));
                }
                None => {
                    tracing::warn!("a reply to an address that the bus did not make was refused");
                    results.push(Err(invalid_argument(
                        "the reply address is not one of this namespace",
                    )));
                }
            }
        }
        match send(core, &pipeline).await {
            Ok(replies) => {
                for (index, reply) in sent.into_iter().zip(replies) {
                    results[index] = link::ok(reply).map(drop);
                }
            }
            Err(error) => {
                for index in sent {
                    results[index] = Err(error.clone());
                }
            }
        }
        results
    }

    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.0.0.leave(deadline).await
    }
}
