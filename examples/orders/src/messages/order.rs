//! The order service: it takes orders and tells how they ended.

use bus::prelude::*;
use serde::{Deserialize, Serialize};

/// A command: what a customer wants.
#[derive(Clone, Debug, Serialize, Deserialize, Event)]
#[event(type = "order.place", topic = "orders.command.place", key = "order")]
pub struct PlaceOrder {
    /// The customer's name for the order.
    pub order: String,
    pub customer: String,
    /// Where the mail about the order goes.
    pub address: String,
    pub sku: String,
    pub quantity: u64,
    pub method: Method,
    /// How long the order may wait for goods and money, in milliseconds.
    pub pay_within: u64,
}

/// How a customer pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// From the account, at once.
    Account,
    /// By a transfer that somebody has yet to make; nobody does here.
    Transfer,
}

/// How an order ended: one of these for each order.
#[derive(Clone, Debug, Serialize, Deserialize, Event)]
#[event(key = "order")]
pub enum OrderEnded {
    #[event(type = "order.shipped", topic = "orders.event.shipped")]
    Shipped { order: String, address: String },
    #[event(type = "order.cancelled", topic = "orders.event.cancelled")]
    Cancelled {
        order: String,
        address: String,
        reason: Reason,
    },
}

/// Why an order was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There is no such thing.
    UnknownSku,
    /// The last one has gone to somebody else.
    OutOfStock,
    /// The account does not have the money.
    NotPaid,
    /// The time for it has passed.
    TooLate,
}

/// A question: how the orders of a run are.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "order.report", topic = "orders.report")]
pub struct OrderReport {
    pub run: String,
}

impl Request for OrderReport {
    type Reply = OrderFigures;
}

/// The orders of a run, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderFigures {
    /// Neither shipped nor cancelled yet.
    pub open: u64,
    /// Messages of the service that the bus does not have yet.
    pub unpublished: u64,
    pub shipped: u64,
    pub unknown_sku: u64,
    pub out_of_stock: u64,
    pub not_paid: u64,
    pub too_late: u64,
    /// What the shipped orders cost, in cents.
    pub revenue: u64,
    /// How many pieces were in them.
    pub pieces: u64,
}
