//! Failures and latency on demand.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bus_api::{Error, ErrorKind, Result};

/// What a [`TestBus`](super::TestBus) can make slow or let fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Storing a message.
    Publish,
    /// Joining a subscription.
    Subscribe,
    /// Settling a delivery: ack, retry, dead letter.
    Settle,
    /// Asking for a reply.
    Request,
}

/// What is planned for each operation.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<HashMap<Operation, Plan>>);

#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    latency: Duration,
    failing: Option<(u32, ErrorKind)>,
}

impl Faults {
    pub(super) fn fail(&self, operation: Operation, times: u32, kind: ErrorKind) {
        self.edit(operation, |plan| plan.failing = Some((times, kind)));
    }

    pub(super) fn delay(&self, operation: Operation, latency: Duration) {
        self.edit(operation, |plan| plan.latency = latency);
    }

    /// Waits as long as was asked for.
    pub(super) async fn latency(&self, operation: Operation) {
        let latency = self.edit(operation, |plan| plan.latency);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }

    /// Fails when it is to.
    pub(super) fn check(&self, operation: Operation) -> Result<()> {
        let failing = self.edit(operation, |plan| {
            let (left, kind) = plan.failing?;
            plan.failing = left.checked_sub(1).map(|left| (left, kind));
            (left > 0).then_some(kind)
        });
        match failing {
            None => Ok(()),
            Some(kind) => {
                Err(Error::new(kind, "a failure that the test asked for").transport("memory"))
            }
        }
    }

    fn edit<T>(&self, operation: Operation, change: impl FnOnce(&mut Plan) -> T) -> T {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(plans.entry(operation).or_default())
    }
}
