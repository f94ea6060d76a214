//! Bugs of requests and replies.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bus_api::{
    Bus, Error, ErrorKind, Group, IncomingRequest, Message, Replier, ReplyTo, RequestReceiver,
    Requests, ResponderSpec, Result,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::planted::bug::Bug;
use crate::planted::{Plant, plant};

pub(crate) fn plants() -> Vec<Plant> {
    vec![
        plant!(
            WrongRequester,
            "sends a reply to another requester",
            "q2_each_request_gets_its_own_reply"
        ),
        plant!(
            RequestIsPublished,
            "shows requests to subscriptions",
            "q4_a_request_is_never_seen_by_subscriptions"
        ),
        plant!(
            RequestTwice,
            "hands a request to a responder twice",
            "q4_a_group_sees_a_request_once"
        ),
        plant!(
            EveryResponder,
            "hands a request to every responder of a group",
            "q4_a_group_sees_a_request_once"
        ),
        plant!(
            RequestLate,
            "hands over a request after its deadline",
            "q4_a_request_is_never_handed_over_late"
        ),
        plant!(
            NoResponderIsTimeout,
            "waits where nobody answers",
            "q1_no_responders_is_said"
        ),
        plant!(
            RespondsLate,
            "returns from respond before it listens",
            "q5_requests_after_respond_reach_it"
        ),
    ]
}

/// Two neighbours get each other's replies.
#[derive(Debug, Default)]
struct WrongRequester(Mutex<Option<ReplyTo>>);

#[async_trait]
impl Bug for WrongRequester {
    async fn reply(
        &self,
        replier: &dyn Replier,
        mut batch: Vec<(ReplyTo, Message)>,
    ) -> Vec<Result<()>> {
        for (reply_to, _) in &mut batch {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(last) = last.replace(reply_to.clone()) {
                *reply_to = last;
            }
        }
        replier.reply(batch).await
    }
}

#[derive(Debug, Default)]
struct RequestIsPublished;

#[async_trait]
impl Bug for RequestIsPublished {
    async fn request(&self, bus: &dyn Bus, message: Message, deadline: Instant) -> Result<Message> {
        bus.publish(vec![Arc::new(message.clone())]).await;
        bus.request(message, deadline).await
    }
}

#[derive(Debug, Default)]
struct RequestTwice;

impl Bug for RequestTwice {
    fn requests(&self, honest: Vec<IncomingRequest>) -> Vec<IncomingRequest> {
        honest
            .into_iter()
            .flat_map(|request| [request.clone(), request])
            .collect()
    }
}

/// Every responder is a group of its own.
#[derive(Debug, Default)]
struct EveryResponder(Mutex<u64>);

#[async_trait]
impl Bug for EveryResponder {
    async fn respond(&self, bus: &Arc<dyn Bus>, mut spec: ResponderSpec) -> Result<Requests> {
        let number = {
            let mut counter = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *counter += 1;
            *counter
        };
        spec.group = Group::new(format!("{}-{number}", spec.group))?;
        bus.respond(spec).await
    }
}

/// Takes requests in advance and hands them over whenever somebody asks, as if there were no deadline.
#[derive(Debug, Default)]
struct RequestLate;

#[async_trait]
impl Bug for RequestLate {
    async fn respond(&self, bus: &Arc<dyn Bus>, spec: ResponderSpec) -> Result<Requests> {
        let Requests {
            mut receiver,
            replier,
        } = bus.respond(spec).await?;
        let (hoard, stock) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(requests) = receiver.receive(64).await {
                for request in requests {
                    let deadline = Instant::now() + Duration::from_secs(3600);
                    if hoard
                        .send(IncomingRequest {
                            deadline,
                            ..request
                        })
                        .is_err()
                    {
                        return;
                    }
                }
            }
        });
        Ok(Requests {
            receiver: Box::new(Hoarded(stock)),
            replier,
        })
    }
}

struct Hoarded(mpsc::UnboundedReceiver<IncomingRequest>);

#[async_trait]
impl RequestReceiver for Hoarded {
    async fn receive(&mut self, _: usize) -> Result<Vec<IncomingRequest>> {
        let request = self.0.recv().await;
        request
            .map(|request| vec![request])
            .ok_or_else(|| Error::new(ErrorKind::Closed, "no more requests"))
    }
}

#[derive(Debug, Default)]
struct NoResponderIsTimeout;

#[async_trait]
impl Bug for NoResponderIsTimeout {
    async fn request(&self, bus: &dyn Bus, message: Message, deadline: Instant) -> Result<Message> {
        match bus.request(message, deadline).await {
            Err(error) if error.kind() == ErrorKind::NoResponders => {
                tokio::time::sleep_until(deadline).await;
                Err(Error::new(ErrorKind::Timeout, "no reply"))
            }
            honest => honest,
        }
    }
}

#[derive(Debug, Default)]
struct RespondsLate;

#[async_trait]
impl Bug for RespondsLate {
    async fn respond(&self, bus: &Arc<dyn Bus>, spec: ResponderSpec) -> Result<Requests> {
        // Listens on another topic: whatever comes within the next moment meets nobody.
        let deaf = ResponderSpec {
            pattern: bus_api::Pattern::new("nobody.asks.this")?,
            ..spec
        };
        bus.respond(deaf).await
    }
}
