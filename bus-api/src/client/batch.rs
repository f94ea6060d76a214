//! Publishing many messages and waiting for all.

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;

use tokio::time::Instant;

use super::check;
use super::core::Core;
use super::engine::Engine;
use super::moment::Moment;
use super::publish::Confirmed;
use super::tries::Tries;
use crate::contract::Message;
use crate::error::Result;
use crate::event::Event;

/// A batch on its way, made by [`BusClient::publish_batch`](crate::BusClient::publish_batch). The events
/// were encoded when it was made; nothing is sent before it is awaited.
#[must_use = "nothing is published until it is awaited"]
#[derive(Debug)]
pub struct PublishBatch {
    core: Arc<Core>,
    drafts: Vec<Result<Arc<Message>>>,
}

impl PublishBatch {
    pub(super) fn new<'a, E: Event>(
        core: &Arc<Core>,
        events: impl IntoIterator<Item = &'a E>,
    ) -> Self {
        let codec = core.codecs.default_codec();
        let now = Moment::now();
        Self {
            drafts: events
                .into_iter()
                .map(|event| {
                    let message = event.to_message(codec.as_ref(), core.metadata_at(now));
                    message.map(Arc::new)
                })
                .collect(),
            core: Arc::clone(core),
        }
    }
}

impl IntoFuture for PublishBatch {
    type Output = Vec<Result<Confirmed>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// One result per event, in input order (P3); one bad event fails alone. Order and retries are those
    /// of a [`Publisher`](crate::Publisher).
    ///
    /// # Cancel safety
    /// Dropped, any part of the batch may be stored. No other message is touched.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(publish_all(self.core, self.drafts))
    }
}

/// Publishes `drafts` in order: one result each, in input order.
pub(crate) async fn publish_all(
    core: Arc<Core>,
    drafts: Vec<Result<Arc<Message>>>,
) -> Vec<Result<Confirmed>> {
    let mut sending = Sending {
        engine: Engine::new(Arc::clone(&core), drafts.len()),
        results: drafts.iter().map(|_| None).collect(),
    };
    let checked = |message: Arc<Message>| {
        check::check(&message, &core.capabilities)?;
        Ok(message)
    };
    let drafts: Vec<Result<Arc<Message>>> = drafts
        .into_iter()
        .map(|draft| draft.and_then(checked))
        .collect();
    // For all at once, when there is; else for each when it is its turn.
    let messages = drafts.iter().flatten().map(|message| &**message);
    let roomy = core.check_open().is_ok() && sending.engine.try_room(messages);
    let mut tries = core.tries(Instant::now());
    for (index, draft) in drafts.into_iter().enumerate() {
        let sent = match draft {
            Ok(message) if roomy => Ok(message),
            Ok(message) => sending
                .room(&core, &message, &mut tries)
                .await
                .map(|()| message),
            Err(error) => Err(error),
        };
        match sent {
            Ok(message) => {
                sending.engine.push(message, index, &tries);
            }
            Err(error) => sending.results[index] = Some(Err(error)),
        }
    }
    poll_fn(|cx| sending.engine.poll(cx)).await;
    sending.collect();
    sending
        .results
        .into_iter()
        .map(|result| result.unwrap_or_else(|| Err(super::life::closed())))
        .collect()
}

struct Sending {
    engine: Engine<usize>,
    results: Vec<Option<Result<Confirmed>>>,
}

impl Sending {
    /// Room for `message`; while there is none, what was pushed goes on, so that it can free some.
    /// Waiting moves the beginning of the `tries`.
    async fn room(&mut self, core: &Core, message: &Message, tries: &mut Tries) -> Result<()> {
        core.check_open()?;
        if self.engine.try_room([message]) {
            return Ok(());
        }
        let mut room = std::pin::pin!(core.room(message));
        let room = poll_fn(|cx| {
            // Whether it is finished does not matter here: only the room does.
            let _ = self.engine.poll(cx);
            self.collect();
            room.as_mut().poll(cx)
        })
        .await;
        *tries = core.tries(Instant::now());
        self.engine.take_room(room?);
        Ok(())
    }

    /// Takes the outcomes.
    fn collect(&mut self) {
        while let Some(finished) = self.engine.finished() {
            if let Some(result) = self.results.get_mut(finished.tag) {
                *result = Some(finished.result);
            }
        }
    }
}
