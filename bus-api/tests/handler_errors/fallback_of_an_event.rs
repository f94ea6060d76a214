use bus_api::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, bus_derive::Event)]
#[event(crate = "bus_api", type = "order.placed", topic = "orders.placed")]
struct Placed;

async fn placed(_: Placed) {}

fn main() {
    let _ = |bus: BusClient| bus.worker("mail").pattern("a").fallback(placed);
}
