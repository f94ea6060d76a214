//! The connection: what implements the contract.

use std::sync::{Arc, MutexGuard};

use async_trait::async_trait;
use bus_api::{
    AckDurability, Admin, Bus, BusUrl, Capabilities, DeadLetterStore, Inbound, Message, Notices,
    OrderedMembers, Provision, Published, Requests, ResponderSpec, Result, Settings,
    SubscriptionSpec,
};
use tokio::time::Instant;

use crate::broker::Broker;
use crate::config::Config;
use crate::connection::Connection;
use crate::error::{NAME, closed, unavailable};
use crate::publish::Limits;
use crate::state::State;
use crate::subscribe::MIN_LEASE;
use crate::{request, subscribe};

/// A connection to a bus in the memory of this process.
///
/// Cloning gives another handle to the same connection; [`connect`](Self::connect) gives another
/// connection to the same broker, which lives and dies on its own.
#[derive(Clone, Debug)]
pub struct MemoryBus {
    connection: Arc<Connection>,
    broker: Broker,
    config: Arc<Config>,
}

/// Opens a connection: what a connector calls for `memory://`.
///
/// # Errors
/// As [`MemoryBus::open`] and [`MemoryBus::ready`].
pub async fn open(url: BusUrl, settings: Settings) -> Result<Arc<dyn Bus>> {
    let bus = MemoryBus::open(url, settings)?;
    bus.ready().await?;
    Ok(Arc::new(bus))
}

impl MemoryBus {
    /// A connection to a fresh broker of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    /// A connection as `config` says.
    #[must_use]
    pub fn with(config: Config) -> Self {
        let broker = config
            .name
            .as_deref()
            .map_or_else(Broker::new, Broker::named);
        Self::on(broker, config)
    }

    /// A connection to `broker`; the name that `config` gives is not looked at.
    #[must_use]
    pub fn on(broker: Broker, config: Config) -> Self {
        Self {
            connection: Connection::open(broker.space(&config)),
            broker,
            config: Arc::new(config),
        }
    }

    /// A connection as the URL says: `memory://name` shares the broker of that name, `memory://` makes a
    /// fresh one.
    ///
    /// # Errors
    /// As [`Config::from_url`].
    pub fn open(url: BusUrl, settings: Settings) -> Result<Self> {
        Ok(Self::with(Config::from_url(url, settings)?))
    }

    /// Waits for a broker that was [stopped](Broker::stop), up to `connect_timeout`; returns at once when it is there, or
    /// when the connection is lazy.
    ///
    /// # Errors
    /// `Unavailable` when it did not come back in time.
    pub async fn ready(&self) -> Result<()> {
        let settings = &self.config.settings;
        if settings.connect_lazily {
            return Ok(());
        }
        // Listening begins before looking: a start in between is not missed.
        let mut news = self.notices().listen();
        let back = async {
            while self.broker.is_stopped() {
                // Whatever it is, the next look tells.
                let _ = news.recv().await;
            }
        };
        tokio::time::timeout(settings.connect_timeout, back)
            .await
            .map_err(|_| unavailable())
    }

    /// Another connection to the same namespace of the same broker.
    #[must_use]
    pub fn connect(&self) -> Self {
        Self::on(self.broker.clone(), (*self.config).clone())
    }

    /// The broker behind the connection.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// What it was configured with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The connection dies without a word, as when its process is killed: every call of it ends with
    /// `Closed`, and what its members held comes back to others when the leases end. Idempotent.
    pub fn kill(&self) {
        if self.connection.end() {
            self.connection
                .space
                .drop_connection(&self.connection, false);
        }
    }

    /// Cuts the connection: nothing reaches the broker any more, nor comes from it, until
    /// [`heal`](Self::heal). Calls fail with `Unavailable` or wait; receivers wait; leases run on.
    pub fn cut(&self) {
        self.connection.cut();
    }

    /// Undoes [`cut`](Self::cut).
    pub fn heal(&self) {
        self.connection.heal();
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The state of the namespace, when the broker can be reached.
    pub(crate) fn enter(&self) -> Result<MutexGuard<'_, State>> {
        self.connection.usable()?;
        Ok(self.connection.space.lock())
    }
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Bus for MemoryBus {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            dedup: true,
            ack_durability: AckDurability::Process,
            exact_attempts: true,
            immediate_no_responders: true,
            reject_when_full: true,
            ordered_members: OrderedMembers::Many,
            min_lease: MIN_LEASE,
            max_payload: self.config.max_payload,
        }
    }

    async fn publish(&self, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        if let Err(error) = self.connection.usable() {
            return batch.iter().map(|_| Err(error.clone())).collect();
        }
        let limits = Limits {
            max_payload: self.config.max_payload,
            create: self.config.settings.provision == Provision::Create,
        };
        self.connection.space.publish(batch, limits)
    }

    async fn subscribe(&self, spec: SubscriptionSpec) -> Result<Inbound> {
        subscribe::subscribe(&self.connection, &spec, self.config.settings.provision)
    }

    async fn request(&self, message: Message, deadline: Instant) -> Result<Message> {
        request::request(&self.connection, message, deadline, self.config.max_payload).await
    }

    async fn respond(&self, spec: ResponderSpec) -> Result<Requests> {
        request::respond(&self.connection, &spec, self.config.max_payload)
    }

    fn dead_letters(&self) -> &dyn DeadLetterStore {
        self
    }

    fn admin(&self) -> &dyn Admin {
        self
    }

    fn notices(&self) -> &Notices {
        &self.connection.notices
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        if self.connection.is_closed() {
            return Ok(());
        }
        let reached = self.connection.reachable_until(deadline).await;
        if self.connection.end() {
            self.connection
                .space
                .drop_connection(&self.connection, reached.is_ok());
        }
        match reached {
            // Another call has closed it meanwhile.
            Err(error) if error.kind() == closed().kind() => Ok(()),
            done => done,
        }
    }
}
