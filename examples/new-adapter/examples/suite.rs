//! The whole conformance suite on the shelf: shows what an adapter has yet to do.

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;

use bus_conformance::RunOptions;

#[tokio::main]
#[expect(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]
async fn main() {
    let report = bus_conformance::run(
        Arc::new(common::ShelfFactory::default()),
        RunOptions::default(),
    )
    .await;
    println!("{}", report.markdown());
    for row in report.failures() {
        println!("{}: {:?}", row.case, row.outcome);
    }
}
