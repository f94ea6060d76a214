//! O3: how much is outstanding.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bus_api::{Bus, Receipt, Settlement, Settler};
use tokio::sync::Semaphore;

use crate::case::{Case, case};
use crate::context::Context;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::planted::Bug;
use crate::probe::{Handed, Ledger, Note, PATIENCE, Pump, QUIET, ack_all, group, notes, within};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(o3_no_more_than_max_in_flight_are_outstanding),
        case!(o3_a_stalled_handler_stops_fetching),
        case!(o3_what_waits_behind_a_stalled_member_comes_once_and_in_order)
            .within(crate::probe::secs(90)),
        case!(o3_the_permit_is_free_when_settling_is_requested),
        case!(o3_unconfirmed_settles_are_bounded).within(crate::probe::secs(90)),
    ]
}

async fn o3_no_more_than_max_in_flight_are_outstanding(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "a.b").in_flight(8)).await?;
    for note in notes("a.b", 0..60) {
        client.publish(&note).await?;
    }
    let mut held = inbox.hold(8).await?;
    inbox.quiet().await?;
    ack_all(held.split_off(5)).await?;
    held.extend(inbox.hold(3).await?);
    inbox.quiet().await?;
    let mut all: Vec<u64> = held.iter().map(crate::probe::Token::number).collect();
    ack_all(held).await?;
    // The least bound works as well: one at a time.
    inbox.leave().await?;
    let mut inbox = client.join(group("g", "a.b").in_flight(1)).await?;
    for _ in 0..5 {
        let token = inbox.next().await?;
        inbox.quiet_for(crate::probe::ms(100)).await?;
        all.push(token.number());
        token.ack().await?;
    }
    all.sort_unstable();
    all.dedup();
    ensure_eq!(all.len(), 13, "different messages");
    Ok(())
}

/// Memory stays bounded because nothing more is fetched than may be outstanding.
async fn o3_a_stalled_handler_stops_fetching(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let want = group("g", "a.b").in_flight(10);
    let batch = notes("a.b", 0..500);
    for confirmed in client.publish_batch(&batch).await {
        confirmed?;
    }
    let mut stalled = client.join(want.clone()).await?;
    let held = stalled.hold(10).await?;
    stalled.quiet().await?;
    let info = client.info(&want).await?;
    ensure_eq!(info.lag, 500, "unsettled");
    // An adapter may keep a buffer of its own; it is bounded by the same number.
    ensure!(
        (10..=20).contains(&info.pending),
        "{} are handed over with a bound of 10",
        info.pending
    );
    ack_all(held).await?;
    stalled.leave().await?;
    let mut inbox = client.join(want).await?;
    let ledger = Ledger::expecting(0..490);
    for _ in 0..49 {
        let held = inbox.hold(10).await?;
        for token in &held {
            ledger.deliver("one", token);
        }
        ack_all(held).await?;
    }
    inbox.quiet().await?;
    let twice = ledger.read(|books| books.delivered().values().filter(|n| **n > 1).count());
    ensure_eq!(twice, 0, "duplicates");
    Ok(())
}

/// What an adapter has read ahead, and holds back while its member is stalled, is neither lost nor passed by nor handed out twice
/// when it goes on; neither of what goes to a member that joins meanwhile.
async fn o3_what_waits_behind_a_stalled_member_comes_once_and_in_order(
    context: Context,
) -> Result<(), Violation> {
    /// More than any adapter keeps in its process.
    const LONG: u64 = 8_000;
    const KEYS: u64 = 16;
    let (first, second) = (context.client().await?, context.client().await?);
    let want = group("g", "a.b").per_key().in_flight(64);
    let batch: Vec<Note> = (0..LONG)
        .map(|number| Note::keyed("a.b", &format!("k{}", number % KEYS), number))
        .collect();
    for part in batch.chunks(1_000) {
        for confirmed in first.publish_batch(part).await {
            confirmed?;
        }
    }
    let ledger = Ledger::expecting(0..LONG);
    let mut stalled = first.join(want.clone()).await?;
    let mut held = Vec::new();
    for _ in 0..4 {
        let token = stalled.next().await?;
        ledger.deliver("stalled", &token);
        held.push(token);
    }
    // So long nobody takes anything: what an adapter reads ahead of that cannot be seen from here.
    tokio::time::sleep(QUIET).await;
    let joining = second.join(want).await?;
    let joined = Pump::acking("joined", joining, &ledger);
    for token in held {
        let number = token.number();
        token.ack().await?;
        ledger.ack(number);
    }
    let stalled = Pump::acking("stalled", stalled, &ledger);
    let all = usize::try_from(LONG).map_err(Violation::new)?;
    ledger
        .until("all of it is acked", move |books| books.acked.len() == all)
        .await?;
    stalled.stop().await?.quiet().await?;
    joined.stop().await?.quiet().await?;
    ledger.exact()?;
    let mut last: BTreeMap<_, Handed> = BTreeMap::new();
    for handed in ledger.books().deliveries {
        if let Some(before) = last.get(&handed.key) {
            ensure!(
                before.number < handed.number,
                "{handed:?} came after {before:?}"
            );
        }
        last.insert(handed.key.clone(), handed);
    }
    Ok(())
}

/// Confirms no settlement before it is opened.
#[derive(Debug)]
struct SlowSettle(Semaphore);

#[async_trait]
impl Bug for SlowSettle {
    async fn settle(
        &self,
        _: &Arc<dyn Bus>,
        settler: &Arc<dyn Settler>,
        batch: Vec<(Receipt, Settlement)>,
    ) -> Vec<bus_api::Result<()>> {
        let opened = self.0.acquire().await;
        drop(opened);
        settler.settle(batch).await
    }
}

async fn o3_the_permit_is_free_when_settling_is_requested(
    context: Context,
) -> Result<(), Violation> {
    let slow = Arc::new(SlowSettle(Semaphore::new(0)));
    let client = context.client_behind(slow.clone(), &[]).await?;
    let mut inbox = client.join(group("g", "a.b").in_flight(4)).await?;
    let batch: Vec<Note> = (0..40)
        .map(|number| Note::keyed("a.b", "one-key", number))
        .collect();
    for confirmed in client.publish_batch(&batch).await {
        confirmed?;
    }
    // One key and four permits: neither is free before a confirmation that does not come.
    let mut acks = Vec::new();
    for number in 0..40 {
        let token = inbox.next().await?;
        ensure_eq!(token.number(), number, "the next of the key");
        acks.push(tokio::spawn(token.ack()));
        tokio::task::yield_now().await;
    }
    for ack in &acks {
        ensure!(!ack.is_finished(), "an ack was confirmed by nobody");
    }
    slow.0.add_permits(1);
    for ack in acks {
        within(PATIENCE, "a confirmation", ack)
            .await?
            .map_err(Violation::new)??;
    }
    inbox.leave().await?;
    let mut inbox = context.client().await?.join(group("g", "a.b")).await?;
    inbox.quiet().await
}

/// 8,192 settlements may be unconfirmed; a broker that never confirms does not fill the memory.
async fn o3_unconfirmed_settles_are_bounded(context: Context) -> Result<(), Violation> {
    const MOST: usize = 8192;
    let slow = Arc::new(SlowSettle(Semaphore::new(0)));
    let client = context.client_behind(slow.clone(), &[]).await?;
    let mut inbox = client.join(group("g", "a.b").in_flight(256)).await?;
    let batch = notes("a.b", 0..MOST as u64 + 600);
    for confirmed in client.publish_batch(&batch).await {
        confirmed?;
    }
    let mut acks = Vec::new();
    let mut taken = 0;
    loop {
        // A slow machine may take its time with what has to come, not with what must not.
        let wait = if taken < MOST { PATIENCE } else { QUIET * 2 };
        let Ok(next) = tokio::time::timeout(wait, inbox.raw()).await else {
            break;
        };
        let parcel = next.ok_or_else(|| Violation::new("the subscription ended"))??;
        taken += 1;
        acks.push(tokio::spawn(parcel.ack()));
        tokio::task::yield_now().await;
    }
    // What was fetched before the bound was reached may still be handed out.
    ensure!(
        (MOST..=MOST + 256).contains(&taken),
        "{taken} were taken while nothing was confirmed"
    );
    slow.0.add_permits(1);
    for ack in acks {
        within(PATIENCE, "a confirmation", ack)
            .await?
            .map_err(Violation::new)??;
    }
    while taken < batch.len() {
        inbox.next().await?.ack().await?;
        taken += 1;
    }
    inbox.quiet().await
}
