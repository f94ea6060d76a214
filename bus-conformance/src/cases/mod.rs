//! The cases, a file per section of the contract or per theme of it.

mod attributes;
mod capabilities;
mod dedup;
mod namespaces;
mod payloads;
mod publish;
mod topics;
mod window;

use crate::case::Case;

/// Every case, in no particular order.
pub(crate) fn all() -> Vec<Case> {
    [
        attributes::cases(),
        capabilities::cases(),
        dedup::cases(),
        namespaces::cases(),
        payloads::cases(),
        publish::cases(),
        topics::cases(),
        window::cases(),
    ]
    .concat()
}
