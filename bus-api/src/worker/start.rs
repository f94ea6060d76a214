//! Joining the subscriptions of a worker.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::Core;
use crate::contract::{Group, ResponderSpec, SubscriptionId};
use crate::error::Result;
use crate::member::Member;
use crate::telemetry;
use crate::worker::answer::ReplySender;
use crate::worker::builder::Draft;
use crate::worker::context::Home;
use crate::worker::drain::Life;
use crate::worker::intake::{Intake, Responder, Source};
use crate::worker::pauses::Pauses;
use crate::worker::plan::Plan;
use crate::worker::pump::Pump;
use crate::worker::running::{Control, Running};
use crate::worker::shared::Shared;

/// Most requests that are asked for at once.
const MOST_REQUESTS: usize = 32;

/// Checks the options, joins every subscription, and starts the loop.
///
/// # Errors
/// As [`Worker::start`](crate::Worker::start).
pub(crate) async fn start(draft: Draft) -> Result<Running> {
    let (plan, handlers) = Plan::new(draft)?;
    let core = Arc::clone(plan.bus.core());
    let participant = core.enter()?;
    tell_about_stored(&core, &plan).await;
    let members = join(&core, &plan).await?;
    let handles = members.iter().map(Member::handle).collect();
    let (paused, _) = watch::channel(false);
    let mut sources: Vec<Source> = members.into_iter().map(Source::Member).collect();
    let replies = respond(&core, &plan, &paused, &mut sources).await?;

    let concurrency = plan.settings.concurrency;
    let drain_within = plan.settings.drain_within;
    let subscriptions = match plan.group() {
        Some(group) => plan
            .patterns
            .iter()
            .map(|pattern| SubscriptionId::new(group.clone(), pattern.clone()))
            .collect(),
        None => Vec::new(),
    };
    let home = Home {
        group: plan
            .group()
            .map_or(telemetry::BROADCAST_LABEL, Group::as_str)
            .into(),
        bus: plan.bus,
        cancelled: CancellationToken::new(),
    };
    let shared = Arc::new(Shared::new(home, plan.routes, plan.settings));
    let control = Arc::new(Control {
        bus: shared.home.bus.clone(),
        subscriptions,
        pauses: Arc::new(Pauses::new(handles, paused)),
        stop: shared.stop.clone(),
        done: CancellationToken::new(),
        drain_within: Mutex::new(drain_within),
    });
    let pump = Pump {
        intake: Intake::new(sources, plan.mode, shared.stop.clone()),
        shared,
        service: handlers,
        slots: Arc::new(Semaphore::new(concurrency as usize)),
        pauses: Arc::clone(&control.pauses),
        parked: None,
    };
    let life = Life {
        pump,
        replies,
        concurrency,
        control: Arc::clone(&control),
        participant,
    };
    Ok(Running::new(control, tokio::spawn(life.run())))
}

/// All of them, or none.
async fn join(core: &Arc<Core>, plan: &Plan) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for pattern in &plan.patterns {
        match Member::join(core, plan.member_options(pattern.clone())).await {
            Ok(member) => members.push(member),
            Err(error) => {
                for member in members {
                    member.drain(Instant::now()).await;
                }
                return Err(error);
            }
        }
    }
    Ok(members)
}

/// Starts answering requests; what is received goes to `sources`.
async fn respond(
    core: &Core,
    plan: &Plan,
    paused: &watch::Sender<bool>,
    sources: &mut Vec<Source>,
) -> Result<Vec<ReplySender>> {
    let mut senders = Vec::new();
    let Some(group) = plan.group() else {
        return Ok(senders);
    };
    for pattern in &plan.request_patterns {
        let spec = ResponderSpec {
            group: group.clone(),
            pattern: pattern.clone(),
            max_in_flight: plan.max_in_flight,
        };
        let requests = core.bus.respond(spec).await?;
        let (replies, sender) = ReplySender::spawn(requests.replier);
        senders.push(sender);
        sources.push(Source::Responder(Responder {
            receiver: requests.receiver,
            replies,
            paused: paused.subscribe(),
            most: MOST_REQUESTS.min(plan.max_in_flight),
            waiting: VecDeque::new(),
        }));
    }
    Ok(senders)
}

/// Warns of stored subscriptions of the group that the worker does not use any more, and tells
/// where a new one starts.
async fn tell_about_stored(core: &Core, plan: &Plan) {
    let Some(group) = plan.group().filter(|_| !plan.patterns.is_empty()) else {
        return;
    };
    let stored = match core.bus.admin().subscriptions().await {
        Ok(stored) => stored,
        Err(error) => {
            tracing::debug!(
                target: "bus", %group, %error,
                "the stored subscriptions of the group are not known"
            );
            return;
        }
    };
    let mine = stored
        .iter()
        .map(|info| &info.id)
        .filter(|id| id.group == *group);
    let mut known = Vec::new();
    for id in mine {
        if !plan.patterns.contains(&id.pattern) {
            tracing::warn!(
                target: "bus", %group, pattern = %id.pattern,
                "a stored subscription of the group is not used by this worker; messages pile up \
                 in it unless another worker uses it: remove it if it is of no use any more"
            );
        }
        known.push(&id.pattern);
    }
    if plan.settings.start.is_none() {
        for pattern in plan
            .patterns
            .iter()
            .filter(|pattern| !known.contains(pattern))
        {
            tracing::info!(
                target: "bus", %group, %pattern,
                "a new subscription starts at the latest message; `start_at` chooses"
            );
        }
    }
}
