//! The clauses that the shelf keeps after the steps of the guide, by the conformance suite.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bus_conformance::{Outcome, RunOptions};
use tokio::time::timeout;

const KEPT: [&str; 12] = [
    "t0", "t1", "t2", "p2", "p4", "p5", "s3", "s4", "a2", "a6", "r4", "i1",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_shelf_keeps_what_the_guide_has_built() {
    for clause in KEPT {
        let options = RunOptions {
            filter: Some(format!("{clause}_")),
            ..RunOptions::default()
        };
        let run = bus_conformance::run(Arc::new(common::ShelfFactory::default()), options);
        let report = timeout(Duration::from_secs(120), run)
            .await
            .unwrap_or_else(|_| panic!("{clause} did not end"));
        let failed: Vec<_> = report.failures().collect();
        assert!(failed.is_empty(), "{failed:#?}");
        let passed = |outcome: &Outcome| matches!(outcome, Outcome::Passed);
        assert!(
            report.rows.iter().any(|row| passed(&row.outcome)),
            "no case of {clause} ran"
        );
    }
}
