//! Which batch a record on its way belongs to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::gather::Gather;

/// Numbers for records on their way. A number leads to the batch of its record and to its place there, so that nothing
/// has to be allocated for each record, and none is leaked that is never heard of.
#[derive(Debug)]
pub(crate) struct Tickets<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    next: usize,
    /// By the number of the first record of each.
    batches: BTreeMap<usize, Arc<Gather<T>>>,
}

/// The numbers of a batch.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    first: usize,
    results: Arc<Gather<T>>,
}

impl<T> Default for Tickets<T> {
    fn default() -> Self {
        Self(Mutex::new(State {
            next: 0,
            batches: BTreeMap::new(),
        }))
    }
}

impl<T> Tickets<T> {
    /// Numbers for all items of `results`.
    pub(crate) fn issue(&self, results: Arc<Gather<T>>) -> Batch<T> {
        let count = results.len();
        let mut state = self.lock();
        // The numbers of a batch do not wrap in its middle.
        let first = match state.next.checked_add(count) {
            Some(_) => state.next,
            None => 0,
        };
        state.next = first + count;
        if count > 0 {
            state.batches.insert(first, Arc::clone(&results));
        }
        Batch { first, results }
    }

    /// The result of an item of a batch that has no report.
    pub(crate) fn set(&self, batch: &Batch<T>, index: usize, result: T) {
        if batch.results.set_each([(index, result)]) {
            self.lock().batches.remove(&batch.first);
        }
    }

    /// For reports that come one after the other.
    pub(crate) fn settling(&self) -> Settling<'_, T> {
        Settling {
            tickets: self,
            batch: None,
            results: Vec::new(),
        }
    }

    fn batch_of(&self, number: usize) -> Option<Batch<T>> {
        let state = self.lock();
        let (first, results) = state.batches.range(..=number).next_back()?;
        let batch = Batch {
            first: *first,
            results: Arc::clone(results),
        };
        batch.index(number).map(|_| batch)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Batch<T> {
    /// The number of an item.
    pub(crate) fn number(&self, index: usize) -> usize {
        self.first + index
    }

    fn index(&self, number: usize) -> Option<usize> {
        let index = number.checked_sub(self.first)?;
        (index < self.results.len()).then_some(index)
    }
}

/// Settles records of which neighbours are often of one batch: the results of a run are handed over at once.
pub(crate) struct Settling<'a, T> {
    tickets: &'a Tickets<T>,
    batch: Option<Batch<T>>,
    results: Vec<(usize, T)>,
}

impl<T> Settling<'_, T> {
    /// The result of the record with this number; of one that has none any more, nothing.
    pub(crate) fn set(&mut self, number: usize, result: T) {
        let index_in = |batch: &Option<Batch<T>>| batch.as_ref()?.index(number);
        if index_in(&self.batch).is_none() {
            self.flush();
            self.batch = self.tickets.batch_of(number);
        }
        if let Some(index) = index_in(&self.batch) {
            self.results.push((index, result));
        }
    }

    /// Hands over what was settled.
    pub(crate) fn flush(&mut self) {
        if let Some(batch) = self.batch.take()
            && batch.results.set_each(self.results.drain(..))
        {
            self.tickets.lock().batches.remove(&batch.first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_many_batches_come_to_their_places() {
        let tickets = Tickets::default();
        let (results, mut one) = Gather::new(2);
        let first = tickets.issue(results);
        let (results, mut other) = Gather::new(3);
        let second = tickets.issue(results);
        tickets.set(&second, 0, "refused");
        let mut settling = tickets.settling();
        for (number, result) in [
            (first.number(1), "b"),
            (second.number(2), "e"),
            (second.number(1), "d"),
            (first.number(0), "a"),
            // Of nothing that is on its way.
            (second.number(3), "f"),
        ] {
            settling.set(number, result);
        }
        settling.flush();
        assert_eq!(one.try_recv().unwrap(), ["a", "b"]);
        assert_eq!(other.try_recv().unwrap(), ["refused", "d", "e"]);
        assert!(tickets.lock().batches.is_empty());
    }

    #[test]
    fn the_numbers_of_a_batch_do_not_wrap() {
        let tickets = Tickets::default();
        tickets.lock().next = usize::MAX - 1;
        let (results, mut answered) = Gather::new(2);
        let batch = tickets.issue(results);
        assert_eq!(batch.number(1), 1);
        tickets.set(&batch, 0, ());
        let mut settling = tickets.settling();
        settling.set(batch.number(1), ());
        settling.flush();
        assert_eq!(answered.try_recv().unwrap().len(), 2);
    }

    #[test]
    fn an_empty_batch_takes_no_place() {
        let tickets = Tickets::<()>::default();
        let (results, mut answered) = Gather::new(0);
        let _batch = tickets.issue(results);
        assert!(answered.try_recv().unwrap().is_empty());
        assert!(tickets.lock().batches.is_empty());
    }
}
