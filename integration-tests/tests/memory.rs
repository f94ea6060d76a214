//! The conformance suite on the bus in memory.

use std::process::ExitCode;
use std::sync::Arc;

use integration_tests::MemoryFactory;

fn main() -> ExitCode {
    bus_conformance::main(&[
        Arc::new(MemoryFactory::real_time()),
        Arc::new(MemoryFactory::virtual_time()),
    ])
}
