use bus_api::*;
use bus_derive::{Event, handler};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "order.placed", topic = "orders.placed")]
struct Placed;

#[handler(crate = "bus_api")]
fn not_async(_: Placed) {}

#[handler(crate = "bus_api")]
async fn nothing() {}

#[handler(crate = "bus_api")]
async fn reference(_: &Placed) {}

#[handler(crate = "bus_api")]
async fn any(_: impl bus_api::Event) {}

#[handler(crate = "bus_api", status = u8)]
async fn option(_: Placed) {}

#[handler(crate = "bus_api")]
async fn two_parts(_: Placed, _: State<u8>, _: State<u16>) {}

#[rustfmt::skip]
#[handler(crate = "bus_api")]
async fn many(
    _: Placed, _: Context, _: Context, _: Context, _: Context, _: Context, _: Context, _: Context,
    _: Context, _: Context,
) {}

struct App;

impl App {
    #[handler(crate = "bus_api")]
    async fn method(&self, _: Placed) {}
}

fn main() {}
