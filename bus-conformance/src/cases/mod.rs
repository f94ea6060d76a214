//! The cases, a file per section of the contract or per theme of it.

mod attributes;
mod broadcast;
mod capabilities;
mod dedup;
mod groups;
mod namespaces;
mod payloads;
mod publish;
mod replay;
mod starts;
mod subscriptions;
mod topics;
mod window;

use crate::case::Case;

/// Every case, in no particular order.
pub(crate) fn all() -> Vec<Case> {
    [
        attributes::cases(),
        broadcast::cases(),
        capabilities::cases(),
        dedup::cases(),
        groups::cases(),
        namespaces::cases(),
        payloads::cases(),
        publish::cases(),
        replay::cases(),
        starts::cases(),
        subscriptions::cases(),
        topics::cases(),
        window::cases(),
    ]
    .concat()
}
