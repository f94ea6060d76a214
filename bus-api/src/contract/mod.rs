//! The contract between an adapter and the core: the trait [`Bus`] and its values.

mod admin;
mod attempt;
mod bus;
mod capabilities;
mod dead_letter;
mod delivery;
mod format;
mod headers;
pub mod leb128;
mod message;
mod names;
mod notice;
mod pattern;
mod pattern_index;
mod paused;
mod position;
mod request;
mod retention;
mod subscription;
pub(crate) mod token;
mod topic;

pub use admin::{Admin, Health, HealthStatus, SubscriptionInfo, TopicInfo};
pub use attempt::AttemptRecord;
pub use bus::{Bus, Published};
pub use capabilities::{AckDurability, Capabilities, OrderedMembers};
pub use dead_letter::{
    Cursor, DeadLetter, DeadLetterId, DeadLetterPage, DeadLetterStore, Failure, MAX_FAILURE_BYTES,
};
pub use delivery::{Delivery, Inbound, Inflow, Receipt, Receiver, Settlement, Settler};
pub use format::split_version;
pub use headers::{Headers, MAX_NAME_BYTES, RESERVED_PREFIXES};
pub(crate) use message::UUID_LENGTH;
pub use message::{Message, MessageId, Metadata, Origin, Targeted, TraceContext};
pub use names::{Group, Namespace};
pub use notice::{Notice, Notices};
pub use pattern::Pattern;
pub use pattern_index::PatternIndex;
pub use paused::Paused;
pub use position::{Offset, Position};
pub use request::{IncomingRequest, Replier, ReplyTo, RequestReceiver, Requests, ResponderSpec};
pub use retention::{Retention, RetentionMode, WhenFull};
pub use subscription::{Order, Scope, Start, SubscriptionId, SubscriptionSpec};
pub use token::MAX_TOKEN_BYTES;
pub use topic::{MAX_BYTES as MAX_TOPIC_BYTES, MAX_TOKENS, Topic};
