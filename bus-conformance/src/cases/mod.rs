//! The cases, a file per section of the contract or per theme of it.

mod attributes;
mod capabilities;
mod dedup;
mod namespaces;
mod payloads;
mod topics;

use crate::case::Case;

/// Every case, in no particular order.
pub(crate) fn all() -> Vec<Case> {
    [
        attributes::cases(),
        capabilities::cases(),
        dedup::cases(),
        namespaces::cases(),
        payloads::cases(),
        topics::cases(),
    ]
    .concat()
}
