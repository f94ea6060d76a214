//! The table of what is held: receipts for the lease, and the broker's answers to settlements.

use std::task::{Poll, Waker};

use slab::Slab;

use crate::contract::Receipt;
use crate::error::Result;

/// Where a delivery is in the [`Table`].
pub(super) type Slot = usize;

/// What is held, one cell for each delivery from its receipt until its settling is confirmed and whoever
/// waits for that knows.
#[derive(Debug)]
pub(super) struct Table(Slab<Cell>);

#[derive(Debug)]
struct Cell {
    receipt: Receipt,
    phase: Phase,
    fate: Fate,
}

#[derive(Debug)]
enum Phase {
    Held,
    /// Settling was requested; `awaited` as long as its confirmation is not dropped.
    Settling {
        awaited: bool,
        waker: Option<Waker>,
    },
    Settled(Result<()>),
}

/// What the adapter said about a delivery after handing it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing: it is this member's.
    Ours,
    /// It is about to go to another member: it must not start here.
    Reclaimed,
    /// It is no longer this member's.
    Lost,
}

impl Table {
    pub(super) fn new() -> Self {
        Self(Slab::new())
    }

    pub(super) fn insert(&mut self, receipt: Receipt) -> Slot {
        self.0.insert(Cell {
            receipt,
            phase: Phase::Held,
            fate: Fate::Ours,
        })
    }

    /// Forgets a delivery that is not going to be settled.
    pub(super) fn remove(&mut self, slot: Slot) {
        self.0.try_remove(slot);
    }

    pub(super) fn fate(&self, slot: Slot) -> Fate {
        self.0.get(slot).map_or(Fate::Lost, |cell| cell.fate)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn receipt(&self, slot: Slot) -> Option<Receipt> {
        self.0.get(slot).map(|cell| cell.receipt)
    }

    /// Records what the adapter said about `receipts`.
    pub(super) fn set_fate(&mut self, receipts: &[Receipt], fate: Fate) {
        for (_, cell) in &mut self.0 {
            if receipts.contains(&cell.receipt) {
                cell.fate = fate;
            }
        }
    }

    /// Settling is requested.
    pub(super) fn settling(&mut self, slot: Slot, awaited: bool) {
        if let Some(cell) = self.0.get_mut(slot) {
            cell.phase = Phase::Settling {
                awaited,
                waker: None,
            };
        }
    }

    /// The broker's answer is here; returns whom to wake.
    pub(super) fn settled(&mut self, slot: Slot, result: Result<()>) -> Option<Waker> {
        let cell = self.0.get_mut(slot)?;
        match &mut cell.phase {
            Phase::Settling {
                awaited: true,
                waker,
            } => {
                let waker = waker.take();
                cell.phase = Phase::Settled(result);
                waker
            }
            _ => {
                self.0.remove(slot);
                None
            }
        }
    }

    /// For a confirmation: the answer, if it is here; the cell is then free.
    pub(super) fn poll_settled(&mut self, slot: Slot, waker: &Waker) -> Poll<Result<()>> {
        let Some(cell) = self.0.get_mut(slot) else {
            return Poll::Ready(Ok(()));
        };
        match &mut cell.phase {
            Phase::Settling { waker: known, .. } => {
                match known {
                    Some(known) => known.clone_from(waker),
                    None => *known = Some(waker.clone()),
                }
                Poll::Pending
            }
            Phase::Held => Poll::Pending,
            Phase::Settled(result) => {
                let result = std::mem::replace(result, Ok(()));
                self.0.remove(slot);
                Poll::Ready(result)
            }
        }
    }

    /// For a confirmation that is dropped: nobody waits for the answer any more.
    pub(super) fn unawait(&mut self, slot: Slot) {
        let Some(cell) = self.0.get_mut(slot) else {
            return;
        };
        match &mut cell.phase {
            Phase::Settling { awaited, waker } => {
                *awaited = false;
                *waker = None;
            }
            Phase::Settled(_) => {
                self.0.remove(slot);
            }
            Phase::Held => {}
        }
    }

    /// Receipts whose lease has to be kept: everything that is not settled and not lost.
    pub(super) fn leases(&self) -> Vec<Receipt> {
        self.0
            .iter()
            .filter(|(_, cell)| cell.fate != Fate::Lost && !matches!(cell.phase, Phase::Settled(_)))
            .map(|(_, cell)| cell.receipt)
            .collect()
    }

    /// Answers every settlement that has none yet, when none will come; returns whom to wake.
    pub(super) fn settle_all(&mut self, result: &Result<()>) -> Vec<Waker> {
        let open: Vec<Slot> = self
            .0
            .iter()
            .filter(|(_, cell)| matches!(cell.phase, Phase::Settling { .. }))
            .map(|(slot, _)| slot)
            .collect();
        open.into_iter()
            .filter_map(|slot| self.settled(slot, result.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    const ONE: Receipt = Receipt { slot: 1, epoch: 1 };
    const TWO: Receipt = Receipt { slot: 2, epoch: 1 };

    #[test]
    fn an_awaited_answer_stays_until_it_is_taken() {
        let mut table = Table::new();
        let slot = table.insert(ONE);
        table.settling(slot, true);
        assert!(table.poll_settled(slot, Waker::noop()).is_pending());
        let fenced = Error::new(ErrorKind::Fenced, "taken over");
        assert!(table.settled(slot, Err(fenced)).is_some());
        match table.poll_settled(slot, Waker::noop()) {
            Poll::Ready(Err(error)) => assert_eq!(error.kind(), ErrorKind::Fenced),
            other => panic!("{other:?}"),
        }
        assert!(table.0.is_empty());
    }

    #[test]
    fn an_answer_that_nobody_awaits_frees_the_cell() {
        let mut table = Table::new();
        let dropped_before = table.insert(ONE);
        table.settling(dropped_before, true);
        table.unawait(dropped_before);
        assert!(table.settled(dropped_before, Ok(())).is_none());
        let dropped_after = table.insert(ONE);
        table.settling(dropped_after, true);
        table.settled(dropped_after, Ok(()));
        table.unawait(dropped_after);
        assert!(table.0.is_empty());
    }

    #[test]
    fn leases_are_kept_until_the_answer_and_not_for_what_is_lost() {
        let mut table = Table::new();
        let (first, _) = (table.insert(ONE), table.insert(TWO));
        table.settling(first, true);
        assert_eq!(table.leases(), [ONE, TWO]);
        table.settled(first, Ok(()));
        assert_eq!(table.leases(), [TWO]);
        table.set_fate(&[TWO], Fate::Lost);
        assert!(table.leases().is_empty());
    }
}
