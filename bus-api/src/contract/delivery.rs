//! Deliveries, and what becomes of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::contract::attempt::AttemptRecord;
use crate::contract::dead_letter::DeadLetter;
use crate::contract::message::Message;
use crate::contract::paused::Paused;
use crate::contract::position::Position;
use crate::error::Result;

/// What identifies one hand-over to the adapter that made it; meaningless to anyone else.
///
/// `slot` finds the adapter's own entry, `epoch` tells hand-overs apart that share it: after a
/// reconnect, a rebalance or a fail-over the epoch is another one, and settling an old receipt is
/// `Fenced`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Receipt {
    /// The adapter's own entry.
    pub slot: u64,
    /// Which hand-over of it.
    pub epoch: u64,
}

/// One hand-over of a message to a member.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What settles it.
    pub receipt: Receipt,
    /// The message; shared, so that fan-out copies no payload.
    pub message: Arc<Message>,
    /// Where it lies.
    pub position: Position,
    /// Hand-overs as the broker counts them, 1-based: informative only.
    pub delivery: u32,
    /// A handler may have started it before: the adapter cannot rule it out. `false` promises that none
    /// has, also when it was fetched, handed back or lost on the way.
    pub redelivered: bool,
    /// With [`Order::PerKey`](crate::Order::PerKey): a failure of this message asked for a delay that has
    /// not passed; its key rests until then. Without order the adapter itself keeps delayed messages.
    pub not_before: Option<Instant>,
    /// The [`AttemptRecord`] that the bus stored with it, as stored.
    pub record: Option<Bytes>,
    /// What could not be read, when the wire form was damaged; `message` then holds the raw payload and
    /// what could be read.
    pub malformed: Option<Box<str>>,
}

/// What becomes of a delivery.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// Handled: it never comes again to this subscription.
    Ack,
    /// Handed back: no handler has failed at it, so it comes again at once, in its old place of the order,
    /// to any member. The stored record stays, only no longer `started`; `attempt` and `redelivered` are
    /// what they were before this hand-over.
    Release,
    /// Not handled: it comes again to some member of the same subscription, not before `after`. This is
    /// nack, retry and defer alike.
    Requeue {
        /// Not before this much later; zero is at once.
        after: Duration,
        /// Replaces the stored record; `None` leaves it as it is.
        record: Option<AttemptRecord>,
    },
    /// Given up: write the entry, have it confirmed, then settle as [`Ack`](Self::Ack) does. Writing
    /// an entry of an id that exists is a success and changes nothing.
    DeadLetter(Box<DeadLetter>),
}

/// A subscription of an adapter, split so that settling never waits on receiving.
pub struct Inbound {
    /// The receiving half.
    pub receiver: Box<dyn Receiver>,
    /// The settling half.
    pub settler: Arc<dyn Settler>,
    /// The lease in force: of a durable subscription the one that was stored when it was created may
    /// win over the one that was asked for.
    pub lease: Duration,
    /// Whether the subscription is paused: known before the first delivery, kept up to date while the member
    /// lives.
    pub paused: Paused,
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound").finish_non_exhaustive()
    }
}

/// What a subscription hands to its member.
#[derive(Debug)]
pub enum Inflow {
    /// At least one delivery.
    Deliveries(Vec<Delivery>),
    /// These are about to go to another member: start none of them, release those that wait (for a
    /// handler, a lane or a retry in place), and settle what runs, until `by`.
    Reclaim {
        /// Which ones.
        receipts: Vec<Receipt>,
        /// After this they are lost.
        by: Instant,
    },
    /// These are no longer this member's; they come again, here or elsewhere. Settling them is `Fenced`.
    Lost(Vec<Receipt>),
}

/// The receiving half of a subscription.
#[async_trait]
pub trait Receiver: Send + 'static {
    /// Waits for something to hand over: up to `max` deliveries, or news about earlier ones.
    ///
    /// `max` is 0 while the member has no room: then only news and the end of the subscription are
    /// reported, and nothing is fetched.
    ///
    /// What an adapter has fetched and not yet returned is not delivered; it keeps such leases itself and
    /// bounds the buffer. The core asks for few messages only when nothing else is outstanding, because a
    /// round trip per message is slow on every broker.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: what it had fetched is returned by the next call, or handed
    /// back by [`Settler::leave`].
    ///
    /// # Errors
    /// A broker that is away is waited for, not reported (L3). An error ends the subscription:
    /// `NotFound` when it was deleted, `Closed` after `leave`, `Unsupported` for stored records of a
    /// newer format, `Unauthenticated` or `PermissionDenied` when waiting cannot help.
    async fn receive(&mut self, max: usize) -> Result<Inflow>;
}

/// The settling half of a subscription. Every method takes a batch and needs one round trip for it
/// where the broker can.
#[async_trait]
pub trait Settler: Send + Sync + 'static {
    /// Settles deliveries; one result each, in input order, once the broker has confirmed.
    ///
    /// The order of first polls is the order of effects. While the broker is away this waits (L3). The core
    /// sends dead letters in a batch of their own, so that acks do not wait for them, and calls this for no
    /// broadcast.
    ///
    /// # Errors
    /// `Fenced` for a receipt that is known to be no longer this member's; a broker that does not fence
    /// may not know. A settlement that failed with a retryable error can be tried again with the same
    /// receipt.
    ///
    /// # Cancel safety
    /// Dropping the future leaves each delivery either settled or not; trying again is safe.
    async fn settle(&self, batch: Vec<(Receipt, Settlement)>) -> Vec<Result<()>>;

    /// Settles as [`Settlement::Ack`] within this call, where that takes no waiting because the broker is in this
    /// process; says whether it did. When it did not, for whatever reason, nothing has happened, and the core
    /// calls [`settle`](Self::settle). Asked for no broadcast.
    ///
    /// A transport with a round trip never does: acks that are requested together share one.
    fn ack_at_once(&self, receipt: Receipt) -> bool;

    /// Stores records without settling: the started-mark, and failures that are retried in place.
    ///
    /// A handler starts only when this has succeeded.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    async fn mark(&self, batch: Vec<(Receipt, AttemptRecord)>) -> Vec<Result<()>>;

    /// Renews the leases; called every third of a lease for everything that is held.
    ///
    /// # Errors
    /// `Fenced` for a receipt that is no longer this member's.
    async fn extend(&self, batch: &[Receipt]) -> Vec<Result<()>>;

    /// Leaves the subscription: stops fetching, hands back what is buffered and what was not settled,
    /// without touching records, and makes `receive` return `Closed`. Idempotent.
    ///
    /// # Errors
    /// `Timeout` when the broker did not confirm until `deadline`; the lease then frees what is left.
    async fn leave(&self, deadline: Instant) -> Result<()>;
}
