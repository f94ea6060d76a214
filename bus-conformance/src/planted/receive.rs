//! Bugs of receiving.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bus_api::{
    AttemptRecord, Delivery, Inflow, MessageId, Receipt, Receiver, Result, Settlement, Settler,
    SubscriptionSpec,
};
use tokio::time::Instant;

use crate::planted::bug::Bug;
use crate::planted::{Plant, plant};
use crate::probe::QUIET;

pub(crate) fn plants() -> Vec<Plant> {
    vec![
        plant!(
            AcksEarly,
            "acks when it hands over",
            "a6_what_a_dead_member_held_comes_again"
        ),
        plant!(
            TellsNoLoss,
            "does not tell what it has lost",
            "a6_a_cut_member_hands_on_nothing_that_others_settled"
        ),
        plant!(
            SwapsOneKey,
            "swaps neighbours of one key",
            "o1_one_key_is_handled_in_published_order"
        ),
        plant!(
            OverFetches,
            "fetches more than was asked for",
            "o3_no_more_than_max_in_flight_are_outstanding"
        ),
        plant!(
            SkipsAfterStall,
            "passes over a message when a stalled member goes on",
            "o3_what_waits_behind_a_stalled_member_comes_once_and_in_order"
        ),
        plant!(
            LosesOnCancel,
            "loses what it had fetched when it is cancelled",
            "l2_a_cancelled_receive_loses_nothing"
        ),
        plant!(
            NewIdOnRedelivery,
            "gives a redelivery another id",
            "i1_the_id_is_the_same_on_every_redelivery"
        ),
        plant!(
            ForgetsRecord,
            "forgets the attempts so far",
            "a7_failures_raise_the_attempt"
        ),
        plant!(
            NewerIsEmpty,
            "takes a record of a newer format for none",
            "v3_a_newer_record_stops_without_settling"
        ),
        plant!(
            CountsDeliveries,
            "takes the broker's counter for the attempt",
            "r7_drains_leave_the_attempt_alone"
        ),
        plant!(
            SkipsMalformed,
            "settles what it cannot read unseen",
            "p6_a_malformed_message_is_dead_lettered"
        ),
    ]
}

/// Settles deliveries behind everybody's back.
pub(super) fn settle_unseen(settler: &Arc<dyn Settler>, deliveries: Vec<Delivery>) {
    if deliveries.is_empty() {
        return;
    }
    let settler = settler.clone();
    let batch = deliveries
        .into_iter()
        .map(|delivery| (delivery.receipt, Settlement::Ack))
        .collect();
    tokio::spawn(async move { settler.settle(batch).await });
}

#[derive(Debug, Default)]
struct AcksEarly;

#[async_trait]
impl Bug for AcksEarly {
    fn deliver(
        &self,
        _: &SubscriptionSpec,
        settler: &Arc<dyn Settler>,
        honest: Vec<Delivery>,
    ) -> Vec<Delivery> {
        settle_unseen(settler, honest.clone());
        honest
    }
}

#[derive(Debug, Default)]
struct SwapsOneKey;

impl Bug for SwapsOneKey {
    fn deliver(
        &self,
        _: &SubscriptionSpec,
        _: &Arc<dyn Settler>,
        mut honest: Vec<Delivery>,
    ) -> Vec<Delivery> {
        let key = |delivery: &Delivery| delivery.message.key.clone();
        let pair = (1..honest.len()).find_map(|later| {
            let same = |earlier: &usize| key(&honest[*earlier]) == key(&honest[later]);
            key(&honest[later])?;
            (0..later).find(same).map(|earlier| (earlier, later))
        });
        if let Some((earlier, later)) = pair {
            honest.swap(earlier, later);
        }
        honest
    }
}

#[derive(Debug, Default)]
struct OverFetches;

#[async_trait]
impl Bug for OverFetches {
    async fn receive(&self, receiver: &mut dyn Receiver, max: usize) -> Result<Inflow> {
        receiver.receive(max.saturating_mul(10)).await
    }
}

/// When something was handed over last.
#[derive(Debug, Default)]
struct SkipsAfterStall(Mutex<Option<Instant>>);

impl Bug for SkipsAfterStall {
    fn deliver(
        &self,
        _: &SubscriptionSpec,
        settler: &Arc<dyn Settler>,
        mut honest: Vec<Delivery>,
    ) -> Vec<Delivery> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.replace(Instant::now());
        if before.is_some_and(|before| before.elapsed() >= QUIET) && !honest.is_empty() {
            settle_unseen(settler, vec![honest.remove(0)]);
        }
        honest
    }
}

#[derive(Debug, Default)]
struct LosesOnCancel;

#[async_trait]
impl Bug for LosesOnCancel {
    async fn receive(&self, receiver: &mut dyn Receiver, max: usize) -> Result<Inflow> {
        let inflow = receiver.receive(max).await;
        // Whoever is cancelled here has taken messages and dropped them.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        inflow
    }
}

#[derive(Debug, Default)]
struct NewIdOnRedelivery;

impl Bug for NewIdOnRedelivery {
    fn deliver(
        &self,
        _: &SubscriptionSpec,
        _: &Arc<dyn Settler>,
        mut honest: Vec<Delivery>,
    ) -> Vec<Delivery> {
        for delivery in honest.iter_mut().filter(|delivery| delivery.delivery > 1) {
            let mut message = (*delivery.message).clone();
            message.metadata.id = MessageId::new(&format!("{}-again", message.metadata.id));
            delivery.message = Arc::new(message);
        }
        honest
    }
}

#[derive(Debug, Default)]
struct ForgetsRecord;

impl Bug for ForgetsRecord {
    fn deliver(
        &self,
        _: &SubscriptionSpec,
        _: &Arc<dyn Settler>,
        mut honest: Vec<Delivery>,
    ) -> Vec<Delivery> {
        for delivery in &mut honest {
            delivery.record = None;
        }
        honest
    }
}

#[derive(Debug, Default)]
struct NewerIsEmpty;

impl Bug for NewerIsEmpty {
    fn deliver(
        &self,
        _: &SubscriptionSpec,
        _: &Arc<dyn Settler>,
        mut honest: Vec<Delivery>,
    ) -> Vec<Delivery> {
        for delivery in &mut honest {
            delivery.record = delivery
                .record
                .take()
                .filter(|stored| AttemptRecord::decode(stored).is_ok());
        }
        honest
    }
}

#[derive(Debug, Default)]
struct CountsDeliveries(Mutex<std::collections::HashMap<bus_api::Position, u32>>);

impl Bug for CountsDeliveries {
    fn deliver(
        &self,
        _: &SubscriptionSpec,
        _: &Arc<dyn Settler>,
        mut honest: Vec<Delivery>,
    ) -> Vec<Delivery> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for delivery in &mut honest {
            let count = counts.entry(delivery.position.clone()).or_default();
            let record = AttemptRecord {
                failures: *count,
                ..AttemptRecord::default()
            };
            delivery.record = (*count > 0).then(|| record.encode());
            *count += 1;
        }
        honest
    }
}

#[derive(Debug, Default)]
struct SkipsMalformed;

impl Bug for SkipsMalformed {
    fn deliver(
        &self,
        _: &SubscriptionSpec,
        settler: &Arc<dyn Settler>,
        honest: Vec<Delivery>,
    ) -> Vec<Delivery> {
        let (malformed, readable) = honest
            .into_iter()
            .partition(|delivery| delivery.malformed.is_some());
        settle_unseen(settler, malformed);
        readable
    }
}

#[derive(Debug, Default)]
struct TellsNoLoss;

#[async_trait]
impl Bug for TellsNoLoss {
    async fn receive(&self, receiver: &mut dyn Receiver, max: usize) -> Result<Inflow> {
        loop {
            let inflow = receiver.receive(max).await?;
            if let Inflow::Deliveries(_) = inflow {
                return Ok(inflow);
            }
        }
    }

    async fn extend(&self, settler: &dyn Settler, batch: &[Receipt]) -> Vec<Result<()>> {
        settler.extend(batch).await;
        vec![Ok(()); batch.len()]
    }
}
