//! Brokers for the cases that take theirs away.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::factory::Factory;

/// Brokers for the cases that take theirs away: each serves one case at a time.
pub(crate) struct Spares {
    free: Mutex<Vec<Arc<dyn Factory>>>,
    returned: Condvar,
}

impl Spares {
    pub(crate) fn new(spares: Vec<Arc<dyn Factory>>) -> Self {
        Self {
            free: Mutex::new(spares),
            returned: Condvar::new(),
        }
    }

    /// Lends one to `work`, as soon as one is free.
    pub(crate) fn lend<T>(&self, work: impl FnOnce(&Arc<dyn Factory>) -> T) -> T {
        let spare = self.take();
        let done = work(&spare);
        self.free().push(spare);
        self.returned.notify_one();
        done
    }

    fn take(&self) -> Arc<dyn Factory> {
        let mut free = self.free();
        loop {
            if let Some(spare) = free.pop() {
                return spare;
            }
            free = self
                .returned
                .wait(free)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Arc<dyn Factory>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
