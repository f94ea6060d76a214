//! The bound of outstanding publishes (P8): shared by everything that one connection publishes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counts publishes that are not yet confirmed and their bytes; whoever comes first gets room first.
#[derive(Debug)]
pub(crate) struct Window {
    messages: Bound,
    bytes: Bound,
}

/// Room for one message; free again when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    _messages: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Window {
    /// Room for `messages` of together `bytes`. Both are at most `u32::MAX`, larger numbers mean that.
    pub(crate) fn new(messages: usize, bytes: usize) -> Self {
        Self {
            messages: Bound::new(messages),
            bytes: Bound::new(bytes),
        }
    }

    /// Waits for room for one message of `bytes`. One that is larger than the whole window gets in alone.
    ///
    /// Cancel safe.
    pub(crate) async fn room(&self, bytes: usize) -> Option<Room> {
        let messages = self.messages.take(1).await?;
        let bytes = self.bytes.take(bytes).await?;
        Some(Room {
            _messages: messages,
            _bytes: bytes,
        })
    }

    /// Room for one message of `bytes`, when there is some now.
    pub(crate) fn try_room(&self, bytes: usize) -> Option<Room> {
        Some(Room {
            _messages: self.messages.try_take(1)?,
            _bytes: self.bytes.try_take(bytes)?,
        })
    }

    /// Messages and bytes that are outstanding.
    pub(crate) fn used(&self) -> (usize, usize) {
        (self.messages.used(), self.bytes.used())
    }

    /// Waits until nothing is outstanding.
    pub(crate) async fn emptied(&self) {
        drop(self.messages.take(usize::MAX).await);
    }
}

/// A fair semaphore that knows its size.
#[derive(Debug)]
struct Bound {
    permits: Arc<Semaphore>,
    size: u32,
}

impl Bound {
    fn new(size: usize) -> Self {
        let size = u32::try_from(size.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self {
            permits: Arc::new(Semaphore::new(size as usize)),
            size,
        }
    }

    fn clamp(&self, wanted: usize) -> u32 {
        u32::try_from(wanted).map_or(self.size, |wanted| wanted.min(self.size))
    }

    /// `None` cannot happen: these semaphores are never closed.
    async fn take(&self, wanted: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = self.clamp(wanted);
        Arc::clone(&self.permits)
            .acquire_many_owned(wanted)
            .await
            .ok()
    }

    fn try_take(&self, wanted: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = self.clamp(wanted);
        Arc::clone(&self.permits)
            .try_acquire_many_owned(wanted)
            .ok()
    }

    fn used(&self) -> usize {
        (self.size as usize).saturating_sub(self.permits.available_permits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn count_and_bytes_both_bound() {
        let window = Window::new(2, 10);
        let first = window.room(6).await.unwrap();
        assert!(window.try_room(5).is_none());
        assert_eq!(window.used(), (1, 6));
        let second = window.room(4).await.unwrap();
        assert!(window.try_room(0).is_none());
        drop(first);
        assert!(window.try_room(6).is_some());
        drop(second);
        assert_eq!(window.used(), (0, 0));
        window.emptied().await;
    }

    #[tokio::test]
    async fn a_message_larger_than_the_window_gets_in_alone() {
        let window = Window::new(2, 10);
        let room = window.room(11).await.unwrap();
        assert!(window.try_room(1).is_none());
        drop(room);
        assert!(window.try_room(1).is_some());
    }
}
