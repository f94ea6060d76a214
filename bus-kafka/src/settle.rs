//! Settling: the effects at once, the confirmations with the next commit.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bus_api::{AttemptRecord, DeadLetter, Receipt, Result, Settlement, Settler};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::{closed, fenced};
use crate::gather::Gather;
use crate::member::{Handle, Shared};
use bus_api::adapter::Leave;

/// The settling half of a member.
pub(crate) struct MemberSettler {
    pub(crate) shared: Arc<Shared>,
    pub(crate) _handle: Arc<Handle>,
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

    /// Writes the entries of dead letters; which of them failed.
    async fn bury(&self, batch: &[(Receipt, Settlement)]) -> Vec<Option<bus_api::Error>> {
        let letters: Vec<(usize, &DeadLetter)> = batch
            .iter()
            .enumerate()
            .filter_map(|(index, (_, settlement))| match settlement {
                Settlement::DeadLetter(entry) => Some((index, &**entry)),
                _ => None,
            })
            .collect();
        let mut failed = vec![None; batch.len()];
        if letters.is_empty() {
            return failed;
        }
        let entries: Vec<&DeadLetter> = letters.iter().map(|(_, entry)| *entry).collect();
        let written = self.shared.core.bury(&entries).await;
        for ((index, _), result) in letters.iter().zip(written) {
            failed[*index] = result.err();
        }
        failed
    }

    /// Applies what needs no broker; `false`: the member does not have it any more.
    fn apply(
        inner: &mut crate::member::Inner,
        receipt: Receipt,
        settlement: &Settlement,
        parks: bool,
    ) -> bool {
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
        let failed = self.bury(&batch).await;
        let (results, answered) = Gather::new(batch.len());
        {
            let parks = self.shared.parks();
            let mut inner = self.shared.lock();
            for (index, (receipt, settlement)) in batch.iter().enumerate() {
                if let Some(failed) = &failed[index] {
                    results.set(index, Err(failed.clone()));
                } else if Self::apply(&mut inner, *receipt, settlement, parks) {
                    inner.wait(*receipt, &results, index);
                } else {
                    results.set(index, Err(self.gone()));
                }
            }
        }
        self.shared.work.notify_all();
        self.shared.receiver.notify_one();
        self.confirmed(answered, batch.len()).await
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
    fn gone(&self) -> bus_api::Error {
        if self.shared.core.life.is_over() {
            return closed();
        }
        fenced()
    }
}
