//! The conformance suite on Redis.

use std::process::ExitCode;

use integration_tests::RedisFactory;

fn main() -> ExitCode {
    integration_tests::main(RedisFactory::start())
}
