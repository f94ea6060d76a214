//! Handling one delivery.

use std::sync::Arc;

use tokio::time::Instant;

use crate::contract::Message;
use crate::error::Result;
use crate::member::Held;
use crate::worker::call::{Call, Item, Work};
use crate::worker::context::Context;
use crate::worker::meters::Ending;
use crate::worker::routes::{Found, Route};
use crate::worker::service::Handlers;
use crate::worker::shared::Shared;

/// Handles one delivery from decoding to settling. `service` is ready; `probe`: the breaker learns
/// from it.
pub(crate) async fn handle(shared: Arc<Shared>, service: Handlers, held: Held, probe: bool) {
    if !attempt(&shared, service, held, probe).await {
        shared.inconclusive(probe);
    }
}

/// Returns whether a handler ran to an end.
async fn attempt(shared: &Shared, service: Handlers, held: Held, probe: bool) -> bool {
    let Some((found, route)) = find(shared, held.message()) else {
        shared.unknown(held);
        return false;
    };
    match open(shared, found, route, &held) {
        Ok(item) => call(shared, service, held, found, item, probe).await,
        Err(error) => {
            shared.undecodable(held, &error);
            false
        }
    }
}

/// Calls the handler `found` with one message and settles it.
pub(crate) async fn call(
    shared: &Shared,
    mut service: Handlers,
    held: Held,
    found: Found<'_>,
    item: Item,
    probe: bool,
) -> bool {
    let span = shared.span(held.message(), held.attempt());
    let call = Call {
        route: found.route,
        work: Work::One(item),
        limit: shared.settings.timeout,
    };
    let started = Instant::now();
    let outcome = shared.run(&mut service, call, span).await;
    let ending = match outcome {
        None => shared.hand_back(held),
        Some(outcome) => {
            let outcome = outcome.map(drop);
            let unavailable = outcome.as_ref().is_err_and(|e| shared.is_unavailable(e));
            let defer = shared.ended(probe, unavailable);
            shared.settle(held, outcome, defer)
        }
    };
    shared
        .meters
        .ran(found.type_number, ending, started.elapsed());
    ending != Ending::HandBack
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
