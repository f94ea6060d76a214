//! What a running case has in its hands.

use std::sync::Arc;

use bus_api::{BusClient, BusUrl, Namespace, Settings};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::factory::{Connection, Factory};
use crate::outcome::Violation;
use crate::planted::{Bug, Planted};

/// What a running case has in its hands: a factory, a namespace of its own, and a seed.
#[derive(Clone)]
pub struct Context {
    factory: Arc<dyn Factory>,
    namespace: Namespace,
    seed: u64,
}

/// A client with the connection below it, which can be disturbed.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) bus: BusClient,
    pub(crate) connection: Connection,
}

impl std::ops::Deref for Client {
    type Target = BusClient;

    fn deref(&self) -> &BusClient {
        &self.bus
    }
}

impl Context {
    pub(crate) fn new(factory: Arc<dyn Factory>, namespace: Namespace, seed: u64) -> Self {
        Self {
            factory,
            namespace,
            seed,
        }
    }

    /// The factory.
    #[must_use]
    pub fn factory(&self) -> &Arc<dyn Factory> {
        &self.factory
    }

    /// The namespace that this run of the case has for itself.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A second namespace of this run.
    pub(crate) fn other_namespace(&self) -> Result<Namespace, Violation> {
        Ok(Namespace::new(format!("{}-x", self.namespace))?)
    }

    /// The seed of this run.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A source of random numbers that the seed determines.
    #[must_use]
    pub fn random(&self) -> SmallRng {
        SmallRng::seed_from_u64(self.seed)
    }

    /// A client on a connection of its own, with default settings.
    pub(crate) async fn client(&self) -> Result<Client, Violation> {
        self.client_with(&[]).await
    }

    /// A client on a connection of its own, with options as in a URL.
    pub(crate) async fn client_with(&self, options: &[(&str, &str)]) -> Result<Client, Violation> {
        self.client_in(&self.namespace, options).await
    }

    /// A client on a connection of its own, in another namespace.
    pub(crate) async fn client_in(
        &self,
        namespace: &Namespace,
        options: &[(&str, &str)],
    ) -> Result<Client, Violation> {
        let connection = self.factory.connect(namespace, options).await?;
        self.client_on(namespace, connection, options)
    }

    /// A client on a connection of its own, with something between the core and the adapter: what it
    /// does to the traffic is what the case is about.
    pub(crate) async fn client_behind(
        &self,
        between: Arc<dyn Bug>,
        options: &[(&str, &str)],
    ) -> Result<Client, Violation> {
        let mut connection = self.factory.connect(&self.namespace, options).await?;
        connection.bus = Arc::new(Planted::new(connection.bus, between));
        self.client_on(&self.namespace, connection, options)
    }

    fn client_on(
        &self,
        namespace: &Namespace,
        connection: Connection,
        options: &[(&str, &str)],
    ) -> Result<Client, Violation> {
        let mut url: BusUrl = "suite://".parse()?;
        for (name, value) in options {
            url.options_mut().set(*name, *value);
        }
        let mut settings = Settings::take(url.options_mut())?;
        settings.namespace = namespace.clone();
        settings.source = "conformance".into();
        Ok(Client {
            bus: BusClient::new(connection.bus.clone(), settings),
            connection,
        })
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("namespace", &self.namespace)
            .field("seed", &self.seed)
            .finish()
    }
}
