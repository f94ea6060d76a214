//! Results that come one by one, of a batch that is answered as a whole.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// Collects the results of a batch and answers when all are there.
#[derive(Debug)]
pub(crate) struct Gather<T>(Mutex<State<T>>);

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
        (Arc::new(Self(Mutex::new(state))), answered)
    }

    /// The result of the item at `index`; a second one of the same item changes nothing.
    pub(crate) fn set(&self, index: usize, result: T) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place @ None) = state.results.get_mut(index) {
            *place = Some(result);
            state.left -= 1;
            state.answer_if_complete();
        }
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
