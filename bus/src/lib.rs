#![doc = include_str!("guide.md")]

#[cfg(feature = "config")]
mod config;
mod connector;
pub mod prelude;
#[cfg(feature = "testing")]
pub mod testing;

pub use bus_api::*;
#[cfg(feature = "derive")]
pub use bus_derive::{Event, handler};
#[cfg(feature = "memory")]
pub use bus_memory as memory;

#[cfg(feature = "config")]
pub use self::config::{Config, ConfigLoader, ConfigValue};
pub use self::connector::{Connector, connect};

/// The code of the README compiles.
#[cfg(all(doctest, feature = "derive", feature = "memory", feature = "json"))]
#[doc = include_str!("../../README.md")]
mod readme {}
