//! The dead letters of `notify`: listed, and sent back once the handler is repaired.

use std::collections::BTreeMap;

use bus::{BusClient, DeadEntry, Filter};
use serde::Serialize;

use crate::events::GitHub;

/// Dead letters that were given up for one reason, after as many attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    pub reason: String,
    pub attempts: u32,
    pub count: u64,
    /// How many of each kind of webhook.
    pub kinds: BTreeMap<String, u64>,
}

/// Reads all of them, page by page.
pub async fn reasons(bus: &BusClient) -> bus::Result<Vec<Reason>> {
    let dead = bus.dead_letters("notify");
    let mut reasons = BTreeMap::new();
    let mut cursor = None;
    loop {
        let page = dead.page(&Filter::default(), cursor.as_ref(), 100).await?;
        for entry in &page.entries {
            add(&mut reasons, entry)?;
        }
        if page.next.is_none() {
            let mut reasons: Vec<_> = reasons.into_values().collect();
            reasons.sort_by_key(|reason: &Reason| std::cmp::Reverse(reason.count));
            return Ok(reasons);
        }
        cursor = page.next;
    }
}

fn add(reasons: &mut BTreeMap<(String, u32), Reason>, entry: &DeadEntry) -> bus::Result<()> {
    let (reason, attempts) = (entry.error.text.to_string(), entry.attempts);
    let sum = reasons
        .entry((reason.clone(), attempts))
        .or_insert_with(|| Reason {
            reason,
            attempts,
            count: 0,
            kinds: BTreeMap::new(),
        });
    let webhook = entry.decode::<GitHub>()?;
    sum.count += 1;
    *sum.kinds.entry(webhook.kind().to_owned()).or_default() += 1;
    Ok(())
}

/// Sends all of them back to `notify`, and to nobody else.
pub async fn redrive(bus: &BusClient) -> bus::Result<u64> {
    let report = bus
        .dead_letters("notify")
        .redrive(&Filter::default())
        .await?;
    match report.failed.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(report.done),
    }
}
