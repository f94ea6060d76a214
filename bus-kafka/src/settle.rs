//! Settling: the effects at once, the confirmations with the next commit.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bus_api::{AttemptRecord, Message, Origin, Receipt, Result, Settlement, Settler, Targeted};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::{closed, fenced};
use crate::gather::Gather;
use crate::member::{Handle, Inner, Shared};
use bus_api::adapter::Leave;

/// The settling half of a member.
pub(crate) struct MemberSettler {
    pub(crate) shared: Arc<Shared>,
    pub(crate) _handle: Arc<Handle>,
}

/// A settlement that needs something stored first.
struct Order {
    index: usize,
    receipt: Receipt,
    settlement: Settlement,
    /// What is stored; else it is a dead letter.
    copy: Option<Arc<Message>>,
}

impl MemberSettler {
    async fn confirmed(
        &self,
        answered: oneshot::Receiver<Vec<Result<()>>>,
        count: usize,
    ) -> Vec<Result<()>> {
        let over = || vec![Err(closed()); count];
        tokio::select! {
            biased;
            results = answered => results.unwrap_or_else(|_| over()),
            () = self.shared.core.life.ended() => over(),
        }
    }

    /// Writes what has to be stored before its message counts as settled: the settlement of each then.
    async fn store(&self, orders: Vec<Order>) -> Vec<(usize, Receipt, Result<Settlement>)> {
        let core = &self.shared.core;
        let (mut letters, mut copies) = (Vec::new(), Vec::new());
        for order in &orders {
            match (&order.settlement, &order.copy) {
                (Settlement::DeadLetter(entry), _) => letters.push(&**entry),
                (_, Some(copy)) => copies.push(Arc::clone(copy)),
                _ => {}
            }
        }
        let copied = async {
            match core.publisher.get() {
                Some(publisher) if !copies.is_empty() => publisher.publish(core, copies).await,
                _ => Vec::new(),
            }
        };
        let (buried, copied) = tokio::join!(core.bury(&letters), copied);
        let (mut buried, mut copied) = (buried.into_iter(), copied.into_iter());
        orders
            .into_iter()
            .map(|order| {
                let outcome = match order.copy {
                    // What could not be copied rests here all the same.
                    Some(_) => match copied.next() {
                        Some(Ok(_)) => Ok(Settlement::Ack),
                        _ => Ok(order.settlement),
                    },
                    None => match buried.next() {
                        Some(Ok(())) => Ok(Settlement::Ack),
                        Some(Err(failed)) => Err(failed),
                        None => Err(closed()),
                    },
                };
                (order.index, order.receipt, outcome)
            })
            .collect()
    }

    /// The copy that rests in the log in place of a message that is to be tried again later, when the commits of
    /// its partition have no room for it.
    fn copy(
        &self,
        inner: &mut Inner,
        receipt: Receipt,
        settlement: &Settlement,
    ) -> Option<Arc<Message>> {
        let Settlement::Requeue { after, record } = settlement else {
            return None;
        };
        if after.is_zero() || !self.shared.parks() {
            return None;
        }
        let most = self.shared.core.limits().metadata;
        let (part, _) = inner.held(receipt)?;
        if !part.is_crowded(most) {
            return None;
        }
        let (_, entry) = part.held(receipt)?;
        let (origin, generation) = match entry.message.targeted.as_deref() {
            Some(earlier) => (earlier.origin.clone(), earlier.generation),
            None => {
                let position = entry.position.clone();
                let stored_at = position.stored_at();
                (
                    Origin {
                        position,
                        stored_at,
                    },
                    0,
                )
            }
        };
        let mut copy = Message::clone(&entry.message);
        copy.targeted = Some(Box::new(Targeted {
            subscription: self.shared.id.clone(),
            origin,
            generation,
            not_before: SystemTime::now().checked_add(*after),
            record: record.or(entry.record),
        }));
        Some(Arc::new(copy))
    }

    /// Applies a settlement, and waits for its commit.
    fn conclude(
        &self,
        inner: &mut Inner,
        (index, receipt): (usize, Receipt),
        settlement: &Settlement,
        results: &Arc<Gather<Result<()>>>,
    ) {
        if Self::apply(inner, receipt, settlement, self.shared.parks()) {
            inner.wait(receipt, results, index);
        } else {
            results.set(index, Err(self.gone()));
        }
    }

    /// Applies what needs no broker; `false`: the member does not have it any more.
    fn apply(inner: &mut Inner, receipt: Receipt, settlement: &Settlement, parks: bool) -> bool {
        let Some((part, offset)) = inner.held(receipt) else {
            return false;
        };
        let Some((_, entry)) = part.held(receipt) else {
            return false;
        };
        let (handed, epoch) = (entry.handed, part.epoch);
        match settlement {
            Settlement::Ack | Settlement::DeadLetter(_) => part.settle(offset),
            Settlement::Release => {
                part.edit(offset, |entry| {
                    entry.due = None;
                    if let Some(record) = &mut entry.record {
                        record.started = false;
                        if *record == AttemptRecord::default() {
                            entry.record = None;
                        }
                    }
                });
                part.put_back(offset, false);
            }
            Settlement::Requeue { after, record } => {
                let due = SystemTime::now()
                    .checked_add(*after)
                    .filter(|_| *after > Duration::ZERO);
                part.edit(offset, |entry| {
                    entry.due = due;
                    entry.suspect = true;
                    if let Some(record) = record {
                        entry.record = Some(*record);
                    }
                });
                let rests = parks && due.is_some();
                part.put_back(offset, rests);
                if rests {
                    inner.rest(epoch, offset, handed, *after);
                }
            }
        }
        true
    }
}

#[async_trait]
impl Settler for MemberSettler {
    async fn settle(&self, batch: Vec<(Receipt, Settlement)>) -> Vec<Result<()>> {
        let count = batch.len();
        let (results, answered) = Gather::new(count);
        let mut orders = Vec::new();
        {
            let mut inner = self.shared.lock();
            for (index, (receipt, settlement)) in batch.into_iter().enumerate() {
                let copy = self.copy(&mut inner, receipt, &settlement);
                if copy.is_some() || matches!(settlement, Settlement::DeadLetter(_)) {
                    orders.push(Order {
                        index,
                        receipt,
                        settlement,
                        copy,
                    });
                } else {
                    self.conclude(&mut inner, (index, receipt), &settlement, &results);
                }
            }
        }
        self.wake();
        if !orders.is_empty() {
            let stored = self.store(orders).await;
            let mut inner = self.shared.lock();
            for (index, receipt, outcome) in stored {
                match outcome {
                    Ok(settlement) => {
                        self.conclude(&mut inner, (index, receipt), &settlement, &results);
                    }
                    Err(failed) => results.set(index, Err(failed)),
                }
            }
            drop(inner);
            self.wake();
        }
        self.confirmed(answered, count).await
    }

    fn ack_at_once(&self, _receipt: Receipt) -> bool {
        // It takes a commit.
        false
    }

    async fn mark(&self, batch: Vec<(Receipt, AttemptRecord)>) -> Vec<Result<()>> {
        let (results, answered) = Gather::new(batch.len());
        {
            let mut inner = self.shared.lock();
            for (index, (receipt, record)) in batch.iter().enumerate() {
                let Some((part, offset)) = inner.held(*receipt) else {
                    results.set(index, Err(self.gone()));
                    continue;
                };
                part.edit(offset, |entry| entry.record = Some(*record));
                part.touch();
                inner.wait(*receipt, &results, index);
            }
        }
        self.shared.work.notify_all();
        self.confirmed(answered, batch.len()).await
    }

    async fn extend(&self, batch: &[Receipt]) -> Vec<Result<()>> {
        let mut inner = self.shared.lock();
        batch
            .iter()
            .map(|receipt| inner.held(*receipt).map(drop).ok_or_else(|| self.gone()))
            .collect()
    }

    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.shared.leave(deadline).await
    }
}

impl MemberSettler {
    /// Tells both threads that something was settled.
    fn wake(&self) {
        self.shared.work.notify_all();
        self.shared.receiver.notify_one();
    }

    fn gone(&self) -> bus_api::Error {
        if self.shared.core.life.is_over() {
            return closed();
        }
        fenced()
    }
}
