//! The trait `Bus`: what a connection can do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bus_api::{
    AckDurability, Admin, Bus, Capabilities, DeadLetterStore, Error, ErrorKind, Inbound, Message,
    Notices, OrderedMembers, Published, Requests, ResponderSpec, Result, SubscriptionSpec,
};
use tokio::time::Instant;

use crate::inbound;
use crate::shelf::Shelf;

/// A connection to a [`Shelf`].
#[derive(Debug)]
pub struct ShelfBus {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) notices: Notices,
}

impl ShelfBus {
    /// A connection to `shelf`; connections to one shelf see each other's messages.
    #[must_use]
    pub fn new(shelf: Arc<Shelf>) -> Self {
        Self {
            shelf,
            notices: Notices::new(),
        }
    }
}

/// What this transport does not have yet.
fn unsupported(what: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, what).transport("shelf")
}

#[async_trait]
impl Bus for ShelfBus {
    fn name(&self) -> &'static str {
        "shelf"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            dedup: false,
            ack_durability: AckDurability::Process,
            exact_attempts: true,
            immediate_no_responders: true,
            reject_when_full: false,
            ordered_members: OrderedMembers::One,
            min_lease: Duration::from_millis(10),
            max_payload: 1 << 20,
        }
    }

    async fn publish(&self, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        // No await before the last message is stored: batches are stored in the order of their first polls.
        batch
            .into_iter()
            .map(|message| Ok(self.shelf.store(message)))
            .collect()
    }

    async fn subscribe(&self, spec: SubscriptionSpec) -> Result<Inbound> {
        inbound::join(&self.shelf, spec)
    }

    async fn request(&self, _: Message, _: Instant) -> Result<Message> {
        Err(unsupported(
            "requests are step 6 of the guide, left to the reader",
        ))
    }

    async fn respond(&self, _: ResponderSpec) -> Result<Requests> {
        Err(unsupported(
            "requests are step 6 of the guide, left to the reader",
        ))
    }

    fn dead_letters(&self) -> &dyn DeadLetterStore {
        self
    }

    fn admin(&self) -> &dyn Admin {
        self
    }

    fn notices(&self) -> &Notices {
        &self.notices
    }

    async fn close(&self, _: Instant) -> Result<()> {
        Ok(())
    }
}
