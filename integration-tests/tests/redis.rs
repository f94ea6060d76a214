//! The conformance suite on Redis.

use std::process::ExitCode;

use integration_tests::RedisFactory;

/// Cases at a time.
const JOBS: usize = 8;

fn main() -> ExitCode {
    integration_tests::main(RedisFactory::start, JOBS, 1)
}
