//! Whom to wake once the lock is free.

use std::task::Waker;

/// Tasks to wake; they are woken when this is dropped. One each needs no allocation.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    consumer: Option<Waker>,
    keeper: Option<Waker>,
    waiting: Option<Waker>,
    more: Vec<Waker>,
}

impl Wakes {
    pub(super) fn is_empty(&self) -> bool {
        self.consumer.is_none() && self.keeper.is_none() && self.waiting.is_none()
    }

    pub(super) fn consumer(&mut self, waker: Waker) {
        self.consumer = Some(waker);
    }

    pub(super) fn keeper(&mut self, waker: Waker) {
        self.keeper = Some(waker);
    }

    /// Adds one that waits for an answer.
    pub(super) fn push(&mut self, waker: Option<Waker>) {
        if self.waiting.is_none() {
            self.waiting = waker;
        } else {
            self.more.extend(waker);
        }
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        for waker in [&mut self.consumer, &mut self.keeper, &mut self.waiting] {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
        for waker in self.more.drain(..) {
            waker.wake();
        }
    }
}
