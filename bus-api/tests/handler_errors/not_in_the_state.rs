use bus_api::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, bus_derive::Event)]
#[event(crate = "bus_api", type = "order.placed", topic = "orders.placed")]
struct Placed;

struct Mailer;

async fn placed(_: Placed, _: State<Mailer>) {}

fn main() {
    let _ = |bus: BusClient| bus.worker("mail").state(7_u8).on(placed);
}
