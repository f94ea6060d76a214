//! The conformance suite on a real broker, as the `main` of a test target without harness.

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use bus_conformance::{Control, Factory};
use futures_util::future::try_join_all;

use crate::brokers;

/// Starts the broker, and `spares` more for the cases that stop theirs; says where they came from, runs the suite with
/// `jobs` cases at a time, and ends them.
pub fn main<F: Factory, S: Future<Output = Result<F>>>(
    start: impl Fn() -> S,
    jobs: usize,
    spares: usize,
) -> ExitCode {
    match run(start, jobs, spares) {
        Ok(code) => code,
        Err(error) => {
            // Nothing can be done about an output that is closed.
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run<F: Factory, S: Future<Output = Result<F>>>(
    start: impl Fn() -> S,
    jobs: usize,
    spares: usize,
) -> Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    let factory: Arc<dyn Factory> = Arc::new(runtime.block_on(start())?);
    let _ = writeln!(std::io::stdout(), "{}", factory.name());
    let code = if factory.controls().contains(&Control::Restart) {
        let spares = runtime.block_on(try_join_all((0..spares).map(|_| start())))?;
        let spares = spares
            .into_iter()
            .map(|spare| Arc::new(spare) as Arc<dyn Factory>);
        bus_conformance::main_with_spares(&factory, spares.collect(), jobs)
    } else {
        bus_conformance::main(&[factory])
    };
    runtime.block_on(brokers::end_all())?;
    Ok(code)
}
