//! The loop of a worker: takes deliveries and starts handlers.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

use crate::adapter::until;
use crate::error::{Error, ErrorKind};
use crate::worker::answer;
use crate::worker::batch;
use crate::worker::breaker::Gate;
use crate::worker::intake::{Intake, Pulled};
use crate::worker::pauses::Pauses;
use crate::worker::service::Handlers;
use crate::worker::shared::Shared;
use crate::worker::single;

/// The loop of a worker.
pub(crate) struct Pump {
    pub(crate) shared: Arc<Shared>,
    pub(crate) service: Handlers,
    pub(crate) intake: Intake,
    /// One for each handler that may run.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) pauses: Arc<Pauses>,
    /// Taken, but the breaker opened before it could be begun.
    pub(crate) parked: Option<Pulled>,
}

/// The worker stops: why, unless it was told to.
struct Stop(Option<Error>);

impl Pump {
    /// Runs until the worker is told to stop or a subscription ends; returns why it ended.
    pub(crate) async fn run(&mut self) -> Option<Error> {
        loop {
            if let Err(Stop(why)) = self.turn().await {
                return why;
            }
        }
    }

    /// Takes a slot, awaits breaker and layers, takes what comes, starts its handler: in this
    /// order, so that nothing is taken that cannot be begun.
    async fn turn(&mut self) -> Result<(), Stop> {
        if self.shared.stop.is_cancelled() {
            return Err(Stop(None));
        }
        let slot = match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => self.slot().await?,
        };
        self.admitted().await?;
        self.ready().await?;
        let pulled = match self.parked.take() {
            Some(pulled) => pulled,
            None => match now(|cx| self.intake.poll_next(cx)).await {
                Some(pulled) => pulled,
                None => tokio::select! {
                    biased;
                    pulled = self.intake.next() => pulled,
                    () = self.shared.breaker_changed.notified() => return Ok(()),
                    () = self.shared.stop.cancelled() => return Err(Stop(None)),
                },
            },
        };
        self.begin(pulled, slot)
    }

    async fn slot(&mut self) -> Result<OwnedSemaphorePermit, Stop> {
        let slots = Arc::clone(&self.slots);
        tokio::select! {
            biased;
            slot = slots.acquire_owned() => slot.map_err(|_| Stop(None)),
            () = self.shared.stop.cancelled() => Err(Stop(None)),
        }
    }

    async fn ready(&mut self) -> Result<(), Stop> {
        let ready = match now(|cx| self.service.poll_ready(cx)).await {
            Some(ready) => ready,
            None => tokio::select! {
                biased;
                ready = poll_fn(|cx| self.service.poll_ready(cx)) => ready,
                () = self.shared.stop.cancelled() => return Err(Stop(None)),
            },
        };
        ready.map_err(|error| {
            let text = format!("a layer of the worker is not ready any more: {error}");
            Stop(Some(Error::new(ErrorKind::Internal, text)))
        })
    }

    /// Waits until the breaker lets a delivery through.
    async fn admitted(&mut self) -> Result<(), Stop> {
        loop {
            let wait = match self.shared.gate() {
                Gate::Open | Gate::Probe => {
                    self.pauses.by_breaker(false);
                    return Ok(());
                }
                Gate::Until(instant) => Some(instant),
                Gate::Wait => None,
            };
            self.pauses.by_breaker(true);
            tokio::select! {
                () = self.shared.breaker_changed.notified() => {}
                () = until(wait) => {}
                () = self.shared.stop.cancelled() => return Err(Stop(None)),
            }
        }
    }

    /// Starts the handler of what was taken.
    fn begin(&mut self, pulled: Pulled, slot: OwnedSemaphorePermit) -> Result<(), Stop> {
        match pulled {
            Pulled::Stopped => Err(Stop(None)),
            Pulled::Ended(why) => Err(Stop(why)),
            Pulled::Request(request, replies) => {
                spawn(
                    answer::handle(self.shared(), self.service(), request, replies),
                    slot,
                );
                Ok(())
            }
            Pulled::One(held) => {
                match self.shared.pass() {
                    Some(probe) => spawn(
                        single::handle(self.shared(), self.service(), held, probe),
                        slot,
                    ),
                    None => self.parked = Some(Pulled::One(held)),
                }
                Ok(())
            }
            Pulled::Many(mut batch) => {
                match self.shared.pass() {
                    Some(probe) => {
                        // One message is enough to find out.
                        let rest =
                            batch.split_off(if probe { 1 } else { batch.len() }.min(batch.len()));
                        if !rest.is_empty() {
                            self.parked = Some(Pulled::Many(rest));
                        }
                        spawn(
                            batch::handle(self.shared(), self.service(), batch, probe),
                            slot,
                        );
                    }
                    None => self.parked = Some(Pulled::Many(batch)),
                }
                Ok(())
            }
        }
    }

    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// The service that is ready; another one takes its place.
    fn service(&mut self) -> Handlers {
        let next = self.service.clone();
        std::mem::replace(&mut self.service, next)
    }
}

/// What is there already: a busy worker then makes nothing to wait with for anything else.
async fn now<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    poll_fn(|cx| {
        Poll::Ready(match poll(cx) {
            Poll::Ready(there) => Some(there),
            Poll::Pending => None,
        })
    })
    .await
}

fn spawn(work: impl Future<Output = ()> + Send + 'static, slot: OwnedSemaphorePermit) {
    // An async block would hold the work twice: as it was captured, and as it is awaited.
    tokio::spawn(work.map(|()| drop(slot)));
}
