//! Publishing: one event, many in an ordered window, a batch.

use bus::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "order.placed", topic = "orders.placed", key = "id")]
struct OrderPlaced {
    id: u64,
    total: u64,
}

#[tokio::main]
async fn main() -> bus::Result<()> {
    let bus = bus::connect("memory://").await?;
    let order = |id| OrderPlaced { id, total: 10 * id };

    // One, with an option. When this returns, the transport has stored it.
    let stored = bus.publish(&order(1)).header("tenant", "a").await?;
    println!("stored {}", stored.id);

    // Many, in order: `send` waits for room, `flush` for the confirmations.
    let publisher = bus.publisher();
    for id in 2..=1000 {
        let _confirmation = publisher.send(&order(id)).await?;
    }
    publisher.flush().await?;

    // A batch: one result each.
    let results = bus.publish_batch(&[order(1001), order(1002)]).await;
    println!("{} of a batch stored", results.iter().flatten().count());
    Ok(())
}
