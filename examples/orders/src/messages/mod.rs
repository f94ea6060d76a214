//! What the services say to each other: commands to one service, events of one service, questions.
//!
//! `SERVICE.command.NAME` is a command to a service, `SERVICE.event.NAME` is what a service says happened,
//! `SERVICE.NAME` is a question to it. All messages about an order have its name as their key and as their
//! correlation id.

mod mail;
mod order;
mod payment;
mod stock;

pub use mail::{MailFigures, MailReport};
pub use order::{Method, OrderEnded, OrderFigures, OrderReport, PlaceOrder, Reason};
pub use payment::{
    Deposit, PaymentEvent, PaymentFigures, PaymentReport, ReversePayment, TakePayment,
};
pub use stock::{
    PriceError, PriceQuery, ReleaseStock, ReserveStock, Restock, ShipStock, StockEvent,
    StockFigures, StockReport,
};
