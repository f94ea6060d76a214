//! Handling many deliveries that were taken at once.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use tower_service::Service;

use crate::contract::Topic;
use crate::member::Held;
use crate::telemetry;
use crate::worker::call::{Call, Item, Outcome, Work};
use crate::worker::error::{HandlerError, HandlerResult};
use crate::worker::routes::{Found, Kind};
use crate::worker::service::Handlers;
use crate::worker::shared::Shared;
use crate::worker::single;

/// Deliveries that one call of a handler gets.
struct Group<'a> {
    found: Found<'a>,
    kind: Kind,
    members: Vec<(Held, Item)>,
}

/// Handles deliveries from decoding to settling: those of a batch handler together, all others one
/// by one; those of one key in order.
pub(crate) async fn handle(shared: Arc<Shared>, service: Handlers, batch: Vec<Held>, probe: bool) {
    let groups = group(&shared, batch);
    let mut conclusive = false;
    let mut groups = groups.into_iter();
    while let Some(group) = groups.next() {
        match ready(&shared, service.clone()).await {
            Ok(service) => conclusive |= call(&shared, service, group, probe).await,
            Err(error) => {
                let unready = std::iter::once(group).chain(groups);
                for (held, _) in unready.flat_map(|group| group.members) {
                    settle_unready(&shared, held, error.as_ref());
                }
                break;
            }
        }
    }
    if !conclusive {
        shared.inconclusive(probe);
    }
}

/// Decodes and groups; settles what no handler can be called with.
fn group(shared: &Shared, batch: Vec<Held>) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    // The last group of each handler, and of each key.
    let mut of_route: HashMap<usize, usize> = HashMap::new();
    let mut of_key: HashMap<(Topic, Bytes), usize> = HashMap::new();
    for held in batch {
        let Some((found, route)) = single::find(shared, held.message()) else {
            shared.unknown(held);
            continue;
        };
        let item = match single::open(shared, found, route, &held) {
            Ok(item) => item,
            Err(error) => {
                shared.undecodable(held, &error);
                continue;
            }
        };
        let message = held.message();
        let key = message.key.clone().map(|key| (message.topic.clone(), key));
        let after = key.as_ref().and_then(|key| of_key.get(key)).copied();
        let most = match route.kind {
            Kind::Batch(max, _) => max,
            Kind::Event | Kind::Request => 1,
        };
        // It may join its handler's last group unless an earlier message of its key is in a later one.
        let open = of_route
            .get(&found.route)
            .copied()
            .filter(|&at| after.is_none_or(|after| after <= at) && groups[at].members.len() < most);
        let at = open.unwrap_or_else(|| {
            groups.push(Group {
                found,
                kind: route.kind,
                members: Vec::new(),
            });
            groups.len() - 1
        });
        groups[at].members.push((held, item));
        of_route.insert(found.route, at);
        if let Some(key) = key {
            of_key.insert(key, at);
        }
    }
    groups
}

async fn ready(shared: &Shared, mut service: Handlers) -> Result<Handlers, Option<HandlerError>> {
    tokio::select! {
        biased;
        ready = poll_fn(|cx| service.poll_ready(cx)) => ready.map_err(Some)?,
        () = shared.abort.cancelled() => return Err(None),
    }
    Ok(service)
}

fn settle_unready(shared: &Shared, held: Held, error: Option<&HandlerError>) {
    match error {
        Some(error) => shared.settle(held, Err(error.clone()), None),
        None => shared.hand_back(held),
    };
}

/// Returns whether a handler ran to an end.
async fn call(shared: &Shared, mut service: Handlers, group: Group<'_>, probe: bool) -> bool {
    let Group {
        found,
        kind,
        mut members,
    } = group;
    if !matches!(kind, Kind::Batch(..)) {
        let Some((held, item)) = members.pop() else {
            return false;
        };
        let run = single::Run::begin(found, probe);
        let (call, span) = single::call(shared, found, item, &held);
        let outcome = shared.run(&mut service, call, span).await;
        return run.end(shared, held, outcome);
    }
    let (batch, items): (Vec<Held>, Vec<Item>) = members.into_iter().unzip();
    let Some(first) = batch.first() else {
        return false;
    };
    let span = shared.span(first.message(), first.attempt());
    telemetry::batch_of(&span, batch.len());
    let call = Call {
        route: found.route,
        work: Work::Many(items),
        limit: shared.settings.timeout,
    };
    let started = Instant::now();
    let Some(outcome) = shared.run(&mut service, call, span).await else {
        for held in batch {
            shared.hand_back(held);
        }
        return false;
    };
    let outcomes = spread(outcome.map(|handled| handled.0), batch.len());
    let unavailable = outcomes
        .iter()
        .any(|outcome| outcome.as_ref().is_err_and(|e| shared.is_unavailable(e)));
    let defer = shared.ended(probe, unavailable);
    for (held, outcome) in batch.into_iter().zip(outcomes) {
        let ending = shared.settle(held, outcome, defer);
        shared
            .meters
            .ran(found.type_number, ending, started.elapsed());
    }
    true
}

/// One outcome for each of `count` messages.
fn spread(outcome: HandlerResult<Outcome>, count: usize) -> Vec<HandlerResult> {
    match outcome {
        Ok(Outcome::Done | Outcome::Reply(_)) => vec![Ok(()); count],
        Ok(Outcome::Each(each)) if each.len() == count => each,
        Ok(Outcome::Each(each)) => {
            let text = format!(
                "the batch handler returned {} outcomes for {count} messages",
                each.len()
            );
            vec![Err(HandlerError::new(text)); count]
        }
        Err(error) => vec![Err(error); count],
    }
}
