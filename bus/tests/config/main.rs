//! Configuration: what wins, what is refused and how, and that it takes effect.

#![allow(clippy::unwrap_used)]

mod layers;
mod refused;
mod secrets;
mod workers;

use bus::{Config, ConfigLoader};

/// A loader that sees neither the process's environment nor a file.
fn hermetic() -> ConfigLoader {
    Config::loader()
        .without_file()
        .environment(Vec::<(String, String)>::new())
}

/// A directory with `bus.toml` in it.
fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus.toml");
    std::fs::write(&path, text).unwrap();
    (directory, path)
}
