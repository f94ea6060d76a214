//! A factory whose connections all carry one bug.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bus_api::{Namespace, Result};

use crate::factory::{Connection, Control, Factory, Foreign, Transport};
use crate::planted::bug::Bug;
use crate::planted::decorator::Planted;

/// A factory whose connections all carry one bug.
pub(crate) struct PlantedFactory {
    pub(crate) inner: Arc<dyn Factory>,
    pub(crate) bug: Arc<dyn Bug>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Factory for PlantedFactory {
    fn name(&self) -> String {
        format!("{} with {:?}", self.inner.name(), self.bug)
    }

    fn transport(&self) -> Transport {
        self.inner.transport()
    }

    fn controls(&self) -> &[Control] {
        self.inner.controls()
    }

    fn virtual_time(&self) -> bool {
        self.inner.virtual_time()
    }

    async fn connect(&self, namespace: &Namespace, options: &[(&str, &str)]) -> Result<Connection> {
        let honest = self
            .inner
            .connect(namespace, &self.bug.options(options))
            .await?;
        Ok(Connection {
            bus: Arc::new(Planted::new(honest.bus, self.bug.clone())),
            disturb: honest.disturb,
        })
    }

    async fn stop_broker(&self) -> Result<()> {
        self.inner.stop_broker().await
    }

    async fn start_broker(&self) -> Result<()> {
        self.inner.start_broker().await
    }

    async fn publish_foreign(
        &self,
        namespace: &Namespace,
        topic: &str,
        message: Foreign,
    ) -> Result<()> {
        self.inner.publish_foreign(namespace, topic, message).await
    }

    async fn forge_request(
        &self,
        namespace: &Namespace,
        topic: &str,
        wait: Duration,
    ) -> Result<bool> {
        self.inner.forge_request(namespace, topic, wait).await
    }

    async fn lose_subscription(
        &self,
        namespace: &Namespace,
        group: &str,
        pattern: &str,
    ) -> Result<()> {
        self.inner
            .lose_subscription(namespace, group, pattern)
            .await
    }

    async fn lose_log(&self, namespace: &Namespace, topic: &str) -> Result<()> {
        self.inner.lose_log(namespace, topic).await
    }

    async fn store_newer_records(
        &self,
        namespace: &Namespace,
        group: &str,
        pattern: &str,
    ) -> Result<()> {
        self.inner
            .store_newer_records(namespace, group, pattern)
            .await
    }

    async fn leftovers(&self, namespace: &Namespace) -> Result<Vec<String>> {
        self.inner.leftovers(namespace).await
    }
}
