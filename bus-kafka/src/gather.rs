//! Results that come one by one, of a batch that is answered as a whole.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// Collects the results of a batch and answers when all are there.
#[derive(Debug)]
pub(crate) struct Gather<T> {
    count: usize,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    results: Vec<Option<T>>,
    left: usize,
    answer: Option<oneshot::Sender<Vec<T>>>,
}

impl<T> Gather<T> {
    /// For `count` results.
    pub(crate) fn new(count: usize) -> (Arc<Self>, oneshot::Receiver<Vec<T>>) {
        let (answer, answered) = oneshot::channel();
        let mut state = State {
            results: (0..count).map(|_| None).collect(),
            left: count,
            answer: Some(answer),
        };
        state.answer_if_complete();
        let state = Mutex::new(state);
        (Arc::new(Self { count, state }), answered)
    }

    /// How many results there are to be.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The result of the item at `index`; a second one of the same item changes nothing.
    pub(crate) fn set(&self, index: usize, result: T) {
        self.set_each([(index, result)]);
    }

    /// The results of several items, as with [`Self::set`]. Returns whether all are there.
    pub(crate) fn set_each(&self, results: impl IntoIterator<Item = (usize, T)>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, result) in results {
            // What was answered has no places any more.
            if let Some(place @ None) = state.results.get_mut(index) {
                *place = Some(result);
                state.left -= 1;
            }
        }
        state.answer_if_complete();
        state.left == 0
    }
}

impl<T> State<T> {
    fn answer_if_complete(&mut self) {
        if self.left == 0
            && let Some(answer) = self.answer.take()
        {
            // Whoever asked may have gone.
            let _ = answer.send(self.results.drain(..).flatten().collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_comes_with_the_last_result_in_order() {
        let (gather, mut answered) = Gather::new(2);
        gather.set(1, "b");
        gather.set(1, "c");
        assert!(answered.try_recv().is_err());
        gather.set(0, "a");
        assert_eq!(answered.try_recv().unwrap(), ["a", "b"]);
        let (_gather, mut answered) = Gather::<u8>::new(0);
        assert!(answered.try_recv().unwrap().is_empty());
    }
}
