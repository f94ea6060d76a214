//! The cases, a file per section of the contract or per theme of it.

mod namespaces;
mod topics;

use crate::case::Case;

/// Every case, in no particular order.
pub(crate) fn all() -> Vec<Case> {
    [namespaces::cases(), topics::cases()].concat()
}
