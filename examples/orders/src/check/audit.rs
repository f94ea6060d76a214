//! Everything that is said, from the first command to the last mail: what is it about, and why was it said?

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use bus::Raw;
use bus::prelude::*;
use serde::Deserialize;
use tokio::time::Instant;

use super::plan::Plan;
use super::wait::until;

/// Listens to everything, and keeps it.
#[derive(Debug)]
pub struct Audit {
    book: Book,
    _worker: Running,
}

/// What was heard, by id.
#[derive(Clone, Debug, Default)]
struct Book(Arc<Mutex<HashMap<String, Heard>>>);

#[derive(Clone, Debug)]
struct Heard {
    topic: String,
    correlation: Option<String>,
    causation: Option<String>,
    order: Option<String>,
    payload: Vec<u8>,
    /// Other messages came under the same id.
    contradicted: bool,
}

/// What all messages about an order have in their payload.
#[derive(Deserialize)]
struct AboutOrder {
    order: String,
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn hear(said: Envelope<Raw>, State(book): State<Book>) {
    let text = |text: Option<Box<str>>| text.map(String::from);
    let payload = said.event.payload.to_vec();
    let about: Option<AboutOrder> = serde_json::from_slice(&payload).ok();
    let heard = Heard {
        topic: said.topic.to_string(),
        correlation: text(said.metadata.correlation_id),
        causation: text(said.metadata.causation_id),
        order: about.map(|about| about.order),
        payload,
        contradicted: false,
    };
    let mut book = book.lock();
    let first = book
        .entry(said.metadata.id.to_string())
        .or_insert_with(|| heard.clone());
    if first.payload != heard.payload || first.topic != heard.topic {
        first.contradicted = true;
    }
}

impl Audit {
    /// Listens from now on.
    pub async fn start(bus: &BusClient) -> Result<Self> {
        let book = Book::default();
        let worker = bus.broadcast_worker("audit").state(book.clone());
        let worker = worker.pattern("*.command.*").pattern("*.event.*").on(hear);
        Ok(Self {
            book,
            _worker: worker.start().await?,
        })
    }

    /// Each order of the plan has one end, and everything that was said about it leads back to its command:
    /// one id stands for one message, the correlation id is the order's, and the cause is known.
    pub async fn judge(&mut self, plan: &Plan, deadline: Instant) -> Result<()> {
        let prefix = format!("{}-", plan.run);
        let ends = || {
            let book = self.book.lock();
            let ends = book.values().filter(|heard| {
                let about = heard.order.as_deref().unwrap_or_default();
                about.starts_with(&prefix) && heard.topic.starts_with("orders.event.")
            });
            ends.count()
        };
        until(
            deadline,
            "ends that were heard of",
            || async { anyhow::Ok(ends()) },
            |ends| *ends >= plan.orders.len(),
        )
        .await?;
        ensure!(ends() == plan.orders.len(), "{} ends", ends());
        let mut book = self.book.lock();
        for (id, heard) in book.iter() {
            let Some(order) = heard
                .order
                .as_ref()
                .filter(|order| order.starts_with(&prefix))
            else {
                continue;
            };
            let topic = &heard.topic;
            ensure!(
                !heard.contradicted,
                "{id} stands for several messages on {topic}"
            );
            ensure!(
                heard.correlation.as_ref() == Some(order),
                "{id} on {topic} about {order} belongs to {:?}",
                heard.correlation
            );
            if let Some(cause) = &heard.causation {
                let cause = book
                    .get(cause)
                    .with_context(|| format!("the cause of {id} on {topic}"))?;
                ensure!(
                    cause.order.as_ref() == Some(order),
                    "{id} has a cause of another order"
                );
            } else {
                // Commands of customers, and of the time that is over.
                let first = [
                    "orders.command.place",
                    "stock.command.release",
                    "payments.command.reverse",
                ];
                ensure!(
                    first.contains(&topic.as_str()),
                    "{id} on {topic} has no cause"
                );
            }
        }
        book.clear();
        Ok(())
    }
}
