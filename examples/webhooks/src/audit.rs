//! `audit`: a broadcast subscriber that counts everything, by kind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bus::{BusClient, Context, HandlerResult, Raw, State, Worker};

use crate::publish::number;
use crate::tally::Tally;

/// What `audit` has seen.
pub struct Audit {
    pub tally: Tally,
    kinds: Mutex<BTreeMap<String, u64>>,
}

impl Audit {
    /// For so many webhooks.
    pub fn new(webhooks: u64) -> Arc<Self> {
        Arc::new(Self {
            tally: Tally::new(webhooks),
            kinds: Mutex::default(),
        })
    }

    /// It needs no types: whatever is published below `github`, also kinds that nobody has thought of.
    pub fn worker(self: &Arc<Self>, bus: &BusClient) -> Worker<Arc<Self>> {
        bus.broadcast_worker("audit")
            .state(Arc::clone(self))
            .pattern("github.>")
            .on(count)
    }

    /// How many of each kind.
    pub fn kinds(&self) -> BTreeMap<String, u64> {
        self.kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn count(webhook: Raw, State(audit): State<Arc<Audit>>, ctx: Context) -> HandlerResult {
    let kind = webhook.topic.tokens().nth(1).unwrap_or_default();
    let mut kinds = audit.kinds.lock().unwrap_or_else(PoisonError::into_inner);
    *kinds.entry(kind.to_owned()).or_default() += 1;
    audit.tally.count(number(ctx.headers())?);
    Ok(())
}
