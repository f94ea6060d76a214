//! How a stream is asked for.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::Subscription;
use crate::client::Core;
use crate::contract::{Order, Pattern, Scope, Start, SubscriptionSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventType};
use crate::member::{Member, MemberOptions};
use crate::worker::{Expired, Retry};

/// A stream to be joined: options first, then `.await`. Made by
/// [`BusClient::subscribe`](crate::BusClient::subscribe) and
/// [`BusClient::broadcast`](crate::BusClient::broadcast).
#[must_use = "nothing is joined until it is awaited"]
#[derive(Debug)]
pub struct Subscribe<E> {
    core: Arc<Core>,
    draft: Result<Draft>,
    event: PhantomData<fn() -> E>,
}

/// What was asked for so far.
#[derive(Debug)]
struct Draft {
    scope: Scope,
    patterns: Vec<Pattern>,
    start: Option<Start>,
    order: Order,
    lease: Duration,
    max_in_flight: usize,
    retry: Retry,
    expired: Expired,
    skew: Duration,
}

impl<E: Event> Subscribe<E> {
    pub(super) fn new(core: Arc<Core>, scope: Result<Scope>) -> Self {
        let draft = scope.map(|scope| Draft {
            scope,
            patterns: Vec::new(),
            start: None,
            order: Order::default(),
            lease: SubscriptionSpec::DEFAULT_LEASE,
            max_in_flight: SubscriptionSpec::DEFAULT_MAX_IN_FLIGHT,
            retry: Retry::default(),
            expired: Expired::default(),
            skew: MemberOptions::DEFAULT_SKEW,
        });
        Self {
            core,
            draft,
            event: PhantomData,
        }
    }

    fn edit(mut self, change: impl FnOnce(&mut Draft)) -> Self {
        if let Ok(draft) = &mut self.draft {
            change(draft);
        }
        self
    }

    /// Adds a pattern of topics to listen to. Without any, the stream listens to the topics of its event's
    /// types; [`Raw`](crate::Raw) has none and needs one.
    ///
    /// Each pattern is a subscription of its own with a position of its own. Two that can match one topic
    /// are `InvalidConfig`: its messages would come twice.
    pub fn pattern(mut self, pattern: impl AsRef<str>) -> Self {
        match Pattern::new(pattern) {
            Ok(pattern) => self.edit(|draft| draft.patterns.push(pattern)),
            Err(error) => {
                self.draft = self.draft.and(Err(error));
                self
            }
        }
    }

    /// Where the subscription starts when it is new; later its stored position wins. Default: the first
    /// message that is published afterwards.
    pub fn start_at(self, start: Start) -> Self {
        self.edit(|draft| draft.start = Some(start))
    }

    /// The order across the members of the group. Default: none; one member hands out one message of a
    /// key at a time in any case.
    pub fn order(self, order: Order) -> Self {
        self.edit(|draft| draft.order = order)
    }

    /// How long this member may be silent before what it holds counts as lost. The lease is renewed while
    /// a delivery is held, however long. Default: 30 seconds.
    pub fn lease(self, lease: Duration) -> Self {
        self.edit(|draft| draft.lease = lease)
    }

    /// Most deliveries fetched and not settled, for each pattern. Default: 256.
    pub fn max_in_flight(self, most: usize) -> Self {
        self.edit(|draft| draft.max_in_flight = most)
    }

    /// How often deliveries are tried, and the backoff of those that are dropped unsettled. Default:
    /// [`Retry::default`].
    pub fn retry(self, retry: Retry) -> Self {
        self.edit(|draft| draft.retry = retry)
    }

    /// What becomes of messages that expired before they were handed out. Default: they are dropped.
    pub fn expired(self, expired: Expired) -> Self {
        self.edit(|draft| draft.expired = expired)
    }

    /// How much later than its expiry a message is still handed out, for clocks that differ. Default: 1
    /// second.
    pub fn clock_skew(self, skew: Duration) -> Self {
        self.edit(|draft| draft.skew = skew)
    }

    async fn join(self) -> Result<Subscription<E>> {
        let mut draft = self.draft?;
        let types = E::types()?;
        let patterns = patterns(std::mem::take(&mut draft.patterns), &types)?;
        let mut members = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            members.push(Member::join(&self.core, draft.options(pattern)).await?);
        }
        Ok(Subscription::new(self.core, members, &draft.scope, types))
    }
}

impl Draft {
    fn options(&self, pattern: Pattern) -> MemberOptions {
        let mut spec = SubscriptionSpec::new(self.scope.clone(), pattern);
        spec.start = self.start.clone().unwrap_or_default();
        spec.order = self.order;
        spec.lease = self.lease;
        spec.max_in_flight = self.max_in_flight;
        let retry = self.retry.clone();
        let attempts = retry.max_attempts();
        let policy = Arc::new(move |attempt| retry.unclassified(attempt));
        MemberOptions {
            on_expired: self.expired.into(),
            skew: self.skew,
            ..MemberOptions::new(spec, attempts, policy)
        }
    }
}

/// The given patterns, else those of the event's types.
fn patterns(given: Vec<Pattern>, types: &[EventType]) -> Result<Vec<Pattern>> {
    let mut patterns = given;
    if patterns.is_empty() {
        patterns = types.iter().map(|known| known.pattern.clone()).collect();
    }
    patterns.sort_unstable();
    patterns.dedup();
    if patterns.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidConfig,
            "a stream of raw messages needs a `pattern` to listen to",
        ));
    }
    for (index, first) in patterns.iter().enumerate() {
        if let Some(second) = patterns[index + 1..].iter().find(|p| p.overlaps(first)) {
            let text = format!(
                "the patterns {first} and {second} of one stream can match one topic, whose messages \
                 would come twice; name one `pattern` that covers both"
            );
            return Err(Error::new(ErrorKind::InvalidConfig, text));
        }
    }
    Ok(patterns)
}

impl<E: Event> IntoFuture for Subscribe<E> {
    type Output = Result<Subscription<E>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Joins. When it has returned, every message that is published afterwards is delivered.
    ///
    /// # Errors
    /// `InvalidTopic` for a group or pattern that breaks the grammar; `InvalidConfig` for a lease below the
    /// transport's minimum and for overlapping patterns; `NotFound` for a start position whose log is gone;
    /// `Unsupported` for what the transport cannot do; `Closed`.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.join())
    }
}
