//! What a worker is going to do, its options checked.

use std::sync::Arc;

use crate::client::BusClient;
use crate::contract::{Group, Pattern, Scope, Start, SubscriptionSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::member::MemberOptions;
use crate::worker::builder::{Draft, invalid};
use crate::worker::intake::Mode;
use crate::worker::routes::{Kind, Routes};
use crate::worker::service::Handlers;
use crate::worker::settings::WorkerSettings;

/// What a worker is going to do, its options checked.
pub(crate) struct Plan {
    pub(crate) bus: BusClient,
    pub(crate) scope: Scope,
    /// The subscriptions.
    pub(crate) patterns: Vec<Pattern>,
    /// The topics of requests.
    pub(crate) request_patterns: Vec<Pattern>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) settings: WorkerSettings,
    pub(crate) max_in_flight: usize,
    pub(crate) mode: Mode,
}

impl Plan {
    /// The plan, and the handlers with the layers around them. They are apart because layers need
    /// not be `Sync`: who borrows the plan across an `.await` stays `Send`.
    ///
    /// # Errors
    /// `InvalidConfig`, `InvalidTopic`.
    pub(crate) fn new(draft: Draft) -> Result<(Self, Handlers)> {
        let scope = draft.scope?;
        if let Some(mistake) = draft.mistake {
            return Err(mistake);
        }
        let mut settings = draft.settings;
        if let Some(options) = draft.bus.core().worker_options.get(&*draft.name) {
            tracing::info!(
                target: "bus", worker = %draft.name, ?options,
                "configured options replace those of the code"
            );
            options.apply(&mut settings);
        }
        if settings.concurrency == 0 || settings.timeout.is_zero() {
            return Err(invalid("`concurrency` and `timeout` are at least 1"));
        }
        let routes = Arc::new(Routes::new(draft.routes)?);
        let patterns = patterns(draft.patterns, &routes)?;
        let request_patterns = routes.patterns(true);
        if let Scope::Broadcast = scope
            && !request_patterns.is_empty()
        {
            return Err(invalid(
                "a responder needs a group: use `worker`, not `broadcast_worker`",
            ));
        }
        for patterns in [&patterns, &request_patterns] {
            check_overlap(patterns)?;
        }
        let mode = mode(&routes);
        let max_in_flight = max_in_flight(&settings, mode)?;
        let mut handlers = Handlers::new(Arc::clone(&routes));
        for wrap in draft.layers {
            handlers = wrap(handlers);
        }
        let plan = Self {
            bus: draft.bus,
            scope,
            patterns,
            request_patterns,
            routes,
            settings,
            max_in_flight,
            mode,
        };
        Ok((plan, handlers))
    }

    /// The group, unless it is a broadcast.
    pub(crate) fn group(&self) -> Option<&Group> {
        match &self.scope {
            Scope::Group(group) => Some(group),
            Scope::Broadcast => None,
        }
    }

    /// How the subscription of `pattern` is joined.
    pub(crate) fn member_options(&self, pattern: Pattern) -> MemberOptions {
        let settings = &self.settings;
        let spec = SubscriptionSpec {
            start: settings.start.clone().unwrap_or(Start::Latest),
            order: settings.order,
            lease: settings.lease,
            max_in_flight: self.max_in_flight,
            ..SubscriptionSpec::new(self.scope.clone(), pattern)
        };
        let retry = settings.retry.clone();
        let policy = Arc::new(move |attempt| retry.unclassified(attempt));
        MemberOptions {
            on_expired: settings.expired.into(),
            skew: settings.clock_skew,
            quarantine: true,
            ..MemberOptions::new(spec, settings.retry.max_attempts(), policy)
        }
    }
}

/// The given patterns, else those of the event types.
fn patterns(given: Vec<Pattern>, routes: &Routes) -> Result<Vec<Pattern>> {
    if routes.iter().next().is_none() {
        return Err(invalid(
            "a worker needs a handler: `on`, `on_batch`, `fallback` or `respond`",
        ));
    }
    let takes_events = routes.iter().any(|route| route.kind != Kind::Request);
    if !takes_events && !given.is_empty() {
        return Err(invalid(
            "`pattern` is for events; a responder listens to the topics of its request types",
        ));
    }
    let derived = routes.patterns(false);
    if given.is_empty() && derived.is_empty() && takes_events {
        return Err(invalid(
            "a worker of raw messages only needs a `pattern` to listen to",
        ));
    }
    if given.is_empty() {
        return Ok(derived);
    }
    for pattern in &derived {
        if !given.iter().any(|given| given.overlaps(pattern)) {
            tracing::warn!(
                target: "bus", topics = %pattern,
                "no pattern of the worker covers the topics of an event type that it handles"
            );
        }
    }
    Ok(given)
}

/// Two patterns that match one topic would bring its messages twice.
fn check_overlap(patterns: &[Pattern]) -> Result<()> {
    for (index, first) in patterns.iter().enumerate() {
        if let Some(second) = patterns[index + 1..].iter().find(|p| p.overlaps(first)) {
            let text = format!(
                "the patterns {first} and {second} of one worker can match one topic, whose \
                 messages would come twice; listen to one pattern that covers both (`pattern`), \
                 or use two groups"
            );
            return Err(Error::new(ErrorKind::InvalidConfig, text));
        }
    }
    Ok(())
}

/// In batches when there is a batch handler, each as large as the largest wants.
fn mode(routes: &Routes) -> Mode {
    let mut mode = Mode::OneByOne;
    for route in routes.iter() {
        if let Kind::Batch(max, linger) = route.kind {
            mode = match mode {
                Mode::OneByOne => Mode::Batches(max, linger),
                Mode::Batches(most, longest) => Mode::Batches(most.max(max), longest.max(linger)),
            };
        }
    }
    mode
}

fn max_in_flight(settings: &WorkerSettings, mode: Mode) -> Result<usize> {
    let batch = match mode {
        Mode::OneByOne => 1,
        Mode::Batches(max, _) => max,
    };
    match settings.max_in_flight {
        None => Ok(SubscriptionSpec::DEFAULT_MAX_IN_FLIGHT
            .max(settings.concurrency as usize)
            .max(batch.saturating_mul(2))),
        Some(0) => Err(invalid("`max_in_flight` is at least 1")),
        Some(given) if given < batch => Err(invalid(format!(
            "`max_in_flight` is {given}, so that a batch of {batch} never fills; raise it"
        ))),
        Some(given) => Ok(given),
    }
}
