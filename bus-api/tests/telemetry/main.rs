//! What is told is what the tables of `bus_api::telemetry` promise: no more, no less.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod metrics;
mod scenario;
mod spans;
mod table;

use metrics_util::debugging::DebuggingRecorder;

/// One test, because `tracing` remembers for all threads which spans nobody wants.
#[tokio::test(start_paused = true)]
async fn what_is_told_is_what_the_tables_promise() {
    let recorder = DebuggingRecorder::new();
    let spans = spans::Spans::default();
    let metered = ::metrics::set_default_local_recorder(&recorder);
    let traced = tracing::subscriber::set_default(spans.clone());
    scenario::run().await;
    drop((metered, traced));
    metrics::are_those_of_the_table(&recorder);
    spans::are_those_of_the_table(&spans);
}
