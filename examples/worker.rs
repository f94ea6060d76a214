//! A worker: events come in, are handled with state, and cause other events.

use bus::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "order.placed", topic = "orders.placed", key = "id")]
struct OrderPlaced {
    id: u64,
}

#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "mail.sent", topic = "mail.sent")]
struct MailSent {
    order: u64,
}

async fn placed(e: OrderPlaced, State(shop): State<&'static str>, ctx: Context) -> HandlerResult {
    println!("{shop} sends a mail about order {}", e.id);
    let sent = MailSent { order: e.id };
    ctx.publish(&sent).once().await?; // once, also when this handler is retried
    Ok(())
}

async fn sent(e: Envelope<MailSent>) {
    println!("{:?} caused by {:?}", e.event, e.metadata.causation_id);
}

#[tokio::main]
async fn main() -> bus::Result<()> {
    let bus = bus::connect("memory://").await?;
    let worker = bus.worker("mail").state("the shop").on(placed).on(sent);
    let running = worker.retry(Retry::default().attempts(3)).start().await?;
    bus.publish(&OrderPlaced { id: 7 }).await?;
    running.idle().await;
    bus.close().await // drains what runs
}
