use bus_api::*;
use bus_derive::{Event, handler};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "order.placed", topic = "orders.placed")]
struct Placed;

struct Other;

#[handler(crate = "bus_api")]
async fn no_event(_: Other) {}

#[handler(crate = "bus_api")]
async fn no_event_in_it(_: Envelope<Other>) {}

#[handler(crate = "bus_api")]
async fn event_not_first(_: State<u8>, _: Placed) {}

#[handler(crate = "bus_api")]
async fn no_extractor(_: Placed, _: Other) {}

#[handler(state = u16, crate = "bus_api")]
async fn not_in_the_state(_: Placed, _: State<u8>) {}

fn main() {}
