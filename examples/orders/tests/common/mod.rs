//! Runs `orders check`.

use std::process::Command;
use std::time::{Duration, Instant};

/// Longer than any check takes.
const PATIENCE: Duration = Duration::from_secs(150);

/// The check succeeds on this bus.
pub fn check(url: &str, arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BUS_") {
            command.env_remove(name);
        }
    }
    command.arg("check").args(arguments).env("BUS_URL", url);
    let mut check = command.spawn().unwrap();
    let begun = Instant::now();
    let status = loop {
        match check.try_wait().unwrap() {
            Some(status) => break status,
            None if begun.elapsed() > PATIENCE => {
                check.kill().unwrap();
                break check.wait().unwrap();
            }
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    assert!(status.success(), "{status} after {:?}", begun.elapsed());
}
