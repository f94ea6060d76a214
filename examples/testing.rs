//! Testing: the production worker on a bus in memory; no sleeps, and no waiting for backoffs either.

use bus::prelude::*;
use bus::testing::{Operation, TestBus};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "order.placed", topic = "orders.placed", key = "id")]
struct OrderPlaced {
    id: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(type = "mail.sent", topic = "mail.sent")]
struct MailSent {
    order: u64,
}

async fn placed(order: OrderPlaced, ctx: Context) -> HandlerResult {
    if ctx.attempt() == 1 {
        Err("the mail server is busy")?;
    }
    ctx.publish(&MailSent { order: order.id }).once().await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread", start_paused = true)] // #[tokio::test(start_paused = true)]
async fn main() -> bus::Result<()> {
    let test = TestBus::new();
    let _worker = test.bus.worker("mail").on(placed).start().await?;
    test.bus.publish(&OrderPlaced { id: 7 }).await?;
    test.fail(Operation::Publish, 2, bus::ErrorKind::Unavailable); // the client tries again by itself
    test.settled().await; // the whole cascade is finished
    println!("{:#?}", test.outcomes("mail", "order.placed"));
    assert_eq!(test.published::<MailSent>(), [MailSent { order: 7 }]);
    Ok(())
}
