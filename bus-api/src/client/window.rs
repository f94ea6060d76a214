//! The bound of outstanding publishes (P8): shared by everything that one connection publishes.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Counts publishes that are not yet confirmed and their bytes; whoever comes first gets room first.
#[derive(Debug)]
pub(crate) struct Window {
    messages: Bound,
    bytes: Bound,
}

/// Room for messages; free again when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    window: Arc<Window>,
    held: Share,
}

/// What messages take of a window.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share {
    messages: usize,
    bytes: usize,
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
    pub(crate) async fn room(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let messages = self.messages.take(1).await?;
        self.bytes.take(bytes).await?.forget();
        messages.forget();
        Some(self.taken(self.share(bytes)))
    }

    /// Room for one message of `bytes`, when there is some now.
    pub(crate) fn try_room(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let share = self.share(bytes);
        self.try_take(share).then(|| self.taken(share))
    }

    /// Room for nothing, to be filled.
    pub(crate) fn no_room(self: &Arc<Self>) -> Room {
        self.taken(Share::default())
    }

    /// What one message of `bytes` takes.
    pub(crate) fn share(&self, bytes: usize) -> Share {
        Share {
            messages: 1,
            bytes: self.bytes.clamp(bytes) as usize,
        }
    }

    /// Messages and bytes that are outstanding.
    pub(crate) fn used(&self) -> (usize, usize) {
        (self.messages.used(), self.bytes.used())
    }

    /// Waits until nothing is outstanding.
    pub(crate) async fn emptied(&self) {
        drop(self.messages.take(usize::MAX).await);
    }

    fn taken(self: &Arc<Self>, held: Share) -> Room {
        Room {
            window: Arc::clone(self),
            held,
        }
    }

    fn try_take(&self, share: Share) -> bool {
        let Ok(messages) = u32::try_from(share.messages) else {
            return false;
        };
        let Ok(bytes) = u32::try_from(share.bytes) else {
            return false;
        };
        match (
            self.messages.permits.try_acquire_many(messages),
            self.bytes.permits.try_acquire_many(bytes),
        ) {
            (Ok(messages), Ok(bytes)) => {
                messages.forget();
                bytes.forget();
                true
            }
            _ => false,
        }
    }

    fn free(&self, share: Share) {
        if share.messages > 0 {
            self.bytes.permits.add_permits(share.bytes);
            self.messages.permits.add_permits(share.messages);
        }
    }
}

impl Room {
    /// Takes room for more messages of these `bytes`, when there is some for all of them now.
    pub(crate) fn try_grow(&mut self, bytes: impl IntoIterator<Item = usize>) -> bool {
        let mut share = Share::default();
        for bytes in bytes {
            share.add(self.window.share(bytes));
        }
        let taken = self.window.try_take(share);
        if taken {
            self.held.add(share);
        }
        taken
    }

    /// Takes over what another one of the same window holds.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.held.add(std::mem::take(&mut other.held));
    }

    /// Frees what some of its messages take: at once for all of them.
    pub(crate) fn free(&mut self, share: Share) {
        self.held.messages = self.held.messages.saturating_sub(share.messages);
        self.held.bytes = self.held.bytes.saturating_sub(share.bytes);
        self.window.free(share);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.window.free(self.held);
    }
}

impl Share {
    /// Both together.
    pub(crate) fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

/// A fair semaphore that knows its size.
#[derive(Debug)]
struct Bound {
    permits: Semaphore,
    size: u32,
}

impl Bound {
    fn new(size: usize) -> Self {
        let size = u32::try_from(size.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self {
            permits: Semaphore::new(size as usize),
            size,
        }
    }

    fn clamp(&self, wanted: usize) -> u32 {
        u32::try_from(wanted).map_or(self.size, |wanted| wanted.min(self.size))
    }

    /// `None` cannot happen: these semaphores are never closed.
    async fn take(&self, wanted: usize) -> Option<SemaphorePermit<'_>> {
        self.permits.acquire_many(self.clamp(wanted)).await.ok()
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
        let window = Arc::new(Window::new(2, 10));
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
        let window = Arc::new(Window::new(2, 10));
        let room = window.room(11).await.unwrap();
        assert!(window.try_room(1).is_none());
        drop(room);
        assert!(window.try_room(1).is_some());
    }

    #[tokio::test]
    async fn room_grows_and_is_freed_in_parts() {
        let window = Arc::new(Window::new(3, 10));
        let mut room = window.no_room();
        assert!(room.try_grow([1, 3]));
        assert_eq!(window.used(), (2, 4));
        room.free(window.share(1));
        room.join(window.try_room(20).or_else(|| window.try_room(5)).unwrap());
        assert_eq!(window.used(), (2, 8));
        assert!(!room.try_grow([3]));
        assert!(!room.try_grow([0, 0]));
        assert_eq!(window.used(), (2, 8));
        room.free(window.share(3));
        assert_eq!(window.used(), (1, 5));
        drop(room);
        assert_eq!(window.used(), (0, 0));
    }

    #[tokio::test]
    async fn giving_up_waiting_takes_nothing() {
        let window = Arc::new(Window::new(2, 10));
        let first = window.try_room(10).unwrap();
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(1), window.room(1));
        assert!(waiting.await.is_err());
        drop(first);
        assert_eq!(window.used(), (0, 0));
    }
}
