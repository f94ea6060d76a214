//! What a service usually needs: `use bus::prelude::*`.
//!
//! The trait of adapters, [`Bus`](crate::Bus), is not here: applications hold a [`BusClient`].

pub use bus_api::{
    BusClient, Context, Decide as _, Envelope, Event, HandlerError, HandlerResult, Metadata, Order,
    Request, Retry, Running, Start, State, Worker,
};
#[cfg(feature = "derive")]
pub use bus_derive::Event;
