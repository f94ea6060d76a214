//! The measurement of many topics, many subscriptions and long backlogs, at a small size.
#![allow(clippy::unwrap_used)]

use bus_bench::{Arguments, run};

#[test]
fn nothing_is_lost_in_any_shape() {
    let arguments = Arguments {
        messages: Some(400),
        rounds: 1,
        payload: vec![64],
        only: None,
        alone: false,
        flat: true,
        plot: None,
        threads: 1,
    };
    let report = run(&"memory://".parse().unwrap(), &arguments).unwrap();
    report.verify().unwrap();
    let table = report.to_string();
    for shape in [
        "200 topics, 1 subscriptions",
        "200 topics, 20 subscriptions",
        "a backlog of 20000",
    ] {
        assert!(table.contains(shape), "{shape} is missing in {table}");
    }
}
