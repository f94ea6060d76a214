#![allow(missing_docs, missing_debug_implementations)]
use std::sync::Arc;
use std::time::Duration;
use crate::*;
use crate::member::{Member, Held, MemberOptions, Decision};
pub struct ScratchSub { member: Member, codecs: Codecs }
pub struct ScratchHeld { held: Held, max: u32 }
impl ScratchSub {
    pub async fn join(bus: &BusClient, spec: SubscriptionSpec, attempts: u32, backoff: Duration) -> Result<Self> {
        let options = MemberOptions::new(spec, attempts, Arc::new(move |attempt| if attempt >= attempts { Decision::DeadLetter } else { Decision::Retry { after: backoff } }));
        Ok(Self { member: Member::join(bus.core(), options).await?, codecs: Codecs::default() })
    }
    pub async fn next(&mut self) -> Option<Result<(Envelope<Raw>, ScratchHeld)>> {
        let held = match self.member.next().await? { Ok(h) => h, Err(e) => return Some(Err(e)) };
        let m = held.message().clone();
        let event = match Raw::from_message(&m, &self.codecs) { Ok(e) => e, Err(e) => return Some(Err(e)) };
        Some(Ok((Envelope { event, metadata: m.metadata.clone(), topic: m.topic.clone(), key: m.key.clone(), headers: m.headers.clone(), position: held.position().clone(), attempt: held.attempt(), delivery: held.delivery() }, ScratchHeld { held, max: u32::MAX })))
    }
    pub async fn leave(self) -> (bool, String) {
        let r = self.member.drain(tokio::time::Instant::now() + Duration::from_secs(10)).await;
        (r.is_clean(), format!("{r:?}"))
    }
}
impl ScratchHeld {
    pub async fn ack(self) -> Result<()> { self.held.ack().await }
    pub async fn nack_after(self, after: Duration) -> Result<()> { let _ = self.max; self.held.fail(Failure::new(Failure::HANDLER, "nack"), Decision::Retry { after }).await }
}
