//! The closed table of what may differ between transports.

use std::time::Duration;

/// What may differ between transports; nothing else may.
///
/// A call that needs what the transport lacks returns `Unsupported`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// A second message of one topic and dedup id within the window is not stored.
    pub dedup: bool,
    /// What a confirmed ack survives.
    pub ack_durability: AckDurability,
    /// Attempts never decrease, also across a crash of the broker or of a member.
    pub exact_attempts: bool,
    /// `NoResponders` comes at once rather than within a bound.
    pub immediate_no_responders: bool,
    /// A full log can reject publishes.
    pub reject_when_full: bool,
    /// How many members of a subscription with `order: PerKey` are active.
    pub ordered_members: OrderedMembers,
    /// The shortest lease.
    pub min_lease: Duration,
    /// The largest payload, in bytes.
    pub max_payload: usize,
}

/// What a confirmed ack survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AckDurability {
    /// As long as the process lives.
    Process,
    /// What the server's persistence is set to survive.
    Server,
    /// Acks confirmed within this time before a crash of the broker may come again.
    Flushed(Duration),
    /// Everything that the transport survives.
    Final,
}

/// How many members of an ordered subscription are active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OrderedMembers {
    /// All of them; keys are spread over them.
    Many,
    /// One, with fenced fail-over; the others stand by.
    One,
}
