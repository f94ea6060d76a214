//! What a member counts.

use std::sync::Arc;

use metrics::{Counter, Gauge, counter, gauge};

use crate::client::{Core, InFlightOfConnection};
use crate::error::ErrorKind;
use crate::telemetry::metric;

/// The handles behind a member's metrics: made once, so that counting costs one atomic operation.
pub(super) struct Meters {
    transport: &'static str,
    group: String,
    pub(super) delivered: Counter,
    pub(super) redelivered: Counter,
    pub(super) in_flight: InFlight,
    pub(super) acked: Counter,
}

/// Deliveries that are held: those of this group as a metric, those of the connection for itself.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    gauge: Gauge,
    of_connection: Arc<InFlightOfConnection>,
}

impl InFlight {
    pub(super) fn enter(&self) {
        self.gauge.increment(1.0);
        self.of_connection.enter();
    }

    pub(super) fn leave(&self, count: usize) {
        self.gauge.decrement(count as f64);
        self.of_connection.leave(count);
    }
}

impl Meters {
    pub(super) fn new(core: &Core, group: &str) -> Self {
        let transport = core.transport();
        let group = group.to_owned();
        Self {
            delivered: counter!(metric::DELIVERED, "transport" => transport, "group" => group.clone()),
            redelivered: counter!(
                metric::REDELIVERED, "transport" => transport, "group" => group.clone()
            ),
            in_flight: InFlight {
                gauge: gauge!(metric::IN_FLIGHT, "transport" => transport, "group" => group.clone()),
                of_connection: Arc::clone(&core.in_flight),
            },
            acked: settled(transport, &group, "ack"),
            transport,
            group,
        }
    }

    /// The group, or what stands for it in labels.
    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// Counts deliveries that ended otherwise than by an ack.
    pub(super) fn settled(&self, outcome: &'static str, count: usize) {
        settled(self.transport, &self.group, outcome).increment(count as u64);
    }

    /// Counts a settlement that the broker refused for good.
    pub(super) fn refused(&self, kind: ErrorKind) {
        counter!(
            metric::SETTLE_FAILURES,
            "transport" => self.transport,
            "group" => self.group.clone(),
            "kind" => kind.as_str(),
        )
        .increment(1);
    }
}

fn settled(transport: &'static str, group: &str, outcome: &'static str) -> Counter {
    counter!(
        metric::SETTLED, "transport" => transport, "group" => group.to_owned(), "outcome" => outcome
    )
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}
