//! The conformance suite on Kafka.

use std::process::ExitCode;
use std::sync::Arc;

use integration_tests::KafkaFactory;

fn main() -> ExitCode {
    let started = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let factory = runtime.block_on(KafkaFactory::start())?;
            Ok((runtime, factory))
        });
    match started {
        Ok((_runtime, factory)) => bus_conformance::main(&[Arc::new(factory)]),
        Err(error) => {
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{error:#}\n"));
            ExitCode::FAILURE
        }
    }
}
