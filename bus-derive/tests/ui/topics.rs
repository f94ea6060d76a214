use bus_derive::Event;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topic = "a..b")]
struct EmptyToken;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topic = "a.b c")]
struct WrongCharacter;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topic = "a.*")]
struct Wildcard;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topic = "a.{b")]
struct Unclosed;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topic = "a.{}")]
struct Nameless;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topic = "a.x-{b?}")]
struct OptionalPart {
    b: Option<u8>,
}

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topic = "a.{b?}")]
struct EveryTopic {
    b: Option<u8>,
}

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topic = "{b?}", pattern = ">")]
struct NothingCertain {
    b: Option<u8>,
}

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a", topic = "a", pattern = "a.>.b")]
struct WrongPattern;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "a.{b}", topic = "a")]
struct FieldInType {
    b: u8,
}

fn main() {}
