//! Handling one delivery.

use std::future::Future;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::Span;

use crate::contract::Message;
use crate::error::Result;
use crate::member::Held;
use crate::worker::call::{Call, Handled, Item, Work};
use crate::worker::context::Context;
use crate::worker::error::HandlerResult;
use crate::worker::meters::Ending;
use crate::worker::routes::{Found, Route};
use crate::worker::service::Handlers;
use crate::worker::shared::Shared;

/// Handles one delivery from decoding to settling. `service` is ready; `probe`: the breaker learns
/// from it.
///
/// One block that holds the delivery once: async functions inside each other would keep a copy each, for
/// as long as the handler runs.
#[expect(
    clippy::manual_async_fn,
    reason = "an async function holds its arguments twice"
)]
pub(crate) fn handle(
    shared: Arc<Shared>,
    mut service: Handlers,
    held: Held,
    probe: bool,
) -> impl Future<Output = ()> + Send {
    async move {
        let Some((found, route)) = find(&shared, held.message()) else {
            shared.unknown(held);
            return shared.inconclusive(probe);
        };
        let item = match open(&shared, found, route, &held) {
            Ok(item) => item,
            Err(error) => {
                shared.undecodable(held, &error);
                return shared.inconclusive(probe);
            }
        };
        let run = Run::begin(found, probe);
        let (call, span) = call(&shared, found, item, &held);
        let outcome = shared.run(&mut service, call, span).await;
        if !run.end(&shared, held, outcome) {
            shared.inconclusive(probe);
        }
    }
}

/// The call of the handler `found` with one message, and the span around it.
pub(crate) fn call(shared: &Shared, found: Found<'_>, item: Item, held: &Held) -> (Call, Span) {
    let call = Call {
        route: found.route,
        work: Work::One(item),
        limit: shared.settings.timeout,
    };
    (call, shared.span(held.message(), held.attempt()))
}

/// A run of a handler with one message.
pub(crate) struct Run {
    type_number: Option<usize>,
    probe: bool,
    started: Instant,
}

impl Run {
    pub(crate) fn begin(found: Found<'_>, probe: bool) -> Self {
        Self {
            type_number: found.type_number,
            probe,
            started: Instant::now(),
        }
    }

    /// Settles the message by the outcome; `None`: the handler was dropped. Returns whether it ran to an
    /// end.
    pub(crate) fn end(
        self,
        shared: &Shared,
        held: Held,
        outcome: Option<HandlerResult<Handled>>,
    ) -> bool {
        let ending = match outcome {
            None => shared.hand_back(held),
            Some(outcome) => {
                let outcome = outcome.map(drop);
                let unavailable = outcome.as_ref().is_err_and(|e| shared.is_unavailable(e));
                let defer = shared.ended(self.probe, unavailable);
                shared.settle(held, outcome, defer)
            }
        };
        shared
            .meters
            .ran(self.type_number, ending, self.started.elapsed());
        ending != Ending::HandBack
    }
}

/// The handler of a message.
pub(crate) fn find<'a>(shared: &'a Shared, message: &Message) -> Option<(Found<'a>, &'a Route)> {
    let found = shared.routes.of_event(message)?;
    Some((found, shared.routes.get(found.route)?))
}

/// Decodes a message for its handler.
///
/// # Errors
/// `Decode`.
pub(crate) fn open(shared: &Shared, found: Found<'_>, route: &Route, held: &Held) -> Result<Item> {
    let message = held.message();
    let codecs = &shared.home.bus.core().codecs;
    let event = (route.decode)(message, found.matched, codecs)?;
    let context = Context::of_delivery(
        Arc::clone(&shared.home),
        Arc::clone(message),
        held.position().clone(),
        held.attempt(),
        held.delivery(),
    );
    Ok(Item { context, event })
}
