//! What `cargo xtask test` does, in order.

/// One command of the plan.
pub struct Step {
    /// What it is called in the summary.
    pub name: &'static str,
    /// Arguments of cargo.
    pub cargo: &'static str,
    /// Environment variables.
    pub environment: &'static [(&'static str, &'static str)],
}

const fn step(name: &'static str, cargo: &'static str) -> Step {
    Step {
        name,
        cargo,
        environment: &[],
    }
}

/// The steps, cheapest complaint first.
pub fn steps() -> Vec<Step> {
    vec![
        step("format", "fmt --all --check"),
        step(
            "lints",
            "clippy --workspace --all-targets --all-features -- -D warnings",
        ),
        Step {
            name: "docs",
            cargo: "doc --workspace --no-deps --all-features --document-private-items",
            environment: &[("RUSTDOCFLAGS", "-D warnings")],
        },
        step(
            "unit, compile-fail and conformance tests",
            "test --workspace --all-features --lib --bins --tests --examples",
        ),
        step("doc tests", "test --workspace --all-features --doc"),
        step("budget of the memory build", "xtask budget"),
        step("webhooks on memory", "run --quiet -p webhooks"),
    ]
}
