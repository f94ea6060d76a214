use bus_derive::Event;
use serde::{Deserialize, Serialize};

#[derive(Event)]
#[event(crate = "bus_api")]
enum Outer {
    #[event(type = "a")]
    A(Inner),
}

#[derive(Serialize, Deserialize)]
struct Inner;

fn main() {}
