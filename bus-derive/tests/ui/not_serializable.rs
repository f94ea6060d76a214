use bus_derive::Event;

#[derive(Event)]
#[event(crate = "bus_api", type = "a", topic = "a")]
struct Placed {
    id: u64,
}

fn main() {}
