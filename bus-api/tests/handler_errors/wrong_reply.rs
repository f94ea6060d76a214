use bus_api::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, bus_derive::Event)]
#[event(crate = "bus_api", type = "order.placed", topic = "orders.placed")]
struct Placed;

impl Request for Placed {
    type Reply = String;
}

async fn placed(_: Placed) -> u32 {
    7
}

fn main() {
    let _ = |bus: BusClient| bus.worker("mail").respond(placed);
}
