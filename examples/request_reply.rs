//! Request and reply: an error of the domain is data; a responder that is missing is an error.

use bus::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "price.query", topic = "prices.query")]
struct PriceQuery {
    sku: String,
}

#[derive(Debug, Serialize, Deserialize)]
enum PriceError {
    UnknownSku,
}

impl Request for PriceQuery {
    type Reply = Result<u64, PriceError>;
}

async fn price(query: PriceQuery) -> Result<u64, PriceError> {
    let cents = (query.sku == "book").then_some(1299);
    cents.ok_or(PriceError::UnknownSku)
}

#[tokio::main]
async fn main() -> bus::Result<()> {
    let bus = bus::connect("memory://").await?;
    let query = |sku: &str| PriceQuery { sku: sku.into() };
    let nobody = bus.request(&query("book")).await.unwrap_err();
    println!("before: {}", nobody.kind());
    let _running = bus.worker("prices").respond(price).start().await?;
    for sku in ["book", "unicorn"] {
        println!("{sku}: {:?}", bus.request(&query(sku)).await?);
    }
    Ok(())
}
