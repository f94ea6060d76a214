//! Every message of a namespace, in the order of storing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use bus_api::Message;
use tokio::time::Instant;

use crate::slab::Key;

/// Messages of one piece of the store. A piece is freed as a whole once all of it is removed, so that
/// one old message which stays does not keep the room of all that came after it.
const PIECE: usize = 256;

/// A stored message.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The log it belongs to.
    pub(crate) log: Key,
    pub(crate) message: Arc<Message>,
    pub(crate) stored_at: SystemTime,
    /// The same moment on the clock that only runs forward: what its age is measured with.
    pub(crate) at: Instant,
    /// Subscriptions that have not settled it.
    pub(crate) pending: u32,
    /// What could not be read of it.
    pub(crate) malformed: Option<Box<str>>,
}

/// Every message of a namespace, found by a number that grows by one with each message: its place in
/// the log of its topic, too.
#[derive(Debug)]
pub(crate) struct Store {
    pieces: VecDeque<Piece>,
    /// The number of the first place of the first piece.
    base: u64,
    /// The number of the next message.
    next: u64,
    /// No message below this number is left.
    floor: u64,
    count: u64,
    bytes: u64,
    /// Of the messages, how many nobody has yet to settle.
    settled: u64,
    /// Whether a message goes as soon as the last subscription has settled it.
    pub(crate) drop_settled: bool,
}

#[derive(Debug, Default)]
struct Piece {
    places: Vec<Option<Stored>>,
    used: usize,
    left: usize,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            pieces: VecDeque::new(),
            base: 1,
            next: 1,
            floor: 1,
            count: 0,
            bytes: 0,
            settled: 0,
            drop_settled: false,
        }
    }
}

impl Store {
    /// How many messages there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Their bytes of key, headers and payload.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Of the messages, how many nobody has yet to settle.
    pub(crate) fn settled_count(&self) -> u64 {
        self.settled
    }

    /// The number that the next message gets.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn push(&mut self, stored: Stored) -> u64 {
        if self.pieces.back().is_none_or(|piece| piece.used == PIECE) {
            if self.pieces.is_empty() {
                self.base = self.next;
            }
            self.pieces.push_back(Piece {
                places: Vec::with_capacity(PIECE),
                used: 0,
                left: 0,
            });
        }
        self.bytes += stored.message.size() as u64;
        self.count += 1;
        self.settled += u64::from(stored.pending == 0);
        if let Some(piece) = self.pieces.back_mut() {
            piece.places.push(Some(stored));
            piece.used += 1;
            piece.left += 1;
        }
        let number = self.next;
        self.next += 1;
        number
    }

    fn place(&self, number: u64) -> Option<(usize, usize)> {
        let distance = usize::try_from(number.checked_sub(self.base)?).ok()?;
        Some((distance / PIECE, distance % PIECE))
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Stored> {
        let (piece, place) = self.place(number)?;
        self.pieces.get(piece)?.places.get(place)?.as_ref()
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Stored> {
        let (piece, place) = self.place(number)?;
        self.pieces.get_mut(piece)?.places.get_mut(place)?.as_mut()
    }

    /// One more subscription has to settle it.
    pub(crate) fn want(&mut self, number: u64) {
        if let Some(stored) = self.get_mut(number) {
            stored.pending += 1;
            let was_settled = stored.pending == 1;
            self.settled -= u64::from(was_settled);
        }
    }

    /// One subscription has settled it, or does not want it any more.
    pub(crate) fn settle(&mut self, number: u64) {
        let Some(stored) = self.get_mut(number) else {
            return;
        };
        if stored.pending == 0 {
            return;
        }
        stored.pending -= 1;
        if stored.pending == 0 {
            self.settled += 1;
            if self.drop_settled {
                self.remove(number);
            }
        }
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.get(number).is_some()
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Stored> {
        let (index, place) = self.place(number)?;
        let piece = self.pieces.get_mut(index)?;
        let stored = piece.places.get_mut(place)?.take()?;
        piece.left -= 1;
        if piece.left == 0 && piece.used == PIECE {
            piece.places = Vec::new();
            while self
                .pieces
                .front()
                .is_some_and(|piece| piece.left == 0 && piece.used == PIECE)
            {
                self.pieces.pop_front();
                self.base += PIECE as u64;
            }
        }
        self.count -= 1;
        self.settled -= u64::from(stored.pending == 0);
        self.bytes -= stored.message.size() as u64;
        Some(stored)
    }

    /// The number of the oldest message.
    pub(crate) fn oldest(&mut self) -> Option<u64> {
        if self.contains(self.floor) {
            return Some(self.floor);
        }
        // Looked for from where it was last found: each place is passed once.
        self.floor = self.first_from(self.floor).unwrap_or(self.next);
        (self.floor < self.next).then_some(self.floor)
    }

    fn first_from(&self, number: u64) -> Option<u64> {
        self.iter_from(number).next().map(|(number, _)| number)
    }

    /// The messages from `number` on, with their numbers.
    pub(crate) fn iter_from(&self, number: u64) -> impl Iterator<Item = (u64, &Stored)> {
        let (skipped, place) = self.place(number).unwrap_or((0, 0));
        let first = self.base + (skipped * PIECE) as u64;
        (0_u64..)
            .zip(self.pieces.iter().skip(skipped))
            .flat_map(move |(index, piece)| {
                let skipped = if index == 0 { place } else { 0 };
                (first + index * PIECE as u64 + skipped as u64..)
                    .zip(piece.places.iter().skip(skipped))
            })
            .filter_map(|(number, stored)| Some((number, stored.as_ref()?)))
    }

    /// All messages, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Stored)> {
        self.iter_from(self.base)
    }
}

#[cfg(test)]
mod tests {
    use bus_api::{MessageId, Metadata, Topic};
    use bytes::Bytes;

    use super::*;
    use crate::slab::Slab;

    fn stored() -> Stored {
        let metadata = Metadata::new(MessageId::new("1"), "test".into(), SystemTime::UNIX_EPOCH);
        let topic = Topic::new("a").unwrap();
        Stored {
            log: Slab::default().insert(()),
            message: Arc::new(Message::new(topic, metadata, Bytes::from_static(b"ab"))),
            stored_at: SystemTime::UNIX_EPOCH,
            at: Instant::now(),
            pending: 0,
            malformed: None,
        }
    }

    #[test]
    fn an_old_message_keeps_its_piece_and_no_other() {
        let mut store = Store::default();
        let last = 10 * PIECE as u64;
        for number in 1..=last {
            assert_eq!(store.push(stored()), number);
        }
        for number in (2..=last).rev() {
            assert!(store.remove(number).is_some());
            assert!(store.remove(number).is_none());
        }
        assert_eq!(
            (store.count(), store.bytes(), store.oldest()),
            (1, 2, Some(1))
        );
        let kept = store
            .pieces
            .iter()
            .filter(|piece| piece.places.capacity() > 0);
        assert_eq!(kept.count(), 1);
        store.remove(1);
        assert!(store.pieces.is_empty());
        assert_eq!(store.oldest(), None);
        assert_eq!(store.push(stored()), last + 1);
        assert_eq!(store.oldest(), Some(last + 1));
        assert!(store.contains(last + 1));
    }

    #[test]
    fn settled_messages_are_counted_and_go_when_asked() {
        let mut store = Store::default();
        let number = store.push(stored());
        assert_eq!(store.settled_count(), 1);
        store.want(number);
        store.want(number);
        store.settle(number);
        assert_eq!(store.settled_count(), 0);
        store.settle(number);
        store.settle(number);
        assert_eq!((store.settled_count(), store.count()), (1, 1));
        store.drop_settled = true;
        store.want(number);
        store.settle(number);
        assert_eq!((store.settled_count(), store.count()), (0, 0));
    }

    #[test]
    fn iteration_starts_anywhere_and_skips_holes() {
        let mut store = Store::default();
        for _ in 0..(2 * PIECE + 3) {
            store.push(stored());
        }
        for number in 2..=(PIECE as u64 + 1) {
            store.remove(number);
        }
        let numbers: Vec<_> = store.iter().map(|(number, _)| number).collect();
        assert_eq!((numbers[0], numbers[1]), (1, PIECE as u64 + 2));
        assert_eq!(numbers.len(), PIECE + 3);
        assert_eq!(store.iter_from(2 * PIECE as u64).count(), 4);
        assert_eq!(store.iter_from(0).count(), PIECE + 3);
        assert_eq!(store.iter_from(store.next()).count(), 0);
    }
}
