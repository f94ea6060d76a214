//! The mail service: one mail for each order.

use bus::prelude::*;
use serde::{Deserialize, Serialize};

/// A question: which mails of a run were sent.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "mail.report", topic = "mail.report")]
pub struct MailReport {
    pub run: String,
}

impl Request for MailReport {
    type Reply = MailFigures;
}

/// The mails of a run, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailFigures {
    /// How many were sent.
    pub sent: u64,
    /// About how many orders.
    pub orders: u64,
}
