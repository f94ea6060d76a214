//! The conformance suite on Kafka.

use std::process::ExitCode;

use integration_tests::KafkaFactory;

fn main() -> ExitCode {
    integration_tests::main(KafkaFactory::start())
}
