//! The conformance suite on a real broker, as the `main` of a test target without harness.

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use bus_conformance::Factory;

use crate::brokers;

/// Starts the broker, says where it came from, runs the suite, and ends the broker.
pub fn main<F: Factory>(start: impl Future<Output = Result<F>>) -> ExitCode {
    match run(start) {
        Ok(code) => code,
        Err(error) => {
            // Nothing can be done about an output that is closed.
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run<F: Factory>(start: impl Future<Output = Result<F>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    let factory = Arc::new(runtime.block_on(start)?);
    let _ = writeln!(std::io::stdout(), "{}", factory.name());
    let code = bus_conformance::main(&[factory]);
    runtime.block_on(brokers::end_all())?;
    Ok(code)
}
