//! The conformance suite on NATS.

use std::process::ExitCode;

use integration_tests::NatsFactory;

fn main() -> ExitCode {
    integration_tests::main(NatsFactory::start())
}
