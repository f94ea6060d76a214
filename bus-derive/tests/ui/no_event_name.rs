use bus_derive::Event;
use serde::{Deserialize, Serialize};
 use bus_api::Event as _;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "changed.{T}", topic = "a")]
struct Changed<T>(T);

#[derive(Serialize, Deserialize)]
struct Customer;

fn main() {
    let _ = Changed(Customer).event_type();
    fn event<E: bus_api::Event>(_: E) {}
    event(Changed(Customer));
}
