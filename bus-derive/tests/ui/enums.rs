use bus_derive::Event;
use serde::{Deserialize, Serialize};

#[derive(Event)]
#[event(crate = "bus_api")]
enum Empty {}

#[derive(Event)]
#[event(crate = "bus_api", type = "a")]
enum TypeOnAll {
    #[event(topic = "a")]
    A,
}

#[derive(Event)]
#[event(crate = "bus_api", version = 2)]
enum VersionOnAll {
    #[event(type = "a", topic = "a")]
    A,
}

#[derive(Event)]
#[event(crate = "bus_api", topic = "a")]
enum Missing {
    #[event(type = "a")]
    A,
    B { c: u8 },
    #[event(type = "d", key = "e")]
    D { c: u8 },
}

#[derive(Event)]
#[event(crate = "bus_api", topic = "a")]
enum Twice {
    #[event(type = "a")]
    A,
    #[event(type = "b", alias = "a")]
    B,
}

#[derive(Event)]
#[event(crate = "bus_api")]
enum Alias {
    #[event(alias = "b")]
    A(bus_api::Raw),
}

#[derive(Event)]
enum CrateOnVariant {
    #[event(crate = "bus_api", type = "a", topic = "a")]
    A,
}

fn main() {}
