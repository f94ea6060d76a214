//! The clients that applications would use without the bus.

mod memory;

pub(crate) use memory::Broadcast;
