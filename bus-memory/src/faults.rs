//! What tests do to a broker behind the bus's back.

use std::sync::Arc;
use std::time::Duration;

use bus_api::cloudevents::{self, Extent, Known, STRUCTURED, Style};
use bus_api::{
    Headers, Message, Namespace, Notice, Published, ReplyTo, Result, SubscriptionId, Topic,
};
use bytes::Bytes;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::clock::later;
use crate::error::not_found;
use crate::space::Space;

/// A message as a producer that is not the bus would store it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Foreign {
    /// Bytes and headers without any attribute: the bus fills in what the broker knows.
    Plain {
        /// The payload.
        payload: Bytes,
        /// Headers as that producer wrote them.
        headers: Headers,
    },
    /// A CloudEvent in structured mode: the whole event as JSON.
    Structured {
        /// The event.
        json: Bytes,
    },
    /// A message that cannot be read, with what is left of it.
    Malformed {
        /// The payload.
        payload: Bytes,
        /// What is wrong with it.
        reason: Box<str>,
    },
}

/// Damage, for tests of what the contract promises about it. A namespace that no connection has used is
/// `NotFound`.
impl Broker {
    fn must_find(&self, namespace: &Namespace) -> Result<Arc<Space>> {
        self.find_space(namespace).ok_or_else(|| {
            not_found("no connection has used this namespace").with("namespace", namespace)
        })
    }

    /// Stores a message of another producer.
    ///
    /// # Errors
    /// `NotFound` for the namespace, `Throttled` when it is full.
    pub fn publish_foreign(
        &self,
        namespace: &Namespace,
        topic: &Topic,
        foreign: Foreign,
    ) -> Result<Published> {
        let (pairs, payload, damage) = match foreign {
            Foreign::Plain { payload, headers } => {
                let pairs = headers
                    .iter()
                    .map(|(name, value)| (name.to_owned(), value.to_owned()));
                (pairs.collect(), payload, None)
            }
            Foreign::Structured { json } => {
                let mode = ("content-type".to_owned(), STRUCTURED.to_owned());
                (vec![mode], json, None)
            }
            Foreign::Malformed { payload, reason } => (Vec::new(), payload, Some(reason)),
        };
        let make = |position: &bus_api::Position| {
            let known = Known::at(position, topic.clone(), "memory");
            let pairs = pairs
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            let read = cloudevents::read(Style::Redis, Extent::Usual, pairs, payload, &known)?;
            Ok((read.message, damage.or(read.malformed)))
        };
        self.must_find(namespace)?.store_foreign(make, topic)
    }

    /// Sends a request whose reply address the bus did not make, and says whether anything was sent to
    /// that address within `wait`.
    ///
    /// # Errors
    /// `NotFound` for the namespace, or when nobody answers requests of this topic.
    pub async fn forge_request(
        &self,
        namespace: &Namespace,
        message: Message,
        reply_to: ReplyTo,
        wait: Duration,
    ) -> Result<bool> {
        let space = self.must_find(namespace)?;
        let deadline = later(Instant::now(), wait);
        // The requester is a connection that can always be reached.
        let requester = crate::connection::Connection::open(Arc::clone(&space));
        let arrives = space
            .lock()
            .responders
            .ask(message, deadline, &reply_to, requester.id)
            .ok_or_else(|| not_found("nobody answers requests of this topic"))?;
        let answer = tokio::time::timeout_at(deadline, arrives).await;
        space.lock().responders.forget(&reply_to);
        space.note_idle();
        Ok(matches!(answer, Ok(Ok(Ok(_)))))
    }

    /// Loses the log of a topic with all that it held; every connection gets
    /// [`Notice::LogLost`]. The next message makes a new log. Says whether there was one.
    ///
    /// # Errors
    /// `NotFound` for the namespace.
    pub fn lose_log(&self, namespace: &Namespace, topic: &Topic) -> Result<bool> {
        let space = self.must_find(namespace)?;
        let lost = space.lock().lose_log(topic);
        let was_there = lost.is_some();
        if let Some(log) = lost {
            space.report(&[Notice::LogLost { log }]);
        }
        space.note_idle();
        Ok(was_there)
    }

    /// Loses what the broker keeps of a durable subscription. Live members recreate it at the lowest
    /// position that they knew to be unsettled, and every connection gets
    /// [`Notice::SubscriptionRecreated`]; without members it is gone. Says whether there was one.
    ///
    /// # Errors
    /// `NotFound` for the namespace.
    pub fn lose_subscription(&self, namespace: &Namespace, id: &SubscriptionId) -> Result<bool> {
        let space = self.must_find(namespace)?;
        let recreated = {
            let mut state = space.lock();
            let Some(key) = state.durable.get(id).copied() else {
                return Ok(false);
            };
            state.lose_subscription(key)
        };
        if recreated {
            let subscription = id.clone();
            space.report(&[Notice::SubscriptionRecreated { subscription }]);
        }
        space.note_idle();
        Ok(true)
    }

    /// Replaces the attempt records of everything that a durable subscription has handed over and not
    /// settled by ones of a newer format version; says how many.
    ///
    /// # Errors
    /// `NotFound` for the namespace.
    pub fn store_newer_records(&self, namespace: &Namespace, id: &SubscriptionId) -> Result<u64> {
        const NEWER: &[u8] = &[u8::MAX, 0];
        let space = self.must_find(namespace)?;
        let mut state = space.lock();
        let key = state.durable.get(id).copied();
        let subscription = key.and_then(|key| state.subscriptions.get_mut(key));
        Ok(subscription.map_or(0, |subscription| {
            subscription.replace_records(&Bytes::from_static(NEWER));
            subscription.pending()
        }))
    }
}
