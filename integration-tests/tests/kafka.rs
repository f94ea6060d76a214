//! The conformance suite on Kafka.

use std::process::ExitCode;

use integration_tests::KafkaFactory;

/// Cases at a time: most of each is waiting for the group to agree.
const JOBS: usize = 12;
/// Its restarts take the longest of all brokers.
const SPARES: usize = 3;

fn main() -> ExitCode {
    integration_tests::main(KafkaFactory::start, JOBS, SPARES)
}
