//! The budget of the `memory` build: few packages, no C compiler.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Most packages that a user of the default features compiles, `bus` included.
const MOST_PACKAGES: usize = 100;
/// Packages that call a C or C++ compiler, or a system's linker flags, at build time.
const NATIVE_BUILDERS: [&str; 4] = ["cc", "cmake", "pkg-config", "bindgen"];

/// Counts the packages behind `bus` with default features, build dependencies included.
pub fn check() -> Result<()> {
    let packages = packages("bus")?;
    println!(
        "bus with default features: {} packages of at most {MOST_PACKAGES}",
        packages.len()
    );
    ensure!(
        packages.len() <= MOST_PACKAGES,
        "the memory build has grown beyond its budget"
    );
    for builder in NATIVE_BUILDERS {
        ensure!(
            !packages
                .iter()
                .any(|package| package.split(' ').next() == Some(builder)),
            "the memory build needs a native compiler: it depends on `{builder}`"
        );
    }
    println!("no native compiler is needed");
    Ok(())
}

fn packages(root: &str) -> Result<BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "-p",
            root,
            "-e",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .output()
        .context("cannot start cargo tree")?;
    ensure!(
        output.status.success(),
        "cargo tree: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8(output.stdout).context("cargo tree printed no text")?;
    Ok(text
        .lines()
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .filter(|line| !line.is_empty())
        .collect())
}
