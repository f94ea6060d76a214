//! A member that works in the background.

use std::future::Future;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::outcome::Violation;
use crate::probe::inbox::{Inbox, Token};
use crate::probe::ledger::Ledger;
use crate::probe::time::{PATIENCE, within};

/// A member that works in the background until it is told to leave.
#[derive(Debug)]
pub(crate) struct Pump {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<Inbox, Violation>>,
}

impl Pump {
    /// A member that acks whatever comes and enters it.
    pub(crate) fn acking(name: impl Into<String>, inbox: Inbox, ledger: &Ledger) -> Self {
        Self::entering(name, inbox, ledger, false)
    }

    /// The same while the broker comes and goes: an ack that is not confirmed is none, and its message comes again.
    pub(crate) fn persisting(name: impl Into<String>, inbox: Inbox, ledger: &Ledger) -> Self {
        Self::entering(name, inbox, ledger, true)
    }

    fn entering(name: impl Into<String>, inbox: Inbox, ledger: &Ledger, persists: bool) -> Self {
        let (name, ledger) = (name.into(), ledger.clone());
        Self::handling(inbox, move |token| {
            ledger.deliver(&name, &token);
            let ledger = ledger.clone();
            async move {
                let number = token.number();
                match token.ack().await {
                    Ok(()) => ledger.ack(number),
                    Err(_) if persists => {}
                    Err(refused) => return Err(refused),
                }
                Ok(())
            }
        })
    }

    /// A member that does `handle` with every delivery, with many at a time.
    pub(crate) fn handling<F, Fut>(mut inbox: Inbox, mut handle: F) -> Self
    where
        F: FnMut(Token) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Violation>> + Send + 'static,
    {
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut running = FuturesUnordered::new();
            loop {
                let next = tokio::select! {
                    biased;
                    _ = stopped.wait_for(|stop| *stop) => break,
                    Some(done) = running.next() => {
                        done?;
                        continue;
                    }
                    next = inbox.raw() => next,
                };
                match next {
                    Some(Ok(parcel)) => running.push(handle(parcel.token()?)),
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(Violation::new("the subscription ended")),
                }
            }
            while let Some(done) = running.next().await {
                done?;
            }
            Ok(inbox)
        });
        Self { stop, task }
    }

    /// Stops taking and returns the inbox, still joined.
    pub(crate) async fn stop(self) -> Result<Inbox, Violation> {
        self.stop.send_replace(true);
        within(PATIENCE, "a member stops", self.task)
            .await?
            .map_err(Violation::new)?
    }

    /// Stops taking and leaves in order.
    pub(crate) async fn leave(self) -> Result<(), Violation> {
        self.stop().await?.leave().await
    }

    /// Drops the member as it stands, with what it holds; afterwards none of its handlers starts or runs.
    pub(crate) async fn abort(self) {
        self.task.abort();
        // It was told to end: how it ended is no news.
        let _ = self.task.await;
    }
}
