use bus_api::*;
use crate::bus::KafkaBus;
fn no() -> Error { crate::error::error(ErrorKind::Unsupported, "not yet") }
#[async_trait::async_trait]
impl Admin for KafkaBus {
    async fn topics(&self) -> Result<Vec<TopicInfo>> { Err(no()) }
    async fn add_topic(&self, _: &Topic) -> Result<()> { Err(no()) }
    async fn subscriptions(&self) -> Result<Vec<SubscriptionInfo>> { Err(no()) }
    async fn reset(&self, _: &SubscriptionId, _: &Start, _: bool) -> Result<()> { Err(no()) }
    async fn delete(&self, _: &SubscriptionId, _: bool) -> Result<()> { Err(no()) }
    async fn health(&self) -> Health { Health { status: HealthStatus::Down, connected: false, writable: false, problems: vec![], unprotected: vec![], notices: vec![], subscriptions: vec![], details: Default::default() } }
}
