use bus_derive::Event;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topic = "a.{c}")]
struct NoField {
    b: u8,
}

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topic = "a", key = "c")]
struct NoKeyField {
    b: u8,
}

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topic = "a", key = "b.d")]
struct NoInnerField {
    b: Inner,
}

#[derive(Serialize, Deserialize)]
struct Inner {
    c: u8,
}

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topic = "a.{b}")]
struct NoText {
    b: Inner,
}

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topic = "a", key = "b")]
struct NoKeyText {
    b: Inner,
}

fn main() {}
