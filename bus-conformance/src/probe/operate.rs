//! What operators do.

use bus_api::{AckDurability, Group, Pattern, Result, Start, SubscriptionId, SubscriptionInfo};

use crate::context::Client;
use crate::outcome::Violation;
use crate::probe::want::Want;

impl Want {
    /// The identity of the durable subscription that this asks for.
    pub(crate) fn id(&self) -> Result<SubscriptionId> {
        let group = Group::new(self.group.as_deref().unwrap_or_default())?;
        Ok(SubscriptionId::new(group, Pattern::new(&self.pattern)?))
    }
}

impl Client {
    /// The durable subscriptions.
    pub(crate) async fn list(&self) -> Result<Vec<SubscriptionInfo>> {
        self.connection.bus.admin().subscriptions().await
    }

    /// The durable subscription that `want` asks for; an error when there is none.
    pub(crate) async fn info(
        &self,
        want: &Want,
    ) -> std::result::Result<SubscriptionInfo, Violation> {
        let id = want.id()?;
        self.list()
            .await?
            .into_iter()
            .find(|info| info.id == id)
            .ok_or_else(|| Violation::new(format_args!("{id} is not listed")))
    }

    /// Moves a durable subscription.
    pub(crate) async fn reset(&self, want: &Want, start: &Start, force: bool) -> Result<()> {
        let admin = self.connection.bus.admin();
        admin.reset(&want.id()?, start, force).await
    }

    /// Deletes a durable subscription.
    pub(crate) async fn delete(&self, want: &Want, force: bool) -> Result<()> {
        let admin = self.connection.bus.admin();
        admin.delete(&want.id()?, force).await
    }

    /// Pauses a durable subscription.
    pub(crate) async fn pause(&self, want: &Want) -> Result<()> {
        self.connection.bus.admin().pause(&want.id()?).await
    }

    /// Lets a paused subscription go on.
    pub(crate) async fn resume(&self, want: &Want) -> Result<()> {
        self.connection.bus.admin().resume(&want.id()?).await
    }

    /// Waits as long as the transport declares that a confirmed ack may still be lost with the broker (A1).
    pub(crate) async fn until_durable(&self) {
        if let AckDurability::Flushed(bound) = self.capabilities().ack_durability {
            tokio::time::sleep(bound).await;
        }
    }

    /// The topics that the namespace knows.
    pub(crate) async fn topics(&self) -> Result<Vec<String>> {
        let topics = self.connection.bus.admin().topics().await?;
        Ok(topics.iter().map(|info| info.topic.to_string()).collect())
    }
}
