//! The payment service: accounts, and what was taken from them.

use bus::prelude::*;
use serde::{Deserialize, Serialize};

use super::Method;

/// A command: money for an account.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(
    type = "payment.deposit",
    topic = "payments.command.deposit",
    key = "customer"
)]
pub struct Deposit {
    pub customer: String,
    pub cents: u64,
}

/// A command: the customer pays for an order.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "payment.take", topic = "payments.command.take", key = "order")]
pub struct TakePayment {
    pub order: String,
    pub customer: String,
    pub cents: u64,
    pub method: Method,
}

/// A command: the payment for an order is given back, or never made.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(
    type = "payment.reverse",
    topic = "payments.command.reverse",
    key = "order"
)]
pub struct ReversePayment {
    pub order: String,
}

/// What became of a payment.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(key = "order")]
pub enum PaymentEvent {
    #[event(type = "payment.taken", topic = "payments.event.taken")]
    Taken { order: String },
    #[event(type = "payment.refused", topic = "payments.event.refused")]
    Refused { order: String },
    #[event(type = "payment.reversed", topic = "payments.event.reversed")]
    Reversed { order: String },
}

/// A question: how the accounts of a run are.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "payment.report", topic = "payments.report")]
pub struct PaymentReport {
    pub run: String,
}

impl Request for PaymentReport {
    type Reply = PaymentFigures;
}

/// The money of a run, in cents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentFigures {
    /// What was paid in.
    pub deposited: u64,
    /// What is in the accounts.
    pub balances: u64,
    /// What the shop has taken and not given back.
    pub till: u64,
}
