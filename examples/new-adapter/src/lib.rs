#![doc = include_str!("../../../docs/new-adapter.md")]

mod admin;
mod bus;
mod dead_letters;
mod inbound;
mod shelf;

pub use bus::ShelfBus;
pub use shelf::Shelf;
