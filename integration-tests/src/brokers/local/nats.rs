//! NATS as a local process.

use std::fs::File;
use std::process::Child;

use anyhow::Result;

use super::{Local, install};
use crate::brokers::{Setup, keeper};

pub(super) const PROGRAM: &str = "nats-server";

pub(super) fn spawn(local: &Local, log: File) -> Result<Child> {
    let program = install::nats()?;
    let file = local.data.path().join("nats.conf");
    let store = local.data.path().display().to_string();
    std::fs::write(&file, configuration(&local.address(), &store, &local.setup))?;
    keeper::spawn(&program, |command| {
        command.arg("--config").arg(&file).stderr(log);
    })
}

/// The text of a configuration file, also for a container.
pub(in crate::brokers) fn configuration(listen: &str, store: &str, setup: &Setup) -> String {
    let sync = if setup.sync_always {
        "  sync_interval: always\n"
    } else {
        ""
    };
    let mut text =
        format!("listen: \"{listen}\"\njetstream {{\n  store_dir: \"{store}\"\n{sync}}}\n");
    for line in &setup.extra {
        text.push_str(line);
        text.push('\n');
    }
    text
}
