//! The life of a started worker, from its first delivery to its report.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::client::Participant;
use crate::error::Error;
use crate::member::{DrainReport, Member};
use crate::worker::answer::{self, ReplySender};
use crate::worker::intake::{Pulled, Source};
use crate::worker::pump::Pump;
use crate::worker::report::Report;
use crate::worker::running::Control;
use crate::worker::shared::Shared;

/// How long handlers may go on once [`Context::cancelled`](crate::Context::cancelled) has fired.
const CANCEL_GRACE: Duration = Duration::from_millis(100);
/// How long a dropped handler may block its thread before it is no longer waited for.
const BLOCKED_GRACE: Duration = Duration::from_secs(1);
/// How long settlements and replies may take once no handler runs.
const SETTLE_GRACE: Duration = Duration::from_secs(5);

/// A started worker.
pub(crate) struct Life {
    pub(crate) pump: Pump,
    pub(crate) replies: Vec<ReplySender>,
    pub(crate) concurrency: u32,
    pub(crate) control: Arc<Control>,
    pub(crate) participant: Participant,
}

impl Life {
    /// Runs until the worker is told to stop, the bus is closed or a subscription ends; then drains.
    pub(crate) async fn run(mut self) -> Report {
        let done = self.control.done.clone().drop_guard();
        let stop = self.control.stop.clone();
        let why = tokio::select! {
            why = self.pump.run() => why,
            () = self.participant.draining() => None,
        };
        stop.cancel();
        let report = self.drain(why).await;
        drop(done);
        report
    }

    async fn drain(self, why: Option<Error>) -> Report {
        let shared = Arc::clone(&self.pump.shared);
        let within = *self
            .control
            .drain_within
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let deadline = later(within);
        if let Some(error) = &why {
            tracing::error!(target: "bus", group = &*shared.home.group, %error, "a worker ends");
        }
        let slots = Arc::clone(&self.pump.slots);
        let members = take_back(&shared, self.pump).await;
        let all = async { drop(slots.acquire_many(self.concurrency).await) };
        end_handlers(&shared, deadline, all).await;
        let mut report = leave(members, self.replies).await;
        let counted = shared.counts.report();
        report.handed_back += counted.handed_back;
        report.error = why.or(report.error);
        Report {
            handed_back: report.handed_back,
            unsettled: report.unsettled,
            error: report.error,
            ..counted
        }
    }
}

/// Hands back what was taken and not begun, and stops the members from fetching.
async fn take_back(shared: &Shared, pump: Pump) -> Vec<Member> {
    let (sources, mut given) = pump.intake.finish().await;
    given.extend(pump.parked);
    for pulled in given {
        match pulled {
            Pulled::One(held) => {
                shared.hand_back(held);
            }
            Pulled::Many(batch) => batch.into_iter().for_each(|held| {
                shared.hand_back(held);
            }),
            Pulled::Request(request, replies) => answer::give_up(shared, request, &replies).await,
            Pulled::Ended(_) | Pulled::Stopped => {}
        }
    }
    let mut members = Vec::new();
    for source in sources {
        match source {
            Source::Member(mut member) => {
                shared.counts.handed_back.add(member.stop());
                members.push(member);
            }
            Source::Responder(responder) => {
                for request in responder.waiting {
                    answer::give_up(shared, request, &responder.replies).await;
                }
            }
        }
    }
    members
}

/// Waits until `all` handlers have ended; at `deadline` tells them, and drops them soon after.
async fn end_handlers(shared: &Shared, deadline: Instant, all: impl Future<Output = ()>) {
    let mut all = std::pin::pin!(all);
    if timeout_at(deadline, &mut all).await.is_ok() {
        return;
    }
    shared.home.cancelled.cancel();
    if timeout(CANCEL_GRACE, &mut all).await.is_ok() {
        return;
    }
    shared.abort.cancel();
    if timeout(BLOCKED_GRACE, &mut all).await.is_err() {
        let group = &*shared.home.group;
        tracing::warn!(
            target: "bus", group,
            "a handler blocks its thread; the worker does not wait for it"
        );
    }
}

/// Settles what is to be settled, sends the replies, leaves. All at the same time.
async fn leave(members: Vec<Member>, replies: Vec<ReplySender>) -> Report {
    let deadline = later(SETTLE_GRACE);
    let mut leaving = JoinSet::new();
    for member in members {
        leaving.spawn(member.drain(deadline));
    }
    for sender in replies {
        leaving.spawn(async move {
            DrainReport {
                error: sender.leave(deadline).await.err(),
                ..DrainReport::default()
            }
        });
    }
    let mut report = Report::default();
    while let Some(left) = leaving.join_next().await {
        let Ok(left) = left else { continue };
        report.handed_back += left.handed_back as u64;
        report.unsettled += (left.abandoned + left.unconfirmed) as u64;
        report.error = report.error.or(left.error);
    }
    report
}

fn later(within: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(within)
        .unwrap_or_else(|| now + Duration::from_secs(86_400))
}
