//! What tests look at.

use std::sync::Arc;

use bus_api::{Message, Offset, Position};

use crate::bus::MemoryBus;

/// A message as it lies in its log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredMessage {
    /// The message.
    pub message: Arc<Message>,
    /// Where it lies; knows when it was stored.
    pub position: Position,
}

impl MemoryBus {
    /// Waits until no subscription of the namespace has an unsettled message and no request is under
    /// way: whatever was published has been handled, with all that its handlers published.
    ///
    /// Messages that a broadcast subscriber has received count as handled, because broadcasts do not
    /// settle. Messages that rest before a retry, and those of subscriptions without a member, are
    /// unsettled and waited for.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn settled(&self) {
        let space = &self.connection().space;
        loop {
            let idle = space.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            {
                let mut state = space.lock();
                state.expire(tokio::time::Instant::now());
                let busy = state
                    .subscriptions
                    .iter()
                    .any(|(_, subscription)| subscription.lag() > 0)
                    || state.responders.waiting() > 0;
                if !busy {
                    return;
                }
            }
            idle.await;
        }
    }

    /// What the namespace has stored, oldest first: everything that was published and that retention has
    /// not removed.
    #[must_use]
    pub fn published(&self) -> Vec<StoredMessage> {
        let state = self.connection().space.lock();
        state
            .store
            .iter()
            .filter_map(|(number, stored)| {
                let log = Arc::clone(state.logs.get(stored.log)?.name());
                Some(StoredMessage {
                    message: Arc::clone(&stored.message),
                    position: Position::new(log, Offset(number, 0), stored.stored_at),
                })
            })
            .collect()
    }

    /// What live members, broadcasts, responders and requesters keep on the broker, by name; empty when
    /// all of them have ended. Durable state is not among it.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let state = self.connection().space.lock();
        let mut names = Vec::new();
        for (_, subscription) in state.subscriptions.iter() {
            let what = match &subscription.id {
                Some(id) => format!("member of {id}"),
                None => format!("broadcast on {}", subscription.pattern),
            };
            names.extend(subscription.members().iter().map(|_| what.clone()));
        }
        names.extend((0..state.responders.count()).map(|_| "responder".to_owned()));
        names.extend(
            state
                .responders
                .addresses()
                .map(|_| "reply address".to_owned()),
        );
        names.sort_unstable();
        names
    }
}
