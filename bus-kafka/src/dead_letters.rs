use std::sync::Arc;
use bus_api::*;
use crate::{bus::KafkaBus, core::Core};
fn no() -> Error { crate::error::error(ErrorKind::Unsupported, "not yet") }
impl Core { pub(crate) async fn bury(self: &Arc<Self>, e: &[&DeadLetter]) -> Vec<Result<()>> { e.iter().map(|_| Err(no())).collect() }
 pub(crate) fn note_dropped(&self, id: &SubscriptionId, messages: u64) { self.life.notices.report(Notice::Dropped{subscription: id.clone(), messages}); } }
#[async_trait::async_trait]
impl DeadLetterStore for KafkaBus {
    async fn groups(&self) -> Result<Vec<Group>> { Err(no()) }
    async fn count(&self, _: &Group) -> Result<u64> { Err(no()) }
    async fn page(&self, _: &Group, _: Option<&Cursor>, _: usize) -> Result<DeadLetterPage> { Err(no()) }
    async fn get(&self, _: &Group, _: DeadLetterId) -> Result<Option<DeadLetter>> { Err(no()) }
    async fn remove(&self, _: &Group, _: &[DeadLetterId]) -> Result<u64> { Err(no()) }
}
