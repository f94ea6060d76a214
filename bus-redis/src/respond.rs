//! Answering.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bus_api::adapter::{Backoff, Leave, Leaving};
use bus_api::{
    IncomingRequest, Message, Replier, ReplyTo, RequestReceiver, Requests, ResponderSpec, Result,
};
use redis::{Pipeline, Value};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::core::Core;
use crate::error::{closed, error, invalid_argument, is_final};
use crate::link::{self, Link};
use crate::look::{LONGEST, Looks};
use crate::request::{ROOM, pack, split_address};
use crate::script::{self, PRESENCE};
use crate::value::Take;

/// How often a responder says that it is there.
const PRESENCE_EVERY: Duration = Duration::from_secs(2);
/// How long it counts as being there.
const PRESENCE_FOR: Duration = Duration::from_secs(5);
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
pub(crate) struct Responder {
    core: Arc<Core>,
    pub(crate) link: Arc<Link>,
    pub(crate) list: String,
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

    /// How many requests may be taken.
    pub(crate) fn room(&self) -> usize {
        let state = self.lock();
        state.wanted.saturating_sub(state.buffer.len())
    }

    /// A request was taken.
    pub(crate) fn take_up(&self, request: IncomingRequest) {
        self.lock().buffer.push_back(request);
        self.arrived.notify_one();
    }

    /// When a deadline of the server's clock is, by ours.
    pub(crate) fn instant(&self, millis: i64) -> Option<Instant> {
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
        link: core.blocking_link(LONGEST),
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
    let mut leaving = responder.leaving.subscribe();
    let mut backoff = Backoff::default();
    let mut looks = Looks::new(&responder);
    let mut failed = false;
    while !responder.core.life.is_over() && !*responder.leaving.borrow() {
        if !failed {
            looks.go_on();
        }
        tokio::select! {
            Some(looked) = looks.next() => match looked {
                Ok(()) => backoff.reset(),
                Err(error) if is_final(&error) => {
                    responder.end(error);
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, "a responder waits for the server");
                    failed = true;
                }
            },
            () = responder.asked.notified() => {}
            () = responder.core.life.ended() => {}
            // Closing the connection ends the waiting: nobody is there to answer what it would take.
            _ = leaving.wait_for(|leaving| *leaving) => responder.link.drop_connection(),
        }
        if failed && looks.is_empty() {
            failed = false;
            backoff.wait(&responder.core.life, None).await;
        }
    }
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
                    payload.reserve(ROOM + message.size());
                    pack(&mut payload, None, message);
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
