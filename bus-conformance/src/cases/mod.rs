//! The cases, a file per section of the contract or per theme of it.

mod acks;
mod attempts;
mod attributes;
mod broadcast;
mod capabilities;
mod dedup;
mod flow;
mod groups;
mod leases;
mod nacks;
mod namespaces;
mod order;
mod payloads;
mod publish;
mod replay;
mod starts;
mod subscriptions;
mod topics;
mod versions;
mod window;

use crate::case::Case;

/// Every case, in no particular order.
pub(crate) fn all() -> Vec<Case> {
    [
        acks::cases(),
        attempts::cases(),
        attributes::cases(),
        broadcast::cases(),
        capabilities::cases(),
        dedup::cases(),
        flow::cases(),
        groups::cases(),
        leases::cases(),
        nacks::cases(),
        namespaces::cases(),
        order::cases(),
        payloads::cases(),
        publish::cases(),
        replay::cases(),
        starts::cases(),
        subscriptions::cases(),
        topics::cases(),
        versions::cases(),
        window::cases(),
    ]
    .concat()
}
