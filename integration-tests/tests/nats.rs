//! The conformance suite on NATS.

use std::process::ExitCode;

use integration_tests::NatsFactory;

/// Cases at a time.
const JOBS: usize = 8;

fn main() -> ExitCode {
    integration_tests::main(NatsFactory::start, JOBS, 1)
}
