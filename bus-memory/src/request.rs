//! Requests and replies.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};

use async_trait::async_trait;
use bus_api::{
    IncomingRequest, Message, Replier, ReplyTo, RequestReceiver, Requests, ResponderSpec, Result,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::error::{closed, invalid_argument, no_responders, timeout, too_large};
use crate::responders::{Found, Responder};
use crate::slab::Key;
use crate::space::Space;

/// Asks and waits for the first reply.
pub(crate) async fn request(
    connection: &Connection,
    message: Message,
    deadline: Instant,
    max_payload: usize,
) -> Result<Message> {
    connection.usable()?;
    if message.payload.len() > max_payload {
        return Err(too_large(message.payload.len(), max_payload));
    }
    let topic = message.topic.clone();
    let late = || timeout("no reply came in time").with("topic", &topic);
    if deadline <= Instant::now() {
        return Err(late());
    }
    let space = &connection.space;
    let (address, arrives) = {
        let mut state = space.lock();
        let address = state.responders.new_address();
        let arrives = state
            .responders
            .ask(message, deadline, &address, connection.id)
            .ok_or_else(|| no_responders().with("topic", &topic))?;
        (address, arrives)
    };
    let _asked = Asked { space, address };
    match tokio::time::timeout_at(deadline, arrives).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(closed()),
        Err(_) => Err(late()),
    }
}

/// A request under way; leaves nothing behind, also when it is cancelled.
struct Asked<'a> {
    space: &'a Space,
    address: ReplyTo,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.space.lock().responders.forget(&self.address);
        self.space.note_idle();
    }
}

/// Joins the responders of a group and pattern.
pub(crate) fn respond(
    connection: &Arc<Connection>,
    spec: &ResponderSpec,
    max_payload: usize,
) -> Result<Requests> {
    connection.usable()?;
    if spec.max_in_flight == 0 {
        return Err(invalid_argument("`max_in_flight` is at least 1"));
    }
    let space = &connection.space;
    let (id, wake) = (space.next_member(), Arc::new(Notify::new()));
    let member = Responder {
        id,
        connection: connection.id,
        wake: Arc::clone(&wake),
    };
    let set = space
        .lock()
        .responders
        .join(&spec.group, &spec.pattern, member);
    let participant = Arc::new(Participant {
        connection: Arc::clone(connection),
        set,
        id,
        wake,
        max_payload,
    });
    Ok(Requests {
        receiver: Box::new(MemoryRequests(Arc::clone(&participant))),
        replier: Arc::new(MemoryReplier(participant)),
    })
}

/// One responder, shared by its two halves; gone with the last of them.
#[derive(Debug)]
struct Participant {
    connection: Arc<Connection>,
    set: Key,
    id: u64,
    wake: Arc<Notify>,
    max_payload: usize,
}

impl Participant {
    fn leave(&self) {
        self.connection
            .space
            .lock()
            .responders
            .leave(self.set, self.id);
        self.wake.notify_one();
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        self.leave();
    }
}

#[derive(Debug)]
struct MemoryRequests(Arc<Participant>);

#[async_trait]
impl RequestReceiver for MemoryRequests {
    async fn receive(&mut self, max: usize) -> Result<Vec<IncomingRequest>> {
        let responder = &self.0;
        loop {
            match responder.connection.usable() {
                Err(error) if responder.connection.is_closed() => return Err(error),
                // A broker that is away is waited for: whoever brings it back wakes everyone.
                Err(_) => {
                    let mut state = responder.connection.space.lock();
                    state
                        .responders
                        .give_up_waiting(responder.set, responder.id);
                }
                Ok(()) => {
                    let mut state = responder.connection.space.lock();
                    let now = Instant::now();
                    match state.responders.take(responder.set, responder.id, max, now) {
                        Found::Requests(requests) => return Ok(requests),
                        Found::Gone => return Err(closed()),
                        Found::Nothing => {}
                    }
                }
            }
            let mut waiting = Waiting(Some(responder));
            responder.wake.notified().await;
            waiting.0 = None;
        }
    }
}

/// A responder that waits. When its wait is cancelled, what it was woken for goes to another.
struct Waiting<'a>(Option<&'a Participant>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(responder) = self.0 {
            let mut state = responder.connection.space.lock();
            state
                .responders
                .give_up_waiting(responder.set, responder.id);
        }
    }
}

#[derive(Debug)]
struct MemoryReplier(Arc<Participant>);

impl MemoryReplier {
    fn reply_one(&self, reply_to: &ReplyTo, message: Message) -> Result<()> {
        let Participant {
            connection,
            max_payload,
            ..
        } = &*self.0;
        if message.payload.len() > *max_payload {
            return Err(too_large(message.payload.len(), *max_payload));
        }
        let state = connection.space.lock();
        if !state.responders.is_ours(reply_to) {
            connection.refused_replies.fetch_add(1, Ordering::Relaxed);
            return Err(invalid_argument(
                "the reply address is not one of this namespace; nothing was sent",
            ));
        }
        let requester = state.responders.requester(reply_to);
        drop(state);
        // What cannot reach its requester is lost on the way.
        let reachable = |requester| is_reachable(&connection.space, requester);
        if requester.is_some_and(reachable) {
            connection.space.lock().responders.answer(reply_to, message);
        }
        Ok(())
    }
}

fn is_reachable(space: &Space, connection: u64) -> bool {
    space
        .connections
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .filter_map(Weak::upgrade)
        .any(|known| known.id == connection && known.usable().is_ok())
}

#[async_trait]
impl Replier for MemoryReplier {
    async fn reply(&self, batch: Vec<(ReplyTo, Message)>) -> Vec<Result<()>> {
        if let Err(error) = self.0.connection.usable() {
            return batch.iter().map(|_| Err(error.clone())).collect();
        }
        batch
            .into_iter()
            .map(|(reply_to, message)| self.reply_one(&reply_to, message))
            .collect()
    }

    async fn leave(&self, deadline: Instant) -> Result<()> {
        if self.0.connection.is_closed() {
            return Ok(());
        }
        let reached = self.0.connection.reachable_until(deadline).await;
        if reached.is_ok() {
            self.0.leave();
        }
        reached
    }
}
