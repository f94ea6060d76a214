//! Clients whose end blocks.

use std::mem::ManuallyDrop;
use std::ops::Deref;

/// Something whose `drop` blocks, as that of every client does for some 100 ms: it is dropped on a thread of
/// its own, never on a thread of the runtime.
#[derive(Debug)]
pub(crate) struct Aside<T: Send + 'static>(ManuallyDrop<T>);

impl<T: Send + 'static> Aside<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }
}

impl<T: Send + 'static> Deref for Aside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Send + 'static> Drop for Aside<T> {
    fn drop(&mut self) {
        // SAFETY: this is the only place that takes it, and nothing uses it afterwards.
        let value = unsafe { ManuallyDrop::take(&mut self.0) };
        // Without a thread it is dropped here.
        let _ = std::thread::Builder::new()
            .name("bus-kafka-end".to_owned())
            .spawn(move || drop(value));
    }
}
