//! Bugs of dead letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bus_api::{
    Bus, Cursor, DeadLetter, DeadLetterId, DeadLetterPage, DeadLetterStore, Failure, Group,
    Headers, Message, Pattern, Published, Receipt, Result, Settlement, Settler, SubscriptionId,
};

use crate::planted::bug::Bug;
use crate::planted::{Plant, plant};

pub(crate) fn plants() -> Vec<Plant> {
    vec![
        plant!(
            DropsInstead,
            "settles a message instead of keeping it",
            "r2_after_the_last_attempt_it_is_a_dead_letter"
        ),
        plant!(
            SettlesFirst,
            "settles before the dead letter is written",
            "r2_a_crash_in_between_loses_nothing"
        ),
        plant!(
            WritesTwice,
            "writes two entries",
            "r2_after_the_last_attempt_it_is_a_dead_letter"
        ),
        plant!(
            PatternsShareEntry,
            "gives two patterns of a group one entry",
            "r2_each_pattern_has_its_own_entry"
        ),
        plant!(
            ForgetsHeaders,
            "keeps no headers",
            "r5_a_dead_letter_keeps_everything"
        ),
        plant!(
            ForgetsError,
            "keeps no error text",
            "r5_a_dead_letter_keeps_everything"
        ),
        plant!(
            ForgetsAttempts,
            "keeps one attempt for all",
            "r5_a_dead_letter_keeps_everything"
        ),
        plant!(
            PageSkips,
            "skips an entry at the end of a page",
            "r6_pages_show_every_entry_once"
        ),
        plant!(CountIsCapped, "counts to ten", "r6_the_count_is_exact"),
        plant!(
            CountsNobodyAsNothing,
            "counts no dead letters where nobody answers",
            "l3_what_is_asked_over_cuts_is_right_or_an_error"
        ),
        plant!(
            RemovesAll,
            "purges everything for one id",
            "r6_purging_one_keeps_the_others"
        ),
        plant!(
            RemovesNothing,
            "purges nothing and says it did",
            "r6_purging_one_keeps_the_others"
        ),
        plant!(
            RedriveForAll,
            "redrives to every subscription",
            "r6_redrive_reaches_only_the_subscription_that_failed"
        ),
        plant!(
            RedriveLoses,
            "removes a redriven entry without a copy",
            "r6_redrive_keeps_id_payload_key_and_headers"
        ),
        plant!(
            RedriveStoresTwice,
            "stores a second copy of a repeated redrive",
            "r6_a_repeated_redrive_stores_one_copy"
        ),
    ]
}

/// Changes entries on their way to the store.
macro_rules! changes_entries {
    ($name:ident, |$entry:ident| $change:block) => {
        #[derive(Debug, Default)]
        struct $name;

        #[async_trait]
        impl Bug for $name {
            async fn settle(
                &self,
                _: &Arc<dyn Bus>,
                settler: &Arc<dyn Settler>,
                mut batch: Vec<(Receipt, Settlement)>,
            ) -> Vec<Result<()>> {
                for (_, settlement) in &mut batch {
                    if let Settlement::DeadLetter($entry) = settlement $change
                }
                settler.settle(batch).await
            }
        }
    };
}

changes_entries!(PatternsShareEntry, |entry| {
    let shared = SubscriptionId::new(entry.subscription.group.clone(), Pattern::all());
    let message = &entry.message;
    entry.id = DeadLetterId::derive(
        &shared,
        message.topic.as_str(),
        &message.metadata.id,
        &entry.origin,
        entry.generation,
    );
});
changes_entries!(ForgetsHeaders, |entry| {
    let mut message: Message = (*entry.message).clone();
    message.headers = Headers::new();
    entry.message = Arc::new(message);
});
changes_entries!(ForgetsError, |entry| {
    entry.error = Failure::new(entry.error.kind.clone(), "");
});
changes_entries!(ForgetsAttempts, |entry| {
    entry.attempts = 1;
});

#[derive(Debug, Default)]
struct DropsInstead;

#[async_trait]
impl Bug for DropsInstead {
    async fn settle(
        &self,
        _: &Arc<dyn Bus>,
        settler: &Arc<dyn Settler>,
        batch: Vec<(Receipt, Settlement)>,
    ) -> Vec<Result<()>> {
        let acks = batch
            .into_iter()
            .map(|(receipt, settlement)| match settlement {
                Settlement::DeadLetter(_) => (receipt, Settlement::Ack),
                honest => (receipt, honest),
            });
        settler.settle(acks.collect()).await
    }
}

/// Settles, and would write afterwards: whoever dies in between has lost the message.
#[derive(Debug, Default)]
struct SettlesFirst;

#[async_trait]
impl Bug for SettlesFirst {
    async fn settle(
        &self,
        _: &Arc<dyn Bus>,
        settler: &Arc<dyn Settler>,
        batch: Vec<(Receipt, Settlement)>,
    ) -> Vec<Result<()>> {
        for (receipt, settlement) in &batch {
            if matches!(settlement, Settlement::DeadLetter(_)) {
                settler.settle(vec![(*receipt, Settlement::Ack)]).await;
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
        settler.settle(batch).await
    }
}

#[derive(Debug, Default)]
struct WritesTwice(AtomicU64);

#[async_trait]
impl Bug for WritesTwice {
    async fn page(
        &self,
        store: &dyn DeadLetterStore,
        group: &Group,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<DeadLetterPage> {
        let mut page = store.page(group, cursor, limit).await?;
        let copies: Vec<DeadLetter> = page
            .entries
            .iter()
            .take(1)
            .cloned()
            .map(|entry| self.copy(entry))
            .collect();
        page.entries.extend(copies);
        Ok(page)
    }

    async fn count(&self, store: &dyn DeadLetterStore, group: &Group) -> Result<u64> {
        store.count(group).await.map(|honest| honest * 2)
    }
}

impl WritesTwice {
    fn copy(&self, mut entry: DeadLetter) -> DeadLetter {
        entry.id = DeadLetterId::derive(
            &entry.subscription,
            "copy",
            &entry.message.metadata.id,
            &entry.origin,
            u32::try_from(self.0.fetch_add(1, Ordering::Relaxed)).unwrap_or(u32::MAX),
        );
        entry
    }
}

#[derive(Debug, Default)]
struct PageSkips;

#[async_trait]
impl Bug for PageSkips {
    async fn page(
        &self,
        store: &dyn DeadLetterStore,
        group: &Group,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<DeadLetterPage> {
        let mut page = store.page(group, cursor, limit).await?;
        if page.next.is_some() {
            page.entries.pop();
        }
        Ok(page)
    }
}

#[derive(Debug, Default)]
struct CountIsCapped;

#[async_trait]
impl Bug for CountIsCapped {
    async fn count(&self, store: &dyn DeadLetterStore, group: &Group) -> Result<u64> {
        store.count(group).await.map(|honest| honest.min(10))
    }
}

#[derive(Debug, Default)]
struct CountsNobodyAsNothing;

#[async_trait]
impl Bug for CountsNobodyAsNothing {
    async fn count(&self, store: &dyn DeadLetterStore, group: &Group) -> Result<u64> {
        store.count(group).await.or(Ok(0))
    }
}

#[derive(Debug, Default)]
struct RemovesAll;

#[async_trait]
impl Bug for RemovesAll {
    async fn remove(
        &self,
        store: &dyn DeadLetterStore,
        group: &Group,
        ids: &[DeadLetterId],
    ) -> Result<u64> {
        let all = store.page(group, None, 10_000).await?.entries;
        let all: Vec<DeadLetterId> = all.iter().map(|entry| entry.id).collect();
        store.remove(group, &all).await?;
        Ok(ids.len() as u64)
    }
}

#[derive(Debug, Default)]
struct RemovesNothing;

#[async_trait]
impl Bug for RemovesNothing {
    async fn remove(
        &self,
        _: &dyn DeadLetterStore,
        _: &Group,
        ids: &[DeadLetterId],
    ) -> Result<u64> {
        Ok(ids.len() as u64)
    }
}

#[derive(Debug, Default)]
struct RedriveForAll;

#[async_trait]
impl Bug for RedriveForAll {
    async fn publish(&self, bus: &dyn Bus, mut batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        for message in batch.iter_mut().map(Arc::make_mut) {
            message.targeted = None;
        }
        bus.publish(batch).await
    }
}

#[derive(Debug, Default)]
struct RedriveLoses;

#[async_trait]
impl Bug for RedriveLoses {
    async fn publish(&self, bus: &dyn Bus, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        let mut results = Vec::with_capacity(batch.len());
        for message in batch {
            if message.targeted.is_some() {
                results.push(Ok(Published {
                    position: None,
                    stored_at: None,
                    duplicate: false,
                }));
            } else {
                results.extend(bus.publish(vec![message]).await);
            }
        }
        results
    }
}

#[derive(Debug, Default)]
struct RedriveStoresTwice;

#[async_trait]
impl Bug for RedriveStoresTwice {
    async fn publish(&self, bus: &dyn Bus, mut batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        for message in batch
            .iter_mut()
            .filter(|message| message.targeted.is_some())
        {
            Arc::make_mut(message).dedup_id = None;
        }
        bus.publish(batch).await
    }
}
