use bus_api::*;
use bus_derive::{Event, handler};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "order.placed", topic = "orders.placed")]
struct Placed;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "price.query", topic = "prices")]
struct Query;

impl Request for Query {
    type Reply = u64;
}

#[handler(crate = "bus_api")]
async fn returns_a_number(_: Placed) -> u64 {
    7
}

#[handler(crate = "bus_api")]
async fn returns_a_number_of_many(_: Vec<Placed>) -> u64 {
    7
}

#[handler(responder, crate = "bus_api")]
async fn wrong_reply(_: Query) -> String {
    String::new()
}

#[handler(responder, crate = "bus_api")]
async fn no_request(_: Placed) -> u64 {
    7
}

#[handler(crate = "bus_api")]
async fn not_send(_: Placed) {
    let counter = std::rc::Rc::new(7);
    std::future::ready(()).await;
    drop(counter);
}

fn main() {}
