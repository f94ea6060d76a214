//! Bugs of settling.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bus_api::{
    AttemptRecord, Bus, Delivery, Message, Receipt, Result, Settlement, Settler, SubscriptionSpec,
};
use tokio::time::Instant;

use crate::planted::bug::Bug;
use crate::planted::{Plant, plant};

pub(crate) fn plants() -> Vec<Plant> {
    vec![
        plant!(
            LosesAcks,
            "confirms every fifth ack without storing it",
            "a1_a_confirmed_ack_is_final"
        ),
        plant!(
            ConfirmsUnanswered,
            "confirms acks that the broker does not answer",
            "a1_confirmed_acks_of_busy_members_survive_the_broker"
        ),
        plant!(
            AcksEarlierOnes,
            "takes an ack for the acks of all before it",
            "a2_acks_come_in_any_order"
        ),
        plant!(NackIsAck, "takes a nack for an ack", "a3_nack_redelivers"),
        plant!(
            NackIgnoresDelay,
            "redelivers a delayed nack at once",
            "a3_nack_after_delay_comes_not_before_it"
        ),
        plant!(
            NackDoublesDelay,
            "redelivers a delayed nack much too late",
            "a3_nack_after_delay_comes_not_before_it"
        ),
        plant!(
            NackCopies,
            "publishes a copy for a nack",
            "a3_no_other_subscription_notices_a_nack"
        ),
        plant!(
            NackBlocks,
            "stops everything while a nack waits",
            "a3_other_messages_flow_while_a_nack_waits"
        ),
        plant!(
            ReleaseIsFailure,
            "counts a hand-back as a failure",
            "r7_drains_leave_the_attempt_alone"
        ),
        plant!(
            RequeueForgets,
            "forgets the record of a failure",
            "a7_failures_raise_the_attempt"
        ),
        plant!(
            MarkForgets,
            "forgets started-marks",
            "r4_a_crash_in_the_handler_raises_the_attempt"
        ),
        plant!(
            LeaseNotRenewed,
            "does not renew leases",
            "a5_three_leases_are_one_delivery"
        ),
        plant!(
            ReleaseIsAck,
            "abandons what a drain hands back",
            "l1_drain_hands_back_at_once"
        ),
    ]
}

type Batch = Vec<(Receipt, Settlement)>;

/// Changes settlements on their way to the broker.
macro_rules! changes_settlements {
    ($name:ident, |$settlement:ident| $change:expr) => {
        #[derive(Debug, Default)]
        struct $name;

        #[async_trait]
        impl Bug for $name {
            async fn settle(
                &self,
                _: &Arc<dyn Bus>,
                settler: &Arc<dyn Settler>,
                batch: Batch,
            ) -> Vec<Result<()>> {
                let change = |$settlement: Settlement| $change;
                settler
                    .settle(
                        batch
                            .into_iter()
                            .map(|(receipt, s)| (receipt, change(s)))
                            .collect(),
                    )
                    .await
            }
        }
    };
}

changes_settlements!(NackIsAck, |settlement| match settlement {
    Settlement::Requeue { .. } => Settlement::Ack,
    honest => honest,
});
changes_settlements!(NackIgnoresDelay, |settlement| match settlement {
    Settlement::Requeue { record, .. } => Settlement::Requeue {
        after: Duration::ZERO,
        record
    },
    honest => honest,
});
changes_settlements!(NackDoublesDelay, |settlement| match settlement {
    Settlement::Requeue { after, record } => {
        let after = if after.is_zero() {
            after
        } else {
            after * 2 + Duration::from_secs(3)
        };
        Settlement::Requeue { after, record }
    }
    honest => honest,
});
changes_settlements!(ReleaseIsFailure, |settlement| match settlement {
    Settlement::Release => Settlement::Requeue {
        after: Duration::ZERO,
        record: Some(AttemptRecord::default().failed(SystemTime::UNIX_EPOCH)),
    },
    honest => honest,
});
changes_settlements!(ReleaseIsAck, |settlement| match settlement {
    Settlement::Release => Settlement::Ack,
    honest => honest,
});
changes_settlements!(RequeueForgets, |settlement| match settlement {
    Settlement::Requeue { after, .. } => Settlement::Requeue {
        after,
        record: None
    },
    honest => honest,
});

#[derive(Debug, Default)]
struct LosesAcks(AtomicU64);

#[async_trait]
impl Bug for LosesAcks {
    async fn settle(
        &self,
        _: &Arc<dyn Bus>,
        settler: &Arc<dyn Settler>,
        batch: Batch,
    ) -> Vec<Result<()>> {
        let mut results = Vec::with_capacity(batch.len());
        for (receipt, settlement) in batch {
            let lost = matches!(settlement, Settlement::Ack)
                && self.0.fetch_add(1, Ordering::Relaxed) % 5 == 4;
            if lost {
                results.push(Ok(()));
            } else {
                results.extend(settler.settle(vec![(receipt, settlement)]).await);
            }
        }
        results
    }
}

#[derive(Debug, Default)]
struct ConfirmsUnanswered;

#[async_trait]
impl Bug for ConfirmsUnanswered {
    async fn settle(
        &self,
        _: &Arc<dyn Bus>,
        settler: &Arc<dyn Settler>,
        batch: Batch,
    ) -> Vec<Result<()>> {
        let lies = batch.iter().map(|_| Ok(())).collect();
        let answered = tokio::time::timeout(Duration::from_millis(20), settler.settle(batch));
        answered.await.unwrap_or(lies)
    }
}

/// Remembers what was handed out, and acks all of it up to the one that is acked.
#[derive(Debug, Default)]
struct AcksEarlierOnes(Mutex<Vec<Receipt>>);

#[async_trait]
impl Bug for AcksEarlierOnes {
    fn deliver(
        &self,
        _: &SubscriptionSpec,
        _: &Arc<dyn Settler>,
        honest: Vec<Delivery>,
    ) -> Vec<Delivery> {
        let mut handed_out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        handed_out.extend(honest.iter().map(|delivery| delivery.receipt));
        honest
    }

    async fn settle(
        &self,
        _: &Arc<dyn Bus>,
        settler: &Arc<dyn Settler>,
        batch: Batch,
    ) -> Vec<Result<()>> {
        let earlier: Batch = {
            let mut handed_out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let upto = batch
                .iter()
                .filter(|(_, settlement)| matches!(settlement, Settlement::Ack))
                .filter_map(|(receipt, _)| handed_out.iter().position(|known| known == receipt))
                .max();
            let earlier = upto.map_or_else(Vec::new, |upto| handed_out.drain(..=upto).collect());
            earlier
                .into_iter()
                .filter(|receipt| !batch.iter().any(|(own, _)| own == receipt))
                .map(|receipt| (receipt, Settlement::Ack))
                .collect()
        };
        settler.settle(earlier).await;
        settler.settle(batch).await
    }
}

/// Puts a copy into the topic, where every subscription sees it, and acks the original.
#[derive(Debug, Default)]
struct NackCopies(Mutex<Vec<(Receipt, Arc<Message>)>>);

#[async_trait]
impl Bug for NackCopies {
    fn deliver(
        &self,
        _: &SubscriptionSpec,
        _: &Arc<dyn Settler>,
        honest: Vec<Delivery>,
    ) -> Vec<Delivery> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.extend(
            honest
                .iter()
                .map(|delivery| (delivery.receipt, delivery.message.clone())),
        );
        honest
    }

    async fn settle(
        &self,
        bus: &Arc<dyn Bus>,
        settler: &Arc<dyn Settler>,
        batch: Batch,
    ) -> Vec<Result<()>> {
        let copies: Vec<Arc<Message>> = {
            let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            batch
                .iter()
                .filter(|(_, settlement)| matches!(settlement, Settlement::Requeue { .. }))
                .filter_map(|(receipt, _)| held.iter().rev().find(|(known, _)| known == receipt))
                .map(|(_, message)| Arc::clone(message))
                .collect()
        };
        bus.publish(copies).await;
        let acks = batch
            .into_iter()
            .map(|(receipt, settlement)| match settlement {
                Settlement::Requeue { .. } => (receipt, Settlement::Ack),
                honest => (receipt, honest),
            })
            .collect();
        settler.settle(acks).await
    }
}

/// Sleeps in the delivery loop for as long as a nack asked for.
#[derive(Debug, Default)]
struct NackBlocks(Mutex<Option<Instant>>);

#[async_trait]
impl Bug for NackBlocks {
    async fn receive(
        &self,
        receiver: &mut dyn bus_api::Receiver,
        max: usize,
    ) -> Result<bus_api::Inflow> {
        let inflow = receiver.receive(max).await;
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
        inflow
    }

    async fn settle(
        &self,
        _: &Arc<dyn Bus>,
        settler: &Arc<dyn Settler>,
        batch: Batch,
    ) -> Vec<Result<()>> {
        let longest = batch.iter().filter_map(|(_, settlement)| match settlement {
            Settlement::Requeue { after, .. } => Some(*after),
            _ => None,
        });
        if let Some(longest) = longest.max() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + longest);
        }
        settler.settle(batch).await
    }
}

#[derive(Debug, Default)]
struct MarkForgets;

#[async_trait]
impl Bug for MarkForgets {
    async fn mark(&self, _: &dyn Settler, batch: Vec<(Receipt, AttemptRecord)>) -> Vec<Result<()>> {
        batch.iter().map(|_| Ok(())).collect()
    }
}

#[derive(Debug, Default)]
struct LeaseNotRenewed;

#[async_trait]
impl Bug for LeaseNotRenewed {
    async fn extend(&self, _: &dyn Settler, batch: &[Receipt]) -> Vec<Result<()>> {
        batch.iter().map(|_| Ok(())).collect()
    }
}
