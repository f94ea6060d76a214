//! Answering requests.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Span;

use crate::client::encode_reply_failure;
use crate::contract::{Failure, IncomingRequest, Message, Replier, ReplyTo};
use crate::worker::call::{Call, Handled, Item, Outcome, Work};
use crate::worker::context::Context;
use crate::worker::error::{HandlerError, HandlerResult};
use crate::worker::service::Handlers;
use crate::worker::settle::unknown_type;
use crate::worker::shared::Shared;

/// Replies that wait to be sent before handlers wait, too.
const MOST_WAITING: usize = 1024;
/// Most replies that are sent at once.
const MOST_AT_ONCE: usize = 128;

/// The replies of a responder on their way to the adapter.
#[derive(Clone)]
pub(crate) struct Replies(mpsc::Sender<(ReplyTo, Message)>);

impl Replies {
    /// Waits for room and sends.
    async fn send(&self, to: ReplyTo, reply: Box<Message>) {
        // A closed channel: the worker has left, and nobody waits any more.
        if let Ok(place) = self.0.reserve().await {
            place.send((to, *reply));
        }
    }
}

/// Sends the replies of a responder, as many at once as there are.
pub(crate) struct ReplySender {
    task: JoinHandle<()>,
    replier: Arc<dyn Replier>,
}

impl ReplySender {
    pub(crate) fn spawn(replier: Arc<dyn Replier>) -> (Replies, Self) {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        let task = tokio::spawn(send_all(receiver, Arc::clone(&replier)));
        (Replies(sender), Self { task, replier })
    }

    /// Waits until the replies are sent, at most until `deadline`, and leaves. Every [`Replies`]
    /// has been dropped before, or is given up.
    ///
    /// # Errors
    /// As [`Replier::leave`].
    pub(crate) async fn leave(mut self, deadline: Instant) -> crate::error::Result<()> {
        let left = self.replier.leave(deadline).await;
        if tokio::time::timeout_at(deadline, &mut self.task)
            .await
            .is_err()
        {
            self.task.abort();
        }
        left
    }
}

async fn send_all(mut replies: mpsc::Receiver<(ReplyTo, Message)>, replier: Arc<dyn Replier>) {
    // Mostly there is one, and a list that grows by itself begins with room for four: so much memory that the allocator
    // tidies up first.
    let room = || Vec::with_capacity(1);
    let mut batch = room();
    while replies.recv_many(&mut batch, MOST_AT_ONCE).await > 0 {
        let replies = std::mem::replace(&mut batch, room());
        for result in replier.reply(replies).await {
            if let Err(error) = result {
                tracing::warn!(target: "bus", %error, "a reply was not sent");
            }
        }
    }
}

/// Answers one request. `service` is ready.
///
/// One block that holds the request once, as [`single::handle`](crate::worker::single::handle).
#[expect(
    clippy::manual_async_fn,
    reason = "an async function holds its arguments twice"
)]
pub(crate) fn handle(
    shared: Arc<Shared>,
    mut service: Handlers,
    request: IncomingRequest,
    replies: Replies,
) -> impl Future<Output = ()> + Send {
    async move {
        let Some(left) = request.deadline.checked_duration_since(Instant::now()) else {
            shared.counts.overdue.add(1);
            return;
        };
        let outcome = match call(&shared, &request, left.min(shared.settings.timeout)) {
            Ok((call, span)) => reply(shared.run(&mut service, call, span).await),
            Err(failure) => Err(failure),
        };
        if Instant::now() >= request.deadline {
            // Nobody waits any more: the requester has its own time-out, whatever came of it here.
            shared.counts.overdue.add(1);
            return;
        }
        let reply = match outcome {
            Ok(reply) => {
                shared.counts.answered.add(1);
                shared.meters.answered(None);
                reply
            }
            Err(failure) => Box::new(refuse(&shared, &request.message, &failure)),
        };
        replies.send(request.reply_to, reply).await;
    }
}

/// Answers a request that is not going to be handled any more.
pub(crate) async fn give_up(shared: &Shared, request: IncomingRequest, replies: &Replies) {
    let failure = Failure::new("canceled", "the responder is shutting down");
    let reply = Box::new(refuse(shared, &request.message, &failure));
    replies.send(request.reply_to, reply).await;
}

fn refuse(shared: &Shared, request: &Message, failure: &Failure) -> Message {
    shared.counts.refused.add(1);
    shared.meters.answered(Some(&failure.kind));
    let (group, topic) = (&*shared.home.group, &request.topic);
    tracing::info!(
        target: "bus", group, %topic, id = %request.metadata.id, error = %failure,
        "a request is answered with a failure"
    );
    encode_reply_failure(shared.home.bus.core(), request, failure)
}

/// The call of a request's handler, and the span around it.
///
/// # Errors
/// Why it cannot be called.
fn call(
    shared: &Shared,
    request: &IncomingRequest,
    limit: Duration,
) -> Result<(Call, Span), Failure> {
    let message = &request.message;
    let found = shared.routes.of_request(message);
    let route = found.and_then(|found| Some((found, shared.routes.get(found.route)?)));
    let Some((found, route)) = route else {
        shared.meters.unknown_types.increment(1);
        return Err(unknown_type(message));
    };
    let codecs = &shared.home.bus.core().codecs;
    let event = (route.decode)(message, found.matched, codecs)
        .map_err(|error| Failure::new(Failure::DECODE, error.to_string()))?;
    let home = Arc::clone(&shared.home);
    let context = Context::of_request(home, Arc::clone(message), request.deadline);
    let call = Call {
        route: found.route,
        work: Work::One(Item { context, event }),
        limit,
    };
    Ok((call, shared.span(message, 1)))
}

/// The reply of a handler; `None`: it was dropped.
fn reply(outcome: Option<HandlerResult<Handled>>) -> Result<Box<Message>, Failure> {
    match outcome.unwrap_or_else(shut_down).map(|handled| handled.0) {
        Ok(Outcome::Reply(reply)) => Ok(reply),
        Ok(Outcome::Done | Outcome::Each(_)) => Err(Failure::new(
            Failure::HANDLER,
            "a layer answered without a reply",
        )),
        Err(error) => Err(error.failure()),
    }
}

fn shut_down<T>() -> HandlerResult<T> {
    Err(HandlerError::new("the responder is shutting down").with_kind("canceled"))
}
