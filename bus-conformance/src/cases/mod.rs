//! The cases, a file per section of the contract or per theme of it.

mod topics;

use crate::case::Case;

/// Every case, in no particular order.
pub(crate) fn all() -> Vec<Case> {
    [topics::cases()].concat()
}
