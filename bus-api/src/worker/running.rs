//! A running worker, seen from outside.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::BusClient;
use crate::contract::SubscriptionId;
use crate::error::{Error, ErrorKind, Result};
use crate::member::MemberHandle;
use crate::worker::pauses::Pauses;
use crate::worker::report::Report;

/// A running worker. Dropping it tells the worker to drain, without waiting for it.
///
/// ```no_run
/// # use std::time::Duration;
/// # use bus_api::{BusClient, Raw};
/// # async fn example(bus: BusClient) -> bus_api::Result<()> {
/// let running = bus.worker("mail").pattern("orders.>").fallback(async |_: Raw| {}).start().await?;
/// running.pause();
/// running.idle().await; // whatever was fetched is handled
/// running.resume();
/// let report = running.shutdown(Duration::from_secs(20)).await;
/// println!("{} handled, {} handed back", report.handled, report.handed_back);
/// # Ok(()) }
/// ```
pub struct Running {
    control: Arc<Control>,
    task: Option<JoinHandle<Report>>,
}

/// What a worker's loop and its handle share.
pub(crate) struct Control {
    pub(crate) bus: BusClient,
    /// The durable subscriptions of the worker.
    pub(crate) subscriptions: Vec<SubscriptionId>,
    pub(crate) pauses: Arc<Pauses>,
    pub(crate) stop: CancellationToken,
    /// Cancelled once the worker has drained.
    pub(crate) done: CancellationToken,
    pub(crate) drain_within: Mutex<Duration>,
}

/// How soon [`Running::idle`] looks again; each time half as often.
const LOOK_FIRST: Duration = Duration::from_millis(1);
/// How often it looks at least.
const LOOK_AT_LEAST: Duration = Duration::from_millis(50);

impl Running {
    pub(crate) fn new(control: Arc<Control>, task: JoinHandle<Report>) -> Self {
        Self {
            control,
            task: Some(task),
        }
    }

    /// Stops fetching; what was fetched is still handled, and its leases are kept.
    pub fn pause(&self) {
        self.control.pauses.by_user(true);
    }

    /// Fetches again.
    pub fn resume(&self) {
        self.control.pauses.by_user(false);
    }

    /// Waits until there is nothing to do: everything that was published to its group is settled,
    /// by whichever member, retries included, and the broker has confirmed it. While it is
    /// [paused](Self::pause), and for a broadcast, only what was fetched counts.
    ///
    /// Cancel safe.
    pub async fn idle(&self) {
        let members = self.control.pauses.members();
        let mut look = LOOK_FIRST;
        while !(members.iter().all(MemberHandle::is_idle) && self.is_caught_up().await) {
            tokio::time::sleep(look).await;
            look = (look * 2).min(LOOK_AT_LEAST);
        }
    }

    /// Whether the broker has nothing left for the group, as far as it is asked for.
    async fn is_caught_up(&self) -> bool {
        let control = &self.control;
        if control.subscriptions.is_empty() || control.pauses.is_paused_by_user() {
            return true;
        }
        match control.bus.subscriptions().list().await {
            Ok(stored) => stored
                .iter()
                .filter(|info| control.subscriptions.contains(&info.id))
                .all(|info| info.lag == 0),
            // A broker that is away has more to come; a closed bus has not.
            Err(error) => error.kind() == ErrorKind::Closed,
        }
    }

    /// Deliveries that were fetched and are not settled.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let members = self.control.pauses.members();
        members.iter().map(MemberHandle::in_flight).sum()
    }

    /// Tells the worker to drain, as [`Worker::drain_within`](crate::Worker::drain_within) says,
    /// without waiting for it.
    pub fn stop(&self) {
        self.control.stop.cancel();
    }

    /// Waits until the worker has drained: after [`stop`](Self::stop), when the bus was closed, or
    /// because a subscription of it ended.
    ///
    /// Cancel safe.
    pub async fn ended(&self) {
        self.control.done.cancelled().await;
    }

    /// Waits until the worker has [`ended`](Self::ended).
    ///
    /// # Errors
    /// What ended it, such as `NotFound` when its subscription was deleted.
    pub async fn join(mut self) -> Result<Report> {
        let mut report = self.report().await;
        match report.error.take() {
            Some(error) => Err(error),
            None => Ok(report),
        }
    }

    /// Drains: stops fetching, hands back what was not begun, waits for handlers up to `within`
    /// from now, settles, leaves.
    ///
    /// When `within` has passed, [`Context::cancelled`](crate::Context::cancelled) resolves;
    /// handlers that have not ended 100 ms later are dropped and their deliveries handed back
    /// without an attempt used.
    pub async fn shutdown(mut self, within: Duration) -> Report {
        *self
            .control
            .drain_within
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = within;
        self.stop();
        self.report().await
    }

    async fn report(&mut self) -> Report {
        let Some(task) = self.task.take() else {
            return Report::default();
        };
        task.await.unwrap_or_else(|error| Report {
            error: Some(
                Error::new(ErrorKind::Internal, "the loop of a worker died").caused_by(error),
            ),
            ..Report::default()
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("in_flight", &self.in_flight())
            .field("ended", &self.control.done.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// One signal that stops many workers.
///
/// ```no_run
/// # use bus_api::{Result, Stop, Worker};
/// # async fn example(mail: Worker, audit: Worker, ctrl_c: impl Future<Output = ()>) -> Result<()> {
/// let stop = Stop::new();
/// let (mail, audit, ()) = tokio::join!(
///     mail.run_until(stop.stopped()),
///     audit.run_until(stop.stopped()),
///     async { ctrl_c.await; stop.stop() },
/// );
/// # let _ = (mail?, audit?);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Stop(CancellationToken);

impl Stop {
    /// A signal that was not given yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the signal, for good.
    pub fn stop(&self) {
        self.0.cancel();
    }

    /// Whether it was given.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves when it is given.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let token = self.0.clone();
        async move { token.cancelled().await }
    }
}
