//! Answering.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_nats::{HeaderMap, Subscriber};
use async_trait::async_trait;
use bus_api::adapter::{Leave, Leaving};
use bus_api::cloudevents::Extent;
use bus_api::{
    ErrorKind, IncomingRequest, Message, Replier, ReplyTo, RequestReceiver, Requests,
    ResponderSpec, Result,
};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::core::{Anchor, Core};
use crate::digits;
use crate::error::{closed, error, invalid_argument, too_large, unavailable};
use crate::last_topic::LastTopic;
use crate::link::{Lost, wire_size};
use crate::request::{UNTIL, WAIT, read};
use crate::template::Template;
use crate::wire;

/// Requests that wait in a responder beyond what it may have outstanding are dropped by their deadlines.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// How long a reply waits for the server to be reached.
const REPLY_FOR: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct State {
    buffer: VecDeque<IncomingRequest>,
    ended: Option<bus_api::Error>,
}

/// One responder.
#[derive(Debug)]
struct Responder {
    core: Arc<Core>,
    state: Mutex<State>,
    arrived: Notify,
    leaving: watch::Sender<bool>,
    left: watch::Sender<bool>,
}

impl Responder {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, last: &mut LastTopic, message: async_nats::Message) {
        match incoming(&self.core, last, message) {
            Ok(Some(request)) => {
                self.lock().buffer.push_back(request);
                self.arrived.notify_one();
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a request cannot be read"),
        }
    }

    fn end(&self, error: bus_api::Error) {
        self.lock().ended.get_or_insert(error);
        self.arrived.notify_one();
    }
}

#[async_trait]
impl Leave for Responder {
    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.leaving.send_replace(true);
        let mut left = self.left.subscribe();
        match tokio::time::timeout_at(deadline, left.wait_for(|left| *left)).await {
            // An error: the task ended with its runtime or connection.
            Ok(_) => Ok(()),
            Err(_) => Err(error(
                ErrorKind::Timeout,
                "leaving was not confirmed until the deadline",
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
    let deadline = Instant::now() + core.patience();
    core.feed.until_up(deadline).await?;
    let subject = core.keys.requests(&spec.pattern);
    let requests = core
        .feed
        .subscribe_in(subject, spec.group.to_string())
        .await?;
    known(core, deadline).await?;
    let responder = Arc::new(Responder {
        core: Arc::clone(core),
        state: Mutex::default(),
        arrived: Notify::new(),
        leaving: watch::Sender::new(false),
        left: watch::Sender::new(false),
    });
    leaving.add(&responder);
    let guard = Arc::new(Guard(Arc::clone(&responder)));
    core.life.spawn(work(responder, requests, core.hold()));
    Ok(Requests {
        receiver: Box::new(Incoming(Arc::clone(&guard))),
        replier: Arc::new(NatsReplier {
            guard,
            template: Mutex::default(),
        }),
    })
}

/// Waits until the server has taken up what the connection of deliveries has sent.
async fn known(core: &Core, deadline: Instant) -> Result<()> {
    let client = core.feed.client()?;
    let inbox = client.new_inbox();
    let mut echo = core.feed.subscribe(inbox.clone()).await?;
    client
        .publish(inbox, bytes::Bytes::new())
        .await
        .map_err(|_| unavailable())?;
    match tokio::time::timeout_at(deadline, echo.next()).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(closed()),
        Err(_) => Err(Lost::Unanswered.error()),
    }
}

async fn work(responder: Arc<Responder>, mut requests: Subscriber, _anchor: Option<Arc<Anchor>>) {
    let _ends = EndsWith(Arc::clone(&responder));
    let mut leaving = responder.leaving.subscribe();
    let mut last = LastTopic::default();
    loop {
        let message = tokio::select! {
            message = requests.next() => message,
            _ = leaving.wait_for(|leaving| *leaving) => break,
        };
        let Some(message) = message else { break };
        responder.take(&mut last, message);
    }
    // What the server has sent already is handed over, while anybody asks for it.
    let _ = requests.drain().await;
    let _ = known(&responder.core, Instant::now() + Duration::from_secs(1)).await;
    while let Some(Some(message)) = requests.next().now_or_never() {
        responder.take(&mut last, message);
    }
    responder.end(closed());
    responder.left.send_replace(true);
}

/// A request; none when it is nobody's question or too late.
fn incoming(
    core: &Core,
    last: &mut LastTopic,
    message: async_nats::Message,
) -> Result<Option<IncomingRequest>> {
    let Some(reply_to) = &message.reply else {
        return Ok(None);
    };
    let Some(topic) = core.keys.request_topic_of(&message.subject) else {
        return Ok(None);
    };
    let topic = last.read(topic)?;
    let mut deadline = Instant::now() + LONGEST_WAIT;
    let mut pairs = wire::pairs(message.headers.as_ref());
    pairs.retain(|(name, value)| {
        let millis = || digits::read(value).map(Duration::from_millis);
        let until = if name.eq_ignore_ascii_case(WAIT.as_bytes()) {
            millis().and_then(|wait| Instant::now().checked_add(wait))
        } else if name.eq_ignore_ascii_case(UNTIL.as_bytes()) {
            let until = millis().and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
            until.and_then(|until| core.clock.here(until))
        } else {
            return true;
        };
        deadline = until.map_or(deadline, |until| deadline.min(until));
        false
    });
    if deadline <= Instant::now() {
        return Ok(None);
    }
    Ok(Some(IncomingRequest {
        message: Arc::new(read(topic, pairs, message.payload)?),
        deadline,
        reply_to: ReplyTo::new(reply_to.as_str()),
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
    }
}

#[derive(Debug)]
struct Incoming(Arc<Guard>);

#[async_trait]
impl RequestReceiver for Incoming {
    async fn receive(&mut self, max: usize) -> Result<Vec<IncomingRequest>> {
        let responder = &self.0.0;
        loop {
            let arrived = responder.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            {
                let mut state = responder.lock();
                let now = Instant::now();
                state.buffer.retain(|request| request.deadline > now);
                let count = state.buffer.len().min(max.max(1));
                if count > 0 {
                    return Ok(state.buffer.drain(..count).collect());
                }
                if let Some(error) = &state.ended {
                    return Err(error.clone());
                }
            }
            arrived.await;
        }
    }
}

#[derive(Debug)]
struct NatsReplier {
    guard: Arc<Guard>,
    template: Mutex<Template>,
}

impl NatsReplier {
    fn headers(&self, message: &Message) -> Result<HeaderMap> {
        let mut template = self.template.lock().unwrap_or_else(PoisonError::into_inner);
        template.headers(message, Extent::Whole)
    }

    async fn send(&self, address: &ReplyTo, message: &Message) -> Result<()> {
        let core = &self.guard.0.core;
        if !core.keys.is_reply_address(address.as_str()) {
            tracing::warn!("a reply to an address that the bus did not make was refused");
            return Err(invalid_argument(
                "the reply address is not one of this namespace",
            ));
        }
        let headers = self.headers(message)?;
        let (most, bytes) = (
            core.link.most(),
            wire_size(&headers) + message.payload.len(),
        );
        if bytes > most {
            return Err(too_large(bytes, most));
        }
        let deadline = Instant::now() + REPLY_FOR;
        core.link.socket.until_up(deadline).await?;
        let (client, payload) = (core.link.socket.client()?, message.payload.clone());
        // In a place of its own: what holds this, too, is so large that the allocator tidies up for each.
        Box::pin(client.publish_with_headers(address.as_str().to_owned(), headers, payload))
            .await
            .map_err(|_| unavailable())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Replier for NatsReplier {
    async fn reply(&self, batch: Vec<(ReplyTo, Message)>) -> Vec<Result<()>> {
        let mut results = Vec::with_capacity(batch.len());
        for (address, message) in &batch {
            results.push(self.send(address, message).await);
        }
        results
    }

    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.guard.0.leave(deadline).await
    }
}
