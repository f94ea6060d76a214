//! The events that the snippets of `docs/guide/` share. The snippets are tests of this crate.

use bus::prelude::*;
use serde::{Deserialize, Serialize};

/// What happened, where it is published, and what orders it.
#[derive(Clone, Debug, Serialize, Deserialize, Event)]
#[event(type = "order.placed", topic = "orders.placed", key = "id")]
pub struct OrderPlaced {
    pub id: u64,
    pub total: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize, Event)]
#[event(type = "mail.sent", topic = "mail.sent", key = "order")]
pub struct MailSent {
    pub order: u64,
}

macro_rules! chapters {
    ($($name:ident = $file:literal;)*) => {
        $(
            #[cfg(doctest)]
            #[doc = include_str!(concat!("../../docs/", $file, ".md"))]
            mod $name {}
        )*
    };
}

chapters! {
    contents = "guide/README";
    first_message = "guide/01-first-message";
    groups_and_workers = "guide/02-groups-and-workers";
    failures = "guide/03-failures-and-dead-letters";
    requests = "guide/04-request-and-reply";
    order = "guide/05-order";
    configuration = "guide/07-configuration";
    troubleshooting = "troubleshooting";
    migration = "migration";
}
