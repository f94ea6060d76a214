//! Fault runs on real brokers: `cargo xtask faults`.

use std::process::ExitCode;

fn main() -> ExitCode {
    integration_tests::faults::main()
}
