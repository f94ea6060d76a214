//! What the conformance suite needs to know of each transport in order to test it.

mod memory;

pub use memory::MemoryFactory;
