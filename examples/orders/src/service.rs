//! A service as it runs: its database, its worker, its relay, until it is told to stop.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bus::{BusClient, Config, Retry, Start, Worker};
use clap::ValueEnum;

use crate::store::{Inbox, Store, relay};
use crate::{mail, order, payment, stock};

/// A member that is killed is missed after this long, or the shortest that the broker allows.
const LEASE: Duration = Duration::from_secs(2);

/// The services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Service {
    Order,
    Payment,
    Stock,
    Mail,
}

impl Service {
    pub const ALL: [Self; 4] = [Self::Order, Self::Payment, Self::Stock, Self::Mail];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Payment => "payment",
            Self::Stock => "stock",
            Self::Mail => "mail",
        }
    }

    fn worker(self, bus: &BusClient, store: Store) -> Worker<Store> {
        let worker = match self {
            Self::Order => order::worker(bus, store),
            Self::Payment => payment::worker(bus, store),
            Self::Stock => stock::worker(bus, store),
            Self::Mail => mail::worker(bus, store),
        };
        worker
            // Whatever was sent before the service was started for the first time is for it, too.
            .start_at(Start::Earliest)
            .lease(LEASE.max(bus.capabilities().min_lease))
            .retry(
                Retry::exponential(Duration::from_millis(50), Duration::from_secs(5)).attempts(8),
            )
            .timeout(Duration::from_secs(20))
    }

    /// Runs until `stop` says so, with the database in `data`.
    pub async fn run(
        self,
        config: &Config,
        data: &Path,
        stop: impl Future<Output = ()>,
    ) -> Result<()> {
        let store = self.store(data, Inbox::Kept)?;
        self.serve(store, config, stop).await
    }

    pub fn store(self, data: &Path, inbox: Inbox) -> Result<Store> {
        Store::open(&data.join(self.name()).with_extension("redb"), inbox)
    }

    /// Runs until `stop` says so, with this database.
    pub async fn serve(
        self,
        store: Store,
        config: &Config,
        stop: impl Future<Output = ()>,
    ) -> Result<()> {
        let bus = config.connect().await.context("cannot connect")?;
        let background = async {
            tokio::try_join!(relay::run(&store, &bus), async {
                match self {
                    Self::Order => order::sweep(&store).await,
                    _ => std::future::pending().await,
                }
            })
        };
        let worker = self.worker(&bus, store.clone());
        tokio::select! {
            // A database that cannot be read or written ends the service; who started it starts it again.
            failed = background => return failed.map(drop),
            report = worker.run_until(stop) => report?,
        };
        // What the last handlers have left goes out before the service does; the rest is for its next life.
        relay::drain(&store, &bus).await?;
        bus.close().await?;
        Ok(())
    }
}
