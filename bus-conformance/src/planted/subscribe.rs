//! Bugs of subscribing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bus_api::{
    Bus, Delivery, Group, Inbound, Order, Pattern, Result, Scope, Settler, Start, SubscriptionSpec,
};

use crate::planted::bug::Bug;
use crate::planted::{Plant, plant};

pub(crate) fn plants() -> Vec<Plant> {
    vec![
        plant!(
            StarIsRest,
            "lets `*` stand for several tokens",
            "t2_patterns_follow_the_truth_table"
        ),
        plant!(
            RestIsNone,
            "lets `>` stand for no token",
            "t2_patterns_follow_the_truth_table"
        ),
        plant!(
            ShallowPattern,
            "ignores wildcards beyond the second token",
            "t2_patterns_follow_the_truth_table"
        ),
        plant!(
            SubscribesLate,
            "returns from subscribe before it has subscribed",
            "s1_nothing_published_after_subscribe_is_missed"
        ),
        plant!(
            EarliestIsLatest,
            "starts at the latest instead of the earliest message",
            "s2_earliest_starts_at_the_first_message"
        ),
        plant!(
            LatestIsEarliest,
            "starts at the earliest instead of the latest message",
            "s2_latest_starts_after_what_was_published"
        ),
        plant!(
            TimeIsEarliest,
            "ignores the time that it should start at",
            "s7_a_time_starts_at_the_brokers_store_time"
        ),
        plant!(
            PositionIsExclusive,
            "starts after a position instead of at it",
            "s7_a_position_is_inclusive"
        ),
        plant!(
            ForgetsPosition,
            "starts anew at every rejoin",
            "s2_the_stored_position_wins"
        ),
        plant!(
            EveryMemberGetsAll,
            "gives each member every message",
            "s3_fault_free_runs_have_no_duplicate"
        ),
        plant!(
            GroupsCompete,
            "lets groups compete",
            "s4_each_group_gets_every_message"
        ),
        plant!(
            PatternsCollapse,
            "gives all patterns of a group one subscription",
            "s4_each_pattern_of_a_group_gets_its_messages"
        ),
        plant!(
            BroadcastCompetes,
            "lets broadcast subscribers compete",
            "s5_every_broadcast_subscriber_gets_every_message"
        ),
        plant!(
            OrderIgnored,
            "ignores order per key",
            "o2_no_message_of_a_key_starts_before_the_earlier_is_settled"
        ),
        plant!(
            NewTopicFromNow,
            "misses the first message of a new topic",
            "t3_a_new_topic_loses_nothing"
        ),
    ]
}

/// Asks the broker for another subscription than the one that was asked for.
macro_rules! changes_spec {
    ($name:ident, |$spec:ident| $change:block) => {
        #[derive(Debug, Default)]
        struct $name;

        #[async_trait]
        impl Bug for $name {
            async fn subscribe(
                &self,
                bus: &Arc<dyn Bus>,
                mut $spec: SubscriptionSpec,
            ) -> Result<Inbound> {
                let () = $change;
                bus.subscribe($spec).await
            }
        }
    };
}

changes_spec!(StarIsRest, |spec| {
    if let Some((head, _)) = spec.pattern.as_str().split_once('*') {
        spec.pattern = Pattern::new(format!("{head}>"))?;
    }
});
changes_spec!(ShallowPattern, |spec| {
    let tokens: Vec<&str> = spec.pattern.tokens().collect();
    if tokens.len() > 2 && tokens[2..].contains(&"*") {
        spec.pattern = Pattern::new(format!("{}.{}.>", tokens[0], tokens[1]))?;
    }
});
changes_spec!(EarliestIsLatest, |spec| {
    if spec.start == Start::Earliest {
        spec.start = Start::Latest;
    }
});
changes_spec!(LatestIsEarliest, |spec| {
    if spec.start == Start::Latest {
        spec.start = Start::Earliest;
    }
});
changes_spec!(TimeIsEarliest, |spec| {
    if matches!(spec.start, Start::Time(_)) {
        spec.start = Start::Earliest;
    }
});
changes_spec!(BroadcastCompetes, |spec| {
    if spec.scope == Scope::Broadcast {
        spec.scope = Scope::Group(Group::new("broadcast")?);
    }
});
changes_spec!(GroupsCompete, |spec| {
    if let Scope::Group(group) = &mut spec.scope {
        *group = Group::new("all")?;
    }
});
changes_spec!(OrderIgnored, |spec| {
    spec.order = Order::None;
});

/// Subscribes to everything and filters wrongly.
#[derive(Debug, Default)]
struct RestIsNone;

#[async_trait]
impl Bug for RestIsNone {
    async fn subscribe(&self, bus: &Arc<dyn Bus>, mut spec: SubscriptionSpec) -> Result<Inbound> {
        if let Some(head) = spec.pattern.as_str().strip_suffix(".>") {
            spec.pattern = match head.rsplit_once('.') {
                Some((head, _)) => Pattern::new(format!("{head}.>"))?,
                None => Pattern::all(),
            };
        }
        bus.subscribe(spec).await
    }

    fn deliver(
        &self,
        spec: &SubscriptionSpec,
        _: &Arc<dyn Settler>,
        honest: Vec<Delivery>,
    ) -> Vec<Delivery> {
        let with_none = spec
            .pattern
            .as_str()
            .strip_suffix(".>")
            .and_then(|head| Pattern::new(head).ok());
        honest
            .into_iter()
            .filter(|delivery| {
                let topic = &delivery.message.topic;
                spec.pattern.matches(topic)
                    || with_none.as_ref().is_some_and(|head| head.matches(topic))
            })
            .collect()
    }
}

/// Returns at once and takes whatever is published within the next moment for old.
#[derive(Debug, Default)]
struct SubscribesLate;

#[async_trait]
impl Bug for SubscribesLate {
    async fn subscribe(&self, bus: &Arc<dyn Bus>, spec: SubscriptionSpec) -> Result<Inbound> {
        let honest = bus.subscribe(spec).await?;
        let receiver = skipping::Skipping::new(honest.receiver, honest.settler.clone());
        Ok(Inbound {
            receiver: Box::new(receiver),
            ..honest
        })
    }
}

mod skipping {
    use std::sync::Arc;

    use async_trait::async_trait;
    use bus_api::{Inflow, Receiver, Result, Settlement, Settler};

    /// Settles the first messages unseen, as if they had been published before.
    pub(super) struct Skipping {
        inner: Box<dyn Receiver>,
        settler: Arc<dyn Settler>,
        skipped: bool,
    }

    impl Skipping {
        pub(super) fn new(inner: Box<dyn Receiver>, settler: Arc<dyn Settler>) -> Self {
            Self {
                inner,
                settler,
                skipped: false,
            }
        }
    }

    #[async_trait]
    impl Receiver for Skipping {
        async fn receive(&mut self, max: usize) -> Result<Inflow> {
            let inflow = self.inner.receive(max).await?;
            match inflow {
                Inflow::Deliveries(mut deliveries) if !self.skipped => {
                    self.skipped = true;
                    let first = deliveries.remove(0);
                    self.settler
                        .settle(vec![(first.receipt, Settlement::Ack)])
                        .await;
                    if deliveries.is_empty() {
                        return self.inner.receive(max).await;
                    }
                    Ok(Inflow::Deliveries(deliveries))
                }
                inflow => Ok(inflow),
            }
        }
    }
}

#[derive(Debug, Default)]
struct PositionIsExclusive(Mutex<Option<bus_api::Position>>);

#[async_trait]
impl Bug for PositionIsExclusive {
    async fn subscribe(&self, bus: &Arc<dyn Bus>, spec: SubscriptionSpec) -> Result<Inbound> {
        if let Start::Position(position) = &spec.start {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(position.clone());
        }
        bus.subscribe(spec).await
    }

    fn deliver(
        &self,
        _: &SubscriptionSpec,
        settler: &Arc<dyn Settler>,
        honest: Vec<Delivery>,
    ) -> Vec<Delivery> {
        let start = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let (skipped, rest) = honest
            .into_iter()
            .partition(|d| start.as_ref() == Some(&d.position));
        super::receive::settle_unseen(settler, skipped);
        rest
    }
}

/// Each join is a subscription of its own that starts where it was asked to.
#[derive(Debug, Default)]
struct ForgetsPosition(AtomicU64);

#[async_trait]
impl Bug for ForgetsPosition {
    async fn subscribe(&self, bus: &Arc<dyn Bus>, mut spec: SubscriptionSpec) -> Result<Inbound> {
        anonymous(&mut spec, &self.0)?;
        spec.start = Start::Earliest;
        bus.subscribe(spec).await
    }
}

#[derive(Debug, Default)]
struct EveryMemberGetsAll(AtomicU64);

#[async_trait]
impl Bug for EveryMemberGetsAll {
    async fn subscribe(&self, bus: &Arc<dyn Bus>, mut spec: SubscriptionSpec) -> Result<Inbound> {
        anonymous(&mut spec, &self.0)?;
        bus.subscribe(spec).await
    }
}

/// Turns the group into one that nobody else is in.
fn anonymous(spec: &mut SubscriptionSpec, counter: &AtomicU64) -> Result<()> {
    if let Scope::Group(group) = &mut spec.scope {
        *group = Group::new(format!(
            "{group}-{}",
            counter.fetch_add(1, Ordering::Relaxed)
        ))?;
    }
    Ok(())
}

/// All patterns of a group share the first one.
#[derive(Debug, Default)]
struct PatternsCollapse(Mutex<HashMap<Group, Pattern>>);

#[async_trait]
impl Bug for PatternsCollapse {
    async fn subscribe(&self, bus: &Arc<dyn Bus>, mut spec: SubscriptionSpec) -> Result<Inbound> {
        if let Scope::Group(group) = &spec.scope {
            let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            spec.pattern = first.entry(group.clone()).or_insert(spec.pattern).clone();
        }
        bus.subscribe(spec).await
    }
}

/// Skips the message that made a topic known.
#[derive(Debug, Default)]
struct NewTopicFromNow(Mutex<HashMap<String, ()>>);

impl Bug for NewTopicFromNow {
    fn deliver(
        &self,
        spec: &SubscriptionSpec,
        settler: &Arc<dyn Settler>,
        honest: Vec<Delivery>,
    ) -> Vec<Delivery> {
        if spec.pattern.exact().is_some() {
            return honest;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, rest) = honest.into_iter().partition(|delivery| {
            known
                .insert(format!("{:?} {}", spec.scope, delivery.message.topic), ())
                .is_none()
        });
        drop(known);
        super::receive::settle_unseen(settler, first);
        rest
    }
}
