//! Message identities: new ones, and ones that follow from what they stand for.
//!
//! A new identity is a UUID of version 7: the millisecond of [`clock::now`], then a counter that starts
//! at a random number in every millisecond, then random bits. Identities of one thread therefore grow
//! strictly, also when the clock stands still or is set back; those of different threads and processes
//! share nothing but the clock.
//!
//! They are unique, not secret: an address that must not be guessed is not made of them.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::clock;
use crate::contract::MessageId;

/// Bits of the counter: `rand_a` and the upper half of `rand_b`.
const COUNTER_BITS: u32 = 42;
/// Random bits behind the counter.
const TAIL_BITS: u32 = 32;

thread_local! {
    static CONTEXT: Cell<Option<Context>> = const { Cell::new(None) };
}

/// What a thread keeps between two identities.
#[derive(Clone, Copy)]
struct Context {
    millis: u64,
    counter: u64,
    random: u64,
}

impl Context {
    /// Seeded by the operating system's random source, through the standard library's hash keys.
    fn new() -> Self {
        Self {
            millis: 0,
            counter: 0,
            random: RandomState::new().hash_one(std::process::id()),
        }
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014): a few nanoseconds, no two equal states in 2^64 steps.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn next(&mut self, millis: u64) -> Uuid {
        self.counter += 1;
        if millis > self.millis {
            self.millis = millis;
            self.reseed();
        } else if self.counter >> COUNTER_BITS != 0 {
            self.millis += 1;
            self.reseed();
        }
        let high = (self.millis << 16) | 0x7000 | (self.counter >> (COUNTER_BITS - 12));
        let middle = self.counter & ((1 << (COUNTER_BITS - 12)) - 1);
        let tail = self.random() & ((1 << TAIL_BITS) - 1);
        Uuid::from_u64_pair(high, (0b10 << 62) | (middle << TAIL_BITS) | tail)
    }

    /// A random start below half of the range, so that 2^41 identities fit into a millisecond.
    fn reseed(&mut self) {
        self.counter = self.random() >> (64 - (COUNTER_BITS - 1));
    }
}

/// A new identity, made now.
#[must_use]
pub fn next() -> MessageId {
    next_at(clock::now())
}

/// A new identity, made at `now`: for callers that have just asked the clock.
///
/// ```
/// use bus_api::{clock, ids};
///
/// let now = clock::now();
/// let (first, second) = (ids::next_at(now), ids::next_at(now));
/// assert!(first < second);
/// ```
#[must_use]
pub fn next_at(now: SystemTime) -> MessageId {
    next_in(millis(now))
}

/// The millisecond of `now` that an identity can name.
pub(crate) fn millis(now: SystemTime) -> u64 {
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let millis = since
        .as_secs()
        .wrapping_mul(1000)
        .wrapping_add(since.subsec_millis().into());
    millis & ((1 << 48) - 1)
}

/// A new identity, made in this millisecond, which [`millis`] gave.
pub(crate) fn next_in(millis: u64) -> MessageId {
    CONTEXT.with(|cell| {
        let mut context = cell.take().unwrap_or_else(Context::new);
        let id = context.next(millis);
        cell.set(Some(context));
        id.into()
    })
}

/// The identity that follows from `parts`: the same parts in the same order give the same one, whatever
/// bytes they hold; a message that is published again by a retried handler keeps its identity this way.
///
/// It is a UUID of version 8: SHA-256 over the parts, each behind its length.
///
/// ```
/// use bus_api::ids;
///
/// assert_eq!(ids::derived(["ab", "c"]), ids::derived(["ab", "c"]));
/// assert_ne!(ids::derived(["ab", "c"]), ids::derived(["a", "bc"]));
/// ```
#[must_use]
pub fn derived<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> MessageId {
    let mut hash = Sha256::new();
    for part in parts {
        let part = part.as_ref();
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Builder::from_custom_bytes(bytes).into_uuid().into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    fn uuid(id: &MessageId) -> Uuid {
        id.to_string().parse().unwrap()
    }

    #[test]
    fn identities_are_version_7_and_name_their_time() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let id = uuid(&next_at(now));
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanos), (1_700_000_000, 123_000_000));
    }

    #[test]
    fn identities_of_a_thread_grow_even_when_the_clock_does_not() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_900_000_000_000);
        let ids: Vec<_> = (0..100_000)
            .map(|n| uuid(&next_at(now - Duration::from_millis(n % 7))))
            .collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_full_counter_moves_on_to_the_next_millisecond() {
        let mut context = Context::new();
        let before = context.next(5);
        context.counter = (1 << COUNTER_BITS) - 1;
        let after = context.next(5);
        assert!(before < after);
        assert_eq!((context.millis, context.counter >> 41), (6, 0));
    }

    #[test]
    fn identities_of_many_threads_differ() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_000);
        let threads: Vec<_> = (0..8)
            .map(|_| std::thread::spawn(move || (0..10_000).map(|_| next_at(now)).collect()))
            .collect();
        let ids: Vec<Vec<_>> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert_eq!(ids.iter().flatten().collect::<HashSet<_>>().len(), 80_000);
    }

    #[test]
    fn times_out_of_range_make_identities_all_the_same() {
        for now in [
            SystemTime::UNIX_EPOCH - Duration::from_secs(1),
            SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 50),
        ] {
            let _ = next_at(now);
        }
    }

    #[test]
    fn derived_identities_are_stable() {
        let id = derived(["one", "two"]);
        assert_eq!(uuid(&id).get_version_num(), 8);
        // printf '\0\0\0\0\0\0\0\3one\0\0\0\0\0\0\0\3two' | sha256sum, with version and variant set
        assert_eq!(id.to_string(), "498df273-324b-8e20-9df8-61e314588ff2");
        let empty: [&str; 0] = [];
        assert_ne!(derived(empty), derived([""]));
    }
}
