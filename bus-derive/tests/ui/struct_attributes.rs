use bus_derive::Event;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
struct Nothing;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a")]
struct NoTopic;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", topic = "a")]
struct NoType;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topik = "a")]
struct Unknown;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topic = "a", topic = "b")]
struct Twice;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "", topic = "a")]
struct Empty;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a b", topic = "a")]
struct WhiteSpace;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topic = "a", version = 0)]
struct VersionZero;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = a, topic = "a")]
struct NotText;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topic = "a")]
struct Borrows<'a>(&'a str);

#[derive(Event)]
union Union {
    a: u8,
}

fn main() {}
