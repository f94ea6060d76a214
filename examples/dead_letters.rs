//! Dead letters: what a handler cannot handle is kept, looked at, and sent back once it is repaired.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bus::{Filter, prelude::*};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "order.placed", topic = "orders.placed", key = "id")]
struct OrderPlaced {
    id: u64,
}

static REPAIRED: AtomicBool = AtomicBool::new(false);

async fn placed(order: OrderPlaced) -> HandlerResult {
    if !REPAIRED.load(Relaxed) {
        Err("550 no such mailbox").or_dead_letter()?; // no retry can help
    }
    println!("mail about order {}", order.id);
    Ok(())
}

#[tokio::main]
async fn main() -> bus::Result<()> {
    let bus = bus::connect("memory://").await?;
    let running = bus.worker("mail").on(placed).start().await?;
    bus.publish(&OrderPlaced { id: 7 }).await?;
    running.idle().await;
    let dead = bus.dead_letters("mail");
    let bounced = Filter::default().error_contains("550");
    for entry in dead.page(&bounced, None, 100).await?.entries {
        println!("{}: {:?}", entry.error, entry.decode::<OrderPlaced>()?);
    }
    REPAIRED.store(true, Relaxed);
    println!("redriven: {}", dead.redrive(&bounced).await?.done);
    running.idle().await;
    Ok(())
}
