//! What the contract grants to which transport.

use std::time::Duration;

use crate::context::Context;
use crate::factory::Transport;
use crate::probe::time::{ms, secs};

/// What the contract grants to the transport under test, and what a busy machine adds to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// T3: the delay of the first message of a new topic.
    pub(crate) new_topic: Duration,
    /// A6: from the end of the lease until the sweep has handed over what a dead member held.
    pub(crate) sweep: Duration,
    /// How late something may be that the contract calls prompt.
    pub(crate) prompt: Duration,
}

impl Bounds {
    /// The bounds for what `context` tests.
    pub(crate) fn of(context: &Context) -> Self {
        let (new_topic, sweep) = match context.factory().transport() {
            Transport::Memory => (Duration::ZERO, ms(500)),
            Transport::Nats { .. } => (Duration::ZERO, secs(2)),
            Transport::Redis => (secs(5), secs(5)),
            Transport::Kafka | Transport::Other(_) => (secs(10), secs(10)),
        };
        Self {
            new_topic,
            sweep,
            prompt: secs(3),
        }
    }
}
