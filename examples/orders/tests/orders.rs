//! The business comes out right in one process, on the bus in memory.

mod common;

#[test]
fn on_memory() {
    common::check("memory://", &["--rounds", "2"]);
}

#[test]
fn on_memory_while_services_die() {
    common::check("memory://", &["--kill", "--rounds", "4"]);
}
