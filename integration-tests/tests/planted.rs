//! The suite is tested by bugs that it has to catch.

use std::process::ExitCode;
use std::sync::Arc;

use bus_conformance::Factory;
use integration_tests::MemoryFactory;

fn main() -> ExitCode {
    let factory: Arc<dyn Factory> = Arc::new(MemoryFactory::virtual_time());
    bus_conformance::main_planted(&factory)
}
