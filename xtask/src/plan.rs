//! What `cargo xtask test` does, in order.

/// The transports whose adapter is in the workspace, each a test target of `integration-tests`.
const TRANSPORTS: &[&str] = &["memory", "redis", "nats", "kafka"];

/// Test targets of what a transport has beside the contract: security, faults of its own.
const OWN_TESTS: &[(&str, &[&str])] = &[
    (
        "redis",
        &[
            "redis_security",
            "redis_faults",
            "redis_providers",
            "redis_dead_letters",
            "redis_topics",
            "redis_wire",
        ],
    ),
    (
        "nats",
        &[
            "nats_security",
            "nats_accounts",
            "nats_cluster",
            "nats_faults",
            "nats_wire",
            "nats_topics",
        ],
    ),
    (
        "kafka",
        &[
            "kafka_security",
            "kafka_rebalances",
            "kafka_closing",
            "kafka_cluster",
            "kafka_wire",
            "kafka_topics",
        ],
    ),
];

/// One command of the plan.
pub struct Step {
    /// What it is called in the summary.
    pub name: String,
    /// Arguments of cargo.
    pub cargo: String,
    /// Environment variables.
    pub environment: &'static [(&'static str, &'static str)],
}

fn step(name: impl Into<String>, cargo: impl Into<String>) -> Step {
    Step {
        name: name.into(),
        cargo: cargo.into(),
        environment: &[],
    }
}

/// The conformance suite on one transport.
///
/// Like every step that tests, it chooses the whole workspace and all features: with fewer, cargo would
/// compile what they share once more.
fn conformance(transport: &&str) -> Step {
    step(
        format!("conformance on {transport}"),
        format!("test --workspace --all-features --test {transport}"),
    )
}

/// The steps, cheapest complaint first.
pub fn steps() -> Vec<Step> {
    let mut steps = vec![
        step("format", "fmt --all --check"),
        step(
            "lints",
            "clippy --workspace --all-targets --all-features -- -D warnings",
        ),
        // `--all-targets` leaves out the tests that need a broker.
        step(
            "lints of the tests on brokers",
            "clippy --workspace --all-features --test * -- -D warnings",
        ),
        Step {
            environment: &[("RUSTDOCFLAGS", "-D warnings")],
            ..step(
                "docs",
                "doc --workspace --no-deps --all-features --document-private-items",
            )
        },
        step(
            "unit and compile-fail tests, planted bugs",
            "test --workspace --all-features --lib --bins --tests --examples",
        ),
        step("doc tests", "test --workspace --all-features --doc"),
        step("budget of the memory build", "xtask budget"),
        step("webhooks on memory", "run --quiet -p webhooks"),
        step(
            "brokers on demand",
            "test --workspace --all-features --test brokers",
        ),
        step(
            "the bus command on Redis",
            "test --workspace --all-features --test cli",
        ),
        step(
            "the order services on brokers, killed",
            "test --workspace --all-features --test orders_on_kafka --test orders_on_nats --test orders_on_redis",
        ),
    ];
    steps.extend(TRANSPORTS.iter().map(conformance));
    steps.push(Step {
        name: "conformance on kafka, newer group protocol".to_owned(),
        environment: &[("BUS_TEST_KAFKA_OPTIONS", "kafka.group.protocol=consumer")],
        ..conformance(&"kafka")
    });
    steps.extend(OWN_TESTS.iter().map(|(transport, targets)| {
        let targets: String = targets
            .iter()
            .map(|name| format!(" --test {name}"))
            .collect();
        step(
            format!("what is {transport}'s own"),
            format!("test --workspace --all-features{targets}"),
        )
    }));
    steps
}
