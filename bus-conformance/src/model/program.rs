//! Programs: what the world does to the bus, in order.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::strategy::BoxedStrategy;

/// Topics that a program publishes to.
pub(super) const TOPICS: [&str; 2] = ["a", "b"];
/// Subscriptions that a program knows: group and pattern, below the topic of the run.
pub(super) const SUBSCRIPTIONS: [(&str, &str); 3] = [("g", ">"), ("g", "a"), ("h", "*")];
/// Members that can live at a time.
pub(super) const SLOTS: usize = 4;

/// One step of a program. What makes no sense when its turn comes, such as settling with empty hands, is
/// skipped: so every part of a program is a program, and shrinking finds small ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Publishes this many messages.
    Publish { topic: usize, count: u8 },
    /// A member joins a subscription in a free slot.
    Join { slot: usize, subscription: usize },
    /// A member acks what it holds and leaves.
    Leave { slot: usize },
    /// A member's process dies.
    Crash { slot: usize },
    /// A member takes up to this many deliveries, as far as some come soon.
    Take { slot: usize, count: u8 },
    /// A member acks one of those that it holds.
    Ack { slot: usize, pick: usize },
    /// A member nacks one of those that it holds.
    Nack {
        slot: usize,
        pick: usize,
        delay: u16,
    },
    /// A member drops one of those that it holds.
    Drop { slot: usize, pick: usize },
    /// A member takes up to this many deliveries, as far as some come soon, and nacks each at once.
    Wreck { slot: usize, count: u8 },
    /// An operator redrives what a subscription has given up.
    Redrive { subscription: usize },
    /// An operator moves a subscription to the first message, or behind the last one.
    Reset { subscription: usize, earliest: bool },
}

/// What the programs of a case may hold beyond publishing, joining, leaving, taking and acking.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mix {
    pub(super) failures: bool,
    pub(super) crashes: bool,
    pub(super) redrives: bool,
    pub(super) resets: bool,
}

/// Programs of up to `length` steps.
pub(super) fn programs(mix: Mix, length: usize) -> impl Strategy<Value = Vec<Step>> {
    vec(step(mix), 1..=length)
}

fn step(mix: Mix) -> BoxedStrategy<Step> {
    let (slot, subscription) = (0..SLOTS, 0..SUBSCRIPTIONS.len());
    let mut kinds: Vec<(u32, BoxedStrategy<Step>)> = vec![
        (
            5,
            (0..TOPICS.len(), 1..6_u8)
                .prop_map(|(topic, count)| Step::Publish { topic, count })
                .boxed(),
        ),
        (
            4,
            (slot.clone(), subscription.clone())
                .prop_map(|(slot, subscription)| Step::Join { slot, subscription })
                .boxed(),
        ),
        (
            1,
            slot.clone().prop_map(|slot| Step::Leave { slot }).boxed(),
        ),
        (
            6,
            (slot.clone(), 1..6_u8)
                .prop_map(|(slot, count)| Step::Take { slot, count })
                .boxed(),
        ),
        (
            4,
            (slot.clone(), 0..8_usize)
                .prop_map(|(slot, pick)| Step::Ack { slot, pick })
                .boxed(),
        ),
    ];
    if mix.failures {
        let delay = prop_oneof![Just(0_u16), 1..400_u16];
        kinds.push((
            4,
            (slot.clone(), 0..8_usize, delay)
                .prop_map(|(slot, pick, delay)| Step::Nack { slot, pick, delay })
                .boxed(),
        ));
        kinds.push((
            4,
            (slot.clone(), 1..16_u8)
                .prop_map(|(slot, count)| Step::Wreck { slot, count })
                .boxed(),
        ));
        kinds.push((
            2,
            (slot.clone(), 0..8_usize)
                .prop_map(|(slot, pick)| Step::Drop { slot, pick })
                .boxed(),
        ));
    }
    if mix.crashes {
        kinds.push((1, slot.prop_map(|slot| Step::Crash { slot }).boxed()));
    }
    if mix.redrives {
        kinds.push((
            2,
            subscription
                .clone()
                .prop_map(|subscription| Step::Redrive { subscription })
                .boxed(),
        ));
    }
    if mix.resets {
        kinds.push((
            1,
            (subscription, proptest::bool::ANY)
                .prop_map(|(subscription, earliest)| Step::Reset {
                    subscription,
                    earliest,
                })
                .boxed(),
        ));
    }
    proptest::strategy::Union::new_weighted(kinds).boxed()
}
