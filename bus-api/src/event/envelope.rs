//! An event together with what came along with it.

use bytes::Bytes;

use crate::contract::{Headers, Metadata, Position, Topic};

/// An event together with what came along with it.
///
/// A handler that takes `Envelope<E>` instead of `E` sees the metadata, too:
///
/// ```
/// use bus_api::Envelope;
/// # struct OrderPlaced { total: u64 }
///
/// async fn placed(e: Envelope<OrderPlaced>) {
///     let tenant = e.headers.get("tenant").unwrap_or("none");
///     println!("{} of {tenant} at {:?}: {}", e.metadata.id, e.metadata.time, e.event.total);
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<E> {
    /// The event.
    pub event: E,
    /// The CloudEvents attributes: id, type, source, time and the rest.
    pub metadata: Metadata,
    /// Where it was published.
    pub topic: Topic,
    /// What orders it among others of its topic.
    pub key: Option<Bytes>,
    /// Application headers.
    pub headers: Headers,
    /// Where it lies in its log.
    pub position: Position,
    /// 1 plus recorded failures and crashes.
    pub attempt: u32,
    /// Hand-overs as the broker counts them; informative only.
    pub delivery: u32,
}

impl<E> Envelope<E> {
    /// The same envelope around another event.
    pub fn map<T>(self, change: impl FnOnce(E) -> T) -> Envelope<T> {
        Envelope {
            event: change(self.event),
            metadata: self.metadata,
            topic: self.topic,
            key: self.key,
            headers: self.headers,
            position: self.position,
            attempt: self.attempt,
            delivery: self.delivery,
        }
    }
}
