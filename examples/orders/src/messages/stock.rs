//! The stock service: what there is, what it costs, and whose it is.

use bus::prelude::*;
use serde::{Deserialize, Serialize};

/// A command: goods have come in.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "stock.restock", topic = "stock.command.restock", key = "sku")]
pub struct Restock {
    pub sku: String,
    pub quantity: u64,
    /// What one costs.
    pub cents: u64,
}

/// A command: put these aside for an order.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "stock.reserve", topic = "stock.command.reserve", key = "order")]
pub struct ReserveStock {
    pub order: String,
    pub sku: String,
    pub quantity: u64,
}

/// A command: what was put aside for an order goes back, or is never put aside.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "stock.release", topic = "stock.command.release", key = "order")]
pub struct ReleaseStock {
    pub order: String,
}

/// A command: what was put aside for an order leaves the house.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "stock.ship", topic = "stock.command.ship", key = "order")]
pub struct ShipStock {
    pub order: String,
}

/// What became of the goods of an order.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(key = "order")]
pub enum StockEvent {
    #[event(type = "stock.reserved", topic = "stock.event.reserved")]
    Reserved { order: String },
    #[event(type = "stock.refused", topic = "stock.event.refused")]
    Refused { order: String },
    #[event(type = "stock.released", topic = "stock.event.released")]
    Released { order: String },
    #[event(type = "stock.shipped", topic = "stock.event.shipped")]
    Shipped { order: String },
}

/// A question: what one piece costs, in cents.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "stock.price", topic = "stock.price")]
pub struct PriceQuery {
    pub sku: String,
}

impl Request for PriceQuery {
    type Reply = Result<u64, PriceError>;
}

/// Why there is no price: an answer, not a failure.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceError {
    UnknownSku,
}

/// A question: where the goods of a run are.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "stock.report", topic = "stock.report")]
pub struct StockReport {
    pub run: String,
}

impl Request for StockReport {
    type Reply = StockFigures;
}

/// The goods of a run, in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockFigures {
    /// How many have come in.
    pub received: u64,
    /// How many anybody can have.
    pub free: u64,
    /// How many were put aside.
    pub reserved: u64,
    /// How many have left.
    pub shipped: u64,
}
